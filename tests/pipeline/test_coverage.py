"""The checks of 'fimscan audit status', on constructed facts: no setting of this host is changed."""

from __future__ import annotations

import ast
import shlex
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

import fimscan
from fimscan.audit import (
    Growth,
    KernelAnswer,
    parse_all,
    parse_config,
    parse_settings,
    parse_status,
    rules_for,
)
from fimscan.linux.mounts import parse_mounts
from fimscan.model import Actor, AuditNotice, AuditObservation, Check, CheckSeverity, EventId, NoticeKind, worst
from fimscan.pipeline.health.coverage import Facts, judge
from fimscan.pipeline.health.coverage.daemon import span
from fimscan.pipeline.health.coverage.facts import BootRules, Daemon, LogFile, Watched
from fimscan.pipeline.health.coverage.gather import longest_wait

STATUS = b"""\
enabled 1
failure 1
pid 812
rate_limit 0
backlog_limit 8192
lost 0
backlog 3
backlog_wait_time 15000
backlog_wait_time_actual 0
loginuid_immutable 0 unlocked
"""
DEBIAN = """\
log_file = /var/log/audit/audit.log
log_format = ENRICHED
max_log_file = 8
num_logs = 5
max_log_file_action = ROTATE
space_left = 75
space_left_action = SYSLOG
admin_space_left = 50
admin_space_left_action = SUSPEND
disk_full_action = SUSPEND
"""
RULES = rules_for([(b"/etc", True), (b"/usr/local/bin", True)], "fimscan").encode()
OURS = parse_all(RULES, lambda _: True)
NOW = 1_700_000_000 * 10**9
HOUR = 3600 * 10**9
GIGABYTE = 1 << 30


def facts(**values: Any) -> Facts:
    """A host without problems: two directories, fimscan's rules loaded and on disk, auditd running."""
    log = LogFile(path="/var/log/audit/audit.log", size=1_000_000, by_daemon=True)
    growth = Growth(size=40_000_000, first_ns=NOW - 48 * HOUR, last_ns=NOW)
    well = Facts(
        now_ns=NOW,
        boot_id="boot-1",
        kernel=KernelAnswer(status=parse_status(STATUS), rules=OURS),
        watched=(Watched(path=b"/etc"), Watched(path=b"/usr/local/bin")),
        expected=OURS,
        boot=BootRules(source="/etc/audit/rules.d", rules=OURS, settings={"-b": "8192"}),
        mounts=parse_mounts(b"27 1 254:0 / / rw,relatime - ext4 /dev/vda rw\n"),
        command_line=frozenset({"quiet", "audit=1"}),
        daemon=Daemon(path="/etc/audit/auditd.conf", config=parse_config(DEBIAN), growth=growth, free=50 * GIGABYTE),
        host_names=frozenset({"web1"}),
        logs=(log,),
        read_every=60,
        scan_every=1800,
        previous=AuditObservation(time_ns=NOW - 30 * 10**9, boot_id="boot-1", enabled=1, daemon_pid=812, lost=0),
    )
    return replace(well, **values)


def kernel(rules: bytes = RULES, **status: Any) -> KernelAnswer:
    """An answer of the kernel with other rules or other status values."""
    return KernelAnswer(status={**parse_status(STATUS), **status}, rules=parse_all(rules, lambda _: True))


def daemon(text: str, **values: Any) -> Daemon:
    """auditd with these lines in its configuration, besides Debian's."""
    well = facts().daemon
    assert well is not None
    return replace(well, config=parse_config(DEBIAN + text), **values)


def bad(findings: list[Check]) -> list[Check]:
    return [item for item in findings if item.severity is not CheckSeverity.OK]


def only(findings: list[Check]) -> Check:
    """The only check that is not ok."""
    (found,) = bad(findings)
    return found


def test_a_healthy_host_has_nothing_to_fix() -> None:
    """Without problems, every check is ok and the exit code is 0."""
    findings = judge(facts())
    assert bad(findings) == []
    assert worst(findings).exit_code == 0


