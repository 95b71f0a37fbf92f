"""Live sources: is there something new in the log, and what audisp's af_unix plugin sends.

The log is what is read and stored: rotation keeps it until then. The plugin throws events away while nobody is
connected, so that its socket is only a way to hear of them sooner, unless it is all there is.
"""

from __future__ import annotations

import os
import select
import socket
import time
from collections.abc import Callable, Iterable
from contextlib import suppress

from fimscan.audit.actors import UserName
from fimscan.audit.collector import AuditBatch, Collector
from fimscan.audit.reader import BATCH_EVENTS
from fimscan.audit.segments import Segment

_RECEIVED = 1 << 16
_RECEIVED_AT_ONCE = 1 << 22  # then what came is dealt with first
_LONGEST_LINE = 1 << 20


class LogWatch:
    """Tells whether logs have changed since it was last asked, for a ``stat(2)`` each."""

    def __init__(self, paths: Iterable[bytes]) -> None:
        self._seen: dict[bytes, tuple[int, int, int]] = dict.fromkeys(paths, (0, 0, 0))

    def grown(self) -> bool:
        """Whether there is something to read: ask before reading, so that what comes meanwhile counts next time."""
        changed = False
        for path, before in self._seen.items():
            now = (0, 0, 0)
            with suppress(OSError):
                info = os.stat(path)
                now = (info.st_dev, info.st_ino, info.st_size)
            if now != before:
                self._seen[path] = now
                changed = True
        return changed


class EventSocket:
    """The client's end of ``af_unix`` (``audisp-af_unix(8)``, ``format = string``): connects, and again when it broke.

    Args:
        retry_s: how long to wait before the next attempt to connect.
        clock: seconds, as :func:`time.monotonic`.
    """

    def __init__(self, path: bytes, *, retry_s: float = 1.0, clock: Callable[[], float] = time.monotonic) -> None:
        self.path = path
        self.connections = 0
        self._retry_s = retry_s
        self._clock = clock
        self._socket: socket.socket | None = None
        self._tried = -retry_s

    @property
    def is_connected(self) -> bool:
        """Whether events arrive now."""
        return self._socket is not None

    def connect(self) -> None:
        """Make sure that it is connected, unless that was tried a moment ago."""
        now = self._clock()
        if self._socket is not None or now - self._tried < self._retry_s:
            return
        self._tried = now
        made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
        try:
            made.connect(self.path)
        except OSError:
            made.close()
            return
        self._socket = made
        self.connections += 1

    def wait(self, seconds: float) -> bool:
        """Sleep until something arrives, or the time is over; gives whether something arrived."""
        if self._socket is None:
            time.sleep(seconds)
            return False
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        return bool(poll.poll(seconds * 1000))

    def receive(self) -> bytes:
        """What has arrived, without waiting; connects first, where that is needed."""
        self.connect()
        received = bytearray()
        while self._socket is not None and len(received) < _RECEIVED_AT_ONCE:
            try:
                data = self._socket.recv(_RECEIVED)
            except BlockingIOError:
                break
            except OSError:
                data = b""
            if not data:
                self.close()
                break
            received += data
        return bytes(received)

    def close(self) -> None:
        """Hang up."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None


class EventStream:
    """The records of a socket as batches, where there is no log to read them from."""

    def __init__(self, source: EventSocket, *, user_name: UserName | None = None) -> None:
        self.source = source
        self._user_name = user_name
        self._connection = 0
        self._rest = b""
        self._collector = self._begin()

    def _begin(self) -> Collector:
        self._rest = b""
        collector = Collector(self.source.path, batch_events=BATCH_EVENTS, user_name=self._user_name)
        collector.enter(Segment(path=self.source.path, dev=0, inode=0, fingerprint=b"socket", live=True), 0)
        return collector

    def read(self) -> tuple[list[AuditBatch], bool, bool]:
        """(what came, is it the first of a new connection, is every record that came in a finished event)."""
        data = self.source.receive()
        batches: list[AuditBatch] = []
        fresh = self.source.connections != self._connection
        if fresh:
            self._connection = self.source.connections
            self._collector = self._begin()
        whole = data.rfind(b"\n") + 1
        if whole:
            batches += self._collector.take(self._rest + data[:whole])
            self._rest = data[whole:]
        elif len(self._rest) + len(data) <= _LONGEST_LINE:
            self._rest += data
        if not self.source.is_connected:
            # What comes until the next connection is lost, and with it the rest of the events that are open.
            self._collector.finish()
        if self._collector.has_news:
            batches.append(self._collector.batch())
        return batches, fresh, not self._rest and self._collector.is_settled
