"""Names of this host's users, for records that have numbers only."""

from __future__ import annotations

import pwd
from functools import cache


@cache
def user_name(uid: int) -> str | None:
    """The name of a user of this host, ``None`` where there is none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except (KeyError, OverflowError):
        return None
