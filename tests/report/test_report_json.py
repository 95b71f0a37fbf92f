"""The JSON and NDJSON that other programs rely on."""

from __future__ import annotations

import io
import json
from typing import Any, get_args

import jsonschema
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fimscan.model import (
    Action,
    Actor,
    Attribution,
    Change,
    ChangeKind,
    Coverage,
    Diff,
    Digest,
    EventId,
    ExeOrigin,
    FileAccess,
    FileKind,
    FileState,
    Finding,
    Gap,
    GapReason,
    LoginOrigin,
    LoginSource,
    Name,
    ProcessView,
    Reason,
    Role,
    Scan,
    ScanStatus,
    Severity,
    UnmodifiedOpen,
    Unreadable,
    UnreadableReason,
    Verdict,
    Window,
    Xattr,
)
from fimscan.report.documents.accesses import access_document
from fimscan.report.documents.diff import diff_document
from fimscan.report.json import write_accesses_ndjson, write_json, write_ndjson
from fimscan.report.schema import schema_text
from tests.schemas import validate

SCHEMA = json.loads(schema_text("diff"))
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)
FIELDS = (
    *("kind", "content", "link_target", "size", "mode", "uid", "gid", "acl", "capabilities"),
    *("selinux", "xattr", "flags", "nlink", "dev", "inode", "mtime", "ctime"),
)

times = st.integers(-(2**63), 2**66)
counts = st.integers(0, 2**64 - 1)
raw = st.one_of(st.binary(max_size=8), st.text(max_size=8).map(str.encode))
paths = raw.map(lambda value: b"/" + value)
texts = raw.map(lambda value: value.decode("utf-8", "surrogateescape"))  # how a str holds what is not UTF-8
xattr_names = st.sampled_from([b"user.a", b"user.\xff", b"security.capability", b"security.selinux"]) | st.sampled_from(
    [b"system.posix_acl_access", b"system.posix_acl_default"]
)
events = st.builds(EventId, times, counts, st.sampled_from(["", "node1", "n\udcff"]))


