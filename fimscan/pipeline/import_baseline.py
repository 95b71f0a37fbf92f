"""Import the baseline of another program, completed with what is there now.

The files are read now. A file that still agrees with everything that the other program recorded is recorded as it is.
Where a property differs, the other program's value is recorded, so that the next scan reports just this change. A file
that is gone is recorded as the other program had it. A file that it did not list, in a directory that it lists
completely, is not recorded: the next scan reports it as added. Windows begin when the other program read the files.

Digests that no scan takes (MD5, SHA-1) are computed now, of the files as they are. If one agrees, the file is recorded
as it is. If one differs, the earlier content is another one, with a digest that nobody knows
(:data:`fimscan.model.UNKNOWN_DIGEST`).
"""

from __future__ import annotations

import grp
import hashlib
import os
import pwd
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import closing
from functools import cache
from typing import TypeAlias

from msgspec import Struct, field
from msgspec.structs import replace

from fimscan import attribution, compare
from fimscan.attribution.index import ancestors
from fimscan.config import Config
from fimscan.errors import UsageError
from fimscan.importers.entries import Entry, Recorded
from fimscan.importers.formats import FORMATS, read_baseline
from fimscan.linux.filesystems import Devices
from fimscan.model import IMPORT, UNKNOWN_DIGEST, UNKNOWN_OWNER, Approval, Digest, FileKind, FileState, Scan
from fimscan.packages.files import ChangedError, digest_recorded
from fimscan.paths import innermost, parent
from fimscan.pipeline.record import scan_entry
from fimscan.pipeline.record.devices import Survey
from fimscan.pipeline.record.last_read import FullReading, Readings
from fimscan.pipeline.record.recorder import Recorder
from fimscan.pipeline.settings import ScanPlan
from fimscan.scan.scanner import Progress, scan
from fimscan.state_row import ALGORITHMS, pack
from fimscan.store import acceptance as acceptance_store
from fimscan.store import devices as device_store
from fimscan.store import scan_results as scan_result_store
from fimscan.store import scans as scan_store
from fimscan.store.database import Database

TRIGGER = IMPORT
_BATCH = 5000
_NS = 10**9
# The same in an entry and a state. A directory's size, links and times follow from its entries and are not compared.
_PLAIN = ("mode", "uid", "gid", "inode")
_OF_FILES = ("size", "nlink")
_COMPARED = (*_PLAIN, *_OF_FILES, "mtime", "ctime", "link_target")

ForeignDigests: TypeAlias = Callable[[FileState, Sequence[str]], Mapping[str, bytes]]
"""Digests of a file as it is in a state, of algorithms that no scan takes; empty if it is not so any more."""


class Imported(Struct, kw_only=True):
    """The result of an import, in numbers of files.

    Attributes:
        format: what the file was taken for.
        scan: the baseline.
        taken_ns: no later than the other program's reading of the first file; ``None`` if the file does not say.
        same: files that agree with everything that it recorded.
        differing: files that differ from it.
        gone: files in it that no longer exist.
        new: files that it does not have, in a directory that it lists completely.
        adopted: files that it does not have, elsewhere.
        outside: files in it that are not monitored.
        followed: symbolic links of which it has the content that they lead to, so nothing of the link itself.
        without_digest: files without a digest of their content in it.
        uncomputable: files whose only digests in it cannot be computed here.
        uncompared: logs that may have grown, and files that changed or could not be read while they were compared.
        skipped: lines about files that the other program could not read, or that were gone.
        unreadable: paths that could not be read.
        digests: files whose content was compared, by the algorithm.
        attributes: files of which an attribute was compared, by its name.
    """

    format: str
    scan: Scan | None = None
    taken_ns: int | None = None
    same: int = 0
    differing: int = 0
    gone: int = 0
    new: int = 0
    adopted: int = 0
    outside: int = 0
    followed: int = 0
    without_digest: int = 0
    uncomputable: int = 0
    uncompared: int = 0
    skipped: int = 0
    unreadable: list[bytes] = field(default_factory=list)
    digests: Counter[str] = field(default_factory=Counter)
    attributes: Counter[str] = field(default_factory=Counter)


