"""Selftests: how findings are judged, where the file is made, and that it never stays. The lab has the whole way."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import closing, suppress
from pathlib import Path
from types import SimpleNamespace

import pytest
from msgspec.structs import replace

from fimscan.config import parse_config
from fimscan.errors import InputError, StoreError
from fimscan.model import (
    Actor,
    Attribution,
    ControlKind,
    Coverage,
    Finding,
    Reason,
    Selftest,
    SelftestStep,
    StepResult,
    StepState,
    Verdict,
)
from fimscan.pipeline import run_scan
from fimscan.pipeline.controls import evaluate
from fimscan.pipeline.outputs.messages import make_messages
from fimscan.pipeline.selftest import judge, place
from fimscan.pipeline.selftest.canary import canary
from fimscan.pipeline.selftest.place import place_for
from fimscan.pipeline.selftest.run import run_selftest
from fimscan.pipeline.settings import ScanPlan
from fimscan.store import selftests
from fimscan.store.database import Database
from tests.conftest import Cli
from tests.support import change, rule, state

EXE = b"/usr/bin/python3"
ME = Actor(pid=7, exe=EXE)
CONTENT = b"fimscan selftest 0123\n"
SECONDS = 30


def wait_until_gone(path: Path) -> None:
    until = time.monotonic() + SECONDS
    while path.exists():
        assert time.monotonic() < until, "the canary stays"
        time.sleep(0.02)


def answer(verdict: Verdict = Verdict.CONFIRMED, *actors: Actor, reason: Reason | None = None) -> Attribution:
    return Attribution(verdict, reason, actors, Coverage(complete=True))


# --------------------------------------------------------------------------------------------------------------------
# The judgement


@pytest.mark.parametrize(
    ("found", "is_right"),
    [
        (answer(Verdict.CONFIRMED, ME), True),
        (answer(Verdict.CONFIRMED, ME, ME._replace(syscall="fchmod")), True),
        (answer(Verdict.CONFIRMED, ME._replace(pid=8)), False),
        (answer(Verdict.CONFIRMED, ME._replace(exe=b"/bin/sh")), False),
        (answer(Verdict.CONFIRMED, ME, Actor(pid=9, exe=EXE)), False),
        (answer(Verdict.CONFIRMED), False),
        (answer(Verdict.LIKELY, ME, reason=Reason.COVERAGE_GAP), False),
        (answer(Verdict.UNATTRIBUTED, reason=Reason.NOT_COVERED), False),
    ],
)
def test_only_a_proof_that_names_exactly_its_process_passes(found: Attribution, is_right: bool) -> None:
    """Another process, another program, one more process or a weaker verdict fail it, and the reason is said."""
    result = judge.attributed(found, 7, EXE, 1.0)
    assert (result.state is StepState.PASSED) is is_right
    assert found.verdict.value in result.detail and (found.reason or "") in result.detail


def test_only_the_content_that_was_written_is_detected() -> None:
    """Not another one at the same path, not a change of another kind, and not nothing."""
    made = state(b"/w/c", CONTENT, size=len(CONTENT), digests=())
    found = Finding(change=change(None, made), attribution=answer())
    assert judge.detected(found, b"/w/c", CONTENT, 1.0).state is StepState.PASSED
    for wrong in (
        None,
        Finding(change=change(None, replace(made, size=3)), attribution=answer()),
        Finding(change=change(made, None), attribution=answer()),
        Finding(change=change(None, replace(made, path=b"/w/d")), attribution=answer()),
    ):
        assert judge.detected(wrong, b"/w/c", CONTENT, 1.0).state is StepState.FAILED


def test_a_failure_is_a_control_until_one_passes() -> None:
    """Its cause is the first step that failed."""
    step = StepResult(step=SelftestStep.DELIVERED, state=StepState.FAILED, detail="refused; see x", output="mail")
    failed = Selftest(started_ns=5, finished_ns=6, steps=(step,))
    symptom = evaluate.selftest_symptom(failed)
    assert symptom is not None and symptom.cause == "not delivered (output mail): refused"
    began = evaluate.transitions([], [symptom], (ControlKind.SELFTEST,), 7).began
    skipped = replace(step, state=StepState.SKIPPED)
    assert evaluate.selftest_symptom(replace(failed, steps=(skipped,))) is None
    assert evaluate.transitions(began, [], (ControlKind.SELFTEST,), 9).ended[0].end_ns == 9
    assert evaluate.transitions(began, [], (ControlKind.SCAN,), 9).ended == ()


# --------------------------------------------------------------------------------------------------------------------
# Where it is made


def plan(text: str) -> ScanPlan:
    return ScanPlan.of(parse_config(text))


def test_it_is_made_where_audit_covers_it(tmp_path: Path) -> None:
    """In the first watched directory with rules; without any, in the first one, so that it fails with the reason."""
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    watches = "".join(f'[[watch]]\npath = "{tmp_path}/{name}"\n' for name in ("none", "a", "b"))
    covered, _ = place_for(plan(watches), [rule(os.fsencode(tmp_path / "b"))])
    assert covered is not None and covered.startswith(os.fsencode(tmp_path / "b/.fimscan-selftest-"))
    other, _ = place_for(plan(watches), [])
    assert other is not None and other.startswith(os.fsencode(tmp_path / "a/"))
    assert covered != place_for(plan(watches), [rule(os.fsencode(tmp_path / "b"))])[0]


def test_a_place_that_is_no_good_is_said(tmp_path: Path) -> None:
    """Outside of all watches, excluded, there already, or in a directory that others may write to."""
    inside = tmp_path / "w"
    (inside / "open").mkdir(parents=True)
    (inside / "open").chmod(0o777)
    (inside / "f").touch()
    watch = f'[[watch]]\npath = "{inside}"\nexclude = ["*.tmp"]\n'
    for path, words in (
        (tmp_path, "is not monitored"),
        (inside / "x.tmp", "is not monitored"),
        (inside / "f", "exists already"),
        (inside / "no/x", "is no directory"),
        (inside / "open", "others than its owner may write"),
    ):
        found, problem = place_for(plan(f'{watch}[selftest]\npath = "{path}"\n'), [])
        assert found is None and words in problem, (path, problem)
    found, _ = place_for(plan(f'{watch}[selftest]\npath = "{inside}/canary"\n'), [])
    assert found == os.fsencode(inside / "canary")
    none, problem = place_for(plan(f'[[watch]]\npath = "{inside}/f"\n'), [])
    assert none is None and "[selftest] path" in problem


def test_a_sandbox_that_lets_nothing_be_written_is_told_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The directory that the units may write to is found by itself; without it, one line has the command."""
    etc, usual = tmp_path / "etc", tmp_path / "etc/selftest"
    usual.mkdir(parents=True, mode=0o700)
    monkeypatch.setattr(place, "USUAL", os.fsencode(usual))
    real = os.statvfs
    writable = {os.fsencode(usual)}

    def sandboxed(path: bytes) -> object:
        return real(path) if path in writable else SimpleNamespace(f_flag=os.ST_RDONLY)

    monkeypatch.setattr(os, "statvfs", sandboxed)
    watch = f'[[watch]]\npath = "{etc}"\n'
    found, _ = place_for(plan(watch), [])
    assert found is not None and os.path.dirname(found) == os.fsencode(usual)
    none, problem = place_for(plan(f'{watch}[selftest]\npath = "{etc}"\n'), [])
    assert none is None and f"{etc} is read-only" in problem and f"ReadWritePaths={etc}" in problem
    usual.rmdir()
    none, problem = place_for(plan(watch), [])
    assert none is None and f"mkdir -m 0700 {usual}" in problem
    none, problem = place_for(plan(f'[[watch]]\npath = "{tmp_path}"\nexclude = ["etc"]\n'), [])
    assert none is None and "mkdir" not in problem and "ReadWritePaths=" in problem and "[selftest] path" in problem


