"""``00-README.txt``: scope of the bundle, contents, how to check it without fimscan, and what it does not prove."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fimscan.evidence.continuity import Stretch, largest_hours
from fimscan.evidence.inputs import BundleInput
from fimscan.evidence.layout import CHECKPOINT, LEDGER
from fimscan.evidence.tables import FileTotals
from fimscan.model import Reconfiguration, RetentionKind, Scan, ScanStatus, Unreadable
from fimscan.report.display import show, time_text
from fimscan.report.pruning import pruned_lines
from fimscan.store.ledger import GENESIS, replay

# The tests run these commands with a real sh.
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
    """Totals from the other files of the bundle; ``masked``: the configuration has a password replaced by ``***``."""

    files: FileTotals
    changes: int
    stretches: list[Stretch]
    fingerprint: str
    masked: bool


def readme(data: BundleInput, facts: Facts) -> str:
    """The README text: plain ASCII, except for what the input contains."""
    parts = (_scope(data, facts), _pruned(data), _contents(facts), _how_to_check(data), _how_to_read(), _limits())
    return "\n".join(filter(None, parts))


def _database(failed: Sequence[str] | None) -> str:
    if failed is None:
        return "not checked before this export"
    if not failed:
        return "checked before this export: every row is as it was stored"
    return "ALTERED OR DAMAGED, and exported all the same: " + "; ".join(map(show, failed))


def _scope(data: BundleInput, facts: Facts) -> str:
    finished = [scan for scan in data.scans if scan.status is ScanStatus.FINISHED]
    # Live looks at single files are in the chain, but are not comparisons of all monitored files.
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

Comparisons:    {len(inside)} finished in the period, {len(complete)} {_since(data)}
Largest gap:    {_largest_gap(facts.stretches, data.max_gap_days)}
Chain of scans: {_chain(data, facts, finished)}
Database:       {_database(data.failed_checks)}
Files:          {_files(facts.files, finished)}
Not compared:   {_not_compared(data.unreadable)}
Changes:        {facts.changes} found in the period
Settings:       {_settings(data.reconfigurations)}

All times are UTC. The numbers above are observations. Whether a requirement
is met is the assessor's decision.
{_scan_problems(complete)}"""


def _since(data: BundleInput) -> str:
    sealed = data.checkpoint
    return (
        "since monitoring began" if sealed is None or not sealed.scan else f"left in the chain after scan {sealed.scan}"
    )


def _scan_problems(complete: Sequence[Scan]) -> str:
    """The problems of the last complete scan: file systems it did not enter, logs it could not read."""
    if not complete or not complete[-1].problems:
        return ""
    lines = "".join(f"  - {show(problem)}\n" for problem in complete[-1].problems)
    return f"\nWHAT SCAN {complete[-1].id} DID NOT SEE\n{lines}"


def _not_compared(found: Sequence[Unreadable]) -> str:
    if not found:
        return "none: the last complete scan read every file"
    once = sum(item.since_ns is not None for item in found)
    return f"{len(found)} unreadable at the last complete scan, {once} of them read earlier; see 08-not-compared.csv"


def _settings(found: Sequence[Reconfiguration]) -> str:
    if not found:
        return "unchanged in the period"
    weaker = sum(item.is_weaker for item in found)
    return f"changed {len(found)} time(s), {weaker} of them reducing coverage; see 04-policy/changes.csv"


def _largest_gap(stretches: list[Stretch], max_gap_days: float) -> str:
    if all(stretch.from_scan is None and stretch.to_scan is None for stretch in stretches):
        return "NO COMPARISON: no scan was finished in the period or before it"
    longer = sum(not stretch.ok for stretch in stretches)
    hours = largest_hours(stretches)
    length = f"{hours:.3f} hours" if hours is not None else "unknown (the clock was set back)"
    allowed = f"{max_gap_days * 24:g} hours allowed"
    return f"{length}; {allowed}; {longer} gap(s) longer than that, see 08-continuity.csv"


def _chain(data: BundleInput, facts: Facts, finished: list[Scan]) -> str:
    if not finished:
        return "empty: no scan has finished"
    problems = replay([*data.scans, *data.later])
    if finished[-1].state_digest != facts.files.state_digest:
        problems.append("the monitored files do not match the state digest of the last scan")
    if problems:
        return f"BROKEN, {len(problems)} problem(s); the first: {show(problems[0])}"
    return f"intact; its head is {finished[-1].entry}"


