"""From the scan to the receiver: nothing is lost, whatever dies; what is sent twice has the same id."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from sqlalchemy import text as sql

from fimscan.config import Config, parse_config
from fimscan.errors import StoreError
from fimscan.model import ControlFailure, ControlKind, MessageKind, MessageState, OutboxMessage
from fimscan.outputs.formats import render
from fimscan.outputs.receivers.base import Envelope, Receiver
from fimscan.outputs.receivers.mail import mail_bytes
from fimscan.outputs.receivers.syslog import syslog_message
from fimscan.pipeline import AuditSource, Live, run_scan
from fimscan.pipeline.controls import record
from fimscan.pipeline.health.outputs import output_checks
from fimscan.pipeline.outputs import delivery
from fimscan.pipeline.outputs.delivery import Deliverer, Notifier, delay_s, deliver_after_scan
from fimscan.pipeline.outputs.messages import _is_settled, beyond, make_messages, notice_of
from fimscan.pipeline.outputs.settings import Limits, receiver_of
from fimscan.signing import load_or_create_key
from fimscan.store import controls as control_store
from fimscan.store import outbox, scans
from fimscan.store.database import Database
from tests.conftest import Cli
from tests.evidence.site import new_site, pretended_audit, problems
from tests.outputs.conftest import Certificates, WebServer, free_port, wait_for
from tests.pipeline.test_audit_reading import event


@dataclass
class Host:
    """A host with a watched directory, scanned in this process."""

    root: Path
    database: Database
    extra: str = ""

    @property
    def watched(self) -> Path:
        return self.root / "w"

    @property
    def config(self) -> Config:
        return parse_config(
            f'[database]\nurl = "sqlite:///{self.root}/x.db"\n[scan]\nworkers = 1\n'
            f'[[watch]]\npath = "{self.watched}"\n{self.extra}'
        )

    def scan(self, **files: str) -> None:
        for name, text in files.items():
            (self.watched / name).write_text(text)
        run_scan(self.database, self.config, source=None)

    def messages(self, count: int, subject: str, *, urgent: bool = True) -> None:
        """Add messages to all outputs."""
        with self.database.begin() as session:
            for output in self.config.output:
                for number in range(count):
                    one = notice_of(
                        MessageKind.TEST, "h", f"{subject} {number}", None, f"{subject} {number}"[:36], None
                    )
                    outbox.add(session, output.name, [replace(one, urgent=urgent)], time.time_ns())

    def stored(self, *states: MessageState) -> list[OutboxMessage]:
        with self.database.read() as session:
            return outbox.listing(session, 1000, *states)

    def deliver(self) -> None:
        make_messages(self.database, self.config)
        assert Deliverer(self.database, self.config).run(60, now=True) is not None


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    (tmp_path / "w").mkdir()
    made = Host(tmp_path, Database(f"sqlite:///{tmp_path}/x.db", host=os.uname().nodename))
    yield made
    made.database.close()


def file_output(path: Path, name: str = "log", more: str = "") -> str:
    return f'[[output]]\nname = "{name}"\ntype = "file"\npath = "{path}"\n{more}\n'


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def test_each_message_names_the_key_that_signs_evidence(host: Host) -> None:
    """Whatever it is about; also for receivers that have single facts beside the message."""
    key = load_or_create_key(str(host.root / "key.pem")).fingerprint
    settings = f'[outbox]\nmax_messages = 10\n[evidence]\nkey = "{host.root}/key.pem"\n'
    host.extra = settings + file_output(host.root / "out")
    host.scan(a="1")
    host.scan(a="2")
    failure = ControlFailure(kind=ControlKind.AUDIT, subject="/etc", start_ns=1, detected_ns=1, cause="rules removed")
    with host.database.begin() as session:
        control_store.add(session, [failure])
    with record.report_once(host.database, host.config):
        pass
    make_messages(host.database, host.config)
    (output,) = host.config.output
    with host.database.read() as session:
        waiting = outbox.due(session, output.name, time.time_ns(), 100)
    host.messages(30, "many")
    make_messages(host.database, host.config)
    with host.database.read() as session:
        later = outbox.due(session, output.name, time.time_ns(), 100)
    made = [*waiting, *(one for one in later if one.kind is MessageKind.NOT_DELIVERED)]
    kinds = {MessageKind.BASELINE, MessageKind.CHANGES, MessageKind.PROBLEMS, MessageKind.NOT_DELIVERED}
    assert {one.kind for one in made} >= kinds
    for one in made:
        assert json.loads(one.body or b"")["signing_key"] == key
        _, envelope = delivery.prepared(output, receiver_of(output), one)
        assert envelope.fields["signing-key"] == key
        assert f' signing-key="{key}"]'.encode() in syslog_message(b"", envelope, 16)
        assert f"X-Fimscan-Signing-Key: {key}".encode() in mail_bytes(b"", envelope, "a@example.org", ["b@example.org"])


def test_each_scan_is_told_once(host: Host) -> None:
    """The baseline, then what each scan found; a scan without changes says nothing, and nothing is told twice."""
    out = host.root / "out"
    host.extra = file_output(out)
    for files in ({"a": "1"}, {}, {"a": "2", "b": "1"}, {}):
        host.scan(**files)
        assert deliver_after_scan(host.database, host.config) == []
    assert [(one["kind"], one["summary"]["changes"]) for one in lines(out)] == [("baseline", 0), ("changes", 2)]
    last = lines(out)[1]
    assert (last["from_scan"], last["to_scan"]) == (2, 3)
    with host.database.read() as session:
        sealed = scans.one_scan(session, 3)
    assert sealed is not None
    assert last["head"] == {"scan": 3, "entry": sealed.entry}
    assert host.stored(MessageState.SCAN, MessageState.WAITING) == []


def test_an_outage_of_days_loses_nothing(host: Host) -> None:
    """Also a change that was undone in the meantime is told when the receiver is there again."""
    out = host.root / "gone" / "out"
    host.extra = file_output(out)
    host.scan(a="1")
    for text in ("2", "1", "3"):
        host.scan(a=text)
        deliver_after_scan(host.database, host.config)
    assert {one.answer for one in host.stored(MessageState.WAITING)} >= {f"{out}: No such file or directory"}
    before = {one.id for one in host.stored(MessageState.WAITING)}
    out.parent.mkdir()
    host.deliver()
    got = lines(out)
    assert [one["summary"]["changes"] for one in got] == [0, 1, 1, 1]
    assert {one["id"] for one in got} == before


def test_a_web_server_that_fails_half_of_the_time(
    host: Host, web_server: WebServer, certificates: Certificates
) -> None:
    """Every message is delivered, each acknowledged once, and repeated ones have the same id and body."""
    web_server.requests.clear()
    web_server.answers = [503, 200, 0, 200]
    host.extra = (
        f'[[output]]\nname = "hook"\ntype = "webhook"\nurl = "{web_server.url}"\nca_file = "{certificates.ca}"\n'
    )
    for number in range(6):
        host.messages(1, f"message {number}")
        deliver_after_scan(host.database, host.config)
    try:
        for _ in range(20):
            if not host.stored(MessageState.WAITING):
                break
            host.deliver()
    finally:
        web_server.answers = [200]
    done = host.stored()
    assert {one.state for one in done} == {MessageState.DELIVERED}
    assert len(done) == 6
    assert set(web_server.ids()) == {one.id for one in done}
    assert len(web_server.requests) > len(done)
    assert len({(headers["X-Fimscan-Id"], body) for headers, body in web_server.requests}) == len(done)


def test_a_receiver_that_hangs_holds_up_nobody(host: Host) -> None:
    """Neither the scan nor another output; the message is delivered when the receiver is well again."""
    out = host.root / "out"
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen(5)
        port = silent.getsockname()[1]
        hook = f'[[output]]\nname = "hook"\ntype = "webhook"\nurl = "http://127.0.0.1:{port}/"\ntimeout = "2s"\n'
        host.extra = f'[outbox]\nscan_wait = "1s"\n{hook}{file_output(out)}'
        host.scan(a="1")
        said = deliver_after_scan(host.database, host.config)
        assert [one["kind"] for one in lines(out)] == ["baseline"]
        # The process of a scan ends before the receiver's time is over: this is the only one to say so.
        (waiting,) = host.stored(MessageState.WAITING)
        assert (waiting.output, waiting.attempts) == ("hook", 1)
        assert "no answer within 1 s" in waiting.answer
        assert len(said) == 1 and "output hook: no answer within 1 s" in said[0]
        wait_for(lambda: not any(thread.name == "output hook" for thread in threading.enumerate()))


def test_the_limits_are_told(host: Host) -> None:
    """Too many messages: the least urgent old ones are given up, and the receiver is told how many, once."""
    out = host.root / "gone" / "out"
    host.extra = f"[outbox]\nmax_messages = 10\n{file_output(out)}"
    said: list[str] = []
    for part in range(3):
        host.messages(7, f"part {part}", urgent=False)
        host.messages(1, f"urgent {part}", urgent=True)
        said += make_messages(host.database, host.config)
    assert any("given up: the limits of [outbox] are reached" in text for text in said)
    out.parent.mkdir()
    host.deliver()
    got = lines(out)
    (notice,) = [one for one in got if one["kind"] == "not-delivered"]
    given_up = [one for one in host.stored(MessageState.GIVEN_UP) if one.kind == "test"]
    assert f": {len(given_up)} messages given up" in notice["subject"]
    assert len(got) - 1 + len(given_up) == 24
    assert sum("urgent" in one["subject"] for one in got) == 3


def test_which_messages_are_given_up() -> None:
    """By age, by number, by size; a tenth at once."""
    now = 10**18
    waiting = [(number, 100, now, False) for number in range(20)]
    assert beyond(waiting, Limits(messages=20, size=2000, age_s=60), now) == []
    assert beyond(waiting, Limits(messages=19, size=9999, age_s=60), now) == [0, 1, 2]
    assert beyond(waiting, Limits(messages=99, size=1000, age_s=60), now) == list(range(11))
    assert beyond([(1, 1, now - 61 * 10**9, True), (2, 1, now, False)], Limits(messages=9, size=9, age_s=60), now) == [
        1
    ]


def test_doctor_says_what_waits(host: Host) -> None:
    """For more than an hour, with the reason; and what was given up. Without an output, that nothing is sent."""

    def found() -> list[tuple[str, str]]:
        return [(check.severity.value, check.detail) for check in output_checks(host.config, host.database)]

    assert [severity for severity, _ in found()] == ["note"]
    host.extra = file_output(host.root / "gone" / "out")
    host.messages(2, "one")
    host.deliver()
    assert [severity for severity, _ in found()] == ["ok"]
    with host.database.begin() as session:
        session.execute(sql("UPDATE outbox SET made_ns = made_ns - 7200000000000"))
    ((severity, detail),) = found()
    assert severity == "warning"
    assert "log: 2 messages waiting since" in detail
    assert "No such file or directory" in detail
    assert "fimscan.service has no network" in "".join(one.remedy for one in output_checks(host.config, host.database))
    host.extra += "[outbox]\nseparate = true\n"
    assert "enable --now fimscan-notify" in "".join(one.remedy for one in output_checks(host.config, host.database))
    with host.database.begin() as session:
        outbox.give_up(session, [one.number for one in host.stored()], time.time_ns(), "limits")
    assert found() == [("warning", "log: 2 messages given up in the last seven days")]


def test_messages_wait_for_quiet_but_not_for_long() -> None:
    """Changes that go on and on put off no message for more than a minute; nor does a clock that was set back."""
    now = time.time_ns()
    second = 10**9
    before = now - 5 * second
    assert not _is_settled([now - 3 * second], before)
    assert _is_settled([now - 6 * second], before)
    assert not _is_settled([now - 40 * second, now - 20 * second, now - second], before)
    assert _is_settled([now - 70 * second, now - 20 * second, now - second], before)
    assert _is_settled([now + 3600 * second], before)


def test_attempts_become_rarer(host: Host) -> None:
    """From ten seconds up to an hour."""
    host.extra = file_output(host.root / "gone" / "out")
    host.messages(1, "one")
    host.deliver()
    (waiting,) = host.stored(MessageState.WAITING)
    assert waiting.attempts == 1
    assert 8 <= (waiting.next_ns - (waiting.tried_ns or 0)) / 1e9 <= 12
    delays = [delay_s(replace(waiting, attempts=number)) for number in range(30)]
    assert delays == sorted(delays)
    assert delays[-1] <= 3600 * 1.2
    (outcome,) = Deliverer(host.database, host.config).run(60) or []
    assert (outcome.delivered, outcome.error) == (0, None)  # not yet


def test_a_clock_that_was_set_back_stops_nothing(host: Host) -> None:
    """A time that is days ahead does not count."""
    out = host.root / "out"
    host.extra = file_output(out)
    host.messages(1, "one")
    with host.database.begin() as session:
        outbox.postpone(session, "log", time.time_ns() + 10 * 86400 * 10**9)
    Deliverer(host.database, host.config).run(60)
    assert len(lines(out)) == 1


def test_a_refused_message_does_not_hold_up_others(host: Host) -> None:
    """The program refuses the first one."""
    out = host.root / "out"
    program = host.root / "program"
    program.write_text(f'#!/bin/sh\n[ "$FIMSCAN_ID" = "bad 0" ] && exit 1\ncat >> {out}\n')
    program.chmod(0o755)
    host.extra = f'[[output]]\nname = "p"\ntype = "command"\nformat = "json"\ncommand = ["{program}"]\n'
    host.messages(1, "bad")
    host.messages(2, "good")
    host.deliver()
    assert [one["subject"] for one in lines(out)] == ["h: good 0", "h: good 1"]
    assert [one.id for one in host.stored(MessageState.WAITING)] == ["bad 0"]


def test_an_output_that_is_gone_gets_nothing(host: Host) -> None:
    """What was recorded for it is not kept forever."""
    host.extra = file_output(host.root / "out")
    host.scan(a="1")
    host.extra = ""
    make_messages(host.database, host.config)
    assert host.stored() == []


def test_one_process_at_a_time(host: Host) -> None:
    """While one delivers, another one does not; when it is done, it may."""
    host.extra = file_output(host.root / "out")
    host.messages(1, "one")
    release = host.database.try_outbox_lock()
    assert release is not None
    assert Deliverer(host.database, host.config).run(60) is None
    release()
    assert Deliverer(host.database, host.config).run(60) is not None
    assert len(lines(host.root / "out")) == 1


def test_the_service_delivers_again_and_again(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a scan could not deliver arrives when the receiver is there; a failure is told once."""
    monkeypatch.setattr(delivery, "_FIRST_DELAY_S", 0.1)
    monkeypatch.setattr(delivery, "_POLL_S", 0.05)
    monkeypatch.setattr(delivery, "_SETTLE_S", 0.1)
    out = host.root / "gone" / "out"
    host.extra = file_output(out)
    said: list[str] = []
    notifier = Notifier(host.database, host.config, said.append)
    notifier.start()
    host.messages(1, "one")
    wait_for(lambda: any(one.attempts > 1 for one in host.stored()))
    out.parent.mkdir()
    wait_for(lambda: lines(out))
    notifier.stop()
    assert len(said) == 1
    assert "No such file or directory" in said[0]


