"""The kept contents: an SQLite file of its own, for root only, by SHA-256. Nothing else depends on it.

It is not covered by the chains, and needs not be: each content is checked against its digest, which they cover. It can
be removed at any time; the next scan begins a new one.
"""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
import stat
import time
import zlib
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from urllib.parse import quote

from fimscan.contents.secrets import RULES_VERSION, content_refusal
from fimscan.errors import InterruptedScanError, StoreError
from fimscan.model import ContentUsage, NotKept
from fimscan.store.defense import harden
from fimscan.trust import make_private_directories, trust_problem

_APPLICATION = 0x66696D63  # "fimc"
_VERSION = 1
_BUSY_SECONDS = 15
_MOST_REFUSED = 100_000  # digests without content; the oldest are forgotten
_IN_ONE_QUERY = 500
_ELSEWHERE = "/var/lib/fimscan/fimscan.contents"
_SUFFIX = ".contents"
_OTHERS = 0o077

_TABLES = """
CREATE TABLE content (
    id INTEGER PRIMARY KEY,
    sha256 BLOB NOT NULL UNIQUE,
    size INTEGER NOT NULL,
    stored_ns INTEGER NOT NULL,
    refused TEXT NOT NULL,
    despite INTEGER NOT NULL,
    packed INTEGER NOT NULL,
    data BLOB NOT NULL
);
CREATE TABLE fact (name TEXT PRIMARY KEY, value TEXT NOT NULL);
"""


def contents_file(database: str | None, configured: str = "") -> str:
    """Where contents are kept: the configured file; else beside the SQLite file; else in /var/lib/fimscan."""
    if configured:
        return configured
    return _ELSEWHERE if database is None else os.path.realpath(database) + _SUFFIX


def files_of(path: str) -> tuple[bytes, ...]:
    """The file and what SQLite may create beside it."""
    return tuple(os.fsencode(path + suffix) for suffix in ("", "-journal", "-wal", "-shm"))


def permission_problem(path: str) -> str | None:
    """What is wrong with the file: not a plain file, another owner, open to others. ``None`` also if it is missing."""
    try:
        found = os.lstat(path)
    except OSError:
        return None
    if not stat.S_ISREG(found.st_mode):
        return f"{path} is no regular file; remove it"
    if found.st_uid not in (0, os.geteuid()):
        return f"{path} belongs to uid {found.st_uid}; remove it, or make root its owner"
    if found.st_mode & _OTHERS:
        mode = found.st_mode & 0o7777
        return f"{path} has mode {mode:04o}, so others than its owner may read it; run: chmod 600 {path}"
    return trust_problem(path, alone=True)


