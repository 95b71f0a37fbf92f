"""Following live sources: logs by their size, and audisp's socket across disconnects."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from fimscan import audit
from fimscan.model import FileAccess

EVENT = (
    "type=SYSCALL msg=audit(1700000000.{n:03d}:{n}): arch=c000003e syscall=87 success=yes exit=0 items=2 ppid=1 "
    'pid={n} auid=0 uid=0 euid=0 tty=(none) ses=1 comm="rm" exe="/bin/rm" key="k"\n'
    'type=CWD msg=audit(1700000000.{n:03d}:{n}): cwd="/"\n'
    'type=PATH msg=audit(1700000000.{n:03d}:{n}): item=0 name="/w" inode=2 dev=fe:00 mode=040755 nametype=PARENT\n'
    'type=PATH msg=audit(1700000000.{n:03d}:{n}): item=1 name="/w/{n}" inode={n} dev=fe:00 mode=0100644 '
    "nametype=DELETE\n"
    "type=PROCTITLE msg=audit(1700000000.{n:03d}:{n}): proctitle=726D\n"
    "type=EOE msg=audit(1700000000.{n:03d}:{n}): \n"
)


class Server:
    """The server's end of audisp's socket: one client at a time."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.listener.bind(str(path))
        self.listener.listen(1)
        self.client: socket.socket | None = None

    def accept(self) -> None:
        self.listener.settimeout(5)
        self.client, _ = self.listener.accept()

    def send(self, text: str) -> None:
        assert self.client is not None
        self.client.sendall(text.encode())

    def hang_up(self) -> None:
        if self.client is not None:
            self.client.close()
            self.client = None

    def close(self) -> None:
        self.hang_up()
        self.listener.close()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    made = Server(tmp_path / "events")
    yield made
    made.close()


def serials(batches: list[audit.AuditBatch]) -> list[int]:
    found: list[FileAccess] = [access for batch in batches for access in batch.accesses]
    return [access.event.serial for access in found]


def test_records_of_the_socket_are_events(server: Server) -> None:
    """Events are assembled from data that is split anywhere; half an event is reported as unfinished."""
    source = audit.EventSocket(os.fsencode(server.path))
    stream = audit.EventStream(source)
    source.connect()
    server.accept()
    text = EVENT.format(n=1) + EVENT.format(n=2)
    server.send(text[:100])
    assert source.wait(5)
    batches, fresh, settled = stream.read()
    assert (serials(batches), fresh, settled) == ([], True, False)
    server.send(text[100:])
    assert source.wait(5)
    batches, fresh, settled = stream.read()
    assert (serials(batches), fresh, settled) == ([1, 2], False, True)
    source.close()


def test_a_new_connection_is_reported_as_a_gap(server: Server) -> None:
    """After a restart of audispd, the records meanwhile are lost, and the next batch is marked as the first."""
    source = audit.EventSocket(os.fsencode(server.path), retry_s=0)
    stream = audit.EventStream(source)
    source.connect()
    server.accept()
    server.send(EVENT.format(n=1) + EVENT.format(n=2)[:150])
    server.hang_up()
    batches, fresh, _ = stream.read()
    assert (serials(batches), fresh, source.is_connected) == ([1], True, False)
    batches, fresh, settled = stream.read()  # this reconnects
    assert (serials(batches), fresh, settled, source.is_connected) == ([], True, True, True)
    server.accept()
    server.send(EVENT.format(n=3))
    assert source.wait(5)
    batches, fresh, settled = stream.read()
    assert (serials(batches), fresh, settled) == ([3], False, True)
    source.close()


def test_a_missing_server_is_no_error(tmp_path: Path) -> None:
    """If the plugin is not active, nothing arrives, and the connection is tried again later."""
    now = [0.0]
    source = audit.EventSocket(os.fsencode(tmp_path / "none"), retry_s=1, clock=lambda: now[0])
    assert source.receive() == b""
    assert not source.is_connected
    start = time.monotonic()
    assert not source.wait(0.05)
    assert time.monotonic() - start >= 0.05


def test_growth_of_a_log_is_reported_once(tmp_path: Path) -> None:
    """New lines, a rotation and a removal are each reported once."""
    log = tmp_path / "audit.log"
    watch = audit.LogWatch([os.fsencode(log)])
    assert not watch.grown()
    for change in (
        lambda: log.write_text("a"),
        lambda: log.write_text("ab"),
        lambda: (log.rename(tmp_path / "audit.log.1"), log.write_text("ab")),
        log.unlink,
    ):
        change()
        assert watch.grown()
        assert not watch.grown()
