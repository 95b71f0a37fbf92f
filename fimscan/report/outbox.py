"""Text about the outbox: a line for each output, and one for each message."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from fimscan.model import OutboxMessage
from fimscan.report.display import minute_text, show, size_text
from fimscan.report.documents.outbox import OutputState
from fimscan.report.words import plural


def outbox_lines(outputs: Sequence[OutputState], messages: Sequence[OutboxMessage]) -> Iterator[str]:
    """What waits for each output; then the messages, newest first."""
    for state in outputs:
        usage = state.usage
        words = [f"{plural(usage.waiting, 'message')} waiting" if usage.waiting else "nothing waits"]
        if usage.oldest_ns is not None:
            words.append(f"{size_text(usage.size)}, since {minute_text(usage.oldest_ns)}")
        last = "never" if state.delivered_ns is None else minute_text(state.delivered_ns)
        yield f"{state.name} ({state.type}): {', '.join(words)}; last delivered: {last}"
    for message in messages:
        answer = f": {show(message.answer)}" if message.answer else ""
        tried = f", {plural(message.attempts, 'attempt')}" if message.attempts else ""
        yield f"    {minute_text(message.made_ns)} {message.output} {message.kind} {message.state}{tried}{answer}"
