"""The text of an event says what its records say, whichever way it is read."""

from __future__ import annotations

import glob
import io
import re
from pathlib import Path

import pytest

from fimscan.audit import accesses, accesses_in, read_stream, records_in, said, text_of
from fimscan.model import AuditEvent

DATA = Path(__file__).parents[1] / "data" / "audit"


@pytest.fixture(scope="module")
def events() -> list[AuditEvent]:
    """Those of every golden pair that something was read from."""
    found: list[AuditEvent] = []
    for name in sorted(glob.glob(f"{DATA}/*.log")):
        with open(name, "rb") as file:
            found += [event for batch in read_stream(file) for event in batch.events]
    return found


def variants(event: AuditEvent) -> list[AuditEvent]:
    """The event, and what it may come to: a record lost, come twice, contradicted, in another place, or cut."""
    records = event.records
    found = [event, event._replace(complete=False), event._replace(records=records[::-1])]
    for at, record in enumerate(records):
        before, after = records[:at], records[at + 1 :]
        other = record._replace(body=re.sub(rb"(\d)(?= )", b"7", record.body, count=1))
        last = record._replace(body=re.sub(rb"\d(?=\D*\Z)", lambda digit: b"%d" % (9 - int(digit[0])), record.body))
        cut = record._replace(body=record.body[: len(record.body) // 2])
        those = ((), (record, record), (record, other), (record, last), (other,), (cut,))
        found += [event._replace(records=(*before, *some, *after)) for some in those]
    return found


def test_an_event_and_its_text_say_the_same(events: list[AuditEvent]) -> None:
    """The usual text is taken apart in one look, and that look never sees anything else than the records say."""
    names = {0: "root", 1000: "alice"}.get
    for event in events:
        for variant in variants(event):
            text = text_of(variant)
            assert list(accesses_in(event.id, text, names)) == list(accesses(variant, names)), text


def test_what_the_kernel_writes_is_taken_apart_in_one_look(
    events: list[AuditEvent], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The join reads a million texts: if the short way were missed, it would take twice as long."""
    texts = [text_of(event) for event in events if event.records[1:] and event.records[1].type == "CWD"]
    whole = [text for text in texts if text.startswith(b"complete") and b"\nPROCTITLE " in text]
    monkeypatch.setattr(said, "_taken_apart", lambda _text: pytest.fail("taken apart record by record"))
    assert len(whole) > 100
    usual = [text for text in whole if b"\nEXECVE " not in text and b"\nOPENAT2 " not in text and b"\nPATH " in text]
    for text in usual[:500]:
        accesses_in(events[0].id, text)


def test_text_gives_the_records_back(events: list[AuditEvent]) -> None:
    """Evidence is the records as they were, in their order."""
    for event in events:
        assert records_in(event.id, text_of(event)) == event.records


def test_a_call_that_two_records_contradict_names_nobody() -> None:
    """Also where an operation of io_uring is beside them, in whatever order they came."""
    call = b"arch=c000003e syscall=87 success=yes exit=0 a0=0 a1=0 a2=0 a3=0 items=1 ppid=1 pid=%d key=(null)"
    ring = b"uring_op=36 success=yes exit=0 items=1 ppid=1 pid=2 uid=0 gid=0 euid=0 key=(null)"
    path = b'item=0 name="/w/f" inode=5 dev=fe:00 mode=0100644 ouid=0 ogid=0 rdev=00:00 nametype=DELETE'
    stamp = b"msg=audit(1700000000.000:9): "

    def found(*calls: tuple[bytes, bytes]) -> int:
        lines = [*calls, (b"PATH", path), (b"PROCTITLE", b"proctitle=2D")]
        log = b"".join(b"type=%b %b%b\n" % (kind, stamp, body) for kind, body in lines)
        return sum(len(batch.accesses) for batch in read_stream(io.BytesIO(log)))

    one, other, operation = (b"SYSCALL", call % 2), (b"SYSCALL", call % 3), (b"URINGOP", ring)
    assert found(one) == found(one, one) == found(one, operation) == found(operation, one) == 1
    assert found(one, other) == found(one, other, operation) == found(operation, one, other) == 0
