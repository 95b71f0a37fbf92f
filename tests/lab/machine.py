"""A machine of its own for a test: private copies of the directories that packages and administrators change.

They are mounted over the real ones in a mount namespace. So dpkg, account tools and fimscan run as they do on any
machine, with the real paths, and the host's files stay as they are.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from demo import auditd
from tests.lab.ground import Unavailable
from tests.packages.debian import ADMIN, Debian

ADMIN_UID = 5  # a user of every Debian system: games
SCREEN = {"COLUMNS": "80", "LINES": "24"}
_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
ENVIRONMENT = {
    **SCREEN,
    "PATH": f"{Path(sys.executable).parent}:{_PATH}",
    "LC_ALL": "C.UTF-8",
    "DEBIAN_FRONTEND": "noninteractive",
}
_OVER = ("/etc", "/usr/games", "/usr/share/doc", "/var/lib/dpkg", "/var/log")
_ENTER = 'for place in "$@"; do mount --bind "$0$place" "$place" || exit 1; done; echo ready; exec sleep infinity'
_ANY = tuple(range(8))


@dataclass(frozen=True)
class Machine:
    """Commands run in the namespace of ``holder``; packages are built with ``debian``."""

    root: Path
    holder: int
    debian: Debian

    def entered(self, *command: str) -> list[str]:
        return ["nsenter", f"--mount=/proc/{self.holder}/ns/mnt", *command]

    def run(self, *command: str, codes: tuple[int, ...] = (0,), uid: int | None = None) -> str:
        """Run a command; ``uid`` is the login user that it has."""
        words = list(command)
        if uid is not None:
            words = ["sh", "-c", f"echo {uid} > /proc/self/loginuid && exec {shlex.join(command)}"]
        done = subprocess.run(
            self.entered(*words),
            capture_output=True,
            check=False,
            timeout=150,
            env={**os.environ, **ENVIRONMENT},
            encoding="utf-8",
        )
        assert done.returncode in codes, (command, done.returncode, done.stdout, done.stderr)
        return done.stdout

    def shell(self, code: str, *, uid: int | None = ADMIN_UID) -> str:
        """Run a script as an administrator who logged in."""
        return self.run("sh", "-ec", code, uid=uid)

    def fimscan(self, *arguments: str, codes: tuple[int, ...] = _ANY) -> str:
        """Run fimscan with the configuration in /etc."""
        return self.run("fimscan", *arguments, codes=codes)


@contextmanager
def machine(log: str) -> Iterator[Machine]:
    """Make a machine with an empty dpkg database, whose audit daemon writes ``log``.

    Raises:
        Unavailable: a program that it needs is missing, or nothing can be mounted.
    """
    needed = ("dpkg", "dpkg-deb", "unshare", "nsenter", "useradd")
    if missing := [name for name in needed if shutil.which(name, path=_PATH) is None]:
        raise Unavailable(f"it needs {', '.join(missing)}")
    if not Path("/usr/games").is_dir():
        raise Unavailable("there is no /usr/games to install programs in")
    with TemporaryDirectory(prefix="fimscan-lab-", ignore_cleanup_errors=True) as directory:
        root = Path(directory)
        root.chmod(0o755)
        debian = _prepare(root)
        command = ["unshare", "--mount", "sh", "-c", _ENTER, str(root / "over"), *_OVER]
        with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True) as holder:
            assert holder.stdout is not None
            try:
                if holder.stdout.readline() != "ready\n":
                    raise Unavailable("nothing can be mounted here")
                yield from _audited(Machine(root=root, holder=holder.pid, debian=debian), log)
            finally:
                holder.kill()


def _prepare(root: Path) -> Debian:
    over = root / "over"
    over.mkdir()
    shutil.copytree("/etc", over / "etc", symlinks=True, ignore_dangling_symlinks=True)
    for name in ("passwd", "group", "shadow", "gshadow"):
        shutil.copy2(f"/etc/{name}", over / "etc" / name)
    for name in ("usr/games", "usr/share/doc", "var/log/app"):
        (over / name).mkdir(parents=True)
    (root / "debian").mkdir()
    debian = Debian.make(root / "debian")
    shutil.copytree(debian.root / ADMIN, over / ADMIN)
    return debian


def _audited(made: Machine, log: str) -> Iterator[Machine]:
    directory = made.root / "over/etc/fimscan"
    directory.mkdir()
    watches = "".join(f'[[watch]]\npath = "{path}"\n' for path in ("/etc", "/usr/games", "/usr/share/doc"))
    (directory / "fimscan.toml").write_text(
        f'[database]\nurl = "sqlite:///{made.root}/db/fimscan.db"\n'
        f'[audit]\nlogs = ["{log}"]\nkey = "fimscan-lab-{os.getpid()}"\n{watches}'
        '[[watch]]\npath = "/var/log/app"\npolicy = "append-only"\n'
    )
    (made.root / "db").mkdir(mode=0o700)
    # auditctl looks up the directories in its own namespace.
    rules = [line for line in made.fimscan("audit", "rules").splitlines() if line.startswith("-a ")]
    try:
        for rule in rules:
            done = subprocess.run(made.entered("auditctl", *rule.split()), capture_output=True, text=True, check=False)
            assert done.returncode == 0 or "Rule exists" in done.stderr, (rule, done.stderr)
        yield made
    finally:
        auditd.remove_rules(rules)
