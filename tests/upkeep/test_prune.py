"""Pruning: what is needed stays, both chains verify, and an unrecorded removal is still found."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from fimscan.config import Config, parse_config
from fimscan.errors import InterruptedScanError, UsageError, VerificationError
from fimscan.evidence.bundle import build_bundle
from fimscan.evidence.collect import collected
from fimscan.evidence.database import verify_database
from fimscan.evidence.verify import verify_bundle
from fimscan.grouping.selection import ByPath, Selection
from fimscan.linux.host import this_host
from fimscan.model import Approval, ControlFailure, ControlKind, ControlNote, MessageKind, NewMessage, WitnessExtent
from fimscan.outputs.formats import render
from fimscan.pipeline.audit.attribution import _records_since, attribute_again
from fimscan.pipeline.history.accept import accept, propose_everything, propose_selected
from fimscan.pipeline.history.diff import diff_from_baseline, diff_of_scans
from fimscan.pipeline.history.explain_change import explain
from fimscan.pipeline.history.reporting import report_once
from fimscan.report.documents.diff import diff_document
from fimscan.signing import SigningKey
from fimscan.store import acceptance as acceptance_store
from fimscan.store import audit as audit_store
from fimscan.store import controls as control_store
from fimscan.store import outbox
from fimscan.store import scans as scan_store
from fimscan.store import witness as witness_store
from fimscan.store.database import Database
from fimscan.store.interrupts import interrupted_by
from fimscan.upkeep import prune as pruning
from fimscan.upkeep.prune import Pruned, prune
from tests.conftest import Cli
from tests.evidence.site import HOST, Site, container_of, new_site, odd_lines, pretended_audit, problems
from tests.pipeline.test_audit_reading import event
from tests.schemas import validate

ROOT = Path(__file__).parents[2]
SECOND = 10**9
EVERYTHING = "\n".join(f'{kind} = "1s"' for kind in ("findings", "scans", "accesses", "controls", "outbox", "contents"))


def config_with(retention: str = EVERYTHING) -> Config:
    return parse_config(f'[retention]\n{retention}\n[[watch]]\npath = "/w"\n')


def pruned(database: Database, until_ns: int, retention: str = EVERYTHING, **options: Any) -> Pruned:
    """Prune what is older than a time."""
    return prune(database, config_with(retention), user="al", now_ns=until_ns + SECOND, **options)


def shown(database: Database) -> dict[str, Any]:
    return diff_document(diff_from_baseline(database))


def approval() -> Approval:
    return Approval(accepted_ns=time.time_ns(), user="u", ticket="T", reason="")


def accept_path(site: Site, name: str) -> None:
    try:
        chosen = Selection(names=(ByPath(os.fsencode(site.watched / name)),))
        accept(site.database, propose_selected(site.database, chosen), approval())
    except UsageError:
        pass  # it does not differ


def accept_all(site: Site) -> None:
    accept(site.database, propose_everything(site.database, even_outstanding=True), approval())


def write(site: Site, name: str, content: str, pid: int) -> None:
    path = site.watched / name
    path.write_text(content)
    site.append(event(path, pid, pid=pid))


NAMES = st.sampled_from("abc")
STEPS = st.one_of(
    st.tuples(st.just("write"), NAMES, st.sampled_from(["one", "two"])),
    st.tuples(st.just("remove"), NAMES),
    st.tuples(st.just("accept"), NAMES),
    st.tuples(st.just("everything")),
    st.tuples(st.just("undo")),
    st.tuples(st.just("prune"), st.integers(0, 100)),
)


# Without shrinking: it would take minutes, and the steps are short anyway.
@settings(
    max_examples=int(os.environ.get("FIMSCAN_PRUNINGS", "3")),
    suppress_health_check=list(HealthCheck),
    phases=[Phase.reuse, Phase.generate],
)
@given(steps=st.lists(STEPS, min_size=5, max_size=9))
def test_any_pruning_keeps_chains_and_diff(steps: list[tuple[Any, ...]], tmp_path_factory: Any) -> None:
    """Whatever was found, accepted, taken back and pruned before, and up to whatever time."""
    go_through(new_site(tmp_path_factory.mktemp("pruned")), steps)


def go_through(site: Site, steps: list[tuple[Any, ...]]) -> None:
    """Take the steps, with a pruning at the end and a scan after it."""
    moments = [time.time_ns()]
    try:
        with pretended_audit():
            site.scan()
            for number, (verb, *details) in enumerate(steps, 1):
                moments.append(time.time_ns())
                if verb == "prune":
                    _check_pruning(site, moments[details[0] * len(moments) // 101])
                    continue
                if verb == "write":
                    write(site, details[0], details[1], 4000 + number)
                elif verb == "remove":
                    (site.watched / details[0]).unlink(missing_ok=True)
                elif verb == "accept":
                    accept_path(site, details[0])
                elif verb == "everything":
                    accept_all(site)
                elif verb == "undo":
                    _undo(site.database)
                if verb in ("write", "remove"):
                    site.scan()
            _check_pruning(site, time.time_ns())
            site.scan()
            assert problems(site.database, every_scan=True) == []
    finally:
        site.database.close()


def _check_pruning(site: Site, until_ns: int) -> None:
    before = shown(site.database)
    tried = pruned(site.database, until_ns, dry_run=True)
    assert shown(site.database) == before
    done = pruned(site.database, until_ns)
    assert done.removed == tried.removed
    assert shown(site.database) == before
    assert problems(site.database, every_scan=True) == []
    assert pruned(site.database, until_ns).checkpoint is None, "nothing is left to prune"


def _undo(database: Database) -> None:
    try:
        with database.begin() as session:
            last = acceptance_store.latest_acceptances(session, 1)[0]
            assert last.act is not None
            acceptance_store.undo(session, last.act, approval())
    except UsageError:
        pass  # the first baseline, or one that took another back


@pytest.fixture(scope="session")
def key() -> SigningKey:
    """The same key in every run."""
    return SigningKey(Ed25519PrivateKey.from_private_bytes(b"k" * 32))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    """Six scans: a is changed twice and accepted, d2 came and went, b waits for acceptance."""
    made = new_site(tmp_path_factory.mktemp("old"))
    with pretended_audit():
        made.scan()
        write(made, "a", "one", 4001)
        write(made, "d2", "passing", 4002)
        made.scan()
        write(made, "b", "waits", 4003)
        (made.watched / "d2").unlink()
        made.append(event(made.watched / "c", 77, pid=4004))  # opened, and not changed
        made.scan()
        write(made, "a", "two", 4005)
        with report_once(made.database, made.scan()):
            pass
        accept_path(made, "a")
        made.scan()
        with report_once(made.database, made.scan()):
            pass
    made.database.close()
    return made


@pytest.fixture
def old(site: Site, tmp_path: Path) -> Iterator[Site]:
    """The same with a database of its own, which is a copy; the directory and the log are shared."""
    shutil.copy(site.root / "x.db", tmp_path / "x.db")
    with closing(Database(f"sqlite:///{tmp_path}/x.db", host=HOST)) as database:
        yield dataclasses.replace(site, database=database)


def of_table(database: Database, table: str) -> list[Any]:
    with database.read() as session:
        return list(session.connection.exec_driver_sql(f"SELECT * FROM {table}"))


def test_what_goes_and_what_stays(old: Site) -> None:
    """The steps of what waits stay, and what explains them; what was decided or left no trace goes."""
    database = old.database
    before = shown(database)
    waiting = before["changes"][0]["attribution"]["actors"]
    assert [actor["pid"] for actor in waiting] == [4003]
    done = pruned(database, time.time_ns())
    assert shown(database) == before
    paths = {os.path.basename(row.path) for row in of_table(database, "file_version")}
    assert paths == {os.fsencode(name) for name in ("a", "b", "c", "d", "held", "watched")}
    assert {os.path.basename(row.path) for row in of_table(database, "change")} == {b"b"}
    assert done.removed["change"] == 4 and done.removed["file_version"] == 3
    explanation = explain(database, os.fsencode(old.watched / "b"))
    assert explanation.records, "the records of what waits are evidence"
    with database.read() as session:
        left = scan_store.all_scans(session)
    assert left[0].id == 1, "the baseline"
    assert left[-1].checkpoint == done.checkpoint and done.checkpoint is not None
    assert done.checkpoint.scan == 5 and done.checkpoint.user == "al"


def test_both_chains_begin_at_the_checkpoint(old: Site) -> None:
    """verify says when and by whom. Heads from then on are found, also after a second pruning."""
    pruned(old.database, time.time_ns())
    with pretended_audit():
        write(old, "e", "new", 4010)
        old.scan()
        old.scan()
    checks = {check.name: check for check in verify_database(old.database, every_scan=True).checks}
    assert all(check.ok for check in checks.values())
    assert ", by al: " in checks["pruned"].detail and "the chains begin after scan 5" in checks["pruned"].detail
    with old.database.read() as session:
        head = scan_store.all_scans(session)[-1].entry
    accept_all(old)
    done = pruned(old.database, time.time_ns())
    assert done.checkpoint is not None and done.checkpoint.prunings == 2 and done.checkpoint.scan > 5
    assert problems(old.database, every_scan=True, head=head) == []
    assert "it was pruned" in problems(old.database, head="0" * 64)[0]


REMOVALS = [
    ("DELETE FROM change WHERE id = (SELECT max(id) FROM change)", "change"),
    ("DELETE FROM scan WHERE id = 6", "scan"),
    ("DELETE FROM scan WHERE checkpoint IS NOT NULL", "scan"),
    ("UPDATE scan SET checkpoint = replace(checkpoint, '\"scan\":', '\"scan\":1')", ""),
    ("UPDATE scan SET checkpoint = replace(checkpoint, '\"al\"', '\"eve\"')", "altered"),
    ("UPDATE scan SET checkpoint = NULL", "scan"),
    ("UPDATE scan SET started_ns = 1 WHERE id = 1", "scan 1, which was kept"),
    ("UPDATE scan SET counts = '{}' WHERE id = 1", "scan 1, which was kept"),
    ("DELETE FROM journal WHERE id = (SELECT min(id) FROM journal)", "journal entry"),
    ("DELETE FROM journal WHERE cause = 'prune'", "journal entry"),
    ("DELETE FROM notice", "notice"),
    ("DELETE FROM acceptance WHERE id = 2", "acceptance 2"),
    ("DELETE FROM file_version WHERE id = (SELECT max(id) FROM file_version)", "file version"),
]


def test_a_removal_without_a_checkpoint_is_found(old: Site, tmp_path: Path) -> None:
    """Pruning does not excuse it, before or after: an altered database is not pruned at all."""
    old.append(odd_lines())
    with pretended_audit():
        old.scan()
    pruned(old.database, time.time_ns())
    old.database.close()
    for number, (statement, words) in enumerate(REMOVALS):
        copy = tmp_path / f"copy{number}.db"
        shutil.copy(old.database.file or "", copy)
        with closing(sqlite3.connect(copy)) as connection:
            assert connection.execute(statement).rowcount, statement
            connection.commit()
        with closing(Database(f"sqlite:///{copy}", host=HOST)) as database:
            found = problems(database)
            assert any(words in line for line in found), (statement, found)
            with pytest.raises(VerificationError, match="nothing is pruned"):
                pruned(database, time.time_ns())


def test_what_is_gone_is_not_compared_with(old: Site) -> None:
    """A diff from a pruned time would lack rows, and a decision whose alternative is gone cannot be taken back."""
    pruned(old.database, time.time_ns())
    with pytest.raises(UsageError, match="was pruned"):
        diff_of_scans(old.database, 3, None)
    assert diff_of_scans(old.database, None, None).start.id >= 5
    with pytest.raises(UsageError, match="cannot be taken back"), old.database.begin() as session:
        acceptance_store.undo(session, 2, approval())
    with pytest.raises(UsageError, match="was pruned"):
        verify_database(old.database, scan=1)


def test_newer_decisions_can_still_be_taken_back(old: Site) -> None:
    """Only what decisions of that age replaced was removed."""
    moment = time.time_ns()
    before = shown(old.database)
    accept_path(old, "b")
    assert shown(old.database)["changes"] == []
    pruned(old.database, moment)
    _undo(old.database)
    assert shown(old.database)["changes"] == before["changes"]


def test_each_kind_has_its_age(old: Site) -> None:
    """What is to be kept forever stays, whatever else goes."""
    forever = {kind: f'{kind} = "forever"' for kind in ("findings", "scans", "accesses", "controls", "outbox")}
    assert pruned(old.database, time.time_ns(), "\n".join(forever.values())).removed == {}
    only = pruned(old.database, time.time_ns(), "\n".join(forever.values()).replace(forever["scans"], 'scans = "1s"'))
    assert only.removed["scan"] and not {"change", "file_version", "access"} & only.removed.keys()
    assert problems(old.database, every_scan=True) == []
    rest = "\n".join(forever.values()).replace(forever["findings"], 'findings = "1s"')
    only = pruned(old.database, time.time_ns(), rest)
    assert only.removed["change"] and "scan" not in only.removed
    assert problems(old.database, every_scan=True) == []


def test_answers_do_not_rest_on_records_that_are_gone(old: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Late records revise no answer whose other evidence may be gone, and a log counts as unread before that time."""
    with pretended_audit():
        old.scan()  # reads what other tests appended, into another block
        old.append(event(old.log, 5))  # explains nothing
        old.scan()
    with old.database.read() as session:
        answers = [(row.id, row.attribution) for row in of_table(old.database, "change")]
        extents = audit_store.extents(session, os.fsencode(old.log))
    monkeypatch.setattr(pruning, "_needed_since", lambda *_: 2**62)  # as long after the last scan
    until_ns = time.time_ns()
    pruned(old.database, until_ns, 'findings = "forever"\nscans = "forever"\naccesses = "1s"')
    with old.database.begin() as session:
        since_ns = _records_since(session)
        assert until_ns <= since_ns < time.time_ns() + 10 * SECOND
        attribute_again(session, 0, [os.fsencode(old.log)])
        clipped = audit_store.extents(session, os.fsencode(old.log), since_ns=since_ns)
    assert [(row.id, row.attribution) for row in of_table(old.database, "change")] == answers
    assert extents and all(extent.start_ns >= since_ns for extent in clipped)