def import_baseline(
    database: Database,
    config: Config,
    file: bytes,
    *,
    form: str | None = None,
    root: bytes | None = None,
    on_progress: Callable[[Progress], None] | None = None,
) -> Imported:
    """Make the baseline of an empty database. Without ``form``, the file's beginning says what it is.

    ``root`` is the directory of relative names.

    Raises:
        UsageError: there is a baseline already, or nothing in common between the file and the watches.
        InputError: ``file`` is not readable, or in no known format, or incomplete.
    """
    form, recorded = read_baseline(file, form, root)
    with database.scan_lock(wait_s=0):
        with database.begin() as session:
            scan_store.interrupt_unfinished(session)
            last = scan_store.last_finished(session)
            if last is not None:
                raise UsageError(f"{database.name} has a baseline already (scan {last.id}); import into a new database")
        return _Import(database, config, form, recorded, os.fsdecode(file)).run(on_progress)


class _Import:
    def __init__(self, database: Database, config: Config, form: str, recorded: Recorded, name: str) -> None:
        self._database = database
        self._name = name
        self._recorded = recorded
        self._plan = ScanPlan.of(config, skip=database.own_files)
        self._specs = {spec.path: spec for spec in self._plan.watches}
        self._entries = dict(_placed(recorded))
        self._ours = {
            path: entry
            for path, entry in self._entries.items()
            if self._plan.scope.includes(path, is_directory=entry.kind is FileKind.DIRECTORY)
        }
        self._covered = _covered(self._entries, recorded)
        self._now_ns = time.time_ns()
        # Without a time, a window begins so early that it is a gap in audit. No clock makes it begin in the future.
        self._since_ns = max(min(recorded.taken_ns or 0, self._now_ns), 0)
        self._done = Imported(
            format=form,
            taken_ns=self._since_ns or None,
            outside=len(self._entries) - len(self._ours),
            skipped=recorded.skipped,
        )
        if not self._ours:
            raise UsageError("none of the files in it is below a [[watch]]: fix path in [[watch]]")

    def run(self, on_progress: Callable[[Progress], None] | None) -> Imported:
        database, config = self._database, self._plan.config
        with database.begin() as session:
            scan_id = scan_entry.begin(session, config, trigger=TRIGGER, started_ns=self._since_ns or self._now_ns)
        with scan_entry.interrupted_on_error(database):
            survey = Survey(Devices(), self._plan.roots)
            readings = Readings(full=FullReading(), rechecks={})
            recorder = Recorder(scan_id, readings, self._plan.scope, None, survey)
            # Which processes had files open when the other program read them is unknown.
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
        known = (_alone(self._ours[path], self._since(self._ours[path])) for path in sorted(self._ours))
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

    def _since(self, entry: Entry) -> int:
        return self._since_ns if entry.taken_ns is None else max(min(entry.taken_ns, self._now_ns), self._since_ns)

    def _states(self, pair: compare.Pair[FileState, FileState]) -> Iterator[FileState]:
        """Yield the state that is recorded of a path, if any, and count it."""
        done = self._done
        if pair.after is None:
            if pair.before is None:
                return
            if pair.unreadable is None and os.path.lexists(pair.path):
                done.outside += 1  # on another file system, or behind a link: the other program goes there
                return
            done.gone += pair.unreadable is None
            yield pair.before
            return
        entry = self._ours.get(pair.path)
        if entry is not None:
            yield self._compared(entry, pair.after)
        elif self._is_new(pair.after):
            done.new += 1
        else:
            done.adopted += 1
            yield pair.after

    def _compared(self, entry: Entry, now: FileState) -> FileState:
        if entry.kind is None and now.kind is not FileKind.FILE:
            # A list of contents follows symbolic links, and says nothing of anything else.
            self._done.followed += 1
            return now
        uncompared = self._done.uncompared
        if self._is_grown_log(entry, now):
            # Nobody knows the digests of its beginning: that it is as it was cannot be said, nor that it is not.
            entry = replace(entry, size=None, mtime_s=None, ctime_s=None, digests=())
            self._done.uncompared += 1
        state = combined(entry, now, self._since(entry), self._digested)
        self._done.same += state is now
        self._done.differing += state is not now
        self._count(entry, now, has_content=self._done.uncompared == uncompared)
        return state

    def _is_grown_log(self, entry: Entry, now: FileState) -> bool:
        root = innermost(now.path, self._specs)
        assert root is not None, "what no watch covers was left out before"
        if not self._specs[root].append_only or now.kind is not FileKind.FILE or (entry.size or 0) > now.size:
            return False
        taken = {digest.algorithm for digest in now.digests}
        return not any(digest.algorithm in taken for digest in entry.digests)

    def _digested(self, state: FileState, algorithms: Sequence[str]) -> Mapping[str, bytes]:
        try:
            return digest_recorded(b"/", state, state.path, algorithms)
        except (ChangedError, OSError):
            self._done.uncompared += 1
            return {}

    def _count(self, entry: Entry, now: FileState, *, has_content: bool) -> None:
        """Count what of a file was compared, and by which digest."""
        done = self._done
        for name in _COMPARED:
            value = getattr(entry, f"{name}_s" if name in ("mtime", "ctime") else name)
            if name == "link_target" and now.kind is FileKind.SYMLINK:
                value = value or entry.digests or None
            if value is not None and (now.kind is not FileKind.DIRECTORY or name in _PLAIN):
                done.attributes[name] += 1
        if now.kind is not FileKind.FILE or not now.digests or not has_content:
            return
        algorithms = _comparable(entry, now)
        if algorithms:
            done.digests[algorithms[0]] += 1
        elif entry.digests:
            done.uncomputable += 1
        else:
            done.without_digest += 1

    def _is_new(self, state: FileState) -> bool:
        """Whether a file that is not listed was not there."""
        if not self._recorded.lists_all or (self._recorded.only_files and state.kind is not FileKind.FILE):
            return False
        return any(above in self._covered for above in ancestors(state.path))

    def _finish(self, recorder: Recorder) -> Scan:
        # All windows begin when the other program read the files, also those of files that it does not have.
        recorder.clock = attribution.ReadClock()
        recorder.clock.note(b"", self._since_ns)
        with self._database.begin() as session:
            scan_result_store.add_unreadable(session, recorder.scan_id, recorder.unreadable)
            device_store.add_devices(session, recorder.scan_id, recorder.survey.result())
            sealed = scan_entry.seal(session, recorder, {}, (), recorder.digest, outputs=self._plan.config.output)
            shown = self._name.encode("utf-8", "backslashreplace").decode()
            reason = f"{FORMATS[self._done.format].what} {shown}"
            approval = Approval(accepted_ns=time.time_ns(), user="fimscan", reason=reason)
            acceptance_store.accept_scan(session, recorder.scan_id, approval)
        return sealed


