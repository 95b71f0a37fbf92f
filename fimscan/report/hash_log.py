"""A log of file hashes: ``_time,epoch_time,log_level,file_path,file_hash``, one line for each file and scan."""

from __future__ import annotations

import time
from typing import TextIO

from fimscan.report.display import show

_NS = 10**9


def write_hash(out: TextIO, path: bytes, read_ns: int, sha256: bytes) -> None:
    """Write the line of a file. ``_time`` is local, as scripts write it; the path is escaped, commas are not."""
    out.write(f"{_begin(read_ns, 'INFO')},{show(path)},{sha256.hex()}\n")


def write_problem(out: TextIO, path: bytes, read_ns: int, problem: str) -> None:
    """Write the line of a file that could not be read."""
    out.write(f"{_begin(read_ns, 'ERROR')},{show(path)},ERROR : {show(problem)}\n")


def _begin(read_ns: int, level: str) -> str:
    seconds = read_ns // _NS
    return f"{time.strftime('%Y-%m-%d %H:%M:%S', time.localtime(seconds))},{seconds},{level}"
