"""Facts of well-known files are true, and hold no secret."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fimscan.contents.facts import facts_of, reader_of
from fimscan.model import TextSign
from fimscan.report.text_words import fact_words


def words(path: str, before: str, after: str) -> list[str]:
    return [fact_words(fact) for fact in facts_of(path.encode(), before.encode(), after.encode())]


def signs(path: str, before: str, after: str) -> list[TextSign]:
    found = facts_of(path.encode(), before.encode(), after.encode())
    return [fact.sign for fact in found if fact.sign is not None]


ROOT = "root:x:0:0:root:/root:/bin/bash\n"
BOB = "bob:x:1000:1000:Bob:/home/bob:/bin/sh\n"


@pytest.mark.parametrize(
    ("before", "after", "told", "alarming"),
    [
        (ROOT, ROOT + "eve:x:0:0::/:/bin/sh\n", ["user eve added, uid 0"], [TextSign.SUPERUSER]),
        (ROOT, ROOT + "eve:x:00:0::/:/bin/sh\n", ["user eve added, uid 00"], [TextSign.SUPERUSER]),
        (ROOT, ROOT + "eve:x::0::/:/bin/sh\n", ["user eve added, uid "], [TextSign.SUPERUSER]),
        (ROOT, ROOT + "eve:x:4294967296:0::/:/bin/sh\n", ["user eve added, uid 4294967296"], [TextSign.SUPERUSER]),
        (ROOT, ROOT + "eve:x:0\n", ["user eve added, uid 0"], [TextSign.SUPERUSER]),
        (ROOT, ROOT + "+::::::\n", ["user + added, uid "], []),
        (ROOT, ROOT + BOB, ["user bob added, uid 1000"], []),
        (ROOT + BOB, ROOT, ["user bob removed"], []),
        (BOB, BOB.replace("1000:1000", "0:1000"), ["user bob: uid 1000 -> 0"], [TextSign.SUPERUSER]),
        (BOB, BOB.replace("/bin/sh", "/bin/bash"), ["user bob: shell /bin/sh -> /bin/bash"], []),
        (BOB, BOB.replace(":x:", "::"), ["user bob needs no password"], [TextSign.NO_PASSWORD]),
        (BOB, BOB.replace(":x:", ":ab1cdEfGhIjKl:"), ["user bob: password field changed"], []),
        (ROOT, ROOT + ROOT.replace("/bin/bash", "/bin/x"), ["user root added, uid 0"], [TextSign.SUPERUSER]),
        ("", ROOT + BOB, ["user bob added, uid 1000", "user root added, uid 0"], []),
        (ROOT, ROOT + "# a comment\n\n", [], []),
    ],
)
def test_accounts(before: str, after: str, told: list[str], alarming: list[TextSign]) -> None:
    """Accounts that came, went or changed; a uid of 0 in every spelling is one."""
    assert words("/etc/passwd", before, after) == told
    assert signs("/etc/passwd", before, after) == alarming


def test_groups() -> None:
    """Members, and groups that can become root."""
    before, after = "sudo:x:27:alice\nusers:x:100:\n", "sudo:x:27:eve\nusers:x:100:eve\nnew:x:5:\n"
    assert words("/etc/group", before, after) == [
        "eve added to group sudo",
        "group new added, gid 5",
        "alice removed from group sudo",
        "eve added to group users",
    ]
    assert signs("/etc/group", before, after) == [TextSign.ADMIN_GROUP]


@pytest.mark.parametrize(
    ("after", "told", "alarming"),
    [
        ("eve ALL=(ALL) NOPASSWD: ALL\n", ["sudo rule added: eve ALL=(ALL) NOPASSWD: ALL"], True),
        ("eve ALL = \\\n   NOPASSWD:ALL # why\n", ["sudo rule added: eve ALL = NOPASSWD:ALL"], True),
        ("Defaults !authenticate\n", ["sudo rule added: Defaults !authenticate"], True),
        ("eve ALL=(ALL) ALL\n", ["sudo rule added: eve ALL=(ALL) ALL"], False),
        ("#includedir /tmp/x\n", ["sudo rule added: #includedir /tmp/x"], False),
        ("#1000 ALL=(ALL) ALL\n", ["sudo rule added: #1000 ALL=(ALL) ALL"], False),
        ("# eve ALL=(ALL) NOPASSWD: ALL\n", [], False),
    ],
)
def test_sudo_rules(after: str, told: list[str], alarming: bool) -> None:
    """Comments and continued lines are understood."""
    assert words("/etc/sudoers.d/x", "", after) == told
    assert bool(signs("/etc/sudoers", "", after)) == alarming
    if told:
        assert words("/etc/sudoers", after, "") == [line.replace("added", "removed") for line in told]


def test_keys_are_told_by_their_fingerprint(tmp_path: Path) -> None:
    """As ssh-keygen prints it. Of options, only names are told."""
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "eve@host", "-f", tmp_path / "k"], check=True)
    key = (tmp_path / "k.pub").read_text()
    shown = subprocess.run(
        ["ssh-keygen", "-l", "-f", tmp_path / "k.pub"], check=True, capture_output=True, text=True
    ).stdout.split()[1]
    path = "/home/bob/.ssh/authorized_keys"
    assert words(path, "# none\n", key) == [f"key {shown} (ssh-ed25519 eve@host) added for bob"]
    assert words(path, key, "") == [f"key {shown} (ssh-ed25519 eve@host) removed for bob"]
    options = 'command="/bin/x --password=hunter2 ssh-rsa AAAA",no-pty,environment="A=\\"hunter2\\"" '
    (told,) = words(path, "", options + key)
    assert told.endswith("added for bob, options: command, no-pty, environment")
    assert "hunter2" not in told
    (other,) = words(path, key, options + key)
    assert "of bob has other options" in other


@pytest.mark.parametrize(
    ("path", "line", "told"),
    [
        ("/etc/crontab", "*/5 * * * * root /bin/curl -u a:hunter2 x", "job added: */5 * * * * as root: /bin/curl ..."),
        ("/etc/cron.d/x", "@reboot eve /tmp/x", "job added: @reboot as eve: /tmp/x"),
        ("/var/spool/cron/crontabs/eve", "0 1 * * * TOKEN=hunter2 /x", "job added: 0 1 * * * as eve: ..."),
        ("/var/spool/cron/eve", "PASSWORD=hunter2", "variable PASSWORD of jobs changed"),
    ],
)  # fmt: skip
def test_jobs(path: str, line: str, told: str) -> None:
    """Time, user and program; no argument and no value."""
    assert words(path, "# nothing\n", line + "\n") == [told]


@pytest.mark.parametrize(
    ("before", "after", "told", "alarming"),
    [
        ("PermitRootLogin no\n", "PermitRootLogin yes\n", ["PermitRootLogin no -> yes"], True),
        ("#PermitRootLogin no\n", "permitrootlogin=YES\n", ["permitrootlogin set to YES"], True),
        ("PermitRootLogin no\n", "PermitRootLogin no\nPermitRootLogin yes\n", [], False),  # the first one counts
        ("X11Forwarding yes\n", "", ["X11Forwarding yes removed"], False),
        ("Port 22\n", "Port 22\nPort 2222\n", ["Port 22 -> 22, 2222"], False),
        ("", "Match User eve\n  PermitRootLogin yes\n", ["PermitRootLogin set to yes (Match User eve)"], True),
        ("", "PermitEmptyPasswords yes\n", ["PermitEmptyPasswords set to yes"], True),
        ("SetEnv A=1\n", "SetEnv A=hunter2\n", ["SetEnv changed"], False),
    ],
)
def test_settings_of_sshd(before: str, after: str, told: list[str], alarming: bool) -> None:
    """As sshd reads them."""
    assert words("/etc/ssh/sshd_config", before, after) == told
    assert bool(signs("/etc/ssh/sshd_config.d/x.conf", before, after)) == alarming


PATHS = [
    *(
        "/etc/passwd",
        "/etc/group",
        "/etc/sudoers",
        "/root/.ssh/authorized_keys",
        "/etc/crontab",
        "/etc/ssh/sshd_config",
    ),
    *("/var/spool/cron/crontabs/x", "/etc/other"),
]


@given(st.sampled_from(PATHS), st.binary(max_size=300), st.binary(max_size=300))
def test_any_bytes_can_be_told(path: str, before: bytes, after: bytes) -> None:
    """No content breaks a reader, words are printable, and equal texts have no facts."""
    for fact in facts_of(path.encode(), before, after):
        assert fact_words(fact).isprintable()
    assert facts_of(path.encode(), before, before) == ()


def test_names_are_escaped() -> None:
    """An attacker chooses names."""
    (told,) = words("/etc/passwd", ROOT, ROOT + "e\x1b[2J\u202e:x:0:0::/:/bin/sh\n")
    assert told == "user e\\x1b[2J\\u202e added, uid 0"


@pytest.mark.parametrize(
    "path", [b"/etc/passwd-", b"/etc/passwd.bak", b"/x/passwd", b"/etc/cron.d/a/b", b"/etc/sudoers.d"]
)
def test_other_files_have_no_facts(path: bytes) -> None:
    """A copy is not the file."""
    assert reader_of(path) is None
    assert reader_of(b"/srv/root" + PATHS[0].encode()) is not None
