"""Real processes under the real kernel's audit: every change is given to the process that the test itself started."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.lab.conftest import Installation, unavailable

pytestmark = pytest.mark.audit


@dataclass
class Truth:
    """What the lab itself did: the processes that it started, by role."""

    processes: list[tuple[str, int, str]] = field(default_factory=list)
    verdict: str = "confirmed"
    reason: str | None = None
    kind: str = "modified"


@dataclass
class Bench:
    """Starts processes and remembers their pid and program."""

    watched: Path
    elsewhere: Path

    def run(self, *command: str, cwd: Path | None = None) -> tuple[int, str]:
        """Run a program to its end; gives (pid, real path of the program)."""
        program = shutil.which(command[0])
        if program is None:
            unavailable(f"{command[0]} is not installed")
        assert program is not None
        process = subprocess.Popen(
            command, cwd=cwd or self.watched, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL
        )
        assert process.wait(timeout=60) == 0, command
        return process.pid, os.path.realpath(program)

    def python(self, code: str) -> tuple[int, str]:
        return self.run(sys.executable, "-c", "import os\n" + code)

    def shell(self, code: str) -> tuple[int, str]:
        return self.run("bash", "-c", code)


Scenario = Callable[[Bench, str], Truth]
SCENARIOS: dict[str, Scenario] = {}
# Files that are not there at the baseline.
ABSENT: set[str] = set()


def scenario(*, absent: bool = False) -> Callable[[Scenario], Scenario]:
    def register(function: Scenario) -> Scenario:
        SCENARIOS[function.__name__] = function
        if absent:
            ABSENT.add(function.__name__)
        return function

    return register


def by(role: str, process: tuple[int, str], **values: Any) -> Truth:
    return Truth(processes=[(role, *process)], **values)


@scenario(absent=True)
def creation_by_redirection(bench: Bench, name: str) -> Truth:
    return by("writer", bench.shell(f"echo new > {name}"), kind="added")


@scenario(absent=True)
def creation_by_cp(bench: Bench, name: str) -> Truth:
    return by("writer", bench.run("cp", "/etc/hostname", name), kind="added")


@scenario(absent=True)
def creation_by_mkdir(bench: Bench, name: str) -> Truth:
    return by("writer", bench.run("mkdir", name), kind="added")


@scenario(absent=True)
def creation_by_symlink(bench: Bench, name: str) -> Truth:
    return by("writer", bench.run("ln", "-s", "/etc/hostname", name), kind="added")


@scenario(absent=True)
def creation_by_hard_link(bench: Bench, name: str) -> Truth:
    return by("placer", bench.run("ln", "link_source", name), kind="added")


@scenario(absent=True)
def creation_by_o_tmpfile(bench: Bench, name: str) -> Truth:
    code = f"""
