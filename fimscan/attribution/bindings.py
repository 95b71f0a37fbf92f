"""Track which file each path names while events are replayed in order of time. Pure.

It is needed for overlays: the record of a removal or a replacement can have the file's identity in the upper layer.
The file is then identified by its path, if it is known which file the path named just before.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import NamedTuple

from fimscan.attribution.coverage import SLACK_NS
from fimscan.attribution.index import BINDS, UNBINDS, Identity
from fimscan.model import Action, Change, EventId, FileAccess, FileState, Name
from fimscan.paths import is_within

#: (since when, identity of the file that a path names); the identity is ``None`` for no file or an unknown one.
_Entry = tuple[int, Identity | None]
#: By directory, then by last component.
_Entries = dict[bytes, dict[bytes, _Entry]]


class _Below(NamedTuple):
    """The bindings below a directory: the file of each path, and the present paths of directories that were moved."""

    entries: _Entries
    homes: dict[Identity, bytes]


class Bindings:
    """The file that each path names: at first the changed files as their windows began, then kept up to date.

    Of the ``states``, those of changed files under other names are used.
    Call :meth:`note` with every access in order of time.
    """

    def __init__(self, changes: Iterable[Change], states: Iterable[FileState] = ()) -> None:
        self._entries: _Entries = defaultdict(dict)
        self._homes: dict[Identity, bytes] = {}
        since: dict[Identity, int] = {}
        for change in changes:
            if change.before is not None:
                entry = change.window.after_ns - SLACK_NS, change.before.identity
                self._put(change.before.path, entry)
                since[change.before.identity] = min(since.get(change.before.identity, entry[0]), entry[0])
        for state in states:
            if state.identity in since and self._get(state.path) is None:
                self._put(state.path, (since[state.identity], state.identity))
        # State of the event noted last: the paths that it gave to a file, and what a directory's move displaced.
        self._event: EventId | None = None
        self._given: set[bytes] = set()
        self._displaced: dict[bytes, _Below] = {}

    def place(self, name: Name) -> bytes | None:
        """Resolve a name in a directory that was moved; ``None`` for other names.

        The scans may not know the directory's present path.
        """
        home = None if name.parent is None else self._homes.get(name.parent)
        return None if home is None or name.base is None else home + b"/" + name.base

    def named(self, places: Iterable[bytes], time_ns: int) -> Identity | None:
        """The file that one of these paths named; ``None`` if that is not known, or if several named a file."""
        known = [entry for place in places if (entry := self._get(place)) is not None]
        return known[0][1] if len(known) == 1 and known[0][0] <= time_ns else None

    def note(self, access: FileAccess, new: frozenset[bytes], old: frozenset[bytes]) -> None:
        """Apply one access; ``new`` are the paths that its name may mean, ``old`` those of its old name."""
        if access.event != self._event:  # an exchange has two accesses of one event
            self._event, self._given, self._displaced = access.event, set(), {}
        if access.action is Action.RENAME and access.is_directory:
            self._move(access.identity, new, old)
        elif access.action in (Action.MKDIR, Action.RMDIR) and access.identity is not None:
            self._homes.pop(access.identity, None)
        if access.action in UNBINDS:
            for place in (old if access.action is Action.RENAME else new) - self._given:
                self._put(place, (self._since(place), None))
        if access.action in BINDS:
            self._given |= new
            for place in new:
                self._put(place, (self._since(place), access.identity))

    def _move(self, identity: Identity | None, new: frozenset[bytes], old: frozenset[bytes]) -> None:
        """Move everything below a directory to its new path, and set aside what was below that path before."""
        taken = [self._displaced.pop(place) if place in self._displaced else self._take(place) for place in old]
        self._displaced |= {place: self._take(place) for place in new}
        if identity is not None:
            self._homes.pop(identity, None)
        if len(new) == len(old) == 1:
            (source,), (target,), (below,) = old, new, taken
            self._entries.update({target + path[len(source) :]: entries for path, entries in below.entries.items()})
            self._homes.update({one: target + path[len(source) :] for one, path in below.homes.items()})
            if identity is not None:
                self._homes[identity] = target

    def _take(self, directory: bytes) -> _Below:
        entries = {path: self._entries.pop(path) for path in [*self._entries] if is_within(path, directory)}
        homes = {one: self._homes.pop(one) for one, path in [*self._homes.items()] if is_within(path, directory)}
        return _Below(entries, homes)

    def _get(self, place: bytes) -> _Entry | None:
        directory, _, base = place.rpartition(b"/")
        return self._entries[directory].get(base) if directory in self._entries else None

    def _put(self, place: bytes, entry: _Entry) -> None:
        directory, _, base = place.rpartition(b"/")
        self._entries[directory][base] = entry

    def _since(self, place: bytes) -> int:
        entry = self._get(place)
        return 0 if entry is None else entry[0]
