"""Make the messages of scans that the outbox has, and keep what waits within the limits."""

from __future__ import annotations

import time
from collections.abc import Sequence

from msgspec.structs import replace

from fimscan.config import Config
from fimscan.grouping import Facts
from fimscan.model import (
    Diff,
    Finding,
    MessageKind,
    NewMessage,
    OutboxMessage,
    Scan,
    Unreadable,
    UnreadableReason,
)
from fimscan.outputs.documents import Found, add_problem_lines, messages, packed, plain_document
from fimscan.pipeline.config_changes import reconfigurations
from fimscan.pipeline.history.change_sets import grouping_of
from fimscan.pipeline.history.diff import diff_from_baseline
from fimscan.pipeline.history.explain_change import suspects
from fimscan.pipeline.history.packaged import default_sources, with_packages
from fimscan.pipeline.importance import Importance
from fimscan.pipeline.outputs.settings import Limits, wanted_of
from fimscan.pipeline.signer import signing_key
from fimscan.report.pruning import pruned_lines, removed_text
from fimscan.report.words import plural
from fimscan.store import controls as control_store
from fimscan.store import findings as finding_store
from fimscan.store import outbox
from fimscan.store import scan_results as scan_result_store
from fimscan.store import scans as scan_store
from fimscan.store.database import Database
from fimscan.store.session import Session

_NS = 10**9
_LONGEST_SETTLING_NS = 60 * _NS
_MOST_SCANS = 200  # whose changes are grouped together


def make_messages(
    database: Database, config: Config, *, settled_before_ns: int | None = None, selftest: frozenset[int] = frozenset()
) -> list[str]:
    """Make the messages of all scans that have none yet; return what has to be said about it.

    Args:
        database: the store.
        config: the outputs.
        settled_before_ns: wait while a scan is newer than this, because more may belong to the same change sets, but
            not for more than a minute.
        selftest: the numbers of changes that a selftest made itself, which messages about nothing else say.
    """
    with database.read() as session:
        waiting = outbox.scans(session)
    is_settled = settled_before_ns is None or _is_settled([row.made_ns for row in waiting], settled_before_ns)
    for rows in _by_scans(waiting) if is_settled else ():
        _make(database, config, rows, selftest)
    return [text for output in config.output if (text := _enforce(database, config, output.name))]


def _is_settled(made: Sequence[int], before_ns: int) -> bool:
    """Whether messages of scans are to be made now.

    Whoever changes files again and again must not keep messages from being made. Nor must a clock that was set back.
    """
    newest, oldest = max(made, default=0), min(made, default=0)
    is_quiet = newest <= before_ns or newest > time.time_ns()
    return is_quiet or oldest <= before_ns - _LONGEST_SETTLING_NS


def _by_scans(waiting: Sequence[OutboxMessage]) -> list[list[OutboxMessage]]:
    """Divide rows by their scans, :data:`_MOST_SCANS` at most together."""
    scans = sorted({row.scan for row in waiting if row.scan is not None})
    parts = [frozenset(scans[start : start + _MOST_SCANS]) for start in range(0, len(scans), _MOST_SCANS)]
    return [[row for row in waiting if row.scan in part] for part in parts]


def _make(
    database: Database, config: Config, rows: Sequence[OutboxMessage], selftest: frozenset[int] = frozenset()
) -> None:
    outputs = {output.name: output for output in config.output}
    by_scans: dict[tuple[int, ...], list[str]] = {}
    for name in {row.output for row in rows}:
        scans = tuple(sorted(row.scan for row in rows if row.output == name and row.scan is not None))
        by_scans.setdefault(scans, []).append(name)
    made: dict[str, list[NewMessage]] = {}
    for scans, names in by_scans.items():
        chosen = [outputs[name] for name in names if name in outputs]
        found = found_by(database, config, scans, standing=any(output.all_is_well for output in chosen))
        found = found and replace(found, selftest=selftest)
        for name in names:
            # An output that is no longer configured gets nothing.
            wanted = wanted_of(outputs[name]) if name in outputs else None
            made[name] = messages(found, wanted, outbox.stable_id) if found is not None and wanted is not None else []
    with database.begin() as session:
        outbox.replace_scans(session, [row.number for row in rows], made, time.time_ns())


def found_by(database: Database, config: Config, scans: Sequence[int], *, standing: bool = False) -> Found | None:
    """All that these scans found: each change of each scan, also one that was undone again.

    ``None`` if the last of these scans is not recorded as finished. ``standing``: also what earlier scans found and is
    still so.
    """
    with database.read() as session:
        end = scan_store.one_scan(session, scans[-1])
        if end is None or not end.entry:
            return None
        before = scan_store.finished_before(session, scans[0])
        findings = _findings(session, config, scans)
        diff = Diff(
            host=database.host,
            start=before or end,
            end=end,
            findings=findings,
            suspect_programs=suspects(session, [a for row in findings for a in row.attribution.actors], end.id),
            reconfigurations=reconfigurations(session, before.id, end.id) if before is not None else (),
            signing_key=signing_key(config),
        )
        full = scan_store.last_full(session, until=end.id)
        is_of_full = full is not None and full.id in scans
        unreadable, problems = _new_problems(session, full) if full is not None and is_of_full else ((), ())
        still = _standing(session, full) if full is not None and standing else []
    if standing and before is not None and (waiting := len(diff_from_baseline(database, config).findings)):
        still.append(f"{plural(waiting, 'change')} to accept")
    diff, facts = _packaged(database, config, diff)
    return Found(
        diff=diff,
        grouping=grouping_of(database, diff, facts),
        unreadable=unreadable,
        problems=problems,
        is_first=before is None,
        is_complete=is_of_full,
        standing=tuple(still),
    )


