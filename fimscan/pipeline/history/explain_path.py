"""Explain whether a path is monitored and why, and what is stored of it."""

from __future__ import annotations

import os
from dataclasses import dataclass

from fimscan.config import Config, Watch
from fimscan.model import StoredPath
from fimscan.paths import is_within
from fimscan.pipeline.record.last_read import FullReading
from fimscan.pipeline.settings import ScanPlan
from fimscan.scan.path_status import PathStatus, find_status
from fimscan.store import acceptance as acceptance_store
from fimscan.store import files
from fimscan.store import sightings as sighting_store
from fimscan.store.database import Database


@dataclass(frozen=True, slots=True, kw_only=True)
class PathReport:
    """Whether a path is monitored, the ``[[watch]]`` that covers it, and what is stored of it."""

    path_status: PathStatus
    watch: Watch | None
    known: StoredPath


def explain_path(path: bytes, config: Config, database: Database | None) -> PathReport:
    """Explain why a path is monitored or not. ``database`` is ``None`` before the first scan."""
    plan = ScanPlan.of(config, skip=database.own_files if database is not None else ())
    found = find_status(path, plan.watches, cross_mounts=plan.cross_mounts, skip=plan.skip)
    watch = next((watch for watch in config.watch if os.fsencode(watch.path) == found.watch), None)
    return PathReport(
        path_status=found, watch=watch, known=_known(database, found.path) if database is not None else StoredPath()
    )


def _known(database: Database, path: bytes) -> StoredPath:
    with database.read() as session:
        baseline = acceptance_store.baseline(session)
        if baseline is None:
            return StoredPath()
        accepted, accepted_scan = baseline.overrides.get(path, (None, baseline.scan))
        if path not in baseline.overrides:
            accepted = files.at_paths(session, [path], baseline.scan).get(path)
        latest = files.open_at(session, path)
        full = FullReading.load(session)
        assert full.scan is not None, "a baseline is made by a complete scan"
        failures = sighting_store.unreadable_in(session, full.scan.id)
        recheck = sighting_store.rechecks(session, [path]).get(path)
    last_read_ns = full.last_read(path, latest.state) if latest is not None else None
    if last_read_ns is not None and recheck is not None:
        last_read_ns = max(last_read_ns, recheck.read_start_ns)
    return StoredPath(
        accepted=accepted.state if accepted is not None else None,
        accepted_scan=accepted_scan,
        latest=latest.state if latest is not None else None,
        last_read_ns=last_read_ns,
        unreadable=next((item for item in failures if is_within(path, item.path)), None),
    )
