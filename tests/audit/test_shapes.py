"""Logs in every format of hosts, relays and old systems (tests/data/logs), and the accesses read from each."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from fimscan.audit import AuditBatch, read_log, read_stream
from fimscan.audit.records import parse_line
from fimscan.model import Action, FileAccess, NoticeKind

LOGS = Path(__file__).parents[1] / "data" / "logs"
Accesses = Callable[[bytes], list[FileAccess]]

STAMP = b"1700000000.123:77"
ENDING = b' ppid=100 pid=101 auid=1001 uid=0 euid=0 tty=pts0 ses=1 comm="rm" exe="/usr/bin/rm" key="k"'
UNLINK = (
    (b"SYSCALL", b"arch=c000003e syscall=87 success=yes exit=0 a0=1 a1=1 a2=0 a3=0 items=2" + ENDING),
    (b"CWD", b'cwd="/etc"'),
    (b"PATH", b'item=0 name="/etc" inode=131 dev=fd:00 mode=040755 ouid=0 ogid=0 rdev=00:00 nametype=PARENT'),
    (b"PATH", b'item=1 name="a" inode=2512 dev=fd:00 mode=0100644 ouid=0 ogid=0 rdev=00:00 nametype=DELETE'),
    (b"PROCTITLE", b"proctitle=726D0061"),
)
NUMBERS = {b"SYSCALL": b"1300", b"PATH": b"1302", b"CWD": b"1307", b"PROCTITLE": b"1327"}


def lines(prefix: bytes = b"", stamp: bytes = STAMP) -> bytes:
    return b"".join(b"%btype=%b msg=audit(%b): %b\n" % (prefix, kind, stamp, body) for kind, body in UNLINK)


def batches(log: bytes) -> list[AuditBatch]:
    return list(read_stream(io.BytesIO(log), user_name={0: "root", 2: "bin", 33: "www-data", 1001: "alice"}.get))


def of_file(name: str) -> list[AuditBatch]:
    return batches((LOGS / f"{name}.log").read_bytes())


def summary(found: list[AuditBatch]) -> list[tuple[str, bool, bytes | None]]:
    return [(a.action.value, a.success, a.name.path) for batch in found for a in batch.accesses]


def damage(found: list[AuditBatch]) -> list[str]:
    return [line.problem for batch in found for line in batch.damaged]


# --------------------------------------------------------------------------------------------------------------------
# One log of each format


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("skewed-nodes", [("unlink", True, b"/etc/%b%d" % (node, n)) for n in range(3) for node in (b"a", b"b")]),
        ("quiet-then-two", [("unlink", True, b"/etc/a.conf")]),
        ("overlayfs-rename", [("rename", True, b"/data/b.txt")]),
        ("records-on-one-line", [("unlink", True, b"/etc/a.conf")]),
        ("tag-without-colon", [("unlink", True, b"/etc/a.conf")]),
        ("openat2-record-last", [("open-write", True, b"/etc/a.conf")]),
        ("interpreted-values", [("unlink", True, b"/etc/a.conf")]),
        ("quoted-values", [("unlink", False, b"/etc/a.conf")]),
    ],
)
def test_a_log_of_this_format_gives_its_accesses(name: str, expected: list[tuple[str, bool, bytes]]) -> None:
    """Nothing is lost or counted as damaged, and failed calls are marked as failed."""
    found = of_file(name)
    assert summary(found) == expected
    assert damage(found) == []


def test_an_overlays_rename_overwrites_nothing() -> None:
    """Its DELETE record has another device than its CREATE record, but is the source's."""
    (access,) = (access for batch in of_file("overlayfs-rename") for access in batch.accesses)
    assert (access.old and access.old.path, access.replaced) == (b"/data/a.txt", None)


def test_users_of_another_host_get_no_local_names() -> None:
    """A user whom auditd did not find gets no local name either; an untranslated record of this host gets one."""
    first, second = (access.actor for batch in of_file("names-of-this-host") for access in batch.accesses)
    assert (first.auid, first.login_user, first.user) == (33, None, None)
    assert (second.auid, second.login_user, second.user) == (33, None, None)
    for node, name in ((b"", "alice"), (b"node=%b " % os.uname().nodename.encode(), "alice"), (b"node=web7 ", None)):
        (access,) = (access for batch in batches(lines(node)) for access in batch.accesses)
        assert access.actor.login_user == name


