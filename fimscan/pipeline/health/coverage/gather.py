"""Read the facts. Nothing is raised: what cannot be read is stored as an error or as unknown."""

from __future__ import annotations

import os
import re
import socket
import stat
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import accumulate, islice, pairwise, repeat

from fimscan import audit
from fimscan.config import Config
from fimscan.errors import InputError
from fimscan.linux.mounts import Mount, is_below_mount_that_may_hang, parse_mounts, without_repeats
from fimscan.model import AuditNotice, AuditObservation, FileKind, NoticeKind, ScanStatus
from fimscan.pipeline.health.coverage.facts import BootRules, Daemon, Facts, LogFile, Watched
from fimscan.store import audit as audit_store
from fimscan.store import devices as device_store
from fimscan.store import files as file_store
from fimscan.store import scans as scan_store
from fimscan.store.database import Database
from fimscan.timing import parse_timetable

_RULES_FILE = "audit.rules"  # beside the directory of rules
_REMEMBERED_NS = 7 * 86400 * 10**9
_FIRES = 50  # runs of a cron expression from which the longest wait between two is taken


def gather(
    config: Config, expected: str, database: Database | None, *, directory: str = audit.RULES_DIRECTORY
) -> Facts:
    """Read all facts. Needs root; takes some tens of milliseconds.

    Args:
        config: the configuration.
        expected: the text that 'fimscan audit rules' prints.
        database: earlier observations and scans; ``None`` leaves out what needs them.
        directory: where the rules of the next boot are.
    """
    now_ns = time.time_ns()
    answer = audit.ask()
    pid = answer.status.get("pid", 0)
    daemon = _daemon(pid) if pid else None
    previous = _previous(database, now_ns)
    mounts = without_repeats(parse_mounts(_read("/proc/self/mountinfo")))
    return Facts(
        now_ns=now_ns,
        kernel=answer,
        boot_id=audit.boot_id(),
        watched=tuple(_watched(config, database, answer.rules, now_ns)),
        expected=audit.parse_all(expected.encode("utf-8", "surrogateescape"), os.path.isdir),
        boot=_boot_rules(directory, os.path.join(os.path.dirname(directory), _RULES_FILE)),
        mounts=mounts,
        file_mounts=_file_mounts(mounts),
        cross_mounts=config.scan.cross_mounts,
        command_line=frozenset(_read("/proc/cmdline").decode("utf-8", "replace").split()),
        older=_older_than(pid) if pid else None,
        io_uring=audit.is_uring_usable(),
        uring=audit.loaded_uring_directories(),
        completes=config.audit.io_uring_rule,
        removals=_removals(database, config.audit.key, now_ns),
        daemon=daemon,
        host_names=frozenset({os.uname().nodename, socket.getfqdn(), *config.audit.nodes}),
        logs=tuple(_log(path, daemon) for path in config.audit.logs),
        read_every=longest_wait(config.schedule.audit),
        scan_every=longest_wait(config.schedule.scan),
        previous=previous,
    )


def _file_mounts(mounts: Sequence[Mount]) -> frozenset[bytes]:
    """Return the mount points that are files. File systems that may hang are skipped: their roots are directories."""
    found = set()
    for mount in mounts:
        if not is_below_mount_that_may_hang(mounts, mount.point):
            with suppress(OSError):
                if not stat.S_ISDIR(os.lstat(mount.point).st_mode):
                    found.add(mount.point)
    return frozenset(found)