def _files(totals: FileTotals, finished: list[Scan]) -> str:
    text = f"{totals.files} monitored at the end of the last finished scan"
    if finished:
        text += f" ({finished[-1].id})"
    if totals.without_sha256:
        text += f"; {totals.without_sha256} regular file(s) have no SHA-256 because the policy does not ask for it"
    return text


def _contents(facts: Facts) -> str:
    masked = """
                              The password in the database URL is replaced by
                              ***, so its SHA-256 is not the config_digest.
""".rstrip()
    unmasked = """
                              Its SHA-256 is the config_digest of the scans
                              that used it (07-scans.csv).
""".rstrip()
    return f"""\
CONTENTS
  02-evidence-index.csv       requirement, testing procedure -> file, sha256
  04-policy/configuration.json  the effective configuration at export.{masked if facts.masked else unmasked}
  04-policy/audit-rules.txt   the audit rules for this configuration
  04-policy/schedule.csv      when each job runs. Cron expressions are in the
                              host's time zone. Both scan and full compare all
                              monitored files and read every byte of every
                              file whose content the policy compares. Only
                              scan skips files under reread = "ctime"
  04-policy/changes.csv       every setting that changed between two scans of
                              the period, and its effect on coverage (weaker,
                              stronger, other). config_before and config_after
                              are the config_digest of the two scans in
                              07-scans.csv
  05-critical-files.csv       what is monitored, and why it is critical
  06-monitored-files.csv      every monitored file at the last finished scan
  07-scans.csv                every scan since monitoring began
  07-ledger.txt               the chain of finished scans, tab-separated:
                              previous, summary, state digest, entry
  07-checkpoint.txt           only if the chain was pruned after the period: its
                              entries from there to the checkpoint
  08-continuity.csv           the time between each two finished comparisons,
                              from the end of one to the end of the next
  08-missed-runs.csv          runs of [schedule] that did not happen in the
                              period: when they were due, and why (down:
                              fimscan did not run; asleep: it was stopped, or
                              the machine was suspended; busy: an earlier run
                              was going on). One run made up for all of a row
  08-not-compared.csv         files that the last complete scan could not read.
                              last_read_utc: when the file was last read
                              (empty: never). changed_since: what differs
                              since then. The file's row in 06 shows its state
                              at that last reading
  09-changes.csv, .json       every change found in the period, and who made it
  12-control-failures.csv     when change detection or audit did not work in
                              the period: since when and until when (empty:
                              it still does not), why, and which process
                              caused it if the audit log names it. Failures
                              are looked for at scans and readings of the
                              audit log. What people did about them is not
                              recorded
  16-selftest.csv             every selftest of the period: a file that fimscan
                              had a process of its own make and remove, and
                              whether that was detected, attributed to that
                              process, alerted and acknowledged by receivers,
                              with the seconds since the change
  SHA256SUMS, SHA256SUMS.sig  digests of all other files, and their signature
                              (Ed25519)
  signer.pub.pem              the public key

NOT INCLUDED
  This version of fimscan does not produce 01-report.html and .pdf,
  03-hosts.csv, 10-alerts.csv, 11-dispositions.csv, 13-log-integrity.csv,
  14-time-sync.csv, 15-retention.csv, or the alert routes of 04-policy/. This
  bundle is therefore no evidence that alerts were delivered (11.5.2), except
  those of selftests, that exceptions were followed up (10.4), that the clock was
  synchronized (10.6), or what people did about control failures (10.7.3).
"""


def _pruned(data: BundleInput) -> str:
    """What was removed because it was old; empty if nothing was."""
    sealed = data.checkpoint
    if sealed is None:
        return ""
    seals = [scan for scan in (*data.scans, *data.later) if scan.checkpoint is not None]
    lines = "".join(f"  - {line}\n" for line in pruned_lines(seals))
    changes = sealed.before_ns.get(RetentionKind.FINDINGS, 0)
    begin = f"""\
  The chain begins after scan {sealed.scan}, with the entry
  {sealed.entry}
  The entry of the checkpoint has this number and entry in its summary
  ({CHECKPOINT if data.later else LEDGER}).
"""
    return f"""\
WHAT WAS PRUNED
{lines}\
  Pruning removes what is older than the configured age, and is recorded
  by a checkpoint in the chain. Decided changes found before
  {time_text(changes) if changes > 0 else "(none)"} may be missing from 09-changes.
{begin if sealed.scan else ""}"""


