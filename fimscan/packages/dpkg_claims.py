"""What installed Debian packages expect of files: from manifests, the list of conffiles, and MD5 sums."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from msgspec.structs import replace

from fimscan.model import FileKind, PackageFact, PackageOwner, PackageProof, PackageReason
from fimscan.packages.accounts import Accounts
from fimscan.packages.claims import Claim, Expected
from fimscan.packages.debs import Key, Proofs
from fimscan.packages.dpkg_files import DamagedError, Override, parse_md5sums
from fimscan.packages.dpkg_status import DpkgPackage
from fimscan.packages.files import Directories, read_regular
from fimscan.packages.manifest import Manifest, Member


class Place(NamedTuple):
    """A path as a package lists it, and the canonical path where dpkg really has it."""

    listed: bytes
    real: bytes


_Proved = tuple[PackageProof, Member]
Owned = tuple[DpkgPackage, bytes, tuple[Place, ...]]
"""(package, name of its files in ``info``, its places)"""


class ClaimReader:
    """Makes the claims of packages from their files in ``info``."""

    def __init__(
        self, admin: bytes, directories: Directories, overrides: Mapping[bytes, Override], proofs: Proofs
    ) -> None:
        self._admin = admin
        self._accounts = Accounts(directories)
        self._overrides = overrides
        self._proofs = proofs

    def claims(self, owned: Sequence[Owned], contents: Collection[bytes]) -> Iterator[tuple[bytes, Claim]]:
        """(canonical path, claim) of every owned place; ``contents`` are the places that have a content to judge."""
        self._proofs.prepare(
            (_key(package), {place.listed for place in places})
            for package, _, places in owned
            if package.is_unpacked and any(place.real in contents for place in places)
        )
        for package, name, places in owned:
            if places:
                yield from self._of_package(package, name, places)

    def _of_package(self, package: DpkgPackage, name: bytes, places: Sequence[Place]) -> Iterator[tuple[bytes, Claim]]:
        paths = {place.listed for place in places}
        members: dict[bytes, list[_Proved]] = {}
        sums: Mapping[bytes, bytes] = {}
        damaged = False
        if package.is_unpacked:
            members = _members(self._proofs.manifests(_key(package)), paths)
            try:
                sums = parse_md5sums(read_regular(self._admin + b"/info/" + name + b".md5sums"), paths)
            except FileNotFoundError:
                pass
            except (OSError, DamagedError):
                damaged = True
        unpacked_ns = self._unpacked_ns(name)
        of_ordinary = PackageOwner(
            manager="dpkg",
            name=package.name.decode("ascii"),
            version=package.version.decode("ascii"),
            architecture=package.architecture.decode("ascii"),
            unpacked_ns=unpacked_ns,
        )
        for place in places:
            owner = of_ordinary
            if place.listed in package.conffiles or place.listed != place.real:
                listed_as = None if place.listed == place.real else place.listed
                owner = replace(owner, conffile=place.listed in package.conffiles, listed_as=listed_as)
            if not package.is_unpacked:
                yield place.real, Claim(owner=owner, reason=PackageReason.NOT_INSTALLED)
            else:
                yield (
                    place.real,
                    self._claim(package, place.listed, owner, (members.get(place.listed, []), sums, damaged)),
                )

    def _claim(
        self,
        package: DpkgPackage,
        listed: bytes,
        owner: PackageOwner,
        known: tuple[list[_Proved], Mapping[bytes, bytes], bool],
    ) -> Claim:
        members, sums, damaged = known
        conffile = package.conffiles.get(listed)
        if conffile is not None and conffile.obsolete:
            return Claim(owner=owner, reason=PackageReason.OBSOLETE_CONFFILE)
        weaker = _by_md5(PackageProof.MD5SUMS, sums.get(listed))
        if conffile is not None:
            weaker = _by_md5(PackageProof.CONFFILE, conffile.md5)
        # A rebuilt .deb can have the same name and version. dpkg's MD5 says which one was unpacked.
        fitting = [(proof, m) for proof, m in members if not weaker or m.md5 in (None, weaker[0].digest)]
        if members and not fitting:
            return Claim(owner=owner, reason=PackageReason.PROOFS_DISAGREE, facts=(PackageFact.PROOFS_DISAGREE,))
        stronger = tuple(self._expected(proof, member, self._overrides.get(listed)) for proof, member in fitting)
        if not stronger and not weaker:
            return Claim(owner=owner, reason=PackageReason.DATABASE_DAMAGED if damaged else PackageReason.NO_DIGEST)
        return Claim(owner=owner, expected=stronger + weaker)

    def _expected(self, proof: PackageProof, member: Member, override: Override | None) -> Expected:
        uid, gid = self._accounts.uid(member.user), self._accounts.gid(member.group)
        uid, gid, mode = member.uid if uid is None else uid, member.gid if gid is None else gid, member.mode
        if override is not None:
            user, group = self._accounts.uid(override.user), self._accounts.gid(override.group)
            uid, gid, mode = -1 if user is None else user, -1 if group is None else group, override.mode
        return Expected(
            proof=proof,
            kind=member.kind,
            algorithm=None if member.sha256 is None else "sha256",
            digest=member.sha256,
            link_target=member.link_target,
            mode=None if member.kind is FileKind.SYMLINK else mode,
            uid=uid,
            gid=gid,
        )

    def _unpacked_ns(self, name: bytes) -> int | None:
        try:
            return os.stat(self._admin + b"/info/" + name + b".list").st_mtime_ns
        except OSError:
            return None


def _members(manifests: Iterable[Manifest], paths: Collection[bytes]) -> dict[bytes, list[_Proved]]:
    """What manifests say of some paths, those of the first manifest first."""
    found: dict[bytes, list[_Proved]] = {}
    for manifest in manifests:
        for member in manifest.members:
            if member.path in paths:
                found.setdefault(member.path, []).append((manifest.proof, member))
    return found


def _by_md5(proof: PackageProof, digest: bytes | None) -> tuple[Expected, ...]:
    if digest is None:
        return ()
    return (Expected(proof=proof, kind=FileKind.FILE, algorithm="md5", digest=digest),)


def _key(package: DpkgPackage) -> Key:
    return package.name.decode("ascii"), package.version.decode("ascii"), package.architecture.decode("ascii")
