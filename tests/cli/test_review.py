"""``fimscan review`` in a real terminal: what is on the screen, and what is stored."""

from __future__ import annotations

import json
import os
import re
import signal
import termios
from typing import Any

import pytest

from tests.cli.screen import Running
from tests.conftest import Cli, rows

EVIL = "evil\x1b[31m\u202e.conf"


@pytest.fixture
def changed(cli: Cli) -> Cli:
    """A setuid program, and some changes of configuration, one with a name that would colour the terminal."""
    for number in range(30):
        (cli.watched / f"{number:02}.conf").write_text("x")
    cli.scan()
    for number in range(30):
        (cli.watched / f"{number:02}.conf").write_text("y")
    (cli.watched / EVIL).write_text("x")
    (cli.watched / "setuid").write_text("x")
    (cli.watched / "setuid").chmod(0o4755)
    cli.scan(5)
    return cli


def review(cli: Cli, columns: int = 80, lines: int = 24, **environment: str) -> Running:
    """A review that has begun."""
    running = Running(cli.command("review"), columns, lines, **environment)
    running.wait("1/2")
    return running


def decisions(cli: Cli) -> list[tuple[Any, ...]]:
    """What is stored, without the first baseline."""
    found = json.loads(cli("status", "--last", "99", "--format", "json", code=0).stdout)["accepted"]
    return [(os.path.basename(item["path"] or ""), item["status"], item["ticket"]) for item in found[1:]]


def test_a_review_from_the_first_key_to_the_last(changed: Cli) -> None:
    """First what stands out, in full; then the others of its set; ticket and category are stored."""
    with review(changed) as running:
        assert re.match(r"added +#\d+ +high +/", running.lines[1])
        assert "/setuid" in "".join(running.lines[1:3]) and "setuid gained" in "".join(running.lines[1:4])
        assert running.lines[23] == "a accept v violation s skip e explain o open t ticket / filter u undo q quit ?"
        running.press("tINC-9\r", "ticket INC-9")
        running.press("v", "m=malware")
        shown = running.press("m", "change marked as a violation (decision 2)")
        assert shown[0] == "2/2  change set  1 decided  ticket INC-9"
        assert shown[1].startswith("set 1: no process named") and "31 changes, 1 more not listed here" in shown[2]
        assert len([line for line in shown if line.startswith(("modified", "added"))]) > 5
        running.press("    ", lambda lines: "evil\\x1b[31m\\u202e.conf" in "".join(lines))
        running.press("tCHG-17\r", "ticket CHG-17")
        shown = running.press("a", "31 changes accepted (decision 3)")
        assert "31 accepted, 1 marked as a violation" in shown
        os.write(running.terminal, b"q")
        said = running.end()
    assert running.code == 0
    assert said.rstrip().endswith("31 changes accepted, 1 marked as violations.")
    assert "\x1b[31m\u202e" not in said
    assert rows(changed.diff()) == [("added", "setuid")]
    stored = decisions(changed)
    assert stored[0] == ("setuid", "violation", "INC-9")
    assert len(stored) == 32 and {item[1:] for item in stored[1:]} == {("approved", "CHG-17")}
    changed("verify", "--db", code=0)


def test_explain_open_filter_undo_and_help(changed: Cli) -> None:
    """Each view goes back to where it came from; a filter limits what is accepted; undo is a decision of its own."""
    with review(changed) as running:
        running.press("e", "Audit coverage")
        running.press("\x1b", "1/2  look at this")
        running.press("?", "Each decision is stored at once.")
        running.press("x", "1/2  look at this")
        running.press("o", "change 1 of 32")
        running.press("\x1b[B\x1b[B", "change 3 of 32")
        shown = running.press("a", "change 4 of 32")
        assert "1 change accepted (decision 2)" in shown[22] and shown[3].startswith(" A ")
        running.press("o", "1/2  look at this")
        running.press("u", "decision 2 is taken back (decision 3)")
        running.press("/evil\r", "only evil")
        running.press("a", "1 change accepted (decision 4)")
        running.press("/nothing like that\r", "nothing contains nothing like that")
        running.press("/\r", lambda lines: lines[0].startswith("1/2"))
        os.write(running.terminal, b"q")
        running.end()
    assert [item[0] for item in decisions(changed)][-1].startswith("evil")
    assert len(changed.diff()["changes"]) == 31


def test_keys_that_mean_nothing_decide_nothing(changed: Cli) -> None:
    """Arrow keys and unknown sequences contain letters that mean something by themselves."""
    with review(changed) as running:
        running.press("\x1b[a\x1b[1;5v\x1bOa", lambda lines: True)
        running.press("\x1b[6~", lambda lines: True)
        running.press("X", "? shows what the keys do")
        os.write(running.terminal, b"q")
        assert "0 changes accepted, 0 marked" in running.end()
    assert decisions(changed) == []