# --------------------------------------------------------------------------------------------------------------------
# The canary


def test_the_canary_is_made_by_another_process_and_goes(tmp_path: Path) -> None:
    """Its content is not on the command line of that process."""
    path = tmp_path / "canary"
    with canary(os.fsencode(path), CONTENT) as made:
        assert path.read_bytes() == CONTENT and path.stat().st_mode & 0o777 == 0o600
        assert made.pid != os.getpid() and os.readlink(f"/proc/{made.pid}/exe") == os.fsdecode(made.exe)
        assert b"0123" not in Path(f"/proc/{made.pid}/cmdline").read_bytes()
        # Ctrl-C and the end of a service are for the whole group: it has to live on to remove the file.
        ignored = re.search(r"SigIgn:\s*(\w+)", Path(f"/proc/{made.pid}/status").read_text())
        assert ignored is not None
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            assert int(ignored[1], 16) >> (number - 1) & 1
    assert not path.exists() and not os.path.exists(f"/proc/{made.pid}")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_the_canary_goes_although_its_process_is_signalled(tmp_path: Path, number: signal.Signals) -> None:
    path = tmp_path / "canary"
    with canary(os.fsencode(path), CONTENT) as made:
        os.kill(made.pid, number)
    assert not path.exists()


def test_the_canary_goes_although_the_selftest_is_killed(tmp_path: Path) -> None:
    """kill -9: its process notices that nobody is there any more."""
    path = tmp_path / "canary"
    program = (
        "import os, sys, time\n"
        "from fimscan.pipeline.selftest.canary import canary\n"
        "with canary(os.fsencode(sys.argv[1]), b'x\\n'):\n"
        "    print('made', flush=True); time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", program, str(path)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stdout.readline() == "made\n"
        assert path.exists()
        process.kill()
    wait_until_gone(path)


def test_a_file_that_is_not_the_canary_stays(tmp_path: Path) -> None:
    """Neither one that was there before, nor one that took its place."""
    path = tmp_path / "canary"
    path.write_text("mine")
    with pytest.raises(InputError, match="File exists"), canary(os.fsencode(path), CONTENT):
        pass
    assert path.read_text() == "mine"
    path.unlink()
    with canary(os.fsencode(path), CONTENT):
        (tmp_path / "other").write_text("other")
        (tmp_path / "other").rename(path)
    assert path.read_text() == "other"


# --------------------------------------------------------------------------------------------------------------------
# Without audit


def test_without_audit_the_other_steps_are_taken(cli: Cli) -> None:
    """The document says what was skipped. Nothing is printed for cron if it passes; the exit code is 26 if not."""
    out = cli.root / "out"
    cli.write_config(f'[audit]\nenabled = false\n[[output]]\nname = "o"\ntype = "file"\npath = "{out}"\n')
    cli.scan()
    document = json.loads(cli("selftest", "--format", "json", code=0).stdout)
    assert [(item["step"], item["state"]) for item in document["steps"]] == [
        ("prepared", "passed"),
        ("detected", "passed"),
        ("attributed", "skipped"),
        ("alerted", "passed"),
        ("delivered", "passed"),
    ]
    # Without a proof that it was the selftest, the message is as of any change.
    assert "a selftest" not in out.read_text()
    assert cli("selftest", "--quiet", code=0).stdout == ""
    assert cli("scan", "--no-audit", code=0).stdout == ""
    cli.write_config(f'[audit]\nenabled = false\n[selftest]\npath = "{cli.root}"\n')
    failed = cli("selftest", "--quiet", code=26)
    assert "is not monitored" in failed.stdout and "the selftest failed: not prepared" in failed.stderr


def test_the_schedule_runs_it(cli: Cli) -> None:
    """By its own timetable, after the baseline."""
    cli.write_config('[audit]\nenabled = false\n[schedule]\nscan = "1h"\nselftest = "1h"\n')
    with (cli.root / "err").open("w") as err:
        process = subprocess.Popen(cli.command("schedule"), stdout=subprocess.DEVNULL, stderr=err)
    try:
        until = time.monotonic() + SECONDS
        while (found := _last(cli)) is None:
            assert time.monotonic() < until, (cli.root / "err").read_text()
            time.sleep(0.1)
    finally:
        process.terminate()
        process.wait(SECONDS)
    assert found.has_passed and sorted(path.name for path in cli.watched.iterdir()) == ["a", "b", "c"]


def _last(cli: Cli) -> Selftest | None:
    with suppress(StoreError):  # it is being created
        database = Database(f"sqlite:///{cli.database}", host=os.uname().nodename, create=False, writing=False)
        with closing(database), database.read() as session:
            return selftests.last(session)
    return None


def test_receivers_that_hang_fail_only_their_own_step(cli: Cli) -> None:
    """A web server and a mail server that accept the connection, and never say a word; a file beside them works."""
    out = cli.root / "out"
    with socket.create_server(("127.0.0.1", 0)) as web, socket.create_server(("127.0.0.1", 0)) as mail:
        hook = f'type = "webhook"\nurl = "http://127.0.0.1:{web.getsockname()[1]}/"\ntimeout = "10m"\n'
        smtp = f'type = "smtp"\naddress = "127.0.0.1:{mail.getsockname()[1]}"\nsecurity = "none"\ntimeout = "10m"\n'
        smtp += 'sender = "a@example.com"\nto = ["b@example.com"]\n'
        text = '[audit]\nenabled = false\n[selftest]\nwait = "2s"\n[outbox]\nscan_wait = "1s"\n'
        outputs = {"hook": hook, "mail": smtp, "file": f'type = "file"\npath = "{out}"\n'}
        cli.write_config(text + "".join(f'[[output]]\nname = "{name}"\n{one}' for name, one in outputs.items()))
        cli.scan()
        failed = json.loads(cli("selftest", "--format", "json", code=26).stdout)
        delivered = {step["output"]: step for step in failed["steps"] if step["step"] == "delivered"}
        assert {name: step["state"] for name, step in delivered.items()} == {
            "hook": "failed",
            "mail": "failed",
            "file": "passed",
        }
        assert all("not acknowledged within 2s" in delivered[name]["detail"] for name in ("hook", "mail"))
        assert "Control failed (selftest): selftest: not delivered (output hook)" in cli("status").stdout
    assert ".fimscan-selftest-" in out.read_text()


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0 or shutil.which("unshare") is None, reason="needs root and unshare (util-linux)")
def test_a_container_without_the_process_ids_of_the_host_is_told(cli: Cli) -> None:
    """One line says what to change, instead of a verdict that nobody can explain."""
    log = cli.root / "audit.log"
    log.touch()
    cli.write_config(f'[audit]\nlogs = ["{log}"]\n')
    alone = ["unshare", "--pid", "--fork", "--mount-proc"]
    for arguments in (("scan",), ("selftest",)):
        done = subprocess.run([*alone, *cli.command(*arguments)], capture_output=True, text=True, check=False)
        if "unshare" in done.stderr:
            pytest.skip(f"no pid namespace can be made here: {done.stderr}")
    assert done.returncode == 26
    (line,) = [line for line in done.stdout.splitlines() if "failed  attributed" in line]
    assert "process ids of its own" in line and "--pid=host" in line


