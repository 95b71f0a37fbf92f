"""``fimscan export hash-log``: a log with one line for each file and scan."""

from __future__ import annotations

import click

from fimscan.cli.context import Settings, note, output_to
from fimscan.errors import UsageError
from fimscan.pipeline.history.hash_log import hashed_files
from fimscan.report.hash_log import write_hash, write_problem


@click.command("hash-log")
@click.option("--scan", type=int, metavar="N", help="Write the files of this scan. Default: the last finished one.")
@click.option("--all", "every_scan", is_flag=True, help="Write the files of every finished scan, the oldest first.")
@click.option("--out", metavar="FILE", help="Write to FILE, completely or not at all, instead of standard output.")
@click.pass_obj
def hash_log(settings: Settings, *, scan: int | None, every_scan: bool, out: str | None) -> None:
    """Write a log of file hashes: _time,epoch_time,log_level,file_path,file_hash, one line for each file.

    Scripts that hash all files regularly write such logs. The hash is SHA-256, _time is local time, and both times are
    those of the reading of this file. What does not show in a path is escaped; commas are not, so split at the first
    three commas and at the last one. A file that could not be read has the level ERROR.

    Example: fimscan export hash-log --out hashes.log
    """
    if scan is not None and every_scan:
        raise UsageError("give either --scan or --all")
    without = 0
    with settings.database() as database, output_to(out) as stream:
        for file in hashed_files(database, scan, every_scan=every_scan):
            if file.problem is not None:
                write_problem(stream, file.path, file.read_ns, file.problem)
            elif file.sha256 is not None:
                write_hash(stream, file.path, file.read_ns, file.sha256)
            else:
                without += 1
    if without:
        note(f"left out {without:,} files without SHA-256: their [[watch]] records none")
