"""Messages and their formats: valid by the published schemas, bounded, and accusing nobody."""

from __future__ import annotations

import csv
import itertools
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from ocsf_json_schema import OcsfJsonSchemaEmbedded, get_ocsf_schema

from fimscan.grouping import Facts, Provenance, group
from fimscan.model import (
    ChangeKind,
    Diff,
    Effect,
    Finding,
    PackageClass,
    Reason,
    Reconfiguration,
    Role,
    SettingChange,
    Unreadable,
    UnreadableReason,
    Verdict,
)
from fimscan.outputs import documents
from fimscan.outputs.documents import MAX_BYTES, Found, Wanted, messages
from fimscan.outputs.formats import FORMATS, render
from fimscan.outputs.receivers.base import Envelope
from fimscan.outputs.receivers.journald import journal_entry
from fimscan.outputs.receivers.mail import mail_bytes
from fimscan.outputs.receivers.syslog import syslog_message
from fimscan.store.outbox import stable_id
from tests.report.conftest import Make
from tests.schemas import validate

HEAD = "ab" * 32
EVIL = b"/etc/a\n<13>1 - - b\x1b[2J|c=d\\\xff\xe2\x80\xae\"]'"


@pytest.fixture
def make() -> Make:
    return Make()


def found(make: Make, findings: list[Finding], facts: Facts | None = None, **other: Any) -> Found:
    end = make.scan(2, make.now)
    end = type(end)(**{**{name: getattr(end, name) for name in end.__struct_fields__}, "entry": HEAD})
    diff = Diff(
        host="web1",
        start=make.scan(1, make.now - 60 * make.second),
        end=end,
        findings=tuple(findings),
        **{key: other.pop(key) for key in ("reconfigurations", "signing_key") if key in other},
    )
    return Found(diff=diff, grouping=group(findings, facts), **other)


def made(result: Found, **wanted: Any) -> list[dict[str, Any]]:
    """The documents of the messages, each valid by its schema."""
    found = [json.loads(one.body) for one in messages(result, Wanted(output="x", **wanted), stable_id)]
    for document in found:
        assert validate(document) == "message"
    return found


def upgrade(make: Make, count: int = 214) -> tuple[list[Finding], Facts]:
    """Two changes to look at, and those of an upgrade."""
    files = [b"/usr/share/doc/p%d" % number for number in range(count)]
    apt = make.actor(exe=b"/usr/bin/dpkg", comm=b"dpkg", cmdline=(b"dpkg", b"-i"), pid=99, session=None, auid=None)
    rows = [
        make.finding(
            make.change(path=path, id=number), make.attribution(actors=(apt,)), severity="medium", category="system"
        )
        for number, path in enumerate(files, 100)
    ]
    look = [
        make.finding(
            make.change(ChangeKind.ADDED, path, id=number, after=make.state(path, mode=0o4755)),
            make.attribution(Verdict.UNATTRIBUTED, Reason.NO_EVENT),
            severity="critical",
            category="executable",
        )
        for number, path in enumerate((b"/usr/local/bin/x", b"/usr/local/bin/y"), 1)
    ]
    shipped = Provenance(shipped=PackageClass.AS_SHIPPED, package="p", is_mode_proved=True)
    return look + rows, Facts(provenance=dict.fromkeys(files, shipped))


def every_kind(make: Make) -> Iterator[Found]:
    """What can be in a message."""
    yield found(make, [], is_first=True)
    for kind in ChangeKind:
        yield found(make, [make.finding(make.change(kind), severity="high", category="configuration")])
    two = (make.actor(), make.actor(pid=5, exe=b"/usr/bin/sed", comm=b"sed"))
    contested = make.attribution(Verdict.CONTESTED, Reason.SEVERAL_WRITERS, actors=two)
    yield found(make, [make.finding(make.change(), contested, severity="high")])
    yield found(make, [make.finding(make.change(path=EVIL), severity="low")])
    unknown = make.actor(exe=None, comm=None, cmdline=None, cwd=None, uid=None, user=None, auid=None, ppid=None)
    yield found(make, [make.finding(make.change(), make.attribution(actors=(unknown,)))])
    yield found(make, *upgrade(make, 30))
    failed = Unreadable(path=EVIL, reason=UnreadableReason.PERMISSION, detail="denied\n\x1b")
    setting = SettingChange(key="[[watch]] /etc", before="full", after=None, effect=Effect.WEAKER)
    changed = Reconfiguration(scan=2, before="a", after="b", differences=(setting,))
    yield found(make, [], unreadable=(failed,), problems=("the log\nis gone",), reconfigurations=(changed,))


