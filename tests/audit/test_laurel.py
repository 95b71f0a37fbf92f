"""laurel's JSON lines yield the same accesses as the raw records."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fimscan.audit import AuditBatch, read_log, read_stream
from fimscan.audit.laurel import NotLaurelError, parse_event
from fimscan.audit.records import fields, text_value
from fimscan.model import Action, FileAccess, NoticeKind
from tests.audit.as_laurel import as_laurel, percent

TESTS = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
RECORDED = sorted(name[:-4] for name in os.listdir(f"{TESTS}/data/audit") if name.endswith(".log"))
WRITTEN = sorted(name[:-5] for name in os.listdir(f"{TESTS}/data/laurel"))

Accesses = Callable[[bytes], list[FileAccess]]


def ordered(accesses: list[FileAccess]) -> list[FileAccess]:
    return sorted(accesses, key=lambda access: (access.event, access.item))


def damage(log: bytes) -> list[str]:
    return [line.problem for batch in read_stream(io.BytesIO(log)) for line in batch.damaged]


@pytest.mark.parametrize("name", WRITTEN)
def test_laurels_own_output_gives_the_same_accesses(
    name: str, recorded: Callable[[str], bytes], accesses_of: Accesses
) -> None:
    """The output of laurel 0.5.1 (Debian 12) for a recorded log yields exactly the accesses of that log."""
    written = Path(f"{TESTS}/data/laurel/{name}.json").read_bytes()
    assert not damage(written)
    assert ordered(accesses_of(written)) == ordered(accesses_of(recorded(name)))


@pytest.mark.parametrize("utf8", [True, False])
@pytest.mark.parametrize("name", RECORDED)
def test_every_recorded_log_gives_the_same_accesses_as_json(
    name: str, utf8: bool, recorded: Callable[[str], bytes], accesses_of: Accesses
) -> None:
    """Converted to JSON, each recorded log has the same paths, identities, arguments, users and programs."""
    log = recorded(name)
    assert ordered(accesses_of(as_laurel(log, utf8=utf8))) == ordered(accesses_of(log))


@pytest.mark.parametrize("name", ["programs", "i386_program", "xattrs", "unlinks"])
def test_with_drop_raw_names_replace_numbers(
    name: str, recorded: Callable[[str], bytes], accesses_of: Accesses
) -> None:
    """With drop-raw, system call and users are known by name; missing numbers are not made up."""
    log = recorded(name)
    expected = [
        access._replace(actor=access.actor._replace(auid=None, uid=None, euid=None)) for access in accesses_of(log)
    ]
    assert ordered(accesses_of(as_laurel(log, drop_raw=True))) == ordered(expected)


def event(**records: Any) -> bytes:
    """An edit by a user who became root."""
    call = {
        "arch": "0xc000003e", "syscall": 257, "success": "yes", "exit": 3, "items": 2, "ppid": 722076, "pid": 724395,
        "auid": 1000, "uid": 0, "gid": 0, "euid": 0, "tty": "pts3", "ses": 3, "comm": "vim", "exe": "/usr/bin/vim",
        "key": "fimscan%01passwd", "ARCH": "x86_64", "SYSCALL": "openat", "AUID": "al ice", "UID": "root",
        "ARGV": ["0xffffff9c", "0x55c094dea770", "0x241", "0x1b6"],
        "PID": {"EVENT_ID": "1626611363.719:348500"},
        "PPID": {"EVENT_ID": "1626611323.973:348120", "exe": "/bin/bash", "comm": "bash", "ppid": 3190631},
        "SPAWNED_BY": {"pid": 722076, "comm": "bash"}, "LABELS": ["software_mgmt"], "UID_GROUPS": ["root"],
    }  # fmt: skip
    paths = [
        {"item": 0, "name": "/etc/", "inode": 3, "dev": "fd:01", "mode": "0o40755", "nametype": "PARENT"},
        {"item": 1, "name": "caf\u00e9%ff%25%2b\"\\x", "inode": 401923, "dev": "fd:01", "mode": "0o100755", "ouid": 0,
         "ogid": 0, "rdev": "00:00", "nametype": "CREATE", "cap_fp": "0x0", "cap_frootid": "0", "OUID": "root"},
    ]  # fmt: skip
    content: dict[str, Any] = {
        "ID": "1626611363.720:348501",
        "SYSCALL": call,
        "CWD": {"cwd": "/etc"},
        "PATH": paths,
        "PROCTITLE": {"ARGV": ["vim", "a b", ""]},
    }
    content |= records
    return json.dumps({name: value for name, value in content.items() if value is not ...}).encode() + b"\n"


def test_every_kind_of_value_is_decoded(accesses_of: Accesses) -> None:
    """Percent-encoding, ARGV, octal and hexadecimal numbers, and user names are decoded."""
    (access,) = accesses_of(event())
    actor = access.actor
    assert (access.action, access.identity, access.mode) == (Action.CREATE, (0xFD01, 401923), 0o100755)
    assert access.name.path == b'/etc/caf\xc3\xa9\xff%+"\\x'
    assert (actor.pid, actor.ppid, actor.auid, actor.uid, actor.session) == (724395, 722076, 1000, 0, 3)
    assert (actor.login_user, actor.user, actor.tty, actor.key) == ("al ice", "root", "pts3", "fimscan,passwd")
    assert (actor.comm, actor.exe, actor.cwd) == (b"vim", b"/usr/bin/vim", b"/etc")
    assert actor.cmdline == (b"vim", b"a b", b"")
    assert (actor.syscall, actor.flags) == ("openat", ("O_WRONLY", "O_CREAT", "O_TRUNC"))
    assert str(access.event) == "1626611363.720:348501"


@pytest.mark.parametrize(
    "prefix", [b"@cee: ", b"@cee:", b"<13>Nov 23 04:51:21 host laurel[9]: @cee: ", b"Nov 23 04:51:21 host laurel: "]
)
def test_a_line_prefix_is_skipped(prefix: bytes, accesses_of: Accesses) -> None:
    """The prefixes of laurel and syslog are not part of the event."""
    assert accesses_of(prefix + event()) == accesses_of(event())


def test_a_users_syslog_message_gives_no_access(accesses_of: Accesses) -> None:
    """A user's message to syslog in laurel's format is not taken for an event."""
    line = b"Nov 23 04:51:21 host alice: @cee: " + event()
    assert not accesses_of(line)


def test_raw_lines_and_json_objects_may_be_mixed(recorded: Callable[[str], bytes], accesses_of: Accesses) -> None:
    """A file may contain both formats; an event that is in both yields the same accesses twice."""
    one, two = recorded("exchange"), recorded("hard_links")
    mixed = one + as_laurel(two) + as_laurel(one)
    assert set(map(str, accesses_of(mixed))) == set(map(str, accesses_of(one + two)))


def test_the_node_identifies_the_host(accesses_of: Accesses) -> None:
    """A log collected from several hosts keeps their events apart."""
    (access,) = accesses_of(event(NODE="web1"))
    assert access.event.node == "web1"


def test_a_truncated_command_line_ends_there(accesses_of: Accesses) -> None:
    """Arguments that laurel left out, or joined, are not made up."""
    cut = {"argc": 9, "ARGV": ["rm", "a b", {"skipped_args": 6, "skipped_bytes": 900}, "z"]}
    (access,) = accesses_of(event(EXECVE=cut, PROCTITLE=...))
    assert access.actor.cmdline == (b"rm", b"a b")
    (access,) = accesses_of(event(EXECVE={"argc": 2, "ARGV_STR": "rm a b"}))
    assert access.actor.cmdline == (b"vim", b"a b", b"")


def test_an_event_without_all_paths_is_incomplete() -> None:
    """An event of which laurel did not get all records is incomplete."""
    assert parse_event(event()).complete
    assert not parse_event(event(PATH=[])).complete


def test_notices_are_read_from_laurels_format() -> None:
    """Removed rules and a stopped daemon are notices in laurel's format, too."""
    lines = [
        {"ID": "5.000:1", "CONFIG_CHANGE": [{"auid": 0, "op": "remove_rule", "key": "fimscan", "list": 4, "res": 1}]},
        {"ID": "6.000:2", "CONFIG_CHANGE": [{"op": "set", "audit_enabled": 0, "old": 1, "auid": 0, "res": 1}]},
        {
            "ID": "7.000:3",
            "DAEMON_END": {"op": "terminate", "auid": 0, "pid": 1, "subj": "unconfined", "res": "success"},
        },
        {"ID": "8.000:4", "KERNEL": [{"state": "initialized", "audit_enabled": 0, "res": 1}]},
    ]
    (batch,) = read_stream(io.BytesIO(b"".join(json.dumps(line).encode() + b"\n" for line in lines)))
    assert not batch.damaged
    assert [(notice.kind, notice.key) for notice in batch.notices] == [
        (NoticeKind.RULE_REMOVED, "fimscan"),
        (NoticeKind.DISABLED, None),
        (NoticeKind.DAEMON_END, None),
        (NoticeKind.BOOT, None),
    ]


