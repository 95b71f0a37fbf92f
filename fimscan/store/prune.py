"""Remove old rows, with both chains still verifying: what was removed is sealed by a checkpoint in the ledger.

Everything is done in one transaction, so a crash at any moment leaves all or nothing removed. The journal gets entries
with the cause ``prune``. They have the digests that are left of rows whose entries are removed with the beginning of
the journal, and mark removed rows as :data:`fimscan.store.journal.GONE`. All these digests are those of the replayed
journal, not of the present rows: a row that was altered before stays one that was altered.

Scans at the beginning of the ledger are removed unless rows refer to them. Those that stay are no longer in the chain,
and are covered by the journal instead (:data:`fimscan.store.registry.Subject.KEPT_SCAN`).

The digest of a checkpoint is SHA-256 over the items (:mod:`fimscan.store.journal`) of all removed rows in order, then
over the removed entries of the ledger and of the journal, as text. Whoever has a backup from before can compare.
"""

from __future__ import annotations

import hashlib
import struct
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

from msgspec import Struct
from msgspec.structs import replace
from sqlalchemy import BigInteger, Column, ColumnElement, MetaData, Table, func, or_, select, union

from fimscan.errors import StoreError
from fimscan.model import PRUNE, Actor, Attribution, Checkpoint, EventId, MessageState, NoticeKind, Scan, ScanStatus
from fimscan.store import codec, files, journal, process_facts, row_digests, schema
from fimscan.store import scans as scan_store
from fimscan.store.interrupts import check_interrupt
from fimscan.store.ledger import GENESIS
from fimscan.store.queries import STREAMED
from fimscan.store.registry import SHOWN, Noted, Subject, WithScan
from fimscan.store.replay import Covered
from fimscan.store.row_digests import Item
from fimscan.store.session import Session

_ITEM = struct.Struct(">Bq32s")
_IN_TRANSIT = (MessageState.SCAN.value, MessageState.WAITING.value)
_scan, _access, _block = schema.scan, schema.access, schema.audit_block
_fact, _process, _notice = schema.process_fact, schema.process, schema.notice


class Selected(Struct, frozen=True, kw_only=True):
    """What is removed of the history of files.

    Attributes:
        versions: the row numbers of versions.
        changes: the numbers of changes.
        states_from: as of this scan and later ones, all versions are left.
        until: the last scan that is removed from the ledger; ``None`` leaves it as it is.
        needed: scans whose rows are all kept: something still refers to what they found.
        opens_until: opens without a change are removed up to this scan.
        decided: decisions up to this number are final.
    """

    versions: Collection[int] = ()
    changes: Collection[int] = ()
    states_from: int = 0
    until: Scan | None = None
    needed: Collection[int] = ()
    opens_until: int = 0
    decided: int = 0


