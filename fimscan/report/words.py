"""Sentences for verdicts, reasons, gaps, processes and users, shared by the text and HTML reports."""

from __future__ import annotations

from collections.abc import Mapping

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
    PackageClass,
    ProcessView,
    Reason,
    Scan,
    Severity,
    StoredPath,
    Unreadable,
    UnreadableReason,
    Unseen,
    Verdict,
    Window,
)
from fimscan.report.display import command_text, minute_text, moment_text, show
from fimscan.report.summary import summary

GAP_WORDS = {
    GapReason.NOT_OBSERVED: "the state of audit was not recorded, so coverage is unknown",
    GapReason.NO_RULE: "no loaded audit rule covered this path",
    GapReason.RULE_REMOVED: "one of fimscan's audit rules had been removed",
    GapReason.AUDIT_DISABLED: "auditing was switched off in the kernel",
    GapReason.DAEMON_STOPPED: "the audit daemon was not running",
    GapReason.BOOT: "the host was restarted",
    GapReason.EVENTS_LOST: "the kernel lost audit events",
    GapReason.LOG_MISSING: "the audit log was rotated away or truncated before it was read",
    GapReason.IO_URING: "no rule for io_uring was loaded, so changes made through it left no record",
    GapReason.UNNAMED_FILE: "a file was opened or changed through io_uring, and the record does not name it",
    GapReason.READ_ONLY_OPEN: "no loaded rule reports read-only opens that truncate a file (O_RDONLY|O_TRUNC)",
    GapReason.HANDLE_OPEN: "no loaded rule reports opens by file handle (open_by_handle_at)",
    GapReason.ATTRIBUTE_CALL: "no loaded rule reports utimensat, file_setattr and the *xattrat calls",
    GapReason.X32_CALL: "this kernel supports x32 system calls, which no audit rule matches",
    GapReason.EXTENT_MOVE: "a user could move blocks between files, which does not update their times",
    GapReason.OVERLAY: "a user mounted a file system, and writes through an overlay leave no record",
    GapReason.CLOCK_CHANGED: "the host's clock was set, so times before and after cannot be compared",
    GapReason.UNSEEN_CALL: "chattr sets flags with ioctl, which no audit rule for files reports",
    GapReason.TIMES_CALL: "users can set its times through a descriptor (futimens), which no rule for files reports",
    GapReason.MOUNT: "a file system was mounted over this path or unmounted, so a different file is visible there",
    GapReason.SUBVOLUME: "a subvolume or snapshot was made, deleted or replaced here, with all its files, by ioctl",
    GapReason.LOOP_IMAGE: "the file is the image of a loop device: the kernel writes to it for the device",
    GapReason.OVERLAY_LAYER: "the file is in a layer of a mounted overlay: the kernel changes it for the overlay",
    GapReason.SERVED_ELSEWHERE: "another machine or process serves this file system and can change files itself",
    GapReason.OTHER_NAME: "the file has another name (hard link) that no rule covers",
}

#: Why no process can be named although rules cover the path.
_SHORT_KEY = len("1dae:6f72:28c2:6599")
_OUT_OF_SIGHT_WORDS = {
    GapReason.MOUNT: "a mount changed which file is visible here, and audit rules for files do not report mounts",
    GapReason.SUBVOLUME: "a subvolume or snapshot was made, deleted or replaced here, and no rule reports that call",
    GapReason.LOOP_IMAGE: "a loop device is or was set up on this file: the kernel writes to it, unrecorded",
    GapReason.OVERLAY_LAYER: "an overlay is or was mounted on top: the kernel changes files here for it, unrecorded",
    GapReason.SERVED_ELSEWHERE: "the machine or process that serves this file system can change files unrecorded",
}

_UNATTRIBUTED_WORDS: dict[Reason | None, str] = {
    Reason.NOT_COVERED: "no audit rule covers this path",
    Reason.COVERAGE_GAP: "audit did not cover the path the whole time, and recorded no event while it did",
    Reason.NO_EVENT: "audit covered the path the whole time but recorded no event: investigate",
}

