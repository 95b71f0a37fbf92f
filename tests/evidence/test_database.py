"""``verify --db`` detects every edit of the database, and accepts a database that only fimscan wrote."""

from __future__ import annotations

import dataclasses
import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from alembic.script import ScriptDirectory
from msgspec.structs import replace

from fimscan.config import parse_config
from fimscan.errors import UsageError
from fimscan.evidence.bundle import build_bundle
from fimscan.evidence.collect import collected
from fimscan.evidence.verify import verify_bundle
from fimscan.model import Scan, ScanStatus
from fimscan.pipeline.record import scan_entry
from fimscan.signing import SigningKey
from fimscan.store import accesses, journal, migrate, registry, row_digests
from fimscan.store import clock as clock_store
from fimscan.store import scans as scan_store
from fimscan.store.database import Database
from fimscan.store.session import Session
from tests.conftest import Cli
from tests.evidence.site import HOST, make_eventful, new_site, pretended_audit, problems
from tests.support import take_back_the_newest_schemas


def test_an_unaltered_database_verifies(copied: Callable[..., Database]) -> None:
    """After live looks, a killed scan, late records, acceptances, dropped and adopted paths."""
    database = copied()
    with database.read() as session:
        scans = scan_store.all_scans(session)
        causes = {entry.cause for entry in journal.entries(session)}
        tables = ("change", "unreadable", "holder", "unmodified_open", "acceptance", "audit_block", "access")
        more = ("notice", "damaged_line", "process", "observation", "audit_extent", "audit_cursor", "recheck")
        for table in (*tables, *more, "journal_open"):
            assert session.connection.exec_driver_sql(f"SELECT count(*) FROM {table}").scalar(), table
        for flag in ("adopted", "dropped"):
            assert session.connection.exec_driver_sql(f"SELECT count(*) FROM file_version WHERE {flag}").scalar(), flag
    assert {scan.status for scan in scans} == {ScanStatus.FINISHED, ScanStatus.INTERRUPTED}
    assert any(scan.is_partial for scan in scans)
    assert causes == {"scan", "audit", "late-records", "accept"}
    assert problems(database, every_scan=True) == []