class Pruner:
    """Removes rows in one transaction; :meth:`seal` then adapts the journal and adds the checkpoint.

    Args:
        session: a transaction without checks of references (:meth:`fimscan.store.database.Database.begin_removal`).
        total: what the journal says of all rows.
    """

    def __init__(self, session: Session, total: Covered) -> None:
        self._session = session
        self._left = total
        self._gone: list[Item] = []
        self._touched: set[tuple[Subject, int]] = set()
        # Before anything is removed: the newest checkpoint and the first scan can be among it.
        self._known = scan_store.checkpoint(session)
        self._began_ns = scan_store.first_started_ns(session)
        self.removed: Counter[str] = Counter()

    # ----------------------------------------------------------------------------------------------------------------
    # By kind

    def prune_outbox(self, before_ns: int) -> None:
        """Remove messages that were delivered or given up."""
        table = schema.outbox.c
        self._remove_noted(Subject.OUTBOX, table.done_ns < before_ns, table.state.not_in(_IN_TRANSIT))

    def prune_controls(self, before_ns: int) -> None:
        """Remove failures that are over and were reported, and missed runs except the last of each job."""
        failure, note, missed = schema.control_failure.c, schema.control_note.c, schema.missed_run.c
        all_told = 2
        old = (failure.host_id == self._session.host_id, failure.end_ns < before_ns, failure.told == all_told)
        over = select(failure.id).where(*old)
        self._remove_numbered(Subject.CONTROL_NOTE, self._ids(note.id, note.failure_id.in_(over)))
        self._remove_numbered(Subject.CONTROL_FAILURE, self._ids(failure.id, *old))
        latest = select(func.max(missed.id)).where(missed.host_id == self._session.host_id).group_by(missed.job)
        past = self._ids(missed.id, missed.last_ns < before_ns, missed.id.not_in(latest))
        self._remove_numbered(Subject.MISSED_RUN, past)

    def prune_history(self, chosen: Selected) -> None:
        """Remove versions of files and changes, and what else was stored with changes."""
        session, running = self._session, schema.in_effect
        changes, versions = sorted(chosen.changes), sorted(chosen.versions)
        of_changes: set[tuple[int, bytes]] = set()
        for some in files.chunks(changes):
            query = select(schema.change.c.scan_id, schema.change.c.path).where(schema.change.c.id.in_(some))
            of_changes.update((scan, path) for scan, path in session.execute(query))
        self._remove_numbered(Subject.CHANGE, changes)
        for scan, path in sorted(of_changes):
            done = session.execute(running.delete().where(running.c.scan_id == scan, running.c.path == path))
            if done.rowcount:
                self.removed["in_effect"] += done.rowcount
                self._touched.add((Subject.IN_EFFECT, scan))
        version = schema.file_version.c
        for some in files.chunks(versions):
            for first, end in session.execute(select(version.first_scan, version.end_scan).where(version.id.in_(some))):
                self._touched |= {(Subject.BEGUN, first), (Subject.ENDED, end)}
            session.execute(schema.file_version.delete().where(version.id.in_(some)))
        self.removed["file_version"] += len(versions)

    def prune_accesses(self, before_ns: int) -> None:
        """Remove blocks of audit records that no kept change rests on, and fanotify's events."""
        if before_ns <= 0:
            return
        event, extent = schema.witness_event.c, schema.witness_extent.c
        self._remove_noted(Subject.WITNESS_EVENT, event.until_ns < before_ns)
        self._remove_noted(Subject.WITNESS_EXTENT, extent.end_ns < before_ns)
        blocks = self._old_blocks(before_ns, explaining(self._session))
        if not blocks:
            return
        session = self._session
        doomed = Table("fimscan_doomed", MetaData(), Column("id", BigInteger, primary_key=True), prefixes=["TEMPORARY"])
        doomed.create(session.connection)
        for some in files.chunks(sorted(blocks)):
            session.execute(doomed.insert(), [{"id": number} for number in some])
        mine = (_access.c.host_id == session.host_id) & (_access.c.time_ns < before_ns)
        done = session.execute(_access.delete().where(mine, _access.c.block_id.in_(select(doomed.c.id))))
        self.removed["access"] += done.rowcount
        session.execute(_block.delete().where(_block.c.id.in_(select(doomed.c.id))))
        doomed.drop(session.connection)
        self.removed["audit_block"] += len(blocks)
        self._forget(Subject.AUDIT_BLOCK, blocks)

    def prune_processes(self, before_ns: int) -> None:
        """Remove records of processes and of audit itself that nothing later can rest on.

        What was known last of a process in the boot in which the time is stays: the process may still run. So do all
        boots, what audit said of itself since the last one, and what kept answers refer to.
        """
        if before_ns <= 0:
            return
        session, mine = self._session, _notice.c.host_id == self._session.host_id
        boots = (mine, _notice.c.kind == NoticeKind.BOOT.value)
        last_boot = session.scalar(select(func.max(_notice.c.time_ns)).where(*boots)) or 0
        boot = session.scalar(select(func.max(_notice.c.time_ns)).where(*boots, _notice.c.time_ns < before_ns)) or 0
        self._remove_noted(
            Subject.NOTICE, _notice.c.time_ns < min(before_ns, last_boot), _notice.c.kind != NoticeKind.BOOT.value
        )
        seen = schema.observation.c
        newest = session.scalar(
            select(func.max(seen.time_ns)).where(seen.host_id == session.host_id, seen.time_ns < before_ns)
        )
        self._remove_noted(Subject.OBSERVATION, seen.time_ns < (newest or 0))
        later = _process.alias()
        is_replaced = (
            select(later.c.pid)
            .where(later.c.host_id == _process.c.host_id, later.c.pid == _process.c.pid)
            .where(later.c.time_ns > _process.c.time_ns, later.c.time_ns < before_ns)
            .exists()
        )
        self._remove_noted(Subject.PROCESS, _process.c.time_ns < before_ns, or_(_process.c.time_ns < boot, is_replaced))
        self._remove_noted(
            Subject.PROCESS_FACT,
            _fact.c.time_ns < before_ns,
            or_(_fact.c.time_ns < boot, _fact.c.kind != process_facts.LOGIN),
            but=("time_ns", "serial"),
            kept={(event.time_ns, event.serial) for event in explaining(session)},
        )

    # ----------------------------------------------------------------------------------------------------------------
    # Scans

    def prune_scans(self, chosen: Selected) -> list[str]:
        """Remove what scans found besides changes, then the scans that nothing refers to; return their entries."""
        until = chosen.until
        opened, mine = schema.unmodified_open, self._mine_of_scan
        last = min(chosen.opens_until, until.id if until is not None else 0)
        self._remove_with_scan(Subject.OPENED, opened, mine(opened.c.scan_id, last))
        if until is None:
            return []
        for subject in (Subject.HOLDERS, Subject.UNREADABLE, Subject.CLOCK):
            table = subject.rows.table
            old = mine(table.c.scan_id, until.id) & table.c.scan_id.not_in(list(chosen.needed))
            self._remove_with_scan(subject, table, old)
        self._prune_devices(until.id, chosen.needed)
        self._drop_read_times(until.id, chosen.needed)
        return self._remove_scans(until.id, chosen.needed)

    def _prune_devices(self, until: int, needed: Collection[int]) -> None:
        """Remove lists of file systems that a later one replaces, except those of ``needed`` scans."""
        table = schema.devices.c
        host = table.host_id == self._session.host_id
        numbers = set()
        for wanted in (until, *needed):
            query = select(func.max(table.scan_id)).where(host, table.scan_id <= wanted)
            numbers.add(self._session.scalar(query))
        kept = [number for number in numbers if number is not None]
        self._remove_noted(Subject.DEVICES, table.scan_id < until, table.scan_id.not_in(kept))

    def _drop_read_times(self, until: int, needed: Collection[int]) -> None:
        """Empty the read times of scans: only what comes after the last complete scan needs them."""
        old = (_scan.c.host_id == self._session.host_id) & (_scan.c.id <= until) & (_scan.c.id.not_in(list(needed)))
        which = (old, _scan.c.read_clock != b"", _scan.c.status == ScanStatus.FINISHED.value)
        for number in self._session.scalars(select(_scan.c.id).where(*which)).all():
            self._session.execute(_scan.update().where(_scan.c.id == number).values(read_clock=b""))
            self._touched.add((Subject.SCAN, number))

    def _remove_scans(self, until: int, needed: Collection[int]) -> list[str]:
        session = self._session
        old = (_scan.c.host_id == session.host_id) & (_scan.c.id <= until)
        numbers = select(_scan.c.id).where(_scan.c.host_id == session.host_id)
        columns = [
            column
            for table in schema.metadata.sorted_tables
            for column in table.columns
            if any(key.column.table is _scan for key in column.foreign_keys)
        ]
        found = union(*(select(column).where(column.is_not(None), column.in_(numbers)) for column in columns))
        referred = set(session.scalars(found)) | {*needed}
        rows = session.execute(
            select(_scan.c.id, _scan.c.entry, _scan.c.reported).where(old).order_by(_scan.c.id)
        ).all()
        gone = [row for row in rows if row.id not in referred]
        for row in gone:
            if row.reported:
                self._take(row_digests.of_row(Subject.REPORTED, {"id": row.id}))
        for subject in (subject for subject in Subject if isinstance(subject.rows, WithScan)):
            self._forget(subject, [row.id for row in gone], must_be_known=False)
        self._forget(Subject.KEPT_SCAN, [row.id for row in gone], must_be_known=False)
        for some in files.chunks([row.id for row in gone]):
            session.execute(_scan.delete().where(_scan.c.id.in_(some)))
        self.removed["scan"] += len(gone)
        used = schema.configuration
        unused = used.delete().where(used.c.digest.not_in(select(_scan.c.config_digest)))
        self.removed["configuration"] += session.execute(unused).rowcount
        return [row.entry for row in gone if row.entry]

    # ----------------------------------------------------------------------------------------------------------------
    # The chains

    def seal(
        self, chosen: Selected, entries: list[str], *, user: str, before_ns: Mapping[str, int], now_ns: int
    ) -> Scan:
        """Adapt the journal, and add the checkpoint to the ledger.

        Args:
            chosen: what was removed of the history.
            entries: the ledger entries of removed scans.
            user: who pruned.
            before_ns: by kind, the time before which was removed.
            now_ns: the time of the checkpoint.
        """
        session, known, until = self._session, self._known, chosen.until
        self._digest_again()
        forgotten: list[str] = []
        if until is not None:
            if until.journal:
                forgotten = journal.forget(session, until.journal)
            for item in row_digests.of_kept_scans(session, until.id):
                self._left.newest.setdefault((item.subject, item.id), item.digest)
        self.removed["journal"] += len(forgotten)
        journal.record_pruning(session, self._new_items())
        last = scan_store.last_finished(session)
        assert last is not None, "without a scan, nothing is pruned"
        removed = {name: count for name, count in sorted(self.removed.items()) if count}
        total = Counter(removed) + Counter({} if known is None else dict(known.total))
        earlier = known or Checkpoint(scan=0, entry=GENESIS, journal=GENESIS, digest="", user="", prunings=0)
        checkpoint = replace(
            earlier,
            scan=until.id if until is not None else earlier.scan,
            entry=until.entry if until is not None else earlier.entry,
            journal=(until.journal or earlier.journal) if until is not None else earlier.journal,
            digest=_digest(self._gone, entries, forgotten),
            user=user,
            removed=removed,
            total=dict(sorted(total.items())),
            prunings=earlier.prunings + 1,
            since_ns=earlier.since_ns or now_ns,
            before_ns={name: max(earlier.before_ns.get(name, 0), at) for name, at in before_ns.items()},
            states_from=max(earlier.states_from, chosen.states_from),
            decided=max(earlier.decided, chosen.decided),
            began_ns=self._began_ns or now_ns,
        )
        return _sealed(session, last, checkpoint, now_ns)

    def _digest_again(self) -> None:
        """Compute the digests of what is left with scans of which rows were removed."""
        for subject, number in sorted(self._touched):
            check_interrupt()
            if (subject, number) not in self._left.newest:
                continue  # the scan itself is gone
            before = self._left.newest[subject, number]
            self._gone.append(Item(subject, number, before))
            after = row_digests.of_rows_with_scan(self._session, subject, number)
            if after is None:
                del self._left.newest[subject, number]
            else:
                self._left.newest[subject, number] = after

    def _new_items(self) -> Iterator[Item]:
        """Yield the items with which the journal that is left says what it has to say."""
        rest = Covered()
        for entry in (*journal.entries(self._session), journal.open_entry(self._session)):
            if entry is not None:
                rest.apply(entry)
        wanted = self._left
        for key in sorted(wanted.newest):
            if rest.newest.get(key) != wanted.newest[key]:
                yield Item(*key, wanted.newest[key])
        for key in sorted(rest.newest.keys() - wanted.newest.keys()):
            yield Item(*key, journal.GONE)
        yield from sorted(rest.rows ^ wanted.rows)

    # ----------------------------------------------------------------------------------------------------------------

    def _ids(self, column: Column[Any], *which: ColumnElement[bool]) -> list[int]:
        mine = column.table.c.host_id == self._session.host_id
        return list(self._session.scalars(select(column).where(mine, *which).order_by(column)))

    def _mine_of_scan(self, column: Column[Any], until: int) -> ColumnElement[bool]:
        mine = select(_scan.c.id).where(_scan.c.host_id == self._session.host_id, _scan.c.id <= until)
        return column.in_(mine)

    def _remove_with_scan(self, subject: Subject, table: Table, which: ColumnElement[bool]) -> None:
        for number in self._session.scalars(select(table.c.scan_id).where(which).distinct()).all():
            self._touched.add((subject, number))
        self.removed[table.name] += self._session.execute(table.delete().where(which)).rowcount

    def _remove_numbered(self, subject: Subject, numbers: Collection[int]) -> None:
        table = subject.rows.table
        for some in files.chunks(sorted(numbers)):
            self._session.execute(table.delete().where(table.c.id.in_(some)))
        self._forget(subject, numbers)
        if subject in SHOWN:
            self._forget(SHOWN[subject], numbers)
        self.removed[table.name] += len(numbers)

    def _forget(self, subject: Subject, numbers: Iterable[int], *, must_be_known: bool = True) -> None:
        for number in sorted(numbers):
            check_interrupt()
            digest = self._left.newest.pop((subject, number), None)
            if digest is not None:
                self._gone.append(Item(subject, number, digest))
            elif must_be_known:
                raise StoreError(f"a row of the table {subject.rows.table.name} ({number}) is not in the journal")

    def _remove_noted(
        self,
        subject: Subject,
        *which: ColumnElement[bool],
        but: tuple[str, ...] = (),
        kept: Collection[tuple[Any, ...]] = frozenset(),
    ) -> None:
        """Remove noted rows, except those whose columns ``but`` have values in ``kept``."""
        rows, session = subject.rows, self._session
        assert isinstance(rows, Noted)
        table = rows.table
        key = [table.c[column.name] for column in table.primary_key.columns]
        found = session.execute(select(table).where(table.c.host_id == session.host_id, *which)).all()
        for row in found:
            values = row._asdict()
            if but and tuple(values[name] for name in but) in kept:
                continue
            self._take(row_digests.of_row(subject, values))
            session.execute(table.delete().where(*(column == values[column.name] for column in key)))
            self.removed[table.name] += 1

    def _take(self, item: Item) -> None:
        check_interrupt()
        if item not in self._left.rows:
            raise StoreError(f"a row of the table {item.subject.rows.table.name} ({item.id}) is not in the journal")
        self._left.rows.remove(item)
        self._gone.append(item)

    def _old_blocks(self, before_ns: int, kept: Collection[EventId]) -> set[int]:
        """The blocks that are completely from before a time, were read before it, and explain nothing."""
        session, mine = self._session, _access.c.host_id == self._session.host_id
        old = set(session.scalars(select(_access.c.block_id).where(mine, _access.c.time_ns < before_ns).distinct()))
        old -= set(session.scalars(select(_access.c.block_id).where(mine, _access.c.time_ns >= before_ns).distinct()))
        late = select(_block.c.id).where(_block.c.host_id == session.host_id, _block.c.stored_ns >= before_ns)
        old -= set(session.scalars(late))
        columns = (_access.c.time_ns, _access.c.serial, _access.c.node, _access.c.block_id)
        for times in files.chunks(sorted({event.time_ns for event in kept if event.time_ns < before_ns})):
            for time_ns, serial, node, block in session.execute(
                select(*columns).where(mine, _access.c.time_ns.in_(times))
            ):
                if EventId(time_ns, serial, node) in kept:
                    old.discard(block)
        return old


