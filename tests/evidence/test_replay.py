"""Somebody who has only the ZIP and python3 notices what was altered, and is told nothing that is not so."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
import zipfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from fimscan.config import parse_config
from fimscan.evidence import replay as replay_program
from fimscan.evidence.bundle import build_bundle
from fimscan.evidence.collect import collected
from fimscan.evidence.readme import RUN_REPLAY, WRITE_REPLAY
from fimscan.evidence.verify import verify_bundle
from fimscan.model import Approval, MessageKind, NewMessage
from fimscan.signing import SigningKey
from fimscan.store import acceptance, codec, outbox
from fimscan.store import scans as scan_store
from fimscan.store.database import Database
from tests.conftest import Cli
from tests.evidence.conftest import ALICE
from tests.evidence.site import Site
from tests.evidence.test_every_column import fill


@pytest.fixture
def unpacked(copied: Callable[..., Database], tmp_path: Path, key: SigningKey) -> Path:
    """The bundle of a host on which everything happened, unpacked; with the program that its README has."""
    database = copied()
    fill(database)
    config = parse_config('[[watch]]\npath = "/w"\n')
    with collected(database, config, 0, 2**62, audit_rules="", reconfigured=lambda *_: ()) as data:
        build_bundle(data, key, tmp_path / "x.zip")
    assert verify_bundle(tmp_path / "x.zip").ok
    with zipfile.ZipFile(tmp_path / "x.zip") as bundle:
        bundle.extractall(tmp_path / "out")
    subprocess.run(["sh", "-c", WRITE_REPLAY], cwd=tmp_path / "out", check=True)
    return tmp_path / "out"


def replay(directory: Path) -> subprocess.CompletedProcess[str]:
    """Run the program with the standard library alone."""
    command = [sys.executable, "-I", "-S", *RUN_REPLAY.split()[1:]]
    return subprocess.run(command, cwd=directory, env={}, capture_output=True, text=True, check=False)


def test_the_program_needs_nothing_of_ours(unpacked: Path) -> None:
    """It finds nothing wrong, and prints the head of the ledger."""
    imported = subprocess.run([sys.executable, "-I", "-S", "-c", "import fimscan"], cwd=unpacked, check=False)
    assert imported.returncode != 0
    done = replay(unpacked)
    head = (unpacked / "07-ledger.txt").read_text().split()[-1]
    assert (done.returncode, done.stderr) == (0, "")
    assert "BROKEN" not in done.stdout and head in done.stdout


def test_what_came_after_the_period_is_bound_too(
    copied: Callable[..., Database], tmp_path: Path, key: SigningKey
) -> None:
    """A message about a scan of the period that was made later, and texts that a spreadsheet must not calculate."""
    database = copied()
    with database.begin() as session:
        third = scan_store.one_scan(session, 3)
        assert third is not None and third.finished_ns is not None
        late = NewMessage(id="m", kind=MessageKind.CHANGES, scan=3, urgent=True, body=b"x", changes=(1,))
        outbox.add(session, "mail", [late], third.finished_ns + 10**15)
        for ticket in (" -1", "=1", "a;=b", "x\\y", "\uff1d1", "-", '"'):
            approval = Approval(accepted_ns=third.finished_ns, user=ticket, ticket=ticket, reason=ticket)
            acceptance.accept_paths(session, {b"/x": (None, 3)}, approval)
    config = parse_config('[[watch]]\npath = "/w"\n')
    period = third.started_ns, third.finished_ns + 1
    with collected(database, config, *period, audit_rules="", reconfigured=lambda *_: ()) as data:
        build_bundle(data, key, tmp_path / "x.zip")
    with zipfile.ZipFile(tmp_path / "x.zip") as bundle:
        assert bundle.read("10-alerts.csv").count(b"\n") == 2
        assert bundle.read("09-changes.csv").count(b"\n") == 2
    report = verify_bundle(tmp_path / "x.zip")
    assert report.ok, [check for check in report.checks if not check.ok]


def drop_line(text: str, word: str) -> str:
    """Without the first line that has a word."""
    lines = text.splitlines(keepends=True)
    found = next(number for number, line in enumerate(lines) if word in line)
    return "".join(lines[:found] + lines[found + 1 :])


# The file, how it is altered, what is said of it.
ALTERATIONS: list[tuple[str, Callable[[str], str], str]] = [
    ("07-rows.jsonl", lambda text: text.replace('"because"', '"I say so"', 1), "decision 2 was altered"),
    ("07-rows.jsonl", lambda text: text.replace('"confirmed"', '"likely"', 1), "change 1 was altered"),
    ("07-rows.jsonl", lambda text: drop_line(text, '["32"'), "change 1 is missing"),
    ("07-rows.jsonl", lambda text: drop_line(text, '["28"'), "message 1 is missing"),
    ("07-rows.jsonl", lambda text: text + text.splitlines(keepends=True)[-1], "is there twice"),
    ("07-journal.txt", lambda text: drop_line(text, "entry\t"), "was altered"),
    ("07-journal.txt", lambda text: drop_line(text, "item\t32\t1\t"), "was altered"),
    ("07-journal.txt", lambda text: text.replace('"late-records"', '"accept"', 1), "was altered"),
    ("07-journal.txt", lambda text: drop_line(text, "open\t"), "the journal was cut off"),
    ("07-ledger.txt", lambda text: text.split("\n", 1)[1], "the ledger does not begin where it should"),
    ("07-ledger.txt", lambda text: drop_line(text, '"id":4'), "does not follow the one before"),
    ("07-ledger.txt", lambda text: text.rsplit("\n", 2)[0] + "\n", "the journal does not name the last scan"),
    ("09-changes.csv", lambda text: text.replace(",confirmed,", ",likely,", 1), "has another verdict"),
    ("09-changes.csv", lambda text: text.replace("h,1,", "h,77,", 1), "change 77 is bound by no row"),
    ("10-alerts.csv", lambda text: text.replace(",waiting,", ",delivered,", 1), "has another state"),
    ("11-dispositions.csv", lambda text: text.replace(",T,", ",T-2,", 1), "has another ticket"),
    ("11-dispositions.csv", lambda text: text.replace(",u,", ",root,", 1), "has another reviewer"),
    ("12-control-failures.csv", lambda text: text.replace(",audit,", ",scan,", 1), "has another kind"),
]


def test_what_was_altered_is_told(unpacked: Path) -> None:
    """Whichever file it is in, and although nobody asks for the signature."""
    for name, alter, words in ALTERATIONS:
        before = (unpacked / name).read_text()
        after = alter(before)
        assert after != before, (name, words)
        (unpacked / name).write_text(after)
        done = replay(unpacked)
        (unpacked / name).write_text(before)
        assert done.returncode == 1 and words in done.stdout, (name, words, done.stdout, done.stderr)
    assert replay(unpacked).returncode == 0


def test_command_lines_are_not_in_the_rows(unpacked: Path, eventful: Site) -> None:
    """They are in the database; the digests that are checked do not cover them."""
    with closing(sqlite3.connect(eventful.root / "x.db")) as connection:
        (stored,) = connection.execute("SELECT attribution FROM change WHERE id = 1").fetchone()
    assert '"argv":["tool"]' in stored
    text = (unpacked / "07-rows.jsonl").read_text()
    assert "argv" not in text and '\\"exe\\"' in text


@pytest.mark.parametrize("word", [b"plain", b'"]}', b"\\", b'\\"', b"\xff", b'","cmdline":{"argv":["x"]}', b""])
def test_any_command_line_is_left_out_and_nothing_else(word: bytes) -> None:
    """Also one that looks like the end of itself, or like another one."""
    actor = ALICE._replace(cmdline=(b"tool", word, word), cwd=b'/x","cmdline":{"argv":["kept"]}', comm=word)
    text = codec.dump_actors([actor, actor._replace(cmdline=())])
    (one, other) = codec.load_actors(codec.without_command_lines(text))
    assert one == other == actor._replace(cmdline=None)
    assert json.loads(text)[0]["cmdline"]


def test_a_file_with_the_name_of_a_command_line_is_a_file(cli: Cli) -> None:
    """Anybody can make one in a watched directory: scans go on, and the bundle verifies."""
    cli.scan()
    (cli.watched / ',"cmdline":{"argv":["x"]}').write_text("x")
    cli.scan(1)
    cli("export", "pci-dss", "--from", "2020-01-01", "--to", "2099-01-01", "--out", "x.zip", code=0)
    cli("verify", "x.zip", code=0)
    cli("verify", "--db", code=0)


def test_very_many_problems_and_records_are_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Anybody can write a bundle: problems are counted after the first hundred, records are limited."""
    line = f'{"0" * 64}\t{{"id":1}}\tx\t{"1" * 64}\n'
    files = {"07-ledger.txt": [line] * 5000, "07-rows.jsonl": ["{}\n"]}
    problems, _ = replay_program.replayed(lambda name: files.get(name, []))
    assert len(problems) == 101
    monkeypatch.setattr(replay_program, "MOST", 1000)
    with pytest.raises(ValueError, match="more than 1,000 records"):
        replay_program.replayed(lambda name: files.get(name, []))
