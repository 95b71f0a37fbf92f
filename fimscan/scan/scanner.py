"""Scan all watches: merge the walks, distribute the reading, return blocks in path order."""

from __future__ import annotations

import os
import resource
import time
from collections import deque
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager

from msgspec import Struct, field

from fimscan.errors import ConfigError, InputError
from fimscan.linux.filesystems import Numbers
from fimscan.model import FileState, Unreadable
from fimscan.scan.batches import Feed, Verified, WalkBatch
from fimscan.scan.block import Block, Voucher, answer_of
from fimscan.scan.dir_stack import Descriptors
from fimscan.scan.hang_guard import HangGuard
from fimscan.scan.holes import BUDGET_BYTES, HoleBudget
from fimscan.scan.keeping import Keeping
from fimscan.scan.limits import Limits
from fimscan.scan.pool import QUEUE_LENGTH, Hangs, Pool
from fimscan.scan.reader import Reader
from fimscan.scan.throttle import Throttle
from fimscan.scan.walk import Found, HiddenNames, Walk, merge_streams
from fimscan.scan.watch import WatchSpec
from fimscan.scan.worker import MAX_REQUEST_DIRECTORIES, read_tasks
from fimscan.state_row import unpack

# Starting workers takes about this long. A small scan finishes first, without them.
_ALONE_SECONDS = 0.1
_ALONE_NAMES = 8  # names in a batch then; few, so that huge files do not delay the start of the workers
_BATCH_NAMES = 256
# How many batches may be in progress behind a worker that reads a huge file. It bounds the memory.
_WINDOW_BATCHES = 32
# File descriptors kept for the pool and the rest of the program; at most half of the limit.
_RESERVED_DESCRIPTORS = 128
_PROGRESS_SECONDS = 0.1


class Progress(Struct, frozen=True, kw_only=True):
    """Progress of a scan: results so far (of every kind), bytes of content read, seconds since the start."""

    files: int
    bytes: int
    elapsed_s: float


def nothing_verified(_path: bytes) -> None:
    """Treat every log as new."""


class PriorStates(Struct, frozen=True, kw_only=True):
    """What earlier scans recorded, as far as it decides how a file is read. Both sources are read in path order.

    ``verified`` returns how many bytes of a log (a file in an ``append_only`` watch) were verified before, ``None``
    for a new log. The state then has the digests of that prefix as ``prefix``. ``vouchers`` come in chunks: files that
    are not read again while their ctime is unchanged, where their watch allows it. ``numbers`` are the device numbers
    to record; vouchers have those of ``stat(2)``. ``keeping`` says which contents are known, and takes the others;
    ``None`` keeps none.
    """

    verified: Verified = nothing_verified
    vouchers: Iterable[Sequence[Voucher]] = ()
    numbers: Numbers = field(default_factory=Numbers)
    keeping: Keeping | None = None


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
    """Scan like :func:`scan_blocks`, but yield one :class:`FileState` or :class:`Unreadable` at a time."""
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
    """Read all watched files in strictly increasing byte order of their full paths, each path once.

    Where watches nest, the innermost one covers its subtree, even if an outer one excludes it. Symlinks are recorded
    and never followed; that includes a root that is a symlink. Mount points are recorded; they are entered only with
    ``cross_mounts``. A btrfs subvolume is no mount, so it is entered. A directory that cannot be listed yields a single
    :class:`Unreadable`: the known files below it count neither as seen nor as removed.

    Memory does not grow with the number of files, only with the names in the directories that are open. Closing the
    generator ends the workers at once. While it runs, the soft limit of open files is raised to the hard limit.

    Args:
        watches: what to read; their paths differ.
        workers: number of reading processes. 1 reads in this process, 0 starts one per core. A scan that is finished
            quickly starts none.
        cross_mounts: enter other file systems.
        skip: full paths that are neither read nor reported (fimscan's own files), also under another name of their
            directory (bind mount, symlink).
        known: what earlier scans recorded of some of the files.
        limits: priorities, rate limits and timeouts.
        on_progress: called about ten times a second, and once at the end.

    Raises:
        ConfigError: at once, if a path is watched twice.
        InputError: during iteration, if /proc is not mounted or a worker died.
    """
    paths = [watch.path for watch in watches]
    if twice := {path for path in paths if paths.count(path) > 1}:
        raise ConfigError(f"watch {os.fsdecode(min(twice))!r} is listed twice")
    count = workers or len(os.sched_getaffinity(0))
    settings = _Settings(
        skip=skip, cross_mounts=cross_mounts, known=known or PriorStates(), workers=count, limits=limits or Limits()
    )
    return _scan(watches, settings, _Meter(on_progress))


class _Settings(Struct, frozen=True, kw_only=True):
    skip: Collection[bytes]
    cross_mounts: bool
    known: PriorStates
    workers: int
    limits: Limits


