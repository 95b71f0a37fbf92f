"""The scan plan has the values of the configuration, in the scanner's terms."""

from __future__ import annotations

from fimscan.config import parse_config
from fimscan.pipeline.settings import ScanPlan
from fimscan.scan.watch import WatchSpec

CONFIG = """
[scan]
workers = 3
cross_mounts = true
[[watch]]
path = "/etc"
exclude = ["*.swp"]
policy = "attributes"
[[watch]]
path = "/var/log"
policy = "append-only"
reread = "ctime"
keep = 4
"""


def test_watches() -> None:
    """The policy decides what is read; a watch with policy attributes takes no digest."""
    plan = ScanPlan.of(parse_config(CONFIG), skip=[b"/etc/own"])
    etc, log = plan.watches
    assert etc == WatchSpec(path=b"/etc", exclude=("*.swp",), algorithms=())
    assert log == WatchSpec(path=b"/var/log", append_only=True, vouched=True)
    assert plan.roots == (b"/etc", b"/var/log")
    assert (plan.workers, plan.cross_mounts, list(plan.skip)) == (3, True, [b"/etc/own"])


def test_the_innermost_watch_decides() -> None:
    """It decides both whether a path is covered and how many generations of a log are kept."""
    plan = ScanPlan.of(parse_config(CONFIG))
    assert plan.scope.includes(b"/etc/passwd", is_directory=False)
    assert not plan.scope.includes(b"/etc/x.swp", is_directory=False)
    assert [plan.generations_to_keep(path) for path in (b"/var/log/syslog", b"/etc/passwd", b"/usr/x")] == [4, 0, 0]
