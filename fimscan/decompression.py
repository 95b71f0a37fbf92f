"""Read logs compressed with gzip, bzip2, xz or zstd, recognised by their first bytes, from a file or a pipe.

A small file can decompress to a terabyte. So only a piece of limited size is decompressed at once, and a file that
becomes far larger than any log does is not read to its end: that counts as damage.

``zstd`` is in the standard library since Python 3.14. Before that, the package ``zstandard`` is used if installed. A
file that cannot be decompressed raises an error when it is read, so it is never skipped silently.
"""

from __future__ import annotations

import gzip
import importlib
import io
import os
import zlib
from collections.abc import Callable
from typing import Any, BinaryIO, Protocol, cast

from fimscan.errors import InterruptedScanError

#: The number of bytes needed to recognise a format.
LONGEST_MAGIC = 6
SUFFIXES = (b".gz", b".bz2", b".xz", b".zst", b".zstd", b".lz4", b".Z", b".zip", b".7z")
_PIECE = 16 * 1024  # compressed bytes at once
_PIECE_OF_ZSTD = 1024  # 4 of these bytes can become 128 KiB, and the package zstandard takes no limit
_MOST = 256 * 1024  # decompressed bytes at once
# Audit logs become 10 to 100 times smaller. More than this many times, after this many bytes, is no log.
_MOST_TIMES = 200
_FREE = 64 << 20


class UnpackError(EOFError):
    """A compressed file cannot be read (further); the text says why."""


class _Counted(io.RawIOBase):
    """The compressed file, which counts what was read of it since its start."""

    def __init__(self, file: BinaryIO) -> None:
        super().__init__()
        self.file = file
        self.count = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return self.file.seekable()

    def read(self, size: int = -1) -> bytes:
        data = self.file.read(size)
        self.count += len(data)
        return data

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self.count = 0
        return self.file.seek(offset, whence)

    def close(self) -> None:
        self.file.close()
        super().close()

    def check(self, given: int) -> None:
        """Raise :class:`UnpackError` if ``given`` bytes are too many for what was read."""
        if given > _FREE and given > self.count * _MOST_TIMES:
            raise UnpackError(f"it becomes more than {_MOST_TIMES} times larger when decompressed, so it is no log")


class _Gzip(gzip.GzipFile):
    """gzip, bounded as :class:`Unpacked` is."""

    def __init__(self, file: BinaryIO) -> None:
        self._counted = _Counted(file)
        super().__init__(fileobj=cast("BinaryIO", self._counted))
        self.myfileobj = cast("Any", self._counted)  # so that GzipFile closes it, too

    def read(self, size: int | None = -1) -> bytes:
        data = super().read(size)
        self._counted.check(self.tell())
        return data

    def read1(self, size: int = -1) -> bytes:
        data = super().read1(size)
        self._counted.check(self.tell())
        return data

    def readline(self, size: int | None = -1) -> bytes:
        data = super().readline(size)
        self._counted.check(self.tell())
        return data

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        if whence == os.SEEK_CUR:
            return super().seek(offset, whence)
        if whence == os.SEEK_END:
            while self.read1(1 << 16):
                pass
            return self.tell()
        if offset < self.tell() or not offset:
            super().seek(0)
        while self.tell() < offset and self.read1(min(offset - self.tell(), 1 << 16)):
            pass
        return self.tell()


class _Decompressor(Protocol):
    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int) -> bytes: ...


class _Unlimited:
    """A decompressor of the package zstandard, which takes no limit and returns all output of its input."""

    needs_input = True

    def __init__(self, made: Any) -> None:
        self._made = made

    @property
    def eof(self) -> bool:
        return bool(self._made.eof)

    @property
    def unused_data(self) -> bytes:
        return bytes(self._made.unused_data)

    def decompress(self, data: bytes, max_length: int) -> bytes:  # noqa: ARG002
        return bytes(self._made.decompress(data))


def _zstd() -> _Decompressor:
    for module in ("compression.zstd", "zstandard"):
        try:
            made: Any = importlib.import_module(module).ZstdDecompressor()
        except ImportError:
            continue
        return _Unlimited(made.decompressobj()) if hasattr(made, "decompressobj") else cast("_Decompressor", made)
    raise UnpackError("it is compressed with zstd: install the Python package zstandard, or decompress it")


def _unknown(program: str) -> Callable[[], _Decompressor]:
    def fail() -> _Decompressor:
        raise UnpackError(f"its compression is not supported: decompress it with {program}")

    return fail


def _bzip2() -> _Decompressor:
    import bz2

    return bz2.BZ2Decompressor()


def _xz() -> _Decompressor:
    import lzma

    return lzma.LZMADecompressor()


