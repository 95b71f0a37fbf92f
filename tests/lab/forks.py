"""Track the descendants of processes by the kernel's process events."""

from __future__ import annotations

import os
import socket
import struct
import threading
import time
from types import TracebackType

from tests.lab.ground import Unavailable

_NETLINK_CONNECTOR = 11  # linux/netlink.h
_SO_RCVBUFFORCE = 33
_CN_PROC = 1  # linux/connector.h: both the index and the value of process events
_LISTEN = 1  # linux/cn_proc.h: PROC_CN_MCAST_LISTEN
_FORK = 1
_NETLINK_HEADER, _CN_HEADER, _EVENT_HEADER = 16, 20, 16


class ForkTracker:
    """Records every fork on this machine while the context is entered."""

    def __init__(self) -> None:
        self._parents: dict[int, int] = {}
        self._socket: socket.socket | None = None
        self._thread: threading.Thread | None = None

    def __enter__(self) -> ForkTracker:
        made = socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, _NETLINK_CONNECTOR)
        try:
            made.bind((0, _CN_PROC))
            made.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, 16 << 20)
            body = struct.pack("=IIIIHHI", _CN_PROC, _CN_PROC, 0, 0, 4, 0, _LISTEN)
            made.send(struct.pack("=IHHII", _NETLINK_HEADER + len(body), 3, 0, 0, os.getpid()) + body)
        except OSError:
            made.close()
            return self  # :meth:`has` raises Unavailable
        made.settimeout(0.2)
        self._socket = made
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._socket is not None and self._thread is not None:
            made, self._socket = self._socket, None
            self._thread.join()
            made.close()

    def _follow(self) -> None:
        while (made := self._socket) is not None:
            try:
                event = made.recv(4096)[_NETLINK_HEADER + _CN_HEADER :]
            except TimeoutError:
                continue
            (what,) = struct.unpack_from("=I", event)
            if what == _FORK:
                _, parent, child, leader = struct.unpack_from("=4I", event, _EVENT_HEADER)
                if child == leader:  # and not a thread
                    self._parents[child] = parent

    def has(self, ancestor: int, pid: int) -> bool:
        """Whether ``pid`` is the process or descends from it."""
        if self._thread is None:
            raise Unavailable("the kernel does not report forks (CONFIG_PROC_EVENTS)")
        deadline = time.monotonic() + 1
        while not (found := self._descends(ancestor, pid)) and time.monotonic() < deadline:
            time.sleep(0.02)
        return found

    def _descends(self, ancestor: int, pid: int) -> bool:
        seen = {pid}
        while pid != ancestor:
            pid = self._parents.get(pid, 0)
            if pid == 0 or pid in seen:
                return False
            seen.add(pid)
        return True
