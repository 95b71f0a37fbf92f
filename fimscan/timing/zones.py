"""The system's time zone. The C library computes local times, as it does for cron and date.

So every ``TZ`` that the system understands is valid: names, POSIX rules such as ``CET-1CEST,M3.5.0,M10.5.0/3``, and
files such as ``:/etc/localtime``. What it does not understand, it takes for UTC without a word; this module says so.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Mapping, Sequence
from datetime import datetime

_DIRECTORIES = ("/usr/share/zoneinfo", "/usr/lib/zoneinfo", "/usr/share/lib/zoneinfo", "/etc/zoneinfo")
_NAME = r"(?:[A-Za-z]{3,}|<[A-Za-z0-9+-]{3,}>)"
_OFFSET = r"[+-]?\d{1,2}(?::\d{1,2}){0,2}"
_DATE = r"(?:J?\d{1,3}|M\d{1,2}\.[1-5]\.[0-6])(?:/[+-]?\d{1,3}(?::\d{1,2}){0,2})?"
_POSIX = re.compile(rf"{_NAME}{_OFFSET}(?:{_NAME}(?:{_OFFSET})?(?:,{_DATE},{_DATE})?)?", re.ASCII)


def zone_problem(
    environ: Mapping[str, str] = os.environ,
    *,
    localtime: str = "/etc/localtime",
    directories: Sequence[str] = _DIRECTORIES,
) -> str | None:
    """Return what is wrong with the time zone, with a remedy; ``None`` if the system knows it."""
    text = environ.get("TZ")
    if text is None:
        if os.path.islink(localtime) and not os.path.exists(localtime):
            target = os.readlink(localtime)
            return f"{localtime} leads to {target}, which does not exist. {_taken()}. Install tzdata, or set TZ"
        return None
    spec = text.removeprefix(":")
    if not spec or _POSIX.fullmatch(spec) or _is_zone_file(spec, environ, directories):
        return None
    why = f"The system knows no time zone TZ={text!r}. {_taken()}"
    if spec.strip("\"'") != spec:
        return f"{why}. Set it without quotation marks"
    if not any(os.path.isdir(directory) for directory in directories):
        return f"{why}. Install tzdata, or set a rule such as TZ=CET-1CEST,M3.5.0,M10.5.0/3"
    return f"{why}. Set a name from /usr/share/zoneinfo, or a rule such as TZ=CET-1CEST,M3.5.0,M10.5.0/3"


def _taken() -> str:
    """Say which offset the system has now."""
    offset = time.localtime().tm_gmtoff
    sign, (hours, seconds) = "-" if offset < 0 else "+", divmod(abs(offset), 3600)
    return f"Schedules follow the system's offset, UTC{sign}{hours:02}:{seconds // 60:02}"


def _is_zone_file(spec: str, environ: Mapping[str, str], directories: Sequence[str]) -> bool:
    """Whether a zone name or path leads to compiled zone data."""
    if directory := environ.get("TZDIR"):
        directories = (directory,)
    paths = [spec] if spec.startswith("/") else [os.path.join(directory, spec) for directory in directories]
    return any(_is_compiled(path) for path in paths)


def _is_compiled(path: str) -> bool:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, ValueError):
        return False
    try:
        return os.read(descriptor, 4) == b"TZif"
    except OSError:
        return False
    finally:
        os.close(descriptor)


def local_text(seconds: float) -> str:
    """Return a time as the host's clock shows it, with the name of its zone."""
    return datetime.fromtimestamp(seconds).astimezone().strftime("%Y-%m-%d %H:%M %Z")
