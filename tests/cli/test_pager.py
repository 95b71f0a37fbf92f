"""Reports on a terminal go through a pager: with a real pseudo-terminal, real less, and pagers that fail."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import shutil
import signal
import struct
import termios
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.conftest import Cli

needs_less = pytest.mark.skipif(shutil.which("less") is None, reason="less is not installed")
ROWS, COLUMNS = 24, 80
MANY = 60  # more than a screen
OF_SUDO = ("SUDO_UID", "PKEXEC_UID", "DOAS_USER")


def login_uid() -> str:
    """The login uid of the tests; empty where the kernel has none."""
    with suppress(OSError):
        return Path("/proc/self/loginuid").read_text().strip()
    return ""


needs_own_login = pytest.mark.skipif(
    login_uid() not in ("", "4294967295", str(os.geteuid())), reason="the tests run for another user (sudo, su)"
)


class Terminal:
    """A command on a pseudo-terminal of 24 lines."""

    def __init__(self, command: list[str], environment: dict[str, str]) -> None:
        self.pid, self._fd = pty.fork()
        if not self.pid:
            for name in ("FIMSCAN_PAGER", "PAGER", "LESS", "NO_COLOR", "COLUMNS", "LINES", *OF_SUDO):
                os.environ.pop(name, None)
            os.environ |= {"TERM": "xterm"} | environment
            # Before anything is printed, the terminal must have its size.
            fcntl.ioctl(1, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
            os.execv(command[0], command)
        self.text = ""
        self.code: int | None = None

    def read_until(self, pattern: str, timeout_s: float = 30) -> None:
        """Read until the output has ``pattern``."""
        end = time.monotonic() + timeout_s
        while re.search(pattern, self.text) is None:
            assert time.monotonic() < end, f"no {pattern!r} in {self.text!r}"
            if not self._read(0.2):
                assert re.search(pattern, self.text), f"ended without {pattern!r}: {self.text!r}"

    def _read(self, timeout_s: float) -> bool:
        if not select.select([self._fd], [], [], timeout_s)[0]:
            return True
        with suppress(OSError):  # EIO: nothing has the terminal open any more
            if data := os.read(self._fd, 65536):
                self.text += data.decode(errors="replace")
                return True
        return False

    def send(self, keys: bytes) -> None:
        os.write(self._fd, keys)

    def finish(self, timeout_s: float = 30) -> int:
        """Read the rest; return the exit code."""
        end = time.monotonic() + timeout_s
        while self._read(0.2):
            if time.monotonic() > end:
                os.kill(self.pid, signal.SIGKILL)
                os.waitpid(self.pid, 0)
                raise AssertionError(f"it does not end: {self.text!r}")
        self.code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        os.close(self._fd)
        return self.code

    def quiet(self, seconds: float = 1) -> None:
        """Wait: the command must not end by itself."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            assert self._read(0.1), f"it ended: {self.text!r}"


def on_terminal(cli: Cli, *arguments: str, **environment: str) -> Terminal:
    return Terminal(cli.command(*arguments), environment)


@pytest.fixture
def few(cli: Cli) -> Cli:
    """One change: its report fits on the screen."""
    cli.scan()
    (cli.watched / "a").write_text("changed")
    cli.scan(4)
    return cli


@pytest.fixture
def many(cli: Cli) -> Cli:
    """More changes than lines."""
    cli.scan()
    for number in range(MANY):
        (cli.watched / f"new{number:03}").write_text("new")
    cli.scan(1)
    return cli


@needs_less
def test_a_short_report_is_printed_through(few: Cli) -> None:
    """It is there at once, in colour, without a key, and stays on the screen."""
    shown = on_terminal(few, "diff")
    assert shown.finish() == 4
    assert "watched/a" in shown.text and "\x1b[" in shown.text
    assert "\x1b[?1049h" not in shown.text, "less cleared the screen"