def test_a_lone_directory_record_is_not_the_opened_file() -> None:
    """One of two announced PATH records, without a nametype: the file is unknown, and the loss is reported."""
    found = of_file("parent-taken-for-the-file")
    assert summary(found) == []
    assert damage(found) == ["1 of 2 PATH records of its event are missing"]


def test_both_pieces_of_a_record_split_by_syslog_are_damaged() -> None:
    """The beginning is truncated and the rest is not a record: both are reported."""
    found = of_file("split-by-audisp-syslog")
    assert summary(found) == []
    assert damage(found) == ["the record is truncated", "not an audit record"]


def test_notices_of_old_daemons_and_kernels_are_read() -> None:
    """Records without a colon, the old word for a boot, and the end of a suspended log."""
    found = of_file("old-daemon-and-boot")
    kinds = [notice.kind for batch in found for notice in batch.notices]
    boots = [NoticeKind.BOOT] * 2
    assert sorted(kinds) == sorted([NoticeKind.DAEMON_END, NoticeKind.DAEMON_START, *boots, NoticeKind.RESUMED])
    assert damage(found) == []


# --------------------------------------------------------------------------------------------------------------------
# Clocks


@pytest.mark.parametrize("skew", [-7200, -61, -1, 0, 1, 10, 61, 120, 86400])
@pytest.mark.parametrize("nodes", [(b"node=a ", b"node=b "), (b"", b"node=b "), (b"", b"")])
def test_hosts_whose_clocks_differ_lose_nothing(skew: int, nodes: tuple[bytes, bytes]) -> None:
    """Two hosts' lines are interleaved, also where nothing shows which host a line is from."""
    mixed: list[bytes] = []
    for number in range(5):
        one = lines(nodes[0], b"%d.100:%d" % (1700000000 + number, number))
        other = lines(nodes[1], b"%d.100:%d" % (1700000000 + skew + number, 500 + number))
        pairs = zip(one.splitlines(keepends=True), other.splitlines(keepends=True), strict=True)
        mixed += [line for pair in pairs for line in pair]
    found = batches(b"".join(mixed))
    assert len(summary(found)) == 10
    assert damage(found) == []


@pytest.mark.parametrize("jump", [6, 60, 3600, 86400 * 365, -61, -3600])
def test_a_clock_jump_splits_no_event(jump: int) -> None:
    """A jump restarts the timeout of open events: 4 s later they are still open, 6 s later they are given up."""
    one = lines().splitlines(keepends=True)

    def other(seconds: int) -> bytes:
        return lines(stamp=b"%d.123:%d" % (1700000000 + seconds, 100 + seconds % 7))

    torn = b"".join([*one[:3], other(jump), other(jump + 4), *one[3:]])
    assert len(summary(batches(torn))) == 3
    waited_before = b"".join([*one[:3], other(3), other(jump + 3), other(jump + 7), *one[3:]])
    assert len(summary(batches(waited_before))) == 4
    late = b"".join([*one[:3], other(jump), other(jump + 3), other(jump + 6), *one[3:]])
    assert len(summary(batches(late))) == 3
    assert damage(batches(late)) == [
        "1 of 2 PATH records of its event are missing",
        "the SYSCALL record of its event is missing",
    ]


# --------------------------------------------------------------------------------------------------------------------
# Several records in a line


@pytest.mark.parametrize("separator", [b" ", b", ", b"; ", b" | ", b"\t", b"#012", b"\\n", b"", b"  "])
@pytest.mark.parametrize("prefix", [b"", b"node=web1 ", b"Nov  3 04:51:21 web1 audispd: "])
def test_an_event_in_one_line_is_an_event(separator: bytes, prefix: bytes) -> None:
    """However its records were joined; a node precedes each of them."""
    node = prefix if prefix.startswith(b"node") else b""
    joined = lines(node).rstrip(b"\n").replace(b"\n", separator) + b"\n"
    found = batches((b"" if node else prefix) + joined)
    assert summary(found) == [("unlink", True, b"/etc/a")]
    assert damage(found) == []


def test_a_user_cannot_hide_a_record_in_a_message() -> None:
    """A header within the text of a user-space record is not parsed as a record."""
    message = b"type=USER_TTY msg=audit(1700000000.123:9): pid=1 uid=1001 msg='%b'\n" % lines().replace(b"\n", b" ")
    assert summary(batches(message)) == []