@pytest.mark.parametrize(
    "line",
    [
        b"{",
        b"{}",
        b'{"ID":"1.000:1"}',
        b'{"ID":"1.000:1","SYSCALL":[]}',
        b'{"ID":"1.000:x","SYSCALL":{"pid":1}}',
        b'{"ID":1,"SYSCALL":{"pid":1}}',
        b'{"ID":"\\u0661.000:1","SYSCALL":{"pid":1}}',
        b'{"ID":"1.000:1","SYSCALL":{"pid":1}}',
        b'{"ID":"1.000:1","SYSCALL":{"pid":1,"ARCH":"vax","SYSCALL":"open"}}',
        b'{"ID":"1.000:1","SYSCALL":{"pid":1,"exe":"\xff"}}',
        b'{"ID":"1.000:1",' + b'"A":[' * 100_000,
        b'{"ID":"1.000:1","SYSCALL":{"pid":' + b"9" * 5000 + b"}}",
    ],
)
def test_an_object_that_is_no_event_is_a_damaged_line(line: bytes) -> None:
    """A truncated or incomplete object is kept as a damaged line; it is neither lost nor a crash."""
    with pytest.raises(NotLaurelError):
        parse_event(line)
    assert len(damage(line + b"\n" + event())) == 1


WRONG = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@given(
    name=st.sampled_from(["ID", "NODE", "SYSCALL", "PATH", "CWD", "PROCTITLE", "EXECVE", "OPENAT2", "URINGOP", "X Y"]),
    field=st.sampled_from(["arch", "syscall", "ARGV", "pid", "item", "name", "mode", "dev", "cwd", "oflag", "", "uid"]),
    value=WRONG,
    whole=st.booleans(),
)
def test_no_value_in_any_place_raises(name: str, field: str, value: Any, whole: bool) -> None:
    """Whatever the value of a field, reading yields accesses or damage, never an exception."""
    content = json.loads(event())
    given = content.get(name)
    if not whole and isinstance(given, dict):
        given[field] = value
    elif not whole and isinstance(given, list):
        given[0][field] = value
    else:
        content[name] = value
    for _ in read_stream(io.BytesIO(json.dumps(content).encode() + b"\n")):
        pass


