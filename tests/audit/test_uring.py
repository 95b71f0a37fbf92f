"""io_uring operations: their process, where it is certain."""

from __future__ import annotations

import io
from collections.abc import Callable

import pytest

from fimscan.audit import accesses, read_stream
from fimscan.audit.uring import PROCESS
from fimscan.model import Action, Actor, FileAccess

Accesses = Callable[[bytes], list[FileAccess]]

FILE = b" name=(null) inode=5 dev=fe:00 mode=0100644 ouid=0 ogid=0 rdev=00:00 nametype=DELETE"


def lines(second: int, call: bytes, node: bytes = b"") -> bytes:
    stamp = b" msg=audit(%d.000:%d): " % (second, second)
    texts = (b"type=" + call.replace(b" AT ", stamp), b"type=PATH" + stamp + b"item=0" + FILE)
    return b"".join(node + text + b"\n" for text in texts)


def operation(second: int, *, pid: int = 2, ppid: int = 1) -> bytes:
    ids = b"ppid=%d pid=%d uid=0 gid=0 euid=0" % (ppid, pid)
    return lines(second, b"URINGOP AT uring_op=36 success=yes exit=0 items=1 %b key=(null)" % ids)


def call(second: int, *, exe: bytes = b"/bin/a", auid: int = 1000, ppid: int = 1, node: bytes = b"") -> bytes:
    return lines(
        second,
        b"SYSCALL AT arch=c000003e syscall=87 success=yes exit=0 a0=1 a1=1 a2=1 a3=0 items=1 ppid=%d pid=2 auid=%d"
        b' uid=0 euid=0 tty=pts1 ses=3 comm="a" exe="%b" key=(null)\x1dAUID="alice"' % (ppid, auid, exe),
        node,
    )


def of_operation(log: bytes) -> Actor:
    (found,) = (
        access.actor
        for batch in read_stream(io.BytesIO(log))
        for access in batch.accesses
        if access.actor.syscall == "unlinkat"
    )
    return found


def said(actor: Actor) -> tuple[bytes | None, bytes | None, int | None, str | None]:
    return actor.exe, actor.comm, actor.auid, actor.login_user


NOTHING = (None, None, None, None)


def test_an_operation_between_two_agreeing_events_has_their_process() -> None:
    """If both neighbours with its pid agree, it has their program, login user, session and terminal, in any order."""
    for log in (call(10) + operation(11) + call(12), operation(11) + call(12) + call(10)):
        actor = of_operation(log)
        assert said(actor) == (b"/bin/a", b"a", 1000, "alice")
        assert (actor.pid, actor.ppid, actor.uid, actor.session, actor.tty) == (2, 1, 0, 3, "pts1")


@pytest.mark.parametrize(
    "log",
    [
        call(10) + operation(11),
        operation(11) + call(12),
        call(10) + call(12) + operation(13),
        call(10, ppid=7) + operation(11) + call(12, ppid=7),
        call(10) + operation(11, pid=4) + call(12),
        call(10) + operation(71) + call(72),
        call(10) + operation(11) + call(12, node=b"node=other "),
        operation(11),
    ],
)
def test_one_neighbouring_event_is_not_enough(log: bytes) -> None:
    """An event only before, only after, long ago or on another host may be of another program: it is not used."""
    assert said(of_operation(log)) == NOTHING


def test_only_fields_equal_in_both_neighbours_are_taken() -> None:
    """If the process executed another program meanwhile, the program is unknown, but the login user is the same."""
    log = call(10) + operation(11) + call(12, exe=b"/bin/b")
    assert said(of_operation(log)) == (None, b"a", 1000, "alice")
    log = call(10) + operation(11) + call(12, auid=1001)
    assert of_operation(log).auid is None


def test_the_submitting_call_names_the_process() -> None:
    """An operation that runs at once has the record of io_uring_enter in its own event."""
    one = b"URINGOP AT uring_op=36 success=yes exit=0 items=1 ppid=1 pid=2 uid=0 gid=0 euid=0 key=(null)"
    submitted = call(11).splitlines(keepends=True)[0].replace(b"syscall=87", b"syscall=426")
    actor = of_operation(submitted.join(lines(11, one).splitlines(keepends=True)))
    assert said(actor) == (b"/bin/a", b"a", 1000, "alice")


def test_the_added_record_is_kept_with_the_event() -> None:
    """The events of a batch yield their accesses again, and name the events that the process was taken from."""
    (batch,) = read_stream(io.BytesIO(call(10) + operation(11) + call(12)))
    assert tuple(access for event in batch.events for access in accesses(event)) == batch.accesses
    (added,) = (record for event in batch.events for record in event.records if record.type == PROCESS)
    assert added.body.startswith(b"from=10.000:10,12.000:12 pid=2 ")


def test_a_socket_bound_through_io_uring_is_a_created_file(accesses_of: Accesses) -> None:
    """IORING_OP_BIND creates a file, as bind(2) does."""
    log = operation(11).replace(b"uring_op=36", b"uring_op=56").replace(b"DELETE", b"CREATE")
    (access,) = accesses_of(log)
    assert (access.action, access.actor.syscall) == (Action.MKNOD, "bind")


def test_an_open_with_unknown_flags_may_be_a_write(accesses_of: Accesses) -> None:
    """io_uring's records lack the flags of an open: it is neither ignored nor reported as a certain write."""
    log = operation(11).replace(b"uring_op=36", b"uring_op=18").replace(b"DELETE", b"NORMAL")
    (access,) = accesses_of(log)
    assert (access.action, access.flags_unknown, access.actor.flags) == (Action.OPEN_WRITE, True, ())
    assert accesses_of(log.replace(b"mode=0100644", b"mode=040755")) == []
    (removed,) = accesses_of(operation(11))
    assert not removed.flags_unknown