def maybe(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.none() | strategy


digests = st.lists(
    st.sampled_from(["xxh3_128", "sha256", "sha512", "blake3"]).map(
        lambda name: Digest(algorithm=name, value=b"\xab" * {"xxh3_128": 16, "sha512": 64}.get(name, 32))
    ),
    unique_by=lambda digest: digest.algorithm,
    max_size=4,
).map(tuple)
states = st.builds(
    FileState,
    path=paths,
    kind=st.sampled_from(FileKind),
    dev=st.integers(0, 2**63 - 1),
    inode=counts,
    nlink=counts,
    mode=st.integers(0, 0o7777),
    uid=counts,
    gid=counts,
    size=counts,
    mtime_ns=times,
    ctime_ns=times,
    digests=digests,
    link_target=maybe(raw),
    xattr_digest=maybe(st.just(b"\1" * 32)),
    xattrs=maybe(
        st.lists(st.builds(Xattr, name=xattr_names, size=st.integers(0, 40), data=raw), max_size=3).map(tuple)
    ),
    flags=maybe(st.integers(0, 2**31 - 1)),
    read_start_ns=times,
    read_end_ns=times,
)
actors = st.builds(
    Actor,
    pid=counts,
    ppid=maybe(counts),
    exe=maybe(raw),
    comm=maybe(raw),
    cmdline=maybe(st.lists(raw, max_size=2).map(tuple)),
    cwd=maybe(raw),
    auid=maybe(counts),
    login_user=maybe(texts),
    uid=maybe(counts),
    user=maybe(texts),
    euid=maybe(counts),
    session=maybe(counts),
    tty=maybe(texts),
    syscall=maybe(st.sampled_from(["openat", "rename", "linkat", "fchmodat2", "truncate", "mkdir", "\udc80"])),
    flags=st.lists(texts, max_size=2).map(tuple),
    time_ns=maybe(times),
    event=maybe(events),
    key=maybe(texts),
    role=maybe(st.sampled_from(Role)),
    since_ns=maybe(times),
    login=maybe(
        st.builds(
            LoginOrigin,
            source=st.sampled_from(LoginSource),
            uid=maybe(counts),
            user=maybe(texts),
            pid=maybe(counts),
            exe=maybe(raw),
            claimed=maybe(texts),
            event=maybe(events),
        )
    ),
    view=maybe(
        st.builds(
            ProcessView,
            exe_origin=st.sampled_from(ExeOrigin),
            exe_id=maybe(st.tuples(counts, counts)),
            container=maybe(texts),
            tracer=maybe(counts),
            preload=maybe(raw),
            seen_ns=times,
        )
    ),
)
gaps = st.builds(
    Gap,
    start_ns=times,
    end_ns=times,
    reason=st.sampled_from(GapReason),
    lost=maybe(counts),
    actor=maybe(actors),
)
attributions = st.builds(
    Attribution,
    verdict=st.sampled_from(Verdict),
    reason=maybe(st.sampled_from(Reason)),
    actors=st.lists(actors, max_size=2).map(tuple),
    coverage=st.builds(Coverage, complete=st.booleans(), gaps=st.lists(gaps, max_size=2).map(tuple)),
    notes=st.lists(texts, max_size=2).map(tuple),
)


@st.composite
def changes(draw: st.DrawFn) -> Change:
    kind = draw(st.sampled_from(ChangeKind))
    return Change(
        kind=kind,
        before=None if kind is ChangeKind.ADDED else draw(states),
        after=None if kind is ChangeKind.REMOVED else draw(states),
        changed=tuple(draw(st.lists(st.sampled_from(FIELDS), unique=True, max_size=4))),
        window=Window(after_ns=draw(times), before_ns=draw(times)),
        id=draw(counts),
    )


steps = st.builds(Finding, change=changes(), attribution=attributions, scan=counts)
findings = st.builds(
    Finding,
    change=changes(),
    attribution=attributions,
    scan=counts,
    steps=st.lists(steps, max_size=2).map(tuple),
    severity=maybe(st.sampled_from(get_args(Severity))),
    category=maybe(texts),
)
scans = st.builds(
    Scan,
    id=counts,
    host=texts,
    trigger=st.just("manual"),
    status=st.sampled_from(ScanStatus),
    started_ns=times,
    finished_ns=maybe(times),
)
diffs = st.builds(
    Diff,
    host=texts,
    start=scans,
    end=scans,
    findings=st.lists(findings, max_size=2).map(tuple),
    unreadable=st.lists(
        st.builds(Unreadable, path=paths, reason=st.sampled_from(UnreadableReason), detail=texts), max_size=2
    ).map(tuple),
    opened_unmodified=st.lists(
        st.builds(UnmodifiedOpen, path=paths, actors=st.lists(actors, max_size=2).map(tuple)), max_size=2
    ).map(tuple),
)
varied = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)


@varied
@given(diffs)
def test_every_document_keeps_to_the_published_schema(diff: Diff) -> None:
    """Whatever names and gaps in knowledge there are, a program that trusts the schema can read the document."""
    out = io.StringIO()
    write_json(diff, out)
    assert out.getvalue().isascii()
    document = json.loads(out.getvalue())
    VALIDATOR.validate(document)
    json.dumps(document, ensure_ascii=False).encode("utf-8")  # no lone surrogates, which strict parsers refuse


@varied
@given(diffs)
def test_the_summary_counts_the_rows(diff: Diff) -> None:
    """The numbers on top and the rows below never disagree."""
    document = diff_document(diff)
    counted = dict.fromkeys(SCHEMA["$defs"]["summary"]["properties"], 0)
    for row in document["changes"]:
        counted[row["kind"]] += 1
        counted[row["attribution"]["verdict"]] += 1
    counted["unreadable"] = len(document["unreadable"])
    counted["opened_unmodified"] = len(document["opened_unmodified"])
    assert document["summary"] == counted


