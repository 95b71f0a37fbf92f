"""Look up user names of this host by user id."""

from __future__ import annotations

import pwd
from functools import cache


@cache
def user_name(uid: int) -> str | None:
    """The name of a user of this host; ``None`` if unknown."""
    try:
        return pwd.getpwuid(uid).pw_name
    except (KeyError, OverflowError):
        return None
