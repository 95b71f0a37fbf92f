"""A child process that reads files for a scan: ``main(channel, heartbeat, holes, limits, known contents)``.

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
from fimscan.scan.block import Answer, answer_of, marshalled
from fimscan.scan.dirfd import Entries, lstat, open_below, open_path, step, visit
from fimscan.scan.fast_path import read_ordinary
from fimscan.scan.holes import HoleBudget
from fimscan.scan.keeping import Keeper, Keeping, KeepRule, Kept, known_from_file
from fimscan.scan.limits import Limits
from fimscan.scan.prefix_digests import read_prefixes
from fimscan.scan.reader import Reader
from fimscan.scan.state import DIGESTS, Raw, taken_of, to_packed
from fimscan.scan.throttle import Heartbeat, Throttle

MAX_REQUEST_BYTES = 128 * 1024
MAX_REQUEST_DIRECTORIES = 32  # the kernel passes at most 253 descriptors in one packet (SCM_MAX_FD, unix(7))
LENGTH_BYTES = 4
KEPT = "kept"
"""What a message with contents begins with, instead of an answer."""
_PARENT_DIED = signal.SIGUSR1
_BEAT_ENTRIES = 1000
_KEPT_AT_ONCE = 16  # files
_WITHOUT_REFERENCES = 2  # version of marshal's format; later versions look up each object among those already written


class Task(NamedTuple):
    """Names in one directory, with what is known of them.

    Attributes:
        fd: descriptor of the directory.
        prefix: its path with a final slash.
        names: in increasing order.
        lengths: for logs, how many bytes of each were verified before.
        known: the :data:`fimscan.scan.state.STAT` that each file must still have to be skipped; ``None`` to read it.
        keep: of which files the content is kept.
    """

    fd: int
    prefix: bytes
    algorithms: tuple[str, ...]
    names: list[bytes]
    lengths: list[int] | None
    known: list[Sequence[Any] | None] | None
    keep: KeepRule | None = None


def read_tasks(reader: Reader, tasks: Iterable[Task]) -> Answer:
    """Read all files of a request, in order."""
    begun_ns = time.time_ns()
    done: list[tuple[Task, list[Raw]]] = []
    number = 0
    for task in tasks:
        if task.keep is None or reader.keeper is None:
            done.append((task, _read_task(reader, number, task)))
        else:
            done.append((task, _read_and_keep(reader, reader.keeper, number, task)))
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
    fd, _, algorithms, names, lengths, known, _ = task
    raws: list[Raw | None] = [None] * len(names)
    if reader.is_unlimited and algorithms and lengths is None:
        raws = read_ordinary(reader, first, fd, names, algorithms, known)
    return [_read_one(reader, first + at, task, at) if raw is None else raw for at, raw in enumerate(raws)]


def _read_and_keep(reader: Reader, keeper: Keeper, first: int, task: Task) -> list[Raw]:
    """As :func:`_read_task`, and keep contents. Few files at a time: their contents are in memory until then."""
    plain, reader.digester = reader.digester, keeper.digester
    try:
        raws: list[Raw] = []
        for begin in range(0, len(task.names), _KEPT_AT_ONCE):
            raws += _read_few_and_keep(reader, keeper, first, task, slice(begin, begin + _KEPT_AT_ONCE))
    finally:
        reader.digester = plain
    keeper.flush()
    return raws


def _read_few_and_keep(reader: Reader, keeper: Keeper, first: int, task: Task, part: slice) -> list[Raw]:
    rule, algorithms, names, known = task.keep, task.algorithms, task.names[part], task.known
    assert rule is not None, "there is something to keep"
    paths = [task.prefix + name for name in names]
    keeper.begin(paths, rule)
    contents: list[bytes | None] = []
    found: list[Raw | None] = [None] * len(names)
    if reader.is_unlimited:
        found = read_ordinary(
            reader,
            first + part.start,
            task.fd,
            names,
            algorithms,
            known[part] if known else None,
            lambda: contents.append(keeper.digester.take()),
        )
    raws = []
    for at, (path, raw) in enumerate(zip(paths, found, strict=True)):
        content = contents[at] if contents else None
        if raw is None:
            raw = _read_one(reader, first + part.start + at, task, part.start + at)  # noqa: PLW2901
            content = keeper.digester.take()
        raws.append(raw)
        if len(raw) > 2 and raw[DIGESTS]:
            keeper.offer(path, rule, content, raw[DIGESTS][algorithms.index("sha256")])
    return raws


def _read_one(reader: Reader, number: int, task: Task, at: int) -> Raw:
    if (refused := reader.begin(number)) is not None:
        return refused
    fd, _, algorithms, names, lengths, known, _ = task
    if known and (stat := known[at]) is not None:
        found = reader.lstat(fd, names[at])
        if found is not None and reader.is_still(found, taken_of(algorithms), stat):
            return ()
    return reader.read(fd, names[at], algorithms, lengths[at] if lengths else None)


def request_of(tasks: list[Task], refused: Mapping[int, Raw]) -> bytes:
    """Encode a request. Descriptors are sent beside it; ``refused`` are answers known already."""
    plain = [(*task[1:-1], None if task.keep is None else tuple(task.keep)) for task in tasks]
    return marshal.dumps(("read", dict(refused), plain), _WITHOUT_REFERENCES)


def _task_of(fd: int, values: Sequence[Any]) -> Task:
    task = Task(fd, *values)
    return task if task.keep is None else task._replace(keep=KeepRule(*task.keep))


def main(channel_fd: str, heartbeat_fd: str, holes_fd: str, limits: str, known_fd: str) -> None:
    """Serve requests until the parent closes the socket or dies."""
    _exit_when_the_parent_dies()
    gc.disable()  # there are no cycles among a million tuples
    heartbeat = Heartbeat(int(heartbeat_fd))
    settings = Limits.from_json(limits)
    settings.lower_priorities()
    throttle = Throttle(settings, heartbeat)
    keeping = Keeping(known_from_file(int(known_fd)), _send_kept) if known_fd else None
    holes = HoleBudget(settings.max_holes, int(holes_fd) if holes_fd else None)
    reader = Reader(throttle, drop_cache=settings.drop_cache, keeping=keeping, holes=holes)
    heartbeat.beat()
    with socket.socket(fileno=int(channel_fd)) as channel:
        while True:
            message, fds, _, _ = socket.recv_fds(channel, MAX_REQUEST_BYTES, MAX_REQUEST_DIRECTORIES)
            if not message:
                return
            match marshal.loads(message):  # noqa: S302 - written by our own parent, a moment ago
                case ("read", refused, tasks):
                    throttle.begin_request(refused)
                    answer: Any = marshalled(read_tasks(reader, list(map(_task_of, fds, tasks))))
                case question:
                    answer = _answer_question(channel, question, fds, heartbeat)
            for fd in fds:
                os.close(fd)
            _send(answer)


def _send_kept(contents: list[Kept]) -> None:
    """Contents go before the answer, in pieces, so that neither side has to hold all of them."""
    _send((KEPT, contents))


def _send(message: Any) -> None:
    data = marshal.dumps(message)
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
    # When the parent dies, even by kill -9, its end of our standard input closes, and the kernel sends the signal that
    # is set here. Its default ends this process. PR_SET_PDEATHSIG would act when the *thread* that started us ends.
    lifeline = sys.stdin.fileno()
    signal.signal(_PARENT_DIED, signal.SIG_DFL)
    # SIGIO, the usual one (fcntl(2)), is what a broken lease sends (fimscan.scan.writers).
    signal.signal(signal.SIGIO, signal.SIG_IGN)
    fcntl.fcntl(lifeline, fcntl.F_SETSIG, _PARENT_DIED)
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
