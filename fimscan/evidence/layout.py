"""Member names that building and verifying share, and the format of ``SHA256SUMS``."""

from __future__ import annotations

from collections.abc import Mapping

README = "00-README.txt"
MANIFEST = "00-manifest.json"
REPORT = "01-report.html"
REPORT_PDF = "01-report.pdf"
INDEX = "02-evidence-index.csv"
FILES = "06-monitored-files.csv"
SCANS = "07-scans.csv"
LEDGER = "07-ledger.txt"
LATER = "07-later.txt"
JOURNAL = "07-journal.txt"
ROWS = "07-rows.jsonl"
CONTINUITY = "08-continuity.csv"
CHANGES = "09-changes.csv"
CHANGES_JSON = "09-changes.json"
RESULTS = "17-assessment-results.json"
CHANGES_ECS = "09-changes.ecs.ndjson"
CHANGES_OCSF = "09-changes.ocsf.ndjson"
SUMS = "SHA256SUMS"
SIGNATURE = "SHA256SUMS.sig"
PUBLIC_KEY = "signer.pub.pem"

TIMESTAMP = "SHA256SUMS.tsr"
TIMESTAMP_REQUEST = "SHA256SUMS.tsq"

UNSIGNED = frozenset({SUMS, SIGNATURE, TIMESTAMP, TIMESTAMP_REQUEST})
"""Members that ``SHA256SUMS`` does not list: itself, its signature, and an RFC 3161 timestamp that was attached."""

REQUIRED = frozenset({README, MANIFEST, INDEX, FILES, SCANS, LEDGER, LATER, JOURNAL, ROWS, SUMS, SIGNATURE, PUBLIC_KEY})
"""Members that verification needs. Which other members exist depends on the version that made the bundle."""


def sums_text(digests: Mapping[str, str]) -> bytes:
    """The canonical ``SHA256SUMS`` of these files (name -> SHA-256 in hex), in the format of ``sha256sum -c``."""
    return "".join(f"{digests[name]}  {name}\n" for name in sorted(digests)).encode("ascii")
