"""All formats that can be imported: recognise a file's format, and read it."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from typing import BinaryIO

from msgspec import Struct

from fimscan.decompression import DAMAGED_COMPRESSION, LONGEST_MAGIC, problem_of, unpacked
from fimscan.errors import InputError
from fimscan.importers.aide import is_aide, read_aide
from fimscan.importers.entries import LONGEST_LINE, Lines, MalformedError, Recorded, Source
from fimscan.importers.hash_log import is_hash_log, read_hash_log
from fimscan.importers.hashdeep import is_hashdeep, read_hashdeep
from fimscan.importers.mtree import is_mtree, read_mtree
from fimscan.importers.ossec import is_ossec, read_ossec
from fimscan.importers.sums import DPKG_SUFFIX, is_sums, read_dpkg, read_sums
from fimscan.importers.tripwire import is_tripwire, read_tripwire
from fimscan.importers.wazuh import is_wazuh, read_wazuh

_HEAD = 4096


class Format(Struct, frozen=True, kw_only=True):
    """One format.

    Attributes:
        what: its name in a sentence.
        program: who wrote it, in a sentence.
        is_it: whether a file that begins so is one.
        read: raises :class:`MalformedError`.
        summary: a line for the help.
        example: the command that shows how to get such a file.
    """

    what: str
    program: str
    is_it: Callable[[bytes], bool]
    read: Callable[[Source], Recorded]
    summary: str
    example: str


FORMATS = {
    "aide": Format(
        what="AIDE database",
        program="AIDE",
        is_it=is_aide,
        read=read_aide,
        summary="AIDE's database FILE (0.16 to 0.18, text or gzip)",
        example="/var/lib/aide/aide.db",
    ),
    "tripwire": Format(
        what="printed Tripwire database",
        program="Tripwire",
        is_it=is_tripwire,
        read=read_tripwire,
        summary="what Tripwire's 'twprint --print-dbfile' printed to FILE (2.4)",
        example="tripwire.txt",
    ),
    "ossec": Format(
        what="syscheck database",
        program="OSSEC",
        is_it=is_ossec,
        read=read_ossec,
        summary="OSSEC's syscheck database FILE (queue/syscheck/..., text)",
        example="/var/ossec/queue/syscheck/syscheck",
    ),
    "wazuh": Format(
        what="Wazuh database",
        program="Wazuh",
        is_it=is_wazuh,
        read=read_wazuh,
        summary="Wazuh's SQLite database FILE (fim.db, or an agent's on the manager)",
        example="/var/ossec/queue/fim/db/fim.db",
    ),
    "mtree": Format(
        what="mtree specification",
        program="mtree",
        is_it=is_mtree,
        read=read_mtree,
        summary="an mtree specification FILE (mtree -c, bsdtar --format=mtree)",
        example="etc.mtree",
    ),
    "hashdeep": Format(
        what="hashdeep list",
        program="hashdeep",
        is_it=is_hashdeep,
        read=read_hashdeep,
        summary="a list FILE of hashdeep",
        example="known.txt",
    ),
    "hash-log": Format(
        what="log of file hashes",
        program="the log",
        is_it=is_hash_log,
        read=read_hash_log,
        summary="a log FILE of hashes (_time,epoch_time,log_level,file_path,file_hash)",
        example="/var/log/audit_files_hashes.log",
    ),
    "dpkg": Format(
        what="list of dpkg",
        program="dpkg",
        is_it=lambda _head: False,  # by its name only: its lines are those of md5sum
        read=read_dpkg,
        summary="dpkg's lists of MD5, joined to FILE (/var/lib/dpkg/info/*.md5sums)",
        example="all.md5sums",
    ),
    "sums": Format(
        what="list of checksums",
        program="the list",
        is_it=is_sums,
        read=read_sums,
        summary="a list FILE of sha256sum, md5sum, md5deep or their like",
        example="SHA256SUMS",
    ),
}
"""Name on the command line -> format, in the order in which they are tried."""


def read_baseline(path: bytes, name: str | None = None, root: bytes | None = None) -> tuple[str, Recorded]:
    """Read the baseline of another program; return the name of its format, and what it recorded.

    Without ``name``, the beginning of the file says what it is.

    Raises:
        InputError: with the line, if it cannot be read, is in no known format, or is incomplete.
    """
    shown = os.fsdecode(path).encode("utf-8", "backslashreplace").decode()
    try:
        # O_NONBLOCK: opening a FIFO must not block until it has a writer.
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC), "rb") as plain:
            found = os.fstat(plain.fileno())
            if not stat.S_ISREG(found.st_mode):
                raise InputError(f"cannot read {shown}: it is not a regular file")
            written_ns = found.st_mtime_ns
            magic = plain.read(LONGEST_MAGIC)
            plain.seek(0)
            file = unpacked(plain, magic)
            head = file.read(_HEAD)
            file.seek(0)
            name = name or _detected(path, head)
            form = FORMATS[name]
            is_zero_ended = name in ("sums", "dpkg") and b"\0" in head
            separator = b"\0" if is_zero_ended else b"\n"
            lines = Lines(_pieces(file, separator), separator=separator)
            source = Source(path=path, lines=lines, written_ns=written_ns, root=root)
            return name, form.read(source)
    except DAMAGED_COMPRESSION as error:
        raise InputError(f"cannot read {shown}: {problem_of(error)}") from error
    except OSError as error:
        raise InputError(f"cannot read {shown}: {error.strerror or error}") from error
    except MalformedError as error:
        what = FORMATS[name or "sums"].what
        raise InputError(f"{shown} is not a complete {what}: {error}") from error


def _detected(path: bytes, head: bytes) -> str:
    found = next((name for name, form in FORMATS.items() if form.is_it(head)), None)
    if found is None:
        shown = os.fsdecode(path).encode("utf-8", "backslashreplace").decode()
        raise InputError(f"{shown} is in no known format; say which one: {', '.join(FORMATS)}")
    return "dpkg" if found == "sums" and path.endswith(DPKG_SUFFIX) else found


def _pieces(file: BinaryIO, separator: bytes) -> Iterator[bytes]:
    """What ends with the separator; in blocks, because a hostile file has millions of lines of two bytes."""
    rest = b""
    while data := file.read(1 << 16):
        *whole, rest = (rest + data).split(separator)
        yield from (piece + separator for piece in whole)
        if len(rest) >= LONGEST_LINE:
            break
    if rest:
        yield rest
