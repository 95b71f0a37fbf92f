"""Find which host a record comes from: by ``node=``, or by the host name that syslog and journald put before it."""

from __future__ import annotations

import os
from functools import cache, lru_cache

from fimscan.audit.relays import host_of

# Names of a host that has no name yet, and RFC 5424's sign for none.
_NOBODY = frozenset((b"", b"-", b"localhost", b"localhost.localdomain", b"127.0.0.1", b"::1"))


@cache
def is_own_host(name: str) -> bool:
    """Whether a name is this host's, with or without its domain (``name_format`` in auditd.conf(5))."""
    own = os.uname().nodename
    if "." in name and "." in own:
        return name == own
    return name.partition(".")[0] == own.partition(".")[0] != ""


@lru_cache(maxsize=1024)
def other_host(name: bytes) -> bytes | None:
    """The name as ``node=`` has it, if it is another host's.

    ``None`` for this host, whose own records mostly have none.
    """
    return None if name in _NOBODY or is_own_host(name.decode("latin-1")) else name.replace(b" ", b"_")


@lru_cache(maxsize=1024)
def relayed_host(prefix: bytes) -> bytes | None:
    """The name of another host in the prefix that a relay added; ``None`` for this host, and where there is no name."""
    return other_host(host_of(prefix))
