"""The words for verdicts, reasons and gaps: one place, so that text and HTML say the same."""

from __future__ import annotations

from fimscan.model import (
    Actor,
    Attribution,
    Change,
    Diff,
    Doubt,
    ExeOrigin,
    Finding,
    Gap,
    GapReason,
    LoginOrigin,
    LoginSource,
    ProcessView,
    Reason,
    Scan,
    Unreadable,
    UnreadableReason,
    Unseen,
    Verdict,
    Window,
)
from fimscan.report.display import minute_text, moment_text, show
from fimscan.report.documents.diff import summary

GAP_WORDS = {
    GapReason.NOT_OBSERVED: "nobody was looking at the audit system, so nothing is known of it",
    GapReason.NO_RULE: "no loaded audit rule covered this path",
    GapReason.RULE_REMOVED: "one of fimscan's audit rules had been removed",
    GapReason.AUDIT_DISABLED: "audit was switched off (auditctl -e 0)",
    GapReason.DAEMON_STOPPED: "the audit daemon was not running",
    GapReason.BOOT: "the host was restarted",
    GapReason.EVENTS_LOST: "the kernel lost audit events",
    GapReason.LOG_MISSING: "the audit log was rotated away or cut before it was read",
    GapReason.IO_URING: "what programs did through io_uring left no record, as no rule for it was loaded",
    GapReason.UNNAMED_FILE: "a file was opened or changed through io_uring, and the record does not say which",
    GapReason.READ_ONLY_OPEN: "no loaded rule reports opens that empty a file without asking for write access",
    GapReason.HANDLE_OPEN: "no loaded rule reports files that are opened by their handle (open_by_handle_at)",
    GapReason.ATTRIBUTE_CALL: "no loaded rule reports utimensat, file_setattr and the *xattrat calls",
    GapReason.X32_CALL: "this kernel has x32 calls, which no audit rule matches",
    GapReason.EXTENT_MOVE: "a user could move blocks between files, which leaves a file's times as they were",
    GapReason.OVERLAY: "a user mounted a file system of his own: what is written through an overlay leaves no record",
    GapReason.CLOCK_CHANGED: "the host's clock was set, so that times before and after do not compare",
    GapReason.UNSEEN_CALL: "chattr sets flags by a call (ioctl) that no audit rule for files sees",
    GapReason.TIMES_CALL: "users may set its times through a descriptor (futimens), which no audit rule for files sees",
    GapReason.MOUNT: "something was mounted over this path, or unmounted, so that another file is seen there",
    GapReason.LOOP_IMAGE: "the file is the image of a loop device: what is written to that, the kernel writes here",
    GapReason.OVERLAY_LAYER: "the file is in a layer of a mounted overlay: what is done in that, the kernel does here",
    GapReason.SERVED_ELSEWHERE: "another machine or process serves this file system, and can change files by itself",
    GapReason.OTHER_NAME: "the file has another name (hard link), which no rule covers",
}

#: Why nobody can be named although rules cover the path.
_OUT_OF_SIGHT_WORDS = {
    GapReason.MOUNT: "a mount changed what is seen here, and no audit rule for files sees mounts",
    GapReason.LOOP_IMAGE: "a loop device is (or was) set up on this file: the kernel writes to it by itself",
    GapReason.OVERLAY_LAYER: "an overlay is (or was) mounted on top: the kernel writes here what is done in that",
    GapReason.SERVED_ELSEWHERE: "what the other machine or process that serves it does leaves no record here",
}

_UNATTRIBUTED_WORDS: dict[Reason | None, str] = {
    Reason.NOT_COVERED: "no audit rule covers this path: 'fimscan audit rules' prints the ones to load",
    Reason.COVERAGE_GAP: "audit was not watching the whole time, and saw nobody while it was",
    Reason.NO_EVENT: "audit was watching the whole time and saw nobody: investigate",
}

