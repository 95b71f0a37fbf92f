"""Sentences for change sets and ranks: what a set is, who did it, why a change stands out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from fimscan.grouping import ChangeSet, Grouping, Rank, RankReason, SetKind
from fimscan.model import (
    Actor,
    Diff,
    ExeOrigin,
    Finding,
    LoginSource,
    PackageAnswer,
    PackageClass,
    ProcessView,
    Reason,
    Verdict,
)
from fimscan.report.display import command_text, show, time_text
from fimscan.report.packages import differing_words
from fimscan.report.words import plural

REASON_WORDS = {
    RankReason.NO_EVENT: "no event although audit covered it",
    RankReason.SUPERUSER: "new account with uid 0",
    RankReason.NO_PASSWORD: "an account without a password",
    RankReason.ADMIN_GROUP: "new member of an administrators' group",
    RankReason.SUDO_WITHOUT_PASSWORD: "sudo without a password",
    RankReason.ROOT_LOGIN: "login allowed to root, or without a password",
    RankReason.VIOLATION: "marked as a violation",
    RankReason.LOG_BREACH: "logged content altered",
    RankReason.SUSPECT_PROGRAM: "written by a suspect program",
    RankReason.NOT_AS_SHIPPED: "not as its package shipped it",
    RankReason.PROOFS_DISAGREE: "proofs of its package disagree",
    RankReason.MANAGER_WROTE_OTHER: "written by the package manager nevertheless",
    RankReason.SETUID_GAINED: "setuid gained",
    RankReason.CAPABILITY_GAINED: "capability gained",
    RankReason.SETGID_GAINED: "setgid gained",
    RankReason.PROGRAM_CHANGED: "program changed",
    RankReason.ADMIN_ACCOUNT: "an account with root's rights was asked for",
    RankReason.WORLD_WRITABLE: "world-writable",
    RankReason.PROTECTION_REMOVED: "protection of chattr removed",
    RankReason.NEW_PROGRAM: "new program",
    RankReason.MTIME_KEPT: "mtime kept although the content changed",
    RankReason.SHIPPED_ELSEWHERE: "as shipped, but not written by a package manager",
    RankReason.NOT_BEING_INSTALLED: "its package was not being installed",
    RankReason.NEWCOMER: "by a program that changed nothing here before",
    RankReason.CRITICAL_WATCH: "critical watch",
    RankReason.CONFFILE: "configuration file of a package",
    RankReason.NOT_NAMED: "no process named",
    RankReason.CONTESTED: "several candidates",
    RankReason.LIKELY: "not certain",
    RankReason.SAME_CONTENT: "same content, other inode",
    RankReason.TIMES_ONLY: "times only",
    RankReason.BACKUP: "backup of an account file",
    RankReason.MAINTAINER_SCRIPT: "by a maintainer script, so unproved",
    RankReason.TRIGGER: "made by a trigger of dpkg, so unproved",
    RankReason.AS_SHIPPED: "as shipped",
    RankReason.PACKAGE_MANAGER: "by a package manager",
}
_SYSTEM_DIRECTORIES = (b"/usr/bin", b"/usr/sbin", b"/bin", b"/sbin")
_NAMED_PROGRAMS = 3


def rank_words(rank: Rank, package: PackageAnswer | None = None) -> tuple[str, ...]:
    """One short text for each reason of a rank, those that make the change stand out first.

    With ``package``, a file that differs from it is said to be not as that version shipped it, by which proof.
    """
    return tuple(_reason_words(rank, reason, package) for reason in rank.reasons)


def _reason_words(rank: Rank, reason: RankReason, package: PackageAnswer | None) -> str:
    if reason is RankReason.NOT_AS_SHIPPED and package is not None and package.owner is not None:
        return differing_words(package)
    if reason is RankReason.PLACE:
        return rank.place.name if rank.place is not None else "persistence place"
    words = REASON_WORDS[reason]
    if reason is RankReason.SUPERUSER:
        return f"{words}: {' '.join(map(show, rank.accounts))}" if rank.accounts else "an account got uid 0"
    return words


def accept_command(program: str, diff: Diff, grouping: Grouping, number: int | None = None) -> str:
    """The command that accepts no more than a report has; it runs as printed.

    Empty if the report has no name, or nothing that can be accepted: what could not be read cannot. ``number`` is that
    of the only change set in the report. Of a whole report without one, it is everything. Where something stands out,
    or a changed file could not be read, the command only prints what would be accepted.
    """
    if diff.shown is None:
        return ""
    if number is not None:
        return f"{program} accept --set {number} --shown {diff.shown}  # no more than this report"
    unread = any(item.differs for item in diff.unreadable)
    if unread and not (diff.findings or diff.reconfigurations):
        return ""
    if unread or grouping.standing_out:
        return f"{program} accept --all --even-outstanding --shown {diff.shown} --dry-run  # everything"
    return f"{program} accept --all --shown {diff.shown}  # no more than this report"


def accept_one_set(program: str, diff: Diff, grouping: Grouping) -> str:
    """The same for the largest change set in which nothing stands out."""
    ordinary = [item for item in grouping.sets if not item.standing_out]
    if not ordinary:
        return accept_command(program, diff, grouping)
    return accept_command(program, diff, grouping, max(ordinary, key=lambda item: len(item.rows)).number)


def review_command(program: str) -> str:
    """The command to decide about all changes that wait."""
    return f"{program} review  # decide, set by set"


def next_commands(program: str, diff: Diff, grouping: Grouping, *, is_reviewed: bool) -> tuple[str, ...]:
    """The commands below a report that lists every row; ``is_reviewed`` if ``fimscan review`` has the same ones."""
    found = (
        review_command(program) if is_reviewed and len(grouping.rows) > 1 else "",
        accept_command(program, diff, grouping),
        coverage_command(program, diff.findings),
    )
    return tuple(filter(None, found))


def coverage_command(program: str, findings: Iterable[Finding]) -> str:
    """The command that says how to load audit rules, if a verdict lacks them; else empty."""
    parts = (part for finding in findings for part in (finding, *finding.steps))
    if all(part.attribution.reason is not Reason.NOT_COVERED for part in parts):
        return ""
    return f"{program} audit status  # how to load the audit rules that are missing"


def set_title(item: ChangeSet, day_ns: int) -> str:
    """What a set is: ``apt-get upgrade, by admin (sudo), 02:14-02:15``. Safe to display.

    ``day_ns`` is a moment of the day whose times need no date.
    """
    return "".join(title_parts(item, day_ns))


def title_parts(item: ChangeSet, day_ns: int) -> tuple[str, str]:
    """The title of a set in two parts: the command, which may be shortened, and the rest."""
    when = span_text(item.start_ns, item.end_ns, day_ns)
    if item.kind is SetKind.NOBODY:
        reason = f" ({item.reason})" if item.reason is not None else ""
        return f"no process named{reason}", f", found by scan {item.scan}, {when}"
    several = "several processes: " if item.kind is SetKind.SEVERAL else ""
    return several + commands_text(item), f", {who_text(item)}, {when}"


def set_tail(item: ChangeSet, *, short: bool = False, are_above: bool = True) -> Iterator[str]:
    """What else a line about a set says, most important first; ``short`` where there is little room.

    ``are_above`` says that all of its changes that stand out are listed above.
    """
    if item.standing_out:
        yield f"{item.standing_out:,} {'above' if are_above else 'to look at'}"
    if item.during is not None:
        yield f"while set {item.during} ran: its parent is in no record" if not short else f"during set {item.during}"
    if item.kind is not SetKind.NOBODY:
        for verdict, count in sorted(item.verdicts.items(), key=lambda entry: entry[0].strength):
            if verdict is not Verdict.CONFIRMED:
                yield f"{count:,} {verdict}"
    yield from _packages(item, short=short)


def _packages(item: ChangeSet, *, short: bool) -> Iterator[str]:
    packages = item.packages
    if not packages:
        return
    counted = plural(len(packages), "package")
    differing = item.shipped.get(PackageClass.NOT_AS_SHIPPED, 0)
    if differing:
        yield f"{differing:,} not as shipped" if short else f"{counted}, {differing:,} not as shipped"
        return
    # The list of installed packages, logs and directories are changed by every installation, and belong to none.
    owned = sum(row.provenance is not None and row.provenance.package is not None for row in item.rows)
    as_shipped = item.shipped.get(PackageClass.AS_SHIPPED, 0)
    if as_shipped < owned:
        yield f"{as_shipped:,} as shipped" if short else f"{counted}, {plural(as_shipped, 'file')} as shipped"
        return
    others = len(item.rows) - as_shipped
    more = f" +{others:,}" if short else f" and {plural(others, 'other change')}"
    yield f"{counted} as shipped" + (more if others else "")


def commands_text(item: ChangeSet) -> str:
    """The command of a set, or its programs. A program is named by its file, never by what it calls itself."""
    programs = list(dict.fromkeys(program_name(root) for root in item.roots))
    if len(item.roots) == 1:
        return " ".join(filter(None, (programs[0], _arguments(item.roots[0]))))
    if len(programs) == 1:
        return programs[0]
    shown, more = programs[:_NAMED_PROGRAMS], len(programs) - _NAMED_PROGRAMS
    return ", ".join(shown) + (f" and {more} more programs" if more > 0 else "")


def program_name(actor: Actor) -> str:
    """The name of a program of the system; the whole path of any other one."""
    if actor.exe is None:
        return "an unknown program" if actor.comm is None else f"a process that calls itself {show(actor.comm)}"
    directory, _, base = actor.exe.removesuffix(b" (deleted)").rpartition(b"/")
    if (elsewhere := _elsewhere(actor.view)) is not None:
        return f"{show(actor.exe)} (in {elsewhere})"
    return show(base) if directory in _SYSTEM_DIRECTORIES else show(actor.exe)


def _elsewhere(view: ProcessView | None) -> str | None:
    """Where its program is a file of, if not of this host."""
    if view is None:
        return None
    if view.container is not None:
        return f"container {show(view.container)}"
    return "another root" if view.exe_origin is ExeOrigin.OTHER_ROOT else None


def _arguments(actor: Actor) -> str:
    command = command_text(actor._replace(cmdline=actor.cmdline[1:])) if actor.cmdline else None
    return command or ""


def who_text(item: ChangeSet) -> str:
    """Who did it: ``by admin (sudo)``, ``by root (no login)``."""
    first = item.roots[0]
    users = {(root.auid, root.login_user) for root in item.roots}
    if len(users) > 1:
        return f"by {len(users)} users"
    marks = [show(name) for name in item.via]
    name = _name(first.user, first.uid)
    if first.auid is None:
        return f"by {name} (no login)"
    sources = {root.login.source for root in item.roots if root.login is not None}
    if LoginSource.USER in sources:
        return f"by {name} (login uid {first.auid} is not proven)"
    if LoginSource.UNSEEN in sources:
        marks.append("login not seen")
    login = _name(first.login_user, first.auid)
    if not item.via and {root.uid for root in item.roots} != {first.auid}:
        login += f" as {name}"
    return f"by {login}" + (f" ({', '.join(marks)})" if marks else "")


def process_in_short(actor: Actor) -> str:
    """``chmod (pid 5002)``; a program that is none of the system with its whole path."""
    return program_name(actor) + (f" (pid {actor.pid})" if actor.pid else "")


def user_in_short(actor: Actor) -> str:
    """``eve as root``, ``root (no login)``: the login user, if that is proven, and whose rights the process had."""
    name = _name(actor.user, actor.uid)
    if actor.euid is not None and actor.euid != actor.uid:
        name += f" (euid {actor.euid})"
    if actor.auid is None:
        return f"{name} (no login)"
    source = None if actor.login is None else actor.login.source
    if source is LoginSource.USER:
        return f"{name} (login uid {actor.auid} is not proven)"
    login = _name(actor.login_user, actor.auid)
    if actor.uid != actor.auid or actor.euid not in (None, actor.uid):
        login += f" as {name}"
    return login + (" (login not seen)" if source is LoginSource.UNSEEN else "")


def _name(name: str | None, uid: int | None) -> str:
    if name is not None:
        return show(name)
    return "an unknown user" if uid is None else f"uid {uid}"


def span_text(start_ns: int, end_ns: int, day_ns: int) -> str:
    """``02:14-02:15``; with the date if it is not the day of ``day_ns``. UTC."""
    start, end = _minute(start_ns, day_ns), _minute(end_ns, day_ns)
    if start == end:
        return start
    same_day = time_text(start_ns)[:10] == time_text(end_ns)[:10]
    return f"{start}-{time_text(end_ns)[11:16]}" if same_day else f"{start} to {end}"


def second_text(ns: int, day_ns: int) -> str:
    """``02:14:09``; with the date if it is not the day of ``day_ns``. UTC."""
    return _minute(ns, day_ns) + time_text(ns)[16:19]


def _minute(ns: int, day_ns: int) -> str:
    text, day = time_text(ns), time_text(day_ns)
    clock = text[11:16]
    if text[:10] == day[:10]:
        return clock
    return f"{text[5:10] if text[:4] == day[:4] else text[:10]} {clock}"


def same_content_text(sets: Iterable[ChangeSet]) -> str | None:
    """The files that only have another inode, as one number; ``None`` if there are none."""
    count = sum(item.same_content for item in sets)
    if not count:
        return None
    return f"{count:,} of these are files that were replaced by others with the same content."
