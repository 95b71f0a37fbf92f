"""``python -m tests.framing``: run the attempts and print fimscan's answer to each.

Exits with 0 only if no answer confirmed an innocent process or user.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.framing.attempt import Attempt, all_attempts
from tests.framing.runner import Outcome, play
from tests.lab.__main__ import HERE
from tests.lab.ground import Unavailable
from tests.lab.runner import Ground, open_ground
from tests.lab.volume import FILE_SYSTEMS, VARIANTS, volume


def main() -> int:
    """Run the attempts, print the answers; exit with 1 if any is wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.framing", description=__doc__)
    parser.add_argument("only", nargs="*", help="names of attempts or groups")
    parser.add_argument(
        "--fs",
        action="append",
        choices=[HERE, *FILE_SYSTEMS, *VARIANTS],
        help="a file system to run on; may be repeated",
    )
    parser.add_argument("--alone", action="store_true", help="each by itself: processes of other attempts raise doubts")
    parser.add_argument("--words", action="store_true", help="print what each attempt does")
    options = parser.parse_args()
    wanted = [a for a in all_attempts() if not options.only or {a.name, a.group} & set(options.only)]
    if options.alone:
        wanted = [replace(one, is_alone=True) for one in wanted]
    own = os.environ.get("FIMSCAN_LAB_OWN_DAEMON") == "1"
    wrong = 0
    try:
        with open_ground(own=own) as ground:
            for name in options.fs or [HERE]:
                wrong += _play_on(name, ground, wanted, words=options.words)
    except Unavailable as reason:
        print(f"The attempts cannot be made: {reason}")
        return 1
    return int(wrong > 0)


def _play_on(name: str, ground: Ground, wanted: Sequence[Attempt], *, words: bool) -> int:
    """Run all on one file system; return how many have a problem."""
    began = time.monotonic()
    with ExitStack() as stack:
        if name != HERE:
            scratch = stack.enter_context(TemporaryDirectory(prefix="fimscan-volume-"))
            os.chmod(scratch, 0o755)
            ground = ground.on(stack.enter_context(volume(name, Path(scratch))))
        outcomes = play(wanted, ground)
    for each, outcome in zip(wanted, outcomes, strict=True):
        _print(outcome, each.words if words else "")
    made = [o for o in outcomes if o.skipped is None]
    framed = sum(o.is_framed for o in made)
    wrong = sum(bool(o.problems) for o in made)
    seconds = time.monotonic() - began
    print(f"{name}: {len(made)} attempts in {seconds:.0f} s: {framed} framed somebody, {wrong} have a problem")
    return wrong


def _print(outcome: Outcome, words: str) -> None:
    mark = "skipped" if outcome.skipped else "FRAMED" if outcome.is_framed else "WRONG" if outcome.problems else "held"
    print(f"{mark:8}{outcome.name:46} {outcome.skipped or ' | '.join(outcome.answers)}")
    if words:
        print(f"        {words}")
    for problem in outcome.problems:
        print(f"        - {problem}")


if __name__ == "__main__":
    raise SystemExit(main())
