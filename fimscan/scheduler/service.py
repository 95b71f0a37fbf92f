"""Tell systemd how the service is: ready, reloading, stopping, alive (sd_notify(3)).

Without ``NOTIFY_SOCKET``, as in a terminal, nothing is sent.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, MutableMapping
from contextlib import suppress

_PINGS = 4  # in each period of the watchdog


class ServiceManager:
    """The connection to the service manager.

    Attributes:
        watchdog_s: seconds after which systemd takes the service for dead; ``None`` if it does not watch.

    Args:
        address: a path, or an abstract name that begins with ``@``; ``None`` sends nothing.
        watchdog_s: see above.
        clock: seconds, as :func:`time.monotonic`.
    """

    def __init__(
        self, address: str | None, watchdog_s: float | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._address = address
        self._clock = clock
        self._next_ping = 0.0
        self._status = ""
        self.watchdog_s = watchdog_s

    @classmethod
    def from_environment(cls, environ: MutableMapping[str, str] = os.environ) -> ServiceManager:
        """Take the address from the environment, so that no child process has it."""
        address = environ.pop("NOTIFY_SOCKET", None)
        period, pid = environ.pop("WATCHDOG_USEC", ""), environ.pop("WATCHDOG_PID", "")
        is_watched = period.isdecimal() and int(period) > 0 and pid in ("", str(os.getpid()))
        return cls(address, int(period) / 1e6 if is_watched else None)

    def ready(self, status: str) -> None:
        """Report that the service runs, at the start or after a reload."""
        self._status = status
        self._send("READY=1", f"STATUS={status}")

    def reloading(self) -> None:
        """Report that the configuration is being read again; :meth:`ready` ends that."""
        self._send("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}", "STATUS=reading the configuration")

    def stopping(self) -> None:
        """Report that the service is about to end."""
        self._send("STOPPING=1", "STATUS=stopping")

    def status(self, text: str) -> None:
        """Report what ``systemctl status`` shows, if it changed."""
        if text != self._status:
            self._status = text
            self._send(f"STATUS={text}")

    def alive(self) -> None:
        """Tell the watchdog that all is well. To be called often; it is passed on several times in each period."""
        if self.watchdog_s is not None and self._clock() >= self._next_ping:
            self._next_ping = self._clock() + self.watchdog_s / _PINGS
            self._send("WATCHDOG=1")

    def _send(self, *lines: str) -> None:
        if not self._address:
            return
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        # A manager that does not listen must not end the schedule.
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
            sender.sendto("\n".join(line.replace("\n", " ") for line in lines).encode(), address)