_COPY_OF_A_CHANGE = (
    "INSERT INTO change (id, scan_id, host_id, kind, path, changed, after_ns, before_ns, verdict, attribution) "
    "SELECT 99, scan_id, host_id, kind, path, changed, after_ns, before_ns, verdict, attribution "
    "FROM change WHERE id = 1"
)
_COPY_OF_AN_ACCEPTANCE = (
    "INSERT INTO acceptance (id, host_id, path, scan_id, version_id, accepted_ns, user, ticket, reason) "
    "SELECT 99, host_id, path, scan_id, version_id, accepted_ns, user, ticket, reason FROM acceptance WHERE id = 1"
)
EDITS = [
    ("UPDATE configuration SET text = replace(text, 'full', 'attributes')", "configuration of scan"),
    ("UPDATE scan SET trigger = 'cron' WHERE id = 1", "scan 1 was altered"),
    ("UPDATE scan SET started_ns = started_ns - 1 WHERE id = 1", "scan 1 was altered"),
    ("UPDATE scan SET finished_ns = finished_ns + 1 WHERE id = 1", "scan 1 was altered"),
    ("UPDATE scan SET counts = '{}' WHERE id = 1", "scan 1 was altered"),
    ("UPDATE scan SET state_digest = journal WHERE id = 1", "scan 1 was altered"),
    ("UPDATE scan SET journal = '' WHERE id = 1", "scan 1 was altered"),
    ("UPDATE scan SET status = 'interrupted' WHERE id = 3", "scan 3"),
    ("UPDATE scan SET problems = '[0]' WHERE id = 1", "the record of problems"),
    ("UPDATE scan SET read_clock = x'00' WHERE id = 1", "the record of problems and read times of scan 1"),
    ("UPDATE file_version SET uid = 7 WHERE hex(path) LIKE '%2F63'", "/c as of scan 1 was altered"),
    ("UPDATE file_version SET sha256 = zeroblob(32) WHERE hex(path) LIKE '%2F63'", "/c as of scan 1 was altered"),
    ("UPDATE file_version SET path = path || x'21' WHERE hex(path) LIKE '%2F63'", "as of scan 1 was altered"),
    ("UPDATE file_version SET kind = 'nonsense' WHERE hex(path) LIKE '%2F63'", "/c as of scan 1 was altered"),
    ("UPDATE file_version SET state_digest = zeroblob(32) WHERE hex(path) LIKE '%2F63'", "/c as of scan 1 was altered"),
    (
        "UPDATE file_version SET read_start_ns = 1 WHERE hex(path) LIKE '%2F63'",
        "began with scan 1 (or its read time)",
    ),
    ("UPDATE file_version SET adopted = 0 WHERE hex(path) LIKE '%2F63'", "began with scan 1"),
    ("UPDATE file_version SET followed = 1 WHERE hex(path) LIKE '%2F63'", "began with scan 1"),
    ("UPDATE file_version SET retired = 1 WHERE hex(path) LIKE '%2F63'", "ended with scan 5"),
    ("UPDATE change SET breach = 'lost' WHERE id = 1", "change 1"),
    ("UPDATE file_version SET dropped = 1 WHERE hex(path) LIKE '%2F63'", "ended with scan 5"),
    ("UPDATE file_version SET end_scan = NULL WHERE hex(path) LIKE '%2F63'", "ended with scan 5"),
    ("UPDATE file_version SET end_scan = 4 WHERE hex(path) LIKE '%2F63'", "ended with scan 4"),
    ("DELETE FROM file_version WHERE hex(path) LIKE '%2F65'", "the files as of scan 6 do not match its ledger entry"),
    ("UPDATE file_version SET first_scan = 2 WHERE hex(path) LIKE '%2F65'", "belongs to a scan that does not exist"),
    (
        "UPDATE unreadable SET reason = 'permission' WHERE scan_id = 1",
        "the list of unreadable files of scan 1 was altered",
    ),
    ("DELETE FROM unreadable WHERE scan_id = 1", "the list of unreadable files of scan 1 is missing"),
    ("UPDATE holder SET actor = '[]'", "the list of holders at the start of scan 1 was altered"),
    ("UPDATE unmodified_open SET actors = '[]'", "the list of files opened and not modified before scan"),
    ("UPDATE change SET attribution = replace(attribution, '1000', '1001') WHERE id = 1", "change 1 ("),
    ("UPDATE change SET verdict = 'unattributed' WHERE id = 1", "change 1 ("),
    ("UPDATE change SET kind = 'attributes' WHERE id = 1", "change 1 ("),
    ("UPDATE change SET after_ns = after_ns + 1 WHERE id = 2", "change 2 ("),
    ("UPDATE change SET holders = NULL WHERE id = 1", "change 1 ("),
    ("UPDATE change SET scan_id = 4 WHERE id = 1", "change 1 ("),
    ("UPDATE change SET after_version = 1 WHERE id = 1", "change 1 ("),
    ("DELETE FROM change WHERE id = 2", "change 2 is missing"),
    (_COPY_OF_A_CHANGE, "change 99 ("),
    ("UPDATE acceptance SET ticket = 'OTHER' WHERE id = 2", "acceptance 2 ("),
    ("UPDATE acceptance SET user = 'root' WHERE id = 1", "acceptance 1 (everything) was altered"),
    ("DELETE FROM acceptance WHERE id = 2", "acceptance 2 is missing"),
    (_COPY_OF_AN_ACCEPTANCE, "acceptance 99 (everything) is not in the journal"),
    ("UPDATE audit_block SET stored_ns = 1 WHERE id = 1", "audit record block 1"),
    ("UPDATE audit_block SET data = x'00' WHERE id = 1", "audit record block 1"),
    ("UPDATE access SET time_ns = time_ns - 5000000000", "audit record block"),
    ("UPDATE access SET inode = inode + 1", "audit record block"),
    ("DELETE FROM access", "audit record block"),
    ("UPDATE journal SET items = zeroblob(41) WHERE id = 2", "journal entry 2 was altered"),
    ("UPDATE journal SET items = x'00' WHERE id = 2", "journal entry 2 was altered"),
    ("UPDATE journal SET cause = 'audit' WHERE id = 1", "journal entry 1 was altered"),
    ("UPDATE journal SET made_ns = 0 WHERE id = 1", "journal entry 1 was altered"),
    ("DELETE FROM journal WHERE id = 2", "does not follow the one before"),
    ("DELETE FROM journal", "names a journal entry that does not exist"),
]


