"""Make gaps from the audit log's notices between two observations, and clip gaps to a window. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from fimscan.model import Actor, AuditNotice, AuditObservation, Gap, GapReason, NoticeKind, Window

#: Times of audit and of windows are compared with this slack: audit's clock has steps of 4 ms.
SLACK_NS = 15_000_000


def make_gap(start: int, end: int, reason: GapReason, lost: int | None = None, actor: Actor | None = None) -> Gap:
    """Make a gap from positional arguments."""
    return Gap(start_ns=start, end_ns=end, reason=reason, lost=lost, actor=actor)


_STOPS = {
    NoticeKind.DAEMON_END: (NoticeKind.DAEMON_START, GapReason.DAEMON_STOPPED),
    NoticeKind.DISABLED: (NoticeKind.ENABLED, GapReason.AUDIT_DISABLED),
}


def stop_gaps(notices: Sequence[AuditNotice], end_ns: int) -> list[Gap]:
    """Gaps from each stop of auditd or of auditing to the next start, and one around each boot."""
    gaps = []
    for position, notice in enumerate(notices):
        if notice.kind in _STOPS:
            ended_by, reason = _STOPS[notice.kind]
            later = (n.event.time_ns for n in notices[position + 1 :] if n.kind is ended_by)
            gaps.append(make_gap(notice.event.time_ns - SLACK_NS, next(later, end_ns) + SLACK_NS, reason))
        elif notice.kind is NoticeKind.BOOT:
            gaps.append(make_gap(notice.event.time_ns - SLACK_NS, notice.event.time_ns + SLACK_NS, GapReason.BOOT))
    return gaps


def removal_gaps(notices: Sequence[AuditNotice], keys: set[str | None], end_ns: int) -> list[Gap]:
    """A gap from the first removal of a rule with one of ``keys`` until the rules are loaded again.

    The record of a removal has only the key, so any rule with this key may be the removed one.
    """
    removed = [n for n in notices if n.kind is NoticeKind.RULE_REMOVED and n.key in keys]
    if not removed:
        return []
    back = [n.event.time_ns for n in notices if n.kind is NoticeKind.RULE_ADDED and n.event > removed[-1].event]
    # The last addition counts: until then, some rule of the set may have been missing.
    start_ns = removed[0].event.time_ns - SLACK_NS
    until_ns = max(back, default=end_ns) + SLACK_NS
    return [make_gap(start_ns, until_ns, GapReason.RULE_REMOVED, actor=remover(removed))]


def uring_removal_gaps(notices: Sequence[AuditNotice], keys: set[str | None], end_ns: int) -> list[Gap]:
    """A gap from the first removal of an io_uring rule with one of ``keys`` (fimscan's own) until ``end_ns``.

    fimscan loads such a rule again at its next observation, which is at ``end_ns`` or later.
    """
    removed = [n for n in notices if n.kind is NoticeKind.URING_RULE_REMOVED and n.key in keys]
    if not removed:
        return []
    return [make_gap(removed[0].event.time_ns - SLACK_NS, end_ns, GapReason.IO_URING, actor=remover(removed))]


def keys_of(*seen: AuditObservation) -> set[str | None]:
    """The keys of the loaded rules; ``None`` stands for rules without a key."""
    return {rule.key for one in seen for rule in one.rules}


def remover(removed: Sequence[AuditNotice]) -> Actor | None:
    """The process that removed the first of the rules; usually one command removes them all."""
    return next((n.actor for n in removed if n.actor is not None), None)


def clip_gaps(gaps: Iterable[Gap], window: Window) -> tuple[Gap, ...]:
    """Return the parts of gaps inside the window, in order of time; touching gaps of one reason are merged."""
    inside: dict[GapReason, list[Gap]] = {}
    for gap in sorted(gaps, key=lambda g: g.start_ns):
        start, end = max(gap.start_ns, window.after_ns), min(gap.end_ns, window.before_ns)
        if start > end:
            continue
        joined = inside.setdefault(gap.reason, [])
        if joined and start <= joined[-1].end_ns:
            last = joined.pop()
            start, end = last.start_ns, max(last.end_ns, end)
            lost = None if gap.lost is None and last.lost is None else (gap.lost or 0) + (last.lost or 0)
            actor = last.actor or gap.actor
        else:
            lost, actor = gap.lost, gap.actor
        joined.append(make_gap(start, end, gap.reason, lost, actor))
    return tuple(sorted((g for some in inside.values() for g in some), key=lambda g: (g.start_ns, g.reason)))
