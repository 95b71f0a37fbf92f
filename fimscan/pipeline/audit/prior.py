"""The states that changed files had at the previous scan, of which few are in memory at a time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from fimscan.compact import Identities
from fimscan.model import Change, FileState
from fimscan.store import files
from fimscan.store.session import Session

Identity = tuple[int, int]


class PriorStates:
    """The state of each changed file at an earlier scan, under any name.

    Args:
        session: the store.
        scan_id: the earlier scan.
        wanted: the files that changed. Of others, nothing is said.
        copied: the states of further files.
    """

    def __init__(
        self, session: Session, scan_id: int, wanted: Identities, copied: Mapping[Identity, FileState]
    ) -> None:
        self._session = session
        self._scan_id = scan_id
        self._wanted = wanted
        self._copied = copied
        self._loaded: dict[Identity, FileState | None] = {}

    def load(self, changes: Iterable[Change]) -> None:
        """Load the states of the files of these changes with few queries, and forget those loaded before."""
        wanted = {change.after.identity for change in changes if change.after is not None}
        self._loaded = self._states(wanted)

    def get(self, identity: Identity) -> FileState | None:
        """The state of a file; ``None`` if it was not there, or did not change."""
        if identity not in self._loaded and identity in self._wanted:
            self._loaded |= self._states({identity})
        found = self._loaded.get(identity)
        return self._copied.get(identity) if found is None else found

    def _states(self, wanted: set[Identity]) -> dict[Identity, FileState | None]:
        found: dict[Identity, FileState | None] = dict.fromkeys(wanted)
        found.update((state.identity, state) for state in files.by_identity(self._session, wanted, self._scan_id))
        return found
