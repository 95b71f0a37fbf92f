"""The API of scenarios: start processes, remember them, and record the expected answers."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeAlias

from demo import auditd
from demo.auditd import Daemon
from tests.lab.forks import ForkTracker
from tests.lab.ground import Unavailable

Actor: TypeAlias = dict[str, Any]
"""An actor as ``fimscan diff --format json`` prints it."""


class Who(Protocol):
    """A process or user that an answer can name."""

    def is_named_by(self, actor: Actor) -> bool:
        """Whether an actor of a report is this process or user."""


@dataclass(frozen=True)
class Process:
    """A process that the lab started, and the programs that it executed."""

    pid: int
    programs: tuple[str, ...]
    forks: ForkTracker

    def is_named_by(self, actor: Actor) -> bool:
        return actor["pid"] == self.pid and actor["exe"] in self.programs

    def child(self, program: str) -> Descendant:
        """The descendant (or the process itself) that ran this program."""
        return Descendant(self, os.path.realpath(located(program)))

    def __str__(self) -> str:
        return f"{os.path.basename(self.programs[0])}[{self.pid}]"


@dataclass(frozen=True)
class Descendant:
    """A descendant that the lab did not start itself, identified by the kernel's process events and its program."""

    ancestor: Process
    program: str

    def is_named_by(self, actor: Actor) -> bool:
        return actor["exe"] == self.program and self.ancestor.forks.has(self.ancestor.pid, actor["pid"])

    def __str__(self) -> str:
        return f"{os.path.basename(self.program)} of {self.ancestor}"


class Running:
    """A Python process that runs in steps: ``pause()`` in its code waits for :meth:`go`."""

    def __init__(self, process: subprocess.Popen[bytes], who: Process) -> None:
        self._process = process
        self.who = who
        self.go()  # until its first pause

    def go(self) -> None:
        """Let it run until its next pause or its end."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(b"\n")
        self._process.stdin.flush()
        assert self._process.stdout.readline() == b"paused\n", "it ended too early"

    def end(self) -> Process:
        """Let it run to its end."""
        self._process.communicate(b"\n" * 10, timeout=60)
        assert self._process.returncode == 0, self._process.args
        return self.who


class EarlyProcess:
    """A process that is started before the lab enables audit, and writes on request."""

    def __init__(self, forks: ForkTracker) -> None:
        code = "import sys\nfor line in sys.stdin:\n open(line[:-1], 'w').write('early'); print('done', flush=True)"
        self._process = subprocess.Popen(
            [sys.executable, "-ISc", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.who = Process(self._process.pid, (os.path.realpath(sys.executable),), forks)

    def write(self, path: Path) -> None:
        """Make it open and write a file."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(f"{path}\n")
        self._process.stdin.flush()
        assert self._process.stdout.readline() == "done\n"

    def end(self) -> None:
        """End the process."""
        self._process.communicate()


@dataclass(frozen=True)
class Expected:
    """One row that the report must have, with its right answer.

    ``named`` are the processes that it must name, with their roles; ``doers`` are all that took part, named or not;
    ``bystanders`` may be named. ``or_else`` are other right answers. ``path`` is relative to the scenario's directory,
    or absolute; ``None`` stands for every row that has no expectation of its own.
    """

    path: bytes | None
    kind: str | None
    verdict: str
    reason: str | None = None
    named: tuple[tuple[str | None, Who], ...] = ()
    doers: tuple[Who, ...] = ()
    bystanders: tuple[Who, ...] = ()
    or_else: tuple[tuple[str, str | None], ...] = ()
    moved_from: bytes | None = None
    gap: str | None = None
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def answers(self) -> tuple[tuple[str, str | None], ...]:
        """Each right verdict, with its reason."""
        return ((self.verdict, self.reason), *self.or_else)


Roles: TypeAlias = Who | tuple[Who, ...]

_PRELUDE = """\
import ctypes, os, socket, sys
libc = ctypes.CDLL(None, use_errno=True)
def pause():
    print("paused", flush=True); sys.stdin.readline()
def call(number, *arguments):
    result = libc.syscall(ctypes.c_long(number), *arguments)
    if result < 0: raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result
"""


