"""LOGIN records: who gave a process its login uid."""

from __future__ import annotations

import pytest

from fimscan.audit import Assembler, parse_line
from fimscan.audit.logins import logins, source_of
from fimscan.audit.processes import process_facts
from fimscan.model import AuditEvent, Crash, Login, LoginSource

STAMP = b"msg=audit(1700000000.123:77): "
SSHD = b"pid=700 uid=0 old-auid=4294967295 auid=1000 tty=(none) old-ses=4294967295 ses=3 res=1"
CALL = (
    b"arch=c000003e syscall=1 success=yes exit=4 a0=3 a1=1 a2=4 a3=0 items=0 ppid=1 pid=700 auid=1000 uid=0 gid=0"
    b' euid=0 suid=0 fsuid=0 egid=0 sgid=0 fsgid=0 tty=(none) ses=3 comm="x" exe=%b key=(null)'
)


def event(body: bytes, exe: bytes | None = None, kind: bytes = b"LOGIN") -> AuditEvent:
    lines = [b"type=" + kind + b" " + STAMP + body]
    if exe is not None:
        lines += [b"type=SYSCALL " + STAMP + CALL % exe, b"type=PROCTITLE " + STAMP + b'proctitle="x"']
    assembler = Assembler()
    found = [done for line in lines if (record := parse_line(line)) for done in assembler.add(record)]
    return (*found, *assembler.flush())[0]


def login(body: bytes, exe: bytes | None = None) -> Login:
    (found,) = logins(event(body, exe), {0: "root", 1000: "alice"}.get)
    return found


def test_a_login_is_read_with_who_set_it_and_from_what() -> None:
    """From the record of its own, and the program from that of the system call."""
    found = login(SSHD, b'"/usr/sbin/sshd"')
    assert (found.pid, found.uid, found.user) == (700, 0, "root")
    assert (found.old_auid, found.auid, found.name, found.session) == (None, 1000, "alice", 3)
    assert found.exe == b"/usr/sbin/sshd"
    assert source_of(found) is LoginSource.LOGIN_PROGRAM


def test_what_the_log_translates_counts_before_this_hosts_names() -> None:
    """Another host's uid 1000 is somebody else."""
    found = login(SSHD + b'\x1dUID="root" OLD-AUID="unset" AUID="bob"')
    assert (found.user, found.name) == ("root", "bob")


@pytest.mark.parametrize(
    ("body", "session"),
    [
        (b"login pid=700 uid=0 old auid=4294967295 new auid=1000 old ses=4294967295 new ses=3", 3),
        (b"pid=700 uid=0 subj=system_u:system_r:crond_t:s0 old-auid=4294967295 auid=1000 old-ses=5 ses=6 res=1", 6),
    ],
)
def test_older_kernels_write_it_otherwise(body: bytes, session: int) -> None:
    """The words "old" and "new" before 3.15 or so; and a record without the program of the call."""
    found = login(body)
    assert (found.old_auid, found.auid, found.session, found.exe) == (None, 1000, session, None)


@pytest.mark.parametrize(
    ("uid", "exe", "source"),
    [
        (b"0", b'"/usr/sbin/cron"', LoginSource.LOGIN_PROGRAM),
        (b"0", b'"/usr/lib/openssh/sshd-session"', LoginSource.LOGIN_PROGRAM),
        (b"0", b'"/usr/lib/systemd/systemd-executor"', LoginSource.LOGIN_PROGRAM),
        (b"0", b'"/usr/bin/dash"', LoginSource.ROOT),
        (b"0", b'"/tmp/sshd"', LoginSource.ROOT),
        (b"0", None, LoginSource.ROOT),
        (b"1003", b'"/usr/bin/dash"', LoginSource.USER),
        # In a mount namespace of one's own, a path can be any file's; and what is setuid root can be led on.
        (b"1003", b'"/usr/sbin/sshd"', LoginSource.USER),
    ],
)
def test_only_roots_login_programs_let_somebody_in(uid: bytes, exe: bytes | None, source: LoginSource) -> None:
    """Everybody else merely says who somebody is."""
    assert source_of(login(SSHD.replace(b"uid=0", b"uid=" + uid, 1), exe)) is source


@pytest.mark.parametrize(
    "found",
    [
        event(SSHD.replace(b"res=1", b"res=0")),  # refused
        event(SSHD.replace(b" auid=1000", b" auid=4294967295")),  # taken away
        event(b"pid=700 uid=0 auid=1000 ses=3 msg='op=login id=1000 res=success'", kind=b"USER_LOGIN"),
        event(b"pid=700 uid=0 auid=1000 ses=3 msg='type=LOGIN old-auid=1 res=success'", kind=b"USER_START"),
        event(SSHD[:30]),  # cut
    ],
)
def test_what_is_no_login_is_none(found: AuditEvent) -> None:
    """What a program says by itself (USER_...) is no record of the kernel's."""
    assert logins(found) == ()


def test_a_crash_is_read_with_its_process() -> None:
    """It has no system call, and comes alone, so nothing is waited for."""
    body = b'auid=1000 uid=0 gid=0 ses=3 pid=812 comm="my tool" exe="/usr/bin/tool" sig=11 res=1'
    record = parse_line(b"type=ANOM_ABEND " + STAMP + body)
    assert record is not None
    (alone,) = Assembler().add(record)
    (found,) = process_facts(alone)
    assert isinstance(found, Crash)
    assert (found.signal, found.actor.pid, found.actor.exe, found.actor.auid) == (11, 812, b"/usr/bin/tool", 1000)
    assert found.actor.syscall is None
