"""How soon a command begins: it loads what it needs, and not the libraries of the others."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.conftest import Cli

# What takes time to load: most of half a second for SQLAlchemy, a tenth for each of the next three.
STORE = {"sqlalchemy", "fimscan.store", "alembic"}
CONFIGURATION = {"pydantic", "fimscan.config"}
LOOKS = {"rich", "jinja2"}
SCANNER = {"fimscan.scan", "pathspec", "blake3"}
OTHERS = {"alembic", "apscheduler", "cryptography", "sqlalchemy.dialects.postgresql", *LOOKS}

# fimscan ends without Python's own ending (os._exit).
_TOLD = """\
import os, sys
leave = os._exit
def told(code):
    print(*sys.modules, file=sys.stderr, flush=True)
    leave(code)
os._exit = told
from fimscan.cli.main import main
main(sys.argv[1:])
"""


def loaded(cli: Cli, *arguments: str, code: int = 0) -> set[str]:
    """The modules that a command has loaded by its end."""
    command = [sys.executable, "-c", _TOLD, "--config", str(cli.config), *arguments]
    done = subprocess.run(command, cwd=cli.root, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == code, done.stderr
    return set(done.stderr.split())


@pytest.mark.parametrize("arguments", [("--version",), ("--help",)])
def test_who_asks_for_help_waits_for_nothing(cli: Cli, arguments: tuple[str, ...]) -> None:
    """Neither for the commands, nor for what they need."""
    modules = loaded(cli, *arguments)
    assert "fimscan.cli.main" in modules
    assert modules & (STORE | CONFIGURATION | OTHERS | SCANNER | {"fimscan.audit", "fimscan.model"}) == set()


def test_reading_a_log_needs_no_database(cli: Cli) -> None:
    """'audit events LOG' and 'audit rules' open none, and so load none."""
    log = cli.root / "audit.log"
    log.write_text("")
    modules = loaded(cli, "audit", "events", str(log), "--format", "ndjson")
    assert "fimscan.audit" in modules
    assert modules & (STORE | CONFIGURATION | SCANNER | OTHERS) == set()
    modules = loaded(cli, "audit", "rules")
    assert "fimscan.config" in modules
    assert modules & (STORE | SCANNER | OTHERS) == set()


def test_a_scan_loads_what_it_uses(cli: Cli) -> None:
    """What nobody sees needs no colours, and SQLite no PostgreSQL."""
    cli.scan()  # makes the database, by Alembic, which loads all of them
    modules = loaded(cli, "scan", "--no-audit")
    assert modules > SCANNER
    assert modules & OTHERS == set()
    (cli.watched / "a").write_text("changed")
    cli.scan(4)
    modules = loaded(cli, "diff", "--format", "json", code=4)
    assert "sqlalchemy" in modules
    assert modules & (SCANNER | OTHERS) == set()


def test_a_scan_worker_loads_little() -> None:
    """There is one for each processor, and the first files wait for them."""
    code = "import sys, fimscan.scan.worker; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True, timeout=60)
    unneeded = STORE | CONFIGURATION | OTHERS | {"pathspec", "click", "subprocess", "fimscan.scan.scanner"}
    assert set(done.stdout.split()) & unneeded == set()
