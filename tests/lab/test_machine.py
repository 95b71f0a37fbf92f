"""A machine on which much happened at once: the first screen shows what somebody has to look at, and who did it."""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cli.screen import Running
from tests.lab.conftest import unavailable
from tests.lab.ground import Unavailable
from tests.lab.machine import ENVIRONMENT, Machine, machine

pytestmark = [pytest.mark.audit, pytest.mark.root]
PACKAGES = 12
RECORDED = 6  # of so many packages, manifests are recorded
GENERATED = "/etc/tool01.generated"


@pytest.fixture
def host(audit_log: str) -> Iterator[Machine]:
    """A machine with twelve packages, and its baseline."""
    try:
        with machine(audit_log) as made:
            made.run("dpkg", "-i", *map(str, packages(made, "1.0")))
            made.run("sh", "-c", "for day in 1 2 3; do echo started $day; done > /var/log/app/app.log")
            made.fimscan("scan", codes=(0,))
            yield made
    except Unavailable as reason:
        unavailable(str(reason))


def packages(host: Machine, version: str) -> list[Path]:
    return [package(host, number, version) for number in range(1, PACKAGES + 1)]


def program_of(number: int) -> str:
    return "/usr/games/" + {1: "who", 2: "find", 3: "pw"}.get(number, f"tool{number:02}")


def package(host: Machine, number: int, version: str) -> Path:
    """A package with a program, a configuration file and documentation; that of the third one is setuid.

    The first one has a maintainer script that writes a file, and gives it to a user by another program.
    """
    name, program = f"tool{number:02}", program_of(number)
    files = {
        program: f"#!/bin/sh\necho {program} {version}\n",
        f"/etc/{name}.conf": f"# {name} {version}\n" if number > 4 else f"# {name}\n",
        **{f"/usr/share/doc/{name}/part{part}": f"{name} {version} {part}\n" for part in range(8)},
    }
    scripts = {"postinst": f"echo replaced version $2 > {GENERATED}; chown games {GENERATED}"} if number == 1 else {}
    return host.debian.build(name, version, files, modes={program: 0o4755 if number == 3 else 0o755}, **scripts)


def upgrade(host: Machine) -> None:
    host.shell("dpkg -i " + " ".join(map(str, packages(host, "2.0"))))


def rows(host: Machine) -> dict[str, dict[str, Any]]:
    document = json.loads(host.fimscan("diff", "--format", "json"))
    return {row["path"]: row for row in document["changes"]}


def about(screen: str, path: str) -> str:
    """The lines about one path in the part that stands out, with single spaces."""
    lines = screen.splitlines()
    start = next(number for number, line in enumerate(lines) if line.endswith(f" {path}"))
    end = next((n for n in range(start + 1, len(lines)) if not lines[n].startswith("    ")), len(lines))
    return " ".join(" ".join(lines[start:end]).split())


def outstanding(screen: str) -> list[str]:
    """The paths of the rows that stand out, in order."""
    return re.findall(r"^(?:added|removed|modified|moved|attributes) .* (/\S+)$", screen, re.MULTILINE)


def test_the_first_screen_shows_what_to_look_at(host: Machine) -> None:
    """Trojan, setuid and the account with uid 0, each with who did it; the upgrade of twelve packages is one line."""
    upgrade(host)
    trojan = host.root / "trojan"
    trojan.write_text("#!/bin/sh\necho trojan\n")
    host.shell(f"cp {trojan} /usr/games/who")
    host.shell("chmod u+s /usr/games/find")
    host.shell("echo 'level = 2' >> /etc/tool04.conf")
    host.shell("useradd -M bob")
    host.shell("echo 'toor:x:0:0::/root:/bin/sh' >> /etc/passwd")
    host.shell("cd /var/log/app && mv app.log app.log.1 && echo started 4 > app.log")
    mail = host.fimscan("scan")
    for name, screen in {"mail": mail, "diff": host.fimscan("diff")}.items():
        assert len(screen.splitlines()) <= 24, f"{name}:\n{screen}"
        assert max(map(len, screen.splitlines())) <= 80, f"{name}:\n{screen}"
        assert outstanding(screen) == ["/usr/games/who", "/usr/games/find", "/etc/passwd"], f"{name}:\n{screen}"
        who = about(screen, "/usr/games/who")
        assert "not as tool01 2.0 shipped it (MD5: content), program changed contested: cp (pid " in who
        find = about(screen, "/usr/games/find")
        assert "setuid gained, mode 0755 -> 4755" in find and "chmod (pid " in find
        passwd = about(screen, "/etc/passwd")
        assert "account database contested: dash (pid " in passwd and "or useradd (pid " in passwd
        for line in (who, find, passwd):
            assert "games as root, " in line, "who is the login user"
        deed = r"^ *\d+ +11\d  dpkg -i .*, by games as root, .*; 12 packages as shipped \+1$"
        assert re.search(deed, screen, re.MULTILINE), f"{name}:\n{screen}"
        assert "fimscan review  # decide, set by set" in screen.splitlines()

    before = rows(host)
    keys, seconds = review(host)
    print(f"review: {len(before)} changes, {keys} keys, {seconds:.1f} s of computer time between them")
    assert seconds < 60
    left = {path: row["disposition"] for path, row in rows(host).items()}
    assert sorted(left) == ["/etc/passwd", "/usr/games/find", "/usr/games/who"], "all others are accepted"
    assert {(item["status"], item["category"], item["ticket"]) for item in left.values()} == {
        ("violation", "malware", "INC-9")
    }
    accepted = json.loads(host.fimscan("status", "--last", "999", "--format", "json", codes=(0,)))["accepted"]
    decided = {item["path"]: item for item in accepted if item["path"] is not None}
    assert before.keys() <= decided.keys(), "every change is decided"
    assert {item["ticket"] for path, item in decided.items() if path not in left} == {"CHG-17"}


