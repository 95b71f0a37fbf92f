"""``python -m tests.framing``: plays the attempts and prints, for each, what fimscan said.

Exits with 0 only where nobody innocent was named for sure.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from demo.auditd import any_daemon, why_not
from tests.framing.attempt import all_attempts
from tests.framing.runner import Outcome, play


def main() -> int:
    """Play, print."""
    parser = argparse.ArgumentParser(prog="python -m tests.framing", description=__doc__)
    parser.add_argument("only", nargs="*", help="names of attempts or groups")
    parser.add_argument("--words", action="store_true", help="say what each attempt does")
    options = parser.parse_args()
    wanted = [a for a in all_attempts() if not options.only or {a.name, a.group} & set(options.only)]
    if reason := why_not():
        print(f"The attempts cannot be made: {reason}")
        return 1
    began = time.monotonic()
    with TemporaryDirectory(prefix="fimscan-auditd-") as directory, any_daemon(Path(directory)) as daemon:
        outcomes = play(wanted, daemon.log)
    words = {a.name: a.words for a in wanted}
    for outcome in outcomes:
        _print(outcome, words[outcome.name] if options.words else "")
    made = [o for o in outcomes if o.skipped is None]
    framed = sum(o.is_framed for o in made)
    wrong = sum(bool(o.problems) for o in made)
    print(f"{len(made)} attempts in {time.monotonic() - began:.0f} s: {framed} framed somebody, {wrong} have a problem")
    return int(wrong > 0)


def _print(outcome: Outcome, words: str) -> None:
    mark = "skipped" if outcome.skipped else "FRAMED" if outcome.is_framed else "WRONG" if outcome.problems else "held"
    print(f"{mark:8}{outcome.name:46} {outcome.skipped or ' | '.join(outcome.answers)}")
    if words:
        print(f"        {words}")
    for problem in outcome.problems:
        print(f"        - {problem}")


if __name__ == "__main__":
    raise SystemExit(main())