def _placed(recorded: Recorded) -> Iterator[tuple[bytes, Entry]]:
    """Yield entries at the paths where a scan finds them."""
    directories: dict[bytes, bytes] = {}
    for path, entry in recorded.entries.items():
        other = entry.other_path
        if other is not None and not os.path.lexists(path) and os.path.lexists(other):
            path = other  # noqa: PLW2901  # the name was meant literally
        if recorded.follows_links:
            above = parent(path)
            if above not in directories:
                directories[above] = os.path.realpath(above)
            path = directories[above].rstrip(b"/") + b"/" + path.rpartition(b"/")[2]  # noqa: PLW2901
        yield path, _numbered(entry, path)


def _covered(entries: Mapping[bytes, Entry], recorded: Recorded) -> Collection[bytes]:
    """The directories that were listed completely."""
    return {parent(path) for path in entries} if recorded.only_files else entries.keys()


def _numbered(entry: Entry, path: bytes) -> Entry:
    """The entry at its path, with the numbers of its user and group where it has names that this host knows."""
    uid = _uid_of(entry.user) if entry.uid is None and entry.user is not None else entry.uid
    gid = _gid_of(entry.group) if entry.gid is None and entry.group is not None else entry.gid
    if (path, uid, gid) == (entry.path, entry.uid, entry.gid):
        return entry
    return replace(entry, path=path, uid=uid, gid=gid)


@cache
def _uid_of(name: str) -> int | None:
    try:
        return pwd.getpwnam(name).pw_uid
    except KeyError:
        return None


@cache
def _gid_of(name: str) -> int | None:
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        return None


def _none(_state: FileState, _algorithms: Sequence[str]) -> Mapping[str, bytes]:
    return {}


def _comparable(entry: Entry, now: FileState) -> list[str]:
    """The algorithms by which the content is compared: those of the scan, else those that can be computed."""
    names = [digest.algorithm for digest in entry.digests]
    taken = {digest.algorithm for digest in now.digests}
    return [name for name in names if name in taken] or [name for name in names if name in hashlib.algorithms_available]


