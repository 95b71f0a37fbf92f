"""Where this host's kernel writes core dumps."""

from __future__ import annotations

from fimscan.attribution import CorePattern


def core_pattern() -> CorePattern | None:
    """Read the present setting (core(5)); ``None`` if it cannot be read: then no file is recognised as a core dump."""
    try:
        with open("/proc/sys/kernel/core_pattern", "rb") as file:
            text = file.read().removesuffix(b"\n")
        with open("/proc/sys/kernel/core_uses_pid", "rb") as file:
            uses_pid = file.read().strip() not in (b"", b"0")
    except OSError:
        return None
    return CorePattern(text, uses_pid) if text else None
