"""Keys are rotated without losing what they signed; nobody can join a chain uninvited."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import threading
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from msgspec.structs import replace

from fimscan.errors import InputError, OutputError
from fimscan.evidence import key_chain
from fimscan.evidence.bundle import build_bundle
from fimscan.evidence.inputs import BundleInput
from fimscan.evidence.key_chain import (
    Link,
    Rotation,
    chain_file,
    load_chain,
    make_link,
    parse_links,
    path_between,
    rotate,
    rotation_of,
    rotations,
)
from fimscan.evidence.verify import verify_bundle
from fimscan.model import SignerState
from fimscan.signing import SigningKey, load_key, load_or_create_key
from tests.conftest import Cli
from tests.evidence.test_verify import OTHER_KEY

Make = Callable[..., BundleInput]


def loaded(path: Path) -> tuple[SigningKey, tuple[Link, ...]]:
    key = load_key(str(path))
    assert key is not None
    return key, load_chain(str(path), key.fingerprint)


def test_each_rotation_is_a_link_that_both_keys_signed(tmp_path: Path) -> None:
    """The new key and the chain are private; the old private key is gone; nothing else is left."""
    path = tmp_path / "key.pem"
    first = load_or_create_key(str(path))
    assert loaded(path)[1] == ()
    rotate(str(path), 10**18)
    second, _ = loaded(path)
    rotate(str(path), 2 * 10**18)
    third, links = loaded(path)
    assert [(one.old, one.new) for one in rotations(links)] == [
        (first.fingerprint, second.fingerprint),
        (second.fingerprint, third.fingerprint),
    ]
    assert rotations(links)[0].time == "2001-09-09T01:46:40.000Z"
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["key.pem", "key.pem.chain"]
    assert {entry.stat().st_mode & 0o7777 for entry in tmp_path.iterdir()} == {0o600}


def test_rotations_at_once_are_one_chain(tmp_path: Path) -> None:
    """Each is a link; none is lost."""
    path = str(tmp_path / "key.pem")
    load_or_create_key(path)
    for _ in range(3):
        threads = [threading.Thread(target=rotate, args=(path, number)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(loaded(Path(path))[1]) == 12
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["key.pem", "key.pem.chain"]


def test_a_rotation_that_waited_for_the_lock_of_a_replaced_key_waits_for_the_new_one(tmp_path: Path) -> None:
    """Otherwise it and one that came later would both replace the chain, and a link would be lost."""
    key, other = tmp_path / "key.pem", tmp_path / "other.pem"
    load_or_create_key(str(key))
    load_or_create_key(str(other))
    waiting = threading.Thread(target=rotate, args=(str(key), 1))
    with open(key, "rb") as old, open(other, "rb") as new:
        fcntl.flock(old, fcntl.LOCK_EX)
        fcntl.flock(new, fcntl.LOCK_EX)
        waiting.start()
        time.sleep(0.2)
        os.replace(other, key)
        fcntl.flock(old, fcntl.LOCK_UN)
        waiting.join(0.5)
        assert waiting.is_alive()
        assert not os.path.exists(chain_file(str(key)))
    waiting.join()
    assert len(loaded(key)[1]) == 1


def _fail(*_: str) -> None:
    raise OSError(28, "No space left on device")


def test_a_crash_leaves_one_key_and_a_chain_that_leads_to_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After the chain was written, and before the new key is in place; the next rotation goes on from there."""
    path = tmp_path / "key.pem"
    first = load_or_create_key(str(path))
    with monkeypatch.context() as patch:
        patch.setattr(
            key_chain, "install_key", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device"))
        )
        with pytest.raises(OutputError, match="cannot rotate"):
            rotate(str(path), 1)
    key, links = loaded(path)
    assert (key.fingerprint, links) == (first.fingerprint, ())
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["key.pem", "key.pem.chain"]
    rotate(str(path), 2)
    assert [one.old for one in rotations(loaded(path)[1])] == [first.fingerprint]


def test_without_a_key_or_with_a_damaged_chain_nothing_is_rotated(tmp_path: Path) -> None:
    """And nothing is exported: a chain with a wrong signature is an error, not a short chain."""
    path = tmp_path / "key.pem"
    with pytest.raises(InputError, match="there is no signing key"):
        rotate(str(path), 1)
    load_or_create_key(str(path))
    rotate(str(path), 1)
    chain = tmp_path / "key.pem.chain"
    good = chain.read_text()
    for text in ("", "{", "[1]", "5", '[{"statement_txt": "x"}]'):
        chain.write_text(text)
        with pytest.raises(InputError, match="is no chain of keys"):
            loaded(path)
    damaged = json.loads(good)
    damaged[0]["old_sig"] = damaged[0]["new_sig"]
    chain.write_text(json.dumps(damaged))
    with pytest.raises(InputError, match="a signature does not hold"):
        loaded(path)