def review(host: Machine) -> tuple[int, float]:
    """Decide about everything on a terminal: what stands out is a violation, the rest of each set is accepted.

    Return the number of keys and the seconds that a reviewer who types at once would need.
    """
    typed = 0
    begun = time.monotonic()
    with Running(host.entered("fimscan", "review"), 80, 24, **ENVIRONMENT) as running:
        running.wait("look at this")

        def press(keys: str, until: str | Callable[[list[str]], bool]) -> list[str]:
            nonlocal typed
            typed += len(keys)
            return running.press(keys, until)

        press("tINC-9\r", "ticket INC-9")
        while "look at this" in running.lines[0]:
            press("v", "m=malware")
            press("m", "marked as a violation (decision")
        press("tCHG-17\r", "ticket CHG-17")
        while "The end of the report." not in running.lines:
            place = running.lines[0]
            press("a", lambda lines: lines[0] != place and "accepted (decision" in lines[-2])  # noqa: B023
        assert "still open" not in " ".join(running.lines)
        os.write(running.terminal, b"q")
        running.end()
    assert running.code == 0
    return typed + 1, time.monotonic() - begun


def test_each_file_of_an_upgrade_has_its_proof(host: Machine) -> None:
    """SHA-256 where it was recorded before, else MD5; a file of a maintainer script is called so.

    One byte that is changed afterwards is first in the list.
    """
    host.fimscan("packages", "record", *map(str, packages(host, "2.0")[:RECORDED]), codes=(0,))
    host.shell(f"dpkg -i {host.debian.built}/*_2.0_all.deb")
    host.fimscan("scan")
    found = rows(host)
    generated = found.pop(GENERATED)
    assert generated["package"]["class"] == "unowned" and generated["package"]["facts"] == ["maintainer-script"]
    assert generated["package"]["scripts"] == ["tool01.postinst"]
    assert len(found) == PACKAGES * 9 + PACKAGES - 4
    for path, row in found.items():
        package = row["package"]
        number = int(package["name"].removeprefix("tool"))
        weaker = "conffile-md5" if path.startswith("/etc/") else "md5sums"
        expected = "recorded-sha256" if number <= RECORDED else weaker
        assert (package["class"], package["proof"]) == ("as-shipped", expected), path
        assert row["rank"]["level"] == "wave", (path, row["rank"])
        assert row["attribution"]["verdict"] == "confirmed"
    screen = host.fimscan("diff")
    assert "None of the 117 changes stands out by itself.\n" in screen
    assert re.search(r"^ 1 +117  dpkg -i .*; 12 packages as shipped \+1$", screen, re.MULTILINE)

    victim = "/usr/share/doc/tool09/part5"
    host.shell("echo x > /etc/fimscan-lab-other")
    host.shell("sleep 3")  # dpkg's log has whole seconds
    host.fimscan("scan")
    host.shell(f"printf X | dd of={victim} bs=1 count=1 conv=notrunc 2>/dev/null")
    host.fimscan("scan")
    screen = host.fimscan("diff")
    assert outstanding(screen) == [victim]
    assert "not as tool09 2.0 shipped it (MD5: content)" in about(screen, victim)
    assert "its package was not being installed" in about(screen, victim)
    assert "dd (pid " in about(screen, victim)

    kept = {victim, GENERATED, "/etc/fimscan-lab-other"}
    assert kept < rows(host).keys()
    host.fimscan("diff", codes=(5,))
    shown = json.loads(host.fimscan("diff", "--format", "json"))["shown"]
    host.fimscan("accept", "--package-as-shipped", "--shown", shown, "--ticket", "CHG-1", codes=(0,))
    assert rows(host).keys() == kept, "exactly what was not shipped is left"

    explained = json.loads(host.fimscan("explain", victim, "--format", "json", codes=(0,)))["change"]["package"]
    assert (explained["name"], explained["class"], explained["differs"]) == ("tool09", "not-as-shipped", ["content"])
    text = " ".join(host.fimscan("explain", victim, codes=(0,)).split())
    assert "package: not as shipped, tool09 2.0, content differs, MD5 in dpkg's database" in text
    assert "tool01.postinst" in host.fimscan("explain", GENERATED, codes=(0,))
    assert "no installed package owns it" in host.fimscan("explain", "/etc/fimscan-lab-other", codes=(0,))