# --------------------------------------------------------------------------------------------------------------------
# Prefixes of relays

RELAYS = {
    "rsyslog imfile": b"2026-07-19T18:43:47+00:00 host auditd ",
    "rsyslog imfile, old time": b"Jul 19 18:43:47 host audit ",
    "a tag of its own": b"Jul 19 18:43:47 host tag_audit_log: ",
    "RFC 5424": b"<14>1 2023-11-03T04:51:21.123456+01:00 web1 audispd 12 - - ",
    "RFC 5424, structured data": b'<14>1 2023-11-03T04:51:21.1+01:00 h audisp-syslog 12 - [m a="1"][x@1 b="c \\] d"] ',
    "RFC 5424, byte order mark": b'<14>1 2023-11-03T04:51:21Z h audispd - ID1 [meta sequenceId="1"] \xef\xbb\xbf',
    "grep -H": b"/var/log/audit/audit.log:",
    "grep -Hn": b"audit.log.1:12:",
    "grep -H in syslog": b"/var/log/messages:Nov  3 04:51:21 web1 audispd: ",
    "ISO time": b"2026-11-29T03:00:01.123456Z ",
    "journal, monotonic": b"[ 1234.567890] host audispd[9]: ",
    "journal, unix": b"1700000000.123456 host audispd[9]: ",
    "byte order mark": b"\xef\xbb\xbf",
}
PRINTK = {
    "dmesg": b"[   12.345678] ",
    "thread": b"[   12.345678][ T1234] ",
    "interrupt": b"[   12.345678][    C0] ",
    "dmesg -x": b"kern  :notice: [   12.345678] ",
    "dmesg -x, caller": b"kern  :info  : [   12.345678][    T1] ",
    "dmesg -T": b"[Wed Nov 29 03:00:01 2026] ",
    "dmesg --time-format iso": b"2026-11-29T03:00:01,123456+00:00 ",
    "dmesg -H": b"[  +0.000012] ",
    "dmesg -d": b"[   12.345678 <    0.000010>] ",
    "syslog, caller": b"Nov 23 04:51:21 host kernel: [   12.345678][ T99] ",
}


@pytest.mark.parametrize("relay", RELAYS)
def test_a_relays_prefix_changes_nothing(relay: str) -> None:
    """A line truncated within the prefix is counted as damaged, or ignored."""
    found = batches(lines(RELAYS[relay]))
    assert summary(found) == [("unlink", True, b"/etc/a")]
    assert damage(found) == []


@pytest.mark.parametrize("way", PRINTK)
def test_records_printed_by_the_kernel_are_read(way: str) -> None:
    """Without an audit daemon, the kernel prints its records."""
    log = b"".join(
        b"%baudit: type=%b audit(%b): %b\n" % (PRINTK[way], NUMBERS[kind], STAMP, body) for kind, body in UNLINK
    )
    found = batches(log)
    assert summary(found) == [("unlink", True, b"/etc/a")]
    assert damage(found) == []


@pytest.mark.parametrize(
    "prefix",
    [
        b"Nov 23 04:51:21 host alice: ",
        b"Nov 23 04:51:21 host alice: kernel: ",
        b"Nov 23 04:51:21 host alice: kernel ",
        b"Nov 23 04:51:21 host alice[12]: audit: ",
        b"Nov 23 04:51:21 host alice: [ 12.3] audit: ",
        b"Nov 23 04:51:21 host alice: audit.log:",
        b"<13>1 2023-11-03T04:51:21Z host alice - - - kernel: ",
        b"<13>1 2023-11-03T04:51:21Z host alice - - [x@1] kernel: ",
        b'<13>1 2023-11-03T04:51:21Z host alice 12 - [a b="c"] audispd 12 - - ',
    ],
)
def test_a_users_message_to_syslog_gives_no_access(prefix: bytes) -> None:
    """Whatever relay, file or time it names, it follows the user's own tag."""
    found = batches(lines(prefix))
    assert summary(found) == []
    assert len(damage(found)) == len(UNLINK)


