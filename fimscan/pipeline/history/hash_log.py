"""What a log with one line for each file and scan says: which content each file had, and when it was read."""

from __future__ import annotations

from collections.abc import Iterator

from msgspec import Struct

from fimscan import attribution
from fimscan.errors import UsageError
from fimscan.model import FileKind, Scan, ScanStatus
from fimscan.store import files as file_store
from fimscan.store import scan_results as scan_result_store
from fimscan.store import scans as scan_store
from fimscan.store.database import Database
from fimscan.store.session import Session


class HashedFile(Struct, frozen=True, kw_only=True):
    """One file in one scan: either its SHA-256 (``None`` if none was recorded), or why it could not be read."""

    path: bytes
    read_ns: int
    sha256: bytes | None = None
    problem: str | None = None


def hashed_files(database: Database, scan: int | None, *, every_scan: bool = False) -> Iterator[HashedFile]:
    """Yield the regular files of a scan in order of path, then those that it could not read; streamed.

    Without ``scan``, of the last finished one; with ``every_scan``, of all of them, the oldest first.

    Raises:
        UsageError: there is no such scan.
    """
    with database.read() as session:
        finished = [
            one for one in scan_store.all_scans(session) if one.status is ScanStatus.FINISHED and not one.is_partial
        ]
        sealed = scan_store.checkpoint(session)
        if sealed is not None:  # of earlier ones, versions of files were pruned
            finished = [one for one in finished if one.id >= sealed.states_from]
        if scan is not None:
            finished = [one for one in finished if one.id == scan]
        if not finished:
            which = "no scan has finished" if scan is None else f"scan {scan} is no finished scan of all files"
            raise UsageError(f"{which}; 'fimscan status' lists them")
        for one in finished if every_scan else finished[-1:]:
            yield from _of_scan(session, one)


def _of_scan(session: Session, scan: Scan) -> Iterator[HashedFile]:
    clock = attribution.ReadClock.load(scan_store.read_clock(session, scan.id))
    for version in file_store.as_of(session, scan.id):
        state = version.state
        if state.kind is FileKind.FILE:
            # Its row has the time of the first reading; of later ones, a time shortly before is known. A log that says
            # later than it was would hide a change that was made in between.
            known_ns = state.read_start_ns if version.first_scan == scan.id else clock.at(state.path)
            read_ns = scan.started_ns if known_ns is None else known_ns
            yield HashedFile(path=state.path, read_ns=read_ns, sha256=state.digest("sha256"))
    for item in scan_result_store.unreadable_in(session, scan.id):
        problem = f"{item.reason.value}: {item.detail}" if item.detail else item.reason.value
        yield HashedFile(path=item.path, read_ns=scan.started_ns, problem=problem)