def test_a_link_needs_both_signatures_and_its_own_keys(key: SigningKey) -> None:
    """Nobody can make a key of their own the predecessor, or the successor, of a known one."""
    link = make_link(key, OTHER_KEY, 0)
    assert rotation_of(link) == Rotation(
        old=key.fingerprint, new=OTHER_KEY.fingerprint, time="1970-01-01T00:00:00.000Z"
    )
    forged = [
        replace(link, old_signature=link.new_signature),
        replace(link, new_signature=link.old_signature),
        replace(link, new_signature=b""),
        replace(link, old_pem=link.new_pem),
        replace(link, new_pem=b"x"),
        replace(link, statement=link.statement + b"\n"),
        replace(link, statement=b"\xff"),
        Link(
            statement=link.statement,
            old_pem=OTHER_KEY.public_pem,
            new_pem=key.public_pem,
            old_signature=OTHER_KEY.sign(link.statement),
            new_signature=key.sign(link.statement),
        ),
    ]
    assert [rotation_of(one) for one in forged] == [None] * len(forged)


def test_a_chain_that_goes_round_ends(key: SigningKey) -> None:
    """Two keys that rotate to each other lead to no third one."""
    known = rotations([make_link(key, OTHER_KEY, 0), make_link(OTHER_KEY, key, 2)])
    assert path_between(known, key.fingerprint, "SHA256:other") is None
    assert path_between(known, key.fingerprint, OTHER_KEY.fingerprint) == known[:1]


def test_old_and_new_fingerprints_check_old_and_new_bundles(
    tmp_path: Path, bundle_input: Make, key: SigningKey
) -> None:
    """A new bundle has the chain in it. For an old bundle, the chain comes from who signs now."""
    link = make_link(key, OTHER_KEY, 0)
    old, new, forged = tmp_path / "old.zip", tmp_path / "new.zip", tmp_path / "forged.zip"
    build_bundle(bundle_input(), key, old)
    build_bundle(bundle_input(), OTHER_KEY, new, links=[link])
    later = verify_bundle(new, fingerprint=key.fingerprint)
    assert later.ok and later.signer is SignerState.LINKED
    assert "a later key of the expected signer" in next(c.detail for c in later.checks if c.name == "signer")
    assert verify_bundle(new, fingerprint=OTHER_KEY.fingerprint).signer is SignerState.EXPECTED
    assert verify_bundle(new).signer is SignerState.UNCHECKED
    assert not verify_bundle(old, fingerprint=OTHER_KEY.fingerprint).ok
    earlier = verify_bundle(old, fingerprint=OTHER_KEY.fingerprint, links=[link])
    assert earlier.ok and earlier.signer is SignerState.LINKED
    # A link that only the forger signed connects nothing.
    false = replace(link, old_signature=OTHER_KEY.sign(link.statement))
    build_bundle(bundle_input(), OTHER_KEY, forged, links=[false])
    assert not verify_bundle(forged, fingerprint=key.fingerprint).ok


def test_openssl_checks_a_rotation(tmp_path: Path, bundle_input: Make, key: SigningKey) -> None:
    """As the README of a bundle says."""
    build_bundle(bundle_input(), OTHER_KEY, tmp_path / "x.zip", links=[make_link(key, OTHER_KEY, 0)])
    with zipfile.ZipFile(tmp_path / "x.zip") as bundle:
        bundle.extractall(tmp_path / "out")
    readme = (tmp_path / "out" / "00-README.txt").read_text()
    assert f"until 1970-01-01T00:00:00.000Z: {key.fingerprint}" in readme and "signer-chain/" in readme
    for side in ("old", "new"):
        command = f"openssl pkeyutl -verify -rawin -pubin -inkey 01-{side}.pub.pem -in 01-statement.txt"
        done = subprocess.run(
            [*command.split(), "-sigfile", f"01-{side}.sig"],
            cwd=tmp_path / "out" / "signer-chain",
            capture_output=True,
            check=False,
        )
        assert done.returncode == 0, done


def test_the_command(cli: Cli) -> None:
    """Show, rotate, publish; an old bundle is checked by the new fingerprint and the published chain."""
    assert "there is no signing key" in cli("key", "show").stderr
    assert not (cli.root / "key.pem").exists()
    cli.scan()
    period = ("export", "pci-dss", "--from", "2020-01-01", "--to", "2099-01-01", "--out")
    cli(*period, "old.zip", code=0)
    first = cli("key", "show", code=0).stdout.split()[0]
    said = cli("key", "rotate", code=0).stdout
    assert first in said
    document = json.loads(cli("key", "export-public", "--format", "json", code=0).stdout)
    second = document["fingerprint"]
    assert second in said and [one["fingerprint"] for one in document["earlier"]] == [first]
    assert cli("key", "export-public", code=0).stdout == document["public_key"]
    lines = cli("key", "show", code=0).stdout.splitlines()
    assert lines[0].split() == [second, str(cli.root / "key.pem")] and lines[1].startswith(f"{first}  until ")
    (cli.root / "keys.json").write_text(json.dumps(document))
    cli("verify", "old.zip", "--fingerprint", second, code=25)
    cli("verify", "old.zip", "--fingerprint", second, "--keys", "keys.json", code=0)
    cli(*period, "new.zip", code=0)
    found = json.loads(cli("verify", "new.zip", "--fingerprint", first, "--format", "json", code=0).stdout)
    assert (found["signer"], found["ok"]) == ("linked", True)
    (cli.root / "keys.json").write_text("nothing")
    assert "is no chain of keys" in cli("verify", "old.zip", "--keys", "keys.json").stderr
    assert parse_links(json.dumps(document).encode(), "x")
    assert os.stat(cli.root / "key.pem").st_mode & 0o7777 == 0o600
