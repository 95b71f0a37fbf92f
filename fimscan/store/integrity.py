"""Whether the database is what fimscan wrote: every row against the two chains. Each problem is one sentence."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence

from sqlalchemy import Connection, select

from fimscan.model import Scan, ScanStatus
from fimscan.store import covered, files, journal, schema
from fimscan.store import scans as scan_store
from fimscan.store.covered import Item, Subject
from fimscan.store.ledger import StateDigest, replay

_version = schema.file_version
_STREAMED = {"stream_results": True, "yield_per": 2000}
# What reading a row can lead to that somebody else wrote.
UNREADABLE = (ValueError, TypeError, KeyError, AttributeError, OverflowError)
_SUBJECTS = {
    Subject.SCAN: "what scan {} says of its problems and read times",
    Subject.BEGUN: "a file version that began with scan {}, or the time of its reading,",
    Subject.ENDED: "a file version that ended with scan {}",
    Subject.UNREADABLE: "what scan {} could not read",
    Subject.HOLDERS: "who held files open when scan {} began",
    Subject.OPENED: "what was opened and not modified before scan {}",
    Subject.CHANGE: "change {}",
    Subject.ACCEPTANCE: "acceptance {}",
    Subject.AUDIT_BLOCK: "the audit records of block {}, or the accesses that they are found by,",
}


def replayed(connection: Connection, host_id: int) -> tuple[journal.Replay, list[str]]:
    """Both chains, and what is wrong with them; raises what ``UNREADABLE`` has when they can't even be read."""
    scans = scan_store.all_scans(connection, host_id)
    both = journal.Replay(scans, journal.entries(connection, host_id))
    return both, [*replay(scans), *both.problems]


def configurations(connection: Connection, scans: Sequence[Scan]) -> Iterator[str]:
    """Every scan's configuration is there, and is the one that its digest says."""
    table = schema.configuration
    known = {}
    for digest, text in connection.execute(select(table.c.digest, table.c.text)):
        known[digest] = hashlib.sha256(str(text).encode()).hexdigest() == digest
    for digest in {scan.config_digest: None for scan in scans}:
        first = next(scan.id for scan in scans if scan.config_digest == digest)
        if digest not in known:
            yield f"the configuration of scan {first} is missing"
        elif not known[digest]:
            yield f"the configuration of scan {first} (and of all later ones with the same digest) was altered"


def own_digests(connection: Connection, host_id: int) -> Iterator[str]:
    """Every stored version of a file has the digest of what it says, and belongs to scans that there are."""
    scan = schema.scan.c
    real = set(connection.scalars(select(scan.id).where(scan.status != ScanStatus.INTERRUPTED.value)))
    query = select(_version).where(_version.c.host_id == host_id).order_by(_version.c.id)
    for row in connection.execute(query, execution_options=_STREAMED):
        try:
            holds = files.as_digested(files.version_of(row)) is not None
        except UNREADABLE:
            holds = False
        if not holds:
            yield f"{_shown(row.path)} as of scan {row.first_scan} was altered: it has not the digest of what it says"
        if row.first_scan not in real or (row.end_scan is not None and row.end_scan not in real):
            yield f"{_shown(row.path)} as of scan {row.first_scan} belongs to a scan that is not there"


def complete_state(connection: Connection, host_id: int, scan: Scan) -> Iterator[str]:
    """The complete state at a finished scan is the one that its ledger entry says."""
    total = StateDigest()
    for some in files.state_digests_at(connection, host_id, scan.id):
        total.add(some)
    if total.hexdigest() != scan.state_digest:
        yield f"the files as of scan {scan.id} are not those that it recorded: some were altered, added or taken out"


def covered_rows(connection: Connection, host_id: int, newest: dict[tuple[Subject, int], bytes]) -> Iterator[str]:
    """Every row that the journal covers is there, as it was written, and there is no other."""
    missing = dict(newest)
    for items in (
        covered.of_finished_scans(connection, host_id),
        covered.of_changes(connection, host_id),
        covered.of_acceptances(connection, host_id),
        covered.of_audit_blocks(connection, host_id),
    ):
        for item in items:
            known = missing.pop((item.subject, item.id), None)
            if known is None:
                yield f"{_label(connection, item)} is not in the journal: it was added behind fimscan's back"
            elif known != item.digest:
                yield f"{_label(connection, item)} was altered"
    for subject, number in missing:
        yield f"{_SUBJECTS[subject].format(number)} is missing"


def _label(connection: Connection, item: Item) -> str:
    label = _SUBJECTS[item.subject].format(item.id)
    table = {Subject.CHANGE: schema.change, Subject.ACCEPTANCE: schema.acceptance}.get(item.subject)
    if table is None:
        return label
    path = connection.scalar(select(table.c.path).where(table.c.id == item.id))
    return f"{label} ({'everything' if path is None else _shown(path)})"


def _shown(path: object) -> str:
    return path.decode("utf-8", "backslashreplace") if isinstance(path, bytes) else str(path)
