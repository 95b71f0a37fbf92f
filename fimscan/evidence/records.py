"""The host and its records: files 03 and 15."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from fimscan.evidence.archive import Staged
from fimscan.evidence.inputs import HostFacts, Retained
from fimscan.evidence.tables import Table, moment_cell, text_cell
from fimscan.report.display import time_text


def write_hosts(out: Staged, host: str, facts: HostFacts, addresses: Sequence[str], began_ns: int | None) -> int:
    """``03-hosts.csv``: the host, then a row for each change of its names or id."""
    columns = ("record", "id", "first_name", "addresses", "monitoring_began_utc", "time_utc", "before", "after")
    with Table(out, host, columns) as table:
        first = "host", text_cell(facts.id), text_cell(facts.first_name), text_cell(" ".join(addresses))
        table.add(*first, moment_cell(began_ns), None, None, None)
        for event in facts.events:
            told = time_text(event.time_ns), text_cell(event.before), text_cell(event.after)
            table.add(event.kind, None, None, None, None, *told)
    return table.rows


def write_retention(out: Staged, host: str, kinds: Iterable[Retained]) -> int:
    """``15-retention.csv``: how long each kind of record is kept, and how old the oldest one is."""
    columns = ("kind", "what", "kept_for", "pruned_by_schedule", "oldest_utc", "removed_before_utc")
    with Table(out, host, columns) as table:
        for item in kinds:
            times = moment_cell(item.oldest_ns), moment_cell(item.removed_before_ns)
            table.add(item.kind, item.what, item.age, item.schedule, *times)
    return table.rows