class ContentFile:
    """The open file. Always ``close`` it.

    Args:
        path: where it is.
        writing: whether the caller writes; then the file is created if it is missing.

    Raises:
        StoreError: it is missing, cannot be opened or belongs to another program. For writing, also if others may read
            it.
    """

    def __init__(self, path: str, *, writing: bool) -> None:
        self.path = path
        if writing and not os.path.lexists(path):
            _create(path)
        # Reading what others may read, too, harms nobody; each content is checked against its digest.
        if writing and (problem := permission_problem(path)) is not None:
            raise StoreError(problem)
        mode = "rw" if writing else "ro"
        with self._errors():
            name = quote(os.fsencode(os.path.abspath(path)))
            self._connection = sqlite3.connect(
                f"file:{name}?mode={mode}",
                uri=True,
                timeout=_BUSY_SECONDS,
                isolation_level=None,
                check_same_thread=False,
            )
            try:
                harden(self._connection)
                self._prepare(writing=writing)
            except BaseException:
                self._connection.close()
                raise

    def _prepare(self, *, writing: bool) -> None:
        run = self._connection.execute
        if writing:
            run("PRAGMA secure_delete = ON")
            run("PRAGMA synchronous = NORMAL")
            if not run("SELECT count(*) FROM sqlite_schema").fetchone()[0]:
                run("PRAGMA auto_vacuum = FULL")
                self._connection.executescript(
                    f"BEGIN IMMEDIATE; PRAGMA application_id = {_APPLICATION}; PRAGMA user_version = {_VERSION};"
                    f"{_TABLES} COMMIT;"
                )
        application, version = (run(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version"))
        if application != _APPLICATION or version != _VERSION:
            raise StoreError(f"{self.path} has no contents that this version of fimscan kept; move it away")
        foreign = run("SELECT name FROM sqlite_schema WHERE type NOT IN ('table', 'index')").fetchone()
        if foreign is not None:
            raise StoreError(
                f"{self.path} has the trigger or view {foreign[0]!r}, which fimscan did not make; remove it"
            )

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            if (stopped := InterruptedScanError.behind(error)) is not None:
                raise stopped from error
            raise StoreError(f"kept contents {self.path}: {error}") from error

    def close(self) -> None:
        """Commit and close."""
        with self._errors():
            self.commit()
            self._connection.close()

    def commit(self) -> None:
        """Make everything durable that was added."""
        with self._errors():
            if self._connection.in_transaction:
                self._connection.execute("COMMIT")

    def abandon(self) -> None:
        """Close after a failure."""
        with suppress(sqlite3.Error):
            self._connection.close()

    def _begin(self) -> None:
        if not self._connection.in_transaction:
            self._connection.execute("BEGIN IMMEDIATE")

    # ----------------------------------------------------------------------------------------------------------------

    def adopt_settings(self, quota: int, despite: Iterable[str]) -> None:
        """Apply settings and rules that changed since the last call.

        What was dropped for the quota is asked for again if there is more room. What was kept in spite of the rules
        goes if a path is not named any more. With other rules, every content is judged again.
        """
        paths = sorted(despite)
        with self._errors():
            before = dict(self._connection.execute("SELECT name, value FROM fact"))
            now = {"quota": str(quota), "despite": json.dumps(paths), "rules": str(RULES_VERSION)}
            if {name: before.get(name) for name in now} == now:
                return
            self._begin()
            run = self._connection.execute
            if quota > int(before.get("quota", quota)):
                run("DELETE FROM content WHERE refused = ?", (NotKept.QUOTA.value,))
            if set(json.loads(before.get("despite", "[]"))) - set(paths):
                run("DELETE FROM content WHERE despite")
            if before.get("rules", now["rules"]) != now["rules"]:
                run("DELETE FROM content WHERE refused != ?", ("",))
                self._judge_again()
            for name, value in now.items():
                self._set(name, value)
            self.commit()

    def _judge_again(self) -> None:
        run = self._connection.execute
        rows = run("SELECT sha256 FROM content WHERE refused = '' AND NOT despite").fetchall()
        for (sha256,) in rows:
            content = self.load([sha256])[sha256]
            if not isinstance(content, bytes) or content_refusal(content) is not None:
                run("DELETE FROM content WHERE sha256 = ?", (sha256,))

    def _set(self, name: str, value: str) -> None:
        self._connection.execute("INSERT OR REPLACE INTO fact VALUES (?, ?)", (name, value))

    def known(self) -> tuple[frozenset[bytes], frozenset[bytes]]:
        """The digests of all contents: (kept, refused or dropped while they were needed)."""
        with self._errors():
            rows = self._connection.execute("SELECT sha256, refused = '' FROM content").fetchall()
        return frozenset(row[0] for row in rows if row[1]), frozenset(row[0] for row in rows if not row[1])

    def add(self, contents: Iterable[tuple[bytes, int, str, bool, bytes]]) -> None:
        """Add contents: (SHA-256, size, why it was refused or ``""``, kept in spite of the rules, compressed content).

        Digests that are there already stay as they are, unless they were refused before.
        """
        now_ns = time.time_ns()
        rows = [
            (sha256, size, now_ns, refused, despite, len(data), data)
            for sha256, size, refused, despite, data in contents
        ]
        with self._errors():
            self._begin()
            self._connection.executemany(
                "INSERT INTO content (sha256, size, stored_ns, refused, despite, packed, data)"
                " VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (sha256) DO UPDATE SET stored_ns = excluded.stored_ns,"
                " refused = '', despite = excluded.despite, packed = excluded.packed, data = excluded.data"
                " WHERE content.refused != '' AND excluded.refused = ''",
                rows,
            )

    def keep_within(self, quota: int, needed: Callable[[], frozenset[bytes]]) -> tuple[int, int]:
        """Drop contents until the rest is within the quota: (how many, how many of them were needed).

        The oldest that are not needed go first. Of those that are needed, the digest stays: the next scan must not
        store them again, only to drop them again.
        """
        with self._errors():
            run = self._connection.execute
            total = run("SELECT coalesce(sum(packed), 0) FROM content").fetchone()[0]
            refused = run("SELECT count(*) FROM content WHERE refused != ''").fetchone()[0]
            if total <= quota and refused <= _MOST_REFUSED:
                return 0, 0
            self._begin()
            run(
                "DELETE FROM content WHERE id IN (SELECT id FROM content WHERE refused != '' ORDER BY id DESC"
                " LIMIT -1 OFFSET ?)",
                (_MOST_REFUSED,),
            )
            wanted = needed() if total > quota else frozenset()
            rows = run("SELECT id, sha256, packed FROM content WHERE refused = '' ORDER BY stored_ns, id").fetchall()
            dropped = lost = 0
            for number, sha256, packed in sorted(rows, key=lambda row: row[1] in wanted):
                if total <= quota:
                    break
                total -= packed
                dropped += 1
                if sha256 in wanted:
                    lost += 1
                    run(
                        "UPDATE content SET refused = ?, packed = 0, data = x'' WHERE id = ?",
                        (NotKept.QUOTA.value, number),
                    )
                else:
                    run("DELETE FROM content WHERE id = ?", (number,))
            if dropped:
                self._set("dropped", str(self.usage().dropped + dropped))
                self._set("dropped_ns", str(time.time_ns()))
            self.commit()
        return dropped, lost

    def remove_before(self, time_ns: int, used: Collection[bytes], *, dry_run: bool = False) -> int:
        """Remove contents that were stored before a time, except ``used`` ones; return how many."""
        with self._errors():
            run = self._connection.execute
            rows = run("SELECT id, sha256 FROM content WHERE stored_ns < ?", (time_ns,)).fetchall()
            old = [(number,) for number, sha256 in rows if sha256 not in used]
            if old and not dry_run:
                self._begin()
                self._connection.executemany("DELETE FROM content WHERE id = ?", old)
                self.commit()
        return len(old)

    # ----------------------------------------------------------------------------------------------------------------

    def usage(self) -> ContentUsage:
        """How much is kept."""
        with self._errors():
            run = self._connection.execute
            count, packed = run("SELECT count(*), coalesce(sum(packed), 0) FROM content WHERE refused = ''").fetchone()
            facts = dict(run("SELECT name, value FROM fact"))
        return ContentUsage(count, packed, int(facts.get("dropped", 0)), int(facts.get("dropped_ns", 0)))

    def load(self, digests: Iterable[bytes]) -> dict[bytes, bytes | NotKept]:
        """The contents with these digests; where one was refused, why."""
        wanted = sorted(set(digests))
        found: dict[bytes, bytes | NotKept] = {}
        with self._errors():
            for begin in range(0, len(wanted), _IN_ONE_QUERY):
                part = wanted[begin : begin + _IN_ONE_QUERY]
                marks = ", ".join("?" * len(part))
                query = f"SELECT sha256, size, refused, data FROM content WHERE sha256 IN ({marks})"  # noqa: S608 - marks
                for sha256, size, refused, data in self._connection.execute(query, part):
                    found[sha256] = _reason(refused) if refused else _unpacked(sha256, size, data)
        return found

    def damaged(self) -> Iterator[str]:
        """One line for each content that does not match its digest."""
        with self._errors():
            digests = [row[0] for row in self._connection.execute("SELECT sha256 FROM content WHERE refused = ''")]
        for begin in range(0, len(digests), _IN_ONE_QUERY):
            for sha256, content in self.load(digests[begin : begin + _IN_ONE_QUERY]).items():
                if content is NotKept.DAMAGED:
                    yield f"the content with SHA-256 {sha256.hex()} does not match its digest"


def _reason(refused: str) -> NotKept:
    try:
        return NotKept(refused)
    except ValueError:
        return NotKept.DAMAGED


def _unpacked(sha256: bytes, size: int, data: bytes) -> bytes | NotKept:
    try:
        content = zlib.decompressobj().decompress(data, size + 1)
    except zlib.error:
        return NotKept.DAMAGED
    return content if hashlib.sha256(content).digest() == sha256 else NotKept.DAMAGED


def _create(path: str) -> None:
    """Create the file with its mode from the first byte on."""
    try:
        make_private_directories(os.path.dirname(os.path.abspath(path)))
        flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC
        os.close(os.open(path, flags, 0o600))
    except OSError as error:
        raise StoreError(f"cannot create the file for kept contents, {path}: {error.strerror}") from error


def usage_of(path: str) -> ContentUsage:
    """How much is kept in a file.

    Raises:
        StoreError: as :class:`ContentFile`.
    """
    contents = ContentFile(path, writing=False)
    try:
        return contents.usage()
    finally:
        contents.abandon()


def load_from(path: str, digests: Sequence[bytes]) -> dict[bytes, bytes | NotKept]:
    """The contents with these digests of a file that need not exist.

    Raises:
        StoreError: as :class:`ContentFile`.
    """
    if not digests or not os.path.lexists(path):
        return {}
    contents = ContentFile(path, writing=False)
    try:
        return contents.load(digests)
    finally:
        contents.abandon()
