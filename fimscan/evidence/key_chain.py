"""The chain of signing keys: each rotation is a statement that the old and the new key have both signed.

So a bundle can be checked by whoever knows a later or an earlier key. The signature of the old key says that it hands
over, that of the new key that it takes over: nobody can make a key of their own the predecessor of a known one.
Whoever has stolen a key can hand it over as well. After a theft, only a fingerprint that is given anew helps.
"""

from __future__ import annotations

import base64
import fcntl
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress

from msgspec import Struct

from fimscan.errors import InputError, OutputError
from fimscan.report.display import time_text
from fimscan.signing import (
    Signer,
    fingerprint_of,
    install_key,
    load_key,
    load_public_key,
    new_key,
    signature_holds,
)
from fimscan.whole_file import replaced

_FIRST_LINE = "fimscan key rotation/1"
_STATEMENT = re.compile(rf"{_FIRST_LINE}\nold (SHA256:[0-9a-f:]+)\nnew (SHA256:[0-9a-f:]+)\ntime (\S+)\n")
MOST_BYTES = 1 << 20
_PARTS = ("statement.txt", "old.pub.pem", "new.pub.pem", "old.sig", "new.sig")
FOLDER = "signer-chain/"
"""The folder of a bundle with a rotation's statement, keys and signatures: ``01-statement.txt`` ..."""


class Link(Struct, frozen=True, kw_only=True):
    """One rotation: what was stated, both public keys (PEM), and both signatures of the statement."""

    statement: bytes
    old_pem: bytes
    new_pem: bytes
    old_signature: bytes
    new_signature: bytes

    @property
    def parts(self) -> tuple[bytes, ...]:
        """The contents of its files, in the order of their names."""
        return self.statement, self.old_pem, self.new_pem, self.old_signature, self.new_signature


class Rotation(Struct, frozen=True, kw_only=True):
    """A link whose signatures hold: both fingerprints, and when it was made."""

    old: str
    new: str
    time: str


def make_link(old: Signer, new: Signer, now_ns: int) -> Link:
    """State that a key is replaced, and sign that with both."""
    lines = (_FIRST_LINE, f"old {old.fingerprint}", f"new {new.fingerprint}", f"time {time_text(now_ns)}", "")
    statement = "\n".join(lines).encode()
    return Link(
        statement=statement,
        old_pem=old.public_pem,
        new_pem=new.public_pem,
        old_signature=old.sign(statement),
        new_signature=new.sign(statement),
    )


def rotation_of(link: Link) -> Rotation | None:
    """What a link proves; ``None`` if a signature does not hold, or the statement is about other keys."""
    old, new = load_public_key(link.old_pem), load_public_key(link.new_pem)
    found = _STATEMENT.fullmatch(link.statement.decode("ascii", "replace"))
    if old is None or new is None or found is None:
        return None
    if (found[1], found[2]) != (fingerprint_of(old), fingerprint_of(new)):
        return None
    if not signature_holds(old, link.old_signature, link.statement):
        return None
    if not signature_holds(new, link.new_signature, link.statement):
        return None
    return Rotation(old=found[1], new=found[2], time=found[3])


def rotations(links: Iterable[Link]) -> list[Rotation]:
    """What links prove; those that prove nothing are left out."""
    return [rotation for link in links if (rotation := rotation_of(link)) is not None]


def path_between(known: Sequence[Rotation], old: str, new: str) -> list[Rotation] | None:
    """The rotations that lead from one key to a later one, in order; ``None`` if none do."""
    after = {rotation.old: rotation for rotation in known}
    found: list[Rotation] = []
    at = old
    while at != new:
        rotation = after.pop(at, None)
        if rotation is None:
            return None
        found.append(rotation)
        at = rotation.new
    return found


# --------------------------------------------------------------------------------------------------------------------
# Files


def chain_file(key: str) -> str:
    """The file beside a key with the rotations that led to it."""
    return key + ".chain"


