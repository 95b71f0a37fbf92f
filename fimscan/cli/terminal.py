"""A terminal that is read key by key and painted as a whole. Plain ANSI sequences, no library.

With ``TERM=dumb`` there is no cursor to move: frames are printed one after the other.
"""

from __future__ import annotations

import io
import os
import select
import signal
import sys
import termios
from collections.abc import Iterable, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Any

from rich.text import Text

from fimscan.cli.context import use_color
from fimscan.report.console import write_lines

_ENTER, _LEAVE = "\x1b[?1049h", "\x1b[?1049l"
_HOME, _CLEAR_LINE = "\x1b[H", "\x1b[K"
_ESCAPE_S = 0.1  # a key that sends several bytes sends them at once, over ssh as well
_POLL_S = 1.0
_KEYS = {
    b"\x1b[A": "up",
    b"\x1bOA": "up",
    b"\x1b[B": "down",
    b"\x1bOB": "down",
    b"\x1b[C": "right",
    b"\x1bOC": "right",
    b"\x1b[D": "left",
    b"\x1bOD": "left",
    b"\x1b[5~": "page up",
    b"\x1b[6~": "page down",
    b"\x1b[H": "home",
    b"\x1b[F": "end",
    b"\x1b": "escape",
    b"\r": "enter",
    b"\n": "enter",
    b"\x7f": "backspace",
    b"\x08": "backspace",
    b"\x15": "clear",
    b"\x0c": "redraw",
    b"\x04": "q",
    b" ": " ",
}


def is_interactive() -> bool:
    """Whether keys can be read and a screen can be painted."""
    return sys.stdin is not None and sys.stdin.isatty() and sys.stdout.isatty()


class TerminalGoneError(Exception):
    """The terminal was closed."""


class Terminal:
    """Standard input and output as a screen. Use it as a context manager: leaving it restores the terminal.

    Ctrl-C and SIGTERM raise as everywhere in fimscan. Ctrl-Z does nothing: a stopped review would leave the terminal
    without an echo.
    """

    def __init__(self) -> None:
        self._input, self._output = sys.stdin.fileno(), sys.stdout.fileno()
        self._color = use_color(sys.stdout)
        self._is_dumb = os.environ.get("TERM", "dumb") in ("dumb", "")
        self._before: list[Any] = []
        self._woken, self._wake = os.pipe()
        self._on_resize: Any = None
        self._pending = b""

    def __enter__(self) -> Terminal:
        self._before = termios.tcgetattr(self._input)
        mode = termios.tcgetattr(self._input)
        mode[3] &= ~(termios.ICANON | termios.ECHO)
        mode[6][termios.VMIN], mode[6][termios.VTIME] = 1, 0
        mode[6][termios.VSUSP] = b"\0"
        os.set_blocking(self._wake, False)
        self._on_resize = signal.signal(signal.SIGWINCH, self._resized)
        termios.tcsetattr(self._input, termios.TCSADRAIN, mode)
        self._write("" if self._is_dumb else _ENTER)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        signal.signal(signal.SIGWINCH, self._on_resize)
        with suppress(OSError, termios.error, TerminalGoneError):  # if it is gone, nothing is left to restore
            termios.tcsetattr(self._input, termios.TCSADRAIN, self._before)
            self._write("\n" if self._is_dumb else _LEAVE)
        os.close(self._woken)
        os.close(self._wake)

    @property
    def size(self) -> tuple[int, int]:
        """Columns and lines."""
        try:
            columns, lines = os.get_terminal_size(self._output)
        except OSError:
            columns, lines = 80, 24
        return columns or 80, lines or 24

    def paint(self, lines: Sequence[Text]) -> None:
        """Show a frame: at most as many lines as the screen has, none wider than it. The cursor stays at the end."""
        shown = self._ansi(lines)
        if self._is_dumb:
            self._write("\n" + "\n".join(line for line in shown if line.strip()))
            return
        # A line is cleared before it is written: behind a full line, the cursor is still on its last character.
        self._write(_HOME + "\r\n".join(_CLEAR_LINE + line for line in shown[: self.size[1]]))

    def key(self) -> str | None:
        """The next key: a character, or a name such as ``enter``. ``None`` if the frame has to be painted again.

        Raises:
            TerminalGoneError: the terminal was closed.
        """
        before = self.size
        if not self._pending:
            ready: list[int] = []
            while not ready:
                ready, _, _ = select.select([self._input, self._woken], [], [], _POLL_S)
                if self._woken in ready or self.size != before:
                    self._drain()
                    return None
            self._pending = self._read()
        return self._next_key()

    def _next_key(self) -> str | None:
        for sequence in sorted(_KEYS, key=len, reverse=True):
            if self._pending.startswith(sequence) and sequence != b"\x1b":
                self._pending = self._pending[len(sequence) :]
                return _KEYS[sequence]
        if self._pending.startswith(b"\x1b"):
            if len(self._pending) < 3 and self._more():
                return self._next_key()
            self._pending = b""  # an unknown sequence is one key, not several letters that decide something
            return "escape"
        for length in range(1, 5):
            try:
                character = self._pending[:length].decode()
            except UnicodeDecodeError:
                if length == len(self._pending) and not self._more():
                    break
                continue
            self._pending = self._pending[length:]
            return character if character.isprintable() else None
        self._pending = b""
        return None

    def _more(self) -> bool:
        """Wait for the rest of a sequence."""
        ready, _, _ = select.select([self._input], [], [], _ESCAPE_S)
        if not ready:
            return False
        self._pending += self._read()
        return True

    def _read(self) -> bytes:
        try:
            found = os.read(self._input, 1024)
        except OSError as error:
            raise TerminalGoneError from error
        if not found:
            raise TerminalGoneError
        return found

    def _ansi(self, lines: Iterable[Text]) -> list[str]:
        out = io.StringIO()
        write_lines(lines, out, color=self._color)
        return out.getvalue().split("\n")[:-1]

    def _write(self, text: str) -> None:
        try:
            sys.stdout.write(text)
            sys.stdout.flush()
        except OSError as error:
            raise TerminalGoneError from error

    def _resized(self, _number: int, _frame: object) -> None:
        with suppress(OSError):  # if the pipe is full, it wakes anyway
            os.write(self._wake, b"x")

    def _drain(self) -> None:
        ready, _, _ = select.select([self._woken], [], [], 0)
        if ready:
            os.read(self._woken, 1024)
