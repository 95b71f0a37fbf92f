"""Decide, from its stored versions, how one path differs from its accepted state."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from fimscan import compare
from fimscan.model import Change, FileKind, Window
from fimscan.store.files import Version


class PathHistory(Struct, frozen=True, kw_only=True):
    """The versions of a path from the accepted one to the present one.

    Attributes:
        accepted: the version that was accepted.
        before: the version to compare with. It is later than ``accepted`` if the versions in between need no
            acceptance: a newer fimscan recorded more of the same state, or a log grew or was rotated.
        later: the versions after ``before``.
        after: the present version; ``None`` if the path is gone.
        is_retired: it was a rotated log that was due to be deleted.
    """

    accepted: Version | None
    before: Version | None
    later: tuple[Version, ...]
    after: Version | None
    is_retired: bool

    @staticmethod
    def of(accepted: Version | None, versions: Sequence[Version], after: Version | None, scan_id: int) -> PathHistory:
        """Build it from all versions of a path that began or ended in between, oldest first."""
        later = [v for v in versions if accepted is None or v.first_scan > accepted.first_scan]
        before = accepted
        while later and _is_nothing_new(before, later[0]):
            before = later.pop(0)
        ended = [v for v in versions if v.end_scan is not None and v.end_scan <= scan_id]
        retired = after is None and bool(ended) and ended[-1].retired
        return PathHistory(accepted=accepted, before=before, later=tuple(later), after=after, is_retired=retired)

    @property
    def is_followed(self) -> bool:
        """Whether it is a log that was only appended to or rotated."""
        if not all(version.followed for version in self.later):
            return False
        if self.after is None:
            return self.is_retired
        if self.later:
            return True
        return self.before is not None and self.before is not self.accepted and self.before.followed

    @property
    def is_same_file(self) -> bool:
        """Whether the present file has the device and inode of the accepted one."""
        return (
            self.accepted is not None
            and self.after is not None
            and self.accepted.state.identity == self.after.state.identity
        )

    def change(self, window: Window) -> Change | None:
        """Return what differs, except what growth or rotation of a log explains."""
        before = self.before.state if self.before is not None else None
        after = self.after.state if self.after is not None else None
        if not self.is_followed:
            return compare.change_of(before, after, window)
        if before is None or after is None:
            return None
        return compare.change_of(before, after, window, expected=compare.ROTATION)


def is_certainly_new(accepted: Version, version: Version) -> bool:
    """Whether a later version needs to be accepted, whatever else differs. So it is in most cases."""
    old, new = accepted.state, version.state
    return not version.followed and old.ctime_ns != new.ctime_ns and new.kind is not FileKind.DIRECTORY


def _is_nothing_new(accepted: Version | None, version: Version) -> bool:
    if accepted is None:
        return version.followed
    if is_certainly_new(accepted, version):
        return False
    allowed = compare.ROTATION if version.followed else frozenset()
    return allowed.issuperset(compare.differences(accepted.state, version.state))
