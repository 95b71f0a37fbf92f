"""``fimscan db backup|restore|check|upgrade``, on a real database."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import stat
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from fimscan.config import load_config
from fimscan.linux.host import this_host
from fimscan.pipeline import run_scan
from fimscan.store import clock, schema
from fimscan.store.database import Database
from fimscan.upkeep import restore as restoring
from tests.conftest import Cli, rows

SCANS = """
import os, sys
from fimscan.config import load_config
from fimscan.linux.host import this_host
from fimscan.pipeline import run_scan
from fimscan.store.database import Database

config = load_config(sys.argv[1])
database = Database(config.database.url, host=this_host())
print("ready", flush=True)
while not os.path.exists(sys.argv[2]):
    run_scan(database, config, source=None)
    with open(config.watch[0].path + "/a", "a") as file:
        file.write("more\\n")
"""


def head_of(cli: Cli) -> str:
    head: str = json.loads(cli("status", "--format", "json", code=0).stdout)["head"]
    return head


def test_a_backup_while_another_process_scans(cli: Cli) -> None:
    """Each copy is one whole state: it verifies, and its head is one of the database."""
    for number in range(300):
        (cli.watched / str(number)).write_text(str(number))
    (cli.root / "bak").mkdir(mode=0o700)
    cli.write_config(watch="keep_content = true")
    cli.scan()
    stop = cli.root / "stop"
    heads = set()
    with subprocess.Popen(
        [sys.executable, "-c", SCANS, str(cli.config), str(stop)], stdout=subprocess.PIPE, text=True
    ) as scanner:
        assert scanner.stdout is not None and scanner.stdout.readline() == "ready\n"
        try:
            for _ in range(4):
                cli("db", "backup", str(cli.root / "bak/x.db"), code=0)
                copy = cli("--db", f"sqlite:///{cli.root}/bak/x.db", "verify", "--db", code=0).stdout
                assert "FAIL" not in copy and "kept contents match" in copy
                heads.add(copy.split("the head is ")[1].split()[0])
            assert scanner.poll() is None, "it was scanning all the time"
        finally:
            stop.touch()
    assert scanner.returncode == 0
    for head in heads:
        cli("verify", "--db", "--head", head, code=0)
    assert {item.name for item in (cli.root / "bak").iterdir()} == {"x.db", "x.db.contents"}
    assert all(stat.S_IMODE(item.stat().st_mode) == 0o600 for item in (cli.root / "bak").iterdir())


def test_what_a_backup_replaces(cli: Cli) -> None:
    """Its own earlier copy; anything else only with --force, and what is in use never."""
    cli.scan()
    (cli.root / "other").write_text("not mine")
    target, other = str(cli.root / "x.db"), str(cli.root / "other")
    cli("db", "backup", target, code=0)
    (cli.watched / "a").write_text("changed")
    cli.scan(4)
    assert "as of scan 2" in cli("db", "backup", target, code=0).stdout
    assert "--force" in cli("db", "backup", other, code=15).stderr
    assert Path(other).read_text() == "not mine"
    cli("db", "backup", other, "--force", code=0)
    (cli.root / "link").symlink_to(other)
    assert "no regular file" in cli("db", "backup", str(cli.root / "link"), "--force", code=15).stderr
    os.link(cli.database, cli.root / "hard")
    for used in (cli.database, cli.root / "hard", f"{cli.database}.lock"):
        assert "in use by the database" in cli("db", "backup", str(used), "--force", code=15).stderr
    (cli.root / "open").mkdir()
    (cli.root / "open").chmod(0o1777)
    assert "everybody may create files" in cli("db", "backup", str(cli.root / "open/x.db"), code=15).stderr
    assert os.listdir(cli.root / "open") == []
    cli("verify", "--db", code=0)


def test_a_server_is_left_to_its_own_means(cli: Cli) -> None:
    """One line, and no connection is tried."""
    url = "postgresql://nobody@127.0.0.1:1/none"
    for arguments in (("backup", "/tmp/x"), ("restore", "/tmp/x"), ("upgrade", "--backup", "/tmp/x")):
        said = cli("--db", url, "db", *arguments, code=15).stderr
        assert "pg_dump" in said and said.count("\n") == 1


def test_a_damaged_database_gives_no_backup(cli: Cli) -> None:
    """The earlier copy stays, and nothing unfinished."""
    cli.scan()
    target = cli.root / "x.db"
    cli("db", "backup", str(target), code=0)
    before = target.read_bytes()
    with closing(sqlite3.connect(cli.database)) as connection:
        connection.execute("UPDATE scan SET trigger = 'cron'")
        connection.commit()
    assert "chain: scan 1 was altered" in cli("db", "backup", str(target), code=24).stderr
    assert target.read_bytes() == before and not list(cli.root.glob("*.new*"))
    assert "scan 1 was altered" in cli("db", "check", code=25).stdout


def test_check_is_the_quick_part_of_verify(cli: Cli) -> None:
    """Storage, chains and size. An altered row needs --full, which does as verify --db."""
    cli.scan()
    head = head_of(cli)
    (cli.watched / "a").write_text("changed")
    cli.scan(4)
    document = json.loads(cli("db", "check", "--head", head, "--format", "json", code=0).stdout)
    assert [check["check"] for check in document["checks"]] == ["storage", "chain", "head", "space"]
    cli("db", "check", "--head", "0" * 64, code=25)
    with closing(sqlite3.connect(cli.database)) as connection:
        connection.execute("UPDATE change SET changed = 'mode'")
        connection.commit()
    cli("db", "check", code=0)
    assert cli("db", "check", "--full", code=25).stdout == cli("verify", "--db", code=25).stdout


def test_a_restoration_is_recorded_with_who_and_what_is_lost(cli: Cli) -> None:
    """The next scan tells it once, as a control that failed; the database before is kept; audit reads on."""
    cli.write_config(watch="keep_content = true")
    cli.scan()
    cli("db", "backup", str(cli.root / "x.db"), code=0)
    lost = (cli.watched / "a").read_text()
    (cli.watched / "a").write_text("changed")
    cli.scan(4)
    newest = head_of(cli)
    os.unlink(f"{cli.database}.contents")
    said = cli("db", "restore", str(cli.root / "x.db"), code=0).stdout
    assert "as of scan 1" in said and "Scan 2 was reported, and is not in it" in said and "Restored kept cont" in said
    (kept,) = cli.root.glob("fim.db.replaced-*")
    assert str(kept) in said
    cli("--db", f"sqlite:///{kept}", "db", "check", "--head", newest, code=0)
    (failure,) = json.loads(cli("scan", "--no-audit", "--strict", "--format", "json", code=12).stdout)["controls"]
    assert failure["kind"] == "database" and failure["end"] is not None
    assert "restored by " in failure["cause"] and "scan 2 was reported" in failure["cause"]
    again = json.loads(cli("scan", "--no-audit", "--strict", "--format", "json", code=0).stdout)
    assert again["controls"] == []
    cli("verify", "--db", code=0)
    assert f"-{lost.strip()}" in cli("diff", "--text").stdout


def test_a_lost_database_is_restored(cli: Cli) -> None:
    """A new baseline is refused; the copy brings the old one back. What SQLite had beside it is not applied to it."""
    cli.scan()
    cli("db", "backup", str(cli.root / "x.db"), code=0)
    cli.database.unlink()
    Path(f"{cli.database}-wal").write_bytes(b"stale")
    assert "restore the database from a backup" in cli("scan", "--no-audit", code=24).stderr
    said = cli("db", "restore", str(cli.root / "x.db"), code=0).stdout
    assert "replaced" not in said and "is lost" not in said
    assert "nothing that was reported is lost" in cli.scan()
    cli("verify", "--db", code=0)


def test_a_damaged_database_is_replaced_and_kept(cli: Cli) -> None:
    """It cannot even be opened."""
    cli.scan()
    cli("db", "backup", str(cli.root / "x.db"), code=0)
    cli.database.write_bytes(b"garbage" * 1000)
    cli("status", code=24)
    cli("db", "restore", str(cli.root / "x.db"), code=0)
    (kept,) = cli.root.glob("fim.db.replaced-*")
    assert kept.read_bytes().startswith(b"garbage")
    cli("verify", "--db", code=0)


def test_no_restoration_under_a_running_process(cli: Cli) -> None:
    """A scan holds the lock; a schedule between two scans has the file open, and would go on writing to the old one."""
    cli.scan()
    cli("db", "backup", str(cli.root / "x.db"), code=0)
    before = cli.database.stat().st_ino
    with closing(Database(f"sqlite:///{cli.database}", host=this_host())) as other:
        with other.scan_lock():
            cli("db", "restore", str(cli.root / "x.db"), code=21)
        with other.begin() as session:
            session.execute(schema.scan.update().values(reported=True))
        assert "another process has" in cli("db", "restore", str(cli.root / "x.db"), code=24).stderr
    assert cli.database.stat().st_ino == before
    assert not list(cli.root.glob("*.new*")) and not list(cli.root.glob("*.replaced*"))
    cli("db", "restore", str(cli.root / "x.db"), code=0)


EDITS = [
    ("UPDATE change SET changed = 'mode'", "does not verify, rows", True),
    ("UPDATE scan SET trigger = 'cron' WHERE id = 1", "does not verify, chain", False),
    ("CREATE TRIGGER t AFTER INSERT ON scan BEGIN SELECT 1; END", "trigger", False),
    ("UPDATE alembic_version SET version_num = '9998'", "newer fimscan", False),
    ("UPDATE host SET identity = 'machine:other'", "another host", False),
    ("DELETE FROM alembic_version", "another program", False),
]


def test_what_is_not_restored(cli: Cli) -> None:
    """Each with its reason, naming the backup; the database stays as it is."""
    cli.scan()
    (cli.watched / "a").write_text("changed")
    cli.scan(4)
    good, copy = cli.root / "good.db", cli.root / "x.db"
    cli("db", "backup", str(good), code=0)
    before = cli.database.read_bytes()
    for edit, words, forced in EDITS:
        shutil.copy(good, copy)
        with closing(sqlite3.connect(copy)) as connection:
            connection.execute(edit)
            connection.commit()
        said = cli("db", "restore", str(copy), code=24).stderr
        assert words in said and str(copy) in said and ".new" not in said, edit
        if not forced:
            cli("db", "restore", str(copy), "--force", code=24)
        assert cli.database.read_bytes() == before and not list(cli.root.glob("*.new*"))
    shutil.copy(good, copy)
    with closing(sqlite3.connect(copy)) as connection:
        connection.execute(EDITS[0][0])
        connection.commit()
    cli("db", "restore", str(copy), "--force", code=0)
    assert "with --force" in cli.scan()


def test_a_backup_of_the_host_that_this_one_replaces(cli: Cli) -> None:
    """With --adopt-host, as a scan does; the event is stored."""
    cli.scan()
    copy = cli.root / "x.db"
    cli("db", "backup", str(copy), code=0)
    with closing(sqlite3.connect(copy)) as connection:
        connection.execute("UPDATE host SET identity = 'machine:other', current_name = 'web1'")
        connection.commit()
    for name in cli.root.glob("fim.db*"):
        name.unlink()
    cli("db", "restore", str(copy), code=24)
    cli("db", "restore", str(copy), "--adopt-host", code=0)
    assert "Host adopted" in cli.scan()
    cli("verify", "--db", code=0)


def test_a_crash_leaves_one_of_the_two(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever step it was before: the database opens, and the next scan notices what is not recorded."""
    cli.scan()
    cli("db", "backup", str(cli.root / "x.db"), code=0)
    (cli.watched / "a").write_text("changed")
    cli.scan(4)
    for step, newest in (("os.link", 2), ("os.replace", 2), ("controls.record_restored", 1)):
        owner, name = step.split(".")
        with monkeypatch.context() as patch:
            patch.setattr(vars(restoring)[owner], name, _killed)
            with pytest.raises(KeyboardInterrupt):
                restoring.restore(
                    str(cli.database),
                    str(cli.root / "x.db"),
                    contents=f"{cli.database}.contents",
                    host=this_host(),
                    user="u",
                    opened=lambda: Database(f"sqlite:///{cli.database}", host=this_host()),
                )
        scans = json.loads(cli("status", "--format", "json", code=0).stdout)["scans"]
        assert scans[-1]["scan"] == newest, step
    assert "the database is an older copy: scan 2 was reported" in cli("scan", "--no-audit").stdout
    assert not list(cli.root.glob("*.new*"))


