"""``02-evidence-index.csv``: which file is evidence for which requirement and testing procedure of PCI DSS v4.0.1."""

from __future__ import annotations

from collections.abc import Mapping

from fimscan.evidence.archive import Staged
from fimscan.evidence.tables import Table

# (requirement, testing procedure, file, what it shows)
_EVIDENCE = (
    ("11.5.2", "11.5.2.a", "04-policy/configuration.json", "system settings: the effective configuration"),
    ("11.5.2", "11.5.2.a", "04-policy/audit-rules.txt", "system settings: the audit rules for the monitored files"),
    ("11.5.2", "11.5.2.a", "04-policy/changes.csv", "system settings: what changed in the period"),
    ("11.5.2", "11.5.2.a", "06-monitored-files.csv", "monitored files"),
    ("11.5.2", "11.5.2.a", "07-scans.csv", "results of monitoring: every scan, linked by digests"),
    ("11.5.2", "11.5.2.a", "07-ledger.txt", "results of monitoring: the hash chain of scans, ready to replay"),
    ("11.5.2", "11.5.2.a", "09-changes.csv", "results of monitoring: changes, additions, deletions, and who made them"),
    ("11.5.2", "11.5.2.a", "09-changes.json", "the same, for programs"),
    ("11.5.2", "11.5.2.b", "05-critical-files.csv", "which files are critical: their category and why"),
    ("11.5.2", "11.5.2.b", "04-policy/schedule.csv", "how often files are compared: the configured schedule"),
    ("11.5.2", "11.5.2.b", "08-continuity.csv", "how often files were compared: every interval and its length"),
    ("11.5.2", "11.5.2.b", "08-missed-runs.csv", "which scheduled comparisons did not happen, and why"),
    ("11.5.2", "11.5.2.b", "08-not-compared.csv", "which files could not be compared, since when, and why"),
    ("10.2.1.7", "10.2.1.7", "09-changes.csv", "creation and deletion of monitored system-level objects"),
    ("10.2.2", "10.2.2", "09-changes.csv", "user, type, time, outcome, origin and object of each change"),
    ("10.2.2", "10.2.2", "04-policy/audit-rules.txt", "the audit rules behind these records"),
    ("10.7.2", "10.7.2.b", "12-control-failures.csv", "failures of change detection and of audit: when detected"),
    (
        "10.7.3",
        "10.7.3.b",
        "12-control-failures.csv",
        "start, end, duration and cause of each failure, and who caused it",
    ),
    ("11.5.2", "11.5.2.b", "16-selftest.csv", "change detection was tried with a known change, up to the receivers"),
)
_AUDIT_LOGS = ("10.3.4", "10.3.4", "05-critical-files.csv")


def write_index(out: Staged, host: str, members: Mapping[str, Staged], append_only: int) -> None:
    """Write one row for each piece of evidence; ``append_only`` is the number of patterns with that policy."""
    if append_only:
        shows = (
            f"{append_only} pattern(s) with policy append-only: logs may grow and be rotated; any alteration,"
            " truncation or loss of verified content is a change (column breach of 09-changes.csv)"
        )
    else:
        shows = "not covered by this configuration: no pattern has the policy append-only"
    with Table(out, host, ("reference", "requirement", "testing_procedure", "file", "sha256", "shows")) as table:
        for number, (*about, file, what) in enumerate((*_EVIDENCE, (*_AUDIT_LOGS, shows)), 1):
            table.add(f"E-{number:02}", *about, file, members[file].sha256, what)
