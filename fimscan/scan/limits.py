"""Limits of a scan: priorities, rates and timeouts."""

from __future__ import annotations

import ctypes
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from msgspec import Struct
from msgspec.structs import asdict

# ioprio_set(2) has no wrapper in the C library. Its number depends on the architecture; ioprio_get's is the next one.
_IOPRIO_SET = {"x86_64": 251, "aarch64": 30, "riscv64": 30, "loongarch64": 30, "ppc64le": 273, "s390x": 282}
_IOPRIO_WHO_PROCESS, _CLASS_SHIFT = 1, 13
_IOPRIO_CLASSES = {"none": 0, "best-effort": 2, "idle": 3}
_libc = ctypes.CDLL(None, use_errno=True)


class Limits(Struct, frozen=True, kw_only=True):
    """Limits that worker processes are started with.

    Args:
        file_timeout_s: the reading of one file is given up after this time.
        stall_timeout_s: a single system call that takes longer counts as hanging.
        nice: 0 to 19, as ``nice(1)``; never lower than this process already has.
        ionice: ``none`` (unchanged), ``best-effort:0`` to ``best-effort:7``, or ``idle``, as ``ionice(1)``.
        max_bytes_per_s: for all workers together; 0 for no limit.
        max_files_per_s: for all workers together; 0 for no limit.
        wait_for_leases: wait until a lease of another process is broken, instead of reporting the file as unreadable;
            all waits together take at most ``file_timeout_s``.
        max_holes: how many bytes of holes are hashed in one scan: of root's files, and as many of all others;
            0 for no limit.
        drop_cache: leave no page in the page cache that was not there before.
    """

    file_timeout_s: float = 600.0
    stall_timeout_s: float = 60.0
    nice: int = 0
    ionice: str = "none"
    max_bytes_per_s: float = 0.0
    max_files_per_s: float = 0.0
    max_holes: int = 256 * 10**9
    drop_cache: bool = False
    wait_for_leases: bool = True

    def to_json(self) -> str:
        """Encode for the command line of a worker."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Limits:
        """The inverse of :meth:`to_json`."""
        return cls(**json.loads(text))

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Lower the priorities of the calling thread, and restore them at the end as far as the system allows."""
        nice, io = os.getpriority(os.PRIO_PROCESS, 0), _get_ioprio()
        self.lower_priorities()
        try:
            yield
        finally:
            # Only root may raise priorities; for others they stay lowered.
            with suppress(PermissionError):
                os.setpriority(os.PRIO_PROCESS, 0, nice)
            if io is not None:
                _set_ioprio(io)

    def lower_priorities(self) -> None:
        """Lower the priorities of the calling thread and of the processes that it starts later."""
        os.setpriority(os.PRIO_PROCESS, 0, max(self.nice, os.getpriority(os.PRIO_PROCESS, 0)))
        if self.ionice != "none":
            name, _, level = self.ionice.partition(":")
            _set_ioprio(_IOPRIO_CLASSES[name] << _CLASS_SHIFT | int(level or 0))


def _get_ioprio() -> int | None:
    number = _IOPRIO_SET.get(os.uname().machine)
    if number is None:
        return None
    value: int = _libc.syscall(number + 1, _IOPRIO_WHO_PROCESS, 0)
    return value if value >= 0 else None


def _set_ioprio(value: int) -> None:
    number = _IOPRIO_SET.get(os.uname().machine)
    if number is not None:  # unknown architecture, or forbidden by a sandbox: the scan works without
        _libc.syscall(number, _IOPRIO_WHO_PROCESS, 0, value)
