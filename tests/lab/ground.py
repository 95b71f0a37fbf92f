"""Install fimscan for a test: a configuration, a scratch directory, and rules loaded into the kernel."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from demo import auditd
from demo.auditd import Daemon
from fimscan.pipeline.history.explain_change import explain
from fimscan.report.documents.explanation import explanation_document
from fimscan.store.database import Database
from tests import forked


class Unavailable(Exception):  # noqa: N818 - it is no error: the scenario is skipped
    """A scenario is skipped: the message says what is missing."""


@dataclass(frozen=True)
class Installation:
    """fimscan with its own configuration and database, a scratch directory, rules loaded for it."""

    root: Path
    watched: Path
    elsewhere: Path
    config: Path

    def run(
        self, *arguments: str, codes: tuple[int, ...] = (0,), timeout: float = 120
    ) -> subprocess.CompletedProcess[bytes]:
        """Run a command; its exit code has to be one of ``codes``."""
        if forked.can_run():
            done = forked.run(["--config", str(self.config), *arguments], Path.cwd(), timeout)
        else:
            command = [sys.executable, "-m", "fimscan", "--config", str(self.config), *arguments]
            done = subprocess.run(command, capture_output=True, check=False, timeout=timeout)
        assert done.returncode in codes, (arguments, done.returncode, done.stdout, done.stderr)
        return done

    @contextmanager
    def explanations(self) -> Iterator[Callable[[dict[str, Any]], list[dict[str, Any]]]]:
        """Return a function: row -> its ``considered`` processes, as in 'fimscan explain --format json'."""
        database = Database(f"sqlite:///{self.root}/fimscan.db", host=os.uname().nodename, create=False)
        try:
            yield lambda row: explanation_document(explain(database, int(row["id"])))["considered"] or []
        finally:
            database.close()


def write_config(root: Path, watched: list[Path], log: str, more: str = "") -> Path:
    """Write a configuration that watches these directories; ``more`` is text of further sections.

    The key belongs to this test process: if two used one key, the rules that one removes would be gaps for the other.
    """
    config = root / "fimscan.toml"
    sections = "".join(f'[[watch]]\npath = "{path}"\n' for path in watched)
    config.write_text(
        f'[database]\nurl = "sqlite:///{root}/fimscan.db"\n'
        f'[audit]\nlogs = ["{log}"]\nkey = "fimscan-lab-{os.getpid()}"\n'
        f'[evidence]\nkey = "{root}/key.pem"\n{more}{sections}'
    )
    return config


def load_rules(installation: Installation) -> list[str]:
    """Load what 'fimscan audit rules' prints; return the rules, for their removal."""
    return auditd.load_rules(installation.run("audit", "rules").stdout.decode())


def dismantle(rules: list[str], *directories: Path) -> None:
    """Remove directories and their rules.

    In this order: the kernel drops the rules of a directory that is gone. Before it deletes a rule, it waits for all
    processors (RCU), some 15 ms.
    """
    for directory in directories:
        shutil.rmtree(directory, ignore_errors=True)
    auditd.remove_rules(rules)


def forget_log(daemon: Daemon) -> None:
    """Make the lab's daemon begin a new log, and remove the old logs, as a rotation does."""
    before = _inode(daemon.log)
    daemon.rotate()
    deadline = time.monotonic() + 20
    while _inode(daemon.log) in (None, before):
        assert time.monotonic() < deadline, "auditd begins no new log"
        time.sleep(0.01)
    time.sleep(0.05)  # until all of its logs have their new names
    for older in Path(daemon.log).parent.glob("audit.log.*"):
        older.unlink(missing_ok=True)


def _inode(path: str) -> int | None:
    with suppress(FileNotFoundError):
        return os.stat(path).st_ino
    return None


@contextmanager
def installed(log: str, more: str = "", place: Path | None = None) -> Iterator[tuple[Installation, list[str]]]:
    """Make an installation and load its rules; it watches below ``place`` or, by default, beside itself.

    Yields the installation and the list of its rules. The caller may change the list: the rules in it are removed at
    the end.
    """
    # auditctl accepts only paths without white space; the path is short and on a disk file system.
    with TemporaryDirectory(prefix="fimscan-lab-", ignore_cleanup_errors=True) as directory:
        root = Path(directory)
        root.chmod(0o755)  # some scenarios run as other users
        watched, elsewhere = (place or root) / "watched", (place or root) / "elsewhere"
        watched.mkdir()
        elsewhere.mkdir()
        config = write_config(root, [watched], log, more.replace("{elsewhere}", str(elsewhere)))
        made = Installation(root=root, watched=watched, elsewhere=elsewhere, config=config)
        rules = load_rules(made)
        try:
            yield made, rules
        finally:
            dismantle(rules, watched, elsewhere)
