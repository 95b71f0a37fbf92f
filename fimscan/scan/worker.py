"""A child process that reads files for a scan: ``main(socket descriptor)``.

Requests come as packets on a Unix socket, each with the descriptors of the directories that it speaks of, so a worker
never resolves a path and nothing between the root and the file can be swapped under it. Answers go to standard output,
each preceded by its length. Standard input carries nothing: its other end belongs to the parent alone, and its closing
ends this process.
"""

from __future__ import annotations

import fcntl
import gc
import marshal
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Iterable, Sequence
from itertools import repeat
from typing import Any, TypeAlias

from fimscan.packed import Packed
from fimscan.scan.block import Answer, answer_of
from fimscan.scan.state import Raw, Reader, to_packed

MAX_REQUEST_BYTES = 128 * 1024
MAX_REQUEST_DIRECTORIES = 64  # the kernel passes at most 253 descriptors in one packet (SCM_MAX_FD, unix(7))
LENGTH_BYTES = 4

Task: TypeAlias = tuple[int, bytes, tuple[str, ...], list[bytes], list[int] | None, dict[bytes, Sequence[Any]]]
"""(directory descriptor, its path with a slash behind, algorithms, names in that directory, of logs: how much of each
was verified before; of names that need not be read if nothing has been done to them: what is known of them)."""


def read_tasks(reader: Reader, tasks: Iterable[Task]) -> Answer:
    """What all the names of a request are, in order."""
    begun_ns = time.time_ns()
    results: list[Packed | Raw] = []
    for fd, prefix, algorithms, names, lengths, known in tasks:
        for name, verified in zip(names, lengths or repeat(None), strict=False):
            if name in known and reader.is_still(fd, name, known[name]):
                results.append(())
                continue
            raw = reader.read(fd, name, algorithms, verified)
            results.append(to_packed(prefix + name, raw, algorithms) if len(raw) > 2 else raw)
    return answer_of(begun_ns, results)


def send_request(channel: socket.socket, tasks: list[Task]) -> None:
    """Hand tasks to a worker. Raises ``OSError`` when it is gone."""
    message = marshal.dumps([task[1:] for task in tasks])
    socket.send_fds(channel, [message], [task[0] for task in tasks])


def main(channel_fd: int) -> None:
    """Serve requests until the parent closes the socket, or dies."""
    _live_and_die_with_the_parent()
    gc.disable()  # there are no cycles to be found among a million tuples
    reader = Reader()
    with socket.socket(fileno=channel_fd) as channel:
        while True:
            message, fds, _, _ = socket.recv_fds(channel, MAX_REQUEST_BYTES, MAX_REQUEST_DIRECTORIES)
            if not message:
                return
            request = marshal.loads(message)  # noqa: S302 - written by our own parent, a moment ago
            tasks = [(fd, *task) for fd, task in zip(fds, request, strict=True)]
            answer = marshal.dumps(read_tasks(reader, tasks))
            for fd in fds:
                os.close(fd)
            _write(len(answer).to_bytes(LENGTH_BYTES, "little") + answer)


def _live_and_die_with_the_parent() -> None:
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    # When the parent dies, by kill -9 too, its end of our standard input closes, and the kernel sends SIGIO, whose
    # default is to end the process (fcntl(2)). PR_SET_PDEATHSIG would do so when the *thread* that started us ends.
    lifeline = sys.stdin.fileno()
    signal.signal(signal.SIGIO, signal.SIG_DFL)
    fcntl.fcntl(lifeline, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(lifeline, fcntl.F_SETFL, fcntl.fcntl(lifeline, fcntl.F_GETFL) | os.O_ASYNC)
    poll = select.poll()
    poll.register(lifeline, select.POLLIN)
    if poll.poll(0):  # it had closed before the signal was asked for
        sys.exit()


def _write(data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(sys.stdout.fileno(), view) :]