_FORMATS: tuple[tuple[bytes, Callable[[], _Decompressor], int], ...] = (
    (b"BZh", _bzip2, _PIECE),
    (b"\xfd7zXZ\0", _xz, _PIECE),
    (b"\x28\xb5\x2f\xfd", _zstd, _PIECE_OF_ZSTD),
    (b"\x04\x22\x4d\x18", _unknown("lz4"), _PIECE),
    (b"\x1f\x9d", _unknown("uncompress"), _PIECE),
    (b"PK\x03\x04", _unknown("unzip"), _PIECE),
    (b"7z\xbc\xaf", _unknown("7z"), _PIECE),
)
_GZIP_MAGIC = b"\x1f\x8b"


class Unpacked(io.RawIOBase):
    """The decompressed content of a file. Seeking back starts again at the beginning."""

    def __init__(self, file: BinaryIO, make: Callable[[], _Decompressor], piece: int) -> None:
        super().__init__()
        self._file = _Counted(file)
        self._make = make
        self._piece = piece
        self._rewind()

    def _rewind(self) -> None:
        self._decompressor: _Decompressor | None = None
        self._behind = b""  # read beyond the end of a stream, where another may begin
        self._ready, self._given = b"", 0
        self._position = 0

    def readable(self) -> bool:
        """Always true."""
        return True

    def seekable(self) -> bool:
        """Whether the compressed file is seekable."""
        return self._file.seekable()

    def read1(self, size: int) -> bytes:
        """Read up to ``size`` bytes; empty at the end.

        Raises:
            UnpackError: the file is damaged, truncated, or in an unsupported format.
        """
        if not self._fill():
            return b""
        result = self._ready[self._given : self._given + size]
        self._given += len(result)
        self._position += len(result)
        self._file.check(self._position)
        return result

    def _fill(self) -> bool:
        """Decompress until there is something to give; ``False`` at the end."""
        while self._given == len(self._ready):
            if not self._decompress():
                return False
        return True

    def readline(self, size: int | None = -1) -> bytes:
        """Read up to the end of the line, and at most ``size`` bytes; the inherited method reads single bytes.

        Raises:
            UnpackError: as :meth:`read1`.
        """
        parts: list[bytes] = []
        left = -1 if size is None else size
        while left and self._fill():
            end = self._ready.find(b"\n", self._given) + 1
            length = (end or len(self._ready)) - self._given
            part = self.read1(length if left < 0 else min(length, left))
            parts.append(part)
            left -= len(part) if left > 0 else 0
            if part.endswith(b"\n"):
                break
        return b"".join(parts)

    def _decompress(self) -> bool:
        """Decompress the next piece, which may be empty; ``False`` at the end of the file."""
        decompressor, data = self._decompressor, self._behind
        self._behind = b""
        if not data and (decompressor is None or decompressor.needs_input):
            data = self._file.read(self._piece)
            if not data:
                if decompressor is not None:
                    raise UnpackError("the compressed file is damaged: it ends too early")
                return False
        if decompressor is None:
            data = data.lstrip(b"\0")  # padding between streams
            if not data:
                return True
            decompressor = self._decompressor = self._make()
        try:
            self._ready, self._given = decompressor.decompress(data, _MOST), 0
        except (UnpackError, InterruptedScanError):
            raise
        except Exception as error:  # noqa: BLE001 -- each format has its own errors, including OSError
            raise UnpackError(f"the compressed file is damaged: {error}") from None
        if decompressor.eof:
            self._behind, self._decompressor = decompressor.unused_data, None
        return True

    def read(self, size: int = -1) -> bytes:
        """Read ``size`` bytes, fewer at the end.

        Raises:
            UnpackError: as :meth:`read1`.
        """
        parts: list[bytes] = []
        left = size
        while left and (part := self.read1(left if size >= 0 else 1 << 16)):
            parts.append(part)
            left -= len(part) if size >= 0 else 0
        return b"".join(parts)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to an offset from the start, or to the end.

        Raises:
            UnpackError: as :meth:`read1`.
        """
        if whence == os.SEEK_END:
            while self.read1(1 << 16):
                pass
            return self._position
        if offset < self._position or not offset:
            self._file.seek(0)
            self._rewind()
        while self._position < offset and self.read1(offset - self._position):
            pass
        return self._position

    def close(self) -> None:
        """Close the compressed file as well."""
        self._file.close()
        super().close()


def unpacked(file: BinaryIO, magic: bytes) -> BinaryIO:
    """Open a file at its start: unchanged, or decompressed if ``magic``, its first bytes, shows a compressed format."""
    if magic.startswith(_GZIP_MAGIC):
        return cast("BinaryIO", _Gzip(file))
    for start, make, piece in _FORMATS:
        if magic.startswith(start):
            return cast("BinaryIO", Unpacked(file, make, piece))
    return file


def without_suffix(name: bytes) -> bytes:
    """Remove the suffix of a compression format from a name."""
    return next((name.removesuffix(suffix) for suffix in SUFFIXES if name.endswith(suffix)), name)


DAMAGED_COMPRESSION = (EOFError, zlib.error, gzip.BadGzipFile)


def problem_of(error: Exception) -> str:
    """The text for one of :data:`DAMAGED_COMPRESSION`."""
    return str(error) if isinstance(error, UnpackError) else f"the compressed file is damaged: {error}"
