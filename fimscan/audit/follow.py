"""Follow live sources: detect growth of the logs, and read the socket of audisp's af_unix plugin.

The log is what is read and stored, because rotation keeps it until then. The plugin discards events while no client is
connected. Its socket therefore only makes events known sooner, unless there is no log.
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
_RECEIVED_AT_ONCE = 1 << 22  # then what has arrived is processed first
_LONGEST_LINE = 1 << 20


class LogWatch:
    """Detects whether logs changed since the last call, with one ``stat(2)`` per log."""

    def __init__(self, paths: Iterable[bytes]) -> None:
        self._seen: dict[bytes, tuple[int, int, int]] = dict.fromkeys(paths, (0, 0, 0))

    def grown(self) -> bool:
        """Whether there is something to read.

        Call it before reading, so that data written meanwhile is detected next time.
        """
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
    """Client of the ``af_unix`` plugin (``audisp-af_unix(8)``, ``format = string``); reconnects after a disconnect.

    Args:
        path: of the plugin's socket.
        retry_s: seconds to wait before the next attempt to connect.
        clock: returns seconds, as :func:`time.monotonic`.
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
        """Whether the socket is connected."""
        return self._socket is not None

    def connect(self) -> None:
        """Connect, unless connected or an attempt was made less than ``retry_s`` ago."""
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
        """Sleep until data arrives or the time is over; return whether data arrived."""
        if self._socket is None:
            time.sleep(seconds)
            return False
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        return bool(poll.poll(seconds * 1000))

    def receive(self) -> bytes:
        """Return what has arrived, without waiting; connect first, if needed."""
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
        """Close the connection, if there is one."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None


class EventStream:
    """Reads batches from a socket, where there is no log to read."""

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
        """(new batches, whether the connection is new, whether every received record is in a finished event)."""
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
            # Records until the next connection are lost, among them the rest of the open events.
            self._collector.finish()
        if self._collector.has_news:
            batches.append(self._collector.batch())
        return batches, fresh, not self._rest and self._collector.is_settled
