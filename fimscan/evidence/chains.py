"""The two chains and the rows that they bind (07), as text that :mod:`fimscan.evidence.replay` replays."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator
from typing import Any

from fimscan.evidence.archive import Staged
from fimscan.evidence.ascii_json import ascii_json
from fimscan.evidence.tables import encode
from fimscan.model import Scan
from fimscan.store.bound_rows import SUBJECTS, BoundRow
from fimscan.store.journal import Cause, Entry
from fimscan.store.ledger import LedgerLine, ledger_lines
from fimscan.store.registry import Noted


def write_ledger(out: Staged, scans: Iterable[Scan]) -> int:
    """``07-ledger.txt``: the chain of finished scans."""
    lines = ledger_lines(scans)
    out.write(ledger_text(lines))
    return len(lines)


def ledger_text(lines: Iterable[LedgerLine]) -> bytes:
    """Previous, summary, state digest and entry of each finished scan, tab-separated for a shell."""
    return encode("".join(f"{x.previous}\t{x.summary}\t{x.state_digest}\t{x.entry}\n" for x in lines))


def write_journal(out: Staged, entries: Iterable[Entry]) -> int:
    """``07-journal.txt``: the items of each entry, then the entry. Memory use does not depend on their number."""
    count = 0
    for entry in entries:
        lines = [f"item\t{code}\t{number}\t{digest.hex()}\n" for code, number, digest in entry.codes()]
        if entry.rest:
            lines.append(f"damaged\t{entry.rest.hex()}\n")
        kind = "open" if entry.cause == Cause.OPEN else "entry"
        lines.append(f"{kind}\t{entry.previous}\t{entry.summary}\t{entry.entry}\n")
        out.write(encode("".join(lines)))
        count += 1
    return count


def write_rows(out: Staged, rows: Iterable[BoundRow], period: tuple[int, int]) -> int:
    """``07-rows.jsonl``: a header, then a line for each row: subject, number, values in the order of the digest.

    All rows that the journal mentions within ``period`` are there, if they still exist.
    """
    subjects = {
        str(int(subject)): {"name": name, "columns": columns, "noted": isinstance(subject.rows, Noted)}
        for subject, (name, columns) in SUBJECTS.items()
    }
    header = {"from_ns": period[0], "to_ns": period[1], "subjects": subjects}
    out.write(ascii_json(header) + b"\n")
    count = 0

    def lines() -> Iterator[bytes]:
        nonlocal count
        for row in rows:
            values = [_plain(value) for value in row.values]
            yield ascii_json([str(int(row.subject)), row.number, values]) + b"\n"
            count += 1

    out.write_all(lines())
    return count


def _plain(value: Any) -> Any:
    """A value as JSON; bytes as an object with their base64."""
    return {"b64": base64.b64encode(value).decode()} if isinstance(value, bytes) else value
