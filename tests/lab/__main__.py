"""``python -m tests.lab``: run every scenario, print fimscan's answers beside the truth, and the counts.

Runs on each requested file system, in a loop image. Exits with 0 only if nothing was missed, nobody was accused falsely
and nobody was cleared wrongly.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.lab.ground import Unavailable
from tests.lab.judge import Grade, Judgement, broken, figures
from tests.lab.runner import Ground, Result, open_ground, play_alone, play_together
from tests.lab.scenario import Scenario, all_scenarios
from tests.lab.volume import FILE_SYSTEMS, VARIANTS, kind_here, kind_of, volume

HERE = "here"


def main() -> int:
    """Run the scenarios, print the result of each; exit with 1 if any is wrong."""
    options = _options()
    own = options.own_daemon or os.environ.get("FIMSCAN_LAB_OWN_DAEMON") == "1"
    failed = False
    # SIGTERM also runs the cleanup, which starts the stopped auditd again.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    try:
        with open_ground(own=own) as ground:
            for name in options.fs or (HERE, *FILE_SYSTEMS):
                failed |= _play_on(name, ground, options)
    except Unavailable as reason:
        print(f"The lab cannot run: {reason}")
        return 1
    return int(failed)


def _play_on(name: str, ground: Ground, options: argparse.Namespace) -> bool:
    """Run everything on one file system; return whether anything is wrong."""
    failed = False
    with ExitStack() as stack:
        kind = kind_here()
        if name != HERE:
            scratch = stack.enter_context(TemporaryDirectory(prefix="fimscan-volume-"))
            os.chmod(scratch, 0o755)
            ground = ground.on(stack.enter_context(volume(name, Path(scratch))))
            kind = kind_of(name)
        wanted = [s for s in all_scenarios(kind) if not options.only or {s.name, s.group} & set(options.only)]
        for number in range(1, options.runs + 1):
            began = time.monotonic()
            result = play(wanted, ground, noisy=options.noise)
            title = f"{name}: run {number} of {options.runs}, {'noisy' if options.noise else 'quiet'}"
            failed |= report(result, f"{title}, {time.monotonic() - began:.0f} s", brief=options.brief)
    return failed


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.lab", description=__doc__)
    parser.add_argument(
        "--fs",
        action="append",
        choices=[HERE, *FILE_SYSTEMS, *VARIANTS],
        help="a file system to run on; may be repeated. Default: that of /tmp, and all that servers use",
    )
    parser.add_argument(
        "--noise", action="store_true", help="with other processes that write thousands of times a second"
    )
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--brief", action="store_true", help="print only wrong results and the counts")
    parser.add_argument("--own-daemon", action="store_true", help="stop a running auditd meanwhile")
    parser.add_argument("only", nargs="*", help="names of scenarios or groups")
    return parser.parse_args()


def play(scenarios: Sequence[Scenario], ground: Ground, *, noisy: bool) -> Result:
    """Run the scenarios that share two scans, then the others one by one."""
    together = [scenario for scenario in scenarios if not scenario.alone]
    result = play_together(together, ground, noisy=noisy) if together else Result()
    for scenario in scenarios:
        if scenario.alone:
            try:
                result.judgements.append(play_alone(scenario, ground, noisy=noisy))
            except (AssertionError, OSError) as error:
                result.judgements.append(broken(scenario.name, scenario.group, error))
    return result


def report(result: Result, title: str, *, brief: bool) -> bool:
    """Print a result; return whether anything is wrong."""
    shown = [j for j in result.judgements if not brief or j.grade is not Grade.RIGHT]
    print(f"\n{title}\n")
    for row in [("scenario", "expected", "fimscan's answer", "who"), *map(_row, shown)]:
        print("{:<46} {:<30} {:<30} {}".format(*row))
    for judgement in shown:
        for problem in judgement.problems:
            print(f"{judgement.grade}: {judgement.scenario}: {problem}")
    for problem in result.noise_wrong:
        print(f"{Grade.FALSE}: {problem}")
    counted = figures(result.judgements, len(result.noise_wrong))
    print()
    for name, number in counted.items():
        print(f"{number:>6}  {name}")
    if result.noise_calls:
        rate = result.noise_calls / result.noise_seconds
        print(f"{result.noise_calls:>6}  calls by the noise ({rate:,.0f} a second); {result.noise_rows} changes by it")
        print(f"{result.rotations:>6}  rotations of the log")
    return bool(counted["missed"] or counted["FALSE ACCUSATIONS"] or counted["WRONGLY CLEARED"])


def _row(judgement: Judgement) -> tuple[str, str, str, str]:
    mark = "" if judgement.grade is Grade.RIGHT else f"{judgement.grade}: "
    return judgement.scenario, judgement.expected, f"{mark}{judgement.got}", judgement.who


if __name__ == "__main__":
    raise SystemExit(main())
