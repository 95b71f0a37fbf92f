"""The checks of 'fimscan audit status': whether audit covers the watched paths.

One module reads the facts. The others are pure functions from facts to checks.

facts     the facts, as plain values
gather    reads them: the kernel, /etc/audit, /proc, auditd's log, the database    <- the only I/O
kernel    switches, counters and the queue of the kernel's audit system
daemon    auditd, its log, and the time until a record is rotated away
rules     loaded rules, rules of the next boot, rules that suppress events, io_uring
places    mounts and file systems
"""

from fimscan.model import Check
from fimscan.pipeline.health.coverage import daemon, kernel, places, rules
from fimscan.pipeline.health.coverage.facts import Facts
from fimscan.pipeline.health.coverage.gather import gather


def judge(facts: Facts) -> list[Check]:
    """Return all checks; if the kernel cannot be asked, only that and those of the logs."""
    if facts.kernel.error:
        return [kernel.unavailable(facts.kernel.error), *daemon.logs(facts)]
    return [*kernel.checks(facts), *daemon.checks(facts), *rules.checks(facts), *places.checks(facts)]


def judge_rules(facts: Facts) -> list[Check]:
    """Return the checks of rules, and whether audit is enabled; if the kernel cannot be asked, only that."""
    if facts.kernel.error:
        return [kernel.unavailable(facts.kernel.error)]
    return [kernel.switch(facts), *rules.checks(facts)]


__all__ = ["Facts", "gather", "judge", "judge_rules"]
