"""Record and replay a demonstration: two states of the files, the audit log between them, and audit's observations.

:func:`replay` does all that fimscan does, without a database, root or auditd, because every stage is a function of the
one before.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any, TextIO

from fimscan import attribution, audit, compare
from fimscan.model import Diff, Digest, FileKind, FileState, Finding, Scan, ScanStatus, Window
from fimscan.report.text import write_text
from fimscan.store import audit as audit_store
from fimscan.store import files
from fimscan.store import scans as scan_store
from fimscan.store.codec import dump_observation, load_observation
from fimscan.store.database import Database
from fimscan.store.session import Session


def record(url: str, log: Path, target: Path) -> None:
    """Save a demonstration's two scans from its database, and the audit log between them."""
    database = Database(url, host="demo", create=False)
    with database.engine.connect() as connection:
        # The first host is the recorded one, whatever its name is.
        host_id = connection.exec_driver_sql("SELECT id FROM host ORDER BY id LIMIT 1").scalar_one()
        session = Session(connection, host_id)
        scans = scan_store.all_scans(session)
        start, end = scans[0], scans[-1]
        sides = {
            "before": [_dump(v.state) for v in files.as_of(session, start.id)],
            "after": [_dump(v.state) for v in files.as_of(session, end.id)],
        }
        observed = audit_store.observations(session, start.started_ns, end.finished_ns or 0)
    database.close()
    target.mkdir(exist_ok=True)
    span = {"host": "demo", "start": start.started_ns, "end": end.finished_ns}
    document = {
        **span,
        "observations": [[o.time_ns, dump_observation(o)] for o in observed],
        **sides,
    }
    (target / "states.json").write_text(json.dumps(document, indent=1) + "\n")
    with log.open("rb") as source, (target / "audit.log").open("wb") as kept:
        kept.writelines(line for line in source if (start.finished_ns or 0) <= _time_ns(line) <= (end.finished_ns or 0))
    shutil.copymode(target / "states.json", target / "audit.log")


def _time_ns(line: bytes) -> int:
    found = audit.parse_line(line)
    return found.id.time_ns if found else 0


def replay(source: Path, out: TextIO) -> Diff:
    """Print the diff of a recorded demonstration and return it."""
    data = json.loads((source / "states.json").read_text())
    start_ns, end_ns = data["start"], data["end"]
    observations = [load_observation(time_ns, text) for time_ns, text in data["observations"]]
    seen_ns = observations[-1].time_ns  # when the newer state was complete
    before = [_load(item) for item in data["before"]]
    after = [_load(item) for item in data["after"]]
    pairs = compare.merge(before, after)
    window = Window(after_ns=start_ns, before_ns=seen_ns)
    found = (compare.change_of(pair.before, pair.after, window) for pair in pairs)
    changes = list(compare.with_moves([change for change in found if change is not None]))
    with (source / "audit.log").open("rb") as log:
        accesses = [access for batch in audit.read_stream(log, b"audit.log") for access in batch.accesses]
    known = attribution.KnownDirectories.of(
        (s.path, s.identity) for s in (*before, *after) if s.kind is FileKind.DIRECTORY
    )
    evidence = attribution.Evidence(
        index=attribution.AccessIndex(accesses, known), prior={state.identity: state for state in before}
    )
    coverage = attribution.CoverageMap(observations, (), [[attribution.Extent(start_ns=0, end_ns=end_ns)]])
    modified = {change.path for change in changes}
    unmodified = {state.identity: [(state, window)] for state in after if state.path not in modified}
    scans = [_scan(number, start, data["host"]) for number, start in ((1, start_ns), (2, end_ns))]
    diff = Diff(
        host=data["host"],
        start=scans[0],
        end=scans[1],
        findings=tuple(
            Finding(change=c, attribution=attribution.attribute(c, evidence, coverage), scan=2) for c in changes
        ),
        opened_unmodified=attribution.opened_unmodified(accesses, unmodified),
    )
    write_text(diff, out, color=out.isatty(), width=100)
    return diff


def _scan(number: int, time_ns: int, host: str) -> Scan:
    return Scan(
        id=number, host=host, trigger="manual", status=ScanStatus.FINISHED, started_ns=time_ns, finished_ns=time_ns
    )


def _dump(state: FileState) -> dict[str, Any]:
    values = {field.name: getattr(state, field.name) for field in dataclasses.fields(state)}
    values["digests"] = {digest.algorithm: digest.value.hex() for digest in state.digests}
    return {key: value.hex() if isinstance(value, bytes) else value for key, value in values.items()}


def _load(values: dict[str, Any]) -> FileState:
    for key in ("path", "link_target", "xattr_digest"):
        if values[key] is not None:
            values[key] = bytes.fromhex(values[key])
    digests = tuple(Digest(algorithm=name, value=bytes.fromhex(value)) for name, value in values["digests"].items())
    return FileState(**{**values, "kind": FileKind(values["kind"]), "digests": digests})
