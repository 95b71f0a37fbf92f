"""The whole path on PostgreSQL, if FIMSCAN_TEST_POSTGRESQL names an empty database (postgresql://user@host/name)."""

from __future__ import annotations

import json
import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from fimscan.config import parse_config
from fimscan.errors import LockedError, StoreError
from fimscan.pipeline import run_scan
from fimscan.pipeline.record import ctime_trust
from fimscan.store import scans
from fimscan.store.database import Database
from tests.conftest import Cli, rows
from tests.pipeline.test_audit_reading import event

URL = os.environ.get("FIMSCAN_TEST_POSTGRESQL")

pytestmark = pytest.mark.skipif(URL is None, reason="FIMSCAN_TEST_POSTGRESQL names no database")


def test_scan_diff_and_accept(cli: Cli) -> None:
    """Baseline, changes of every kind, odd names and times, acceptance, messages: as with SQLite."""
    out = cli.root / "gone" / "out"
    cli.write_config(f'[outbox]\nmax_messages = 10\n[[output]]\nname = "o"\ntype = "file"\npath = "{out}"\n')
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
    cli("notify", code=1)
    out.parent.mkdir()
    cli("notify", "--test", code=0)
    assert [json.loads(line)["kind"] for line in out.read_text().splitlines()] == ["baseline", "changes", "test"]
    kinds = sorted(kind for kind, _ in rows(cli.diff()))
    assert kinds == ["added", "attributes", "modified", "moved", "removed"]
    cli.scan(0)
    cli("accept", str(cli.watched / "a"), code=0)
    assert len(cli.diff()["changes"]) == 4
    cli("accept", "--all", "--even-outstanding", code=0)
    cli("diff", code=0)

    log = cli.root / "audit.log"
    log.write_text("")
    cli("scan", "--audit-log", str(log), code=0)
    (cli.watched / "a").write_text("again")
    opened = time.time()
    log.write_text(event(cli.watched / "a", 1, at=opened))
    cli("scan", "--audit-log", str(log), code=4)
    (change,) = cli.diff()["changes"]
    assert [actor["pid"] for actor in change["attribution"]["actors"]] == [4242]
    assert "type=SYSCALL" in cli("explain", str(change["id"]), code=0).stdout
    with log.open("a") as file:  # late records: answers are revised
        file.write(event(cli.watched / "a", 2, pid=4343, at=opened))
    cli("scan", "--audit-log", str(log), code=0)
    (change,) = cli.diff()["changes"]
    assert sorted(actor["pid"] for actor in change["attribution"]["actors"]) == [4242, 4343]
    assert len(cli("audit", "events", "--format", "ndjson", code=0).stdout.splitlines()) == 2
    # This database returns the covered rows as they were written, too.
    assert "FAIL" not in cli("verify", "--db", "--all", code=0).stdout


def test_ctime_vouches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stored stats compare equal, links and large numbers included, so unchanged files are not read."""
    monkeypatch.setattr(ctime_trust, "_FRESH_NS", 0)
    watched = tmp_path / "watched"
    watched.mkdir()
    for name in ("a", "b"):
        (watched / name).write_text(name)
    (watched / "link").symlink_to("a")
    config = parse_config(f'[[watch]]\npath = "{watched}"\nreread = "ctime"\n')
    database = Database(str(URL), host="vouching")
    first, second = run_scan(database, config, source=None), run_scan(database, config, source=None)
    assert second.scan.counts["vouched"] == 3
    assert second.scan.state_digest == first.scan.state_digest
    (watched / "b").write_text("B")
    third = run_scan(database, config, source=None)
    assert third.scan.counts["vouched"] == 2
    assert [finding.change.path for finding in third.diff.findings] == [os.fsencode(watched / "b")]
    database.close()


def test_each_host_has_a_scan_lock_of_its_own(tmp_path: Path) -> None:
    """While one host scans, another one scans, too; a second scan of the same host is refused."""
    watched = tmp_path / "watched"
    watched.mkdir()
    config = parse_config(f'[[watch]]\npath = "{watched}"\ncategory = "{tmp_path}"\n')
    first, again, other = (Database(str(URL), host=name) for name in ("one", "one", "other"))
    with first.scan_lock():
        assert first.is_scanning() and again.is_scanning() and not other.is_scanning()
        with pytest.raises(LockedError), again.scan_lock():
            pass
        assert run_scan(other, config, source=None).is_baseline
    assert not first.is_scanning()
    run_scan(again, config, source=None)
    for database in (first, again, other):
        database.close()


def test_each_host_has_a_delivery_lock_of_its_own() -> None:
    """One process delivers a host's messages; when it has released the lock, or is gone, another one does."""
    first, again, other = (Database(str(URL), host=name) for name in ("one", "one", "other"))
    release, elsewhere = first.try_outbox_lock(), other.try_outbox_lock()
    assert release is not None and elsewhere is not None
    assert again.try_outbox_lock() is None
    release()
    deadline = time.monotonic() + 30
    while (taken := again.try_outbox_lock()) is None:  # the server notices a closed connection a moment later
        assert time.monotonic() < deadline
        time.sleep(0.05)
    for done in (taken, elsewhere):
        done()
    for database in (first, again, other):
        database.close()


