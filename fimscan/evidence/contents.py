"""What the files of a bundle are, as data: the README's list of them and the index follow from it."""

from __future__ import annotations

from typing import NamedTuple

from msgspec import Struct


class Shows(NamedTuple):
    """What a file is evidence for."""

    requirement: str
    procedure: str
    what: str


class Entry(Struct, frozen=True, kw_only=True):
    """One file.

    Attributes:
        name: of the member.
        text: what it is, for the README.
        shows: the requirements of PCI DSS v4.0.1 that it is evidence for.
        empty: why it may have a header only, for the README; empty if the text says so.
    """

    name: str
    text: str
    shows: tuple[Shows, ...] = ()
    empty: str = ""


_IN_THE_REPORT = tuple(
    Shows(number, procedure, "the observations and exceptions of this requirement")
    for number, procedure in (
        *(("11.5.2", "11.5.2.a"), ("11.5.2", "11.5.2.b"), ("10.2.2", "10.2.2"), ("10.3.4", "10.3.4")),
        *(("10.4", "10.4.1.1"), ("10.5.1", "10.5.1"), ("10.6", "10.6.1"), ("10.7.2", "10.7.2.b")),
        *(("10.7.3", "10.7.3.b"), ("6.5.1", "6.5.1"), ("12.10.5", "12.10.5")),
    )
)

