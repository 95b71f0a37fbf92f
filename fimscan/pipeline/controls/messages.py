"""Messages about controls that failed or work again, and about the identity of the host."""

from __future__ import annotations

import time
from collections.abc import Iterator

from fimscan.config import Config
from fimscan.model import ControlKind, ControlReport, MessageKind, NewMessage
from fimscan.outputs.documents import add_problem_lines, packed, plain_document
from fimscan.pipeline.signer import signing_key
from fimscan.report.controls import control_lines, host_lines
from fimscan.report.words import plural
from fimscan.store import outbox
from fimscan.store import scans as scan_store
from fimscan.store.session import Session


def add_control_messages(session: Session, host: str, config: Config, report: ControlReport) -> None:
    """Add one message to each output that gets problems; nothing if there is nothing to say.

    It is for the transaction that marks the report as told: so it is told once, and never only half.
    """
    lines = [*host_lines(report.host_events), *control_lines(report)]
    told = [output.name for output in config.output if output.problems and lines]
    key = signing_key(config) if told else None
    for name in told:
        outbox.add(session, name, [_message(session, (host, key), name, report, lines)], time.time_ns())


def _message(
    session: Session, by: tuple[str, str | None], output: str, report: ControlReport, lines: list[str]
) -> NewMessage:
    """The message to an output; ``by`` is the host with the fingerprint of its key."""
    host, key = by
    last = scan_store.last_finished(session)
    facts = [(item.id, item.kind.value, item.start_ns, item.end_ns) for item in (*report.began, *report.mended)]
    events = [(item.time_ns, item.kind.value) for item in report.host_events]
    document = plain_document(MessageKind.PROBLEMS, host, ", ".join(_words(report)), time.time_ns(), last, key)
    document["id"] = outbox.stable_id(output, "controls", facts, events)
    document["severity"] = "high" if report.began or report.host_events else "low"
    add_problem_lines(document, lines)
    scan = None if last is None else last.id
    return NewMessage(id=document["id"], kind=MessageKind.PROBLEMS, scan=scan, urgent=True, body=packed(document))


def _words(report: ControlReport) -> Iterator[str]:
    """``2 controls failed, 1 control works again``: what the lines tell, which leave out the configuration."""
    began = [item for item in report.began if item.kind is not ControlKind.CONFIGURATION]
    known = {item.id for item in report.began}
    mended = [item for item in report.mended if item.id not in known]
    if began:
        yield f"{plural(len(began), 'control')} failed"
    if mended:
        yield f"{plural(len(mended), 'control works', 'controls work')} again"
    if report.host_events:
        yield f"{plural(len(report.host_events), 'change')} of the host's identity"
