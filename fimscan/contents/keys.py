"""Facts of authorized_keys (sshd(8)): keys by their fingerprint. Of options, only the names are told."""

from __future__ import annotations

import binascii
import hashlib
import re
from collections.abc import Iterator
from typing import NamedTuple

from fimscan.model.texts import TextFact, TextFactKind

_TYPE = re.compile(rb"(?:ssh-|ecdsa-|sk-|rsa-)[\w@.-]{1,80}\Z")
_OPTIONS = re.compile(rb'(?:[^\s"]|"(?:[^"\\]|\\.)*")+')
_OPTION = re.compile(rb'([\w-]+)(?:=(?:"(?:[^"\\]|\\.)*"|[^,"]*))?,?')


class _Key(NamedTuple):
    kind: bytes
    fingerprint: bytes
    comment: bytes
    options: tuple[bytes, ...]
    raw_options: bytes


def _keys(text: bytes) -> Iterator[_Key]:
    for raw in text.split(b"\n"):
        line = raw.strip()
        if not line or line.startswith(b"#"):
            continue
        options, rest = b"", line
        if not _TYPE.match(line.split(None, 1)[0]) and (match := _OPTIONS.match(line)):
            options, rest = match[0], line[match.end() :].lstrip()
        parts = rest.split(None, 2)
        if len(parts) > 1 and _TYPE.match(parts[0]):
            names = tuple(dict.fromkeys(match[1] for match in _OPTION.finditer(options)))
            yield _Key(parts[0], _fingerprint(parts[1]), parts[2] if len(parts) > 2 else b"", names, options)


def _fingerprint(encoded: bytes) -> bytes:
    """As ``ssh-keygen -l`` prints it."""
    try:
        blob = binascii.a2b_base64(encoded)
    except binascii.Error:
        return b"(not a valid key)"
    return b"SHA256:" + binascii.b2a_base64(hashlib.sha256(blob).digest(), newline=False).rstrip(b"=")


def _owner(path: bytes) -> bytes:
    """Whose file it is, by its path: the user is not in the file."""
    directory, _, base = path.rpartition(b"/")
    above, _, last = directory.rpartition(b"/")
    return above.rpartition(b"/")[2] if last == b".ssh" else base


def key_facts(path: bytes, before: bytes, after: bytes) -> Iterator[TextFact]:
    """Keys that were added or removed, and keys with other options."""
    owner = _owner(path)
    old = {key.fingerprint: key for key in _keys(before)}
    new = {key.fingerprint: key for key in _keys(after)}
    for fingerprint, key in new.items():
        if fingerprint not in old:
            yield _fact(TextFactKind.KEY_ADDED, owner, key)
        elif key.raw_options != old[fingerprint].raw_options:
            yield _fact(TextFactKind.KEY_CHANGED, owner, key)
    for fingerprint, key in old.items():
        if fingerprint not in new:
            yield _fact(TextFactKind.KEY_REMOVED, owner, key)


def _fact(kind: TextFactKind, owner: bytes, key: _Key) -> TextFact:
    named = key.fingerprint + b" (" + b" ".join(filter(None, (key.kind, key.comment))) + b")"
    return TextFact(kind=kind, subject=named, attribute=b", ".join(key.options), after=owner)