@pytest.mark.parametrize(
    "line",
    [
        b'Nov  3 04:51:21 w containerd[1]: time="2024-01-01" level=info msg="loading plugin" type=io.containerd.x.v1',
        b'time="2024-01-01T00:00:00Z" level=info msg="loading plugin \\"io\\"..." type=io.containerd.content.v1',
        b"Nov  3 04:51:21 web1 app: request type=SYSCALL of nothing",
        b"Nov  3 04:51:21 web1 kernel: IN=eth0 OUT= SRC=192.0.2.1",
        b"Nov  3 04:51:21 web1 kernel: audit: kauditd hold queue overflow",
        b"[   12.3] audit: audit_backlog=65 > audit_backlog_limit=64",
        b"Nov  3 04:51:21 web1 auditd[12]: Audit daemon rotating log files",
        b"Nov  3 04:51:21 web1 audispd: audispd initialized with q_depth=150 and 1 active plugins",
        b"Nov  3 04:51:21 web1 audit[1]: SERVICE_START pid=1 uid=0 msg='unit=x'",
        b"kern  :info  : [    0.000000][    T0] Linux version 6.1",
        b"",
        b"----",
    ],
)
def test_lines_unrelated_to_audit_are_not_damage(line: bytes) -> None:
    """The log of a whole host contains more than audit records."""
    found = batches(line + b"\n" + lines() + line + b"\n")
    assert summary(found) == [("unlink", True, b"/etc/a")]
    assert damage(found) == []


@pytest.mark.parametrize(
    "line",
    [
        b"Nov  3 04:51:21 web1 audisp-syslog[1]: ty",
        b"Nov  3 04:51:21 web1 audisp-syslog[1]: node=web1 type=PATH ms",
        b"Nov  3 04:51:21 web1 kernel: audit: type=13",
        b"Nov  3 04:51:21 web1 kernel: audit: type=1300 audit(1.0",
        b"Nov  3 04:51:21 web1 audisp-syslog[1]: ppid=100 pid=101 auid=1",
        b"\xff\x00 tail",
    ],
)
def test_a_part_of_a_record_is_damage(line: bytes) -> None:
    """A relay's line that ends before the header does, or begins after it."""
    assert damage(batches(line + b"\n")) == ["not an audit record"]


# --------------------------------------------------------------------------------------------------------------------
# journald


def entry(number: int, **fields: str) -> dict[str, str]:
    kind, body = UNLINK[number]
    return {
        "__CURSOR": f"s=1;i={number}",
        "__REALTIME_TIMESTAMP": "1700000000124000",
        "_TRANSPORT": "audit",
        "_HOSTNAME": os.uname().nodename,
        "_SOURCE_REALTIME_TIMESTAMP": "1700000000123000",
        "_AUDIT_TYPE": NUMBERS[kind].decode(),
        "_AUDIT_ID": "77",
        "MESSAGE": f"{kind.decode()} {body.decode()}",
        **fields,
    }


def as_export(entries: list[dict[str, str]]) -> bytes:
    return "".join("".join(f"{name}={value}\n" for name, value in one.items()) + "\n" for one in entries).encode()


@pytest.mark.parametrize("form", ["export", "json"])
def test_journalds_own_audit_records_are_read(form: str, accesses_of: Accesses) -> None:
    """journald splits the kernel's messages; -o export and -o json contain all parts."""
    entries = [entry(number) for number in range(len(UNLINK))]
    other = {
        **entry(0),
        "_TRANSPORT": "syslog",
        "SYSLOG_IDENTIFIER": "alice",
        "MESSAGE": lines().decode().split("\n")[0],
    }
    entries.insert(2, other)
    log = as_export(entries) if form == "export" else b"".join(json.dumps(one).encode() + b"\n" for one in entries)
    found = batches(log)
    assert [access for batch in found for access in batch.accesses] == [a for b in batches(lines()) for a in b.accesses]
    assert damage(found) == []


def test_the_host_of_a_journal_is_its_node() -> None:
    """A journal of another host has that host's users and its own serials."""
    log = as_export([entry(number, _HOSTNAME="web7") for number in range(len(UNLINK))])
    (access,) = (access for batch in batches(log) for access in batch.accesses)
    assert (access.event.node, access.actor.login_user) == ("web7", None)


def test_a_multiline_message_in_an_exported_journal_is_no_record() -> None:
    """A field with line breaks is exported with its length: nothing in it is read as an entry or record."""
    forged = b"\n\n" + as_export([entry(number) for number in range(len(UNLINK))]) + lines()
    for size in (len(forged), 10):
        data = forged[:size].ljust(size)
        message = b"MESSAGE\n" + len(data).to_bytes(8, "little") + data + b"\n"
        log = b"__CURSOR=s=1\n_TRANSPORT=syslog\n" + message + b"SYSLOG_IDENTIFIER=alice\n\n"
        assert summary(batches(log)) == []
        assert len(summary(batches(log + as_export([entry(number) for number in range(len(UNLINK))])))) == 1


