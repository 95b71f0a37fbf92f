"""Rank a change: does it stand out, and why. The rules are in docs/explanation/what-stands-out.md."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Iterator, Mapping
from enum import StrEnum
from functools import lru_cache
from operator import attrgetter
from typing import NamedTuple

from fimscan.grouping import programs
from fimscan.grouping.facts import Facts, Provenance
from fimscan.grouping.nature import Nature, nature_of
from fimscan.grouping.places import ACCOUNTS, BACKUPS, Place, place_of
from fimscan.model import (
    Attribution,
    Change,
    ChangeKind,
    DispositionStatus,
    FileKind,
    FileState,
    Finding,
    PackageClass,
    Reason,
    Role,
    Severity,
    TextFact,
    TextFactKind,
    TextSign,
    Verdict,
)
from fimscan.paths import parent


class Level(StrEnum):
    """Whether a change stands out."""

    LOOK = "look"  # somebody has to look at this one
    WAVE = "wave"  # it can be judged together with its change set


class RankReason(StrEnum):
    """Why a change has its rank, most urgent first."""

    NO_EVENT = "no-event"
    SUPERUSER = "superuser-account"
    NO_PASSWORD = "account-without-password"  # noqa: S105 - no password
    VIOLATION = "violation"
    LOG_BREACH = "log-breach"
    SUSPECT_PROGRAM = "suspect-program"
    NOT_AS_SHIPPED = "not-as-shipped"
    PROOFS_DISAGREE = "proofs-disagree"
    MANAGER_WROTE_OTHER = "manager-wrote-other"
    SETUID_GAINED = "setuid-gained"
    CAPABILITY_GAINED = "capability-gained"
    SETGID_GAINED = "setgid-gained"
    PROGRAM_CHANGED = "program-changed"
    ADMIN_ACCOUNT = "admin-account"
    ADMIN_GROUP = "admin-group-member"
    SUDO_WITHOUT_PASSWORD = "sudo-without-password"  # noqa: S105 - no password
    ROOT_LOGIN = "root-login"
    PLACE = "persistence-place"
    WORLD_WRITABLE = "world-writable"
    PROTECTION_REMOVED = "protection-removed"
    NEW_PROGRAM = "new-program"
    MTIME_KEPT = "mtime-kept"
    SHIPPED_ELSEWHERE = "not-by-package-manager"
    NOT_BEING_INSTALLED = "not-being-installed"
    NEWCOMER = "new-writer"
    CRITICAL_WATCH = "critical-watch"
    CONFFILE = "conffile-edited"
    NOT_NAMED = "nobody-named"
    CONTESTED = "contested"
    LIKELY = "likely"
    SAME_CONTENT = "same-content"
    TIMES_ONLY = "times-only"
    BACKUP = "backup-file"
    MAINTAINER_SCRIPT = "maintainer-script"
    TRIGGER = "package-trigger"
    AS_SHIPPED = "as-shipped"
    PACKAGE_MANAGER = "by-package-manager"


#: Techniques of MITRE ATT&CK that a reason may be a sign of. Those of a place are in its own table.
TECHNIQUES: Mapping[RankReason, str] = {
    RankReason.SUPERUSER: "T1136.001",
    RankReason.NO_PASSWORD: "T1098",
    RankReason.ADMIN_GROUP: "T1098.007",
    RankReason.SUDO_WITHOUT_PASSWORD: "T1548.003",
    RankReason.ROOT_LOGIN: "T1021.004",
    RankReason.LOG_BREACH: "T1070.002",
    RankReason.NOT_AS_SHIPPED: "T1554",
    RankReason.SETUID_GAINED: "T1548.001",
    RankReason.SETGID_GAINED: "T1548.001",
    RankReason.CAPABILITY_GAINED: "T1548.001",
    RankReason.PROOFS_DISAGREE: "T1554",
    RankReason.MANAGER_WROTE_OTHER: "T1554",
    RankReason.PROGRAM_CHANGED: "T1554",
    RankReason.ADMIN_ACCOUNT: "T1098.007",
    RankReason.WORLD_WRITABLE: "T1222.002",
    RankReason.PROTECTION_REMOVED: "T1222.002",
    RankReason.MTIME_KEPT: "T1070.006",
}


class Rank(NamedTuple):
    """Whether a change stands out, with all reasons, those that make it stand out first.

    ``deciding`` is how many of them make it stand out. ``place`` is set with :attr:`RankReason.PLACE`; ``accounts`` are
    new ones with uid 0.
    """

    level: Level
    reasons: tuple[RankReason, ...]
    deciding: int
    nature: Nature
    place: Place | None = None
    accounts: tuple[str, ...] = ()

    @property
    def stands_out(self) -> bool:
        """Whether somebody has to look at this one."""
        return self.level is Level.LOOK

    @property
    def techniques(self) -> tuple[str, ...]:
        """Techniques of MITRE ATT&CK that the deciding reasons may be a sign of."""
        of_place = self.place.technique if self.place is not None else None
        found = (
            of_place if reason is RankReason.PLACE else TECHNIQUES.get(reason)
            for reason in self.reasons[: self.deciding]
        )
        return tuple(dict.fromkeys(filter(None, found)))


_LIBRARY = re.compile(rb"\.so(?:\.[^/]*)?\Z")
_RIGHTS = attrgetter("mode", "kind", "xattrs", "flags")
_ORDER = {reason: place for place, reason in enumerate(RankReason)}
_SEVERITIES: Mapping[Severity | None, int] = {"critical": 0, "high": 1, "medium": 2, "low": 3, None: 4}
_SET_UID, _SET_GID, _STICKY = 0o4000, 0o2000, 0o1000
_GROUP_EXECUTES, _OTHERS_WRITE, _EXECUTE = 0o010, 0o002, 0o111
_WRITING = frozenset({Role.WRITER, Role.PLACER})  # who changed a mode did not put the content there
_IMMUTABLE, _APPEND_ONLY = 0x10, 0x20  # chattr +i, +a
#: Reasons that a fact about a text gives.
REASON_OF_SIGN = {
    TextSign.SUPERUSER: RankReason.SUPERUSER,
    TextSign.NO_PASSWORD: RankReason.NO_PASSWORD,
    TextSign.ADMIN_GROUP: RankReason.ADMIN_GROUP,
    TextSign.SUDO_WITHOUT_PASSWORD: RankReason.SUDO_WITHOUT_PASSWORD,
    TextSign.ROOT_LOGIN: RankReason.ROOT_LOGIN,
}
_VERDICTS = {
    Verdict.LIKELY: RankReason.LIKELY,
    Verdict.CONTESTED: RankReason.CONTESTED,
    Verdict.UNATTRIBUTED: RankReason.NOT_NAMED,
}

# Directories of commands, and where their links lead as a rule.
_COMMANDS = frozenset(
    (
        *(b"/bin", b"/sbin", b"/usr/bin", b"/usr/sbin", b"/usr/games", b"/usr/local/bin", b"/usr/local/sbin"),
        b"/etc/alternatives",
    )
)
_SYSTEM = (b"/usr/", b"/bin/", b"/sbin/", b"/lib", b"/etc/", b"/opt/", b"/snap/", b"/nix/", b"/gnu/")

#: (reason, whether it makes the change stand out)
_Signs = Iterator[tuple[RankReason, bool]]


class _Excuse(NamedTuple):
    """Why a change of content needs no look of its own.

    ``content`` is set if the content is as shipped, or if a package manager wrote it and nothing is known against it.
    ``mode`` is set if the content is as shipped, and a package manager wrote it or the mode is proved: setuid bits then
    are the package's.
    """

    content: bool
    mode: bool
    manager: bool
    shipped: bool


def rank_of(finding: Finding, facts: Facts, is_by_manager: Callable[[Attribution], bool] | None = None) -> Rank:
    """Rank one row. A row with steps has the reasons of each step, too: what was undone still happened.

    ``is_by_manager`` is :func:`is_by_package_manager`, for those who rank many rows.
    """
    is_by_manager = is_by_manager or (lambda answer: is_by_package_manager(answer, facts))
    path, nature = finding.change.path, nature_of(finding.change)
    place = _place_of(finding.change)
    provenance = facts.provenance.get(path)
    part = _Part(finding.change, finding.attribution, provenance, nature, place, is_by_manager(finding.attribution))
    found = _signs(part, finding.severity, facts)
    if len(finding.steps) > 1:
        for step in finding.steps:
            change, answer = step.change, step.attribution
            part = _Part(change, answer, None, nature_of(change), _place_of(change), is_by_manager(answer))
            found += _signs(part, finding.severity, facts)
            place = place or part.place
    if finding.text is not None:
        found += [(REASON_OF_SIGN[fact.sign], True) for fact in finding.text.facts if fact.sign is not None]
    decided = finding.disposition
    if decided is not None and decided.status is DispositionStatus.VIOLATION:
        found.append((RankReason.VIOLATION, True))
    accounts = facts.superusers.get(path, ()) if finding.text is None else _superusers(finding, facts)
    if accounts:
        found.append((RankReason.SUPERUSER, True))
    reasons, deciding, has_place = _in_order(tuple(found))
    return Rank(
        Level.LOOK if deciding else Level.WAVE, reasons, deciding, nature, place if has_place else None, accounts
    )


class _Part(NamedTuple):
    """One change of a row, with what it is ranked by. ``provenance`` is known of the present state only."""

    change: Change
    attribution: Attribution
    provenance: Provenance | None
    nature: Nature
    place: Place | None
    by_manager: bool


def is_by_package_manager(attribution: Attribution, facts: Facts) -> bool:
    """Whether package managers for certain made a change, and none whose own program is suspect."""
    actors = attribution.actors
    return (
        attribution.verdict is Verdict.CONFIRMED
        and programs.are_package_managers(actors)
        and not (facts.suspects and any(programs.program(actor) in facts.suspects for actor in actors))
    )


@lru_cache(maxsize=1024)  # most changes of a report share theirs with others
def _in_order(found: tuple[tuple[RankReason, bool], ...]) -> tuple[tuple[RankReason, ...], int, bool]:
    """(the reasons, those first that make a change stand out; how many do; whether the place is one)."""
    signs: dict[RankReason, bool] = {}
    for reason, decides in found:
        signs[reason] = decides or signs.get(reason, False)
    ordered = sorted(signs.items(), key=lambda sign: (not sign[1], _ORDER[sign[0]]))
    return tuple([reason for reason, _ in ordered]), sum(signs.values()), RankReason.PLACE in signs


def urgency(finding: Finding, found: Rank) -> tuple[object, ...]:
    """The key by which rows are ordered, most urgent first."""
    level, reasons, _, nature, *_ = found
    stands_out, change = level is Level.LOOK, finding.change
    return (
        not stands_out,
        _ORDER[reasons[0]] if stands_out else 0,
        _SEVERITIES[finding.severity],
        nature,
        finding.attribution.verdict.strength,
        change.path,
        change.id,
        finding.scan,
    )


def _place_of(change: Change) -> Place | None:
    """The place of a changed file. A file that was moved away is missing where it protected something."""
    state = change.state
    if state.kind is FileKind.DIRECTORY:
        return None
    found = place_of(state.path)
    if found is None and change.kind is ChangeKind.MOVED and change.moved_from is not None:
        found = place_of(change.moved_from)
        return found if found is not None and (found.any_change or found is ACCOUNTS) else None
    return found


def _is_new_superuser(fact: TextFact) -> bool:
    return fact.sign is TextSign.SUPERUSER and fact.kind is TextFactKind.ACCOUNT_ADDED


def _superusers(finding: Finding, facts: Facts) -> tuple[str, ...]:
    """The new accounts with uid 0: those that are known anyway, and those of the text."""
    new = [] if finding.text is None else filter(_is_new_superuser, finding.text.facts)
    names = [fact.subject.decode("utf-8", "surrogateescape") for fact in new]
    return tuple(dict.fromkeys((*facts.superusers.get(finding.change.path, ()), *names)))


def _is_loud(severity: Severity | None) -> bool:
    return severity in ("critical", "high")


def _signs(part: _Part, severity: Severity | None, facts: Facts) -> list[tuple[RankReason, bool]]:
    """(reason, whether it makes the change stand out) of all that is known of one change."""
    change, attribution, provenance, nature, place, by_manager = part
    path, is_content = change.path, nature is Nature.CONTENT
    shipped, is_mode_proved = PackageClass.UNKNOWN, False
    if provenance is not None:
        shipped, is_mode_proved = provenance.shipped, provenance.is_mode_proved
    excuse = _excuse(shipped, nature, is_mode_proved=is_mode_proved, manager=by_manager)
    found = [(RankReason.PACKAGE_MANAGER, False)] if by_manager else []
    if provenance is not None:
        found += _signs_of_package(attribution, provenance, nature, excuse, severity)
    found += _signs_of_answer(attribution, facts)
    if change.breach is not None:
        found.append((RankReason.LOG_BREACH, True))
    if _has_other_rights(change):
        found += _signs_of_mode(change, excuse)
    if is_content and change.kind is not ChangeKind.REMOVED:
        found += _signs_of_content(change, excuse, severity)
    if is_content and path in facts.newcomers:
        found.append((RankReason.NEWCOMER, _is_loud(severity) and not excuse.content))
    if path in BACKUPS:
        found.append((RankReason.BACKUP, False))
    elif place is not None:
        found += _signs_of_place(change, attribution, place, nature, excuse)
    if severity == "critical":
        found.append((RankReason.CRITICAL_WATCH, _matters_if_critical(change, nature, excuse)))
    if nature is Nature.INODE:
        found.append((RankReason.SAME_CONTENT, False))
    elif nature is Nature.TIMES:
        found.append((RankReason.TIMES_ONLY, False))
    return found


def _matters_if_critical(change: Change, nature: Nature, excuse: _Excuse) -> bool:
    """Whether a change on a critical watch makes somebody look at it."""
    if nature is Nature.CONTENT:
        is_excused = excuse.content or change.state.kind is FileKind.DIRECTORY
    else:
        is_excused = excuse.mode or nature is not Nature.ATTRIBUTES
    return not is_excused and change.path not in BACKUPS


@lru_cache(maxsize=64)
def _excuse(shipped: PackageClass, nature: Nature, *, is_mode_proved: bool, manager: bool) -> _Excuse:
    as_shipped = shipped is PackageClass.AS_SHIPPED
    return _Excuse(
        content=as_shipped or (manager and shipped is PackageClass.UNKNOWN),
        mode=as_shipped and (manager or is_mode_proved),
        manager=manager,
        shipped=as_shipped and nature is Nature.CONTENT,
    )


def _signs_of_answer(attribution: Attribution, facts: Facts) -> _Signs:
    if attribution.reason is None and attribution.verdict is Verdict.CONFIRMED and not facts.suspects:
        return
    if attribution.reason is Reason.NO_EVENT:
        yield RankReason.NO_EVENT, True
    elif attribution.verdict in _VERDICTS:
        yield _VERDICTS[attribution.verdict], False
    if facts.suspects and any(
        programs.program(actor) in facts.suspects and programs.is_of_host(actor) for actor in attribution.actors
    ):
        yield RankReason.SUSPECT_PROGRAM, True


def _signs_of_package(
    attribution: Attribution,
    provenance: Provenance,
    nature: Nature,
    excuse: _Excuse,
    severity: Severity | None,
) -> _Signs:
    if provenance.proofs_disagree:
        yield RankReason.PROOFS_DISAGREE, True
    if provenance.manager_wrote_other:
        yield RankReason.MANAGER_WROTE_OTHER, True
    if provenance.is_by_script:
        yield RankReason.MAINTAINER_SCRIPT, False
    if provenance.is_by_trigger:
        yield RankReason.TRIGGER, False
    if provenance.not_being_installed and nature is Nature.CONTENT:
        # Configuration is edited, and scripts repair files. A package manager need not write this log (--log).
        is_ordinary = provenance.is_conffile or provenance.is_by_script or (excuse.manager and excuse.content)
        yield RankReason.NOT_BEING_INSTALLED, not is_ordinary and severity != "low"
    if provenance.shipped is PackageClass.NOT_AS_SHIPPED:
        if provenance.is_conffile:
            yield RankReason.CONFFILE, False
        else:
            yield RankReason.NOT_AS_SHIPPED, True
    elif provenance.shipped is PackageClass.AS_SHIPPED:
        yield RankReason.AS_SHIPPED, False
        writers = [actor for actor in attribution.actors if actor.role in _WRITING]
        others = [actor for actor in writers if not programs.may_be_package_manager(actor)]
        if others and nature is Nature.CONTENT and not provenance.is_by_script:
            yield RankReason.SHIPPED_ELSEWHERE, True


def _has_other_rights(change: Change) -> bool:
    before, after = change.before, change.after
    return before is None or after is None or _RIGHTS(before) != _RIGHTS(after)


def _signs_of_mode(change: Change, excuse: _Excuse) -> _Signs:
    """Rights that the file gained. A moved file brings its own along."""
    after, before = change.after, change.before
    if after is None:
        return
    old = before.mode if before is not None and before.kind is after.kind else 0
    gained = after.mode & ~old
    is_file = after.kind is FileKind.FILE
    if is_file and gained & _SET_UID:
        yield RankReason.SETUID_GAINED, not excuse.mode
    if is_file and gained & _SET_GID and after.mode & _GROUP_EXECUTES:
        yield RankReason.SETGID_GAINED, not excuse.mode
    if _capabilities(after) - (_capabilities(before) if before is not None else set()):
        yield RankReason.CAPABILITY_GAINED, not excuse.mode
    if _is_open(after) and not (before is not None and before.kind is after.kind and _is_open(before)):
        yield RankReason.WORLD_WRITABLE, not excuse.mode
    if before is not None and before.flags is not None and after.flags is not None:
        lost = before.flags & ~after.flags & (_IMMUTABLE | _APPEND_ONLY)
        if lost:
            yield RankReason.PROTECTION_REMOVED, True
    if is_file and before is not None and gained & _EXECUTE and not old & _EXECUTE:
        yield RankReason.NEW_PROGRAM, not excuse.mode


def _capabilities(state: FileState) -> set[bytes]:
    return {xattr.data for xattr in state.xattrs or () if xattr.field == "capabilities"}


def _is_open(state: FileState) -> bool:
    """Whether everybody may write to a file, or replace what others have in a directory."""
    if state.kind is FileKind.DIRECTORY:
        return state.mode & (_OTHERS_WRITE | _STICKY) == _OTHERS_WRITE
    return state.kind is FileKind.FILE and bool(state.mode & _OTHERS_WRITE)


def _signs_of_content(change: Change, excuse: _Excuse, severity: Severity | None) -> _Signs:
    before, after = change.before, change.after
    assert after is not None, "a removed file has no content"
    decides = not excuse.content and severity != "low"
    if is_program(after) or _stands_for_program(before, after):
        is_new = (
            before is None or change.kind is ChangeKind.MOVED or not (is_program(before) or _is_command_link(before))
        )
        yield (RankReason.NEW_PROGRAM if is_new else RankReason.PROGRAM_CHANGED), decides
    if "content" in change.changed and "mtime" not in change.changed and change.kind is ChangeKind.MODIFIED:
        yield RankReason.MTIME_KEPT, decides


def is_program(state: FileState) -> bool:
    """Whether a file can be run, or is loaded into processes: an executable or a shared library."""
    if state.kind is not FileKind.FILE:
        return False
    if state.mode & _EXECUTE:
        return True
    path = state.path
    # Few paths have this anywhere: one search is enough for the others.
    return b".so" in path and _LIBRARY.search(path) is not None


def _stands_for_program(before: FileState | None, after: FileState) -> bool:
    """Whether a symbolic link replaced a program, or makes a command of a file that is outside the system."""
    if after.kind is not FileKind.SYMLINK:
        return False
    if before is not None and is_program(before):
        return True
    if not _is_command_link(after):
        return False
    # Not realpath: what is on the disk now does not matter.
    target = posixpath.normpath(posixpath.join(parent(after.path), after.link_target or b"."))
    return not target.startswith(_SYSTEM)


def _is_command_link(state: FileState) -> bool:
    return state.kind is FileKind.SYMLINK and parent(state.path) in _COMMANDS


def _signs_of_place(change: Change, attribution: Attribution, place: Place, nature: Nature, excuse: _Excuse) -> _Signs:
    if nature > Nature.ATTRIBUTES:
        return
    excused = excuse.shipped
    if place.is_packaged:
        # Packages put files there all the time; modes and owners do not matter much.
        excused = excuse.content or nature is Nature.ATTRIBUTES
    if place is ACCOUNTS and nature is Nature.CONTENT:
        actors = attribution.actors
        tools = bool(actors) and all(programs.is_account_tool(actor) for actor in actors)
        if any(programs.asks_for_root(actor) for actor in actors if programs.is_account_tool(actor)):
            yield RankReason.ADMIN_ACCOUNT, True
        excused = tools and attribution.verdict is Verdict.CONFIRMED
    removed = change.kind is ChangeKind.REMOVED and not place.any_change and place is not ACCOUNTS
    yield RankReason.PLACE, not excused and not removed