@needs_less
@pytest.mark.parametrize("count", [1, 9, MANY])
def test_the_first_screen_is_printed_through(many: Cli, count: int) -> None:
    """A report that fills the screen leaves room for the prompt, so no key is needed and it stays visible."""
    for number in range(count, MANY):
        (many.watched / f"new{number:03}").unlink()
    many("scan", "--no-audit")
    shown = on_terminal(many, "diff")
    assert shown.finish(10) == 1
    assert f"{count} added" in shown.text and "(END)" not in shown.text


@needs_less
@pytest.mark.parametrize("arguments", [("diff", "--flat"), ("diff", "--sets"), ("status",), ("explain", "1")])
def test_every_report_ends_with_its_own_code(many: Cli, arguments: tuple[str, ...]) -> None:
    """Whatever is paged, and whether it fits or not, the code is what it is without a pager."""
    expected = many(*arguments).returncode
    shown = on_terminal(many, *arguments)
    shown.read_until(r"\n")
    with suppress(OSError):
        shown.send(b"q")
    assert shown.finish() == expected


@needs_less
def test_a_long_report_waits_and_begins_with_its_first_line(many: Cli) -> None:
    """The first screen is shown; space shows more; q ends, and the exit code is that of diff."""
    shown = on_terminal(many, "diff", "--flat")
    shown.read_until("new001")
    shown.quiet()
    assert "new050" not in shown.text
    shown.send(b"G")
    shown.read_until("new059")
    shown.send(b"q")
    assert shown.finish() == 1


@needs_less
def test_ctrl_c_is_the_pagers(many: Cli) -> None:
    """It ends neither less nor fimscan: the report stays, and q still works."""
    shown = on_terminal(many, "diff", "--flat")
    shown.read_until("new001")
    shown.send(b"\x03")
    shown.quiet()
    shown.send(b"q")
    assert shown.finish() == 1
    assert "interrupted" not in shown.text


def recording(root: Path) -> tuple[str, Path]:
    """A pager that writes what it gets, and the file that it writes."""
    file = root / "paged"
    return f"sh -c 'cat > {file}'", file


@needs_own_login
def test_the_most_specific_setting_counts(few: Cli) -> None:
    """FIMSCAN_PAGER before PAGER, as a shell command; the text is as on the terminal, colours included."""
    pager, file = recording(few.root)
    shown = on_terminal(few, "diff", FIMSCAN_PAGER=pager, PAGER="false")
    assert shown.finish() == 4
    assert "watched/a" in file.read_text() and "\x1b[" in file.read_text()
    assert "watched/a" not in shown.text


@needs_own_login
def test_less_gets_its_options_unless_the_user_has_some(few: Cli) -> None:
    """As git does it."""
    file = few.root / "options"
    pager = f"sh -c 'echo $LESS > {file}; cat'"
    assert on_terminal(few, "diff", PAGER=pager).finish() == 4
    assert file.read_text() == "FRX\n"
    assert on_terminal(few, "diff", PAGER=pager, LESS="S").finish() == 4
    assert file.read_text() == "S\n"


@needs_less
def test_under_sudo_no_shell_can_be_had(many: Cli) -> None:
    """Who may run only fimscan as root does not get root's shell from it: less is secure, and no other pager runs."""
    pager, file = recording(many.root)
    shown = on_terminal(many, "diff", "--flat", SUDO_UID="12345", PAGER=pager, LESS="FRX")
    shown.read_until("new001")
    shown.send(b"!touch " + os.fsencode(many.root / "escaped") + b"\n")
    shown.quiet()
    shown.send(b"q")
    shown.send(b"q")
    assert shown.finish() == 1
    assert not file.exists() and not (many.root / "escaped").exists()


@pytest.mark.parametrize(
    "environment",
    [
        {"PAGER": ""},
        {"PAGER": "cat"},
        {"FIMSCAN_PAGER": "", "PAGER": "false"},
        pytest.param({"PAGER": "/nowhere/less"}, marks=needs_own_login),
        pytest.param({"PAGER": "nowhere --option"}, marks=needs_own_login),
        pytest.param({"PAGER": "'unbalanced"}, marks=needs_own_login),
        {"PAGER": "false", "TERM": "dumb"},
    ],
)
def test_without_a_pager_the_report_is_printed(few: Cli, environment: dict[str, str]) -> None:
    """Empty, cat, missing, not a command, or a terminal that cannot: the report comes, and no complaint."""
    shown = on_terminal(few, "diff", **environment)
    assert shown.finish() == 4
    assert "watched/a" in shown.text and "not found" not in shown.text


