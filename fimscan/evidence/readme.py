"""00: what the bundle is, how to check it without fimscan, and what it doesn't prove."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fimscan.evidence.continuity import Stretch, largest_hours
from fimscan.evidence.inputs import BundleInput
from fimscan.evidence.tables import FileTotals
from fimscan.model import Reconfiguration, Scan, ScanStatus, Unreadable
from fimscan.report.display import show, time_text
from fimscan.store.ledger import GENESIS, replay

# Run by the tests with a real sh: what stands here is what works.
CHECK_SIGNATURE = """\
openssl pkeyutl -verify -rawin -pubin -inkey signer.pub.pem \\
        -in SHA256SUMS -sigfile SHA256SUMS.sig"""
CHECK_DIGESTS = "sha256sum -c --strict SHA256SUMS"
SHOW_FINGERPRINT = "openssl pkey -pubin -in signer.pub.pem -outform DER | sha256sum"
REPLAY_CHAIN = f"""\
last={GENESIS}
while IFS="$(printf '\\t')" read -r previous summary state entry; do
    made=$(printf '%s\\n%s\\n%s\\n' "$previous" "$summary" "$state" | sha256sum | cut -c 1-64)
    [ "$previous" = "$last" ] && [ "$made" = "$entry" ] || echo "BROKEN at $entry"
    last=$entry
done < 07-ledger.txt
echo "chain head: $last\""""
CHECK_STATE = "tail -n +2 06-monitored-files.csv | sed 's/.*,//' | xxd -r -p | sha256sum"


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What was learned while the other files were made."""

    files: FileTotals
    changes: int
    stretches: list[Stretch]
    fingerprint: str
    masked: bool


def readme(data: BundleInput, facts: Facts) -> str:
    """The text, plain ASCII but for what the input brings."""
    parts = (_scope(data, facts), _contents(facts), _how_to_check(), _how_to_read(), _limits())
    return "\n".join(parts)


def _scope(data: BundleInput, facts: Facts) -> str:
    finished = [scan for scan in data.scans if scan.status is ScanStatus.FINISHED]
    # A look at single files is in the chain, and is no comparison of all that is monitored.
    complete = [scan for scan in finished if not scan.is_partial]
    inside = [scan for scan in complete if scan.finished_ns is not None and scan.finished_ns >= data.start_ns]
    return f"""\
Evidence of change detection (PCI DSS v4.0.1, requirement 11.5.2 and related)

Organization:   {show(data.organization) or "(not configured)"}
Host:           {show(data.host)}
Addresses:      {", ".join(show(address) for address in data.addresses) or "(none recorded)"}
Period:         {time_text(data.start_ns)} to {time_text(data.end_ns)}
Generated:      {time_text(data.generated_ns)} by fimscan {data.version}
Signed by:      {facts.fingerprint}

Comparisons:    {len(inside)} finished in the period, {len(complete)} since monitoring began
Largest gap:    {_largest_gap(facts.stretches, data.max_gap_days)}
Chain of scans: {_chain(data, facts, finished)}
Files:          {_files(facts.files, finished)}
Not compared:   {_not_compared(data.unreadable)}
Changes:        {facts.changes} found in the period
Settings:       {_settings(data.reconfigurations)}

All times are UTC. Numbers above are observations; whether a requirement is
met is the assessor's decision.
{_told(complete)}"""


def _told(complete: Sequence[Scan]) -> str:
    """What the last complete scan told of itself: file systems that it did not enter, logs that it could not read."""
    if not complete or not complete[-1].problems:
        return ""
    lines = "".join(f"  - {show(problem)}\n" for problem in complete[-1].problems)
    return f"\nWHAT SCAN {complete[-1].id} DID NOT SEE\n{lines}"


def _not_compared(found: Sequence[Unreadable]) -> str:
    if not found:
        return "none: the last complete scan could read every file"
    once = sum(item.since_ns is not None for item in found)
    return f"{len(found)} at the last complete scan, {once} could be read before; see 08-not-compared.csv"


def _settings(found: Sequence[Reconfiguration]) -> str:
    if not found:
        return "unchanged in the period"
    weaker = sum(one.is_weaker for one in found)
    return f"changed {len(found)} time(s), {weaker} of them so that less is seen; see 04-policy/changes.csv"


def _largest_gap(stretches: list[Stretch], max_gap_days: float) -> str:
    if all(stretch.from_scan is None and stretch.to_scan is None for stretch in stretches):
        return "NO COMPARISON: nothing was compared in the period, or before it"
    longer = sum(not stretch.ok for stretch in stretches)
    hours = largest_hours(stretches)
    length = f"{hours:.3f} hours" if hours is not None else "unknown (the clock was set back)"
    allowed = f"{max_gap_days * 24:g} hours allowed"
    return f"{length}; {allowed}; {longer} gap(s), see 08-continuity.csv"


def _chain(data: BundleInput, facts: Facts, finished: list[Scan]) -> str:
    if not finished:
        return "empty: no scan was finished"
    problems = replay(data.scans)
    if finished[-1].state_digest != facts.files.state_digest:
        problems.append("the monitored files are not those that the last scan recorded")
    if problems:
        return f"BROKEN, {len(problems)} problem(s); the first: {show(problems[0])}"
    return f"whole; its head is {finished[-1].entry}"


def _files(totals: FileTotals, finished: list[Scan]) -> str:
    text = f"{totals.files} monitored at the end of the last finished scan"
    if finished:
        text += f" ({finished[-1].id})"
    if totals.without_sha256:
        text += f"; {totals.without_sha256} regular file(s) have no SHA-256 by policy"
    return text


def _contents(facts: Facts) -> str:
    masked = """
                              Passwords in the database URL are replaced by
                              ***, so its SHA-256 is not the config_digest.
