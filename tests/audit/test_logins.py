"""LOGIN records: which process set a login uid."""

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


def test_a_login_has_the_process_and_program_that_set_it() -> None:
    """The process comes from the LOGIN record, the program from the SYSCALL record."""
    found = login(SSHD, b'"/usr/sbin/sshd"')
    assert (found.pid, found.uid, found.user) == (700, 0, "root")
    assert (found.old_auid, found.auid, found.name, found.session) == (None, 1000, "alice", 3)
    assert found.exe == b"/usr/sbin/sshd"
    assert source_of(found) is LoginSource.LOGIN_PROGRAM


def test_names_in_the_log_override_this_hosts_names() -> None:
    """Uid 1000 of another host is another user."""
    found = login(SSHD + b'\x1dUID="root" OLD-AUID="unset" AUID="bob"')
    assert (found.user, found.name) == ("root", "bob")


@pytest.mark.parametrize(
    ("body", "session"),
    [
        (b"login pid=700 uid=0 old auid=4294967295 new auid=1000 old ses=4294967295 new ses=3", 3),
        (b"pid=700 uid=0 subj=system_u:system_r:crond_t:s0 old-auid=4294967295 auid=1000 old-ses=5 ses=6 res=1", 6),
    ],
)
def test_formats_of_older_kernels_are_read(body: bytes, session: int) -> None:
    """Before about 3.15 the record has "old" and "new"; it may also come without a SYSCALL record."""
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
        # In a user's own mount namespace, any file can be at a path; and a caller can influence a setuid root program.
        (b"1003", b'"/usr/sbin/sshd"', LoginSource.USER),
    ],
)
def test_only_roots_login_programs_count_as_a_login(uid: bytes, exe: bytes | None, source: LoginSource) -> None:
    """A login uid set by any other process is that process's claim."""
    assert source_of(login(SSHD.replace(b"uid=0", b"uid=" + uid, 1), exe)) is source


@pytest.mark.parametrize(
    "found",
    [
        event(SSHD.replace(b"res=1", b"res=0")),  # refused
        event(SSHD.replace(b" auid=1000", b" auid=4294967295")),  # unset
        event(b"pid=700 uid=0 auid=1000 ses=3 msg='op=login id=1000 res=success'", kind=b"USER_LOGIN"),
        event(b"pid=700 uid=0 auid=1000 ses=3 msg='type=LOGIN old-auid=1 res=success'", kind=b"USER_START"),
        event(SSHD[:30]),  # cut
    ],
)
def test_other_records_give_no_login(found: AuditEvent) -> None:
    """A record that a program writes itself (USER_...) does not come from the kernel."""
    assert logins(found) == ()


def test_a_crash_has_its_process() -> None:
    """A crash has no SYSCALL record and comes alone, so the assembler does not wait."""
    body = b'auid=1000 uid=0 gid=0 ses=3 pid=812 comm="my tool" exe="/usr/bin/tool" sig=11 res=1'
    record = parse_line(b"type=ANOM_ABEND " + STAMP + body)
    assert record is not None
    (alone,) = Assembler().add(record)
    (found,) = process_facts(alone)
    assert isinstance(found, Crash)
    assert (found.signal, found.actor.pid, found.actor.exe, found.actor.auid) == (11, 812, b"/usr/bin/tool", 1000)
    assert found.actor.syscall is None
