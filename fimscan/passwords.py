"""Hide passwords in database URLs."""

from __future__ import annotations

import re
from urllib.parse import unquote_plus

MASK = "***"

# The password between user and host, as SQLAlchemy finds it. A password with an unquoted @ is invalid, and hidden too.
_OF_USER = re.compile(r"(?<=://)([^:/]*:)[^@]*(?:@[^@/?]*)*(?=@)")
_QUERY = re.compile(r"([?&;])([^?&;=]*)=([^&;]*)")
# Secrets that libpq accepts in a URL's query.
_KEYS = frozenset({"password", "sslpassword", "oauth_client_secret"})


def without_password(url: str) -> str:
    """Hide the passwords in a database URL: the user's, and those in the query. Other text is returned unchanged.

    Drivers decode the keys of the query, so they are compared decoded: ``pass%77ord`` is hidden as well.
    """
    return _QUERY.sub(_masked, _OF_USER.sub(rf"\1{MASK}", url)) if "://" in url else url


def _masked(match: re.Match[str]) -> str:
    mark, key, value = match.groups()
    is_password = unquote_plus(key).strip().lower() in _KEYS
    return f"{mark}{key}={MASK if is_password else value}"
