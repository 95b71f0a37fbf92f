"""Ask whether the clock is synchronized: the kernel (:manpage:`adjtimex(2)`), chrony, systemd-timesyncd."""

from __future__ import annotations

import ctypes
import os
import shutil
import struct
import subprocess

from msgspec.structs import replace

from fimscan.model import ClockLook

_TIME_ERROR = 5  # sys/timex.h: the clock is not synchronized
_TIMEX_BYTES = 512  # struct timex has 208 on 64-bit machines
_TIMEX = struct.Struct("@Illll")  # modes, offset, freq, maxerror, esterror
_PLACES = "/usr/bin:/usr/sbin:/bin:/sbin"
_TIMEOUT_S = 3
_libc = ctypes.CDLL(None, use_errno=True)


def is_clock_synchronized() -> bool | None:
    """Whether the kernel takes its clock for synchronized; ``None`` if it does not say."""
    return _ask_kernel().synchronized


def look_at_clock() -> ClockLook:
    """All that the kernel and the time service say. Nothing is raised; what is not known is left out."""
    look = _ask_kernel()
    if look.synchronized is None and os.path.isdir("/run/systemd/system"):  # ProtectClock of our units denies the call
        asked = _output("timedatectl", "show", "--property=NTPSynchronized", "--value") or ""
        look = replace(look, synchronized={"yes": True, "no": False}.get(asked.strip()))
    if (text := _output("chronyc", "-c", "-n", "tracking")) is not None:
        return with_chrony(look, text)
    if os.path.isdir("/run/systemd/timesync"):
        names = "--property=ServerName,ServerAddress,NTPMessage"
        if (text := _output("timedatectl", "show-timesync", names)) is not None:
            return with_timesyncd(look, text)
    return look


def with_chrony(look: ClockLook, text: str) -> ClockLook:
    """Add what ``chronyc -c tracking`` says: one line of CSV (see :manpage:`chronyc(1)`)."""
    fields = text.strip().split(",")
    try:
        _, source, stratum, _, seconds_slow = fields[:5]
        return replace(
            look, service="chrony", source=source, stratum=int(stratum), offset_ns=round(float(seconds_slow) * 1e9)
        )
    except (ValueError, OverflowError):  # OverflowError: an infinite number of seconds
        return replace(look, service="chrony")


def with_timesyncd(look: ClockLook, text: str) -> ClockLook:
    """Add what ``timedatectl show-timesync`` says: lines of KEY=VALUE."""
    values = dict(line.partition("=")[::2] for line in text.splitlines())
    parts = [part.strip().partition("=") for part in values.get("NTPMessage", "").strip("{} ").split(",")]
    stratum = next((value for name, _, value in parts if name == "Stratum" and value.isdecimal()), None)
    source = values.get("ServerName") or values.get("ServerAddress", "")
    return replace(look, service="systemd-timesyncd", source=source, stratum=None if stratum is None else int(stratum))


def _ask_kernel() -> ClockLook:
    buffer = ctypes.create_string_buffer(_TIMEX_BYTES)  # zeros: it changes nothing
    state = _libc.adjtimex(buffer)
    if state < 0:
        return ClockLook()
    _, _, _, error_us, _ = _TIMEX.unpack_from(buffer)
    return ClockLook(synchronized=state != _TIME_ERROR, error_us=error_us)


def _output(name: str, *options: str) -> str | None:
    """What a program prints; ``None`` if it is not there, fails, or hangs."""
    program = shutil.which(name, path=_PLACES)
    if program is None:
        return None
    try:
        done = subprocess.run(
            [program, *options],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_TIMEOUT_S,
            check=False,
            env={"LC_ALL": "C", "PATH": _PLACES},
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.decode("utf-8", "replace") if done.returncode == 0 else None
