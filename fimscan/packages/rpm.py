"""Ask rpm for the files of all packages, in one pass: ``rpm -qa`` with a format of our own.

rpm's database has many formats (Berkeley DB, NDB, SQLite), so it is not read by its files.
"""

from __future__ import annotations

import os
import re
import stat
import subprocess
import tempfile
from collections.abc import Iterable, Iterator
from threading import Timer
from typing import NamedTuple

from fimscan.model import KIND_OF_TYPE, FileKind, PackageOwner, PackageProof, PackageReason
from fimscan.packages.accounts import Accounts
from fimscan.packages.claims import Claim, Expected, Findings, Wanted
from fimscan.packages.files import Directories, below

_PROGRAMS = (b"/usr/bin/rpm", b"/bin/rpm")
_DATABASES = (b"/usr/lib/sysimage/rpm", b"/var/lib/rpm")
_DATABASE_FILES = (b"rpmdb.sqlite", b"Packages", b"Packages.db")
_TIMEOUT_S = 120
# A line for the package, with the number of its files, then a line for each file. Only the last two can have any bytes.
_PACKAGE = "@\\t%{NAME}\\t%{EPOCHNUM}:%{VERSION}-%{RELEASE}\\t%{ARCH}\\t%{FILEDIGESTALGO}\\t%{INSTALLTIME}"
_FILE = "%{FILEDIGESTS}\\t%{FILEMODES:octal}\\t%{FILEFLAGS}\\t%{FILESTATES}\\t%{FILEUSERNAME}\\t%{FILEGROUPNAME}"
_FORMAT = f"{_PACKAGE}\\t%{{FILENAMES:arraysize}}\\n[{_FILE}\\t%{{FILELINKTOS}}\\t%{{FILENAMES}}\\n]"
# RFC 4880, 9.4. Without a number it is MD5 (rpm before 4.6).
_ALGORITHMS = {
    b"(none)": ("md5", 16),
    b"1": ("md5", 16),
    b"2": ("sha1", 20),
    b"8": ("sha256", 32),
    b"9": ("sha384", 48),
    b"10": ("sha512", 64),
    b"11": ("sha224", 28),
}
_CONFIG, _MISSING_OK, _GHOST = 1, 8, 64  # RPMFILE_*
_NORMAL = b"0"  # RPMFILE_STATE_NORMAL: in place; others are replaced, not installed, on a shared file system
_NUMBER = re.compile(rb"[0-9]{1,18}\Z")
_HEX = re.compile(rb"(?:[0-9a-f]{2})*\Z")
_OCTAL = re.compile(rb"[0-7]{1,7}\Z")


class RpmFile(NamedTuple):
    """One file as rpm's database has it; ``None`` is not known. ``is_in_place`` is false for a replaced file."""

    path: bytes
    kind: FileKind
    mode: int
    digest: bytes | None
    link_target: bytes
    is_config: bool
    is_ghost: bool
    may_be_missing: bool
    is_in_place: bool
    user: bytes
    group: bytes


class RpmPackage(NamedTuple):
    """One package with those of its files that are wanted; ``files`` is ``None`` if its lines are damaged."""

    name: str
    version: str
    architecture: str
    algorithm: str
    installed_s: int | None
    files: tuple[RpmFile, ...] | None


def parse_rpm(lines: Iterable[bytes], names: frozenset[bytes]) -> Iterator[RpmPackage | None]:
    """Parse the output of rpm with our format; of files, only those whose last component is one of ``names``.

    ``None`` stands for lines that belong to no package: then rpm's output was not what it should be. A name of a file
    can have a newline, so the number of lines is checked.
    """
    head: list[bytes] | None = None
    body: list[bytes] = []
    for line in lines:
        if line.startswith(b"@\t"):
            if head is not None:
                yield _package(head, body, names)
            head, body = line.removesuffix(b"\n").split(b"\t"), []
        elif head is None:
            yield None
        else:
            body.append(line)
    if head is not None:
        yield _package(head, body, names)


def _package(head: list[bytes], body: list[bytes], names: frozenset[bytes]) -> RpmPackage | None:
    if len(head) != 7 or head[4] not in _ALGORITHMS:
        return None
    name, version, architecture = (part.decode("utf-8", "backslashreplace") for part in head[1:4])
    algorithm, size = _ALGORITHMS[head[4]]
    return RpmPackage(
        name=name,
        version=version.removeprefix("0:"),
        architecture=architecture,
        algorithm=algorithm,
        installed_s=int(head[5]) if _NUMBER.match(head[5]) else None,
        files=_files(body, head[6], size, names),
    )


def _files(body: list[bytes], count: bytes, size: int, names: frozenset[bytes]) -> tuple[RpmFile, ...] | None:
    # Without files, rpm gives the number (none), and some versions one line of (none).
    if not _NUMBER.match(count) and all(line.endswith(b"(none)\n") for line in body):
        return ()
    if count != b"%d" % len(body):
        return None
    found: list[RpmFile] = []
    for line in body:
        if line.rpartition(b"/")[2].removesuffix(b"\n") in names or not line.endswith(b"\n"):
            file = _file(line, size)
            if file is None:
                return None
            found.append(file)
    return tuple(found)