_DOUBT_WORDS = {
    Reason.COVERAGE_GAP: "not certain: audit was not watching the whole time",
    Reason.HELD_DESCRIPTOR: "not certain: it was, or may have been, held open since before, so that no event shows the "
    "write itself",
    Reason.PATH_ONLY: "not certain: matched by its path alone, as nothing tells the inode",
    Reason.SEVERAL_WRITERS: "nothing shows that the last one did not take over what the others left in the file",
    Reason.CORE_DUMP: "not certain: the kernel wrote it for a process that crashed, and no record says which file",
    Reason.NOT_COVERED: "not certain: no audit rule covers this path ('fimscan audit rules' prints the ones to load)",
    Reason.NO_EVENT: "not certain: audit was watching the whole time and saw no event for it",
    Reason.WITNESS_ONLY: "not certain: fanotify saw it write, but audit did not see it open the file",
}

_UNSEEN_WORDS = {
    Unseen.REFUSED: "does not let itself be examined",
    Unseen.ENDED: "ended before it could be examined, as did those that it started",
    Unseen.TOO_MANY: "has more open files or mappings than could be looked at",
    Unseen.IN_FLIGHT: "had descriptors in flight in a socket",
    Unseen.RING: "had files registered with an io_uring, and which ones is not known",
    Unseen.BUFFERS: "had an io_uring, whose buffers may be memory of the file",
    Unseen.NAME: "could not be examined wholly, and may keep a removed name of the file, which opens it unseen",
    Unseen.NO_PROCESS: "the kernel counted a writer when the file was read",
    Unseen.NOT_ALONE: "others may write to the file, too, and the kernel does not say how many have it open",
}

UNREADABLE_WORDS = {
    UnreadableReason.PERMISSION: "permission denied",
    UnreadableReason.VANISHED: "vanished while it was being read",
    UnreadableReason.LEASED: "another process holds a lease on it, and does not give it up",
    UnreadableReason.UNSTABLE: "kept changing while it was being read",
    UnreadableReason.IO_ERROR: "input/output error",
    UnreadableReason.TIMEOUT: "took too long",
    UnreadableReason.MISSING: "configured, but there is no such file or directory",
}

# The order in which a reader has to look at rows, most alarming first.
RANK_WORDS = (
    "Nobody seen, although audit was watching: investigate",
    "Nobody can be named",
    "One of several processes",
    "Likely",
    "Confirmed",
)
_VERDICT_RANK = {Verdict.UNATTRIBUTED: 1, Verdict.CONTESTED: 2, Verdict.LIKELY: 3, Verdict.CONFIRMED: 4}


def rank(finding: Finding) -> int:
    """The index in :data:`RANK_WORDS` of a row: that of the most alarming of its own verdict and its steps'."""
    own = 0 if finding.attribution.reason is Reason.NO_EVENT else _VERDICT_RANK[finding.attribution.verdict]
    return min([own, *map(rank, finding.steps)])


def by_rank(diff: Diff) -> list[Finding]:
    """The rows of a diff, most alarming first, then by path."""
    return sorted(diff.findings, key=lambda finding: (rank(finding), finding.change.path))


def plural(count: int, one: str, many: str = "") -> str:
    """``1 change``, ``2 changes``."""
    return f"{count} {one if count == 1 else many or one + 's'}"


def headline(diff: Diff) -> str:
    """What differs, since when and where, in one line: ``3 changed, 1 added since scan 1 (...) on web1``."""
    counts = summary(diff)
    numbers = {
        "changed": counts["modified"] + counts["moved"] + counts["attributes"],
        "added": counts["added"],
        "removed": counts["removed"],
        "unreadable": counts["unreadable"],
    }
    said = ", ".join(f"{number} {word}" for word, number in numbers.items() if number)
    altered = sum(bool(item.differs) for item in diff.unreadable)
    if altered:
        said += f" ({altered} changed since last read)"
    if not diff.findings and not altered:
        said = f"nothing differs, {said}," if said else "nothing differs"
    return f"{said} since scan {diff.start.id} ({minute_text(diff.start.started_ns)}) on {show(diff.host)}"


def vouched_text(scan: Scan) -> str | None:
    """What a scan took on trust: ``98,000 vouched for by ctime, last read after 2026-11-23 05:23 UTC``."""
    if scan.vouched is None:
        return None
    files, read_ns = scan.vouched
    return f"{files:,} vouched for by ctime, last read after {minute_text(read_ns)}"


