"""What the outputs got of a canary: messages in the outbox, and what became of them."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager

from msgspec import Struct

from fimscan.config import Config
from fimscan.model import MessageKind, MessageState, OutboxMessage, SelftestStep, StepResult, StepState
from fimscan.pipeline.outputs.delivery import Deliverer
from fimscan.pipeline.outputs.messages import make_messages, notice_of
from fimscan.pipeline.signer import signing_key
from fimscan.report.display import show
from fimscan.report.documents.parts import text_fields
from fimscan.store import outbox
from fimscan.store import scans as scan_store
from fimscan.store.database import Database

_STEP_S = 0.2
_NS = 10**9


class Found(Struct, frozen=True, kw_only=True):
    """What scans found of a canary.

    Attributes:
        path: the canary.
        scans: the partial scans that found that it came and went, oldest first.
        changes: the numbers of these changes, as far as they are known to be the selftest's own.
        made_ns: when it was made.
    """

    path: bytes
    scans: Sequence[int]
    changes: Collection[int]
    made_ns: int


def alerted(database: Database, config: Config, found: Found) -> tuple[list[StepResult], dict[str, list[int]]]:
    """Make the messages: (the results, the numbers of the messages by output).

    An output whose filters leave the canary out gets a message that is a test, so that its way is tested, too.
    """
    make_messages(database, config, selftest=frozenset(found.changes))
    results: list[StepResult] = []
    numbers: dict[str, list[int]] = {}
    for output in config.output:
        mine = [message for message in _since(database, output.name, found.scans[0]) if _is_about(message, found)]
        detail = "a message is in the outbox"
        if not mine:
            detail = "it is not to be told of this change; a test message is in the outbox instead"
            mine = _add_test(database, output.name, signing_key(config))
        numbers[output.name] = [message.number for message in mine]
        state = StepState.PASSED if mine else StepState.FAILED
        results.append(
            StepResult(
                step=SelftestStep.ALERTED,
                state=state,
                detail=detail if mine else "no message is in the outbox",
                seconds=(time.time_ns() - found.made_ns) / _NS,
                output=output.name,
            )
        )
    return results, numbers


def _since(database: Database, output: str, scan: int) -> list[OutboxMessage]:
    with database.read() as session:
        return outbox.since_scan(session, output, scan)


def _is_about(message: OutboxMessage, found: Found) -> bool:
    """Whether a message is about the canary: it lists it, or is about its scans and does not list everything."""
    if message.kind is not MessageKind.CHANGES:
        return False
    is_of_scans = message.scan in found.scans
    if message.body is None:  # delivered by another process meanwhile
        return is_of_scans
    document = json.loads(message.body)
    path = text_fields("path", found.path)["path"]
    if any(row["path"] == path for item in document["sets"] for row in item["listed"]):
        return True
    return is_of_scans and bool(document["more_sets"] or any(item["more"] for item in document["sets"]))


def _add_test(database: Database, output: str, key: str | None) -> list[OutboxMessage]:
    with database.begin() as session:
        last = scan_store.last_finished(session)
        made = notice_of(MessageKind.TEST, database.host, "a selftest", last, str(uuid.uuid4()), key)
        outbox.add(session, output, [made], time.time_ns())
    with database.read() as session:
        return [message for message in outbox.since_scan(session, output, 0) if message.id == made.id]


def delivered(database: Database, config: Config, numbers: dict[str, list[int]], made_ns: int) -> list[StepResult]:
    """Deliver, or wait for the process that does; return what became of each output's messages."""
    until = time.monotonic() + config.selftest.wait_s
    with _deliverer(database, config) as deliverer:
        is_first = True
        while True:
            if deliverer is not None:
                deliverer.run(max(0.0, min(until - time.monotonic(), 1.0)), now=is_first)
                is_first = False
            states = {name: _messages(database, mine) for name, mine in numbers.items()}
            if all(map(_is_decided, states.values())) or time.monotonic() >= until:
                break
            time.sleep(_STEP_S)
    return [_delivery(name, messages, made_ns, config) for name, messages in states.items()]


@contextmanager
def _deliverer(database: Database, config: Config) -> Iterator[Deliverer | None]:
    """What delivers; ``None`` if that is left to a service of its own."""
    if config.outbox.separate:
        yield None
        return
    deliverer = Deliverer(database, config)
    try:
        yield deliverer
    finally:
        deliverer.stop()


def _messages(database: Database, numbers: Sequence[int]) -> list[OutboxMessage]:
    with database.read() as session:
        return outbox.by_number(session, numbers)


def _is_decided(messages: Sequence[OutboxMessage]) -> bool:
    """Whether all were delivered, or one was tried in vain."""
    is_tried = any(message.attempts and message.state is not MessageState.DELIVERED for message in messages)
    return is_tried or all(message.state is MessageState.DELIVERED for message in messages)


def _delivery(output: str, messages: Sequence[OutboxMessage], made_ns: int, config: Config) -> StepResult:
    missing = [message for message in messages if message.state is not MessageState.DELIVERED]
    if messages and not missing:
        done_ns = max(message.done_ns or made_ns for message in messages)
        answer = next((message.answer for message in messages if message.answer), "acknowledged")
        return StepResult(
            step=SelftestStep.DELIVERED,
            state=StepState.PASSED,
            detail=show(answer.encode("utf-8", "surrogateescape")),
            seconds=(done_ns - made_ns) / _NS,
            output=output,
        )
    said = next((message.answer for message in missing if message.answer), "")
    if not said and config.outbox.separate:
        said = f"not tried within {config.selftest.wait}; [outbox] separate = true: is 'fimscan notify' running?"
    said = said or f"not acknowledged within {config.selftest.wait}; see 'fimscan notify --list'"
    return StepResult(
        step=SelftestStep.DELIVERED,
        state=StepState.FAILED,
        detail=show(said.encode("utf-8", "surrogateescape")),
        output=output,
    )
