"""With a real auditd: a hidden holder of a file prevents a confirmed answer about it."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.lab.conftest import unavailable
from tests.lab.ground import Installation, installed
from tests.lab.test_live import service
from tests.linux import hiding
from tests.linux.hiding import WAYS, hiding_ground

pytestmark = pytest.mark.audit


@pytest.fixture
def host(audit_log: str) -> Iterator[Installation]:
    with installed(audit_log) as (made, _):
        yield made


@pytest.fixture(scope="module")
def hidden() -> Iterator[hiding.Ground]:
    try:
        with hiding_ground() as made:
            yield made
    except hiding.Unavailable as reason:
        unavailable(str(reason))


def rows(host: Installation) -> dict[str, dict[str, Any]]:
    document = json.loads(host.run("scan", "--format", "json", codes=tuple(range(8)), timeout=300).stdout)
    return {os.path.basename(row["path"]): row["attribution"] for row in document["changes"]}


def innocent(path: Path) -> int:
    """A root process that opens the file for writing and does not change it."""
    process = subprocess.Popen(["sh", "-c", ': >> "$0"', path])
    assert process.wait(timeout=20) == 0
    return process.pid


def test_a_hidden_holder_cannot_have_another_process_named(host: Installation, hidden: hiding.Ground) -> None:
    """Contested if the holder is known; otherwise likely, with possible holders listed."""
    host.watched.chmod(0o755)
    paths = {way: hidden.file(way, host.watched) for way in WAYS}
    paths["nobody"] = hidden.file("nobody", host.watched)
    host.run("scan", timeout=300)
    with ExitStack() as stack:
        held = {}
        for way in WAYS:
            try:
                held[way] = stack.enter_context(hidden.held(way, paths[way]))
            except hiding.Unavailable:
                continue
        assert {"plain", "in-flight", "fork-chain", "blocked-call"} <= held.keys()
        host.run("scan", timeout=300, codes=tuple(range(8)))
        time.sleep(0.1)
        opened = {way: innocent(path) for way, path in paths.items()}
        time.sleep(0.1)
        writer = subprocess.Popen(["sh", "-c", 'echo new >> "$0"', paths["nobody"]])
        assert writer.wait(timeout=20) == 0
        hidden.go(list(held.values()))
        found = rows(host)
    for way, process in held.items():
        assert b"hidden" in paths[way].read_bytes(), way
        answer = found[way]
        pids = {actor["pid"] for actor in answer["actors"]}
        named = answer["verdict"] == "contested" and (process.pid in pids or way == "fork-chain") and len(pids) > 1
        capped = (answer["verdict"], answer["reason"]) == ("likely", "held-descriptor") and pids == {opened[way]}
        assert named or (capped and answer["notes"]), (way, answer)
        assert named or WAYS[way] != "named" or way == "fork-chain", (way, answer)
    # Two processes opened the file, and no other: an answer without doubts does not change.
    assert {actor["pid"] for actor in found["nobody"]["actors"]} == {writer.pid, opened["nobody"]}


def test_the_file_that_was_replaced_counts_too(host: Installation, hidden: hiding.Ground) -> None:
    """The tool that replaced the file copied what a hidden holder had written to the old one."""
    host.watched.chmod(0o755)
    paths = {name: hidden.file(name, host.watched) for name in ("held", "free")}
    host.run("scan", timeout=300)
    with hidden.held("blocked-call", paths["held"]) as process:
        host.run("scan", timeout=300, codes=tuple(range(8)))
        hidden.go([process])
    for path in paths.values():
        assert subprocess.run(["sed", "-i", "s/^/>/", path], check=False).returncode == 0
    found = rows(host)
    assert b"hidden" in paths["held"].read_bytes()
    assert (found["held"]["verdict"], found["held"]["reason"]) == ("likely", "held-descriptor")
    assert found["free"]["verdict"] == "confirmed"


def test_ordinary_services_do_not_weaken_verdicts(host: Installation, hidden: hiding.Ground) -> None:
    """io_uring rings, descriptors in flight and open files that concern other files weaken no verdict.

    Except for files that their user may write: a removed name of such a file may be hidden.
    """
    host.watched.chmod(0o755)
    path, theirs = hidden.file("file", host.watched), hidden.file("theirs", host.watched)
    path.chmod(0o644)
    with ExitStack() as stack:
        for way in ("ring", "in-flight", "mapped", "fork-chain"):
            stack.enter_context(hidden.held(way, hidden.file(f"of-{way}")))
        host.run("scan", timeout=300)
        time.sleep(0.1)
        writer = subprocess.Popen(["sh", "-c", 'echo new >> "$0"; echo new >> "$1"', path, theirs])
        assert writer.wait(timeout=20) == 0
        found = rows(host)
    assert found["file"]["verdict"] == "confirmed"
    answer = found["theirs"]
    assert (answer["verdict"], [actor["pid"] for actor in answer["actors"]]) == ("likely", [writer.pid])
    assert "removed name" in answer["notes"][0]


def test_a_live_look_remembers_hidden_holders(host: Installation, hidden: hiding.Ground) -> None:
    """A live look finds the file unchanged and remembers possible holders."""
    host.watched.chmod(0o755)
    path = hidden.file("file", host.watched)
    with host.config.open("a") as file:
        file.write('[schedule]\nscan = "1h"\n')
    with service(host) as running, hidden.held("in-flight", path) as process:
        innocent(path)
        ended_ns = time.time_ns()
        # There may have been an earlier look, because of the holder itself.
        running.wait(lambda: running.rechecked("file") > ended_ns, 60)
        time.sleep(0.1)
        second = innocent(path)
        hidden.go([process])
        answer = running.wait_for_row("file", 60)["attribution"]
    assert b"hidden" in path.read_bytes()
    assert (answer["verdict"], answer["reason"]) == ("likely", "held-descriptor"), answer
    assert {actor["pid"] for actor in answer["actors"]} == {second}
    assert "in flight" in answer["notes"][0]
