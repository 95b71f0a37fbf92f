"""Quirks of real logs: old kernels, long arguments, truncated lines, other formats of the same records."""

from __future__ import annotations

import io
import os
import re
from collections.abc import Callable

import pytest

from fimscan.audit import read_stream
from fimscan.model import Action, FileAccess

Accesses = Callable[[bytes], list[FileAccess]]

STAMP = b" msg=audit(1.000:1): "
TAIL = b' ppid=1234 pid=2345 auid=1000 uid=1001 euid=1002 tty=pts4 ses=33 comm="vi" exe="/bin/vi" key=(null)'
TYPES = {b"SYSCALL": 1300, b"PATH": 1302, b"CWD": 1307, b"PROCTITLE": 1327, b"OPENAT2": 1337, b"URINGOP": 1336}


def lines(*texts: bytes) -> bytes:
    return b"".join(b"type=" + text.replace(b" AT ", STAMP) + b"\n" for text in texts)


def call(
    number: int, items: int, *, a1: int = 1, a2: int = 1, success: bytes = b"yes", arch: bytes = b"c000003e"
) -> bytes:
    return (
        b"SYSCALL AT arch=%b syscall=%d success=%b exit=0 a0=ffffff9c a1=%x a2=%x a3=0 items=%d"
        % (arch, number, success, a1, a2, items)
        + TAIL
    )


CWD = b'CWD AT cwd="/d"'


def old_path(item: int, name: bytes, inode: int, mode: bytes = b"0100644") -> bytes:
    """A PATH record as RHEL 6 writes it: without nametype."""
    return b'PATH AT item=%d name="%b" inode=%d dev=fd:00 mode=%b ouid=0 ogid=0 rdev=00:00' % (item, name, inode, mode)


PARENT = old_path(0, b"/d", 3, b"040755")


def test_one_record_without_nametype_is_the_file(accesses_of: Accesses) -> None:
    """A lookup leaves one record; on RHEL 6, too, it is the file's."""
    (access,) = accesses_of(lines(call(2, 1, a1=1), CWD, old_path(0, b"f", 5)))
    assert (access.action, access.name.path, access.identity) == (Action.OPEN_WRITE, b"/d/f", (0xFD00, 5))
    (access,) = accesses_of(lines(call(90, 1, a1=0o600), CWD, old_path(0, b"f", 5)))
    assert (access.action, access.argument) == (Action.CHMOD, 0o600)


@pytest.mark.parametrize(
    ("number", "action"),
    [(87, Action.UNLINK), (83, Action.MKDIR), (133, Action.MKNOD), (2, Action.OPEN_WRITE), (85, Action.OPEN_WRITE)],
)
def test_two_records_without_nametype_are_the_directory_and_the_file(
    number: int, action: Action, accesses_of: Accesses
) -> None:
    """A change in a directory leaves the directory and the file. Whether O_CREAT created the file is unknown."""
    made = old_path(1, b"f", 5, b"040755" if action is Action.MKDIR else b"0100644")
    (access,) = accesses_of(lines(call(number, 2, a1=0o101), CWD, PARENT, made))
    assert (access.action, access.name.path, access.name.parent) == (action, b"/d/f", (0xFD00, 3))


@pytest.mark.parametrize(("number", "action"), [(82, Action.RENAME), (86, Action.LINK)])
def test_a_rename_without_nametype_names_the_file_by_its_identity(
    number: int, action: Action, accesses_of: Accesses
) -> None:
    """A moved or linked file has two records. Which name is the new one is uncertain, so the access has no name."""
    paths = (PARENT, old_path(1, b"/d", 3, b"040755"), old_path(2, b"f", 5), old_path(3, b"g", 6), old_path(4, b"g", 5))
    (access,) = accesses_of(lines(call(number, 5), CWD, *paths))
    assert (access.action, access.identity, access.name.text, access.old) == (action, (0xFD00, 5), None, None)


