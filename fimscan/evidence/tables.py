"""Write CSV files: RFC 4180 with LF line ends, UTF-8, formula cells neutralized. And those of the files 04 to 08."""

from __future__ import annotations

import base64
import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from types import TracebackType

from msgspec import Struct

from fimscan.evidence.archive import Staged
from fimscan.evidence.continuity import Stretch
from fimscan.evidence.inputs import CriticalPattern
from fimscan.model import (
    Actor,
    ChangeKind,
    FileKind,
    FileState,
    MissedRuns,
    Reconfiguration,
    Scan,
    ScanStatus,
    Unreadable,
)
from fimscan.report.display import are_harmless, cell_text, mode_octal, owner_text, show, time_text
from fimscan.store.ledger import StateDigest, state_digest, summary_line

Cell = str | int | None
_FLUSH_AT = 1 << 16


class Table:
    """One CSV file whose first column is ``host``. Use it as a context manager: leaving it writes the rest."""

    def __init__(self, out: Staged, host: str, columns: Sequence[str]) -> None:
        self._out, self._host = out, cell_text(show(host))
        self._text = io.StringIO(newline="")
        self._writer = csv.writer(self._text, lineterminator="\n")
        self._writer.writerow(("host", *columns))
        self.rows = 0

    def add(self, *cells: Cell) -> None:
        """Write one row; ``None`` gives an empty cell."""
        self.rows += 1
        # To the writer, None is an empty cell. An enum is a word of ours.
        if not are_harmless([cell for cell in cells if cell.__class__ is str]):
            cells = tuple([cell_text(cell) if cell.__class__ is str else cell for cell in cells])
        self._writer.writerow((self._host, *cells))
        if self._text.tell() > _FLUSH_AT:
            self._flush()

    def _flush(self) -> None:
        self._out.write(encode(self._text.getvalue()))
        self._text.seek(0)
        self._text.truncate()

    def __enter__(self) -> Table:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if kind is None:
            self._flush()


def encode(text: str) -> bytes:
    """Encode as UTF-8. What UTF-8 cannot encode (a host name that is not UTF-8 itself) is escaped, not lost."""
    return text.encode("utf-8", "backslashreplace")


def path_cells(path: bytes | None) -> tuple[str, str]:
    """A path in escaped form, and in base64 if its cell differs from it; two empty cells for ``None``."""
    if path is None:
        return "", ""
    shown = show(path)
    return shown, "" if cell_text(shown).encode() == path else base64.b64encode(path).decode("ascii")


def text_cell(text: str | bytes | None) -> str | None:
    """A text that others chose, escaped; ``None`` stays an empty cell."""
    return None if text is None else show(text)


def moment_cell(time_ns: int | None) -> str | None:
    """A time; ``None`` stays an empty cell."""
    return None if time_ns is None else time_text(time_ns)


def seconds_cell(from_ns: int, to_ns: int | None) -> str | None:
    """The seconds between two times; ``None`` if the later one is not known."""
    return None if to_ns is None else f"{(to_ns - from_ns) / 1e9:.3f}"


def actor_cells(actor: Actor | None) -> tuple[Cell, ...]:
    """exe, exe_b64, pid, auid and login user of a process that caused something; empty cells if none is known."""
    if actor is None:
        return "", "", None, None, None
    return (*path_cells(actor.exe), actor.pid, actor.auid, text_cell(actor.login_user))


ACTOR = ("exe", "exe_b64", "pid", "auid", "login_user")


def yes_no(value: object) -> str:
    """``yes`` or ``no``."""
    return "yes" if value else "no"


def hex_digest(state: FileState | None, algorithm: str) -> str:
    """A file's digest in hex; empty if it was not computed."""
    value = state.digest(algorithm) if state is not None else None
    return value.hex() if value is not None else ""


# --------------------------------------------------------------------------------------------------------------------
# 04 to 08


def write_schedule(out: Staged, host: str, schedule: Mapping[str, str]) -> int:
    """``04-policy/schedule.csv``: when each job runs, as a cron expression (host's time zone) or an interval."""
    with Table(out, host, ("job", "runs_at")) as table:
        for job, when in sorted(schedule.items()):
            table.add(job, show(when))
    return table.rows


def write_reconfigurations(out: Staged, host: str, found: Iterable[Reconfiguration]) -> int:
    """``04-policy/changes.csv``: every setting that changed between two scans of the period, and its effect.

    ``config_before`` and ``config_after`` are the ``config_digest`` of the two scans, as in the chain.
    """
    columns = ("scan", "setting", "before", "after", "effect", "config_before", "config_after")
    with Table(out, host, columns) as table:
        for change in found:
            for item in change.differences:
                values = (show(text) if text is not None else None for text in (item.before, item.after))
                table.add(change.scan, show(item.key), *values, item.effect, change.before, change.after)
    return table.rows


