"""All checks of 'fimscan doctor' and 'fimscan audit status': their stable ids, their names, and what they look at.

Monitoring systems rely on the ids: one never changes, and is never given to another check. docs/reference/checks.md is
generated from this.
"""

from __future__ import annotations

from msgspec import Struct


class CheckKind(Struct, frozen=True):
    """One check: its id for programs, its name for people, and what it looks at."""

    id: str
    name: str
    text: str


OF_DOCTOR = (
    CheckKind("configuration.file", "configuration", "whether the configuration can be read and is valid"),
    CheckKind("database.open", "database", "whether the database can be opened and written"),
    CheckKind("process.privileges", "privileges", "whether fimscan runs as root"),
    CheckKind("watch.path", "directory", "whether each `[[watch]]` path exists, and is no symbolic link"),
    CheckKind("scan.last", "last scan", "whether there was one within seven days (PCI DSS 11.5.2)"),
    CheckKind("scan.unreadable", "unreadable", "files that the last scan could not read"),
    CheckKind("database.integrity", "ledger", "whether both hash chains are intact"),
    CheckKind("audit.parsed", "audit lines", "how many lines of audit logs could not be parsed"),
    CheckKind(
        "schedule.times",
        "schedule",
        "whether the system knows its time zone; when `[schedule]` wants the next scans",
    ),
    CheckKind(
        "schedule.missed",
        "missed scans",
        "scheduled scans of the last seven days that did not happen at their time",
    ),
    CheckKind(
        "contents.file",
        "contents",
        "where `keep_content` is set: whether the file with contents is there, and only its owner may read it",
    ),
    CheckKind("witness.fanotify", "fanotify", "over which time it watched, where it is used"),
    CheckKind(
        "outputs.delivery",
        "outputs",
        "whether messages of `[[output]]` are delivered, wait for longer than `[outbox] late_after`, or were given up",
    ),
    CheckKind(
        "controls.failed", "controls", "controls that are failed, as the last scan or reading of the log saw them"
    ),
    CheckKind("disk.space", "disk space", "whether the disks of the database and of the audit logs are nearly full"),
    CheckKind("clock.set", "clock", "whether the clock was set in the last seven days, and is synchronized"),
    CheckKind(
        "files.trusted",
        "own files",
        "whether others could alter or read the key of evidence, or files with secrets of `[[output]]`",
    ),
    CheckKind("selftest.last", "selftest", "when the last selftest was, and whether it passed"),
    CheckKind("metrics.written", "metrics", "whether `[metrics]` can be written, and how old they are"),
    CheckKind("schedule.started", "started by", "whether a unit of systemd, or cron, starts scans"),
)

OF_AUDIT = (
    CheckKind("audit.enabled", "audit", "whether `[audit] enabled` is true"),
    CheckKind("audit.kernel", "kernel audit", "whether audit is enabled, and whether it can be asked"),
    CheckKind("audit.boot", "since boot", "whether `audit=1` is on the kernel's command line"),
    CheckKind("audit.lost", "lost events", "whether the kernel lost records"),
    CheckKind("audit.queue", "queue", "how full the queue is and was"),
    CheckKind("audit.queue-limit", "queue limit", "whether a burst fits into the queue, now and after the next boot"),
    CheckKind("audit.rate-limit", "rate limit", "whether the kernel drops records beyond a rate"),
    CheckKind("audit.failure-flag", "failure flag", "what the kernel does when it loses records"),
    CheckKind("audit.daemon", "audit daemon", "whether auditd runs"),
    CheckKind(
        "audit.daemon-config",
        "auditd.conf",
        "whether auditd takes the kernel's records, writes a log, and uses a name that is known",
    ),
    CheckKind(
        "audit.log", "audit log", "whether each configured log can be read, and whether auditd writes to one of them"
    ),
    CheckKind("audit.last-read", "last read", "how long ago fimscan read the log"),
    CheckKind("audit.rotation", "rotation", "how long a record stays in the log, against how often it is read"),
    CheckKind("audit.disk", "log disk", "whether the log's file system is nearly full, and what auditd does then"),
    CheckKind(
        "audit.rules",
        "rules",
        "whether loaded rules cover each `[[watch]]` for writes and attributes, of 64-bit and 32-bit programs",
    ),
    CheckKind("audit.suppressed", "suppressed", "rules that suppress events"),
    CheckKind("audit.rules-at-boot", "next boot", "whether the rules files load the same rules"),
    CheckKind("audit.io-uring", "io_uring", "whether changes through io_uring are reported"),
    CheckKind("audit.rules-removed", "removed rules", "who removed fimscan's rules in the last seven days"),
    CheckKind("audit.mounts", "mounts", "file systems mounted at or beneath a watched directory"),
    CheckKind("audit.file-systems", "file systems", "file systems that others can change (NFS, FUSE ...)"),
)

#: The id of each check, by its name.
IDS = {kind.name: kind.id for kind in (*OF_DOCTOR, *OF_AUDIT)}
