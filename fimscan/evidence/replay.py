#!/usr/bin/env python3
"""Replay both chains of a bundle and the rows that they bind: python3 replay.py [DIRECTORY].

Python's standard library is all that it needs. The README of each bundle has a copy of this file.
"""

import base64
import csv
import hashlib
import json
import re
import struct
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any

GENESIS = GONE = "0" * 64
MOST = 2_000_000  # records that are compared: no memory is enough for what anybody can write into a file
# Table: the subject of its rows, its column with the number, and columns (of the table, of the row) that have to agree.
TABLES = {
    "09-changes.csv": ("32", "change", {"type": "kind", "verdict": "verdict"}),
    "10-alerts.csv": ("28", "message", {"output": "output", "state": "state"}),
    "11-dispositions.csv": (
        "8",
        "record",
        {"status": "status", "ticket": "ticket", "reviewer": "user", "decision": "act"},
    ),
    "12-control-failures.csv": ("33", "failure", {"kind": "kind", "remedy": "remedy"}),
    "12-control-notes.csv": ("34", "note", {"remediation": "remediation", "ticket": "ticket", "noted_by": "user"}),
}


DECIDED = ("status", "ticket", "reviewer", "decision")  # what a change has of the decision about it


class Problems(list[str]):
    """The first problems; the others are only counted."""

    def append(self, text: str) -> None:
        """Add a problem."""
        if len(self) < 100:
            super().append(text)
        elif len(self) == 100:
            super().append("and more")


def entry(previous: str, summary: str, digest: str) -> str:
    """An entry is SHA-256 over three lines."""
    return hashlib.sha256(f"{previous}\n{summary}\n{digest}\n".encode()).hexdigest()


def encoded(value: Any) -> bytes:
    """A value as it is digested: a number, or a text or bytes with its length."""
    if value is None:
        return b"-,"
    if isinstance(value, int):
        return b"%d " % value
    data = base64.b64decode(value["b64"]) if isinstance(value, dict) else value.encode("utf-8", "surrogateescape")
    return b"%d:%b," % (len(data), data)


def bounded(count: int) -> None:
    """Refuse more than fimscan writes."""
    if count > MOST:
        raise ValueError(f"more than {MOST:,} records")


def replay_ledger(lines: Iterable[str], scans: list[Any], problems: Problems) -> dict[str, Any]:
    """Append (number, entry, journal entry) of each scan to scans; return the newest checkpoint."""
    first, last, sealed = "", "", dict[str, Any]()
    for line in lines:
        previous, summary, state, made = line.rstrip("\n").split("\t")
        fields = json.loads(summary)
        if last and previous != last:
            problems.append(f"scan {fields['id']} does not follow the one before")
        if entry(previous, summary, state) != made:
            problems.append(f"scan {fields['id']} was altered")
        first, last, sealed = first or previous, made, fields.get("checkpoint") or sealed
        scans.append((fields["id"], made, fields.get("journal", "")))
        bounded(len(scans))
    if first not in ("", sealed["entry"] if sealed.get("scan") else GENESIS):
        problems.append("the ledger does not begin where it should")
    return sealed


