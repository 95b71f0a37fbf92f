"""Convert audit logs to laurel's format: one JSON object per event (laurel-about(7), laurel 0.8)."""

from __future__ import annotations

import json
import re
from typing import Any

_LINE = re.compile(rb"(?:node=(\S+) )?type=(\S+) msg=audit\(([^)]*)\): ?(.*)")
_FIELD = re.compile(rb'([A-Za-z0-9_-]+)=("[^"]*"|[^ ]*)')
_SINGLE = {"SYSCALL", "EXECVE", "CWD", "PROCTITLE"}
_TEXTS = {"name", "cwd", "comm", "exe", "proctitle", "key", "tty", "success", "nametype", "dev"}
_HEX = {"arch", "cap_fp", "cap_fi", "cap_fver", "resolve"}


def as_laurel(log: bytes, *, drop_raw: bool = False, utf8: bool = True) -> bytes:
    """Convert a log; events are in the order of their first records.

    ``drop_raw`` leaves out numbers that have a translation (``[translate] drop-raw``). Without ``utf8``, all bytes
    outside ASCII are percent-encoded, as laurel before 0.3 did.
    """
    events: dict[tuple[bytes, bytes], dict[str, Any]] = {}
    for line in log.splitlines():
        match = _LINE.fullmatch(line)
        assert match, line
        node, kind, stamp, body = match.groups()
        event = events.setdefault((node, stamp), {"ID": stamp.decode()} | ({"NODE": node.decode()} if node else {}))
        record = _record(kind.decode(), body, drop_raw=drop_raw, utf8=utf8)
        if kind.decode() in _SINGLE:
            event.setdefault(kind.decode(), {}).update(record)
        else:
            event.setdefault(kind.decode(), []).append(record)
    texts = [json.dumps(event, ensure_ascii=False, separators=(",", ":")) for event in events.values()]
    return "".join(f"{text}\n" for text in texts).encode()


def _record(kind: str, body: bytes, *, drop_raw: bool, utf8: bool) -> dict[str, Any]:
    raw, _, translated = body.partition(b"\x1d")
    found: dict[str, Any] = {}
    words: list[Any] = []
    for name, value in ((name.decode(), value) for name, value in _FIELD.findall(raw)):
        if (kind == "SYSCALL" and re.fullmatch(r"a\d", name)) or (kind == "EXECVE" and re.fullmatch(r"a\d+", name)):
            words.append(f"0x{int(value, 16):x}" if kind == "SYSCALL" else _text(value, utf8=utf8))
        elif name == "proctitle":
            words = [percent(word, utf8=utf8) for word in _decoded(value).split(b"\0")]
        elif not (drop_raw and (name in ("arch", "syscall") or name.endswith(("uid", "gid")))):
            found[name] = _number(name, value, utf8=utf8)
    for name, value in ((name.decode(), value) for name, value in _FIELD.findall(translated)):
        found[name] = percent(value.strip(b'"'), utf8=utf8)
    return found | ({"ARGV": words} if words else {})


def _number(name: str, value: bytes, *, utf8: bool) -> Any:
    if value in (b"(null)", b"?"):
        return None
    if name in _HEX:
        return f"0x{int(value, 16):x}"
    if name == "mode":
        return f"0o{int(value, 8):o}"
    if name == "oflag" and len(value) % 2 == 0:  # laurel takes it for a hexadecimal string
        return percent(bytes.fromhex(value.decode()), utf8=utf8)
    if name in _TEXTS or not re.fullmatch(rb"-?\d{1,18}", value) or name == "oflag":
        return _text(value, utf8=utf8)
    return int(value)


def _text(value: bytes, *, utf8: bool) -> str:
    return percent(_decoded(value), utf8=utf8)


def _decoded(value: bytes) -> bytes:
    if value.startswith(b'"'):
        return value[1:-1]
    return bytes.fromhex(value.decode()) if re.fullmatch(rb"(?:[0-9A-F]{2})+", value) else value


def percent(value: bytes, *, utf8: bool = True) -> str:
    """Percent-encode ``%``, ``+``, unprintable characters and bytes that are not UTF-8."""
    text = value.decode("utf-8", "surrogateescape") if utf8 else value.decode("latin-1")
    kept = []
    for character in text:
        code = ord(character)
        if 0xDC80 <= code <= 0xDCFF:
            kept.append(f"%{code - 0xDC00:02x}")
        elif code < 32 or code == 127 or character in "%+" or (code > 127 and not utf8):
            kept.append(f"%{code:02x}")
        else:
            kept.append(character)
    return "".join(kept)
