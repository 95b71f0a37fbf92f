"""What differs between two observations of a file."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from fimscan.model.files import FileState
from fimscan.model.holders import Holders


class ChangeKind(StrEnum):
    """What happened to a path."""

    ADDED = "added"
    REMOVED = "removed"
    MODIFIED = "modified"  # the content (or the kind, or a link's target) differs
    MOVED = "moved"  # the same file, unmodified, under another name
    ATTRIBUTES = "attributes"  # everything else that is recorded


class Breach(StrEnum):
    """What was done to a log that is only to be appended to."""

    REWRITTEN = "rewritten"  # what was verified is not the same any more
    TRUNCATED = "truncated"  # it is shorter than what was verified
    REPLACED = "replaced"  # another file is in its place
    LOST = "lost"  # it is gone, and nothing has its content
    REORDERED = "reordered"  # its content is kept in another generation, where no rotation brings it


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """The time in which a change must have happened: old content read .. new content read, for this very file."""

    after_ns: int
    before_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One file that differs between two observations.

    ``changed`` names what differs, in the order of :data:`fimscan.compare.states.FIELDS`: ``kind``, ``content``,
    ``link_target``, ``size``, ``mode``, ``uid``, ``gid``, ``acl``, ``capabilities``, ``selinux``, ``xattr`` (all other
    extended attributes), ``flags``, ``nlink``, ``dev``, ``inode``, ``mtime``, ``ctime``. It is empty for added and
    removed files. ``holders`` is ``None`` where nobody looked who held the file open. ``id`` is given by the store, 0
    before that. ``breach`` is set where a log that is only to be appended to lost what was verified of it, ``before``:
    no other file has that content.
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
        """The state that names the change: the new one, or the last known one of a removed file."""
        state = self.after if self.after is not None else self.before
        assert state is not None, "a change has at least one side"
        return state

    @property
    def sides(self) -> tuple[FileState, ...]:
        """The states that there are: of an added or removed file just one."""
        return tuple(state for state in (self.before, self.after) if state is not None)

    @property
    def path(self) -> bytes:
        """Where the file is now, or was when it was last seen."""
        return self.state.path

    @property
    def moved_from(self) -> bytes | None:
        """The earlier name of a moved file."""
        return self.before.path if self.kind is ChangeKind.MOVED and self.before is not None else None
