"""Worker processes as the parent uses them: send batches, collect answers, replace workers that hang."""

from __future__ import annotations

import os
import select
from collections import Counter, deque
from itertools import accumulate

from msgspec.structs import replace

from fimscan.model import UnreadableReason
from fimscan.scan.block import Answer
from fimscan.scan.keeping import Keeping, known_to_file
from fimscan.scan.limits import Limits
from fimscan.scan.process import WorkerProcess
from fimscan.scan.state import Raw
from fimscan.scan.worker import KEPT, Task, request_of

# Enough that a worker never waits for the parent; few enough to fit into the socket, so that sending never blocks.
QUEUE_LENGTH = 4
_LOOK_MS = 500
_STRIKES = 3


class Hangs:
    """Counts hanging system calls per file system, to stop accessing one that hangs too often."""

    def __init__(self) -> None:
        self._strikes: Counter[int] = Counter()

    def note(self, device: int) -> None:
        """Count a system call on this device that hung."""
        self._strikes[device] += 1

    def has_hung(self, device: int) -> bool:
        """Whether this device hung so often that it is not accessed again."""
        return self._strikes[device] >= _STRIKES


class WorkBatch:
    """Tasks for a worker, with the answer once it is there. It owns the descriptors of the tasks."""

    __slots__ = ("answer", "devices", "refused", "tasks")

    def __init__(self, tasks: list[Task]) -> None:
        self.tasks = tasks
        self.devices: list[int] = []  # the device of each task
        self.answer: Answer | None = None
        self.refused: dict[int, Raw] = {}  # by number of the file in the batch

    def release(self) -> None:
        """Close the descriptors of the tasks."""
        while self.tasks:
            os.close(self.tasks.pop().fd)

    def first_numbers(self) -> list[int]:
        """The number of the first file of each task, and the total."""
        return [0, *accumulate(len(task.names) for task in self.tasks)]


class _Worker:
    def __init__(self, limits: Limits, keeping: Keeping | None, known_fd: int | None, holes_fd: int | None) -> None:
        self.process = WorkerProcess(limits, known_fd, holes_fd)
        self.queue: deque[WorkBatch] = deque()
        self._keeping = keeping

    def send(self, batch: WorkBatch) -> None:
        if not self.queue:
            self.process.restart_stall_timer()
        self.process.send(request_of(batch.tasks, batch.refused), [task.fd for task in batch.tasks])
        self.queue.append(batch)

    def receive(self) -> None:
        for answer in self.process.receive():
            if answer[0] == KEPT:
                assert self._keeping is not None, "only asked workers send contents"
                self._keeping.sink(answer[1])
                continue
            batch = self.queue.popleft()
            batch.answer = answer
            batch.release()


class Pool:
    """A set of worker processes. Always ``close`` it. ``holes_fd`` is the memory in which all of them count holes."""

    def __init__(
        self,
        workers: int,
        limits: Limits,
        hangs: Hangs,
        keeping: Keeping | None = None,
        holes_fd: int | None = None,
    ) -> None:
        self._holes_fd = holes_fd
        self._keeping = keeping
        self._known_fd = None if keeping is None else known_to_file(keeping.known)
        self._limits = replace(
            limits,
            max_bytes_per_s=limits.max_bytes_per_s / workers,
            max_files_per_s=limits.max_files_per_s / workers,
        )
        self._hangs = hangs
        self._workers: dict[int, _Worker] = {}  # by descriptor of their answers
        self._poll = select.poll()  # unlike select(2), not limited to descriptors below 1024
        try:
            for _ in range(workers):
                self._start()
        except BaseException:
            self.close()
            raise

    def _start(self) -> _Worker:
        worker = _Worker(self._limits, self._keeping, self._known_fd, self._holes_fd)
        self._workers[worker.process.answers_fd] = worker
        self._poll.register(worker.process.answers_fd, select.POLLIN)
        return worker

    @property
    def has_room(self) -> bool:
        """Whether :meth:`submit` may be called now."""
        return any(len(worker.queue) < QUEUE_LENGTH for worker in self._workers.values())

    def submit(self, batch: WorkBatch) -> None:
        """Send a batch to the worker with the shortest queue.

        Raises:
            InputError: the worker has died.
        """
        self._refuse_hung(batch)
        try:
            min(self._workers.values(), key=lambda worker: len(worker.queue)).send(batch)
        except BaseException:
            batch.release()
            raise

    def collect(self, *, wait: bool) -> None:
        """Store the answers that have arrived in their batches; with ``wait``, wait until there is a new one.

        Raises:
            InputError: a worker has died.
        """
        while True:
            ready = self._poll.poll(_LOOK_MS if wait else 0)
            for fd, _ in ready:
                self._workers[fd].receive()
            if ready or not wait:
                return
            for worker in list(self._workers.values()):
                if worker.queue and worker.process.is_stalled:
                    self._replace(worker)

    def _replace(self, stalled: _Worker) -> None:
        """Replace a worker that hangs. Its file counts as timed out; the rest of its queue goes to the new worker."""
        first = stalled.queue[0]
        number = stalled.process.heartbeat.number
        begins = first.first_numbers()
        at = max(task for task in range(len(first.tasks)) if begins[task] <= number)
        first.refused[number] = no_answer(self._limits)
        self._hangs.note(first.devices[at])
        del self._workers[stalled.process.answers_fd]
        self._poll.unregister(stalled.process.answers_fd)
        stalled.process.stop()
        fresh = self._start()
        while stalled.queue:
            batch = stalled.queue.popleft()
            self._refuse_hung(batch)
            fresh.send(batch)

    def _refuse_hung(self, batch: WorkBatch) -> None:
        for device, begin, end in zip(batch.devices, batch.first_numbers(), batch.first_numbers()[1:], strict=False):
            if self._hangs.has_hung(device):
                for number in range(begin, end):
                    batch.refused.setdefault(number, skipped())

    def close(self) -> None:
        """Kill all workers, whatever they are doing."""
        for worker in self._workers.values():
            worker.process.stop()
            for batch in worker.queue:
                batch.release()
        self._workers.clear()
        if self._known_fd is not None:
            os.close(self._known_fd)
            self._known_fd = None


def no_answer(limits: Limits) -> Raw:
    """The result for a file whose reading hung."""
    return UnreadableReason.TIMEOUT.value, f"the file system did not answer within {limits.stall_timeout_s:g} s"


def skipped() -> Raw:
    """The result for a file on a file system that hangs."""
    return UnreadableReason.TIMEOUT.value, "skipped: its file system does not answer"