@pytest.mark.parametrize(
    "texts",
    [
        (call(87, 1), CWD, old_path(0, b"f", 5)),
        (call(87, 2, success=b"no"), CWD, PARENT, old_path(1, b"f", 5)),
        (call(87, 2), CWD, old_path(0, b"d", 3), old_path(1, b"f", 5)),
        (call(87, 3), CWD, PARENT, old_path(1, b"f", 5), old_path(2, b"g", 6)),
        (call(82, 4), CWD, PARENT, PARENT, old_path(2, b"f", 5), old_path(3, b"g", 6)),
        (call(2, 2, a1=0o100), CWD, PARENT, old_path(1, b"f", 5)),
        (call(2, 2, a1=0o101), CWD, PARENT),
        (call(2, 1, a1=0o101), CWD, PARENT),
        (call(83, 2), CWD, PARENT, old_path(1, b"f", 5)),
        (call(84, 2), CWD, PARENT, old_path(1, b"f", 5)),
        (call(87, 2), CWD, PARENT, old_path(1, b"d2", 5, b"040755")),
    ],
)
def test_uncertain_records_without_nametype_are_left_out(texts: tuple[bytes, ...], accesses_of: Accesses) -> None:
    """Lost records, failed calls and opens for reading give no access, because it might name the wrong file."""
    assert accesses_of(lines(*texts)) == []


def new_path(kind: bytes, name: bytes = b'"f"') -> bytes:
    return b"PATH AT item=0 name=%b inode=5 dev=fe:00 mode=0100644 ouid=0 ogid=0 rdev=00:00 nametype=%b" % (name, kind)


@pytest.mark.parametrize("separator", [b"\x1d", b" ", b""])
def test_a_translation_is_never_a_part_of_the_nametype(separator: bytes, accesses_of: Accesses) -> None:
    """Without capabilities in PATH records, the user names follow nametype at once."""
    path = new_path(b"DELETE" + separator + b'OUID="root" OGID="root"')
    (access,) = accesses_of(lines(call(87, 1), CWD, path))
    assert access.action is Action.UNLINK
    (access,) = accesses_of(lines(call(87, 1), CWD, path.replace(b" ouid", b" extra=1 ouid")))
    assert access.action is Action.UNLINK


def test_a_short_arch_is_known(accesses_of: Accesses) -> None:
    """Big-endian 32-bit machines have small numbers: arch=14 is ppc."""
    (access,) = accesses_of(lines(call(10, 1, arch=b"14"), CWD, new_path(b"DELETE")))
    assert access.actor.syscall == "unlink"
    (access,) = accesses_of(lines(call(4286, 1, arch=b"8", a2=1), CWD, new_path(b"NORMAL")).replace(b"4286", b"4288"))
    assert (access.action, access.actor.flags) == (Action.OPEN_WRITE, ("O_WRONLY",))


def test_an_unknown_architecture_gives_no_access(accesses_of: Accesses) -> None:
    """Without the architecture's table, a number has no meaning."""
    for number in (2, 87, 257, 437):
        assert accesses_of(lines(call(number, 1, arch=b"deadbeef"), CWD, new_path(b"NORMAL"))) == []


def test_socketcall_makes_a_file_only_when_it_binds(accesses_of: Accesses) -> None:
    """32-bit programs bind a socket through socketcall(2), whose first argument selects the operation."""
    for operation, found in ((b"2", [Action.MKNOD]), (b"3", [])):
        text = call(102, 1, arch=b"40000003").replace(b"a0=ffffff9c", b"a0=" + operation)
        assert [access.action for access in accesses_of(lines(text, CWD, new_path(b"CREATE")))] == found


def cmdline(accesses_of: Accesses, *records: bytes) -> tuple[bytes, ...] | None:
    (access,) = accesses_of(lines(call(87, 1), *records, CWD, new_path(b"DELETE")))
    return access.actor.cmdline