@pytest.mark.parametrize(
    ("status", "severity", "said", "remedy"),
    [
        ({"enabled": 0}, CheckSeverity.CRITICAL, "disabled", "auditctl -e 1"),
        ({"pid": 0}, CheckSeverity.CRITICAL, "not running", "systemctl enable --now auditd"),
        ({"rate_limit": 100}, CheckSeverity.WARNING, "100 records a second", "auditctl -r 0"),
        ({"backlog": 7000}, CheckSeverity.WARNING, "7,000 of 8,192", "auditctl -b 16384"),
        ({"backlog": 5000}, CheckSeverity.NOTE, "5,000 of 8,192", "auditctl -b 16384"),
        ({"backlog_limit": 64}, CheckSeverity.WARNING, "64 records", "auditctl -b 8192"),
        ({"backlog_wait_time": 0}, CheckSeverity.WARNING, "dropped at once", "--backlog_wait_time"),
        ({"backlog_wait_time_actual": 77}, CheckSeverity.NOTE, "wait for 77", "auditctl -b 16384"),
        ({"failure": 0}, CheckSeverity.NOTE, "does not report lost records", "auditctl -f 1"),
        ({"failure": 2}, CheckSeverity.NOTE, "panic", "auditctl -f 1"),
        (
            {"lost": 12},
            CheckSeverity.WARNING,
            "12 since the last look at 2023-11-14 22:12 UTC, 12 in total",
            "auditctl -b",
        ),
    ],
)
def test_each_switch_and_counter_of_the_kernel(
    status: dict[str, Any], severity: CheckSeverity, said: str, remedy: str
) -> None:
    """Every weakness in the kernel's answer is reported with its own severity and remedy."""
    found = only(judge(facts(kernel=kernel(**status))))
    assert found.severity is severity
    assert said in found.detail
    assert remedy in found.remedy


def test_lost_events_that_did_not_rise_are_known_already() -> None:
    """An unchanged counter is a note; one that rose since the last look, or has no history, is a warning."""
    before = facts().previous
    assert before is not None
    seen = facts(kernel=kernel(lost=9), previous=replace(before, lost=9))
    assert only(judge(seen)).severity is CheckSeverity.NOTE
    assert "2 since" in only(judge(replace(seen, kernel=kernel(lost=11)))).detail
    for unknown in (None, replace(before, boot_id="boot-0"), replace(before, lost=400)):
        found = only(judge(replace(seen, previous=unknown)))
        assert (found.severity, "since boot or the last reset" in found.detail) == (CheckSeverity.WARNING, True)


def test_locked_rules_change_at_the_next_boot_only() -> None:
    """With -e 2 the remedy is to write missing rules and reboot; -e 2 alone is no problem."""
    locked = kernel(enabled=2)
    assert bad(judge(facts(kernel=locked))) == []
    assert "-e 2" in judge(facts(kernel=locked))[0].detail
    without = facts(kernel=replace(locked, rules=()), boot=replace(facts().boot or BootRules(source=""), rules=()))
    missing = [found for found in bad(judge(without)) if found.name == "rules"]
    assert all(found.remedy.startswith("fimscan audit rules --install  # then reboot") for found in missing)
    assert {found.severity for found in missing} == {CheckSeverity.CRITICAL}
    on_disk = [found for found in bad(judge(facts(kernel=replace(locked, rules=())))) if found.name == "rules"]
    assert all(found.remedy == "reboot: the rules files have them" for found in on_disk)


def test_a_kernel_that_cannot_be_asked_is_critical() -> None:
    """If the kernel's answer is missing, coverage is unknown, and the check gives the reason."""
    findings = judge(facts(kernel=KernelAnswer(status={}, error="auditctl is not installed")))
    assert "not installed" in only(findings).detail
    assert worst(findings).exit_code == 2


NEVER = b"-a never,exit -S all -F dir=/etc"