@given(st.binary(max_size=40))
def test_every_name_survives_laurels_encoding(name: bytes) -> None:
    """Any bytes survive encoding and decoding."""
    content = json.loads(event())
    for utf8 in (True, False):
        content["PATH"][1]["name"] = percent(name, utf8=utf8)
        record = parse_event(json.dumps(content).encode()).records[3]
        assert b"\n" not in record.body
        assert text_value(fields(record.body)[b"name"]) == name


def test_a_restart_at_any_byte_loses_nothing(
    tmp_path: Path, recorded: Callable[[str], bytes], accesses_of: Accesses
) -> None:
    """Wherever the first reading of laurel's log ended, even before a rotation, each access is returned once."""
    log, rest = as_laurel(recorded("exchange")), as_laurel(recorded("hard_links"))
    expected = [access.event for access in accesses_of(log + rest)]
    live = tmp_path / "audit.log"
    for size in range(300, len(log), 97):
        live.write_bytes(log[:size])
        batches: list[AuditBatch] = list(read_log(os.fsencode(live)))
        live.write_bytes(log)
        live.rename(tmp_path / "audit.log.1")
        live.write_bytes(rest)
        batches += read_log(os.fsencode(live), batches[-1].cursor if batches else None, final=True)
        assert not any(batch.lost_continuity or batch.damaged for batch in batches)
        assert [access.event for batch in batches for access in batch.accesses] == expected
        (tmp_path / "audit.log.1").unlink()