def combined(entry: Entry, now: FileState, taken_ns: int, foreign: ForeignDigests = _none) -> FileState:
    """Return ``now`` with the entry's values where these differ; ``now`` itself where none does."""
    if entry.kind is None:
        if now.kind is not FileKind.FILE:
            return now
        entry = replace(entry, kind=FileKind.FILE)
    if entry.kind is not now.kind:
        return replace(_alone(entry, taken_ns), dev=now.dev)
    other: dict[str, object] = {
        name: value
        for name in (_PLAIN if now.kind is FileKind.DIRECTORY else (*_PLAIN, *_OF_FILES))
        if (value := getattr(entry, name)) is not None and value != getattr(now, name)
    }
    if now.kind is not FileKind.DIRECTORY:
        other |= _other_times(entry, now)
    if now.kind is FileKind.SYMLINK:
        other |= _other_target(entry, now)
    elif now.kind is FileKind.FILE:
        other |= _other_content(entry, now, foreign, is_resized="size" in other)
    return replace(now, **other, read_start_ns=taken_ns, read_end_ns=taken_ns) if other else now


def _other_times(entry: Entry, now: FileState) -> dict[str, object]:
    found: dict[str, object] = {}
    for name, seconds, fraction in (("mtime_ns", entry.mtime_s, entry.mtime_nsec), ("ctime_ns", entry.ctime_s, None)):
        if seconds is None:
            continue
        value_ns = getattr(now, name)
        now_s, now_nsec = divmod(value_ns, _NS)
        # A local time of the hour that is repeated in autumn has two meanings.
        is_same = now_s == seconds or (entry.is_local and time.localtime(now_s)[:6] == time.localtime(seconds)[:6])
        if not is_same or (fraction and fraction != now_nsec):
            found[name] = seconds * _NS + (fraction or 0)
    return found


def _other_target(entry: Entry, now: FileState) -> dict[str, object]:
    if entry.link_target is not None:
        return {} if entry.link_target == now.link_target else {"link_target": entry.link_target}
    known = [digest for digest in entry.digests if digest.algorithm in hashlib.algorithms_available]
    text = now.link_target or b""
    is_same = all(hashlib.new(one.algorithm, text, usedforsecurity=False).digest() == one.value for one in known)
    return {} if is_same else {"link_target": None}


def _other_content(entry: Entry, now: FileState, foreign: ForeignDigests, *, is_resized: bool) -> dict[str, object]:
    """The digests to record if the content is another one."""
    taken = {digest.algorithm: digest.value for digest in now.digests}
    recorded = tuple(digest for digest in entry.digests if digest.algorithm in taken)
    if recorded:
        if all(taken[digest.algorithm] == digest.value for digest in recorded):
            return {}
        return {"digests": _in_order(recorded)}
    if is_resized:
        return {"digests": ()}  # whatever it was, it was not this content
    algorithms = _comparable(entry, now) if taken else []
    found = foreign(now, algorithms) if algorithms else {}
    if all(found[digest.algorithm] == digest.value for digest in entry.digests if digest.algorithm in found):
        return {}
    unknown = dict.fromkeys(taken, UNKNOWN_DIGEST)
    stored = {digest.algorithm: digest.value for digest in entry.digests if digest.algorithm in ALGORITHMS}
    return {"digests": _in_order(Digest(algorithm=name, value=value) for name, value in (unknown | stored).items())}


def _in_order(digests: Collection[Digest] | Iterator[Digest]) -> tuple[Digest, ...]:
    return tuple(sorted(digests, key=lambda digest: ALGORITHMS.index(digest.algorithm)))


def _alone(entry: Entry, taken_ns: int) -> FileState:
    """Build a state from the entry's values alone: an unknown owner is -1, any other unknown number 0."""
    return FileState(
        path=entry.path,
        kind=entry.kind or FileKind.FILE,
        dev=0,
        inode=entry.inode or 0,
        nlink=entry.nlink or 0,
        mode=entry.mode or 0,
        uid=UNKNOWN_OWNER if entry.uid is None else entry.uid,
        gid=UNKNOWN_OWNER if entry.gid is None else entry.gid,
        size=entry.size or 0,
        mtime_ns=(entry.mtime_s or 0) * _NS + (entry.mtime_nsec or 0),
        ctime_ns=(entry.ctime_s or 0) * _NS,
        digests=_in_order(tuple(digest for digest in entry.digests if digest.algorithm in ALGORITHMS)),
        link_target=entry.link_target,
        xattrs=None,
        read_start_ns=taken_ns,
        read_end_ns=taken_ns,
    )
