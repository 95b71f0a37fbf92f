"""Import a database of AIDE as the baseline, completed with what is there now.

The files are read now. A file that still agrees with everything in AIDE's database is recorded as it is. Where a
property differs, AIDE's value is recorded, so that the next scan reports just this change. A file that is gone is
recorded as AIDE has it. A file that AIDE does not have, below a directory that it has, is not recorded: the next scan
reports it as added. Windows begin when AIDE's database was made.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field, replace

from fimscan import attribution, compare
from fimscan.attribution.index import ancestors
from fimscan.config import Config
from fimscan.errors import UsageError
from fimscan.importers.aide import AideDatabase, AideEntry, read_aide
from fimscan.linux.filesystems import Devices
from fimscan.model import Approval, FileKind, FileState, Scan
from fimscan.paths import innermost
from fimscan.pipeline.record import scan_entry
from fimscan.pipeline.record.devices import Survey
from fimscan.pipeline.record.last_read import FullReading, Readings
from fimscan.pipeline.record.recorder import Recorder
from fimscan.pipeline.settings import ScanPlan
from fimscan.scan.scanner import Progress, scan
from fimscan.state_row import pack
from fimscan.store import acceptance as acceptance_store
from fimscan.store import devices as device_store
from fimscan.store import scan_results as scan_result_store
from fimscan.store import scans as scan_store
from fimscan.store.database import Database

TRIGGER = "import"
_BATCH = 5000
_NS = 10**9
_UNKNOWN_OWNER = -1
# (of AIDE, of ours): a directory's size, links and times follow from its entries and are not compared.
_PLAIN = (("mode", "mode"), ("uid", "uid"), ("gid", "gid"), ("inode", "inode"))
_OF_FILES = (("size", "size"), ("nlink", "nlink"))
_TIMES = (("mtime_s", "mtime_ns"), ("ctime_s", "ctime_ns"))


@dataclass(slots=True, kw_only=True)
class Imported:
    """The result of an import, in numbers of files.

    Attributes:
        scan: the baseline.
        taken_ns: when AIDE's database was made.
        same: files that agree with AIDE's database.
        differing: files that differ from it.
        gone: files in it that no longer exist.
        new: files that it does not have, below a directory that it has.
        adopted: files that it does not have, elsewhere.
        outside: files in it that are not monitored.
        without_digest: files of which it has no digest.
        unreadable: paths that could not be read.
    """

    scan: Scan | None = None
    taken_ns: int = 0
    same: int = 0
    differing: int = 0
    gone: int = 0
    new: int = 0
    adopted: int = 0
    outside: int = 0
    without_digest: int = 0
    unreadable: list[bytes] = field(default_factory=list)


def import_aide(
    database: Database, config: Config, file: bytes, *, on_progress: Callable[[Progress], None] | None = None
) -> Imported:
    """Make the baseline of an empty database.

    Raises:
        UsageError: there is a baseline already, or nothing in common between AIDE's files and the watches.
        InputError: ``file`` is no database of AIDE.
    """
    aide = read_aide(file)
    with database.scan_lock(wait_s=0):
        with database.begin() as session:
            scan_store.interrupt_unfinished(session)
            last = scan_store.last_finished(session)
            if last is not None:
                raise UsageError(f"{database.name} has a baseline already (scan {last.id}); import into a new database")
        return _Import(database, config, aide, os.fsdecode(file)).run(on_progress)


class _Import:
    def __init__(self, database: Database, config: Config, aide: AideDatabase, name: str) -> None:
        self._database = database
        self._name = name
        self._aide = aide
        self._plan = ScanPlan.of(config, skip=database.own_files)
        self._specs = {spec.path: spec for spec in self._plan.watches}
        self._ours = {
            path: entry
            for path, entry in aide.entries.items()
            if self._plan.scope.includes(path, is_directory=entry.kind is FileKind.DIRECTORY)
        }
        self._done = Imported(taken_ns=aide.taken_ns, outside=len(aide.entries) - len(self._ours))
        if not self._ours:
            raise UsageError("none of the files in it is below a [[watch]]: fix path in [[watch]]")
        self._check_digests()

    def _check_digests(self) -> None:
        """Refuse a file whose digests in AIDE's database are none that a scan takes: it could never be compared."""
        for entry in self._ours.values():
            taken = self._algorithms(entry.path)
            has = [digest.algorithm for digest in entry.digests]
            if taken and has and not set(has) & set(taken):
                raise UsageError(
                    f"AIDE has {has[0]} of {os.fsdecode(entry.path)}, which no scan takes: "
                    "add it to digests in [[watch]]"
                )

    def _algorithms(self, path: bytes) -> tuple[str, ...]:
        root = innermost(path, self._specs)
        assert root is not None, "what no watch covers was left out before"
        return self._specs[root].algorithms

    def run(self, on_progress: Callable[[Progress], None] | None) -> Imported:
        database, config, taken_ns = self._database, self._plan.config, self._done.taken_ns
        with database.begin() as session:
            scan_id = scan_entry.begin(session, config, trigger=TRIGGER, started_ns=taken_ns)
        with scan_entry.interrupted_on_error(database):
            survey = Survey(Devices(), self._plan.roots)
            readings = Readings(full=FullReading(), rechecks={})
            recorder = Recorder(scan_id, readings, self._plan.scope, None, survey)
            # Which processes had files open when AIDE read them is unknown.
            recorder.counts["unexamined_processes"] = 1
            self._record(recorder, on_progress)
            self._done.scan = self._finish(recorder)
        return self._done

    def _record(self, recorder: Recorder, on_progress: Callable[[Progress], None] | None) -> None:
        found = scan(
            self._plan.watches,
            workers=self._plan.workers,
            cross_mounts=self._plan.cross_mounts,
            skip=self._plan.skip,
            on_progress=on_progress,
            limits=self._plan.limits,
        )
        known = (_alone(self._ours[path], self._done.taken_ns) for path in sorted(self._ours))
        with closing(found):
            for pair in compare.merge(known, found):
                for state in self._states(pair):
                    recorder.count_one(state)
                    recorder.record_new(pack(state))
                if pair.unreadable is not None and pair.unreadable.path == pair.path:
                    recorder.unreadable.append(pair.unreadable)
                    self._done.unreadable.append(pair.path)
                if recorder.unwritten >= _BATCH:
                    self._flush(recorder)
        self._flush(recorder)

    def _flush(self, recorder: Recorder) -> None:
        with self._database.begin() as session:
            recorder.flush(session)

    def _states(self, pair: compare.Pair[FileState, FileState]) -> Iterator[FileState]:
        """Yield the state that is recorded of a path, if any, and count it."""
        done = self._done
        if pair.after is None:
            if pair.before is None:
                return
            if pair.unreadable is None and os.path.lexists(pair.path):
                done.outside += 1  # on another file system, or behind a link: AIDE goes there, a scan does not
                return
            done.gone += pair.unreadable is None
            yield pair.before
            return
        entry = self._ours.get(pair.path)
        if entry is not None:
            state = combined(entry, pair.after, done.taken_ns)
            done.same += state is pair.after
            done.differing += state is not pair.after
            done.without_digest += bool(pair.after.digests) and not entry.digests
            yield state
        elif any(above in self._aide.entries for above in ancestors(pair.path)):
            done.new += 1
        else:
            done.adopted += 1
            yield pair.after

    def _finish(self, recorder: Recorder) -> Scan:
        # All windows begin when AIDE's database was made, also those of files that it does not have.
        recorder.clock = attribution.ReadClock()
        recorder.clock.note(b"", self._done.taken_ns)
        with self._database.begin() as session:
            scan_result_store.add_unreadable(session, recorder.scan_id, recorder.unreadable)
            device_store.add_devices(session, recorder.scan_id, recorder.survey.result())
            sealed = scan_entry.seal(session, recorder, (), (), recorder.digest)
            shown = self._name.encode("utf-8", "backslashreplace").decode()
            approval = Approval(accepted_ns=time.time_ns(), user="fimscan", reason=f"AIDE's {shown}")
            acceptance_store.accept_scan(session, recorder.scan_id, approval)
        return sealed


