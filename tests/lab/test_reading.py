"""Read the real audit log into a real database: each record once, also if it arrives late."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from demo import auditd
from demo.auditd import remove_rules
from tests.lab.ground import Installation, dismantle, load_rules, write_config

pytestmark = pytest.mark.audit


@pytest.fixture
def fresh(audit_log: str) -> Iterator[Installation]:
    """An installation for one test, with its rules loaded."""
    root = Path(tempfile.mkdtemp(prefix="fimscan-lab-"))
    watched = root / "watched"
    watched.mkdir()
    (watched / "file").write_text("old\n")
    made = Installation(root=root, watched=watched, elsewhere=root, config=write_config(root, [watched], audit_log))
    rules = load_rules(made)
    yield made
    dismantle(rules, root)


def write(installation: Installation, name: str = "file") -> int:
    """Let another process write to the file; return its pid."""
    process = subprocess.Popen(["sh", "-c", f"echo more >> {installation.watched}/{name}"])
    assert process.wait(timeout=20) == 0
    return process.pid


def row(installation: Installation, code: int = 4) -> dict[str, Any]:
    document = json.loads(installation.run("diff", "--format", "json", codes=(code,)).stdout)
    (found,) = document["changes"]
    assert isinstance(found, dict)
    return found


def own_accesses(installation: Installation) -> int:
    """How many accesses to this test's files are stored; the log also has records of other processes."""
    query = "SELECT count(*) FROM access WHERE CAST(name AS TEXT) LIKE ?"
    with sqlite3.connect(installation.root / "fimscan.db") as connection:
        return int(connection.execute(query, (f"{installation.watched}/%",)).fetchone()[0])


def test_the_same_log_read_again_adds_nothing(fresh: Installation, audit_log: str) -> None:
    """A lost read position (restored database, copied log) stores no record twice."""
    fresh.run("scan")
    write(fresh)
    fresh.run("scan", codes=(4,))
    before = own_accesses(fresh)
    assert before > 0
    with sqlite3.connect(fresh.root / "fimscan.db") as connection:
        connection.execute("DELETE FROM audit_cursor")
    fresh.run("scan")
    assert own_accesses(fresh) == before
    copy = fresh.root / "copy.log"
    shutil.copy(audit_log, copy)
    fresh.run("scan", "--audit-log", str(copy))
    assert own_accesses(fresh) == before


def test_records_that_come_after_the_scan_still_name_the_process(fresh: Installation) -> None:
    """A change found without the log is attributed once the log is read."""
    fresh.run("scan")
    pid = write(fresh)
    fresh.run("scan", "--no-audit", codes=(4,))
    assert row(fresh)["attribution"]["verdict"] == "unattributed"
    fresh.run("scan")
    attribution = row(fresh)["attribution"]
    assert [a["pid"] for a in attribution["actors"]] == [pid]
    assert attribution["verdict"] == "confirmed"


def test_a_rotated_log_is_read_to_its_end_first(fresh: Installation, audit_log: str) -> None:
    """The log is rotated between two scans: changes before and after are attributed."""
    log = fresh.root / "audit.log"
    log.write_bytes(b"")
    fresh.config.write_text(fresh.config.read_text().replace(audit_log, str(log)))
    start = os.path.getsize(audit_log)

    def follow() -> None:
        nonlocal start
        with open(audit_log, "rb") as source, open(log, "ab") as copy:
            source.seek(start)
            copy.write(source.read())
            start = source.tell()

    follow()
    fresh.run("scan")
    first = write(fresh)
    import time

    time.sleep(0.3)
    follow()
    log.rename(fresh.root / "audit.log.1")
    second = write(fresh)
    time.sleep(0.3)
    follow()
    fresh.run("scan", codes=(4,))
    attribution = row(fresh)["attribution"]
    assert {a["pid"] for a in attribution["actors"]} == {first, second}
    assert attribution["verdict"] == "contested"


def test_a_log_that_was_rotated_away_unread_is_a_gap(fresh: Installation, audit_log: str) -> None:
    """The remaining candidate is likely, not confirmed: the lost records may have named others."""
    log = fresh.root / "audit.log"
    shutil.copy(audit_log, log)
    fresh.config.write_text(fresh.config.read_text().replace(audit_log, str(log)))
    fresh.run("scan")
    write(fresh)
    pid = write(fresh)
    import time

    time.sleep(0.3)
    tail = Path(audit_log).read_bytes().splitlines(keepends=True)
    last = max(number for number, line in enumerate(tail) if b"type=SYSCALL" in line)
    log.unlink()
    log.write_bytes(b"".join(tail[last:]))
    fresh.run("scan", codes=(4,))
    attribution = row(fresh)["attribution"]
    assert (attribution["verdict"], attribution["reason"]) == ("likely", "coverage-gap")
    assert [a["pid"] for a in attribution["actors"]] == [pid]
    assert "log-missing" in {gap["reason"] for gap in attribution["coverage"]["gaps"]}


