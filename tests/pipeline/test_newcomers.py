"""A program that never changed anything in a directory before is known from the stored answers."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from fimscan.config import Config, Watch
from fimscan.config import Database as DatabaseSettings
from fimscan.model import Attribution, Finding, Role, Verdict
from fimscan.pipeline import run_scan
from fimscan.pipeline.history.diff import diff_of_scans
from fimscan.pipeline.history.newcomers import newcomers
from fimscan.store import findings as finding_store
from fimscan.store.database import Database
from tests.report.conftest import Make

VIM, EVIL = b"/usr/bin/vim", b"/tmp/evil"


class Site:
    """A directory that is scanned without audit; the answers are put in afterwards."""

    def __init__(self, root: Path) -> None:
        self.watched = root / "watched"
        (self.watched / "below").mkdir(parents=True)
        self.config = Config(
            database=DatabaseSettings(url=f"sqlite:///{root}/fim.db"),
            watch=(Watch(path=os.fsdecode(self.watched), severity="high"),),
        )
        self.database = Database(f"sqlite:///{root}/fim.db", host="h")
        self.scan()

    def scan(self) -> None:
        run_scan(self.database, self.config, source=None)

    def write(self, name: str, exe: bytes, verdict: str = "confirmed", role: Role = Role.WRITER) -> None:
        """Change a file, scan, and name this program for it."""
        path = self.watched / name
        path.write_text(f"{path.read_text() if path.exists() else ''}more\n")
        self.scan()
        found = [row for row in self.rows() if row.change.path == os.fsencode(path)]
        actor = Make().actor(role, exe=exe)
        answer = Attribution(verdict=Verdict(verdict), actors=(actor,))
        with self.database.begin() as session:
            finding_store.set_attributions(session, {found[-1].change.id: answer})

    def rows(self, start: int | None = None) -> Sequence[Finding]:
        return diff_of_scans(self.database, start, None, self.config).findings

    def new(self, start: int | None = None) -> set[str]:
        with self.database.read() as session:
            return {os.path.basename(path).decode() for path in newcomers(session, self.rows(start))}


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def last(site: Site) -> int:
    return diff_of_scans(site.database, None, None).end.id


def test_the_first_deed_of_a_program_where_others_work_is_new(site: Site) -> None:
    """The second one is not, and neither is that of a program which is always there."""
    for _ in range(3):
        site.write("a", VIM)
    site.write("b", EVIL)
    assert site.new(last(site) - 1) == {"b"}
    site.write("c", VIM)
    assert site.new(last(site) - 1) == set()
    site.write("b", EVIL)
    assert site.new(last(site) - 1) == set()
    assert site.new(last(site) - 3) == {"b"}, "in a longer report, the first deed counts"


def test_without_a_habit_nothing_is_new(site: Site) -> None:
    """In the first days, every program would be; and what is below a directory is another one."""
    site.write("a", VIM)
    site.write("b", EVIL)
    assert site.new(last(site) - 1) == set()
    for _ in range(4):
        site.write("below/x", VIM)
    site.write("c", b"/usr/bin/third")
    assert site.new(last(site) - 1) == set()


@pytest.mark.parametrize(
    ("exe", "verdict", "role"),
    [
        (EVIL, "contested", Role.WRITER),
        (EVIL, "confirmed", Role.CHANGER),
        (b"/usr/bin/dpkg", "confirmed", Role.WRITER),
        (b"/usr/sbin/useradd", "confirmed", Role.WRITER),
    ],
)
def test_who_is_no_newcomer(site: Site, exe: bytes, verdict: str, role: Role) -> None:
    """A candidate, one that changed a mode, and tools that work anywhere."""
    for _ in range(3):
        site.write("a", VIM)
    site.write("b", exe, verdict, role)
    assert site.new(last(site) - 1) == set()


def test_a_removed_program_is_the_same_one(site: Site) -> None:
    """The kernel marks it."""
    for _ in range(3):
        site.write("a", VIM + b" (deleted)")
    site.write("b", VIM)
    assert site.new(last(site) - 1) == set()
