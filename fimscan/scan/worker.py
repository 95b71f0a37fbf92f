"""A child process that reads files for a scan: ``main(socket descriptor, heartbeat descriptor, limits)``.

Requests are packets on a Unix socket. Each comes with the descriptors of its directories, so a worker never resolves a
path, and nothing between the root and the file can be swapped. Answers go to standard output, each after its length.
Standard input carries no data: only the parent holds its other end, and when that closes, this process ends.
"""

from __future__ import annotations

import errno
import fcntl
import gc
import marshal
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from fimscan.scan.attributes import Changed
from fimscan.scan.block import Answer, answer_of
from fimscan.scan.dirfd import Entries, lstat, open_below, open_path, step, visit
from fimscan.scan.fast_path import read_ordinary
from fimscan.scan.limits import Limits
from fimscan.scan.prefix_digests import read_prefixes
from fimscan.scan.reader import Reader
from fimscan.scan.state import Raw, taken_of, to_packed
from fimscan.scan.throttle import Heartbeat, Throttle

MAX_REQUEST_BYTES = 128 * 1024
MAX_REQUEST_DIRECTORIES = 32  # the kernel passes at most 253 descriptors in one packet (SCM_MAX_FD, unix(7))
LENGTH_BYTES = 4
_BEAT_ENTRIES = 1000
_WITHOUT_REFERENCES = 2  # version of marshal's format; later versions look up each object among those already written


class Task(NamedTuple):
    """Names in one directory, with what is known of them.

    Attributes:
        fd: descriptor of the directory.
        prefix: its path with a final slash.
        names: in increasing order.
        lengths: for logs, how many bytes of each were verified before.
        known: the :data:`fimscan.scan.state.STAT` that each file must still have to be skipped; ``None`` to read it.
    """

    fd: int
    prefix: bytes
    algorithms: tuple[str, ...]
    names: list[bytes]
    lengths: list[int] | None
    known: list[Sequence[Any] | None] | None


def read_tasks(reader: Reader, tasks: Iterable[Task]) -> Answer:
    """Read all files of a request, in order."""
    begun_ns = time.time_ns()
    done: list[tuple[Task, list[Raw]]] = []
    number = 0
    for task in tasks:
        done.append((task, _read_task(reader, number, task)))
        number += len(task.names)
    # After all reading, for speed: see fimscan.scan.fast_path.
    results = [
        to_packed(task.prefix + name, raw, task.algorithms) if len(raw) > 2 else raw
        for task, raws in done
        for name, raw in zip(task.names, raws, strict=True)
    ]
    return answer_of(begun_ns, results, reader.writers.take())


def _read_task(reader: Reader, first: int, task: Task) -> list[Raw]:
    """``first`` is the number of the task's first name in the request."""
    fd, _, algorithms, names, lengths, known = task
    raws: list[Raw | None] = [None] * len(names)
    if reader.is_unlimited and algorithms and lengths is None:
        raws = read_ordinary(reader, first, fd, names, algorithms, known)
    return [_read_one(reader, first + at, task, at) if raw is None else raw for at, raw in enumerate(raws)]


def _read_one(reader: Reader, number: int, task: Task, at: int) -> Raw:
    if (refused := reader.begin(number)) is not None:
        return refused
    fd, _, algorithms, names, lengths, known = task
    if known and (stat := known[at]) is not None:
        found = reader.lstat(fd, names[at])
        if found is not None and reader.is_still(found, taken_of(algorithms), stat):
            return ()
    return reader.read(fd, names[at], algorithms, lengths[at] if lengths else None)


def request_of(tasks: list[Task], refused: Mapping[int, Raw]) -> bytes:
    """Encode a request. Descriptors are sent beside it; ``refused`` are answers known already."""
    return marshal.dumps(("read", dict(refused), [task[1:] for task in tasks]), _WITHOUT_REFERENCES)


