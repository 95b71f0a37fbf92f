"""Read a Debian package (deb(5)): an ar archive with control.tar and data.tar, each compressed as it likes."""

from __future__ import annotations

import hashlib
import io
import os
import re
import subprocess
import tarfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import BinaryIO, NamedTuple, TypeVar, cast

from fimscan.decompression import DAMAGED_COMPRESSION, LONGEST_MAGIC, UnpackError, problem_of, unpacked
from fimscan.model import FileKind, PackageProof
from fimscan.packages.manifest import Manifest, ManifestError, Member

_MAGIC = b"!<arch>\n"
_HEADER = 60
_PIECE = 256 * 1024
_MOST_CONTROL = 16 * 1024 * 1024
_MOST_MEMBERS = 1_000_000
_MOST_NAMES = 1 << 28  # bytes of all names
_KINDS = {
    tarfile.REGTYPE: FileKind.FILE,
    tarfile.AREGTYPE: FileKind.FILE,
    tarfile.CONTTYPE: FileKind.FILE,
    tarfile.GNUTYPE_SPARSE: FileKind.FILE,
    tarfile.LNKTYPE: FileKind.FILE,
    tarfile.DIRTYPE: FileKind.DIRECTORY,
    tarfile.SYMTYPE: FileKind.SYMLINK,
    tarfile.FIFOTYPE: FileKind.FIFO,
    tarfile.CHRTYPE: FileKind.CHAR_DEVICE,
    tarfile.BLKTYPE: FileKind.BLOCK_DEVICE,
}

T = TypeVar("T")


class DebError(Exception):
    """The file is no Debian package, is damaged, or has a compression that cannot be read here."""


class _Part(NamedTuple):
    name: bytes
    offset: int
    size: int


def read_deb(file: BinaryIO, *, path: bytes, proof: PackageProof, now_ns: int) -> Manifest:
    """Take the manifest of a .deb, a seekable file. ``path`` is its name for ``dpkg-deb``, where that must help.

    Raises:
        DebError: as above.
        OSError: it cannot be read.
    """
    try:
        parts = _parts(file)
        control = _read(file, _one(parts, b"control.tar"), path, _control)
        return Manifest(
            name=control["Package"],
            version=control["Version"],
            architecture=control["Architecture"],
            deb_sha256=_sha256(file),
            proof=proof,
            taken_ns=now_ns,
            members=_read(file, _one(parts, b"data.tar"), path, _members),
        )
    except KeyError as error:
        raise DebError(f"its control file has no field {error.args[0]}") from None
    except ManifestError as error:
        raise DebError(str(error)) from None
    except (*DAMAGED_COMPRESSION, zlib.error) as error:
        raise DebError(problem_of(error)) from None
    except (tarfile.TarError, ValueError, OverflowError) as error:
        raise DebError(f"a tar archive in it is damaged: {error}") from None


def _parts(file: BinaryIO) -> list[_Part]:
    """The members of the ar archive."""
    end = file.seek(0, io.SEEK_END)
    file.seek(0)
    if file.read(len(_MAGIC)) != _MAGIC:
        raise DebError("it is not a Debian package")
    found: list[_Part] = []
    offset = len(_MAGIC)
    while offset < end:
        file.seek(offset)
        header = file.read(_HEADER)
        size = header[48:58].strip()
        if len(header) != _HEADER or header[58:] != b"`\n" or not re.fullmatch(rb"\d{1,10}", size):
            raise DebError("it is damaged: the header of a member is not valid")
        offset += _HEADER
        part = _Part(header[:16].rstrip().removesuffix(b"/"), offset, int(size))
        offset += part.size
        if offset > end:
            raise DebError("it is truncated")
        found.append(part)
        offset += part.size % 2
    if not found or found[0].name != b"debian-binary":
        raise DebError("it is not a Debian package")
    return found


class _Slice(io.RawIOBase):
    """A part of a seekable file, as a file."""

    def __init__(self, file: BinaryIO, part: _Part) -> None:
        super().__init__()
        self._file, self._offset, self._left = file, part.offset, part.size

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        wanted = self._left if size < 0 else min(size, self._left)
        self._file.seek(self._offset)
        data = self._file.read(wanted)
        self._offset += len(data)
        self._left -= len(data)
        return data


def _one(parts: list[_Part], prefix: bytes) -> _Part:
    found = [part for part in parts if part.name == prefix or part.name.startswith(prefix + b".")]
    if len(found) != 1:
        raise DebError(f"it has {len(found)} members {prefix.decode()}, not one")
    return found[0]


def _tar_stream(file: BinaryIO, part: _Part) -> BinaryIO:
    file.seek(part.offset)
    magic = file.read(LONGEST_MAGIC)
    if part.name.endswith(b".lzma"):
        raise DebError("its compression (lzma) is not supported")
    return unpacked(cast("BinaryIO", _Slice(file, part)), magic)


