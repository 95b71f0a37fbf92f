"""Ask the package databases about the changed files of a diff."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from msgspec.structs import replace

from fimscan.by_pattern import ByPattern
from fimscan.compact import CompactMap
from fimscan.gc_pause import gc_paused
from fimscan.grouping import Facts, Nature, Provenances, nature_of, process_key, programs
from fimscan.model import (
    Actor,
    AnswerPattern,
    Attribution,
    Change,
    Diff,
    Finding,
    Lineage,
    PackageAnswer,
    PackageClass,
    PackageReason,
    PackageReport,
    Role,
    Verdict,
)
from fimscan.packages import NOBODY, PackageQuestion, PackageSources, Writers, check_paths, writers_of
from fimscan.paths import is_within
from fimscan.pipeline.history.change_sets import lineages_of
from fimscan.pipeline.packages import manifest_directory, provenance_of
from fimscan.spool import Spool, in_pieces
from fimscan.store.database import Database

_DEB_BUDGET = 8 * 1024 * 1024  # read in less than a second
_READ_BUDGET = 96 * 1024 * 1024  # some 2,000 files of usual size in half a second
_SCAN_BUDGET = 4 * 1024**3  # what a scan has just read, and some 10 seconds at most; a report finds the digests then
_AT_ONCE = 8000  # changes: in smaller parts, the databases of packages would be read too often
_DATABASES = (b"/var/lib/dpkg/", b"/var/lib/rpm/", b"/usr/lib/sysimage/rpm/")
_WRITING = frozenset({Role.WRITER, Role.PLACER})
_NAMED = frozenset({Verdict.CONFIRMED, Verdict.LIKELY})


class Packaged(NamedTuple):
    """A diff whose findings have their packages, the facts for its grouping, and what is wrong with the databases."""

    diff: Diff
    facts: Facts
    problems: tuple[str, ...] = ()


def default_sources(url: str | None, *, after_scan: bool = False) -> PackageSources:
    """The packages of this system, with budgets that keep a report quick. ``url`` is that of the database.

    ``after_scan``: the files have just been read by a scan, and the directory of the database may be written. Then
    their MD5 is taken and kept, and the reports of these changes read none of the files again.
    """
    return PackageSources(
        manifests=manifest_directory(url),
        keep_manifests=False,
        deb_budget=_DEB_BUDGET,
        reports_skipped=False,
        read_budget=_SCAN_BUDGET if after_scan else _READ_BUDGET,
        keep_digests=after_scan,
    )


def with_packages(database: Database, diff: Diff, sources: PackageSources) -> Packaged:
    """Say of each changed file whether it is what its package shipped.

    Nothing is asked without findings, and for another host than this one, whose packages are others.
    """
    if not diff.findings or diff.host != os.uname().nodename:
        return Packaged(diff, Facts())
    return packaged_by(sources, diff, lineages_of(database, diff.findings), database.directory)


def with_package(database: Database, finding: Finding, sources: PackageSources) -> tuple[Finding, tuple[str, ...]]:
    """One change with its package, and what is wrong with the databases.

    The state that the change led to is compared with what is installed now, whatever the file is now.
    """
    if database.host != os.uname().nodename:
        return finding, ()
    answered, report = _answered((finding,), sources, lineages_of(database, (finding,)))
    return answered[0], report.problems


@gc_paused()
def packaged_by(
    sources: PackageSources, diff: Diff, lineages: Mapping[object, Lineage], directory: str | None = None
) -> Packaged:
    """The same with the packages of ``sources``; files outside of its root are not asked for.

    ``lineages`` are by process key. Findings that are on disk are asked about in parts, which share the budgets of
    ``sources`` evenly, and are kept in another file, in ``directory``.
    """
    is_on_disk = isinstance(diff.findings, Spool)
    findings, report = (
        _answered_in_parts(diff.findings, sources, lineages, directory)
        if is_on_disk
        else _answered(diff.findings, sources, lineages)
    )
    if not report.databases:
        return Packaged(diff, Facts(lineages=lineages), report.problems)
    facts = Facts(lineages=lineages, provenance=_provenance(findings))
    return Packaged(replace(diff, findings=findings), facts, report.problems)


def _answered_in_parts(
    findings: Sequence[Finding], sources: PackageSources, lineages: Mapping[object, Lineage], directory: str | None
) -> tuple[Sequence[Finding], PackageReport]:
    """As :func:`_answered`, with less memory; the report has no answers."""
    parts = -(-len(findings) // _AT_ONCE)
    read_budget = None if sources.read_budget is None else sources.read_budget // parts
    sources = replace(sources, deb_budget=sources.deb_budget // parts, read_budget=read_budget)
    found = Spool[Finding]((), directory, AnswerPattern)
    problems: dict[str, None] = {}
    databases: tuple[str, ...] = ()
    for some in in_pieces(findings, _AT_ONCE):
        answered, report = _answered(some, sources, lineages)
        problems |= dict.fromkeys(report.problems)
        databases = report.databases
        if not databases:
            break
        found.extend(answered)
    return found, PackageReport(answers=(), problems=tuple(problems), databases=databases)


def _answered(
    findings: Sequence[Finding], sources: PackageSources, lineages: Mapping[object, Lineage]
) -> tuple[tuple[Finding, ...], PackageReport]:
    """The findings with the answers; as they are if there is no database of packages."""
    is_ordinary = ByPattern(_is_ordinary)
    written = ByPattern(lambda answer: _written(answer, lineages))
    root = sources.root.rstrip(b"/")
    asked = [row for row in findings if is_within(row.change.path, sources.root)] if root else list(findings)
    # Files are read in this order: those that are no work of a package manager for certain, then the smallest.
    asked.sort(key=lambda row: (is_ordinary(row.attribution), 0 if row.change.after is None else row.change.after.size))
    report = check_paths([_question(row, written, root) for row in asked], sources)
    if not report.databases:
        return tuple(findings), report
    answers = {id(row): answer for row, answer in zip(asked, report.answers, strict=True)}
    return tuple([replace(row, package=answers.get(id(row))) for row in findings]), report


def _is_ordinary(answer: Attribution) -> bool:
    return answer.verdict is Verdict.CONFIRMED and programs.are_package_managers(answer.actors)


class _Written(NamedTuple):
    """The processes that are known to have written a file, and which of the actors they are."""

    writers: Writers
    positions: tuple[int, ...]


def _question(finding: Finding, written: Callable[[Attribution], _Written], root: bytes) -> PackageQuestion:
    change, last = finding.change, _last_written(finding)
    writers = NOBODY
    times: tuple[int | None, ...] = ()
    if last is not None and last.change.after is not None:
        writers, positions = written(last.attribution)
        actors = last.attribution.actors
        times = tuple([actors[position].time_ns for position in positions])
    return PackageQuestion(
        path=change.path.removeprefix(root),
        state=change.after,
        writers=writers,
        written_ns=times,
        # An installation in an earlier step has no part in what was written since.
        window=change.window if last is None else last.change.window,
    )


def _last_written(finding: Finding) -> Finding | None:
    """The step in which the present content was written; ``None`` if only attributes changed."""
    if not finding.steps:
        return finding if _is_written(finding.change) else None
    return next((step for step in reversed(finding.steps) if _is_written(step.change)), None)


def _written(answer: Attribution, lineages: Mapping[object, Lineage]) -> _Written:
    """The processes that are known to have written the present content; of candidates, nothing can be said."""
    if answer.verdict not in _NAMED:
        return _Written(NOBODY, ())
    found = [(position, actor) for position, actor in enumerate(answer.actors) if actor.role in _WRITING]
    return _Written(
        writers_of([_lineage(actor, lineages) for _, actor in found]), tuple([position for position, _ in found])
    )


def _is_written(change: Change) -> bool:
    nature = nature_of(change)
    return nature is Nature.CONTENT or (nature is Nature.INODE and "inode" in change.changed)


def _lineage(actor: Actor, lineages: Mapping[object, Lineage]) -> Lineage:
    found = lineages.get(process_key(actor))
    return Lineage(actor=actor, unknown=actor.ppid) if found is None else replace(found, actor=actor)


def _provenance(findings: Sequence[Finding]) -> Provenances:
    told = (
        (row.change.path, provenance_of(row.package))
        for row in findings
        if row.package is not None and _tells(row.change, row.package)
    )
    return CompactMap(told) if isinstance(findings, Spool) else dict(told)


def _tells(change: Change, answer: PackageAnswer) -> bool:
    """Whether an answer says anything of the change.

    A directory has no content to be judged. A file that a package took along when it was removed belongs to none now,
    and the package manager's own database never does.
    """
    if answer.reason is PackageReason.DIRECTORY or answer.reason is PackageReason.NO_DATABASE:
        return False
    is_unowned = answer.kind is PackageClass.UNOWNED
    return not (is_unowned and (change.after is None or change.path.startswith(_DATABASES)))
