"""A real audit system for the tests: the one that runs here, or an auditd of our own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from demo import auditd
from demo.auditd import audit_daemon, remove_rules, why_not

REQUIRED = os.environ.get("FIMSCAN_REQUIRE_AUDIT") == "1"


def unavailable(reason: str) -> None:
    """Skip with the reason; where audit is required, fail."""
    if REQUIRED:
        pytest.fail(f"audit is required here (FIMSCAN_REQUIRE_AUDIT=1), but {reason}")
    pytest.skip(reason)


@pytest.fixture(scope="session")
def audit_log() -> Iterator[str]:
    """The path of a log that a real auditd writes."""
    if reason := why_not():
        unavailable(reason)
    directory = Path(tempfile.mkdtemp(prefix="fimscan-auditd-"))
    with audit_daemon(directory) as log:
        yield log
    shutil.rmtree(directory)


@dataclass(frozen=True)
class Installation:
    """fimscan as a user runs it: its own configuration and database, a scratch directory, rules loaded for it."""

    root: Path
    watched: Path
    elsewhere: Path
    config: Path

    def run(self, *arguments: str, codes: tuple[int, ...] = (0,)) -> subprocess.CompletedProcess[bytes]:
        """Run a command; its exit code has to be one of ``codes``."""
        done = subprocess.run(
            [sys.executable, "-m", "fimscan", "--config", str(self.config), *arguments],
            capture_output=True,
            check=False,
            timeout=120,
        )
        assert done.returncode in codes, (arguments, done.returncode, done.stdout, done.stderr)
        return done


def write_config(root: Path, watched: list[Path], log: str) -> Path:
    config = root / "fimscan.toml"
    sections = "".join(f'[[watch]]\npath = "{path}"\n' for path in watched)
    config.write_text(
        f'[database]\nurl = "sqlite:///{root}/fimscan.db"\n'
        f'[audit]\nlogs = ["{log}"]\nkey = "fimscan-lab"\n'
        f'[evidence]\nkey = "{root}/key.pem"\n{sections}'
    )
    return config


def load_rules(installation: Installation) -> list[str]:
    """Load what 'fimscan audit rules' prints; gives the rules, to be removed again."""
    return auditd.load_rules(installation.run("audit", "rules").stdout.decode())


@pytest.fixture(scope="module")
def installation(audit_log: str) -> Iterator[Installation]:
    """An installation with its rules in the kernel."""
    # Not pytest's tmp_path: a short, plain path on a disk file system, as audit rules take it.
    root = Path(tempfile.mkdtemp(prefix="fimscan-lab-"))
    watched, elsewhere = root / "watched", root / "elsewhere"
    for directory in (watched, watched / "sub", watched / "other", elsewhere):
        directory.mkdir()
    config = write_config(root, [watched], audit_log)
    made = Installation(root=root, watched=watched, elsewhere=elsewhere, config=config)
    rules = load_rules(made)
    yield made
    remove_rules(rules)
    shutil.rmtree(root)
