"""Which processes run a changed program, library or unit as it was, and which as it is now."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fimscan.linux.running import MappedFile, Sighting, Sightings
from fimscan.model import Change, ChangeKind, FileState, InEffect, RunsAs, RunsVersion, Window
from fimscan.pipeline.record.in_effect import Subject, judge, unit_of
from fimscan.report.in_effect import in_effect_sentences, in_effect_words
from tests.conftest import Cli
from tests.support import SECOND, changed_state, state

SLEEP = shutil.which("sleep") or "/bin/sleep"
Start = Callable[..., int]


@pytest.fixture
def start() -> Iterator[Start]:
    """Start a program that runs until the test ends; the pid, when it executes."""
    running = []

    def run(*command: str | Path) -> int:
        process = subprocess.Popen([*map(str, command)], stdout=subprocess.PIPE)
        running.append(process)
        deadline = time.monotonic() + 20
        while os.readlink(f"/proc/{process.pid}/exe") == os.readlink("/proc/self/exe") and command[0] != sys.executable:
            assert time.monotonic() < deadline
        return process.pid

    yield run
    for process in running:
        process.kill()
        process.communicate()


@pytest.fixture
def service(cli: Cli) -> Path:
    """A program in the watched directory."""
    program = cli.watched / "service"
    shutil.copy(SLEEP, program)
    program.chmod(0o755)
    return program


def replace_by(path: Path, extra: bytes) -> None:
    """As package managers do: another file is renamed to this path."""
    new = path.with_name(path.name + ".new")
    shutil.copy(path, new)
    with new.open("ab") as file:
        file.write(extra)
    new.rename(path)


def found(cli: Cli, name: str) -> dict[str, Any]:
    (row,) = [row for row in cli.diff()["changes"] if row["path"].endswith(f"/{name}")]
    value: dict[str, Any] = row["in_effect"]
    return value


def told(value: dict[str, Any]) -> list[tuple[int, str, str]]:
    return [(one["pid"], one["version"], one["how"]) for one in value["processes"]]


def test_a_process_of_the_replaced_program_needs_a_restart(cli: Cli, service: Path, start: Start) -> None:
    """The one that was started afterwards runs the new one; what others run is not of interest."""
    cli.scan()
    old = start(service, "600")
    replace_by(service, b"\0 2.0")
    new = start(service, "600")
    mail = cli.scan(4)
    value = found(cli, "service")
    assert told(value) == [(old, "old", "program"), (new, "new", "program")]
    assert (value["old"], value["new"], value["unclear"]) == (1, 1, 0)
    words = f"service (pid {old}) still runs the old one: restart it"
    for text in (mail, cli("diff", code=4).stdout):
        assert words in text and f"service (pid {new}) runs the new one" in text
    explained = " ".join(cli("explain", str(service), code=0).stdout.split())
    assert "In effect" in explained and f"(pid {old}) as uid {os.getuid()} runs it, started" in explained


def test_it_is_kept_as_the_scan_found_it(cli: Cli, service: Path, start: Start) -> None:
    """A restart afterwards changes nothing in the record; a further scan neither."""
    cli.scan()
    old = start(service, "600")
    replace_by(service, b"\0 2.0")
    cli.scan(4)
    os.kill(old, 9)
    cli.scan(0)
    assert [pid for pid, *_ in told(found(cli, "service"))] == [old]
    exported = json.loads(cli("explain", str(service), "--format", "json", code=0).stdout)
    assert exported["change"]["in_effect"]["old"] == 1


def test_a_removed_or_twice_replaced_program_still_runs(cli: Cli, service: Path, start: Start) -> None:
    """A file that had this path before the last scan is an old one, too."""
    cli.scan()
    first = start(service, "600")
    replace_by(service, b"\0 2.0")
    replace_by(service, b"\0 3.0")
    cli.scan(4)
    assert told(found(cli, "service")) == [(first, "old", "program")]
    service.unlink()
    cli.scan(2)
    assert told(found(cli, "service")) == [(first, "old", "program")]


def test_a_library_counts_where_it_is_mapped(cli: Cli, start: Start) -> None:
    """Whatever program has it."""
    library = cli.watched / "libx.so.1"
    library.write_bytes(b"\0" * 8192)
    cli.scan()
    code = f"import mmap, time; f = open({str(library)!r}, 'rb'); m = mmap.mmap(f.fileno(), 0, mmap.MAP_PRIVATE, 1)"
    process = subprocess.Popen([sys.executable, "-c", f"{code}; print(flush=True); time.sleep(600)"], stdout=-1)
    try:
        assert process.stdout is not None
        process.stdout.readline()
        replace_by(library, b"new")
        cli.scan(4)
        assert told(found(cli, "libx.so.1")) == [(process.pid, "old", "library")]
    finally:
        process.kill()
        process.communicate()


def test_nothing_is_asked_for_other_changes(cli: Cli, service: Path, start: Start) -> None:
    """Data, attributes alone, and a program that was replaced by an equal one."""
    cli.scan()
    start(service, "600")
    (cli.watched / "a").write_text("other data")
    replace_by(service, b"")
    cli.scan(4)
    assert {row["in_effect"] for row in cli.diff()["changes"]} == {None}


def test_verify_detects_that_it_was_altered(cli: Cli, service: Path) -> None:
    """What was seen is evidence, too."""
    cli.scan()
    replace_by(service, b"\0 2.0")
    cli.scan(4)
    assert found(cli, "service")["processes"] == []
    assert cli("verify", "--db", code=0)
    with sqlite3.connect(cli.database) as connection:
        connection.execute("UPDATE in_effect SET detail = replace(detail, '0', '1')")
    connection.close()
    done = cli("verify", "--db")
    assert done.returncode != 0
    assert "the list of processes that ran changed programs at scan 2 was altered" in done.stdout + done.stderr


# --------------------------------------------------------------------------------------------------------------------
# Judging

PATH = b"/usr/sbin/d"
OLD, NEW = (7, 10), (7, 11)


def subject(path: bytes = PATH, inode: int = NEW[1], **changed: Any) -> Subject:
    before, after = state(path, dev=7), changed_state(path=path, dev=7, inode=inode)
    change = Change(
        kind=ChangeKind.MODIFIED,
        before=before,
        after=after,
        changed=("content",),
        window=Window(after_ns=before.read_end_ns, before_ns=after.read_start_ns),
        **changed,
    )
    at = (after.ctime_ns, after.ctime_ns)
    return Subject(change, frozenset({OLD}), frozenset({(7, inode)}), at, unit_of(path))


def process(pid: int, start: float, *files: MappedFile, **values: Any) -> Sighting:
    defaults: dict[str, Any] = {"ppid": 1, "exe": PATH, "uid": 0, "container": None, "is_here": True, "units": ()}
    return Sighting(pid=pid, start_ns=int(start * SECOND), files=files, **{**defaults, **values})


def mapped(identity: tuple[int, int] | None, before: FileState | None = None, **values: Any) -> MappedFile:
    kept = before or state(dev=7)
    return MappedFile(
        **{
            "path": PATH,
            "is_deleted": False,
            "identity": identity,
            "size": kept.size,
            "mtime_ns": kept.mtime_ns,
            "is_program": True,
            **values,
        }
    )


SEEN = " (as of 1970-01-01 00:00 UTC)"


def judged(one: Subject, *processes: Sighting, unseen: int = 0) -> InEffect:
    return judge([one], Sightings(processes, unseen, 0), own_pid=4)[one.change.path]


def versions(answer: InEffect) -> dict[int, str]:
    return {run.pid: run.version.value for run in answer.runners}


def test_a_reused_inode_is_another_file() -> None:
    """It has the number of the old file, and another size or time."""
    another = mapped(OLD, path=b"/usr/bin/other", mtime_ns=1)
    assert versions(judged(subject(), process(20, 1600, another))) == {}
    kept = mapped(OLD, path=b"/usr/sbin/d.bak")
    assert versions(judged(subject(), process(20, 1600, kept))) == {20: "old"}


def test_a_file_that_was_written_in_place_tells_by_the_start_of_the_process() -> None:
    """A child of a process that has the old content may have it as well."""
    same = subject(inode=OLD[1])
    here = mapped(OLD)
    found = judged(
        same,
        process(20, 1400, here),
        process(21, 1500.01, here),
        process(22, 1600, here),
        process(23, 1600, here, ppid=20),
    )
    assert versions(found) == {20: "old", 21: "unclear", 22: "new", 23: "unclear"}


def test_a_path_means_a_file_of_this_host_only() -> None:
    """In a container, the same path is another file; the same inode is the same one everywhere."""
    deleted = mapped(None, is_deleted=True)
    assert versions(judged(subject(), process(20, 1, deleted, is_here=False, container="docker:1"))) == {}
    assert versions(judged(subject(), process(20, 1, deleted))) == {20: "old"}
    inside = process(20, 1, mapped(OLD), is_here=False, container="docker:1")
    (run,) = judged(subject(), inside).runners
    assert (run.version, run.container) == (RunsVersion.OLD, "docker:1")
    assert [*in_effect_words(judged(subject(), inside))] == [
        f"d (pid 20) in container docker:1 still runs the old one: restart it{SEEN}"
    ]


def test_the_scan_itself_is_not_said_to_run_the_new_one() -> None:
    """It ends at once. A daemon of fimscan that runs the old one is reported."""
    assert versions(judged(subject(), process(4, 1600, mapped(NEW)), process(5, 1600, mapped(NEW), ppid=4))) == {}
    assert versions(judged(subject(), process(4, 1, mapped(OLD)))) == {4: "old"}


def test_a_unit_is_known_by_the_start_of_its_oldest_process() -> None:
    """Whether systemd has read the unit cannot be seen. A unit of that name in a container is another one."""
    unit = subject(b"/etc/systemd/system/d.service")
    here: dict[str, Any] = {"units": (b"d.service",)}
    found = judged(unit, process(20, 1400, **here), process(21, 1600, **here))
    assert [(run.pid, run.version, run.how) for run in found.runners] == [(20, RunsVersion.OLD, RunsAs.UNIT)]
    assert [*in_effect_words(found)] == [
        f"d.service (pid 20) started before this change: reload systemd and restart it{SEEN}"
    ]
    assert [*in_effect_words(judged(unit, process(21, 1600, **here)))] == [
        "d.service (pid 21) started after this change"
    ]
    assert versions(judged(unit, process(20, 1400, container="docker:1", **here))) == {}


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (b"/etc/systemd/system/d.service", b"d.service"),
        (b"/etc/systemd/system/d.service.d/x.conf", b"d.service"),
        (b"/usr/lib/systemd/system/d@.service", b"d@.service"),
        (b"/etc/systemd/system/d.service.d/x.txt", None),
        (b"/etc/systemd/system/d.timer", None),
    ],
)
def test_the_unit_of_a_file(path: bytes, expected: bytes | None) -> None:
    """A drop-in belongs to the unit that it configures."""
    assert unit_of(path) == expected


def test_each_instance_of_a_template_is_a_unit() -> None:
    """``d@.service`` configures ``d@1.service``, and not ``d.service``."""
    template = subject(b"/etc/systemd/system/d@.service")
    units = ((20, b"d@1.service"), (21, b"d@2.service"), (22, b"d.service"))
    assert versions(judged(template, *(process(pid, 1, units=(unit,)) for pid, unit in units))) == {
        20: "old",
        21: "old",
    }


def test_many_processes_are_counted_and_the_first_are_kept() -> None:
    """A changed libc concerns all; nothing is left out silently."""
    every = [process(pid, 1, mapped(OLD, is_program=False)) for pid in range(100, 150)]
    found = judged(subject(), *every, unseen=3)
    assert (found.old, len(found.runners)) == (50, 32)
    assert [*in_effect_words(found)] == [
        f"d (pid 100), d (pid 101) and 48 more processes still run the old one: restart them{SEEN}"
    ]
    sentences = [*in_effect_sentences(found)]
    assert "and 18 more processes; of all, 50 with the old content, 0 with the new one, 0 unclear" in sentences
    assert "3 processes could not be inspected, and may use it as well" in sentences