fd = os.open(".", os.O_TMPFILE | os.O_RDWR)
os.write(fd, b"x")
here = os.open(".", os.O_RDONLY)
os.link(f"/proc/self/fd/{{fd}}", "{name}", src_dir_fd=here, dst_dir_fd=here, follow_symlinks=True)
"""
    return by("writer", bench.python(code), kind="added")


@scenario()
def in_place_truncating_write(bench: Bench, name: str) -> Truth:
    return by("writer", bench.shell(f"echo other > {name}"))


@scenario()
def append(bench: Bench, name: str) -> Truth:
    return by("writer", bench.shell(f"echo more >> {name}"))


@scenario()
def opened_by_the_shell_written_by_the_program(bench: Bench, name: str) -> Truth:
    # The shell opens, then becomes cat: one process, and the record shows what it was when it opened the file.
    return by("writer", bench.shell(f"exec cat /etc/hostname > {name}"))


@scenario()
def append_by_tee(bench: Bench, name: str) -> Truth:
    return by("writer", bench.run("tee", "-a", name))  # adds nothing, see below


@scenario()
def dd_in_the_middle(bench: Bench, name: str) -> Truth:
    return by(
        "writer", bench.run("dd", "if=/etc/hostname", f"of={name}", "bs=1", "count=1", "conv=notrunc", "status=none")
    )


@scenario()
def truncation_by_path(bench: Bench, name: str) -> Truth:
    return by("writer", bench.python(f'os.truncate("{name}", 1)'))


@scenario()
def truncation_by_tool(bench: Bench, name: str) -> Truth:
    return by("writer", bench.run("truncate", "-s", "2", name))


@scenario()
def truncation_when_opened_for_reading(bench: Bench, name: str) -> Truth:
    return by("writer", bench.python(f'os.open("{name}", os.O_RDONLY | os.O_TRUNC)'))


@scenario()
def deletion(bench: Bench, name: str) -> Truth:
    return by("remover", bench.run("rm", name), kind="removed")


@scenario()
def deletion_relative_to_a_descriptor(bench: Bench, name: str) -> Truth:
    code = f'd = os.open(".", os.O_RDONLY); os.chdir("/"); os.unlink("{name}", dir_fd=d)'
    return by("remover", bench.python(code), kind="removed")


@scenario()
def sed_in_place(bench: Bench, name: str) -> Truth:
    process = bench.run("sed", "-i", "s/e/E/", name)
    return Truth(processes=[("writer", *process), ("placer", *process)])


@scenario()
def vim_save(bench: Bench, name: str) -> Truth:
    editor = next((e for e in ("vim", "vim.tiny", "vi") if shutil.which(e)), "vim")
    return by("writer", bench.run(editor, "-es", "-c", "normal oadded", "-c", "wq", name))


@scenario()
def vim_save_by_rename(bench: Bench, name: str) -> Truth:
    editor = next((e for e in ("vim", "vim.tiny", "vi") if shutil.which(e)), "vim")
    return by(
        "writer", bench.run(editor, "-es", "-c", "set backupcopy=no backup", "-c", "normal oadded", "-c", "wq", name)
    )


@scenario()
def written_by_one_placed_by_another(bench: Bench, name: str) -> Truth:
    writer = bench.shell(f"echo other > {name}.tmp")
    placer = bench.run("mv", f"{name}.tmp", name)
    return Truth(processes=[("writer", *writer), ("placer", *placer)])


@scenario()
def moved_in_from_outside(bench: Bench, name: str) -> Truth:
    bench.shell(f"echo outside > {bench.elsewhere}/{name}")
    return by("placer", bench.run("mv", f"{bench.elsewhere}/{name}", name))


@scenario()
def moved_out(bench: Bench, name: str) -> Truth:
    return by("remover", bench.run("mv", name, f"{bench.elsewhere}/{name}"), kind="removed")


@scenario()
def replaced_relative_to_descriptors(bench: Bench, name: str) -> Truth:
    code = f"""