@pytest.mark.parametrize(
    ("rules", "severity", "said"),
    [
        (b"-a never,task\n" + RULES, CheckSeverity.CRITICAL, "no record: -a never,task"),
        (RULES + b"-a never,task\n", CheckSeverity.CRITICAL, "no record: -a never,task"),
        (b"-a never,task -F uid=33\n" + RULES, CheckSeverity.WARNING, "no record"),
        (b"-a never,exit -S all\n" + RULES, CheckSeverity.CRITICAL, "suppresses every event"),
        (NEVER + b"\n" + RULES, CheckSeverity.WARNING, "before fimscan's rules"),
        (b"-a never,exit -S all -F exe=/usr/bin/x\n" + RULES, CheckSeverity.WARNING, "before fimscan's rules"),
        (RULES + NEVER, CheckSeverity.NOTE, "suppresses none of their events"),
        (RULES + b"-a always,exclude -F msgtype=PATH", CheckSeverity.CRITICAL, "every answer needs (PATH)"),
        (RULES + b"-a never,exclude -F msgtype=CWD", CheckSeverity.WARNING, "every answer needs (CWD)"),
        (RULES + b"-a always,exclude -F auid=1000", CheckSeverity.WARNING, "every answer needs (CWD, PATH, SYSCALL)"),
        (RULES + b"-a never,filesystem -F fstype=0x1021994", CheckSeverity.WARNING, "suppresses events"),
    ],
)
def test_rules_that_suppress_events(rules: bytes, severity: CheckSeverity, said: str) -> None:
    """What a never or exclude rule suppresses depends on its filter, its conditions and its place before our rules."""
    found = only(judge(facts(kernel=kernel(rules))))
    assert (found.name, found.severity) == ("suppressed", severity)
    assert said in found.detail
    if severity is not CheckSeverity.NOTE:
        assert found.remedy.startswith("auditctl -d ")


