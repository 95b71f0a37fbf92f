"""Deeds of copy-on-write file systems: shared extents, snapshots, subvolumes that come and go by ioctl(2)."""

from __future__ import annotations

from tests.lab.bench import Lab, Process
from tests.lab.scenario import Steps, scenario_on


def _made_or_deleted(lab: Lab, *by: Process) -> None:
    """The call names no path, so nobody can be named; "no-event" would be a false alarm."""
    lab.expect(
        None,
        None,
        verdict="unattributed",
        reason="not-covered",
        or_else=(("likely", "coverage-gap"),),
        gap="subvolume",
        by=by,
        perhaps=by,
    )


@scenario_on("btrfs", "xfs")
def extents_shared_by_cp(lab: Lab) -> Steps:
    """``cp --reflink`` opens the target for writing, and the kernel copies by ioctl(FICLONE)."""
    lab.file("f", "content\n" * 4096)
    lab.file("other", "another\n" * 4096)
    yield
    lab.modified("f", writer=lab.run("cp", "--reflink=always", "other", "f"))
    lab.added("new", writer=lab.run("cp", "--reflink=always", "other", "new"))


@scenario_on("btrfs")
def subvolume_deleted(lab: Lab) -> Steps:
    """``btrfs subvolume delete`` removes a directory and all below it with a single ioctl(2)."""
    lab.run("btrfs", "-q", "subvolume", "create", "sub")
    lab.file("sub/f")
    lab.file("sub/below/g")
    yield
    _made_or_deleted(lab, lab.run("btrfs", "-q", "subvolume", "delete", "sub"))


@scenario_on("btrfs")
def snapshot_made(lab: Lab) -> Steps:
    """A snapshot makes a directory with all files in it, with a single ioctl(2)."""
    lab.run("btrfs", "-q", "subvolume", "create", "sub")
    lab.file("sub/f")
    lab.file("sub/below/g")
    yield
    _made_or_deleted(lab, lab.run("btrfs", "-q", "subvolume", "snapshot", "sub", "copy"))


@scenario_on("btrfs")
def subvolume_made(lab: Lab) -> Steps:
    lab.file("f")
    yield
    maker = lab.run("btrfs", "-q", "subvolume", "create", "sub")
    # A snapshot with this file could have taken the place of the subvolume.
    lab.added("sub/f", verdict="likely", reason="coverage-gap", writer=lab.shell("echo new > sub/f"))
    _made_or_deleted(lab, maker)


@scenario_on("btrfs")
def restored_from_a_snapshot(lab: Lab) -> Steps:
    """An administrator rolls back: the subvolume is renamed away, and a snapshot of an older state takes its place."""
    lab.run("btrfs", "-q", "subvolume", "create", "sub")
    lab.file("sub/f", "old\n")
    lab.run("btrfs", "-q", "subvolume", "snapshot", "sub", str(lab.elsewhere / "kept"))
    lab.file("sub/f", "newer\n")
    yield
    mover = lab.run("mv", "sub", str(lab.elsewhere / "away"))
    maker = lab.run("btrfs", "-q", "subvolume", "snapshot", str(lab.elsewhere / "kept"), "sub")
    _made_or_deleted(lab, mover, maker)


@scenario_on("btrfs")
def received(lab: Lab) -> Steps:
    """``btrfs receive`` makes a subvolume and writes what another sent into it."""
    source = lab.elsewhere / "sent"
    lab.run("btrfs", "-q", "subvolume", "create", str(source))
    lab.file(f"{source}/f")
    lab.run("btrfs", "-q", "property", "set", str(source), "ro", "true")
    lab.run("btrfs", "-q", "send", "-f", str(lab.elsewhere / "stream"), str(source))
    yield
    receiver = lab.run("btrfs", "-q", "receive", "-f", str(lab.elsewhere / "stream"), str(lab.here))
    _made_or_deleted(lab, receiver)
