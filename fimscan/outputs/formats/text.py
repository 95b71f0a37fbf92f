"""Text for people, and lines as ``fimscan export hash-log`` writes them."""

from __future__ import annotations

import time
from collections.abc import Iterator

from fimscan.outputs.rows import Document, epoch_ms, left_out, path_text, rows_of, signing_key, state_of
from fimscan.report.display import show
from fimscan.report.words import plural

_IN_ONE_LINE = 3


def text(message: Document) -> str:
    """Several lines. Everything in them is safe to display."""
    return "\n".join(_lines(message)) + "\n"


def one_line(message: Document) -> str:
    """One line, for syslog and the journal."""
    rows = list(rows_of(message))
    parts = [f"{row['kind']} {path_text(row)} ({row['answer']})" for row in rows[:_IN_ONE_LINE]]
    more = left_out(message) + len(rows[_IN_ONE_LINE:])
    parts += [f"and {more:,} more"] if more else []
    parts += [f"unreadable {path_text(item)}" for item in message["unreadable"][:_IN_ONE_LINE]]
    parts += [show(problem) for problem in message["problems"][:_IN_ONE_LINE]]
    head = message["head"]
    tail = f" [head {head['entry']}]" if head is not None else ""
    return f"{message['subject']}{': ' if parts else ''}{'; '.join(parts)}{tail}"


def hash_log(message: Document) -> str:
    """``_time,epoch_time,log_level,file_path,file_hash``, a line for each listed change; ``_time`` is local."""
    lines = []
    for row in rows_of(message):
        level = "WARN" if row["rank"]["level"] == "look" else "INFO"
        digest = (row["after"] or {}).get("sha256") or f"ERROR : {row['kind']}"
        lines.append(f"{_begin(row['window']['before'], level)},{path_text(row)},{digest}")
    failed = _begin(message["time"], "ERROR")
    lines += [f"{failed},{path_text(item)},ERROR : {show(item['detail'])}" for item in message["unreadable"]]
    more = left_out(message) + message["more"]
    if more or not lines:
        words = f"{more:,} more: {message['subject']}" if more else message["subject"]
        lines.append(f"{_begin(message['time'], 'INFO')},,{words}")
    return "\n".join(lines) + "\n"


def _begin(moment: str, level: str) -> str:
    seconds = epoch_ms(moment) // 1000
    return f"{time.strftime('%Y-%m-%d %H:%M:%S', time.localtime(seconds))},{seconds},{level}"


def _lines(message: Document) -> Iterator[str]:
    yield message["subject"]
    for item in message["sets"]:
        yield ""
        yield f"{item['title']} ({plural(item['changes'], 'change')})"
        for row in item["listed"]:
            yield from _row(row)
        if item["more"]:
            yield f"    ... and {item['more']:,} more"
    if message["more_sets"]:
        yield ""
        yield f"... and {plural(message['more_sets'], 'more change set')}"
    if message["unreadable"] or message["problems"] or message["configuration"] or message["more"]:
        yield ""
        yield from _problems(message)
    yield ""
    if message["to_scan"] is not None and message["kind"] == "changes":
        yield f"On {show(message['host'])}: fimscan diff{_span(message)}"
    if message["head"] is not None:
        yield f"Head of the ledger, scan {message['head']['scan']}: {message['head']['entry']}"
        yield "Keep this message: 'fimscan verify --db --head' with it shows whether the record was rewritten."
    if (key := signing_key(message)) is not None:
        yield f"Evidence of this host is signed by {key}"
    yield f"Message {message['id']}"


def _span(message: Document) -> str:
    if message["from_scan"] is None:
        return ""
    return f" --from {message['from_scan']} --to {message['to_scan']}"


def _row(row: Document) -> Iterator[str]:
    severity = f" {row['severity']:<8}" if row["severity"] else ""
    mark = "!" if row["rank"]["level"] == "look" else " "
    yield f"  {mark} {row['kind']:<10}{severity} {path_text(row)}"
    if row["differences"]:
        yield f"        {', '.join(row['differences'])}"
    yield f"        {row['answer']}"
    if row["rank"]["level"] == "look" and row["rank"]["words"]:
        yield f"        {row['rank']['words']}"
    state = state_of(row)
    if state.get("sha256"):
        yield f"        sha256 {state['sha256']}"


def _problems(message: Document) -> Iterator[str]:
    for item in message["unreadable"]:
        yield f"  ! unreadable {path_text(item)}: {show(item['detail'])}"
    for problem in message["problems"]:
        yield f"  ! {show(problem)}"
    for item in message["configuration"]:
        values = (show(item[key]) if item[key] is not None else "none" for key in ("before", "after"))
        yield f"  ! configuration {item['effect']}: {show(item['key'])}: {' -> '.join(values)}"
    if message["more"]:
        yield f"    ... and {message['more']:,} more"
