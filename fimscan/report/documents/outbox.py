"""The document of ``fimscan notify``: ``fimscan.outbox/1``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from msgspec import Struct

from fimscan.model import OutboxMessage, OutboxUsage
from fimscan.report.display import json_text, time_text
from fimscan.report.documents.parts import optional_time


class OutputState(Struct, frozen=True, kw_only=True):
    """How much waits for an output, and when it last got a message."""

    name: str
    type: str
    usage: OutboxUsage
    delivered_ns: int | None


def outbox_document(host: str, outputs: Sequence[OutputState], messages: Sequence[OutboxMessage]) -> dict[str, Any]:
    """What waits, and the newest messages."""
    return {
        "schema": "fimscan.outbox/1",
        "host": json_text(host),
        "outputs": [
            {
                "name": state.name,
                "type": state.type,
                "waiting": state.usage.waiting,
                "bytes": state.usage.size,
                "oldest": optional_time(state.usage.oldest_ns),
                "last_delivered": optional_time(state.delivered_ns),
            }
            for state in outputs
        ],
        "messages": [
            {
                "id": message.id,
                "output": message.output,
                "kind": message.kind.value,
                "scan": message.scan,
                "state": message.state.value,
                "urgent": message.urgent,
                "made": time_text(message.made_ns),
                "attempts": message.attempts,
                "tried": optional_time(message.tried_ns),
                "done": optional_time(message.done_ns),
                "answer": json_text(message.answer),
            }
            for message in messages
        ],
    }
