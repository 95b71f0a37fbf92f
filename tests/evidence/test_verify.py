"""Verification detects every change of a bundle."""

from __future__ import annotations

import io
import os
import tracemalloc
import zipfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from fimscan.errors import InputError, UsageError, VerificationError
from fimscan.evidence.archive import Staged, open_member, read_archive
from fimscan.evidence.bundle import build_bundle
from fimscan.evidence.inputs import BundleInput
from fimscan.evidence.layout import UNSIGNED, sums_text
from fimscan.evidence.manifest import Manifest, dump_manifest
from fimscan.evidence.verify import Known, verify_bundle, verify_stream
from fimscan.signing import SigningKey
from tests.evidence.site import container_of

Make = Callable[..., BundleInput]
OTHER_KEY = SigningKey(Ed25519PrivateKey.from_private_bytes(b"o" * 32))


LITTLE = 64  # bytes at the begin and the end of a content that are all tried


def holds(data: bytes) -> bool:
    try:
        return verify_stream(io.BytesIO(data)).ok
    except VerificationError as error:
        assert "\n" not in str(error)
        return False


def unpack(data: bytes) -> dict[str, bytes]:
    file = io.BytesIO(data)
    return {member.name: open_member(file, member).read() for member in read_archive(file)}


def sign(contents: dict[str, bytes], key: SigningKey) -> dict[str, bytes]:
    """The same members with matching sums and a signature by ``key``: a forgery with another key."""
    signed = {name: content for name, content in contents.items() if name not in UNSIGNED}
    signed["signer.pub.pem"] = key.public_pem
    with ExitStack() as stack:
        digests = {}
        for name, content in signed.items():
            staged = stack.enter_context(Staged())
            staged.write(content)
            digests[name] = staged.sha256
    sums = sums_text(digests)
    return {**signed, "SHA256SUMS": sums, "SHA256SUMS.sig": key.sign(sums)}


def failed(data: bytes, expected: str | None = None) -> set[str]:
    report = verify_stream(io.BytesIO(data), Known(fingerprint=expected))
    assert report.ok == all(check.ok for check in report.checks)
    return {check.name for check in report.checks if not check.ok}


def test_an_untouched_bundle_verifies(bundle: Path, key: SigningKey) -> None:
    """An unchanged bundle verifies, with and without the expected fingerprint; the signer is shown."""
    report = verify_bundle(bundle)
    assert report.ok
    assert report.fingerprint == key.fingerprint
    assert key.fingerprint in next(check.detail for check in report.checks if check.name == "signer")
    assert verify_bundle(str(bundle), fingerprint=key.fingerprint).ok
    assert verify_bundle(os.fsencode(bundle), fingerprint=key.fingerprint.removeprefix("SHA256:").replace(":", "")).ok
    names = {"container", "digests", "signature", "signer", "chain", "files", "rows"}
    assert {check.name for check in report.checks} == names


def test_every_single_byte_counts(bundle: Path) -> None:
    """A change of any single byte is detected: contents, headers, timestamps, directory."""
    data = bytearray(bundle.read_bytes())
    unnoticed = []
    for at in positions(bundle):
        original = data[at]
        data[at] ^= at % 255 + 1
        if holds(bytes(data)):
            unnoticed.append(at)
        data[at] = original
    assert holds(bytes(data))
    assert unnoticed == []


def positions(bundle: Path) -> list[int]:
    """The positions of all bytes outside of contents, and of long contents some."""
    skipped: set[int] = set()
    with zipfile.ZipFile(bundle) as found:
        for member in found.infolist():
            begin = member.header_offset + 30 + len(member.filename) + len(member.extra)
            inside = range(begin + LITTLE, begin + member.compress_size - LITTLE)
            skipped.update(at for at in inside if at % 97)
    return [at for at in range(bundle.stat().st_size) if at not in skipped]


