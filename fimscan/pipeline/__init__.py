"""The use cases: scan, read the audit log, attribute changes, diff, accept, explain, look between scans, check health.

The rooms below decide the single steps: :mod:`fimscan.scan`, :mod:`fimscan.audit`, :mod:`fimscan.compare`,
:mod:`fimscan.attribution` and :mod:`fimscan.store`. The pipeline calls them in order.

    scan            one scan, from the lock to the ledger entry        <- open first
    record/         compare the scanner's stream with what is stored, and store what differs
    audit/          read the audit log and fanotify into the store; attribute changes
    history/        diff any two scans, accept changes, explain answers and paths
    live/           look at single paths between the scans, as soon as the audit log reports them
    health/         doctor and audit status: what is wrong with the setup
    outputs/        make the messages of scans, and deliver them
    import_baseline import the baseline of another program
    settings        the scan plan, built from the configuration
    importance      severity and category of findings
    config_changes  differences between the configurations of two scans
    result          what a scan returns

The entry points can be imported from here. Each module is loaded on first use (PEP 562), so that a command does not
wait for modules that it does not need.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fimscan.pipeline.audit.reading import AuditSource, read_audit
    from fimscan.pipeline.live.monitor import Live
    from fimscan.pipeline.result import ScanResult
    from fimscan.pipeline.scan import run_scan

__all__ = ["AuditSource", "Live", "ScanResult", "read_audit", "run_scan"]

_HOMES = {
    "AuditSource": "audit.reading",
    "Live": "live.monitor",
    "ScanResult": "result",
    "read_audit": "audit.reading",
    "run_scan": "scan",
}

if not TYPE_CHECKING:  # a type checker would accept any name otherwise

    def __getattr__(name: str) -> object:
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