d = os.open(".", os.O_RDONLY)
os.chdir("/")
fd = os.open("{name}.new", os.O_WRONLY | os.O_CREAT, dir_fd=d)
os.write(fd, b"by descriptor")
os.rename("{name}.new", "{name}", src_dir_fd=d, dst_dir_fd=d)
"""
    process = bench.python(code)
    return Truth(processes=[("writer", *process), ("placer", *process)])


@scenario()
def through_a_symlinked_parent(bench: Bench, name: str) -> Truth:
    os.symlink(bench.watched, bench.elsewhere / "alias")
    return by("writer", bench.run("cp", "/etc/hostname", f"{bench.elsewhere}/alias/{name}"))


@scenario()
def through_another_hard_link(bench: Bench, name: str) -> Truth:
    # Audit's rules go by directory: a write through a name elsewhere leaves no record, and that is the reason to give.
    bench.run("ln", name, f"{bench.elsewhere}/{name}")
    bench.shell(f"echo by the other name > {bench.elsewhere}/{name}")
    return Truth(verdict="unattributed", reason="coverage-gap")


@scenario()
def chmod(bench: Bench, name: str) -> Truth:
    return by("changer", bench.run("chmod", "0600", name), kind="attributes")


@scenario()
def chmod_on_a_descriptor(bench: Bench, name: str) -> Truth:
    return by("changer", bench.python(f'os.fchmod(os.open("{name}", os.O_RDONLY), 0o640)'), kind="attributes")


@scenario()
def chown(bench: Bench, name: str) -> Truth:
    return by("changer", bench.run("chown", "1:1", name), kind="attributes")


@scenario()
def extended_attribute(bench: Bench, name: str) -> Truth:
    return by("changer", bench.python(f'os.setxattr("{name}", "user.note", b"1")'), kind="attributes")


@scenario()
def times_forged(bench: Bench, name: str) -> Truth:
    return by("changer", bench.python(f'os.utime("{name}", (1, 1))'), kind="attributes")


@scenario()
def content_changed_and_time_forged(bench: Bench, name: str) -> Truth:
    return by("writer", bench.python(f'open("{name}", "w").write("forged"); os.utime("{name}", (1, 1))'))


@scenario()
def two_writers(bench: Bench, name: str) -> Truth:
    first = bench.shell(f"echo one >> {name}")
    second = bench.python(f'open("{name}", "a").write("two")')
    return Truth(processes=[("writer", *first), ("writer", *second)], verdict="contested")


@scenario()
def deleted_and_created_by_others(bench: Bench, name: str) -> Truth:
    bench.run("rm", name)
    return by("writer", bench.run("cp", "/etc/hostname", name))


@scenario()
def odd_name_moved(bench: Bench, name: str) -> Truth:
    return by("placer", bench.run("mv", name, f"sub/{name} 'a\"b\n"), kind="moved")


@scenario()
def moved_to_another_directory(bench: Bench, name: str) -> Truth:
    return by("placer", bench.run("mv", name, f"other/{name}"), kind="moved")


@scenario()
def moved_into_a_directory_by_bare_names(bench: Bench, name: str) -> Truth:
    # coreutils: renameat2(AT_FDCWD, "f", 3, "f"); both PARENT records then carry the working directory's name.
    return by("placer", bench.run("mv", name, "sub/"), kind="moved")


@scenario()
def moved_in_from_outside_by_bare_names(bench: Bench, name: str) -> Truth:
    bench.shell(f"echo outside > {bench.elsewhere}/{name}")
    return by("placer", bench.run("mv", "-t", str(bench.watched), name, cwd=bench.elsewhere))


@scenario()
def removed_before_its_directory_was_renamed(bench: Bench, name: str) -> Truth:
    # Whoever moves the directory later has not removed the file that was in it.
    remover = bench.run("rm", f"first_name/{name}")
    bench.run("mv", "first_name", "second_name")
    return by("remover", remover, kind="removed")


@scenario()
def removed_then_another_of_that_name_removed(bench: Bench, name: str) -> Truth:
    remover = bench.run("rm", name)
    bench.run("touch", name)
    bench.run("rm", name)
    return by("remover", remover, kind="removed")


@scenario()
def away_and_back_with_other_content(bench: Bench, name: str) -> Truth:
    # Written where nobody looks: the one who brought it back is known, the writer is not.
    bench.run("mv", name, f"{bench.elsewhere}/{name}")
    bench.shell(f"echo evil >> {bench.elsewhere}/{name}")
    back = bench.run("mv", f"{bench.elsewhere}/{name}", name)
    return by("placer", back, verdict="likely", reason="coverage-gap")


@scenario()
def linked_out_and_written_there(bench: Bench, name: str) -> Truth:
    opener = bench.shell(f": >> {name}")
    bench.run("ln", name, f"{bench.elsewhere}/{name}")
    bench.shell(f"echo evil >> {bench.elsewhere}/{name}")
    bench.run("rm", f"{bench.elsewhere}/{name}")
    return by("writer", opener, verdict="likely", reason="coverage-gap")


@scenario()
def owner_and_group_by_two(bench: Bench, name: str) -> Truth:
    first, second = bench.run("chown", "1", name), bench.run("chgrp", "1", name)
    return Truth([("changer", *first), ("changer", *second)], verdict="contested", kind="attributes")


@scenario()
def mode_set_again_by_another(bench: Bench, name: str) -> Truth:
    changer = bench.run("chmod", "0600", name)
    bench.run("chmod", "0600", name)
    return by("changer", changer, kind="attributes")


@scenario()
def exchanged(bench: Bench, name: str) -> Truth:
    code = f"""
