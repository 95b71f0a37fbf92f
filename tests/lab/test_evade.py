"""A user keeps an own file from being read, with real audit: it is reported as not compared, and the user is named."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.lab.ground import Installation, dismantle, load_rules, write_config

pytestmark = pytest.mark.audit

NOBODY = 65534
AS_NOBODY = ("setpriv", "--reuid", str(NOBODY), "--regid", str(NOBODY), "--clear-groups", "--inh-caps=-all")
# lease: releases the lease and takes it again; stubborn: never releases it; touch: sets the times continuously.
SOURCE = r"""
#define _GNU_SOURCE
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
static volatile sig_atomic_t asked;
static void ask(int signal) { (void)signal; asked = 1; }
int main(int count, char **word) {
    int touches = !strcmp(word[1], "touch");
    int fd = open(word[2], touches ? O_RDONLY : O_RDWR);
    (void)count;
    if (touches) {
        puts("ready"); fflush(stdout);
        for (;;) { futimens(fd, 0); usleep(50); }
    }
    signal(SIGIO, strcmp(word[1], "stubborn") ? ask : SIG_IGN);
    if (fcntl(fd, F_SETLEASE, F_WRLCK)) return 1;
    puts("ready"); fflush(stdout);
    for (;;) {
        if (asked) {
            asked = 0;
            fcntl(fd, F_SETLEASE, F_UNLCK);
            while (fcntl(fd, F_SETLEASE, F_WRLCK)) usleep(100);
        }
        usleep(1000);
    }
}
"""


@pytest.fixture(scope="module")
def evade() -> Iterator[Path]:
    """The program that evades reading, in a directory where every user may run it."""
    if shutil.which("cc") is None or shutil.which("setpriv") is None:
        pytest.skip("needs a C compiler and setpriv (util-linux)")
    directory = Path(tempfile.mkdtemp(prefix="fimscan-lab-bin-"))
    directory.chmod(0o755)
    (directory / "evade.c").write_text(SOURCE)
    subprocess.run(["cc", "-O1", "-o", directory / "evade", directory / "evade.c"], check=True)
    yield directory / "evade"
    shutil.rmtree(directory)


@pytest.fixture
def host(audit_log: str) -> Iterator[Installation]:
    """An installation with a baseline: one file of the user nobody, in a directory of that user."""
    root = Path(tempfile.mkdtemp(prefix="fimscan-lab-"))
    root.chmod(0o755)
    watched = root / "watched"
    watched.mkdir()
    (watched / "file").write_text("one line\n" * 50)
    for path in (watched, watched / "file"):
        os.chown(path, NOBODY, NOBODY)
    config = write_config(root, [watched], audit_log, '[scan]\nfile_timeout = "1s"\n')
    made = Installation(root=root, watched=watched, elsewhere=root, config=config)
    rules = load_rules(made)
    made.run("scan")
    yield made
    dismantle(rules, root)


@contextmanager
def kept(host: Installation, evade: Path, how: str) -> Iterator[None]:
    """Run the program that keeps the file from being read."""
    command = [*AS_NOBODY, str(evade), how, str(host.watched / "file")]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        try:
            yield
        finally:
            process.kill()


def altered(host: Installation) -> int:
    """Its owner modifies it; returns the pid of that process."""
    script = f"echo evil > {host.watched / 'file'}; echo $$"
    done = subprocess.run([*AS_NOBODY, "sh", "-c", script], capture_output=True, check=True)
    return int(done.stdout)


def scanned(host: Installation, code: int) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(host.run("scan", "--format", "json", codes=(code,)).stdout)
    return document


def uids(row: dict[str, Any]) -> set[int]:
    return {actor["uid"] for actor in row["attribution"]["actors"]}


@pytest.mark.parametrize("how", ["lease", "touch"])
def test_a_file_whose_reading_is_only_delayed_is_compared_at_once(host: Installation, evade: Path, how: str) -> None:
    """A lease is broken by a waiting reader; the content of a touched file is known anyway."""
    pid = altered(host)
    with kept(host, evade, how):
        (row,) = scanned(host, 4)["changes"]
    assert (row["kind"], row["changed"][0]) == ("modified", "content")
    assert pid in {actor["pid"] for actor in row["attribution"]["actors"]}
    assert uids(row) == {NOBODY}


def test_a_file_that_cannot_be_read_is_never_the_same(host: Installation, evade: Path) -> None:
    """Every scan reports it until it can be read. Then all processes that opened it meanwhile are considered."""
    pid = altered(host)
    with kept(host, evade, "stubborn"):
        for _ in range(2):
            document = scanned(host, 4)
            assert [(item["reason"], item["changed"][:1]) for item in document["unreadable"]] == [("leased", ["size"])]
            assert document["changes"] == document["opened_unmodified"] == []
        said = host.run("diff", "--flat", codes=(4,)).stdout.decode()
        assert "another process holds a lease on it" in said and "not compared since" in said
        assert "the content is the same" not in said
    since = document["unreadable"][0]["since"]
    (row,) = scanned(host, 4)["changes"]
    assert (row["kind"], row["window"]["after"]) == ("modified", since)
    assert pid in {actor["pid"] for actor in row["attribution"]["actors"]}
    assert uids(row) == {NOBODY}
    assert scanned(host, 0)["unreadable"] == []
