"""``fimscan schedule`` with a real auditd and real fanotify: which of the openers wrote."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.lab.conftest import unavailable
from tests.lab.ground import Installation
from tests.lab.test_live import Service, answer, host, service, shell  # noqa: F401  # a fixture is found by its name
from tests.pipeline.test_witness import why_not

pytestmark = pytest.mark.audit
_LIMIT, _USED = Path("/proc/sys/fs/aio-max-nr"), Path("/proc/sys/fs/aio-nr")


@pytest.fixture
def plain(host: Installation) -> Iterator[Installation]:  # noqa: F811
    """Watched files on tmpfs without io_submit(2): there, fanotify misses only stores to a mapping."""
    if (reason := why_not()) is not None:
        unavailable(reason)
    limit = _LIMIT.read_text()
    try:
        _LIMIT.write_text("0")
    except OSError as error:
        unavailable(f"fs.aio-max-nr: {error.strerror}")
    try:
        if _USED.read_text() != "0\n":
            unavailable("some process uses io_submit(2)")
        yield host
    finally:
        _LIMIT.write_text(limit)


@pytest.fixture
def host_kind() -> str:
    """No file system is mounted (see tests/lab/test_live.py)."""
    return "tmpfs"


def holder(host: Installation, flags: str, name: str = "file") -> subprocess.Popen[str]:  # noqa: F811
    """A process that has opened the file, and writes on request."""
    code = (
        f"import os, sys; f = os.open({name!r}, os.{flags}); print('open', flush=True)\n"
        "for line in sys.stdin: exec(line); print('done', flush=True)"
    )
    process = subprocess.Popen(
        [sys.executable, "-ISc", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=host.watched
    )
    assert process.stdout is not None and process.stdout.readline() == "open\n"
    return process


def reasons(host: Installation, row: dict[str, Any]) -> str:  # noqa: F811
    return host.run("explain", str(row["id"])).stdout.decode()


def test_of_two_that_had_it_open_the_writer_is_confirmed(plain: Installation) -> None:
    """Audit reports two opens, fanotify one write. The other process is cleared, with the reason."""
    with service(plain) as running:
        idler = holder(plain, "O_WRONLY")
        writer = shell("echo new >> file", plain)
        idler.communicate(timeout=20)
        row = running.wait_for_row("file", 30)
        assert answer(row) == ("confirmed", [writer]), row["attribution"]
        assert "fanotify saw it close it without a write" in " ".join(reasons(plain, row).split()).replace(
            "fanotify, which missed nothing, saw", "fanotify saw"
        )
        assert any(f"fanotify saw process {writer} write" in note for note in row["attribution"]["notes"])
        said = plain.run("status").stdout.decode()
        assert "fanotify on" in said and "so it can clear processes that wrote nothing" in said


def test_a_process_that_may_have_mapped_it_is_not_cleared(plain: Installation) -> None:
    """A process with a writable mapping only stores to it, which fanotify does not report."""
    with service(plain) as running:
        mapper = holder(plain, "O_RDWR")
        other = shell("echo new >> file", plain)
        mapper.communicate("import mmap; m = mmap.mmap(f, 3); m[0] = 65; m.close()\n", timeout=20)
        row = running.wait_for_row("file", 30)
        verdict, pids = answer(row)
        assert (verdict, set(pids)) == ("contested", {mapper.pid, other}), row["attribution"]


def test_both_that_wrote_are_named(plain: Installation) -> None:
    """fanotify does not single out a process."""
    with service(plain) as running:
        first = holder(plain, "O_WRONLY")
        second = shell("echo new >> file", plain)
        first.communicate("os.write(f, b'A')\n", timeout=20)
        row = running.wait_for_row("file", 30)
        verdict, pids = answer(row)
        assert (verdict, set(pids)) == ("contested", {first.pid, second}), row["attribution"]


def test_while_writes_may_be_missed_no_process_is_cleared(plain: Installation) -> None:
    """If io_submit(2) is usable, the verdict is as without fanotify; a note names who was seen writing."""
    _LIMIT.write_text("65536")
    with service(plain) as running:
        idler = holder(plain, "O_WRONLY")
        writer = shell("echo new >> file", plain)
        idler.communicate(timeout=20)
        row = running.wait_for_row("file", 30)
        verdict, pids = answer(row)
        assert (verdict, set(pids)) == ("contested", {idler.pid, writer}), row["attribution"]
        assert any(f"fanotify saw process {writer} write" in note for note in row["attribution"]["notes"])


def test_without_fanotify_answers_rest_on_audit(plain: Installation) -> None:
    """[witness] fanotify = false."""
    with plain.config.open("a") as file:
        file.write("[witness]\nfanotify = false\n")
    with service(plain) as running:
        idler = holder(plain, "O_WRONLY")
        writer = shell("echo new >> file", plain)
        idler.communicate(timeout=20)
        row = running.wait_for_row("file", 30)
        verdict, pids = answer(row)
        assert (verdict, set(pids)) == ("contested", {idler.pid, writer})
        assert row["attribution"]["notes"] == [] or "fanotify" not in str(row["attribution"]["notes"])


def test_a_process_that_audit_does_not_see_is_named_as_likely(plain: Installation) -> None:
    """It got the descriptor from another process: audit has no event of it, but the reason is not no-event."""
    early = holder(plain, "O_WRONLY")
    try:
        with service(plain) as running:
            assert early.stdin is not None
            early.stdin.write("os.write(f, b'early')\n")
            early.stdin.flush()
            shell(": > other", plain)
            row = running.wait_for_row("file", 60)
            verdict, pids = answer(row)
            assert (verdict, pids) == ("likely", [early.pid]), row["attribution"]
    finally:
        with suppress(BrokenPipeError):
            early.communicate(timeout=20)