def main(channel_fd: str, heartbeat_fd: str, limits: str) -> None:
    """Serve requests until the parent closes the socket or dies."""
    _exit_when_the_parent_dies()
    gc.disable()  # there are no cycles among a million tuples
    heartbeat = Heartbeat(int(heartbeat_fd))
    settings = Limits.from_json(limits)
    settings.lower_priorities()
    throttle = Throttle(settings, heartbeat)
    reader = Reader(throttle, drop_cache=settings.drop_cache)
    heartbeat.beat()
    with socket.socket(fileno=int(channel_fd)) as channel:
        while True:
            message, fds, _, _ = socket.recv_fds(channel, MAX_REQUEST_BYTES, MAX_REQUEST_DIRECTORIES)
            if not message:
                return
            match marshal.loads(message):  # noqa: S302 - written by our own parent, a moment ago
                case ("read", refused, tasks):
                    throttle.begin_request(refused)
                    answer: Any = read_tasks(reader, [Task(fd, *task) for fd, task in zip(fds, tasks, strict=True)])
                case question:
                    answer = _answer_question(channel, question, fds, heartbeat)
            for fd in fds:
                os.close(fd)
            data = marshal.dumps(answer)
            _write(len(data).to_bytes(LENGTH_BYTES, "little") + data)


def _answer_question(
    channel: socket.socket, question: tuple[Any, ...], fds: list[int], heartbeat: Heartbeat
) -> tuple[int, Any, bool]:
    """Answer a question about one directory: (errno, answer, whether a descriptor follows on the channel)."""
    heartbeat.beat()
    fd: int | None = None
    try:
        answer, fd = _look_up(question, fds, heartbeat)
        if fd is not None:
            socket.send_fds(channel, [b"\0"], [fd])
    except Changed:
        return errno.EAGAIN, None, False
    except OSError as error:
        return error.errno or errno.EIO, None, False
    finally:
        if fd is not None:
            os.close(fd)
    return 0, answer, fd is not None


def _look_up(question: tuple[Any, ...], fds: list[int], heartbeat: Heartbeat) -> tuple[Any, int | None]:
    """(answer, descriptor to send with it)."""
    answer: Any = None
    fd: int | None = None
    match question:
        case ("visit", name, device):
            seen = visit(fds[0], name, device)
            if seen is not None:
                fd = seen.fd
                answer = (seen.raw, _listed(seen.entries, heartbeat))
        case ("open_below", root, names, cross):
            if (there := open_below(root, names, cross=cross)) is not None:
                fd, answer = there
        case ("open_path", path):
            fd, answer = open_path(path)
        case ("step", name):
            fd, answer = step(fds[0], name)
        case ("lstat", name):
            answer = lstat(fds[0], name).__reduce__()[1]
        case ("prefixes", name, identity, lengths, algorithms):
            answer = read_prefixes(fds[0], name, identity, lengths, algorithms, heartbeat.beat)
    return answer, fd


def _listed(entries: Entries, heartbeat: Heartbeat) -> list[tuple[bytes, bool]]:
    listed = []
    for number, entry in enumerate(entries):
        listed.append(entry)
        if number % _BEAT_ENTRIES == 0:
            heartbeat.beat()
    return listed


def _exit_when_the_parent_dies() -> None:
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    # When the parent dies, even by kill -9, its end of our standard input closes, and the kernel sends SIGIO. Its
    # default ends this process (fcntl(2)). PR_SET_PDEATHSIG would act when the *thread* that started us ends.
    lifeline = sys.stdin.fileno()
    signal.signal(signal.SIGIO, signal.SIG_DFL)
    fcntl.fcntl(lifeline, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(lifeline, fcntl.F_SETFL, fcntl.fcntl(lifeline, fcntl.F_GETFL) | os.O_ASYNC)
    poll = select.poll()
    poll.register(lifeline, select.POLLIN)
    if poll.poll(0):  # closed before the signal was requested
        sys.exit()


def _write(data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(sys.stdout.fileno(), view) :]
