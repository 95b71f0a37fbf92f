"""``fimscan schedule`` with a real auditd: changes are reported within seconds, and nobody is accused falsely."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from fimscan.store.database import Database
from fimscan.store.files import state_digests
from fimscan.store.ledger import StateDigest
from tests.lab.ground import Installation, dismantle, load_rules, write_config
from tests.lab.runner import Ground

pytestmark = pytest.mark.audit
HOT_SECONDS = 8


@pytest.fixture
def host_kind() -> str | None:
    """The type of the file system to mount at the watched directory; ``None`` for none."""
    return None


@pytest.fixture
def host(audit_log: str, host_kind: str | None) -> Iterator[Installation]:
    """An installation for one test; its only complete scan is the baseline."""
    root = Path(tempfile.mkdtemp(prefix="fimscan-lab-"))
    watched = root / "watched"
    watched.mkdir()
    if host_kind is not None:
        subprocess.run(["mount", "-t", host_kind, host_kind, str(watched)], check=True)
    (watched / "file").write_text("old\n")
    (watched / "other").write_text("other\n")
    # The present log may have a long history that the test does not need: under another name it has none.
    (root / "log").mkdir()
    os.link(audit_log, log := root / "log" / "audit.log")
    made = Installation(root=root, watched=watched, elsewhere=root, config=write_config(root, [watched], str(log)))
    with made.config.open("a") as file:
        file.write('[schedule]\nscan = "1h"\n')
    rules = load_rules(made)
    yield made
    if host_kind is not None:
        subprocess.run(["umount", "-l", str(watched)], check=True)
    dismantle(rules, root)


class Service:
    """``fimscan schedule`` while it runs; its output is in a file."""

    def __init__(self, host: Installation, process: subprocess.Popen[bytes]) -> None:
        self.host = host
        self.process = process

    def said(self) -> str:
        return (self.host.root / "out").read_text()

    def rechecked(self, name: str) -> int:
        """When a live look last found this file unchanged; 0 for never."""
        with sqlite3.connect(self.host.root / "fimscan.db") as connection:
            query = "SELECT read_start_ns FROM recheck WHERE path = ?"
            row = connection.execute(query, (os.fsencode(self.host.watched / name),)).fetchone()
        return int(row[0]) if row else 0

    def rows(self) -> dict[str, dict[str, Any]]:
        document = json.loads(self.host.run("diff", "--format", "json", codes=tuple(range(8))).stdout)
        self.opened = {os.path.basename(o["path"]): o["actors"] for o in document["opened_unmodified"]}
        return {os.path.basename(row["path"]): row for row in document["changes"]}

    def wait(self, condition: Callable[[], object], seconds: float = 15) -> float:
        """Wait until the condition holds; return how long that took."""
        start = time.monotonic()
        while not condition():
            assert time.monotonic() - start < seconds, self.said() + (self.host.root / "err").read_text()
            assert self.process.poll() is None, (self.host.root / "err").read_text()
            time.sleep(0.05)
        return time.monotonic() - start

    def has_reported(self, name: str) -> bool:
        """Whether a change of this file was reported; of many at once, the text has only change sets."""
        with sqlite3.connect(self.host.root / "fimscan.db") as connection:
            query = "SELECT 1 FROM change JOIN scan ON scan.id = change.scan_id WHERE path = ? AND reported"
            return connection.execute(query, (os.fsencode(self.host.watched / name),)).fetchone() is not None

    def wait_for(self, name: str, seconds: float = 15) -> None:
        self.wait(lambda: self.has_reported(name), seconds)

    def wait_for_row(self, name: str, seconds: float = 15) -> dict[str, Any]:
        self.wait_for(name, seconds)
        return self.rows()[name]


@contextmanager
def service(host: Installation) -> Iterator[Service]:
    with (host.root / "out").open("ab") as out, (host.root / "err").open("ab") as err:
        command = [sys.executable, "-m", "fimscan", "--config", str(host.config), "schedule"]
        process = subprocess.Popen(command, stdout=out, stderr=err)
        running = Service(host, process)
        try:
            running.wait(lambda: b"Accepted baseline" in host.run("status", codes=(0, 24)).stdout, 40)
            yield running
            process.send_signal(signal.SIGTERM)
            assert process.wait(timeout=30) == 0
        finally:
            process.kill()
            process.wait()
    complaints = (host.root / "err").read_text()
    assert "Traceback" not in complaints and "Error" not in complaints, complaints
    assert_ledger(host)


def assert_ledger(host: Installation) -> None:
    """The newest entry covers the complete state, whichever scan or look made it."""
    database = Database(f"sqlite:///{host.root}/fimscan.db", host=os.uname().nodename)
    from fimscan.store import scans as scan_store
    from fimscan.store.ledger import replay

    with database.read() as session:
        digest = StateDigest()
        for one in state_digests(session):
            digest.add(one)
        last = scan_store.last_finished(session)
        assert last is not None and last.state_digest == digest.hexdigest()
        assert replay(scan_store.all_scans(session)) == []
    database.close()


def shell(command: str, host: Installation) -> int:
    process = subprocess.Popen(["sh", "-c", command], cwd=host.watched)
    assert process.wait(timeout=20) == 0
    return process.pid


def seconds(row: dict[str, Any]) -> float:
    start, end = (datetime.fromisoformat(row["window"][edge]) for edge in ("after", "before"))
    return (end - start).total_seconds()


def answer(row: dict[str, Any]) -> tuple[str, list[int]]:
    return row["attribution"]["verdict"], [a["pid"] for a in row["attribution"]["actors"]]


def test_a_change_is_reported_within_seconds_with_its_process(host: Installation) -> None:
    """No scan is due for an hour, but the change and its process are printed."""
    with service(host) as running:
        pid = shell("echo new >> file", host)
        took = running.wait(lambda: str(host.watched / "file") in running.said())
        assert took < 5
        assert answer(running.rows()["file"]) == ("confirmed", [pid])
        print(f"latency {took:.2f} s")


def test_the_socket_of_the_real_plugin_is_enough(host: Installation, ground: Ground) -> None:
    """auditd's own af_unix plugin sends the events, and no log is read at all."""
    if not ground.daemon.is_ours:
        pytest.skip("the auditd that runs here is not ours to configure")
    text = host.config.read_text()
    logs = next(line for line in text.splitlines() if line.startswith("logs ="))
    host.config.write_text(text.replace(logs, f'logs = []\nsocket = "{ground.daemon.socket}"'))
    with service(host) as running:
        pid = shell("echo new >> file", host)
        took = running.wait(lambda: str(host.watched / "file") in running.said())
        assert took < 5
        assert answer(running.rows()["file"]) == ("confirmed", [pid])


