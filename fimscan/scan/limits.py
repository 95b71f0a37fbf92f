"""How a scan treats the host that it runs on, and how long it waits for it."""

from __future__ import annotations

import ctypes
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass

# ioprio_set(2) has no wrapper in the C library. Its numbers go by architecture, and ioprio_get's is the next one.
_IOPRIO_SET = {"x86_64": 251, "aarch64": 30, "riscv64": 30, "loongarch64": 30, "ppc64le": 273, "s390x": 282}
_IOPRIO_WHO_PROCESS, _CLASS_SHIFT = 1, 13
_IOPRIO_CLASSES = {"none": 0, "best-effort": 2, "idle": 3}
_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Settings that worker processes are started with.

    Args:
        file_timeout_s: the reading of one file is given up after this time.
        stall_timeout_s: a single system call that takes longer is taken for hanging.
        nice: 0 to 19, as ``nice(1)``; never less than what this process has already.
        ionice: ``none`` (as it is), ``best-effort:0`` to ``best-effort:7``, or ``idle``, as ``ionice(1)``.
        max_bytes_per_s: over all that read; 0 for as fast as it goes.
        max_files_per_s: the same of files.
        wait_for_leases: open files on which another process holds a lease when it has given way, instead of not at all;
            for so long at most, over all of them, as one file may take.
        drop_cache: leave no page of a file in the page cache that was not there before.
    """

    file_timeout_s: float = 600.0
    stall_timeout_s: float = 60.0
    nice: int = 0
    ionice: str = "none"
    max_bytes_per_s: float = 0.0
    max_files_per_s: float = 0.0
    drop_cache: bool = False
    wait_for_leases: bool = True

    def to_json(self) -> str:
        """For a worker's command line."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Limits:
        """The inverse of :meth:`to_json`."""
        return cls(**json.loads(text))

    @contextmanager
    def observed(self) -> Iterator[None]:
        """The calling thread's priorities are lowered meanwhile, as far as the system lets it raise them again."""
        nice, io = os.getpriority(os.PRIO_PROCESS, 0), _get_ioprio()
        self.lower_priorities()
        try:
            yield
        finally:
            # Only root may raise it; for all others the rest of the program stays as polite.
            with suppress(PermissionError):
                os.setpriority(os.PRIO_PROCESS, 0, nice)
            if io is not None:
                _set_ioprio(io)

    def lower_priorities(self) -> None:
        """Those of the calling thread, and of what it starts from now on."""
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
    if number is not None:  # else, and where a sandbox forbids it, the scan is no worse for it
        _libc.syscall(number, _IOPRIO_WHO_PROCESS, 0, value)
