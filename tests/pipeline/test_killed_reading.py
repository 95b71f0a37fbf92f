"""``kill -9`` while a growing, rotating log is read: no access is lost, and none is stored twice."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

from fimscan import audit
from fimscan.model import EventId, FileAccess
from fimscan.pipeline import AuditSource, read_audit
from fimscan.store import accesses as access_store
from fimscan.store import audit as audit_store
from fimscan.store.database import Database

KILLS = int(os.environ.get("FIMSCAN_KILLS", "6"))
READER = """
import os, sys
from fimscan import audit
from fimscan.audit import reader
from fimscan.model import AuditObservation
from fimscan.pipeline import AuditSource, read_audit
from fimscan.pipeline.audit import reading
from fimscan.store.database import Database

audit.observe = lambda now: AuditObservation(time_ns=now, boot_id="b", enabled=1, daemon_pid=1, lost=0)
reading._is_written_by = lambda _pid, _log: True
real = audit.read_log
audit.read_log = lambda *a, **k: real(*a, **k, batch_events=40)  # many transactions, with kills between them
database = Database("sqlite:///" + sys.argv[1], host="h")
print("ready", flush=True)
while True:
    read_audit(database, AuditSource(logs=(sys.argv[2],)))
"""


class Writer:
    """Writes a log as auditd does: records of different events interleave, and the log is rotated by renaming."""

    def __init__(self, log: Path) -> None:
        self.log = log
        self.random = random.Random(7)
        self.serial = 0
        self.copy = b""

    def append(self, events: int) -> None:
        lines: list[bytes] = []
        for _ in range(events):
            self.serial += 1
            stamp = f"audit({time.time():.3f}:{self.serial})"
            own = (
                f"type=SYSCALL msg={stamp}: arch=c000003e syscall=257 success=yes exit=3 a0=ffffff9c a1=1 a2=441 "
                f'a3=1b6 items=1 ppid=1 pid={self.serial} auid=1000 uid=0 euid=0 tty=pts0 ses=1 comm="t" '
                f'exe="/t" key="k"\n'
                f'type=CWD msg={stamp}: cwd="/"\n'
                f'type=PATH msg={stamp}: item=0 name="/w/{self.serial}" inode={self.serial} dev=fe:00 mode=0100644 '
                f"ouid=0 ogid=0 rdev=00:00 nametype=NORMAL\ntype=PROCTITLE msg={stamp}: proctitle=74\n"
            ).encode()
            at = max(len(lines) - self.random.randrange(4), 0)
            for line in own.splitlines(keepends=True):
                lines.insert(at, line)
                at = self.random.randint(at + 1, len(lines))
        data = b"".join(lines)
        self.copy += data
        cut = self.random.randrange(len(data))  # auditd writes whole lines, but a reader may see part of one
        with self.log.open("ab", buffering=0) as file:
            file.write(data[:cut])
            file.write(data[cut:])

    def rotate(self) -> None:
        for number in range(60, 0, -1):
            older = self.log.with_name(f"{self.log.name}.{number}")
            if older.exists():
                older.rename(self.log.with_name(f"{self.log.name}.{number + 1}"))
        self.log.rename(self.log.with_name(f"{self.log.name}.1"))
        self.log.touch()


def stored(database: Database) -> list[FileAccess]:
    with database.read() as session:
        found = list(access_store.references(session, 0, 2**62))
        return list(access_store.load(session, found))


def test_killed_while_reading(tmp_path: Path) -> None:
    """At the end the store has exactly the accesses of one reading of the whole log, and no gap."""
    log, file = tmp_path / "audit.log", tmp_path / "x.db"
    log.touch()
    writer = Writer(log)
    writer.append(50)
    database = Database(f"sqlite:///{file}", host="h")
    moments = random.Random(11)
    for kill in range(KILLS):
        reader = subprocess.Popen([sys.executable, "-c", READER, str(file), str(log)], stdout=subprocess.PIPE)
        assert reader.stdout is not None and reader.stdout.readline() == b"ready\n"
        until = time.monotonic() + moments.uniform(0, 0.25)
        while time.monotonic() < until:
            writer.append(moments.randint(1, 60))
            time.sleep(0.002)
        if kill % 3 == 0:
            writer.rotate()
        writer.append(20)
        reader.send_signal(signal.SIGKILL)
        reader.communicate()
    read_audit(database, AuditSource(logs=(str(log),)))
    whole = tmp_path / "whole.log"
    whole.write_bytes(writer.copy)
    expected = [access for batch in audit.read_log(os.fsencode(whole)) for access in batch.accesses]
    found = stored(database)
    assert len(expected) > KILLS * 20
    assert {a.event.serial for a in expected} == set(range(1, writer.serial + 1))
    assert sorted(found, key=key) == sorted(expected, key=key)
    with database.read() as session:
        extents = audit_store.extents(session, os.fsencode(log))
    database.close()
    assert len(extents) == 1
    assert extents[0].start_ns <= min(a.event.time_ns for a in expected)
    assert extents[0].end_ns >= max(a.event.time_ns for a in expected)


def key(access: FileAccess) -> tuple[EventId, int]:
    return access.event, access.item
