"""Patterns of what syslog, journald, dmesg and grep put before an audit record, and of lines that are not audit.

The relaying program must be one that relays audit records: a user's message to syslog (``logger type=SYSCALL ...``) is
not evidence. For the same reason, nothing before the program's name may end with a colon: ``host alice: kernel:
type=...`` is alice's message.
"""

from __future__ import annotations

import re
from functools import cache

_WORD = rb"(?!-{1,2} )[^\"'=:\[\n ]{1,60}(?::{1,2}[^\"'=:\[\n ]{1,60}){0,8}"  # a time, host or facility, but not a tag
_SECONDS = rb"\[ *\d{1,9}\.\d{1,9}(?: <[^>\n]{1,20}>)?\]"
_CALLER = rb"(?: ?\[ *[TC]\d{1,8}\])?"  # CONFIG_PRINTK_CALLER: the thread or CPU that printed it
_DATA = rb"(?:\[(?:[^\]\\\n]|\\.){0,2000}\]){1,9}"  # RFC 5424's structured data
_MARK = rb"(?:\xef\xbb\xbf)?"  # the byte order mark before UTF-8

# How syslog writes the sender: "program[pid]: ", "program " (rsyslog's imfile), and RFC 5424's format.
_TAG_END = (
    rb"(?:(?:\[\d{1,10}\])?(?:: ?| )" + _MARK + rb"| (?:-|[\w./-]{1,128}) (?:-|[!-~]{1,32}) (?:-|" + _DATA + rb") "
    + _MARK + rb")"
)  # fmt: skip


def relayed_by(programs: bytes) -> bytes:
    """A pattern of what syslog, or an exported journal, puts before a line of one of these programs."""
    return (
        rb"(?:<\d{1,3}>)?(?:" + _SECONDS + rb" )?(?:" + _WORD + rb" {1,2}){0,12}?(?:" + programs + rb")" + _TAG_END
    )  # fmt: skip


_DAEMONS = rb"(?:tag[_-])?(?:linux[_-])?[aA]udit(?:[dD]|[_-]?logs?|\.log)?(?:[_-]logs?)?|audisp[\w-]*"
_KERNEL = rb"kernel"
_ISO = rb"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:[.,]\d{1,9})?(?: ?(?:Z|UTC|[+-]\d\d:?\d\d))?"

_MONTH = rb"[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d"
_TIME = rb"(?:" + _MONTH + rb"|" + _ISO + rb")"

# dmesg: "[ 12.345678] ", with the level ("dmesg -x"), the printing thread, or another form of the time.
_DMESG = (
    rb"(?:[a-z]{3,8} {0,6}:[a-z]{3,6} {0,6}: )?"
    rb"(?:(?:" + _SECONDS + rb"|\[[A-Z][a-z]{2}[\w :]{5,24}\]|\[ *\+\d{1,9}\.\d{1,9}\])" + _CALLER + rb" )?(?:audit: )?"
)  # fmt: skip
_FILE = rb"(?:[^\s:\"'=<>\[{]{1,512}:(?:\d{1,9}:)?)?"  # grep -H, grep -n

PREFIX = (
    _MARK + _FILE
    + rb"(?:" + relayed_by(_DAEMONS + rb"|" + _KERNEL) + rb"|<\d{1,3}>|" + _ISO + rb" )?" + _DMESG
)  # fmt: skip
"""What may precede a record's header."""

# The host is between the time and the program, in some logs with a facility after it. Other logs leave it out: then the
# next word is the program, or the facility.
_FACILITY = rb"(?:kern|user|daemon|auth(?:priv)?|syslog|local\d)\.[a-z]{3,7} "
_HOST = (
    _MARK + _FILE + rb"(?:<\d{1,3}>)?(?:\d{1,2} )?" + _TIME + rb" {1,2}(?!" + _FACILITY + rb")"
    rb"([^\s:\[=]{1,255}(?::{1,2}[^\s:\[=]{1,255})*) {1,2}[^\s\[]"
)  # fmt: skip

# Blank lines, what ausearch prints between events, and other programs' messages in a log that gets its records from
# syslog, journald or the kernel's ring buffer.
_SEPARATOR = re.compile(rb"\s*\Z|----\s*\Z|time->")
_OTHERS = (
    _MARK + _FILE + rb"(?:<\d{1,3}>)?(?:\d{1,2} )?(?:" + _TIME + rb"|" + _SECONDS + _CALLER
    + rb"|(?:time|ts)=\"?\d{4}-\d\d-|[a-z]{3,8} {0,6}:[a-z]{3,6} {0,6}: \[)"
)  # fmt: skip
# A line that has this was an audit record, whoever sent it.
_AUDIT_TRACE = re.compile(rb"(?:type=[\w\[\]]{1,64} (?:msg=)?audit|audit\(\d)")
# What a relay sends if it is the beginning of a record, or the rest of a broken one.
_BEGUN = rb"(?:audit: )?(?:node=\S{0,255} ?)?(?:t|ty|typ|type|type=[\w\[\]]{0,64}(?: (?:m|ms|msg|msg=\S{0,40})?)?)\s*\Z"
_REST = rb"(?:[a-z][a-z0-9_]{0,30}=[^\s\"']+|[a-z][a-z0-9_]{0,30}=\"[^\"]*\"?)(?: [a-zA-Z][a-zA-Z0-9_]{0,30}=|\s*\Z)"
_BROKEN = PREFIX + rb"(?:" + _BEGUN + rb")|" + _FILE + relayed_by(_DAEMONS) + rb"(?:" + _BEGUN + rb"|" + _REST + rb")"
# journald prints its own audit records as "audit[PID]: SYSCALL arch=...", without the event's time and serial.
_WITHOUT_NUMBER = (
    _FILE + relayed_by(rb"audit") + rb"(?:SYSCALL|PATH|CWD|URINGOP|OPENAT2|EXECVE|PROCTITLE|CONFIG_CHANGE) \w"
)


@cache
def _pattern(pattern: bytes) -> re.Pattern[bytes]:
    """Compile on first use: these patterns take a while, and most logs have no such lines."""
    return re.compile(pattern)


def host_of(prefix: bytes) -> bytes:
    """The host name in what matched :data:`PREFIX`; empty where it has none."""
    match = _pattern(_HOST).match(prefix)
    return match[1] if match else b""


def problem_of(line: bytes) -> str:
    """Why a line that is not a record counts as damage; empty for a line that has nothing to do with audit."""
    if _SEPARATOR.match(line):
        return ""
    if _pattern(_WITHOUT_NUMBER).match(line):
        return "journald's short format has no event serials: export the log with journalctl -o export or -o json"
    if _pattern(_OTHERS).match(line) and not _AUDIT_TRACE.search(line) and not _pattern(_BROKEN).match(line):
        return ""
    return "not an audit record"
