"""Changes: the differences between two observations of a file."""

from __future__ import annotations

from enum import StrEnum

from msgspec import Struct

from fimscan.model.files import FileState
from fimscan.model.holders import Holders


class ChangeKind(StrEnum):
    """The kind of a change."""

    ADDED = "added"
    REMOVED = "removed"
    MODIFIED = "modified"  # content, kind or link target differs
    MOVED = "moved"  # the same file, unmodified, has another name
    ATTRIBUTES = "attributes"  # only other recorded attributes differ


class Breach(StrEnum):
    """What was done to an append-only log."""

    REWRITTEN = "rewritten"  # content that was verified before has changed
    TRUNCATED = "truncated"  # shorter than the verified content
    REPLACED = "replaced"  # another file has its path
    LOST = "lost"  # it is gone, and no other file has its content
    REORDERED = "reordered"  # its content is in another generation, where rotation does not put it


class Window(Struct, frozen=True, kw_only=True):
    """The time in which a change must have happened: from reading the old content to reading the new one."""

    after_ns: int
    before_ns: int


class Change(Struct, frozen=True, kw_only=True):
    """One file that differs between two observations.

    ``changed`` names the differences in the order of :data:`fimscan.compare.states.FIELDS`: ``kind``, ``content``,
    ``link_target``, ``size``, ``mode``, ``uid``, ``gid``, ``acl``, ``capabilities``, ``selinux``, ``xattr`` (all other
    extended attributes), ``flags``, ``nlink``, ``dev``, ``inode``, ``mtime``, ``ctime``. It is empty for added and
    removed files. ``holders`` is ``None`` if holders were not examined. ``id`` is assigned by the store, 0 before that.
    ``breach`` is set if an append-only log lost the verified content of ``before``, and no other file has it.
    """

    kind: ChangeKind
    before: FileState | None
    after: FileState | None
    changed: tuple[str, ...] = ()
    window: Window
    holders: Holders | None = None
    breach: Breach | None = None
    id: int = 0

    @property
    def state(self) -> FileState:
        """The new state; for a removed file, the last known one."""
        state = self.after if self.after is not None else self.before
        assert state is not None, "a change has at least one side"
        return state

    @property
    def sides(self) -> tuple[FileState, ...]:
        """The existing states: one for an added or removed file, else two."""
        return tuple(state for state in (self.before, self.after) if state is not None)

    @property
    def path(self) -> bytes:
        """The current path of the file; for a removed file, the last one."""
        state = self.after if self.after is not None else self.before
        assert state is not None, "a change has at least one side"
        return state.path

    @property
    def moved_from(self) -> bytes | None:
        """The earlier path of a moved file."""
        return self.before.path if self.kind is ChangeKind.MOVED and self.before is not None else None
