"""Notices: log records about the audit system itself."""

from __future__ import annotations

import io

import pytest

from fimscan.audit import read_stream
from fimscan.model import AuditNotice, NoticeKind

AT = b"msg=audit(1795408513.814:4): "


@pytest.mark.parametrize(
    ("line", "kind", "key"),
    [
        (b"type=DAEMON_START " + AT + b"op=start ver=3.0.9 auid=0 res=success", NoticeKind.DAEMON_START, None),
        (b"type=DAEMON_END " + AT + b"op=terminate auid=0 pid=1 res=success", NoticeKind.DAEMON_END, None),
        (b"type=DAEMON_ABORT " + AT + b"op=start-failed res=failed", NoticeKind.DAEMON_END, None),
        (b"type=SYSTEM_BOOT " + AT + b"pid=1 uid=0 msg='comm=\"systemd-update-utmp\"'", NoticeKind.BOOT, None),
        (b"type=KERNEL " + AT + b"state=initialized audit_enabled=0 res=1", NoticeKind.BOOT, None),
        (b"audit: type=2000 audit(1.200:1): state=initialized audit_enabled=0 res=1", NoticeKind.BOOT, None),
        (
            b"type=CONFIG_CHANGE " + AT + b'auid=1 ses=1 op=add_rule key="fimx" list=4 res=1\x1dAUID="unset"',
            NoticeKind.RULE_ADDED,
            "fimx",
        ),
        (
            b"type=CONFIG_CHANGE " + AT + b"auid=1 op=remove_rule key=66696D0178 list=4 res=1",
            NoticeKind.RULE_REMOVED,
            "fim,x",
        ),
        (b"type=CONFIG_CHANGE " + AT + b'auid=1 op="remove rule" key="k" list=4 res=1', NoticeKind.RULE_REMOVED, "k"),
        (b"type=CONFIG_CHANGE " + AT + b"op=set audit_enabled=0 old=1 auid=1 res=1", NoticeKind.DISABLED, None),
        (b"type=CONFIG_CHANGE " + AT + b"op=set audit_enabled=2 old=0 auid=1 res=1", NoticeKind.ENABLED, None),
        (b"type=CONFIG_CHANGE " + AT + b"op=set audit_enabled=0 old=1 auid=1 res=0", None, None),
        (b"type=CONFIG_CHANGE " + AT + b"op=set audit_backlog_limit=8192 old=64 res=1", None, None),
        (b"type=DAEMON_START " + AT + b"op=start ver=3.0.9 res=failed", None, None),
        (b"type=USER_CMD " + AT + b'op=remove_rule key="x" res=1', None, None),
    ],
)
def test_every_change_of_coverage_gives_a_notice(line: bytes, kind: NoticeKind | None, key: str | None) -> None:
    """Starts, stops, rule changes and switching audit give a notice; failed attempts and other settings do not."""
    found = [notice for batch in read_stream(io.BytesIO(line + b"\n")) for notice in batch.notices]
    assert [(notice.kind, notice.key) for notice in found] == ([] if kind is None else [(kind, key)])


CALL = (
    b"arch=c000003e syscall=%b success=yes exit=0 a0=0 a1=0 a2=0 a3=0 items=%b ppid=6 pid=7 auid=1001 uid=%b gid=0"
    b' euid=0 suid=0 fsuid=0 egid=0 sgid=0 fsgid=0 tty=pts1 ses=3 comm="x" exe="/usr/sbin/x" key=%b\x1dAUID="eve"'
)


def noticed(*lines: bytes) -> list[AuditNotice]:
    text = b"".join(b"type=%b\n" % line.replace(b" ", b" " + AT, 1) for line in lines)
    return [notice for batch in read_stream(io.BytesIO(text)) for notice in batch.notices]


def test_the_actor_who_removed_a_rule_comes_from_the_call() -> None:
    """Without a SYSCALL record, only the login user in the record itself is known."""
    change = b'CONFIG_CHANGE auid=1001 ses=3 op=remove_rule key="k" list=4 res=1'
    (found,) = noticed(change, b"SYSCALL " + CALL % (b"44", b"0", b"0", b"(null)"))
    who = found.actor
    assert who is not None
    assert (who.pid, who.exe, who.auid, who.login_user, who.session) == (7, b"/usr/sbin/x", 1001, "eve", 3)
    (alone,) = noticed(change)
    assert alone.actor is not None
    assert (alone.actor.pid, alone.actor.auid, alone.actor.exe) == (0, 1001, None)


