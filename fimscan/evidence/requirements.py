"""What is asked by the requirements that a bundle is evidence for, in our words: the pages of the report."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple


@dataclass(frozen=True, slots=True, kw_only=True)
class Requirement:
    """One page: what is asked, which files show it, and what no file of the bundle can show."""

    number: str
    title: str
    asked: str
    files: tuple[str, ...]
    not_proved: str


class Mapped(NamedTuple):
    """A control of another framework, and the pages that are evidence for it."""

    framework: str
    control: str
    asked: str
    pages: tuple[str, ...]


REQUIREMENTS = (
    Requirement(
        number="11.5.2",
        title="A change-detection mechanism",
        asked=(
            "Personnel is alerted to unauthorized changes, additions and deletions of critical files, and critical"
            " files are compared at least once every seven days."
        ),
        files=("05-critical-files.csv", "06-monitored-files.csv", "08-continuity.csv", "09-changes.csv"),
        not_proved=(
            "That the patterns cover all critical files, and that all hosts in scope are monitored. A change that was"
            " undone between two comparisons leaves no trace."
        ),
    ),
    Requirement(
        number="10.2.2",
        title="What is recorded of each event",
        asked="User, type, date and time, success or failure, origin, and the affected object.",
        files=("09-changes.csv", "04-policy/audit-rules.txt"),
        not_proved="Failed attempts: they change no file. They are in the audit log of the host only.",
    ),
    Requirement(
        number="10.3.4",
        title="Change detection on audit logs",
        asked="Existing log data cannot be changed without an alert; new data that is appended causes none.",
        files=("13-log-integrity.csv", "13-audit-events.csv"),
        not_proved="Logs that no pattern with the policy append-only covers, and logs on other hosts.",
    ),
    Requirement(
        number="10.4",
        title="Review, and follow-up of exceptions",
        asked="Findings are reviewed, and exceptions are followed up.",
        files=("11-dispositions.csv", "09-changes.csv"),
        not_proved="What a reviewer looked at before deciding, and that the name of a login is that person.",
    ),
    Requirement(
        number="10.5.1",
        title="Retention",
        asked="Twelve months of history are kept, the last three at hand.",
        files=("15-retention.csv",),
        not_proved="The audit log files themselves, and backups: the rows are about fimscan's own records.",
    ),
    Requirement(
        number="10.6",
        title="Synchronized time",
        asked="Clocks are synchronized with a designated source.",
        files=("14-time-sync.csv",),
        not_proved="Who may change the time, and that the source is the designated one.",
    ),
    Requirement(
        number="10.7.2, 10.7.3",
        title="Failures of change detection and of audit",
        asked="Failures are detected, alerted and responded to: start, end, cause, and what was done.",
        files=("12-control-failures.csv", "08-audit-coverage.csv", "16-selftest.csv"),
        not_proved="What people did about a failure: only that, and how, the control is known to work again.",
    ),
    Requirement(
        number="6.5.1",
        title="Changes have a reason and an approval",
        asked="Each change of a system component has a reason, and is approved by authorized parties.",
        files=("09-changes.csv", "11-dispositions.csv"),
        not_proved="What the ticket says, and that the reviewer was authorized.",
    ),
    Requirement(
        number="12.10.5",
        title="Incident response covers the alerts of change detection",
        asked="Alerts of the change-detection mechanism are part of the incident response.",
        files=("10-alerts.csv", "04-policy/alert-routes.csv"),
        not_proved="That a person read an alert, and what was done then: the receiver knows.",
    ),
)

MAPPED = (
    Mapped("NIST SP 800-53", "SI-7(1)", "Integrity is checked at times and events.", ("11.5.2",)),
    Mapped("NIST SP 800-53", "SI-7(2)", "Personnel is notified automatically.", ("11.5.2", "12.10.5")),
    Mapped("NIST SP 800-53", "SI-7(3)", "Integrity tools are managed centrally.", ("11.5.2",)),
    Mapped("NIST SP 800-53", "SI-7(7)", "Unauthorized changes feed the incident response.", ("10.4", "12.10.5")),
    Mapped("CIS Benchmarks (Linux)", "filesystem integrity", "A checker is installed and run regularly.", ("11.5.2",)),
    Mapped("STIG RHEL 9", "RHEL-09-651010", "A change-detection tool is installed and configured.", ("11.5.2",)),
    Mapped("STIG RHEL 9", "RHEL-09-651015", "Changes are checked at least weekly, and told.", ("11.5.2", "12.10.5")),
    Mapped("STIG RHEL 9", "RHEL-09-651025", "Audit tools are covered, with strong hashes.", ("11.5.2", "10.3.4")),
)
