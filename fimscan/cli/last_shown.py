"""Remember the last report that a user was shown in a login session, so that accept takes no more than that.

The memory is a small file of the user who runs the command. The database has no place for it: 'fimscan diff' may only
read that. It is a convenience. A report's name (``--shown``) is exact, and does not depend on it.
"""

from __future__ import annotations

import hashlib
import json
import os
import pwd
import stat
import sys
import time
from contextlib import suppress

from fimscan.cli.reviewer import current_reviewer, own_number
from fimscan.model import Diff
from fimscan.pipeline.history.shown import Seen
from fimscan.trust import make_private_directories, trust_problem
from fimscan.whole_file import replaced

_KEPT_S = 30 * 86400


def remember(url: str, diff: Diff) -> None:
    """Remember a diff from the baseline that was shown as a whole."""
    if diff.accepted is not None and diff.unfiltered is None:
        _write(url, diff.host, Seen(diff.end.id, diff.accepted, diff.shown))


def remember_scan(url: str, diff: Diff) -> None:
    """A scan's changes were shown: who saw all up to the scan before it has now seen all up to this one."""
    seen = recall(url, diff.host)
    if seen is not None and diff.start.id <= seen.scan < diff.end.id:
        _write(url, diff.host, Seen(diff.end.id, seen.accepted, None))


def recall(url: str, host: str) -> Seen | None:
    """The last report that was shown in this login session; ``None`` if none was."""
    try:
        with open(_file(url, host), encoding="ascii") as file:
            found = json.load(file)
        return Seen(int(found["scan"]), int(found["accepted"]), None if found["name"] is None else str(found["name"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _write(url: str, host: str, seen: Seen) -> None:
    if _is_discarded():
        return
    file = _file(url, host)
    with suppress(OSError):
        # $XDG_STATE_HOME may be a user's, kept by sudo.
        if trust_problem(file, alone=True) is not None:
            return
        make_private_directories(os.path.dirname(file))
        _forget_old(os.path.dirname(file))
        with replaced(file, encoding="ascii") as out:
            json.dump(seen._asdict(), out)


def _is_discarded() -> bool:
    """Whether standard output is /dev/null: nobody saw what was printed."""
    with suppress(OSError, ValueError):
        found = os.fstat(sys.stdout.fileno())
        return stat.S_ISCHR(found.st_mode) and found.st_rdev == os.makedev(1, 3)
    return False


def _forget_old(directory: str) -> None:
    for entry in os.scandir(directory):
        if entry.stat(follow_symlinks=False).st_mtime < time.time() - _KEPT_S:
            os.unlink(entry.path)


def _file(url: str, host: str) -> str:
    # Not $HOME, which sudo may leave as it is: root would write into the directory of a user.
    home = os.environ.get("XDG_STATE_HOME") or os.path.join(_home(), ".local", "state")
    session = own_number("sessionid")
    with suppress(OSError), open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        boot = file.read().strip()
        key = (url, host, current_reviewer(), boot, os.getsid(0) if session is None else ("session", session))
        return os.path.join(home, "fimscan", "shown", hashlib.sha256(repr(key).encode()).hexdigest()[:32])
    return os.path.join(home, "fimscan", "shown", "unknown")


def _home() -> str:
    try:
        return pwd.getpwuid(os.geteuid()).pw_dir
    except KeyError:
        return "/nonexistent"
