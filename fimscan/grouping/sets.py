"""Group findings to change sets: what one login session's process tree did in one stretch of time."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from enum import StrEnum
from functools import cached_property
from itertools import pairwise
from operator import attrgetter
from typing import NamedTuple

from msgspec import Struct
from msgspec.structs import replace

from fimscan.by_pattern import ByPattern
from fimscan.grouping import programs
from fimscan.grouping.facts import Facts, Provenance
from fimscan.grouping.nature import Nature
from fimscan.grouping.places import BACKUPS
from fimscan.grouping.rank import Rank, is_by_package_manager, rank_of, urgency
from fimscan.grouping.trees import Node, Top, Trees, precedes
from fimscan.model import Actor, Attribution, Finding, PackageClass, Reason, Verdict

STRETCH_NS = 600 * 10**9
"""A tree that changes nothing for this long begins a new change set."""
_ORIGINALS = frozenset(BACKUPS.values())
_PATH = 5  # the position of the path in the key of urgency()
_SLACK_NS = 5 * 10**9  # scripts run a little after the files were written


class SetKind(StrEnum):
    """What holds a change set together."""

    TREE = "tree"  # one command with all that it started
    SEVERAL = "several"  # the named processes are of several trees, and nothing separates them
    NOBODY = "nobody"  # no process is named; one set for each reason and scan


class RankedRow(Struct, frozen=True, kw_only=True, eq=False):
    """A finding with its rank and the number of its change set.

    ``findings`` are those of the report, of which this is the one at ``place``: where they are very many, each is
    loaded when it is asked for. ``order`` is the place of the row in the order of urgency. ``time_ns`` is when it
    happened: the latest system call of the named processes; else the end of the window. ``account_file`` is its path if
    it is an account file or the backup of one.
    """

    findings: Sequence[Finding]
    place: int
    rank: Rank
    number: int
    order: int
    time_ns: int
    verdict: Verdict
    provenance: Provenance | None = None
    account_file: bytes | None = None

    @property
    def finding(self) -> Finding:
        """The finding itself."""
        return self.findings[self.place]

    def __eq__(self, other: object) -> bool:
        """Whether both say the same of equal findings, wherever these are in their reports."""
        return isinstance(other, RankedRow) and _SAID(self) == _SAID(other)

    __hash__ = None  # type: ignore[assignment]  # as of the findings


class ChangeSet(Struct, frozen=True, kw_only=True, dict=True):
    """Changes that belong together. ``rows`` are in order of urgency.

    ``number`` counts from 1 in the order of urgency; it is valid for one report only. ``roots`` are the uppermost known
    processes, those of most rows first; ``via`` are the programs that they were started through (``sudo``). ``reason``
    is set if no process is named. ``start_ns`` and ``end_ns`` are the times of the first and last system call, or those
    of the windows if no process is named. ``during`` is the number of the set of a package manager of the same login
    that was at work then, if no record says what started these processes: they may be of one of its scripts.
    """

    number: int
    kind: SetKind
    rows: tuple[RankedRow, ...]
    roots: tuple[Actor, ...] = ()
    via: tuple[bytes, ...] = ()
    reason: Reason | None = None
    scan: int = 0
    during: int | None = None
    start_ns: int
    end_ns: int

    @cached_property
    def standing_out(self) -> int:
        """The number of rows that stand out."""
        return sum(row.rank.stands_out for row in self.rows)

    @cached_property
    def same_content(self) -> int:
        """The number of files that only have another inode."""
        return sum(row.rank.nature is Nature.INODE for row in self.rows)

    @cached_property
    def verdicts(self) -> Mapping[Verdict, int]:
        """The number of rows with each verdict."""
        return Counter(row.verdict for row in self.rows)

    @cached_property
    def packages(self) -> tuple[str, ...]:
        """The packages that own rows, in alphabetical order."""
        return tuple(sorted({row.provenance.package for row in self.rows if row.provenance and row.provenance.package}))

    @cached_property
    def shipped(self) -> Mapping[PackageClass, int]:
        """The number of rows of each class, without those of which nothing is known."""
        return Counter(row.provenance.shipped for row in self.rows if row.provenance is not None)


class Grouping(Struct, frozen=True, kw_only=True, dict=True):
    """The rows of a report, ranked and grouped. ``rows`` are in the order of the findings, ``sets`` by urgency."""

    rows: tuple[RankedRow, ...]
    sets: tuple[ChangeSet, ...]

    @cached_property
    def standing_out(self) -> tuple[RankedRow, ...]:
        """All rows that somebody has to look at, most urgent first."""
        found = sorted((row for row in self.rows if row.rank.stands_out), key=row_urgency)
        return tuple(_backups_last(found))

    def with_findings(self, other: Callable[[Finding], Finding]) -> Grouping:
        """The same with other values of the findings, which say more of the same changes. Ranks stay as they are."""
        findings = [other(row.finding) for row in self.rows]
        rows = {id(row): replace(row, findings=findings, place=place) for place, row in enumerate(self.rows)}
        sets = (replace(item, rows=tuple(rows[id(row)] for row in item.rows)) for item in self.sets)
        return Grouping(rows=tuple(rows.values()), sets=tuple(sets))

    def only(self, number: int) -> Grouping | None:
        """One set, with its number and its rows in the order of the findings; ``None`` if there is no such set."""
        found = tuple(item for item in self.sets if item.number == number)
        return Grouping(rows=tuple(row for row in self.rows if row.number == number), sets=found) if found else None


_SAID = attrgetter("finding", "rank", "number", "time_ns", "provenance")


def row_urgency(row: RankedRow) -> int:
    """The key by which rows of one report are ordered."""
    return row.order


def group(findings: Sequence[Finding], facts: Facts | None = None) -> Grouping:
    """Rank findings and group them. Each is in exactly one set; the order of the findings does not matter.

    They are gone through several times, and none is kept: there may be very many, on disk.
    """
    facts = facts or Facts()
    trees = Trees((finding.attribution for finding in findings), facts.lineages)
    found = _Ranked.of(findings, facts, trees)
    ranks, times, keys = found.ranks, found.times, found.urgencies
    parts = _parts(found.members, findings, times, facts)
    for part in parts:
        part.sort(key=keys.__getitem__)
    # Sets with something that stands out come first; then the larger ones.
    parts.sort(key=lambda part: (not ranks[part[0]].stands_out, *_weight(part, ranks, keys)))
    rows: dict[int, RankedRow] = {}
    sets, managers = [], set()
    for number, part in enumerate(parts, 1):
        for index in part:
            rows[index] = RankedRow(
                findings=findings,
                place=index,
                rank=ranks[index],
                number=number,
                order=keys[index],
                time_ns=times[index],
                verdict=found.verdicts[index],
                provenance=found.provenances[index],
                account_file=found.account_files.get(index),
            )
        if not found.by_managers.isdisjoint(part):
            managers.add(number)
        sets.append(_change_set(number, _backups_last([rows[index] for index in part]), trees))
    return Grouping(
        rows=tuple([rows[index] for index in range(len(findings))]), sets=_with_managers(sets, managers, trees)
    )


class _Ranked(NamedTuple):
    """What is kept of all findings, by their positions.

    Attributes:
        ranks: their ranks; equal ones are the same value.
        times: :attr:`RankedRow.time_ns`.
        urgencies: smaller is more urgent.
        verdicts: their verdicts.
        provenances: what is known of their packages.
        members: the positions of the findings that belong together, whatever their times.
        account_files: the paths of account files and their backups.
        by_managers: those by package managers alone.
    """

    ranks: list[Rank]
    times: list[int]
    urgencies: Sequence[int]
    verdicts: list[Verdict]
    provenances: list[Provenance | None]
    members: dict[object, list[int]]
    account_files: dict[int, bytes]
    by_managers: set[int]

    @classmethod
    def of(cls, findings: Sequence[Finding], facts: Facts, trees: Trees) -> _Ranked:
        """Rank all findings."""
        is_by_manager = ByPattern(lambda answer: is_by_package_manager(answer, facts))
        are_managers = ByPattern(lambda answer: programs.are_package_managers(answer.actors))
        node = ByPattern(lambda answer: _node(answer, trees))
        found = cls([], [], (), [], [], {}, {}, set())
        shared: dict[Rank, Rank] = {}
        urgencies = _Urgencies()
        for place, finding in enumerate(findings):
            path, answer = finding.change.path, finding.attribution
            rank = rank_of(finding, facts, is_by_manager)
            found.ranks.append(shared.setdefault(rank, rank))
            found.times.append(_time(finding))
            found.verdicts.append(answer.verdict)
            found.provenances.append(facts.provenance.get(path))
            found.members.setdefault(_key(finding, node), []).append(place)
            if path in _ORIGINALS or path in BACKUPS:
                found.account_files[place] = path
            if are_managers(answer):
                found.by_managers.add(place)
            urgencies.add(urgency(finding, rank))
        return found._replace(urgencies=urgencies.numbered(lambda place: urgency(findings[place], found.ranks[place])))


class _Urgencies:
    """Numbers the keys of :func:`urgency` in their order. Most differ only in the path, and come in order of it."""

    def __init__(self) -> None:
        self._kinds: dict[tuple[object, ...], int] = {}
        self._of_place = array("L")
        self._last: tuple[object, ...] = ()
        self._is_in_order = True

    def add(self, key: tuple[object, ...]) -> None:
        """Add the key of the next finding."""
        kind, last = key[:_PATH], key[_PATH:]
        self._of_place.append(self._kinds.setdefault(kind, len(self._kinds)))
        self._is_in_order = self._is_in_order and self._last <= last
        self._last = last

    def numbered(self, key_of: Callable[[int], tuple[object, ...]]) -> Sequence[int]:
        """The place of each finding in the order of urgency; ``key_of`` gives the key at a position again."""
        count = len(self._of_place)
        weights = {kind: weight for weight, (_, kind) in enumerate(sorted(self._kinds.items()))}
        if self._is_in_order:
            return array("Q", [weights[kind] * count + place for place, kind in enumerate(self._of_place)])
        order = sorted(range(count), key=key_of)
        numbers = array("Q", bytes(8 * count))
        for number, place in enumerate(order):
            numbers[place] = number
        return numbers


def set_members(findings: Sequence[Finding], facts: Facts) -> list[list[Finding]]:
    """The findings of each set of :func:`group`, in no order: for whoever needs neither ranks nor what sets are."""
    trees = Trees((finding.attribution for finding in findings), facts.lineages)
    node = ByPattern(lambda answer: _node(answer, trees))
    members: dict[object, list[int]] = {}
    for index, finding in enumerate(findings):
        members.setdefault(_key(finding, node), []).append(index)
    parts = _parts(members, findings, [_time(finding) for finding in findings], facts)
    return [[findings[index] for index in part] for part in parts]


def _parts(
    members: dict[object, list[int]], findings: Sequence[Finding], times: Sequence[int], facts: Facts
) -> list[list[int]]:
    """The positions of the findings of each set, from those that belong together whatever their times."""
    _join_triggers(members, findings, times, facts)
    return [part for indexes in members.values() for part in _stretches(indexes, times)]


def _weight(part: list[int], ranks: Sequence[Rank], keys: Sequence[int]) -> tuple[int, int]:
    first = part[0]
    return (keys[first], len(part)) if ranks[first].stands_out else (-len(part), keys[first])


# --------------------------------------------------------------------------------------------------------------------


class _Unnamed(NamedTuple):
    verdict: Verdict
    reason: Reason | None
    scan: int


def _key(finding: Finding, node: Callable[[Attribution], object]) -> object:
    """What findings of one set have in common, whatever their times."""
    attribution = finding.attribution
    if not attribution.actors:
        return _Unnamed(attribution.verdict, attribution.reason, finding.scan)
    return node(attribution)


def _node(attribution: Attribution, trees: Trees) -> object:
    """What stands for the tree of the processes of an answer, or for their trees."""
    nodes: frozenset[Node] = frozenset(map(trees.node, attribution.actors))
    return next(iter(nodes)) if len(nodes) == 1 else nodes


def _join_triggers(
    members: dict[object, list[int]], findings: Sequence[Finding], times: Sequence[int], facts: Facts
) -> None:
    """Move what triggers made to the set of the package manager of the same login that was at work then.

    Without records of program starts, nothing else joins the two: between them are dpkg and a script, which themselves
    touched no watched file.
    """
    if not any(one.is_by_trigger for one in facts.provenance.values()):  # the usual case
        return
    made = [index for index, finding in enumerate(findings) if _is_by_trigger(finding, facts)]
    if not made:
        return
    managers: dict[object, list[tuple[int, object]]] = {}
    for key, indexes in members.items():
        for index in indexes:
            actors = findings[index].attribution.actors
            if programs.are_package_managers(actors):
                managers.setdefault(_login_of(actors), []).append((times[index], key))
    moved: list[tuple[int, object]] = []
    for index in made:
        candidates = managers.get(_login_of(findings[index].attribution.actors), ())
        near = [(abs(time - times[index]), repr(key), key) for time, key in candidates]
        distance, _, key = min(near, default=(STRETCH_NS + 1, "", None))
        if distance <= STRETCH_NS:
            moved.append((index, key))
    gone = {index for index, _ in moved}
    for key in list(members):
        members[key] = [index for index in members[key] if index not in gone]
        if not members[key]:
            del members[key]
    for index, key in moved:
        members[key].append(index)


def _is_by_trigger(finding: Finding, facts: Facts) -> bool:
    provenance = facts.provenance.get(finding.change.path)
    if provenance is None or not provenance.is_by_trigger:
        return False
    return len({actor.process for actor in finding.attribution.actors}) == 1


def _login_of(actors: Sequence[Actor]) -> object:
    return frozenset((actor.auid, actor.session) for actor in actors)


def _time(finding: Finding) -> int:
    """:attr:`RankedRow.time_ns` of a finding."""
    times = [actor.time_ns for actor in finding.attribution.actors if actor.time_ns is not None]
    return max(times) if times else finding.change.window.before_ns


def _stretches(indexes: list[int], times: Sequence[int]) -> Iterator[list[int]]:
    """Split where nothing happened for :data:`STRETCH_NS`."""
    ordered = sorted(indexes, key=times.__getitem__)
    part = ordered[:1]
    for earlier, later in pairwise(ordered):
        if times[later] - times[earlier] > STRETCH_NS:
            yield part
            part = []
        part.append(later)
    yield part


def _backups_last(rows: list[RankedRow]) -> list[RankedRow]:
    """Move the backups of account files behind their originals, where both are there."""
    originals = {row.account_file for row in rows if row.account_file in _ORIGINALS}
    if not originals:
        return rows
    backups: dict[bytes | None, list[RankedRow]] = {}
    others = []
    for row in rows:
        original = None if row.account_file is None else BACKUPS.get(row.account_file)
        if original in originals:
            backups.setdefault(original, []).append(row)
        else:
            others.append(row)
    return [moved for row in others for moved in (row, *backups.pop(row.account_file, ()))]


def _with_managers(sets: Sequence[ChangeSet], working: Collection[int], trees: Trees) -> tuple[ChangeSet, ...]:
    """Say of sets whose processes may have been started by a script of a package manager in which set that one is.

    A script that itself touches no watched file has no record, and so nothing shows what started its commands. That is
    no proof that the package manager did. ``working`` are the numbers of the sets in which one was at work.
    """
    managers = [item for item in sets if item.number in working]
    found = []
    for item in sets:
        near = [other.number for other in managers if _may_be_of(item, other)]
        is_open = (
            item.kind is SetKind.TREE and item.number not in working and not any(map(trees.has_parent, item.roots))
        )
        found.append(replace(item, during=near[0]) if near and is_open else item)
    return tuple(found)


def _may_be_of(item: ChangeSet, manager: ChangeSet) -> bool:
    is_then = manager.start_ns - _SLACK_NS <= item.start_ns and item.end_ns <= manager.end_ns + _SLACK_NS
    return is_then and item is not manager and _login_of(item.roots) == _login_of(manager.roots)


def _change_set(number: int, rows: list[RankedRow], trees: Trees) -> ChangeSet:
    # What a trigger made was put into the set of the package manager, which it is named after.
    own = [row for row in rows if row.provenance is None or not row.provenance.is_by_trigger] or rows
    first = own[0].finding
    if not first.attribution.actors:
        start_ns, end_ns = first.change.window.after_ns, first.change.window.before_ns
        for row in rows:
            window = row.finding.change.window
            start_ns, end_ns = min(start_ns, window.after_ns), max(end_ns, window.before_ns)
        return ChangeSet(
            number=number,
            kind=SetKind.NOBODY,
            rows=tuple(rows),
            reason=first.attribution.reason,
            scan=first.scan,
            start_ns=start_ns,
            end_ns=end_ns,
        )
    several = len(set(map(trees.node, first.attribution.actors))) > 1
    tops = Counter[tuple[object, ...]]()
    actors: dict[tuple[object, ...], Actor] = {}
    vias: set[bytes] = set()
    tops_of = ByPattern(lambda answer: {id(found): found for found in map(trees.top, answer.actors)})
    seen: dict[int, tuple[Top, int]] = {}
    for row in own:
        # The same process is at the top of most rows, as the same value.
        for place, top in tops_of(row.finding.attribution).items():
            seen[place] = (top, seen.get(place, (top, 0))[1] + 1)
    for top, count in seen.values():
        key = (programs.program(top.actor), top.actor.cmdline, top.actor.uid, top.actor.auid)
        tops[key] += count
        if key not in actors or precedes(top.actor, actors[key]):
            actors[key] = top.actor
        vias.update(top.via)
    order = sorted(tops, key=lambda key: (-tops[key], actors[key].moment, repr(actors[key])))
    times = [row.time_ns for row in rows]
    return ChangeSet(
        number=number,
        kind=SetKind.SEVERAL if several else SetKind.TREE,
        rows=tuple(rows),
        roots=tuple(actors[key] for key in order),
        via=tuple(sorted(vias)),
        start_ns=min(times),
        end_ns=max(times),
    )