import ctypes
open("{name}.other", "w").write("the other one")
assert ctypes.CDLL(None).renameat2(-100, b"{name}", -100, b"{name}.other", 2) == 0
"""
    process = bench.python(code)
    return Truth([("writer", *process), ("placer", *process)])


UNCHANGED = ("append_by_tee",)
IN_A_DIRECTORY = {"removed_before_its_directory_was_renamed": "first_name"}


@pytest.fixture(scope="module")
def outcome(installation: Installation) -> tuple[dict[str, Truth], dict[str, Any]]:
    """Every scenario on a file of its own, between two scans; gives the truth, and what fimscan says."""
    watched = installation.watched
    (watched / "link_source").write_text("source\n")
    (watched / "removed_directory").mkdir()
    (watched / "removed_directory" / "inside").write_text("x")
    for name in SCENARIOS:
        if name not in ABSENT:
            directory = watched / IN_A_DIRECTORY.get(name, "")
            directory.mkdir(exist_ok=True)
            (directory / name).write_text(f"content of {name}\n")
    installation.run("scan")
    bench = Bench(watched=watched, elsewhere=installation.elsewhere)
    truths = {name: act(bench, name) for name, act in SCENARIOS.items()}
    truths["removed_directory"] = by("placer", bench.run("mv", "removed_directory", "renamed_directory"), kind="moved")
    installation.run("scan", codes=(7,))
    document = json.loads(installation.run("diff", "--format", "json", codes=(7,)).stdout)
    return truths, document


def rows_of(document: dict[str, Any], name: str) -> list[dict[str, Any]]:
    wanted = f"/{name}"
    return [
        row
        for row in document["changes"]
        if row["path"].endswith(wanted)
        or ((row["moved_from"] or "").endswith(wanted) and not row["path"].endswith(".other"))
    ]


@pytest.mark.parametrize("name", [*(n for n in SCENARIOS if n not in UNCHANGED), "removed_directory"])
def test_the_right_process_is_named(name: str, outcome: tuple[dict[str, Truth], dict[str, Any]]) -> None:
    """Verdict, roles, pid and program are those of the processes that the lab started, and no others."""
    truths, document = outcome
    truth = truths[name]
    rows = rows_of(document, name)
    assert len(rows) == 1, [row["path"] for row in document["changes"]]
    row = rows[0]
    attribution = row["attribution"]
    named = {(a["pid"], a["exe"]) for a in attribution["actors"]}
    assert (row["kind"], attribution["verdict"]) == (truth.kind, truth.verdict), attribution
    assert named == {(pid, exe) for _, pid, exe in truth.processes}
    assert {(a["role"], a["pid"]) for a in attribution["actors"]} >= {(r, pid) for r, pid, _ in truth.processes}
    assert (attribution["reason"], attribution["coverage"]["complete"]) == (truth.reason, truth.reason is None)


def test_nothing_else_changed(outcome: tuple[dict[str, Truth], dict[str, Any]]) -> None:
    """No row that nobody caused: each one belongs to a scenario."""
    truths, document = outcome
    names = {*truths, "inside", "link_source", "renamed_directory", "first_name", "second_name"}
    strays = [r["path"] for r in document["changes"] if not any(n in r["path"] for n in names)]
    assert strays == []


def test_opened_but_unmodified_is_told_apart(outcome: tuple[dict[str, Truth], dict[str, Any]]) -> None:
    """A file that was opened for writing and not written is listed as such, with who opened it, and is no change."""
    truths, document = outcome
    (pid, exe) = truths["append_by_tee"].processes[0][1:]
    opened = {item["path"].rpartition("/")[2]: item["actors"] for item in document["opened_unmodified"]}
    assert [(a["pid"], a["exe"]) for a in opened["append_by_tee"]] == [(pid, exe)]
    assert rows_of(document, "append_by_tee") == []


def test_the_document_follows_its_schema(
    outcome: tuple[dict[str, Truth], dict[str, Any]], installation: Installation
) -> None:
    """What 'diff --format json' prints is what 'diff --schema' promises."""
    import jsonschema

    schema = json.loads(installation.run("diff", "--schema").stdout)
    jsonschema.Draft202012Validator(schema).validate(outcome[1])


def test_actors_are_complete(outcome: tuple[dict[str, Truth], dict[str, Any]]) -> None:
    """Each actor has what an assessor asks for: program, command line, directory, audit event."""
    for row in outcome[1]["changes"]:
        for actor in row["attribution"]["actors"]:
            assert actor["cmdline"] and actor["cwd"] and actor["exe"] and actor["comm"]
            assert actor["event"] and actor["time"] and actor["syscall"]
            assert actor["uid"] == 0


def test_a_directory_rename_moves_what_is_below(outcome: tuple[dict[str, Truth], dict[str, Any]]) -> None:
    """The file below a renamed directory is moved, by the same process."""
    truths, document = outcome
    row = next(r for r in document["changes"] if r["path"].endswith("renamed_directory/inside"))
    assert row["kind"] == "moved"
    assert {a["pid"] for a in row["attribution"]["actors"]} == {truths["removed_directory"].processes[0][1]}