def log_lines(diff: Diff) -> tuple[str, ...]:
    """What became of logs that are only to be appended to, where that is as expected: one line, or none."""
    said = []
    if diff.logs_grown:
        said.append(f"{plural(diff.logs_grown, 'log')} grew; {_of(diff.logs_grown)} earlier content is unchanged")
    if diff.logs_rotated:
        said.append(f"{plural(diff.logs_rotated, 'log')} rotated; all of {_of(diff.logs_rotated)} content was found")
    return (f"logs: {'; '.join(said)}",) if said else ()


def _of(count: int) -> str:
    return "its" if count == 1 else "their"


def verdict_counts(diff: Diff) -> tuple[str, ...]:
    """``3 confirmed``, ``1 unattributed``: strongest verdict first, those that occur."""
    counts = summary(diff)
    return tuple(f"{counts[verdict]} {verdict}" for verdict in Verdict if counts[verdict])


def verdict_code(attribution: Attribution) -> str:
    """The verdict and its reason, as the JSON has them: ``likely (path-only)``."""
    return attribution.verdict + (f" ({attribution.reason})" if attribution.reason else "")


def lead(attribution: Attribution, processes: int) -> str | None:
    """The sentence above a list of so many processes; ``None`` where the only one says everything itself."""
    unseen = any(gap.reason is GapReason.UNSEEN_CALL for gap in attribution.coverage.gaps)
    if unseen and attribution.verdict is Verdict.UNATTRIBUTED:
        return "who set its flags is not known: chattr's call (ioctl) says no path, so no audit rule for files sees it"
    if attribution.verdict is Verdict.UNATTRIBUTED:
        if (hidden := [gap.reason for gap in attribution.coverage.gaps if gap.reason in _OUT_OF_SIGHT_WORDS]) != []:
            return _OUT_OF_SIGHT_WORDS[hidden[0]]
        return _UNATTRIBUTED_WORDS.get(attribution.reason, "nobody can be named")
    if processes == 0:
        return "no process is named"
    if attribution.reason is Reason.SEVERAL_WRITERS:
        return "these processes wrote one after the other, latest first: each can have a part in what is there now"
    if attribution.verdict is Verdict.CONTESTED:
        return "one of these processes" if processes > 1 else "this process, or one that is not listed"
    return "these processes had a part in it" if processes > 1 else None


def doubts(attribution: Attribution, change: Change) -> tuple[str, ...]:
    """Why the answer is not surer: reason, audit's gaps, the window, and the notes; one sentence each."""
    said: list[str] = []
    if attribution.reason and attribution.verdict is not Verdict.UNATTRIBUTED:
        said.append(_DOUBT_WORDS[attribution.reason])
    said += [gap_text(gap, change.window) for gap in attribution.coverage.gaps]
    if attribution.verdict is not Verdict.CONFIRMED:
        window = change.window
        said.append(f"happened between {moment_text(window.after_ns)} and {moment_text(window.before_ns)}")
    return (*said, *(f"note: {show(note)}" for note in attribution.notes))


def gap_text(gap: Gap, window: Window) -> str:
    """One gap: why, and when."""
    lost = f" ({gap.lost} lost)" if gap.lost is not None else ""
    if gap.start_ns <= window.after_ns and gap.end_ns >= window.before_ns:
        when = "the whole time"
    else:
        when = f"{moment_text(gap.start_ns)} to {moment_text(gap.end_ns)}"
    return f"audit gap: {GAP_WORDS[gap.reason]}{lost}, {when}{gap_actor_text(gap)}"


def gap_actor_text(gap: Gap) -> str:
    """Who brought a gap about, where that is known: ``, by /usr/sbin/auditctl (pid 4), as root, logged in as eve``."""
    return "" if gap.actor is None else f", by {process_text(gap.actor)}, {user_text(gap.actor)}"


def unreadable_text(item: Unreadable) -> str:
    """Why a file could not be compared, and since when; the system's words only where they say more than ours."""
    words = UNREADABLE_WORDS[item.reason]
    why = words if words.endswith(item.detail.lower()) else f"{words}: {show(item.detail)}"
    if item.since_ns is None:
        return why
    return f"{why}; not compared since {minute_text(item.since_ns)}{_done_since(item)}"


def _done_since(item: Unreadable) -> str:
    return f", and changed since then: {', '.join(item.differs)}" if item.differs else ""