@pytest.mark.parametrize(("columns", "lines"), [(40, 24), (40, 10), (26, 12), (200, 60)])
def test_any_size(changed: Cli, columns: int, lines: int) -> None:
    """Nothing is wider than the screen, and all of a path can be read."""
    with review(changed, columns, lines) as running:
        text = "".join(running.lines[1:]).replace(" ", "")
        assert str(changed.watched / "setuid") in text
        assert "q" in running.lines[-1]
        shown = running.press("s", "change set")
        assert len(shown) == lines and max(map(len, shown)) <= columns
        os.write(running.terminal, b"q")
        running.end()
    assert running.code == 0


def test_a_resized_window_is_painted_again(changed: Cli) -> None:
    """At once, without a key."""
    with review(changed) as running:
        running.resize(44, 14)
        shown = running.wait(lambda lines: lines[-1] == "a  v  s  e  o  t  /  u  q  ? help")
        assert len(shown) == 14 and shown[0].startswith("1/2")
        running.resize(100, 30)
        running.wait(lambda lines: "accept" in lines[29])
        os.write(running.terminal, b"q")
        running.end()


def test_no_colour(changed: Cli) -> None:
    """NO_COLOR: the screen is painted, without colours. TERM=dumb: no sequence at all."""
    with review(changed) as running:
        os.write(running.terminal, b"q")
        assert re.search("\x1b\\[[0-9;]*m", running.end())
    with review(changed, NO_COLOR="1") as running:
        os.write(running.terminal, b"q")
        said = running.end()
        assert not re.search("\x1b\\[[0-9;]*m", said) and "\x1b[H" in said
    with review(changed, TERM="dumb") as running:
        running.press("s", "2/2")
        running.press("a", "31 changes accepted")
        os.write(running.terminal, b"q")
        assert "\x1b" not in running.end()
    assert running.code == 0 and len(decisions(changed)) == 31


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, None])
def test_a_signal_loses_nothing_that_was_decided(changed: Cli, number: signal.Signals | None) -> None:
    """Nor a lost connection. The terminal is as before."""
    with review(changed) as running:
        running.press("v", "Esc: back")
        running.press("\r", "(decision 2)")
        running.press("tnot finished", "ticket: not finished")
        if number is None:
            running.hang_up()
            running.reap()
        else:
            os.kill(running.pid, number)
            said = running.end()
    assert running.code in {number and 128 + number, -signal.SIGHUP, 129}
    if number in (signal.SIGINT, signal.SIGTERM):
        assert "interrupted; what was decided is stored: 0 changes accepted, 1 marked" in said
        assert said.rstrip().count("\x1b[?1049l") == 1
    assert decisions(changed) == [("setuid", "violation", None)]
    changed("verify", "--db", code=0)


def test_the_terminal_is_given_back_as_it_was(changed: Cli) -> None:
    """With its echo, whatever ended the review."""
    with review(changed) as running:
        during = termios.tcgetattr(running.terminal)
        assert not during[3] & termios.ECHO
        os.kill(running.pid, signal.SIGTERM)
        running.wait(lambda _: b"\x1b[?1049l" in running.raw)
        after = termios.tcgetattr(running.terminal)
        assert after[3] & termios.ECHO and after[3] & termios.ICANON
        running.end()


def test_what_a_scan_finds_meanwhile_is_not_taken_along(changed: Cli) -> None:
    """Neither a new path, nor a later state of one that is shown; the review says that there is more."""
    with review(changed) as running:
        (changed.watched / "setuid").write_text("a burglar's")
        (changed.watched / "new").write_text("x")
        changed.scan(5)
        running.press("a", "1 change accepted (decision 2)")
        running.press("a", "31 changes accepted (decision 3)")
        os.write(running.terminal, b"q")
        assert "scan 3 finished after this report was made" in running.end()
    document = changed.diff()
    assert sorted(rows(document)) == [("added", "new"), ("modified", "setuid")]
    before = {os.path.basename(row["path"]): row["before"] for row in document["changes"]}
    assert before["setuid"]["size"] == 1


def test_without_a_terminal_or_without_changes(changed: Cli) -> None:
    """One clear line."""
    failed = changed("review", code=15)
    assert (
        failed.stdout == ""
        and len(failed.stderr.splitlines()) == 1
        and f"--config {changed.config} accept" in failed.stderr
    )
    changed("accept", "--all", "--even-outstanding", code=0)
    with Running(changed.command("review")) as running:
        assert "Nothing waits for a review, as of scan 2." in running.end()
    assert running.code == 0
