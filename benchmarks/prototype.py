"""The least that Python can do: two digests (xxh3_128 and SHA-256) in one read per file, without checks or a database.

    python benchmarks/prototype.py DIRECTORY

It runs one process per core. Beyond it, fimscan orders the paths, reads attributes and extended attributes, detects
races, compares, and stores the result.
"""

from __future__ import annotations

import argparse
import hashlib
import marshal
import os
import stat

import xxhash

_CHUNK = 200
Found = tuple[str, int, bytes, bytes]


def names(directory: str) -> list[str]:
    return [f"{place}/{name}" for place, _, files in os.walk(directory) for name in files]


def read(path: str, buffer: memoryview) -> Found | None:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return None
    try:
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode):
            return None
        fast, strong = xxhash.xxh3_128(), hashlib.sha256()
        while count := os.readv(fd, [buffer]):
            fast.update(buffer[:count])
            strong.update(buffer[:count])
            if count < len(buffer):
                break
    finally:
        os.close(fd)
    return path, found.st_size, fast.digest(), strong.digest()


def work(paths: list[str], batch: int, shares: int, to: int) -> None:
    buffer = memoryview(bytearray(256 * 1024))
    with os.fdopen(to, "wb") as pipe:
        for start in range(batch * _CHUNK, len(paths), shares * _CHUNK):
            marshal.dump([read(path, buffer) for path in paths[start : start + _CHUNK]], pipe)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory")
    paths = names(parser.parse_args().directory)
    shares = len(os.sched_getaffinity(0))
    pipes = []
    for batch in range(shares):
        from_worker, to_parent = os.pipe()
        if os.fork() == 0:
            work(paths, batch, shares, to_parent)
            os._exit(0)
        os.close(to_parent)
        pipes.append(os.fdopen(from_worker, "rb"))
    done = 0
    for start in range(0, len(paths), _CHUNK):
        chunk: list[Found | None] = marshal.load(pipes[start // _CHUNK % shares])
        done += sum(one is not None for one in chunk)
    for _ in pipes:
        os.wait()
    print(f"{done} files")


if __name__ == "__main__":
    main()
