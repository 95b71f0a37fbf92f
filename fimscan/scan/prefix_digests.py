"""Digest the beginnings of a rotated log, also of its content before compression."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from typing import BinaryIO, TypeAlias

from fimscan.decompression import DAMAGED_COMPRESSION, LONGEST_MAGIC, unpacked
from fimscan.model import Digest
from fimscan.scan.attributes import Changed
from fimscan.scan.digest import ALGORITHMS
from fimscan.scan.reader import open_found

Prefixes: TypeAlias = Mapping[int, tuple[Digest, ...]]
"""Length -> digests of the first bytes; lengths beyond the content are missing."""

RawPrefixes: TypeAlias = dict[int, tuple[bytes, ...]]
"""The same with digest values only, as sent between processes."""

_CHUNK_BYTES = 256 * 1024


def read_prefixes(
    directory: int,
    name: bytes,
    identity: tuple[int, int],
    lengths: Sequence[int],
    algorithms: Sequence[str],
    on_piece: Callable[[], None] = lambda: None,
) -> list[RawPrefixes]:
    """Digest the beginnings of these lengths: of the file as it is, and of what it decompresses to.

    Reads the regular file of this name in an open directory, if it has this identity; else the result is empty. No more
    than the longest length is read: a small file can decompress to a terabyte. ``on_piece`` is called for every piece.

    Raises:
        OSError: as ``read(2)``.
    """
    try:
        fd, there = open_found(directory, name, os.stat(name, dir_fd=directory, follow_symlinks=False))
    except (Changed, FileNotFoundError):
        return []
    with open(fd, "rb") as file:
        if (there.st_dev, there.st_ino) != identity:
            return []
        magic = file.read(LONGEST_MAGIC)
        found = [dict(_prefixes(_rewound(file), lengths, algorithms, on_piece))]
        content = unpacked(_rewound(file), magic)
        if content is not file:
            with closing(content):
                found.append(dict(_prefixes(content, lengths, algorithms, on_piece)))
    return found


def with_names(raw: RawPrefixes, algorithms: Sequence[str]) -> Prefixes:
    """Add the names of the algorithms."""
    return {
        length: tuple(Digest(algorithm=a, value=v) for a, v in zip(algorithms, values, strict=True))
        for length, values in raw.items()
    }


def _rewound(file: BinaryIO) -> BinaryIO:
    file.seek(0, os.SEEK_SET)
    return file


def _prefixes(
    stream: BinaryIO, lengths: Sequence[int], algorithms: Sequence[str], on_piece: Callable[[], None]
) -> Iterator[tuple[int, tuple[bytes, ...]]]:
    hashes = [ALGORITHMS[name](memoryview(b"")) for name in algorithms]
    total = 0
    for length in sorted(set(lengths)):
        while total < length:
            try:
                data = stream.read(min(length - total, _CHUNK_BYTES))
            except (OSError, *DAMAGED_COMPRESSION):
                return  # damaged or cut off: earlier lengths are valid
            if not data:
                return
            on_piece()
            for one in hashes:
                one.update(memoryview(data))
            total += len(data)
        yield length, tuple(one.digest() for one in hashes)
