"""Verify the database: the ledger, the journal, and every row that they cover."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice

from fimscan.errors import StoreError, UsageError
from fimscan.evidence.verify import VerifyReport
from fimscan.model import Check, Checkpoint, Scan
from fimscan.report.display import size_text
from fimscan.report.pruning import pruned_lines
from fimscan.store import integrity, journal
from fimscan.store import scans as scan_store
from fimscan.store.contents import ContentFile, contents_file, permission_problem
from fimscan.store.database import Database
from fimscan.store.replay import Replay
from fimscan.store.session import Session

_MOST_PROBLEMS = 20  # listed for one check; further ones are only counted


def verify_database(
    database: Database,
    *,
    scan: int | None = None,
    every_scan: bool = False,
    head: str | None = None,
    quick: bool = False,
) -> VerifyReport:
    """Check this host's records.

    Every stored version of a file and every row that the journal covers is checked. The digest of the complete state is
    recomputed for the last scan, for ``scan``, or for ``every_scan``.

    Args:
        head: a head that was stored off-host (64 hex digits); it must be in one of the chains.
        quick: check only the storage and the chains, not each row.

    Raises:
        UsageError: there is no finished scan with the number ``scan``, or ``head`` is not 64 hex digits.
        StoreError: the database cannot be read at all.
    """
    if head is not None and (len(head) != 64 or set(head) - set("0123456789abcdef")):
        raise UsageError(f"--head {head}: a head has 64 hexadecimal digits; copy it from 'fimscan status'")
    with database.read() as session:
        checks = tuple(_checks(session, database, scan, head, every_scan=every_scan, quick=quick))
    return VerifyReport(checks=checks, fingerprint="")


def failed_checks(session: Session, database: Database, head: str | None = None) -> list[str]:
    """What does not verify, a line each, of the state that a session sees; empty if all does."""
    checks = _checks(session, database, None, head, every_scan=False)
    return [f"{one.name}: {line}" for one in checks if not one.ok for line in one.detail.split("\n")]


def _checks(
    session: Session,
    database: Database,
    scan: int | None,
    head: str | None,
    *,
    every_scan: bool,
    quick: bool = False,
) -> Iterator[Check]:
    yield _guarded("storage", integrity.storage(session), "SQLite finds no damage, and its indexes match its tables")
    try:
        both, problems = integrity.replayed(session)
    except integrity.UNREADABLE as error:
        yield _check("chain", [f"cannot be read: {error!r}"], "")
        return
    finished = [scan for scan in both.scans if scan.checkpoint is None]
    if not finished:
        nothing = f"no finished scan of {database.host} in {database.name}, so there is nothing to check"
        yield _check("chain", [nothing], "")
        return
    chosen = _chosen([*both.kept, *finished], both.checkpoint, scan, every_scan=every_scan)
    yield from _chain(both, problems, journal.common_head(session, both.scans))
    if both.checkpoint is not None:
        yield Check.of("pruned", ok=True, detail="\n".join(pruned_lines(both.scans)))
    if head is not None:
        yield _known_head(both, head)
    if quick:
        yield _space(session)
        return
    yield from _rows(session, both, chosen)
    yield from _contents(session, both.scans[-1], database.file)


def _chosen(
    finished: Sequence[Scan], sealed: Checkpoint | None, scan: int | None, *, every_scan: bool
) -> Sequence[Scan]:
    since = 0 if sealed is None else sealed.states_from
    if every_scan:
        return [item for item in finished if item.id >= since]
    if scan is not None and scan < since:
        raise UsageError(f"the state of scans before {since} was pruned; 'fimscan verify --db' says when and by whom")
    if scan is None:
        return finished[-1:]
    chosen = [item for item in finished if item.id == scan]
    if not chosen:
        raise UsageError(f"there is no finished scan {scan}; 'fimscan status' lists them")
    return chosen


def _chain(both: Replay, problems: Sequence[str], head: str | None) -> Iterable[Check]:
    scans = sum(scan.checkpoint is None for scan in both.scans)
    detail = f"{scans} finished scans and {both.count} journal entries, each linked to the one before"
    if both.checkpoint is not None and both.checkpoint.scan:
        detail += f", after scan {both.checkpoint.scan}"
    yield _check("chain", problems, f"{detail}; the head is {head}")


def _space(session: Session) -> Check:
    size, free = integrity.space(session)
    unused = "" if free is None else f", {size_text(free)} of it free for new rows"
    return Check.of("space", ok=True, detail=f"{size_text(size)}{unused}")


def _known_head(both: Replay, head: str) -> Check:
    if both.covers(head):
        return Check.of("head", ok=True, detail="it is in the chains: everything recorded up to it is still there")
    gone = f"{head} is in neither chain: entries were removed, or the chains were rewritten"
    if both.checkpoint is not None and both.checkpoint.scan:
        gone += f"; if it is the head of scan {both.checkpoint.scan - 1} or an earlier one, it was pruned"
    return Check.of("head", ok=False, detail=gone)


def _rows(session: Session, both: Replay, chosen: Sequence[Scan]) -> Iterable[Check]:
    used = integrity.configurations(session, [*both.kept, *both.scans])
    yield _guarded("configurations", used, "each matches its digest")
    own = integrity.own_digests(session)
    yield _guarded("files", own, "every stored version of every file matches its digest")
    states = (problem for scan in chosen for problem in integrity.complete_state(session, scan))
    which = f"of scan {chosen[0].id}" if len(chosen) == 1 else f"of each of {len(chosen)} scans"
    yield _guarded("state", states, f"the complete state {which} matches the recorded digest")
    rows = integrity.covered_rows(session, both.newest)
    kinds = "scans, changes with their answers, acceptances and audit records"
    yield _guarded("rows", rows, f"{len(both.newest):,} digests of {kinds} match")
    known = chain(integrity.single_rows(session, both.rows), integrity.messages(session))
    kinds = "audit observations and notices, reading positions, processes and live looks"
    yield _guarded("knowledge", known, f"{len(both.rows):,} digests of {kinds} match")


def _contents(session: Session, last: Scan, database: str | None) -> Iterable[Check]:
    """Check what is kept of files, where the configuration of the last scan has it."""
    text = scan_store.configuration_text(session, last.config_digest)
    if text is not None and hashlib.sha256(text.encode()).hexdigest() != last.config_digest:
        text = None  # altered, as the check of configurations says; it may not even be JSON
    settings = json.loads(text) if text is not None else {}
    path = contents_file(database, settings.get("contents", {}).get("file", ""))
    if not os.path.lexists(path):
        if any(watch.get("keep_content") for watch in settings.get("watch", ())):
            missing = f"{path} is missing, although the last scan kept content; 'fimscan scan --full' begins a new one"
            yield Check.of("contents", ok=False, detail=missing)
        return
    if (problem := permission_problem(path)) is not None:
        yield Check.of("contents", ok=False, detail=problem)
        return
    try:
        contents = ContentFile(path, writing=False)
    except StoreError as error:
        yield Check.of("contents", ok=False, detail=str(error))
        return
    try:
        usage = contents.usage()
        yield _guarded("contents", contents.damaged(), f"{usage.contents:,} kept contents match their digests")
    except StoreError as error:
        yield Check.of("contents", ok=False, detail=str(error))
    finally:
        contents.abandon()


def _guarded(name: str, problems: Iterable[str], detail: str) -> Check:
    """One check of ``problems``. A row that cannot be read is a problem, too."""
    found: list[str] = []
    more = 0
    try:
        iterator = iter(problems)
        found = list(islice(iterator, _MOST_PROBLEMS))
        more = sum(1 for _ in iterator)
    except integrity.UNREADABLE as error:
        found.append(f"a row cannot be read: {error!r}")
    return _check(name, [*found, *([f"and {more:,} more"] if more else [])], detail)


def _check(name: str, problems: Sequence[str], detail: str) -> Check:
    return Check.of(name, ok=not problems, detail="\n".join(problems) or detail)
