"""Find the gaps of audit in the window of any path, from observations of audit and notices in its log. Pure."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import chain, pairwise
from typing import NamedTuple

from msgspec import Struct
from msgspec.structs import replace

from fimscan.attribution.gaps import (
    SLACK_NS,
    clip_gaps,
    keys_of,
    make_gap,
    removal_gaps,
    remover,
    stop_gaps,
    uring_removal_gaps,
)
from fimscan.attribution.holes import in_scope, open_holes
from fimscan.model import (
    AuditNotice,
    AuditObservation,
    AuditRule,
    Coverage,
    Gap,
    GapReason,
    NoticeKind,
    Window,
)

__all__ = ["BEYOND_RULES", "SLACK_NS", "CoverageMap", "Extent", "Need", "covers", "in_scope"]

#: Gaps of writes and mounts that no rule for files can see, however complete the rules are.
BEYOND_RULES = frozenset(
    {
        GapReason.MOUNT,
        GapReason.SUBVOLUME,
        GapReason.LOOP_IMAGE,
        GapReason.OVERLAY_LAYER,
        GapReason.SERVED_ELSEWHERE,
    }
)


_COMPLETE = Coverage(complete=True)


class Need(NamedTuple):
    """Which system calls must have been watched: perm=w ones, perm=a ones (``auditctl(8)``)."""

    writes: bool = True
    attributes: bool = False


class _Seen(NamedTuple):
    """Whether any of some observations had the needed rules (``None``: all failed), and the gaps between them."""

    watched: bool | None
    gaps: list[Gap]


class Extent(Struct, frozen=True, kw_only=True):
    """A stretch of time over which the audit log was read without a gap."""

    start_ns: int
    end_ns: int


def covers(rules: Iterable[AuditRule], path: bytes, need: Need) -> bool:
    """Whether loaded rules cover ``path`` for the needed calls, on both ABIs (a 32-bit program is a writer too)."""
    writes: set[str] = set()
    attributes: set[str] = set()
    for rule in rules:
        if in_scope(rule, path) and not rule.stale:
            arches = rule.arches or {"b64", "b32"}
            if rule.writes:
                writes |= arches
            if rule.attributes:
                attributes |= arches
    both = {"b64", "b32"}
    return (not need.writes or writes >= both) and (not need.attributes or attributes >= both)


class CoverageMap:
    """The coverage of audit for any path and window.

    Args:
        observations: the state of the kernel's audit system, at each scan and each reading of the log.
        notices: records in the log about audit itself.
        extents: for each log that has to be read, the times over which it was read without a gap.
        superblocks: device numbers -> the superblock's, where they differ.
        unauditable: why writes to the file of a path can escape all rules; ``None`` if they cannot.
    """

    def __init__(
        self,
        observations: Iterable[AuditObservation],
        notices: Iterable[AuditNotice] = (),
        extents: Sequence[Sequence[Extent]] = (),
        superblocks: Mapping[int, int] | None = None,
        unauditable: Callable[[bytes], GapReason | None] = lambda _: None,
    ) -> None:
        self._superblocks = superblocks or {}
        self._unauditable = unauditable
        self._observations = sorted(observations, key=lambda o: o.time_ns)
        self._times = [o.time_ns for o in self._observations]
        self._interrupted = _interrupted(self._observations)
        self._notices = sorted(notices, key=lambda n: n.event)
        self._notice_times = [n.event.time_ns for n in self._notices]
        self._extents = [sorted(some, key=lambda e: e.start_ns) for some in extents]
        # Caches: changes come by the thousand, and most of them ask the same.
        self._scopes = {rule.scope for o in self._observations for rule in o.rules}
        self._seen_of_directory: dict[tuple[int, int, bytes, Need], _Seen] = {}
        self._gaps: dict[tuple[int, bool, bool, bool], list[Gap]] = {}
        self._removed: dict[int, frozenset[str | None]] = {}
        self._uring_removed = [n for n in self._notices if n.kind is NoticeKind.URING_RULE_REMOVED]
        self._unnamed = [n for n in self._notices if n.kind in _OPENINGS]

    def over(self, path: bytes, window: Window, need: Need) -> Coverage:
        """The gaps that touch ``window`` for ``path``, clipped to it, in order of time."""
        if window.after_ns > window.before_ns:
            # The clock was set back: the old content was read "after" the new one, and no time can be trusted.
            turned = Window(after_ns=window.before_ns, before_ns=window.after_ns)
            gap = make_gap(turned.after_ns, turned.before_ns, GapReason.CLOCK_CHANGED)
            return Coverage(complete=False, gaps=(*self.over(path, turned, need).gaps, gap))
        around = self._around(window)
        gaps = [*self._unread(window), *self._unobserved(window, around), *self._seen(around, path, need).gaps]
        if self._unnamed:
            gaps += self._openings(window)
        if (reason := self._unauditable(path)) is not None:
            gaps.append(make_gap(window.after_ns, window.before_ns, reason))
        clipped = clip_gaps(gaps, window) if gaps else ()
        return Coverage(complete=False, gaps=clipped) if clipped else _COMPLETE

    def watched(self, path: bytes, window: Window, need: Need) -> bool | None:
        """Whether a rule covered ``path`` at any observation around the window; ``None`` if all of them failed."""
        return self._seen(self._around(window), path, need).watched

    def watches_device(self, path: bytes, window: Window, dev: int) -> bool:
        """Whether a rule about ``path`` covers its file system, as far as is known.

        A rule for a directory covers what was mounted below it when the rule was loaded, and no later mount. So a rule
        whose directory is on another file system does not count; one whose directory's device is unknown does.
        """
        superblock = self._superblocks.get(dev, dev)
        watching = (rule for rule in self.rules(path, window) if rule.writes or rule.attributes)
        targets = [rule.target and rule.target[0] for rule in watching]
        return any(target is None or self._superblocks.get(target, target) == superblock for target in targets)

    @property
    def keys(self) -> frozenset[str | None]:
        """The keys of all rules that watch a directory or a path."""
        return frozenset(rule.key for observation in self._observations for rule in observation.rules)

    def rules(self, path: bytes, window: Window) -> tuple[AuditRule, ...]:
        """The rules about ``path`` that were loaded at any moment around the window, each once."""
        seen = [rule for i in self._around(window) for rule in self._observations[i].rules if in_scope(rule, path)]
        return tuple({rule.text: rule for rule in seen}.values())

    def _around(self, window: Window) -> range:
        """The observations (by position) inside the window, with the last before it and the first after it."""
        first = max(bisect_right(self._times, window.after_ns) - 1, 0)
        last = bisect_left(self._times, window.before_ns)
        return range(first, min(last + 1, len(self._observations)))

    def _seen(self, around: range, path: bytes, need: Need) -> _Seen:
        """Evaluate neighbouring observations for a path; the result is the same for all files of a directory."""
        if path in self._scopes:  # except a path that a rule names itself
            return self._look(around, path, need)
        key = around.start, around.stop, path.rpartition(b"/")[0], need
        found = self._seen_of_directory.get(key)
        if found is None:
            found = self._seen_of_directory[key] = self._look(around, path, need)
        return found

    def _look(self, around: range, path: bytes, need: Need) -> _Seen:
        covered = [covers(self._observations[position].rules, path, need) for position in around]
        answers = [was for position, was in zip(around, covered, strict=True) if not self._observations[position].error]
        gaps: list[Gap] = []
        for position, was, now in zip(around, covered, covered[1:], strict=False):
            key = position, was, now, was and now and self._stays_covered(position, path, need)
            between = self._gaps.get(key)
            if between is None:
                between = self._gaps[key] = self._between(*key)
            gaps += between
            if was and now:
                gaps += self._open_holes(position, path, need)
        return _Seen(watched=any(answers) if answers else None, gaps=gaps)

    @property
    def depends_on_permissions(self) -> bool:
        """Whether a gap was caused by a user, and so concerns only files that this user may write to."""
        return any(n.kind in (NoticeKind.USER_MOUNT, NoticeKind.EXTENTS_MOVED) for n in self._unnamed)

    def _openings(self, window: Window) -> list[Gap]:
        """Gaps from each open of an unnamed file and each mount by a user on: it is not known how long they last.

        A move of blocks lasts only a moment, but after it the ctime is not that of the last change.
        """
        return [
            make_gap(n.event.time_ns - SLACK_NS, window.before_ns, _OPENINGS[n.kind], actor=n.actor)
            for n in self._unnamed
            if n.event.time_ns <= window.before_ns
            and (n.event.time_ns >= window.after_ns or n.kind is NoticeKind.USER_MOUNT)
        ]

    def _open_holes(self, position: int, path: bytes, need: Need) -> list[Gap]:
        """Gaps for holes that are open at an observation or the next one: when a hole is closed is not recorded."""
        first, second = self._observations[position : position + 2]
        if first.error or second.error:
            return []
        reasons = _holes(first, path, need) | _holes(second, path, need)
        gaps = [make_gap(first.time_ns, second.time_ns, reason) for reason in sorted(reasons)]
        removed = [n for n in self._uring_removed if first.time_ns <= n.event.time_ns <= second.time_ns]
        if removed:
            keys = {rule.key for seen in (first, second) for rule in seen.rules if in_scope(rule, path)}
            gaps += uring_removal_gaps(removed, keys, second.time_ns)
        return gaps

    def _removed_keys(self, position: int) -> frozenset[str | None]:
        found = self._removed.get(position)
        if found is None:
            start, end = self._times[position], self._times[position + 1]
            between = self._notices[bisect_left(self._notice_times, start) : bisect_right(self._notice_times, end)]
            found = frozenset(n.key for n in between if n.kind is NoticeKind.RULE_REMOVED)
            self._removed[position] = found
        return found

    def _stays_covered(self, position: int, path: bytes, need: Need) -> bool:
        """Whether ``path`` stays covered without all rules whose key is in a record of a removal in between.

        Such a record has only the key of the removed rule. So any rule with this key may be the removed one.
        """
        removed = self._removed_keys(position)
        if not removed:
            return True
        for seen in self._observations[position : position + 2]:
            left = replace(seen, rules=tuple(rule for rule in seen.rules if rule.key not in removed))
            if not covers(left.rules, path, need) or _holes(left, path, need) - _holes(seen, path, need):
                return False
        return True

    def _unread(self, window: Window) -> list[Gap]:
        if not self._extents:
            return [make_gap(window.after_ns, window.before_ns, GapReason.NOT_OBSERVED)]
        return [gap for extents in self._extents for gap in self._holes(extents, window)]

    @staticmethod
    def _holes(extents: Sequence[Extent], window: Window) -> list[Gap]:
        gaps: list[Gap] = []
        at = window.after_ns
        for extent in extents:
            if extent.end_ns <= at:
                continue
            if extent.start_ns > at:
                gaps.append(make_gap(at, extent.start_ns, GapReason.LOG_MISSING))
            at = max(at, extent.end_ns)
        if at < window.before_ns:
            gaps.append(make_gap(at, window.before_ns, GapReason.LOG_MISSING))
        return gaps

    def _unobserved(self, window: Window, around: range) -> list[Gap]:
        if not around:
            return [make_gap(window.after_ns, window.before_ns, GapReason.NOT_OBSERVED)]
        gaps = []
        first_ns, last_ns = self._times[around[0]], self._times[around[-1]]
        if first_ns > window.after_ns:
            gaps.append(make_gap(window.after_ns, first_ns, GapReason.NOT_OBSERVED))
        if last_ns < window.before_ns:
            gaps.append(make_gap(last_ns, window.before_ns, GapReason.NOT_OBSERVED))
        return gaps

    def _between(self, position: int, was: bool, now: bool, stays: bool) -> list[Gap]:  # noqa: FBT001
        """Gaps between an observation and the next.

        Args:
            position: of the first observation.
            was: the path was covered at the first observation.
            now: it is covered at the second one.
            stays: it is covered without the rules that may have been removed in between.
        """
        first, second = self._observations[position : position + 2]
        start, end = first.time_ns, second.time_ns
        was_set = _clock_was_set(first, second) or position in self._interrupted
        gaps = [make_gap(start, end, GapReason.CLOCK_CHANGED)] if was_set else []
        if first.error or second.error:
            return [*gaps, make_gap(start, end, GapReason.NOT_OBSERVED)]
        if first.boot_id != second.boot_id:
            # Audit misses processes that run before auditd and its rules are up, and whatever was done near a crash.
            return [*gaps, make_gap(start, end, GapReason.BOOT)]
        notices = self._notices[bisect_left(self._notice_times, start) : bisect_right(self._notice_times, end)]
        gaps += stop_gaps(notices, end)
        # auditd suspends its log if the disk is full. The log has the time of resuming only.
        resumed = [n.event.time_ns for n in notices if n.kind is NoticeKind.RESUMED]
        gaps += [make_gap(start, at + SLACK_NS, GapReason.DAEMON_STOPPED) for at in resumed]
        if not first.enabled or not second.enabled:
            gaps.append(make_gap(start, end, GapReason.AUDIT_DISABLED))
        if (second.lost or 0) > (first.lost or 0):
            gaps.append(make_gap(start, end, GapReason.EVENTS_LOST, (second.lost or 0) - (first.lost or 0)))
        gaps += self._daemon(first, second, notices)
        if was and now:
            gaps += [] if stays else removal_gaps(notices, keys_of(first, second), end)
            gaps += [make_gap(start, end, GapReason.NO_RULE)] if first.suppressed or second.suppressed else []
        else:
            gaps += self._rules(first, second, notices, was=was, now=now)
        return gaps

    @staticmethod
    def _daemon(first: AuditObservation, second: AuditObservation, notices: Sequence[AuditNotice]) -> list[Gap]:
        """Gaps from a stop or a restart of auditd between two observations."""
        start, end = first.time_ns, second.time_ns
        if first.daemon_pid == second.daemon_pid and first.daemon_pid:
            return []
        starts = [n.event.time_ns for n in notices if n.kind is NoticeKind.DAEMON_START]
        if not second.daemon_pid or not starts:
            return [make_gap(start, end, GapReason.DAEMON_STOPPED)]
        ended = any(n.kind is NoticeKind.DAEMON_END for n in notices)
        # If the log has auditd's end, the gap is exact (see gaps.stop_gaps). Otherwise it may have died at any moment.
        return [] if ended and first.daemon_pid else [make_gap(start, max(starts), GapReason.DAEMON_STOPPED)]

    @staticmethod
    def _rules(
        first: AuditObservation, second: AuditObservation, notices: Sequence[AuditNotice], *, was: bool, now: bool
    ) -> list[Gap]:
        """Gaps of a path that was not covered at one of two observations, or at both."""
        start, end = first.time_ns, second.time_ns
        gaps: list[Gap] = []
        if first.suppressed or second.suppressed:
            gaps.append(make_gap(start, end, GapReason.NO_RULE))
        if now:
            added = [n.event.time_ns for n in notices if n.kind is NoticeKind.RULE_ADDED]
            gaps.append(make_gap(start, max(added, default=end) + SLACK_NS, GapReason.NO_RULE))
        elif was:
            removed = [n for n in notices if n.kind is NoticeKind.RULE_REMOVED and n.key in keys_of(first, second)]
            stale = any(rule.stale for rule in second.rules)  # still listed, but its directory was moved or replaced
            reason = GapReason.NO_RULE if stale and not removed else GapReason.RULE_REMOVED
            since = min((n.event.time_ns for n in removed), default=start)
            gaps.append(make_gap(since, end, reason, actor=remover(removed)))
        else:
            gaps.append(make_gap(start, end, GapReason.NO_RULE))
        return gaps


def _interrupted(observations: Sequence[AuditObservation]) -> frozenset[int]:
    """Return the positions of observations between which and the next one the clock was set, and set back.

    An observation from that time comes between them by the time since boot, but not by its own time.
    """
    by_boot: dict[str, list[tuple[int, int]]] = {}
    for position, seen in enumerate(observations):
        if seen.boottime_ns is not None:
            by_boot.setdefault(seen.boot_id, []).append((seen.boottime_ns, position))
    following = dict(
        chain.from_iterable(pairwise(position for _, position in sorted(some)) for some in by_boot.values())
    )
    return frozenset(
        position
        for position, later in following.items()
        if later != position + 1 and _clock_was_set(observations[position], observations[later])
    )


def _clock_was_set(first: AuditObservation, second: AuditObservation) -> bool:
    """Whether the wall clock was set: it then differs from CLOCK_BOOTTIME. NTP's slewing moves both alike."""
    if first.boottime_ns is None or second.boottime_ns is None or first.boot_id != second.boot_id:
        return False
    passed = second.time_ns - first.time_ns
    return abs(passed - (second.boottime_ns - first.boottime_ns)) > SLACK_NS


# Notices of calls on files that the record does not name.
_OPENINGS = {
    NoticeKind.UNNAMED_FILE: GapReason.UNNAMED_FILE,
    NoticeKind.USER_MOUNT: GapReason.OVERLAY,
    NoticeKind.EXTENTS_MOVED: GapReason.EXTENT_MOVE,
}


def _holes(seen: AuditObservation, path: bytes, need: Need) -> frozenset[GapReason]:
    return frozenset(open_holes(seen, path, writes=need.writes, attributes=need.attributes))