def test_a_file_found_unchanged_clears_earlier_openers(host: Installation) -> None:
    """A opens and writes nothing, a live look reads the file, B writes: B is named, and the window has seconds."""
    with service(host) as running:
        first = shell(": >> file", host)
        running.wait(lambda: running.rechecked("file"))
        time.sleep(0.1)
        second = shell("echo new >> file", host)
        row = running.wait_for_row("file")
        assert answer(row) == ("confirmed", [second])
        assert seconds(row) < 10
        assert [actor["pid"] for actor in running.opened["file"]] == [first]


def test_a_holder_of_the_file_is_not_cleared(host: Installation) -> None:
    """A keeps the file open, B opens it too: the answer is contested."""
    code = "f = open('file', 'a'); print('open', flush=True); input(); f.write('A')"
    holder = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=host.watched
    )
    try:
        with service(host) as running:
            assert holder.stdout is not None and holder.stdout.readline()
            time.sleep(3)
            second = shell(": >> file", host)
            time.sleep(2)
            holder.communicate("go\n", timeout=20)
            row = running.wait_for_row("file", 60)
            verdict, pids = answer(row)
            assert holder.pid in pids
            assert verdict == ("contested" if second in pids else "likely")
    finally:
        holder.kill()


def test_an_editor_that_takes_its_time_is_one_confirmed_change(host: Installation) -> None:
    """A process opens the file and writes seconds later: there is no look while it is open."""
    with service(host) as running:
        pid = shell("exec 3>> file; sleep 3; echo new >&3", host)
        row = running.wait_for_row("file")
        assert answer(row) == ("confirmed", [pid])
        assert not row.get("steps")


