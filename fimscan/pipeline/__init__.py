"""The order of the work: scan and compare, read the audit log, join the two, show what differs.

What a file, a record or a verdict is, is decided in :mod:`fimscan.scan`, :mod:`fimscan.audit` and :mod:`fimscan.join`;
what is kept, by :mod:`fimscan.store`.

    scanning   one scan, from the lock to the ledger entry          <- open first
    recording  the scanner's stream against the previous state
    auditing   the audit log into the store
    joining    stored changes against stored accesses
    live       single files, as soon as the audit log speaks of them (errands, agenda, spotting)
    drift      any two points of the history, and what is accepted
    health     is everything in place?
    coverage   is audit watching what we watch?

The entry points can be imported from here. Each is loaded with its module when somebody asks for it (PEP 562), so that
a command that needs one module does not wait for the others.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fimscan.pipeline.auditing import AuditSource, look_at_audit
    from fimscan.pipeline.live import Live
    from fimscan.pipeline.result import ScanResult
    from fimscan.pipeline.scanning import run_scan

__all__ = ["AuditSource", "Live", "ScanResult", "look_at_audit", "run_scan"]

_HOMES = {
    "AuditSource": "auditing",
    "Live": "live",
    "ScanResult": "result",
    "look_at_audit": "auditing",
    "run_scan": "scanning",
}

if not TYPE_CHECKING:  # or else any name would pass

    def __getattr__(name: str) -> object:
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