@dataclass
class Lab:
    """The API of one scenario: ``here`` is its watched directory, ``elsewhere`` one that is not watched.

    ``kind`` is the kind of its file system: ``ext4``, ``xfs``, ``btrfs``, ``overlay``, ``tmpfs``. ``counts_links`` is
    false if a change of one hard link of a lower layer makes it a separate file, which the other links do not show.
    """

    name: str
    here: Path
    elsewhere: Path
    forks: ForkTracker
    daemon: Daemon
    early: EarlyProcess
    rules: list[str]
    expected: list[Expected] = field(default_factory=list)
    unmodified: list[tuple[bytes, Who]] = field(default_factory=list)
    alive: list[subprocess.Popen[bytes]] = field(default_factory=list)
    reload_rules: Callable[[], None] = lambda: None
    apart_s: float = 0.1
    kind: str = "ext4"
    counts_links: bool = True

    # ---- actions

    def wait_apart(self) -> None:
        """Wait until the times of audit and of the file system distinguish earlier from later events."""
        time.sleep(self.apart_s)

    def file(self, name: str | bytes, content: str = "content\n") -> Path:
        """Create a file that exists before the scenario begins."""
        path = self.here / os.fsdecode(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
        return path

    def links(self, *names: str) -> None:
        """Create a file with several names before the scenario begins."""
        first = self.file(names[0])
        for name in names[1:]:
            (self.here / name).hardlink_to(first)

    def start(
        self,
        *command: str | bytes,
        cwd: Path | None = None,
        stdin: int = subprocess.DEVNULL,
        stdout: int = subprocess.DEVNULL,
        env: Mapping[str, str] | None = None,
    ) -> subprocess.Popen[bytes]:
        """Start a program in the scenario's directory."""
        process = subprocess.Popen(
            [located(os.fsdecode(command[0])), *command[1:]],
            cwd=cwd or self.here,
            stdin=stdin,
            stdout=stdout,
            stderr=subprocess.PIPE,
            env=env,
        )
        self.alive.append(process)
        return process

    def run(
        self, *command: str | bytes, cwd: Path | None = None, codes: Iterable[int] = (0,), **options: Any
    ) -> Process:
        """Run a program to its end."""
        process = self.start(*command, cwd=cwd, **options)
        _, said = process.communicate(timeout=120)
        assert process.returncode in codes, (command, process.returncode, said)
        return self.process(process.pid, os.fsdecode(command[0]))

    def process(self, pid: int, *programs: str) -> Process:
        """The process with this pid, which executed these programs."""
        return Process(pid, tuple(os.path.realpath(located(program)) for program in programs), self.forks)

    def shell(self, code: str, **options: Any) -> Process:
        """Run bash with this code."""
        return self.run("bash", "-c", code, **options)

    def logged_in(self, user: int, *command: str) -> Process:
        """Run a program in a login session: its auid is set first."""
        code = f"open('/proc/self/loginuid', 'w').write('{user}'); os.execvp({command[0]!r}, {list(command)!r})"
        return self.process(self.python(code).pid, command[0])

    def python(self, code: str, **options: Any) -> Process:
        """Run Python code; ``libc`` and ``call(number, ...)`` give access to other system calls."""
        return self.run(sys.executable, "-ISc", _PRELUDE + code, **options)

    def steps(self, code: str) -> Running:
        """Start Python code, up to its first ``pause()``."""
        code = _PRELUDE + "sys.stdin.readline()\n" + code
        process = self.start(sys.executable, "-ISc", code, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        return Running(process, self.process(process.pid, sys.executable))

    def auditctl(self, *arguments: str) -> None:
        """Run auditctl, which must succeed."""
        done = auditd.auditctl(*arguments)
        assert done.returncode == 0, (arguments, done.stderr)

    @contextmanager
    def mounted(self, *options: str, at: Path | None = None) -> Iterator[Path]:
        """Mount something until the scenario ends, by default at a directory that is not monitored."""
        place = at or self.elsewhere / "mounted"
        place.mkdir(exist_ok=True)
        self.run("mount", *options, str(place))
        try:
            yield place
        finally:
            self.run("umount", "-l", str(place))

    def needs_own_daemon(self) -> None:
        """Skip the scenario unless the lab started the audit daemon."""
        if not self.daemon.is_ours:
            raise Unavailable(
                "an auditd runs that is not ours to stop (FIMSCAN_LAB_OWN_DAEMON=1 lets ours take its place)"
            )

    # ---- expected answers

    def expect(
        self,
        kind: str | None,
        path: str | bytes | None,
        *,
        verdict: str = "confirmed",
        reason: str | None = None,
        by: Roles = (),
        perhaps: Roles = (),
        or_else: tuple[tuple[str, str | None], ...] = (),
        moved_from: str | None = None,
        gap: str | None = None,
        facts: dict[str, Any] | None = None,
        **roles: Roles,
    ) -> None:
        """Expect a row that names these processes by role.

        ``by`` are processes that took part and must not be named, because no evidence shows it. ``perhaps`` are
        processes that may be named. ``or_else`` are other right verdicts with their reasons. ``gap`` is a reason that
        the coverage must have. ``facts`` are fields that the first actor must have.
        """
        named = tuple((None if role == "any" else role, who) for role, some in roles.items() for who in _several(some))
        doers = (*_several(by), *(who for _, who in named))
        self.expected.append(
            Expected(
                path=None if path is None else os.fsencode(path),
                kind=kind,
                verdict=verdict,
                reason=reason,
                named=named,
                doers=doers,
                bystanders=_several(perhaps),
                or_else=or_else,
                moved_from=None if moved_from is None else os.fsencode(moved_from),
                gap=gap,
                facts=facts or {},
            )
        )

    def added(self, path: str | bytes, **answer: Any) -> None:
        """Expect an added file."""
        self.expect("added", path, **answer)

    def removed(self, path: str | bytes, **answer: Any) -> None:
        """Expect a removed file."""
        self.expect("removed", path, **answer)

    def modified(self, path: str | bytes, **answer: Any) -> None:
        """Expect a modified file."""
        self.expect("modified", path, **answer)

    def moved(self, moved_from: str, path: str | bytes, **answer: Any) -> None:
        """Expect a moved file."""
        self.expect("moved", path, moved_from=moved_from, **answer)

    def attributes(self, path: str | bytes, **answer: Any) -> None:
        """Expect a file with changed attributes and unchanged content."""
        self.expect("attributes", path, **answer)

    def links_counted(self, path: str | bytes, **answer: Any) -> None:
        """Expect a changed link count; no row if the file system has none."""
        if self.counts_links:
            self.attributes(path, **answer)

    def all_else(self, who: Who, kind: str | None = None) -> None:
        """Attribute every other change in this scenario's directory to this process."""
        self.expect(kind, None, any=who)

    def opened_unmodified(self, path: str | bytes, who: Who) -> None:
        """Expect no row, but an entry among the files that were opened for writing and not changed.

        On an overlay, opening a file of a lower layer for writing copies it up: the copy has its own times.
        """
        if self.kind == "overlay":
            self.attributes(path, any=who)
            return
        self.unmodified.append((os.fsencode(path), who))


def _several(who: Roles) -> tuple[Who, ...]:
    return who if isinstance(who, tuple) else (who,)


def located(program: str) -> str:
    """Path of a program; skip the scenario if it is not installed."""
    found = shutil.which(program) or shutil.which(program, path="/usr/sbin:/sbin")
    if found is None:
        raise Unavailable(f"{os.path.basename(program)} is not installed")
    return found


def end_all(processes: Iterable[subprocess.Popen[bytes]]) -> None:
    """End processes that still run, and close their streams."""
    for process in processes:
        if process.poll() is None:
            process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout, process.stderr):
            if stream is not None:
                stream.close()