def test_journalds_short_format_is_reported_as_damage() -> None:
    """'audit[101]: SYSCALL arch=...' does not identify its event: each line is reported, with what to do."""
    log = b"".join(b"Nov  3 04:51:21 web1 audit[101]: %b %b\n" % one for one in UNLINK)
    found = batches(log)
    assert summary(found) == []
    assert len(damage(found)) == len(UNLINK)
    assert "journalctl -o export" in damage(found)[0]


# --------------------------------------------------------------------------------------------------------------------
# Values


def test_quoted_values_are_read(accesses_of: Accesses) -> None:
    """Some programs put all values in quotes."""
    quoted = re.sub(rb"(?<=[ :])(\w+)=([^\s\"=(]+)(?=[ \n])", rb'\1="\2"', lines())
    quoted = re.sub(rb'(type|proctitle)="(\w+)"(?= msg|\n)', rb"\1=\2", quoted)
    assert b'pid="101"' in quoted
    (access,) = accesses_of(quoted)
    (plain,) = accesses_of(lines())
    assert access == plain


@pytest.mark.parametrize(
    ("outcome", "success"),
    [
        (b"success=no exit=-13", False), (b'success="no" exit=-13', False), (b'success="yes" exit=0', True),
        (b"exit=-2", False), (b"exit=0", True), (b"", False),
    ],
)  # fmt: skip
def test_the_outcome_comes_from_success_or_exit(outcome: bytes, success: bool, accesses_of: Accesses) -> None:
    """Without both (the process ended within the call), the call did not succeed."""
    (access,) = accesses_of(lines().replace(b"success=yes exit=0", outcome))
    assert access.success is success


def test_interpreted_values_are_converted_back(accesses_of: Accesses) -> None:
    """Names of calls, flags, modes and users; the uid of a user given by name stays unknown."""
    call = (
        b"arch=x86_64 syscall=openat success=yes exit=3 a0=AT_FDCWD a1=0x1 a2=O_WRONLY|O_CREAT|O_TRUNC a3=0x1b6 items=1"
    )
    who = (
        b" ppid=1 pid=2 auid=alice uid=root gid=root euid=root tty=pts0 ses=1 comm=two words exe=/opt/my app/x key=my k"
    )
    path = b"item=0 name=DEAD inode=5 dev=fd:00 mode=file,suid,755 ouid=root ogid=root rdev=00:00 nametype=NORMAL"
    log = b"".join(
        b"type=%b msg=audit(%b): %b\n" % (kind, STAMP, body)
        for kind, body in (
            (b"SYSCALL", call + who), (b"CWD", b"cwd=/my dir"), (b"PATH", path), (b"PROCTITLE", b"proctitle=x -i y"),
        )
    )  # fmt: skip
    (access,) = accesses_of(log)
    assert (access.action, access.name.path, access.mode) == (Action.OPEN_WRITE, b"/my dir/DEAD", 0o104755)
    actor = access.actor
    assert (actor.auid, actor.login_user, actor.uid, actor.user) == (None, "alice", None, "root")
    assert (actor.comm, actor.exe, actor.key) == (b"two words", b"/opt/my app/x", "my k")
    assert actor.flags == ("O_WRONLY", "O_CREAT", "O_TRUNC")


# --------------------------------------------------------------------------------------------------------------------
# Rotated logs


COMPRESSIONS: dict[str, Callable[[bytes], bytes]] = {
    "": lambda data: data, ".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress,
}  # fmt: skip
NAMES = (
    "audit.log.2026-11-29_03:00:01", "audit.log-20261130", "audit.log-20261130-1795000000", "audit.log.20261129",
    "audit.log_2026-11-29T03:00:01+0100", "audit-20261129.log", "audit.log.29-11-2026", "audit.log.1795000000",
    "audit.log.1",
)  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_a_rotated_log_is_found_and_read_first(name: str, compression: str, tmp_path: Path) -> None:
    """With any date format and compression; an event may begin in it and end in the live log."""
    first, second = lines(stamp=b"1700000000.000:1"), lines(stamp=b"1700000001.000:2")
    whole = (first + second).splitlines(keepends=True)
    (tmp_path / (name + compression)).write_bytes(COMPRESSIONS[compression](b"".join(whole[:7])))
    (tmp_path / "audit.log").write_bytes(b"".join(whole[7:]))
    found = list(read_log(os.fsencode(tmp_path / "audit.log"), final=True))
    assert [access.event.serial for batch in found for access in batch.accesses] == [1, 2]
    assert damage(found) == []


