"""02: which file of the bundle speaks to which requirement of PCI DSS v4.0.1 and to which testing procedure of it."""

from __future__ import annotations

from collections.abc import Mapping

from fimscan.evidence.archive import Staged
from fimscan.evidence.tables import Table

# (requirement, testing procedure, file, what it shows)
_EVIDENCE = (
    ("11.5.2", "11.5.2.a", "04-policy/configuration.json", "system settings: the effective configuration"),
    ("11.5.2", "11.5.2.a", "04-policy/audit-rules.txt", "system settings: the audit rules for the monitored files"),
    ("11.5.2", "11.5.2.a", "04-policy/changes.csv", "system settings: what was changed in them in the period"),
    ("11.5.2", "11.5.2.a", "06-monitored-files.csv", "monitored files"),
    ("11.5.2", "11.5.2.a", "07-scans.csv", "results of monitoring: every comparison, chained by digests"),
    ("11.5.2", "11.5.2.a", "07-ledger.txt", "results of monitoring: the chain alone, to be replayed"),
    ("11.5.2", "11.5.2.a", "09-changes.csv", "results of monitoring: changes, additions, deletions, and who made them"),
    ("11.5.2", "11.5.2.a", "09-changes.json", "the same, for programs"),
    ("11.5.2", "11.5.2.b", "05-critical-files.csv", "which files are critical, of what kind, and why"),
    ("11.5.2", "11.5.2.b", "04-policy/schedule.csv", "how often files are compared: as configured"),
    ("11.5.2", "11.5.2.b", "08-continuity.csv", "how often files were compared: every stretch, and its length"),
    ("11.5.2", "11.5.2.b", "08-not-compared.csv", "which files could not be compared, since when, and why"),
    ("10.2.1.7", "10.2.1.7", "09-changes.csv", "creation and deletion of monitored system-level objects"),
    ("10.2.2", "10.2.2", "09-changes.csv", "user, type, time, outcome, origin and object of each change"),
    ("10.2.2", "10.2.2", "04-policy/audit-rules.txt", "the audit configuration that these come from"),
)
_AUDIT_LOGS = ("10.3.4", "10.3.4", "05-critical-files.csv")


def write_index(out: Staged, host: str, members: Mapping[str, Staged], append_only: int) -> None:
    """One row for each piece of evidence.

    ``append_only`` is how many patterns have the policy for logs.
    """
    if append_only:
        shows = (
            f"{append_only} pattern(s) with policy append-only: logs may grow and be rotated; what was verified of them"
            " and is altered, cut off or gone is a change (column breach of 09-changes.csv)"
        )
    else:
        shows = "not covered by this configuration: no pattern has the policy append-only"
    with Table(out, host, ("reference", "requirement", "testing_procedure", "file", "sha256", "shows")) as table:
        for number, (*about, file, what) in enumerate((*_EVIDENCE, (*_AUDIT_LOGS, shows)), 1):
            table.add(f"E-{number:02}", *about, file, members[file].sha256, what)
