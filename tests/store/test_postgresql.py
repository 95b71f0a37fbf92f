"""The whole path on PostgreSQL, where one is given: FIMSCAN_TEST_POSTGRESQL=postgresql://user@host/empty_database."""

from __future__ import annotations

import os

import pytest

from tests.conftest import Cli, rows

URL = os.environ.get("FIMSCAN_TEST_POSTGRESQL")

pytestmark = pytest.mark.skipif(URL is None, reason="FIMSCAN_TEST_POSTGRESQL names no database")


def test_scan_diff_and_accept(cli: Cli) -> None:
    """Baseline, changes of every kind, odd names and times, acceptance: as with SQLite."""
    cli.config.write_text(cli.config.read_text().replace(f"sqlite:///{cli.database}", str(URL)))
    (cli.watched / "a-b").mkdir()
    (cli.watched / "a-b" / "inside").write_text("x")
    cli.scan()
    (cli.watched / "a").write_text("other")
    (cli.watched / "b").unlink()
    (cli.watched / "c").rename(cli.watched / "moved")
    (cli.watched / os.fsdecode(b"\xff\n")).write_text("x")
    os.utime(cli.watched / "a-b" / "inside", (10_000_000_000, 10_000_000_000))
    cli.scan(7)
    kinds = sorted(kind for kind, _ in rows(cli.diff()))
    assert kinds == ["added", "attributes", "modified", "moved", "removed"]
    cli.scan(0)
    cli("accept", str(cli.watched / "a"), code=0)
    assert len(cli.diff()["changes"]) == 4
    cli("accept", "--all", code=0)
    cli("diff", code=0)
