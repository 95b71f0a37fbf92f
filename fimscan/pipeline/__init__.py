"""The order of the work: scan and compare, read the audit log, join the two, show what differs.

What a file, a record or a verdict is, is decided in :mod:`fimscan.scan`, :mod:`fimscan.audit`, :mod:`fimscan.compare`
and :mod:`fimscan.attribution`; what is kept, in :mod:`fimscan.store`.

    scan         one scan, from the lock to the ledger entry        <- open first
    record/      the scanner's stream against what is stored
    audit/       audit's log and fanotify into the store; changes against what they say
    history/     any two points of the history, what is accepted, why an answer is what it is
    live/        single paths between the scans, as soon as the audit log speaks of them
    health/      is everything in place, and is audit watching what we watch?
    import_aide  a database of AIDE becomes the baseline
    settings     the scan plan: what to scan and how, built from the configuration once

The entry points can be imported from here. Each is loaded with its module when somebody asks for it (PEP 562), so that
a command that needs one module does not wait for the others.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fimscan.pipeline.audit.reading import AuditSource, look_at_audit
    from fimscan.pipeline.live.monitor import Live
    from fimscan.pipeline.result import ScanResult
    from fimscan.pipeline.scan import run_scan

__all__ = ["AuditSource", "Live", "ScanResult", "look_at_audit", "run_scan"]

_HOMES = {
    "AuditSource": "audit.reading",
    "Live": "live.monitor",
    "ScanResult": "result",
    "look_at_audit": "audit.reading",
    "run_scan": "scan",
}

if not TYPE_CHECKING:  # or else any name would pass

    def __getattr__(name: str) -> object:
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