def every_message(make: Make) -> Iterator[dict[str, Any]]:
    for one in every_kind(make):
        for per_set in (True, False):
            yield from made(one, per_set=per_set, all_is_well=True)


def test_the_subject_says_what_to_do(make: Make) -> None:
    """As in the mail: what to look at, what a package manager did, and the day. One message a set, not a row."""
    findings, facts = upgrade(make)
    (mail,) = made(found(make, findings, facts), per_set=False)
    assert mail["subject"] == "web1: 2 to look at, 214 package changes, 2026-11-23"
    assert mail["severity"] == "critical"
    assert mail["head"] == {"scan": 2, "entry": HEAD}
    each = made(found(make, findings, facts), per_set=True)
    assert [one["summary"]["changes"] for one in each] == [2, 214]
    assert [len(one["sets"][0]["listed"]) for one in each] == [2, 20]
    assert each[1]["sets"][0]["more"] == 194


def test_the_id_is_the_same_when_it_is_made_again(make: Make) -> None:
    """A database that was restored sends the same messages under the same ids."""
    findings, facts = upgrade(make, 3)
    assert made(found(make, findings, facts)) == made(found(make, list(findings), facts))
    others = messages(found(make, findings, facts), Wanted(output="y"), stable_id)
    assert {one.id for one in others}.isdisjoint(one["id"] for one in made(found(make, findings, facts)))


@pytest.mark.parametrize(
    ("wanted", "changes"),
    [
        ({}, 5),
        ({"min_severity": "high"}, 2),
        ({"verdicts": frozenset({"confirmed"})}, 3),
        ({"kinds": frozenset({"added"})}, 2),
        ({"only_look": True}, 2),
        ({"min_severity": "critical", "kinds": frozenset({"modified"})}, 0),
    ],
)
def test_filters(make: Make, wanted: dict[str, Any], changes: int) -> None:
    """By severity, verdict, kind and set."""
    findings, facts = upgrade(make, 3)
    assert sum(one["summary"]["changes"] for one in made(found(make, findings, facts), **wanted)) == changes


def test_all_is_well_is_not_said_too_early(make: Make) -> None:
    """Not by default, not of a few files, and never while something is left out or still wrong."""
    quiet = found(make, [])
    assert made(quiet) == []
    assert [one["subject"] for one in made(quiet, all_is_well=True)] == ["web1: all is well, 2026-11-23"]
    assert made(found(make, [], is_complete=False), all_is_well=True) == []
    (still,) = made(found(make, [], standing=("2 unreadable", "5 changes to accept")), all_is_well=True)
    assert (still["subject"], still["severity"]) == (
        "web1: nothing new; still 2 unreadable, 5 changes to accept, 2026-11-23",
        "low",
    )
    findings, facts = upgrade(make, 3)
    (left_out,) = made(found(make, findings[2:], facts), all_is_well=True, min_severity="critical")
    assert left_out["subject"] == "web1: nothing new; still 3 findings not for this output, 2026-11-23"


def test_a_message_has_a_bounded_size(make: Make) -> None:
    """Whatever names and command lines somebody chooses; the numbers stay true."""
    long = make.actor(cmdline=(b"x" * 20_000,) * 20, cwd=b"/" + b"y" * 4000)
    name = b"/etc/" + b"\xff" * 4000
    many = [
        make.finding(
            make.change(path=name + b"%d" % number, id=number),
            make.attribution(actors=(long,) * 20),
        )
        for number in range(60)
    ]
    for one in messages(found(make, many), Wanted(output="x", max_changes=200), stable_id):
        assert len(one.body) <= MAX_BYTES
        document = json.loads(one.body)
        assert document["summary"]["changes"] == 60
        assert sum(len(item["listed"]) + item["more"] for item in document["sets"]) == 60
        for form, limit in itertools.product(FORMATS, (1500, 8000)):
            data = render(form, document, limit=limit)
            assert len(data) <= limit
            if data.startswith(b"{"):
                json.loads(data)


