"""Store and load findings: the changes of scans with their answers."""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import chain, groupby
from operator import attrgetter, itemgetter
from typing import Any

from sqlalchemy import func, select, update

from fimscan.model import Attribution, Breach, Change, ChangeKind, FileState, Finding, Reasoning, ScanStatus, Window
from fimscan.store import codec, files, journal, row_digests, schema
from fimscan.store.queries import STREAMED, plain_rows
from fimscan.store.registry import Subject
from fimscan.store.session import Session

_MANY = 2000
#: The columns of a finding, before that of :data:`fimscan.store.schema.in_effect`.
_COLUMNS = tuple(
    schema.change.c[name]
    for name in (
        *("id", "scan_id", "kind", "before_version", "after_version", "changed", "after_ns", "before_ns"),
        *("holders", "breach", "attribution"),
    )
)
_VERSIONS = slice(3, 5)
_KINDS = {kind.value: kind for kind in ChangeKind}
_NUMBER = attrgetter("change.id")


def add_changes(session: Session, scan_id: int, findings: Sequence[Finding]) -> None:
    """Store some changes of a scan with their answers, and who ran them. Both sides must be stored versions."""
    if not findings:
        return  # an insert of no rows would be one of defaults
    ids = _version_ids(session, scan_id, {state.path for f in findings for state in f.change.sides})
    session.execute(schema.change.insert(), [_row(session, scan_id, finding, ids) for finding in findings])
    running = [
        {"scan_id": scan_id, "path": finding.change.path, "detail": codec.dump_in_effect(finding.in_effect)}
        for finding in findings
        if finding.in_effect is not None
    ]
    if running:
        session.execute(schema.in_effect.insert(), running)


def _row(session: Session, scan_id: int, finding: Finding, ids: Mapping[tuple[bytes, bool], int]) -> dict[str, object]:
    change = finding.change
    return {
        "scan_id": scan_id,
        "host_id": session.host_id,
        "kind": change.kind.value,
        "path": change.path,
        "moved_from": change.moved_from,
        "before_version": ids.get((change.before.path, False)) if change.before else None,
        "after_version": ids.get((change.after.path, True)) if change.after else None,
        "changed": ",".join(change.changed),
        "after_ns": change.window.after_ns,
        "before_ns": change.window.before_ns,
        "holders": codec.dump_holders(change.holders),
        "breach": change.breach,
        "verdict": finding.attribution.verdict.value,
        "attribution": codec.dump_attribution(finding.attribution),
    }


def _version_ids(session: Session, scan_id: int, wanted: Collection[bytes]) -> dict[tuple[bytes, bool], int]:
    """Map (path, is new side) to the row number of the version, for ``wanted`` paths: a scan may adopt millions."""
    table = schema.file_version
    found = {}
    for some in files.chunks(sorted(wanted)):
        of_these = select(table.c.path, table.c.id).where(table.c.host_id == session.host_id, table.c.path.in_(some))
        for is_new, column in ((True, table.c.first_scan), (False, table.c.end_scan)):
            for path, number in session.execute(of_these.where(column == scan_id)):
                found[path, is_new] = number
    return found


def set_attributions(session: Session, answers: Mapping[int, Attribution]) -> None:
    """Replace the answers of changes (by number) that late records revised."""
    table = schema.change
    altered = []
    for change_id, attribution in answers.items():
        text = codec.dump_attribution(attribution)
        another = (table.c.id == change_id) & (table.c.attribution != text)
        values = {"verdict": attribution.verdict.value, "attribution": text}
        if session.execute(update(table).where(another).values(**values)).rowcount:
            altered.append(change_id)
    made = (
        item
        for some in files.chunks(sorted(altered))
        for item in row_digests.of_numbered(session, Subject.CHANGE, table.c.id.in_(some))
    )
    journal.record(session, journal.Cause.LATE_RECORDS, made)


def findings_between(session: Session, start: int, end: int) -> list[Finding]:
    """The findings of scans ``start`` < s <= ``end``, oldest first."""
    return _findings(session, _between(session, start, end))


def answers_between(
    session: Session, start: int, end: int, known: Mapping[int, files.Version] | None = None
) -> list[Finding]:
    """The same without the reasoning of answers (see :func:`reasoning_of`).

    ``known`` are versions by their row numbers that the caller has loaded already.
    """
    return _findings(session, _between(session, start, end), known, codec.AttributionReader(with_reasoning=False))


