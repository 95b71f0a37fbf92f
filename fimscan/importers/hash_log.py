r"""Read a log of file hashes: ``_time,epoch_time,log_level,file_path,file_hash``, one line for each file and run.

Scripts that log SHA-256 regularly write it, and 'fimscan export hash-log'. A path may have commas. A script writes it
as it is, newlines included; fimscan escapes what does not show (``\x0a``) and doubles backslashes. So a path with a
backslash has two readings. The last line of a path counts. ``DEBUG`` and ``ERROR`` lines have no hash.
"""

from __future__ import annotations

import re

from fimscan.importers.entries import NS, Entry, Recorded, Source, absolute, earliest_entry, hex_digest, number

HEADER = b"_time,epoch_time,log_level,file_path,file_hash"
_BEGIN = re.compile(rb"[0-9: T+-]{10,40},(\d{1,11}),([A-Z]{4,8}),")
_RECORD = re.compile(rb"(/.*),([0-9a-f]{64})", re.DOTALL)
_ESCAPE = re.compile(rb"\\(?:\\|x([0-9a-f]{2})|u([0-9a-f]{4})|U([0-9a-f]{8}))")


def is_hash_log(head: bytes) -> bool:
    """Whether a file begins as such a log does."""
    return head.startswith(HEADER) or _BEGIN.match(head) is not None


def read_hash_log(source: Source) -> Recorded:
    """Read a log.

    Raises:
        MalformedError: a line is none of such a log.
    """
    lines = source.lines
    found: dict[bytes, Entry] = {}
    skipped = 0
    held: tuple[int, bytes] | None = None

    def finish() -> None:
        nonlocal skipped
        if held is None:
            return
        try:
            entry = _entry(held[1])
        except ValueError as error:
            raise lines.wrong(str(error), held[0]) from error
        if entry is None:
            skipped += 1
        else:
            found[entry.path] = entry

    for line in lines:
        if line == HEADER:
            continue
        if _BEGIN.match(line):
            finish()
            held = lines.number, line
        elif held is not None:
            held = held[0], held[1] + b"\n" + line
        else:
            raise lines.wrong("this is not '_time,epoch_time,log_level,file_path,file_hash'")
    finish()
    if not found:
        raise lines.wrong("it has no hash of a file")
    return Recorded(entries=found, taken_ns=earliest_entry(found), only_files=True, skipped=skipped)


def _entry(record: bytes) -> Entry | None:
    begin = _BEGIN.match(record)
    assert begin is not None, "only such lines begin a record"
    if begin[2] != b"INFO":
        return None
    match = _RECORD.fullmatch(record, begin.end())
    if match is None:
        raise ValueError("no path and SHA-256 after log_level")
    taken_ns = number(begin[1], largest=1 << 33) * NS
    path = unescaped(match[1])
    return Entry(
        path=absolute(path, None),
        other_path=absolute(match[1], None) if path != match[1] else None,
        kind=None,
        digests=(hex_digest(match[2], "sha256"),),
        taken_ns=taken_ns,
    )


def unescaped(text: bytes) -> bytes:
    """The inverse of :func:`fimscan.report.display.show`, as bytes."""
    return _ESCAPE.sub(_decoded, text)


def _decoded(match: re.Match[bytes]) -> bytes:
    byte, short, long = match.groups()
    if byte is not None:
        return bytes([int(byte, 16)])
    if short is None and long is None:
        return b"\\"
    code = int(short or long, 16)
    if code > 0x10FFFF or 0xD800 <= code <= 0xDFFF:
        return match[0]
    return chr(code).encode()