def test_a_split_argument_is_joined(accesses_of: Accesses) -> None:
    """An argument that fills several records is one word, and the words after it are kept."""
    first = b'EXECVE AT argc=4 a0="sh" a1_len=12 a1[0]=612062'
    more = (b"EXECVE AT  a1[1]=632064", b'EXECVE AT  a2_len=6 a2[0]="abc" a2[1]="def"', b'EXECVE AT  a3="x"')
    assert cmdline(accesses_of, first, *more) == (b"sh", b"a bc d", b"abcdef", b"x")
    assert cmdline(accesses_of, *reversed((first, *more))) == (b"sh", b"a bc d", b"abcdef", b"x")
    assert cmdline(accesses_of, first, first, *more, *more) == (b"sh", b"a bc d", b"abcdef", b"x")


def test_a_command_line_ends_before_a_lost_piece(accesses_of: Accesses) -> None:
    """A word with a missing piece is not returned as if it were whole."""
    assert cmdline(accesses_of, b'EXECVE AT argc=3 a0="sh" a1_len=12 a1[0]=612062', b'EXECVE AT a2="x"') == (b"sh",)
    assert cmdline(accesses_of, b'EXECVE AT argc=3 a0="sh" a1_len=12 a1[1]=632064', b'EXECVE AT a2="x"') == (b"sh",)
    assert cmdline(accesses_of, b'EXECVE AT argc=3 a0="sh" a1="x a2="y"') == (b"sh",)


@pytest.mark.parametrize("end", range(1, len(TAIL)))
def test_a_truncated_line_names_no_other_process(end: int, accesses_of: Accesses) -> None:
    """A SYSCALL line truncated at any byte has the original process or none, never another number."""
    text = call(87, 1)
    (whole,) = accesses_of(lines(text, CWD, new_path(b"DELETE")))
    for access in accesses_of(lines(text[:-end], CWD, new_path(b"DELETE"))):
        for field in ("pid", "ppid", "auid", "uid", "euid", "session", "tty", "comm", "exe", "login_user"):
            assert getattr(access.actor, field) in (None, getattr(whole.actor, field)), field


def test_a_truncated_translation_is_not_a_name(accesses_of: Accesses) -> None:
    """auditd truncates lines at 8970 bytes, even within a user name."""
    (access,) = accesses_of(lines(call(87, 1) + b'\x1dUID="root" AUID="al', CWD, new_path(b"DELETE")))
    assert (access.actor.user, access.actor.login_user) == ("root", None)


def test_the_longest_possible_name_is_read(accesses_of: Accesses) -> None:
    """The longest possible path, in hexadecimal, is read whole; the fields after it may be truncated."""
    name = b"/d/" + b"\xff " * 2045
    path = new_path(b"DELETE cap_fp=0 cap_fi=0", name.hex().upper().encode())
    (access,) = accesses_of(lines(call(87, 1), CWD, path[:8970]))
    assert access.name.path == name


def as_dmesg(log: bytes) -> bytes:
    log = re.sub(rb"\x1d[^\n]*", b"", log)  # only auditd adds translations
    return re.sub(
        rb"(?m)^type=(\w+) msg=",
        lambda m: b"[ 1234.567890] audit: type=%d " % TYPES[m[1]],
        log,
    )