def test_rotated_logs_of_different_names_are_in_the_order_of_their_records(tmp_path: Path) -> None:
    """A script that renames audit.log.1 to a date, beside logrotate's dates and auditd's numbers."""
    names = [
        "audit.log.29-11-2026.xz",
        "audit.log.2026-11-28_03:00:01",
        "audit.log-20261127.gz",
        "audit.log.1",
        "audit.log",
    ]
    for number, name in enumerate(names):
        content = lines(stamp=b"%d.000:%d" % (1700000000 + number, number))
        (tmp_path / name).write_bytes(
            COMPRESSIONS[os.path.splitext(name)[1] if name[-2:] in ("xz", "gz") else ""](content)
        )
    found = list(read_log(os.fsencode(tmp_path / "audit.log"), final=True))
    assert [access.event.serial for batch in found for access in batch.accesses] == [0, 1, 2, 3, 4]


def test_zstd_is_read_where_a_decompressor_exists(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where none exists, the log is reported as unreadable, not skipped silently."""
    zstandard = pytest.importorskip("zstandard")
    (tmp_path / "audit.log.1.zst").write_bytes(zstandard.ZstdCompressor().compress(lines(stamp=b"1700000000.000:1")))
    (tmp_path / "audit.log").write_bytes(lines(stamp=b"1700000001.000:2"))
    live = os.fsencode(tmp_path / "audit.log")
    assert len(summary(list(read_log(live, final=True)))) == 2
    found = read_log(live, final=True)
    monkeypatch.setattr("importlib.import_module", _not_there)
    (batch,) = list(found)
    assert summary([batch]) == [("unlink", True, b"/etc/a")]
    assert batch.lost_continuity
    assert [(line.source, "zstandard" in line.problem) for line in batch.damaged] == [(live + b".1.zst", True)]


def _not_there(name: str) -> None:
    raise ImportError(name)


@pytest.mark.parametrize("pack", [bz2.compress, lzma.compress])
def test_a_truncated_compressed_log_is_read_up_to_the_end(pack: Callable[[bytes], bytes]) -> None:
    """The truncation is reported."""
    noise = b"".join(b"type=EOE msg=audit(1.000:1): %b\n" % os.urandom(64).hex().encode() for _ in range(30_000))
    packed = pack(lines() + noise)
    found = batches(packed[: len(packed) - 1000])
    assert summary(found) == [("unlink", True, b"/etc/a")]
    assert len(damage(found)) == 1
    assert "too early" in damage(found)[0]


def test_an_unreadable_compression_is_named(tmp_path: Path) -> None:
    """The message names the program that can decompress it."""
    (tmp_path / "audit.log.1.lz4").write_bytes(b"\x04\x22\x4d\x18" + b"x" * 400)
    (tmp_path / "audit.log").write_bytes(lines())
    found = list(read_log(os.fsencode(tmp_path / "audit.log"), final=True))
    assert summary(found) == [("unlink", True, b"/etc/a")]
    assert ["lz4" in problem for problem in damage(found)] == [True]


@pytest.mark.parametrize("name", ["audit.log.1.swp", "audit.log.save", "audit.log~", "audit.log.2026-11-29.sha256"])
def test_a_file_that_is_no_rotated_log_is_ignored(name: str, tmp_path: Path) -> None:
    """Only a number or a date, and perhaps a compression suffix, marks a rotated log."""
    (tmp_path / name).write_bytes(lines(stamp=b"1.000:1"))
    (tmp_path / "audit.log").write_bytes(lines())
    assert len(summary(list(read_log(os.fsencode(tmp_path / "audit.log"), final=True)))) == 1


def test_a_header_without_a_colon_is_read() -> None:
    """auditd wrote its own records so before 2.0."""
    record = parse_line(b"type=DAEMON_END msg=audit(1162862354.005:5730) auditd normal halt, sending auid=4294967295")
    assert record is not None
    assert (record.type, record.body[:18]) == ("DAEMON_END", b"auditd normal halt")