def load_chain(key: str, fingerprint: str) -> tuple[Link, ...]:
    """The links that lead to the present key, oldest first.

    A rotation that was interrupted before the new key was in place has left a link that leads nowhere: it is left out.

    Raises:
        InputError: the file is damaged.
    """
    path = chain_file(key)
    try:
        with open(path, "rb") as file:
            text = file.read(MOST_BYTES)
    except FileNotFoundError:
        return ()
    except OSError as error:
        raise InputError(f"cannot read the chain of keys {path}: {error.strerror}") from error
    links = parse_links(text, path)
    while links and (last := rotation_of(links[-1])) is not None and last.new != fingerprint:
        links = links[:-1]
    if any(rotation_of(link) is None for link in links):
        raise InputError(f"the chain of keys {path} is damaged: a signature does not hold; restore it from a backup")
    return links


def links_document(links: Iterable[Link]) -> list[dict[str, str]]:
    """Links as JSON."""
    return [
        {name.replace(".", "_"): base64.b64encode(part).decode() for name, part in zip(_PARTS, link.parts, strict=True)}
        for link in links
    ]


def parse_links(text: bytes, path: str) -> tuple[Link, ...]:
    """The inverse, from the document of ``fimscan key export-public --format json`` or from a file beside a key.

    Raises:
        InputError: it is no such document.
    """
    try:
        found = json.loads(text)
        items = found["links"] if isinstance(found, dict) else found
        return tuple(
            _link([base64.b64decode(item[name.replace(".", "_")], validate=True) for name in _PARTS]) for item in items
        )
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise InputError(f"{path} is no chain of keys: {error}; 'fimscan key export-public' makes one") from error


def _link(parts: Sequence[bytes]) -> Link:
    statement, old_pem, new_pem, old_signature, new_signature = parts
    return Link(
        statement=statement,
        old_pem=old_pem,
        new_pem=new_pem,
        old_signature=old_signature,
        new_signature=new_signature,
    )


def members_of(links: Iterable[Link]) -> dict[str, bytes]:
    """The files of a bundle with these links."""
    return {
        f"{FOLDER}{number:02}-{name}": part
        for number, link in enumerate(links, 1)
        for name, part in zip(_PARTS, link.parts, strict=True)
    }


def links_in(members: Mapping[str, bytes]) -> list[Link]:
    """The links of a bundle, from its files; incomplete ones are left out."""
    numbers = sorted({name.removeprefix(FOLDER).partition("-")[0] for name in members if name.startswith(FOLDER)})
    found = []
    for number in numbers:
        parts = [members.get(f"{FOLDER}{number}-{name}") for name in _PARTS]
        known = [part for part in parts if part is not None]
        if len(known) == len(_PARTS):
            found.append(_link(known))
    return found


def rotate(path: str, now_ns: int) -> Link:
    """Replace the key at ``path`` by a new one; return the link. The old private key is removed.

    The link is stored first. A crash before the new key is in place leaves the old one, with a link that leads nowhere.

    Raises:
        InputError: there is no key, or it cannot be used.
        OutputError: the new key or the chain cannot be written.
    """
    if load_key(path) is None:
        raise InputError(f"there is no signing key {path} to rotate; the first 'fimscan export' makes one")
    try:
        with _locked(path):  # two at once: each adds its own link
            return _rotated(path, now_ns)
    except OSError as error:
        raise OutputError(f"cannot rotate the signing key {path}: {error.strerror}") from error


@contextmanager
def _locked(path: str) -> Iterator[None]:
    """Hold the lock of the key at ``path``.

    A rotation replaces the file: whoever waited for the lock of the old one has a lock that no later one waits for, and
    begins anew.
    """
    while True:
        with open(path, "rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            if os.path.samestat(os.fstat(file.fileno()), os.stat(path)):
                yield
                return


def _rotated(path: str, now_ns: int) -> Link:
    old = load_key(path)
    if old is None:
        raise InputError(f"the signing key {path} was removed meanwhile")
    links = load_chain(path, old.fingerprint)
    new, partial = new_key(path)
    try:
        link = make_link(old, new, now_ns)
        with replaced(chain_file(path), encoding="ascii", is_synced=True) as file:
            json.dump(links_document([*links, link]), file, indent=1)
        install_key(partial, path)
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(partial)
        raise
    return link
