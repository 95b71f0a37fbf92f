"""``verify --db`` detects edits of noted rows (positions, observations, processes), but not normal use of them."""

from __future__ import annotations

import os
import shutil
import sqlite3
import struct
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from fimscan.evidence.database import verify_database
from fimscan.pipeline.history.reporting import report_once
from fimscan.store import journal
from fimscan.store import scan_results as scan_result_store
from fimscan.store.database import Database
from fimscan.store.registry import Subject
from fimscan.store.row_digests import of_row
from tests.conftest import Cli
from tests.evidence.site import HOST, Site, new_site, odd_lines, pretended_audit, problems
from tests.pipeline.test_audit_reading import event

BEHIND = "is not in the journal: another program added it"
NEVER = 1_000_000_000_000_000_000
AT_NEVER = "2001-09-09T01:46:40.000Z"
EDITS = [
    # It looks as if audit had watched, or had not, when it was the other way round.
    ("UPDATE notice SET kind = 'enabled'", "the audit notice at 20"),
    ("UPDATE notice SET key = NULL", "the audit notice at 20"),
    ("DELETE FROM notice", "the audit notice at 20"),
    (
        f"INSERT INTO notice SELECT host_id, {NEVER}, serial, node, kind, key, actor FROM notice",
        f"the audit notice at {AT_NEVER} {BEHIND}",
    ),
    (
        """UPDATE observation SET detail = replace(detail, '"lost":0', '"lost":1')""",
        "the observation of audit at 20",
    ),
    ("DELETE FROM observation WHERE time_ns = (SELECT max(time_ns) FROM observation)", "the observation of audit"),
    (
        f"INSERT INTO observation SELECT host_id, {NEVER}, detail FROM observation LIMIT 1",
        f"the observation of audit at {AT_NEVER} {BEHIND}",
    ),
    ("UPDATE audit_extent SET end_ns = end_ns + 3600000000000", "audit log extent 1 (/"),
    ("UPDATE audit_extent SET start_ns = 0", "audit log extent 1 (/"),
    ("UPDATE audit_extent SET path = x'2f'", "audit log extent 1 (/) was altered"),
    ("DELETE FROM audit_extent", "audit log extent 1 is missing"),
    (
        "INSERT INTO audit_extent SELECT 99, host_id, path, 0, start_ns FROM audit_extent LIMIT 1",
        "audit log extent 99 (/",
    ),
    # Lines are passed over, or what came late does not count.
    ("UPDATE audit_cursor SET offset = 99", "the audit log position at byte 99 (/"),
    ("UPDATE audit_cursor SET late_ns = 17", "audit.log) was altered"),
    ("UPDATE audit_cursor SET inode = inode + 1", "audit.log) was altered"),
    ("UPDATE audit_cursor SET fingerprint = x'00'", "audit.log) was altered"),
    ("DELETE FROM audit_cursor", "the audit log position at byte"),
    (
        "INSERT INTO audit_cursor SELECT host_id, x'2f', dev, inode, 98, fingerprint, late_ns FROM audit_cursor",
        f"the audit log position at byte 98 (/) {BEHIND}",
    ),
    ("UPDATE damaged_line SET line = x'00'", "the damaged audit log line at byte"),
    ("UPDATE damaged_line SET problem = ''", "the damaged audit log line at byte"),
    ("DELETE FROM damaged_line", "the damaged audit log line at byte"),
    (
        "INSERT INTO damaged_line SELECT 99, host_id, source, 77, line_digest, line, problem FROM damaged_line",
        f"the damaged audit log line at byte 77 {BEHIND}",
    ),
    # Somebody else is shown as the ancestor, or as cleared.
    ("UPDATE process SET actor = replace(actor, 'tool', 'fool')", "a record of process 4343 was altered"),
    ("UPDATE process SET time_ns = 0 WHERE pid = 4343", "a record of process 4343 was altered"),
    ("DELETE FROM process WHERE pid = 4343", "a record of process 4343 is missing"),
    (
        "INSERT INTO process SELECT host_id, 77, time_ns, actor FROM process WHERE pid = 4343",
        f"a record of process 77 {BEHIND}",
    ),
    ("UPDATE recheck SET holders = '[1,true,[]]'", "/watched/e) was altered"),
    ("UPDATE recheck SET read_start_ns = 1", "the live look at 1970-01-01T00:00:00.000000001Z (/"),
    ("UPDATE recheck SET path = x'2f' WHERE hex(path) LIKE '%2F65'", "the live look at 20"),
    ("DELETE FROM recheck", "the live look at 20"),
    (
        f"INSERT INTO recheck SELECT host_id, x'2f', {NEVER}, holders FROM recheck LIMIT 1",
        f"the live look at {AT_NEVER} (/) {BEHIND}",
    ),
    # An alert that was never given, or is given twice.
    ("UPDATE scan SET reported = 1 WHERE id = 6", f"the report mark of scan 6 {BEHIND}"),
    ("UPDATE scan SET reported = 0 WHERE id = 5", "the report mark of scan 5 is missing"),
    ("UPDATE journal_open SET items = substr(items, 42)", "the journal's open entry was altered"),
    ("UPDATE journal_open SET items = x'00'", "the journal's open entry was altered"),
    ("UPDATE journal_open SET made_ns = 0", "the journal's open entry was altered"),
    ("UPDATE journal_open SET scan_entry = entry", "the journal's open entry was altered"),
    ("DELETE FROM journal_open", "audit.log) was altered"),
]


