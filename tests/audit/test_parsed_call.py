"""The fast and the general parser of an event give the same result."""

from __future__ import annotations

import glob
import io
import re
from pathlib import Path

import pytest

from fimscan.audit import accesses, parsed_call, read_stream
from fimscan.model import AuditEvent, AuditRecord

DATA = Path(__file__).parents[1] / "data" / "audit"


@pytest.fixture(scope="module")
def events() -> list[AuditEvent]:
    """The events of every golden pair that yield accesses."""
    found: list[AuditEvent] = []
    for name in sorted(glob.glob(f"{DATA}/*.log")):
        with open(name, "rb") as file:
            found += [event for batch in read_stream(file) for event in batch.events]
    return found


def variants(event: AuditEvent) -> list[AuditEvent]:
    """The event, and damaged forms of it: a record lost, repeated, contradicted, moved, or truncated."""
    records = event.records
    found = [event, AuditEvent.of(event.id, records, complete=False), AuditEvent.of(event.id, records[::-1])]
    for at, record in enumerate(records):
        before, after = records[:at], records[at + 1 :]
        other = record._replace(body=re.sub(rb"(\d)(?= )", b"7", record.body, count=1))
        last = record._replace(body=re.sub(rb"\d(?=\D*\Z)", lambda digit: b"%d" % (9 - int(digit[0])), record.body))
        cut = record._replace(body=record.body[: len(record.body) // 2])
        those: tuple[tuple[AuditRecord, ...], ...] = ((), (record, record), (record, other), (record, last))
        found += [AuditEvent.of(event.id, (*before, *some, *after)) for some in (*those, (other,), (cut,))]
    return found


def test_the_fast_parser_agrees_with_the_general_one(events: list[AuditEvent], monkeypatch: pytest.MonkeyPatch) -> None:
    """The fast parser handles the usual format, and never returns anything that the records do not say."""
    names = {0: "root", 1000: "alice"}.get
    texts = [variant for event in events for variant in variants(event)]
    in_one_look = [list(accesses(variant, names)) for variant in texts]
    monkeypatch.setattr(parsed_call, "_USUAL", re.compile(rb"(?!)"))
    for variant, found in zip(texts, in_one_look, strict=True):
        assert list(accesses(variant, names)) == found, variant.text


def test_the_kernels_usual_format_takes_the_fast_parser(
    events: list[AuditEvent], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Attribution reads a million texts: without the fast parser, it would take twice as long."""
    kinds = {event: [record.type for record in event.records] for event in events if event.complete}
    usual = [event for event, own in kinds.items() if own[:3] == ["SYSCALL", "CWD", "PATH"] and own[-1] == "PROCTITLE"]
    usual = [event for event in usual if set(kinds[event][3:-1]) <= {"PATH"}]
    assert len(usual) > 100
    monkeypatch.setattr(parsed_call, "_by_type", lambda _records: pytest.fail("taken apart record by record"))
    for event in usual[:500]:
        accesses(event)


def test_the_text_of_an_event_gives_its_records_back(events: list[AuditEvent]) -> None:
    """Evidence needs the original records, in their order."""
    for event in events:
        again = AuditEvent.of(event.id, event.records, complete=event.complete)
        assert again == event
        assert again.complete == event.complete


def test_contradicting_call_records_give_no_access() -> None:
    """Two SYSCALL records that differ, also beside an io_uring operation, in any order."""
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
