"""Facts of sshd_config(5): settings that have another value."""

from __future__ import annotations

import re
from collections.abc import Iterator

from fimscan.model.texts import TextFact, TextFactKind, TextSign

_SETTING = re.compile(rb"([A-Za-z]\w*)(?:[ \t]*=[ \t]*|[ \t]+)(.*)", re.DOTALL)
_ALARMING = {
    b"permitrootlogin": frozenset((b"yes",)),
    b"permitemptypasswords": frozenset((b"yes",)),
}
# sshd uses the first value of all other settings.
_MANY = frozenset(
    (
        *(b"acceptenv", b"addressfamily", b"allowgroups", b"allowusers", b"denygroups", b"denyusers", b"hostkey"),
        *(b"hostcertificate", b"include", b"listenaddress", b"permitlisten", b"permitopen", b"port", b"setenv"),
        *(b"subsystem", b"match"),
    )
)

_Settings = dict[tuple[bytes, bytes], tuple[bytes, list[bytes]]]


def _settings(text: bytes) -> _Settings:
    """(section, setting in small letters) -> (setting as written, its values)."""
    found: _Settings = {}
    section = b""
    for raw in text.split(b"\n"):
        line = raw.strip()
        match = _SETTING.fullmatch(line)
        if match is None:  # empty, or a comment
            continue
        name, value = match[1].lower(), b" ".join(match[2].split()).strip(b'"')
        if name == b"match":
            section = b"" if value.lower() == b"all" else value
            found.setdefault((section, name), (match[1], []))
            continue
        values = found.setdefault((section, name), (match[1], []))[1]
        if name in _MANY or not values:
            values.append(value)
    return found


def sshd_facts(_path: bytes, before: bytes, after: bytes) -> Iterator[TextFact]:
    """Settings by section, with both values; ``SetEnv`` may hold secrets, so its values are not told."""
    old, new = _settings(before), _settings(after)
    for key in [*new, *(key for key in old if key not in new)]:
        section, name = key
        was, now = old.get(key, (b"", []))[1], new.get(key, (b"", []))[1]
        if was == now:
            continue
        told = name != b"setenv"
        alarming = _ALARMING.get(name, frozenset())
        became = any(value.lower() in alarming for value in now) and was != now
        yield TextFact(
            kind=TextFactKind.SETTING_CHANGED,
            subject=(new.get(key) or old[key])[0],
            attribute=section,
            before=b", ".join(was) if was and told else None,
            after=b", ".join(now) if now and told else None,
            sign=TextSign.ROOT_LOGIN if became else None,
        )