@pytest.mark.parametrize(("statement", "words"), EDITS, ids=[statement[:60] for statement, _ in EDITS])
def test_what_was_edited_is_named(copied: Callable[..., Database], statement: str, words: str) -> None:
    """A row of each table is altered, removed, and inserted."""
    found = problems(copied(statement))
    assert any(words in line for line in found), found


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """A host with a baseline, a healthy audit system, and some audit records."""
    with pretended_audit():
        made = new_site(tmp_path)
        made.scan()
        made.append(odd_lines() + event(made.watched / "a", 1))
        assert made.look() is None
        yield made
        made.database.close()


def edit(site: Site, statement: str) -> None:
    site.database.close()
    with closing(sqlite3.connect(site.root / "x.db")) as connection:
        assert connection.execute(statement).rowcount != 0
        connection.commit()


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit_cursor SET late_ns = 17",
        "UPDATE audit_extent SET start_ns = 0",
        """UPDATE observation SET detail = replace(detail, '"lost":0', '"lost":1')""",
        "UPDATE recheck SET holders = '[1,true,[]]'",
        "UPDATE journal_open SET items = substr(items, 42)",
        "DELETE FROM journal_open",
    ],
)
def test_what_fimscan_itself_wrote_anew_since_is_still_noticed(site: Site, statement: str) -> None:
    """The next live look or scan must not make an edited row part of the journal."""
    edit(site, statement)
    for number in range(2, 5):
        site.append(event(site.watched / "a", number))
        site.look()
    assert problems(site.database)
    site.scan()
    assert problems(site.database)


def test_the_open_entry_is_not_carried_on_when_it_was_altered(site: Site) -> None:
    """If a row and its digest were replaced, fimscan must not confirm them when it writes the entry again."""
    with site.database.read() as session:
        still_open = journal.open_entry(session)
    assert still_open is not None
    row = {"path": os.fsencode(site.watched / "a"), "read_start_ns": 1, "holders": ""}
    (known,) = [item for item in still_open.unpacked() if item.subject is Subject.RECHECK]
    items = still_open.items.replace(known.digest, of_row(Subject.RECHECK, row).digest)
    items = items.replace(struct.pack(">q", known.id), struct.pack(">q", 1))
    edit(site, "UPDATE recheck SET read_start_ns = 1, holders = ''")
    edit(site, f"UPDATE journal_open SET items = x'{items.hex()}'")
    assert problems(site.database)
    site.append(event(site.watched / "b", 2))
    site.look()
    assert problems(site.database)


