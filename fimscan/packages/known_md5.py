"""Remember the MD5 of contents whose SHA-256 is recorded.

dpkg's database has MD5 only, scans record SHA-256. So a file has to be read again to be compared. It is read once, both
digests are taken in the same read, and the pair is kept: it is true of the content, whatever becomes of the file.

The file has a line of text and then records of 52 bytes: SHA-256, MD5, and the CRC-32 of both. It is appended to, and
readable and writable by root only. A record that was cut off or damaged is not used.
"""

from __future__ import annotations

import fcntl
import os
import zlib
from collections.abc import Iterable, Mapping
from contextlib import suppress

from fimscan.packages.files import read_regular
from fimscan.packages.manifests import UnsafeError, check_private
from fimscan.trust import make_private_directories

_NAME = b"known-md5"
_MAGIC = b"fimscan MD5 of SHA-256 1\n"
_SHA256, _MD5, _CRC = 32, 16, 4
_RECORD = _SHA256 + _MD5 + _CRC
_MOST = 400_000  # records, 20 MB; then the newer half is kept


class KnownMd5:
    """The pairs in a directory; none if it cannot be read, or if others than root can write to it."""

    def __init__(self, directory: bytes | None) -> None:
        self._directory = directory
        self._known: dict[bytes, bytes] | None = None
        self._new: dict[bytes, bytes] = {}

    def of(self, sha256: bytes) -> bytes | None:
        """The MD5 of the content with this SHA-256, if it is known."""
        if self._known is None:
            self._known = dict(_parse(self._read()))
        return self._known.get(sha256)

    def learn(self, sha256: bytes, md5: bytes) -> None:
        """Remember a pair that was taken in one read."""
        self._new[sha256] = md5
        if self._known is not None:
            self._known[sha256] = md5

    def save(self) -> None:
        """Write the new pairs, if that is possible: they are no more than a saving of time."""
        if self._directory is None or not self._new:
            return
        with suppress(OSError, UnsafeError):
            make_private_directories(self._directory)
            check_private(os.lstat(self._directory), "its directory")
            flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
            with open(os.open(self._path, flags, 0o600), "r+b", buffering=0) as file:
                check_private(os.fstat(file.fileno()), "it")
                fcntl.flock(file, fcntl.LOCK_EX)
                _append(file.fileno(), self._new)
        self._new = {}

    @property
    def _path(self) -> bytes:
        return os.path.join(self._directory or b"", _NAME)

    def _read(self) -> bytes:
        if self._directory is None:
            return b""
        with suppress(OSError, UnsafeError):
            check_private(os.lstat(self._directory), "its directory")
            check_private(os.lstat(self._path), "it")
            return read_regular(self._path)
        return b""


def _append(fd: int, pairs: Mapping[bytes, bytes]) -> None:
    size = os.fstat(fd).st_size
    records = b"".join(_record(*pair) for pair in pairs.items())
    if size < len(_MAGIC) or os.pread(fd, len(_MAGIC), 0) != _MAGIC:
        os.ftruncate(fd, 0)
        os.write(fd, _MAGIC + records)
        return
    whole = (size - len(_MAGIC)) // _RECORD
    if whole + len(pairs) > _MOST:
        kept = os.pread(fd, _MOST // 2 * _RECORD, len(_MAGIC) + max(0, whole - _MOST // 2) * _RECORD)
        os.ftruncate(fd, 0)
        os.write(fd, _MAGIC + kept[: len(kept) // _RECORD * _RECORD] + records)
        return
    os.ftruncate(fd, len(_MAGIC) + whole * _RECORD)  # a record that was cut off would shift all that follow
    os.write(fd, records)


def _record(sha256: bytes, md5: bytes) -> bytes:
    pair = sha256 + md5
    return pair + zlib.crc32(pair).to_bytes(_CRC, "big")


def _parse(text: bytes) -> Iterable[tuple[bytes, bytes]]:
    if not text.startswith(_MAGIC):
        return
    for at in range(len(_MAGIC), len(text) - _RECORD + 1, _RECORD):
        pair, crc = text[at : at + _SHA256 + _MD5], text[at + _SHA256 + _MD5 : at + _RECORD]
        if zlib.crc32(pair).to_bytes(_CRC, "big") == crc:
            yield pair[:_SHA256], pair[_SHA256:]
