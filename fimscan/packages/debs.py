"""Find manifests of installed packages: recorded ones, then those of .deb files in apt's archive directory."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Collection, Iterable, Sequence
from contextlib import suppress

from msgspec.structs import replace

from fimscan.model import PackageProof
from fimscan.packages.deb import DebError
from fimscan.packages.manifest import Manifest
from fimscan.packages.manifests import ManifestStore, UnsafeError
from fimscan.packages.record import manifest_of

Key = tuple[str, str, str]
_PROOFS = (PackageProof.RECORDED, PackageProof.DEB)


class Proofs:
    """Manifests by (name, version, architecture) of a package.

    ``archives`` are directories with .deb files. Reading one takes as long as unpacking it, so at most ``budget`` bytes
    of .deb files are read, the smallest first. Their manifests are kept in the store, if it can be written.
    """

    def __init__(
        self,
        store: ManifestStore | None = None,
        archives: Sequence[bytes] = (),
        budget: int = 0,
        *,
        keep: bool = True,
        reports_skipped: bool = True,
    ) -> None:
        self.problems: list[str] = []
        self._reports_skipped = reports_skipped
        self._store = store
        self._archives = archives
        self._budget = budget
        self._keep = keep
        self._found: dict[Key, list[Manifest]] = {}

    def prepare(self, wanted: Iterable[tuple[Key, Collection[bytes]]]) -> None:
        """Look up the manifests of packages with the wanted paths of each; read the .deb files of those without one."""
        self._found.clear()
        missing = []
        for key, paths in wanted:
            stored = [] if self._store is None else [*self._store.find(key, paths, self.problems, _PROOFS)]
            self._found[key] = stored
            if not stored:
                missing += [(size, path, key, paths) for path, size in self._candidates(key)]
        left, skipped = self._budget, 0
        for size, path, key, paths in sorted(missing, key=lambda item: item[:2]):
            if size > left:
                skipped += 1
                continue
            left -= size
            self._take(path, key, paths)
        if skipped and self._reports_skipped:
            count = "1 .deb file was" if skipped == 1 else f"{skipped:,} .deb files were"
            self.problems.append(f"{count} not read, to save time; MD5 is the proof for their packages")

    def manifests(self, key: Key) -> list[Manifest]:
        """The manifests of a package, reduced to the paths of :meth:`prepare`, the strongest first."""
        return self._found.get(key, [])

    def _candidates(self, key: Key) -> list[tuple[bytes, int]]:
        name, version, architecture = key
        file = os.fsencode(f"{name}_{version.replace(':', '%3a')}_{architecture}.deb")
        for directory in self._archives:
            path = os.path.join(directory, file)
            with suppress(OSError):
                found = os.lstat(path)
                # Whoever can replace the file could prove anything.
                if stat.S_ISREG(found.st_mode) and _is_private(found) and _is_private(os.stat(directory)):
                    return [(path, found.st_size)]
        return []

    def _take(self, path: bytes, key: Key, wanted: Collection[bytes]) -> None:
        try:
            manifest = manifest_of(path, PackageProof.DEB, time.time_ns())
        except (OSError, DebError) as error:
            text = error.strerror or str(error) if isinstance(error, OSError) else str(error)
            self.problems.append(f"{os.fsdecode(path)} was not used: {text}")
            return
        if manifest.key != key:
            self.problems.append(f"{os.fsdecode(path)} was not used: it is of another package than its name says")
            return
        if self._keep and self._store is not None and os.path.isdir(os.path.dirname(self._store.directory)):
            with suppress(OSError, UnsafeError):
                self._store.add(manifest)
        members = tuple(member for member in manifest.members if member.path in wanted)
        self._found[key].append(replace(manifest, members=members))


def _is_private(found: os.stat_result) -> bool:
    return found.st_uid in (0, os.geteuid()) and not found.st_mode & 0o022
