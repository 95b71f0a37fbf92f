"""Explain whether a path is monitored and why, and what is stored of it."""

from __future__ import annotations

import os

from msgspec import Struct

from fimscan.config import Config, Watch
from fimscan.model import StoredPath
from fimscan.pipeline.history.stored_path import load_path
from fimscan.pipeline.settings import ScanPlan
from fimscan.scan.path_status import PathStatus, find_status
from fimscan.store.database import Database


class PathReport(Struct, frozen=True, kw_only=True):
    """Whether a path is monitored, the ``[[watch]]`` that covers it, and what is stored of it."""

    path_status: PathStatus
    watch: Watch | None
    known: StoredPath


def explain_path(path: bytes, config: Config, database: Database | None) -> PathReport:
    """Explain why a path is monitored or not. ``database`` is ``None`` before the first scan."""
    plan = ScanPlan.of(config, skip=database.own_files if database is not None else ())
    found = find_status(path, plan.watches, cross_mounts=plan.cross_mounts, skip=plan.skip)
    watch = next((watch for watch in config.watch if os.fsencode(watch.path) == found.watch), None)
    known = StoredPath(path=found.path)
    if database is not None:
        with database.read() as session:
            known = load_path(session, found.path)
    return PathReport(path_status=found, watch=watch, known=known)