HERE = os.uname().nodename.encode()
DRESSES: dict[str, Callable[[bytes], bytes]] = {
    "dmesg": as_dmesg,
    "kernel in syslog": lambda log: re.sub(rb"(?m)^\[", b"Nov  3 04:51:21 %b kernel: [" % HERE, as_dmesg(log)),
    "kernel in the journal": lambda log: re.sub(
        rb"(?m)^\[ [\d.]+\]", b"Nov 03 04:51:21 %b kernel:" % HERE, as_dmesg(log)
    ),
    "journal, ISO times": lambda log: re.sub(
        rb"(?m)^\[ [\d.]+\]", b"2023-11-03T04:51:21.123456+0100 %b kernel:" % HERE, as_dmesg(log)
    ),
    "audisp-syslog": lambda log: re.sub(rb"(?m)^(?=type)", b"<14>Nov  3 04:51:21 %b audisp-syslog[12]: " % HERE, log),
    "rsyslog's imfile": lambda log: re.sub(rb"(?m)^(?=type)", b"Nov  3 04:51:21 %b tag_audit_log: " % HERE, log),
    "rsyslog's imfile, its tag without a colon": lambda log: re.sub(
        rb"(?m)^(?=type)", b"2026-07-19T18:43:47+00:00 %b auditd " % HERE, log.replace(b"\x1d", b"#035")
    ),
    "RFC 5424": lambda log: re.sub(
        rb"(?m)^(?=type)", b"<14>1 2023-11-03T04:51:21.123456+01:00 %b audispd 12 - - " % HERE, log
    ),
    "ausearch": lambda log: b"----\ntime->Fri Nov  3 04:51:21 2023\n" + log,
    "Windows": lambda log: log.replace(b"\n", b"\r\n"),
}


@pytest.mark.parametrize("dress", DRESSES)
def test_records_are_the_same_in_every_format(
    dress: str, recorded: Callable[[str], bytes], accesses_of: Accesses
) -> None:
    """However a log was relayed, its accesses are those of the original, except for names that auditd looked up."""
    log = b"".join(recorded(name) for name in ("programs", "odd_names", "exchange", "openat2_record"))
    plain = re.sub(rb"\x1d[^\n]*", b"", log) if dress in ("dmesg",) or "kernel" in dress or "ISO" in dress else log
    dressed = DRESSES[dress](log)
    assert dressed != log
    batches = list(read_stream(io.BytesIO(dressed)))
    assert not any(batch.damaged for batch in batches)
    assert [access for batch in batches for access in batch.accesses] == accesses_of(plain)


def test_nodes_are_told_apart_in_every_format(recorded: Callable[[str], bytes], accesses_of: Accesses) -> None:
    """A collector's log, with node= before each line, keeps the events of the hosts apart."""
    log = recorded("exchange")
    both = b"".join(
        b"node=%b %b" % (node, line) for line in log.splitlines(keepends=True) for node in (b"web1", b"web2")
    )
    for text in (
        both,
        DRESSES["audisp-syslog"](both.replace(b"node=", b"type-node=")).replace(b"type-node=", b"node="),
    ):
        nodes = [access.event.node for access in accesses_of(text)]
        assert nodes.count("web1") == nodes.count("web2") == len(accesses_of(log))


def test_other_programs_syslog_lines_are_not_damage(recorded: Callable[[str], bytes], accesses_of: Accesses) -> None:
    """In a whole syslog file, only broken audit records count as damaged."""
    other = (
        b"Nov  3 04:51:21 web1 systemd[1]: Started session.\n"
        b"2023-11-03T04:51:21.123456+01:00 web1 sshd[9]: Accepted publickey for root\n"
        b"<13>1 2023-11-03T04:51:21Z web1 app - - - hello\n"
        b"[    0.000000] Linux version 6.1\n"
    )
    broken = b"Nov  3 04:51:21 web1 kernel: audit: type=1300 audit(1.0\n"
    log = DRESSES["kernel in syslog"](recorded("exchange"))
    (batch,) = read_stream(io.BytesIO(other + log + other + broken))
    assert [line.line + b"\n" for line in batch.damaged] == [broken]
    assert list(batch.accesses) == accesses_of(log)


def test_serials_wrap_around(accesses_of: Accesses) -> None:
    """After 2**32 - 1 comes 0; both are events of their own."""
    log = lines(call(87, 1), CWD, new_path(b"DELETE"))
    first, second = log.replace(b"1.000:1", b"1.000:4294967295"), log.replace(b"1.000:1", b"1.000:0")
    assert [access.event.serial for access in accesses_of(first + second)] == [4294967295, 0]


