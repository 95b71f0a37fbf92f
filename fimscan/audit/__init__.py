"""Audit: log bytes -> accesses, notices and damaged lines; the audit system's health; the rules that we need."""

from fimscan.audit.accesses import accesses
from fimscan.audit.collector import Batch
from fimscan.audit.descriptors import writable_descriptors
from fimscan.audit.events import Assembler
from fimscan.audit.health import observe, parse_rules, parse_status
from fimscan.audit.notices import notice
from fimscan.audit.reader import read_log, read_stream
from fimscan.audit.records import fields, line_of, parse_line
from fimscan.audit.rules import can_be_watched, process_rules, rules_for
from fimscan.audit.sources import LogCursor

__all__ = [
    "Assembler",
    "Batch",
    "LogCursor",
    "accesses",
    "can_be_watched",
    "fields",
    "line_of",
    "notice",
    "observe",
    "parse_line",
    "parse_rules",
    "parse_status",
    "process_rules",
    "read_log",
    "read_stream",
    "rules_for",
    "writable_descriptors",
]