def test_many_sets_are_bounded_too(make: Make) -> None:
    """One message a scan about very many commands."""
    many = [
        make.finding(
            make.change(path=b"/etc/%d" % n, id=n), make.attribution(actors=(make.actor(pid=n + 2, ppid=1, session=n),))
        )
        for n in range(300)
    ]
    (mail,) = made(found(make, many), per_set=False)
    assert len(mail["sets"]) == 20
    assert mail["more_sets"] == 280
    assert "280 more change sets" in render("text", mail).decode()


def test_what_is_sent_is_safe_to_display(make: Make) -> None:
    """A name cannot begin a new line, move a cursor, or forge a field."""
    for document in every_message(make):
        for name in FORMATS:
            data = render(name, document)
            text = data.decode()
            allowed = "\n" if name in ("text", "hash-log") else ""
            assert all(character.isprintable() or character in allowed for character in text), (name, text)
            assert render(name, document, line=True).count(b"\n") == 0
        assert "\n<13>1" not in render("text", document).decode()
        entry = syslog_message(render("text", document, line=True), envelope(document), 16)
        assert entry.isascii() or entry.decode().isprintable()


def envelope(document: dict[str, Any], **other: Any) -> Envelope:
    values: dict[str, Any] = {
        "id": document["id"],
        "host": document["host"],
        "kind": document["kind"],
        "subject": document["subject"],
        "severity": document["severity"],
        "urgent": True,
        "time_ns": 1795408513_818_000_123,
        "content_type": "text/plain; charset=utf-8",
        "fields": {"head": HEAD, "scan": "2"},
    }
    return Envelope(**values | other)


KEY = "SHA256:" + ":".join(["1dae"] * 16)


def test_messages_name_the_key_that_signs_evidence(make: Make) -> None:
    """Beside the head of the ledger, in the field of each format that is for such; without a key, nothing changes."""
    findings = [make.finding(make.change(path=path)) for path in (b"/etc/a", b"/etc/b")]
    for rows in (findings[:1], findings, []):
        (keyed,) = made(found(make, rows, signing_key=KEY), per_set=False, all_is_well=True)
        (plain,) = made(found(make, rows), per_set=False, all_is_well=True)
        assert (keyed["signing_key"], plain["signing_key"]) == (KEY, None)
        ecs, ocsf, splunk, wazuh = (json.loads(render(name, keyed)) for name in ("ecs", "ocsf", "splunk-cim", "wazuh"))
        assert ocsf["unmapped"]["head"] == {"scan": 2, "entry": HEAD}
        assert ecs["fimscan"]["signing_key"] == splunk["signing_key"] == KEY
        assert ocsf["unmapped"]["signing_key"] == wazuh["data"]["fimscan"]["signing_key"] == KEY
        assert f" flexString1Label=signingKey flexString1={KEY}" in render("cef", keyed).decode()
        assert f"\nEvidence of this host is signed by {KEY}\n" in render("text", keyed).decode()
        del plain["signing_key"]  # as in a message of an earlier version that still waits
        for name in FORMATS:
            assert KEY not in render(name, plain).decode() and "ignin" not in render(name, plain).decode()


# --------------------------------------------------------------------------------------------------------------------
# Formats


OCSF_CLASSES = {1001: "file_activity", 2004: "detection_finding"}


