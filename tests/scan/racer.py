"""A process that swaps files and directories of a tree as fast as it can, until its standard input closes.

``python racer.py TREE SPARE COUNTER SEED``: SPARE is outside the watched tree and holds what is swapped in, such as
symlinks that lead out, FIFOs and devices. A round is an exchange by renameat2(2), so that the name always exists, or a
rename of a directory that a walk may be in. COUNTER is a file with the number of rounds.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import random
import select
import struct
import sys

_AT_FDCWD, _RENAME_EXCHANGE = -100, 2
_libc = ctypes.CDLL(None, use_errno=True)


def exchange(one: bytes, other: bytes) -> None:
    """Exchange two names atomically."""
    if _libc.renameat2(_AT_FDCWD, one, _AT_FDCWD, other, _RENAME_EXCHANGE):
        raise OSError(ctypes.get_errno(), "renameat2")


def main(tree: bytes, spare: bytes, counter: bytes, seed: int) -> None:
    """Swap until standard input closes."""
    random.seed(seed)
    # A fixed list of its own names only, so that other attackers cannot lure this one out of the tree.
    pairs = [
        (os.path.join(tree, name), os.path.join(spare, name))
        for name in sorted(os.listdir(spare))
        if name.startswith(b"%d-" % seed)
    ]
    moved = os.path.join(tree, b"%d-moved" % seed)
    aside = os.path.join(spare, b"%d-moved" % seed)
    with open(counter, "r+b") as file:
        rounds = mmap.mmap(file.fileno(), 8)
    stop = select.poll()
    stop.register(0, select.POLLIN)
    done = 0
    while not stop.poll(0):
        for one, other in random.sample(pairs, len(pairs)):
            # An odd number, so that each name has its own file half of the time. Swaps that lead out are most frequent.
            for _ in range(9 if b"-fifo-" not in one and b"-zero-" not in one else 1):
                exchange(one, other)
                done += 1
        os.rename(moved, aside)
        os.rename(aside, moved)
        done += 2
        struct.pack_into("Q", rounds, 0, done)


if __name__ == "__main__":
    tree_path, spare_path, counter_path = map(os.fsencode, sys.argv[1:4])
    main(tree_path, spare_path, counter_path, int(sys.argv[4]))
