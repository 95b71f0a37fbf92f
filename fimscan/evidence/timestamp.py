"""RFC 3161 timestamps: a response of a time stamping authority (TSA) says that ``SHA256SUMS`` existed at a time.

What the response says is read here. Whether the TSA has signed it is checked by ``openssl ts``, with the certificate of
the TSA's authority that the user trusts.

Structures: RFC 3161 2.4.2 (TimeStampResp, TSTInfo), RFC 5652 5.1 (SignedData).
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator

from msgspec import Struct

from fimscan.errors import InputError, VerificationError

MOST_BYTES = 1 << 16
_PLACES = "/usr/bin:/usr/local/bin:/bin"
_TIMEOUT_S = 30
_SEQUENCE, _INTEGER, _OCTETS, _OID, _TIME, _EXPLICIT_0 = 0x30, 0x02, 0x04, 0x06, 0x18, 0xA0
_SIGNED_DATA = bytes.fromhex("2a864886f70d010702")
_TST_INFO = bytes.fromhex("2a864886f70d0109100104")
# Digests of a timestamp: SHA-256, SHA-384, SHA-512.
_DIGESTS = {
    bytes.fromhex("608648016503040201"): "sha256",
    bytes.fromhex("608648016503040202"): "sha384",
    bytes.fromhex("608648016503040203"): "sha512",
}
_GRANTED = (0, 1)  # granted, granted with modifications
_GENERALIZED = re.compile(r"(\d{4})(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)(\.\d+)?Z", re.ASCII)


class Timestamp(Struct, frozen=True, kw_only=True):
    """What a response says: at ``time`` (RFC 3339, UTC), something had this digest."""

    algorithm: str
    digest: bytes
    time: str

    def is_of(self, data: bytes) -> bool:
        """Whether it is about ``data``."""
        return hashlib.new(self.algorithm, data).digest() == self.digest


def read_response(data: bytes) -> Timestamp:
    """Read a TimeStampResp in DER.

    Raises:
        VerificationError: it is none, or the TSA refused.
    """
    try:
        return _read(data)
    except (ValueError, IndexError, StopIteration) as error:
        raise VerificationError(f"not an RFC 3161 response: {str(error) or 'it is truncated'}") from error


def _read(data: bytes) -> Timestamp:
    response = _children(_only(data, _SEQUENCE))
    status = next(_children(_expect(next(response), _SEQUENCE)))
    granted = int.from_bytes(_expect(status, _INTEGER), "big")
    if granted not in _GRANTED:
        raise ValueError(f"the authority refused (status {granted})")
    content = _children(_expect(next(response), _SEQUENCE))
    if _expect(next(content), _OID) != _SIGNED_DATA:
        raise ValueError("it has no signed data")
    signed = _children(_only(_expect(next(content), _EXPLICIT_0), _SEQUENCE))
    next(signed), next(signed)  # version, digest algorithms
    inner = _children(_expect(next(signed), _SEQUENCE))
    if _expect(next(inner), _OID) != _TST_INFO:
        raise ValueError("it has no timestamp")
    info = _children(_only(_only(_expect(next(inner), _EXPLICIT_0), _OCTETS), _SEQUENCE))
    next(info), next(info)  # version, policy
    imprint = _children(_expect(next(info), _SEQUENCE))
    algorithm = _DIGESTS.get(_expect(next(_children(_expect(next(imprint), _SEQUENCE))), _OID))
    if algorithm is None:
        raise ValueError("its digest is none of SHA-256, SHA-384 and SHA-512")
    digest = _expect(next(imprint), _OCTETS)
    next(info)  # serial number
    found = _GENERALIZED.fullmatch(_expect(next(info), _TIME).decode("ascii", "replace"))
    if found is None:
        raise ValueError("its time is malformed")
    year, month, day, hour, minute, second, fraction = found.groups()
    return Timestamp(
        algorithm=algorithm, digest=digest, time=f"{year}-{month}-{day}T{hour}:{minute}:{second}{fraction or ''}Z"
    )


def _children(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield (tag, content) of each DER element in ``data``."""
    at = 0
    while at < len(data):
        tag, length, at = data[at], data[at + 1], at + 2
        if length == 0x80 or length > 0x84:
            raise ValueError("a length is not DER")
        if length & 0x80:
            size = length & 0x7F
            length, at = int.from_bytes(data[at : at + size], "big"), at + size
        if at + length > len(data):
            raise ValueError("it is truncated")
        yield tag, data[at : at + length]
        at += length


def _expect(element: tuple[int, bytes], tag: int) -> bytes:
    if element[0] != tag:
        raise ValueError(f"element {element[0]:#04x} instead of {tag:#04x}")
    return element[1]


def _only(data: bytes, tag: int) -> bytes:
    """The content of the first element, which must have this tag."""
    return _expect(next(_children(data)), tag)


def authority_problem(response: bytes, data: bytes, ca_file: str) -> str | None:
    """Why ``openssl ts`` does not accept the response for ``data`` with these authorities; ``None`` if it does.

    Raises:
        InputError: openssl is not installed, or the file cannot be read.
    """
    openssl = shutil.which("openssl", path=_PLACES)
    if openssl is None:
        raise InputError("openssl is not installed: without it, the signature of a timestamp cannot be checked")
    if not os.access(ca_file, os.R_OK):
        raise InputError(f"cannot read the certificates {ca_file}")
    with tempfile.TemporaryDirectory() as directory:
        for name, content in (("response", response), ("data", data)):
            with open(os.path.join(directory, name), "wb") as file:
                file.write(content)
        command = [openssl, "ts", "-verify", "-in", "response", "-data", "data", "-CAfile", os.path.abspath(ca_file)]
        try:
            done = subprocess.run(
                command, cwd=directory, stdin=subprocess.DEVNULL, capture_output=True, timeout=_TIMEOUT_S, check=False
            )
        except subprocess.TimeoutExpired:
            return f"openssl gave no answer within {_TIMEOUT_S} s"
    if done.returncode == 0:
        return None
    lines = (done.stderr + done.stdout).decode("utf-8", "replace").splitlines()
    causes = [line for line in lines if "error" in line.lower()] or ["openssl refused it"]
    return re.sub(r"^[0-9A-F]{8,}:", "", causes[-1]).strip()
