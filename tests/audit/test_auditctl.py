"""Parsing auditctl's output, and what the rules in it cover."""

from __future__ import annotations

import os
import shutil
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fimscan.audit import ask, auditctl, observe, parse_all, parse_rules, parse_status
from fimscan.audit.auditctl import x32_options

STATUS = b"enabled 1\nfailure 1\npid 23898\nrate_limit 0\nbacklog_limit 8192\nlost 7\nbacklog 3\nbacklog_wait_time 9\n"


def directory(path: bytes) -> bool:
    return path == b"/etc"


@pytest.mark.parametrize(
    "text", [STATUS, b"AUDIT_STATUS: enabled=1 flag=1 pid=23898 rate_limit=0 backlog_limit=8192 lost=7 backlog=3\n"]
)
def test_status_is_read_in_both_formats(text: bytes) -> None:
    """The counters that gaps are computed from are parsed from old and new auditctl."""
    status = parse_status(text)
    assert (status["enabled"], status["pid"], status["lost"]) == (1, 23898, 7)
    assert (status["backlog"], status["backlog_limit"]) == (3, 8192)
    assert (status["failure"], status["rate_limit"]) == (1, 0)


OURS = b"-a always,exit -F arch=b64 -S all -F dir=/etc -F perm=wa -F success=1 -F key=fimscan"
ESSENTIAL = b"open,openat,437,creat,truncate,rename,renameat,renameat2,link,linkat,unlink,unlinkat,symlink"


@pytest.mark.parametrize(
    ("line", "writes", "attributes"),
    [
        (OURS, True, True),
        (OURS.replace(b"success=1", b"success!=0"), True, True),
        (OURS.replace(b"success=1", b"success=0"), False, False),
        (OURS.replace(b"perm=wa", b"perm=a"), False, True),
        (OURS.replace(b"-F success=1", b"-F auid>=1000"), False, False),
        (OURS.replace(b"-F success=1", b"-F exe=/usr/bin/vim"), False, False),
        (OURS.replace(b"-F success=1", b"-F uid=0"), False, False),
        (OURS.replace(b"-F success=1", b"-C auid!=uid"), False, False),
        (OURS.replace(b"-S all", b"-S open,openat"), False, False),
        (OURS.replace(b"-F perm=wa ", b""), True, True),
        (
            OURS.replace(b"all", ESSENTIAL).replace(b" -F perm=wa", b""),
            True,
            False,
        ),
        (b"-a always,exit -F arch=b64 -S open,openat,unlink,unlinkat -F dir=/etc -F success=1 -F key=x", False, False),
    ],
)
def test_only_a_rule_for_every_process_and_call_counts_as_coverage(line: bytes, writes: bool, attributes: bool) -> None:
    """A rule with any narrowing condition is kept for the status, but gives no coverage."""
    (rule,), suppressed = parse_rules(line, directory)
    assert (rule.scope, rule.recursive, rule.arches) == (b"/etc", True, frozenset({"b64"}))
    assert (rule.writes, rule.attributes) == (writes, attributes)
    assert suppressed == ()


def test_watches_cover_their_path_on_both_abis() -> None:
    """A watch on a directory is recursive, one on a file is not. Both apply to both ABIs."""
    (on_directory, on_file), _ = parse_rules(b"-w /etc/ -p wa -k etc\n-w /etc/passwd -p rw\n", directory)
    assert on_directory.scope == b"/etc/".rstrip(b"/")
    assert (on_directory.key, on_directory.writes, on_directory.attributes) == ("etc", True, True)
    assert (on_file.scope, on_file.recursive, on_file.attributes, on_file.key) == (b"/etc/passwd", False, False, None)
    assert on_file.arches == {"b32", "b64"}


def test_rules_without_files_are_left_out() -> None:
    """Rules that report no file accesses are not file-watching rules."""
    text = b"No rules\n-a always,exit -F arch=b64 -S adjtimex,settimeofday -F key=time\n-a always,user -F uid=0\n"
    assert parse_rules(text, directory) == ((), ())


@pytest.mark.parametrize(
    ("line", "suppresses"),
    [
        (b"-a never,task", True),
        (b"-a never,exit -S all -F dir=/etc", True),
        (b"-a never,exit -F arch=b64 -S openat -F exe=/usr/bin/x", True),
        (b"-a exit,never -F path=/etc/hosts", True),
        (b"-a never,exit -F arch=b64 -S adjtimex", False),
        (b"-a always,exclude -F msgtype=CWD", True),
        (b"-a never,exclude -F msgtype=PATH", True),
        (b"-a always,exclude -F msgtype=PROCTITLE", False),
        (b"-a never,filesystem -F fstype=0x1021994", True),
        (b"-a always,exclude -F auid=1000", True),
        (b"-a always,exclude -F msgtype!=PATH", True),
        (b"-a always,exclude -F msgtype=1307", True),
    ],
)
def test_rules_that_suppress_events_are_reported(line: bytes, suppresses: bool) -> None:
    """A rule that suppresses file events, or a record that they need, breaks coverage and is shown."""
    rules, suppressed = parse_rules(line, directory)
    assert rules == ()
    assert suppressed == ((line.decode(),) if suppresses else ())


