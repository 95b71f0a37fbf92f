"""Programs that were started, from the records of execve."""

from __future__ import annotations

from fimscan.audit import Assembler, line_of, parse_line, process_rules
from fimscan.audit.processes import execution
from fimscan.model import AuditEvent

STAMP = b"msg=audit(1700000000.123:77): "
CALL = (
    b"arch=c000003e syscall=59 success=%b exit=0 a0=1 a1=2 a2=3 a3=4 items=1 ppid=790 pid=810 auid=1000 uid=0 gid=0"
    b' euid=0 suid=0 fsuid=0 egid=0 sgid=0 fsgid=0 tty=pts4 ses=3 comm="sudo" exe="/usr/bin/sudo" key="k"'
)


def event(success: bytes = b"yes", *, capabilities: bool = False) -> AuditEvent:
    lines = [b"type=SYSCALL " + STAMP + CALL % success]
    if capabilities:
        lines.append(b"type=BPRM_FCAPS " + STAMP + b"fver=0 fp=0 fi=0 fe=0")
    lines += [
        b"type=EXECVE " + STAMP + b'argc=2 a0="sudo" a1="vim"',
        b"type=CWD " + STAMP + b'cwd="/etc"',
        b"type=PATH " + STAMP + b'item=0 name="/usr/bin/sudo" inode=5 dev=fe:00 mode=0104755 nametype=NORMAL',
        b"type=PROCTITLE " + STAMP + b"proctitle=7375646F0076696D",
    ]
    assembler = Assembler()
    found = [done for line in lines if (record := parse_line(line)) for done in assembler.add(record)]
    return found[0]


def test_a_started_program_has_its_whole_command_line() -> None:
    """From the EXECVE record, also where a record about capabilities precedes it."""
    for capabilities in (False, True):
        found = execution(event(capabilities=capabilities))
        assert found is not None
        assert (found.pid, found.ppid, found.exe) == (810, 790, b"/usr/bin/sudo")
        assert (found.cmdline, found.auid, found.session) == ((b"sudo", b"vim"), 1000, 3)


def test_a_failed_execve_gives_no_program() -> None:
    """The process still runs its old program."""
    assert execution(event(b"no")) is None


def test_a_record_is_written_as_its_original_line() -> None:
    """With its node, its translations and all bytes."""
    for line in (
        b'type=CWD msg=audit(1700000000.123:77): cwd="/etc"',
        b'node=web1 type=PATH msg=audit(1700000000.003:4294967295): item=0 name=C3A9\x1dOUID="root"',
    ):
        record = parse_line(line)
        assert record is not None
        assert line_of(record) == line


def test_process_rules_match_login_sessions_only() -> None:
    """Programs of services are left out, and coverage does not depend on the key of these rules."""
    rules = [line for line in process_rules("fimscan").splitlines() if line.startswith("-a")]
    assert len(rules) == 2
    assert all("auid!=unset" in rule and rule.endswith("key=fimscan-processes") for rule in rules)
