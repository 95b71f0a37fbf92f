"""Answer for many changed paths at once whether each file is what its package shipped."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from msgspec import Struct
from msgspec.structs import replace

from fimscan.model import FileKind, FileState, PackageAnswer, PackageFact, PackageReason, PackageReport
from fimscan.packages.activity import DpkgActivity
from fimscan.packages.claims import Claim, Findings, PackageQuestion, Wanted
from fimscan.packages.debs import Proofs
from fimscan.packages.dpkg import has_dpkg, read_dpkg
from fimscan.packages.files import ChangedError, Directories, digest_recorded
from fimscan.packages.judge import Background, Digests, judge, needed_algorithms, recorded_digests
from fimscan.packages.known_md5 import KnownMd5
from fimscan.packages.list_index import ListIndex
from fimscan.packages.manifests import ManifestStore
from fimscan.packages.python_record import PythonRecords
from fimscan.packages.rpm import read_rpm, rpm_database
from fimscan.packages.triggers import is_made_by_trigger, trigger_package
from fimscan.paths import parent

DEB_BUDGET = 64 * 1024 * 1024
"""How many bytes of .deb files are read at most by default: a few seconds."""


_COST_OF_OPENING = 16 * 1024  # as long as reading so many bytes takes


class PackageSources(Struct, frozen=True, kw_only=True):
    """Where packages are looked up.

    ``root`` is the directory of the checked system: paths in questions and databases are relative to it.
    ``manifests``, the directory of 'fimscan packages record', and ``archives``, directories with .deb files, are not.
    With ``keep_manifests``, what was taken from a .deb is kept in ``manifests``, if that can be written.

    ``deb_budget`` is how many bytes of .deb files are read at most; with ``reports_skipped``, it is a problem if there
    are more. ``read_budget`` is how many bytes of checked files are read at most, those of the first questions first.
    With ``keep_digests``, the MD5 of what was read is kept in ``manifests``, so that it need not be read again.

    ``index`` is for whoever asks several times: what one question learned of the lists of dpkg, the next one need not
    read again.
    """

    root: bytes = b"/"
    manifests: bytes | None = None
    keep_manifests: bool = True
    archives: tuple[bytes, ...] = (b"/var/cache/apt/archives",)
    deb_budget: int = DEB_BUDGET
    reports_skipped: bool = True
    read_budget: int | None = None
    keep_digests: bool = False
    index: ListIndex | None = None


def check_paths(questions: Sequence[PackageQuestion], sources: PackageSources) -> PackageReport:
    """Answer all questions with one pass over each database.

    Memory is used for the paths that were asked for, not for the databases. Files are read whose digest was not
    recorded, if they are still the recorded ones.
    """
    directories = Directories(sources.root)
    real = {question.path: directories.canonical(question.path) for question in questions}
    wanted = _wanted(questions, real)
    findings, names = _ask(wanted, directories, sources)
    records = PythonRecords(directories, wanted.paths)
    activity = DpkgActivity(directories) if any(question.window for question in questions) else None
    reader = _Reader(sources)
    # What is known of every path, whoever owns it.
    common = Background(
        reason=next((found.reason for found in findings if found.reason is not None), None),
        is_complete=all(found.is_complete and found.reason is None for found in findings),
    )
    databases = _Databases.of(findings, records, activity, common)
    answers = [_answer(question, real[question.path], databases, reader) for question in questions]
    if sources.keep_digests:
        reader.known.save()
    problems = [problem for found in findings for problem in found.problems] + records.problems + reader.problems
    return PackageReport(answers=tuple(answers), problems=tuple(dict.fromkeys(problems)), databases=tuple(names))


def _wanted(questions: Sequence[PackageQuestion], real: Mapping[bytes, bytes]) -> Wanted:
    return Wanted(
        paths=frozenset(real.values()),
        parents=frozenset(map(parent, real.values())),
        contents=frozenset(
            real[question.path]
            for question in questions
            if question.state is not None and question.state.kind is not FileKind.DIRECTORY
        ),
    )


def _ask(wanted: Wanted, directories: Directories, sources: PackageSources) -> tuple[list[Findings], list[str]]:
    found, names = [], []
    if has_dpkg(directories):
        store = None if sources.manifests is None else ManifestStore(sources.manifests)
        proofs = Proofs(
            store,
            sources.archives,
            sources.deb_budget,
            keep=sources.keep_manifests,
            reports_skipped=sources.reports_skipped,
        )
        found.append(read_dpkg(wanted, directories, proofs, sources.index))
        names.append("dpkg")
    database = rpm_database(directories)
    if database is not None:
        found.append(read_rpm(wanted, directories, database))
        names.append("rpm")
    if not found:
        found.append(Findings(is_complete=False, reason=PackageReason.NO_DATABASE))
    return found, names


class _Databases(NamedTuple):
    """What was read for all questions.

    By canonical path, ``claims`` and ``facts`` of files, and ``owners`` of directories; of most paths, there is
    nothing. ``common`` is known of every path.
    """

    claims: Mapping[bytes, list[Claim]]
    facts: Mapping[bytes, list[PackageFact]]
    owners: Mapping[bytes, list[str]]
    records: PythonRecords
    activity: DpkgActivity | None
    common: Background

    @classmethod
    def of(
        cls, findings: Sequence[Findings], records: PythonRecords, activity: DpkgActivity | None, common: Background
    ) -> _Databases:
        claims: dict[bytes, list[Claim]] = defaultdict(list)
        facts: dict[bytes, list[PackageFact]] = defaultdict(list)
        owners: dict[bytes, list[str]] = defaultdict(list)
        for found in findings:
            for path, ones in found.claims.items():
                claims[path] += ones if found.reason is None else [_undecided(one, found.reason) for one in ones]
            for path, those in found.facts.items():
                facts[path] += those
            for directory, names in found.directories.items():
                owners[directory] += names
        return cls(dict(claims), dict(facts), dict(owners), records, activity, common)


def _answer(question: PackageQuestion, path: bytes, databases: _Databases, reader: _Reader) -> PackageAnswer:
    _, _, _, records, activity, background = databases
    directory = parent(path)
    claims: Sequence[Claim] = databases.claims.get(path, ())
    if not claims and (claim := records.claim(path, directory)) is not None:
        claims = [claim]
    if claims and activity is not None and question.window is not None:
        claims = [_dated(claim, active=activity.was_active(claim.owner, question.window)) for claim in claims]
    facts: Sequence[PackageFact] = databases.facts.get(path, ())
    if activity is not None and not claims and _is_by_trigger(question, path, activity):
        facts = [*facts, PackageFact.TRIGGER]
    owners = databases.owners.get(directory, ())
    if facts or owners:
        background = Background(tuple(facts), tuple(owners), background.reason, background.is_complete)
    digests = reader.digests(question.state, path, claims) if claims else {}
    return judge(question, claims, digests, background)


def _is_by_trigger(question: PackageQuestion, path: bytes, activity: DpkgActivity) -> bool:
    """Whether a program that a trigger starts made a file of this trigger, while dpkg's log says that it ran."""
    if not is_made_by_trigger(path) or len(question.written_ns) != len(question.writers.actors):
        return False
    package = trigger_package(question.writers.actors, path)
    return package is not None and all(
        time_ns is not None and activity.was_at_work(package, time_ns) for time_ns in question.written_ns
    )


