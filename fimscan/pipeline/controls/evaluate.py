"""Evaluate controls: observations -> symptoms -> transitions. Pure: it reads no clock, file or database.

A symptom says that a control does not work now, or did not for a while. The transitions compare the symptoms with the
failures that are open: a new one begins, a known one goes on, one without a symptom has ended. A failure of a kind that
was not checked stays as it is: not looking is not the same as finding nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from itertools import pairwise

from msgspec import Struct
from msgspec.structs import replace

from fimscan.model import (
    Actor,
    AuditNotice,
    AuditObservation,
    Boot,
    ControlFailure,
    ControlKind,
    Effect,
    Gap,
    GapReason,
    NoticeKind,
    Reconfiguration,
    Selftest,
    Symptom,
)
from fimscan.pipeline.controls.facts import AuditFacts, ScanFacts, Space, Undelivered, UnreadFiles

#: A clock is corrected by seconds when a host starts. More than this is a jump.
CLOCK_STEP_NS = 10 * 10**9
#: Files that could not be read for longer than this are a failed control.
UNREAD_NS = 24 * 3600 * 10**9
_SHARED_NS = 24 * 3600 * 10**9
_LONG_FACTOR = 6  # a kernel that was just started may have been stopped again for a snapshot
_LATE_FACTOR = 2  # a scan is late if more than this many intervals passed since the last one
_LEAST_FREE = 1 << 30
_LEAST_SHARE = 20  # of a small file system, less than a twentieth
_LEAST_INODES = 100  # less than a hundredth
_ENOUGH = 3, 2  # a full disk is mended when half as much again is free: no message at each block

_MOST_RULES = _MOST_FILES = 3  # shown

AUDITING, DAEMON, LOG, EVENTS, EXCLUDING = "auditing", "auditd", "audit log", "events", "rules"
_MACHINE_ID = "machine-id"
_SCANS, _DATABASE, _CLOCK, _SELFTEST, _PROGRAM = "scans", "database", "clock", "selftest", "fimscan itself"


class Transitions(Struct, frozen=True, kw_only=True):
    """What has changed: failures that began (some are over already), and open failures that ended."""

    began: tuple[ControlFailure, ...] = ()
    ended: tuple[ControlFailure, ...] = ()


def transitions(
    known: Sequence[ControlFailure], symptoms: Iterable[Symptom], checked: Collection[ControlKind], now_ns: int
) -> Transitions:
    """Compare symptoms with the failures that are known.

    Args:
        known: the open failures, and those that have ended since the first symptom began.
        symptoms: what was observed, in any order.
        checked: the kinds that were observed. Open failures of other kinds stay open.
        now_ns: the time of the observation.
    """
    found = symptoms_of(symptoms)
    still_open = {(failure.kind, failure.subject): failure for failure in known if failure.is_open}
    over = [failure for failure in known if not failure.is_open]
    lasting = {(item.kind, item.subject): item for item in found if item.end_ns is None}
    began: list[ControlFailure] = []
    ended: list[ControlFailure] = []
    for item in found:
        key = item.kind, item.subject
        if item.end_ns is None:
            if key not in still_open:
                began.append(failure_of(item, now_ns))
        elif (failure := still_open.get(key)) is not None:
            # It began before this symptom, or with it. It has ended with it, unless it lasts.
            if key not in lasting:
                ended.append(_ended(still_open.pop(key), max(item.end_ns, failure.start_ns)))
        elif not any(_is_same(item, failure) for failure in (*over, *began, *ended)):
            began.append(failure_of(item, now_ns))
    ended += [
        _ended(failure, max(now_ns, failure.start_ns))
        for key, failure in still_open.items()
        if failure.kind in checked and key not in lasting
    ]
    return Transitions(began=tuple(began), ended=tuple(ended))


def _is_same(item: Symptom, failure: ControlFailure) -> bool:
    """Whether a symptom that is over belongs to a failure: the same time is evaluated several times."""
    return (
        (item.kind, item.subject) == (failure.kind, failure.subject)
        and item.start_ns <= (item.end_ns if failure.end_ns is None else failure.end_ns)  # type: ignore[operator]
        and failure.start_ns <= item.end_ns  # type: ignore[operator]
        and (item.kind is not ControlKind.CLOCK or _way(item.cause) == _way(failure.cause))
    )


def _way(cause: str) -> str:
    """``the clock was set back``: forward and back again are two failures, although their times overlap."""
    return cause.partition(" by ")[0]


def _ended(failure: ControlFailure, end_ns: int) -> ControlFailure:
    return replace(failure, end_ns=end_ns, remedy=_REMEDIES[failure.kind])


def symptoms_of(symptoms: Iterable[Symptom]) -> list[Symptom]:
    """The symptoms in order of time, each once; of those that last, the first of each kind and subject."""
    ordered = sorted(symptoms, key=lambda item: (item.start_ns, item.kind, item.subject))
    return list({(item.kind, item.subject, item.end_ns): item for item in reversed(ordered)}.values())[::-1]


_REMEDIES = {
    ControlKind.AUDIT: "audit sees everything again",
    ControlKind.SCAN: "a scan has finished",
    ControlKind.UNREADABLE: "the files can be read again, or are no longer monitored",
    ControlKind.OUTPUT: "its messages are delivered, or it is no longer configured",
    ControlKind.DATABASE: "the present head was stored",
    ControlKind.HOST: "for a day, only one machine wrote these records",
    ControlKind.CLOCK: "the clock runs on from the new time",
    ControlKind.DISK: "there is room again",
    ControlKind.CONFIGURATION: "the new configuration is in use",
    ControlKind.PROGRAM: "the files as they are now are the known ones",
    ControlKind.SELFTEST: "a selftest has passed",
}


def failure_of(item: Symptom, now_ns: int) -> ControlFailure:
    """The failure that begins with a symptom; it may be over already."""
    return ControlFailure(
        kind=item.kind,
        subject=item.subject,
        start_ns=item.start_ns,
        detected_ns=now_ns,
        cause=item.cause,
        actor=item.actor,
        end_ns=item.end_ns,
        remedy=None if item.end_ns is None else _REMEDIES[item.kind],
    )


# --------------------------------------------------------------------------------------------------------------------
# Audit


def audit_symptoms(facts: AuditFacts) -> Iterator[Symptom]:
    """What audit does not see now, and did not see since the last evaluation."""
    now = facts.latest
    if now.error:
        yield _audit(AUDITING, _since(facts, _answers), f"the kernel's audit system cannot be asked: {now.error}")
        return
    down = [*_switched_off(facts), *_daemon(facts)]
    yield from down
    yield from _lost(facts)
    yield from _suppressed(facts)
    yield from _rules(facts)
    if not any(item.end_ns is None for item in down):
        yield from _unread_log(facts)


def _switched_off(facts: AuditFacts) -> Iterator[Symptom]:
    """Auditing that is or was switched off: by auditctl, or by systemd-journald when it starts (seen with 252)."""
    off = _last(facts.notices, NoticeKind.DISABLED)
    actor = None if off is None else off.actor
    if not facts.latest.enabled:
        since = _since(facts, lambda seen: bool(seen.enabled)) if off is None else off.event.time_ns
        yield _audit(AUDITING, since, "auditing is switched off in the kernel", actor=actor)
        return
    for gap in _merged(facts, GapReason.AUDIT_DISABLED):
        yield _audit(AUDITING, gap.start_ns, "auditing was switched off in the kernel", gap.end_ns, actor=actor)


def _daemon(facts: AuditFacts) -> Iterator[Symptom]:
    """An auditd that does not or did not run. A restart of the host is no failure."""
    stopped = _last(facts.notices, NoticeKind.DAEMON_END)
    actor = None if stopped is None else stopped.actor
    if not facts.latest.daemon_pid:
        since = _since(facts, lambda seen: bool(seen.daemon_pid)) if stopped is None else stopped.event.time_ns
        yield _audit(DAEMON, since, "auditd does not run, so no record is stored", actor=actor)
        return
    for gap in _merged(facts, GapReason.DAEMON_STOPPED):
        yield _audit(DAEMON, gap.start_ns, "auditd did not run, or wrote no log", gap.end_ns, actor=actor)


def _lost(facts: AuditFacts) -> Iterator[Symptom]:
    for gap in _merged(facts, GapReason.EVENTS_LOST):
        count = "events" if gap.lost is None else "1 event" if gap.lost == 1 else f"{gap.lost:,} events"
        cause = f"the kernel lost {count}: its queue was full, or auditd did not read"
        yield _audit(EVENTS, gap.start_ns, cause, gap.end_ns)


def _suppressed(facts: AuditFacts) -> Iterator[Symptom]:
    """Rules that keep events out of the log, whatever other rules say."""
    if facts.latest.suppressed:
        shown = "; ".join(facts.latest.suppressed[:_MOST_RULES])
        more = len(facts.latest.suppressed) - _MOST_RULES
        cause = f"rules keep events out of the log: {shown}{f' and {more:,} more' if more > 0 else ''}"
        yield _audit(EXCLUDING, _since(facts, lambda seen: not seen.suppressed and _answers(seen)), cause)


def _rules(facts: AuditFacts) -> Iterator[Symptom]:
    """Monitored paths without a rule. The gaps say since when and by whom, if there were rules before."""
    suppressed = any(seen.suppressed for seen in (*facts.earlier, facts.latest))
    # While rules keep events out of the log, every path has a gap without a rule.
    reasons = {GapReason.RULE_REMOVED} if suppressed else _WITHOUT_RULE
    for path, replaced in facts.uncovered.items():
        found = _stretches(gap for gap in facts.gaps.get(path, ()) if gap.reason in _WITHOUT_RULE)
        last = found[-1] if found else _Stretch(start_ns=facts.latest.time_ns, end_ns=facts.latest.time_ns)
        if replaced:
            cause = "its audit rule is for a directory that was moved or replaced: load the rules again"
        else:
            cause = "its audit rules were removed" if last.is_removal else "no loaded audit rule covers it"
        yield _audit(path, last.start_ns, cause, actor=last.actor)
    for path, gaps in facts.gaps.items():
        found = _stretches(gap for gap in gaps if gap.reason in reasons)
        for one in found[: -1 if path in facts.uncovered else None]:
            was = "were removed, and loaded again" if one.is_removal else "were not loaded"
            yield _audit(path, one.start_ns, f"its audit rules {was}", one.end_ns, actor=one.actor)


class _Stretch(Struct, frozen=True, kw_only=True):
    """A time without rules, from gaps that touch: rules are removed, and then none is loaded."""

    start_ns: int
    end_ns: int
    is_removal: bool = False
    actor: Actor | None = None


def _stretches(gaps: Iterable[Gap]) -> list[_Stretch]:
    found: list[_Stretch] = []
    for gap in sorted(gaps, key=lambda gap: gap.start_ns):
        one = _Stretch(
            start_ns=gap.start_ns,
            end_ns=gap.end_ns,
            is_removal=gap.reason is GapReason.RULE_REMOVED,
            actor=gap.actor,
        )
        if found and gap.start_ns <= found[-1].end_ns:
            last = found.pop()
            one = _Stretch(
                start_ns=last.start_ns,
                end_ns=max(last.end_ns, one.end_ns),
                is_removal=last.is_removal or one.is_removal,
                actor=last.actor or one.actor,
            )
        found.append(one)
    return found


def _unread_log(facts: AuditFacts) -> Iterator[Symptom]:
    """A log that auditd does not write, and records that were rotated away or cut off before they were read."""
    if not facts.is_logged:
        yield _audit(LOG, facts.latest.time_ns, f"auditd does not write to {' or '.join(facts.logs)}")
        return
    stopped = _merged(facts, GapReason.DAEMON_STOPPED)
    for gap in _merged(facts, GapReason.LOG_MISSING):
        # The end of the log is read after the last observation. Nothing is missing while nothing was written.
        is_last = gap.end_ns >= facts.latest.time_ns
        if not is_last and not any(one.start_ns <= gap.end_ns and gap.start_ns <= one.end_ns for one in stopped):
            yield _audit(LOG, gap.start_ns, "records were rotated away or cut off before they were read", gap.end_ns)


_WITHOUT_RULE = frozenset({GapReason.NO_RULE, GapReason.RULE_REMOVED})


def _audit(subject: str, start_ns: int, cause: str, end_ns: int | None = None, actor: Actor | None = None) -> Symptom:
    return Symptom(kind=ControlKind.AUDIT, subject=subject, start_ns=start_ns, cause=cause, end_ns=end_ns, actor=actor)


def _answers(seen: AuditObservation) -> bool:
    return seen.error is None


def _since(facts: AuditFacts, works: Callable[[AuditObservation], bool]) -> int:
    """The last observation at which it still worked; if there is none, the first at which it did not."""
    seen = (*facts.earlier, facts.latest)
    good = [one.time_ns for one in seen if works(one)]
    return max(good, default=seen[0].time_ns)


def _last(notices: Sequence[AuditNotice], kind: NoticeKind) -> AuditNotice | None:
    found = [notice for notice in notices if notice.kind is kind]
    return max(found, key=lambda notice: notice.event) if found else None


def _merged(facts: AuditFacts, reason: GapReason) -> list[Gap]:
    """The gaps of a reason that concerns all paths alike, each once."""
    found = (gap for gaps in facts.gaps.values() for gap in gaps if gap.reason is reason)
    return sorted(dict.fromkeys(found), key=lambda gap: gap.start_ns)


def clock_symptoms(facts: AuditFacts) -> Iterator[Symptom]:
    """A clock that was set since the last evaluation: it then differs from the time since boot."""
    ahead = () if facts.ahead is None else ((facts.ahead, facts.latest),)
    for was, now in (*pairwise((*facts.earlier, facts.latest)), *ahead):
        if was.boottime_ns is None or now.boottime_ns is None or was.boot_id != now.boot_id:
            continue
        step = (now.time_ns - was.time_ns) - (now.boottime_ns - was.boottime_ns)
        if abs(step) > CLOCK_STEP_NS:
            yield clock_jump(was.time_ns, now.time_ns, step)


def clock_jump(start_ns: int, end_ns: int, step_ns: int) -> Symptom:
    """The clock was set by ``step_ns`` between two times."""
    way = "forward" if step_ns > 0 else "back"
    cause = f"the clock was set {way} by {abs(step_ns) / 1e9:,.0f} s: times before and after cannot be compared"
    first, last = min(start_ns, end_ns), max(start_ns, end_ns)
    return Symptom(kind=ControlKind.CLOCK, subject=_CLOCK, start_ns=first, end_ns=last, cause=cause)


# --------------------------------------------------------------------------------------------------------------------
# Scans, files, database, disks, configuration


def scan_symptoms(facts: ScanFacts) -> Iterator[Symptom]:
    """Scans that did not finish, and a scan that came too late. Both have ended: a scan has finished now."""
    for number, started_ns in facts.interrupted:
        cause = f"scan {number} did not finish: it was killed, or the host went down"
        yield Symptom(kind=ControlKind.SCAN, subject=_SCANS, start_ns=started_ns, end_ns=facts.this_ns, cause=cause)
    if facts.last_ns is None:
        return
    if facts.this_ns < facts.last_ns:
        yield clock_jump(facts.last_ns, facts.this_ns, facts.this_ns - facts.last_ns)
        return
    if facts.every_s is None:
        return
    # From the end: a scan that takes longer than the interval is not one that was missed.
    done_ns = facts.last_ns if facts.done_ns is None else facts.done_ns
    passed = (facts.this_ns - done_ns) / 1e9
    if passed > _LATE_FACTOR * facts.every_s:
        due_ns = done_ns + facts.every_s * 10**9
        # The schedule counts by its own timetable. Of cron, only the interval is known.
        missed = int(passed // facts.every_s) - 1 if facts.missed is None else sum(one.count for one in facts.missed)
        runs = "1 run was" if missed == 1 else f"{missed:,} runs were"
        due = f"one is due every {_interval(facts.every_s)}"
        cause = f"no scan for {passed / 3600:,.1f} hours, although {due}: {runs} missed"
        yield Symptom(kind=ControlKind.SCAN, subject=_SCANS, start_ns=due_ns, end_ns=facts.this_ns, cause=cause)


def failed_scan(message: str, begun_ns: int) -> Symptom:
    """A scan ended with an error; that lasts until one finishes."""
    return Symptom(kind=ControlKind.SCAN, subject=_SCANS, start_ns=begun_ns, cause=f"the scan failed: {message}")


def _interval(seconds: int) -> str:
    for unit, name in ((86400, "days"), (3600, "hours"), (60, "minutes")):
        if seconds >= unit and seconds % unit == 0:
            return f"{seconds // unit} {name}" if seconds > unit else name.removesuffix("s")
    return f"{seconds} seconds"


def selftest_symptom(selftest: Selftest) -> Symptom | None:
    """A selftest that failed; that lasts until one passes."""
    if selftest.has_passed:
        return None
    first, *others = selftest.failed
    more = f" (and {len(others)} more)" if others else ""
    where = f" (output {first.output})" if first.output is not None else ""
    cause = f"not {first.step}{where}: {first.detail.partition('; ')[0]}{more}"  # without the advice
    return Symptom(kind=ControlKind.SELFTEST, subject=_SELFTEST, start_ns=selftest.started_ns, cause=cause)


def unread_symptoms(files: Mapping[str, UnreadFiles], now_ns: int) -> Iterator[Symptom]:
    """Files that could not be read for long, one symptom for each monitored path."""
    for root, found in files.items():
        if now_ns - found.since_ns > UNREAD_NS:
            number = "1 file" if found.count == 1 else f"{found.count:,} files"
            cause = f"{number} that could be read before cannot be read any more, such as {found.example}"
            yield Symptom(kind=ControlKind.UNREADABLE, subject=root, start_ns=found.since_ns, cause=cause)


def shared_symptoms(boots: Sequence[Boot], now_ns: int) -> Iterator[Symptom]:
    """Another machine with the same machine-id writes to the records of this one; that lasts for a day after its last.

    All times are those of one clock, the database server's: nobody sets it back with a machine.

    A kernel that was seen before and after another one proves nothing yet: a virtual machine may have been set back to
    a snapshot, which has the memory of the earlier kernel. That kernel stood still from the snapshot on, and so for all
    of the time that the other one ran. Only one that did not stand still was running beside the other one.
    """
    proofs = [
        (earlier, now)
        for number, now in enumerate(boots)
        if number and (earlier := _ran_on(boots[:number], now)) is not None
    ]
    if proofs and now_ns - proofs[-1][1].time_ns < _SHARED_NS:
        cause = (
            "another machine has the same machine-id, and writes these records, too: each kernel was seen while the"
            " other one ran. Their files are compared with each other's. On the machine that was copied, remove"
            " /etc/machine-id, and run systemd-machine-id-setup"
        )
        yield Symptom(kind=ControlKind.HOST, subject=_MACHINE_ID, start_ns=proofs[0][0].time_ns, cause=cause)


def _ran_on(before: Sequence[Boot], now: Boot) -> Boot | None:
    """When a kernel was seen that ran beside the last one of ``before``; ``None`` unless that is certain."""
    other = before[-1]
    earlier = next((one for one in reversed(before[:-1]) if one.id == now.id), None)
    if earlier is None or not earlier.time_ns < other.time_ns < now.time_ns:
        return None
    stood_still_ns = now.began_ns - earlier.began_ns
    is_certain = abs(stood_still_ns) < CLOCK_STEP_NS and other.up_ns > _LONG_FACTOR * CLOCK_STEP_NS
    return earlier if is_certain else None


def restored_symptom(*, head_ns: int, copy_ns: int, now_ns: int, scan: int, newest: int) -> Symptom:
    """The database does not have the head that was reported last: it is an older copy."""
    cause = (
        f"the database is an older copy: scan {scan} was reported, and its newest is scan {newest};"
        " what was found and decided in between is lost"
    )
    start_ns = min(copy_ns, head_ns)
    return Symptom(
        kind=ControlKind.DATABASE, subject=_DATABASE, start_ns=start_ns, end_ns=max(now_ns, start_ns), cause=cause
    )


def deliberately_restored_symptom(
    *, what: str, lost: int | None, newest: int, copy_ns: int, head_ns: int | None, now_ns: int
) -> Symptom:
    """Somebody restored the database; ``what`` says who and from where, ``lost`` which reported scan is gone."""
    gone = "nothing that was reported is lost"
    if lost is not None:
        gone = f"scan {lost} was reported, and its newest is scan {newest}; what was found and decided since is lost"
    start_ns = min(filter(None, (copy_ns, head_ns, now_ns)))
    return Symptom(
        kind=ControlKind.DATABASE, subject=_DATABASE, start_ns=start_ns, end_ns=now_ns, cause=f"{what}; {gone}"
    )


def disk_symptoms(spaces: Iterable[Space], known: Iterable[ControlFailure], now_ns: int) -> Iterator[Symptom]:
    """File systems that are nearly full; one that was is full until there is clearly more room."""
    full = {failure.subject for failure in known if failure.kind is ControlKind.DISK}
    for space in spaces:
        more, less = _ENOUGH if space.path in full else (1, 1)
        least = min(_LEAST_FREE, space.total // _LEAST_SHARE) * more // less
        fewest = space.inodes // _LEAST_INODES * more // less
        if space.free < least:
            cause = f"nearly full: {space.free >> 20:,} MB of {space.total >> 20:,} MB are free"
        elif space.inodes and space.free_inodes < fewest:
            cause = f"nearly full: {space.free_inodes:,} of {space.inodes:,} inodes are free"
        else:
            continue
        yield Symptom(kind=ControlKind.DISK, subject=space.path, start_ns=now_ns, cause=cause)


def output_symptoms(outputs: Mapping[str, Undelivered], late_ns: int, now_ns: int) -> Iterator[Symptom]:
    """Outputs whose messages wait for longer than ``late_ns``, or were given up at a limit of [outbox]."""
    for name, found in outputs.items():
        given_up = found.given_up and f"{_messages(found.given_up)} given up"
        if not given_up and now_ns - found.since_ns <= late_ns:
            continue
        what = [*([given_up] if given_up else []), f"{_messages(found.waiting)} waiting"]
        cause = f"{', '.join(what)}: {found.answer or 'none was tried (does a fimscan run that delivers?)'}"
        yield Symptom(kind=ControlKind.OUTPUT, subject=name, start_ns=min(found.since_ns, now_ns), cause=cause)


def _messages(count: int) -> str:
    return "1 message" if count == 1 else f"{count:,} messages"


def program_symptoms(paths: Sequence[str], now_ns: int) -> Iterator[Symptom]:
    """Files of fimscan itself that changed since the scan before."""
    if not paths:
        return
    listed = ", ".join(paths[:_MOST_FILES]) + (f" and {len(paths) - _MOST_FILES:,} more" if paths[_MOST_FILES:] else "")
    cause = f"{'1 file' if len(paths) == 1 else f'{len(paths):,} files'} changed since the scan before: {listed}"
    yield Symptom(kind=ControlKind.PROGRAM, subject=_PROGRAM, start_ns=now_ns, end_ns=now_ns, cause=cause)


def weaker_symptoms(found: Iterable[Reconfiguration], now_ns: int) -> Iterator[Symptom]:
    """Settings that changed so that less is monitored."""
    for change in found:
        for item in change.differences:
            if item.effect is Effect.WEAKER:
                before, after = item.before or "nothing", item.after or "nothing"
                cause = f"changed from {before} to {after}: less is monitored since scan {change.scan}"
                yield Symptom(
                    kind=ControlKind.CONFIGURATION, subject=item.key, start_ns=now_ns, end_ns=now_ns, cause=cause
                )
