"""Keep the contents that a scan or a look has read. A failure is reported, and never stops the scan."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Self

from fimscan.config import Config
from fimscan.errors import StoreError
from fimscan.paths import innermost
from fimscan.report.display import show
from fimscan.scan.keeping import Keeping, Kept, KnownContents
from fimscan.store import acceptance as acceptance_store
from fimscan.store import files
from fimscan.store.contents import ContentFile, contents_file
from fimscan.store.database import Database
from fimscan.store.session import Session

QUOTA_TOO_SMALL = (
    "the quota of kept contents is too small: content of the baseline or of the last scan was dropped;"
    " raise [contents] quota, or keep the content of fewer files"
)
_MOST_WAITING = 4 * 1024 * 1024  # bytes, compressed


class ContentRecorder:
    """Takes contents during one scan; does nothing if the configuration keeps none.

    A context manager. Call ``finish`` before the scan is published.

    Args:
        database: the store, which says what is still needed.
        config: quota and exceptions.
        is_look: the caller reads few files: what is known is not loaded.
    """

    def __init__(self, database: Database, config: Config, *, is_look: bool = False) -> None:
        self._database = database
        self._quota = config.contents.quota_bytes
        self._waiting: list[Kept] = []
        self._waiting_bytes = 0
        self._file: ContentFile | None = None
        self.problems: list[str] = []
        self.keeping: Keeping | None = None
        known = KnownContents()
        if not keeps_content(config):
            return
        try:
            self._file = ContentFile(contents_file(database.file, config.contents.file), writing=True)
            self._file.adopt_settings(
                self._quota, (path for watch in config.watch for path in watch.keep_content_of_secrets)
            )
            if not is_look:
                known = KnownContents(*self._file.known())
        except StoreError as error:
            self._fail(error)
            return
        self.keeping = Keeping(known, self._add)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self._abandon()

    def finish(self) -> list[str]:
        """Write the rest, drop what is too much, and return what went wrong."""
        self._write()
        if self._file is not None:
            try:
                _, lost = self._file.keep_within(self._quota, self._needed)
                self._file.close()
                if lost:
                    self.problems.append(QUOTA_TOO_SMALL)
            except StoreError as error:
                self._fail(error)
        self._file = None
        return self.problems

    def _add(self, contents: list[Kept]) -> None:
        self._waiting += contents
        self._waiting_bytes += sum(len(data) for *_, data in contents)
        if self._waiting_bytes > _MOST_WAITING:
            self._write()

    def _write(self) -> None:
        """Write what waits, in a short transaction: reports read the file meanwhile."""
        waiting, self._waiting, self._waiting_bytes = self._waiting, [], 0
        if self._file is None or not waiting:
            return
        try:
            self._file.add(waiting)
            self._file.commit()
        except StoreError as error:
            self._fail(error)

    def _fail(self, error: StoreError) -> None:
        self.problems.append(f"no content is kept: {error}")
        self._abandon()

    def _abandon(self) -> None:
        if self._file is not None:
            self._file.abandon()
            self._file = None

    def _needed(self) -> frozenset[bytes]:
        with self._database.read() as session:
            return needed_contents(session)


def needed_contents(session: Session) -> frozenset[bytes]:
    """The SHA-256 of every file as of the last scan and as of the baseline."""
    baseline = acceptance_store.baseline(session)
    found = set(files.sha256_in_use(session, baseline.scan if baseline is not None else None))
    if baseline is not None:
        accepted = (version.state.digest("sha256") for version, _ in baseline.overrides.values() if version is not None)
        found.update(digest for digest in accepted if digest is not None)
    return frozenset(found)


def keeps_content(config: Config) -> bool:
    """Whether the content of any file is kept."""
    return any(watch.keep_content for watch in config.watch)


def placement_problems(database: Database, config: Config) -> list[str]:
    """Say so if the contents are below a watched directory: they are read by whoever may read what is there."""
    if not keeps_content(config):
        return []
    path = os.fsencode(contents_file(database.file, config.contents.file))
    return list(_placement(path, (os.fsencode(watch.path) for watch in config.watch)))


def _placement(path: bytes, roots: Iterable[bytes]) -> Iterable[str]:
    root = innermost(path, dict.fromkeys(roots))
    if root is not None:
        yield (
            f"kept contents are in {show(path)}, below the watched directory {show(root)}: whoever copies that"
            " directory copies them, and the file itself is not monitored; set [contents] file to a place elsewhere"
        )
