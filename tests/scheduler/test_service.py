"""systemd is told what goes on, by sd_notify's protocol."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from fimscan.scheduler import ServiceManager


@pytest.mark.parametrize("is_abstract", [False, True])
def test_messages_reach_the_manager(tmp_path: Path, is_abstract: bool) -> None:
    """By a path, and by an abstract name as in a user's session."""
    address = f"@fimscan-test-{os.getpid()}" if is_abstract else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind("\0" + address[1:] if is_abstract else address)
        manager.settimeout(30)
        service = ServiceManager(address)
        service.ready("next scan\nsoon")
        assert manager.recv(4096) == b"READY=1\nSTATUS=next scan soon"
        service.status("next scan\nsoon")  # unchanged: not sent
        service.reloading()
        assert manager.recv(4096).startswith(b"RELOADING=1\nMONOTONIC_USEC=")
        service.stopping()
        assert manager.recv(4096) == b"STOPPING=1\nSTATUS=stopping"


def test_the_watchdog_hears_often_enough_and_not_more(tmp_path: Path) -> None:
    """Several times in each period, however often it is called."""
    now = 0.0
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.setblocking(False)
        service = ServiceManager(str(tmp_path / "notify"), watchdog_s=60.0, clock=lambda: now)
        for _ in range(240):
            service.alive()
            now += 0.25
        received = 0
        while True:
            try:
                assert manager.recv(4096) == b"WATCHDOG=1"
            except BlockingIOError:
                break
            received += 1
    assert received == 4


def test_the_environment_is_taken(tmp_path: Path) -> None:
    """Child processes do not get it; another process's watchdog is not ours; without a manager, nothing happens."""
    environ = {"NOTIFY_SOCKET": str(tmp_path / "none"), "WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}
    service = ServiceManager.from_environment(environ)
    assert service.watchdog_s == 30 and environ == {}
    service.ready("nobody listens")
    assert ServiceManager.from_environment({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}).watchdog_s is None
    ServiceManager.from_environment({}).alive()