def test_looks_leave_nothing_behind_in_the_journal(site: Site) -> None:
    """The reading position is written every few seconds, and must not fill the journal."""

    def size() -> tuple[int, int]:
        with site.database.read() as session:
            still_open = journal.open_entry(session)
            assert still_open is not None
            return sum(1 for _ in journal.entries(session)), len(still_open.items)

    for number in range(3):
        site.append(f"type=USER_ACCT msg=audit(1700000000.000:{number}): pid=1 uid=0\n")
        site.look()
    before = size()
    for number in range(10):
        site.append(f"type=USER_ACCT msg=audit(1700000001.000:{number}): pid=1 uid=0\n")
        site.look()
    assert size() == before
    assert problems(site.database) == []


def test_a_scan_closes_what_is_open(site: Site) -> None:
    """From then on, a stored head covers it."""
    site.scan()
    with site.database.read() as session:
        assert journal.open_entry(session) is None
    assert problems(site.database) == []


def test_very_many_looks_at_files_between_two_scans(site: Site) -> None:
    """The open entry has a maximum size: then it is closed early. Old looks are still deleted."""
    looks = [scan_result_store.Recheck(path=b"/%d" % number, read_start_ns=number) for number in range(250)]
    for again in range(2):
        for start in range(0, len(looks), 50):
            with site.database.begin() as session:
                scan_result_store.set_rechecks(session, looks[start : start + 50])
        assert problems(site.database) == [], again
    with site.database.read() as session:
        still_open = journal.open_entry(session)
    assert still_open is None or len(still_open.items) <= 100 * 41
    site.scan()
    assert problems(site.database) == []


def test_a_log_that_is_read_twice(site: Site) -> None:
    """Under another name, as after a rotation with 'copytruncate': records are stored once."""
    (site.root / "audit.log.1").unlink(missing_ok=True)
    copy = site.root / "copy.log"
    shutil.copy(site.log, copy)
    Site(root=site.root, database=site.database, log=copy).scan()
    assert problems(site.database) == []


def test_what_was_not_written_is_not_noted(site: Site) -> None:
    """A failed transaction changes neither rows nor journal."""
    with pytest.raises(KeyboardInterrupt), site.database.begin() as session:
        scan_result_store.set_rechecks(session, [scan_result_store.Recheck(path=b"/x", read_start_ns=1)])
        raise KeyboardInterrupt
    with report_once(site.database, site.scan()):
        pass
    assert problems(site.database) == []


def test_another_host_in_the_same_database(site: Site) -> None:
    """Each has a journal of its own."""
    other = Site(root=site.root, database=Database(f"sqlite:///{site.root}/x.db", host="other"), log=site.log)
    other.scan()
    assert problems(other.database) == problems(site.database) == []
    other.database.close()
    edit(site, f"UPDATE audit_cursor SET late_ns = 17 WHERE host_id = {site.database.host_id}")
    site = Site(root=site.root, database=Database(f"sqlite:///{site.root}/x.db", host=HOST), log=site.log)
    assert verify_database(other.database).ok
    assert not verify_database(site.database).ok


def test_the_command(cli: Cli) -> None:
    """The exit code, and the line that names what was edited."""
    log = cli.root / "audit.log"
    log.write_text("")
    cli("scan", "--audit-log", str(log), code=0)
    log.write_text(odd_lines() + event(cli.watched / "a", 1))
    cli("scan", "--audit-log", str(log), code=0)
    assert "FAIL" not in cli("verify", "--db", code=0).stdout
    with closing(sqlite3.connect(cli.database)) as connection:
        connection.execute("UPDATE process SET actor = replace(actor, '1000', '1001')")
        connection.commit()
    done = cli("verify", "--db", code=25)
    assert [line for line in done.stdout.splitlines() if line.startswith("FAIL")] == [
        "FAIL  knowledge: a record of process 4242 was altered"
    ]