class Journal:
    """What the journal says of rows: newest has a digest for each (subject, number), noted the rows of other kinds."""

    def __init__(self, header: dict[str, Any], rows: dict[tuple[str, int], str], problems: Problems) -> None:
        """Only what the header of the rows names, and what is in rows or in the period, is remembered."""
        self.subjects, self.header = header.get("subjects", {}), header
        self.rows, self.problems = rows, problems
        self.newest: dict[tuple[str, int], str] = {}
        self.noted: set[tuple[str, int, str]] = set()
        self.touched: set[tuple[str, int]] = set()
        self.entries: list[str] = []
        self.places: dict[str, int] = {}
        self.upgraded = 0

    def read(self, lines: Iterable[str], begin: str, head: str) -> None:
        """Replay the lines; begin is the entry before the first, head the last entry of the ledger."""
        items: list[tuple[str, int, str]] = []
        total, last = hashlib.sha256(), begin
        for line in lines:
            kind, *fields = line.rstrip("\n").split("\t")
            if kind == "item":
                subject, number, digest = fields
                total.update(struct.pack(">Bq32s", int(subject), int(number), bytes.fromhex(digest)))
                if subject in self.subjects:
                    items.append((subject, int(number), digest))
                continue
            if kind == "damaged":
                self.problems.append("a journal entry is damaged")
                continue
            previous, summary, made = fields
            if entry(previous, summary, total.hexdigest()) != made:
                self.problems.append(f"journal entry {made} was altered")
            if previous != (head if kind == "open" else last):
                self.problems.append(f"journal entry {made} does not follow the one before")
            about = json.loads(summary)
            self.apply(items, about)
            if kind == "entry":
                last = made
                self.places[made] = len(self.entries)
                self.entries.append(about["scan"])
            items, total = [], hashlib.sha256()
        if items:
            self.problems.append("the journal was cut off")

    def apply(self, items: Iterable[tuple[str, int, str]], about: dict[str, Any]) -> None:
        """Apply the items of one entry."""
        within = self.header.get("from_ns", 0) <= about["made_ns"] < self.header.get("to_ns", 0)
        for subject, number, digest in items:
            if within and (subject, number) not in self.rows:
                self.touched.add((subject, number))
            if self.subjects[subject].get("noted"):
                self.noted ^= {(subject, number, digest)}
            elif digest == GONE and about["cause"] == "prune":
                self.newest.pop((subject, number), None)
            elif within or (subject, number) in self.rows:
                known = self.rows.get((subject, number))
                self.newest[subject, number] = known if known == digest else digest  # one text, not two
                self.upgraded += about["cause"] == "upgrade"
        bounded(max(len(self.touched), len(self.noted)))

    def check_links(self, scans: Iterable[Any], begin: str, journal_begin: str) -> None:
        """Each scan names the journal entry before it, and each journal entry the scan before it."""
        done, current = 0, begin
        for number, made, named in scans:
            if named in ("", journal_begin):
                place = done - 1
            elif named not in self.places:
                self.problems.append(f"scan {number} names a journal entry that does not exist")
                return
            else:
                place = self.places[named]
            if place < done - 1 or any(scan != current for scan in self.entries[done : place + 1]):
                self.problems.append(f"the journal before scan {number} does not name the scan before it")
            done, current = max(done, place + 1), made
        if any(scan != current for scan in self.entries[done:]):
            self.problems.append("the end of the journal does not name the last scan")

    def check_rows(self) -> None:
        """Check that each row is as it was recorded, and that none is missing."""
        for (subject, number), digest in self.rows.items():
            is_noted = self.subjects[subject].get("noted")
            known = (subject, number, digest) in self.noted
            if not known if is_noted else self.newest.get((subject, number)) != digest:
                self.problems.append(f"{self.subjects[subject]['name']} {number} was altered, or was never recorded")
        present = self.newest.keys() | {(subject, number) for subject, number, _ in self.noted}
        for subject, number in sorted(self.touched):
            if (subject, number) in present:
                self.problems.append(f"{self.subjects[subject]['name']} {number} is missing")


def read_rows(
    lines: Iterable[str], subjects: dict[str, Any], problems: Problems
) -> tuple[dict[tuple[str, int], str], dict[tuple[str, int], tuple[Any, ...]]]:
    """Return the digest of each row, and what tables have to agree with."""
    digests: dict[tuple[str, int], str] = {}
    kept: dict[tuple[str, int], tuple[Any, ...]] = {}
    shown = {subject: same for subject, _, same in TABLES.values()}
    for line in lines:
        subject, number, values = json.loads(line)
        key = (subject, number)
        if key in digests:
            problems.append(f"{subjects[subject]['name']} {number} is there twice")
        digests[key] = hashlib.sha256(b"".join(map(encoded, values))).hexdigest()
        if subject in shown:
            row = dict(zip(subjects[subject]["columns"], values, strict=False))
            kept[key] = tuple(row.get(column) for column in shown[subject].values())
        bounded(len(digests))
    return digests, kept


