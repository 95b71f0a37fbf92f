"""Parse dpkg's ``status`` (deb822, see dpkg(1) and deb-control(5)): which packages are installed. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from msgspec import Struct

# States in which all files of the version in ``status`` have been unpacked.
_UNPACKED = frozenset({b"installed", b"unpacked", b"half-configured", b"triggers-awaited", b"triggers-pending"})
_KNOWN_STATES = _UNPACKED | {b"not-installed", b"config-files", b"half-installed"}
_WANTED = (b"package", b"status", b"version", b"architecture", b"multi-arch", b"conffiles")
_FIELD = re.compile(rb"^([!-9;-~]+):[ \t]*(.*(?:\n[ \t].*)*)", re.MULTILINE)
# As dpkg reads its status, which is less strict than what it installs today.
_NAME = re.compile(rb"[A-Za-z0-9][A-Za-z0-9+._-]*\Z")
_ARCHITECTURE = re.compile(rb"[A-Za-z0-9][A-Za-z0-9-]*\Z")
_VERSION = re.compile(rb"[!-~]+\Z")
_MD5 = re.compile(rb"[0-9a-f]{32}\Z")


class Conffile(NamedTuple):
    """A configuration file with the MD5 that the package shipped; ``None`` if dpkg has none yet."""

    md5: bytes | None
    obsolete: bool


class DpkgPackage(Struct, frozen=True, kw_only=True):
    """One package in dpkg's status. ``state`` is the third word of its ``Status``."""

    name: bytes
    architecture: bytes
    version: bytes
    state: bytes
    multi_arch: bytes
    conffiles: Mapping[bytes, Conffile]

    @property
    def is_unpacked(self) -> bool:
        """Whether all files of this version are in place."""
        return self.state in _UNPACKED

    @property
    def has_files(self) -> bool:
        """Whether any file of it can be in place."""
        return self.state != b"not-installed"

    @property
    def file_names(self) -> tuple[bytes, ...]:
        """The names that its files in ``info/`` can have, the usual one first."""
        qualified = b"%b:%b" % (self.name, self.architecture)
        return (qualified, self.name) if self.multi_arch == b"same" else (self.name, qualified)


class DpkgStatus(NamedTuple):
    """The packages by (name, architecture), and what was wrong with the text."""

    packages: Mapping[tuple[bytes, bytes], DpkgPackage]
    problems: tuple[str, ...] = ()


def parse_status(texts: Iterable[bytes]) -> DpkgStatus:
    """Parse ``status`` and the files of ``updates/`` in order: a later stanza of a package replaces an earlier one.

    Within one text, a package must not appear twice.
    """
    packages: dict[tuple[bytes, bytes], DpkgPackage] = {}
    problems: list[str] = []
    for text in texts:
        seen: set[tuple[bytes, bytes]] = set()
        for stanza in re.split(rb"\n(?:[ \t]*\n)+", text):
            if not stanza.strip():
                continue
            found = _package(stanza)
            if isinstance(found, str):
                problems.append(found)
                continue
            key = (found.name, found.architecture)
            if key in seen:
                # Which entry is true is not known, so neither is used.
                problems.append(f"{_shown(found.name)} is in it twice")
                packages.pop(key, None)
                continue
            seen.add(key)
            packages[key] = found
        if text and not text.endswith(b"\n"):
            problems.append("it is truncated")
    return DpkgStatus(packages, tuple(problems))


def _package(stanza: bytes) -> DpkgPackage | str:
    fields: dict[bytes, bytes] = {}
    for name, value in _FIELD.findall(stanza):
        key = name.lower()
        if key not in _WANTED:
            continue
        if key in fields:
            return f"a package has two fields {_shown(key)}"
        fields[key] = value
    name = fields.get(b"package", b"").strip()
    if not _NAME.match(name):
        return "an entry has no valid name of a package"
    words = fields.get(b"status", b"").split()
    if len(words) != 3 or words[2] not in _KNOWN_STATES:
        return f"{_shown(name)} has no valid status"
    state, version = words[2], fields.get(b"version", b"").strip()
    architecture = fields.get(b"architecture", b"").strip()
    if state != b"not-installed" and not (_VERSION.match(version) and _ARCHITECTURE.match(architecture)):
        return f"{_shown(name)} has no valid version and architecture"
    conffiles = _conffiles(fields.get(b"conffiles", b""))
    if conffiles is None:
        return f"{_shown(name)} has a damaged list of conffiles"
    return DpkgPackage(
        name=name,
        architecture=architecture,
        version=version,
        state=state,
        multi_arch=fields.get(b"multi-arch", b"").strip(),
        conffiles=conffiles,
    )


def _conffiles(value: bytes) -> dict[bytes, Conffile] | None:
    """The lines ``PATH MD5 [obsolete] [remove-on-upgrade]``; ``None`` if one is damaged."""
    found: dict[bytes, Conffile] = {}
    for line in value.split(b"\n"):
        text = line.strip(b" \t")
        if not text:
            continue
        flags = set()
        while (parts := text.rpartition(b" "))[2] in (b"obsolete", b"remove-on-upgrade"):
            flags.add(parts[2])
            text = parts[0]
        path, _, md5 = text.rpartition(b" ")
        if not path.startswith(b"/") or not (md5 == b"newconffile" or _MD5.match(md5)) or path in found:
            return None
        digest = None if md5 == b"newconffile" else bytes.fromhex(md5.decode("ascii"))
        found[path] = Conffile(digest, bool(flags))
    return found


def _shown(value: bytes) -> str:
    return ascii(value[:60].decode("utf-8", "backslashreplace"))
