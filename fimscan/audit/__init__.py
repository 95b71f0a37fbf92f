"""Audit: log bytes -> accesses, notices and damaged lines; the audit system's health; the rules that we need."""

from fimscan.audit.accesses import accesses
from fimscan.audit.collector import Batch
from fimscan.audit.descriptors import writable_descriptors
from fimscan.audit.events import Assembler
from fimscan.audit.follow import EventSocket, EventStream, LogWatch
from fimscan.audit.health import observe, parse_rules, parse_status
from fimscan.audit.kernel import Observer
from fimscan.audit.notices import notice
from fimscan.audit.reader import read_log, read_stream
from fimscan.audit.records import fields, parse_line
from fimscan.audit.rules import can_be_watched, rules_for
from fimscan.audit.sources import LogCursor

__all__ = [
    "Assembler",
    "Batch",
    "EventSocket",
    "EventStream",
    "LogCursor",
    "LogWatch",
    "Observer",
    "accesses",
    "can_be_watched",
    "fields",
    "notice",
    "observe",
    "parse_line",
    "parse_rules",
    "parse_status",
    "read_log",
    "read_stream",
    "rules_for",
    "writable_descriptors",
]
