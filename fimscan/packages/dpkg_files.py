"""Parse the other files of dpkg's database: lists, MD5 sums, diversions, overrides, alternatives, triggers, log. Pure.

Every function takes any bytes. Text that dpkg would not have written raises :class:`DamagedError`, and nothing else.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import NamedTuple

_MD5_LINE = re.compile(rb"([0-9a-f]{32})  (?:\./|/)?([^\0]+)\Z")
# md5sum(1) writes names with special characters so; dpkg does not read them either.
_ESCAPED_LINE = re.compile(rb"\\[0-9a-f]{32}  ")
_LOG_LINE = re.compile(rb"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d) (\S+) (.*)")
_ACTIONS = frozenset({b"install", b"upgrade", b"configure", b"trigproc", b"remove", b"purge", b"disappear"})
# States after an action. Another package's installation can set triggers-pending at any later time.
_ENDS = frozenset({b"half-installed", b"unpacked", b"half-configured", b"installed", b"config-files", b"not-installed"})
# Names that are looked for one by one.
_FEW = 16
_ALTERNATIVE_STATES = frozenset({b"auto", b"manual"})


class DamagedError(Exception):
    """The text is not what dpkg writes; the message says how it differs."""


def parse_list(text: bytes, names: Collection[bytes]) -> list[bytes]:
    """The paths in ``info/PACKAGE.list`` whose last component is one of ``names``.

    Raises:
        DamagedError: a line is no absolute path, or the last one is incomplete.
    """
    if not text:
        return []
    if not text.endswith(b"\n"):
        raise DamagedError("it is truncated")
    if not text.startswith(b"/") or text.count(b"\n/") != text.count(b"\n") - 1 or b"\0" in text:
        raise DamagedError("a line is not an absolute path")
    if len(names) <= _FEW:
        # Few packages have a file of the name, so most lists need not be split into lines.
        starts = sorted(start for name in names for start in _lines_that_end_with(b"/" + name + b"\n", text))
        return [text[start : text.index(b"\n", start)] for start in starts]
    return [line for line in text.split(b"\n") if line.rpartition(b"/")[2] in names and line]


def _lines_that_end_with(ending: bytes, text: bytes) -> Iterator[int]:
    """Where the lines begin."""
    position = text.find(ending)
    while position >= 0:
        yield text.rfind(b"\n", 0, position) + 1
        position = text.find(ending, position + 1)


def parse_md5sums(text: bytes, wanted: Collection[bytes]) -> dict[bytes, bytes]:
    """MD5 in ``info/PACKAGE.md5sums`` of the wanted paths, which begin with a slash.

    Raises:
        DamagedError: a line is damaged, the last one is incomplete, or a path has two digests.
    """
    found: dict[bytes, bytes] = {}
    if text and not text.endswith(b"\n"):
        raise DamagedError("it is truncated")
    for line in text.split(b"\n")[:-1]:
        match = _MD5_LINE.match(line)
        if match is None:
            if _ESCAPED_LINE.match(line):
                continue
            raise DamagedError("a line is not an MD5 sum and a path")
        path = b"/" + match[2]
        if path in wanted:
            digest = bytes.fromhex(match[1].decode("ascii"))
            if found.setdefault(path, digest) != digest:
                raise DamagedError("a path has two MD5 sums")
    return found


class Diversion(NamedTuple):
    """``dpkg-divert``: the file at ``path`` of every package except ``package`` is at ``moved_to``.

    ``package`` is ``None`` for a local diversion, which concerns all packages.
    """

    path: bytes
    moved_to: bytes
    package: bytes | None


def parse_diversions(text: bytes) -> dict[bytes, Diversion]:
    """Parse ``diversions``: three lines each.

    Raises:
        DamagedError: it is not made of three lines each, or a path is not absolute, or is diverted twice.
    """
    if not text:
        return {}
    lines = text.split(b"\n")
    if lines.pop() or len(lines) % 3:
        raise DamagedError("it is truncated")
    found: dict[bytes, Diversion] = {}
    for path, moved_to, package in zip(lines[::3], lines[1::3], lines[2::3], strict=True):
        if not (path.startswith(b"/") and moved_to.startswith(b"/") and package) or path in found:
            raise DamagedError("an entry is not two paths and a package")
        found[path] = Diversion(path, moved_to, None if package == b":" else package)
    return found


class Override(NamedTuple):
    """``dpkg-statoverride``: owner, group and mode of a path. Names may be numbers after ``#``."""

    user: bytes
    group: bytes
    mode: int


