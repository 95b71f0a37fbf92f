"""Show the text of a report through a pager, as git does, if standard output is a terminal."""

from __future__ import annotations

import io
import os
import select
import shlex
import shutil
import signal
import sys
import termios
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING, Any, TextIO

from fimscan.cli.context import Settings
from fimscan.errors import InterruptedScanError

if TYPE_CHECKING:
    import subprocess

_DEFAULT = "less"
# Nothing is paged that fits on the screen; colours are shown; the text stays there at the end.
_LESS = "FRX"
_UNSET = str((1 << 32) - 1)  # the login uid of what nobody logged in for
_END_SECONDS = 2.0  # a pager that ignores the signal is killed then
_OF_PAGER = 2  # less -F waits for a key if a text has as many lines as the terminal, or one less


class _PagerStream(io.TextIOWrapper):
    """A pipe whose reader shows it on the terminal, so that the text is written as for the terminal."""

    def isatty(self) -> bool:
        """Always true."""
        return True


def lines_of_pager(settings: Settings, form: str, out: str | None) -> int:
    """How many lines of the terminal a report must leave to the pager, so that less prints it and ends; else 0."""
    return _OF_PAGER if _wanted(settings, form, out) is not None else 0


@contextmanager
def paged(settings: Settings, form: str = "text", out: str | None = None) -> Iterator[None]:
    """Within this block, standard output goes through the pager; without a terminal or a pager, nothing changes.

    Only text is paged, and not what is written to the file ``out``. If the pager quits early, the block ends there and
    the command goes on: its exit code is its own.
    """
    import subprocess

    command = _wanted(settings, form, out)
    if command is None:
        yield
        return
    terminal = sys.stdout
    terminal.flush()
    mode = _mode_of(terminal)
    try:
        pager = subprocess.Popen(command, stdin=subprocess.PIPE, env=_environment())
    except OSError:
        yield
        return
    assert pager.stdin is not None, "it is a pipe"
    stream = _PagerStream(pager.stdin, encoding=terminal.encoding, errors="backslashreplace")
    # Ctrl-C is the pager's: less then stops reading, and goes on. The pager itself keeps the default.
    interrupt = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        sys.stdout = stream
        try:
            yield
            stream.flush()
        except BrokenPipeError:
            pass
        except SystemExit as stopped:
            if not isinstance(stopped.__context__, BrokenPipeError):  # rich ends the program when nothing reads
                raise
        finally:
            if not isinstance(sys.exception(), InterruptedScanError):
                # Even after an error: it is printed when the pager is gone.
                with suppress(OSError):
                    stream.close()
                pager.wait()
    except InterruptedScanError:
        _end(pager, stream)
        if mode is not None:  # a pager may die without restoring it
            with suppress(OSError, termios.error):
                termios.tcsetattr(terminal.fileno(), termios.TCSADRAIN, mode)
        raise
    finally:
        sys.stdout = terminal
        signal.signal(signal.SIGINT, interrupt)


def _end(pager: subprocess.Popen[bytes], stream: _PagerStream) -> None:
    """End the pager now, with the programs that its shell runs. A signal must not have to wait for a key."""
    with ExitStack() as stack:
        handles = [_handle(pid, stack) for pid in (pager.pid, *_started_by(pager.pid))]
        _signal(handles, signal.SIGTERM)
        with suppress(OSError, ValueError):  # ValueError: it is closed already
            os.set_blocking(stream.fileno(), False)  # nobody reads what is not shown yet
            stream.close()
        until = time.monotonic() + _END_SECONDS
        for handle in filter(None, handles):
            select.select([handle], [], [], max(0.0, until - time.monotonic()))  # until it has ended
        _signal(handles, signal.SIGKILL)
    pager.kill()
    pager.wait()


def _handle(pid: int, stack: ExitStack) -> int | None:
    """A descriptor of a process: unlike its pid, it never means another one. ``None`` if it has ended."""
    try:
        descriptor = os.pidfd_open(pid)
    except OSError:
        return None
    stack.callback(os.close, descriptor)
    return descriptor


def _signal(handles: Iterable[int | None], number: signal.Signals) -> None:
    for handle in filter(None, handles):
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(handle, number)


def _started_by(pid: int) -> list[int]:
    """The processes that a process has started, and those that they have."""
    try:
        with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:
            children = [int(child) for child in file.read().split()]
    except OSError:  # it has ended, or the kernel does not list them
        return []
    return [*children, *(found for child in children for found in _started_by(child))]


def _mode_of(terminal: TextIO) -> list[Any] | None:
    """The settings of a terminal, for :func:`termios.tcsetattr`."""
    try:
        return termios.tcgetattr(terminal.fileno())
    except (OSError, termios.error):
        return None


def _wanted(settings: Settings, form: str, out: str | None) -> list[str] | None:
    return None if form != "text" or out is not None or settings.no_pager else _command()


def _command() -> list[str] | None:
    """The pager's command line; ``None`` if there is to be none, or if there is no such program."""
    if not sys.stdout.isatty() or os.environ.get("TERM") in (None, "", "dumb"):
        return None
    text = next((os.environ[name] for name in ("FIMSCAN_PAGER", "PAGER") if name in os.environ), _DEFAULT).strip()
    if text in ("", "cat"):
        return None
    if _is_for_another_user():
        text = _DEFAULT
    try:
        words = [word for word in shlex.split(text) if "=" not in word]
    except ValueError:
        words = []
    if not words or shutil.which(words[0]) is None:
        return None
    # Only a shell knows what else may be in it: settings in front, quotes, a pipe.
    return ["/bin/sh", "-c", text]


def _environment() -> dict[str, str]:
    environment = {"LESS": _LESS, "LV": "-c", **os.environ}
    if _is_for_another_user():
        environment["LESSSECURE"] = "1"
    return environment


def _is_for_another_user() -> bool:
    """Whether the person at the terminal is not the user whose rights this process has, as under sudo.

    A pager can start a shell. Who may run only fimscan as root must not get one: then it is less in its secure mode.
    """
    own = str(os.geteuid())
    who = [os.environ[name] for name in ("SUDO_UID", "PKEXEC_UID") if name in os.environ]
    with suppress(OSError), open("/proc/self/loginuid", encoding="ascii") as file:
        who.append(file.read().strip())
    return "DOAS_USER" in os.environ or any(uid not in (own, _UNSET) for uid in who) or os.getuid() != os.geteuid()
