"""Audit was not watching, so nobody can be named, or not with certainty. Each scenario expects its own reason.

Each scenario disturbs the audit system, so it runs alone between two scans.
"""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from demo import auditd
from tests.lab.bench import Lab
from tests.lab.ground import Unavailable, forget_log
from tests.lab.noise import noise
from tests.lab.scenario import Steps, alone


@alone()
def no_rules_at_all(lab: Lab) -> Steps:
    lab.file("f")
    auditd.remove_rules(lab.rules)
    yield
    writer = lab.shell("echo other > f")
    lab.modified("f", verdict="unattributed", reason="not-covered", gap="no-rule", by=writer)


@alone()
def our_rules_removed(lab: Lab) -> Steps:
    lab.file("f")
    lab.file("before")
    yield
    early = lab.shell("echo other > before")
    auditd.remove_rules(lab.rules)
    late = lab.shell("echo other > f")
    lab.modified("f", verdict="unattributed", reason="coverage-gap", gap="rule-removed", by=late)
    lab.modified("before", verdict="likely", reason="coverage-gap", gap="rule-removed", writer=early)


@alone()
def our_rules_removed_for_a_while(lab: Lab) -> Steps:
    lab.file("f")
    lab.file("after")
    yield
    auditd.remove_rules(lab.rules)
    hidden = lab.shell("echo other > f")
    time.sleep(0.1)
    auditd.load_rules("\n".join(lab.rules))
    seen = lab.shell("echo other > after")
    lab.modified("f", verdict="unattributed", reason="coverage-gap", gap="rule-removed", by=hidden)
    lab.modified("after", verdict="likely", reason="coverage-gap", gap="rule-removed", writer=seen)


@alone()
def rules_loaded_after_the_baseline(lab: Lab) -> Steps:
    lab.file("f")
    lab.file("after")
    auditd.remove_rules(lab.rules)
    yield
    hidden = lab.shell("echo other > f")
    time.sleep(0.1)
    auditd.load_rules("\n".join(lab.rules))
    seen = lab.shell("echo other > after")
    lab.modified("f", verdict="unattributed", reason="coverage-gap", gap="no-rule", by=hidden)
    lab.modified("after", verdict="likely", reason="coverage-gap", gap="no-rule", writer=seen)


@alone()
def rules_of_another_key(lab: Lab) -> Steps:
    """A rule loaded before fimscan's reports the event under its own key. The event names the same file."""
    lab.file("f")
    auditd.remove_rules(lab.rules)
    theirs = f"-a always,exit -F arch=b64 -F dir={lab.here.parent} -F perm=wa -F key=somebody-else"
    lab.rules += auditd.load_rules("\n".join([theirs, *lab.rules]))[:1]
    yield
    writer = lab.shell("echo other > f")
    lab.modified("f", writer=writer, facts={"key": "somebody-else"})


@alone()
def a_rule_that_takes_events_away(lab: Lab) -> Steps:
    lab.file("f")
    auditd.remove_rules(lab.rules)
    never = f"-a never,exit -F arch=b64 -F dir={lab.here} -F perm=wa"
    lab.rules += auditd.load_rules("\n".join([never, *lab.rules]))[:1]
    yield
    writer = lab.shell("echo other > f")
    lab.modified("f", verdict="unattributed", reason="coverage-gap", gap="no-rule", by=writer)


@alone()
def audit_switched_off(lab: Lab) -> Steps:
    lab.file("f")
    lab.file("after")
    yield
    lab.auditctl("-e", "0")
    try:
        hidden = lab.shell("echo other > f")
    finally:
        time.sleep(0.1)
        lab.auditctl("-e", "1")
    seen = lab.shell("echo other > after")
    lab.modified("f", verdict="unattributed", reason="coverage-gap", gap="audit-disabled", by=hidden)
    lab.modified("after", verdict="likely", reason="coverage-gap", gap="audit-disabled", writer=seen)


@alone()
def opened_by_one_then_written_while_audit_was_off(lab: Lab) -> Steps:
    """The only recorded process wrote nothing; the last write happened in the gap. Nobody may be accused."""
    lab.file("f")
    yield
    lab.shell(": >> f")
    time.sleep(0.1)
    lab.auditctl("-e", "0")
    try:
        hidden = lab.shell("echo other > f")
    finally:
        time.sleep(0.1)
        lab.auditctl("-e", "1")
    lab.modified("f", verdict="unattributed", reason="coverage-gap", gap="audit-disabled", by=hidden)


@alone()
def daemon_stopped(lab: Lab) -> Steps:
    lab.needs_own_daemon()
    lab.file("f")
    lab.file("after")
    yield
    lab.daemon.stop()
    try:
        hidden = lab.shell("echo other > f")
    finally:
        time.sleep(0.1)
        lab.daemon.start()
    seen = lab.shell("echo other > after")
    lab.modified("f", verdict="unattributed", reason="coverage-gap", gap="daemon-stopped", by=hidden)
    lab.modified("after", verdict="likely", reason="coverage-gap", gap="daemon-stopped", writer=seen)


