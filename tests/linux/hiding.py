"""Processes of an unprivileged user that keep a file open for writing without an entry in a descriptor table."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from fimscan.model import Unseen

NOBODY = 65534
_SOURCES = Path(__file__).parent

#: Each way, with the result of an examination: the process itself, a doubt, or nothing (``None``).
WAYS: dict[str, Unseen | str | None] = {
    "plain": "named",
    "undumpable": "named",
    "mapped": "named",
    "mapped-among-others": "named",
    "ring": "named",
    "thread": "named",
    "thread-of-an-ended-leader": "named",
    "fork-chain": "named",
    "in-flight": Unseen.IN_FLIGHT,
    "in-flight-nested": Unseen.IN_FLIGHT,
    # The kernel shows these nowhere; only its count of writers includes them.
    "ring-without-descriptor": None,
    "blocked-call": None,
}


class Unavailable(Exception):  # noqa: N818 - it is no error: the test is skipped
    """A requirement of a test is missing; the text says which."""


@dataclass(frozen=True)
class Ground:
    """A directory that every user may use, with the compiled programs."""

    root: Path
    is_root: bool

    def file(self, name: str, directory: Path | None = None) -> Path:
        """A file that every user may write to."""
        path = (directory or self.root) / name
        path.write_bytes(b"old\n" * 30)
        path.chmod(0o666)
        return path

    @contextmanager
    def held(self, way: str, path: Path, *, is_setuid: bool = False) -> Iterator[subprocess.Popen[bytes]]:
        """A process of the user that holds the file; :meth:`go` makes it write.

        ``is_setuid``: it is root's by its effective ids, as a setuid program that the user started.
        """
        command = [str(self.root / "hidden_holder"), way, str(path), str(self.root / "go")]
        with self._started(
            ["setpriv", f"--ruid={NOBODY}", *command] if is_setuid else command, as_root=is_setuid
        ) as it:
            yield it

    def go(self, processes: list[subprocess.Popen[bytes]]) -> None:
        """Make the processes write, and wait for it."""
        (self.root / "go").touch()
        for process in processes:
            # All their processes, including the last of a chain, share their standard output.
            assert process.stdout is not None
            process.stdout.read()

    @contextmanager
    def fuse_beside(self, path: Path) -> Iterator[subprocess.Popen[bytes]]:
        """A process that holds the file, and also one on its own FUSE file system."""
        device = self.root / "fuse"
        try:
            # As in distributions: every user may open it.
            os.mknod(device, 0o666 | stat.S_IFCHR, os.stat("/dev/fuse").st_rdev)
            device.chmod(0o666)
        except OSError as error:
            raise Unavailable(f"/dev/fuse: {error.strerror}") from error
        place = self.root / "mounted"
        place.mkdir(exist_ok=True)
        place.chmod(0o777)
        command = ["unshare", "-Urm", str(self.root / "fuse_beside"), str(path), str(place), str(device)]
        with self._started(command) as process:
            yield process

    @contextmanager
    def _started(self, command: list[str], *, as_root: bool = False) -> Iterator[subprocess.Popen[bytes]]:
        user = {"user": NOBODY, "group": NOBODY, "extra_groups": []} if self.is_root and not as_root else {}
        with subprocess.Popen(command, stdout=subprocess.PIPE, **user) as process:  # type: ignore[call-overload]
            try:
                assert process.stdout is not None
                said = process.stdout.readline()
                if said != b"ready\n":
                    raise Unavailable(f"{command[1]}: {said.decode().strip()}")
                yield process
            finally:
                process.kill()
                (self.root / "go").touch()  # the processes of a chain end by themselves
                process.wait()
                process.stdout.read()
                (self.root / "go").unlink()


@contextmanager
def hiding_ground() -> Iterator[Ground]:
    """Create a directory with the compiled programs.

    Raises:
        Unavailable: they cannot be compiled here.
    """
    compiler = shutil.which("cc")
    if compiler is None:
        raise Unavailable("there is no C compiler")
    with tempfile.TemporaryDirectory(prefix="fimscan-holders-") as directory:
        root = Path(directory)
        root.chmod(0o755)
        for source in _SOURCES.glob("*.c"):
            subprocess.run([compiler, "-O1", "-o", root / source.stem, source, "-lpthread"], check=True)
        yield Ground(root=root, is_root=os.geteuid() == 0)
