"""Attribute core dumps, which the kernel writes itself, to the process that crashed. Pure.

No audit rule reports them: the kernel opens a core file outside of any system call. The record of the crash
(ANOM_ABEND) has the process, its user and the time, but not the file. So the verdict is at most ``likely``. The file
must have everything that a core file has (do_coredump in fs/coredump.c): name, owner, mode 0600, a single hard link and
the time of the crash.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from fimscan.attribution.coverage import SLACK_NS
from fimscan.model import Attribution, Change, Crash, FileKind, FileState, Reason, Reasoning, Role, Ruling, Verdict, Why

_START_NS = 2_000_000_000  # until the kernel begins to write
_NS_PER_BYTE = 100  # 10 MB/s: a large process on a slow disk
_MODE, _MASK = 0o600, 0o677  # the kernel overwrites no existing file with another mode


class CorePattern(NamedTuple):
    """``kernel.core_pattern`` and ``kernel.core_uses_pid`` (core(5))."""

    text: bytes
    uses_pid: bool = False

    @property
    def is_pipe(self) -> bool:
        """Whether the dump is piped to a program: then this program writes the file, and audit sees it."""
        return self.text.startswith(b"|")

    def matches(self, path: bytes, crash: Crash) -> bool:
        """Whether the core file of a crash can have this path; the working directory of the process is not known."""
        pattern = b"".join(self._parts(crash))
        return (
            re.fullmatch(pattern if self.text.startswith(b"/") else rb"/(?:.*/)?" + pattern, path, re.DOTALL)
            is not None
        )

    def _parts(self, crash: Crash) -> Iterable[bytes]:
        """Yield the parts of a regular expression for the file's path; unknown specifiers match any name."""
        actor = crash.actor
        known = {
            b"p": b"%d" % actor.pid,
            b"u": b"" if actor.uid is None else b"%d" % actor.uid,
            b"s": b"%d" % crash.signal,
            b"e": (actor.comm or b"").replace(b"/", b"!"),
            b"f": (actor.exe or b"").rpartition(b"/")[2],
            b"E": (actor.exe or b"").replace(b"/", b"!"),
            b"%": b"%",
        }
        for part in re.findall(rb"%.|[^%]+|%", self.text, re.DOTALL):
            if part.startswith(b"%"):
                value = known.get(part[1:])
                yield re.escape(value) if value else rb"[^/]*"
            else:
                yield re.escape(part)
        if self.uses_pid and b"%p" not in self.text:
            yield b"\\.%d" % actor.pid


def attribute_core_dump(
    change: Change, answer: Attribution, crashes: Sequence[Crash], pattern: CorePattern
) -> Attribution:
    """Revise an answer without an actor, if the changed file is the core file of a process that crashed.

    Args:
        change: the change.
        answer: its answer so far; any other than "no event" is returned as it is.
        crashes: the crashes in the window. If several fit, all are listed.
        pattern: the kernel's pattern of core file names.
    """
    after = change.after
    is_open = answer.verdict is Verdict.UNATTRIBUTED and answer.reason is Reason.NO_EVENT
    if not is_open or after is None or pattern.is_pipe or not _can_be_core(after):
        return answer
    found = [crash for crash in crashes if _fits(crash, change, after) and pattern.matches(after.path, crash)]
    if not found:
        return answer
    actors = tuple(crash.actor._replace(role=Role.WRITER) for crash in reversed(found))
    note = (
        f"The kernel wrote a core file when signal {found[-1].signal} ended the process: the audit record of the crash"
        " (ANOM_ABEND) has the time and the owner of this file. It does not name the file."
    )
    kept = answer.reasoning or Reasoning()
    rulings = tuple(
        [
            Ruling(actor, None, Why.CRASHED, 1, actor.time_ns, (crash.event,))
            for actor, crash in zip(actors, reversed(found), strict=True)
        ]
    )
    return answer._replace(
        verdict=Verdict.LIKELY if len(found) == 1 else Verdict.CONTESTED,
        reason=Reason.CORE_DUMP,
        actors=actors,
        notes=(*answer.notes, note),
        reasoning=kept._replace(rulings=(*rulings, *kept.rulings)),
    )


def _can_be_core(after: FileState) -> bool:
    return after.kind is FileKind.FILE and after.size > 0 and after.nlink == 1 and after.mode & _MASK == _MODE


def _fits(crash: Crash, change: Change, after: FileState) -> bool:
    """Whether the crash is in the window, and the file was last changed right after the crash."""
    time_ns = crash.actor.time_ns
    if time_ns is None or after.uid != crash.actor.uid:
        return False
    start, end = change.window.after_ns - SLACK_NS, change.window.before_ns + SLACK_NS
    soon = time_ns + _START_NS + after.size * _NS_PER_BYTE
    times = (after.mtime_ns, after.ctime_ns)
    return start <= time_ns <= end and all(time_ns - SLACK_NS <= written <= soon for written in times)
