"""The checks of 'fimscan doctor' on outputs: what waits, for how long, and why."""

from __future__ import annotations

import time
from collections.abc import Iterator

from fimscan.config import Config
from fimscan.model import Check, MessageState
from fimscan.pipeline.health.checks import note, ok, warning
from fimscan.pipeline.health.remedies import commented
from fimscan.report.display import minute_text, show
from fimscan.report.words import plural
from fimscan.store import outbox
from fimscan.store.database import Database

_GIVEN_UP_NS = 7 * 86400 * 10**9
_LISTED = 1000


def output_checks(config: Config, database: Database) -> Iterator[Check]:
    """Check each output; without any, say that nothing is sent."""
    if not config.output:
        remedy = "add an [[output]]: conf/outputs.toml and fimscan.toml(5) have examples"
        yield note("outputs", "nothing is sent: 'fimscan scan' only prints what it found", remedy)
        return
    now_ns, late_ns = time.time_ns(), int(config.outbox.late_after_s * 10**9)
    with database.read() as session:
        waiting = outbox.listing(session, _LISTED, MessageState.WAITING, MessageState.SCAN)
        given_up = [
            one
            for one in outbox.listing(session, _LISTED, MessageState.GIVEN_UP)
            if one.done_ns is not None and now_ns - one.done_ns < _GIVEN_UP_NS
        ]
        delivered = {output.name: outbox.last_delivered_ns(session, output.name) for output in config.output}
    for output in config.output:
        mine = [one for one in waiting if one.output == output.name]
        lost = sum(one.output == output.name for one in given_up)
        last = delivered[output.name]
        said = "never" if last is None else minute_text(last)
        if lost:
            detail = f"{output.name}: {plural(lost, 'message')} given up in the last seven days"
            yield warning("outputs", detail, commented("fimscan diff", "the changes are in the database"))
        elif mine and now_ns - mine[-1].made_ns > late_ns:
            answer = next((show(one.answer) for one in mine if one.answer), "not tried yet")
            since = minute_text(mine[-1].made_ns)
            detail = f"{output.name}: {plural(len(mine), 'message')} waiting since {since}: {answer}"
            yield warning(
                "outputs", detail, commented("fimscan notify", "it tries all of them now", _who_delivers(config))
            )
        else:
            more = f"; {plural(len(mine), 'message')} waiting" if mine else ""
            yield ok("outputs", f"{output.name} ({output.type}): last delivered: {said}{more}")


def _who_delivers(config: Config) -> str:
    if config.outbox.separate:
        return "then systemctl enable --now fimscan-notify: with [outbox] separate, nothing else delivers"
    return "fimscan.service has no network: see fimscan-notify.service"