@varied
@given(diffs)
def test_every_ndjson_line_stands_alone(diff: Diff) -> None:
    """A log shipper can cut at any line end: each line parses and says host, scans, time, kind and path itself."""
    out = io.StringIO()
    write_ndjson(diff, out)
    lines = [json.loads(line) for line in out.getvalue().split("\n")[:-1]]
    assert len(lines) == len(diff.findings) + len(diff.unreadable) + len(diff.opened_unmodified)
    for line in lines:
        assert (line["schema"], line["from_scan"], line["to_scan"]) == ("fimscan.change/1", diff.start.id, diff.end.id)
        assert {"host", "time", "kind", "path", "path_b64"} <= line.keys()
        assert validate(line) == "change"
    kinds = [line["kind"] for line in lines[len(diff.findings) :]]
    assert kinds == ["unreadable"] * len(diff.unreadable) + ["opened-unmodified"] * len(diff.opened_unmodified)


def test_a_document_is_the_contract_to_the_letter(make: Any) -> None:
    """Programs written against the documented example find each key and form of value where it says."""
    gap = Gap(start_ns=make.now, end_ns=make.now + make.second, reason=GapReason.EVENTS_LOST, lost=3)
    coverage = Coverage(complete=False, gaps=(gap,))
    attribution = make.attribution(Verdict.LIKELY, Reason.COVERAGE_GAP, coverage=coverage, notes=("A note.",))
    finding = make.finding(attribution=attribution, severity="high", category="configuration")
    document = diff_document(make.diff(finding))
    before = {
        "kind": "file",
        "size": 220,
        "mode": "0644",
        "uid": 0,
        "gid": 0,
        "inode": 12,
        "dev": "fe:00",
        "nlink": 1,
        "mtime": "2026-11-23T03:35:13.818Z",
        "ctime": "2026-11-23T03:35:13.818Z",
        "xxh3_128": "1f" * 16,
        "sha256": "1f" * 32,
        "xattr_sha256": None,
        "acl": None,
        "capabilities": None,
        "selinux": None,
        "xattrs": {},
        "flags": None,
        "link_target": None,
        "link_target_b64": None,
    }
    after = before | {
        "size": 248,
        "mtime": "2026-11-23T04:35:13.818Z",
        "ctime": "2026-11-23T04:35:13.818Z",
        "xxh3_128": "9a" * 16,
        "sha256": "9a" * 32,
    }
    actor = {
        "role": "writer",
        "earlier": False,
        "pid": 4242,
        "ppid": 4200,
        "exe": "/usr/bin/vim",
        "comm": "vim",
        "cmdline": ["vim", "hosts"],
        "cwd": "/etc",
        "auid": 1000,
        "login_user": "alice",
        "uid": 0,
        "user": "root",
        "euid": 0,
        "session": 3,
        "tty": "pts4",
        "syscall": "openat",
        "flags": ["O_WRONLY", "O_CREAT", "O_TRUNC"],
        "time": "2026-11-23T04:35:13.818Z",
        "event": "1795408513.818:6628017",
        "key": "fimscan",
        "since": None,
        "login_origin": None,
        "exe_origin": None,
        "container": None,
        "traced_by": None,
        "preload": None,
    }
    times = {"start": "2026-11-23T04:35:13.818Z", "end": "2026-11-23T04:35:14.818Z"}
    lost = {**times, "reason": "events-lost", "lost": 3, "by": None}
    assert document == {
        "schema": "fimscan.diff/1",
        "host": "web1",
        "from": {"scan": 1, "started": "2026-11-23T04:05:13.818Z", "finished": "2026-11-23T04:05:14.818Z"},
        "to": {"scan": 2, "started": "2026-11-23T04:36:13.818Z", "finished": "2026-11-23T04:36:14.818Z"},
        "summary": {
            "added": 0,
            "removed": 0,
            "modified": 1,
            "moved": 0,
            "attributes": 0,
            "unreadable": 0,
            "confirmed": 0,
            "likely": 1,
            "contested": 0,
            "unattributed": 0,
            "opened_unmodified": 0,
            "logs_grown": 0,
            "logs_rotated": 0,
        },
        "shown": None,
        "sets": [
            {
                "set": 1,
                "kind": "tree",
                "title": "vim hosts, by alice as root, 04:35",
                "programs": ["/usr/bin/vim"],
                "via": [],
                "auid": 1000,
                "login_user": "alice",
                "session": 3,
                "reason": None,
                "start": "2026-11-23T04:35:13.818Z",
                "end": "2026-11-23T04:35:13.818Z",
                "changes": 1,
                "look": 0,
                "same_content": 0,
                "verdicts": {"confirmed": 0, "likely": 1, "contested": 0, "unattributed": 0},
                "packages": [],
                "shipped": {"as-shipped": 0, "not-as-shipped": 0, "unowned": 0, "unknown": 0},
            }
        ],
        "plans": [],
        "changes": [
            {
                "id": 17,
                "scan": 2,
                "path": "/etc/hosts",
                "path_b64": None,
                "severity": "high",
                "category": "configuration",
                "kind": "modified",
                "changed": ["content", "size", "mtime", "ctime"],
                "breach": None,
                "moved_from": None,
                "moved_from_b64": None,
                "before": before,
                "after": after,
                "window": {"after": "2026-11-23T04:05:13.818Z", "before": "2026-11-23T04:36:13.818Z"},
                "attribution": {
                    "verdict": "likely",
                    "reason": "coverage-gap",
                    "actors": [actor],
                    "coverage": {"complete": False, "gaps": [lost]},
                    "notes": ["A note."],
                },
                "in_effect": None,
                "disposition": None,
                "package": None,
                "plan": None,
                "set": 1,
                "rank": {
                    "level": "wave",
                    "reasons": ["likely"],
                    "deciding": 0,
                    "words": "not certain",
                    "techniques": [],
                },
            }
        ],
        "unreadable": [],
        "opened_unmodified": [],
        "configuration": {"from": None, "to": None, "weaker": False, "changes": []},
        "signing_key": None,
        "host_events": [],
        "controls": [],
    }
    assert list(document["changes"][0]["attribution"]["actors"][0]) == list(actor)


