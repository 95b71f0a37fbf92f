"""Build the :class:`Actor` of an event from its SYSCALL (or URINGOP), CWD, PROCTITLE and EXECVE records."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from fimscan.audit.hosts import is_own_host
from fimscan.audit.parsed_call import ParsedCall, about_process
from fimscan.audit.records import bare, fields, id_value, int_value, text_value
from fimscan.model import Actor

UserName = Callable[[int], str | None]
"""Looks up a user name by uid, for logs of this host that are not ENRICHED; ``None`` where the user does not exist."""


class _Process(NamedTuple):
    """The part of a call's record about its process; it is the same in every call that the process makes."""

    pid: int | None
    ppid: int | None
    exe: bytes | None
    comm: bytes | None
    auid: int | None
    login_user: str | None
    uid: int | None
    user: str | None
    euid: int | None
    session: int | None
    tty: str | None
    key: str | None


@lru_cache(maxsize=2048)
def _process(text: bytes, user_name: UserName | None) -> _Process:
    if b" key=" not in text:  # key= ends a whole record: without it, the line was truncated within some other field
        text = text.rpartition(b" ")[0]
    values = fields(text)
    tty = bare(values.get(b"tty"))
    key = text_value(values.get(b"key"))
    auid, uid = id_value(values.get(b"auid")), id_value(values.get(b"uid"))
    if b"AUID" in values or b"UID" in values:  # auditd looked the names up on the host of the record
        user_name = None
    return _Process(
        pid=int_value(values.get(b"pid")),
        ppid=int_value(values.get(b"ppid")),
        exe=text_value(values.get(b"exe")),
        comm=text_value(values.get(b"comm")),
        auid=auid,
        login_user=_user(values.get(b"AUID"), auid, user_name),
        uid=uid,
        user=_user(values.get(b"UID"), uid, user_name),
        euid=id_value(values.get(b"euid")),
        session=id_value(values.get(b"ses")),
        tty=None if tty in (b"", b"(none)", b"?") else tty.decode("utf-8", "backslashreplace"),
        key=None if key is None else key.replace(b"\x01", b",").decode("utf-8", "backslashreplace"),
    )


def _user(translation: bytes | None, number: int | None, user_name: UserName | None) -> str | None:
    """The name that auditd looked up; for a record that auditd did not translate, the one that ``user_name`` finds."""
    name = _translated(translation)
    return user_name(number) if name is None and number is not None and user_name is not None else name


def _completed(process: _Process, others: Sequence[bytes], user_name: UserName | None) -> _Process:
    """Complete the process of an io_uring operation, whose own record has only a pid and uids.

    The other fields come from another record of its event, if there is one. It is the record of the system call within
    which the operation ran, or the one that fimscan adds (see ``uring``).
    """
    for body in others:
        other = _process(about_process(body), user_name)
        if other.pid == process.pid:
            return process._replace(
                exe=other.exe,
                comm=other.comm,
                auid=other.auid,
                login_user=other.login_user,
                session=other.session,
                tty=other.tty,
            )
    return process


def _translated(raw: bytes | None) -> str | None:
    """A user name that auditd looked up; ``None`` where auditd found none (``unset``, ``unknown(1000)``)."""
    if not raw or (raw.startswith(b'"') and not (raw.endswith(b'"') and len(raw) > 2)):
        return None
    name = raw.strip(b'"').decode("utf-8", "backslashreplace")
    return None if name == "unset" or name.startswith("unknown") else name


def actor(parsed: ParsedCall, flags: tuple[str, ...], user_name: UserName | None) -> Actor | None:
    """The process that made a call, with the flags of the open; ``None`` where no record has the process id."""
    event = parsed.event
    if event.node and not is_own_host(event.node):
        user_name = None
    if parsed.others or parsed.words:
        process = _completed(_process(parsed.process, user_name), parsed.others, user_name)
        title, words = (None, _execve(parsed.words)) if parsed.words else (parsed.title, None)
        own, key = _own_fields(process, parsed.cwd, title, words)
    else:
        own, key = _fields_of_process(parsed.process, parsed.cwd, parsed.title, user_name)
    if own[0] is None:
        return None
    # All fields in order, through the tuple's constructor: the Actor's own takes nearly twice as long.
    rest = (parsed.call, flags, event.time_ns, event, key, *_SET_LATER)
    return tuple.__new__(Actor, own + rest)


