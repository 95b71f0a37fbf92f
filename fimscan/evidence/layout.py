"""The names in a bundle that building and verifying share, and the text that is signed."""

from __future__ import annotations

from collections.abc import Mapping

README = "00-README.txt"
INDEX = "02-evidence-index.csv"
FILES = "06-monitored-files.csv"
SCANS = "07-scans.csv"
LEDGER = "07-ledger.txt"
SUMS = "SHA256SUMS"
SIGNATURE = "SHA256SUMS.sig"
PUBLIC_KEY = "signer.pub.pem"

UNSIGNED = frozenset({SUMS, SIGNATURE})
"""What the sums don't list: themselves, and the signature over them."""

REQUIRED = frozenset({README, INDEX, FILES, SCANS, LEDGER, SUMS, SIGNATURE, PUBLIC_KEY})
"""Without these, nothing can be verified. Which other files there are depends on the version that made the bundle."""


def sums_text(digests: Mapping[str, str]) -> bytes:
    """The one ``SHA256SUMS`` that these files (name -> SHA-256 in hex) have, as ``sha256sum -c`` reads it."""
    return "".join(f"{digests[name]}  {name}\n" for name in sorted(digests)).encode("ascii")