@pytest.mark.parametrize("kind", [b"SECCOMP", b"AVC", b"NETFILTER_CFG", b"BPF", b"ANOM_ABEND", b"FANOTIFY", b"1326"])
def test_other_record_types_change_nothing(
    kind: bytes, recorded: Callable[[str], bytes], accesses_of: Accesses
) -> None:
    """Records of other types, in their own events or in an event about files, change nothing."""
    log = recorded("exchange")
    stamps = list(dict.fromkeys(re.findall(rb"audit\(([^)]*)\)", log)))
    others = b"".join(
        b"type=%b msg=audit(%b): auid=0 pid=9 sig=31 arch=c000003e syscall=2 compat=0 success=yes\n" % (kind, stamp)
        for stamp in (*stamps, b"1795411340.000:5")
    )
    assert accesses_of(others + log) == accesses_of(log)


def test_several_keys_of_a_rule_are_separated(accesses_of: Accesses) -> None:
    """The kernel writes several keys of a rule in hexadecimal, separated by 0x01."""
    text = call(87, 1).replace(b"key=(null)", b"key=" + b"a\x01b c".hex().upper().encode())
    (access,) = accesses_of(lines(text, CWD, new_path(b"DELETE")))
    assert access.actor.key == "a,b c"


def test_hosts_are_told_apart_by_the_syslog_prefix(recorded: Callable[[str], bytes], accesses_of: Accesses) -> None:
    """Two hosts with the same events in one syslog file without node=: each has its own events and user names."""
    plain = re.sub(rb"\x1d[^\n]*", b"", recorded("exchange"))
    here, there = (
        re.sub(rb"(?m)^(?=type)", b"Nov  3 04:51:21 %b audisp-syslog[12]: " % host, plain).splitlines(keepends=True)
        for host in (HERE, b"db7")
    )
    mixed = b"".join(line for pair in zip(here, there, strict=True) for line in pair)
    found = [a for batch in read_stream(io.BytesIO(mixed), user_name={0: "root"}.get) for a in batch.accesses]
    by_node = {node: [a for a in found if a.event.node == node] for node in ("", "db7")}
    assert len(by_node[""]) == len(by_node["db7"]) == len(accesses_of(plain))
    assert {a.actor.user for a in by_node[""]} == {"root"}
    assert {a.actor.user for a in by_node["db7"]} == {None}


@pytest.mark.parametrize("glue", [b" ", b"#012", b"\\n"])
def test_records_in_one_line_belong_to_one_host(
    glue: bytes, recorded: Callable[[str], bytes], accesses_of: Accesses
) -> None:
    """Only the first record of such a line has the host before it."""
    log = recorded("openat2_record")
    for mark in (b"node=db7 ", b"Nov  3 04:51:21 db7 audisp-syslog[12]: "):
        events: dict[bytes, list[bytes]] = {}
        for line in log.splitlines():
            events.setdefault(line.split(b"audit(")[1].split(b")")[0], []).append(line)
        text = b"".join(mark + glue.join(lines) + b"\n" for lines in events.values())
        found = accesses_of(text)
        assert [a.event.node for a in found] == ["db7"] * len(accesses_of(log))


@pytest.mark.parametrize("batch_events", [1, 2, 3, 50])
def test_an_event_that_may_be_given_again_is_given_once_at_last(batch_events: int) -> None:
    """Wherever a batch ends, and without one that says nothing any more, as two calls that contradict each other do."""
    opened = lines(call(437, 1), CWD, new_path(b"NORMAL"), b'PROCTITLE AT proctitle="vi"')
    other = lines(call(437, 1, a1=2))
    next_ones = [re.sub(rb":1\)", b":%d)" % number, opened) for number in (2, 3)]
    batches = list(read_stream(io.BytesIO(opened + other + b"".join(next_ones)), batch_events=batch_events))
    assert [access.event.serial for batch in batches for access in batch.accesses] == [2, 3]