def test_ocsf_is_valid_by_the_published_schema(make: Make) -> None:
    """OCSF 1.8.0 as the package ocsf-json-schema ships it: unknown keys, enumerations and required ones."""
    schemas = OcsfJsonSchemaEmbedded(get_ocsf_schema(version="1.8.0"))
    validators = {
        number: jsonschema.Draft202012Validator(schemas.get_class_schema(class_name=name, profiles=["host"]))
        for number, name in OCSF_CLASSES.items()
    }
    seen = set()
    for document in every_message(make):
        event = json.loads(render("ocsf", document))
        seen.add((event["class_uid"], event["activity_id"]))
        problems = [
            f"{list(e.absolute_path)}: {e.message[:200]}" for e in validators[event["class_uid"]].iter_errors(event)
        ]
        assert problems == []
    assert {(1001, 1), (1001, 3), (1001, 4), (1001, 5), (1001, 6), (2004, 1)} <= seen


def ecs_fields() -> dict[str, tuple[str, str]]:
    """Name -> (type, normalization), as of ``generated/csv/fields.csv`` of elastic/ecs, v9.4.0."""
    with (Path(__file__).parents[1] / "data/ecs-9.4.0-fields.csv").open() as file:
        return {row["field"]: (row["type"], row["normalization"]) for row in csv.DictReader(file)}