def test_the_first_matching_rule_wins() -> None:
    """A never rule after the rules that watch files suppresses nothing; one between or before them does."""
    never = b"-a never,exit -S all -F exe=/usr/bin/x"
    for lines, taken in (((OURS, never), 0), ((never, OURS), 1), ((OURS, never, OURS), 1)):
        assert len(parse_rules(b"\n".join(lines), directory)[1]) == taken
    assert len(parse_rules(OURS + b"\n-a never,task", directory)[1]) == 1


@pytest.mark.parametrize(
    ("one", "other", "includes"),
    [
        (OURS, OURS.replace(b"key=fimscan", b"key=other"), True),
        (OURS, OURS.replace(b"/etc", b"/etc/ssh"), True),
        (OURS, OURS.replace(b"/etc", b"/etcetera"), False),
        (OURS.replace(b"dir=/etc", b"path=/etc"), OURS.replace(b"/etc", b"/etc/ssh"), False),
        (OURS, OURS.replace(b"perm=wa", b"perm=w"), True),
        (OURS.replace(b"perm=wa", b"perm=w"), OURS, False),
        (OURS, OURS.replace(b"-F perm=wa ", b""), False),
        (OURS.replace(b"-F arch=b64 ", b""), OURS, True),
        (OURS, OURS.replace(b"b64", b"b32"), False),
        (OURS, OURS.replace(b"-F success=1", b"-F auid>=1000"), True),
        (OURS.replace(b"-F success=1", b"-F auid!=unset"), OURS.replace(b"-F success=1", b"-F auid!=-1"), True),
        (OURS.replace(b"-F success=1", b"-F uid=0"), OURS, False),
        (OURS.replace(b"-S all", b"-S open,openat"), OURS.replace(b"-S all", b"-S openat"), True),
        (OURS.replace(b"-S all", b"-S openat"), OURS, False),
        (b"-w /etc -p wa -k x", OURS, True),
        (OURS.replace(b"always", b"never"), OURS, False),
    ],
)
def test_a_rule_includes_another(one: bytes, other: bytes, includes: bool) -> None:
    """Rules on disk and in the kernel are compared by what they report, not by their spelling."""
    (first,), (second,) = parse_all(one, directory), parse_all(other, directory)
    assert first.includes(second) is includes


@given(st.binary(max_size=200))
def test_no_auditctl_output_raises(noise: bytes) -> None:
    """Any output of auditctl, or rules file, is parsed or left out."""
    for text in (noise, b"-a always,exit -F " + noise, OURS + noise, b"-w " + noise, b"-a " + noise + b" -S " + noise):
        parse_rules(text, directory)
        for rule in parse_all(text, directory):
            assert rule.includes(rule)
    parse_status(noise)


def test_paths_are_bytes() -> None:
    """A rule with a name that is not UTF-8 keeps its bytes."""
    (rule,), _ = parse_rules(b"-w /srv/\xff\xfe -p wa", directory)
    assert rule.scope == b"/srv/\xff\xfe"
    assert rule.text == "-w /srv/\\xff\\xfe -p wa"


def fake_auditctl(directory: Path, script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    program = directory / "auditctl"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(stat.S_IRWXU)
    monkeypatch.setenv("PATH", f"{directory}:{os.environ['PATH']}")


def test_an_observation_has_status_and_rules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One observation combines both auditctl outputs and the boot that they belong to."""
    fake_auditctl(tmp_path, f"[ $1 = -s ] && echo 'enabled 2\npid 0\nlost 5' || echo '{OURS.decode()}'", monkeypatch)
    seen = observe(42)
    assert (seen.time_ns, seen.enabled, seen.daemon_pid, seen.lost, seen.error) == (42, 2, 0, 5, None)
    assert [rule.key for rule in seen.rules] == ["fimscan"]
    assert len(seen.boot_id) == 36
    answer = ask()
    assert (dict(answer.status), len(answer.rules)) == ({"enabled": 2, "pid": 0, "lost": 5}, 1)


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("echo 'You must be root to run this program.' >&2; exit 4", "You must be root"),
        ("echo 'Error - audit support not in kernel' >&2; exit 0", "audit support not in kernel"),
        ("sleep 9", "did not answer"),
    ],
)
def test_an_unavailable_audit_system_is_reported_without_exception(
    script: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without root, audit or an answer, the observation holds the error and nothing else."""
    monkeypatch.setattr(auditctl, "_TIMEOUT_S", 0.5)
    fake_auditctl(tmp_path, script, monkeypatch)
    seen = observe(1)
    assert seen.error is not None
    assert said in seen.error
    assert (seen.enabled, seen.rules) == (None, ())


def test_a_missing_auditctl_names_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without auditctl, the message names the package to install."""
    monkeypatch.setattr(shutil, "which", lambda *_, **__: None)
    seen = observe(1)
    assert seen.error is not None
    assert "install the package auditd" in seen.error


def test_x32_calls_are_detected_in_the_kernel_configuration() -> None:
    """Debian builds them in and disables them; where they are enabled, no rule matches them."""
    assert x32_options(b"# CONFIG_X86_X32_ABI is not set\n") == (False, False)
    assert x32_options(b"CONFIG_X86_X32_ABI=y\nCONFIG_X86_X32_DISABLED=y\n") == (True, True)
    assert x32_options(b"CONFIG_X86_X32_ABI=y\n") == (True, False)
