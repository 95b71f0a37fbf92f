"""Sentences for ``fimscan explain``: what a process did to a file, and why that named or cleared it."""

from __future__ import annotations

from collections.abc import Mapping

from fimscan.model import Action, Change, Explanation, Lineage, Program, Reasoning, Ruling, Standing, Why
from fimscan.report.display import moment_text, show
from fimscan.report.words import plural, process_text, user_text

OPENS_ONLY = (
    "Audit records show opens, never writes: a named process could write from then on. A descriptor can be passed to"
    " another process; processes that held one when either scan began are listed here too."
)

ACTION_WORDS: Mapping[Action | None, str] = {
    Action.CREATE: "created it",
    Action.OPEN_WRITE: "opened it for writing",
    Action.TRUNCATE: "truncated it",
    Action.RENAME: "renamed it",
    Action.LINK: "linked it",
    Action.SYMLINK: "created the link",
    Action.MKDIR: "created the directory",
    Action.UNLINK: "removed it",
    Action.RMDIR: "removed the directory",
    Action.MKNOD: "created it",
    Action.CHMOD: "set its mode",
    Action.CHOWN: "set its owner",
    Action.SETXATTR: "set extended attributes",
    Action.UTIME: "set its times",
    Action.SETFLAGS: "set its flags",
    None: "held it open for writing",
}

_WHY_WORDS: Mapping[Why, str] = {
    Why.WRITE_ACCESS: "it could write to the file from then on, and the change happened after that",
    Why.HELD_OPEN: "it could write to the file without opening it again",
    Why.MADE: "it created the file that is there now",
    Why.PLACED: "this gave the file its present name",
    Why.TOOK_AWAY: "this removed the name",
    Why.SET: "this set what differs",
    Why.SAME_PATH: "the path matches, but the record does not have this file's device and inode",
    Why.CRASHED: "the file has the name, owner, mode and time of its core dump",
    Why.WROTE: "fanotify saw it write to the file",
    Why.EARLIER_WRITER: "it wrote an earlier file at this path, and the present one may contain that content",
    Why.EARLIER_HOLDER: "it could write to an earlier file at this path, and the present one may contain that content",
    Why.EARLIER_CHANGER: "it set attributes of an earlier file at this path, which an editor copies to the new file",
    Why.REMOVED_TOO: "it removed the file as well, and no record shows how the file came back in between",
    Why.UNFINISHED: "that call began before the window, and may have had its effect within it",
    Why.EARLIER_PART: "it acted on an earlier file at this path; whether the present file contains that is unknown",
    Why.TOOK_ANOTHER: "it removed another file from this path within the window",
    Why.NOT_MATCHED: "the record does not say which subvolume or layer the file was in, so it may be this file",
    Why.OVERRULED: "a later call decided what is there now",
    Why.UNDONE: "what it did was undone later",
    Why.ONLY_PLACED: "it put the file there, but the content differs from what the file had when it was last read",
    Why.MAY_HOLD: "it opened the file before the window and may have had it open still; not all open files were seen",
    Why.FAILED: "the call failed, so it changed nothing",
    Why.CLOSED_BEFORE: "that was before the old content was read, and it had closed the file by then",
    Why.BEFORE_WINDOW: "that was before the window",
    Why.AFTER_WINDOW: "that was after the window",
    Why.AFTER_LAST_CHANGE: "the file's ctime shows that nothing changed after that",
    Why.EARLIER_FILE: "it acted on another file, which had this inode number before",
    Why.LATER_FILE: "it acted on another file, which got this name or inode number later",
    Why.OTHER_FILE: "it acted on another file of this name, with a different inode",
    Why.NO_WRITE: "this call cannot change the content",
    Why.NO_PART: "this call cannot cause what differs",
    Why.WROTE_NOTHING: "it could not map the file, and fanotify, which missed nothing, saw it close it without a write",
}

_STANDING_WORDS: Mapping[Standing, str] = {
    Standing.ACCEPTED: "its content is what was accepted",
    Standing.CHANGED: "its own content is not what was accepted",
    Standing.GONE: "it was accepted, and is gone",
    Standing.NOT_MONITORED: "not monitored, so its content is unknown",
    Standing.NOT_KNOWN: "unknown whether this is the host's file of that name, whose content is what was accepted",
    Standing.OTHER_ROOT: "in another root, so not this host's file of that name: its content is unknown",
}