def parse_statoverride(text: bytes) -> dict[bytes, Override]:
    """Parse ``statoverride``: ``USER GROUP MODE PATH`` on each line.

    Raises:
        DamagedError: a line is damaged or incomplete.
    """
    found: dict[bytes, Override] = {}
    if text and not text.endswith(b"\n"):
        raise DamagedError("it is truncated")
    for line in text.split(b"\n")[:-1]:
        match = re.match(rb"(\S+) (\S+) ([0-7]{1,5}) (/.*)\Z", line)
        if match is None or match[4] in found:
            raise DamagedError("a line is not user, group, mode and path")
        found[match[4]] = Override(match[1], match[2], int(match[3], 8))
    return found


def parse_alternative(name: bytes, text: bytes) -> dict[bytes, bytes]:
    """The links in the file ``alternatives/NAME``: each link by its name in ``/etc/alternatives``.

    Raises:
        DamagedError: it does not begin as such a file does, or has no end.
    """
    lines = text.split(b"\n")
    if len(lines) < 3 or lines[0] not in _ALTERNATIVE_STATES or not lines[1].startswith(b"/"):
        raise DamagedError("it does not begin with the mode and the link")
    found = {name: lines[1]}
    rest = iter(lines[2:])
    for follower in rest:
        if not follower:
            return found
        link = next(rest, b"")
        if not link.startswith(b"/"):
            raise DamagedError("a link is not an absolute path")
        found[follower] = link
    raise DamagedError("it is truncated")


def parse_triggers(text: bytes) -> dict[bytes, tuple[str, ...]]:
    """Parse ``triggers/File``: path -> names of the packages whose script runs when something changes there.

    Raises:
        DamagedError: a line is damaged.
    """
    found: dict[bytes, tuple[str, ...]] = {}
    for line in text.split(b"\n"):
        path, _, package = line.rpartition(b" ")
        if not line:
            continue
        if not path.startswith(b"/") or not package:
            raise DamagedError("a line is not a path and a package")
        name = package.partition(b"/")[0].partition(b":")[0].decode("ascii", "backslashreplace")
        found[path] = (*found.get(path, ()), name)
    return found


class Activity(NamedTuple):
    """When dpkg worked on which package, in seconds; ``start`` is the first time that the log has.

    ``spans`` has, by ``name:architecture``, (first second, last second) of each action with all that followed.
    """

    start: int | None
    spans: Mapping[bytes, tuple[tuple[int, int], ...]]


def parse_log(text: bytes, to_seconds: Callable[[bytes], int | None]) -> Activity:
    """Parse ``dpkg.log``; ``to_seconds`` converts local times. Lines of other forms are ignored."""
    spans: dict[bytes, list[tuple[int, int]]] = {}
    start: int | None = None
    last_stamp, last_time = b"", None
    for line in text.split(b"\n"):
        match = _LOG_LINE.match(line)
        if match is None:
            continue
        if match[1] != last_stamp:
            last_stamp, last_time = match[1], to_seconds(match[1])
        if last_time is None:
            continue
        start = last_time if start is None else min(start, last_time)
        words = match[3].split()
        if match[2] in _ACTIONS and words:
            spans.setdefault(words[0], []).append((last_time, last_time))
        elif match[2] == b"status" and len(words) >= 2 and words[0] in _ENDS and (known := spans.get(words[1])):
            # The end of the action: dpkg may have worked on it all the time in between.
            first, last = known[-1]
            known[-1] = (min(first, last_time), max(last, last_time))
    return Activity(start, {name: tuple(found) for name, found in spans.items()})
