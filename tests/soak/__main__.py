"""``python -m tests.soak``: let everything go wrong for some minutes, and compare what fimscan recorded with the truth.

Exits with 0 only if nothing was lost, doubled, undelivered or unrecorded, and nobody was accused falsely.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import sys

from tests.lab.ground import Unavailable
from tests.lab.runner import open_ground
from tests.soak import scripts
from tests.soak.run import Pace, Result, play

_SHOWN = 15
SHORT = Pace(interval_s=4, rounds=30, changes=25, rate=80.0, rest_s=1.5, database_mb=128)


def main() -> int:
    """Run soaks and print their figures; exit with 1 if anything is wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--short", action="store_true", help="each fault once, as in the tests")
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--seed", type=int, help="of what is random: the moments of kills, the changes")
    options = parser.parse_args()
    own = os.environ.get("FIMSCAN_LAB_OWN_DAEMON") == "1"
    signal.signal(signal.SIGTERM, _stop)
    failed = False
    for _ in range(options.runs):
        seed = options.seed if options.seed is not None else random.randrange(10**6)
        try:
            with open_ground(own=own) as ground:
                script, pace = (scripts.short, SHORT) if options.short else (scripts.long, Pace())
                result = play(ground, script, pace, seed, lambda text: print(text, flush=True))
        except Unavailable as reason:
            print(f"The soak cannot run: {reason}")
            return 1
        print("\n".join(lines(result)), flush=True)
        failed |= not result.judgement.is_right
    return int(failed)


def _stop(*_: object) -> None:
    """Run the cleanup: mounts, rules and auditd must not stay. A second signal, as from timeout(1), does not end it."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    sys.exit(1)


def lines(result: Result) -> list[str]:
    """The figures of a soak, and what is wrong."""
    found, (begin, end) = result.judgement, result.sizes
    shown = [*found.problems[:_SHOWN], *(["..."] if len(found.problems) > _SHOWN else [])]
    if shown:
        shown.append(f"{len(found.problems)} problems; database, truth and output are in {result.root}")
    return [
        *shown,
        f"made {found.made:,}, found {found.found:,}, confirmed {found.confirmed:,}",
        f"in a gap {found.excused - found.contested:,}, contested with who only opened the file {found.contested:,}",
        f"lost {found.lost}, doubled {found.doubled}, accused wrongly {found.accused}, undelivered {found.undelivered}",
        f"wrong reasons {found.wrong}, alarms without a fault {found.false_alarms}",
        f"outages recorded {found.outages_recorded} of {found.outages}",
        f"scheduler: started {result.starts} times; the last one at its start: {begin}; at its end: {end}",
        f"{result.seconds:.0f} s",
    ]


if __name__ == "__main__":
    raise SystemExit(main())