def unreadable_groups(diff: Diff) -> tuple[tuple[str, tuple[Unreadable, ...]], ...]:
    """What could not be compared, under headings that say what that means for the files known before.

    A directory that is not there is different: then the files below it are known to be gone, and are rows themselves.
    """
    missing = tuple(item for item in diff.unreadable if item.reason is UnreadableReason.MISSING)
    others = tuple(item for item in diff.unreadable if item.reason is not UnreadableReason.MISSING)
    groups = (
        (
            f"Not there ({plural(len(missing), 'path')}; what was known of it or below it is reported as removed)",
            missing,
        ),
        (f"Not compared ({plural(len(others), 'file')}; not counted as removed)", others),
    )
    return tuple((heading, items) for heading, items in groups if items)


def unmodified_heading(diff: Diff) -> str:
    """The heading above the files that were opened for writing and are the same."""
    return f"Opened for writing, and the content is the same ({plural(len(diff.opened_unmodified), 'file')})"


def number_text(change: Change) -> str:
    """``#17``, the number that ``fimscan accept`` takes; empty for a change that is not stored."""
    return f"#{change.id}" if change.id else ""


def process_text(actor: Actor, *, parent: bool = True) -> str:
    """The program and its process: ``/usr/bin/vim (pid 4242, ppid 4200)``."""
    if actor.exe is not None:
        program = show(actor.exe)
    elif actor.comm is not None:
        program = f"a process that calls itself {show(actor.comm)}"
    else:
        program = "an unknown program"
    if not actor.pid:  # a record that names no process
        return program
    above = f", ppid {actor.ppid}" if parent and actor.ppid is not None else ""
    return f"{program}{_place(actor.view)} (pid {actor.pid}{above})"


def _place(view: ProcessView | None) -> str:
    """Where a program is that need not be this host's: its name alone would be taken for that."""
    if view is None:
        return ""
    root = " in another root" if view.exe_origin is ExeOrigin.OTHER_ROOT else ""
    return root + (f" in container {show(view.container)}" if view.container is not None else "")


def doubt_text(doubt: Doubt) -> str:
    """Who may have held a file open, and why that is not known."""
    words = _UNSEEN_WORDS[doubt.why]
    if doubt.actor is not None:
        return f"{process_text(doubt.actor)} {user_text(doubt.actor)}: it {words}"
    return f"somebody: {words}" if doubt.why in (Unseen.NO_PROCESS, Unseen.NOT_ALONE) else f"a process that {words}"


def user_text(actor: Actor) -> str:
    """With whose rights, and who had logged in: ``as root, logged in as alice``."""
    user = "an unknown user" if actor.uid is None else _user(actor.user, actor.uid)
    rights = f" (euid {actor.euid})" if actor.euid is not None and actor.euid != actor.uid else ""
    return f"as {user}{rights}, {_login(actor)}"


def _login(actor: Actor) -> str:
    if actor.auid is None:
        return "no login user"
    origin = actor.login
    if origin is not None and origin.source is LoginSource.USER:
        claimed = "" if origin.claimed is None else f" ({show(origin.claimed)})"
        return f"login uid {actor.auid}{claimed} was {origin_text(origin)}"
    login = f"logged in as {_user(actor.login_user, actor.auid)}"
    if origin is None or origin.source is LoginSource.LOGIN_PROGRAM:
        return login
    return f"{login} ({'login not seen' if origin.source is LoginSource.UNSEEN else origin_text(origin)})"


def origin_text(origin: LoginOrigin) -> str:
    """Who set a login uid: ``set by /usr/sbin/sshd (pid 700)``."""
    if origin.source is LoginSource.UNSEEN:
        return "not seen being set"
    program = "" if origin.exe is None else f" {show(origin.exe)}"
    match origin.source:
        case LoginSource.USER:
            whose = "a process of an unknown user" if origin.uid is None else f"uid {origin.uid}'s process"
            return f"set by {whose}, not by a login"
        case LoginSource.ROOT:
            return f"login uid set by root's process{program} (pid {origin.pid})"
    return f"set by{program} (pid {origin.pid})"


def _user(name: str | None, uid: int) -> str:
    return f"uid {uid}" if name is None else show(name)
