"""Find notices in the log: changes of the audit system itself, and calls whose records do not name the changed file."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from fimscan.audit.actors import UserName, actor
from fimscan.audit.interpreted import arches
from fimscan.audit.parsed_call import parse_execve
from fimscan.audit.records import bare, fields, id_value, int_value, text_value
from fimscan.audit.rule_generator import EXTENT_MOVES
from fimscan.audit.syscalls import URING_OPERATIONS
from fimscan.model import Actor, AuditEvent, AuditNotice, NoticeKind

# Kernels before 3.16 wrote op="add rule", newer ones op=add_rule (audit_receive_msg in kernel/audit*.c).
_RULE = re.compile(rb'\bop="?(add|remove)[ _]rule\b')
_INITIALIZED = re.compile(rb"(?:state=)?initialized\b")
_ENABLED = re.compile(rb"\baudit_enabled=(\d)")

# The filter lists of linux/audit.h: coverage depends on the rules for system calls and for io_uring.
_SYSTEM_CALLS, _IO_URING = b"4", b"7"
# The numbers of mount and ioctl by arch= (from the kernel's system call tables).
_MOUNT_AND_IOCTL = {
    b"c000003e": (b"165", b"16"),  # x86_64
    **dict.fromkeys((b"c00000b7", b"c00000f3", b"c0000102"), (b"40", b"29")),  # aarch64, riscv64, loongarch64
    # i386, arm, ppc64, ppc64le, s390x
    **dict.fromkeys((b"40000003", b"40000028", b"80000015", b"c0000015", b"80000016"), (b"21", b"54")),
}
_FSMOUNT = b"432"  # the same on all of them
_CALLS = {_FSMOUNT, b"mount", b"fsmount", b"ioctl"}.union(*_MOUNT_AND_IOCTL.values())
_REQUEST = 0xFFFF  # mask for the type and number of an ioctl(2) request
_MOVES = frozenset(move & _REQUEST for move in EXTENT_MOVES.values())


def notice(event: AuditEvent, user_name: UserName | None = None) -> AuditNotice | None:
    """The event as a notice, if coverage depends on it; ``None`` for every other event.

    Failed attempts are left out.
    """
    if not _CANDIDATE.search(event.text):  # the usual case
        return None
    for line in event.text.split(b"\n")[1:]:
        record_type, _, body = line.partition(b" ")
        reader = _READERS.get(record_type)
        found = _uring(event, body) if record_type == b"URINGOP" else reader(body) if reader is not None else None
        if found is not None:
            kind, key = found
            return AuditNotice(event=event.id, kind=kind, key=key, actor=_actor(event, body, kind, user_name))
    return None


_Found = tuple[NoticeKind, str | None]
_WITH_ACTOR = frozenset(
    {
        NoticeKind.RULE_REMOVED,
        NoticeKind.URING_RULE_REMOVED,
        NoticeKind.DISABLED,
        NoticeKind.DAEMON_END,  # the sender of the signal (AUDIT_SIGNAL_INFO)
        NoticeKind.UNNAMED_FILE,
        NoticeKind.EXTENTS_MOVED,
        NoticeKind.USER_MOUNT,
    }
)


def _actor(event: AuditEvent, body: bytes, kind: NoticeKind, user_name: UserName | None) -> Actor | None:
    """The actor behind a notice: from the event's system call if there is one, else from the record's own fields.

    A record without a system call mostly has only the login user and the session.
    """
    if kind not in _WITH_ACTOR:
        return None
    call = next((other for other in event.records if other.type == "SYSCALL"), None)
    if call is not None and (found := actor(parse_execve(event, call), (), user_name)) is not None:
        return found._replace(syscall=None)
    values = fields(body)
    auid = id_value(values.get(b"auid"))
    if b"pid" not in values and auid is None:
        return None
    uid = id_value(values.get(b"uid"))
    if kind is NoticeKind.DAEMON_END:
        # uid= is auditd's. auid= is the sender's login user or, if it has none, its uid (audit_signal_info in
        # kernel/auditsc.c); only a sender with a login has a session.
        has_login = id_value(values.get(b"ses")) is not None
        auid, uid = (auid, None) if has_login else (None, auid if b"ses" in values else None)
    return Actor(
        pid=int_value(values.get(b"pid")) or 0,
        auid=auid,
        login_user=None if auid is None or user_name is None else user_name(auid),
        uid=uid,
        user=None if uid is None or user_name is None else user_name(uid),
        session=id_value(values.get(b"ses")),
        time_ns=event.id.time_ns,
        event=event.id,
    )


def _daemon_start(body: bytes) -> _Found | None:
    return None if fields(body).get(b"res") == b"failed" else (NoticeKind.DAEMON_START, None)


def _config_change(body: bytes) -> _Found | None:
    values = fields(body)
    if values.get(b"res") == b"0":
        return None
    if rule := _RULE.search(body):
        kind = _rule_change(values.get(b"list", _SYSTEM_CALLS), is_added=rule[1] == b"add")
        return None if kind is None else (kind, _key(values.get(b"key")))
    if enabled := _ENABLED.search(body):
        return NoticeKind.DISABLED if enabled[1] == b"0" else NoticeKind.ENABLED, None
    return None


def _rule_change(filter_list: bytes, *, is_added: bool) -> NoticeKind | None:
    """The kind of a changed rule. Rules of other filter lists watch no files.

    An added io_uring rule gives no notice: it says nothing about the other rules of its key.
    """
    if filter_list == _IO_URING:
        return None if is_added else NoticeKind.URING_RULE_REMOVED
    if filter_list == _SYSTEM_CALLS:
        return NoticeKind.RULE_ADDED if is_added else NoticeKind.RULE_REMOVED
    return None


def _key(raw: bytes | None) -> str | None:
    key = text_value(raw)
    return None if key is None else key.replace(b"\x01", b",").decode("utf-8", "backslashreplace")


def _kernel(body: bytes) -> _Found | None:
    """Boot: ``initialized`` before Linux 4.2, ``state=initialized`` since (audit_init in kernel/audit.c)."""
    return (NoticeKind.BOOT, None) if _INITIALIZED.match(body) else None


def _uring(event: AuditEvent, body: bytes) -> _Found | None:
    """An io_uring operation of a worker thread whose event does not name the file (seen on 6.18).

    An operation on a file that exists has no PATH record: items=0. A rename, a link or a removal has PATH records with
    inodes and without names.
    """
    if not _NO_ITEMS.search(body) and not _NAMELESS.search(event.text):  # the usual case
        return None
    values = fields(body)
    if bare(values.get(b"success")) != b"yes" or int_value(values.get(b"uring_op")) not in URING_OPERATIONS:
        return None
    return NoticeKind.UNNAMED_FILE, _key(values.get(b"key"))


_NO_ITEMS = re.compile(rb'\bitems="?0\b')
# A directory that is only the PARENT of a name has none of its own.
_NAMELESS = re.compile(rb"\nPATH [^\n]*\bname=\(null\) [^\n]*\bnametype=(?!PARENT\b)")


def _by_user(body: bytes) -> _Found | None:
    """A mount, or a move of blocks between files, by a user other than root.

    Such a user can mount only in a user namespace of their own. ``uid`` is that of the initial namespace.
    """
    written = fields(body)
    values = {name: bare(value) for name, value in written.items()}
    if values.get(b"success") != b"yes" or values.get(b"uid") in (b"0", b"root"):
        return None
    arch, call = values.get(b"arch", b""), values.get(b"syscall")
    mount, ioctl = _MOUNT_AND_IOCTL.get(arches().get(arch, arch), (b"mount", b"ioctl"))
    request = int_value(values.get(b"a1"), 16)
    if call in (mount, _FSMOUNT, b"mount", b"fsmount"):
        return NoticeKind.USER_MOUNT, _key(written.get(b"key"))
    if call in (ioctl, b"ioctl") and request is not None and request & _REQUEST in _MOVES:
        return NoticeKind.EXTENTS_MOVED, _key(written.get(b"key"))
    return None


_READERS: Mapping[bytes, Callable[[bytes], _Found | None]] = {
    b"DAEMON_START": _daemon_start,
    b"DAEMON_END": lambda _: (NoticeKind.DAEMON_END, None),
    b"DAEMON_ABORT": lambda _: (NoticeKind.DAEMON_END, None),
    b"DAEMON_RESUME": lambda _: (NoticeKind.RESUMED, None),
    b"CONFIG_CHANGE": _config_change,
    b"SYSTEM_BOOT": lambda _: (NoticeKind.BOOT, None),
    b"KERNEL": _kernel,
    b"SYSCALL": _by_user,
}
_CANDIDATE = re.compile(
    rb"\n(?:(?:DAEMON_START|DAEMON_END|DAEMON_ABORT|DAEMON_RESUME|CONFIG_CHANGE|SYSTEM_BOOT|KERNEL|URINGOP) "
    rb"|SYSCALL arch=\"?\w+\"? syscall=\"?(?:" + b"|".join(sorted(_CALLS)) + rb")\"? )"
)
