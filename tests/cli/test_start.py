"""Start-up time: a command imports only the libraries that it needs."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.conftest import Cli

# Slow imports: almost half a second for SQLAlchemy, a tenth of a second for each of the next three.
STORE = {"sqlalchemy", "fimscan.store", "alembic"}
CONFIGURATION = {"pydantic", "fimscan.config"}
LOOKS = {"rich", "jinja2"}
SCANNER = {"fimscan.scan", "pathspec", "blake3"}
OTHERS = {"alembic", "apscheduler", "cryptography", "sqlalchemy.dialects.postgresql", *LOOKS}

# fimscan ends with os._exit, so atexit handlers do not run.
_PRINT_MODULES = """\
import os, sys
leave = os._exit
def exit_and_print(code):
    print(*sys.modules, file=sys.stderr, flush=True)
    leave(code)
os._exit = exit_and_print
from fimscan.cli.main import main
main(sys.argv[1:])
"""


def loaded(cli: Cli, *arguments: str, code: int = 0) -> set[str]:
    """The modules that a command has loaded by its end."""
    command = [sys.executable, "-c", _PRINT_MODULES, "--config", str(cli.config), *arguments]
    done = subprocess.run(command, cwd=cli.root, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == code, done.stderr
    return set(done.stderr.split())


@pytest.mark.parametrize("arguments", [("--version",), ("--help",)])
def test_help_imports_no_commands(cli: Cli, arguments: tuple[str, ...]) -> None:
    """Neither the commands nor their libraries."""
    modules = loaded(cli, *arguments)
    assert "fimscan.cli.main" in modules
    assert modules & (STORE | CONFIGURATION | OTHERS | SCANNER | {"fimscan.audit", "fimscan.model"}) == set()


def test_reading_a_log_needs_no_database(cli: Cli) -> None:
    """'audit events LOG' and 'audit rules' do not import the store."""
    log = cli.root / "audit.log"
    log.write_text("")
    modules = loaded(cli, "audit", "events", str(log), "--format", "ndjson")
    assert "fimscan.audit" in modules
    assert modules & (STORE | CONFIGURATION | SCANNER | OTHERS) == set()
    modules = loaded(cli, "audit", "rules")
    assert "fimscan.config" in modules
    assert modules & (STORE | SCANNER | OTHERS) == set()


def test_a_scan_loads_what_it_uses(cli: Cli) -> None:
    """Without output it does not import rich; with SQLite it does not import PostgreSQL's driver."""
    cli.scan()  # creates the database with Alembic, which imports all of them
    modules = loaded(cli, "scan", "--no-audit")
    assert modules > SCANNER
    assert modules & OTHERS == set()
    (cli.watched / "a").write_text("changed")
    cli.scan(4)
    modules = loaded(cli, "diff", "--format", "json", code=4)
    assert "sqlalchemy" in modules
    assert modules & (SCANNER | OTHERS) == set()


def test_a_scan_worker_loads_little() -> None:
    """One worker starts for each processor, and the first files wait for it."""
    code = "import sys, fimscan.scan.worker; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True, timeout=60)
    unneeded = STORE | CONFIGURATION | OTHERS | {"pathspec", "click", "subprocess", "fimscan.scan.scanner"}
    assert set(done.stdout.split()) & unneeded == set()
