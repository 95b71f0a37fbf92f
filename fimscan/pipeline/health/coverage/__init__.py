"""Is audit watching what we watch? Facts are read in one place, and judged by functions of nothing but those facts.

facts     what there is to know
gather    reading it: the kernel, /etc/audit, /proc, the daemon's log, the database    <- the only I/O
kernel    switches and counters
daemon    auditd, its log, the time until that is rotated away
rules     the rules that are loaded, those that will be at the next boot, and what takes events away
places    mounts and file systems
"""

from fimscan.model import Check
from fimscan.pipeline.health.coverage import daemon, kernel, places, rules
from fimscan.pipeline.health.coverage.facts import Facts
from fimscan.pipeline.health.coverage.gather import gather


def judge(facts: Facts) -> list[Check]:
    """Everything that there is to say, from the kernel to the single directory."""
    if facts.kernel.error:
        return [kernel.unavailable(facts.kernel.error), *daemon.logs(facts)]
    return [*kernel.checks(facts), *daemon.checks(facts), *rules.checks(facts), *places.checks(facts)]


__all__ = ["Facts", "gather", "judge"]