_DOUBT_WORDS = {
    Reason.COVERAGE_GAP: "not certain: audit did not cover the path the whole time",
    Reason.HELD_DESCRIPTOR: "not certain: the file was, or may have been, open since before the window, so no event"
    " shows the write itself",
    Reason.PATH_ONLY: "not certain: matched by path only, because the inode is unknown",
    Reason.SEVERAL_WRITERS: "the last writer may have kept content of the earlier ones",
    Reason.CORE_DUMP: "not certain: the kernel wrote a core dump of a crashed process, and no record names the file",
    Reason.NOT_COVERED: "not certain: no audit rule covers this path",
    Reason.NO_EVENT: "not certain: audit covered the path the whole time but recorded no event for this change",
    Reason.WITNESS_ONLY: "not certain: fanotify saw the process write, but audit recorded no open by it",
}

_UNSEEN_WORDS = {
    Unseen.REFUSED: "could not be inspected",
    Unseen.ENDED: "ended before it could be inspected, and so did its child processes",
    Unseen.TOO_MANY: "has more open files or mappings than fimscan can inspect",
    Unseen.IN_FLIGHT: "had descriptors in flight in a socket",
    Unseen.RING: "had files registered with an io_uring, but it is unknown which",
    Unseen.BUFFERS: "had an io_uring whose buffers may be mapped from the file",
    Unseen.HIDDEN_RING: "may have an io_uring that does not show, whose buffers are mapped from the file",
    Unseen.SERVES: "has a FUSE file system, and a read from it may still have to write to mapped memory of the file",
    Unseen.NAME: "could not be inspected completely; it may open the file through a removed name, unrecorded",
    Unseen.NO_PROCESS: "the kernel counted a writer when the file was read",
    Unseen.NOT_ALONE: "others may write to the file, too, and the kernel does not say how many have it open",
}

UNREADABLE_WORDS = {
    UnreadableReason.PERMISSION: "permission denied",
    UnreadableReason.VANISHED: "vanished while it was being read",
    UnreadableReason.LEASED: "another process holds a lease on it and does not release it",
    UnreadableReason.UNSTABLE: "kept changing while it was being read",
    UnreadableReason.IO_ERROR: "input/output error",
    UnreadableReason.TIMEOUT: "reading took too long",
    UnreadableReason.SPARSE: "more holes than a scan hashes",
    UnreadableReason.MISSING: "configured, but there is no such file or directory",
}

# Headings of the groups of rows, most alarming first.
RANK_WORDS = (
    "No event although audit covered the path: investigate",
    "No process can be named",
    "One of several processes",
    "Likely",
    "Confirmed",
)
_SEVERITY_RANK: Mapping[Severity | None, int] = {"critical": 0, "high": 1, "medium": 2, "low": 3, None: 4}
_VERDICT_RANK = {Verdict.UNATTRIBUTED: 1, Verdict.CONTESTED: 2, Verdict.LIKELY: 3, Verdict.CONFIRMED: 4}


def rank(finding: Finding) -> int:
    """Index in :data:`RANK_WORDS` of the most alarming verdict of a row and its steps."""
    own = 0 if finding.attribution.reason is Reason.NO_EVENT else _VERDICT_RANK[finding.attribution.verdict]
    return min([own, *map(rank, finding.steps)])


def by_rank(diff: Diff) -> list[Finding]:
    """The rows of a diff, most alarming verdict first, then what is not as shipped or says it, severity, path."""
    return sorted(
        diff.findings,
        key=lambda row: (rank(row), not _is_alarming(row), _SEVERITY_RANK[row.severity], row.change.path),
    )


def _is_alarming(row: Finding) -> bool:
    """Whether its package or its text says that somebody has to look at a row."""
    answer = row.package
    is_conffile = answer is not None and answer.owner is not None and answer.owner.conffile
    if answer is not None and not is_conffile and (answer.loud or answer.kind is PackageClass.NOT_AS_SHIPPED):
        return True
    return row.text is not None and any(fact.sign is not None for fact in row.text.facts)


def plural(count: int, one: str, many: str = "") -> str:
    """``1 change``, ``2 changes``."""
    return f"{count} {one if count == 1 else many or one + 's'}"


def headline(diff: Diff) -> str:
    """One line: what differs, since when, on which host: ``3 changed, 1 added since scan 1 (...) on web1``."""
    counts = summary(diff)
    numbers = {
        "changed": counts["modified"] + counts["moved"] + counts["attributes"],
        "added": counts["added"],
        "removed": counts["removed"],
        "unreadable": counts["unreadable"],
    }
    text = ", ".join(f"{number} {word}" for word, number in numbers.items() if number)
    altered = sum(bool(item.differs) for item in diff.unreadable)
    if diff.unchanged is not None and not altered:
        return unchanged_text(diff.unchanged, diff.host)
    if altered:
        text += f" ({altered} changed since last read)"
    if not diff.findings and not altered:
        # With a filter, "nothing differs" would read like an all-clear.
        what = f"0 of {diff.unfiltered:,} match" if diff.unfiltered else "nothing differs"
        text = f"{what}, {text}," if text else what
    return f"{text} since scan {diff.start.id} ({minute_text(diff.start.started_ns)}) on {show(diff.host)}"


