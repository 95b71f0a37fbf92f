"""The running audit daemon: its configuration (auditd.conf(5)) and the growth of its log."""

from __future__ import annotations

import os
import re

from msgspec import Struct

from fimscan.audit.segments import open_segment, segments
from fimscan.errors import InputError

DEFAULT_DIRECTORY = "/etc/audit"
_MEGABYTE = 1 << 20
_END = 1 << 16  # the last record of a log is within this many bytes of its end
_STAMP = re.compile(rb"\baudit\((\d{1,12})\.(\d{3}):\d+\)")


class DaemonConfig(Struct, frozen=True, kw_only=True):
    """Settings of auditd.conf, with auditd's own defaults for the missing ones (auditd.conf(5)); words in lower case.

    ``max_log_file`` is in bytes. ``space_left`` and ``admin_space_left`` are as written: megabytes, or a percentage.
    """

    log_file: str = "/var/log/audit/audit.log"
    local_events: bool = True
    write_logs: bool = True
    log_format: str = "raw"
    max_log_file: int = 0
    num_logs: int = 0
    max_log_file_action: str = "ignore"
    space_left: str = "0"
    admin_space_left: str = "0"
    admin_space_left_action: str = "ignore"
    disk_full_action: str = "ignore"
    disk_error_action: str = "syslog"
    name_format: str = "none"
    name: str = ""

    def space_bytes(self, text: str, total: int) -> int:
        """Convert a ``space_left`` or ``admin_space_left`` to bytes, on a file system of ``total`` bytes."""
        number = _number(text.removesuffix("%"))
        return total * number // 100 if text.endswith("%") else number * _MEGABYTE


class Growth(Struct, frozen=True, kw_only=True):
    """How a log and its rotated predecessors grew between their first and last record.

    ``size`` is in bytes, of the uncompressed segments. ``fastest`` is the highest rate of one segment (bytes per
    second); ``None`` where no segment is large enough to measure.
    """

    size: int
    first_ns: int
    last_ns: int
    fastest: float | None = None

    @property
    def rate(self) -> float | None:
        """Bytes per second on average; ``None`` where the log covers too short a time."""
        seconds = (self.last_ns - self.first_ns) / 1e9
        return self.size / seconds if seconds >= _MIN_SECONDS else None


_MIN_SECONDS = 60.0
_MIN_SIZE = _MEGABYTE


def parse_config(text: str) -> DaemonConfig:
    """The settings that fimscan uses; lines that auditd would reject are left out."""
    values: dict[str, str] = {}
    for line in text.splitlines():
        key, equals, value = line.partition("=")
        if equals and not line.lstrip().startswith("#"):
            # Only the first word counts: a comment may follow, and so may the program that the action "exec" runs.
            values[key.strip().lower()] = next(iter(value.split()), "")
    default = DaemonConfig()

    def word(key: str) -> str:
        return values.get(key, str(getattr(default, key))).lower()

    return DaemonConfig(
        log_file=values.get("log_file", default.log_file),
        local_events=word("local_events") != "no",
        write_logs=word("write_logs") != "no",
        log_format=word("log_format"),
        max_log_file=_number(values.get("max_log_file", "0")) * _MEGABYTE,
        num_logs=_number(values.get("num_logs", "0")),
        max_log_file_action=word("max_log_file_action"),
        space_left=word("space_left"),
        admin_space_left=word("admin_space_left"),
        admin_space_left_action=word("admin_space_left_action"),
        disk_full_action=word("disk_full_action"),
        disk_error_action=word("disk_error_action"),
        name_format=word("name_format"),
        name=values.get("name", ""),
    )


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() else 0


def config_directory(pid: int) -> str:
    """The configuration directory of a running auditd: the argument of its ``-c``, else the default."""
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            words = file.read().split(b"\0")
    except OSError:
        return DEFAULT_DIRECTORY
    for position, word in enumerate(words[1:], 1):
        if word == b"-c" and position + 1 < len(words):
            return os.fsdecode(words[position + 1])
        if word.startswith(b"-c") and len(word) > 2:
            return os.fsdecode(word[2:])
    return DEFAULT_DIRECTORY


def read_config(directory: str) -> DaemonConfig:
    """Read ``auditd.conf`` in a directory.

    Raises:
        InputError: it cannot be read.
    """
    path = f"{directory}/auditd.conf"
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return parse_config(file.read())
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error


def growth(log: bytes) -> Growth | None:
    """Measure how a log grew, with two small reads per segment; ``None`` where there is no readable record."""
    try:
        spans = [span for segment in segments(log) if (span := _span(segment.path)) is not None]
    except InputError:
        return None
    if not spans:
        return None
    measurable = [(size, (last - first) / 1e9) for size, first, last in spans if size >= _MIN_SIZE and last > first]
    return Growth(
        size=sum(size for size, _, _ in spans),
        first_ns=min(first for _, first, _ in spans),
        last_ns=max(last for _, _, last in spans),
        fastest=max((size / seconds for size, seconds in measurable), default=None),
    )


def _span(path: bytes) -> tuple[int, int, int] | None:
    """(size in bytes, time of the first record, of the last) of a segment that is not compressed; else ``None``."""
    try:
        file, info, _, _ = open_segment(path)
        with file:
            if path.endswith(b".gz"):
                return None
            head = file.read(_END)
            file.seek(max(0, info.st_size - _END))
            tail = file.read(_END)
    except OSError:
        return None
    first, last = _STAMP.search(head), _STAMP.findall(tail)
    if first is None or not last:
        return None
    return info.st_size, _time_ns(first.group(1, 2)), _time_ns(last[-1])


def _time_ns(parts: tuple[bytes, ...]) -> int:
    return int(parts[0]) * 10**9 + int(parts[1]) * 10**6
