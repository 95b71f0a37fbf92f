"""Text for the second witness (fanotify): whether it watches, since when, and what it misses."""

from __future__ import annotations

from collections.abc import Mapping

from fimscan.model import WitnessExtent, WitnessHole, device_text
from fimscan.report.display import minute_text

HOLE_WORDS: Mapping[WitnessHole, str] = {
    WitnessHole.ASYNC_IO: "io_submit(2) (fs.aio-max-nr = 0 would switch it off)",
    WitnessHole.MOVE_EXTENT: "ext4's EXT4_IOC_MOVE_EXT",
    WitnessHole.OLD_KERNEL: "splice(2), and io_uring, on kernels before 6.6",
}
ENDED_WORDS: Mapping[str, str] = {
    "": "fimscan ended unexpectedly",
    "stopped": "'fimscan schedule' was stopped",
    "overflow": "the kernel's queue overflowed",
    "too-many": "too many events came at once",
    "clock-changed": "the clock was set",
    "unmounted": "the file system was unmounted",
    "replaced": "the directory was replaced",
    "holes": "the list of what it misses changed",
    "not-stored": "the database could not be written",
    "unknown-file": "the kernel reported a file in an unknown format",
    "unknown-directory": "a directory could not be looked up",
    "read-error": "it could not be read",
    "new-directory": "another directory was added",
}


def extent_text(extent: WitnessExtent, now_ns: int, fresh_ns: int) -> str:
    """``fe:00: since 2026-11-29 22:10 UTC; misses stores to a mapping, and ...``."""
    missed = ["stores to a mapping", *(HOLE_WORDS[hole] for hole in extent.holes)]
    misses = f"misses {', '.join(missed)}"
    name = device_text(extent.dev)
    if extent.ended or now_ns - extent.end_ns > fresh_ns:
        when = f"{minute_text(extent.start_ns)} to {minute_text(extent.end_ns)}"
        return f"{name}: off; it watched {when}, when {ENDED_WORDS.get(extent.ended, extent.ended)}"
    cleared = "" if extent.holes else ", so it can clear processes that wrote nothing"
    return f"{name}: since {minute_text(extent.start_ns)}; {misses}{cleared}"
