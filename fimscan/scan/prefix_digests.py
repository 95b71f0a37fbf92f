"""What a rotated log holds: digests of the beginnings of its content, also of what it was before it was compressed."""

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
"""Length -> the digests of so many bytes; a length that the content does not have is missing."""

RawPrefixes: TypeAlias = dict[int, tuple[bytes, ...]]
"""The same with the values of the digests alone, as it travels between processes."""

_CHUNK_BYTES = 256 * 1024


def read_prefixes(
    directory: int,
    name: bytes,
    identity: tuple[int, int],
    lengths: Sequence[int],
    algorithms: Sequence[str],
    on_piece: Callable[[], None] = lambda: None,
) -> list[RawPrefixes]:
    """The prefixes of these lengths: of a file as it is and, where it is compressed, of what was compressed.

    It is the regular file of this name in an open directory, if it is the one of this identity; else there are none.
    Nothing is read beyond the longest, however much more there is: a small file can be unpacked to a terabyte.
    ``on_piece`` is told of every piece that was read.

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
    """As values of the vocabulary."""
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
                return  # damaged, or cut off: what came before that was there
            if not data:
                return
            on_piece()
            for one in hashes:
                one.update(memoryview(data))
            total += len(data)
        yield length, tuple(one.digest() for one in hashes)