def answers_of_scan(session: Session, scan_id: int) -> Iterator[Finding]:
    """Yield the findings of one scan without the reasoning of answers, usually oldest first. They may be very many."""
    answers = codec.AttributionReader(with_reasoning=False)
    for some in _loaded(session, _between(session, scan_id - 1, scan_id), {}, answers):
        yield from some


def _between(session: Session, start: int, end: int) -> Any:
    table = schema.change
    return _finished_changes(session).where(table.c.scan_id > start, table.c.scan_id <= end)


def reasoning_of(session: Session, changes: Iterable[int]) -> dict[int, Reasoning | None]:
    """How the answers of some changes were found, by the numbers of the changes."""
    table = schema.change
    answers = codec.AttributionReader()
    return {
        number: answers.load(text).reasoning
        for some in files.chunks(sorted(set(changes)))
        for number, text in session.execute(select(table.c.id, table.c.attribution).where(table.c.id.in_(some)))
    }


def numbers_between(session: Session, first: int, last: int) -> Iterator[int]:
    """The numbers of the changes of scans ``first`` <= s <= ``last``."""
    table = schema.change
    mine = (table.c.host_id == session.host_id) & table.c.scan_id.between(first, last)
    yield from session.execute(select(table.c.id).where(mine), execution_options=STREAMED).scalars()


def has_any_between(session: Session, start: int, end: int) -> bool:
    """Whether there is any finding of scans ``start`` < s <= ``end``."""
    table = schema.change
    query = _finished_changes(session).where(table.c.scan_id > start, table.c.scan_id <= end)
    return session.execute(query.with_only_columns(table.c.id).limit(1)).first() is not None


def findings_since(session: Session, time_ns: int) -> list[Finding]:
    """The findings whose window ends at or after a time: those that a late audit record of that time may concern."""
    query = _finished_changes(session).where(schema.change.c.before_ns >= time_ns)
    return _findings(session, query)


def history_of(session: Session, path: bytes) -> list[Finding]:
    """All findings of a path, including moves away from it."""
    table = schema.change
    query = _finished_changes(session).where((table.c.path == path) | (table.c.moved_from == path))
    return _findings(session, query)


def scans_of(session: Session, paths: Iterable[bytes]) -> dict[bytes, list[int]]:
    """The scans that found changes of each path, including moves away from it, oldest first."""
    table = schema.change
    found: dict[bytes, list[int]] = {}
    for some in files.chunks(sorted(paths)):
        concerned = table.c.path.in_(some) | table.c.moved_from.in_(some)
        query = _finished_changes(session).with_only_columns(table.c.path, table.c.moved_from, table.c.scan_id)
        for path, moved_from, scan in session.execute(query.where(concerned).order_by(table.c.id)):
            for name in {path, moved_from} - {None}:
                found.setdefault(name, []).append(scan)
    return found


def later_scans(session: Session) -> Callable[[int], int | None]:
    """What gives, by the number of a change, the next scan that found a change of its path, or a move away from it.

    It is ``None`` if none did. This is for all changes: it reads the table once, and keeps 8 bytes of each.
    """
    table, scan = schema.change, schema.scan
    mine = table.c.host_id == session.host_id
    done = (scan.c.host_id == session.host_id) & (scan.c.status == ScanStatus.FINISHED.value)
    finished = set(session.scalars(select(scan.c.id).where(done)))
    moved: dict[bytes, list[int]] = {}
    away = select(table.c.moved_from, table.c.scan_id).where(mine, table.c.moved_from.is_not(None))
    for path, number in chain.from_iterable(plain_rows(session, away, _MANY)):
        if number in finished:
            moved.setdefault(path, []).append(number)
    first, last = session.execute(select(func.min(table.c.id), func.max(table.c.id)).where(mine)).one()
    later = array("q", bytes(8 * (0 if first is None else last - first + 1)))
    # In the order of the index: so nothing has to be kept of a path.
    query = select(table.c.path, table.c.id, table.c.scan_id).where(mine).order_by(table.c.path, table.c.id)
    rows = chain.from_iterable(plain_rows(session, query, _MANY))
    for path, those in groupby(rows, key=itemgetter(0)):
        found = [(number, at) for _, number, at in those if at in finished]
        scans = sorted([*(at for _, at in found), *moved.get(path, ())])
        for number, at in found:
            if at < scans[-1]:
                later[number - first] = scans[bisect_right(scans, at)]
    return lambda number: later[number - first] or None


