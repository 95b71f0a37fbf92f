"""Coverage of audit: every way to miss an access is a gap, and nothing else is."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from fimscan.attribution import CoverageMap, Extent, Need, covers
from fimscan.model import AuditNotice, AuditObservation, EventId, Gap, GapReason, NoticeKind, Window
from tests.support import SECOND, WINDOW, observation, rule

WHOLE = [[Extent(start_ns=0, end_ns=3000 * SECOND)]]
BOTH = (observation(900), observation(2100))
NEED = Need(writes=True, attributes=True)


def notice(kind: NoticeKind, at: float, key: str | None = "fimscan") -> AuditNotice:
    return AuditNotice(event=EventId(int(at * SECOND), int(at)), kind=kind, key=key)


def gaps(*notices: AuditNotice, window: Window = WINDOW) -> tuple[Gap, ...]:
    return CoverageMap(BOTH, notices, WHOLE).over(b"/w/f", window, NEED).gaps


def seconds(found: tuple[Gap, ...]) -> list[tuple[int, int, GapReason]]:
    """The gap in whole seconds, without the slack of the clocks."""
    return [(round(g.start_ns / SECOND), round(g.end_ns / SECOND), g.reason) for g in found]


def test_watched_all_the_time_is_complete() -> None:
    """Rules before and after, the same daemon, no lost events, the log read: no gap."""
    assert gaps() == ()


@pytest.mark.parametrize(
    ("stop", "start", "reason"),
    [
        (NoticeKind.DAEMON_END, NoticeKind.DAEMON_START, GapReason.DAEMON_STOPPED),
        (NoticeKind.DISABLED, NoticeKind.ENABLED, GapReason.AUDIT_DISABLED),
        (NoticeKind.RULE_REMOVED, NoticeKind.RULE_ADDED, GapReason.RULE_REMOVED),
    ],
)
def test_a_stop_and_its_start_are_a_gap(stop: NoticeKind, start: NoticeKind, reason: GapReason) -> None:
    """Both observations look healthy; the log shows the stop. Outside of the window it does not matter."""
    away = [notice(stop, 1400), notice(start, 1500)]
    assert seconds(gaps(*away)) == [(1400, 1500, reason)]
    assert gaps(*away, window=Window(after_ns=1600 * SECOND, before_ns=1700 * SECOND)) == ()


def test_a_stop_without_a_start_lasts() -> None:
    """It lasts until the next observation."""
    assert seconds(gaps(notice(NoticeKind.RULE_REMOVED, 1400))) == [(1400, 2000, GapReason.RULE_REMOVED)]


def test_another_keys_rules_may_come_and_go() -> None:
    """Rules of other programs do not matter."""
    assert gaps(notice(NoticeKind.RULE_REMOVED, 1400, key="other")) == ()


def test_rules_that_were_added_cover_from_then_on() -> None:
    """The time before the addition is a gap."""
    seen = (observation(900, rules=()), observation(2100))
    found = CoverageMap(seen, [notice(NoticeKind.RULE_ADDED, 1400)], WHOLE).over(b"/w/f", WINDOW, NEED)
    assert seconds(found.gaps) == [(1000, 1400, GapReason.NO_RULE)]


def test_a_clock_that_was_set_and_set_back_is_a_gap() -> None:
    """Both observations around that time agree. The one in between has a time that has not come yet."""

    def at(time: int, since_boot: int) -> AuditObservation:
        return observation(time, boottime_ns=since_boot * SECOND)

    seen = (at(900, 900), at(1200, 1200), at(5000, 1300), at(1400, 1400), at(2100, 2100))
    found = CoverageMap(seen, (), WHOLE).over(b"/w/f", WINDOW, NEED)
    assert seconds(found.gaps) == [(1200, 1400, GapReason.CLOCK_CHANGED)]
    # Two processes look at the same moment: nothing was set.
    close = (at(900, 900), replace(at(1200, 1200), boottime_ns=1200 * SECOND + 2000), at(1200, 1200), at(2100, 2100))
    assert CoverageMap(close, (), WHOLE).over(b"/w/f", WINDOW, NEED).complete


def test_every_log_has_to_be_read() -> None:
    """One of two logs does not make up for the other."""
    two = [*WHOLE, [Extent(start_ns=0, end_ns=1400 * SECOND)]]
    found = CoverageMap(BOTH, (), two).over(b"/w/f", WINDOW, NEED)
    assert seconds(found.gaps) == [(1400, 2000, GapReason.LOG_MISSING)]


def test_a_file_with_a_rule_of_its_own_is_not_as_its_neighbours() -> None:
    """The cached result of one is not used for the other, whichever is asked first."""
    own = rule(scope=b"/w/f", recursive=False)
    for order in ((b"/w/f", b"/w/g"), (b"/w/g", b"/w/f")):
        asked = CoverageMap((observation(900, rules=(own,)), observation(2100, rules=(own,))), (), WHOLE)
        assert {path: asked.over(path, WINDOW, NEED).complete for path in order} == {b"/w/f": True, b"/w/g": False}


def test_a_rule_for_writes_does_not_cover_attributes() -> None:
    """A change of content and one of attributes in one directory get different answers."""
    writes = rule(attributes=False)
    asked = CoverageMap((observation(900, rules=(writes,)), observation(2100, rules=(writes,))), (), WHOLE)
    assert asked.over(b"/w/f", WINDOW, Need(writes=True)).complete
    assert not asked.over(b"/w/g", WINDOW, Need(writes=False, attributes=True)).complete


def test_gaps_of_one_reason_that_touch_are_one() -> None:
    """Three observations without rules make one gap."""
    seen = tuple(observation(at, rules=()) for at in (900, 1300, 1600, 2100))
    found = CoverageMap(seen, (), WHOLE).over(b"/w/f", WINDOW, NEED)
    assert seconds(found.gaps) == [(1000, 2000, GapReason.NO_RULE)]


@pytest.mark.parametrize(
    ("path", "values", "covered"),
    [
        (b"/w/f", {}, True),
        (b"/w", {}, True),
        (b"/w-not", {}, False),
        (b"/w/f", {"recursive": False}, False),
        (b"/w/f", {"arches": frozenset({"b64"})}, False),
        (b"/w/f", {"arches": frozenset()}, True),
        (b"/w/f", {"attributes": False}, False),
        (b"/any", {"scope": b"/"}, True),
    ],
)
def test_what_a_rule_covers(path: bytes, values: dict[str, object], covered: bool) -> None:
    """A directory and everything below it, on both ABIs (a 32-bit program is a writer too), for both kinds of calls."""
    assert covers([replace(rule(), **values)], path, NEED) is covered