def test_rules_loaded_after_the_baseline_confirm_nothing(fresh: Installation) -> None:
    """What happened before the rules were loaded is unknown; the gap says so."""
    rules = [line for line in fresh.run("audit", "rules").stdout.decode().splitlines() if line.startswith("-a ")]
    remove_rules(rules)
    fresh.run("scan")
    load_rules(fresh)
    pid = write(fresh)
    fresh.run("scan", codes=(4,))
    attribution = row(fresh)["attribution"]
    assert (attribution["verdict"], attribution["reason"]) == ("likely", "coverage-gap")
    assert [a["pid"] for a in attribution["actors"]] == [pid]
    assert {gap["reason"] for gap in attribution["coverage"]["gaps"]} == {"no-rule"}


def test_no_rules_at_all_is_not_covered(fresh: Installation) -> None:
    """The path was not covered: the reason is not-covered, not no-event."""
    rules = [line for line in fresh.run("audit", "rules").stdout.decode().splitlines() if line.startswith("-a ")]
    remove_rules(rules)
    fresh.run("scan")
    write(fresh)
    fresh.run("scan", codes=(4,))
    attribution = row(fresh)["attribution"]
    assert (attribution["verdict"], attribution["reason"]) == ("unattributed", "not-covered")
    load_rules(fresh)


def test_a_replaced_directory_is_not_covered_by_its_old_rules(fresh: Installation) -> None:
    """The kernel still lists a rule for the path, but reports nothing there: not-covered, not no-event."""
    fresh.run("scan")
    fresh.watched.rename(fresh.root / "away")
    fresh.watched.mkdir()
    (fresh.watched / "file").write_text("old\n")
    fresh.run("scan", codes=(4,))
    write(fresh)
    fresh.run("scan", codes=(4,))
    document = json.loads(fresh.run("diff", "--from", "2", "--format", "json", codes=(4,)).stdout)
    (found,) = [r for r in document["changes"] if r["path"].endswith("/file")]
    assert found["attribution"]["verdict"] == "unattributed"
    assert found["attribution"]["reason"] in ("not-covered", "coverage-gap")
    remove_rules([line for line in fresh.run("audit", "rules").stdout.decode().splitlines() if line.startswith("-a ")])
    load_rules(fresh)
    fresh.run("scan")
    pid = write(fresh)
    fresh.run("scan", codes=(4,))
    document = json.loads(fresh.run("diff", "--from", "4", "--format", "json", codes=(4,)).stdout)
    (attribution,) = [row["attribution"] for row in document["changes"]]
    assert (attribution["verdict"], [a["pid"] for a in attribution["actors"]]) == ("confirmed", [pid])


def test_a_process_that_had_the_file_open_before_is_likely(fresh: Installation) -> None:
    """Opened before the baseline, written after it: audit reports only the open; /proc shows the holder."""
    code = f"f = open('{fresh.watched}/file', 'a'); print('open', flush=True); input(); f.write('held'); f.flush()"
    holder = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    holder.stdout.readline()
    fresh.run("scan")
    holder.communicate("go\n", timeout=20)
    fresh.run("scan", codes=(4,))
    attribution = row(fresh)["attribution"]
    assert (attribution["verdict"], attribution["reason"]) == ("likely", "held-descriptor")
    assert [a["pid"] for a in attribution["actors"]] == [holder.pid]


def test_events_of_the_database_and_of_a_log_agree(fresh: Installation, audit_log: str) -> None:
    """'audit events' prints the same accesses from both."""
    fresh.run("scan")
    pid = write(fresh)
    fresh.run("scan", codes=(4,))

    def mine(*arguments: str) -> list[dict[str, Any]]:
        lines = fresh.run("audit", "events", "--format", "ndjson", *arguments).stdout.splitlines()
        return [event for event in map(json.loads, lines) if event["actor"]["pid"] == pid]

    stored = mine()
    assert [event["action"] for event in stored] == ["open-write"]
    assert mine(audit_log) == stored