def test_a_control_that_fails_is_sent_once_and_so_is_its_end(host: Host) -> None:
    """Audit that was stopped at night reaches the receiver; an output without problems gets nothing."""
    out = host.root / "out"
    host.extra = file_output(out) + file_output(host.root / "other", "quiet", "problems = false")
    host.scan(a="1")
    failure = ControlFailure(kind=ControlKind.AUDIT, subject="/etc", start_ns=1, detected_ns=1, cause="rules removed")
    with host.database.begin() as session:
        control_store.add(session, [failure])
    with pytest.raises(BrokenPipeError), record.report_once(host.database, host.config):
        raise BrokenPipeError  # what was not printed is not told
    assert [one.state for one in host.stored()] == [MessageState.SCAN] * 2
    for _ in range(2):
        with record.report_once(host.database, host.config):
            pass
    with host.database.begin() as session:
        control_store.end(session, [replace(one, end_ns=2) for one in control_store.still_open(session)])
    with record.report_once(host.database, host.config):
        pass
    host.deliver()
    began, mended = (one for one in lines(out) if one["kind"] == "problems")
    assert (began["subject"].partition(": ")[2], began["severity"]) == ("1 control failed", "high")
    assert "Control failed (audit): /etc: rules removed" in began["problems"][0]
    assert (mended["subject"].partition(": ")[2], mended["severity"]) == ("1 control works again", "low")
    assert [one["kind"] for one in lines(host.root / "other")] == ["baseline"]
    assert problems(host.database) == []


