"""Text about files and their packages."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

from fimscan.model import PackageAnswer, PackageClass, PackageFact, PackageOwner, PackageProof, PackageReason
from fimscan.report.display import show

_PROOFS = {
    PackageProof.RECORDED: "recorded before it was unpacked",
    PackageProof.DEB: "of the .deb",
    PackageProof.RPM: "in rpm's database",
    PackageProof.PYTHON: "in pip's RECORD",
    PackageProof.CONFFILE: "in dpkg's database",
    PackageProof.MD5SUMS: "in dpkg's database",
}
_REASONS = {
    PackageReason.NO_DATABASE: "there is no database of dpkg or rpm",
    PackageReason.DATABASE_DAMAGED: "the package database is damaged",
    PackageReason.DATABASE_CHANGING: "the package manager is at work; try again",
    PackageReason.NOT_INSTALLED: "the package is half installed, or removed",
    PackageReason.NO_DIGEST: "the package's database has nothing to compare it with",
    PackageReason.NO_LINK_TARGET: (
        "the package's database does not say where a symbolic link leads; a manifest or the .deb of this version would"
    ),
    PackageReason.DIRECTORY: "a directory has no content",
    PackageReason.OBSOLETE_CONFFILE: "the installed version does not ship this conffile any more",
    PackageReason.PROOFS_DISAGREE: "two proofs disagree: one may have been tampered with",
    PackageReason.CHANGED_SINCE: "it changed while it was checked",
    PackageReason.UNREADABLE: "it cannot be read",
    PackageReason.NOT_READ: "not compared, to save time",
    PackageReason.PACKAGE_CHANGED_SINCE: "the package was unpacked after the file was read",
    PackageReason.UNTRUSTED_DATABASE: "others than root can write to the package's list of files",
    PackageReason.OTHER_MANAGER: "snap and flatpak are not asked",
}
_DIFFERS = {
    "missing": "missing",
    "kind": "another kind of file",
    "content": "content differs",
    "link_target": "link target differs",
    "mode": "mode differs",
    "uid": "owner differs",
    "gid": "group differs",
}
_FACTS = {
    PackageFact.MANAGER_WROTE_OTHER: "written by the package manager, but not as shipped",
    PackageFact.NOT_WRITTEN_BY_MANAGER: "written by something else than the package manager",
    PackageFact.NOT_BEING_INSTALLED: "the package was not being installed then",
    PackageFact.PROOFS_DISAGREE: "",  # the reason says it
    PackageFact.MODE_UNPROVED: "mode, owner, ACL or capabilities give rights that this proof does not cover",
    PackageFact.MAINTAINER_SCRIPT: "written by a maintainer script, so unproved",
    PackageFact.TRIGGER: "made by a trigger, says dpkg's log, so unproved",
    PackageFact.BEING_INSTALLED: "the package was being installed then",
    PackageFact.ALTERNATIVE: "a link of update-alternatives",
    PackageFact.DIVERTED: "diverted by dpkg-divert",
    PackageFact.OVERRIDDEN: "mode and owner set by dpkg-statoverride",
}
_MOST_NAMES = 3
_WIDTH = max(len(kind.value) for kind in PackageClass)


def package_line(answer: PackageAnswer) -> str:
    """One line on one file: class, path, and how that is known."""
    return f"{answer.kind.value:<{_WIDTH}}  {show(answer.path)}{_joined('  ', _parts(answer))}"


def package_words(answer: PackageAnswer | None) -> tuple[str, ...]:
    """What a report says of a changed file's package: nothing if nothing is known, or if no package is concerned."""
    if answer is None or answer.reason in (PackageReason.NO_DATABASE, PackageReason.DIRECTORY):
        return ()
    is_quiet = answer.kind is PackageClass.UNOWNED and not answer.scripts and not answer.loud
    if is_quiet and {PackageFact.MAINTAINER_SCRIPT, PackageFact.TRIGGER}.isdisjoint(answer.facts):
        return ()
    return (answer.kind.value.replace("-", " "), *_parts(answer))


def package_sentences(answer: PackageAnswer | None) -> Iterator[str]:
    """What :func:`package_words` leaves out: that no package owns a file, or why nothing can be said of it."""
    if answer is None or package_words(answer):
        return
    what = "no installed package owns it" if answer.kind is PackageClass.UNOWNED else answer.kind.value
    yield "; ".join((what, *(part for part in _parts(answer) if part)))


def differing_words(answer: PackageAnswer) -> str:
    """``not as coreutils 9.1-1 shipped it (MD5: content)``: which package, by which proof, and what differs."""
    proof = f"{_algorithm(answer.algorithm)}: " if answer.algorithm is not None else ""
    differs = ", ".join(_DIFFERS[name].removesuffix(" differs") for name in answer.differs)
    return f"not as {_owner_text(answer.owner)} shipped it" + (f" ({proof}{differs})" if differs else "")


def why_not_as_shipped(answer: PackageAnswer | None) -> str:
    """Why a change cannot be accepted because its package shipped it so."""
    if answer is None or answer.kind is PackageClass.UNKNOWN:
        return "unknown whether it is as its package shipped it"
    if answer.kind is PackageClass.UNOWNED:
        return "no package owns it"
    if answer.kind is PackageClass.AS_SHIPPED:
        return f"as shipped, but {', '.join(filter(None, map(_FACTS.__getitem__, answer.loud)))}"
    return "not as its package shipped it"


def is_alarming(answer: PackageAnswer | None) -> bool:
    """Whether it deserves attention. That a configuration file changes without an installation is ordinary."""
    if answer is None:
        return False
    is_conffile = answer.owner is not None and answer.owner.conffile
    return bool({*answer.loud} - ({PackageFact.NOT_BEING_INSTALLED} if is_conffile else set()))


def summary_line(counts: Counter[PackageClass]) -> str:
    """How many files there are of each class."""
    words = ", ".join(f"{counts[kind]:,} {kind.value.replace('-', ' ')}" for kind in PackageClass if counts[kind])
    total = counts.total()
    return f"{total:,} file{'' if total == 1 else 's'}{_joined(': ', [words])}"


def _parts(answer: PackageAnswer) -> Iterator[str]:
    owner = answer.owner
    if owner is not None:
        yield f"{_owner_text(owner)}{' (conffile)' if owner.conffile else ''}"
    # Directories like /usr/bin have so many owners that their names say nothing.
    if 0 < len(answer.directory_owners) <= _MOST_NAMES:
        yield f"its directory belongs to {', '.join(map(show, answer.directory_owners))}"
    if answer.reason is not None:
        yield _REASONS[answer.reason]
    yield from map(_DIFFERS.__getitem__, answer.differs)
    if answer.proof is not None and answer.algorithm is not None:
        yield f"{_algorithm(answer.algorithm)} {_PROOFS[answer.proof]}"
    for fact in answer.facts:
        scripts = f" ({', '.join(map(show, answer.scripts))})" if fact is PackageFact.MAINTAINER_SCRIPT else ""
        yield _FACTS[fact] + scripts.replace(" ()", "")


def _owner_text(owner: PackageOwner | None) -> str:
    if owner is None:
        return "its package"
    return show(owner.name or owner.manager) + (f" {show(owner.version)}" if owner.version else "")


def _algorithm(name: str) -> str:
    return name.upper().replace("SHA", "SHA-")


def _joined(before: str, parts: Iterable[str]) -> str:
    text = "; ".join(part for part in parts if part)
    return before + text if text else ""