_SET_LATER = (None, False, None, None, None)  # role, earlier, since_ns, login, view
_OwnFields = tuple[Any, ...]


@lru_cache(maxsize=4096)
def _fields_of_process(
    text: bytes, cwd: bytes | None, title: bytes | None, user_name: UserName | None
) -> tuple[_OwnFields, str | None]:
    """The fields that are the same in most calls of a process; cached, because parsing them takes most of the time."""
    return _own_fields(_process(text, user_name), cwd, title, None)


def _own_fields(
    process: _Process, cwd: bytes | None, title: bytes | None, words: tuple[bytes, ...] | None
) -> tuple[_OwnFields, str | None]:
    """(the fields of an :class:`Actor` from ``pid`` to ``tty``, its key)."""
    pid, ppid, exe, comm, auid, login_user, uid, user, euid, session, tty, key = process
    directory = None if cwd is None else text_value(fields(cwd).get(b"cwd"))
    cmdline = words if title is None else _proctitle(title, comm, exe)
    return (pid, ppid, exe, comm, cmdline, directory, auid, login_user, uid, user, euid, session, tty), key


def _is_title_of(title: bytes, comm: bytes | None, exe: bytes | None) -> bool:
    """Whether a process title can belong to the program that made the call.

    The kernel keeps a task's title from its first record on, also across execve (audit_log_proctitle in
    kernel/auditsc.c; seen on 6.18). ``exec tool > file`` in a shell therefore gives the tool's records the shell's
    title. A title that names neither the program's file nor its comm belongs to another program or was made up. Either
    way, it is not the command line. Names differ by version or flavour (python3, python3.11; vim, vim.basic), so
    prefixes match.
    """
    # A title that a program sets itself begins with its name: "nginx: master process".
    firsts = {word.lstrip(b"-").rpartition(b"/")[2] for word in (title, title.partition(b" ")[0].rstrip(b":"))} - {b""}
    names = [comm, exe and exe.removesuffix(b" (deleted)").rpartition(b"/")[2]]
    known = [name for name in names if name]
    # comm holds 15 bytes.
    pairs = ((first, name) for first in firsts for name in known)
    return not known or any(first.startswith(name) or name.startswith(first[:15]) for first, name in pairs)


@lru_cache(maxsize=2048)
def _proctitle(body: bytes, comm: bytes | None, exe: bytes | None) -> tuple[bytes, ...] | None:
    """The words of a PROCTITLE record, if they belong to this program; the kernel keeps the first 128 bytes."""
    raw = fields(body).get(b"proctitle", b"")
    title = text_value(raw)
    if title is None:
        return None
    words = (title,) if raw.startswith(b'"') else tuple(title.split(b"\0"))
    return words if _is_title_of(words[0], comm, exe) else None


_WORD = re.compile(rb'(?:^| )a(\d{1,7})(?:\[(\d{1,7})\])?=("[^"]*"|[0-9A-F]+)(?= |\x1d|\Z)')
_LENGTH = re.compile(rb"(?:^| )a(\d{1,7})_len=(\d{1,9})(?= |\x1d|\Z)")


def _execve(bodies: Sequence[bytes]) -> tuple[bytes, ...] | None:
    """The words of the EXECVE records of one call, up to the first word that is incomplete.

    A word that is too long for one record is split, ``a1_len=16384 a1[0]=.. a1[1]=..``, over several records. The
    length counts what is written, without quotes (audit_log_execve_info in kernel/auditsc.c).
    """
    pieces: dict[int, dict[int, bytes]] = {}
    lengths: dict[int, int] = {}
    for body in bodies:
        lengths |= {int(number): int(length) for number, length in _LENGTH.findall(body)}
        for number, piece, text in _WORD.findall(body):
            pieces.setdefault(int(number), {}).setdefault(int(piece or 0), text)
    words: list[bytes] = []
    while (own := pieces.get(len(words))) is not None:
        texts = [own.get(index, b"") for index in range(len(own))]
        whole = lengths.get(len(words))
        if whole is not None and sum(len(text.strip(b'"')) for text in texts) != whole:
            break
        parts = [text_value(text) for text in texts]
        if any(part is None for part in parts):
            break
        words.append(b"".join(part for part in parts if part))
    return tuple(words) or None
