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
"""

from fimscan.pipeline.auditing import AuditSource, look_at_audit
from fimscan.pipeline.live import Live
from fimscan.pipeline.recording import watch_specs
from fimscan.pipeline.scanning import ScanResult, run_scan
from fimscan.pipeline.users import user_name

__all__ = [
    "AuditSource",
    "Live",
    "ScanResult",
    "look_at_audit",
    "run_scan",
    "user_name",
    "watch_specs",
]
