"""Select changes of a report: by name, and by who made them. Pure."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Iterable
from typing import NamedTuple

from msgspec import Struct

from fimscan.errors import UsageError
from fimscan.grouping.sets import Grouping, RankedRow
from fimscan.model import Actor, ExeOrigin, Finding, LoginSource, PackageClass, Verdict
from fimscan.paths import is_within


class ByPath(NamedTuple):
    """A path with everything below it; or, if none differs there and ``globs`` are given, what matches one of them."""

    path: bytes
    globs: tuple[bytes, ...] = ()


class ByNumber(NamedTuple):
    """The changes with these numbers, both ends included."""

    first: int
    last: int


class Selection(Struct, frozen=True, kw_only=True):
    """Which changes to take: those of any name, if there are names, for which all the rest holds.

    ``exe`` is a pattern of a program's path; ``user`` is a login user, or the user of a process without a login.
    ``as_shipped`` takes only files that are as their package shipped them, without a fact that deserves attention.
    ``plan`` is the number of a plan; the plans themselves are not known here.
    """

    names: tuple[ByPath | ByNumber, ...] = ()
    number: int | None = None
    exe: bytes | None = None
    user: str | None = None
    session: int | None = None
    verdicts: frozenset[Verdict] = frozenset()
    as_shipped: bool = False
    plan: int | None = None

    @property
    def has_conditions(self) -> bool:
        """Whether there is anything but names."""
        return (
            bool(self.verdicts)
            or self.as_shipped
            or any(value is not None for value in (self.number, self.exe, self.user, self.session, self.plan))
        )


class Selected(NamedTuple):
    """One change to take: a row of the report as of its scan or, by its ``number``, a single change as of its own."""

    row: RankedRow
    finding: Finding
    number: int | None = None


def select(grouping: Grouping, selection: Selection) -> tuple[list[Selected], bool]:
    """The selected changes, in the order of the report, and whether a pattern chose any of them.

    Raises:
        UsageError: a name has nothing to accept (all such are listed), there is no such change set, or the session
            number is that of several logins.
    """
    if selection.number is not None and grouping.only(selection.number) is None:
        raise UsageError(f"there is no change set {selection.number} in this report; 'fimscan diff --sets' lists them")
    found, by_pattern = _named(grouping, selection.names)
    found = [item for item in found if _holds(item, selection)]
    if selection.session is not None:
        _require_one_login(found, selection.session)
    return found, by_pattern


def _named(grouping: Grouping, names: tuple[ByPath | ByNumber, ...]) -> tuple[list[Selected], bool]:
    if not names:
        return [Selected(row, row.finding) for row in grouping.rows], False
    found: dict[tuple[int, int], Selected] = {}
    by_pattern, unknown = False, []
    places = {id(row): place for place, row in enumerate(grouping.rows)}
    numbered: dict[int, list[Selected]] = {}
    for row in grouping.rows:
        for step in _steps(row.finding):
            numbered.setdefault(step.change.id, []).append(Selected(row, step, step.change.id))
    for name in names:
        if isinstance(name, ByNumber):
            # A range ends with a change that was seen. Nothing that is found later can be in it.
            numbers = [number for number in numbered if name.first <= number <= name.last]
            items = [item for number in numbers for item in numbered[number]] if name.last in numbered else []
        else:
            items = _below(grouping, name.path)
            if not items and name.globs:
                items = _matching(grouping, name.globs)
                by_pattern = by_pattern or bool(items)
        if not items:
            unknown.append(_text(name))
        for item in items:
            found[places[id(item.row)], item.number or 0] = item
    if unknown:
        raise UsageError(f"nothing to accept: {', '.join(unknown)} (see 'fimscan diff' for what differs)")
    return [found[key] for key in sorted(found)], by_pattern


def _steps(finding: Finding) -> tuple[Finding, ...]:
    return finding.steps or (finding,)


def _below(grouping: Grouping, path: bytes) -> list[Selected]:
    """A directory includes everything below it."""
    return _where(grouping, lambda name: is_within(name, path))


def _matching(grouping: Grouping, globs: tuple[bytes, ...]) -> list[Selected]:
    return _where(grouping, lambda name: any(fnmatch.fnmatchcase(name, glob) for glob in globs))


def _where(grouping: Grouping, holds: Callable[[bytes], bool]) -> list[Selected]:
    return [Selected(row, row.finding) for row in grouping.rows if any(map(holds, names_of(row.finding)))]


def is_named(finding: Finding, selection: Selection) -> bool:
    """Whether a path or a pattern names a change; without names, every change is."""
    if not selection.names:
        return True
    paths = names_of(finding)
    return any(
        is_within(path, name.path) or any(fnmatch.fnmatchcase(path, glob) for glob in name.globs)
        for name in selection.names
        if isinstance(name, ByPath)
        for path in paths
    )


def names_of(finding: Finding) -> tuple[bytes, ...]:
    """The path of a change and, of a moved file, its earlier one."""
    change = finding.change
    return tuple(path for path in (change.path, change.moved_from) if path is not None)


def _text(name: ByPath | ByNumber) -> str:
    if isinstance(name, ByPath):
        return name.path.decode("utf-8", "backslashreplace")
    if name.first == name.last:
        return f"change {name.first}"
    return f"changes {name.first} to {name.last}: a range ends with a change that waits"


# --------------------------------------------------------------------------------------------------------------------


def _holds(item: Selected, selection: Selection) -> bool:
    if selection.number is not None and item.row.number != selection.number:
        return False
    if selection.verdicts and item.finding.attribution.verdict not in selection.verdicts:
        return False
    if selection.as_shipped and not _is_as_shipped(item):
        return False
    tests = [
        test
        for value, test in (
            (selection.exe, ran(selection.exe)),
            (selection.user, was(selection.user)),
            (selection.session, lambda actor: actor.session == selection.session),
        )
        if value is not None
    ]
    return not tests or _every_process(item.finding, lambda actor: all(test(actor) for test in tests))


def _is_as_shipped(item: Selected) -> bool:
    """An earlier state of a file is not the one that was compared with its package."""
    answer = item.row.finding.package
    is_last = item.number is None or item.finding is _steps(item.row.finding)[-1]
    return is_last and answer is not None and answer.kind is PackageClass.AS_SHIPPED and not answer.loud


def _every_process(finding: Finding, holds: Callable[[Actor], bool]) -> bool:
    """Whether it holds for every named process of every step. A step without one may be anybody's."""
    parts = [step.attribution.actors for step in _steps(finding)]
    return all(parts) and all(holds(actor) for actors in parts for actor in actors)