def test_outputs_of_a_service_of_its_own_are_waited_for(cli: Cli) -> None:
    """With [outbox] separate, only 'fimscan notify' delivers: what it does not do in time is a failure."""
    out = cli.root / "out"
    separate = '[audit]\nenabled = false\n[outbox]\nseparate = true\n[selftest]\nwait = "{}"\n'
    output = f'[[output]]\nname = "o"\ntype = "file"\npath = "{out}"\n'
    cli.write_config(separate.format("1s") + output)
    cli.scan()
    failed = json.loads(cli("selftest", "--format", "json", code=26).stdout)
    assert "is 'fimscan notify' running?" in failed["steps"][-1]["detail"]
    cli.write_config(separate.format("60s") + output)
    process = subprocess.Popen(cli.command("notify", "--follow"), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        passed = json.loads(cli("selftest", "--format", "json", code=0).stdout)
    finally:
        process.terminate()
        process.wait(SECONDS)
    assert passed["steps"][-1]["state"] == "passed" and ".fimscan-selftest-" in out.read_text()


def test_another_change_is_not_taken_for_it(tmp_path: Path) -> None:
    """An output that is only told of other changes gets a test message, although one of these waits with it."""
    watched = tmp_path / "w"
    watched.mkdir()
    (watched / "f").write_text("old")
    output = '[[output]]\nname = "{0}"\ntype = "file"\npath = "{1}/{0}"\nkinds = {2}\n'
    outputs = output.format("all", tmp_path, "[]") + output.format("some", tmp_path, '["modified"]')
    config = parse_config(f'{outputs}[[watch]]\npath = "{watched}"\n')
    database = Database(f"sqlite:///{tmp_path}/x.db", host="h")
    run_scan(database, config, source=None)
    make_messages(database, config)
    (watched / "f").write_text("new")
    run_scan(database, config, source=None)  # its messages are made with those of the selftest
    done = run_selftest(database, config, None)
    database.close()
    assert done.has_passed
    details = {step.output: step.detail for step in done.steps if step.step is SelftestStep.ALERTED}
    assert "test message" in details["some"] and "test message" not in details["all"]
