"""Which stored accesses the joining of changes with processes takes into account."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from fimscan.attribution import KnownDirectories
from fimscan.audit import read_stream
from fimscan.linux.filesystems import Devices, Root
from fimscan.model import Change
from fimscan.pipeline.audit.attribution import Attributor
from fimscan.store import accesses as access_store
from fimscan.store import devices as device_store
from fimscan.store import scans as scan_store
from fimscan.store.database import Database
from tests.support import SECOND, change, changed_state, state

OVERLAY = 0x2A  # its upper layer is on 00:2b
_PATH = 'item={item} name="{name}" inode={inode} dev={dev} mode=0100644 ouid=0 ogid=0 rdev=00:00 nametype={kind}'


def call(at: int, pid: int, number: int, *items: tuple[str, int, str, str]) -> str:
    """The records of one call: items are (name, inode, device, nametype)."""
    stamp = f"msg=audit({at}.000:{at}):"
    head = (
        f"type=SYSCALL {stamp} arch=c000003e syscall={number} success=yes exit=3 a0=0 a1=c1 a2=0 a3=0 "
        f'items={len(items)} ppid=1 pid={pid} auid=1000 uid=0 euid=0 tty=pts0 ses=1 comm="t" exe="/t{pid}" key="k"'
    )
    lines = [head, f'type=CWD {stamp} cwd="/"']
    for item, (name, inode, dev, kind) in enumerate(items):
        lines.append(f"type=PATH {stamp} " + _PATH.format(item=item, name=name, inode=inode, dev=dev, kind=kind))
    return "\n".join([*lines, f"type=PROCTITLE {stamp} proctitle=74"]) + "\n"


MADE = call(1200, 1, 2, ("/w", 2, "00:2a", "PARENT"), ("/w/tmp", 50, "00:2a", "CREATE"))
REMOVED = call(1300, 1, 87, ("/w", 2, "00:2a", "PARENT"), ("/w/tmp", 99, "00:2b", "DELETE"))
BROUGHT = call(
    1400,
    2,
    82,
    ("/x", 3, "00:2a", "PARENT"),
    ("/w", 2, "00:2a", "PARENT"),
    ("/x/f", 50, "00:2a", "DELETE"),
    ("/w/f", 10, "00:2a", "DELETE"),
    ("/w/f", 50, "00:2a", "CREATE"),
)


def named(database: Database, found: Change, log: str) -> list[int]:
    """The pids that the answer names."""
    numbers = []
    looks = Devices(roots=(Root(path=b"/w", dev=OVERLAY, raw=OVERLAY, superblock=OVERLAY, inode=2, kind="overlay"),))
    with database.begin() as session:
        for at in (900, 2000):
            numbers.append(
                scan_store.begin(
                    session, trigger="manual", started_ns=at * SECOND, config_digest="d" * 64, config_text="{}"
                )
            )
            device_store.add_devices(session, numbers[-1], looks)
        for batch in read_stream(io.BytesIO(log.encode())):
            access_store.add(session, batch.found)
    with database.read() as session:
        previous = scan_store.one_scan(session, numbers[0])
        assert previous is not None
        known = KnownDirectories.of([(b"/w", (OVERLAY, 2))])
        ((_, answer),) = Attributor(session, previous, numbers[1], (), known=known).attribute([found])
    return [actor.pid for actor in answer.actors]


@pytest.mark.parametrize(("log", "pids"), [(MADE + REMOVED + BROUGHT, [2]), (MADE + BROUGHT, [1, 2])])
def test_on_an_overlay_the_removal_of_what_had_the_number_before_counts(
    tmp_path: Path, log: str, pids: list[int]
) -> None:
    """Process 1 made and removed another file; its number went to the file that process 2 moved here from elsewhere.

    The record of the removal has the identity of the file in the upper layer, and its name is not the changed file's:
    it is found by the name that was given to the number. Without it, process 1 is named as the writer.
    """
    database = Database(f"sqlite:///{tmp_path}/x.db", host="h")
    found = change(state(dev=OVERLAY, inode=10), changed_state(dev=OVERLAY, inode=50))
    assert named(database, found, log) == pids
    database.close()
