"""The API of attempts: a watched directory, an unprivileged user, and an innocent root process."""

from __future__ import annotations

import atexit
import os
import select
import shutil
import stat
import subprocess
import tempfile
import time
from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TypeAlias

from tests.lab.bench import end_all
from tests.lab.ground import Unavailable

Steps: TypeAlias = Generator[None, None, None]
"""A running attempt: at each ``yield``, fimscan scans."""

ATTACKER = 61616
"""The user id of the attacker: no account has it, and it has no capability."""
VICTIM = 61617
"""The uid that an attempt tries to get named as the login user."""

SOURCES = Path(__file__).parent / "src"
_CANNOT_BE_DONE_HERE = 77
_PATIENCE = 15.0
# The clocks of audit and of file times have steps of a few milliseconds.
_APART = 0.06


def compiled(directory: Path) -> Path:
    """Put the programs of the attempts below a directory; return where they are."""
    programs = directory / "programs"
    shutil.copytree(_compiled_once(), programs)
    return programs


@cache
def _compiled_once() -> Path:
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        raise Unavailable("there is no C compiler")
    programs = Path(tempfile.mkdtemp(prefix="fimscan-programs-"))
    atexit.register(shutil.rmtree, programs, ignore_errors=True)
    for source in sorted(SOURCES.glob("*.c")):
        shared = source.stem == "preloaded"
        output = programs / (f"{source.stem}.so" if shared else source.stem)
        command = [compiler, "-D_GNU_SOURCE", "-O1", "-w", "-o", str(output), str(source), "-lpthread"]
        done = subprocess.run(command + ["-shared", "-fPIC"] * shared, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    for program in (programs, *programs.iterdir()):
        program.chmod(0o755)
    return programs


class Running:
    """A program of the user that acts on request."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        said = self._line()
        if said != b"ready\n":
            _, words = process.communicate(timeout=_PATIENCE)
            if process.returncode == _CANNOT_BE_DONE_HERE or words.startswith(b"unshare: unshare failed"):
                raise Unavailable(words.decode().strip())
            raise AssertionError((process.args, said, words))

    def go(self) -> None:
        """Let the program act."""
        assert self._process.stdin is not None
        self._process.stdin.write(b"\n")
        self._process.stdin.flush()
        self.has_done()

    def has_done(self) -> None:
        """Wait until the program has acted."""
        assert self._line() == b"done\n", self._process.args

    def _line(self) -> bytes:
        assert self._process.stdout is not None
        output, said = self._process.stdout.fileno(), b""
        while not said.endswith(b"\n"):
            assert select.select([output], [], [], _PATIENCE)[0], f"{self._process.args!r}: nothing but {said!r}"
            byte = os.read(output, 1)
            if not byte:
                break
            said += byte
        return said


@dataclass
class Bench:
    """The directories of an attempt: ``here`` is watched, ``elsewhere`` is not; the user owns both.

    ``judged`` are the paths whose answers are checked. ``honest`` are the root processes that really took part.
    ``persons`` are login users that must not be named as a fact. ``quoted`` are words that ``explain`` must not print.
    """

    name: str
    here: Path
    elsewhere: Path
    programs: Path
    judged: list[Path] = field(default_factory=list)
    honest: set[int] = field(default_factory=set)
    persons: set[int] = field(default_factory=set)
    quoted: list[str] = field(default_factory=list)
    alive: list[subprocess.Popen[bytes]] = field(default_factory=list)
    before: dict[Path, object] = field(default_factory=dict)
    mounted: list[str] = field(default_factory=list)

    # ---- files

    def target(self, name: str = "target", *, own: bool = False, content: str = "one\n" * 50) -> Path:
        """Create the file to change: of root and writable by all or, with ``own``, of the user."""
        path = self.here / name
        path.parent.mkdir(parents=True, exist_ok=True)
        os.chown(path.parent, ATTACKER, ATTACKER)
        path.write_text(content)
        path.chmod(0o666)
        if own:
            os.chown(path, ATTACKER, ATTACKER)
        self.judged.append(path)
        return path

    def note_looks(self) -> None:
        """Record the state of the files before the attempt."""
        self.before = {path: _looks(path) for path in self.judged}

    def has_worked(self) -> bool:
        """Whether one of the files changed; otherwise the attempt did not work."""
        return any(_looks(path) != self.before.get(path) for path in self.judged)

    # ---- root

    def innocent(self, path: Path, text: str | None = None) -> int:
        """Let a process of root open the file for writing and close it, or append a text; return its pid."""
        return self.root(str(self.programs / "innocent"), str(path), *([text] if text else []))

    def root(self, *command: str, codes: Iterable[int] = (0,)) -> int:
        """Run a command as root to its end."""
        time.sleep(_APART)
        process = subprocess.Popen(command, cwd=self.elsewhere, stderr=subprocess.PIPE)
        _, words = process.communicate(timeout=_PATIENCE)
        if process.returncode == _CANNOT_BE_DONE_HERE:
            raise Unavailable(words.decode().strip())
        assert process.returncode in codes, (command, words)
        time.sleep(_APART)
        return process.pid

    # ---- the user

    def user(self, *command: str, **variables: str) -> int:
        """Run a command as the user to its end; return its pid."""
        process = self._start(command, variables)
        _, words = process.communicate(timeout=_PATIENCE)
        if process.returncode == _CANNOT_BE_DONE_HERE or words.startswith(b"unshare: unshare failed"):
            raise Unavailable(words.decode().strip())
        assert process.returncode == 0, (command, process.returncode, words)
        return process.pid

    def shell(self, code: str) -> int:
        """Run bash as the user; ``$P`` is the directory of the programs."""
        return self.user("bash", "-ec", code, P=str(self.programs))

    def in_namespaces(self, code: str) -> int:
        """Run bash as the user, as root of a new user and mount namespace."""
        return self.user("unshare", "-Urm", "bash", "-ec", code, P=str(self.programs))

    def program(self, name: str, *arguments: str | Path) -> int:
        """Run one of the programs as the user."""
        return self.user(str(self.programs / name), *map(str, arguments))

    def holding(self, name: str, *arguments: str | Path) -> Running:
        """Start one of the programs as the user; wait until it is ready."""
        return Running(self._start((str(self.programs / name), *map(str, arguments)), {}))

    def holding_in_namespaces(self, name: str, *arguments: str | Path) -> Running:
        """As :meth:`holding`, as root of a new user and mount namespace."""
        return Running(self._start(("unshare", "-Urm", str(self.programs / name), *map(str, arguments)), {}))

    def holding_late(self, call: str, target: Path, *other: Path) -> Running:
        """Begin a call of the user's on the target that finds it only on request (``fuse late-CALL``).

        The name is in a file of a FUSE file system that root has mounted for users, such as sshfs by way of fstab.
        """
        device, place = self.fuse_device()
        command = (str(self.programs / "fuse"), f"late-{call}", device, place, str(target), str(ATTACKER))
        self.mounted.append(place)
        return Running(self._run((*command, *map(str, other)), {}))

    def fuse_device(self) -> tuple[str, str]:
        """Make (a device of FUSE that is open to all, as on most machines, a directory to mount on)."""
        number = len(list(self.elsewhere.glob("fuse*")))
        device, place = self.elsewhere / f"fuse{number}", self.elsewhere / f"mounted{number}"
        os.mknod(device, stat.S_IFCHR | 0o666, os.makedev(10, 229))
        device.chmod(0o666)
        place.mkdir()
        return str(device), str(place)

    def _start(self, command: Sequence[str], variables: dict[str, str]) -> subprocess.Popen[bytes]:
        user = ["setpriv", f"--reuid={ATTACKER}", f"--regid={ATTACKER}", "--clear-groups", "--inh-caps=-all"]
        return self._run([*user, *command], variables)

    def _run(self, command: Sequence[str], variables: dict[str, str]) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            command,
            cwd=self.elsewhere,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
            env={"PATH": os.environ["PATH"], **variables},
        )
        self.alive.append(process)
        return process

    @property
    def has_running(self) -> bool:
        """Whether a process of the user runs: it may have files open."""
        return any(process.poll() is None for process in self.alive)

    def clean_up(self) -> None:
        """End the remaining processes of the user in this attempt."""
        end_all(self.alive)
        for place in self.mounted:
            subprocess.run(["umount", "--lazy", place], stderr=subprocess.DEVNULL, check=False)


def end_processes_of_the_user() -> None:
    """End all processes of the user id, which no account of the machine has."""
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                if os.stat(f"/proc/{entry}").st_uid == ATTACKER or _real_user(entry) == ATTACKER:
                    os.kill(int(entry), 9)
            except (FileNotFoundError, ProcessLookupError):
                continue


def _real_user(pid: str) -> int:
    with open(f"/proc/{pid}/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("Uid:"))


def _looks(path: Path) -> object:
    try:
        state = path.lstat()
    except FileNotFoundError:
        return None
    attributes = {name: os.getxattr(path, name) for name in os.listxattr(path)}
    return path.read_bytes(), state.st_ino, state.st_mode, attributes, state.st_ctime_ns
