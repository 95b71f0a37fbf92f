"""Single lines: headers in every format, and the decoding of values."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fimscan.audit.records import device_value, fields, id_value, int_value, parse_line, text_value
from fimscan.model import EventId

RECORD = b"audit(1691714604.324:6628017): item=0"
ID = EventId(1691714604324000000, 6628017)
OWN = os.uname().nodename.encode()


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        (b"type=PATH msg=" + RECORD, "PATH"),
        (b"type=PATH msg=" + RECORD + b"\r\n", "PATH"),
        (b"type=UNKNOWN[1329] msg=" + RECORD, "UNKNOWN[1329]"),
        (b"type=UNKNOWN[1337] msg=" + RECORD, "OPENAT2"),
        (b"audit: type=1302 " + RECORD, "PATH"),
        (b"[   12.345678] audit: type=1302 " + RECORD, "PATH"),
        (b"Nov 23 04:51:21 localhost kernel: audit: type=1302 " + RECORD, "PATH"),
        (b"Nov 23 04:51:21 localhost kernel: [ 2.5] audit: type=1302 " + RECORD, "PATH"),
        (b"<14>Nov 23 04:51:21 localhost audisp-syslog[7]: type=PATH msg=" + RECORD, "PATH"),
    ],
)
def test_a_record_is_found_behind_a_relays_prefix(line: bytes, kind: str) -> None:
    """The formats of auditd, dmesg and syslog all yield the same record."""
    record = parse_line(line)
    assert record is not None
    assert (record.id, record.type, record.body) == (ID, kind, b"item=0")


def test_the_node_belongs_to_the_event() -> None:
    """Logs of several hosts in one file do not mix events with equal serials."""
    record = parse_line(b"node=web1 type=PATH msg=" + RECORD)
    assert record is not None
    assert record.id == EventId(ID.time_ns, ID.serial, "web1")


@pytest.mark.parametrize(
    ("prefix", "node"),
    [
        (b"Nov 23 04:51:21 web1 kernel: audit: ", "web1"),
        (b"Nov  3 04:51:21 web1 kernel: [    2.500000] audit: ", "web1"),
        (b"messages:Nov  3 04:51:21 web1 kernel: [    2.500000] audit: ", "web1"),
        (b"Nov  3 04:51:21 web1.example kern.notice kernel: [    2.500000] audit: ", "web1.example"),
        (b"2026-07-19T18:43:47+00:00 web1 auditd ", "web1"),
        (b"2026-07-19T18:43:47+00:00 fe80::1 auditd ", "fe80::1"),
        (b"<14>1 2023-11-03T04:51:21.123456+01:00 web1 audispd 12 - - ", "web1"),
        (b"2026-07-19T18:43:47+00:00 auditd ", ""),
        (b"Nov 23 04:51:21 kernel: audit: ", ""),
        (b"Nov 23 04:51:21 kern.notice kernel: audit: ", ""),
        (b"Nov 23 04:51:21 localhost kernel: audit: ", ""),
        (b"Nov 23 04:51:21 %b kernel: audit: " % OWN, ""),
        (b"Nov 23 04:51:21 %b.example kernel: audit: " % OWN.partition(b".")[0], "" if b"." not in OWN else None),
        (b"[   12.345678] audit: ", ""),
        (b"<14>", ""),
    ],
)
def test_the_host_in_a_syslog_prefix_is_the_node(prefix: bytes, node: str | None) -> None:
    """Logs that syslog collects from several hosts have no node=; this host's records get none."""
    record = parse_line(prefix + b"type=PATH msg=" + RECORD)
    assert record is not None
    if node is not None:
        assert record.id.node == node
    explicit = parse_line(prefix + b"node=db7 type=PATH msg=" + RECORD)
    assert explicit is not None
    assert explicit.id.node == "db7"


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"type=UNKNOWN[1329] msg=g",
        b"type=PATH msg=audit(1691714604.324:66",
        b"pe=PATH msg=" + RECORD,
        b"Nov 23 04:51:21 host alice: type=SYSCALL msg=" + RECORD,
        b"Nov 23 04:51:21 host alice: x=kernel: audit: type=1300 " + RECORD,
    ],
)
def test_other_lines_are_no_records(line: bytes) -> None:
    """Damaged headers, and records that a user forged through syslog, are not taken for records."""
    assert parse_line(line) is None


@given(st.binary(max_size=200))
def test_no_bytes_raise(junk: bytes) -> None:
    """Whatever is in a log, parsing it never raises."""
    for line in (junk, b"type=PATH msg=" + RECORD + junk, b"type=" + junk):
        record = parse_line(line)
        if record is not None:
            for raw in fields(record.body).values():
                text_value(raw), int_value(raw), int_value(raw, 16), id_value(raw), device_value(raw)


@pytest.mark.parametrize("separator", [b"\x1d", b" ", b""])
def test_translations_never_run_into_kernel_fields(separator: bytes) -> None:
    """The ENRICHED part stays separate, even where the byte before it was lost."""
    values = fields(b'auid=1000 uid=0 key="k" res=1' + separator + b'AUID="alice" UID="root"')
    assert (values[b"auid"], values[b"res"]) == (b"1000", b"1")
    assert (values[b"AUID"], values[b"UID"]) == (b'"alice"', b'"root"')
    assert fields(b'ses=1 key="k"' + separator + b"ARCH=x86_64")[b"key"] == b'"k"'
    assert fields(b"key=(null)" + separator + b"ARCH=x86_64")[b"key"] == b"(null)"
    assert fields(b"key=ABCD" + separator + b"ARCH=x86_64")[b"key"] == b"ABCD"
    values = fields(b"key=616A" + separator + b'UID="root" GID="root"')
    assert (values[b"key"], values[b"UID"], values.get(b"AUID")) == (b"616A", b'"root"', None)
    values = fields(b"key=616B" + separator + b'AUID="alice" UID="root"')
    assert (values[b"key"], values[b"AUID"]) == (b"616B", b'"alice"')


@given(st.binary(min_size=1, max_size=60))
def test_every_name_survives_the_kernels_encoding(name: bytes) -> None:
    """The output of audit_log_untrustedstring() is decoded byte for byte."""
    plain = all(0x21 <= byte <= 0x7E and byte != 0x22 for byte in name)
    raw = b'"' + name + b'"' if plain else name.hex().upper().encode()
    assert text_value(fields(b"item=0 name=" + raw + b" inode=1")[b"name"]) == name


@pytest.mark.parametrize("raw", [b"(null)", b"(none)", b"?", b"", b'"cut', b"ABC", b"abcd", None])
def test_invalid_text_is_none(raw: bytes | None) -> None:
    """Literals for "nothing" and truncated values are never taken for a name."""
    assert text_value(raw) is None


def test_an_unset_login_is_not_root() -> None:
    """An unset login uid is unknown, never 0."""
    assert id_value(b"4294967295") is id_value(b"-1") is id_value(b"") is id_value(None) is None
    assert id_value(b"0") == 0
