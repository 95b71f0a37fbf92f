"""``fimscan notify``: deliver what waits for the receivers of ``[[output]]``, and show it."""

from __future__ import annotations

import signal
import sys
import time
import uuid
from types import FrameType

import click

from fimscan.cli.context import Settings, note
from fimscan.config import Config
from fimscan.errors import ConfigError, UsageError
from fimscan.model import MessageKind, MessageState
from fimscan.pipeline.controls.record import after_delivery
from fimscan.pipeline.outputs.delivery import Deliverer, Notifier, Outcome
from fimscan.pipeline.outputs.messages import make_messages, notice_of
from fimscan.report.documents.outbox import OutputState, outbox_document
from fimscan.report.json import write_document
from fimscan.report.outbox import outbox_lines
from fimscan.report.words import plural
from fimscan.store import outbox
from fimscan.store import scans as scan_store
from fimscan.store.database import Database

_LISTED = 100
_MOST_WAIT_S = 300.0


@click.command()
@click.option("--follow", is_flag=True, help="Go on until stopped: try again what could not be delivered.")
@click.option("--list", "listing", is_flag=True, help="Only show what waits and what became of the last messages.")
@click.option("--test", "testing", is_flag=True, help="Send a message that says that it is a test.")
@click.option("--output", "only", metavar="NAME", help="Only this output.")
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True)
@click.pass_obj
def notify(  # one argument for each option
    settings: Settings, *, follow: bool, listing: bool, testing: bool, only: str | None, form: str
) -> int:
    """Deliver what waits for the receivers of [[output]].

    'fimscan scan' and 'fimscan schedule' do the same, unless [outbox] separate is true. A message that could not be
    delivered waits. It is sent again with the same id, so a receiver may get it twice, but never misses it.

    Exits with 0 if nothing waits any more, else with 1.

    Example: fimscan notify --test
    """
    config = settings.config()
    if only is not None and only not in {output.name for output in config.output}:
        raise UsageError(f"there is no [[output]] with the name {only}")
    if not config.output and not listing:
        raise ConfigError("there is no [[output]] in the configuration; 'conf/outputs.toml' has examples")
    with settings.database(writing=not listing) as database:
        if follow:
            _follow(database, config)
            return 0
        if not listing:
            if testing:
                _add_tests(database, config, only)
            _deliver(database, config, only)
            after_delivery(database, config)
        states = _states(database, config, only)
        _write(database, states, form, listing=listing)
    return int(any(state.usage.waiting for state in states) and not listing)


def _add_tests(database: Database, config: Config, only: str | None) -> None:
    with database.begin() as session:
        last = scan_store.last_finished(session)
        for output in config.output:
            if only in (None, output.name):
                made = notice_of(MessageKind.TEST, database.host, "a test message", last, str(uuid.uuid4()))
                outbox.add(session, output.name, [made], time.time_ns())


def _deliver(database: Database, config: Config, only: str | None) -> None:
    for problem in make_messages(database, config):
        note(problem)
    deliverer = Deliverer(database, config)
    outcomes: list[Outcome] | None = deliverer.run(_MOST_WAIT_S, now=True, only=only)
    if outcomes is None:
        note("another fimscan is delivering at this moment")
    for one in outcomes or ():
        if one.delivered:
            note(f"output {one.output}: {plural(one.delivered, 'message')} delivered")
        if one.error is not None:
            note(f"output {one.output}: {one.error}")


def _follow(database: Database, config: Config) -> None:
    notifier = Notifier(database, config, note)

    def stop(_number: int, _frame: FrameType | None) -> None:
        notifier.stop(0)

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, stop)
    note(f"delivering to {plural(len(config.output), 'output')}; stop with SIGTERM or Ctrl-C")
    notifier.follow(deliver=True)


def _states(database: Database, config: Config, only: str | None) -> list[OutputState]:
    with database.read() as session:
        return [
            OutputState(
                name=output.name,
                type=output.type,
                usage=outbox.usage(session, output.name),
                delivered_ns=outbox.last_delivered_ns(session, output.name),
            )
            for output in config.output
            if only in (None, output.name)
        ]


def _write(database: Database, states: list[OutputState], form: str, *, listing: bool) -> None:
    with database.read() as session:
        found = outbox.listing(session, _LISTED) if listing else outbox.listing(session, _LISTED, MessageState.WAITING)
    names = {state.name for state in states}
    found = [message for message in found if message.output in names]
    if form == "json":
        write_document(outbox_document(database.host, states, found), sys.stdout)
        return
    for line in outbox_lines(states, found if listing else []):
        click.echo(line)