def key_text(fingerprint: str) -> str:
    """The signing key by the first 64 bits of its fingerprint: whoever knows all of it sees whether it is that key."""
    return f"key {fingerprint.removeprefix('SHA256:')[:_SHORT_KEY]}"


def unchanged_text(stored: StoredPath, host: str) -> str:
    """What is stored of a path of which no change is recorded: since when, and when it was last read."""
    if stored.first is None:
        return f"nothing is recorded of {show(stored.path)} on {show(host)}"
    facts = [f"first recorded by scan {stored.first.id} ({minute_text(stored.first.started_ns)})"]
    if stored.latest is None:
        facts.append("not recorded any more")
    elif stored.last_read_ns is not None:
        facts.append(f"last read {minute_text(stored.last_read_ns)}")
    if (failed := stored.unreadable) is not None:
        facts.append(f"the last scan could not read {show(failed.path)} ({UNREADABLE_WORDS[failed.reason]})")
    return f"no change of {show(stored.path)} is recorded on {show(host)}: {', '.join(facts)}"


def vouched_text(scan: Scan) -> str | None:
    """Files skipped by their ctime: ``98,000 vouched for by ctime, last read after 2026-11-23 05:23 UTC``."""
    if scan.vouched is None:
        return None
    files, read_ns = scan.vouched
    return f"{files:,} vouched for by ctime, last read after {minute_text(read_ns)}"


def log_lines(diff: Diff) -> tuple[str, ...]:
    """Append-only logs that only grew or were rotated: one line, or none."""
    parts = []
    if diff.logs_grown:
        parts.append(f"{plural(diff.logs_grown, 'log')} grew; {_of(diff.logs_grown)} earlier content is unchanged")
    if diff.logs_rotated:
        parts.append(f"{plural(diff.logs_rotated, 'log')} rotated; all of {_of(diff.logs_rotated)} content was found")
    return (f"logs: {'; '.join(parts)}",) if parts else ()


def _of(count: int) -> str:
    return "its" if count == 1 else "their"


def verdict_counts(diff: Diff) -> tuple[str, ...]:
    """``3 confirmed``, ``1 unattributed``: the verdicts that occur, strongest first."""
    counts = summary(diff)
    return tuple(f"{counts[verdict]} {verdict}" for verdict in Verdict if counts[verdict])


def verdict_code(attribution: Attribution) -> str:
    """The verdict and its reason, in the words of the JSON: ``likely (path-only)``."""
    return attribution.verdict + (f" ({attribution.reason})" if attribution.reason else "")


def introduction(attribution: Attribution, processes: int) -> str | None:
    """The sentence above the list of ``processes`` processes; ``None`` if a single one needs no introduction."""
    unseen = any(gap.reason is GapReason.UNSEEN_CALL for gap in attribution.coverage.gaps)
    if unseen and attribution.verdict is Verdict.UNATTRIBUTED:
        return "the process that set its flags is unknown: chattr uses ioctl, which no audit rule for files reports"
    if attribution.verdict is Verdict.UNATTRIBUTED:
        if (hidden := [gap.reason for gap in attribution.coverage.gaps if gap.reason in _OUT_OF_SIGHT_WORDS]) != []:
            return _OUT_OF_SIGHT_WORDS[hidden[0]]
        return _UNATTRIBUTED_WORDS.get(attribution.reason, "no process can be named")
    if processes == 0:
        return "no process is named"
    if attribution.reason is Reason.SEVERAL_WRITERS:
        return "these processes wrote one after the other (latest first); the file may contain content of each"
    if attribution.verdict is Verdict.CONTESTED:
        return "one of these processes" if processes > 1 else "this process, or one that is not listed"
    return "these processes took part in it" if processes > 1 else None