def flat(value: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, item in value.items():
        if isinstance(item, dict):
            yield from flat(item, f"{prefix}{key}.")
        else:
            yield prefix + key, item


def test_ecs_has_only_fields_of_its_list(make: Make) -> None:
    """Of the right type; lists only where the schema has lists. All else is below 'fimscan'."""
    known = ecs_fields()
    for document in every_message(make):
        event = json.loads(render("ecs", document))
        for name, value in flat(event):
            if name.startswith("fimscan."):
                continue
            kind, normalization = known[name]
            assert isinstance(value, list) == ("array" in normalization), name
            values = value if isinstance(value, list) else [value]
            expected: type = int if kind in ("long", "float") else str
            assert all(isinstance(one, expected) for one in values), (name, value)
        assert event["event"]["kind"] in ("alert", "event")
        assert event["event"]["type"][0] in ("creation", "change", "deletion", "info")


def test_nobody_is_accused_by_a_field_for_one_process(make: Make) -> None:
    """A contested change has candidates: no format calls one of them the process that did it."""
    two = (make.actor(exe=b"/usr/bin/first"), make.actor(pid=5, exe=b"/usr/bin/second", comm=b"second"))
    for answer in (
        make.attribution(Verdict.CONTESTED, Reason.SEVERAL_WRITERS, actors=two),
        make.attribution(Verdict.CONTESTED, actors=(make.actor(), make.actor(Role.PLACER, pid=5, comm=b"second"))),
        make.attribution(Verdict.CONTESTED, actors=(make.actor(),)),
        make.attribution(Verdict.UNATTRIBUTED, Reason.NO_EVENT),
    ):
        (document,) = made(found(make, [make.finding(make.change(), answer, severity="high")]))
        ecs, ocsf, splunk, wazuh = (
            json.loads(render(name, document)) for name in ("ecs", "ocsf", "splunk-cim", "wazuh")
        )
        assert "process" not in ecs and "user" not in ecs
        assert ocsf["actor"] == {"user": {"type_id": 0, "type": "Unknown", "name": "unknown"}}
        assert not {"process", "process_path", "process_id", "user"} & set(splunk)
        assert "audit" not in wazuh["syscheck"]
        assert "sproc" not in render("cef", document).decode()
        for event in (ecs["fimscan"]["changes"][0], ocsf["unmapped"]["change"], splunk, wazuh["syscheck"]):
            assert event["verdict"] == answer.verdict.value
    # The candidates are there.
    (document,) = made(found(make, [make.finding(make.change(), make.attribution(Verdict.CONTESTED, actors=two))]))
    assert all(b"second (pid 5)" in render(name, document) for name in FORMATS if name != "hash-log")


def test_a_confirmed_process_is_named_in_every_format(make: Make) -> None:
    """By the field that each SIEM searches."""
    (document,) = made(found(make, [make.finding(severity="high")]))
    ecs, ocsf, splunk, wazuh = (json.loads(render(name, document)) for name in ("ecs", "ocsf", "splunk-cim", "wazuh"))
    assert (ecs["process"]["executable"], ecs["user"]["name"]) == ("/usr/bin/vim", "root")
    assert ocsf["actor"]["process"]["file"]["path"] == "/usr/bin/vim"
    assert (splunk["process_path"], splunk["action"]) == ("/usr/bin/vim", "modified")
    assert wazuh["syscheck"]["audit"]["process"]["name"] == "/usr/bin/vim"
    assert wazuh["syscheck"]["sha256_before"] == "1f" * 32
    assert "sproc=/usr/bin/vim" in render("cef", document).decode()


CEF = re.compile(r"CEF:0((?:\|(?:[^|\\]|\\[|\\])*){6})\|(.*)")
CEF_KEY = re.compile(r"(?:^| )([A-Za-z0-9]+)=((?:[^=\\]|\\[=\\])*?)(?= [A-Za-z0-9]+=|$)")


def test_cef_can_be_parsed(make: Make) -> None:
    """Seven fields in front, escaped; then keys, of which each value can be read back."""
    for document in every_message(make):
        line = CEF.fullmatch(render("cef", document).decode())
        assert line is not None
        fields = dict(CEF_KEY.findall(line[2]))
        assert fields["externalId"] == document["id"]
        assert fields["cs6"] == HEAD
        assert "".join(f"{k}={v} " for k, v in CEF_KEY.findall(line[2])).strip() == line[2].strip()


def test_the_line_of_a_hash_log_has_five_columns(make: Make) -> None:
    """As 'fimscan export hash-log' writes it; commas in names come last but one."""
    (document,) = made(found(make, [make.finding(severity="high")]))
    time, epoch, level, path, digest = render("hash-log", document).decode().split(",")
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", time)
    assert epoch.isdigit()
    assert (level, path, digest) == ("INFO", "/etc/hosts", "9a" * 32)


SYSLOG = re.compile(
    rb"<(\d{1,3})>1 (\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{1,6}Z) (\S{1,255}) fimscan - (\S{1,32}) "
    rb'\[fimscan@32473((?: [a-z]+="(?:[^"\\\]]|\\["\\\]])*")*)\] (.*)',
    re.DOTALL,
)


def test_a_syslog_message_has_the_form_of_rfc_5424(make: Make) -> None:
    """At most six digits of a second, escaped structured data, and a priority."""
    for document in every_message(make):
        about = envelope(document, host="h\n]", fields={"odd": 'a"b]c\\d\n'})
        match = SYSLOG.fullmatch(syslog_message(b"text", about, 16))
        assert match is not None
        assert int(match[1]) // 8 == 16
        assert match[3] == b"h]"
        assert b'odd="a\\"b\\]c\\\\d?"' in match[5]


def test_a_mail_has_no_header_of_somebody_else(make: Make) -> None:
    """The subject, the sender and the id; a host name cannot add a recipient."""
    (document,) = made(found(make, [make.finding(severity="critical")]))
    data = mail_bytes(
        b"text\n.\nmore", envelope(document, subject="web1: 1 to look at, \u00e4" + "x" * 300), "f@h", ["root"]
    )
    assert data.count(b"\r\nTo: ") == 1
    assert data.count(b"Subject: [fimscan] web1: 1 to look at, ") == 1
    assert f"<{document['id']}@fimscan.invalid>".encode() in data
    with pytest.raises(ValueError, match=r"header|linefeed|newline"):
        mail_bytes(b"", envelope(document, subject="a\r\nBcc: x@y"), "f@h", ["root"])


def test_a_journal_entry_may_have_lines(make: Make) -> None:
    """A value with a line break is written with its length."""
    (document,) = made(found(make, [make.finding()]))
    entry = journal_entry(b"one\nPRIORITY=0", envelope(document))
    assert b"MESSAGE\n\x0e\0\0\0\0\0\0\0one\nPRIORITY=0\n" in entry


def test_documents_have_a_last_resort(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where even one change is too large, texts are cut."""
    monkeypatch.setattr(documents, "MAX_BYTES", 6000)
    long = make.actor(cmdline=(b"x" * 5000,) * 5)
    (one,) = messages(
        found(make, [make.finding(attribution=make.attribution(actors=(long,)))]), Wanted(output="x"), stable_id
    )
    assert len(one.body) < 9000
    assert json.loads(one.body)["summary"]["changes"] == 1
