"""Measure evidence of a year: 'fimscan export pci-dss' and 'fimscan verify' of its bundle.

    python benchmarks/evidence_year.py [--scans N] [--changes N] [--files N] [--keep DIRECTORY] [--scratch DIRECTORY]

A database of 12 months is made by the code that writes it on a real host, with a clock of its own: 10,000 scans of
100,000 files, of which every fifth found 100 changes (200,000 together). Each change has an answer with a process and
how it was found; each scan a look at the clock; each scan with changes a message that was delivered. A quarter of the
changes is accepted path by path, and everything each week. Nothing of it is read from a disk: the files do not exist.

The export may take 60 seconds of processor time and 300 MB. With --keep, an existing database is used again.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import patch

from msgspec.structs import replace
from sqlalchemy import select

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks import targets
from benchmarks.contest import HEAD, Contestant, fimscan, run
from fimscan.config import Config, load_config
from fimscan.linux.host import this_host
from fimscan.model import (
    Action,
    Actor,
    Approval,
    Attribution,
    AuditObservation,
    AuditRule,
    Change,
    ChangeKind,
    ClockLook,
    Coverage,
    Digest,
    EventId,
    FileState,
    Finding,
    MessageKind,
    NewMessage,
    Reasoning,
    Role,
    Ruling,
    Scan,
    Verdict,
    Why,
    Window,
)
from fimscan.state_row import pack
from fimscan.store import acceptance, clock, files, findings, journal, outbox, schema
from fimscan.store import audit as audit_store
from fimscan.store import scans as scan_store
from fimscan.store.database import Database
from fimscan.store.session import Session
from fimscan.store.version_writer import NewVersions
from tests import support

_BEGIN_NS = 1_767_225_600 * 10**9  # 2026-01-01
_YEAR_NS = 365 * 86400 * 10**9
_SECOND = 10**9
_EVERY = 5  # so many scans, one finds changes
_IN_TRANSACTION = 200  # scans
_DIGEST_BYTES = 32
_version = schema.file_version
_ROOT = b"/srv/evidence-year"
_RULE = AuditRule(
    scope=_ROOT,
    recursive=True,
    arches=frozenset({"b64", "b32"}),
    writes=True,
    attributes=True,
    key="fimscan",
    text="",
)


class Year:
    """Makes the scans one by one. ``states`` are the present files; ``digests`` are those of all states, joined."""

    def __init__(self, database: Database, config: Config, count: int) -> None:
        self._database, self._config = database, config
        self._states = [_state(number, 0, _BEGIN_NS - 86400 * _SECOND) for number in range(count)]
        self._digests = bytearray(b"".join(pack(state)[-1] for state in self._states))
        self._rows: list[int] = []
        self._complete = ""
        self._next = 0
        self._finding = 0
        self._message = 0

    def baseline(self, session: Session) -> None:
        """The first scan."""
        now = _BEGIN_NS
        with _at(now):
            number = self._begin(session, now)
            versions = NewVersions(number)
            versions.add(map(pack, self._states), adopted=True)
            versions.write(session)
            self._rows = list(range(1, len(self._states) + 1))
            self._observe(session, now)
            self._finish(session, number, now, versions.digest, 0)
            acceptance.accept_scan(session, number, Approval(accepted_ns=now, user="root", reason="first scan"))

    def scan(self, session: Session, now: int, changes: int) -> None:
        """One later scan."""
        with _at(now):
            number = self._begin(session, now)
            found: tuple[Finding, ...] = ()
            begun: bytes | None = None
            if changes:
                found, begun = self._change(session, number, now, changes)
            findings.add_changes(session, number, found)
            clock.add(session, number, ClockLook(synchronized=True, service="chrony", source="ntp1", stratum=2))
            self._observe(session, now)
            sealed = self._finish(session, number, now, begun, len(found))
            if found:
                self._tell(session, sealed, now, len(found))

    def accept(self, session: Session, now: int, scan: int) -> None:
        """Accept everything as of a scan."""
        with _at(now):
            why = Approval(accepted_ns=now, user="alice", ticket=f"CHG-{scan}", reason="weekly review")
            acceptance.accept_scan(session, scan, why)

    def _begin(self, session: Session, now: int) -> int:
        return scan_store.begin(
            session,
            trigger="schedule",
            started_ns=now,
            config_digest=self._config.digest,
            config_text=self._config.canonical(),
        )

    def _finish(self, session: Session, number: int, now: int, begun: bytes | None, changes: int) -> Scan:
        if begun is not None:
            self._complete = hashlib.sha256(self._digests).hexdigest()
        counts = {"files": len(self._states), "bytes": 10**9, "modified": changes, "confirmed": changes}
        running = scan_store.one_scan(session, number)
        assert running is not None
        done = replace(running, finished_ns=now + 20 * _SECOND, counts=counts, state_digest=self._complete)
        return scan_store.finish(session, done, read_clock=b"", begun=begun)

    def _change(
        self, session: Session, number: int, now: int, changes: int
    ) -> tuple[tuple[Finding, ...], bytes | None]:
        made, ended = [], []
        versions = NewVersions(number)
        for place in range(changes):
            at = self._next = (self._next + 7919) % len(self._states)
            before = self._states[at]
            after = _state(at, number, now - (500 + place) * _SECOND)
            made.append(_finding(before, after, now))
            self._states[at] = after
            packed = pack(after)
            self._digests[at * _DIGEST_BYTES : (at + 1) * _DIGEST_BYTES] = packed[-1]
            versions.add((packed,), adopted=False)
            ended.append(self._rows[at])
            self._rows[at] = -1 - at
        files.end_versions(session, ended, number)
        versions.write(session)
        for path, row in session.execute(select(_version.c.path, _version.c.id).where(_version.c.first_scan == number)):
            self._rows[int(path[-12:-5])] = row
        return tuple(made), versions.digest

    def _tell(self, session: Session, sealed: Scan, now: int, changes: int) -> None:
        numbers = range(self._finding + 1, self._finding + changes + 1)
        self._finding += changes
        self._message += 1
        message = NewMessage(
            id=outbox.stable_id(sealed.entry, "siem"),
            kind=MessageKind.CHANGES,
            scan=sealed.id,
            urgent=True,
            body=b"sent",
            changes=tuple(numbers),
        )
        outbox.add(session, "siem", [message], now + 30 * _SECOND)
        outbox.delivered(session, self._message, now + 31 * _SECOND, "200 OK")
        if self._message % 4 == 0:
            why = Approval(accepted_ns=now + 3600 * _SECOND, user="bob", ticket=f"CHG-{sealed.id}", reason="release")
            query = select(_version.c.path, _version.c.id).where(_version.c.first_scan == sealed.id)
            chosen = {path: (row, sealed.id) for path, row in session.execute(query)}
            acceptance.accept_paths(session, chosen, why)

    @staticmethod
    def _observe(session: Session, now: int) -> None:
        seen = AuditObservation(time_ns=now, boot_id="b", enabled=1, daemon_pid=1, lost=0, backlog=0, rules=(_RULE,))
        audit_store.add_observation(session, seen)


def _state(number: int, version: int, time_ns: int) -> FileState:
    content = b"%d %d" % (number, version)
    path = b"%b/%03d/%02d/file-%07d.conf" % (_ROOT, number // 10_000, number // 100 % 100, number)
    return support.state(
        path,
        content,
        inode=10_000 + number,
        mtime_ns=time_ns,
        ctime_ns=time_ns,
        digests=(
            Digest(algorithm="xxh3_128", value=hashlib.md5(content).digest()),  # any 16 bytes
            Digest(algorithm="sha256", value=hashlib.sha256(content).digest()),
        ),
        read_start_ns=time_ns + 600 * _SECOND,
        read_end_ns=time_ns + 600 * _SECOND + 50_000,
    )


def _finding(before: FileState, after: FileState, now: int) -> Finding:
    event = EventId(after.mtime_ns, after.inode)
    actor = Actor(
        pid=4242,
        ppid=4200,
        exe=b"/usr/bin/ansible",
        comm=b"ansible",
        cmdline=(b"/usr/bin/ansible", b"--playbook", b"site.yml"),
        cwd=b"/root",
        auid=1000,
        login_user="deploy",
        uid=0,
        user="root",
        euid=0,
        session=3,
        tty="pts0",
        syscall="openat",
        flags=("O_WRONLY", "O_TRUNC"),
        time_ns=event.time_ns,
        event=event,
        key="fimscan",
        role=Role.WRITER,
    )
    ruling = Ruling(
        actor=actor, action=Action.OPEN_WRITE, why=Why.WRITE_ACCESS, first_ns=event.time_ns, events=(event,)
    )
    answer = Attribution(
        verdict=Verdict.CONFIRMED,
        actors=(actor,),
        coverage=Coverage(complete=True),
        reasoning=Reasoning(rulings=(ruling,), last_change_ns=after.ctime_ns),
    )
    change = Change(
        kind=ChangeKind.MODIFIED,
        before=before,
        after=after,
        changed=("content", "mtime", "ctime"),
        window=Window(after_ns=now - 3000 * _SECOND, before_ns=now + 10 * _SECOND),
    )
    return Finding(change=change, attribution=answer)


@contextmanager
def _at(now: int) -> Iterator[None]:
    """The journal records its own time."""
    with patch.object(journal, "time", SimpleNamespace(time_ns=lambda: now + 21 * _SECOND)):
        yield


def make_year(url: str, config: Config, *, scans: int, changes: int, count: int) -> None:
    """Make the database."""
    database = Database(url, host=this_host(), create=True, writing=True)
    year = Year(database, config, count)
    each, step = changes * _EVERY // scans, _YEAR_NS // (scans + 1)
    week = max(1, scans // 52)
    with database.begin() as session:
        year.baseline(session)
    for first in range(2, scans + 1, _IN_TRANSACTION):
        with database.begin() as session:
            for number in range(first, min(first + _IN_TRANSACTION, scans + 1)):
                now = _BEGIN_NS + (number - 1) * step
                year.scan(session, now, each if number % _EVERY == 0 else 0)
                if number % week == 0:
                    year.accept(session, now + 40 * _SECOND, number)
    database.close()


def measure(config: str, scratch: str) -> None:
    """Export the year twice, compare, and verify."""
    bundles = [f"{scratch}/{name}.zip" for name in ("one", "two")]
    period = ("export", "pci-dss", "--from", "2026-01-01", "--to", "2026-12-31")
    costs = {}
    for name, bundle in zip(("export", "export, once more"), bundles, strict=True):
        costs[name] = run(Contestant(fimscan(config, *period, "--out", bundle)))
    costs["verify"] = run(Contestant(fimscan(config, "verify", bundles[0])))
    print(HEAD)
    for name, cost in costs.items():
        print(f"{name:<44} {cost}", flush=True)
    print(f"{'the bundle':<44} {os.path.getsize(bundles[0]) / 1e6:8.0f} MB")
    same = _sha256(bundles[0]) == _sha256(bundles[1])
    print(f"both bundles are {'the same bytes' if same else 'NOT THE SAME BYTES'}")
    for name in ("export", "verify"):
        targets.at_most(f"{name}, processor time", costs[name].cpu, 60, "s")
        targets.at_most(f"{name}, resident", costs[name].memory / 1e6, 300, "MB")


def _sha256(path: str) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scans", type=int, default=10_000)
    parser.add_argument("--changes", type=int, default=200_000)
    parser.add_argument("--files", type=int, default=100_000)
    parser.add_argument("--keep", help="keep the database here, or use the one that is here")
    parser.add_argument("--scratch", help="where it all is made (default: the system's temporary directory)")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=given.scratch) as scratch:
        place = given.keep or scratch
        os.makedirs(place, exist_ok=True)
        path, url = f"{place}/year.toml", f"sqlite:///{place}/year.db"
        Path(path).write_text(
            f'[database]\nurl = "{url}"\n[audit]\nlogs = []\n[evidence]\nkey = "{place}/key.pem"\n'
            f'[[output]]\nname = "siem"\ntype = "file"\npath = "{place}/out"\n[[watch]]\npath = "{_ROOT.decode()}"\n'
        )
        if not os.path.exists(f"{place}/year.db"):
            make_year(url, load_config(path), scans=given.scans, changes=given.changes, count=given.files)
        print(f"{given.scans:,} scans, {given.changes:,} changes, {given.files:,} files", flush=True)
        measure(path, scratch)


if __name__ == "__main__":
    main()
