"""``fimscan review``: decide about all changes of a report, set by set, on a terminal."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import click
from msgspec.structs import replace

from fimscan.cli.context import Settings, note, packaged
from fimscan.cli.last_shown import remember
from fimscan.cli.plan import progress_of
from fimscan.cli.remedies import own_command
from fimscan.cli.reviewer import approval_now, current_reviewer, own_changes_rule
from fimscan.cli.reviewing import Reviewing
from fimscan.cli.terminal import Terminal, TerminalGoneError, is_interactive
from fimscan.errors import InterruptedReviewError, InterruptedScanError, UsageError
from fimscan.grouping import Facts
from fimscan.model import Diff
from fimscan.pipeline.history.review import Desk
from fimscan.pipeline.history.shown import present_report
from fimscan.report.words import plural

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@click.command()
@click.option("--ticket", default="", metavar="T", help="The change ticket to begin with.")
@click.pass_obj
def review(settings: Settings, *, ticket: str) -> int:
    """Review the changes that wait: first what stands out, one by one, then what else is in each change set.

    Keys: a accept, v violation, s skip, e explain, o open the set, t ticket, / filter, u undo, q quit, ? help. Each
    decision is stored at once, so nothing is lost by a signal or a broken connection. Nothing is taken that was found
    after the review began.

    It needs a terminal. In scripts, use 'fimscan accept', 'fimscan reject' and 'fimscan undo'.

    Example: fimscan review --ticket CHG-17
    """
    if not is_interactive():
        raise UsageError(
            "review needs a terminal; without one, use 'fimscan accept' (by --set, --exe, --package-as-shipped ...)"
        )
    config = settings.config_if_any()
    reviewer = current_reviewer()
    with settings.database(writing=True) as database:

        def asked(diff: Diff) -> tuple[Diff, Facts | None]:
            return packaged(database, diff, settings)

        report = present_report(database, config, asked)
        plans = progress_of(database, report.diff, report.grouping, settings)
        report = report._replace(diff=replace(report.diff, plans=plans))
        if not report.grouping.rows:
            unread = sum(bool(item.differs) for item in report.diff.unreadable)
            more = f" {plural(unread, 'changed file')} could not be read." if unread else ""
            click.echo(f"Nothing waits for a review, as of scan {report.diff.end.id}.{more}")
            return 0
        desk = Desk(database, config, report, reviewer)
        warns = own_changes_rule(config) == "warn"
        state = Reviewing(desk, partial(approval_now, reviewer), warns=warns, held=_held, program=own_command(settings))
        if ticket:
            for key in ("t", *ticket, "enter"):
                state.press(key)
        try:
            with Terminal() as terminal:
                _run(state, terminal)
        except InterruptedScanError as error:
            raise InterruptedReviewError(error, _ended(state)) from None
        except TerminalGoneError:
            return InterruptedReviewError.exit_code
        remember(settings.url(), report.diff)
        later = desk.later_scan()
    click.echo(_ended(state))
    if later is not None:
        note(f"scan {later} finished after this report was made; '{own_command(settings)} review' shows what it found")
    return 0


def _run(state: Reviewing, terminal: Terminal) -> None:
    while not state.is_over:
        terminal.paint(state.frame(terminal.size))
        key = terminal.key()
        if key is not None:
            state.press(key)


def _ended(state: Reviewing) -> str:
    accepted, violations = state.decisions
    return f"{plural(accepted, 'change')} accepted, {violations:,} marked as violations."


@contextmanager
def _held() -> Iterator[None]:
    """Let a decision be stored and shown as stored before a signal ends the review."""
    came: list[int] = []
    kept = (None, signal.SIG_IGN)
    handlers = {number: handler for number in _SIGNALS if (handler := signal.getsignal(number)) not in kept}
    # Not blocked: in a process with several threads, another one would take the signal.
    for number in handlers:
        signal.signal(number, lambda number, _frame: came.append(number))
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        sys.stdout.flush()
    if came:
        signal.raise_signal(came[0])
