"""Reads audit logs into accesses, notices and damaged lines; checks the audit system; generates the rules it needs."""

from fimscan.audit.accesses import accesses
from fimscan.audit.auditctl import (
    KernelAnswer,
    ask,
    boot_id,
    is_uring_usable,
    loaded_uring_directories,
    observe,
    parse_status,
    run_rules,
)
from fimscan.audit.collector import AuditBatch
from fimscan.audit.daemon import DaemonConfig, Growth, config_directory, growth, parse_config, read_config
from fimscan.audit.events import Assembler
from fimscan.audit.follow import EventSocket, EventStream, LogWatch
from fimscan.audit.logins import source_of as source_of_login
from fimscan.audit.notices import notice
from fimscan.audit.observer import Completion, Observer, remove_rules
from fimscan.audit.reader import read_log, read_stream, read_streams
from fimscan.audit.records import fields, line_of, parse_line
from fimscan.audit.rule_generator import can_be_watched, keys_of, printable, process_rules, rules_for
from fimscan.audit.rule_parser import (
    Rule,
    excluded_records,
    parse_all,
    parse_rules,
    parse_settings,
    suppressing,
    watched_by,
)
from fimscan.audit.rules_file import RULES_DIRECTORY, RulesFile, judge_file, sealed
from fimscan.audit.segments import LogCursor, in_order_of_time
from fimscan.audit.targets import keep_rule_targets

__all__ = [
    "RULES_DIRECTORY",
    "Assembler",
    "AuditBatch",
    "Completion",
    "DaemonConfig",
    "EventSocket",
    "EventStream",
    "Growth",
    "KernelAnswer",
    "LogCursor",
    "LogWatch",
    "Observer",
    "Rule",
    "RulesFile",
    "accesses",
    "ask",
    "boot_id",
    "can_be_watched",
    "config_directory",
    "excluded_records",
    "fields",
    "growth",
    "in_order_of_time",
    "is_uring_usable",
    "judge_file",
    "keep_rule_targets",
    "keys_of",
    "line_of",
    "loaded_uring_directories",
    "notice",
    "observe",
    "parse_all",
    "parse_config",
    "parse_line",
    "parse_rules",
    "parse_settings",
    "parse_status",
    "printable",
    "process_rules",
    "read_config",
    "read_log",
    "read_stream",
    "read_streams",
    "remove_rules",
    "rules_for",
    "run_rules",
    "sealed",
    "source_of_login",
    "suppressing",
    "watched_by",
]
