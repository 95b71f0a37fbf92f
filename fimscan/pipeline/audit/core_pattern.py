"""Where this host's kernel writes core dumps."""

from __future__ import annotations

from fimscan.attribution import CorePattern


def core_pattern() -> CorePattern | None:
    """The setting as it is now (core(5)); ``None`` where it cannot be read, so that no file is taken for a dump."""
    try:
        with open("/proc/sys/kernel/core_pattern", "rb") as file:
            text = file.read().removesuffix(b"\n")
        with open("/proc/sys/kernel/core_uses_pid", "rb") as file:
            uses_pid = file.read().strip() not in (b"", b"0")
    except OSError:
        return None
    return CorePattern(text, uses_pid) if text else None
