"""Check the watched paths: missing, symbolic links, other file systems mounted below; and what a scan covered."""

from __future__ import annotations

import os

from fimscan.config import Config
from fimscan.errors import InputError
from fimscan.linux.filesystems import Devices
from fimscan.model import FileKind, Scan
from fimscan.pipeline.settings import ScanPlan
from fimscan.report.display import show
from fimscan.scan.scope import Scope
from fimscan.store import files
from fimscan.store import scans as scan_store
from fimscan.store.database import Database

# Virtual file systems: the kernel generates their content, and stores none of it.
_VIRTUAL = frozenset(
    """
    autofs binfmt_misc bpf cgroup cgroup2 configfs debugfs devpts devtmpfs efivarfs fusectl hugetlbfs mqueue nsfs proc
    pstore rpc_pipefs securityfs selinuxfs sysfs tracefs
    """.split()  # noqa: SIM905 - easier to read than a list
)


def require_roots(database: Database, plan: ScanPlan) -> None:
    """Refuse a scan of nothing, unless nothing was there before, and something could appear.

    A directory that was there before may just not be mounted.

    Raises:
        InputError: none of the watched paths exists.
    """
    if any(map(os.path.lexists, plan.roots)):
        return
    missing = ", ".join(map(os.fsdecode, plan.roots))
    with database.read() as session:
        known = [files.open_at(session, path) for path in plan.roots]
    is_away = any(version is not None and version.state.kind is FileKind.DIRECTORY for version in known)
    if is_away or not any(os.path.isdir(os.path.dirname(path)) for path in plan.roots):
        raise InputError(f"none of the configured paths exists ({missing}); fix path in [[watch]]")


def symlinked_roots(plan: ScanPlan) -> list[str]:
    """Report watched paths that are symbolic links, a line each: a scan does not follow them."""
    return [
        f"{os.fsdecode(path)} is a symbolic link: only the link itself is monitored; to monitor what it points to, "
        f"watch {os.fsdecode(os.path.realpath(path))}"
        for path in plan.roots
        if os.path.islink(path)
    ]


def unscanned_mounts(plan: ScanPlan, devices: Devices) -> list[str]:
    """Report directories that a scan does not enter since another file system is mounted there, a line each."""
    if plan.cross_mounts:
        return []
    return [
        f"{show(root.path)} ({root.kind}) is mounted below a watched directory, and is not scanned: give it a [[watch]]"
        " of its own, or set cross_mounts = true in [scan]"
        for root in devices.roots
        if root.point == root.path
        and root.path not in plan.roots
        and root.is_directory
        and root.kind not in _VIRTUAL
        and plan.scope.includes(root.path, is_directory=True)
    ]


def scope_of(database: Database, scan: Scan | None, plan: ScanPlan) -> Scope | None:
    """Return which paths a scan covered: a path outside that scope is new to fimscan, not new on the disk.

    ``None`` where there was no scan, or its configuration is not stored.
    """
    if scan is None:
        return None
    if scan.config_digest == plan.config.digest:
        return plan.scope
    with database.read() as session:
        text = scan_store.configuration_text(session, scan.config_digest)
    return None if text is None else ScanPlan.of(Config.from_canonical(text)).scope