def test_no_pager_is_an_option(few: Cli) -> None:
    """It comes before the command."""
    pager, file = recording(few.root)
    shown = on_terminal(few, "--no-pager", "diff", PAGER=pager)
    assert shown.finish() == 4
    assert "watched/a" in shown.text and not file.exists()


@needs_own_login
@pytest.mark.parametrize("pager", ["false", "true", "head -n 1", "sh -c 'exit 3'"])
def test_a_pager_that_quits_early_is_no_error(many: Cli, pager: str) -> None:
    """Nothing is said of it, and the exit code is that of diff."""
    shown = on_terminal(many, "diff", "--flat", PAGER=pager)
    assert shown.finish() == 1
    assert "fimscan:" not in shown.text and "rror" not in shown.text


@pytest.mark.parametrize(
    "arguments", [("diff", "--format", "json"), ("diff", "--format", "csv"), ("diff", "--out", "/dev/null"), ("scan",)]
)
def test_only_texts_of_reports_are_paged(few: Cli, arguments: tuple[str, ...]) -> None:
    """Documents for programs, files, and what a scan says are not."""
    pager, file = recording(few.root)
    on_terminal(few, *arguments, *(("--no-audit",) if "scan" in arguments else ()), PAGER=pager).finish()
    assert not file.exists()


def test_without_a_terminal_nothing_is_paged(few: Cli) -> None:
    """A pipe gets plain text."""
    pager, file = recording(few.root)
    done = few("diff", code=4, env={**os.environ, "PAGER": pager, "FIMSCAN_PAGER": pager, "TERM": "xterm"})
    assert "watched/a" in done.stdout and "\x1b" not in done.stdout and not file.exists()


def test_an_error_comes_without_the_pager(cli: Cli) -> None:
    """A report that cannot be made starts no pager, and its exit code stays."""
    pager, file = recording(cli.root)
    shown = on_terminal(cli, "diff", PAGER=pager)
    assert shown.finish() == 24
    assert "fimscan:" in shown.text and not file.exists()


@needs_own_login
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP], ids=["TERM", "HUP"])
@pytest.mark.parametrize("pager", ["sleep 60", "cat | sleep 60", "{stubborn}"])
def test_a_signal_ends_the_pager_too(many: Cli, pager: str, number: signal.Signals) -> None:
    """Nothing is left on the terminal that reads from it: no part of a pipeline, and none that ignores signals."""
    stubborn = many.root / "stubborn"
    stubborn.write_text("#!/bin/sh\ntrap '' TERM HUP\nsleep 61; sleep 62\n")
    stubborn.chmod(0o755)
    shown = on_terminal(many, "diff", "--flat", PAGER=pager.format(stubborn=stubborn))
    children: list[str] = []
    for _ in range(100):
        shown.quiet(0.1)
        children = children_of(shown.pid)
        if any("sleep" in commands_of(pid) for pid in descendants_of(shown.pid)):
            break
    children += children_of(children[0])
    begin = time.monotonic()
    os.kill(shown.pid, number)
    assert shown.finish() == 128 + number
    assert time.monotonic() - begin < 25
    assert [pid for pid in children if "stubborn" in commands_of(pid) or "sleep" in commands_of(pid)] == []


def children_of(pid: int | str) -> list[str]:
    """The pids of its children."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return []


def descendants_of(pid: int | str) -> list[str]:
    """The pids of its children, and of theirs."""
    return [found for child in children_of(pid) for found in (child, *descendants_of(child))]


def commands_of(pid: str) -> str:
    """Its command line; empty if it is gone."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_text()
    return ""


@pytest.fixture(autouse=True)
def _terminal_settings() -> Iterator[None]:
    """The tests need a pseudo-terminal."""
    try:
        first, second = pty.openpty()
    except OSError:
        pytest.skip("there is no pseudo-terminal")
    os.close(first)
    os.close(second)
    yield
