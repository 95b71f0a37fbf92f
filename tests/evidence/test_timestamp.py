"""RFC 3161 timestamps: made by a time stamping authority of openssl's, attached, and checked."""

from __future__ import annotations

import json
import subprocess
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fimscan.errors import VerificationError
from fimscan.evidence.attach import attach_timestamp
from fimscan.evidence.timestamp import read_response
from fimscan.evidence.verify import verify_bundle
from fimscan.signing import SigningKey
from tests.conftest import Cli
from tests.evidence.site import container_of
from tests.evidence.test_verify import unpack

CONFIG = """
[tsa]
default_tsa = t
[t]
serial = serial
signer_cert = tsa.pem
signer_key = tsa.key
certs = ca.pem
signer_digest = sha256
default_policy = 1.2.3.4
digests = sha256, sha384, sha512
accuracy = secs:1
"""


@dataclass(frozen=True)
class Authority:
    """A time stamping authority with a certificate authority of its own."""

    root: Path

    def run(self, *arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=self.root, check=True, capture_output=True)

    def answer(self, data: bytes, *, digest: str = "sha256") -> tuple[bytes, bytes]:
        """(request, response) for some data."""
        (self.root / "data").write_bytes(data)
        self.run("ts", "-query", "-data", "data", f"-{digest}", "-cert", "-out", "q")
        self.run("ts", "-reply", "-config", "conf", "-queryfile", "q", "-out", "r")
        return (self.root / "q").read_bytes(), (self.root / "r").read_bytes()


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Made by openssl."""
    made = Authority(tmp_path_factory.mktemp("tsa"))
    (made.root / "conf").write_text(CONFIG)
    (made.root / "serial").write_text("01")
    (made.root / "ext").write_text("extendedKeyUsage = critical,timeStamping\n")
    new = ("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
    made.run(*new, "-x509", "-subj", "/CN=Test CA", "-keyout", "ca.key", "-out", "ca.pem", "-days", "3650")
    made.run(*new, "-subj", "/CN=Test TSA", "-keyout", "tsa.key", "-out", "tsa.csr")
    sign = ("x509", "-req", "-in", "tsa.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial")
    made.run(*sign, "-extfile", "ext", "-days", "3650", "-out", "tsa.pem")
    made.run(*new, "-x509", "-subj", "/CN=Other", "-keyout", "other.key", "-out", "other.pem", "-days", "3650")
    return made


def sums_of(bundle: Path) -> bytes:
    with zipfile.ZipFile(bundle) as archive:
        return archive.read("SHA256SUMS")


@pytest.mark.parametrize("digest", ["sha256", "sha384", "sha512"])
def test_an_attached_timestamp_is_checked(authority: Authority, bundle: Path, key: SigningKey, digest: str) -> None:
    """With the certificate of the authority; without it, what the response says is shown, and is not called checked."""
    before = verify_bundle(bundle, fingerprint=key.fingerprint)
    request, response = authority.answer(sums_of(bundle), digest=digest)
    said = attach_timestamp(str(bundle), response, request)
    assert said.startswith("20") and said.endswith("Z")
    ca = str(authority.root / "ca.pem")
    report = verify_bundle(bundle, fingerprint=key.fingerprint, tsa_ca=ca)
    assert report.ok and len(report.checks) == len(before.checks) + 1
    assert report.checks[-1].detail == f"SHA256SUMS existed at {said}, says the authority"
    alone = verify_bundle(bundle, fingerprint=key.fingerprint)
    assert alone.ok and alone.unmade == {"timestamp"} and "not checked" in alone.checks[-1].detail
    other = verify_bundle(bundle, tsa_ca=str(authority.root / "other.pem"))
    assert [check.name for check in other.checks if not check.ok] == ["timestamp"]
    attach_timestamp(str(bundle), response, request)  # once more: it replaces the first
    assert verify_bundle(bundle, tsa_ca=ca).ok


def test_a_timestamp_of_something_else_is_no_timestamp(authority: Authority, bundle: Path) -> None:
    """It is not attached; one that somebody else put there fails, also without a certificate."""
    _, response = authority.answer(b"other")
    with pytest.raises(VerificationError, match="something else"):
        attach_timestamp(str(bundle), response, None)
    contents = unpack(bundle.read_bytes())
    for content, words in ((response, "something else"), (b"junk", "not an RFC 3161 response"), (b"", "truncated")):
        bundle.write_bytes(container_of({**contents, "SHA256SUMS.tsr": content}))
        (failed,) = (check for check in verify_bundle(bundle).checks if not check.ok)
        assert failed.name == "timestamp" and words in failed.detail


def test_what_an_authority_refused_is_no_timestamp(authority: Authority) -> None:
    """A response can say that there is none."""
    (authority.root / "junk").write_bytes(b"junk")
    done = subprocess.run(
        ["openssl", "ts", "-reply", "-config", "conf", "-queryfile", "junk", "-out", "refused"],
        cwd=authority.root,
        capture_output=True,
        check=False,
    )
    if done.returncode == 0:
        with pytest.raises(VerificationError, match="refused"):
            read_response((authority.root / "refused").read_bytes())
    with pytest.raises(VerificationError, match="refused"):
        read_response(bytes.fromhex("3005300302010230"[:14]))


@given(st.data())
def test_no_mutation_of_a_response_crashes(authority: Authority, data: st.DataObject) -> None:
    """It is read, or refused with one line."""
    response = RESPONSES.setdefault(authority.root, authority.answer(b"x")[1])
    start = data.draw(st.integers(0, len(response)))
    changed = (
        response[:start] + data.draw(st.binary(max_size=6)) + response[data.draw(st.integers(start, len(response))) :]
    )
    try:
        read_response(changed)
    except VerificationError as error:
        assert "\n" not in str(error)


RESPONSES: dict[Path, bytes] = {}


def test_the_command(cli: Cli, authority: Authority) -> None:
    """As the how-to says; the missing timestamp of a bundle that is to have one is a failure."""
    cli.scan()
    cli("export", "pci-dss", "--from", "2020-01-01", "--to", "2099-01-01", "--out", "x.zip", code=0)
    ca = str(authority.root / "ca.pem")
    assert "no timestamp was attached" in cli("verify", "x.zip", "--tsa-ca", ca, code=25).stdout
    authority.answer(sums_of(cli.root / "x.zip"))
    paths = (str(authority.root / "r"), "--request", str(authority.root / "q"))
    assert "Attached a timestamp of 20" in cli("export", "attach-timestamp", "x.zip", *paths, code=0).stdout
    found = json.loads(cli("verify", "x.zip", "--tsa-ca", ca, "--format", "json", code=0).stdout)
    assert {check["check"]: check["ok"] for check in found["checks"]}["timestamp"] is True
    found = json.loads(cli("verify", "x.zip", "--format", "json", code=0).stdout)
    assert {check["check"]: check["ok"] for check in found["checks"]}["timestamp"] is None