CONTENTS = (
    Entry(
        name="00-manifest.json",
        text=(
            "host, period, newest record, last scan and head of the chain for programs. previous: the bundle that this"
            " one follows, by the SHA-256 of its SHA256SUMS; null if it follows none"
        ),
        shows=(Shows("11.5.2", "11.5.2.a", "which period this is about, and that none is missing before it"),),
    ),
    Entry(
        name="01-report.html",
        text=(
            "the report for an assessor, to read first: for each requirement what is asked, the exceptions with file"
            " and row, what was observed, and what is not proved. It says nothing that is not in the other files"
        ),
        shows=_IN_THE_REPORT,
    ),
    Entry(
        name="01-report.pdf",
        text="the same report on paper. Characters that its Latin fonts do not have are written \\uNNNN",
        shows=_IN_THE_REPORT,
    ),
    Entry(
        name="03-hosts.csv",
        text=(
            "the monitored host: its names and addresses, the id that its records are kept by, when monitoring began,"
            " and what changed of its names or id in the period"
        ),
        shows=(Shows("11.5.2", "11.5.2.a", "which host was monitored, and since when"),),
    ),
    Entry(
        name="04-policy/configuration.json",
        text="the effective configuration at export",
        shows=(Shows("11.5.2", "11.5.2.a", "system settings: the effective configuration"),),
    ),
    Entry(
        name="04-policy/audit-rules.txt",
        text="the audit rules for this configuration",
        shows=(
            Shows("11.5.2", "11.5.2.a", "system settings: the audit rules for the monitored files"),
            Shows("10.2.2", "10.2.2", "the audit rules behind the records of changes"),
        ),
    ),
    Entry(
        name="04-policy/schedule.csv",
        text=(
            "when each job runs. Cron expressions are in the host's time zone. Both scan and full compare all monitored"
            " files and read every byte of every file whose content the policy compares. Only scan skips files under"
            ' reread = "ctime"'
        ),
        shows=(Shows("11.5.2", "11.5.2.b", "how often files are compared: the configured schedule"),),
    ),
    Entry(
        name="04-policy/changes.csv",
        text=(
            "every setting that changed between two scans of the period, and its effect on coverage (weaker, stronger,"
            " other). config_before and config_after are the config_digest of the two scans in 07-scans.csv"
        ),
        shows=(Shows("11.5.2", "11.5.2.a", "system settings: what changed in the period"),),
        empty="no setting changed in the period",
    ),
    Entry(
        name="04-policy/alert-routes.csv",
        text="where findings are sent, and which (section [[output]] of the configuration)",
        shows=(
            Shows("11.5.2", "11.5.2.a", "system settings: who is alerted"),
            Shows("12.10.5", "12.10.5", "alerts of change detection have configured receivers"),
        ),
        empty="no [[output]] is configured: nobody was sent an alert",
    ),
    Entry(
        name="05-critical-files.csv",
        text="what is monitored, and why it is critical",
        shows=(Shows("11.5.2", "11.5.2.b", "which files are critical: their category and why"),),
    ),
    Entry(
        name="06-monitored-files.csv",
        text="every monitored file at the last finished scan",
        shows=(Shows("11.5.2", "11.5.2.a", "monitored files"),),
    ),
    Entry(
        name="07-scans.csv",
        text="every scan since monitoring began",
        shows=(Shows("11.5.2", "11.5.2.a", "results of monitoring: every scan, linked by digests"),),
    ),
    Entry(
        name="07-ledger.txt",
        text="the chain of finished scans, tab-separated: previous, summary, state digest, entry",
        shows=(Shows("11.5.2", "11.5.2.a", "results of monitoring: the hash chain of scans, ready to replay"),),
    ),
    Entry(
        name="07-later.txt",
        text="the same chain from the end of the period to the export",
        shows=(Shows("11.5.2", "11.5.2.a", "the chain up to its head at export"),),
        empty="no scan finished after the period",
    ),
    Entry(
        name="07-journal.txt",
        text=(
            "the chain over all other records, tab-separated. An item has the kind of record (32 change, 8 decision,"
            " 28 message, 33 control failure, 29 selftest, 24 missed runs ...), its number, and the digest of its row."
            " Each line 'entry' closes the items before it: previous, summary, entry. 'open' is not closed yet: no"
            " head covers it"
        ),
        shows=(Shows("10.3.4", "10.3.4", "which records were made when: alteration afterwards is detected"),),
        empty="nothing was recorded but scans",
    ),
    Entry(
        name="07-rows.jsonl",
        text=(
            "the rows behind 09 to 12, 14 and 16, as they are digested: kind, number, values. The first line names the"
            " columns. Command lines are left out, and have no part in these digests"
        ),
        shows=(Shows("10.3.4", "10.3.4", "the records that the journal binds"),),
    ),
    Entry(
        name="08-continuity.csv",
        text="the time between each two finished comparisons, from the end of one to the end of the next",
        shows=(Shows("11.5.2", "11.5.2.b", "how often files were compared: every interval and its length"),),
    ),
    Entry(
        name="08-missed-runs.csv",
        text=(
            "runs of [schedule] that did not happen in the period: when they were due, and why (down: fimscan did not"
            " run; asleep: it was stopped, or the machine was suspended; busy: an earlier run was going on). One run"
            " made up for all of a row"
        ),
        shows=(Shows("11.5.2", "11.5.2.b", "which scheduled comparisons did not happen, and why"),),
        empty="none was noted in the period. Runs are noted by 'fimscan schedule' only, not by cron or a timer",
    ),
    Entry(
        name="08-not-compared.csv",
        text=(
            "files that the last complete scan could not read. last_read_utc: when the file was last read (empty:"
            " never). changed_since: what differs since then. The file's row in 06 shows its state at that last reading"
        ),
        shows=(Shows("11.5.2", "11.5.2.b", "which files could not be compared, since when, and why"),),
        empty="the last complete scan read every file",
    ),
    Entry(
        name="08-audit-coverage.csv",
        text=(
            "when audit is known to have missed events at the monitored paths in the period: from, to, cause, how many"
            " events were lost, and which process caused it. In between, audit saw everything at that path"
        ),
        shows=(
            Shows("10.7.2", "10.7.2.b", "when audit did not cover the monitored files, and why"),
            Shows("10.2.1.6", "10.2.1.6", "stopping and pausing of audit, as far as it concerns monitored files"),
        ),
        empty="audit covered the monitored paths over the whole period, from the first to the last scan",
    ),
    Entry(
        name="09-changes.csv",
        text=(
            "every change found in the period, who made it, which change set and package it belongs to, and what was"
            " decided about it. set is the number of the first change of its set. package is what the package manager"
            " says at export"
        ),
        shows=(
            Shows("11.5.2", "11.5.2.a", "results of monitoring: changes, additions, deletions, and who made them"),
            Shows("10.2.1.7", "10.2.1.7", "creation and deletion of monitored system-level objects"),
            Shows("10.2.2", "10.2.2", "user, type, time, outcome, origin and object of each change"),
            Shows("6.5.1", "6.5.1", "reason and approval of changes: ticket, reviewer and time"),
        ),
        empty="no change was found in the period",
    ),
    Entry(
        name="09-changes.json",
        text="the same changes, for programs",
        shows=(Shows("11.5.2", "11.5.2.a", "the same, for programs"),),
    ),
    Entry(
        name="10-alerts.csv",
        text=(
            "every message to a receiver that was made in the period: when, about which changes, how often delivery was"
            " tried, when the receiver acknowledged it and what it answered. state: delivered (acknowledged), waiting,"
            " given-up (a limit was reached), scan (the messages of that scan are not made yet). Whether a person read"
            " it, the receiver knows"
        ),
        shows=(
            Shows("11.5.2", "11.5.2.a", "personnel is alerted: each alert with its delivery and acknowledgement"),
            Shows("12.10.5", "12.10.5", "alerts of change detection reach the receivers of incident response"),
        ),
        empty=(
            "no message was made: no [[output]] is configured, nothing was found, or messages of that time were pruned"
        ),
    ),
    Entry(
        name="11-dispositions.csv",
        text=(
            "every decision made in the period or about a change of the period: who reviewed what, when, with which"
            " ticket and reason. A decision without a path is about everything as of a scan. own: the reviewer was"
            " among the users of the named processes. taken_back: a later decision takes it back"
        ),
        shows=(
            Shows("10.4.1", "10.4.1.1", "who reviewed what, and when"),
            Shows("10.4.3", "10.4.3", "exceptions were followed up: decision, ticket, reason"),
            Shows("6.5.1", "6.5.1", "changes have a reason and an approval"),
        ),
        empty="nothing was decided in the period",
    ),
    Entry(
        name="12-control-failures.csv",
        text=(
            "when change detection or audit did not work in the period: since when and until when (empty: it still does"
            " not), when it was detected, why, which process and login user caused it if the audit log names it, and"
            " how it is known to work again (remedy). Failures are looked for at scans and readings of the audit log."
            " notes is how many notes of people there are, with the newest one: what they did, found to be the cause,"
            " ticket, who and when"
        ),
        shows=(
            Shows("10.7.2", "10.7.2.b", "failures of change detection and of audit: when detected"),
            Shows("10.7.3", "10.7.3.b", "start, end, duration and cause of each failure, who caused it, remediation"),
        ),
        empty="no failure was detected in the period",
    ),
    Entry(
        name="12-control-notes.csv",
        text="every note of people about these failures ('fimscan control note'). A later note corrects an earlier one",
        shows=(Shows("10.7.3", "10.7.3.b", "what people did about each failure: remediation, root cause, ticket"),),
        empty="no failure of the period has a note",
    ),
    Entry(
        name="13-log-integrity.csv",
        text=(
            "every monitored log (policy append-only): since when, up to which size its content is verified, how often"
            " it grew or was rotated in the period, and what was done to verified content (breaches: see breach in"
            " 09-changes.csv)"
        ),
        shows=(Shows("10.3.4", "10.3.4", "logs may grow; alteration of verified content is detected"),),
        empty="no log has the policy append-only: this bundle is no evidence for 10.3.4",
    ),
    Entry(
        name="13-audit-events.csv",
        text=(
            "what the audit log says of audit itself in the period: daemon started and ended, rules removed, audit"
            " disabled, and by which process. Added rules are left out"
        ),
        shows=(Shows("10.2.1.6", "10.2.1.6", "starting, stopping and pausing of audit logs"),),
        empty="the audit logs that fimscan read have no such record, or it read none",
    ),
    Entry(
        name="14-time-sync.csv",
        text=(
            "whether the clock was synchronized at each complete scan of the period: what the kernel says"
            " (adjtimex), which time service ran, its source and offset. Empty cells are unknown"
        ),
        shows=(Shows("10.6.1", "10.6.1", "the clock was synchronized at each scan"),),
        empty="no scan of the period recorded it: they were made by an earlier version",
    ),
    Entry(
        name="15-retention.csv",
        text=(
            "for each kind of record: how long it is kept, the oldest one that is there, and up to which time"
            " records were removed. The checkpoints in the chain bind what was removed"
        ),
        shows=(Shows("10.5.1", "10.5.1", "how long history is kept, and how old the oldest record is"),),
    ),
    Entry(
        name="16-selftest.csv",
        text=(
            "every selftest of the period: a file that fimscan had a process of its own make and remove, and whether"
            " that was detected, attributed to that process, alerted and acknowledged by receivers, with the seconds"
            " since the change"
        ),
        shows=(Shows("11.5.2", "11.5.2.b", "change detection was tried with a known change, up to the receivers"),),
        empty="no selftest was run in the period",
    ),
    Entry(
        name="17-assessment-results.json",
        text=(
            "the observations of 01-report.html for programs, as OSCAL 1.2.1 assessment results. It has no findings:"
            " whether a control is satisfied is the assessor's decision"
        ),
        shows=(Shows("11.5.2", "11.5.2.a", "the observations of all requirements, for programs"),),
    ),
)

