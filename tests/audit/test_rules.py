"""The rules that fimscan prints: their content, and whether the kernel accepts them."""

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
    """The rules for single places, without those for the whole host."""
    return [line for line in loadable(text) if "uid!=0" not in line]


def test_printed_rules_count_as_coverage_when_loaded() -> None:
    """ "audit status" reports the rules of "audit rules" as coverage, for both ABIs and for single files."""
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


def test_a_rule_for_a_file_has_no_success_condition() -> None:
    """The kernel evaluates such a rule before a removal has succeeded, so success=1 would hide the removal."""
    text = rules_for([(b"/srv/app.conf", False), (b"/etc", True)], "k")
    assert ["success=1" in line for line in rule_lines(text)] == ["dir=" in line for line in rule_lines(text)]
    loaded = parse_all(text.replace("-F key=k", "-F success=1 -F key=k").encode(), lambda _: True)
    whole = [watched.scope for rule in loaded if (watched := watched_by(rule)) and watched.writes]
    assert whole == [b"/etc", b"/etc"]
    (wanted, *_) = parse_all(text.encode(), lambda _: False)[-10:]
    assert not any(rule.includes(wanted) for rule in loaded)


def test_absent_places_come_last_with_a_comment() -> None:
    """With -c, a rejected rule stops no other; those most likely to be rejected come last anyway."""
    text = rules_for([(b"/etc/x", False), (b"/srv/a", False), (b"/etc/ssh", True)], "k", absent=[b"/etc/x"])
    assert text.index("\n-c\n") < text.index("dir=/etc/ssh") < text.index("path=/srv/a") < text.index("path=/etc/x")
    assert "# /etc/x, which does not exist: these rules report its creation\n" in text


def test_nested_directories_get_no_rules_of_their_own() -> None:
    """A directory's rules cover what is inside it, but not a neighbour whose name begins with its name."""
    text = rules_for([(b"/etc/ssh/", True), (b"/etc", True), (b"/etc/hosts", False), (b"/etc2", True)], "k")
    scopes = {rule.scope for rule in parse_rules(text.encode(), lambda _: True)[0]}
    assert scopes == {b"/etc", b"/etc2"}
    assert {r.scope for r in parse_rules(rules_for([(b"/", True), (b"/etc", True)], "k").encode(), bool)[0]} == {b"/"}


@pytest.mark.parametrize("path", [b"/srv/my files", b"/srv/\xff\xfe", b"/srv/a\nb", b"/srv/tab\there"])
def test_a_path_that_auditctl_rejects_is_named(path: bytes) -> None:
    """Such a path gives neither a broken rule nor a broken comment, but a line that says it is not covered."""
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
def test_the_kernel_accepts_every_rule(watched: Path) -> None:
    """auditctl loads the file without an error, and then lists each of its rules."""
    file = watched / "50-fimscan.rules"
    file.write_text(text_for(watched))
    done = subprocess.run(["auditctl", "-R", str(file)], capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert "rror" not in done.stdout + done.stderr
    loaded = [rule for rule in observe(0).rules if rule.key == TESTS_KEY]
    assert len(loaded) == len(loadable(text_for(watched)))
    assert sum(rule.writes and rule.attributes for rule in loaded) == 4
