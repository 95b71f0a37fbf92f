"""What people did and were told: alerts (10), decisions (11), and where alerts are sent (04)."""

from __future__ import annotations

from collections.abc import Iterable

from fimscan.evidence.archive import Staged
from fimscan.evidence.inputs import AlertRoute
from fimscan.evidence.tables import Table, moment_cell, path_cells, seconds_cell, text_cell, yes_no
from fimscan.model import AcceptanceRecord, MessageState, OutboxMessage
from fimscan.report.display import time_text


def write_alert_routes(out: Staged, host: str, routes: Iterable[AlertRoute]) -> int:
    """``04-policy/alert-routes.csv``: each configured receiver, and what it is sent."""
    columns = ("output", "type", "format", "destination", "min_severity", "verdicts", "kinds", "sets")
    with Table(out, host, (*columns, "problems", "all_is_well")) as table:
        for route in routes:
            where = route.name, route.type, route.format, text_cell(route.destination)
            wants = route.min_severity, " ".join(route.verdicts) or "all", " ".join(route.kinds) or "all", route.sets
            table.add(*map(text_cell, where), *wants, yes_no(route.problems), yes_no(route.all_is_well))
    return table.rows


def write_alerts(out: Staged, host: str, messages: Iterable[OutboxMessage]) -> int:
    """``10-alerts.csv``: each message to a receiver, with its delivery and what the receiver answered."""
    columns = ("message", "id", "output", "kind", "scan", "changes", "urgent", "state", "made_utc", "attempts")
    with Table(out, host, (*columns, "tried_utc", "acknowledged_utc", "seconds", "answer")) as table:
        for item in messages:
            acknowledged = item.done_ns if item.state is MessageState.DELIVERED else None
            table.add(
                *(item.number, item.id, text_cell(item.output), item.kind, item.scan, ranges_text(item.changes)),
                *(yes_no(item.urgent), item.state, time_text(item.made_ns), item.attempts, moment_cell(item.tried_ns)),
                *(moment_cell(acknowledged), seconds_cell(item.made_ns, acknowledged), text_cell(item.answer)),
            )
    return table.rows


def ranges_text(ranges: Iterable[range]) -> str:
    """Numbers as ``3-17 20``: a comma would look like a decimal one to a spreadsheet."""
    return " ".join(str(r.start) if len(r) == 1 else f"{r.start}-{r.stop - 1}" for r in ranges)


def write_dispositions(out: Staged, host: str, records: Iterable[AcceptanceRecord]) -> int:
    """``11-dispositions.csv``: each decision, a row for each path that it is about."""
    columns = ("record", "decision", "status", "decided_utc", "reviewer", "ticket", "category", "reason")
    with Table(out, host, (*columns, "path", "path_b64", "scan", "own", "plan", "takes_back", "taken_back")) as table:
        for item in records:
            why = item.approval
            about = text_cell(why.user), text_cell(why.ticket), why.category, text_cell(why.reason)
            rest = yes_no(item.is_own), item.plan, item.undoes, yes_no(item.is_undone)
            when = time_text(why.accepted_ns)
            table.add(item.number, item.act, item.status, when, *about, *path_cells(item.path), item.scan, *rest)
    return table.rows
