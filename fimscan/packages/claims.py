"""What the databases say of one path: claims of owners, and what they expect the file to be."""

from __future__ import annotations

from typing import NamedTuple

from msgspec import Struct, field

from fimscan.model import FileKind, FileState, PackageFact, PackageOwner, PackageProof, PackageReason, Window
from fimscan.packages.writers import Writers

NOBODY = Writers()
"""No process is known."""


class PackageQuestion(Struct, frozen=True, kw_only=True):
    """One changed path, for :func:`fimscan.packages.check_paths`.

    ``state`` is the new state, ``None`` if there is no file any more. A digest that it lacks is read from the file, if
    that is still the same file. ``writers`` are the processes that made the change, and ``written_ns`` the times of
    their system calls, one each; ``window`` is the time in which it happened. All are optional, and needed for facts
    only.
    """

    path: bytes
    state: FileState | None
    writers: Writers = NOBODY
    written_ns: tuple[int | None, ...] = ()
    window: Window | None = None


class Wanted(NamedTuple):
    """Canonical paths to look up. Of ``parents`` (directories) only the owners' names are wanted.

    ``contents`` are those of ``paths`` whose content is to be judged: no directories.
    """

    paths: frozenset[bytes]
    parents: frozenset[bytes] = frozenset()
    contents: frozenset[bytes] = frozenset()


class Expected(NamedTuple):
    """What a proof says that a file is; ``None`` is not known from it.

    ``digest`` is that of the content, by ``algorithm`` (a name that :mod:`hashlib` knows).
    """

    proof: PackageProof
    kind: FileKind
    algorithm: str | None = None
    digest: bytes | None = None
    link_target: bytes | None = None
    mode: int | None = None
    uid: int | None = None
    gid: int | None = None


class Claim(Struct, frozen=True, kw_only=True):
    """One package that has a path in its list.

    ``expected`` are all proofs, strongest first. ``reason`` says why the claim decides nothing, whatever the file is:
    a package that is not wholly installed, for example. ``may_be_missing`` is set for files that rpm may lack.
    ``active`` says whether the package was being installed in the window of the question; ``None`` is not known.
    """

    owner: PackageOwner
    expected: tuple[Expected, ...] = ()
    reason: PackageReason | None = None
    may_be_missing: bool = False
    facts: tuple[PackageFact, ...] = ()
    active: bool | None = None


class Findings(Struct, frozen=True, kw_only=True):
    """What one database says of all paths that were asked for, by canonical path.

    ``is_complete`` says that a path without a claim is owned by no package of this database. ``facts`` are of paths,
    whoever owns them. ``directories`` names the packages that own a directory, for paths that nobody owns.
    """

    claims: dict[bytes, list[Claim]] = field(default_factory=dict)
    facts: dict[bytes, tuple[PackageFact, ...]] = field(default_factory=dict)
    directories: dict[bytes, tuple[str, ...]] = field(default_factory=dict)
    problems: tuple[str, ...] = ()
    is_complete: bool = True
    reason: PackageReason | None = None
