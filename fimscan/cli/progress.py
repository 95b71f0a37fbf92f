"""The progress line of a scan on a terminal."""

from __future__ import annotations

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from fimscan.scan import scanner
from fimscan.store import scans as scan_store
from fimscan.store.database import Database


class ProgressLine:
    """A line on standard error: files, rate, and the time left (estimated from the last scan's number of files)."""

    def __init__(self, database: Database) -> None:
        with database.read() as session:
            last = scan_store.last_full(session)
        self._shown = Progress(
            TextColumn("scanning"),
            BarColumn(),
            TextColumn("{task.completed:,} files  {task.fields[rate]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            transient=True,
        )
        self._task = self._shown.add_task("scan", total=last.counts.get("files") if last else None, rate="")

    def __enter__(self) -> ProgressLine:
        self._shown.start()
        return self

    def __call__(self, seen: scanner.Progress) -> None:
        """Update the line."""
        rate = f"{seen.bytes / max(seen.elapsed_s, 0.001) / 1e6:,.0f} MB/s"
        self._shown.update(self._task, completed=seen.files, rate=rate)

    def __exit__(self, *_exception: object) -> None:
        self._shown.stop()
