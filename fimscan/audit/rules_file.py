"""Recognise a rules file that fimscan wrote, and whether somebody edited it since. Pure.

The first line of the file says who wrote it, with SHA-256 of all that follows.
"""

from __future__ import annotations

import hashlib
import re
from enum import StrEnum

#: Where augenrules(8) takes rules from.
RULES_DIRECTORY = "/etc/audit/rules.d"
_WRITTEN = b'# Written by "fimscan audit rules"'
_SEAL = re.compile(re.escape(_WRITTEN) + rb"; SHA-256 of what follows: ([0-9a-f]{64})\n")


class RulesFile(StrEnum):
    """What is at the path of the rules file."""

    MISSING = "missing"
    OURS = "ours"
    EDITED = "edited"
    UNSEALED = "unsealed"  # written by an earlier version, without a digest: nobody knows whether it was edited
    FOREIGN = "foreign"


def sealed(text: str) -> str:
    """The text of a rules file with its first line."""
    digest = hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()
    return f"{_WRITTEN.decode()}; SHA-256 of what follows: {digest}\n{text}"


def judge_file(content: bytes | None) -> RulesFile:
    """Say who wrote a rules file, by its content; ``None`` is a file that does not exist."""
    if content is None:
        return RulesFile.MISSING
    match = _SEAL.match(content)
    if match is not None:
        digest = hashlib.sha256(content[match.end() :]).hexdigest().encode()
        return RulesFile.OURS if digest == match[1] else RulesFile.EDITED
    return RulesFile.UNSEALED if content.startswith(_WRITTEN) else RulesFile.FOREIGN
