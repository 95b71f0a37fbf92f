"""A command in a pseudo-terminal, with an emulator that knows what is on its screen."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import struct
import termios
import time
from collections.abc import Callable
from types import TracebackType

import pyte

_PATIENCE_S = 40
_SILENCE_S = 0.1


class Running:
    """A command that runs in a terminal of so many columns and lines. What it wrote is in ``raw``."""

    def __init__(self, command: list[str], columns: int = 80, lines: int = 24, **environment: str) -> None:
        self.raw = b""
        self.code: int | None = None
        self._screen = pyte.Screen(columns, lines)
        self._stream = pyte.ByteStream(self._screen)
        self.pid, self.terminal = pty.fork()
        if self.pid == 0:
            fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
            os.execvpe(command[0], command, {**os.environ, "TERM": "xterm", **environment})

    def __enter__(self) -> Running:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self.code is None:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        if self.terminal >= 0:
            os.close(self.terminal)

    @property
    def lines(self) -> list[str]:
        """What is on the screen."""
        return [line.rstrip() for line in self._screen.display]

    def resize(self, columns: int, lines: int) -> None:
        """As a user resizes a window."""
        self._screen.resize(lines, columns)
        fcntl.ioctl(self.terminal, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    def press(self, keys: str, until: str | Callable[[list[str]], bool]) -> list[str]:
        """Type keys, then wait until a text is on the screen, or something holds for it; return the screen."""
        os.write(self.terminal, keys.encode())
        return self.wait(until)

    def wait(self, until: str | Callable[[list[str]], bool]) -> list[str]:
        """Wait for a text, or for something that holds for the screen, and for the rest of what is written with it."""
        deadline = time.monotonic() + _PATIENCE_S
        while time.monotonic() < deadline:
            if until in "\n".join(self.lines) if isinstance(until, str) else until(self.lines):
                if self._is_silent():
                    return self.lines
                continue
            if not self._read(0.2):
                break
        raise AssertionError(f"no {until!r} in:\n" + "\n".join(self.lines))

    def end(self) -> str:
        """Wait for the end; return all that was written, as text."""
        while self._read(_PATIENCE_S):
            pass
        self.reap()
        return self.raw.decode("utf-8", "replace")

    def reap(self) -> None:
        """Wait for the end of the process."""
        _, status = os.waitpid(self.pid, 0)
        self.code = os.waitstatus_to_exitcode(status)

    def hang_up(self) -> None:
        """Close the terminal, as a lost connection does."""
        os.close(self.terminal)
        self.terminal = -1

    def _is_silent(self) -> bool:
        """Whether nothing more is written; what is, is taken. A terminal hands a screen over in pieces."""
        ready, _, _ = select.select([self.terminal], [], [], _SILENCE_S)
        return not (ready and self._read(0))

    def _read(self, wait_s: float) -> bool:
        """Take what was written; whether there may be more."""
        ready, _, _ = select.select([self.terminal], [], [], wait_s)
        if not ready:
            return True
        try:
            data = os.read(self.terminal, 65536)
        except OSError:
            return False
        self.raw += data
        self._stream.feed(data)
        return bool(data)