@alone()
def daemon_killed(lab: Lab) -> Steps:
    """auditd was killed, so the log has no record of its end."""
    lab.needs_own_daemon()
    lab.file("f")
    yield
    pid = auditd.daemon_pid()
    os.kill(pid, signal.SIGKILL)
    while os.path.exists(f"/proc/{pid}"):
        time.sleep(0.02)
    try:
        hidden = lab.shell("echo other > f")
    finally:
        time.sleep(0.1)
        lab.daemon.start()
    lab.modified("f", verdict="unattributed", reason="coverage-gap", gap="daemon-stopped", by=hidden)


@alone()
def log_rotated_away_unread(lab: Lab) -> Steps:
    lab.needs_own_daemon()
    lab.file("f")
    lab.file("after")
    yield
    hidden = lab.shell("echo other > f")
    time.sleep(0.2)
    forget_log(lab.daemon)
    seen = lab.shell("echo other > after")
    lab.modified("f", verdict="unattributed", reason="coverage-gap", gap="log-missing", by=hidden)
    lab.modified("after", verdict="likely", reason="coverage-gap", gap="log-missing", writer=seen)


@alone()
def events_lost(lab: Lab) -> Steps:
    """auditd is too slow and the kernel's queue is full. With backlog_wait_time 0, the kernel drops events."""
    lab.needs_own_daemon()
    lab.file("f")
    pid = auditd.daemon_pid()
    status = auditd.auditctl("-s").stdout.split()
    limit, patience = (status[status.index(word) + 1] for word in ("backlog_limit", "backlog_wait_time"))
    yield
    os.kill(pid, signal.SIGSTOP)
    try:
        lab.auditctl("-b", "16")
        lab.auditctl("--backlog_wait_time", "0")
        with noise([lab.here], rate=20_000):
            time.sleep(1.5)
            hidden = lab.shell("echo other > f")
    finally:
        os.kill(pid, signal.SIGCONT)
        lab.auditctl("--backlog_wait_time", patience)
        lab.auditctl("-b", limit)
    lab.modified("f", verdict="unattributed", reason="coverage-gap", gap="events-lost", by=hidden)


@alone()
def through_io_uring(lab: Lab) -> Steps:
    """auditctl 3.0 cannot make a rule for io_uring, so fimscan loads one itself."""
    lab.file("f")
    yield
    lab.modified("f", writer=lab.python(_IO_URING))


@alone(config="[scan]\ncross_mounts = true\n")
def file_system_mounted_after_the_rules(lab: Lab) -> Steps:
    """A rule for a directory does not cover what is mounted below it later."""
    inside = lab.here / "mounted"
    with lab.mounted("-t", "tmpfs", "none", at=inside):
        (inside / "f").write_text("old\n")
        yield
        writer = lab.shell("echo other > mounted/f")
        lab.modified("mounted/f", verdict="unattributed", reason="not-covered", by=writer)
        yield  # still mounted at the second scan


@alone()
def process_older_than_audit(lab: Lab) -> Steps:
    """A process started before audit was first enabled has no audit context: none of its calls is recorded."""
    lab.file("f")
    lab.early.write(lab.here / "probe")
    time.sleep(0.3)
    if f" pid={lab.early.who.pid} ".encode() in Path(lab.daemon.log).read_bytes():
        raise Unavailable("audit was enabled before this lab began, so that every process of it is seen")
    yield
    lab.early.write(lab.here / "f")
    lab.modified("f", verdict="unattributed", reason="no-event", by=lab.early.who)


_IO_URING = """
import mmap, struct
SETUP, ENTER = 425, 426
OPENAT, WRITE = 18, 23
parameters = ctypes.create_string_buffer(120)
ring = call(SETUP, 4, parameters)
fields = struct.unpack("10I", parameters.raw[:40])
sq = struct.unpack("10I", parameters.raw[40:80])  # head tail mask entries flags dropped array resv1 ...
cq = struct.unpack("10I", parameters.raw[80:120])  # head tail mask entries overflow cqes ...
queue = mmap.mmap(ring, sq[6] + fields[0] * 4, offset=0)
done = mmap.mmap(ring, cq[5] + fields[1] * 16, offset=0x8000000)
entries = mmap.mmap(ring, fields[0] * 64, offset=0x10000000)

def submit(operation, fd, address, length, flags=0, offset=0):
    tail = struct.unpack_from("I", queue, sq[1])[0]
    index = tail & struct.unpack_from("I", queue, sq[2])[0]
    entry = struct.pack("=BBHiQQII", operation, 0, 0, fd, offset, address, length, flags)
    entries[index * 64 : index * 64 + 64] = entry.ljust(64, b"\\0")
    struct.pack_into("I", queue, sq[6] + 4 * index, index)
    struct.pack_into("I", queue, sq[1], tail + 1)
    call(ENTER, ring, 1, 1, 1, None, 0)
    head = struct.unpack_from("I", done, cq[0])[0]
    at = cq[5] + 16 * (head & struct.unpack_from("I", done, cq[2])[0])
    result = struct.unpack_from("=Qi", done, at)[1]
    struct.pack_into("I", done, cq[0], head + 1)
    assert result >= 0, os.strerror(-result)
    return result

name = ctypes.create_string_buffer(b"f")
text = ctypes.create_string_buffer(b"through a ring")
file = submit(OPENAT, -100, ctypes.addressof(name), 0, os.O_WRONLY)
submit(WRITE, file, ctypes.addressof(text), 14)
"""