def _file(line: bytes, size: int) -> RpmFile | None:
    fields = line.removesuffix(b"\n").split(b"\t")
    if len(fields) != 8 or not line.endswith(b"\n"):
        return None
    digest, mode, flags, state, user, group, target, path = fields
    if not (_HEX.match(digest) and _OCTAL.match(mode) and _NUMBER.match(flags) and path.startswith(b"/")):
        return None
    number = int(mode, 8) & 0o177777
    kind = KIND_OF_TYPE.get(stat.S_IFMT(number))
    if kind is None or len(digest) not in (0, 2 * size):
        return None
    # Directories and links have a digest of zeros in some packages.
    known = kind is FileKind.FILE and digest.strip(b"0") != b""
    return RpmFile(
        path=path,
        kind=kind,
        mode=number & 0o7777,
        digest=bytes.fromhex(digest.decode("ascii")) if known else None,
        link_target=target,
        is_config=bool(int(flags) & _CONFIG),
        is_ghost=bool(int(flags) & _GHOST),
        may_be_missing=bool(int(flags) & (_GHOST | _MISSING_OK)),
        is_in_place=state == _NORMAL,
        user=user,
        group=group,
    )


def rpm_database(directories: Directories) -> bytes | None:
    """The directory of rpm's database; ``None`` if there is none."""
    for path in _DATABASES:
        found = below(directories.root, directories.canonical(path + b"/x").rpartition(b"/")[0])
        if any(os.path.lexists(found + b"/" + name) for name in _DATABASE_FILES):
            return found
    return None


def read_rpm(wanted: Wanted, directories: Directories, database: bytes) -> Findings:
    """Look up canonical paths in rpm's database."""
    program = next((path for path in _PROGRAMS if os.access(path, os.X_OK)), None)
    if program is None:
        return _failed("there is a database of rpm, but no program rpm to read it")
    command = [program, b"--dbpath", database, b"-qa", b"--queryformat", _FORMAT.encode()]
    environment = {"LC_ALL": "C", "PATH": "/usr/bin:/bin", "HOME": "/"}
    reader = _Reader(wanted, directories)
    try:
        # A file, because a pipe that nobody reads would stop rpm when it is full.
        with (
            tempfile.TemporaryFile() as errors,
            subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors, env=environment
            ) as process,
        ):
            assert process.stdout is not None, "it was asked for"
            timer = Timer(_TIMEOUT_S, process.kill)
            timer.start()
            try:
                reader.read(process.stdout)
                code = process.wait()
            finally:
                timer.cancel()
                process.kill()
            errors.seek(0)
            complaint = errors.readline(4096).decode("utf-8", "backslashreplace").strip()
    except OSError as error:
        return _failed(f"{os.fsdecode(program)} cannot be run: {error.strerror}")
    if code or complaint:
        # It may have listed some packages only.
        return _failed(f"rpm cannot read its database: {complaint or f'exit code {code}'}")
    return reader.findings()


def _failed(problem: str) -> Findings:
    return Findings(problems=(problem,), is_complete=False, reason=PackageReason.DATABASE_DAMAGED)


class _Reader:
    def __init__(self, wanted: Wanted, directories: Directories) -> None:
        self._wanted, self._directories = wanted, directories
        self._accounts = Accounts(directories)
        self._names = frozenset(path.rpartition(b"/")[2] for path in wanted.paths | wanted.parents)
        self._claims: dict[bytes, list[Claim]] = {}
        self._owners: dict[bytes, list[str]] = {}
        self._damaged: list[str] = []

    def read(self, lines: Iterable[bytes]) -> None:
        for package in parse_rpm(lines, self._names):
            if package is None or package.files is None:
                self._damaged.append("unknown" if package is None else package.name)
                continue
            for file in package.files:
                real = self._directories.trusted(file.path)
                if real is not None and real in self._wanted.paths:
                    self._claims.setdefault(real, []).append(self._claim(package, file, real))
                if real in self._wanted.parents:
                    self._owners.setdefault(real, []).append(package.name)

    def findings(self) -> Findings:
        names = ", ".join(dict.fromkeys(self._damaged[:8]))
        return Findings(
            claims=self._claims,
            directories={path: tuple(dict.fromkeys(names)) for path, names in self._owners.items()},
            problems=(f"rpm's list of files cannot be understood: {ascii(names)[1:-1]}",) if self._damaged else (),
            is_complete=not self._damaged,
        )

    def _claim(self, package: RpmPackage, file: RpmFile, real: bytes) -> Claim:
        owner = PackageOwner(
            manager="rpm",
            name=package.name,
            version=package.version,
            architecture=package.architecture,
            conffile=file.is_config,
            unpacked_ns=None if package.installed_s is None else package.installed_s * 10**9,
            listed_as=None if real == file.path else file.path,
        )
        if not file.is_in_place:
            return Claim(owner=owner, reason=PackageReason.NOT_INSTALLED)
        if file.is_ghost or (file.kind is FileKind.FILE and file.digest is None):
            return Claim(owner=owner, reason=PackageReason.NO_DIGEST, may_be_missing=file.may_be_missing)
        is_link = file.kind is FileKind.SYMLINK
        expected = Expected(
            proof=PackageProof.RPM,
            kind=file.kind,
            algorithm=package.algorithm if file.digest is not None else None,
            digest=file.digest,
            link_target=file.link_target if is_link else None,
            mode=None if is_link else file.mode,
            uid=self._accounts.uid(file.user),
            gid=self._accounts.gid(file.group),
        )
        return Claim(owner=owner, expected=(expected,), may_be_missing=file.may_be_missing)
