"""The directory of manifests: one file for each .deb, written once, readable and writable by root only."""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress

from fimscan.model import PackageProof
from fimscan.packages.files import read_regular
from fimscan.packages.manifest import Manifest, ManifestError, format_manifest, parse_manifest
from fimscan.trust import make_private_directories

_SUFFIX = ".manifest"


class UnsafeError(Exception):
    """Others than root can change the directory or a manifest, so it proves nothing."""


class ManifestStore:
    """Manifests below one directory, found by name, version and architecture of the package."""

    def __init__(self, directory: bytes) -> None:
        self.directory = directory
        self._names: dict[tuple[str, str, str], list[str]] | None = None

    def add(self, manifest: Manifest) -> bool:
        """Store a manifest; ``False`` if there is one of the same .deb and proof. A stored one is never replaced.

        Raises:
            OSError: it cannot be written.
            UnsafeError: as above.
        """
        make_private_directories(self.directory)
        check_private(os.lstat(self.directory), "its directory")
        final = os.path.join(self.directory, os.fsencode(_file_name(manifest)))
        if os.path.lexists(final):
            return False
        temporary = os.path.join(self.directory, b".new-%d-%b" % (os.getpid(), secrets.token_hex(8).encode()))
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            with open(fd, "wb") as file:
                file.write(format_manifest(manifest))
                file.flush()
                os.fsync(fd)
            with suppress(FileExistsError):
                os.link(temporary, final)  # unlike a rename, it replaces nothing
                self._names = None
                return True
        finally:
            os.unlink(temporary)
        return False

    def find(
        self, key: tuple[str, str, str], wanted: Collection[bytes], problems: list[str], proofs: Sequence[PackageProof]
    ) -> Iterator[Manifest]:
        """Yield the manifests of a package with the ``wanted`` paths, recorded ones first; append to ``problems``."""
        for proof in proofs:
            for name in self._listed(problems).get(key, ()):
                if f"_{proof.value}_" not in name:
                    continue
                path = os.path.join(self.directory, os.fsencode(name))
                try:
                    check_private(os.lstat(path), "it")
                    manifest = parse_manifest(read_regular(path), wanted)
                    if (manifest.key, manifest.proof) == (key, proof):
                        yield manifest
                    else:
                        problems.append(f"the manifest {os.fsdecode(path)} was not used: it is of another package")
                except (OSError, UnsafeError, ManifestError) as error:
                    problems.append(f"the manifest {os.fsdecode(path)} was not used: {_text(error)}")

    def prune(self, installed: Collection[tuple[str, str, str]], before_ns: int) -> int:
        """Remove the manifests of packages that are not installed, if they were stored before a time; how many.

        A manifest that was recorded just now belongs to a package that is about to be installed. The manifest of one
        that is installed again is recorded again.
        """
        count = 0
        for key, names in self._listed([]).items():
            for name in names if key not in installed else ():
                path = os.path.join(self.directory, os.fsencode(name))
                with suppress(OSError):
                    if os.lstat(path).st_mtime_ns < before_ns:
                        os.unlink(path)
                        count += 1
        self._names = None
        return count

    def _listed(self, problems: list[str]) -> dict[tuple[str, str, str], list[str]]:
        if self._names is not None:
            return self._names
        self._names = {}
        try:
            names = sorted(os.listdir(self.directory))
            check_private(os.lstat(self.directory), "it")
        except FileNotFoundError:
            return self._names
        except (OSError, UnsafeError) as error:
            problems.append(f"the directory {os.fsdecode(self.directory)} was not used: {_text(error)}")
            return self._names
        for name in map(os.fsdecode, names):
            parts = name.removesuffix(_SUFFIX).split("_")
            if name.endswith(_SUFFIX) and len(parts) == 5:
                self._names.setdefault((parts[0], parts[1].replace("%3a", ":"), parts[2]), []).append(name)
        return self._names


def _file_name(manifest: Manifest) -> str:
    # Like the name of a .deb; none of the parts has an underscore.
    version = manifest.version.replace(":", "%3a")
    parts = (manifest.name, version, manifest.architecture, manifest.proof.value, manifest.deb_sha256[:32])
    return "_".join(parts) + _SUFFIX


def check_private(found: os.stat_result, what: str) -> None:
    """Only root, or who runs this, may be able to write to it.

    Raises:
        UnsafeError: others can.
    """
    if found.st_uid not in (0, os.geteuid()) or found.st_mode & 0o022 or stat.S_ISLNK(found.st_mode):
        raise UnsafeError(f"{what} must belong to root, and be writable by root only")


def _text(error: Exception) -> str:
    return (error.strerror or str(error)) if isinstance(error, OSError) else str(error)
