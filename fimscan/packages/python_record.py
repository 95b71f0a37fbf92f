"""Files that pip installed, by the RECORD of each distribution (packaging.python.org, "Recording installed projects").

pip writes RECORD where it installs. It proves something only where root alone can write: a user could write any digest.
"""

from __future__ import annotations

import base64
import binascii
import csv
import os
import posixpath
import re
from collections.abc import Collection, Iterator
from contextlib import suppress

from fimscan.model import FileKind, PackageOwner, PackageProof, PackageReason
from fimscan.packages.claims import Claim, Expected
from fimscan.packages.files import Directories, below, read_regular
from fimscan.paths import upwards

_ALGORITHMS = {"sha256": 32, "sha384": 48, "sha512": 64}
_LIBRARIES = (b"site-packages", b"dist-packages")
_DIST_INFO = re.compile(rb"([^/]+)-([^/-]+)\.dist-info\Z")
_PYTHON = re.compile(rb"python3(?:\.[0-9]+)?\Z")
_MOST_DISTRIBUTIONS = 5000
_MOST_LISTED = 4096  # directories in which distributions are looked for
_MOST_BYTES = 64 * 1024 * 1024


class RecordDamagedError(Exception):
    """The text is not what pip writes."""


def parse_record(text: bytes, library: bytes, wanted: Collection[bytes]) -> dict[bytes, tuple[str, bytes] | None]:
    """The digests (algorithm, value) of the wanted paths; ``None`` where RECORD names a file without one.

    ``library`` is the directory that paths are relative to.

    Raises:
        RecordDamagedError: a line is not a path, a digest and a size, or a path has two digests.
    """
    found: dict[bytes, tuple[str, bytes] | None] = {}
    try:
        for row in csv.reader(text.decode("utf-8", "surrogateescape").splitlines(), strict=True):
            if not row:
                continue
            if len(row) != 3 or not row[0] or "\0" in row[0]:
                raise RecordDamagedError("a line is not a path, a digest and a size")
            path = _normal(posixpath.join(library, _moved(row[0].encode("utf-8", "surrogateescape"), library)))
            if path not in wanted:
                continue
            digest = _digest(row[1])
            if found.setdefault(path, digest) != digest:
                raise RecordDamagedError("a path has two digests")
    except (csv.Error, UnicodeEncodeError) as error:
        raise RecordDamagedError(str(error)) from None
    return found


def _moved(path: bytes, library: bytes) -> bytes:
    """Where ``pip install --target`` has a script: it installs elsewhere, and leaves RECORD as it was there."""
    is_target = posixpath.basename(library) not in _LIBRARIES
    return path.removeprefix(b"../../") if is_target and path.startswith(b"../../bin/") else path


def _normal(path: bytes) -> bytes:
    return b"/" + posixpath.normpath(path).lstrip(b"/")


def _digest(text: str) -> tuple[str, bytes] | None:
    if not text:
        return None
    algorithm, _, value = text.partition("=")
    try:
        digest = base64.b64decode(value.encode("ascii") + b"=" * (-len(value) % 4), b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise RecordDamagedError("a digest is not valid") from None
    if _ALGORITHMS.get(algorithm) != len(digest):
        raise RecordDamagedError("a digest is not valid")
    return algorithm, digest


class PythonRecords:
    """Claims of installed Python distributions. Each directory of libraries is read once."""

    def __init__(self, directories: Directories, wanted: Collection[bytes]) -> None:
        self.problems: list[str] = []
        self._directories = directories
        self._wanted = wanted
        self._known: dict[bytes, dict[bytes, Claim]] = {}
        self._listed: dict[bytes, bool] = {}
        self._around: dict[bytes, tuple[bytes, ...]] = {}  # the libraries that concern a directory

    def claim(self, path: bytes, directory: bytes) -> Claim | None:
        """The claim on a canonical path in this directory; ``None`` if no distribution has it."""
        libraries = self._around.get(directory)
        if libraries is None:
            libraries = self._around[directory] = tuple(self._libraries(directory))
        for library in libraries:
            if library not in self._known:
                self._known[library] = self._read(library)
            if (found := self._known[library].get(path)) is not None:
                return found
        return None

    def _libraries(self, directory: bytes) -> Iterator[bytes]:
        """The directories of libraries whose distributions are asked about a file: around it, or beside its ``bin``.

        No others: a RECORD can name any file of the system. A library is called as Python calls it, or has
        distributions (``pip install --target``).
        """
        parts = directory.split(b"/")
        for number, part in enumerate(parts):
            if part in _LIBRARIES:
                yield b"/".join(parts[: number + 1])
                return
        yield from filter(self._has_distributions, upwards(directory))
        if len(parts) > 1 and parts[-1] == b"bin":
            prefix = b"/".join(parts[:-1])
            with suppress(OSError):
                for name in sorted(os.listdir(below(self._directories.root, prefix + b"/lib"))):
                    if _PYTHON.match(name):
                        yield from (prefix + b"/lib/" + name + b"/" + library for library in _LIBRARIES)

    def _has_distributions(self, directory: bytes) -> bool:
        found = self._listed.get(directory)
        if found is None:
            found = False
            if len(self._listed) < _MOST_LISTED and directory != b"/":
                with suppress(OSError):
                    names = os.listdir(below(self._directories.root, directory))
                    found = any(name.endswith(b".dist-info") for name in names)
            self._listed[directory] = found
        return found

    def _read(self, library: bytes) -> dict[bytes, Claim]:
        found: dict[bytes, Claim] = {}
        try:
            names = sorted(os.listdir(below(self._directories.root, library)))
        except OSError:
            return found
        matches = [match for name in names if (match := _DIST_INFO.match(name))]
        for match in matches[:_MOST_DISTRIBUTIONS]:
            record = library + b"/" + match[0] + b"/RECORD"
            try:
                digests = parse_record(
                    read_regular(below(self._directories.root, record), most=_MOST_BYTES), library, self._wanted
                )
            except FileNotFoundError:
                continue
            except (OSError, RecordDamagedError) as error:
                text = error.strerror or str(error) if isinstance(error, OSError) else str(error)
                self.problems.append(f"{os.fsdecode(record)}: {text}")
                continue
            is_safe = bool(digests) and self._directories.is_safe(record)
            for path, digest in digests.items():
                owner = PackageOwner(manager="python", name=_text(match[1]), version=_text(match[2]))
                found.setdefault(path, _claim(owner, digest, is_safe=is_safe))
        return found


def _claim(owner: PackageOwner, digest: tuple[str, bytes] | None, *, is_safe: bool) -> Claim:
    if not is_safe:
        return Claim(owner=owner, reason=PackageReason.UNTRUSTED_DATABASE)
    if digest is None:
        return Claim(owner=owner, reason=PackageReason.NO_DIGEST)
    expected = Expected(proof=PackageProof.PYTHON, kind=FileKind.FILE, algorithm=digest[0], digest=digest[1])
    return Claim(owner=owner, expected=(expected,))


def _text(name: bytes) -> str:
    return name.decode("utf-8", "backslashreplace")
