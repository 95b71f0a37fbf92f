"""A flag that signal handlers may set."""

from __future__ import annotations

from contextlib import suppress
from queue import Empty, SimpleQueue


class SignalFlag:
    """Like ``threading.Event``, but setting it takes no lock that the interrupted code may hold.

    A handler that sets an event deadlocks if it interrupts its own thread inside of ``wait``. A ``SimpleQueue`` is
    reentrant.
    """

    def __init__(self) -> None:
        self._is_set = False
        self._wakened: SimpleQueue[None] = SimpleQueue()

    def is_set(self) -> bool:
        """Whether it is set."""
        return self._is_set

    def set(self) -> None:
        """Set it, and end what waits for it."""
        self._is_set = True
        self._wakened.put(None)

    def clear(self) -> None:
        """Take it back. A thread that waits at this moment may wait for less than its time."""
        self._is_set = False
        with suppress(Empty):
            while True:
                self._wakened.get_nowait()

    def wait(self, timeout: float) -> bool:
        """Wait until it is set, for so many seconds at most; return whether it is."""
        if not self._is_set:
            with suppress(Empty):
                self._wakened.get(timeout=timeout)
                self._wakened.put(None)  # for others who wait
        return self._is_set