def test_unknown_is_null_and_never_a_default(make: Any) -> None:
    """An unset login uid is not root, and a digest that was not taken is not an empty one."""
    unset = Actor(pid=7, role=Role.WRITER)
    change = make.change(before=make.state(digests=()))
    row = diff_document(make.diff(make.finding(change, make.attribution(actors=(unset,)))))["changes"][0]
    actor = row["attribution"]["actors"][0]
    assert {key: value for key, value in actor.items() if value not in (None, [], False)} == {
        "role": "writer",
        "pid": 7,
    }
    assert (row["before"]["sha256"], row["before"]["xxh3_128"]) == (None, None)


def test_a_path_that_is_not_utf8_comes_exactly_in_base64(make: Any) -> None:
    """No name is lost on the way through JSON: neither a path, nor where it was moved from, nor a link's target."""
    change = Change(
        kind=ChangeKind.MOVED,
        before=make.state(b"/etc/\xfe"),
        after=make.state(b"/etc/\xff", link_target=b"\xfd"),
        window=Window(after_ns=0, before_ns=1),
    )
    row = diff_document(make.diff(make.finding(change)))["changes"][0]
    assert (row["path"], row["path_b64"]) == ("/etc/\\xff", "L2V0Yy//")
    assert (row["moved_from"], row["moved_from_b64"]) == ("/etc/\\xfe", "L2V0Yy/+")
    assert (row["after"]["link_target"], row["after"]["link_target_b64"]) == ("\\xfd", "/Q==")


@pytest.mark.parametrize(("number", "present"), [(0, False), (1, False), (2, True), (3, True)])
def test_steps_are_there_only_when_there_are_several(make: Any, number: int, present: bool) -> None:
    """A row that is a single change carries no redundant list of one."""
    finding = make.finding(steps=tuple(make.finding(scan=scan) for scan in range(number)))
    document = diff_document(make.diff(finding))
    VALIDATOR.validate(document)
    row = document["changes"][0]
    assert ("steps" in row) is present
    if present:
        assert [step["scan"] for step in row["steps"]] == list(range(number))
        wanted = {"scan", "kind", "changed", "before", "after", "window", "attribution"}
        assert wanted <= row["steps"][0].keys()


