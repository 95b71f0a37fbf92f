"""``fimscan notify``: deliver what waits for the receivers of ``[[output]]``, and show it."""

from __future__ import annotations

import signal
import sys
import time
import uuid
from types import FrameType

import click

from fimscan.cli.context import Settings, note
from fimscan.cli.rereading import has_terminal, note_invalid, note_valid, read_again
from fimscan.config import Config
from fimscan.errors import ConfigError, UsageError
from fimscan.model import MessageKind, MessageState
from fimscan.pipeline.controls.record import after_delivery
from fimscan.pipeline.outputs.delivery import Deliverer, Notifier, Outcome
from fimscan.pipeline.outputs.messages import make_messages, notice_of
from fimscan.pipeline.signer import signing_key
from fimscan.report.documents.outbox import OutputState, outbox_document
from fimscan.report.json import write_document
from fimscan.report.outbox import outbox_lines
from fimscan.report.words import plural
from fimscan.store import outbox
from fimscan.store import scans as scan_store
from fimscan.store.database import Database

_LISTED = 100
_NO_OUTPUT = "there is no [[output]] in the configuration; 'conf/outputs.toml' has examples"
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

    --follow runs until stopped, as fimscan-notify.service does. SIGHUP reads the configuration again. If it is invalid,
    that is printed, and the old one stays in use.

    Exits with 0 if nothing waits any more, else with 1.

    Example: fimscan notify --test
    """
    config = settings.config()
    if only is not None and only not in {output.name for output in config.output}:
        raise UsageError(f"there is no [[output]] with the name {only}")
    if not config.output and not listing:
        raise ConfigError(_NO_OUTPUT)
    if follow:
        _Service(settings).run(config)
        return 0
    with settings.database(writing=not listing) as database:
        if not listing:
            if testing:
                _add_tests(database, config, only)
            _deliver(database, config, only)
            after_delivery(database, config)
        states = _states(database, config, only)
        _write(database, states, form, listing=listing)
    return int(any(state.usage.waiting for state in states) and not listing)


def _add_tests(database: Database, config: Config, only: str | None) -> None:
    key = signing_key(config)
    with database.begin() as session:
        last = scan_store.last_finished(session)
        for output in config.output:
            if only in (None, output.name):
                made = notice_of(MessageKind.TEST, database.host, "a test message", last, str(uuid.uuid4()), key)
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


class _Service:
    """Delivers until a signal stops it. SIGHUP reads the configuration again."""

    def __init__(self, settings: Settings) -> None:
        from fimscan.scheduler import ServiceManager

        self._settings = settings
        self._manager = ServiceManager.from_environment()
        self._notifier: Notifier | None = None
        self._is_stopped = self._is_hung_up = False

    def run(self, config: Config) -> None:
        """Deliver with this configuration, and with each that replaces it."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_stop)
        signal.signal(signal.SIGHUP, self._on_stop if has_terminal() else self._on_hangup)
        present: Config | None = config
        while present is not None:
            with self._settings.database(writing=True) as database:
                present = self._until_changed(database, present)
        self._manager.stopping()
        note("stopped")

    def _until_changed(self, database: Database, config: Config) -> Config | None:
        """Deliver; return the configuration to go on with, or ``None`` to end."""
        status = f"delivering to {plural(len(config.output), 'output')}"
        note(f"{status}; stop with SIGTERM or Ctrl-C")
        if not config.outbox.separate:
            note(
                "[outbox] separate is false: scans and 'fimscan schedule' deliver, too; without a network they fail,"
                " and put off the next attempt. Set it to true"
            )
        while not self._is_stopped:
            self._notifier = Notifier(database, config, note, alive=self._manager.alive)
            self._manager.ready(status)
            if not (self._is_stopped or self._is_hung_up):  # a signal that came before there was a notifier
                self._notifier.follow(deliver=True)
            self._notifier.stop()
            if self._is_hung_up and not self._is_stopped:
                self._is_hung_up = False
                self._manager.reloading()
                if (found := self._read_again(config)) is not None:
                    return found
        return None

    def _read_again(self, config: Config) -> Config | None:
        found = read_again(self._settings, config)
        if found is None:
            return None
        if not found.output:
            note_invalid(ConfigError(_NO_OUTPUT))
            return None
        note_valid()
        return found

    def _on_stop(self, _number: int, _frame: FrameType | None) -> None:
        self._is_stopped = True
        self._end()

    def _on_hangup(self, _number: int, _frame: FrameType | None) -> None:
        self._is_hung_up = True
        self._end()

    def _end(self) -> None:
        if self._notifier is not None:
            self._notifier.stop(0)


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