def _replay_command(data: BundleInput) -> str:
    sealed = data.checkpoint
    if sealed is None or not sealed.scan:
        return REPLAY_CHAIN
    return REPLAY_CHAIN.replace(GENESIS, sealed.entry)


def _how_to_check(data: BundleInput) -> str:
    return f"""\
HOW TO CHECK IT
  With fimscan:  fimscan verify --fingerprint FINGERPRINT FILE.zip
  This checks every byte of the ZIP file and performs all steps below.
  Without fimscan: unzip the file into an empty directory and run these
  commands there.

1. Check the signature:

{CHECK_SIGNATURE}

2. Check who signed. Compare this output with the fingerprint that you
   received out of band, that is, not in or with this bundle. Ignore the
   colons. "Signed by" above proves nothing: whoever can replace the key can
   also replace this text.

{SHOW_FINGERPRINT}

3. Check that no file was changed:

{CHECK_DIGESTS}

4. Check the chain of scans. Each entry is the SHA-256 of three lines: the
   previous entry, the scan's summary and the digest of the complete state.
   The command prints BROKEN for each entry that does not match, and then
   the head of the chain:

{_replay_command(data)}

   Compare the head with a copy stored off the host. The chain alone cannot
   show that its newest entries were removed. A stored head can.

5. Check the monitored files. The output must equal the state_digest of the
   last finished scan in 07-scans.csv:

{CHECK_STATE}
"""


def _how_to_read() -> str:
    return """\
HOW TO READ IT
  - Text is UTF-8, but file names on Linux are bytes and need not be. In CSV
    files, a control character or invalid byte is written \\xNN, another
    unprintable character \\uNNNN, and a backslash \\\\. Where this changed a
    name, the column ..._b64 next to it has the exact bytes in base64.
    09-changes.json has names unchanged. Only for a name that is not UTF-8 it
    uses \\xNN and ..._b64.
  - A CSV cell that a spreadsheet would treat as a formula starts with an
    apostrophe.
  - The bundle contains no file content and no command lines: both can hold
    card data and passwords.
  - An empty cell means unknown or never set, such as the login user of a
    daemon. It never means zero.
  - breach: what happened to verified content of a log (policy append-only in
    05-critical-files.csv): rewritten, truncated, replaced, lost or reordered.
    A log that only grew is not a change. A log that was rotated is not a
    change if all its verified content was found in another file. The summary
    in 07-scans.csv counts both (logs_grown, logs_rotated).
  - outcome is success for every change, because its result was seen in the
    file. Failed attempts change no file. They are in the audit log only.
  - verdict is one of:
      confirmed     exactly one process can have made the change, and audit
                    covered the path the whole time
      likely        one process stands out; reason says what is missing
      contested     several processes are possible; each has its own row
      unattributed  no process can be named; reason says why. The reason
                    no-event means that audit covered the path the whole time
                    and recorded no event
  - time_utc is the time of the audit event. The change happened between
    window_after_utc and window_before_utc.
"""


def _limits() -> str:
    return """\
WHAT IT DOES NOT PROVE
  - Root on the host can change what fimscan records, create a new chain and
    sign it. A changed chain is detected only by comparing it with a head
    that was stored off the host, a replaced key only by its fingerprint.
  - This bundle alone does not prove that the rows of 09-changes are those
    that fimscan recorded. The signature protects them only from the time of
    export. The chain in this bundle covers only their number: each scan's
    summary counts the changes of each kind and of each verdict, as of the end
    of the scan.
    The host's database binds the rows to the chain. Each scan's summary names
    the head of a journal, which holds the digest of every change, every
    verdict (also of one revised when audit records arrived late) and every
    acceptance. To check all of it, run this on the host, with a head from
    this bundle:  fimscan verify --db --head HEAD
  - Files that match no pattern in 05-critical-files.csv were not monitored.
  - A change that was undone between two comparisons leaves no trace here.
  - No tool on this host can show 11.6.1 (what the payer's browser receives),
    interviews, or whether all hosts in scope are monitored.
"""