def _killed(*_arguments: object, **_options: object) -> None:
    raise KeyboardInterrupt


def test_an_upgrade_says_what_it_does_and_can_be_taken_back(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """--dry-run changes nothing; --backup keeps the old schema; a backup of an old schema is restored and upgraded."""
    config = load_config(str(cli.config))
    with monkeypatch.context() as patch:
        patch.setattr(clock, "add", lambda *_: None)  # scans did not look at the clock then
        with closing(Database(config.database.url, host=this_host())) as database:
            run_scan(database, config, source=None)
    before = cli.diff()
    _take_back(cli.database)
    old = cli.root / "old.db"
    shutil.copy(cli.database, old)
    said = cli("db", "upgrade", "--dry-run", code=0).stdout
    assert f"from 0017 to {schema.SCHEMA_REVISION}" in said and "0018  The outbox" in said
    assert old.read_bytes() == cli.database.read_bytes()
    copy = cli.root / "x.db"
    said = cli("db", "upgrade", "--backup", str(copy), code=0).stdout
    assert f"Copied {cli.database} to {copy}" in said and "Upgraded" in said
    assert "nothing to upgrade" in cli("db", "upgrade", code=0).stdout
    with closing(sqlite3.connect(copy)) as connection:
        assert connection.execute("SELECT version_num FROM alembic_version").fetchone() == ("0017",)
    cli("db", "restore", str(copy), code=0)
    cli("verify", "--db", code=0)
    assert rows(cli.diff()) == rows(before)


def _take_back(database: Path) -> None:
    """Undo the revisions from 0018 on."""
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("DROP INDEX ix_scan_checkpoint")
        connection.execute("ALTER TABLE scan DROP COLUMN checkpoint")
        for table in ("outbox", "selftest", "clock_look", "control_note"):
            connection.execute(f"DROP TABLE {table}")
        connection.execute("UPDATE alembic_version SET version_num = '0017'")
        connection.commit()
