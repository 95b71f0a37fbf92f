"""The program of the canary's process: it makes a file, and removes it when its standard input is closed.

It ignores the signals that are for a whole group of processes, as Ctrl-C is: it ends when the selftest closes the pipe,
or dies. The content comes through the pipe, because others can read its command line.
"""

from __future__ import annotations

import os
import signal
import sys


def main(path: bytes) -> None:
    """Make the file with the content that is on standard input, say so, and wait."""
    content = sys.stdin.buffer.readline()
    made = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    mine = os.fstat(made)
    try:
        os.write(made, content)
        os.close(made)
        os.write(1, b"made\n")
        sys.stdin.buffer.read()
    finally:
        found = os.lstat(path)
        if (found.st_dev, found.st_ino) == (mine.st_dev, mine.st_ino):
            os.unlink(path)


if __name__ == "__main__":
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    try:
        main(os.fsencode(sys.argv[1]))
    except OSError as error:
        os.write(1, os.fsencode(error.strerror or "failed") + b"\n")
