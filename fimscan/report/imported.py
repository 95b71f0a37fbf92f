"""The text of ``fimscan import``: what was recorded, what was compared, and what could not be."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

_NOT_PROOF = ("md5", "sha1")  # two contents with the same one can be made
_NAMES = {"md5": "MD5", "sha1": "SHA-1", "sha256": "SHA-256", "sha512": "SHA-512"}
_ATTRIBUTES = ("size", "mode", "uid", "gid", "link_target", "inode", "nlink", "mtime", "ctime")
_WORDS = {"link_target": "link target", "nlink": "links"}


def import_lines(document: Mapping[str, Any], what: str, program: str, command: str = "fimscan") -> Iterator[str]:
    """Yield the lines; ``what`` is the format's name, ``program`` who recorded it, ``command`` how to call fimscan."""
    counts = document
    known = counts["same"] + counts["differing"] + counts["gone"]
    when = f"at {counts['taken']}" if counts["taken"] is not None else "at an unknown time"
    yield f"Format: {what}."
    yield f"Baseline: scan {counts['scan']}, {known:,} files as recorded by {program} {when}."
    yield (
        f"Since then: changed {counts['differing']:,}, removed {counts['gone']:,}, added {counts['new']:,}. "
        f"'{command} scan' reports them."
    )
    yield from _compared(counts["digests"], counts["attributes"], known)
    lines = (
        ("outside", "Not monitored here, so left out"),
        ("adopted", "Monitored here, but not in it, so recorded as they are now"),
        (
            "followed",
            "Symbolic links of which it has the content behind them, so the links are recorded as they are now",
        ),
        ("without_digest", "Without a digest in it, so their content is recorded as it is now"),
        ("uncomputable", "With digests that cannot be computed here, so their content is recorded as it is now"),
        ("uncompared", "Content not compared (changed or unreadable just now, or a log that may have grown)"),
        ("skipped", "Without data in it: gone or unreadable when it was made"),
        ("unreadable", "Could not be read"),
    )
    yield from (f"{text}: {counts[name]:,}." for name, text in lines if counts[name])
    if counts["taken"] is None:
        yield "It does not say when the files were read, so the windows of these changes begin in 1970."


def _compared(digests: Mapping[str, int], attributes: Mapping[str, int], known: int) -> Iterator[str]:
    content = [f"{_name(name)} ({count:,})" for name, count in digests.items()]
    yield f"Content compared by: {', '.join(content) or 'nothing'}."
    if weak := [_name(name) for name in _NOT_PROOF if name in digests]:
        yield f"{' and '.join(weak)}: enough against accidents. Whoever makes both contents can make them agree."
    if not known:
        return
    has = [name for name in _ATTRIBUTES if name in attributes]
    lacks = [name for name in _ATTRIBUTES if name not in attributes]
    yield f"Attributes compared: {_listed(has) or 'none'}."
    if lacks:
        yield f"Not in it, so taken as they are now: {_listed(lacks)}, extended attributes, flags."


def _name(algorithm: str) -> str:
    return _NAMES.get(algorithm, algorithm)


def _listed(names: list[str]) -> str:
    return ", ".join(_WORDS.get(name, name) for name in names)