def test_the_command_that_deletes_a_rule_is_quoted() -> None:
    """Unquoted, a shell would take >= for a redirect and & for the end of the command."""
    rule = b"-a never,exit -S all -F auid>=1000 -F a2&3 -F key=x"
    found = only(judge(facts(kernel=kernel(rule + b"\n" + RULES))))
    command = found.remedy.partition("  # ")[0]
    lexer = shlex.shlex(command, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    assert [*lexer][2:] == rule.decode().split()[1:]


def without(*words: bytes) -> bytes:
    """fimscan's rules without the lines that contain one of these words."""
    return b"\n".join(line for line in RULES.splitlines() if not any(word in line for word in words))


@pytest.mark.parametrize(
    ("rules", "severity", "said"),
    [
        (without(b"dir=/etc"), CheckSeverity.WARNING, "/etc: no loaded rule watches it"),
        (without(b"arch=b32"), CheckSeverity.WARNING, "32-bit programs are not reported"),
        (without(b"arch=b64"), CheckSeverity.WARNING, "64-bit programs are not reported"),
        (RULES.replace(b"perm=wa", b"perm=w"), CheckSeverity.WARNING, "perm without a"),
        (RULES.replace(b"perm=wa", b"perm=a"), CheckSeverity.WARNING, "perm without w"),
        (without(b"utimensat"), CheckSeverity.WARNING, "calls that set times"),
        (RULES.replace(b"success=1", b"auid>=1000 -F success=1"), CheckSeverity.CRITICAL, "auid>=1000"),
        (RULES.replace(b"-F success=1", b"-C auid!=uid"), CheckSeverity.CRITICAL, "-C auid!=uid"),
        (RULES.replace(b"perm=wa", b"perm=r"), CheckSeverity.CRITICAL, "does not report every process and system call"),
        (b"", CheckSeverity.CRITICAL, "no loaded rule watches it"),
    ],
)
def test_what_loaded_rules_lack_is_named(rules: bytes, severity: CheckSeverity, said: str) -> None:
    """Missing, incomplete and narrowed rules are distinguished; it is critical only if no watched path is covered."""
    loaded = kernel(rules)
    # The same rules are on disk, so that only the loaded ones differ.
    boot = BootRules(source="/etc/audit/rules.d", rules=loaded.rules, settings={"-b": "8192"})
    findings = [found for found in bad(judge(facts(kernel=loaded, boot=boot))) if found.name == "rules"]
    assert {found.severity for found in findings} == {severity}
    assert all(said in found.detail for found in findings)
    assert all(found.remedy == "fimscan audit rules --install" for found in findings)


def test_other_rules_that_report_as_much_are_enough() -> None:
    """Coverage depends on what rules report, not on who wrote them: a rule for all calls needs none of fimscan's."""
    loaded = kernel(b"-a always,exit -S all -F dir=/ -F key=everything")
    boot = BootRules(source="/etc/audit/rules.d", rules=loaded.rules, settings={"-b": "8192"})
    assert bad(judge(facts(kernel=loaded, boot=boot))) == []


def test_a_rule_that_is_not_on_disk_is_lost_at_the_next_boot() -> None:
    """Rules that are loaded and not on disk, or the other way round, are reported, with the first of them."""
    empty = BootRules(source="/etc/audit/audit.rules", settings={"-b": "8192"})
    found = only(judge(facts(boot=empty)))
    assert "20 loaded rules" in found.detail
    assert "not in /etc/audit/audit.rules, so lost at the next boot: the first is -a always,exit" in found.detail
    assert "fimscan audit rules --install" in found.remedy
    found = bad(judge(facts(kernel=kernel(without(b"utimensat")))))[-1]
    assert "4 rules in /etc/audit/rules.d not loaded now" in found.detail
    assert found.remedy == "augenrules --load"


def test_what_the_next_boot_will_set_is_reported() -> None:
    """A short queue and a rule that suppresses events are reported before the boot that brings them."""
    text = b"-D\n-b 320\n" + RULES + b"-a never,task\n-e 2\n"
    boot = BootRules(source="/etc/audit/rules.d", rules=parse_all(text, lambda _: True), settings=parse_settings(text))
    short, taking = bad(judge(facts(boot=boot)))
    assert "320 after the next boot (-b in /etc/audit/rules.d)" in short.detail
    assert "-a never,task" in taking.detail
    unset = only(judge(facts(boot=replace(boot, settings={}, rules=OURS))))
    assert "64 after the next boot (the kernel's default" in unset.detail


def test_processes_older_than_audit_are_a_risk_without_audit_on_the_command_line() -> None:
    """Without audit=1, the number of processes that may leave no record is reported."""
    found = only(judge(facts(command_line=frozenset({"quiet", "audit=0"}), older=41)))
    assert "41 running processes" in found.detail
    assert "audit=1" in found.remedy
    assert bad(judge(facts(command_line=frozenset({"audit=on"})))) == []


@pytest.mark.parametrize(
    ("text", "severity", "said"),
    [
        ("local_events = no", CheckSeverity.CRITICAL, "local_events"),
        ("write_logs = no", CheckSeverity.CRITICAL, "write_logs"),
        ("log_format = RAW", CheckSeverity.NOTE, "by number"),
        ("name_format = user\nname = web-frontend", CheckSeverity.CRITICAL, "node=web-frontend"),
        ("max_log_file_action = ignore", CheckSeverity.NOTE, "by 19 MB a day"),
        ("max_log_file_action = syslog", CheckSeverity.NOTE, "the log grows"),
        ("num_logs = 1", CheckSeverity.NOTE, "the log grows"),
        ("max_log_file_action = suspend", CheckSeverity.WARNING, "stops writing at 8 MB"),
        ("disk_error_action = halt", CheckSeverity.NOTE, "disk_error_action = halt"),
    ],
)
def test_settings_of_the_daemon(text: str, severity: CheckSeverity, said: str) -> None:
    """auditd's settings for records, a full log and a failing disk are checked."""
    found = only(judge(facts(daemon=daemon(text))))
    assert found.severity is severity
    assert said in found.detail
    assert "/etc/audit/auditd.conf" in found.remedy


def test_keeping_all_logs_and_our_own_name_are_fine() -> None:
    """keep_logs deletes nothing, and a node name that the configuration has is this host's."""
    assert bad(judge(facts(daemon=daemon("max_log_file_action = keep_logs")))) == []
    assert bad(judge(facts(daemon=daemon("name_format = user\nname = web1")))) == []


def test_a_log_that_has_reached_its_limit_is_not_written_any_more() -> None:
    """With max_log_file_action = suspend and a full log, nothing is recorded, which is critical."""
    full = LogFile(path="/var/log/audit/audit.log", size=8 << 20, by_daemon=True)
    found = only(judge(facts(daemon=daemon("max_log_file_action = suspend"), logs=(full,))))
    assert found.severity is CheckSeverity.CRITICAL


def rotation(found: list[Check]) -> Check:
    return next(item for item in found if item.name == "rotation")


def test_rotation_is_compared_with_how_often_the_log_is_read() -> None:
    """Four files of 8 MB at the measured rate are compared with the schedule; an earlier burst counts as well."""
    calm = rotation(judge(facts()))
    assert calm.severity is CheckSeverity.OK
    assert calm.detail == "a record is rotated away in 40 h at the present rate; read every 1 min"
    burst = Growth(size=40_000_000, first_ns=NOW - 48 * HOUR, last_ns=NOW, fastest=500_000.0)
    assert (
        "in 1.1 min at the highest rate so far; read every 1 min"
        in rotation(judge(facts(daemon=daemon("", growth=burst)))).detail
    )
    assert rotation(judge(facts(daemon=daemon("", growth=burst)))).severity is CheckSeverity.WARNING
    assert "num_logs = 16'" in rotation(judge(facts(daemon=daemon("", growth=burst)))).remedy
    busy = Growth(size=40_000_000, first_ns=NOW - HOUR // 30, last_ns=NOW)
    assert rotation(judge(facts(daemon=daemon("", growth=busy)))).severity is CheckSeverity.WARNING


def test_a_schedule_that_does_not_run_reads_only_when_scans_do() -> None:
    """If the last look is long ago, the interval of scans counts; if scans do not run either, that is reported."""
    before = facts().previous
    assert before is not None
    cron = facts(previous=replace(before, time_ns=NOW - HOUR // 4))
    assert "read every 30 min" in rotation(judge(cron)).detail
    found = only(judge(facts(previous=replace(before, time_ns=NOW - 30 * HOUR))))
    assert (found.name, found.severity) == ("last read", CheckSeverity.WARNING)
    assert "30 h ago" in found.detail


def test_a_disk_that_fills_up_stops_the_log() -> None:
    """A nearly full disk is a warning that says what auditd will do; below admin_space_left auditd has stopped."""
    assert only(judge(facts(daemon=daemon("", free=60 << 20)))).severity is CheckSeverity.WARNING
    stopped = only(judge(facts(daemon=daemon("", free=40 << 20))))
    assert (stopped.severity, "has stopped writing" in stopped.detail) == (CheckSeverity.CRITICAL, True)
    ignoring = daemon("admin_space_left_action = ignore\ndisk_full_action = ignore", free=40 << 20)
    assert "loses records" in only(judge(facts(daemon=ignoring))).detail
    percent = daemon("space_left = 25%\nadmin_space_left = 10%", free=4 * GIGABYTE, total=20 * GIGABYTE)
    assert only(judge(facts(daemon=percent))).severity is CheckSeverity.WARNING


def test_a_log_that_auditd_does_not_write_is_reported() -> None:
    """Reading another file than auditd writes finds nothing: that is critical, and the remedy names the right file."""
    other = LogFile(path="/old/audit.log", size=10, by_daemon=False)
    found = only(judge(facts(logs=(other,))))
    assert found.severity is CheckSeverity.CRITICAL
    assert '"/var/log/audit/audit.log"' in found.remedy
    assert bad(judge(facts(logs=(*facts().logs, other)))) == []
    gone = LogFile(path="/old/audit.log", error="No such file or directory", missing=True)
    assert only(judge(facts(logs=(*facts().logs, gone)))).severity is CheckSeverity.WARNING


MOUNTS = rb"""27 1 254:0 / / rw,relatime - ext4 /dev/vda rw
40 27 0:40 / /etc/over\040lay rw - overlay o rw
41 27 0:41 / /usr/local/bin rw shared:2 - btrfs /dev/vdb rw
"""


def test_mounts_that_rules_may_not_reach_are_named() -> None:
    """Mounts beneath a watched directory and on it are reported; a file mounted over a file is scanned."""
    beneath, on_it = bad(judge(facts(mounts=parse_mounts(MOUNTS))))
    assert "/etc/over lay: mounted beneath a watched directory, and not scanned" in beneath.detail
    assert "/usr/local/bin: mounted at" in on_it.detail
    assert {beneath.severity, on_it.severity} == {CheckSeverity.NOTE}
    over, _ = bad(judge(facts(mounts=parse_mounts(MOUNTS), file_mounts=frozenset({b"/etc/over lay"}))))
    assert "/etc/over lay: a file is mounted over a file; it is scanned" in over.detail
    crossing = bad(judge(facts(mounts=parse_mounts(MOUNTS), cross_mounts=True)))
    assert "/etc/over lay, /usr/local/bin: mounted at or beneath" in crossing[0].detail


def test_a_replaced_directory_has_lost_its_rules() -> None:
    """A rule stays with the directory that it was loaded for; a rule for a parent covers the new directory as well."""
    replaced = (Watched(path=b"/etc"), Watched(path=b"/usr/local/bin", replaced_since=7))
    found = only(judge(facts(watched=replaced)))
    assert found.detail.startswith("/usr/local/bin: is another directory than at scan 7")
    assert (found.severity, found.remedy) == (CheckSeverity.WARNING, "augenrules --load")
    assert worst(judge(facts(watched=replaced[1:]))) is CheckSeverity.CRITICAL
    above = rules_for([(b"/etc", True), (b"/usr", True)], "fimscan").encode()
    boot = BootRules(source="/etc/audit/rules.d", rules=parse_all(above, lambda _: True), settings={"-b": "8192"})
    assert bad(judge(facts(watched=replaced, kernel=kernel(above), boot=boot))) == []


def test_paths_that_no_rule_can_watch() -> None:
    """A path that auditctl does not accept and one that does not exist are reported, each with its own remedy."""
    odd = facts(watched=(Watched(path=b"/etc"), Watched(path=b"/srv/a b", usable=False)))
    assert "watch a directory above it" in only(judge(odd)).remedy
    gone = facts(watched=(Watched(path=b"/etc"), Watched(path=b"/no/where", exists=False, can_appear=False)))
    assert "/no/where: neither it nor its directory exists" in only(judge(gone)).detail
    absent = facts(watched=(Watched(path=b"/etc"), Watched(path=b"/nowhere", exists=False)))
    assert "/nowhere: no loaded rule watches it (it does not exist" in only(judge(absent)).detail


ABSENT = rules_for([(b"/etc/x", False)], "fimscan", absent=[b"/etc/x"]).encode()


def test_a_rule_for_what_does_not_exist_covers_it() -> None:
    """A rule by name covers a missing path; once a directory is there, such a rule does not cover its content."""
    loaded = kernel(ABSENT)
    on_disk = BootRules(source="/etc/audit/rules.d", rules=loaded.rules, settings={"-b": "8192"})
    preload = Watched(path=b"/etc/x", exists=False, is_directory=False)
    seen = facts(watched=(preload,), kernel=loaded, boot=on_disk, expected=loaded.rules)
    assert bad(judge(seen)) == []
    assert any("/etc/x: absent; its creation will be reported" in found.detail for found in judge(seen))
    became = replace(seen, watched=(Watched(path=b"/etc/x"),))
    assert only(judge(became)).severity is CheckSeverity.CRITICAL


def test_rules_that_the_kernel_refuses_are_reported_apart_from_unloaded_ones() -> None:
    """A rule for a missing directory is reported as such: loading it helps only when the directory exists again."""
    boot = BootRules(source="/etc/audit/rules.d", rules=OURS, settings={"-b": "8192"}, refused=frozenset({b"/etc"}))
    found = bad(judge(facts(kernel=kernel(without(b"dir=/etc")), boot=boot)))
    refused = next(item for item in found if item.name == "next boot")
    assert "the kernel refuses 10 rules in /etc/audit/rules.d: /etc does not exist" in refused.detail


def test_io_uring_is_a_hole_unless_it_is_reported_or_disabled() -> None:
    """It is a note if the next scan loads the rule; if nothing will, it weakens every answer and is a warning."""
    unwatched = facts(io_uring=True, uring=(b"/etc",))
    assert only(judge(unwatched)).severity is CheckSeverity.NOTE
    assert "/usr/local/bin: the rule for io_uring is not loaded" in only(judge(unwatched)).detail
    assert only(judge(replace(unwatched, completes=False))).severity is CheckSeverity.WARNING
    assert "-e 2" in only(judge(replace(unwatched, kernel=kernel(enabled=2)))).remedy
    assert bad(judge(replace(unwatched, uring=(b"/etc", b"/usr")))) == []
    assert bad(judge(facts(io_uring=False, uring=()))) == []


def test_who_removed_our_rules_is_reported() -> None:
    """The check names the program and the user, as the record has them."""
    eve = Actor(pid=7, exe=b"/usr/sbin/auditctl", uid=0, user="root", auid=1001, login_user="eve")
    gone = AuditNotice(event=EventId(NOW - HOUR, 5), kind=NoticeKind.RULE_REMOVED, key="fimscan", actor=eve)
    found = only(judge(facts(removals=(gone,))))
    assert "by /usr/sbin/auditctl (pid 7), as root, logged in as eve" in found.detail
    assert "command line" not in found.detail


def test_the_command_line_tells_that_fimscan_removed_the_rules() -> None:
    """Its program is Python's interpreter, like that of any other script."""
    ours = Actor(
        pid=7,
        exe=b"/usr/bin/python3.11",
        cmdline=(b"/opt/fimscan/bin/python3", b"/usr/bin/fimscan", b"audit", b"rules", b"--remove"),
        uid=0,
        user="root",
    )
    gone = AuditNotice(event=EventId(NOW - HOUR, 5), kind=NoticeKind.RULE_REMOVED, key="fimscan", actor=ours)
    found = only(judge(facts(removals=(gone,))))
    assert "by /usr/bin/python3.11 (pid 7), as root" in found.detail
    assert "command line: /opt/fimscan/bin/python3 /usr/bin/fimscan audit rules --remove" in found.detail


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0.4 s"), (60, "1 min"), (5400, "1.5 h"), (181440, "2.1 days"), (40 * 86400, "40 days"), (86400, "24 h")],
)
def test_durations_are_readable(seconds: float, text: str) -> None:
    """A duration has one unit, and at most one decimal."""
    assert span(seconds) == text


def test_the_longest_wait_of_a_schedule() -> None:
    """Of a cron expression the longest wait counts, such as that over a weekend."""
    assert longest_wait("15m") == 900
    assert longest_wait("*/30 * * * *") == 1800
    assert longest_wait("0 3 * * 1-5") in range(71 * 3600, 74 * 3600)


def test_judging_reads_nothing() -> None:
    """Only gather.py reads the kernel, files, clocks and processes: any check can be replayed from its facts."""
    forbidden = {"os", "time", "subprocess", "socket", "pathlib", "io", "sqlalchemy", "datetime", "ctypes"}
    modules = sorted((Path(fimscan.__file__).parent / "pipeline" / "health" / "coverage").glob("*.py"))
    assert modules, "the room was moved: this would check nothing"
    for path in modules:
        if path.name == "gather.py":
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                assert not {alias.name.split(".")[0] for alias in node.names} & forbidden, path
            elif isinstance(node, ast.ImportFrom):
                assert (node.module or "").split(".")[0] not in forbidden, path