@contextmanager
def _tar(stream: BinaryIO) -> Iterator[tarfile.TarFile]:
    with tarfile.open(fileobj=stream, mode="r|", encoding="utf-8", errors="surrogateescape") as tar:
        yield tar


def _read(file: BinaryIO, part: _Part, path: bytes, parse: Callable[[BinaryIO], T]) -> T:
    """Parse one of the tar archives."""
    try:
        return parse(_tar_stream(file, part))
    except UnpackError as error:
        # Before Python 3.14, zstd needs a package that may not be installed. dpkg has it built in.
        if not part.name.endswith(b".zst") or "zstandard" not in str(error):
            raise
    option = b"--ctrl-tarfile" if part.name.startswith(b"control") else b"--fsys-tarfile"
    try:
        with subprocess.Popen(
            [b"/usr/bin/dpkg-deb", option, os.path.abspath(path)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        ) as process:
            assert process.stdout is not None, "it was asked for"
            try:
                found = parse(cast("BinaryIO", process.stdout))
                while process.stdout.read(_PIECE):
                    pass
            except BaseException:
                process.kill()
                raise
            code = process.wait()
    except OSError as error:
        raise DebError(f"it is compressed with zstd: install the Python package zstandard ({error.strerror})") from None
    if code:
        raise DebError("dpkg-deb cannot unpack it")
    return found


def _control(stream: BinaryIO) -> Mapping[str, str]:
    with _tar(stream) as tar:
        for member in tar:
            if member.name.removeprefix("./") == "control" and member.isreg() and member.size <= _MOST_CONTROL:
                text = tar.extractfile(member)
                assert text is not None, "a regular file has content"
                return dict(re.findall(r"^([!-9;-~]+):[ \t]*(.*?)[ \t]*$", text.read().decode("latin-1"), re.MULTILINE))
    raise DebError("it has no control file")


def _members(stream: BinaryIO) -> tuple[Member, ...]:
    found: dict[bytes, Member] = {}
    names = 0
    with _tar(stream) as tar:
        for info in tar:
            member = _member(info, tar.extractfile, found)
            names += len(member.path) + len(member.link_target or b"")
            if len(found) >= _MOST_MEMBERS or names > _MOST_NAMES:
                raise DebError("it has too many files")
            if member.path in found and member.kind is not FileKind.DIRECTORY:
                raise DebError("a file is in it twice")
            found[member.path] = member
            tar.members.clear()  # type: ignore[attr-defined]  # tarfile keeps all otherwise
    return tuple(found.values())


def _member(
    info: tarfile.TarInfo, content: Callable[[tarfile.TarInfo], object], known: Mapping[bytes, Member]
) -> Member:
    if info.type not in _KINDS:
        raise DebError(f"a file in it has an unknown type {info.type!r}")
    kind = _KINDS[info.type]
    sha256 = md5 = None
    size, target = 0, None
    if info.islnk():
        first = known.get(_path_of(info.linkname))
        if first is None or first.kind is not FileKind.FILE:
            raise DebError("a hard link in it leads to no file")
        sha256, md5, size = first.sha256, first.md5, first.size
    elif kind is FileKind.FILE:
        sha256, md5 = _digests(content(info), info.size)
        size = info.size
    elif kind is FileKind.SYMLINK:
        target = _encoded(info.linkname)
    return Member(
        path=_path_of(info.name),
        kind=kind,
        mode=info.mode & 0o7777,
        uid=info.uid,
        gid=info.gid,
        user=_encoded(info.uname),
        group=_encoded(info.gname),
        size=size,
        sha256=sha256,
        md5=md5,
        link_target=target,
    )


def _digests(content: object, size: int) -> tuple[bytes, bytes]:
    source = cast("BinaryIO", content)
    sha256, md5 = hashlib.sha256(), hashlib.md5(usedforsecurity=False)
    count = 0
    while piece := source.read(_PIECE):
        sha256.update(piece)
        md5.update(piece)
        count += len(piece)
    if count != size:
        raise DebError("a tar archive in it is truncated")
    return sha256.digest(), md5.digest()


def _path_of(name: str) -> bytes:
    """The absolute path of a member: ``./usr/bin/x`` is ``/usr/bin/x``."""
    parts = [part for part in _encoded(name).split(b"/") if part not in (b"", b".")]
    if b".." in parts:
        raise DebError("a path in it leads out of it")
    return b"/" + b"/".join(parts)


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _sha256(file: BinaryIO) -> str:
    file.seek(0)
    digest = hashlib.sha256()
    while piece := file.read(_PIECE):
        digest.update(piece)
    return digest.hexdigest()
