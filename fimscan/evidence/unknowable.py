"""The columns of the database that no chain covers, and why that is no loss."""

from __future__ import annotations

from collections.abc import Mapping

UNKNOWABLE: Mapping[str, str] = {
    "damaged_line.id": "a row number that is in no digest",
    "host.identity": "compared with this machine by each command; another one is refused",
    "host.current_name": "compared with this machine by each command; another one is reported",
    "host_event.told": "whether a message about a new name was printed",
    "control_failure.told": "whether a message about a failure was printed",
    "outbox.urgent": "which messages are given up last",
    "outbox.attempts": "how often delivery of an alert was tried (10-alerts.csv)",
    "outbox.next_ns": "when it is tried again",
    "outbox.tried_ns": "when it was tried last (10-alerts.csv)",
    "outbox.answer": "what the receiver answered (10-alerts.csv)",
    "scan (unfinished)": (
        "of a scan that did not finish: all but its number, and that it did not finish (07-scans.csv)"
    ),
}
"""By table and column. ``scan (unfinished)`` stands for columns of such a scan."""