def test_replaced_removed_created_and_moved(host: Installation) -> None:
    """Creation, rename and removal: each is one change, with its process."""
    (host.watched / "gone").write_text("gone\n")
    (host.watched / "from").write_text("from\n")
    (host.watched / "tree").mkdir()
    (host.watched / "tree" / "leaf").write_text("leaf\n")
    with service(host) as running:
        replaced = shell("echo new > .file.tmp; exec mv .file.tmp file", host)
        removed = shell("exec rm gone", host)
        created = shell("echo hello > fresh", host)
        moved = shell("exec mv from to", host)
        carried = shell("exec mv tree wood", host)
        made = shell("mkdir deep && cd deep && mkdir deeper && cd deeper && echo x > leaf", host)
        names = ("file", "gone", "fresh", "to", "wood", "deep/deeper/leaf")
        for name in names:
            running.wait_for(name)
        document = json.loads(host.run("diff", "--format", "json", codes=tuple(range(8))).stdout)
        rows = {os.path.relpath(row["path"], host.watched): row for row in document["changes"]}
    assert (rows["file"]["kind"], rows["file"]["attribution"]["verdict"]) == ("modified", "confirmed")
    assert {a["pid"] for a in rows["file"]["attribution"]["actors"]} == {replaced}
    assert (rows["gone"]["kind"], answer(rows["gone"])) == ("removed", ("confirmed", [removed]))
    assert (rows["fresh"]["kind"], answer(rows["fresh"])) == ("added", ("confirmed", [created]))
    assert (rows["to"]["kind"], answer(rows["to"])) == ("moved", ("confirmed", [moved]))
    assert (rows["wood"]["kind"], answer(rows["wood"])) == ("moved", ("confirmed", [carried]))
    assert (rows["wood/leaf"]["kind"], answer(rows["wood/leaf"])) == ("moved", ("confirmed", [carried]))
    assert (rows["deep/deeper/leaf"]["kind"], answer(rows["deep/deeper/leaf"])) == ("added", ("confirmed", [made]))
    assert ".file.tmp" not in rows


def test_a_hot_log_is_looked_at_less_and_less_often(host: Installation) -> None:
    """A file that is opened and written all the time costs a few looks, not one for each write."""
    with service(host) as running:
        before = processor_seconds(running.process.pid)
        code = (
            f"import time; end = time.monotonic() + {HOT_SECONDS}\n"
            "while time.monotonic() < end: open('file', 'a').write('x'); time.sleep(0.001)"
        )
        pid = shell(f'exec {sys.executable} -c "{code}"', host)
        used_so_far = processor_seconds(running.process.pid) - before
        print(f"hot {used_so_far / HOT_SECONDS:.2%}")
        row = running.wait_for_row("file", 60)
        used = processor_seconds(running.process.pid) - before
    assert set(answer(row)[1]) == {pid}
    assert len(row.get("steps") or [row]) <= 4
    assert used / HOT_SECONDS < 0.5


def processor_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_an_idle_service_costs_nothing(host: Installation) -> None:
    """While no record is logged, it uses less than one percent of a processor."""
    with service(host) as running:
        time.sleep(1)
        before = processor_seconds(running.process.pid)
        time.sleep(6)
        used = processor_seconds(running.process.pid) - before
    print(f"idle {used / 6:.2%}")
    assert used / 6 < 0.05  # a larger limit: other processes use this machine and its log


def test_a_killed_service_reports_its_changes_after_a_restart(host: Installation) -> None:
    """kill -9 between the write and the look: the next start looks, and names the process."""
    pid = 0
    with suppress(KilledError), service(host) as running:
        pid = shell("echo new >> file", host)
        time.sleep(0.6)
        running.process.kill()
        raise KilledError
    with service(host) as again:
        row = again.wait_for_row("file")
        assert answer(row) == ("confirmed", [pid]), row["attribution"]


class KilledError(Exception):
    """The service did not end as it should."""


def test_a_manual_scan_works_beside_the_service(host: Installation) -> None:
    """cron's scans and the service's live looks run at the same time; each change is reported once."""
    with service(host) as running:
        for number in range(3):
            shell(f"echo {number} >> file", host)
            time.sleep(0.7)
            host.run("scan", codes=(0, 4))
        assert running.rows()["file"]["attribution"]["verdict"] == "confirmed" or running.rows()["file"]["steps"]
