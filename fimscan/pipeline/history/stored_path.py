"""What is stored of one path: first recorded, accepted state, last state, and when it was last read."""

from __future__ import annotations

from fimscan.model import StoredPath
from fimscan.paths import is_within
from fimscan.pipeline.record.last_read import FullReading
from fimscan.store import acceptance as acceptance_store
from fimscan.store import files
from fimscan.store import scan_results as scan_result_store
from fimscan.store import scans as scan_store
from fimscan.store.session import Session


def load_path(session: Session, path: bytes) -> StoredPath:
    """Load what is stored of a path; all is ``None`` before the first baseline."""
    baseline = acceptance_store.baseline(session)
    if baseline is None:
        return StoredPath(path=path)
    accepted, accepted_scan = baseline.overrides.get(path, (None, baseline.scan))
    if path not in baseline.overrides:
        accepted = files.at_paths(session, [path], baseline.scan).get(path)
    latest = files.open_at(session, path)
    first = files.first_scan_of(session, path)
    full = FullReading.load(session)
    assert full.scan is not None, "a baseline is made by a complete scan"
    failures = scan_result_store.unreadable_in(session, full.scan.id)
    recheck = scan_result_store.rechecks(session, [path]).get(path)
    last_read_ns = full.last_read(path, latest.state) if latest is not None else None
    if last_read_ns is not None and recheck is not None:
        last_read_ns = max(last_read_ns, recheck.read_start_ns)
    return StoredPath(
        path=path,
        first=scan_store.one_scan(session, first) if first is not None else None,
        accepted=accepted.state if accepted is not None else None,
        accepted_scan=accepted_scan,
        latest=latest.state if latest is not None else None,
        last_read_ns=last_read_ns,
        unreadable=next((item for item in failures if is_within(path, item.path)), None),
    )
