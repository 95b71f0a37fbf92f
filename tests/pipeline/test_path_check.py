"""A single look: what it finds and decides, without a queue, an audit log or the recording."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from fimscan.config import Config, parse_config
from fimscan.linux.filesystems import Numbers
from fimscan.model import Actor, FileState
from fimscan.pipeline import run_scan
from fimscan.pipeline.live.path_check import CheckResult, OpenWriters, PathCheck, decision_without_reading
from fimscan.pipeline.live.queue import Decision, LookQueue, LookRequest, Next
from fimscan.pipeline.settings import ScanPlan
from fimscan.scan.path_scan import PathScanner
from fimscan.scan.watch import WatchSpec
from fimscan.store import scans as scan_store
from fimscan.store.contents import contents_file, load_from
from fimscan.store.database import Database


class Site:
    """A watched file, scanned once."""

    def __init__(self, root: Path) -> None:
        self.watched = root / "watched"
        self.watched.mkdir()
        self.target = self.watched / "file"
        self.target.write_text("old")
        self.config: Config = parse_config(f'[[watch]]\npath = "{self.watched}"\nexclude = ["*.swp"]\n')
        self.database = Database(f"sqlite:///{root}/x.db", host="h")
        run_scan(self.database, self.config, source=None)

    def check(self, *requests: LookRequest) -> CheckResult:
        plan = ScanPlan.of(self.config, skip=self.database.own_files)
        return PathCheck(self.database, plan, time.monotonic).check(requests)

    def request(self, *, below: bool = False) -> LookRequest:
        return LookRequest(path=os.fsencode(self.target), below=below)

    def scans(self) -> int:
        with self.database.read() as session:
            return len(scan_store.all_scans(session))


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    made = Site(tmp_path)
    yield made
    made.database.close()


def test_a_look_reports_a_change_and_records_nothing(site: Site) -> None:
    """The result has both states, and the decision is that the request is done."""
    site.target.write_text("longer")
    checked = site.check(site.request())
    (seen,) = checked.seen
    assert checked.is_changed and seen.pair.before is not None and seen.pair.after is not None
    assert (seen.pair.before.size, seen.pair.after.size) == (3, 6)
    assert checked.decisions == [Decision(path=os.fsencode(site.target), next=Next.DONE)]
    assert site.scans() == 1


def test_an_unchanged_file_is_seen_and_no_news(site: Site) -> None:
    """Its holders are known: there are none."""
    checked = site.check(site.request())
    (seen,) = checked.seen
    assert not checked.is_changed and seen.holders is not None and seen.holders.actors == ()


def test_an_excluded_path_is_not_seen(site: Site) -> None:
    """The request is done all the same."""
    path = site.watched / "x.swp"
    path.write_text("x")
    checked = site.check(LookRequest(path=os.fsencode(path)))
    assert checked.seen == [] and [one.next for one in checked.decisions] == [Next.DONE]


def test_a_new_directory_covers_the_requests_below_it(site: Site) -> None:
    """What was read with the directory is not read a second time."""
    directory = site.watched / "new"
    directory.mkdir()
    (directory / "file").write_text("x")
    requests = [LookRequest(path=os.fsencode(path)) for path in (directory, directory / "file")]
    checked = site.check(*requests)
    assert [one.pair.path for one in checked.seen] == [request.path for request in requests]
    assert [one.next for one in checked.decisions] == [Next.DONE, Next.DONE]


def test_what_is_not_reached_in_time_has_no_decision(site: Site) -> None:
    """It stays due."""
    ticks = iter([0.0, 0.0, 10.0])
    plan = ScanPlan.of(site.config)
    requests = [site.request(), LookRequest(path=os.fsencode(site.watched))]
    checked = PathCheck(site.database, plan, lambda: next(ticks)).check(requests)
    assert [one.path for one in checked.decisions] == [os.fsencode(site.target)]


# --- decisions without reading --------------------------------------------------------------------------------------


def decide(path: Path, *, known: str, held: bool = True, overdue: bool = False, max_size: int = 100) -> Next | None:
    """Decide about a file that a process holds, while the state of the file ``known`` is stored."""
    scanner = PathScanner([WatchSpec(path=os.fsencode(path.parent))])
    (state,) = scanner.look(os.fsencode(path))
    assert isinstance(state, FileState)
    found = scanner.stat(state.path)
    assert found is not None
    writers = OpenWriters(
        as_of_ns=1,
        stats={state.path: found},
        held={state.identity: [Actor(pid=1)]} if held else {},
        doubts=(),
        everything=False,
        numbers=Numbers(),
    )
    stored = {"same": state, "changed": replace(state, ctime_ns=1), "nothing": None}[known]
    request = LookRequest(path=state.path, is_overdue=overdue)
    decision = decision_without_reading(request, writers, max_size, lambda _path: stored)
    return decision.next if decision is not None else None


def test_decisions_without_reading(tmp_path: Path) -> None:
    """A large file is left to scans; a held one waits; an overdue one is read unless its inode is unchanged."""
    path = tmp_path / "file"
    path.write_text("x" * 50)
    assert decide(path, known="changed", max_size=10) is Next.DONE
    assert decide(path, known="same", held=False) is None
    assert decide(path, known="changed") is Next.WAIT
    assert decide(path, known="same", overdue=True) is Next.AGAIN
    assert decide(path, known="changed", overdue=True) is None
    assert decide(path, known="nothing", overdue=True) is None


def test_the_queue_applies_decisions() -> None:
    """A path that is done is removed, a waiting one is due later, and one to look at again keeps its subtree."""
    now = 1000.0
    queue = LookQueue(quiet=1, max_delay=10, clock=lambda: now)
    queue.add([LookRequest(path=path) for path in (b"/a", b"/b", b"/c", b"/d")])
    now += 2
    queue.apply(
        [
            Decision(path=b"/a", next=Next.DONE),
            Decision(path=b"/b", next=Next.WAIT),
            Decision(path=b"/c", next=Next.AGAIN, below=True),
        ]
    )
    assert [request.path for request in queue.due()] == [b"/d"]
    now += 2
    assert [(request.path, request.below) for request in queue.due()] == [(b"/b", False), (b"/c", True), (b"/d", False)]


def test_a_look_keeps_the_content_that_it_read(site: Site) -> None:
    """A state between two scans has its text, too."""
    site.config = parse_config(f'[[watch]]\npath = "{site.watched}"\nkeep_content = true\n')
    site.target.write_text("between two scans\n")
    checked = site.check(site.request())
    (seen,) = checked.seen
    assert seen.pair.after is not None
    digest = seen.pair.after.digest("sha256")
    assert digest is not None
    assert load_from(contents_file(site.database.file), [digest]) == {digest: b"between two scans\n"}
