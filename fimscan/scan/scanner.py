"""Watches -> states: the walks merged into one order, the reading shared out, the results in that order again."""

from __future__ import annotations

import os
import resource
import time
from collections import deque
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field

from fimscan.errors import ConfigError, InputError
from fimscan.linux.filesystems import Numbers
from fimscan.model import FileState, Unreadable
from fimscan.scan.batches import Feed, Verified, WalkBatch
from fimscan.scan.block import Block, Voucher, answer_of
from fimscan.scan.dir_stack import Descriptors
from fimscan.scan.hang_guard import HangGuard
from fimscan.scan.limits import Limits
from fimscan.scan.pool import QUEUE_LENGTH, Hangs, Pool
from fimscan.scan.reader import Reader
from fimscan.scan.throttle import Throttle
from fimscan.scan.walk import Found, HiddenNames, Walk, merged
from fimscan.scan.watch import WatchSpec
from fimscan.scan.worker import MAX_REQUEST_DIRECTORIES, read_tasks
from fimscan.state_row import unpack

# Starting workers costs about as much as reading this long: a small scan is over before they are up.
_ALONE_SECONDS = 0.1
_ALONE_NAMES = 8  # at a time, so that a few huge files do not keep the workers from being started
_BATCH_NAMES = 256
# How far the others may get ahead of a worker that reads one enormous file: this bounds the memory.
_WINDOW_BATCHES = 32
# For the pool, and whatever the rest of the program has open; but no more than half of what there is.
_RESERVED_DESCRIPTORS = 128
_PROGRESS_SECONDS = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a scan has come: results so far (of every kind), bytes of content read, seconds since it began."""

    files: int
    bytes: int
    elapsed_s: float


def nothing_verified(_path: bytes) -> None:
    """No log is known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PriorStates:
    """What was known before, where that decides how a file is read. Both are asked in the order of the walk.

    ``verified`` tells how much of a log (a file in an ``append_only`` watch) was verified before, ``None`` for a new
    one; the state that is found has the digests of so much as ``prefix``. ``vouchers``, in chunks, are of the files
    that are not to be read again if nothing was done to them, where their watch allows that. ``numbers`` are the device
    numbers to be recorded; vouchers have those of ``stat(2)``.
    """

    verified: Verified = nothing_verified
    vouchers: Iterable[Sequence[Voucher]] = ()
    numbers: Numbers = field(default_factory=Numbers)


def scan(
    watches: Sequence[WatchSpec],
    *,
    workers: int = 0,
    cross_mounts: bool = False,
    skip: Collection[bytes] = (),
    verified: Verified | None = None,
    limits: Limits | None = None,
    on_progress: Callable[[Progress], None] | None = None,
) -> Generator[FileState | Unreadable]:
    """As :func:`scan_blocks`, one by one, as values of the vocabulary."""
    known = PriorStates(verified=verified or nothing_verified)
    blocks = scan_blocks(
        watches,
        workers=workers,
        cross_mounts=cross_mounts,
        skip=skip,
        known=known,
        limits=limits,
        on_progress=on_progress,
    )

    def results() -> Generator[FileState | Unreadable]:
        with closing(blocks):
            for block in blocks:
                for entry in block.entries():
                    yield entry if isinstance(entry, Unreadable) else unpack(entry)

    return results()


def scan_blocks(
    watches: Sequence[WatchSpec],
    *,
    workers: int = 0,
    cross_mounts: bool = False,
    skip: Collection[bytes] = (),
    known: PriorStates | None = None,
    limits: Limits | None = None,
    on_progress: Callable[[Progress], None] | None = None,
) -> Generator[Block]:
    """Read everything that is watched, in strictly increasing byte order of the full paths, each path once.

    Where watches nest, the innermost speaks for its subtree, even where an outer one excludes it. Symlinks are
    recorded, a root that is one included, and never followed. Directories on which another file system is mounted are
    recorded; they are entered only with ``cross_mounts``. A btrfs subvolume is entered: it is no mount. Of a directory
    that can't be listed there is just one :class:`Unreadable`: what was known to lie below it is neither seen nor gone.

    Memory does not grow with the number of files, except for the names of the directories that are open. Closing the
    generator ends the workers at once. While it runs, the process's soft limit of open files is the hard one.

    Args:
        watches: what to read; their paths differ.
        workers: processes that read; 1 reads in this process, 0 means one for each core. None are started for a scan
            that is over in a moment.
        cross_mounts: enter other file systems.
        skip: full paths neither to be read nor reported (our own files). Holds for every name of their directories,
            through bind mounts and symlinks too.
        known: what is known already of some of the files.
        manners: how it treats the host, and how long it waits for it.
        on_progress: told about ten times a second, and once at the end.

    Raises:
        ConfigError: at once, when the same path is watched twice.
        InputError: while it is iterated, when /proc is not mounted or a worker was killed.
    """
    paths = [watch.path for watch in watches]
    if twice := {path for path in paths if paths.count(path) > 1}:
        raise ConfigError(f"watch {os.fsdecode(min(twice))!r} is listed twice")
    count = workers or len(os.sched_getaffinity(0))
    settings = _Settings(skip=skip, cross_mounts=cross_mounts, known=known or PriorStates())
    return _scan(watches, ScanExecutor(count, limits or Limits()), settings, _Meter(on_progress))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Settings:
    skip: Collection[bytes]
    cross_mounts: bool
    known: PriorStates


