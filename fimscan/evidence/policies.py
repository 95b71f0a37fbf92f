"""What the configuration says of alerts, logs and retention, beside what is recorded of them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from urllib.parse import urlsplit

from fimscan.config import Config, Output
from fimscan.evidence.inputs import AlertRoute, MonitoredLog, Retained
from fimscan.model import Checkpoint, RetentionKind
from fimscan.paths import innermost
from fimscan.pipeline.outputs.settings import format_of
from fimscan.store import files, logs, oldest
from fimscan.store.session import Session

_WHAT = {
    RetentionKind.ACCESSES: "audit records that no kept change rests on",
    RetentionKind.FINDINGS: "decided changes, with versions of files that are neither current nor accepted",
    RetentionKind.SCANS: "scans, and the beginning of both chains",
    RetentionKind.CONTROLS: "failures of controls that are over, and missed runs",
    RetentionKind.OUTBOX: "messages that were delivered or given up",
    RetentionKind.CONTENTS: "kept contents of files (not in this bundle)",
}


def route_of(output: Output) -> AlertRoute:
    """A configured receiver, without anything secret."""
    return AlertRoute(
        name=output.name,
        type=output.type,
        format=format_of(output),
        destination=_destination(output),
        min_severity=output.min_severity,
        verdicts=output.verdicts,
        kinds=output.kinds,
        sets=output.sets,
        problems=output.problems,
        all_is_well=output.all_is_well,
    )


def _destination(output: Output) -> str:
    match output.type:
        case "command":
            return output.command[0]
        case "file" | "journald":
            return output.path
        case "webhook" if output.url_file:
            return f"URL in {output.url_file}"
        case "webhook":
            url = urlsplit(output.url)  # its path and query may be a secret
            return f"{url.scheme}://{url.hostname or ''}"
        case "smtp" | "sendmail":
            return " ".join((output.address, *output.to)).strip()
    return output.address


def monitored_logs(session: Session, config: Config, first: int, last: int) -> Iterator[MonitoredLog]:
    """Yield the logs that may only grow, as of the scans ``first`` <= s <= ``last``."""
    watches = {os.fsencode(watch.path): watch for watch in config.watch}
    for root in (path for path, watch in watches.items() if watch.policy == "append-only"):
        for history in logs.histories(session, root, first, last):
            if innermost(history.path, watches) != root:
                continue
            known = files.at_paths(session, [history.path], last).get(history.path)
            if known is None:
                yield MonitoredLog(history=history, pattern=root)
                continue
            sha256 = known.state.digest("sha256")
            yield MonitoredLog(
                history=history,
                pattern=root,
                verified_ns=known.state.read_end_ns,
                size=known.state.size,
                sha256="" if sha256 is None else sha256.hex(),
            )


def retained(session: Session, config: Config, sealed: Checkpoint | None) -> list[Retained]:
    """How long each kind of record is kept, and what is there."""
    ages, there = config.retention, oldest.oldest(session)
    before = {} if sealed is None else sealed.before_ns
    return [
        Retained(
            kind=kind,
            what=_WHAT[kind],
            age=getattr(ages, kind.value),
            schedule=ages.prune,
            oldest_ns=there.get(kind),
            removed_before_ns=before[kind.value] if before.get(kind.value, 0) > 0 else None,
        )
        for kind in RetentionKind
    ]
