"""Findings of a machine on which packages were upgraded while somebody broke in."""

from __future__ import annotations

from typing import Any

import pytest

from fimscan.grouping import Facts, process_key
from fimscan.model import Actor, Change, ChangeKind, Diff, Finding, Lineage, Role
from tests.report.conftest import Make

DPKG = 4300
HOUR = -8000  # seconds before the time of Make: 02:21:53 on that day


@pytest.fixture(scope="session")
def make() -> Make:
    return Make()


def dpkg(make: Make, number: int, **other: Any) -> Actor:
    """The call of dpkg that put a file into place."""
    values: dict[str, Any] = {
        "exe": b"/usr/bin/dpkg",
        "comm": b"dpkg",
        "cmdline": (b"/usr/bin/dpkg", b"--status-fd", b"13", b"--unpack"),
        "pid": DPKG,
        "ppid": 4290,
        "session": 7,
        "login_user": "admin",
        "after_s": HOUR + number // 40,
    }
    return make.actor(Role.PLACER, **values | other)


def apt_lineage(make: Make) -> tuple[Actor, ...]:
    """The ancestors of dpkg, the parent first."""
    common: dict[str, Any] = {"role": None, "session": 7, "login_user": "admin", "after_s": HOUR - 20}
    return (
        make.actor(
            **common, exe=b"/usr/bin/apt-get", cmdline=(b"apt-get", b"upgrade"), comm=b"apt-get", pid=4290, ppid=4289
        ),
        make.actor(
            **common, exe=b"/usr/bin/sudo", cmdline=(b"sudo", b"apt-get", b"upgrade"), comm=b"sudo", pid=4289, ppid=4200
        ),
        make.actor(**common, exe=b"/usr/bin/bash", cmdline=(b"-bash",), comm=b"bash", pid=4200, ppid=4100, uid=1000),
        make.actor(
            role=None,
            exe=b"/usr/sbin/sshd",
            cmdline=(b"sshd:",),
            pid=4100,
            ppid=1,
            auid=None,
            session=None,
            after_s=-9000,
        ),
    )


def confirmed(make: Make, change: Change, *actors: Actor, **other: Any) -> Finding:
    """A finding of which the process is proven."""
    return make.finding(change, make.attribution(actors=actors), **{"severity": "high"} | other)


def package_file(make: Make, number: int) -> Finding:
    """A file that dpkg replaced; a fourth of them only got another inode, a third are programs."""
    path = b"/usr/share/doc/p%02d/f%04d" % (number % 12, number)
    states: dict[str, Any] = {"mode": 0o644}
    if number % 3 == 0:
        path, states = b"/usr/bin/tool%04d" % number, {"mode": 0o755}
    content = b"\x1f" if number % 4 == 0 else b"\x9a"
    changed = ("inode", "mtime", "ctime") if number % 4 == 0 else ("content", "inode", "mtime", "ctime")
    change = make.change(
        ChangeKind.ATTRIBUTES if number % 4 == 0 else ChangeKind.MODIFIED,
        path,
        before=make.state(path, **states),
        after=make.state(path, content, **states, inode=90_000 + number, mtime_ns=make.now),
        changed=changed,
        id=100 + number,
    )
    return confirmed(make, change, dpkg(make, number))


def eve(make: Make, pid: int, exe: bytes, *arguments: bytes, **other: Any) -> Actor:
    """A process of the intruder's session."""
    values: dict[str, Any] = {
        "exe": exe,
        "comm": exe.rpartition(b"/")[2],
        "cmdline": arguments,
        "pid": pid,
        "ppid": 5000,
        "auid": 1001,
        "login_user": "eve",
        "session": 9,
        "after_s": pid - 5000,
        "cwd": b"/tmp",
    }
    return make.actor(**values | other)


def intrusion(make: Make) -> list[Finding]:
    """A trojan, a setuid program, an account with uid 0 and its backup file."""
    who, find, passwd = b"/usr/bin/who", b"/usr/bin/find", b"/etc/passwd"
    return [
        confirmed(
            make,
            make.change(
                path=who,
                id=3001,
                before=make.state(who, mode=0o755),
                after=make.state(who, b"\x9a", mode=0o755, size=900),
            ),
            eve(make, 5001, b"/usr/bin/cp", b"cp", b"evil", b"/usr/bin/who"),
        ),
        confirmed(
            make,
            make.change(
                ChangeKind.ATTRIBUTES,
                find,
                id=3002,
                before=make.state(find, mode=0o755),
                after=make.state(find, mode=0o4755),
                changed=("mode", "ctime"),
            ),
            eve(
                make, 5002, b"/usr/bin/chmod", b"chmod", b"u+s", b"/usr/bin/find", role=Role.CHANGER, syscall="fchmodat"
            ),
        ),
        confirmed(
            make,
            make.change(path=passwd, id=3003),
            eve(make, 5003, b"/usr/sbin/useradd", b"useradd", b"-o", b"-u", b"0", b"toor"),
        ),
        confirmed(
            make,
            make.change(path=b"/etc/passwd-", id=3004),
            eve(make, 5003, b"/usr/sbin/useradd", b"useradd", b"-o", b"-u", b"0", b"toor"),
        ),
    ]


def machine(make: Make, files: int = 2000) -> Diff:
    """All of it, and a configuration file that alice edited."""
    edited = confirmed(make, make.change(path=b"/etc/motd", id=3005), make.actor(pid=6000, ppid=5900, after_s=60))
    return make.diff(*(package_file(make, number) for number in range(files)), *intrusion(make), edited)


def facts(make: Make) -> Facts:
    """What is known of dpkg's ancestors."""
    actor = dpkg(make, 0)
    return Facts(lineages={process_key(actor): Lineage(actor=actor, ancestors=apt_lineage(make))})
