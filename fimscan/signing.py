"""The Ed25519 key (RFC 8032) that signs evidence: create, load, sign, fingerprint. Stored as PEM, mode 0600."""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import stat
from typing import Protocol

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from fimscan.errors import InputError, OutputError, UsageError
from fimscan.trust import make_private_directories, trust_problem

_LONGEST_PEM = 1 << 16
_SPKI = serialization.PublicFormat.SubjectPublicKeyInfo


class Signer(Protocol):
    """What signs evidence. A key in a file is one; a token or a TPM can be another."""

    def sign(self, data: bytes, /) -> bytes:
        """Sign ``data`` with Ed25519: 64 raw bytes."""

    @property
    def public_pem(self) -> bytes:
        """The public key, PEM (SubjectPublicKeyInfo)."""

    @property
    def fingerprint(self) -> str:
        """The public key's fingerprint: see :func:`fingerprint_of`."""


class SigningKey:
    """An Ed25519 private key. No ``repr`` or message contains it."""

    __slots__ = ("_key",)

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key

    def sign(self, data: bytes) -> bytes:
        """Sign ``data``: 64 raw bytes, as ``openssl pkeyutl -verify -rawin`` expects."""
        return self._key.sign(data)

    @property
    def public_pem(self) -> bytes:
        """The public key, PEM (SubjectPublicKeyInfo)."""
        return self._key.public_key().public_bytes(serialization.Encoding.PEM, _SPKI)

    @property
    def fingerprint(self) -> str:
        """The public key's fingerprint: see :func:`fingerprint_of`."""
        return fingerprint_of(self._key.public_key())


def fingerprint_of(key: Ed25519PublicKey) -> str:
    """``SHA256:`` and, in groups of four, the hex SHA-256 of the key's SubjectPublicKeyInfo in DER.

    Equivalent command: ``openssl pkey -pubin -in signer.pub.pem -outform DER | sha256sum``.
    """
    digest = hashlib.sha256(key.public_bytes(serialization.Encoding.DER, _SPKI)).hexdigest()
    return "SHA256:" + ":".join(digest[at : at + 4] for at in range(0, 64, 4))


def parse_fingerprint(text: str) -> str:
    """Normalize a typed fingerprint to the form of :func:`fingerprint_of`; prefix, colons and spaces are optional.

    Raises:
        UsageError: it is not a fingerprint.
    """
    digits = re.sub(r"[\s:]", "", re.sub(r"(?i)^\s*sha256:", "", text)).lower()
    if not re.fullmatch(r"[0-9a-f]{64}", digits):
        raise UsageError(
            f"not a fingerprint: {text!r}; give SHA256: and 64 hex digits, as 'fimscan export' prints them"
        )
    return "SHA256:" + ":".join(digits[at : at + 4] for at in range(0, 64, 4))


def load_public_key(pem: bytes) -> Ed25519PublicKey | None:
    """Load an Ed25519 public key from PEM; ``None`` if the text is no such key."""
    try:
        key = serialization.load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm):
        return None
    return key if isinstance(key, Ed25519PublicKey) else None


def signature_holds(key: Ed25519PublicKey, signature: bytes, data: bytes) -> bool:
    """Whether ``signature`` is this key's signature of ``data``."""
    try:
        key.verify(signature, data)
    except InvalidSignature:
        return False
    return True


def load_or_create_key(path: str) -> SigningKey:
    """Load the signing key at ``path``; create it if there is no such file (mode 0600, directory 0700).

    Raises:
        InputError: it cannot be read, is not an Ed25519 key in PEM, or others than its owner can read it.
        OutputError: it cannot be created.
    """
    if (known := load_key(path)) is not None:
        return known
    try:
        _create_key(path)
        return _load_key(path)
    except OSError as error:
        raise OutputError(f"cannot create the signing key {path}: {error.strerror}") from error


def load_key(path: str) -> SigningKey | None:
    """Load the signing key at ``path``; ``None`` if there is no such file.

    Raises:
        InputError: it cannot be read, is not an Ed25519 key in PEM, or others than its owner can read it.
    """
    if (problem := trust_problem(path, alone=True)) is not None:
        raise InputError(f"the signing key {path} is not used: {problem}")
    try:
        return _load_key(path)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise InputError(f"cannot read the signing key {path}: {error.strerror}") from error


def _load_key(path: str) -> SigningKey:
    # O_NONBLOCK: opening a FIFO must not block until it has a writer.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise InputError(f"the signing key {path} is not a regular file; set [evidence] key to another path")
        if status.st_mode & 0o077:
            mode = stat.S_IMODE(status.st_mode)
            raise InputError(
                f"others can read the signing key {path} (mode {mode:04o}); chmod 600 it, or, if it may have been"
                " copied, move it away, and fimscan creates a new one"
            )
        pem = file.read(_LONGEST_PEM)
    try:
        key = serialization.load_pem_private_key(pem, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise InputError(
            f"{path} is not an unencrypted private key in PEM; move it away, and fimscan creates a new one"
        ) from error
    if not isinstance(key, Ed25519PrivateKey):
        raise InputError(f"{path} is a private key, but not Ed25519; move it away, and fimscan creates a new one")
    return SigningKey(key)


def _create_key(path: str) -> None:
    make_private_directories(os.path.dirname(path) or ".")
    _, partial = new_key(path)
    try:
        # link, not rename: when two processes create a key at once, the second must not replace the key of the first.
        os.link(partial, path)
    except FileExistsError:
        pass
    finally:
        os.unlink(partial)
    _sync_directory(os.path.dirname(path) or ".")


def new_key(path: str) -> tuple[SigningKey, str]:
    """Make a key and store it beside ``path``, mode 0600; return it and the file's name.

    Raises:
        OSError: it cannot be stored.
    """
    key = Ed25519PrivateKey.generate()
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    partial = f"{path}.{secrets.token_hex(8)}.new"
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with open(descriptor, "wb") as file:
        file.write(pem)
        file.flush()
        os.fsync(descriptor)
    return SigningKey(key), partial


def install_key(partial: str, path: str) -> None:
    """Let a key that :func:`new_key` has stored replace the one at ``path``.

    Raises:
        OSError: it cannot be put there.
    """
    os.replace(partial, path)
    _sync_directory(os.path.dirname(path) or ".")


def _sync_directory(directory: str) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
