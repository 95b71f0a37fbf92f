"""A rule watches the directory that it was loaded for, not the one that has its path now."""

from __future__ import annotations

from pathlib import Path

from msgspec.structs import replace

from fimscan.attribution import CoverageMap, Extent, Need
from fimscan.audit import keep_rule_targets
from fimscan.audit.targets import with_targets
from fimscan.model import AuditNotice, AuditObservation, EventId, GapReason, NoticeKind, Window
from tests.support import SECOND, observation, rule

OLD, NEW = (1, 10), (1, 11)


def seen(at: float, target: tuple[int, int] | None) -> AuditObservation:
    return observation(at, rules=(rule(target=target, since_ns=int(at * SECOND)),))


def added(at: float, key: str | None = "fimscan") -> AuditNotice:
    return AuditNotice(event=EventId(int(at * SECOND), 1), kind=NoticeKind.RULE_ADDED, key=key)


def test_a_replaced_directory_makes_its_rule_stale_for_good() -> None:
    """It stays stale in later observations, in which the directory does not change any more."""
    first = seen(1, OLD)
    second = keep_rule_targets(first, seen(2, NEW), [])
    third = keep_rule_targets(second, seen(3, NEW), [])
    assert [o.rules[0].stale for o in (first, second, third)] == [False, True, True]
    assert keep_rule_targets(third, seen(4, OLD), []).rules[0].stale is False, "the old one was moved back"
    assert keep_rule_targets(first, seen(2, None), []).rules[0].stale is True


def test_a_reloaded_rule_watches_the_current_directory() -> None:
    """Only a notice with its own key counts; a reboot loads all rules anew."""
    stale = keep_rule_targets(seen(1, OLD), seen(2, NEW), [])
    assert keep_rule_targets(stale, seen(4, NEW), [added(3)]).rules[0].stale is False
    assert keep_rule_targets(stale, seen(4, NEW), [added(3, "other")]).rules[0].stale is True
    assert keep_rule_targets(stale, seen(4, NEW), [added(0.5)]).rules[0].stale is True
    assert keep_rule_targets(stale, replace(seen(4, NEW), boot_id="boot-2"), []).rules[0].stale is False


def test_the_replacing_directory_is_not_covered() -> None:
    """Changes there are "not covered", never "audit watched and saw nobody"."""
    first = seen(900, OLD)
    second = keep_rule_targets(first, seen(2100, NEW), [])
    window = Window(after_ns=1000 * SECOND, before_ns=2000 * SECOND)
    whole = [[Extent(start_ns=0, end_ns=3000 * SECOND)]]
    coverage = CoverageMap((first, second), (), whole).over(b"/w/f", window, Need())
    assert [gap.reason for gap in coverage.gaps] == [GapReason.NO_RULE]
    assert CoverageMap((first, seen(2100, OLD)), (), whole).over(b"/w/f", window, Need()).complete


def test_targets_are_read_from_the_file_system(tmp_path: Path) -> None:
    """Device and inode of what is at the path; nothing if nothing is there."""
    info = tmp_path.stat()
    rules = [rule(str(tmp_path).encode()), rule(b"/nowhere/at/all")]
    assert [r.target for r in with_targets(rules, 7)] == [(info.st_dev, info.st_ino), None]