def _dated(claim: Claim, *, active: bool | None) -> Claim:
    return claim if active is None else replace(claim, active=active)


def _undecided(claim: Claim, reason: PackageReason) -> Claim:
    """A claim of a database that cannot be trusted as a whole: it decides nothing."""
    return replace(claim, reason=reason, expected=())


class _Reader:
    """Reads the digests that were not recorded, as long as its budget lasts."""

    def __init__(self, sources: PackageSources) -> None:
        self._root = sources.root
        self._left = sources.read_budget
        self._skipped = 0
        self.known = KnownMd5(sources.manifests)

    @property
    def problems(self) -> list[str]:
        """One sentence on the files that were not read."""
        if not self._skipped:
            return []
        count = "1 file was" if self._skipped == 1 else f"{self._skipped:,} files were"
        return [f"{count} not compared with the package, to save time; 'fimscan packages check PATH' does it"]

    def digests(self, state: FileState | None, path: bytes, claims: Sequence[Claim]) -> Digests:
        """What deciding takes of the recorded digests and those of the file as it is."""
        needed = needed_algorithms(claims, state) if claims else None
        if state is None or not needed:
            return {}
        recorded = recorded_digests(state)
        sha256 = recorded.get("sha256")
        if "md5" in needed and sha256 is not None and (md5 := self.known.of(sha256)) is not None:
            recorded["md5"] = md5
        missing = sorted(needed - set(recorded))
        if not missing:
            return recorded
        if not self._takes(state.size):
            return PackageReason.NOT_READ
        try:
            return {**recorded, **self._read(state, path, missing, sha256)}
        except ChangedError:
            return PackageReason.CHANGED_SINCE
        except (OSError, ValueError):  # hashlib may lack an algorithm
            return PackageReason.UNREADABLE

    def _read(self, state: FileState, path: bytes, missing: Sequence[str], sha256: bytes | None) -> Mapping[str, bytes]:
        if sha256 is None or "md5" not in missing:
            return digest_recorded(self._root, state, path, missing)
        found = digest_recorded(self._root, state, path, [*missing, "sha256"])
        if found["sha256"] != sha256:
            raise ChangedError
        self.known.learn(sha256, found["md5"])
        return found

    def _takes(self, size: int) -> bool:
        if self._left is None:
            return True
        cost = size + _COST_OF_OPENING
        if cost > self._left:
            self._skipped += 1
            return False
        self._left -= cost
        return True
