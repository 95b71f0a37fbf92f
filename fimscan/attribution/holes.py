"""Holes: ways to change a file that no audit rule with perm=wa reports, and whether each is closed. Pure.

:data:`HOLES` lists every known way, with what closes it and how this is checked. A hole that is open in a change's
window is a gap, so nobody is confirmed. docs/explanation/audit-holes.md explains them to users.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from msgspec import Struct

from fimscan.model import AuditObservation, AuditRule, Change, ChangeKind, Coverage, FileKind, FileState, Gap, GapReason
from fimscan.paths import is_within


class Hole(Struct, frozen=True, kw_only=True):
    """One way to change a file without a report by audit.

    Attributes:
        reason: the gap that it causes.
        way: what is done.
        closed_by: what closes it.
        checked_by: how fimscan finds out whether it is closed.
        guards: the names after the colon in :attr:`AuditRule.guards` whose rules close it, on every ABI of the machine;
            empty for a hole that is closed otherwise.
        content: whether it can change content, or only attributes.
    """

    reason: GapReason
    way: str
    closed_by: str
    checked_by: str
    guards: tuple[str, ...] = ()
    content: bool = True


HOLES = (
    Hole(
        reason=GapReason.IO_URING,
        way="io_uring carries out opens, renames, links and unlinks without system calls",
        closed_by="a rule on the io_uring filter list for the directory, which fimscan loads itself;"
        " kernel.io_uring_disabled=2",
        checked_by="the kernel's list of rules and the setting, at each observation",
    ),
    Hole(
        reason=GapReason.READ_ONLY_OPEN,
        way="open, openat and openat2 with O_RDONLY|O_TRUNC empty a file; perm=w goes by the access mode",
        closed_by="-S open -F a1&01100, -S openat -F a2&01100, -S openat2 (its flags are in memory, so all its calls)",
        checked_by="the loaded rules, at each look",
        guards=("open", "openat", "openat2"),
    ),
    Hole(
        reason=GapReason.HANDLE_OPEN,
        way="open_by_handle_at opens a file for writing by its handle; perm=w does not include the call",
        closed_by="-S open_by_handle_at -F a2&01003",
        checked_by="the loaded rules, at each look",
        guards=("open_by_handle_at",),
    ),
    Hole(
        reason=GapReason.ATTRIBUTE_CALL,
        way="utimensat sets times, file_setattr flags, setxattrat and removexattrat extended attributes",
        closed_by="-S utimensat,463,466,469",
        checked_by="the loaded rules, at each look",
        guards=("times", "attributes"),
        content=False,
    ),
    Hole(
        reason=GapReason.OVERLAY,
        way="a user mounts an overlay in a user namespace of his own, with a watched directory as its upper layer",
        closed_by="-S mount,fsmount -F uid!=0, which reports every such mount; no user namespaces for users",
        checked_by="the loaded rules and the settings, at each observation; the mounts, in the log. It concerns only"
        " files that the user may write to, not those that only root may write to",
        guards=("mounts",),
    ),
    Hole(
        reason=GapReason.EXTENT_MOVE,
        way="whoever may write to a file can move blocks of another one into it, on ext4, xfs and f2fs; ctime and mtime"
        " stay as they were",
        closed_by="-S ioctl -F a1&=REQUEST -F uid!=0 for each of the three requests, which reports every such call",
        checked_by="the loaded rules, at each observation; the calls, in the log. It concerns only files that the user"
        " may write to. In a window with such a call, no ctime clears anybody",
        guards=("ext4-extents", "xfs-extents", "f2fs-extents"),
    ),
    Hole(
        reason=GapReason.X32_CALL,
        way="the x32 calls of x86_64 have numbers that no rule can match",
        closed_by="a kernel without them (CONFIG_X86_X32_ABI), or syscall.x32=n, which distributions set",
        checked_by="the kernel's configuration in /boot or /proc, and its command line",
    ),
)
_BY_RULES = tuple(hole for hole in HOLES if hole.guards)


def in_scope(rule: AuditRule, path: bytes) -> bool:
    """Whether a rule covers ``path``."""
    return is_within(path, rule.scope) if rule.recursive else path == rule.scope


def open_holes(seen: AuditObservation, path: bytes, *, writes: bool, attributes: bool) -> Iterator[GapReason]:
    """Yield the holes through which ``path`` could be changed unseen at an observation.

    Args:
        seen: the observation. One by an earlier version that recorded no holes yields none.
        path: what was changed.
        writes: whether content can have been changed.
        attributes: whether mode, owner, times or attributes were changed.
    """
    if writes and seen.uring is not None and not any(is_within(path, directory) for directory in seen.uring):
        yield GapReason.IO_URING
    if seen.guards is not None:
        guarded = _guarded(seen.rules, path)
        for hole in _BY_RULES:
            if writes if hole.content else attributes:
                wanted = (guard for guard in seen.guards if guard.partition(":")[2] in hole.guards)
                if not guarded.issuperset(wanted):
                    yield hole.reason
    yield from seen.holes


def _guarded(rules: Iterable[AuditRule], path: bytes) -> frozenset[str]:
    return frozenset().union(
        *(rule.guards for rule in rules if rule.guards and not rule.stale and in_scope(rule, path))
    )


_BY_USERS = frozenset({GapReason.OVERLAY, GapReason.EXTENT_MOVE})


def without_irrelevant(
    seen: Coverage, change: Change, directories: Iterable[FileState] = (), *, rights_given: bool = False
) -> Coverage:
    """Drop the gaps that cannot concern this change: a user's calls on files that this user cannot write to.

    Args:
        seen: the coverage.
        change: the change.
        directories: the states of the path's directory, at either scan; empty if they are not known.
        rights_given: owner, mode or ACL of the file or its directory were set in the window, so that others may have
            had the right to write to it for a while.
    """
    if rights_given or not any(gap.reason in _BY_USERS for gap in seen.gaps):
        return seen
    known = tuple(directories)
    gaps = tuple(gap for gap in seen.gaps if gap.reason not in _BY_USERS or _concerns(gap, change, known))
    return seen if len(gaps) == len(seen.gaps) else Coverage(complete=not gaps, gaps=gaps)


def _concerns(gap: Gap, change: Change, directories: Sequence[FileState]) -> bool:
    """Whether the gap's user (``None``: any user) may write to the file or, for an overlay, to its directory."""
    uid = None if gap.actor is None else gap.actor.uid
    if gap.reason is GapReason.EXTENT_MOVE and change.after is None:
        return False
    if change.after is not None and any(_may_write(uid, state) for state in change.sides):
        return True
    before, after = change.before, change.after
    is_same = before is not None and after is not None and before.identity == after.identity
    if gap.reason is GapReason.EXTENT_MOVE or is_same:
        return False
    return not directories or any(_may_write(uid, state) for state in directories)


def has_unseen_times(change: Change) -> bool:
    """Whether a user may have made all of a change with calls that audit does not report: only times differ.

    futimens(3) sets times through a descriptor that can be open for reading only. chattr's ioctl can set a flag and
    clear it again, so that only the ctime differs. The owner may do both; a user with write permission may set the
    times to now.
    """
    if change.kind is not ChangeKind.ATTRIBUTES:
        return False
    changed = set(change.changed)
    if not ("mtime" in changed or changed == {"ctime"}):
        return False
    return any(_may_write(None, state) for state in change.sides)


def _may_write(uid: int | None, state: FileState) -> bool:
    owns = state.uid == uid if uid else state.uid != 0
    return owns or (state.kind is not FileKind.SYMLINK and bool(state.mode & 0o022))
