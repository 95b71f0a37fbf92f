"""Verify a bundle: the container byte for byte, the signature, the digests, both chains, and the rows that they bind.

It needs nothing from the host that made the bundle. Memory use does not depend on the bundle's size.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import stat
import struct
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice
from typing import BinaryIO

from msgspec import Struct
from msgspec.structs import replace

from fimscan.errors import InputError, VerificationError
from fimscan.evidence import replay
from fimscan.evidence.archive import Member, check_size, open_member, read_archive
from fimscan.evidence.chains import ledger_text
from fimscan.evidence.key_chain import FOLDER, Link, links_in, path_between, rotations
from fimscan.evidence.layout import (
    FILES,
    LATER,
    LEDGER,
    MANIFEST,
    PUBLIC_KEY,
    REQUIRED,
    SCANS,
    SIGNATURE,
    SUMS,
    TIMESTAMP,
    UNSIGNED,
    sums_text,
)
from fimscan.evidence.manifest import Manifest, Previous, load_manifest
from fimscan.evidence.timestamp import authority_problem, read_response
from fimscan.model import Check, Checkpoint, ScanStatus, SignerState
from fimscan.report.display import minute_text, show, time_text
from fimscan.report.pruning import removed_text
from fimscan.signing import fingerprint_of, load_public_key, parse_fingerprint, signature_holds
from fimscan.store.ledger import LedgerLine, StateDigest, checkpoint_in, problems_of_lines

_NS_PER_HOUR = 3600 * 10**9
_LONGEST_LINE = 1 << 20  # bytes; csv takes 128 KiB in a field
_LONGEST_ROW = 1 << 24  # bytes of a row that the journal binds; an answer can list many processes
_MOST_PROBLEMS = 20  # listed for one check; further ones are only counted
_LARGEST_SMALL = 1 << 20  # bytes; limit for members read at once: the sums, the signature, the public key


class VerifyReport(Struct, frozen=True, kw_only=True):
    """The result of a verification. ``fingerprint`` is the signer's; empty if there is no readable key.

    ``signer`` is ``None`` for a database. ``unmade`` are the names of checks that could not be made without more.
    """

    checks: tuple[Check, ...]
    fingerprint: str
    signer: SignerState | None = None
    unmade: frozenset[str] = frozenset()

    @property
    def ok(self) -> bool:
        """Whether every check passed that was made."""
        return all(check.ok for check in self.checks)


class Known(Struct, frozen=True, kw_only=True):
    """What the verifier knows: the expected fingerprint, rotations of keys, certificates of time stamping authorities.

    ``fingerprint`` is normalized by :func:`fimscan.signing.parse_fingerprint`.
    """

    fingerprint: str | None = None
    links: Sequence[Link] = ()
    tsa_ca: str | None = None
    previous: Opened | None = None


class Opened(Struct, frozen=True, kw_only=True):
    """A bundle that was verified: the result, what it is about, and the SHA-256 of its ``SHA256SUMS``."""

    path: str
    report: VerifyReport
    manifest: Manifest | None = None
    sums: str = ""

    @property
    def problem(self) -> str:
        """The first problem; empty if it verifies."""
        failed = next((check for check in self.report.checks if not check.ok), None)
        return "" if failed is None else f"{failed.name}: {failed.detail}"

    @property
    def as_previous(self) -> Previous:
        """What another bundle says that follows this one.

        Raises:
            VerificationError: it does not verify.
        """
        if self.problem or self.manifest is None:
            raise VerificationError(f"{show(os.fsencode(self.path))} does not verify: {self.problem}")
        return Previous(
            sums=self.sums,
            start_ns=self.manifest.start_ns,
            covered_to_ns=self.manifest.covered_to_ns,
            last_scan=self.manifest.last_scan,
            head=self.manifest.head,
        )


_NOTHING = Known()


def verify_bundle(
    path: str | bytes | os.PathLike[str],
    *,
    fingerprint: str | None = None,
    links: Sequence[Link] = (),
    tsa_ca: str | None = None,
    previous: str | None = None,
) -> VerifyReport:
    """Verify a bundle; with ``fingerprint``, also that this key signed it, or one that ``links`` connect with it.

    ``tsa_ca`` is a file with certificates, for a timestamp that was attached. ``previous`` is the bundle that it has to
    follow.

    Raises:
        VerificationError: it is not a bundle, or its container is not the canonical one of its members.
        InputError: it cannot be read.
        UsageError: ``fingerprint`` is not a fingerprint.
    """
    expected = parse_fingerprint(fingerprint) if fingerprint is not None else None
    before = None
    if previous is not None:
        before = opened_bundle(previous, Known(fingerprint=expected, links=links))
    return opened_bundle(path, Known(fingerprint=expected, links=links, tsa_ca=tsa_ca, previous=before)).report


def opened_bundle(path: str | bytes | os.PathLike[str], known: Known) -> Opened:
    """Verify a bundle, and read what it is about. Raises as :func:`verify_bundle` does."""
    shown = show(os.fsencode(path))
    try:
        # O_NONBLOCK: opening a FIFO must not block until it has a writer.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(descriptor, "rb") as file:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise InputError(f"cannot read the bundle {shown}: not a regular file")
            check_size(status.st_size, status.st_blocks * 512)
            report, members = _verified(file, known)
            return _opened(file, report, members, os.fsdecode(path))
    except OSError as error:
        raise InputError(f"cannot read the bundle {shown}: {error.strerror or error}") from error
    except VerificationError as error:
        raise VerificationError(f"{shown}: {error}") from error


def verify_stream(file: BinaryIO, known: Known = _NOTHING) -> VerifyReport:
    """Like :func:`verify_bundle`, for a seekable stream."""
    return _verified(file, known)[0]


def _verified(file: BinaryIO, known: Known) -> tuple[VerifyReport, dict[str, Member]]:
    members = {member.name: member for member in read_archive(file)}
    container = Check.of("container", ok=True, detail=f"{file.tell()} bytes, no byte altered")
    missing = sorted(REQUIRED - members.keys())
    if missing:
        absent = Check.of("members", ok=False, detail=f"missing: {', '.join(missing)}")
        return VerifyReport(checks=(container, absent), fingerprint=""), members
    sums = _small(file, members[SUMS])
    signature, fingerprint = _check_signature(file, members, sums)
    signer, state = _check_signer(file, members, fingerprint, known)
    stamped = _check_timestamp(file, members, sums, known.tsa_ca)
    last, linked = _check_chain(file, members)
    follows = _check_previous(file, members, known.previous)
    checks = (
        *(container, _check_digests(sums, members), signature, signer, linked, _check_state(file, members, last)),
        *(_check_rows(file, members), *follows, *stamped),
    )
    unmade = {"signer"} if state is SignerState.UNCHECKED else set()
    unmade |= {check.name for check in follows if check.ok and known.previous is None}
    unmade |= {check.name for check in stamped if check.ok and known.tsa_ca is None}
    return VerifyReport(checks=checks, fingerprint=fingerprint, signer=state, unmade=frozenset(unmade)), members


def _opened(file: BinaryIO, report: VerifyReport, members: dict[str, Member], path: str) -> Opened:
    if not members.keys() >= REQUIRED:
        return Opened(path=path, report=report)
    try:
        manifest = load_manifest(_small(file, members[MANIFEST]))
    except VerificationError:
        manifest = None  # as the check of the chain says
    return Opened(path=path, report=report, manifest=manifest, sums=members[SUMS].sha256)


def _check_previous(file: BinaryIO, members: dict[str, Member], before: Opened | None) -> tuple[Check, ...]:
    """Check that nothing is between a bundle and the one that it follows."""
    try:
        manifest = load_manifest(_small(file, members[MANIFEST]))
    except VerificationError as error:
        return (Check.of("previous", ok=False, detail=str(error)),)
    named = manifest.previous
    if before is None:
        if named is None:
            return ()
        detail = (
            f"follows a bundle up to {time_text(named.covered_to_ns)}, whose {SUMS} has the SHA-256 {named.sums}; not"
            " compared: give it with --previous"
        )
        return (Check.of("previous", ok=True, detail=detail),)
    problems = [*_problems_of_link(manifest, before)]
    if not problems and named is not None and named.head not in {line.entry for line in _every_line(file, members)}:
        problems.append(f"the last scan of {_named(before)} is not in its chain")
    detail = f"begins where {_named(before)} ends, at {time_text(manifest.start_ns)}, after scan {{}}"
    last = 0 if named is None else named.last_scan
    return (Check.of("previous", ok=not problems, detail=_joined(problems) or detail.format(last)),)


def _problems_of_link(manifest: Manifest, before: Opened) -> Iterator[str]:
    earlier = before.manifest
    if before.problem or earlier is None:
        yield f"{_named(before)} does not verify: {before.problem}"
        return
    if (earlier.host_id or earlier.host) != (manifest.host_id or manifest.host):
        yield f"{_named(before)} is of another host: {show(os.fsencode(earlier.host))}"
    hours = (manifest.start_ns - earlier.covered_to_ns) / _NS_PER_HOUR
    if hours:
        what = "after its end: nothing shows that time" if hours > 0 else "before its end: both show that time"
        yield f"begins {abs(hours):.3f} hours {what}"
    if manifest.previous is None:
        yield f"names no bundle that it follows; to make one that does: export --since-bundle {_named(before)}"
    elif manifest.previous.sums != before.sums:
        yield f"follows another bundle: the SHA-256 of its {SUMS} is {manifest.previous.sums}, here it is {before.sums}"


def _named(bundle: Opened) -> str:
    return show(os.fsencode(bundle.path))


def _every_line(file: BinaryIO, members: dict[str, Member]) -> Iterator[LedgerLine]:
    """The lines of the chain, and the entry after which it begins."""
    first = True
    for line in chain(_ledger(file, members[SCANS]), _later(file, members[LATER])):
        if first:
            yield replace(line, entry=line.previous)
            first = False
        yield line


def _check_timestamp(file: BinaryIO, members: dict[str, Member], sums: bytes, tsa_ca: str | None) -> tuple[Check, ...]:
    """Check an attached timestamp: that it is of these sums and, with certificates, that its authority signed it."""
    if TIMESTAMP not in members:
        if tsa_ca is None:
            return ()
        return (Check.of("timestamp", ok=False, detail=f"{TIMESTAMP} is missing: no timestamp was attached"),)
    response = _small(file, members[TIMESTAMP])
    try:
        stamp = read_response(response)
    except VerificationError as error:
        return (Check.of("timestamp", ok=False, detail=f"{TIMESTAMP} is {error}"),)
    if not stamp.is_of(sums):
        return (Check.of("timestamp", ok=False, detail=f"{TIMESTAMP} is a timestamp of something else than {SUMS}"),)
    if tsa_ca is None:
        detail = f"says {stamp.time}; who signed that was not checked: give the authority's certificate with --tsa-ca"
        return (Check.of("timestamp", ok=True, detail=detail),)
    problem = authority_problem(response, sums, tsa_ca)
    detail = f"{SUMS} existed at {stamp.time}, says the authority" if problem is None else f"not accepted: {problem}"
    return (Check.of("timestamp", ok=problem is None, detail=detail),)


def _check_rows(file: BinaryIO, members: dict[str, Member]) -> Check:
    """Replay both chains and the rows that they bind, with the program that the README has."""

    def read(name: str) -> Iterator[str]:
        with open_member(file, members[name]) as reader:
            yield from _text_lines(reader, _LONGEST_ROW)

    try:
        problems, found = replay.replayed(read)
    except (*_UNREADABLE, struct.error) as error:
        return Check.of("rows", ok=False, detail=f"the journal, or the rows that it binds, cannot be read: {error!r}")
    if problems:
        return Check.of("rows", ok=False, detail=_joined(map(show, problems)))
    detail = f"{found['rows']:,} records are as {found['entries']:,} journal entries bind them"
    if found["upgraded"]:
        detail += f"; {found['upgraded']:,} digests were taken in when fimscan was upgraded"
    return Check.of("rows", ok=True, detail=detail)


def _small(file: BinaryIO, member: Member) -> bytes:
    if member.size > _LARGEST_SMALL:
        raise VerificationError(f"{member.name} is too large ({member.size} bytes)")
    with open_member(file, member) as reader:
        return reader.read()


def _check_digests(sums: bytes, members: dict[str, Member]) -> Check:
    actual = {name: member.sha256 for name, member in members.items() if name not in UNSIGNED}
    if sums == sums_text(actual):
        return Check.of("digests", ok=True, detail=f"{len(actual)} files match {SUMS}")
    listed = _listed(sums)
    problems = [
        *(f"{name} was changed" for name in sorted(actual.keys() & listed.keys()) if actual[name] != listed[name]),
        *(f"{name} is not listed" for name in sorted(actual.keys() - listed.keys())),
        *(f"{name} is missing" for name in sorted(listed.keys() - actual.keys())),
    ]
    return Check.of(
        "digests",
        ok=False,
        detail=_joined(problems) or f"the lines of {SUMS} are not in the format or order that fimscan writes",
    )


def _listed(sums: bytes) -> dict[str, str]:
    columns = (line.partition(b"  ") for line in sums.splitlines())
    return {show(name): show(digest) for digest, _, name in columns}


def _check_signature(file: BinaryIO, members: dict[str, Member], sums: bytes) -> tuple[Check, str]:
    key = load_public_key(_small(file, members[PUBLIC_KEY]))
    if key is None:
        return Check.of("signature", ok=False, detail=f"{PUBLIC_KEY} is not an Ed25519 public key"), ""
    if signature_holds(key, _small(file, members[SIGNATURE]), sums):
        signature = Check.of("signature", ok=True, detail=f"{SUMS} is signed with the key in {PUBLIC_KEY}")
    else:
        signature = Check.of("signature", ok=False, detail=f"{SIGNATURE} is not this key's signature of {SUMS}")
    return signature, fingerprint_of(key)


def _check_signer(
    file: BinaryIO, members: dict[str, Member], fingerprint: str, known: Known
) -> tuple[Check, SignerState]:
    """Compare the signer with the expected one, also by the rotations in the bundle and those that are known."""
    expected = known.fingerprint
    if not fingerprint:
        return Check.of("signer", ok=False, detail=f"{PUBLIC_KEY} is not an Ed25519 public key"), SignerState.OTHER
    if expected is None:
        detail = (
            f"not checked: {fingerprint}; compare it with the one that you received out of band, or give that one with"
            " --fingerprint"
        )
        return Check.of("signer", ok=True, detail=detail), SignerState.UNCHECKED
    if expected == fingerprint:
        return Check.of("signer", ok=True, detail=f"{fingerprint}, as expected"), SignerState.EXPECTED
    inside = {name: _small(file, member) for name, member in members.items() if name.startswith(FOLDER)}
    proven = rotations([*links_in(inside), *known.links])
    for old, new, words in ((expected, fingerprint, "later"), (fingerprint, expected, "earlier")):
        between = path_between(proven, old, new)
        if between is not None:
            detail = f"{fingerprint}, a {words} key of the expected signer: rotated {between[-1].time}"
            return Check.of("signer", ok=True, detail=detail), SignerState.LINKED
    detail = f"signed by {fingerprint}, expected {expected}; no rotation of keys connects them"
    return Check.of("signer", ok=False, detail=detail), SignerState.OTHER


def _check_chain(file: BinaryIO, members: dict[str, Member]) -> tuple[LedgerLine | None, Check]:
    """Replay the chain of scans, streamed; return its last line, too."""
    seen = _Seen()
    try:
        later = _later(file, members[LATER])
        sealed = _Sealed()
        lines = chain(seen.through(_ledger(file, members[SCANS])), later)
        problems, more = _first(problems_of_lines(sealed.through(lines)))
    except _UNREADABLE as error:
        return seen.last, Check.of("chain", ok=False, detail=f"{SCANS} cannot be read as CSV: {error!r}")
    if seen.text.hexdigest() != members[LEDGER].sha256:
        problems.append(f"{LEDGER} and {SCANS} differ")
    try:
        if load_manifest(_small(file, members[MANIFEST])).head != sealed.head:
            problems.append(f"{MANIFEST} names another head")
    except VerificationError as error:
        problems.append(str(error))
    if problems:
        return seen.last, Check.of("chain", ok=False, detail=_joined(map(show, problems), more))
    head = f"the head is {sealed.head}" if seen.last is not None else "there is no finished scan"
    return seen.last, Check.of(
        "chain",
        ok=True,
        detail=f"{seen.count} finished scans, each linked to the one before{sealed.text}; {head}",
    )


class _Sealed:
    """The newest checkpoint that passed, and when it was made; ``head`` is the last entry."""

    def __init__(self) -> None:
        self.head = ""
        self._checkpoint: Checkpoint | None = None
        self._made = ""

    def through(self, lines: Iterable[LedgerLine]) -> Iterator[LedgerLine]:
        for line in lines:
            try:
                found = checkpoint_in(line.summary)
                made = "" if found is None else minute_text(int(json.loads(line.summary)["finished_ns"]))
            except (ValueError, KeyError, TypeError):
                found, made = None, ""  # the replay says so
            if found is not None:
                self._checkpoint, self._made = found, made
            self.head = line.entry
            yield line

    @property
    def text(self) -> str:
        """What was pruned from the chain, when and by whom; empty if nothing was."""
        sealed = self._checkpoint
        if sealed is None:
            return ""
        begins = f", which begins after scan {sealed.scan}" if sealed.scan else ""
        who = show(sealed.user.encode("utf-8", "surrogateescape"))
        often = "" if sealed.prunings == 1 else f", in {sealed.prunings:,} prunings"
        return f"{begins}; pruned {self._made} by {who}{often}: {removed_text(sealed.total)}"


def _later(file: BinaryIO, member: Member) -> Iterator[LedgerLine]:
    """The lines of the chain after those of the period."""
    with open_member(file, member) as reader:
        for text in _text_lines(reader):
            previous, summary, state, entry = text.rstrip("\n").split("\t")
            number = int(json.loads(summary)["id"])
            yield LedgerLine(scan=number, previous=previous, summary=summary, state_digest=state, entry=entry)


class _Seen:
    """What passed: the number of scans, the last line, and the digest of the ledger that has all of them."""

    def __init__(self) -> None:
        self.count, self.text = 0, hashlib.sha256()
        self.last: LedgerLine | None = None

    def through(self, lines: Iterable[LedgerLine]) -> Iterator[LedgerLine]:
        for line in lines:
            self.count += '"checkpoint":' not in line.summary
            self.last = line
            self.text.update(ledger_text([line]))
            yield line


def _first(problems: Iterator[str]) -> tuple[list[str], int]:
    """The first problems, and the number of the others."""
    return [*islice(problems, _MOST_PROBLEMS)], sum(1 for _ in problems)


def _joined(problems: Iterable[str], more: int = 0) -> str:
    listed = [*problems]
    more += len(listed) - _MOST_PROBLEMS
    return "; ".join([*listed[:_MOST_PROBLEMS], *([f"and {more:,} more"] if more > 0 else [])])


def _check_state(file: BinaryIO, members: dict[str, Member], last: LedgerLine | None) -> Check:
    complete, count = StateDigest(), 0
    try:
        for row in _rows(file, members[FILES]):
            complete.add(bytes.fromhex(row["state_sha256"]))
            count += 1
    except _UNREADABLE as error:
        return Check.of("files", ok=False, detail=f"{FILES} cannot be read as CSV: {error!r}")
    recorded = last.state_digest if last is not None else StateDigest().hexdigest()
    if complete.hexdigest() != recorded:
        return Check.of("files", ok=False, detail=f"{FILES} does not match the state digest of the last finished scan")
    return Check.of(
        "files", ok=True, detail=f"{count} monitored files match the state digest of the last finished scan"
    )


# Errors from a forged table: not CSV, a missing column, a short row, not UTF-8, or not numbers.
_UNREADABLE = (csv.Error, KeyError, TypeError, ValueError, AttributeError, RecursionError)


def _ledger(file: BinaryIO, member: Member) -> Iterator[LedgerLine]:
    for row in _rows(file, member):
        if row["status"] == ScanStatus.FINISHED:
            yield LedgerLine(
                scan=int(row["scan"]),
                previous=row["previous"],
                summary=row["summary"],
                state_digest=row["state_digest"],
                entry=row["entry"],
            )


def _rows(file: BinaryIO, member: Member) -> Iterator[dict[str, str]]:
    with open_member(file, member) as reader:
        yield from csv.DictReader(_text_lines(reader), strict=True)


def _text_lines(reader: io.BufferedReader, longest: int = _LONGEST_LINE) -> Iterator[str]:
    while line := reader.readline(longest):
        if len(line) == longest:
            raise ValueError(f"a line of {longest:,} bytes or more")
        yield line.decode("utf-8")
