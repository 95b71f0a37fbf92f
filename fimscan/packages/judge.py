"""Decide what class a file has, from what the databases claim and what the file is. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from fimscan.model import (
    FileKind,
    FileState,
    PackageAnswer,
    PackageClass,
    PackageFact,
    PackageOwner,
    PackageReason,
)
from fimscan.packages.claims import Claim, Expected, PackageQuestion
from fimscan.packages.writers import WriterKind

_SPECIAL_BITS = 0o6002  # setuid, setgid, writable by everybody
_GROUP_WRITES = 0o020
# With these reasons, a package need not have all the files of its list, or the list is not certain.
_MAY_BE_MISSING = frozenset(
    {
        PackageReason.NOT_INSTALLED,
        PackageReason.OBSOLETE_CONFFILE,
        PackageReason.UNTRUSTED_DATABASE,
        PackageReason.DATABASE_CHANGING,
        PackageReason.DATABASE_DAMAGED,
    }
)
_FACTS = tuple(PackageFact)
_BY_SCRIPT = (PackageFact.MAINTAINER_SCRIPT,)
_CONTENT = frozenset({"kind", "content", "link_target"})
_MOST_OWNERS = 8
_ORDER = (PackageClass.AS_SHIPPED, PackageClass.UNKNOWN, PackageClass.NOT_AS_SHIPPED)
_OTHER_MANAGERS = {b"/snap/": "snap", b"/var/lib/snapd/snap/": "snap", b"/var/lib/flatpak/": "flatpak"}
_THEIR_DIRECTORIES = tuple(_OTHER_MANAGERS)

Digests = Mapping[str, bytes] | PackageReason
"""The digests of a file by algorithm, or why they could not be had."""


class Background(NamedTuple):
    """What is known of a path whoever owns it.

    ``is_complete`` is set if all databases were read whole: only then is a path without an owner known to have none.
    Otherwise ``reason`` says why not, if that is known.
    """

    facts: tuple[PackageFact, ...] = ()
    directory_owners: tuple[str, ...] = ()
    reason: PackageReason | None = None
    is_complete: bool = True


def needed_algorithms(claims: Sequence[Claim], state: FileState | None) -> set[str]:
    """The digests that deciding takes: of each claim, that of the strongest proof."""
    if state is None or state.kind is not FileKind.FILE:
        return set()
    return {
        claim.expected[0].algorithm
        for claim in claims
        if claim.reason is None and claim.expected and claim.expected[0].algorithm is not None
    }


def recorded_digests(state: FileState) -> dict[str, bytes]:
    """The digests that were recorded of a file and that packages use, too."""
    return {one.algorithm: one.value for one in state.known_digests if one.algorithm in ("sha256", "sha512")}


def judge(
    question: PackageQuestion, claims: Sequence[Claim], digests: Digests, background: Background
) -> PackageAnswer:
    """Answer one question.

    With several owners, the one that shipped the file as it is decides; else one for which it is unknown.
    """
    if not claims:
        return _without_owner(question, background)
    judged = [(_judge_claim(question, claim, digests), claim) for claim in claims]
    if len(judged) > 1:
        judged.sort(key=lambda pair: _ORDER.index(pair[0].kind))
    best = judged[0][0]
    facts, scripts = _facts(question, claims, background, best)
    return PackageAnswer(
        path=question.path,
        kind=best.kind,
        owners=tuple([claim.owner for _, claim in judged[:_MOST_OWNERS]]),
        proof=best.proof.proof if best.proof else None,
        algorithm=best.proof.algorithm if best.proof else None,
        reason=best.reason,
        differs=best.differs,
        attributes_proved=best.attributes_proved,
        facts=facts,
        scripts=scripts,
    )


class _Judged(NamedTuple):
    kind: PackageClass
    proof: Expected | None = None
    reason: PackageReason | None = None
    differs: tuple[str, ...] = ()

    @property
    def attributes_proved(self) -> bool:
        return self.proof is not None and self.proof.mode is not None


_NOT_OWNED = _Judged(PackageClass.UNOWNED)


def _judge_claim(question: PackageQuestion, claim: Claim, digests: Digests) -> _Judged:
    state = question.state
    if state is None:
        return _judge_missing(question, claim)
    is_directory = state.kind is FileKind.DIRECTORY
    if claim.reason is not None and not (is_directory and claim.reason is PackageReason.NO_DIGEST):
        return _Judged(PackageClass.UNKNOWN, reason=_reason_of(claim, state))
    if not claim.expected:
        return _Judged(
            PackageClass.UNKNOWN, reason=PackageReason.DIRECTORY if is_directory else PackageReason.NO_DIGEST
        )
    proof = claim.expected[0]
    content = _content(state, proof, digests)
    differs = (*((content,) if isinstance(content, str) else ()), *_attributes(state, proof))
    if is_directory and differs and differs[0] != "kind":
        # Maintainer scripts give directories to users of their own, and dpkg keeps what it finds.
        return _Judged(PackageClass.UNKNOWN, reason=PackageReason.DIRECTORY)
    if differs:
        if _is_earlier(state.read_end_ns, claim):
            return _Judged(PackageClass.UNKNOWN, reason=PackageReason.PACKAGE_CHANGED_SINCE)
        return _Judged(PackageClass.NOT_AS_SHIPPED, proof, differs=differs)
    if isinstance(content, _Undecided):
        return _Judged(PackageClass.UNKNOWN, reason=content.reason)
    return _Judged(PackageClass.AS_SHIPPED, proof)


def _reason_of(claim: Claim, state: FileState) -> PackageReason | None:
    """Why a claim decides nothing. Of the databases, only rpm's has the targets of symbolic links."""
    is_link = state.kind is FileKind.SYMLINK and claim.owner.manager != "rpm"
    return PackageReason.NO_LINK_TARGET if is_link and claim.reason is PackageReason.NO_DIGEST else claim.reason