@pytest.mark.parametrize(("statement", "words"), EDITS, ids=[statement[:60] for statement, _ in EDITS])
def test_what_was_edited_is_named(copied: Callable[..., Database], statement: str, words: str) -> None:
    """An edit of each column of each table that a finding depends on."""
    found = problems(copied(statement))
    assert any(words in line for line in found), found


def test_two_rows_that_changed_places_are_noticed(copied: Callable[..., Database]) -> None:
    """Each row has its old content, but describes another file."""
    found = problems(
        copied(
            "UPDATE file_version SET id = 1000 WHERE id = 1",
            "UPDATE file_version SET id = 1 WHERE id = 2",
            "UPDATE file_version SET id = 2 WHERE id = 1000",
        )
    )
    assert any("began with scan 1" in line for line in found), found


def test_a_revised_answer_cannot_be_put_back(copied: Callable[..., Database]) -> None:
    """The journal has both versions; the newer one counts."""
    database = copied()
    with database.read() as session:
        first, later = (
            {item.id: item.digest for entry in journal.entries(session)
             for item in entry.unpacked() if entry.cause == cause and item.subject.name == "CHANGE"}
            for cause in ("scan", "late-records")
        )  # fmt: skip
    (revised,) = later
    assert first[revised] != later[revised]
    found = problems(copied(f"UPDATE change SET attribution = '{{}}' WHERE id = {revised}"))
    assert any(f"change {revised} (" in line and "was altered" in line for line in found), found


def test_a_stored_head_detects_removed_entries(copied: Callable[..., Database]) -> None:
    """The chain alone does not: without its end it is still valid. It also still has older heads."""
    database = copied()
    with database.read() as session:
        scans = scan_store.all_scans(session)
        head = journal.common_head(session, scans)
    assert head is not None
    older = scans[0].entry
    for noted in (head, older):
        assert problems(database, head=noted) == []
    # The last acceptance, with all that tells of it.
    cut = copied(
        "DELETE FROM acceptance WHERE id = (SELECT max(id) FROM acceptance)",
        "DELETE FROM journal WHERE id = (SELECT max(id) FROM journal)",
    )
    assert problems(cut) == []
    assert any(head in line for line in problems(cut, head=head))
    assert problems(cut, head=older) == []
    with pytest.raises(UsageError):
        problems(cut, head="abc")


def test_each_scans_own_state_is_recomputed_on_request(copied: Callable[..., Database]) -> None:
    """--scan N and --all name the scans that an altered version belongs to."""
    database = copied("UPDATE file_version SET state_digest = zeroblob(32) WHERE hex(path) LIKE '%2F63'")
    states = "the files as of scan {} do not match its ledger entry"
    assert not any(states.format(1) in line for line in problems(database))
    assert any(states.format(1) in line for line in problems(database, scan=1))
    assert any(states.format(3) in line for line in problems(database, every_scan=True))
    with pytest.raises(UsageError, match="no finished scan 2"):
        problems(database, scan=2)