def doubts(attribution: Attribution, change: Change) -> tuple[str, ...]:
    """What weakens the verdict: reason, gaps of audit, window and notes; one sentence each."""
    sentences: list[str] = []
    if attribution.reason and attribution.verdict is not Verdict.UNATTRIBUTED:
        sentences.append(_DOUBT_WORDS[attribution.reason])
    sentences += [gap_text(gap, change.window) for gap in attribution.coverage.gaps]
    if attribution.verdict is not Verdict.CONFIRMED:
        window = change.window
        sentences.append(f"happened between {moment_text(window.after_ns)} and {moment_text(window.before_ns)}")
    return (*sentences, *(f"note: {show(note)}" for note in attribution.notes))


def gap_text(gap: Gap, window: Window) -> str:
    """One gap: its reason and its time."""
    lost = f" ({gap.lost} lost)" if gap.lost is not None else ""
    if gap.start_ns <= window.after_ns and gap.end_ns >= window.before_ns:
        when = "the whole time"
    else:
        when = f"{moment_text(gap.start_ns)} to {moment_text(gap.end_ns)}"
    return f"audit gap: {GAP_WORDS[gap.reason]}{lost}, {when}{gap_actor_text(gap)}"


def gap_actor_text(gap: Gap) -> str:
    """The process that caused a gap, if known: a comma, then :func:`by_process_text`."""
    return "" if gap.actor is None else f", {by_process_text(gap.actor)}"


def by_process_text(actor: Actor) -> str:
    """``by /usr/sbin/auditctl (pid 4), as root, logged in as eve; its command line: auditctl -D``.

    The command line tells which script an interpreter ran: fimscan itself is ``/usr/bin/python3``.
    """
    command = command_text(actor)
    line = f"; its command line: {command}" if command else ""
    return f"by {process_text(actor)}, {user_text(actor)}{line}"


def unreadable_text(item: Unreadable) -> str:
    """Why a file could not be compared, and since when. The system's message is added only if it says more."""
    words = UNREADABLE_WORDS[item.reason]
    why = words if words.endswith(item.detail.lower()) else f"{words}: {show(item.detail)}"
    if item.since_ns is None:
        return why
    return f"{why}; not compared since {minute_text(item.since_ns)}{_changed_since(item)}"


def _changed_since(item: Unreadable) -> str:
    return f", and changed since then: {', '.join(item.differs)}" if item.differs else ""


def unreadable_groups(diff: Diff) -> tuple[tuple[str, tuple[Unreadable, ...]], ...]:
    """What could not be compared, grouped under headings that say what it means for known files.

    A missing directory has a group of its own: the files below it are known to be gone and are rows themselves.
    """
    missing = tuple(item for item in diff.unreadable if item.reason is UnreadableReason.MISSING)
    others = tuple(item for item in diff.unreadable if item.reason is not UnreadableReason.MISSING)
    groups = (
        (
            f"Missing ({plural(len(missing), 'path')}; known files there are reported as removed)",
            missing,
        ),
        (f"Not compared ({plural(len(others), 'file')}; not counted as removed)", others),
    )
    return tuple((heading, items) for heading, items in groups if items)


def unmodified_heading(diff: Diff) -> str:
    """The heading above files that were opened for writing but not changed."""
    return f"Opened for writing, content unchanged ({plural(len(diff.opened_unmodified), 'file')})"


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
    if not actor.pid:  # the record has no pid
        return program
    above = f", ppid {actor.ppid}" if parent and actor.ppid is not None else ""
    return f"{program}{_place(actor.view)} (pid {actor.pid}{above})"


def _place(view: ProcessView | None) -> str:
    """Marks a program in another root or container: its path alone would look like a file of this host."""
    if view is None:
        return ""
    root = " in another root" if view.exe_origin is ExeOrigin.OTHER_ROOT else ""
    return root + (f" in container {show(view.container)}" if view.container is not None else "")


def doubt_text(doubt: Doubt) -> str:
    """A process that may have held a file open, and why that is unknown."""
    words = _UNSEEN_WORDS[doubt.why]
    if doubt.actor is not None:
        return f"{process_text(doubt.actor)} {user_text(doubt.actor)}: it {words}"
    return (
        f"an unknown process: {words}"
        if doubt.why in (Unseen.NO_PROCESS, Unseen.NOT_ALONE)
        else f"a process that {words}"
    )


def user_text(actor: Actor) -> str:
    """The user whose rights it had, and the login user: ``as root, logged in as alice``."""
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
    """The process that set a login uid: ``set by /usr/sbin/sshd (pid 700)``."""
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
