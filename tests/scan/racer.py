"""A process that swaps files and directories of a tree, as fast as it can, until its standard input closes.

``python racer.py TREE SPARE COUNTER SEED``: SPARE lies outside of what is watched and holds what is swapped in, such as
symlinks that lead out, FIFOs and devices. Each round is one exchange by renameat2(2), which leaves no moment in which
the name is gone, or one rename of a directory that a walk may stand in. COUNTER is a file that holds their number.
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
    """Swap what two names mean, in one step."""
    if _libc.renameat2(_AT_FDCWD, one, _AT_FDCWD, other, _RENAME_EXCHANGE):
        raise OSError(ctypes.get_errno(), "renameat2")


def main(tree: bytes, spare: bytes, counter: bytes, seed: int) -> None:
    """Swap until told to stop."""
    random.seed(seed)
    # Its own names only, by a list that holds still: it must not be lured out by the other attackers itself.
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
            # An odd number, so that each is itself half of the time; the most of those that lead out.
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