def test_what_is_altered_before_the_scan_has_ended_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An edit during the writing of a baseline is detected: the journal has the digests of what was found."""
    site = new_site(tmp_path)
    seal = scan_entry.seal

    def late(session: Session, *arguments: Any, **options: Any) -> Scan:
        session.connection.exec_driver_sql("UPDATE file_version SET read_start_ns = 1 WHERE hex(path) LIKE '%2F62'")
        return seal(session, *arguments, **options)

    monkeypatch.setattr(scan_entry, "seal", late)
    site.scan()
    assert any("began with scan 1" in line for line in problems(site.database))
    site.database.close()


# --------------------------------------------------------------------------------------------------------------------


def _as_before(revision: str, database: Path) -> None:
    """Turn a database into one that a fimscan before that revision would have written."""
    before = ScriptDirectory.from_config(migrate._config()).get_revision(revision).down_revision
    with closing(sqlite3.connect(database)) as connection:
        take_back_the_newest_schemas(connection)
        connection.execute("DROP TABLE journal_open")
        if revision == "0004":
            connection.execute("DROP TABLE journal")
            connection.execute("ALTER TABLE scan DROP COLUMN journal")
        connection.execute("UPDATE alembic_version SET version_num = ?", (before,))
        connection.commit()


@pytest.mark.parametrize(
    ("revision", "unknown_then", "edit", "words"),
    [
        ("0004", ("record", "note"), "UPDATE change SET changed = 'mode' WHERE id = 1", "change 1 ("),
        ("0005", ("note",), "UPDATE process SET actor = '[]' WHERE pid = 4343", "a record of process 4343"),
    ],
)
def test_an_upgraded_database_verifies_and_is_covered_from_then_on(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    key: SigningKey,
    revision: str,
    unknown_then: tuple[str, ...],
    edit: str,
    words: str,
) -> None:
    """Old entries replay unchanged; existing rows are added to the journal as they are."""
    site, path = new_site(tmp_path), tmp_path / "x.db"
    with monkeypatch.context() as patch, pretended_audit():
        for name in unknown_then:
            patch.setattr(journal, name, lambda *_: None)
        patch.setattr(accesses, "_times", lambda _: (None, None))  # blocks had no times then
        patch.setattr(clock_store, "add", lambda *_: None)
        patch.setattr(row_digests, "SHOWN", {})
        acceptances = registry.Subject.ACCEPTANCE
        assert isinstance(acceptances.rows, registry.Numbered)
        patch.setattr(acceptances, "rows", replace(acceptances.rows, later=()))  # and acceptances no numbers of acts
        make_eventful(site)
    site.database.close()
    _as_before(revision, path)
    upgraded = dataclasses.replace(site, database=Database(f"sqlite:///{path}", host=HOST))
    assert problems(upgraded.database, every_scan=True) == []
    config = parse_config(f'[[watch]]\npath = "{site.watched}"\n')
    with collected(upgraded.database, config, 0, 2**62, audit_rules="", reconfigured=lambda *_: ()) as data:
        build_bundle(data, key, tmp_path / "x.zip")
    report = verify_bundle(tmp_path / "x.zip")
    assert report.ok and "digests were taken in when fimscan was upgraded" in report.checks[-1].detail
    (upgraded.watched / "a").write_text("after the upgrade")
    with pretended_audit():
        upgraded.scan()
    assert problems(upgraded.database, every_scan=True) == []
    upgraded.database.close()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(edit)
        connection.commit()
    edited = Database(f"sqlite:///{path}", host=HOST)
    assert any(words in line for line in problems(edited))
    edited.close()
    # To be upgraded once more, so that what was edited is taken for what was there, does not help.
    _as_before(revision, path)
    again = Database(f"sqlite:///{path}", host=HOST)
    assert any("scan 7 was altered" in line if revision == "0004" else words in line for line in problems(again))
    again.close()


# --------------------------------------------------------------------------------------------------------------------


def test_the_command(cli: Cli) -> None:
    """Exit codes and output, with and without altered rows."""
    assert "no database" in cli("verify", "--db", code=24).stderr
    cli.scan()
    head = json.loads(cli("status", "--format", "json", code=0).stdout)["head"]
    assert f"Head: {head}" in cli("status").stdout
    (cli.watched / "a").write_text("changed")
    cli.scan(4)
    assert "FAIL" not in cli("verify", "--db", "--head", head, code=0).stdout
    assert json.loads(cli("verify", "--db", "--all", "--format", "json", code=0).stdout)["ok"]
    for wrong in ((), ("x.zip", "--db"), ("x.zip", "--head", head), ("--db", "--scan", "9"), ("--db", "--head", "x")):
        cli("verify", *wrong, code=15)
    with closing(sqlite3.connect(cli.database)) as connection:
        connection.execute("UPDATE change SET verdict = 'confirmed'")
        connection.commit()
    done = cli("verify", "--db", code=25)
    assert [line for line in done.stdout.splitlines() if line.startswith("FAIL")] == [
        f"FAIL  rows: change 1 ({cli.watched}/a) was altered"
    ]
    with closing(sqlite3.connect(cli.database)) as connection:
        connection.execute("UPDATE scan SET counts = '{' WHERE id = 1")
        connection.commit()
    assert "cannot be read" in cli("verify", "--db", code=25).stdout


def test_doctor_sees_a_broken_chain(cli: Cli) -> None:
    """It is critical: the records cannot be trusted."""
    cli.scan()
    checks = {c["check"]: c for c in json.loads(cli("doctor", "--format", "json").stdout)["checks"]}
    assert checks["ledger"]["severity"] == "ok"
    with closing(sqlite3.connect(cli.database)) as connection:
        connection.execute("UPDATE scan SET started_ns = 1")
        connection.commit()
    checks = {c["check"]: c for c in json.loads(cli("doctor", "--format", "json", code=2).stdout)["checks"]}
    assert "scan 1 was altered" in checks["ledger"]["detail"]


@pytest.mark.parametrize("flag", ["retired", "dropped"])
def test_a_row_that_is_open_has_no_reason_for_its_end(copied: Callable[..., Database], flag: str) -> None:
    """Otherwise the removal of that file would pass for an expected one at the next scan."""
    found = problems(copied(f"UPDATE file_version SET {flag} = 1 WHERE end_scan IS NULL"))
    assert any("has not ended, but says why it did" in line for line in found), found


def test_an_index_that_leaves_a_row_out_is_noticed(copied: Callable[..., Database]) -> None:
    """Queries by that index would not find the row; the definition of the index is as it was."""
    database = copied()
    assert database.file is not None
    name = "ix_file_version_open"
    with closing(sqlite3.connect(database.file, isolation_level=None)) as connection:
        (sql,) = connection.execute("SELECT sql FROM sqlite_schema WHERE name = ?", (name,)).fetchone()
        for text in (f"{sql} AND id != 1", sql):
            connection.execute("PRAGMA writable_schema = ON")
            connection.execute("UPDATE sqlite_schema SET sql = ? WHERE name = ?", (text, name))
            connection.execute("PRAGMA writable_schema = RESET")
            if text != sql:
                connection.execute(f"REINDEX {name}")
    assert any(f"SQLite: row 1 missing from index {name}" in line for line in problems(database)), problems(database)


def test_a_flag_that_was_planted_does_not_outlive_the_row(tmp_path: Path) -> None:
    """'retired' of an open version would make the removal of its file an expected one."""
    site = new_site(tmp_path)
    site.scan()
    with closing(sqlite3.connect(tmp_path / "x.db")) as connection:
        connection.execute("UPDATE file_version SET retired = 1, dropped = 1 WHERE hex(path) LIKE '%2F62'")
        connection.commit()
    (site.watched / "b").unlink()
    site.scan()
    with closing(sqlite3.connect(tmp_path / "x.db")) as connection:
        query = "SELECT retired, dropped FROM file_version WHERE hex(path) LIKE '%2F62'"
        assert connection.execute(query).fetchall() == [(0, 0)]
    site.database.close()
