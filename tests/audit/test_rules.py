"""The rules that we ask for: what is in them, and that the kernel takes them."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from fimscan.audit import observe, parse_all, parse_rules, rules_for, watched_by

TESTS_KEY = "fimscan-test-rules"


def loadable(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.startswith("-a ")]


def rule_lines(text: str) -> list[str]:
    """The rules for places; those for the whole host are left out."""
    return [line for line in loadable(text) if "uid!=0" not in line]


def test_our_rules_count_as_coverage_when_they_are_loaded() -> None:
    """What "audit rules" prints is what "audit status" calls covered, for both ABIs and for files too."""
    text = rules_for([(b"/etc", True), (b"/srv/app.conf", False)], "fimscan")
    rules, suppressed = parse_rules(text.encode(), lambda _: True)
    assert suppressed == ()
    full = {(rule.scope, rule.recursive, *rule.arches) for rule in rules if rule.writes and rule.attributes}
    assert full == {
        (b"/etc", True, "b64"),
        (b"/etc", True, "b32"),
        (b"/srv/app.conf", False, "b64"),
        (b"/srv/app.conf", False, "b32"),
    }


def test_a_rule_for_a_file_does_not_ask_for_success() -> None:
    """The kernel asks such a rule before a removal has succeeded, so one that asks for it does not cover the file."""
    text = rules_for([(b"/srv/app.conf", False), (b"/etc", True)], "k")
    assert ["success=1" in line for line in rule_lines(text)] == ["dir=" in line for line in rule_lines(text)]
    loaded = parse_all(text.replace("-F key=k", "-F success=1 -F key=k").encode(), lambda _: True)
    whole = [watched.scope for rule in loaded if (watched := watched_by(rule)) and watched.writes]
    assert whole == [b"/etc", b"/etc"]
    (wanted, *_) = parse_all(text.encode(), lambda _: False)[-10:]
    assert not any(rule.includes(wanted) for rule in loaded)


def test_what_is_absent_comes_last_and_is_said_to_be_so() -> None:
    """A refused rule keeps nothing out (-c), and those most likely to be refused come last."""
    text = rules_for([(b"/etc/x", False), (b"/srv/a", False), (b"/etc/ssh", True)], "k", absent=[b"/etc/x"])
    assert text.index("\n-c\n") < text.index("dir=/etc/ssh") < text.index("path=/srv/a") < text.index("path=/etc/x")
    assert "# /etc/x, which does not exist: these rules report its creation\n" in text


def test_nested_directories_are_not_ruled_twice() -> None:
    """A directory or file inside of another one is covered by that one's rules; a neighbour with its prefix is not."""
    text = rules_for([(b"/etc/ssh/", True), (b"/etc", True), (b"/etc/hosts", False), (b"/etc2", True)], "k")
    scopes = {rule.scope for rule in parse_rules(text.encode(), lambda _: True)[0]}
    assert scopes == {b"/etc", b"/etc2"}
    assert {r.scope for r in parse_rules(rules_for([(b"/", True), (b"/etc", True)], "k").encode(), bool)[0]} == {b"/"}


@pytest.mark.parametrize("path", [b"/srv/my files", b"/srv/\xff\xfe", b"/srv/a\nb", b"/srv/tab\there"])
def test_a_path_that_auditctl_cannot_take_is_named(path: bytes) -> None:
    """Such a path makes no broken rule, and no comment that breaks the file, but a line that says it is not covered."""
    text = rules_for([(path, True), (b"/etc", True)], "k")
    assert "# NOT COVERED: /srv/" in text
    assert {line for line in text.splitlines() if not line.startswith("#")} >= {"-c", *rule_lines(text)}
    assert all("/etc" in line and line.startswith("-a always,exit ") for line in rule_lines(text))
    text.encode("utf-8")


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Path]:
    if os.geteuid() or shutil.which("auditctl") is None or observe(0).error or observe(0).enabled == 2:
        pytest.skip("needs root, auditctl, and audit rules that can be changed")
    (tmp_path / "watched").mkdir()
    (tmp_path / "single").touch()
    yield tmp_path
    for line in loadable(text_for(tmp_path)):
        subprocess.run(["auditctl", *line.replace("-a ", "-d ", 1).split()], check=False, capture_output=True)


def text_for(directory: Path) -> str:
    paths = [(os.fsencode(directory / "watched"), True), (os.fsencode(directory / "single"), False)]
    return rules_for(paths, TESTS_KEY)


@pytest.mark.audit
def test_the_kernel_takes_every_rule(watched: Path) -> None:
    """auditctl loads the file without complaint, and then lists each of its rules."""
    file = watched / "50-fimscan.rules"
    file.write_text(text_for(watched))
    done = subprocess.run(["auditctl", "-R", str(file)], capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert "rror" not in done.stdout + done.stderr
    loaded = [rule for rule in observe(0).rules if rule.key == TESTS_KEY]
    assert len(loaded) == len(loadable(text_for(watched)))
    assert sum(rule.writes and rule.attributes for rule in loaded) == 4