@pytest.mark.parametrize(
    "damage",
    [
        lambda document: document.update(extra=1),
        lambda document: document["changes"][0].update(before=None),
        lambda document: document["changes"][0].pop("path_b64"),
        lambda document: document["changes"][0]["attribution"].update(verdict="certain"),
        lambda document: document["changes"][0]["after"].update(mtime="2026-11-23 04:35:13"),
        lambda document: document["changes"][0]["attribution"]["actors"][0].update(pid="1"),
    ],
)
def test_the_schema_refuses_what_is_not_the_contract(make: Any, damage: Any) -> None:
    """A consumer's own validation against the shipped schema catches a broken producer."""
    document = diff_document(make.diff(make.finding()))
    VALIDATOR.validate(document)
    damage(document)
    assert not VALIDATOR.is_valid(document)


def test_the_schema_is_valid_and_knows_every_word_of_the_vocabulary() -> None:
    """A verdict, reason or kind added to the model is not forgotten in the published schema."""
    VALIDATOR.check_schema(SCHEMA)
    defs = SCHEMA["$defs"]
    attribution, row = defs["attribution"]["properties"], defs["row"]["properties"]
    assert attribution["verdict"]["enum"] == list(Verdict)
    assert attribution["reason"]["enum"] == [*Reason, None]
    assert defs["gap"]["properties"]["reason"]["enum"] == list(GapReason)
    assert defs["actor"]["properties"]["role"]["enum"] == [*Role, None]
    assert defs["state"]["properties"]["kind"]["enum"] == list(FileKind)
    assert row["kind"]["enum"] == list(ChangeKind)
    assert defs["unreadable"]["properties"]["reason"]["enum"] == list(UnreadableReason)


def test_an_access_has_the_contracts_keys(make: Any) -> None:
    """'audit events' gives event, time, action, path, identity, outcome and the actor without a role."""
    access = FileAccess(
        event=EventId(make.now, 42, "web1"),
        action=Action.RENAME,
        name=Name(text=b"hosts", path=b"/etc/hosts"),
        old=Name(text=b"hosts~", path=b"/etc/hosts~"),
        dev=0xFE00,
        inode=12,
        actor=make.actor(role=None),
    )
    out = io.StringIO()
    write_accesses_ndjson([access, access], out)
    document = json.loads(out.getvalue().splitlines()[1])
    actor = document.pop("actor")
    assert validate(json.loads(out.getvalue().splitlines()[0])) == "access"
    assert document == {
        "schema": "fimscan.access/1",
        "event": "web1/1795408513.818:42",
        "time": "2026-11-23T04:35:13.818Z",
        "action": "rename",
        "path": "/etc/hosts",
        "path_b64": None,
        "name": "hosts",
        "name_b64": None,
        "dev": "fe:00",
        "inode": 12,
        "old_path": "/etc/hosts~",
        "old_path_b64": None,
        "old_name": "hosts~",
        "old_name_b64": None,
        "success": True,
    }
    assert "role" not in actor
    assert list(actor)[:3] == ["pid", "ppid", "exe"]


def test_a_name_that_is_not_sure_is_no_path(make: Any) -> None:
    """What a record said relative to an unknown directory is never passed off as a path."""
    access = FileAccess(
        event=EventId(make.now, 1), action=Action.UNLINK, name=Name(text=b"f\xff", parent=(1, 2)), actor=make.actor()
    )
    document = access_document(access)
    assert (document["path"], document["path_b64"]) == (None, None)
    assert (document["name"], document["name_b64"]) == ("f\\xff", "Zv8=")
    assert (document["dev"], document["inode"], document["old_path"]) == (None, None, None)
