"""The history of append-only logs: how often they grew or were rotated, and what was done to verified content."""

from __future__ import annotations

from collections import Counter
from typing import Any

from msgspec import Struct
from sqlalchemy import ColumnElement, case, func, select

from fimscan.paths import as_prefix
from fimscan.store import schema
from fimscan.store.session import Session

_version, _change = schema.file_version.c, schema.change.c


class LogHistory(Struct, frozen=True, kw_only=True):
    """One log over a range of scans.

    Attributes:
        first_ns: when it was first read.
        followed: how often it grew, or got a new generation by rotation.
        retired: how often a generation was rotated away.
        breaches: by kind, how often verified content was altered or lost.
    """

    path: bytes
    first_ns: int
    followed: int = 0
    retired: int = 0
    breaches: tuple[tuple[str, int], ...] = ()


def histories(session: Session, root: bytes, first: int, last: int) -> list[LogHistory]:
    """The files of a watched path as of the scans ``first`` <= s <= ``last``, in order of path."""
    prefix = as_prefix(root)

    def below(column: ColumnElement[Any]) -> ColumnElement[bool]:
        return (column == root) | ((column >= prefix) & (column < prefix[:-1] + b"0"))  # "0" follows "/"

    began, ended = _version.first_scan.between(first, last), _version.end_scan.between(first, last)
    query = (
        select(
            _version.path,
            func.min(_version.read_end_ns),
            func.sum(case((_version.followed & began, 1), else_=0)),
            func.sum(case((_version.retired & ended, 1), else_=0)),
        )
        .where(_version.host_id == session.host_id, below(_version.path), _version.kind == "file")
        .where(_version.first_scan <= last, _version.end_scan.is_(None) | (_version.end_scan >= first))
        .group_by(_version.path)
        .order_by(_version.path)
    )
    breached: dict[bytes, Counter[str]] = {}
    found = select(_change.path, _change.breach).where(_change.host_id == session.host_id, _change.breach.is_not(None))
    for path, breach in session.execute(found.where(_change.scan_id.between(first, last), below(_change.path))):
        breached.setdefault(path, Counter())[breach] += 1
    return [
        LogHistory(
            path=path,
            first_ns=first_ns,
            followed=followed,
            retired=retired,
            breaches=tuple(sorted(breached.get(path, Counter()).items())),
        )
        for path, first_ns, followed, retired in session.execute(query)
    ]