KILLED = """
import os, signal, sys
from sqlalchemy import event
from sqlalchemy.engine import Engine
from fimscan.store.database import Database
from fimscan.upkeep import prune as pruning
from tests.upkeep.test_prune import pruned

left = 0
inside = False
begin = Database.begin_removal

def begin_counting(self):
    global inside
    inside = True
    return begin(self)

Database.begin_removal = begin_counting

def count(*_):
    global left
    left -= inside
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)

for moment in ("before_cursor_execute", "commit"):
    event.listen(Engine, moment, count)
# Each in a process of its own: one import is enough for all.
for argument in sys.argv[2:]:
    name, _, number = argument.partition("=")
    child = os.fork()
    if child == 0:
        left = int(number)
        database = Database(f"sqlite:///{name}", host="h")
        pruned(database, int(sys.argv[1]))
        print(-left, flush=True)
        os._exit(0)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


def test_a_killed_pruning_removes_all_or_nothing(old: Site, tmp_path: Path) -> None:
    """kill -9 before any of its statements. FIMSCAN_KILLS=200 tries more of them."""
    old.database.close()
    until_ns = time.time_ns()

    def run(statements: Sequence[int]) -> list[int]:
        """What is printed: how each process ended, and before it, if it ended by itself, its number of statements."""
        for number in statements:
            shutil.copy(old.database.file or "", tmp_path / f"{number}.db")
        command = [sys.executable, "-c", KILLED, str(until_ns)]
        command += [f"{tmp_path}/{number}.db={number}" for number in statements]
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
        assert done.returncode == 0, done.stderr
        return [int(line) for line in done.stdout.split()]

    whole, code = run([-1])
    assert code == 0
    count = whole - 1
    kills = int(os.environ.get("FIMSCAN_KILLS", "5"))
    numbers = sorted({1 + number * count // kills for number in range(kills)} | {count})
    assert run(numbers) == [-signal.SIGKILL] * len(numbers)
    for number in numbers:
        with closing(Database(f"sqlite:///{tmp_path}/{number}.db", host=HOST)) as database:
            assert problems(database, every_scan=True) == []
            with database.read() as session:
                assert scan_store.checkpoint(session) is None, number
            assert pruned(database, until_ns).checkpoint is not None
            assert problems(database, every_scan=True) == []


def test_evidence_of_a_pruned_chain(old: Site, key: SigningKey, tmp_path: Path) -> None:
    """A bundle verifies only with the checkpoint, and says who pruned; also one of a period before the pruning."""
    with old.database.read() as session:
        sixth = scan_store.all_scans(session)[5]
    assert sixth.finished_ns is not None
    pruned(old.database, time.time_ns())
    with pretended_audit():
        old.scan()
    whole, earlier, cut = tmp_path / "whole.zip", tmp_path / "earlier.zip", tmp_path / "cut.zip"
    export(old, key, whole, time.time_ns())
    export(old, key, earlier, sixth.finished_ns + 1)
    for bundle, scans in ((whole, 2), (earlier, 1)):
        report = verify_bundle(bundle)
        assert report.ok, report.checks
        (linked,) = [check for check in report.checks if check.name == "chain"]
        assert f"{scans} finished scans" in linked.detail and "begins after scan 5; pruned " in linked.detail
        assert " by al: " in linked.detail
    members = {}
    with zipfile.ZipFile(earlier) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    readme = members["00-README.txt"].decode()
    assert "WHAT WAS PRUNED" in readme and "intact; its head is" in readme
    unpacked = tmp_path / "unpacked"
    with zipfile.ZipFile(whole) as archive:
        archive.extractall(unpacked)
        command = archive.read("00-README.txt").decode()
    script = command[command.index("last=") : command.index("   Compare the head")]
    replayed = subprocess.run(["sh", "-c", script], cwd=unpacked, capture_output=True, text=True, check=True).stdout
    assert "BROKEN" not in replayed and "head: " in replayed
    members["07-later.txt"] = b""
    cut.write_bytes(container_of(members))
    (linked,) = [check for check in verify_bundle(cut).checks if check.name == "chain"]
    assert not linked.ok and "does not follow the start of the chain" in linked.detail


def export(site: Site, key: SigningKey, path: Path, end_ns: int) -> None:
    config = parse_config(f'[[watch]]\npath = "{site.watched}"\n')
    with collected(site.database, config, 1, end_ns, audit_rules="", reconfigured=lambda *_: ()) as data:
        build_bundle(data, key, path)


def test_no_evidence_of_a_time_that_is_gone(old: Site, key: SigningKey, tmp_path: Path) -> None:
    """It would lack files."""
    with old.database.read() as session:
        third = scan_store.all_scans(session)[2]
    pruned(old.database, time.time_ns(), 'findings = "1s"\nscans = "forever"')
    with pytest.raises(UsageError, match="was pruned"):
        export(old, key, tmp_path / "x.zip", (third.finished_ns or 0) + 1)


def test_messages_failures_and_contents(cli: Cli) -> None:
    """Each by its own age; contents of versions that are left stay."""
    cli.write_config(EVERYTHING_SECTION, watch="keep_content = true")
    cli.scan()
    for text in ("one", "two"):
        (cli.watched / "a").write_text(text)
        cli.scan(4)
    cli("accept", "--all", code=0)
    with closing(Database(f"sqlite:///{cli.database}", host=this_host())) as database, database.begin() as session:
        failure = ControlFailure(
            kind=ControlKind.DISK, subject="/", cause="c", start_ns=1, detected_ns=1, end_ns=2, remedy="r"
        )
        control_store.add(session, [failure, replace(failure, end_ns=None, remedy=None)])
        control_store.add_notes(
            session, [ControlNote(failure=n, noted_ns=3, user="u", remediation="r") for n in (1, 2)]
        )
        control_store.mark_reported(session, control_store.unreported(session))
        message = NewMessage(id="m", kind=MessageKind.CHANGES, scan=None, urgent=True, body=b"content")
        outbox.add(session, "mail", [message, replace(message, id="n")], 1)
        outbox.delivered(session, 1, 2, "ok")
    time.sleep(1.5)
    cli.scan(0)
    tried = json.loads(cli("db", "prune", "--dry-run", "--format", "json", code=0).stdout)
    done = json.loads(cli("db", "prune", "--vacuum", "--format", "json", code=0).stdout)
    assert tried["dry_run"] and not done["dry_run"]
    assert all(tried["removed"][name] == done["removed"][name] for name in ("content", "outbox", "change"))
    assert done["removed"]["control_note"] >= 1  # the other one is about a failure that has just ended
    assert done["removed"]["content"] == 2 and done["removed"]["outbox"] == 1 <= done["removed"]["control_failure"]
    cli("verify", "--db", code=0)
    assert "pruned by " in cli("status", code=0).stdout
    again = json.loads(cli("db", "prune", "--format", "json", code=0).stdout)
    # A failure that ended less than its age before the first pruning is old enough by now.
    assert {name for name, count in again["removed"].items() if count} <= {"control_failure", "control_note"}
    cli.scan(0)
    assert cli("export", "pci-dss", "--from", "2026-01-01", "--to", "2100-01-01", "--out", "x.zip").returncode == 0
    cli("verify", "x.zip", code=0)


EVERYTHING_SECTION = f"[retention]\n{EVERYTHING}"


def test_outputs_are_told_of_a_pruning(old: Site) -> None:
    """In its transaction: what was removed, by whom, and the head of the ledger with the checkpoint. Not of a trial."""
    text = '[[output]]\nname = "siem"\ntype = "file"\npath = "/x"\n'
    quiet = text.replace("siem", "quiet") + "problems = false\n"
    config = parse_config(f'[retention]\n{EVERYTHING}\n[[watch]]\npath = "/w"\n{text}{quiet}')
    now_ns = time.time_ns() + 2 * SECOND
    prune(old.database, config, user="al", now_ns=now_ns, dry_run=True)
    done = prune(old.database, config, user="al", now_ns=now_ns)
    with old.database.read() as session:
        waiting = outbox.due(session, "siem", now_ns, 9)
        assert outbox.due(session, "quiet", now_ns, 9) == []
        entry = scan_store.all_scans(session)[-1].entry
    (message,) = waiting
    document = json.loads(message.body or b"")
    validate(document)
    assert done.checkpoint is not None and done.checkpoint.removed
    assert (document["kind"], document["severity"], document["head"]["entry"]) == ("pruned", "low", entry)
    assert ", by al: " in document["problems"][0] and "pruned: " in document["subject"]
    for name in ("text", "json", "ecs", "ocsf", "cef", "splunk-cim", "wazuh", "hash-log"):
        assert isinstance(render(name, document, limit=None, line=False), bytes)
    assert problems(old.database) == []


@pytest.mark.parametrize("steps", [0, 1, 15])
def test_a_pruning_can_be_stopped_at_any_step(old: Site, steps: int) -> None:
    """As by SIGTERM to 'fimscan schedule': nothing is removed then, and the next one does it all."""
    left = iter(range(steps))

    def stop() -> None:
        if next(left, None) is None:
            raise InterruptedScanError(signal.SIGTERM)

    with interrupted_by(stop), pytest.raises(InterruptedScanError):
        pruned(old.database, time.time_ns())
    with old.database.read() as session:
        assert scan_store.checkpoint(session) is None
    assert problems(old.database) == []
    assert pruned(old.database, time.time_ns()).checkpoint is not None


def test_the_second_witness_is_silent_about_what_is_gone(old: Site) -> None:
    """An extent without its events would clear whoever wrote then."""
    extent = WitnessExtent(dev=7, start_ns=1, end_ns=time.time_ns() + 9 * SECOND)
    with old.database.begin() as session:
        witness_store.extend(session, extent)
    with old.database.read() as session:
        (whole,) = witness_store.load(session, [(7, 1)], 0, extent.end_ns).extents[7]
        (clipped,) = witness_store.load(session, [(7, 1)], 0, extent.end_ns, left_ns=50).extents[7]
    assert whole.start_ns == 1 and clipped.start_ns == 50
