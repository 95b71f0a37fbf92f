"""Measure attribution: changes joined with accesses, at growing sizes and on extreme histories.

``python benchmarks/join.py [CHANGES] [ACCESSES]``, 100,000 and 1,000,000 by default. Each size is measured in memory
(index and answers), and through the database (from stored records to answers).
"""

from __future__ import annotations

import argparse
import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterable

from msgspec.structs import replace

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, ROOT)

from benchmarks import targets  # noqa: E402
from fimscan import attribution, audit, compare  # noqa: E402
from fimscan.audit import Assembler  # noqa: E402
from fimscan.gc_pause import gc_paused  # noqa: E402
from fimscan.model import (  # noqa: E402
    Action,
    Actor,
    AuditEvent,
    AuditObservation,
    AuditRule,
    Change,
    EventId,
    FileAccess,
    FileKind,
    FileState,
    Holders,
    Name,
    Scan,
    ScanStatus,
    Window,
)
from fimscan.state_row import pack  # noqa: E402
from tests import support  # noqa: E402

SECOND = 10**9
DEV = os.makedev(0xFE, 0)
START, END = 1_000_000 * SECOND, 1_100_000 * SECOND
IN_DIRECTORY = 500


def state(number: int, content: bytes, changed_ns: int, directory: bytes | None = None) -> FileState:
    """File ``number``, in a directory with 500 files."""
    folder = directory or b"/w/d%d" % (number // IN_DIRECTORY)
    return support.state(
        folder + b"/f%d" % number,
        content,
        dev=DEV,
        inode=1_000_000 + number,
        mtime_ns=changed_ns,
        ctime_ns=changed_ns,
        read_start_ns=START,
        read_end_ns=START + 1,
    )


def change(number: int, directory: bytes | None = None) -> Change:
    """A change of the file's content in the middle of the window."""
    window = Window(after_ns=START, before_ns=END)
    after = state(number, b"new", START + 50_000 * SECOND, directory)
    found = compare.change_of(state(number, b"old", START // 2, directory), after, window)
    assert found is not None, "the contents differ"
    return replace(found, id=number + 1, holders=Holders(as_of_ns=START))


def access(serial: int, number: int, at_ns: int, action: Action = Action.OPEN_WRITE) -> FileAccess:
    """One of a thousand processes opens file ``number``."""
    folder = number // IN_DIRECTORY
    event = EventId(at_ns // 10**6 * 10**6, serial)
    pid = 1000 + serial % 1000
    actor = Actor(
        pid=pid,
        ppid=1,
        exe=b"/usr/bin/tool%d" % (pid % 7),
        comm=b"tool",
        auid=1000,
        uid=0,
        session=3,
        syscall="openat",
        flags=("O_WRONLY",),
        time_ns=event.time_ns,
        event=event,
    )
    path = b"/w/d%d/f%d" % (folder, number)
    return FileAccess(
        event=event,
        action=action,
        name=Name(text=path, path=path, parent=(DEV, 500_000 + folder)),
        dev=DEV,
        inode=1_000_000 + number,
        mode=0o100644,
        actor=actor,
    )


def accesses(changes: int, count: int) -> list[FileAccess]:
    """Accesses spread over time, over the changed files and over half as many unchanged ones."""
    step = (END - START) // count
    return [access(i + 1, i * 7919 % (changes * 3 // 2), START + i * step) for i in range(count)]


def known(changes: int) -> attribution.KnownDirectories:
    return attribution.KnownDirectories.of(
        (b"/w/d%d" % i, (DEV, 500_000 + i)) for i in range(changes * 3 // 2 // IN_DIRECTORY + 1)
    )


def observation(at_ns: int) -> AuditObservation:
    rule = AuditRule(
        scope=b"/w",
        recursive=True,
        arches=frozenset({"b64", "b32"}),
        writes=True,
        attributes=True,
        key="fimscan",
        text="",
    )
    return AuditObservation(time_ns=at_ns, boot_id="b", enabled=1, daemon_pid=5, lost=0, backlog=0, rules=(rule,))


def coverage() -> attribution.CoverageMap:
    extent = attribution.Extent(start_ns=0, end_ns=2 * END)
    return attribution.CoverageMap((observation(START - 1), observation(END + SECOND)), (), [[extent]])


def answer(
    changes: Iterable[Change], those: Iterable[FileAccess], directories: attribution.KnownDirectories
) -> dict[str, int]:
    """Attribute the changes; return the number of each verdict."""
    changes = list(changes)
    prior = {c.before.identity: c.before for c in changes if c.before is not None}
    evidence = attribution.Evidence(index=attribution.AccessIndex(those, directories), prior=prior)
    covered = coverage()
    counts: dict[str, int] = {}
    for item in changes:
        verdict = attribution.attribute(item, evidence, covered).verdict
        counts[verdict] = counts.get(verdict, 0) + 1
    return counts


def timed(title: str, action: Callable[[], object]) -> float:
    """Run, print and measure an action; return its CPU seconds."""
    start, worked = time.perf_counter(), time.process_time()
    with gc_paused():  # as in a scan
        found = action()
    seconds, worked = time.perf_counter() - start, time.process_time() - worked
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print(f"{title:58} {seconds:7.2f} s ({worked:7.2f} s of one CPU)   peak {peak:5d} MB   {found}", flush=True)
    return worked


def in_memory(changes: int, count: int) -> float:
    """Index and answers; creating the accesses is not counted."""
    asked, those, directories = [change(i) for i in range(changes)], accesses(changes, count), known(changes)
    return timed(f"in memory: {changes:,} x {count:,}", lambda: answer(asked, those, directories))


# --------------------------------------------------------------------------------------------------------------------
# Through the database


def line(found: FileAccess) -> list[bytes]:
    """The records of an access, as auditd writes them."""
    who, event = found.actor, found.event
    stamp = b"audit(%d.%03d:%d)" % (event.time_ns // SECOND, event.time_ns // 10**6 % 1000, event.serial)
    return [
        b"type=SYSCALL msg=%b: arch=c000003e syscall=257 success=yes exit=3 a0=ffffff9c a1=7ffd a2=1 a3=0 items=1 "
        b"ppid=1 pid=%d auid=1000 uid=0 gid=0 euid=0 suid=0 fsuid=0 egid=0 sgid=0 fsgid=0 tty=pts0 ses=3 "
        b'comm="tool" exe="%b" key="fimscan"' % (stamp, who.pid, who.exe or b""),
        b'type=CWD msg=%b: cwd="/w"' % stamp,
        b'type=PATH msg=%b: item=0 name="%b" inode=%d dev=fe:00 mode=0100644 ouid=0 ogid=0 rdev=00:00 '
        b"nametype=NORMAL cap_fp=0 cap_fi=0 cap_fe=0 cap_fver=0 cap_frootid=0"
        % (stamp, found.name.path or b"", found.inode or 0),
        b"type=PROCTITLE msg=%b: proctitle=746F6F6C00" % stamp,
    ]


def events(those: Iterable[FileAccess]) -> Iterable[AuditEvent]:
    assembler = Assembler()
    for found in those:
        for text in line(found):
            record = audit.parse_line(text)
            assert record is not None, text
            yield from assembler.add(record)
    yield from assembler.flush()


def through_the_database(changes: int, count: int) -> None:
    """Store records and versions, then attribute as a scan does."""
    from fimscan.pipeline.audit.attribution import Attributor
    from fimscan.store import accesses as access_store
    from fimscan.store import audit as audit_store
    from fimscan.store import scans as scan_store
    from fimscan.store.database import Database
    from fimscan.store.version_writer import NewVersions

    with tempfile.TemporaryDirectory() as directory:
        database = Database(f"sqlite:///{directory}/b.db", host="h")
        with database.begin() as session:
            numbers = [
                scan_store.begin(session, trigger="manual", started_ns=at, config_digest="d" * 64, config_text="{}")
                for at in (START, END)
            ]
            states = [state(i, b"old", START // 2) for i in range(changes)]
            folders = known(changes).identities
            states += [
                replace(states[0], path=path, kind=FileKind.DIRECTORY, inode=min(ids)[1], digests=())
                for path, ids in folders.items()
            ]
            begun = NewVersions(numbers[0])
            begun.add(map(pack, states), adopted=False)
            begun.write(session)
            for at in (START - 1, END + SECOND):
                audit_store.add_observation(session, observation(at))
            audit_store.extend(session, b"log", attribution.Extent(start_ns=0, end_ns=2 * END), continued=False)
            batch: list[AuditEvent] = []
            for event in events(accesses(changes, count)):
                batch.append(event)
                if len(batch) == 5000:
                    access_store.add(session, [(e, audit.accesses(e)) for e in batch])
                    batch = []
            access_store.add(session, [(e, audit.accesses(e)) for e in batch])
        previous = Scan(
            id=numbers[0], host="h", trigger="manual", status=ScanStatus.FINISHED, started_ns=START, finished_ns=START
        )
        asked = [change(i) for i in range(changes)]
        with database.begin() as session:
            attributor = Attributor(session, previous, numbers[1], [b"log"])
            timed(
                f"through the database: {changes:,} x {count:,}",
                lambda: _counts(a.verdict for _, a in attributor.attribute(asked)),
            )
        database.close()


def _counts(verdicts: Iterable[str]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for verdict in verdicts:
        counts[str(verdict)] = counts.get(str(verdict), 0) + 1
    return counts


# --------------------------------------------------------------------------------------------------------------------
# Extreme histories


def hot_file(count: int) -> None:
    """A log file that processes append to: one change, all accesses."""
    step = (END - START) // count
    those = [access(i + 1, 0, START + i * step) for i in range(count)]
    timed(f"one file, {count:,} accesses", lambda: answer([change(0)], those, known(1)))


def one_directory(changes: int, count: int) -> None:
    """All files in one directory."""
    step = (END - START) // count
    flat = attribution.KnownDirectories.of([(b"/w/all", (DEV, 500_000))])
    those = [
        found._replace(name=Name(text=name, path=b"/w/all/" + name, parent=(DEV, 500_000)))
        for i in range(count)
        for number in [i * 7919 % changes]
        for name in [b"f%d" % number]
        for found in [access(i + 1, number, START + i * step)]
    ]
    asked = [change(i, b"/w/all") for i in range(changes)]
    timed(f"{changes:,} changes in one directory, {count:,} accesses", lambda: answer(asked, those, flat))


def renamed_above(changes: int, renames: int) -> None:
    """The directory above all files is repeatedly moved away and back."""
    step = (END - START) // renames
    directories = attribution.KnownDirectories.of([(b"/w", (DEV, 2)), (b"/w/all", (DEV, 500_000))])
    here = Name(text=b"all", path=b"/w/all", parent=(DEV, 2))
    there = Name(text=b"away", path=b"/w/away", parent=(DEV, 2))
    moves = [
        access(i + 1, 0, START + i * step, Action.RENAME)._replace(
            name=there if i % 2 == 0 else here,
            old=here if i % 2 == 0 else there,
            inode=500_000,
            mode=0o040755,
        )
        for i in range(renames)
    ]
    asked = [change(i, b"/w/all") for i in range(changes)]
    timed(f"{changes:,} changes below {renames:,} renames", lambda: answer(asked, moves, directories))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("changes", nargs="?", type=int, default=100_000)
    parser.add_argument("accesses", nargs="?", type=int, default=1_000_000)
    options = parser.parse_args()
    changes, count = options.changes, options.accesses
    *_, whole = [in_memory(changes // part, count // part) for part in (4, 2, 1)]
    if (changes, count) == (100_000, 1_000_000):
        targets.at_most("in memory, one processor", whole, 15, "s")
    hot_file(count)
    one_directory(changes, count)
    renamed_above(changes, changes)
    for part in (4, 2, 1):
        through_the_database(changes // part, count // part)


if __name__ == "__main__":
    main()
