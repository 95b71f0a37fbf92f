"""Read dpkg's database by its files: one pass over all lists for many paths.

The database has no lock that a reader could take. So the reader notes what it read before and after, and reads again if
dpkg was at work in between.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import NamedTuple, TypeVar

from msgspec import Struct, field
from msgspec.structs import replace

from fimscan.model import PackageFact, PackageReason
from fimscan.packages.claims import Claim, Findings, Wanted
from fimscan.packages.debs import Proofs
from fimscan.packages.dpkg_claims import ClaimReader, Place
from fimscan.packages.dpkg_files import (
    DamagedError,
    Diversion,
    parse_alternative,
    parse_diversions,
    parse_list,
    parse_statoverride,
    parse_triggers,
)
from fimscan.packages.dpkg_status import DpkgPackage, parse_status
from fimscan.packages.files import Directories, below, read_regular
from fimscan.packages.list_index import ListIndex, checksums_of, stamp_of

_ADMIN = b"/var/lib/dpkg"
_CHOICES = b"/etc/alternatives/"
_ATTEMPTS = 3
_MOST_PROBLEMS = 20
_MOST_DIRECTORY_OWNERS = 8
_UPDATE = re.compile(rb"[0-9]{1,9}\Z")
T = TypeVar("T")


class _Database(Struct, kw_only=True):
    """What is read, with all that is wrong with it. ``reason`` is set if no claim can be trusted."""

    admin: bytes
    directories: Directories
    index: ListIndex | None = None
    problems: list[str] = field(default_factory=list)
    is_complete: bool = True
    reason: PackageReason | None = None

    def read(self, name: bytes) -> bytes | None:
        """One file of the database; ``None`` if it cannot be read."""
        try:
            return read_regular(self.admin + b"/" + name)
        except OSError as error:
            self.complain(name, error.strerror or str(error))
            return None

    def names(self, directory: bytes) -> list[bytes]:
        """The names in a directory of the database; none if there is no such directory."""
        try:
            return sorted(os.listdir(self.admin + b"/" + directory))
        except FileNotFoundError:
            return []
        except OSError as error:
            self.complain(directory, error.strerror or str(error))
            return []

    def parsed(self, name: bytes, parse: Callable[[bytes], dict[bytes, T]], *, vital: bool) -> dict[bytes, T]:
        """One optional file, parsed. If a ``vital`` one is damaged, nothing can be said of any file."""
        if not os.path.lexists(self.admin + b"/" + name):
            return {}
        before = self.is_complete
        text = self.read(name)
        try:
            if text is not None:
                return parse(text)
        except DamagedError as error:
            self.complain(name, str(error))
        if vital:
            self.reason = PackageReason.DATABASE_DAMAGED
        else:
            self.is_complete = before
        return {}

    def complain(self, name: bytes, text: str) -> None:
        """Note a problem: a package that is missing now could own any file."""
        self.is_complete = False
        self.problems.append(f"{os.fsdecode(self.admin + b'/' + name)}: {text}")


def has_dpkg(directories: Directories) -> bool:
    """Whether there is a database of dpkg."""
    return os.path.lexists(below(directories.root, directories.canonical(_ADMIN + b"/status")))


def installed_packages(directories: Directories) -> frozenset[tuple[str, str, str]] | None:
    """(name, version, architecture) of all packages that have files; ``None`` if the list cannot be read whole."""
    admin = below(directories.root, directories.canonical(_ADMIN + b"/status").rpartition(b"/")[0])
    database = _Database(admin=admin, directories=directories)
    found = _packages(database)
    if not database.is_complete:
        return None
    return frozenset(
        (one.name.decode("ascii"), one.version.decode("ascii"), one.architecture.decode("ascii")) for one in found
    )


def read_dpkg(wanted: Wanted, directories: Directories, proofs: Proofs, index: ListIndex | None = None) -> Findings:
    """Look up canonical paths in dpkg's database. ``index`` is what earlier questions have learned of its lists."""
    admin = below(directories.root, directories.canonical(_ADMIN + b"/status").rpartition(b"/")[0])
    for _ in range(_ATTEMPTS):
        before = _stamp(admin)
        found = _read(wanted, _Database(admin=admin, directories=directories, index=index), proofs)
        if _stamp(admin) == before:
            return found
    problem = "dpkg was at work during all attempts to read its database; try again"
    return replace(found, reason=PackageReason.DATABASE_CHANGING, problems=(*found.problems, problem))


def _stamp(admin: bytes) -> tuple[object, ...]:
    """Changes with every change of the database: dpkg replaces its files, and adds files to ``updates``."""
    found: list[object] = []
    for name in (b"status", b"diversions", b"statoverride", b"updates", b"info"):
        try:
            seen = os.stat(admin + b"/" + name)
            found.append((seen.st_ino, seen.st_size, seen.st_mtime_ns, seen.st_ctime_ns))
        except OSError as error:
            found.append(error.errno)
    return tuple(found)