def test_rules_of_other_filter_lists_give_no_rule_notice() -> None:
    """A removed io_uring rule gives a notice of its own; rules of all other lists watch no files."""
    change = b'CONFIG_CHANGE auid=1 op=%b_rule key="k" list=%d res=1'
    assert [notice.kind for notice in noticed(change % (b"remove", 7))] == [NoticeKind.URING_RULE_REMOVED]
    assert noticed(change % (b"add", 7)) == noticed(change % (b"add", 5)) == noticed(change % (b"remove", 1)) == []
    assert [notice.kind for notice in noticed(b"CONFIG_CHANGE op=remove_rule key=(null) res=1")] == [
        NoticeKind.RULE_REMOVED
    ]


def test_an_io_uring_operation_without_a_path_gives_a_notice() -> None:
    """The notice has the process.

    An operation with PATH records, a failed one, or one that changes no file gives none.
    """
    operation = b'URINGOP uring_op=%d success=%b exit=0 items=%d ppid=6 pid=7 uid=1001 gid=0 euid=0 key="k"'
    (found,) = noticed(operation % (18, b"yes", 0))
    assert (found.kind, found.key) == (NoticeKind.UNNAMED_FILE, "k")
    assert found.actor is not None
    assert (found.actor.pid, found.actor.uid) == (7, 1001)
    for operation_number, success, items in ((18, b"yes", 1), (18, b"no", 0), (22, b"yes", 0)):
        assert noticed(operation % (operation_number, success, items)) == []


@pytest.mark.parametrize(
    ("arch", "mount", "ioctl"),
    [
        (b"c000003e", b"165", b"16"),
        (b"40000003", b"21", b"54"),
        (b"c00000b7", b"40", b"29"),
        (b"c0000015", b"21", b"54"),
        (b"80000016", b"21", b"54"),
        (b"c00000f3", b"40", b"29"),
        (b"x86_64", b"mount", b"ioctl"),
        (b'"c000003e"', b'"165"', b'"16"'),
    ],
)
def test_a_users_mount_or_block_move_gives_a_notice(arch: bytes, mount: bytes, ioctl: bytes) -> None:
    """On every architecture of servers, and in every format of the values. The same by root gives none."""
    for call, user, request, kinds in (
        (mount, b"1001", b"0", [NoticeKind.USER_MOUNT]),
        (b"432", b"1001", b"0", [NoticeKind.USER_MOUNT]),
        (ioctl, b"1001", b"c028660f", [NoticeKind.EXTENTS_MOVED]),
        (ioctl, b"1001", b"5401", []),
        (mount, b"0", b"0", []),
        (b"9", b"1001", b"0", []),
    ):
        text = (CALL % (call, b"0", user, b'"k"')).replace(b"c000003e", arch).replace(b"a1=0", b"a1=" + request)
        found = noticed(b"SYSCALL " + text, b"PROCTITLE proctitle=78")
        assert [(notice.kind, notice.key) for notice in found] == [(kind, "k") for kind in kinds]


def test_an_io_uring_rename_whose_record_has_no_names_gives_a_notice() -> None:
    """A worker thread's rename has PATH records with inodes and without names: which file it replaced is not known."""
    operation = b'URINGOP uring_op=35 success=yes exit=0 items=2 ppid=6 pid=7 uid=1001 gid=0 euid=0 key="k"'
    path = b"PATH item=%d name=%b inode=%d dev=fe:00 mode=%b ouid=0 ogid=0 rdev=00:00 nametype=%b"
    parent = path % (0, b"(null)", 5, b"040755", b"PARENT")
    (found,) = noticed(operation, parent, path % (1, b"(null)", 9, b"0100644", b"CREATE"))
    assert (found.kind, found.key) == (NoticeKind.UNNAMED_FILE, "k")
    assert noticed(operation, parent, path % (1, b'"/etc/a"', 9, b"0100644", b"CREATE")) == []


@pytest.mark.parametrize(
    ("fields", "who"),
    [
        (b"auid=1000 uid=0 ses=3 pid=7", (7, 1000, None)),
        # Without a login, the kernel writes the sender's uid as auid.
        (b"auid=0 uid=0 ses=4294967295 pid=7", (7, None, 0)),
        (b"auid=0 pid=7", (7, None, None)),
    ],
)
def test_who_stopped_auditd(fields: bytes, who: tuple[int | None, ...]) -> None:
    """The sender of the signal; uid= is that of auditd itself, and a login user is never made of a uid."""
    (found,) = noticed(b"DAEMON_END op=terminate " + fields + b" res=success")
    assert found.actor is not None and (found.actor.pid, found.actor.auid, found.actor.uid) == who