COPIES = (
    Entry(
        name="09-changes.ecs.ndjson",
        text="the same changes for a SIEM: Elastic Common Schema 9.4, a document a line (--copies)",
        shows=(Shows("11.5.2", "11.5.2.a", "the same, for programs"),),
    ),
    Entry(
        name="09-changes.ocsf.ndjson",
        text="the same changes for a SIEM: OCSF 1.8 File System Activity, an event a line (--copies)",
        shows=(Shows("11.5.2", "11.5.2.a", "the same, for programs"),),
    ),
)
"""Only in a bundle with copies for SIEMs."""

SAMPLE = Entry(
    name="17-sample.csv",
    text=(
        "a random sample of the changes of the period, in the order of the draw: detection, alert, reviewer, ticket,"
        " times, and gaps of audit in the window of the change. exceptions says what is missing. A change is drawn by"
        " the SHA-256 of two lines, the seed and the number of the change: the smallest digests are in the sample"
    ),
    shows=(
        Shows("11.5.2", "11.5.2.a", "a sample of changes: detected, alerted, reviewed"),
        Shows("10.4.3", "10.4.3", "a sample of changes: follow-up, with the reviewer's independence"),
        Shows("6.5.1", "6.5.1", "a sample of changes: reason and approval"),
    ),
    empty="no change was found in the period",
)
"""Only in a bundle with a sample."""