def explaining(session: Session) -> set[EventId]:
    """The events that stored answers, and opens without a change, refer to."""
    found: set[EventId] = set()
    reader = codec.AttributionReader()
    query = select(schema.change.c.attribution).where(schema.change.c.host_id == session.host_id)
    for text in session.execute(query, execution_options=STREAMED).scalars():
        found.update(_events(reader.load(text)))
    opened = schema.unmodified_open
    mine = select(opened.c.actors).join(_scan).where(_scan.c.host_id == session.host_id)
    for text in session.execute(mine, execution_options=STREAMED).scalars():
        for actor in codec.load_actors(text):
            found.update(_events_of(actor))
    return found


def _events(answer: Attribution) -> Iterator[EventId]:
    for actor in answer.actors:
        yield from _events_of(actor)
    for gap in answer.coverage.gaps:
        if gap.actor is not None:
            yield from _events_of(gap.actor)
    for ruling in answer.reasoning.rulings if answer.reasoning is not None else ():
        yield from _events_of(ruling.actor)
        yield from ruling.events


def _events_of(actor: Actor) -> Iterator[EventId]:
    if actor.event is not None:
        yield actor.event
    if actor.login is not None and actor.login.event is not None:
        yield actor.login.event


def _digest(gone: Iterable[Item], ledger: Iterable[str], journal_entries: Iterable[str]) -> str:
    total = hashlib.sha256()
    for item in sorted(gone):
        total.update(_ITEM.pack(*item))
    for text in (*ledger, *journal_entries):
        total.update(f"{text}\n".encode())
    return total.hexdigest()


def _sealed(session: Session, last: Scan, checkpoint: Checkpoint, now_ns: int) -> Scan:
    """Add the checkpoint to the ledger, as a scan that compared nothing: its state is that of the last scan."""
    text = scan_store.configuration_text(session, last.config_digest)
    number = scan_store.begin(
        session, trigger=PRUNE, started_ns=now_ns, config_digest=last.config_digest, config_text=text or ""
    )
    begun = scan_store.one_scan(session, number)
    assert begun is not None, "it was added just now"
    done = replace(begun, finished_ns=now_ns, state_digest=last.state_digest, checkpoint=checkpoint)
    return scan_store.finish(session, done, read_clock=b"")
