"""The configuration of the running daemon, and the growth of its log."""

from __future__ import annotations

import gzip
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fimscan.audit import config_directory, growth, parse_config, read_config
from fimscan.errors import InputError

SECOND = 10**9


def test_settings_are_read_as_auditd_reads_them() -> None:
    """Names and values in any case, comments, and auditd's defaults for missing settings."""
    config = parse_config(
        "# a comment = no\nLOCAL_EVENTS=No\nlog_file = /srv/Log/audit.log\nmax_log_file = 8 # MB\n"
        "Max_Log_File_Action = ROTATE\nspace_left = 25%\nadmin_space_left_action = exec /bin/x\nnonsense\n"
    )
    assert (config.local_events, config.write_logs, config.log_file) == (False, True, "/srv/Log/audit.log")
    assert (config.max_log_file, config.num_logs, config.max_log_file_action) == (8 << 20, 0, "rotate")
    assert (config.admin_space_left_action, config.log_format) == ("exec", "raw")
    assert config.space_bytes(config.space_left, 1000) == 250
    assert config.space_bytes("75", 1000) == 75 << 20


@given(st.text(max_size=300))
def test_no_configuration_raises(text: str) -> None:
    """Any content of auditd.conf is parsed or left out."""
    for shape in (text, f"max_log_file = {text}", f"num_logs={text}\nspace_left={text}", f"log_file ={text}"):
        config = parse_config(shape)
        assert config.space_bytes(config.space_left, 10**9) >= 0


def test_an_unreadable_configuration_is_named(tmp_path: Path) -> None:
    """The error names the file."""
    with pytest.raises(InputError, match=r"auditd\.conf"):
        read_config(str(tmp_path))


@pytest.mark.parametrize(
    ("arguments", "directory"), [(["-c", "/srv/a"], "/srv/a"), (["-c/srv/b"], "/srv/b"), ([], "/etc/audit")]
)
def test_the_directory_comes_from_the_daemons_arguments(arguments: list[str], directory: str) -> None:
    """A daemon started with -c has its configuration there, not in /etc/audit."""
    command = [sys.executable, "-", *arguments]  # waits on standard input, whatever its arguments are
    process = subprocess.Popen(command, stdin=subprocess.PIPE)
    try:
        # Popen returns shortly before the new program's arguments are visible in /proc.
        while arguments and arguments[0].encode() not in Path(f"/proc/{process.pid}/cmdline").read_bytes():
            assert process.poll() is None
        assert config_directory(process.pid) == directory
    finally:
        process.kill()
        process.communicate()
    assert config_directory(2**22 + 1) == "/etc/audit"


def record(seconds: float) -> bytes:
    return b"type=SYSCALL msg=audit(%.3f:1): arch=c000003e syscall=257\n" % seconds


def test_growth_is_measured_over_the_log_and_its_predecessors(tmp_path: Path) -> None:
    """From the first record of the oldest file to the last of the live one; also the rate of the fastest file."""
    log = tmp_path / "audit.log"
    filler = b"x" * 99 + b"\n"
    older = record(1000) + filler * 20_000 + record(1010)
    newer = record(1010.5) + filler * 20_000 + record(3000)
    (tmp_path / "audit.log.1").write_bytes(older)
    log.write_bytes(newer)
    (tmp_path / "audit.log.2.gz").write_bytes(gzip.compress(record(5)))
    measured = growth(os.fsencode(log))
    assert measured is not None
    assert (measured.first_ns, measured.last_ns) == (1000 * SECOND, 3000 * SECOND)
    assert measured.size == len(older) + len(newer)
    assert measured.rate == pytest.approx(measured.size / 2000)
    assert measured.fastest == pytest.approx(len(older) / 10)


def test_a_short_log_has_no_rate(tmp_path: Path) -> None:
    """A few seconds of records are too short to measure; an empty or missing log has no growth at all."""
    log = tmp_path / "audit.log"
    log.write_bytes(record(10) + record(12))
    measured = growth(os.fsencode(log))
    assert measured is not None
    assert (measured.rate, measured.fastest) == (None, None)
    log.write_bytes(b"")
    assert growth(os.fsencode(log)) is None
    assert growth(b"/nonexistent/audit.log") is None
