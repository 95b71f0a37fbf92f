"""The checks of 'fimscan doctor' on controls, disks, the clock and fimscan's own files."""

from __future__ import annotations

import os
import shlex
import shutil
import stat
import time
from collections.abc import Iterator

from fimscan.config import Config
from fimscan.linux.clock import is_clock_synchronized
from fimscan.model import Check, ControlFailure, ControlKind
from fimscan.pipeline.audit.reading import AuditSource
from fimscan.pipeline.controls import evaluate, observe
from fimscan.pipeline.health.checks import critical, note, ok, warning
from fimscan.pipeline.health.remedies import commented
from fimscan.report.controls import failed_lines
from fimscan.report.display import minute_text, show
from fimscan.store import controls as control_store
from fimscan.store.database import Database
from fimscan.store.failed_scan import FailedScan, noted
from fimscan.trust import trust_problem

_SEVEN_DAYS_NS = 7 * 86400 * 10**9
_EVALUATES = "it evaluates all controls again"
_REMEDIES = {
    ControlKind.AUDIT: commented("fimscan scan", f"after the checks of audit above are fixed: {_EVALUATES}"),
    ControlKind.SCAN: commented("fimscan scan", "it says what fails"),
    ControlKind.UNREADABLE: commented("fimscan diff", "it lists the files, with reasons"),
    ControlKind.OUTPUT: commented("fimscan notify", "it tries to deliver, and says what fails"),
    ControlKind.SELFTEST: "fimscan selftest",
    ControlKind.DISK: commented("fimscan scan", f"after space was freed: {_EVALUATES}"),
}


def control_checks(config: Config, database: Database) -> Iterator[Check]:
    """Check everything that the controls evaluate, as of now or as of the last evaluation."""
    now_ns = time.time_ns()
    with database.read() as session:
        failed = control_store.still_open(session)
        recent = control_store.between(session, now_ns - _SEVEN_DAYS_NS, now_ns)
    yield from _failed(failed, _unstored(database))
    yield from _disks(config, database, failed, now_ns)
    yield from _clock([item for item in recent if item.kind is ControlKind.CLOCK])
    yield from _own_files(config)


def _unstored(database: Database) -> FailedScan | None:
    """A scan that failed, and could not even be stored as a failed control."""
    path = database.failed_scan_file
    return None if path is None else noted(path)


def _failed(failed: list[ControlFailure], unstored: FailedScan | None) -> Iterator[Check]:
    if unstored is not None:
        why = show(unstored.error.encode("utf-8", "surrogateescape"))
        detail = f"no scan has finished since {minute_text(unstored.began_ns)}: {why}"
        yield warning("controls", detail, _REMEDIES[ControlKind.SCAN])
    elif not failed:
        yield ok("controls", "none was failed when they were evaluated last")
    for item in failed:
        line, *_ = failed_lines([item])
        yield warning(
            "controls", line.partition(" ")[2], _REMEDIES.get(item.kind, commented("fimscan scan", _EVALUATES))
        )


def _disks(config: Config, database: Database, failed: list[ControlFailure], now_ns: int) -> Iterator[Check]:
    source = AuditSource(logs=config.audit.logs) if config.audit.enabled and config.audit.logs else None
    for space in observe.spaces(database, config, source):
        full = list(evaluate.disk_symptoms([space], failed, now_ns))
        free = f"{space.path}: {space.free >> 20:,} MB of {space.total >> 20:,} MB are free"
        if full:
            remedy = commented(
                f"du -xm {shlex.quote(space.path)} | sort -n | tail", "it shows what is large there; free space"
            )
            yield warning("disk space", f"{space.path}: {full[0].cause}", remedy)
        else:
            yield ok("disk space", free)


def _clock(jumps: list[ControlFailure]) -> Iterator[Check]:
    for item in jumps[-1:]:
        more = f" ({len(jumps)} times in the last seven days)" if len(jumps) > 1 else ""
        yield note("clock", f"{item.cause}; noticed {minute_text(item.detected_ns)}{more}", _time_service())
    if is_clock_synchronized() is False:
        detail = "not synchronized, as far as the kernel knows: times of other hosts cannot be compared with these"
        yield note("clock", detail, _time_service())
    elif not jumps:
        yield ok("clock", "not set in the last seven days")


def _time_service() -> str:
    if shutil.which("timedatectl") and os.path.isdir("/run/systemd/system"):
        return "timedatectl set-ntp true"
    return "run a time service such as chrony, on the host if this is a container"


def _own_files(config: Config) -> Iterator[Check]:
    """Check the files with secrets. The configuration and the database are not even opened if others can alter them."""
    key = config.evidence.key
    secrets = [
        item for out in config.output for item in (out.password_file, out.secret_file, out.url_file, out.key_file)
    ]
    paths = [key, *(path for path in dict.fromkeys(secrets) if path.startswith("/"))]
    is_fine = True
    for path in paths:
        if (problem := trust_problem(path)) is not None:
            what, _, remedy = problem.partition("; ")
            is_fine = False
            yield critical("own files", what, remedy.removeprefix("run: "))
        elif (mode := _mode(path)) is not None and mode & 0o077:
            is_fine = False
            yield critical(
                "own files", f"{path}: others can read it (mode {mode:04o})", f"chmod 600 {shlex.quote(path)}"
            )
    if is_fine:
        yield ok(
            "own files", "nobody else can alter the configuration and the database, or read the files with secrets"
        )


def _mode(path: str) -> int | None:
    try:
        return stat.S_IMODE(os.stat(path).st_mode)
    except OSError:
        return None
