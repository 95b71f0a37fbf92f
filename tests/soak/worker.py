"""Change files as one user, each path once, and report when each change began and ended: the truth of the soak.

A program of its own, without imports from elsewhere: it starts in some hundredths of a second. Its standard input is
JSON: the user, the rate, and the changes. Its standard output is JSON: the login user that the kernel let it have, and
the times of the changes.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Mapping


def _create(path: str, _other: str) -> None:
    with open(path, "x") as file:
        file.write(f"content of {path}\n")


def _modify(path: str, _other: str) -> None:
    with open(path, "a") as file:
        file.write(f"added to {path}\n")


def _remove(path: str, _other: str) -> None:
    os.unlink(path)


def _chmod(path: str, _other: str) -> None:
    os.chmod(path, 0o640)


def _rename(path: str, other: str) -> None:
    os.rename(other, path)


def _open(path: str, _other: str) -> None:
    os.close(os.open(path, os.O_WRONLY | os.O_APPEND))


DEEDS: Mapping[str, Callable[[str, str], None]] = {
    "create": _create,
    "modify": _modify,
    "remove": _remove,
    "chmod": _chmod,
    "rename": _rename,
    "open": _open,  # changes nothing
}


def log_in(user: int) -> int | None:
    """Become a user with a login of their own; return the login user, ``None`` if the kernel refuses one."""
    login = None
    try:
        with open("/proc/self/loginuid", "w") as file:
            file.write(str(user))
        login = user
    except OSError:
        pass
    if user:
        os.setgroups([])
        os.setresgid(user, user, user)
        os.setresuid(user, user, user)
    return login


def main() -> None:
    """Make the changes, evenly over the time."""
    order = json.load(sys.stdin)
    login = log_in(order["user"])
    pause, begun = 1 / order["rate"], time.monotonic()
    times = []
    for number, (what, path, other) in enumerate(order["changes"]):
        time.sleep(max(0.0, begun + number * pause - time.monotonic()))
        before_ns = time.time_ns()
        DEEDS[what](path, other)
        times.append((before_ns, time.time_ns()))
    json.dump({"login": login, "times": times}, sys.stdout)


if __name__ == "__main__":
    main()
