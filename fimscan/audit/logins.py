"""Parse the kernel's LOGIN records: which process set a login uid.

A process without a login uid may write any uid into ``/proc/self/loginuid``, without a capability. A process that has
one needs CAP_AUDIT_CONTROL (audit_set_loginuid_perm in kernel/audit.c). The kernel records both cases, whatever rules
are loaded (audit_log_set_loginuid): the process, and the login uid and session before and after. Where any rule is
loaded, recent kernels add the record of the write(2), which has the program (seen on 6.18).
"""

from __future__ import annotations

import re

from fimscan.audit.actors import UserName, actor
from fimscan.audit.parsed_call import ParsedCall
from fimscan.audit.records import fields, id_value, kernel_part, text_value
from fimscan.model import Actor, AuditEvent, AuditRecord, Login, LoginSource

# Kernels before about 3.15 wrote: "login pid=2288 uid=0 old auid=4294967295 new auid=500 old ses=4294967295 new ses=1".
_OLDER = re.compile(rb"\bold auid=(\d+) new auid=(\d+)(?: old ses=(\d+) new ses=(\d+))?")

# Programs that start login sessions and cron jobs, through PAM's pam_loginuid, by the paths of large distributions.
_DIRECTORIES = (
    *(b"/usr/sbin/", b"/usr/bin/", b"/usr/lib/", b"/usr/lib64/", b"/usr/libexec/", b"/usr/local/sbin/"),
    *(b"/sbin/", b"/bin/", b"/lib/", b"/lib64/"),
)
_LOGIN_PROGRAMS = frozenset(
    (
        *(b"sshd", b"sshd-session", b"dropbear", b"login", b"agetty", b"in.rlogind", b"in.rshd", b"telnetd"),
        *(b"cron", b"crond", b"atd", b"fcron", b"vsftpd", b"proftpd", b"pure-ftpd"),
        *(b"systemd", b"systemd-executor", b"cockpit-session", b"xrdp-sesman", b"greetd", b"slim"),
        *(b"gdm", b"gdm-session-worker", b"lightdm", b"sddm", b"sddm-helper", b"xdm", b"kdm", b"lxdm", b"lxdm-binary"),
    )
)


def logins(event: AuditEvent, user_name: UserName | None = None) -> tuple[Login, ...]:
    """The login uids that an event says were set; empty for nearly every event. Failed attempts are left out."""
    if b"\nLOGIN " not in event.text:
        return ()
    records = event.records
    calls = [record.body for record in records if record.type == "SYSCALL"]
    exe = text_value(fields(calls[0]).get(b"exe")) if len(calls) == 1 else None
    found = [_login(record, exe, user_name) for record in records if record.type == "LOGIN"]
    return tuple(login for login in found if login is not None)


def _login(record: AuditRecord, exe: bytes | None, user_name: UserName | None) -> Login | None:
    values = fields(kernel_part(record.body))
    if values.get(b"res") in (b"0", b"failed"):
        return None
    before, now, session = values.get(b"old-auid"), values.get(b"auid"), values.get(b"ses")
    who = process_of(record, user_name)
    if older := _OLDER.search(record.body):
        before, now, _, session = older.groups()
    auid, number = id_value(now), id_value(session)
    # Truncated; or the login uid was unset, which makes nobody the login user.
    if who is None or auid is None or number is None:
        return None
    name = who.login_user if who.auid == auid else None if user_name is None else user_name(auid)
    return Login(
        event=record.id,
        pid=who.pid,
        uid=who.uid,
        user=who.user,
        old_auid=id_value(before),
        auid=auid,
        name=name,
        session=number,
        exe=exe,
        record=record.body,
    )


def process_of(record: AuditRecord, user_name: UserName | None) -> Actor | None:
    """The process in a record that has no system call (LOGIN, ANOM_ABEND), parsed like the one in a SYSCALL record."""
    process = b" %b key=(null)" % record.body
    parsed = ParsedCall(record.id, b"", "", success=True, arguments=(), process=process, cwd=None, paths=(), title=None)
    who = actor(parsed, (), user_name)
    return None if who is None else who._replace(syscall=None)


def source_of(login: Login) -> LoginSource:
    """Classify the process that set a login uid: a user's, root's, or a known login program.

    The real uid decides: a caller can make a setuid root program write what the caller wants into a file that the
    caller opened.
    """
    if login.uid != 0:
        return LoginSource.USER
    exe = (login.exe or b"").removesuffix(b" (deleted)")
    is_known = exe.startswith(_DIRECTORIES) and exe.rpartition(b"/")[2] in _LOGIN_PROGRAMS
    return LoginSource.LOGIN_PROGRAM if is_known else LoginSource.ROOT
