"""What is compressed is read as it was, from any place, without unpacking more at once than is asked for."""

from __future__ import annotations

import bz2
import gzip
import importlib
import io
import lzma
import os
import tracemalloc
from collections.abc import Callable

import pytest

from fimscan.decompression import DAMAGED_COMPRESSION, LONGEST_MAGIC, UnpackError, unpacked


def _zstd(data: bytes) -> bytes:
    return bytes(importlib.import_module("zstandard").ZstdCompressor().compress(data))


PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "bzip2": bz2.compress,
    "xz": lzma.compress,
    "zstd": _zstd,
}
DATA = os.urandom(70_000) + b"line\n" * 200_000


@pytest.fixture(params=PACKERS)
def pack(request: pytest.FixtureRequest) -> Callable[[bytes], bytes]:
    if request.param == "zstd":
        pytest.importorskip("zstandard")
    return PACKERS[request.param]


def opened(packed: bytes) -> io.BufferedIOBase:
    return unpacked(io.BytesIO(packed), packed[:LONGEST_MAGIC])  # type: ignore[return-value]


def test_content_comes_back(pack: Callable[[bytes], bytes]) -> None:
    """Whole, in pieces, from a place in the middle, and from the start again."""
    packed = pack(DATA)
    assert opened(packed).read() == DATA
    file = opened(packed)
    assert b"".join(iter(lambda: file.read(9999), b"")) == DATA
    assert file.seek(100_000) == 100_000
    assert file.read(10) == DATA[100_000:100_010]
    assert file.seek(0) == 0 and file.read(10) == DATA[:10]


def test_streams_behind_each_other_are_one(pack: Callable[[bytes], bytes]) -> None:
    """As "cat a.gz b.gz" makes them, also with padding between them."""
    assert opened(pack(DATA) + pack(b"more")).read() == DATA + b"more"
    assert opened(pack(DATA) + bytes(512) + pack(b"more") + bytes(9)).read() == DATA + b"more"


def test_what_is_cut_or_damaged_is_an_error(pack: Callable[[bytes], bytes]) -> None:
    """Never a shorter content."""
    packed = pack(DATA)
    for damaged in (packed[: len(packed) // 2], packed[:-1], packed + b"no more"):
        with pytest.raises((OSError, *DAMAGED_COMPRESSION)):
            opened(damaged).read()


def test_a_small_file_that_unpacks_to_much_takes_little_memory(pack: Callable[[bytes], bytes]) -> None:
    """Its first bytes can be read without the others."""
    packed = pack(bytes(300 << 20))
    tracemalloc.start()
    file = opened(packed)
    assert file.read(1000) == bytes(1000)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 40 << 20


def test_what_is_not_compressed_is_the_file_itself() -> None:
    """And what cannot be unpacked says with which program it could be."""
    plain = io.BytesIO(b"type=EOE")
    assert unpacked(plain, b"type=E") is plain
    with pytest.raises(UnpackError, match="lz4"):
        opened(b"\x04\x22\x4d\x18" + b"x" * 20).read(1)


def test_a_bomb_is_not_read_to_its_end(pack: Callable[[bytes], bytes]) -> None:
    """What becomes far larger than any log does counts as damaged; a log that is merely repetitive does not."""
    size = 72 << 20
    packed = pack(bytes(size))
    assert len(packed) * 200 < size
    for whole in (True, False):
        file = opened(packed)
        with pytest.raises(UnpackError, match="times larger"):
            if whole:
                file.seek(0, os.SEEK_END)
            while file.readline(1 << 20):
                pass
    assert len(opened(pack(bytes(1 << 20))).read()) == 1 << 20
