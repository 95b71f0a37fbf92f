"""Hide passwords in database URLs."""

from __future__ import annotations

import re
from urllib.parse import unquote_plus

MASK = "***"

# The password between user and host, as SQLAlchemy finds it. One with an unquoted @ is not valid, and hidden as well.
_OF_USER = re.compile(r"(?<=://)([^:/]*:)[^@]*(?:@[^@/?]*)*(?=@)")
_QUERY = re.compile(r"([?&;])([^?&;=]*)=([^&;]*)")
# Those that libpq takes from a URL's query.
_KEYS = frozenset({"password", "sslpassword"})


def without_password(url: str) -> str:
    """A database URL with its passwords hidden: the user's, and those in the query; any other text as it is.

    A driver decodes the query's keys, so they are compared as decoded: ``pass%77ord`` is one of them.
    """
    return _QUERY.sub(_masked, _OF_USER.sub(rf"\1{MASK}", url)) if "://" in url else url


def _masked(match: re.Match[str]) -> str:
    mark, key, value = match.groups()
    is_password = unquote_plus(key).strip().lower() in _KEYS
    return f"{mark}{key}={MASK if is_password else value}"