def test_an_output_that_fails_for_long_is_a_failed_control(host: Host) -> None:
    """With start, end and cause, told by the other outputs; it ends when its messages are delivered."""
    gone, other = host.root / "gone" / "out", host.root / "other"
    host.extra = file_output(gone) + file_output(other, "other")
    host.scan(a="1")
    deliver_after_scan(host.database, host.config)
    with record.report_once(host.database, host.config) as report:
        assert not report.has_failed  # for a moment only
    made_ns = host.stored(MessageState.WAITING)[0].made_ns - 7200 * 10**9
    with host.database.begin() as session:
        session.execute(sql("UPDATE outbox SET made_ns = made_ns - 7200000000000"))
    outputs = host.extra
    host.extra = outputs + '[outbox]\nlate_after = "3h"\n'
    deliver_after_scan(host.database, host.config)
    with record.report_once(host.database, host.config) as report:
        assert not report.has_failed  # not yet late, as this administrator sees it
    host.extra = outputs
    deliver_after_scan(host.database, host.config)
    with record.report_once(host.database, host.config) as report:
        (failure,) = report.began
    assert (failure.kind, failure.subject, failure.start_ns) == (ControlKind.OUTPUT, "log", made_ns)
    assert "1 message waiting: " in failure.cause and "No such file or directory" in failure.cause
    deliver_after_scan(host.database, host.config)
    with record.report_once(host.database, host.config) as report:
        assert (report.began, report.mended, len(report.failed)) == ((), (), 1)
    (told,) = (one for one in lines(other) if one["kind"] == "problems")
    assert "Control failed (output): log: 1 message waiting" in told["problems"][0]
    gone.parent.mkdir()
    deliver_after_scan(host.database, host.config)
    with record.report_once(host.database, host.config) as report:
        (failure,) = report.mended
    assert failure.end_ns is not None and failure.end_ns > failure.start_ns