def ran(exe: bytes | None) -> Callable[[Actor], bool]:
    """Whether a process ran this program, or one that matches the pattern."""

    def holds(actor: Actor) -> bool:
        """Not by a program of that name in a container or another root."""
        if exe is None or actor.exe is None:
            return False
        view = actor.view
        if view is not None and (view.container is not None or view.exe_origin is ExeOrigin.OTHER_ROOT):
            return False
        return actor.exe == exe or fnmatch.fnmatchcase(actor.exe, exe)

    return holds


def was(user: str | None) -> Callable[[Actor], bool]:
    """Whether this is the login user of a process or, without a login, the user that it ran as."""

    def holds(actor: Actor) -> bool:
        """Not by a login uid that the process gave itself."""
        if actor.login is not None and actor.login.source is LoginSource.USER:
            return False
        number, name = (actor.uid, actor.user) if actor.auid is None else (actor.auid, actor.login_user)
        return user is not None and user == (str(number) if name is None and number is not None else name)

    return holds


def _require_one_login(found: Iterable[Selected], session: int) -> None:
    logins = {actor.auid for item in found for actor in item.finding.attribution.actors}
    if len(logins) > 1:
        raise UsageError(
            f"session {session} is that of {len(logins)} users: the numbers restart with each boot;"
            " add --user or --set to say which"
        )
