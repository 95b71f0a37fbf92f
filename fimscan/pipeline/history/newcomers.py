"""Find the changes by programs that never changed anything in a directory before, from the stored answers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from fimscan.by_pattern import ByPattern
from fimscan.grouping import Nature, nature_of, programs
from fimscan.model import Actor, Attribution, Finding, Role, Verdict
from fimscan.paths import parent
from fimscan.store import findings as finding_store
from fimscan.store.session import Session

_HABIT = 3  # earlier changes with a named process; with fewer, every program would be new
_MOST = 200  # directories that are looked up; of more, nothing is said
_MOST_CHANGES = 5000  # of one directory
_LOUD = ("critical", "high")  # for other rows, it decides nothing
_WRITING = frozenset({Role.WRITER, Role.PLACER})
_NAMED = frozenset({Verdict.CONFIRMED, Verdict.LIKELY})


def newcomers(session: Session, findings: Iterable[Finding]) -> frozenset[bytes]:
    """The paths whose content was written by a program that had never changed anything in their directory.

    Package managers and account tools are left out: what they do anywhere is judged by other rules. What is earlier
    goes by the scan that found it, so the answer about a report stays the same later.
    """
    written: dict[bytes, list[tuple[bytes, bytes, int]]] = {}
    programs_of = ByPattern(_programs)
    for row in findings:
        if row.severity in _LOUD and row.change.after is not None and nature_of(row.change) is Nature.CONTENT:
            path = row.change.path
            for deed in _deeds(row, programs_of):
                written.setdefault(parent(path), []).append((path, *deed))
            if len(written) > _MOST:
                return frozenset()
    return frozenset(path for directory, deeds in written.items() for path in _new_in(session, directory, deeds))


def _deeds(row: Finding, programs_of: Callable[[Attribution], list[bytes]]) -> list[tuple[bytes, int]]:
    """(program, scan) of each process that is known to have written a file."""
    return [(program, step.scan) for step in row.steps or (row,) for program in programs_of(step.attribution)]


def _programs(answer: Attribution) -> list[bytes]:
    """The program of each process that is known to have written."""
    if answer.verdict not in _NAMED:
        return []
    actors = (actor for actor in answer.actors if actor.role in _WRITING and _is_of_interest(actor))
    return [programs.program(actor) for actor in actors]


def _new_in(session: Session, directory: bytes, deeds: Sequence[tuple[bytes, bytes, int]]) -> Iterator[bytes]:
    """The paths of those deeds that were the first of their program in a directory where others had been at work."""
    first: dict[bytes, int] = {}
    for _, program, scan in deeds:
        first[program] = min(first.get(program, scan), scan)
    known = finding_store.programs_before(session, directory, max(first.values()), _MOST_CHANGES)
    for path, program, _ in deeds:
        earlier = [names for scan, names in known if scan < first[program]]
        if len(earlier) >= _HABIT and not any(program in names for names in earlier):
            yield path


def _is_of_interest(actor: Actor) -> bool:
    return bool(programs.program(actor)) and not (
        programs.may_be_package_manager(actor) or programs.is_account_tool(actor)
    )