def programs_before(session: Session, directory: bytes, scan_id: int, most: int) -> list[tuple[int, frozenset[bytes]]]:
    """(scan, named programs) of changes in a directory and below it before a scan, of the latest ``most`` ones.

    Those below it are left out of the answer, and so are changes for which no process is named.
    """
    table = schema.change
    prefix = directory.rstrip(b"/") + b"/"
    mine = _finished_changes(session).with_only_columns(table.c.scan_id, table.c.path, table.c.attribution)
    query = mine.where(table.c.path >= prefix, table.c.path < prefix[:-1] + b"0", table.c.scan_id < scan_id)
    rows = session.execute(query.order_by(table.c.id.desc()).limit(most), execution_options=STREAMED)
    found = [(scan, codec.programs_in(text)) for scan, path, text in rows if b"/" not in path[len(prefix) :]]
    return [(scan, programs) for scan, programs in found if programs]


def one_finding(session: Session, change_id: int) -> Finding | None:
    """The finding of a change, by its number."""
    query = _finished_changes(session).where(schema.change.c.id == change_id)
    return next(iter(_findings(session, query)), None)


def count_by_verdict(session: Session) -> dict[str, int]:
    """How many changes of finished scans are stored, by verdict."""
    table, scan = schema.change, schema.scan
    query = (
        select(table.c.verdict, func.count())
        .join(scan, scan.c.id == table.c.scan_id)
        .where(table.c.host_id == session.host_id, scan.c.status == ScanStatus.FINISHED.value)
    )
    return {verdict: int(count) for verdict, count in session.execute(query.group_by(table.c.verdict))}


def _finished_changes(session: Session) -> Any:
    running = schema.in_effect
    same = (running.c.scan_id == schema.change.c.scan_id) & (running.c.path == schema.change.c.path)
    return (
        select(*_COLUMNS, running.c.detail)
        .join(schema.scan, schema.change.c.scan_id == schema.scan.c.id)
        .join(running, same, isouter=True)
        .where(schema.change.c.host_id == session.host_id, schema.scan.c.status == ScanStatus.FINISHED.value)
    )


def _findings(
    session: Session,
    query: Any,
    known: Mapping[int, files.Version] | None = None,
    answers: codec.AttributionReader | None = None,
) -> list[Finding]:
    """The findings of a query of :func:`_finished_changes`, by their numbers: oldest first."""
    found: list[Finding] = []
    for some in _loaded(session, query, known or {}, answers or codec.AttributionReader()):
        found += some
    # Not in SQL: the database would write all rows to a temporary file. Nearly always, they are in order already.
    found.sort(key=_NUMBER)
    return found


def _loaded(
    session: Session, query: Any, known: Mapping[int, files.Version], answers: codec.AttributionReader
) -> Iterator[list[Finding]]:
    """Yield the findings of a query of :func:`_finished_changes` in pieces, as the database has them."""
    for rows in plain_rows(session, query, _MANY):
        needed = {number for row in rows for number in row[_VERSIONS]} - {None}
        states = {number: known[number].state for number in needed if number in known}
        if missing := needed - states.keys():
            states.update(files.states_by_ids(session, missing))
        yield [_finding(row, states, answers) for row in rows]


@lru_cache(maxsize=256)  # most files of an upgrade differ in the same fields
def _fields(changed: str) -> tuple[str, ...]:
    return tuple(changed.split(","))


def _finding(row: Sequence[Any], states: Mapping[int, FileState], answers: codec.AttributionReader) -> Finding:
    number, scan, kind, before, after, changed, after_ns, before_ns, holders, breach, attribution, in_effect = row
    change = Change(
        id=number,
        kind=_KINDS[kind],
        before=None if before is None else states[before],
        after=None if after is None else states[after],
        changed=_fields(changed) if changed else (),
        window=Window(after_ns=after_ns, before_ns=before_ns),
        holders=codec.load_holders(holders),
        breach=None if breach is None else Breach(breach),
    )
    return Finding(
        change=change,
        attribution=answers.load(attribution),
        scan=scan,
        in_effect=codec.load_in_effect(in_effect),
    )
