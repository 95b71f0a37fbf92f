"""Read Wazuh's SQLite databases: ``fim.db`` of an agent, or an agent's database on the manager (``queue/db/001.db``).

Schemas, newest first: one table ``file_entry`` (the last versions name some columns differently), before that
``file_entry`` and ``file_data`` or ``entry_path`` and ``entry_data``, joined by row number. The manager has
``fim_entry``. The permissions are letters (``rw-r--r--``) or the octal mode.
"""

from __future__ import annotations

import os
import re
import sqlite3
import stat
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from typing import Any
from urllib.parse import quote

from fimscan.importers.entries import (
    DAY_NS,
    NS,
    Entries,
    Entry,
    MalformedError,
    Recorded,
    Source,
    absolute,
    earliest_entry,
    hex_digest,
    number,
    shown,
)
from fimscan.importers.tripwire import mode_of_letters
from fimscan.model import KIND_OF_TYPE, Digest, FileKind

_MAGIC = b"SQLite format 3\0"
# (table of paths, table of their inodes)
_TABLES = (("file_entry", "file_data"), ("entry_path", "entry_data"), ("fim_entry", None))
# Ours -> the names that the versions gave to it.
_COLUMNS = {
    "path": ("path", "file"),
    "size": ("size",),
    "perm": ("perm", "permissions"),
    "uid": ("uid",),
    "gid": ("gid",),
    "md5": ("hash_md5", "md5"),
    "sha1": ("hash_sha1", "sha1"),
    "sha256": ("hash_sha256", "sha256"),
    "mtime": ("mtime",),
    "inode": ("inode",),
    "taken": ("last_event", "date"),
}
_DIGESTS = ("md5", "sha1", "sha256")


def is_wazuh(head: bytes) -> bool:
    """Whether a file is an SQLite database."""
    return head.startswith(_MAGIC)


def read_wazuh(source: Source) -> Recorded:
    """Read a database.

    Raises:
        MalformedError: it is damaged, or not one of Wazuh's.
    """
    found = Entries()
    row_number = 0
    uri = f"file:{quote(source.path)}?mode=ro"
    try:
        with closing(sqlite3.connect(uri, uri=True)) as connection:
            connection.text_factory = bytes
            # Nothing in the schema of a foreign file may run.
            connection.execute("PRAGMA trusted_schema = OFF")
            for row_number, row in enumerate(_rows(connection), 1):  # noqa: B007  # used in messages
                found.add(_entry(row))
    except (ValueError, OverflowError) as error:
        raise MalformedError(f"row {row_number + 1 if not found.by_path else row_number}: {error}") from error
    except sqlite3.Error as error:
        raise MalformedError(str(error)) from error
    if not found.by_path:
        raise MalformedError("it lists no file")
    return Recorded(entries=found.by_path, taken_ns=earliest_entry(found.by_path), only_files=True)


def _rows(connection: sqlite3.Connection) -> Iterator[Mapping[str, Any]]:
    for entries, data in _TABLES:
        columns = {name: f"e.{name}" for name in _columns_of(connection, entries)}
        if not columns:
            continue
        origin = f"{entries} AS e"
        if "inode_id" in columns and data is not None:
            columns = {name: f"d.{name}" for name in _columns_of(connection, data)} | columns
            origin += f" JOIN {data} AS d ON d.rowid = e.inode_id"
        chosen = {
            ours: columns[theirs[0]] if theirs[0] in columns else columns[theirs[-1]]
            for ours, theirs in _COLUMNS.items()
            if theirs[0] in columns or theirs[-1] in columns
        }
        if "path" not in chosen:
            continue
        # Only names from the tables above are in it.
        query = f"SELECT {', '.join(chosen.values())} FROM {origin}"  # noqa: S608
        if entries == "fim_entry":
            query += " WHERE type = 'file'"
        for row in connection.execute(query):
            yield dict(zip(chosen, row, strict=True))
        return
    raise ValueError("it has none of Wazuh's tables (file_entry, entry_path, fim_entry)")


def _columns_of(connection: sqlite3.Connection, table: str) -> Sequence[str]:
    known = {"inode_id", *(name for names in _COLUMNS.values() for name in names)}
    rows = connection.execute(f"PRAGMA table_info({table})")
    return [name for row in rows if (name := os.fsdecode(row[1])) in known]


def _entry(row: Mapping[str, Any]) -> Entry:
    path = row["path"]
    if not isinstance(path, bytes):
        raise ValueError("the path is no text")  # noqa: TRY004  # reported with the row, as all that is wrong in it
    kind, mode = _kind_and_mode(_text(row.get("perm")))
    digests = tuple(hex_digest(text, name) for name in _DIGESTS if (text := _text(row.get(name))) not in (b"", b"xxx"))
    taken = _number(row.get("taken"))
    return Entry(
        path=absolute(path, None),
        kind=kind,
        mode=mode,
        uid=_number(row.get("uid")),
        gid=_number(row.get("gid")),
        size=_size(_number(row.get("size")), digests),
        mtime_s=_number(row.get("mtime")) or None,
        inode=_number(row.get("inode")) or None,
        digests=digests if kind is FileKind.FILE else (),
        taken_ns=taken * NS - DAY_NS if taken else None,
    )


def _size(size: int | None, digests: tuple[Digest, ...]) -> int | None:
    """The size; 0 without a digest means that it was not checked."""
    return None if size == 0 and not digests else size


def _kind_and_mode(text: bytes) -> tuple[FileKind, int | None]:
    if not text:
        return FileKind.FILE, None
    if re.fullmatch(rb"[0-7]{1,6}", text):
        full = int(text, 8)
        return KIND_OF_TYPE.get(stat.S_IFMT(full), FileKind.FILE), full & 0o7777
    return FileKind.FILE, mode_of_letters(text)


def _text(value: object) -> bytes:
    if value is None:
        return b""
    return value if isinstance(value, bytes) else str(value).encode()


def _number(value: object) -> int | None:
    text = _text(value)
    if text and not text.isdigit():
        raise ValueError(f"invalid number {shown(text)}")
    return number(text) if text else None