def _scan(watches: Sequence[WatchSpec], executor: ScanExecutor, settings: _Settings, meter: _Meter) -> Generator[Block]:
    if not os.path.isdir("/proc/self/fd"):
        raise InputError("/proc is not mounted: attributes of symlinks and devices cannot be read without it")
    with all_descriptors(executor.workers) as limit, ExitStack() as stack:
        stack.enter_context(executor.limits.observed())
        stack.enter_context(closing(executor))
        walks = [
            Walk(
                watch,
                others=[other.path for other in watches],
                hidden=hidden_names(settings.skip),
                cross_mounts=settings.cross_mounts,
                descriptors=limit,
                hang_guard=executor.hang_guard,
            )
            for watch in watches
        ]
        found = stack.enter_context(closing(_in_order(walks)))
        feed = Feed(found, settings.known.verified, settings.known.vouchers, limit.per_batch)
        for batch in answered(feed, executor):
            block = batch.block()
            if not settings.known.numbers.is_trivial:
                block.renumber(settings.known.numbers)
            meter.count(block)
            yield block
            meter.report()
    meter.report(final=True)


@contextmanager
def all_descriptors(workers: int) -> Iterator[Descriptors]:
    """Lift the soft limit of open files to the hard one for a while, and share it out."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    try:
        free = hard - min(_RESERVED_DESCRIPTORS, hard // 2)
        # Batches keep their directories until they are answered.
        batches = workers * QUEUE_LENGTH + 1
        per_batch = max(min(free // 2 // batches, MAX_REQUEST_DIRECTORIES), 1)
        yield Descriptors(max(free - batches * per_batch, 4), per_batch)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def hidden_names(paths: Collection[bytes]) -> HiddenNames:
    """Full paths -> the names to pass over, by the identity of their directories."""
    hidden: dict[tuple[int, int], frozenset[bytes]] = {}
    for path in {*paths, *map(os.path.realpath, paths)}:
        directory, name = os.path.split(path)
        try:
            found = os.stat(directory)
        except OSError:  # no such directory, so no walk will find the file in it
            continue
        identity = (found.st_dev, found.st_ino)
        hidden[identity] = hidden.get(identity, frozenset()) | {name}
    return hidden


def _in_order(walks: Sequence[Walk]) -> Generator[Found]:
    """One order out of many. Only roots that begin with one another can interleave ("/etc", "/etc-x", "/etc/ssh")."""
    groups: list[list[Walk]] = []
    for walk in sorted(walks, key=lambda walk: walk.root):
        if groups and walk.root.startswith(groups[-1][0].root):
            groups[-1].append(walk)
        else:
            groups.append([walk])
    for group in groups:
        with ExitStack() as stack:
            streams = [stack.enter_context(closing(walk.found())) for walk in group]
            yield from merged(streams)


class ScanExecutor:
    """What reads: this process, and others that are started when they are needed. ``close`` it, always."""

    def __init__(self, workers: int, limits: Limits) -> None:
        self.workers = workers
        self.limits = limits
        self._hangs = Hangs()
        self._pool: Pool | None = None
        self.reader = Reader(Throttle(limits), drop_cache=limits.drop_cache)
        self.hang_guard = HangGuard(limits, self._hangs)

    @property
    def pool(self) -> Pool:
        """The workers."""
        if self._pool is None:
            self._pool = Pool(self.workers, self.limits, self._hangs)
        return self._pool

    def close(self) -> None:
        """End all of them."""
        self.hang_guard.close()
        if self._pool is not None:
            self._pool.close()


def answered(feed: Feed, executor: ScanExecutor) -> Iterator[WalkBatch]:
    """Batches in order, answered: by this process first, and by workers if there is more to it, or it may hang."""
    begin = time.monotonic()
    while batch := WalkBatch(feed, _ALONE_NAMES):
        if batch.may_hang:
            yield from _shared_out(feed, executor.pool, batch)
            return
        try:
            batch.answer = read_tasks(executor.reader, batch.tasks)
        finally:
            batch.release()
        yield batch
        if executor.workers > 1 and time.monotonic() - begin > _ALONE_SECONDS:
            yield from _shared_out(feed, executor.pool)


def _shared_out(feed: Feed, pool: Pool, first: WalkBatch | None = None) -> Iterator[WalkBatch]:
    window: deque[WalkBatch] = deque()
    if first is not None:
        window.append(first)
        pool.submit(first)
    exhausted = False
    while True:
        while not exhausted and len(window) < _WINDOW_BATCHES and pool.has_room:
            if batch := WalkBatch(feed, _BATCH_NAMES):
                window.append(batch)
                if batch.tasks:
                    pool.submit(batch)
                else:
                    batch.answer = answer_of(time.time_ns(), [], [])
            else:
                exhausted = True
        if not window:
            return
        pool.collect(wait=window[0].answer is None)
        if window[0].answer is not None:
            yield window.popleft()


class _Meter:
    """Counts, and tells whoever wants to know."""

    def __init__(self, listener: Callable[[Progress], None] | None) -> None:
        self._listener = listener
        self._begin = self._told = time.monotonic()
        self._files = self._bytes = 0

    def count(self, block: Block) -> None:
        self._files += len(block.paths)
        self._bytes += block.bytes

    def report(self, *, final: bool = False) -> None:
        now = time.monotonic()
        if self._listener is not None and (final or now - self._told >= _PROGRESS_SECONDS):
            self._told = now
            self._listener(Progress(files=self._files, bytes=self._bytes, elapsed_s=now - self._begin))
