"""Convert records with interpreted values (``arch=x86_64 syscall=unlink uid=root``) back to the kernel's format.

sealert and Elastic's Beats print such records under a raw timestamp. Only unambiguous values are converted: a uid whose
name is given stays unknown.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache

from fimscan.audit.arches import machines

# A text extends to the next field that the kernel writes after it, or to the end.
_TEXTS: Mapping[str, tuple[re.Pattern[bytes], ...]] = {
    "SYSCALL": (
        re.compile(rb"(?<= comm=)(.*?)(?= exe=)"),
        re.compile(rb"(?<= exe=)(.*?)(?= subj=| key=|\Z)"),
        re.compile(rb"(?<= key=)(.*?)(?=\x1d|\s*\Z)"),
    ),
    "PATH": (re.compile(rb"(?<= name=)(.*?)(?= inode=| nametype=|\Z)"),),
    "CWD": (re.compile(rb"(?<=cwd=)(.*?)(?=\s*\Z)"),),
    "PROCTITLE": (re.compile(rb"(?<=proctitle=)(.*?)(?=\s*\Z)"),),
}
_IDS = re.compile(rb" ((?:a|e|s|fs)?uid|(?:e|s|fs)?gid)=([^\s\d\"(-]\S*)")
_MODE = re.compile(rb" mode=(file|dir|link|socket|fifo|block|character),((?:suid,|sgid,|sticky,)*)([0-7]{1,4})\b")
_KINDS = {
    b"file": 0o100000, b"dir": 0o40000, b"link": 0o120000, b"socket": 0o140000, b"fifo": 0o10000, b"block": 0o60000,
    b"character": 0o20000,
}  # fmt: skip
_BITS = {b"suid,": 0o4000, b"sgid,": 0o2000, b"sticky,": 0o1000}
_FLAGS = re.compile(rb"(?<= )(a[0-3])=((?:O_\w+)(?:\|O_\w+)*)")
_CODED = re.compile(rb"(?:[0-9A-F]{2}){2,}")
_MODES = {b"O_RDONLY": 0, b"O_WRONLY": 1, b"O_RDWR": 2}


@cache
def arches() -> Mapping[bytes, bytes]:
    """Name of the machine -> ``arch=`` of the kernel."""
    return {found.name.encode(): arch for arch, found in machines().items()}


def as_written(kind: str, body: bytes, arch: bytes) -> bytes:
    """The body of a record with its values as the kernel writes them, as far as they are unambiguous."""
    for pattern in _TEXTS.get("SYSCALL" if kind == "URINGOP" else kind, ()):
        body = pattern.sub(lambda match: _text(match[1], coded=kind == "PROCTITLE"), body, count=1)
    if kind in ("SYSCALL", "URINGOP"):
        body = _FLAGS.sub(lambda match: _number(match, arch), body).replace(b"=AT_FDCWD", b"=ffffff9c")
        body = re.sub(rb"(?<= )(a[0-3])=0x", rb"\1=", body)
        names = _IDS.findall(body)
        body = _IDS.sub(lambda match: b" %b=%b" % (match[1], b"4294967295" if match[2] == b"unset" else b"?"), body)
        if names and b"UID=" not in body:
            body += b"\x1d" + b" ".join(b'%b="%b"' % (name.upper(), value) for name, value in names)
    elif kind == "PATH":
        body = _MODE.sub(_mode, body)
    return body


def _text(value: bytes, *, coded: bool) -> bytes:
    if value.startswith((b'"', b"(null)", b"(none)")) or (coded and _CODED.fullmatch(value)):
        return value
    return b'"%b"' % value if value and b'"' not in value else value.hex().upper().encode()


def _number(match: re.Match[bytes], arch: bytes) -> bytes:
    bits = machines()[arch].flags
    value = 0
    for name in match[2].split(b"|"):
        bit = _MODES.get(name, bits.get(name.decode()))
        if bit is None:
            return match[0]
        value |= bit
    return b"%b=%x" % (match[1], value)


def _mode(match: re.Match[bytes]) -> bytes:
    bits = sum(bit for name, bit in _BITS.items() if name in match[2])
    return b" mode=0%o" % (_KINDS[match[1]] | bits | int(match[3], 8))