def test_hosts_with_one_configuration_begin_at_the_same_time(tmp_path: Path) -> None:
    """The configuration is stored once; whoever is second waits, and does not fail."""
    first, other = (Database(str(URL), host=name) for name in ("one", "other"))
    text = str(tmp_path)

    def begin(database: Database) -> None:
        with database.begin() as session:
            scans.begin(session, trigger="manual", started_ns=1, config_digest=text[-64:], config_text=text)

    with ThreadPoolExecutor() as pool:
        with first.begin() as session:
            scans.begin(session, trigger="manual", started_ns=1, config_digest=text[-64:], config_text=text)
            waiting = pool.submit(begin, other)
            time.sleep(0.5)
        waiting.result(timeout=10)
    for database in (first, other):
        with database.begin() as session:
            assert len(scans.interrupt_unfinished(session)) == 1
        database.close()


def test_the_clock_is_that_of_the_server() -> None:
    """In nanoseconds since 1970; here both are on one machine."""
    database = Database(str(URL), host="h")
    before_ns = time.time_ns()
    at_ns = database.clock_ns()
    database.close()
    assert before_ns - 10**9 < at_ns < time.time_ns() + 10**9


def test_a_foreign_schema_is_refused() -> None:
    """What could rewrite or hide rows: triggers, rules, policies, indexes on our tables."""
    database = Database(str(URL), host="h")
    for make, undo in (
        ("CREATE RULE r AS ON DELETE TO change DO INSTEAD NOTHING", "DROP RULE r ON change"),
        ("CREATE POLICY p ON change USING (false)", "DROP POLICY p ON change"),
        ("CREATE INDEX i ON change (kind)", "DROP INDEX i"),
    ):
        with database.begin() as session:
            session.connection.exec_driver_sql(make)
        with pytest.raises(StoreError, match="which fimscan did not make"):
            Database(str(URL), host="h")
        with database.begin() as session:
            session.connection.exec_driver_sql(undo)
    Database(str(URL), host="h").close()
    database.close()


def test_pruning(cli: Cli) -> None:
    """With references that the server checks at each statement; both chains and the diff stay."""
    ages = "\n".join(f'{kind} = "1s"' for kind in ("findings", "scans", "accesses", "controls", "outbox"))
    cli.write_config(f"[retention]\n{ages}")
    cli.config.write_text(cli.config.read_text().replace(f"sqlite:///{cli.database}", str(URL)))
    log = cli.root / "audit.log"
    log.write_text("")
    cli("scan", "--audit-log", str(log))
    for number, text in enumerate(("one", "two", "three"), 1):
        (cli.watched / "a").write_text(text)
        with log.open("a") as file:
            file.write(event(cli.watched / "a", number))
        cli("scan", "--audit-log", str(log))
    cli("accept", "--all", "--even-outstanding", code=0)
    (cli.watched / "b").write_text("waits")
    cli("scan", "--audit-log", str(log))
    time.sleep(1.5)
    cli("scan", "--audit-log", str(log))
    before = cli.diff()["changes"]
    assert "decided change" in cli("db", "prune", code=0).stdout
    assert cli.diff()["changes"] == before
    cli("verify", "--db", "--all", code=0)
    cli("scan", "--audit-log", str(log))
    cli("verify", "--db", "--all", code=0)
