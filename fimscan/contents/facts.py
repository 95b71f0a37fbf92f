"""What a change of a well-known configuration file means, where that is simple to say.

A fact holds no secret: of a password field, a command line or an option, it says that there is one, not what it is.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence

from fimscan.contents import accounts, cron, keys, sshd, sudoers
from fimscan.model.texts import TextFact

MOST_FACTS = 20
_MOST_BYTES = 1024 * 1024

_Reader = Callable[[bytes, bytes, bytes], Iterable[TextFact]]

_READERS: Sequence[tuple[re.Pattern[bytes], _Reader]] = (
    (re.compile(rb"(?:/etc/passwd)\Z"), accounts.account_facts),
    (re.compile(rb"(?:/etc/group)\Z"), accounts.group_facts),
    (re.compile(rb"(?:/etc/sudoers|/etc/sudoers\.d/[^/]+)\Z"), sudoers.sudo_facts),
    (re.compile(rb"(?:/\.ssh/authorized_keys2?|/etc/ssh/authorized_keys(?:\.d)?/[^/]+)\Z"), keys.key_facts),
    (re.compile(rb"(?:/etc/ssh/sshd_config(?:\.d/[^/]+)?)\Z"), sshd.sshd_facts),
    (re.compile(rb"(?:/etc/crontab|/etc/cron\.d/[^/]+)\Z"), cron.system_facts),
    (re.compile(rb"(?:/var/spool/cron/(?:crontabs/|tabs/)?[^/]+)\Z"), cron.user_facts),
)


def reader_of(path: bytes) -> _Reader | None:
    """What reads the facts of a file; by the end of its path, so that copies of a system below a directory count."""
    for pattern, reader in _READERS:
        if pattern.search(path):
            return reader
    return None


def facts_of(path: bytes, before: bytes, after: bytes) -> tuple[TextFact, ...]:
    """The facts of a change of a text; empty if the file is not known, or too large to be one of these."""
    reader = reader_of(path)
    if reader is None or max(len(before), len(after)) > _MOST_BYTES:
        return ()
    found = list(dict.fromkeys(reader(path, before, after)))
    return tuple(sorted(found, key=lambda fact: fact.sign is None))