def test_status_says_whether_audit_watches(fresh: Installation) -> None:
    """Covered directories pass; without their rules, the check fails and says what to load."""

    def rules_check() -> dict[str, Any]:
        document = json.loads(fresh.run("audit", "status", "--format", "json", codes=(0, 1, 2)).stdout)
        return next(c for c in document["checks"] if c["check"] == "rules")

    assert rules_check()["ok"] is True
    rules = [line for line in fresh.run("audit", "rules").stdout.decode().splitlines() if line.startswith("-a ")]
    remove_rules(rules)
    missing = rules_check()
    assert missing["ok"] is False and "audit rules --install" in missing["remedy"]
    load_rules(fresh)


def test_login_user_and_process_user_are_told_apart(fresh: Installation) -> None:
    """A process keeps its login user, whatever rights it gets; unset is null, never 0."""
    fresh.root.chmod(0o755)
    fresh.run("scan")
    code = (
        "import os; open('/proc/self/loginuid', 'w').write('65534');"
        f"os.chmod('{fresh.watched}/file', 0o666); os.setuid(1); open('{fresh.watched}/file', 'a').write('x')"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False)
    if done.returncode:
        pytest.skip("the login uid cannot be set here, or this Python is out of reach for other users")
    unset = subprocess.Popen(["sh", "-c", f"echo new > {fresh.watched}/new"])
    unset.wait(timeout=20)
    fresh.run("scan", codes=(5,))
    document = json.loads(fresh.run("diff", "--format", "json", codes=(5,)).stdout)
    actors = {r["path"].rpartition("/")[2]: r["attribution"]["actors"] for r in document["changes"]}
    writer = next(a for a in actors["file"] if a["role"] == "writer")
    assert (writer["auid"], writer["login_user"], writer["uid"], writer["user"]) == (65534, "nobody", 1, "daemon")
    assert {(a["auid"], a["login_user"]) for a in actors["new"]} <= {(None, None), _own_login()}


def _own_login() -> tuple[int | None, str | None]:
    import pwd

    number = int(Path("/proc/self/loginuid").read_text())
    return (None, None) if number == 2**32 - 1 else (number, pwd.getpwuid(number).pw_name)


def test_a_move_between_two_watched_directories(fresh: Installation, audit_log: str) -> None:
    """Each directory has its own rules; the change is a move, by the process that renamed the file."""
    second = fresh.root / "second"
    second.mkdir()
    write_config(fresh.root, [fresh.watched, second], audit_log)
    wanted = fresh.run("audit", "rules").stdout.decode().splitlines()
    rules = auditd.load_rules("\n".join(line for line in wanted if f"dir={second} " in line))
    try:
        fresh.run("scan")
        mover = subprocess.Popen(["mv", str(fresh.watched / "file"), str(second / "file")])
        mover.wait(timeout=20)
        fresh.run("scan", codes=(4,))
    finally:
        remove_rules(rules)
    found = row(fresh)
    assert (found["kind"], found["moved_from"]) == ("moved", str(fresh.watched / "file"))
    attribution = found["attribution"]
    assert (attribution["verdict"], [a["pid"] for a in attribution["actors"]]) == ("confirmed", [mover.pid])


def test_the_schedule_scans_and_reads_the_log(fresh: Installation) -> None:
    """The service alone records the baseline, finds a change and names its process."""
    config = fresh.config.read_text()
    fresh.config.write_text(config.replace("[[watch]]", '[schedule]\nscan = "3s"\naudit = "1s"\n[[watch]]', 1))
    command = [sys.executable, "-m", "fimscan", "--config", str(fresh.config), "schedule"]
    service = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        _wait_for(fresh, "Accepted baseline: scan 1")
        pid = write(fresh)
        _wait_for(fresh, "1 modified")
        service.terminate()
        said, complaints = service.communicate(timeout=30)
    finally:
        service.kill()
    assert service.returncode == 0 and "Traceback" not in complaints
    assert str(fresh.watched / "file") in said
    attribution = row(fresh)["attribution"]
    assert (attribution["verdict"], [a["pid"] for a in attribution["actors"]]) == ("confirmed", [pid])


def _wait_for(installation: Installation, words: str) -> None:
    import time

    deadline = time.monotonic() + 40
    # The database does not exist until the service creates it.
    while words not in (said := installation.run("status", codes=(0, 24)).stdout.decode()):
        assert time.monotonic() < deadline, said
        time.sleep(0.3)