def combined(entry: AideEntry, now: FileState, taken_ns: int) -> FileState:
    """Return ``now`` with AIDE's values where these differ; ``now`` itself where none does."""
    if entry.kind is not now.kind:
        return replace(_alone(entry, taken_ns), dev=now.dev)
    is_directory = now.kind is FileKind.DIRECTORY
    fields = _PLAIN if is_directory else (*_PLAIN, *_OF_FILES)
    other: dict[str, object] = {
        ours: value
        for theirs, ours in fields
        if (value := getattr(entry, theirs)) is not None and value != getattr(now, ours)
    }
    if not is_directory:
        other |= {
            ours: value * _NS
            for theirs, ours in _TIMES
            if (value := getattr(entry, theirs)) is not None and value != getattr(now, ours) // _NS
        }
    if entry.link_target is not None and entry.link_target != now.link_target:
        other["link_target"] = entry.link_target
    taken = {digest.algorithm: digest for digest in now.digests}
    common = tuple(digest for digest in entry.digests if digest.algorithm in taken)
    if any(taken[digest.algorithm] != digest for digest in common):
        other["digests"] = common
    elif not common and "size" in other:
        other["digests"] = ()  # whatever it was, it was not this content
    return replace(now, **other, read_start_ns=taken_ns, read_end_ns=taken_ns) if other else now  # type: ignore[arg-type]


def _alone(entry: AideEntry, taken_ns: int) -> FileState:
    """Build a state from AIDE's values alone: an unknown owner is -1, any other unknown number 0."""
    return FileState(
        path=entry.path,
        kind=entry.kind,
        dev=0,
        inode=entry.inode or 0,
        nlink=entry.nlink or 0,
        mode=entry.mode or 0,
        uid=_UNKNOWN_OWNER if entry.uid is None else entry.uid,
        gid=_UNKNOWN_OWNER if entry.gid is None else entry.gid,
        size=entry.size or 0,
        mtime_ns=(entry.mtime_s or 0) * _NS,
        ctime_ns=(entry.ctime_s or 0) * _NS,
        digests=entry.digests,
        link_target=entry.link_target,
        xattrs=None,
        read_start_ns=taken_ns,
        read_end_ns=taken_ns,
    )