def _read(wanted: Wanted, database: _Database, proofs: Proofs) -> Findings:
    packages = _packages(database)
    diversions = database.parsed(b"diversions", parse_diversions, vital=True)
    overrides = database.parsed(b"statoverride", parse_statoverride, vital=True)
    places = _Places({*wanted.paths, *wanted.parents}, diversions, database.directories)
    found = [*_listed(packages, places, database)]
    owners: dict[bytes, list[str]] = {}
    for listed in found:
        for place in listed.places:
            if place.real in wanted.parents:
                owners.setdefault(place.real, []).append(listed.package.name.decode("ascii"))
    for path, names in database.parsed(b"triggers/File", parse_triggers, vital=False).items():
        if (real := database.directories.trusted(path)) in wanted.parents:
            owners.setdefault(real, []).extend(names)
    owned = [(item.package, item.name, tuple(p for p in item.places if p.real in wanted.paths)) for item in found]
    claims: dict[bytes, list[Claim]] = {}
    reader = ClaimReader(database.admin, database.directories, overrides, proofs)
    for path, claim in reader.claims(owned, wanted.contents):
        claims.setdefault(path, []).append(claim)
    return Findings(
        claims=claims,
        facts=_facts(wanted.paths, [*diversions.values()], overrides, database),
        directories={path: tuple(dict.fromkeys(names))[:_MOST_DIRECTORY_OWNERS] for path, names in owners.items()},
        problems=_limited([*database.problems, *proofs.problems]),
        is_complete=database.is_complete,
        reason=database.reason,
    )


def _packages(database: _Database) -> list[DpkgPackage]:
    # The files in updates are changes that dpkg has not merged into status yet.
    updates = [name for name in database.names(b"updates") if _UPDATE.match(name)]
    names = [b"status", *(b"updates/" + name for name in sorted(updates, key=int))]
    status = parse_status([text for name in names if (text := database.read(name)) is not None])
    for problem in status.problems:
        database.complain(b"status", problem)
    return [package for package in status.packages.values() if package.has_files]


class _Listed(NamedTuple):
    """The wanted places of one package; ``name`` is that of its files in ``info``."""

    package: DpkgPackage
    name: bytes
    places: list[Place]


class _Places:
    """Finds, in lists of packages, the lines that stand for wanted paths."""

    def __init__(self, wanted: set[bytes], diversions: Mapping[bytes, Diversion], directories: Directories) -> None:
        self._wanted, self._diversions, self._directories = wanted, diversions, directories
        #: The last components that a line can have.
        self.names = {path.rpartition(b"/")[2] for path in wanted}
        for item in diversions.values():
            if directories.canonical(item.moved_to) in wanted:
                self.names.add(item.path.rpartition(b"/")[2])

    def of(self, package: bytes, listed: bytes) -> Place | None:
        """Where a listed path really is; ``None`` if it is not wanted."""
        diversion = self._diversions.get(listed)
        is_moved = diversion is not None and diversion.package != package
        real = self._directories.trusted(diversion.moved_to if diversion is not None and is_moved else listed)
        return Place(listed, real) if real is not None and real in self._wanted else None


def _listed(packages: list[DpkgPackage], places: _Places, database: _Database) -> Iterator[_Listed]:
    present = {name.removesuffix(b".list") for name in database.names(b"info") if name.endswith(b".list")}
    index = database.index
    wanted = frozenset[int]() if index is None else checksums_of(places.names)
    for package in packages:
        name = next((name for name in package.file_names if name in present), None)
        if name is None:
            if package.is_unpacked:
                database.complain(b"info/" + package.file_names[0] + b".list", "it is missing")
            continue
        path = b"%b/info/%b.list" % (database.admin, name)
        if index is not None and index.lacks(path, wanted):
            continue
        stamp = stamp_of(path)
        text = database.read(b"info/" + name + b".list")
        try:
            lines = [] if text is None else parse_list(text, places.names)
        except DamagedError as error:
            database.complain(b"info/" + name + b".list", str(error))
            continue
        if index is not None and text is not None:
            index.learn(path, stamp, text)
        found = [place for line in lines if (place := places.of(package.name, line)) is not None]
        if found:
            yield _Listed(package, name, found)


def _facts(
    paths: Collection[bytes], diversions: list[Diversion], overrides: Collection[bytes], database: _Database
) -> dict[bytes, tuple[PackageFact, ...]]:
    """What is known of paths whoever owns them."""
    canonical = database.directories.canonical
    sources = (
        (PackageFact.ALTERNATIVE, _alternatives(database)),
        (PackageFact.DIVERTED, {canonical(path) for item in diversions for path in (item.path, item.moved_to)}),
        (PackageFact.OVERRIDDEN, {canonical(path) for path in overrides}),
    )
    found: dict[bytes, tuple[PackageFact, ...]] = {}
    for fact, of in sources:
        for path in of:
            if path in paths:
                found[path] = (*found.get(path, ()), fact)
    return found


def _alternatives(database: _Database) -> set[bytes]:
    found: set[bytes] = set()
    for name in database.names(b"alternatives"):
        links = database.parsed(b"alternatives/" + name, _alternative_of(name), vital=False)
        found.update(map(database.directories.canonical, links.values()))
        found.update(_CHOICES + choice for choice in links)
    return found


def _alternative_of(name: bytes) -> Callable[[bytes], dict[bytes, bytes]]:
    return lambda text: parse_alternative(name, text)


def _limited(problems: list[str]) -> tuple[str, ...]:
    found = tuple(dict.fromkeys(problems))
    more = len(found) - _MOST_PROBLEMS
    return found if more <= 0 else (*found[:_MOST_PROBLEMS], f"{more:,} more problems of this kind")