def test_messages_that_were_given_up_are_a_failed_control(host: Host) -> None:
    """At once, although what still waits is new."""
    host.extra = file_output(host.root / "gone" / "out") + "[outbox]\nmax_messages = 10\n"
    host.messages(12, "one")
    deliver_after_scan(host.database, host.config)
    with record.report_once(host.database) as report:
        (failure,) = report.began
    assert (failure.kind, failure.subject) == (ControlKind.OUTPUT, "log") and "given up" in failure.cause


def test_a_scan_that_fails_is_sent(host: Host) -> None:
    """Once, although each further scan fails, too."""
    host.extra = file_output(host.root / "out")
    host.scan(a="1")
    for _ in range(2):
        with pytest.raises(StoreError), record.noting_failure(host.database, host.config):
            raise StoreError("disk full")
    host.deliver()
    (told,) = [one for one in lines(host.root / "out") if one["kind"] == "problems"]
    assert "disk full" in told["problems"][0]


class Slow(Receiver):
    """Answers when it is told to."""

    def __init__(self) -> None:
        self.asked, self.free = threading.Event(), threading.Event()

    def send(self, body: bytes, envelope: Envelope) -> str:
        self.asked.set()
        assert self.free.wait(60)
        return "thanks"


def test_a_service_that_ends_while_it_delivers_leaves_no_lock(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a reload the next notifier delivers, as soon as the receiver has answered the old one."""
    slow = Slow()
    monkeypatch.setattr(delivery, "receiver_of", lambda _: slow)
    monkeypatch.setattr(delivery, "_POLL_S", 0.05)
    host.extra = file_output(host.root / "out")
    host.messages(1, "one")
    notifier = Notifier(host.database, host.config, print)
    notifier.start()
    assert slow.asked.wait(60)
    notifier.stop(0.1)
    assert Deliverer(host.database, host.config).run(60) is None  # it is still on its way
    slow.free.set()
    wait_for(lambda: Deliverer(host.database, host.config).run(60) is not None)
    assert [one.attempts for one in host.stored(MessageState.DELIVERED)] == [1]


def test_another_service_that_delivers_is_told_once(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody has to wonder why this one sends nothing."""
    monkeypatch.setattr(delivery, "_LONG_ELSEWHERE_S", 0.1)
    monkeypatch.setattr(delivery, "_POLL_S", 0.02)
    host.extra = file_output(host.root / "out")
    host.messages(1, "one")
    release = host.database.try_outbox_lock()
    assert release is not None
    said: list[str] = []
    notifier = Notifier(host.database, host.config, said.append)
    notifier.start()
    wait_for(lambda: said)
    time.sleep(0.3)
    release()
    wait_for(lambda: lines(host.root / "out"))
    notifier.stop()
    assert len(said) == 1 and "another fimscan" in said[0]


def test_a_delivery_that_cannot_be_stored_is_told_and_put_off(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk does not send the same message again every two seconds."""

    def full(*_: object) -> None:
        raise StoreError("disk full")

    out = host.root / "out"
    host.extra = file_output(out)
    host.messages(1, "one")
    deliverer = Deliverer(host.database, host.config)
    with monkeypatch.context() as broken:
        broken.setattr(outbox, "delivered", full)
        first, *others = (deliverer.run(60) for _ in range(4))
        assert delivery.news(first or []) == ["output log: disk full; its messages wait (see 'fimscan notify --list')"]
        assert others == [[], [], []]
        assert len(lines(out)) == 1
        assert [one.is_news for one in deliverer.run(60, now=True) or []] == [False]
    deliverer.run(60, now=True)
    assert len({one["id"] for one in lines(out)}) == 1
    assert host.stored(MessageState.WAITING) == []


def test_a_message_that_cannot_be_written_holds_up_no_other(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """It counts as refused."""

    def picky(name: str, document: dict[str, Any], **other: Any) -> bytes:
        assert "bad" not in document["subject"]
        return render(name, document, **other)

    monkeypatch.setattr(delivery, "render", picky)
    host.extra = file_output(host.root / "out")
    host.messages(1, "bad")
    host.messages(1, "good")
    assert "internal error: AssertionError" in deliver_after_scan(host.database, host.config)[0]
    assert [one["subject"] for one in lines(host.root / "out")] == ["h: good 0"]
    assert [(one.id, one.attempts) for one in host.stored(MessageState.WAITING)] == [("bad 0", 1)]


def test_all_is_not_well_while_a_control_is_failed(host: Host) -> None:
    """A scan that found nothing, without audit, is no good news."""
    host.extra = file_output(host.root / "out", more="all_is_well = true")
    host.scan(a="1")
    host.deliver()
    failure = ControlFailure(kind=ControlKind.AUDIT, subject="/etc", start_ns=1, detected_ns=1, cause="no rule")
    with host.database.begin() as session:
        control_store.add(session, [failure])
    for _ in range(2):
        host.scan()
        host.deliver()
        with host.database.begin() as session:
            control_store.end(session, [replace(one, end_ns=2) for one in control_store.still_open(session)])
    subjects = [one["subject"] for one in lines(host.root / "out")[-2:]]
    assert "nothing new; still 1 failed control," in subjects[0]
    assert ": all is well," in subjects[1]


def test_what_a_live_look_finds_is_sent_too(tmp_path: Path) -> None:
    """It is a scan of a few files: with the process that it names, and never as 'all is well'."""
    out = tmp_path / "out"
    with pretended_audit():
        site = new_site(tmp_path)
        extra = file_output(out, more="all_is_well = true")
        config = parse_config(f'[[watch]]\npath = "{site.watched}"\n{extra}')
        source = AuditSource(logs=(str(site.log),))
        run_scan(site.database, config, source=source)
        (site.watched / "a").write_text("other")
        site.append(event(site.watched / "a", 1))
        now = 0.0
        live = Live(site.database, config, source, clock=lambda: now)
        live.step()
        now = 5.0
        assert live.step()[0] is not None
        live.close()
        make_messages(site.database, config)
        Deliverer(site.database, config).run(60)
        site.database.close()
    first, last = lines(out)
    assert (first["kind"], last["kind"], last["summary"]["changes"]) == ("baseline", "changes", 1)
    (row,) = last["sets"][0]["listed"]
    assert row["path"] == str(site.watched / "a")
    assert [actor["pid"] for actor in row["attribution"]["actors"]] == [4242]


# --------------------------------------------------------------------------------------------------------------------
# kill -9


PROGRAM = """#!/bin/sh
echo "$FIMSCAN_ID" >> {ids}
[ -e {well} ] && exit 0
echo $$ > {pid}
sleep 1000
"""


def test_killed_between_store_and_delivery(cli: Cli) -> None:
    """The receiver has the message, and the sender dies before it knows: it comes again, with the same id."""
    ids, well, pid, program = (cli.root / name for name in ("ids", "well", "pid", "program"))
    program.write_text(PROGRAM.format(ids=ids, well=well, pid=pid))
    program.chmod(0o755)
    output = f'[[output]]\nname = "p"\ntype = "command"\ncommand = ["{program}"]\ntimeout = "10m"\n'
    cli.write_config(f'[outbox]\nscan_wait = "10m"\n{output}')
    process = subprocess.Popen(
        cli.command("scan", "--no-audit"), cwd=cli.root, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    wait_for(lambda: pid.exists() and pid.read_text().endswith("\n"))
    process.send_signal(signal.SIGKILL)
    process.wait()
    os.killpg(int(pid.read_text()), signal.SIGKILL)
    well.touch()
    assert "nothing waits" in cli("notify", code=0).stdout
    sent = ids.read_text().split()
    assert len(sent) == 2
    assert len(set(sent)) == 1
    assert "FAIL" not in cli("verify", "--db", code=0).stdout


def test_killed_before_the_messages_were_made(host: Host) -> None:
    """The scan is stored and nothing else happened: the next process makes its messages."""
    out = host.root / "out"
    host.extra = file_output(out)
    host.scan(a="1")
    host.scan(a="2")
    assert {one.state for one in host.stored()} == {MessageState.SCAN}
    host.deliver()
    assert [one["kind"] for one in lines(out)] == ["baseline", "changes"]


# --------------------------------------------------------------------------------------------------------------------
# The command


def test_a_scan_does_not_fail_because_of_a_receiver(cli: Cli) -> None:
    """Its exit code and its report are as without; the failure is one line on standard error, once."""
    cli.write_config(f'[[output]]\nname = "siem"\ntype = "syslog"\naddress = "tcp://127.0.0.1:{free_port()}"\n')
    done = cli("scan", "--no-audit", code=0)
    assert "output siem: tcp:127.0.0.1" in done.stderr
    (cli.watched / "a").write_text("other")
    done = cli("scan", "--no-audit", code=4)
    assert "modified" in done.stdout
    waits = cli("notify", code=1)
    assert "siem (syslog): 2 messages waiting" in waits.stdout
    listed = json.loads(cli("notify", "--list", "--format", "json", code=0).stdout)
    assert [(one["kind"], one["state"]) for one in listed["messages"]] == [
        ("changes", "waiting"),
        ("baseline", "waiting"),
    ]


def test_a_test_message(cli: Cli) -> None:
    """It reaches the output that is named, and says what it is."""
    out = cli.root / "out"
    cli.write_config(file_output(out, "one") + file_output(cli.root / "other", "two"))
    cli.scan()
    cli("notify", "--test", "--output", "one", code=0)
    assert [one["kind"] for one in lines(out)] == ["baseline", "test"]
    assert [one["kind"] for one in lines(cli.root / "other")] == ["baseline"]
    assert "no [[output]] with the name" in cli("notify", "--output", "three", code=15).stderr


def test_a_command_that_fails_and_works_again_is_sent(cli: Cli) -> None:
    """The failed scan by the next delivery, its end by the scan itself."""
    out = cli.root / "out"
    cli.write_config(file_output(out))
    cli.scan()
    cli.watched.rename(cli.root / "away")
    assert cli("scan", "--no-audit").returncode not in (0, 4)
    cli("notify", code=0)
    (cli.root / "away").rename(cli.watched)
    cli("scan", "--no-audit", code=0)
    subjects = [one["subject"].partition(": ")[2] for one in lines(out) if one["kind"] == "problems"]
    assert subjects == ["1 control failed", "1 control works again"]


def test_separate_delivery(cli: Cli) -> None:
    """A service without network only makes messages; 'notify' delivers them."""
    out = cli.root / "out"
    cli.write_config(file_output(out) + "[outbox]\nseparate = true\n")
    cli.scan()
    assert not out.exists()
    cli("notify", code=0)
    assert [one["kind"] for one in lines(out)] == ["baseline"]


def test_a_service_of_its_own(cli: Cli) -> None:
    """It tells systemd that it is ready, delivers, reads its configuration again on SIGHUP, and ends on SIGTERM."""
    out, other, separate = cli.root / "out", cli.root / "other", "[outbox]\nseparate = true\n"
    cli.write_config(file_output(out) + separate)
    cli.scan()
    address = cli.root / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager, (cli.root / "err").open("w+") as said:
        manager.bind(str(address))
        manager.settimeout(60)
        environment = {**os.environ, "NOTIFY_SOCKET": str(address), "WATCHDOG_USEC": "4000000"}
        process = subprocess.Popen(cli.command("notify", "--follow"), cwd=cli.root, stderr=said, env=environment)
        try:
            assert "delivering to 1 output" in until(manager, "READY=1")
            until(manager, "WATCHDOG=1")
            wait_for(lambda: lines(out))
            cli.write_config(file_output(out) + "[outbox]\nseparate = 5\n")
            process.send_signal(signal.SIGHUP)
            until(manager, "RELOADING=1")
            until(manager, "READY=1")
            cli.write_config(separate)
            process.send_signal(signal.SIGHUP)
            until(manager, "RELOADING=1")
            until(manager, "READY=1")
            cli.write_config(file_output(other) + separate)
            (cli.watched / "a").write_text("changed\n")
            cli.scan(code=4)
            process.send_signal(signal.SIGHUP)
            wait_for(lambda: lines(other))
            process.terminate()
            until(manager, "STOPPING=1")
            assert process.wait(60) == 0
        finally:
            process.kill()
        said.seek(0)
        text = said.read()
    assert text.count("the configuration is invalid; the old one stays in use") == 2
    assert "outbox.separate" in text and "there is no [[output]]" in text
    assert "separate is false" not in text


def until(manager: socket.socket, word: str) -> str:
    """Receive messages to systemd until one has a word."""
    while word not in (message := manager.recv(4096).decode()):
        pass
    return message


def test_no_secret_is_stored_or_shown(cli: Cli) -> None:
    """Not in the database, in lists, in messages, or in evidence of the configuration."""
    secret = cli.root / "url"
    secret.write_text(f"http://user:s3cret@127.0.0.1:{free_port()}/s3cret\n")
    secret.chmod(0o600)
    cli.write_config(f'[[output]]\nname = "hook"\ntype = "webhook"\nurl_file = "{secret}"\nsecret_file = "{secret}"\n')
    seen = cli("scan", "--no-audit", code=0)
    shown = [seen, cli("notify", code=1), cli("notify", "--list", code=0), cli("notify", "--list", "--format", "json")]
    assert "s3cret" not in "".join(done.stdout + done.stderr for done in shown)
    assert all(b"s3cret" not in path.read_bytes() for path in cli.root.glob("fim.db*"))
