"""Fixtures: run fimscan as a subprocess in a temporary directory; schedule tests over pytest-xdist workers."""

from __future__ import annotations

import atexit
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from tests import forked
from tests.schemas import validate_output

# No deadline: the duration of an example depends more on the load of the machine than on the code.
settings.register_profile("fimscan", deadline=None)
settings.load_profile("fimscan")

# Without bytecode files, every subprocess would compile fimscan again, and every worker would compile all tests.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

# What a user was shown last is remembered in files; no test depends on those of the user, or of an earlier run.
os.environ["XDG_STATE_HOME"] = tempfile.mkdtemp(prefix="fimscan-state-")
os.environ["STATE_DIRECTORY"] = os.environ["XDG_STATE_HOME"]
atexit.register(shutil.rmtree, os.environ["XDG_STATE_HOME"], ignore_errors=True)

_SECONDS = 60
# Of the workers that do not run the tests with audit. They still get most of the second processor.
_NICENESS = 10

USE_AUDIT = (
    *("tests/lab/", "tests/framing/", "tests/audit/test_rules.py", "tests/cli/test_audit_status.py"),
    # These do not use audit, but their unprivileged users mount and use io_uring. The lab's rules report that, and it
    # is a gap for the whole host.
    *("tests/linux/test_kept_names.py", "tests/linux/test_hidden_holders.py"),
)
# Each worker that runs tests of these files starts what they share: browsers, servers, a database with much in it.
SHARE_MUCH = (
    *("tests/cli/test_errors.py", "tests/evidence/test_assessment_page.py", "tests/evidence/test_timestamp.py"),
    *("tests/outputs/test_delivery.py", "tests/outputs/test_receivers.py", "tests/pipeline/test_witness.py"),
    *("tests/report/test_page.py", "tests/upkeep/test_prune.py"),
)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Run all tests that use the kernel's audit system in one worker, because there is only one audit system.

    The worker that has them gets no others before their end. Other files whose tests share much have one worker each.

    pytest-xdist's ``loadgroup`` does not work under pytest 9.2.
    """
    from xdist.scheduler import LoadScopeScheduling

    class Scheduling(LoadScopeScheduling):  # type: ignore[misc]  # pytest-xdist ships no types
        def _split_scope(self, nodeid: str) -> str:
            if nodeid.startswith("tests/store/test_postgresql.py"):
                return "postgresql"  # there is one database
            if nodeid.startswith("tests/test_systemd.py"):
                return "systemd"  # two machines would share a control group, and so their units
            if nodeid.startswith(USE_AUDIT):
                return "audit"
            return next((file for file in SHARE_MUCH if nodeid.startswith(file)), nodeid)

    return Scheduling(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Check that every test marked ``audit`` is in a file of ``USE_AUDIT``: the scheduler knows file names only."""
    for item in items:
        if item.get_closest_marker("audit") and not item.nodeid.startswith(USE_AUDIT):
            raise pytest.UsageError(f"{item.nodeid} uses the kernel's audit: name its file in {__name__}.USE_AUDIT")


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Let the tests that use audit go first: they run one after the other, so the whole run waits for them."""
    if "PYTEST_XDIST_WORKER" in os.environ and not item.nodeid.startswith(USE_AUDIT):
        _give_way()


@cache
def _give_way() -> None:
    os.nice(_NICENESS)


@dataclass(frozen=True)
class Cli:
    """A configuration, a database and a watched directory. Calling it runs a command in a subprocess.

    JSON output is validated against its schema.
    """

    root: Path
    watched: Path

    @property
    def database(self) -> Path:
        return self.root / "fim.db"

    @property
    def config(self) -> Path:
        return self.root / "fimscan.toml"

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "fimscan", "--config", str(self.config), *arguments]

    def __call__(
        self, *arguments: str, code: int | None = None, env: Mapping[str, str] | None = None, **options: Any
    ) -> subprocess.CompletedProcess[str]:
        if not options and forked.can_run(env):
            raw = forked.run(["--config", str(self.config), *arguments], self.root, _SECONDS, environment=env)
            done = subprocess.CompletedProcess(raw.args, raw.returncode, _text(raw.stdout), _text(raw.stderr))
        else:
            done = subprocess.run(
                self.command(*arguments),
                capture_output=True,
                check=False,
                timeout=_SECONDS,
                encoding="utf-8",
                cwd=self.root,
                env=env,
                **options,
            )
        assert "Traceback" not in done.stderr, done.stderr
        if code is not None:
            assert done.returncode == code, (arguments, done.returncode, done.stdout, done.stderr)
        validate_output(arguments, done.stdout, done.returncode)
        return done

    def scan(self, code: int = 0) -> str:
        """Scan without audit; return the output."""
        return self("scan", "--no-audit", code=code).stdout

    def diff(self, *arguments: str) -> dict[str, Any]:
        document: dict[str, Any] = json.loads(self("diff", "--format", "json", *arguments).stdout)
        return document

    def write_config(self, extra: str = "", watch: str = "") -> None:
        self.config.write_text(
            f'[database]\nurl = "sqlite:///{self.database}"\n[evidence]\nkey = "{self.root}/key.pem"\n{extra}\n'
            f'[[watch]]\npath = "{self.watched}"\n{watch}\n'
        )


def _text(data: bytes) -> str:
    """With the line ends that ``subprocess`` makes of them in text mode."""
    return data.decode().replace("\r\n", "\n").replace("\r", "\n")


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    """A fresh installation with three files to watch."""
    made = Cli(root=tmp_path, watched=tmp_path / "watched")
    made.watched.mkdir()
    for name in ("a", "b", "c"):
        (made.watched / name).write_text(f"content of {name}\n")
    made.write_config()
    return made


def rows(document: dict[str, Any]) -> list[tuple[str, str]]:
    """(kind, base name) of each row."""
    return [(row["kind"], os.path.basename(row["path"])) for row in document["changes"]]