def write_critical_files(out: Staged, host: str, patterns: Iterable[CriticalPattern]) -> int:
    """``05-critical-files.csv``: what is monitored, and why it is critical."""
    columns = ("pattern", "pattern_b64", "exclude", "policy", "severity", "category", "rationale")
    with Table(out, host, columns) as table:
        for pattern in patterns:
            about = (pattern.policy, pattern.severity, show(pattern.category), show(pattern.rationale))
            table.add(*path_cells(pattern.path), show(" ".join(pattern.exclude)), *about)
    return table.rows


class FileTotals(Struct, frozen=True, kw_only=True):
    """Totals of :func:`write_monitored_files`; ``state_digest`` has to equal that of the scan's ledger entry."""

    files: int
    without_sha256: int
    state_digest: str


def write_monitored_files(out: Staged, host: str, files: Iterable[FileState]) -> FileTotals:
    """``06-monitored-files.csv``: every file with its state digest. Memory use does not depend on their number."""
    complete, count, without = StateDigest(), 0, 0
    columns = ("path", "path_b64", "type", "size", "mode", "owner", "read_utc", "sha256", "state_sha256")
    with Table(out, host, columns) as table:
        for state in files:
            own = state_digest(state)
            complete.add(own)
            count += 1
            sha256 = hex_digest(state, "sha256")
            without += state.kind is FileKind.FILE and not sha256
            about = (state.kind, state.size, mode_octal(state.mode), owner_text(state.uid, state.gid))
            table.add(*path_cells(state.path), *about, time_text(state.read_end_ns), sha256, own.hex())
    return FileTotals(files=count, without_sha256=without, state_digest=complete.hexdigest())


_COUNTS = ("files", *(kind.value for kind in ChangeKind), "unreadable")


def write_scans(out: Staged, host: str, scans: Iterable[Scan]) -> int:
    """``07-scans.csv``: every scan since the first, with the input of its ledger entry if it finished."""
    columns = ("scan", "trigger", "status", "started_utc", "finished_utc", *_COUNTS, "config_digest")
    with Table(out, host, (*columns, "summary", "state_digest", "previous", "entry")) as table:
        for scan in scans:
            finished = time_text(scan.finished_ns) if scan.finished_ns is not None else None
            counts = (scan.counts.get(name) for name in _COUNTS)
            ledger: tuple[str, ...] = ("", "", "", "")
            if scan.status is ScanStatus.FINISHED:
                ledger = (summary_line(scan), scan.state_digest, scan.previous, scan.entry)
            about = (show(scan.trigger), scan.status, time_text(scan.started_ns), finished)
            table.add(scan.id, *about, *counts, scan.config_digest, *ledger)
    return table.rows


def write_continuity(out: Staged, host: str, stretches: Iterable[Stretch], max_gap_hours: float) -> int:
    """``08-continuity.csv``: every stretch between two comparisons."""
    columns = ("from_utc", "to_utc", "from_scan", "to_scan", "expected_max_hours", "actual_hours", "status", "note")
    with Table(out, host, columns) as table:
        for stretch in stretches:
            hours = f"{stretch.hours:.3f}" if stretch.hours is not None else None
            window = (time_text(stretch.from_ns), time_text(stretch.to_ns), stretch.from_scan, stretch.to_scan)
            table.add(*window, f"{max_gap_hours:g}", hours, stretch.status, stretch.note)
    return table.rows


def write_not_compared(out: Staged, host: str, failed: Iterable[Unreadable]) -> int:
    """``08-not-compared.csv``: what the last complete scan could not read, since when, and how ``lstat(2)`` differs."""
    columns = ("path", "path_b64", "reason", "detail", "last_read_utc", "changed_since")
    with Table(out, host, columns) as table:
        for item in failed:
            since = time_text(item.since_ns) if item.since_ns is not None else None
            table.add(*path_cells(item.path), item.reason, show(item.detail), since, " ".join(item.differs))
    return table.rows


def write_missed_runs(out: Staged, host: str, found: Iterable[MissedRuns]) -> int:
    """``08-missed-runs.csv``: the runs of [schedule] in the period that did not happen."""
    columns = ("job", "runs", "first_due_utc", "last_due_utc", "cause", "noted_utc")
    with Table(out, host, columns) as table:
        for item in found:
            due = time_text(item.first_ns), time_text(item.last_ns)
            table.add(item.job, item.count, *due, item.cause, time_text(item.noted_ns))
    return table.rows