def _judge_missing(question: PackageQuestion, claim: Claim) -> _Judged:
    if claim.may_be_missing or claim.reason in _MAY_BE_MISSING:
        return _Judged(PackageClass.UNKNOWN, reason=claim.reason or PackageReason.NO_DIGEST)
    if question.window is not None and _is_earlier(question.window.before_ns, claim):
        return _Judged(PackageClass.UNKNOWN, reason=PackageReason.PACKAGE_CHANGED_SINCE)
    proof = claim.expected[0] if claim.expected else None
    return _Judged(PackageClass.NOT_AS_SHIPPED, proof, differs=("missing",))


def _is_earlier(ns: int, claim: Claim) -> bool:
    """Whether the file was looked at before the package was unpacked: it may be as the version before it shipped it."""
    return claim.owner.unpacked_ns is not None and ns < claim.owner.unpacked_ns


class _Undecided(NamedTuple):
    reason: PackageReason


def _content(state: FileState, proof: Expected, digests: Digests) -> str | _Undecided | None:
    """What of kind and content differs; ``None`` if nothing does."""
    if state.kind is not proof.kind:
        return "kind"
    match state.kind:
        case FileKind.FILE:
            if isinstance(digests, PackageReason):
                return _Undecided(digests)
            found = digests.get(proof.algorithm or "")
            if proof.digest is None or found is None:
                return _Undecided(PackageReason.NO_DIGEST)
            return None if found == proof.digest else "content"
        case FileKind.SYMLINK:
            if proof.link_target is None or state.link_target is None:
                return _Undecided(PackageReason.NO_DIGEST)
            return None if state.link_target == proof.link_target else "link_target"
        case FileKind.DIRECTORY:
            return None if proof.mode is not None else _Undecided(PackageReason.DIRECTORY)
        case _:
            return _Undecided(PackageReason.NO_DIGEST)


def _attributes(state: FileState, proof: Expected) -> Iterator[str]:
    pairs = (("mode", state.mode, proof.mode), ("uid", state.uid, proof.uid), ("gid", state.gid, proof.gid))
    for name, found, expected in pairs:
        if expected is not None and found != expected:
            yield name


def _without_owner(question: PackageQuestion, background: Background) -> PackageAnswer:
    facts, scripts = _facts(question, (), background, _NOT_OWNED)
    for prefix, manager in _OTHER_MANAGERS.items() if question.path.startswith(_THEIR_DIRECTORIES) else ():
        if question.path.startswith(prefix):
            name = question.path.removeprefix(prefix).partition(b"/")[0].decode("utf-8", "backslashreplace")
            return PackageAnswer(
                path=question.path,
                kind=PackageClass.UNKNOWN,
                owners=(PackageOwner(manager=manager, name=name if manager == "snap" else ""),),
                reason=PackageReason.OTHER_MANAGER,
                facts=facts,
                scripts=scripts,
            )
    if not background.is_complete:
        reason = background.reason or PackageReason.DATABASE_DAMAGED
        return PackageAnswer(path=question.path, kind=PackageClass.UNKNOWN, reason=reason, facts=facts, scripts=scripts)
    return PackageAnswer(
        path=question.path,
        kind=PackageClass.UNOWNED,
        facts=facts,
        scripts=scripts,
        differs=() if question.state is not None else ("missing",),
        directory_owners=background.directory_owners[:_MOST_OWNERS],
    )


def _facts(
    question: PackageQuestion, claims: Sequence[Claim], background: Background, judged: _Judged
) -> tuple[tuple[PackageFact, ...], tuple[str, ...]]:
    """The facts, and the maintainer scripts that wrote the file."""
    _, kinds, scripts = question.writers
    if not claims and not background.facts:  # as of nearly all files that no package owns
        return (_BY_SCRIPT if WriterKind.SCRIPT in kinds else ()), scripts
    found = {*background.facts}
    for claim in claims:
        found.update(claim.facts)
    if WriterKind.SCRIPT in kinds:
        found.add(PackageFact.MAINTAINER_SCRIPT)
    if kinds != {WriterKind.UNKNOWN}:
        found.discard(PackageFact.TRIGGER)  # it is known what started the writers
    if WriterKind.MANAGER in kinds and not _CONTENT.isdisjoint(judged.differs):
        found.add(PackageFact.MANAGER_WROTE_OTHER)
    if judged.kind is PackageClass.AS_SHIPPED:
        if kinds == {WriterKind.OTHER}:
            found.add(PackageFact.NOT_WRITTEN_BY_MANAGER)
        if question.state is not None and _is_special(question.state, is_proved=judged.attributes_proved):
            found.add(PackageFact.MODE_UNPROVED)
    activity = {claim.active for claim in claims}
    if True in activity:
        found.add(PackageFact.BEING_INSTALLED)
    elif activity == {False}:
        found.add(PackageFact.NOT_BEING_INSTALLED)
    return tuple(found) if len(found) < 2 else tuple(fact for fact in _FACTS if fact in found), scripts


def _is_special(state: FileState, *, is_proved: bool) -> bool:
    """Whether it gives rights that the proof does not cover: to who runs it, or to others than root to change it."""
    if any(one.field in ("capabilities", "acl") for one in state.xattrs or ()):
        return True  # set by maintainer scripts or administrators; no proof has them
    if is_proved or state.kind is not FileKind.FILE:
        return False
    return bool(state.uid or state.mode & _SPECIAL_BITS or (state.gid and state.mode & _GROUP_WRITES))