def _read(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError:
        return b""


def _daemon(pid: int) -> Daemon:
    directory = audit.config_directory(pid)
    path = f"{directory}/auditd.conf"
    try:
        config = audit.read_config(directory)
    except InputError as error:
        return Daemon(path=path, error=str(error))
    free, total = None, 0
    try:
        space = os.statvfs(os.path.dirname(config.log_file) or "/")
    except OSError:
        pass
    else:
        free, total = space.f_bavail * space.f_frsize, space.f_blocks * space.f_frsize
    growth = audit.growth(os.fsencode(config.log_file))
    return Daemon(path=path, config=config, growth=growth, free=free, total=total)


def _log(path: str, daemon: Daemon | None) -> LogFile:
    try:
        with open(path, "rb") as file:
            info = os.fstat(file.fileno())
    except OSError as error:
        return LogFile(path=path, error=error.strerror, missing=isinstance(error, FileNotFoundError))
    by_daemon = None
    if daemon is not None and daemon.config is not None:
        try:
            by_daemon = os.path.samestat(info, os.stat(daemon.config.log_file))
        except OSError:
            by_daemon = False
    return LogFile(path=path, size=info.st_size, by_daemon=by_daemon)


def _boot_rules(directory: str, file: str) -> BootRules:
    """Read the rules as augenrules(8) joins them: ``*.rules`` in order of name, or ``file`` if there are none."""
    try:
        names = sorted(name for name in os.listdir(directory) if name.endswith(".rules"))
    except FileNotFoundError:
        names = []
    except OSError as error:
        return BootRules(source=directory, error=f"cannot read {directory}: {error.strerror}")
    source = directory if names else file
    text = b""
    for path in [f"{directory}/{name}" for name in names] or [file]:
        try:
            with open(path, "rb") as opened:
                text += opened.read() + b"\n"
        except FileNotFoundError:
            continue
        except OSError as error:
            return BootRules(source=source, error=f"cannot read {path}: {error.strerror}")
    rules = audit.parse_all(text, os.path.isdir)
    scopes = {rule.scope for rule in rules if rule.scope is not None}
    return BootRules(
        source=source,
        rules=rules,
        settings=audit.parse_settings(text),
        refused=frozenset(path for path, is_tree in scopes if not _can_be_ruled(path, is_tree=is_tree)),
    )


def _can_be_ruled(path: bytes, *, is_tree: bool) -> bool:
    """Whether the kernel accepts a rule for a path now: dir= needs the directory, path= its parent."""
    return os.path.lexists(path) if is_tree else os.path.isdir(os.path.dirname(path))


def _removals(database: Database | None, key: str, now_ns: int) -> tuple[AuditNotice, ...]:
    if database is None:
        return ()
    with database.read() as session:
        found = audit_store.notices(session, now_ns - _REMEMBERED_NS, now_ns)
    ours = (notice for notice in found if notice.kind is NoticeKind.RULE_REMOVED and notice.key == key)
    return tuple(sorted(ours, key=lambda notice: notice.event))


def _previous(database: Database | None, now_ns: int) -> AuditObservation | None:
    """Return the last stored observation in which the kernel answered."""
    if database is None:
        return None
    with database.read() as session:
        seen = audit_store.observations(session, now_ns, now_ns)
    before = [item for item in seen if item.time_ns <= now_ns and item.error is None]
    return before[-1] if before else None


def _watched(config: Config, database: Database | None, rules: Iterable[audit.Rule], now_ns: int) -> Iterator[Watched]:
    paths = [os.fsencode(watch.path) for watch in config.watch]
    replaced = _replaced(paths, database, rules, now_ns) if database is not None else {}
    for path in paths:
        yield Watched(
            path=path,
            exists=os.path.lexists(path),
            is_directory=os.path.isdir(path),
            can_appear=os.path.isdir(os.path.dirname(path)),
            usable=audit.can_be_watched(path),
            replaced_since=replaced.get(path),
        )


def _replaced(paths: list[bytes], database: Database, rules: Iterable[audit.Rule], now_ns: int) -> dict[bytes, int]:
    """Find watched directories that were replaced after rules were last loaded.

    Return, by path, the first scan since then: it saw another directory there.
    """
    keys = {rule.key for rule in rules if audit.watched_by(rule)} | {None}
    with database.read() as session:
        notices = audit_store.notices(session, 0, now_ns)
        loaded_ns = max((notice.event.time_ns for notice in notices if _loads(notice, keys)), default=0)
        sealed = scan_store.checkpoint(session)
        left = 0 if sealed is None else sealed.states_from
        scans = [scan for scan in scan_store.all_scans(session) if scan.id >= left]
        since = [scan for scan in scans if scan.status is ScanStatus.FINISHED and scan.started_ns > loaded_ns]
        if not since:
            return {}
        known = file_store.at_paths(session, paths, since[0].id)
        devices = device_store.devices_at(session, since[0].id)
    found = {}
    for path, version in known.items():
        root = devices.at(path)
        # Compare with what stat(2) said then: a file system that was mounted anew has lost its rules, too.
        dev = version.state.dev if root is None else root.raw
        with suppress(OSError):
            info = os.lstat(path)
            # A rule for a single file follows the name, so a replaced file keeps its rule.
            was_directory = version.state.kind is FileKind.DIRECTORY
            if was_directory and (info.st_dev, info.st_ino) != (dev, version.state.inode):
                found[path] = since[0].id
    return found


def _loads(notice: AuditNotice, keys: set[str | None]) -> bool:
    return notice.kind is NoticeKind.BOOT or (notice.kind is NoticeKind.RULE_ADDED and notice.key in keys)


_STARTED = re.compile(rb"\) .(?: -?\d+){18} (\d+)")  # field 22 of proc_pid_stat(5), counted from the name's bracket


def _older_than(pid: int) -> int | None:
    """Count the processes that were started before process ``pid``, without kernel threads."""
    begun = _started(pid)
    if begun is None:
        return None
    others = (int(name) for name in os.listdir("/proc") if name.isdigit())
    starts = (_started(other) for other in others if _read(f"/proc/{other}/cmdline"))
    return sum(start is not None and start < begun for start in starts)


def _started(pid: int) -> int | None:
    match = _STARTED.search(_read(f"/proc/{pid}/stat"))
    return int(match[1]) if match else None


def longest_wait(schedule: str) -> int | None:
    """Return the longest wait, in seconds, between two runs of an interval or a cron expression.

    ``None`` if it is neither, as in the stored configuration of an earlier version.
    """
    try:
        table = parse_timetable(schedule)
    except ValueError:
        return None
    fires = list(islice(accumulate(repeat(time.time()), lambda at, _: table.after(at)), 1, _FIRES + 1))
    return int(max(later - earlier for earlier, later in pairwise(fires)))