def _packaged(database: Database, config: Config, diff: Diff) -> tuple[Diff, Facts | None]:
    try:
        found = with_packages(database, diff, default_sources(config.database.url))
    except Exception:  # noqa: BLE001  # the alert goes out, whatever there is in a database of packages
        return diff, None
    return found.diff, found.facts


def _findings(session: Session, config: Config, scans: Sequence[int]) -> tuple[Finding, ...]:
    found = [row for scan in scans for row in finding_store.findings_between(session, scan - 1, scan)]
    return Importance(config.watch).on_all(sorted(found, key=lambda row: (row.change.path, row.change.id)))


def _new_problems(session: Session, full: Scan) -> tuple[tuple[Unreadable, ...], tuple[str, ...]]:
    """What a complete scan could not read, and its other problems, unless the one before said the same."""
    before = scan_store.last_full(session, until=full.id - 1)
    known = scan_result_store.unreadable_in(session, before.id) if before is not None else ()
    seen = {(item.path, item.reason, item.differs) for item in known}
    failed = [item for item in scan_result_store.unreadable_in(session, full.id) if _is_failure(item)]
    unreadable = tuple(item for item in failed if (item.path, item.reason, item.differs) not in seen)
    problems = before.problems if before is not None else ()
    return unreadable, tuple(text for text in full.problems if text not in problems)


def _standing(session: Session, full: Scan) -> list[str]:
    """What is still not as it should be: nobody may be told that all is well."""
    failed = sum(map(_is_failure, scan_result_store.unreadable_in(session, full.id)))
    found = [f"{failed:,} unreadable"] if failed else []
    controls = len(control_store.still_open(session))
    found += [plural(controls, "failed control")] if controls else []
    return found + ([plural(len(full.problems), "problem")] if full.problems else [])


def _is_failure(item: Unreadable) -> bool:
    return item.reason is not UnreadableReason.MISSING


# --------------------------------------------------------------------------------------------------------------------
# Limits


def _enforce(database: Database, config: Config, output: str) -> str | None:
    """Give up what is beyond the limits, and say so: to the caller, and to the receiver."""
    limits, now_ns = Limits.of(config), time.time_ns()
    with database.read() as session:
        if not limits.are_exceeded(outbox.usage(session, output), now_ns):
            return None
    key = signing_key(config)
    with database.begin() as session:
        numbers = beyond(outbox.waiting_sizes(session, output), limits, now_ns)
        outbox.give_up(session, numbers, now_ns, "the limits of [outbox] are reached")
        count = outbox.count_given_up(session, output)
        words = f"{plural(count, 'message')} given up: the limits of [outbox] are reached"
        last = scan_store.last_finished(session)
        subject = f"{words}; the changes are in the database"
        notice_id = outbox.stable_id(output, *numbers)
        notice = notice_of(MessageKind.NOT_DELIVERED, database.host, subject, last, notice_id, key)
        outbox.replace_notices(session, output, notice, now_ns)
    return f"output {output}: {words}; see 'fimscan notify --list' for why nothing is delivered, or raise the limits"


def notice_of(
    kind: MessageKind, host: str, subject: str, scan: Scan | None, message_id: str, key: str | None
) -> NewMessage:
    """A message that is not about changes; ``key`` is the fingerprint of the key that signs evidence."""
    document = plain_document(kind, host, subject, time.time_ns(), scan, key)
    document |= {"id": message_id, "severity": None if kind is MessageKind.TEST else "high"}
    number = None if scan is None else scan.id
    return NewMessage(id=message_id, kind=kind, scan=number, urgent=True, body=packed(document))


def add_pruned_messages(session: Session, host: str, config: Config, scan: Scan) -> None:
    """Tell each output that gets problems of a pruning, in its transaction; ``scan`` has the checkpoint."""
    assert scan.checkpoint is not None, "a pruning has one"
    words = f"pruned: {removed_text(scan.checkpoint.removed)}"
    key = signing_key(config) if config.output else None
    for output in config.output:
        if output.problems:
            message_id = outbox.stable_id(output.name, scan.entry)
            document = plain_document(MessageKind.PRUNED, host, words, scan.started_ns, scan, key)
            document |= {"id": message_id, "severity": "low"}
            add_problem_lines(document, list(pruned_lines([scan])))
            message = NewMessage(
                id=message_id, kind=MessageKind.PRUNED, scan=scan.id, urgent=False, body=packed(document)
            )
            outbox.add(session, output.name, [message], scan.started_ns)


def beyond(waiting: Sequence[tuple[int, int, int, bool]], limits: Limits, now_ns: int) -> list[int]:
    """The numbers of the messages to give up. ``waiting`` is in the order in which they are given up.

    When a limit of number or size is reached, a tenth of what is allowed is given up at once: the message about that
    is not one of many.
    """
    oldest_ns = now_ns - int(limits.age_s * _NS)
    given_up = [number for number, _, made_ns, _ in waiting if made_ns < oldest_ns]
    left = [item for item in waiting if item[2] >= oldest_ns]
    count, size = len(left), sum(item[1] for item in left)
    if count <= limits.messages and size <= limits.size:
        return given_up
    for number, length, _, _ in left:
        if count <= limits.messages * 9 // 10 and size <= limits.size * 9 // 10:
            break
        given_up.append(number)
        count, size = count - 1, size - length
    return given_up