def ruling_text(ruling: Ruling) -> str:
    """``/usr/bin/vim (pid 4) opened it for writing 3 times, 12:00 to 12:05``."""
    times = [moment_text(ns) for ns in dict.fromkeys((ruling.first_ns, ruling.actor.time_ns)) if ns is not None]
    count = f" {ruling.calls} times" if ruling.calls > 1 else ""
    when = ", " + " to ".join(times) if times else ""
    events = ", ".join(str(event) for event in ruling.events)
    more = ", ..." if ruling.calls > len(ruling.events) > 0 else ""
    named = f" (event {show(events)}{more})" if events else ""
    act = {Why.WROTE: "wrote to it", Why.CRASHED: "crashed"}.get(ruling.why, ACTION_WORDS[ruling.action])
    return f"{process_text(ruling.actor)} {act}{count}{when}{named}"


def why_text(ruling: Ruling) -> str:
    """Why this ruling named or cleared the process."""
    return _WHY_WORDS[ruling.why]


def window_texts(explanation: Explanation) -> tuple[str, str]:
    """The two ends of the window, and which reading each of them is."""
    change = explanation.finding.change
    old = "the old content was read" if change.before is not None else "it was seen to be absent"
    new = "the new content was read" if change.after is not None else "it was seen to be removed"
    return tuple(  # type: ignore[return-value]  # the generator has two items
        f"{moment_text(ns)}, when {seen} " + (f"by scan {scan}" if scan else "by itself, between two scans")
        for ns, seen, scan in (
            (change.window.after_ns, old, explanation.after_scan),
            (change.window.before_ns, new, explanation.before_scan),
        )
    )


def time_texts(change: Change, reasoning: Reasoning | None) -> tuple[str, ...]:
    """What ctime and mtime show; empty for a removed file."""
    after, before = change.after, change.before
    if after is None:
        return ()
    sentences = []
    if reasoning is not None and reasoning.last_change_ns is not None:
        sentences.append(
            f"ctime, which no system call can set: the last change was at {moment_text(reasoning.last_change_ns)},"
            " so processes that opened the file later are cleared"
        )
    else:
        sentences.append(
            f"ctime {moment_text(after.ctime_ns)} is not used: the clock was set, or the file system does not update"
            " it by this host's clock at every change"
        )
    if not change.window.after_ns - 10**9 <= after.mtime_ns <= change.window.before_ns + 10**9:
        kept = before is not None and before.mtime_ns == after.mtime_ns
        how = "is unchanged" if kept else "is outside the window"
        sentences.append(
            f"mtime {moment_text(after.mtime_ns)} {how}: a program can set it to anything, so it is not used"
        )
    return tuple(sentences)


def lineage_text(lineage: Lineage) -> str:
    """Ancestry and user: ``/usr/bin/vim (pid 812), started by /usr/bin/sudo (pid 810); it ran as root``."""
    chain = [process_text(lineage.actor, parent=False)]
    chain += [
        f"{'started by' if number == 0 else 'by'} {process_text(ancestor, parent=False)}"
        for number, ancestor in enumerate(lineage.ancestors)
    ]
    if lineage.unknown == 1:
        chain.append("by pid 1 (the parent of services, and of processes whose own parent ended)")
    elif lineage.unknown is not None:
        chain.append(f"{'by' if lineage.ancestors else 'started by'} pid {lineage.unknown} (unknown)")
    actor = lineage.actor
    place = "" if actor.session is None else f" in session {actor.session}"
    if place and any((ancestor.comm or b"").startswith(b"sshd") for ancestor in lineage.ancestors):
        place = f" in ssh session {actor.session}"
    return f"{', '.join(chain)}; it ran {user_text(actor)}{place}"


def program_text(program: Program) -> str:
    """``/usr/bin/vim: its content is what was accepted (0.4 s later, the process was seen running it)``."""
    number = f" (change #{program.change})" if program.change else ""
    text = f"{show(program.path)}: {_STANDING_WORDS[program.standing]}{number}"
    view = program.view
    if view is None:
        return text
    if program.seen_after_ns is not None:
        text += f" ({program.seen_after_ns / 10**9:.1f} s later, the process was seen running it)"
    if view.container is not None:
        text += f"; in container {show(view.container)}"
    if view.preload is not None:
        text += f"; LD_PRELOAD loaded other code into it: {show(view.preload)}"
    if view.tracer is not None:
        text += f"; pid {view.tracer} traced it (ptrace) and could control it"
    return text


def considered_heading(reasoning: Reasoning) -> str:
    """Heading with the number of rulings, and of those that are not listed."""
    left_out = f"; {reasoning.omitted} more not listed" if reasoning.omitted else ""
    return f"Processes considered ({plural(len(reasoning.rulings), 'entry', 'entries')}{left_out})"
