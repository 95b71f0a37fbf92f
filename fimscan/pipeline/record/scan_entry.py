"""A scan's entry in the store: begin it, seal it with what the scan found, mark it as interrupted on an error."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from itertools import islice

from msgspec.structs import replace

from fimscan.config import Config, Output
from fimscan.errors import FimscanError
from fimscan.model import ChangeKind, Finding, Scan, UnmodifiedOpen, Verdict
from fimscan.pipeline.importance import Importance
from fimscan.pipeline.record.recorder import Recorder
from fimscan.store import findings as finding_store
from fimscan.store import outbox
from fimscan.store import scan_results as scan_result_store
from fimscan.store import scans as scan_store
from fimscan.store.database import Database
from fimscan.store.ledger import StateDigest
from fimscan.store.session import Session

_AT_ONCE = 2000
_NO_FINDINGS = {kind.value: 0 for kind in (*ChangeKind, *Verdict)}


def begin(session: Session, config: Config, *, trigger: str, started_ns: int) -> int:
    """Record that a scan with this configuration begins; return its number."""
    return scan_store.begin(
        session,
        trigger=trigger,
        started_ns=started_ns,
        config_digest=config.digest,
        config_text=config.canonical(),
    )


@contextmanager
def interrupted_on_error(database: Database) -> Iterator[None]:
    """Mark the running scan as interrupted if the block fails.

    The next scan would do so as well. Doing it now makes 'fimscan status' right at once.
    """
    try:
        yield
    except BaseException:
        with suppress(FimscanError), database.begin() as session:
            scan_store.interrupt_unfinished(session)
        raise


def add_findings(session: Session, scan_id: int, findings: Iterable[Finding]) -> Mapping[str, int]:
    """Store findings as they are made, and count them by kind and verdict: a user can make any number of changes."""
    counts = Counter[str]()
    waiting = iter(findings)
    while some := list(islice(waiting, _AT_ONCE)):
        finding_store.add_changes(session, scan_id, some)
        for finding in some:
            counts[finding.change.kind.value] += 1
            counts[finding.attribution.verdict.value] += 1
    return counts


def seal(
    session: Session,
    recorder: Recorder,
    counts: Mapping[str, int],
    opened: Sequence[UnmodifiedOpen],
    digest: StateDigest,
    problems: tuple[str, ...] = (),
    *,
    outputs: Sequence[Output] = (),
) -> Scan:
    """Make the ledger entry of a scan whose findings are stored; ``digest`` is that of the complete state after it.

    ``counts`` are those of :func:`add_findings`; empty if there are none. The ``outputs`` that are to be told of the
    scan are recorded in the same transaction, so none can be forgotten.
    """
    scan_id = recorder.scan_id
    scan_result_store.add_unmodified_opens(session, scan_id, opened)
    running = scan_store.one_scan(session, scan_id)
    assert running is not None, "this scan was recorded when it began"
    sealed = scan_store.finish(
        session,
        replace(
            running,
            finished_ns=time.time_ns(),
            counts={**recorder.counts, **_NO_FINDINGS, **counts, "unreadable": len(recorder.unreadable)},
            state_digest=digest.hexdigest(),
            problems=problems,
        ),
        read_clock=recorder.clock.dump(),
        begun=recorder.begun,
    )
    outbox.add_scan(session, scan_id, sealed.entry, [output.name for output in outputs], time.time_ns())
    return sealed


def sealed_findings(session: Session, scan_id: int, config: Config) -> tuple[Finding, ...]:
    """Load the findings of a sealed scan, numbered, in order of path, with the severities of ``config``.

    The answers have no reasoning: a report of a scan shows none.
    """
    found = finding_store.answers_between(session, scan_id - 1, scan_id)
    return Importance(config.watch).on_all(sorted(found, key=lambda finding: finding.change.path))
