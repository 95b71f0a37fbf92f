"""Measure the HTML page: its size, the time to write it, first paint, and filters in a headless Chromium.

``python -m benchmarks.page [CHANGES] [--keep DIR]``, 50,000 changes by default. The database is made here: packages
that dpkg upgraded between two scans, files that were edited by hand, and some that nobody was seen to change. ``fimscan
diff`` writes the page from it, in a process of its own; the text report of the same changes is the comparison, because
both have to load them. ``--keep`` leaves database, configuration and page in a directory.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from benchmarks import targets
from fimscan import attribution, audit, compare
from fimscan.audit import Assembler
from fimscan.config import load_config
from fimscan.model import (
    Approval,
    AuditEvent,
    AuditObservation,
    AuditRule,
    Digest,
    FileKind,
    FileState,
    Finding,
    Holders,
    Window,
)
from fimscan.pipeline.audit.attribution import Attributor
from fimscan.state_row import pack
from fimscan.store import acceptance as acceptance_store
from fimscan.store import accesses as access_store
from fimscan.store import audit as audit_store
from fimscan.store import files
from fimscan.store import findings as finding_store
from fimscan.store import processes as process_store
from fimscan.store import scans as scan_store
from fimscan.store.database import Database
from fimscan.store.version_writer import NewVersions

SECOND = 10**9
DEV = os.makedev(0xFE, 0)
START = 1_795_390_000 * SECOND
END = START + 3600 * SECOND
READ_NS = 40 * SECOND  # how long a scan reads
IN_DIRECTORY = 25
TARGET_MB, TARGET_SECONDS, TARGET_PAINT_MS, TARGET_FILTER_MS = 10, 5, 1000, 100
ROUNDS = 3
"""Everything is measured this often; the median counts."""

_WORDS = ("share", "lib", "doc", "python3", "perl", "locale", "icons", "modules", "fonts", "man", "zoneinfo", "include")


@dataclass(frozen=True)
class Deed:
    """One system call of a process, as auditd reports it."""

    pid: int
    exe: str
    command: str
    auid: int
    session: int
    call: str
    at_ns: int
    path: bytes
    inode: int
    old_path: bytes | None = None


def path_of(number: int) -> bytes:
    """A path of a package: 25 in a directory, as long as those below /usr."""
    folder = number // IN_DIRECTORY
    chosen = random.Random(folder)
    below = "/".join(chosen.choice(_WORDS) for _ in range(chosen.randrange(1, 4)))
    return f"/usr/share/{below}/package-{folder}/file-{number}.{chosen.choice(['py', 'gz', 'mo', 'h', 'png'])}".encode()


def state(number: int, *, new: bool) -> FileState:
    """File ``number`` before or after the upgrade."""
    chosen = random.Random(number * 2 + new)
    content = chosen.randbytes(32)
    changed_ns = START + changed_at(number) + 2_345_678 if new else START - chosen.randrange(10**16)
    begun = (END if new else START) + number * READ_NS // 200_000
    return FileState(
        path=path_of(number),
        kind=FileKind.FILE,
        dev=DEV,
        inode=(2_000_000 if new else 1_000_000) + number,
        nlink=1,
        mode=0o644,
        uid=0,
        gid=0,
        size=chosen.randrange(100_000),
        mtime_ns=changed_ns,
        ctime_ns=changed_ns,
        digests=(
            Digest(algorithm="xxh3_128", value=content[:16]),
            Digest(algorithm="sha256", value=hashlib.sha256(content).digest()),
        ),
        read_start_ns=begun,
        read_end_ns=begun + 54_321,
    )


def changed_at(number: int) -> int:
    """When the upgrade wrote a file: nanoseconds after the first scan began."""
    return 60 * SECOND + number * 7_000_000


def deeds(changes: int) -> Iterator[Deed]:
    """Dpkg unpacks each file beside its place and renames it. A hundredth is written by an editor, by hand."""
    for number in range(changes):
        at_ns, path, inode = START + changed_at(number), path_of(number), 2_000_000 + number
        if number % 100 == 50:
            common = {
                "pid": 9000 + number % 7,
                "exe": "/usr/bin/vim.basic",
                "command": "vim",
                "auid": 1001,
                "session": 9,
            }
            yield Deed(**common, call="create", at_ns=at_ns, path=path, inode=inode)  # type: ignore[arg-type]
            continue
        if number % 500 == 499:
            continue  # nobody was seen
        run = number // 5000
        common = {"pid": 5000 + run, "exe": "/usr/bin/dpkg", "command": "dpkg", "auid": 1000, "session": 7}
        fresh = path + b".dpkg-new"
        yield Deed(**common, call="create", at_ns=at_ns, path=fresh, inode=inode)  # type: ignore[arg-type]
        yield Deed(**common, call="rename", at_ns=at_ns + 2_000_000, path=path, inode=inode, old_path=fresh)  # type: ignore[arg-type]


def lines_of(deed: Deed, serial: int) -> list[bytes]:
    """The records of a system call."""
    stamp = f"audit({deed.at_ns // SECOND}.{deed.at_ns // 10**6 % 1000:03d}:{serial})".encode()
    number, items = (257, 2) if deed.call == "create" else (82, 4)
    title = f"{deed.exe}\0--unpack".encode().hex().upper().encode()
    folder = os.path.dirname(deed.path)
    rest = b"ouid=0 ogid=0 rdev=00:00"
    parent = b'type=PATH msg=%b: item=%d name="%b/" inode=%d dev=fe:00 mode=040755 %b nametype=PARENT'
    child = b'type=PATH msg=%b: item=%d name="%b" inode=%d dev=fe:00 mode=0100644 %b nametype=%b'
    directory = directory_inode(folder)
    if deed.old_path is None:
        paths = [
            parent % (stamp, 0, folder, directory, rest),
            child % (stamp, 1, deed.path, deed.inode, rest, b"CREATE"),
        ]
    else:
        paths = [
            parent % (stamp, 0, folder, directory, rest),
            parent % (stamp, 1, folder, directory, rest),
            child % (stamp, 2, deed.old_path, deed.inode, rest, b"DELETE"),
            child % (stamp, 3, deed.path, deed.inode, rest, b"CREATE"),
        ]
    return [
        b"type=SYSCALL msg=%b: arch=c000003e syscall=%d success=yes exit=3 a0=ffffff9c a1=7ffd a2=241 a3=1b6 items=%d "
        b"ppid=4990 pid=%d auid=%d uid=0 gid=0 euid=0 suid=0 fsuid=0 egid=0 sgid=0 fsgid=0 tty=pts0 ses=%d "
        b'comm="%b" exe="%b" key="fimscan"'
        % (stamp, number, items, deed.pid, deed.auid, deed.session, deed.command.encode(), deed.exe.encode()),
        b'type=CWD msg=%b: cwd="/"' % stamp,
        *paths,
        b"type=PROCTITLE msg=%b: proctitle=%b" % (stamp, title),
    ]


def directory_inode(folder: bytes) -> int:
    return 500_000 + int.from_bytes(hashlib.sha256(folder).digest()[:3], "big")


def events(changes: int) -> Iterator[AuditEvent]:
    assembler = Assembler()
    for serial, deed in enumerate(sorted(deeds(changes), key=lambda deed: deed.at_ns), 1):
        for text in lines_of(deed, serial):
            record = audit.parse_line(text)
            assert record is not None, text
            yield from assembler.add(record)
    yield from assembler.flush()


def observation(at_ns: int) -> AuditObservation:
    rule = AuditRule(
        scope=b"/usr",
        recursive=True,
        arches=frozenset({"b64", "b32"}),
        writes=True,
        attributes=True,
        key="fimscan",
        text="-a always,exit -F arch=b64 -F dir=/usr -F perm=wa -F key=fimscan",
    )
    return AuditObservation(
        time_ns=at_ns, boot_id="b", enabled=1, daemon_pid=5, lost=0, backlog=0, rules=(rule,), guards=(), uring=(b"/",)
    )


def directory(folder: bytes) -> FileState:
    return replace(state(0, new=False), path=folder, kind=FileKind.DIRECTORY, inode=directory_inode(folder), digests=())


def make_database(where: Path, changes: int) -> Path:
    """A database with two scans, between which files changed; return the configuration."""
    config_file = where / "fimscan.toml"
    config_file.write_text(
        f'[database]\nurl = "sqlite:///{where}/fim.db"\n[audit]\nlogs = ["{where}/audit.log"]\n'
        '[[watch]]\npath = "/usr"\nseverity = "high"\n'
    )
    config = load_config(str(config_file))
    log = os.fsencode(where / "audit.log")
    database = Database(config.database.url, host=os.uname().nodename, create=True, writing=True)
    digest, text = config.digest, config.canonical()
    folders = sorted({os.path.dirname(path_of(number)) for number in range(changes)})
    with database.begin() as session:
        first = scan_store.begin(session, trigger="manual", started_ns=START, config_digest=digest, config_text=text)
        old = NewVersions(first)
        old.add(map(pack, (state(number, new=False) for number in range(changes))), adopted=False)
        old.add(map(pack, map(directory, folders)), adopted=False)
        old.write(session)
        finish(session, first, START)
        acceptance_store.accept_scan(session, first, Approval(accepted_ns=END, user="benchmark", reason="first scan"))
        for at_ns in (START - 1, END + READ_NS + SECOND):
            audit_store.add_observation(session, observation(at_ns))
        audit_store.extend(session, log, attribution.Extent(start_ns=0, end_ns=2 * END), continued=False)
        batch: list[AuditEvent] = []
        for event in events(changes):
            batch.append(event)
            if len(batch) == 5000:
                store(session, batch)
                batch = []
        store(session, batch)
    with database.begin() as session:
        second = scan_store.begin(session, trigger="manual", started_ns=END, config_digest=digest, config_text=text)
        previous = scan_store.one_scan(session, first)
        assert previous is not None
        found = []
        for number in range(changes):
            before, after = state(number, new=False), state(number, new=True)
            window = Window(after_ns=before.read_start_ns, before_ns=after.read_end_ns)
            change = compare.change_of(before, after, window)
            assert change is not None
            found.append(replace(change, holders=Holders(as_of_ns=START)))
        answers = Attributor(session, previous, second, [log]).attribute(found)
        versions = files.at_paths(session, [change.path for change in found], first)
        files.end_versions(session, [versions[change.path].id for change in found], second)
        new = NewVersions(second)
        new.add(map(pack, (change.state for change in found)), adopted=False)
        new.write(session)
        finding_store.add_changes(session, second, [Finding(change=c, attribution=a) for c, a in answers])
        finish(session, second, END)
    database.close()
    return config_file


def store(session: Any, batch: list[AuditEvent]) -> None:
    parsed = [(event, audit.accesses(event)) for event in batch]
    access_store.add(session, parsed)
    process_store.add(session, (found.actor for _, those in parsed for found in those))


def finish(session: Any, number: int, started_ns: int) -> None:
    scan = scan_store.one_scan(session, number)
    assert scan is not None
    scan_store.finish(session, replace(scan, finished_ns=started_ns + READ_NS), read_clock=b"")


# --------------------------------------------------------------------------------------------------------------------


def written(config: Path, *options: str) -> tuple[float, float]:
    """Run ``fimscan diff``; return (seconds, processor seconds)."""
    began, used = time.perf_counter(), os.times()
    command = [sys.executable, "-m", "fimscan", "--config", str(config), "diff", *options]
    done = subprocess.run(command, check=False, stdout=subprocess.DEVNULL)
    assert done.returncode in range(8), done.returncode
    now = os.times()
    return time.perf_counter() - began, now[2] + now[3] - used[2] - used[3]


_FILTER = """words => new Promise(done => {
  const search = document.getElementById("search");
  const began = performance.now();
  search.value = words;
  search.dispatchEvent(new Event("input"));
  document.body.offsetHeight;
  const computed = performance.now() - began;
  // The second frame begins after the first one was painted.
  requestAnimationFrame(() => requestAnimationFrame(() => done([computed, performance.now() - began])));
})"""
_PAINTED = "performance.getEntriesByName('first-contentful-paint')[0]?.startTime"


def in_browser(file: Path) -> tuple[float, float, float, float]:
    """Milliseconds until first paint and until all is there; of the slowest filter: computed, and painted."""
    from playwright.sync_api import sync_playwright

    paints, readies = [], []
    slowest: dict[str, list[tuple[float, float]]] = {}
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        for _ in range(ROUNDS):
            page = browser.new_page(viewport={"width": 1280, "height": 800})
            began = time.perf_counter()
            page.goto(file.as_uri())
            page.wait_for_selector("html[data-ready]")
            readies.append(1000 * (time.perf_counter() - began))
            # The page's policy forbids eval, which wait_for_function uses.
            while (painted_ms := page.evaluate(_PAINTED)) is None:
                page.wait_for_timeout(20)
            paints.append(painted_ms)
            for words in ("vim", "package-7", "size", "#123", "dpkg share .png", "nothing-like-this", ""):
                slowest.setdefault(words, []).append(tuple(page.evaluate(_FILTER, words)))
            page.close()
        browser.close()
    median = statistics.median
    computed, painted = max((median(c for c, _ in some), median(p for _, p in some)) for some in slowest.values())
    return median(paints), median(readies), computed, painted


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("changes", nargs="?", type=int, default=50_000)
    parser.add_argument("--keep", metavar="DIR")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        where = Path(options.keep or scratch)
        where.mkdir(parents=True, exist_ok=True)
        config, page = where / "fimscan.toml", where / "report.html"
        if not config.exists():
            make_database(where, options.changes)
        measure(config, page)


def measure(config: Path, page: Path) -> None:
    pages, texts = [], []
    for _ in range(ROUNDS):  # in turn: the machine may be busy for a while
        pages.append(written(config, "--format", "html", "--out", str(page)))
        texts.append(written(config, "--flat"))
    seconds, worked = map(statistics.median, zip(*pages, strict=True))
    text_seconds, text_worked = map(statistics.median, zip(*texts, strict=True))
    targets.at_most("page: size", page.stat().st_size / 10**6, TARGET_MB, "MB")
    targets.at_most("page: written by 'fimscan diff'", seconds, TARGET_SECONDS, "s")
    print(f"  of one processor: {worked:.2f} s; as text: {text_seconds:.2f} s, of one processor {text_worked:.2f} s")
    if shutil.which("chromium") is None:
        print("chromium is not installed: nothing is measured in a browser")
        return
    paint, ready, computed, painted = in_browser(page)
    targets.at_most("page: first paint", paint, TARGET_PAINT_MS, "ms")
    print(f"  everything is there after {ready:.0f} ms")
    targets.at_most("page: slowest filter", computed, TARGET_FILTER_MS, "ms")
    print(f"  painted after {painted:.0f} ms")


if __name__ == "__main__":
    main()
