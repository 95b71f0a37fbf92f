"""Find the monitored paths that accesses may have changed, and request looks at them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence

from fimscan import attribution
from fimscan.model import Action, FileAccess, FileKind, Name
from fimscan.paths import parent
from fimscan.pipeline.live.queue import LookRequest
from fimscan.scan.scope import Scope
from fimscan.store import accesses as access_store
from fimscan.store import devices as device_store
from fimscan.store import files
from fimscan.store.session import Session

_TWO_NAMES = frozenset({Action.RENAME, Action.LINK})
_OF_DIRECTORIES = frozenset({Action.MKDIR, Action.RMDIR})


def look_requests(
    session: Session, accesses: Sequence[FileAccess], scope: Scope, scan_id: int
) -> Iterator[LookRequest]:
    """Yield a request for each path that successful accesses may have changed; known files are as of a scan.

    Names in audit records can be wrong. So a name is resolved by the identity of its directory, if that is known. A
    file is looked at under every name of its identity. A name in an unknown directory yields nothing: a new directory
    gets a request of its own, and the look at it takes in everything below.
    """
    numbering = attribution.DeviceNumbers([device_store.devices_at(session, scan_id)])
    done = [a for a in accesses if a.success and a.actor.pid != os.getpid()]
    names = [name for access in done for name in _names(access)]
    identified = {i for a in done for i in (a.identity, a.replaced) if i is not None}
    identified |= {name.parent for name in names if name.parent is not None}
    identities = {one for identity in identified for one in numbering.recorded(identity)}
    states = files.by_identity(session, identities, scan_id)
    by_identity: dict[tuple[int, int], list[bytes]] = {}
    for state in states:
        by_identity.setdefault(state.identity, []).append(state.path)
    above = {parent(name.path) for name in names if name.path is not None}
    named = [version.state for version in files.at_paths(session, above, scan_id).values()]
    known = attribution.KnownDirectories.of(
        (state.path, state.identity) for state in (*states, *named) if state.kind is FileKind.DIRECTORY
    )
    for access in done:
        below = access.action in _OF_DIRECTORIES or (access.action is Action.RENAME and access.is_directory)
        meant = [one for name in _names(access) for one in numbering.names(name, known)]
        paths = {path for name in meant for path in known.places(name)}
        for identity in (access.identity, access.replaced):
            for one in numbering.recorded(identity) if identity is not None else ():
                paths.update(by_identity.get(one, ()))
        partners = frozenset(paths) if access.action is Action.RENAME else frozenset()
        for path in paths:
            if scope.includes(path, is_directory=below or access.is_directory):
                yield LookRequest(path=path, below=below, partners=partners - {path})


def concerned(
    session: Session, references: Sequence[access_store.Reference], scope: Scope, scan_id: int
) -> list[access_store.Reference]:
    """Select the references for which :func:`look_requests` may yield something: the others need not be loaded."""
    numbering = attribution.DeviceNumbers([device_store.devices_at(session, scan_id)])
    identified = {i for r in references for i in (r.identity, r.replaced, r.parent, r.old_parent)}
    wanted = {(dev, inode) for dev, inode in identified if dev is not None and inode is not None}
    identities = {one for identity in wanted for one in numbering.recorded(identity)}
    known: set[tuple[int | None, int | None]] = {
        one for state in files.by_identity(session, identities, scan_id) for one in numbering.audited(state.identity)
    }
    return [
        reference
        for reference in references
        if not known.isdisjoint((reference.identity, reference.replaced, reference.parent, reference.old_parent))
        or any(
            name is not None and scope.includes(name, is_directory=True)
            for name in (reference.name, reference.old_name)
        )
    ]


def _names(access: FileAccess) -> Iterable[Name]:
    if access.action in _TWO_NAMES and access.old is not None:
        return access.name, access.old
    return (access.name,)
