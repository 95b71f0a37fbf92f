"""The signing key: created once, private to its owner, identified by its fingerprint."""

from __future__ import annotations

import os
import subprocess
import threading
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fimscan.errors import InputError, OutputError, UsageError
from fimscan.signing import SigningKey, load_or_create_key, parse_fingerprint

PEM, PKCS8 = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8


def test_a_key_is_made_once(tmp_path: Path) -> None:
    """The first use makes a key that only its owner can read; the second finds the same one; nothing else is there."""
    path = tmp_path / "new" / "key.pem"
    first = load_or_create_key(str(path))
    assert load_or_create_key(str(path)).public_pem == first.public_pem
    assert path.stat().st_mode & 0o7777 == 0o600
    assert path.parent.stat().st_mode & 0o7777 == 0o700
    assert list(path.parent.iterdir()) == [path]


def test_a_umask_does_not_open_the_key(tmp_path: Path) -> None:
    """The key is closed to others even under a umask of zero."""
    before = os.umask(0)
    try:
        load_or_create_key(str(tmp_path / "d" / "key.pem"))
    finally:
        os.umask(before)
    assert (tmp_path / "d" / "key.pem").stat().st_mode & 0o7777 == 0o600
    assert (tmp_path / "d").stat().st_mode & 0o7777 == 0o700


def test_two_at_once_agree_on_one_key(tmp_path: Path) -> None:
    """Processes that create a key at the same time all get the same key."""
    path = str(tmp_path / "key.pem")
    start, found = threading.Barrier(8), []

    def use() -> None:
        start.wait()
        found.append(load_or_create_key(path).fingerprint)

    threads = [threading.Thread(target=use) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert len(set(found)) == 1
    assert [entry.name for entry in tmp_path.iterdir()] == ["key.pem"]


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o601])
def test_a_key_open_to_others_is_refused(tmp_path: Path, mode: int) -> None:
    """A key that others can read is refused; the message says what to do."""
    path = tmp_path / "key.pem"
    load_or_create_key(str(path))
    path.chmod(mode)
    with pytest.raises(InputError, match=f"mode {mode:04o}.*chmod 600") as caught:
        load_or_create_key(str(path))
    assert "\n" not in str(caught.value)


@pytest.mark.root
def test_a_key_of_somebody_else_is_refused(tmp_path: Path) -> None:
    """A key that another user owns is refused: that user could sign as well."""
    if os.geteuid() != 0:
        pytest.skip("needs root")
    path = tmp_path / "key.pem"
    load_or_create_key(str(path))
    os.chown(path, 65534, 65534)
    with pytest.raises(InputError, match=r"belongs to .*uid 65534"):
        load_or_create_key(str(path))


def other_keys() -> dict[str, bytes]:
    password = serialization.BestAvailableEncryption(b"secret")
    plain = serialization.NoEncryption()
    return {
        "empty": b"",
        "garbage": b"\xff" * 100,
        "elliptic": generate_private_key(SECP256R1()).private_bytes(PEM, PKCS8, plain),
        "encrypted": Ed25519PrivateKey.generate().private_bytes(PEM, PKCS8, password),
    }


@pytest.mark.parametrize("name", ["empty", "garbage", "elliptic", "encrypted"])
def test_what_is_no_usable_key_is_refused(tmp_path: Path, name: str) -> None:
    """A file that holds no Ed25519 key is refused in one line, and not overwritten."""
    path = tmp_path / "key.pem"
    path.write_bytes(other_keys()[name])
    path.chmod(0o600)
    before = path.read_bytes()
    with pytest.raises(InputError, match="move it away") as caught:
        load_or_create_key(str(path))
    assert "\n" not in str(caught.value)
    assert path.read_bytes() == before


def test_a_fifo_in_the_keys_place_does_not_hang(tmp_path: Path) -> None:
    """A FIFO in place of the key is refused without waiting."""
    os.mkfifo(tmp_path / "key.pem", 0o600)
    with pytest.raises(InputError, match="not a regular file"):
        load_or_create_key(str(tmp_path / "key.pem"))


def test_a_key_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    """Where no key can be made, the message names the place and the reason."""
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises((OutputError, InputError), match=r"signing key .*/file/key\.pem.* Not a directory"):
        load_or_create_key(str(tmp_path / "file" / "key.pem"))
    with pytest.raises(OutputError, match=r"cannot create the signing key /proc/key\.pem"):
        load_or_create_key("/proc/key.pem")


def test_the_fingerprint_is_what_openssl_says(tmp_path: Path, key: SigningKey) -> None:
    """An assessor computes the same fingerprint with openssl and sha256sum."""
    (tmp_path / "p.pem").write_bytes(key.public_pem)
    command = f"openssl pkey -pubin -in {tmp_path}/p.pem -outform DER | sha256sum"
    printed = subprocess.run(command, shell=True, capture_output=True, text=True, check=True).stdout.split()[0]
    assert parse_fingerprint(printed) == key.fingerprint
    assert parse_fingerprint(f" sha256:{printed.upper()} ") == key.fingerprint
    assert parse_fingerprint(key.fingerprint) == key.fingerprint
    assert key.fingerprint.startswith("SHA256:")


@pytest.mark.parametrize("text", ["", "SHA256:", "SHA256:" + "g" * 64, "a" * 63, "a" * 65, "MD5:" + "a" * 64])
def test_what_is_no_fingerprint_is_refused(text: str) -> None:
    """A malformed fingerprint is a usage error, not a failed verification."""
    with pytest.raises(UsageError, match="not a fingerprint"):
        parse_fingerprint(text)


def test_the_key_does_not_show_itself(key: SigningKey) -> None:
    """The repr of a key contains no private bytes."""
    assert (b"k" * 32).hex() not in repr(key)
    assert "kkkk" not in repr(key)