def test_contents_count_without_the_containers_help(bundle: Path) -> None:
    """A changed byte in a member is detected even if the container is rebuilt to match."""
    contents = unpack(bundle.read_bytes())
    for name, content in contents.items():
        for at in {0, len(content) - 1, *range(0, len(content), max(97, len(content) // 40))} if content else ():
            changed = content[:at] + bytes([content[at] ^ 0x20]) + content[at + 1 :]
            assert not holds(container_of({**contents, name: changed})), (name, at)


@pytest.fixture(scope="module")
def smallest(key: SigningKey) -> bytes:
    """A signed bundle with nothing but what verifying needs."""
    chains = ("07-ledger.txt", "07-later.txt", "07-journal.txt", "07-rows.jsonl")
    about = Manifest(
        host="h", host_id="", version="", start_ns=0, end_ns=1, covered_to_ns=1, as_of_ns=1, last_scan=0, head=""
    )
    contents = dict.fromkeys(("00-README.txt", "02-evidence-index.csv", *chains), b"")
    contents["00-manifest.json"] = dump_manifest(about)
    tables = {"06-monitored-files.csv": b"state_sha256\n", "07-scans.csv": b"status\n"}
    return container_of(sign({**contents, **tables}, key))


@given(st.data())
def test_no_mutation_crashes_or_passes(smallest: bytes, data: st.DataObject) -> None:
    """A bundle with removed or inserted bytes fails with a one-line message."""
    assert holds(smallest)
    start = data.draw(st.integers(0, len(smallest)))
    end = data.draw(st.integers(start, min(len(smallest), start + 400)))
    put = data.draw(st.binary(max_size=40) | st.sampled_from([b"PK\x03\x04", b"PK\x01\x02", b"\0" * 22]))
    changed = smallest[:start] + put + smallest[end:]
    if changed != smallest:
        assert not holds(changed)


def test_truncated_anywhere(bundle: Path) -> None:
    """A bundle cut off at any length fails."""
    data = bundle.read_bytes()
    assert not any(holds(data[:length]) for length in range(0, len(data), 41))
    assert not any(holds(data[:length]) for length in range(len(data) - 200, len(data)))


def test_appended_and_prepended_bytes(bundle: Path) -> None:
    """Nothing can hide before or after the container, as a self-extracting stub or a comment would."""
    data = bundle.read_bytes()
    assert not holds(data + b"\0")
    assert not holds(b"#!/bin/sh\n" + data)
    assert not holds(data + data)


def test_members_added_removed_swapped(bundle: Path) -> None:
    """A file that the sums don't list, a listed one that is missing, and two that changed places are noticed."""
    contents = unpack(bundle.read_bytes())
    assert failed(container_of({**contents, "01-report.html": b"all is well"})) == {"digests"}
    without = {name: content for name, content in contents.items() if name != "09-changes.csv"}
    assert failed(container_of(without)) == {"digests", "rows"}
    swapped = {
        **contents,
        "09-changes.csv": contents["08-continuity.csv"],
        "08-continuity.csv": contents["09-changes.csv"],
    }
    assert failed(container_of(swapped)) == {"digests", "rows"}


@pytest.mark.parametrize(
    "name", ["SHA256SUMS", "SHA256SUMS.sig", "signer.pub.pem", "07-scans.csv", "06-monitored-files.csv"]
)
def test_what_verifying_needs_is_missing(bundle: Path, name: str) -> None:
    """A bundle without one of the files that verification rests on fails, naming the file."""
    contents = unpack(bundle.read_bytes())
    del contents[name]
    data = container_of(contents)
    report = verify_stream(io.BytesIO(data))
    assert not report.ok
    assert name in report.checks[-1].detail


def test_repacked_by_zip(bundle: Path, tmp_path: Path) -> None:
    """The same files in another container fail: that container could hold other things."""
    with zipfile.ZipFile(tmp_path / "again.zip", "w") as packed:
        for name, content in unpack(bundle.read_bytes()).items():
            packed.writestr(name, content)
    with pytest.raises(VerificationError, match=r"again.zip: the ZIP container was altered \(byte 0\)"):
        verify_bundle(tmp_path / "again.zip")


def test_signed_again_with_another_key(bundle: Path, tmp_path: Path, key: SigningKey) -> None:
    """A bundle signed with another key is consistent; only the fingerprint differs, and is shown."""
    contents = unpack(bundle.read_bytes())
    contents["09-changes.csv"] = b"host\n"
    forged = tmp_path / "forged.zip"
    forged.write_bytes(container_of(sign(contents, OTHER_KEY)))
    report = verify_bundle(forged)
    assert report.ok
    assert report.fingerprint == OTHER_KEY.fingerprint
    assert [check.name for check in verify_bundle(forged, fingerprint=key.fingerprint).checks if not check.ok] == [
        "signer"
    ]


def test_a_signature_of_other_sums(bundle: Path, key: SigningKey) -> None:
    """A good signature of something else, an empty one and a long one all fail."""
    contents = unpack(bundle.read_bytes())
    for signature in (key.sign(b"other"), b"", contents["SHA256SUMS.sig"] + b"\n", contents["SHA256SUMS.sig"][:-1]):
        assert failed(container_of({**contents, "SHA256SUMS.sig": signature})) == {"signature"}


def test_a_public_key_of_another_kind(bundle: Path) -> None:
    """A key that is no Ed25519 key, or no key, fails as such and does not crash."""
    contents = unpack(bundle.read_bytes())
    elliptic = (
        generate_private_key(SECP256R1()).public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    )
    for pem in (elliptic, b"", b"\xff", b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"):
        assert failed(container_of({**contents, "signer.pub.pem": pem})) == {"signature", "signer", "digests"}


def test_a_broken_chain_in_a_signed_bundle(bundle: Path, key: SigningKey) -> None:
    """A chain that was altered before signing fails although signature and digests hold, and the scan is named."""
    contents = unpack(bundle.read_bytes())
    scans, ledger = contents["07-scans.csv"], contents["07-ledger.txt"]
    for old, new in ((b'""files"":3', b'""files"":4'), (b"finished,", b"interrupted,")):
        altered = container_of(sign({**contents, "07-scans.csv": scans.replace(old, new, 1)}, key))
        assert failed(altered) == {"chain"}
    both = {"07-scans.csv": scans.replace(b'""files"":3', b'""files"":4', 1)}
    both["07-ledger.txt"] = ledger.replace(b'"files":3', b'"files":4', 1)
    data = container_of(sign({**contents, **both}, key))
    assert failed(data) == {"chain", "rows"}
    assert "scan 1 was altered" in next(c.detail for c in verify_stream(io.BytesIO(data)).checks if c.name == "chain")
    shortened = container_of(sign({**contents, "07-ledger.txt": ledger[: ledger.index(b"\n") + 1]}, key))
    assert failed(shortened) == {"chain", "rows"}
    longer = container_of(sign({**contents, "07-ledger.txt": ledger + b"x"}, key))
    assert failed(longer) == {"chain", "rows"}


def test_a_list_of_files_that_no_scan_saw(tmp_path: Path, bundle_input: Make, key: SigningKey) -> None:
    """A store whose file states were altered behind the ledger's back makes a bundle that fails, and says where."""
    files = list(bundle_input().files)
    files[2] = replace(files[2], mode=0o666)
    build_bundle(bundle_input(files=files), key, tmp_path / "x.zip")
    report = verify_bundle(tmp_path / "x.zip", fingerprint=key.fingerprint)
    assert [check.name for check in report.checks if not check.ok] == ["files"]


@pytest.mark.parametrize("name", ["07-scans.csv", "06-monitored-files.csv"])
@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff\xfe",
        b'a,"b\nc',
        b"host\nx\n",
        b"status,scan\nfinished,x\n",
        b"state_sha256,x\nzz,1\n",
        b"x,state_sha256\n1\n",
    ],
)
def test_malformed_tables_fail(bundle: Path, key: SigningKey, name: str, content: bytes) -> None:
    """A signed bundle whose tables are garbage fails in its report; nothing in it can make verifying crash."""
    contents = unpack(bundle.read_bytes())
    assert failed(container_of(sign({**contents, name: content}, key))) & {"chain", "files"}


def test_the_signed_files_that_are_read_whole_are_bounded(bundle: Path) -> None:
    """A key file of many megabytes is refused and not read."""
    contents = unpack(bundle.read_bytes())
    data = container_of({**contents, "signer.pub.pem": b"\0" * (2 << 20)})
    with pytest.raises(VerificationError, match="is too large"):
        verify_stream(io.BytesIO(data))


@pytest.mark.parametrize(
    "content", [b"", b"PK", b"garbage\n" * 100, b"PK\x05\x06" + b"\0" * 18, b"PK\x03\x04", b"\0" * 5000]
)
def test_a_file_that_is_not_a_bundle(tmp_path: Path, content: bytes) -> None:
    """A file that is not a bundle fails with one line that has its name."""
    path = tmp_path / "x.zip"
    path.write_bytes(content)
    with pytest.raises(VerificationError, match=r"x\.zip: ") as caught:
        verify_bundle(path)
    assert "\n" not in str(caught.value)


def test_what_cannot_be_read(tmp_path: Path) -> None:
    """A missing file, a directory and a FIFO are input errors of one line; none of them hangs."""
    os.mkfifo(tmp_path / "fifo")
    for path in (tmp_path / "missing", tmp_path, tmp_path / "fifo"):
        with pytest.raises(InputError, match="cannot read the bundle"):
            verify_bundle(path)
    with pytest.raises(UsageError):
        verify_bundle(tmp_path / "missing", fingerprint="abc")


def test_a_bundle_that_is_mostly_a_hole_is_refused(tmp_path: Path) -> None:
    """It takes no room on disk, and hours to read."""
    path = tmp_path / "bundle.zip"
    with path.open("wb") as file:
        file.write(b"PK\x03\x04")
        file.truncate(4 << 40)
    with pytest.raises(VerificationError, match="more than fimscan writes"):
        verify_bundle(path)
    with path.open("r+b") as file:
        file.truncate(1 << 30)
    with pytest.raises(VerificationError, match="holes"):
        verify_bundle(path)


def test_very_long_lines_and_very_many_problems_are_not_kept_in_memory(bundle: Path, tmp_path: Path) -> None:
    """A table in one line, and a chain in which each line is wrong."""
    with zipfile.ZipFile(bundle) as packed:
        members = {name: packed.read(name) for name in packed.namelist()}
    head, first, *_ = members["07-scans.csv"].splitlines(keepends=True)
    for scans, words in ((b"\0" * (40 << 20), "a line of"), (head + first * 20_000, "more")):
        altered = tmp_path / "altered.zip"
        altered.write_bytes(container_of({**members, "07-scans.csv": scans}))
        del scans
        tracemalloc.start()
        report = verify_bundle(altered)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        (chain,) = [check for check in report.checks if check.name == "chain"]
        assert not chain.ok and words in chain.detail and len(chain.detail) < 10_000
        assert peak < 10 << 20
