"""The words for what somebody did to a file, and why that named or cleared them."""

from __future__ import annotations

from collections.abc import Mapping

from fimscan.model import Action, Change, Explanation, Lineage, Program, Reasoning, Ruling, Standing, Why
from fimscan.report.display import moment_text, show
from fimscan.report.words import plural, process_text, user_text

OPENS_ONLY = (
    "Audit records show that a file was opened, never a write: a process that is named could write from then on. A"
    " descriptor can be handed on to another process; those that held one when either scan began are listed here too."
)

ACTION_WORDS: Mapping[Action | None, str] = {
    Action.CREATE: "created it",
    Action.OPEN_WRITE: "opened it for writing",
    Action.TRUNCATE: "truncated it",
    Action.RENAME: "renamed it",
    Action.LINK: "linked it",
    Action.SYMLINK: "made the link",
    Action.MKDIR: "made the directory",
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
    Why.WRITE_ACCESS: "it could write to the file from then on, and the change falls after that",
    Why.HELD_OPEN: "it could write to the file without opening it again",
    Why.MADE: "the file that is there is the one that it made",
    Why.PLACED: "that is how the file came to this name",
    Why.TOOK_AWAY: "that is how the name went",
    Why.SET: "that is how what differs came about",
    Why.SAME_PATH: "the path is the same, but the record has not this file's device and inode",
    Why.CRASHED: "the file has the name, the owner, the mode and the time of its core dump",
    Why.WROTE: "fanotify saw it write to the file",
    Why.EARLIER_WRITER: "it gave content to an earlier file of this path, and the present one may be made from that",
    Why.EARLIER_HOLDER: "it could write to an earlier file of this path, which the present one may have been made from",
    Why.EARLIER_CHANGER: "it set attributes of an earlier file of this path, which an editor copies to the new one",
    Why.REMOVED_TOO: "it removed the file as well, and nothing shows how the file came back in between",
    Why.EARLIER_PART: "that was done to an earlier file of this path: whether it is in the present one is not known",
    Why.TOOK_ANOTHER: "it took another file of this path away, within the window",
    Why.NOT_MATCHED: "the record does not say in which subvolume or layer that file was: it may be this one",
    Why.OVERRULED: "a later call decided what is there now",
    Why.UNDONE: "what it did was undone later",
    Why.ONLY_PLACED: "it put the file there, but the content is not what the file had when it was last read",
    Why.MAY_HOLD: "it opened the file before the window, and may have had it open still: not all open files were shown",
    Why.FAILED: "the call failed, so it changed nothing",
    Why.CLOSED_BEFORE: "that was before the old content was read, and it did not hold the file any more then",
    Why.BEFORE_WINDOW: "that was before the window",
    Why.AFTER_WINDOW: "that was after the window",
    Why.AFTER_LAST_CHANGE: "by the file's ctime, nothing was changed any more when it did",
    Why.EARLIER_FILE: "that was done to another file, which had this inode number before",
    Why.LATER_FILE: "that was another file, which got this name or inode number later",
    Why.OTHER_FILE: "that was another file of this name: its inode is another one",
    Why.NO_WRITE: "that cannot change the content",
    Why.NO_PART: "that cannot bring about what differs",
    Why.WROTE_NOTHING: "it could not map the file, and fanotify, which missed nothing, saw it close it without a write",
}

_STANDING_WORDS: Mapping[Standing, str] = {
    Standing.ACCEPTED: "its content is what was accepted",
    Standing.CHANGED: "its own content is not what was accepted",
    Standing.GONE: "it was accepted, and is gone",
    Standing.NOT_MONITORED: "not monitored, so nothing is known of its content",
    Standing.NOT_KNOWN: "not known whether this is the host's file of that name, whose content is what was accepted",
    Standing.OTHER_ROOT: "in another root, so not this host's file of that name: nothing is known of its content",
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
    """Why that named the process, or did not."""
    return _WHY_WORDS[ruling.why]


def window_texts(explanation: Explanation) -> tuple[str, str]:
    """Where the two ends of the window come from."""
    change = explanation.finding.change
    old = "the old content was read" if change.before is not None else "it was seen not to be there"
    new = "the new content was read" if change.after is not None else "it was seen to be gone"
    return tuple(  # type: ignore[return-value]  # two of them
        f"{moment_text(ns)}, when {seen} " + (f"by scan {scan}" if scan else "by itself, between two scans")
        for ns, seen, scan in (
            (change.window.after_ns, old, explanation.after_scan),
            (change.window.before_ns, new, explanation.before_scan),
        )
    )


def time_texts(change: Change, reasoning: Reasoning | None) -> tuple[str, ...]:
    """What the file's own times say; those of a removed file say nothing."""
    after, before = change.after, change.before
    if after is None:
        return ()
    said = []
    if reasoning is not None and reasoning.last_change_ns is not None:
        said.append(
            f"ctime, which no call can set back: nothing was changed after {moment_text(reasoning.last_change_ns)},"
            " so whoever opened it later is cleared"
        )
    else:
        said.append(
            f"ctime {moment_text(after.ctime_ns)} clears nobody here: the clock was set, or the file system does not"
            " keep it by this host's clock at every change"
        )
    if not change.window.after_ns - 10**9 <= after.mtime_ns <= change.window.before_ns + 10**9:
        kept = before is not None and before.mtime_ns == after.mtime_ns
        how = "stayed as it was" if kept else "lies outside of the window"
        said.append(f"mtime {moment_text(after.mtime_ns)} {how}: a program can set it to anything, so it is not used")
    return tuple(said)


def lineage_text(lineage: Lineage) -> str:
    """Who started whom, for whom: ``/usr/bin/vim (pid 812), started by /usr/bin/sudo (pid 810); it ran as root``."""
    chain = [process_text(lineage.actor, parent=False)]
    chain += [
        f"{'started by' if number == 0 else 'by'} {process_text(ancestor, parent=False)}"
        for number, ancestor in enumerate(lineage.ancestors)
    ]
    if lineage.unknown == 1:
        chain.append("by pid 1 (a service's parent, and that of whoever has lost its own)")
    elif lineage.unknown is not None:
        chain.append(f"{'by' if lineage.ancestors else 'started by'} pid {lineage.unknown}, of which nothing is known")
    actor = lineage.actor
    place = "" if actor.session is None else f" in session {actor.session}"
    if place and any((ancestor.comm or b"").startswith(b"sshd") for ancestor in lineage.ancestors):
        place = f" in ssh session {actor.session}"
    return f"{', '.join(chain)}; it ran {user_text(actor)}{place}"


def program_text(program: Program) -> str:
    """``/usr/bin/vim: its content is what was accepted (0.4 s later, the process was seen running it)``."""
    number = f" (change #{program.change})" if program.change else ""
    said = f"{show(program.path)}: {_STANDING_WORDS[program.standing]}{number}"
    view = program.view
    if view is None:
        return said
    if program.seen_after_ns is not None:
        said += f" ({program.seen_after_ns / 10**9:.1f} s later, the process was seen running it)"
    if view.container is not None:
        said += f"; in container {show(view.container)}"
    if view.preload is not None:
        said += f"; LD_PRELOAD brought other code into it: {show(view.preload)}"
    if view.tracer is not None:
        said += f"; pid {view.tracer} traced it (ptrace), and could have it do anything"
    return said


def considered_heading(reasoning: Reasoning) -> str:
    """How many there were, and how many of them are not listed."""
    left_out = f"; {reasoning.omitted} more are left out" if reasoning.omitted else ""
    return f"Who was considered ({plural(len(reasoning.rulings), 'entry', 'entries')}{left_out})"