def _scan(watches: Sequence[WatchSpec], settings: _Settings, meter: _Meter) -> Generator[Block]:
    if not os.path.isdir("/proc/self/fd"):
        raise InputError("/proc is not mounted, so attributes of symlinks and devices cannot be read; mount it")
    with descriptor_budget(settings.workers) as limit, ExitStack() as stack:
        stack.enter_context(settings.limits.applied())
        executor = stack.enter_context(closing(ScanExecutor(settings.workers, settings.limits, settings.known.keeping)))
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
        found = stack.enter_context(closing(_merge_walks(walks)))
        feed = Feed(found, settings.known.verified, settings.known.vouchers, limit.per_batch)
        for batch in read_batches(feed, executor):
            block = batch.block()
            if not settings.known.numbers.is_trivial:
                block.renumber(settings.known.numbers)
            meter.count(block)
            yield block
            meter.report()
    meter.report(final=True)


@contextmanager
def descriptor_budget(workers: int) -> Iterator[Descriptors]:
    """Raise the soft limit of open files to the hard limit, and share it out; restore it at the end."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    try:
        free = hard - min(_RESERVED_DESCRIPTORS, hard // 2)
        # A batch keeps its directories open until it is answered.
        batches = workers * QUEUE_LENGTH + 1
        per_batch = max(min(free // 2 // batches, MAX_REQUEST_DIRECTORIES), 1)
        yield Descriptors(max(free - batches * per_batch, 4), per_batch)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def hidden_names(paths: Collection[bytes]) -> HiddenNames:
    """Map full paths to the names to skip, by (device, inode) of their directory."""
    hidden: dict[tuple[int, int], frozenset[bytes]] = {}
    for path in {*paths, *map(os.path.realpath, paths)}:
        directory, name = os.path.split(path)
        try:
            found = os.stat(directory)
        except OSError:  # no such directory, so no walk finds the file
            continue
        identity = (found.st_dev, found.st_ino)
        hidden[identity] = hidden.get(identity, frozenset()) | {name}
    return hidden


def _merge_walks(walks: Sequence[Walk]) -> Generator[Found]:
    """Merge the walks into one order. Only roots that are a prefix of each other interleave: /etc, /etc-x, /etc/ssh."""
    groups: list[list[Walk]] = []
    for walk in sorted(walks, key=lambda walk: walk.root):
        if groups and walk.root.startswith(groups[-1][0].root):
            groups[-1].append(walk)
        else:
            groups.append([walk])
    for group in groups:
        with ExitStack() as stack:
            streams = [stack.enter_context(closing(walk.found())) for walk in group]
            yield from merge_streams(streams)


class ScanExecutor:
    """Reads files in this process, and in workers that are started when first needed. Always ``close`` it."""

    def __init__(self, workers: int, limits: Limits, keeping: Keeping | None = None) -> None:
        self.workers = workers
        self.limits = limits
        self._keeping = keeping
        self._hangs = Hangs()
        self._pool: Pool | None = None
        self._holes_fd = os.memfd_create("fimscan-holes", os.MFD_CLOEXEC)
        os.ftruncate(self._holes_fd, BUDGET_BYTES)
        holes = HoleBudget(limits.max_holes, self._holes_fd)
        self.reader = Reader(Throttle(limits), drop_cache=limits.drop_cache, keeping=keeping, holes=holes)
        self.hang_guard = HangGuard(limits, self._hangs)

    @property
    def pool(self) -> Pool:
        """The worker processes; started at the first use."""
        if self._pool is None:
            self._pool = Pool(self.workers, self.limits, self._hangs, self._keeping, self._holes_fd)
        return self._pool

    def close(self) -> None:
        """End all processes."""
        self.hang_guard.close()
        if self._pool is not None:
            self._pool.close()
        if self._holes_fd >= 0:
            os.close(self._holes_fd)
            self._holes_fd = -1


def read_batches(feed: Feed, executor: ScanExecutor) -> Iterator[WalkBatch]:
    """Yield batches with their answers, in order. This process reads first.

    Workers take over if the scan takes longer, or if a file system may hang.
    """
    begin = time.monotonic()
    while batch := WalkBatch(feed, _ALONE_NAMES):
        if batch.may_hang:
            yield from _read_by_workers(feed, executor.pool, batch)
            return
        try:
            batch.answer = read_tasks(executor.reader, batch.tasks)
        finally:
            batch.release()
        yield batch
        if executor.workers > 1 and time.monotonic() - begin > _ALONE_SECONDS:
            yield from _read_by_workers(feed, executor.pool)


def _read_by_workers(feed: Feed, pool: Pool, first: WalkBatch | None = None) -> Iterator[WalkBatch]:
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
    """Counts results and calls the progress listener."""

    def __init__(self, listener: Callable[[Progress], None] | None) -> None:
        self._listener = listener
        self._begin = self._reported = time.monotonic()
        self._files = self._bytes = 0

    def count(self, block: Block) -> None:
        self._files += len(block.paths)
        self._bytes += block.bytes

    def report(self, *, final: bool = False) -> None:
        now = time.monotonic()
        if self._listener is not None and (final or now - self._reported >= _PROGRESS_SECONDS):
            self._reported = now
            self._listener(Progress(files=self._files, bytes=self._bytes, elapsed_s=now - self._begin))