def decisions_in(kept: dict[tuple[str, int], Any]) -> dict[str, set[tuple[Any, ...]]]:
    """The records of each decision, by its number: there is one for each path that it named."""
    found: dict[str, set[tuple[Any, ...]]] = {}
    for (subject, _), record in kept.items():
        if subject == TABLES["11-dispositions.csv"][0]:
            found.setdefault(str(record[-1]), set()).add(record)
    return found


def agrees(column: str, value: Any, cell: str) -> bool:
    """Whether a cell has a recorded value; texts that had to be escaped are not compared."""
    text = "approved" if column == "status" and value is None else "" if value is None else str(value)
    # Others are escaped, or begin with an apostrophe so that they are no formula.
    return not re.fullmatch(r"(\w[\w .:,/()#-]*)?", text, re.ASCII) or cell == text


def check_table(name: str, lines: Iterable[str], journal: Journal, kept: dict[tuple[str, int], Any]) -> None:
    """Compare a table with the rows that the journal binds, and changes also with the decisions about them."""
    subject, key, same = TABLES[name]
    decided = decisions_in(kept) if name == "09-changes.csv" else None
    csv.field_size_limit(1 << 30)  # a message can be about many thousand changes, listed in one cell
    for cells in csv.DictReader(lines):
        row = kept.get((subject, int(cells[key])))
        if row is None:
            journal.problems.append(f"{name}: {key} {cells[key]} is bound by no row")
            continue
        for column, value in zip(same, row, strict=True):
            if not agrees(column, value, cells[column]):
                journal.problems.append(f"{name}: {key} {cells[key]} has another {column} than was recorded")
        if decided is not None and cells["decision"]:
            records = decided.get(cells["decision"], ())
            if not any(all(map(agrees, DECIDED, one, (cells[column] for column in DECIDED))) for one in records):
                journal.problems.append(f"{name}: {key} {cells[key]} has another decision than was recorded")


def replayed(read: Callable[[str], Iterable[str]]) -> tuple[list[str], dict[str, Any]]:
    """Replay a bundle; read(name) gives the lines of a file. Return (problems, what was found)."""
    scans: list[Any] = []
    problems = Problems()
    ledger = (line for name in ("07-ledger.txt", "07-later.txt") for line in read(name))
    sealed = replay_ledger(ledger, scans, problems)
    begin = sealed["entry"] if sealed.get("scan") else GENESIS
    journal_begin = (sealed.get("journal") or GENESIS) if sealed.get("scan") else GENESIS
    head = scans[-1][1] if scans else GENESIS
    lines = iter(read("07-rows.jsonl"))
    header = json.loads(next(lines, "{}"))
    rows, kept = read_rows(lines, header.get("subjects", {}), problems)
    journal = Journal(header, rows, problems)
    journal.read(read("07-journal.txt"), journal_begin, head)
    journal.check_links(scans, begin, journal_begin)
    journal.check_rows()
    for name in TABLES if journal.subjects else ():
        check_table(name, read(name), journal, kept)
    return problems, {
        "scans": len(scans),
        "entries": len(journal.entries),
        "head": head,
        "upgraded": journal.upgraded,
        "rows": len(rows),
    }


def main() -> None:
    """Print each problem, then the head of the ledger."""
    directory = sys.argv[1] if len(sys.argv) > 1 else "."

    def read(name: str) -> Iterator[str]:
        with open(f"{directory}/{name}", encoding="utf-8", newline="\n") as file:
            yield from file

    problems, found = replayed(read)
    for problem in problems:
        print(f"BROKEN: {problem}")
    if found["upgraded"]:
        print(f"note: {found['upgraded']} digests were taken in by an upgrade of fimscan, as the rows were then")
    print(f"{found['scans']} scans, {found['entries']} journal entries; the head of the ledger: {found['head']}")
    sys.exit(1 if problems else 0)


if __name__ == "__main__":
    main()