""".rstrip()
    whole = """
                              Its SHA-256 is the config_digest of the scans
                              that ran with it (07-scans.csv).
""".rstrip()
    return f"""\
WHAT IS IN IT
  02-evidence-index.csv       requirement, testing procedure -> file, sha256
  04-policy/configuration.json  the effective configuration, as of now.{masked if facts.masked else whole}
  04-policy/audit-rules.txt   the audit rules that it asks for
  04-policy/schedule.csv      when what runs (cron: in the host's time zone);
                              full is a scan like the others: each reads
                              every byte of every file whose content the
                              policy compares
  04-policy/changes.csv       every setting that a scan of the period had
                              otherwise than the scan before it, and whether
                              less is seen since (effect: weaker, stronger,
                              other); config_before and config_after are the
                              config_digest of these scans in 07-scans.csv
  05-critical-files.csv       what is monitored, and why it is critical
  06-monitored-files.csv      every monitored file, at the last finished scan
  07-scans.csv                every scan since monitoring began
  07-ledger.txt               the chain of finished scans, tab-separated:
                              previous, summary, state digest, entry
  08-continuity.csv           every stretch between two finished comparisons,
                              from the end of one to the end of the next
  08-not-compared.csv         what the last complete scan could not read: since
                              when nobody could compare it (empty: it never was
                              read), and what was seen to be changed since; its
                              row in 06 is as it was when it was last read
  09-changes.csv, .json       every change of the period, and who made it
  SHA256SUMS, SHA256SUMS.sig  digests of all other files, signed (Ed25519)
  signer.pub.pem              the public key

WHAT IS NOT IN IT
  This version of fimscan doesn't make these yet: 01-report.html and .pdf,
  03-hosts.csv, 10-alerts.csv, 11-dispositions.csv, 12-control-failures.csv,
  13-log-integrity.csv, 14-time-sync.csv, 15-retention.csv, 16-selftest.csv,
  and of 04-policy/ the alert routes. So nothing here shows
  that alerts reached anybody (11.5.2), that exceptions were followed up
  (10.4), that the clock was right (10.6), or failures of controls (10.7).
"""


def _how_to_check() -> str:
    return f"""\
HOW TO CHECK IT
  With fimscan:  fimscan verify --fingerprint FINGERPRINT FILE.zip
  It checks every byte of the ZIP file and does all that follows.
  Without: unzip it into an empty directory, and in that directory:

1. The signature is good:

{CHECK_SIGNATURE}

2. It is the right signer's. Compare the output with the fingerprint that you
   were given on another way than this bundle (colons don't matter). What
   stands at "Signed by" above proves nothing: who can replace the key can
   replace this text.

{SHOW_FINGERPRINT}

3. No file was changed:

{CHECK_DIGESTS}

4. The chain of scans is whole. Each entry is SHA-256 over the previous entry,
   the scan's summary and the digest of the complete state, each with a
   newline. This prints BROKEN where one doesn't follow, and the head:

{REPLAY_CHAIN}

   Compare the head with a copy kept off the host. A chain can't show
   that its newest entries were cut off; a copy of the head does.

5. The monitored files are those of the last finished scan. This prints that
   scan's state_digest:

{CHECK_STATE}
"""


def _how_to_read() -> str:
    return """\
HOW TO READ IT
  - Text is UTF-8. Names on Linux are bytes and need not be: a control
    character or a byte that is not UTF-8 is written \\xNN, a character that
    doesn't show \\uNNNN, a backslash \\\\. Where that changed a name, the
    column ..._b64 beside it has its exact bytes in base64. In 09-changes.json,
    names are as they are, with \\xNN and ..._b64 only where not UTF-8.
  - A CSV cell that a spreadsheet would take for a formula has an apostrophe
    in front.
  - No content of files is in this bundle, and no command lines, since
    both can hold card data and passwords.
  - A number or name that is not known, or was never set (a login user of a
    daemon, say), is empty, never zero.
  - breach: of a log (policy append-only in 05-critical-files.csv), what was
    done to content that had been verified: rewritten, truncated, replaced, or
    lost. Logs that only grew or were rotated, with all that was verified
    found in another file, are no changes; 07-scans.csv counts them in its
    summary (logs_grown, logs_rotated).
  - outcome is success for every change: its result was seen in the file.
    Failed attempts change nothing and are in the audit log only.
  - verdict: confirmed (exactly one process can have done it, and audit
    watched all the time), likely (one stands out; reason says what is
    missing), contested (several, each in a row of its own), unattributed
    (nobody can be named; reason says why; no-event means that audit was
    watching and saw nothing). time_utc is the audit event's; the change lies
    within window_after_utc and window_before_utc.
"""


def _limits() -> str:
    return """\
WHAT IT DOES NOT PROVE
  - Who is root on the host can change what fimscan records, make a new chain
    and sign it. That shows only against heads of the chain that were kept
    elsewhere; of the key, only against its fingerprint.
  - This bundle does not show by itself that the rows of 09-changes are those
    that were recorded. In the host's database they are bound to the chain:
    each scan's summary names the head of a journal that has the digest of
    every change, of its answer (also where that was revised when audit
    records came late), and of every acceptance. On the host,
    "fimscan verify --db --head HEAD" checks all of it against a head of this
    bundle. Here, these rows are protected by the signature, from the moment
    of export on only; all that the chain has of them is in each scan's
    summary: how many changes of each kind, and how many of each verdict, the
    scan found when it finished.
  - Files that no pattern of 05-critical-files.csv matches were not looked at.
  - A change that was undone between two comparisons leaves no trace here.
  - 11.6.1 (what the payer's browser receives), interviews, and whether all
    hosts in scope are monitored: no tool on this host can show these.
"""
