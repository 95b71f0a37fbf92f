r"""The manifest of a .deb: its files with SHA-256, kind, mode and owner; and the text in which it is stored. Pure.

The text has a first line with the package, one line for each file, and a last line with the number of files and the
SHA-256 of all lines before it. Fields are separated by tabs. In paths, ``%XX`` stands for ``%``, blanks and control
characters.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Iterator
from typing import NamedTuple
from urllib.parse import unquote_to_bytes

from msgspec import Struct

from fimscan.model import FileKind, PackageProof

_MAGIC = b"fimscan package manifest 1"
_SPECIAL = re.compile(rb"[\x00-\x20%\x7f]")
_KINDS = {kind.value.encode(): kind for kind in FileKind}
_PROOFS = {proof.value.encode(): proof for proof in (PackageProof.RECORDED, PackageProof.DEB)}
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9+.-]{0,127}\Z")
_VERSION = re.compile(r"[0-9A-Za-z.+~:-]{1,127}\Z")
_ARCHITECTURE = re.compile(r"[a-z0-9][a-z0-9-]{0,63}\Z")
_SHA256 = re.compile(r"[0-9a-f]{64}\Z")
_NUMBER = re.compile(rb"[0-9]{1,20}\Z")
_NONE = b"-"


class ManifestError(Exception):
    """The text of a manifest is damaged, or has another form."""


class Member(NamedTuple):
    """One file in a .deb. ``user`` and ``group`` are names, empty if the archive has numbers only."""

    path: bytes
    kind: FileKind
    mode: int
    uid: int
    gid: int
    user: bytes = b""
    group: bytes = b""
    size: int = 0
    sha256: bytes | None = None
    md5: bytes | None = None
    link_target: bytes | None = None


class Manifest(Struct, frozen=True, kw_only=True):
    """The files of one .deb. ``proof`` says when it was taken: before the package was unpacked, or later.

    Raises:
        ManifestError: name, version or architecture has characters that Debian does not allow in them.
    """

    name: str
    version: str
    architecture: str
    deb_sha256: str
    proof: PackageProof
    taken_ns: int
    members: tuple[Member, ...]

    def __post_init__(self) -> None:
        fine = _NAME.match(self.name) and _VERSION.match(self.version) and _ARCHITECTURE.match(self.architecture)
        if not (fine and _SHA256.match(self.deb_sha256)):
            raise ManifestError("it has no valid package name, version and architecture")

    @property
    def key(self) -> tuple[str, str, str]:
        """(name, version, architecture)."""
        return self.name, self.version, self.architecture


def format_manifest(manifest: Manifest) -> bytes:
    """The text in which a manifest is stored."""
    head = (manifest.name, manifest.version, manifest.architecture, manifest.deb_sha256, manifest.proof.value)
    lines = [b"\t".join((_MAGIC, *(value.encode("ascii") for value in head), b"%d" % manifest.taken_ns))]
    lines += map(_line, manifest.members)
    text = b"".join([line + b"\n" for line in lines])
    return text + b"end\t%d\t%b\n" % (len(manifest.members), hashlib.sha256(text).hexdigest().encode("ascii"))


def parse_manifest(text: bytes, wanted: Collection[bytes] | None = None) -> Manifest:
    """Read a manifest; with ``wanted``, only the members with these paths.

    Raises:
        ManifestError: it is truncated, altered, or of another form.
    """
    body, _, last = text.removesuffix(b"\n").rpartition(b"\n")
    body += b"\n"
    end = last.split(b"\t")
    if not text.endswith(b"\n") or len(end) != 3 or end[0] != b"end":
        raise ManifestError("it is truncated")
    if end[2] != hashlib.sha256(body).hexdigest().encode("ascii"):
        raise ManifestError("its digest does not match")
    lines = body.split(b"\n")[:-1]
    if end[1] != b"%d" % (len(lines) - 1):
        raise ManifestError("its number of files does not match")
    head = lines[0].split(b"\t")
    if len(head) != 7 or head[0] != _MAGIC or head[5] not in _PROOFS or not _NUMBER.match(head[6]):
        raise ManifestError("it is not a manifest, or of another version")
    name, version, architecture, digest = (part.decode("latin-1") for part in head[1:5])
    return Manifest(
        name=name,
        version=version,
        architecture=architecture,
        deb_sha256=digest,
        proof=_PROOFS[head[5]],
        taken_ns=int(head[6]),
        members=tuple(_members(lines[1:], wanted)),
    )


def _line(member: Member) -> bytes:
    return b"\t".join(
        (
            _escape(member.path),
            member.kind.value.encode("ascii"),
            b"%o" % member.mode,
            b"%d" % member.uid,
            b"%d" % member.gid,
            _escape(member.user),
            _escape(member.group),
            b"%d" % member.size,
            _hex(member.sha256),
            _hex(member.md5),
            _NONE if member.link_target is None else b"=" + _escape(member.link_target),
        )
    )


def _members(lines: list[bytes], wanted: Collection[bytes] | None) -> Iterator[Member]:
    names = None if wanted is None else {_escape(path) for path in wanted}
    for line in lines:
        if names is not None and line.partition(b"\t")[0] not in names:
            continue
        fields = line.split(b"\t")
        if len(fields) != 11 or fields[1] not in _KINDS:
            raise ManifestError("a line is damaged")
        try:
            yield Member(
                path=unquote_to_bytes(fields[0]),
                kind=_KINDS[fields[1]],
                mode=int(fields[2], 8),
                uid=int(fields[3]),
                gid=int(fields[4]),
                user=unquote_to_bytes(fields[5]),
                group=unquote_to_bytes(fields[6]),
                size=int(fields[7]),
                sha256=_unhex(fields[8], 32),
                md5=_unhex(fields[9], 16),
                link_target=None if fields[10] == _NONE else unquote_to_bytes(fields[10][1:]),
            )
        except ValueError:
            raise ManifestError("a line is damaged") from None


def _escape(value: bytes) -> bytes:
    return _SPECIAL.sub(lambda match: b"%%%02X" % match[0][0], value)


def _hex(digest: bytes | None) -> bytes:
    return _NONE if digest is None else digest.hex().encode("ascii")


def _unhex(text: bytes, size: int) -> bytes | None:
    if text == _NONE:
        return None
    digest = bytes.fromhex(text.decode("ascii"))
    if len(digest) != size:
        raise ValueError
    return digest
