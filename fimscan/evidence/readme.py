"""``00-README.txt``: scope of the bundle, contents, how to check it without fimscan, and what it does not prove."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from importlib import resources

from msgspec import Struct

from fimscan.evidence.contents import Entry
from fimscan.evidence.continuity import NS_PER_HOUR, Stretch, StretchStatus, largest_hours
from fimscan.evidence.inputs import BundleInput
from fimscan.evidence.key_chain import FOLDER, Rotation
from fimscan.evidence.sample import SampleFacts
from fimscan.evidence.tables import FileTotals
from fimscan.evidence.unknowable import UNKNOWABLE
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
cat 07-ledger.txt 07-later.txt | {{
    while IFS="$(printf '\\t')" read -r previous summary state entry; do
        made=$(printf '%s\\n%s\\n%s\\n' "$previous" "$summary" "$state" | sha256sum | cut -c 1-64)
        [ "$previous" = "$last" ] && [ "$made" = "$entry" ] || echo "BROKEN at $entry"
        last=$entry
    done
    echo "chain head: $last"
}}"""
_PROGRAM = resources.files("fimscan.evidence").joinpath("replay.py").read_text("utf-8")
WRITE_REPLAY = "sed -n '/^#!/,$p' 00-README.txt > replay.py"
RUN_REPLAY = "python3 replay.py"
CHECK_STATE = "tail -n +2 06-monitored-files.csv | sed 's/.*,//' | xxd -r -p | sha256sum"


class Facts(Struct, frozen=True, kw_only=True):
    """Totals from the other files of the bundle.

    ``masked``: the configuration has a password replaced by ``***``. ``empty`` are the files without any row.
    """

    entries: Sequence[Entry]
    files: FileTotals
    changes: int
    stretches: list[Stretch]
    fingerprint: str
    masked: bool
    empty: frozenset[str] = frozenset()
    sampled: SampleFacts | None = None
    rotations: Sequence[Rotation] = ()


def readme(data: BundleInput, facts: Facts) -> str:
    """The README text: plain ASCII, except for what the input contains."""
    parts = (
        *(_scope(data, facts), _pruned(data), _contents(facts), _empty(facts)),
        *(_how_to_check(data), _how_to_read(), _limits(), _unknowable(), _program()),
    )
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
{_covered(data)}\
{_follows(data)}\
Data as of:     {time_text(data.as_of_ns)}, the newest record; written by fimscan {data.version}
Signed by:      {facts.fingerprint}
{_rotated(facts.rotations)}\

Monitoring:     {_began(data, facts.stretches)}
Comparisons:    {len(inside)} finished in the period, {len(complete)} {_since(data)}
Largest gap:    {_largest_gap(facts.stretches, data.max_gap_days)}
Chain of scans: {_chain(data, facts, finished)}
Database:       {_database(data.failed_checks)}
Files:          {_files(facts.files, finished)}
Not compared:   {_not_compared(data.unreadable)}
Audit:          {_audit(data)}
Changes:        {facts.changes} found in the period
{_sample(data, facts.sampled)}\
Decisions:      {len(data.decisions)} since the beginning of the period; see 11-dispositions.csv
Settings:       {_settings(data.reconfigurations)}

All times are UTC. When this was written is not in it: the same records give the
same bytes. A timestamp (SHA256SUMS.tsr) shows when it existed, if there is one.
The numbers above are observations. Whether a requirement is met is the
assessor's decision.
{_scan_problems(complete)}"""


def _covered(data: BundleInput) -> str:
    if data.covered_to_ns == data.end_ns:
        return ""
    return f"Covered:        only to {time_text(data.covered_to_ns)}: the period was not over\n"


def _follows(data: BundleInput) -> str:
    previous = data.previous
    if previous is None:
        return ""
    period = f"{time_text(previous.start_ns)} to {time_text(previous.covered_to_ns)}"
    return f"""\
Follows:        a bundle of {period}, up to scan {previous.last_scan}.
                The SHA-256 of its SHA256SUMS is
                {previous.sums}
"""


def _rotated(found: Sequence[Rotation]) -> str:
    return "".join(f"                (until {rotation.time}: {rotation.old})\n" for rotation in reversed(found))


def _began(data: BundleInput, stretches: Sequence[Stretch]) -> str:
    if data.began_ns is None:
        return "has not begun"
    words = [f"began {time_text(data.began_ns)}"]
    if (hours := _hours_of(stretches, StretchStatus.NOT_MONITORED)) is not None:
        words.append(f"nothing is known of the first {hours:.3f} hours of the period")
    if (hours := _hours_of(stretches, StretchStatus.PRUNED)) is not None:
        words.append(f"records of {hours:.3f} hours of the period were pruned")
    return "; ".join(words) if len(words) > 1 else f"{words[0]}, before the period"


def _hours_of(stretches: Sequence[Stretch], status: StretchStatus) -> float | None:
    found = [stretch.hours or 0 for stretch in stretches if stretch.status is status]
    return sum(found) if found else None


def _sample(data: BundleInput, sampled: SampleFacts | None) -> str:
    if sampled is None or data.sample is None:
        return ""
    return (
        f"Sample:         {sampled.size} of {sampled.population} changes, drawn with the seed {data.sample.seed};"
        f" {sampled.with_exception} with an exception; see 17-sample.csv\n"
    )


def _audit(data: BundleInput) -> str:
    if not data.audit_gaps:
        return "covered the monitored paths, as far as it was looked at"
    paths = {path for path, _ in data.audit_gaps}
    worst = max(sum(gap.end_ns - gap.start_ns for at, gap in data.audit_gaps if at == path) for path in paths)
    return (
        f"{len(data.audit_gaps)} time(s) in which events were missed, at the worst path {worst / NS_PER_HOUR:.3f}"
        " hours together; see 08-audit-coverage.csv"
    )


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
    longer = sum(stretch.status is StretchStatus.GAP for stretch in stretches)
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
    return f"intact; its head is {[*data.scans, *data.later][-1].entry or finished[-1].entry}"


def _files(totals: FileTotals, finished: list[Scan]) -> str:
    text = f"{totals.files} monitored at the end of the last finished scan"
    if finished:
        text += f" ({finished[-1].id})"
    if totals.without_sha256:
        text += f"; {totals.without_sha256} regular file(s) have no SHA-256 because the policy does not ask for it"
    return text


_NAME_WIDTH, _WIDTH = 28, 78
_ROTATIONS = (
    "the rotations that led to this key: each is a statement that the old and the new key have signed. So whoever knows"
    " an earlier fingerprint can check this bundle: openssl pkeyutl -verify -rawin -pubin -inkey 01-old.pub.pem -in"
    " 01-statement.txt -sigfile 01-old.sig, and the same with new"
)


def _contents(facts: Facts) -> str:
    masked = ". The password in the database URL is replaced by ***, so its SHA-256 is not the config_digest"
    unmasked = ". Its SHA-256 is the config_digest of the scans that used it (07-scans.csv)"
    lines = [_listed("02-evidence-index.csv", "requirement, testing procedure -> file, sha256")]
    for entry in facts.entries:
        more = (masked if facts.masked else unmasked) if entry.name == "04-policy/configuration.json" else ""
        lines.append(_listed(entry.name, entry.text + more))
    lines.append(_listed("SHA256SUMS, SHA256SUMS.sig", "digests of all other files, and their signature (Ed25519)"))
    lines.append(_listed("signer.pub.pem", "the public key"))
    if facts.rotations:
        lines.append(_listed(FOLDER, _ROTATIONS))
    return f"""\
CONTENTS
{"".join(lines)}
NOT INCLUDED
  Whether a person read an alert is not recorded.
"""


def _listed(name: str, text: str) -> str:
    """A name, and beside it a text of several lines."""
    indent = " " * (_NAME_WIDTH + 2)
    lines = textwrap.wrap(text, _WIDTH - len(indent), break_long_words=False, break_on_hyphens=False)
    if len(name) >= _NAME_WIDTH:
        return f"  {name}\n" + "".join(f"{indent}{line}\n" for line in lines)
    first, *rest = lines
    return f"  {name:<{_NAME_WIDTH}}{first}\n" + "".join(f"{indent}{line}\n" for line in rest)


def _empty(facts: Facts) -> str:
    """Why files have no row; empty if all have some."""
    found = [entry for entry in facts.entries if entry.name in facts.empty]
    return "EMPTY FILES\n" + "".join(_listed(entry.name, _why_empty(entry)) for entry in found) if found else ""


def _why_empty(entry: Entry) -> str:
    return entry.empty or "nothing is recorded"


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
  (07-ledger.txt or 07-later.txt).
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

6. Check that no record was altered: changes with their verdicts, decisions,
   alerts, control failures with the notes on them, selftests, missed runs,
   looks at the clock. Each
   journal entry (07-journal.txt) is the SHA-256 of three lines: the previous
   entry, its summary, and the SHA-256 of its items. An item is the kind of
   record (1 byte), its number (8 bytes, big-endian) and the digest of its
   row. Each journal entry names the scan before it, and each scan (summary in
   07-ledger.txt) the journal entry before it: so the head of the chain covers
   both. The digest of a row is the SHA-256 of its values (07-rows.jsonl): a
   number with a space behind it; a text or bytes as length, colon, bytes and
   comma; an unknown value as "-,". The newest digest of a row counts. Of
   messages (kind 28), an item is written with the row, and once more when it
   is replaced: those that are there an odd number of times count.
   The program at the end of this file does that, and compares 09 to 12 with
   the rows. It needs Python's standard library only:

{WRITE_REPLAY}
{RUN_REPLAY}
"""  # noqa: S608  # no SQL


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
  - Entries of the journal that no scan has followed yet, and its open entry,
    are not covered by the head of the ledger. The next scan covers them.
  - Records that an earlier version of fimscan made were taken in when it was
    upgraded, as they were then. The program counts these digests.
  - Of a change, the journal in this bundle binds kind, path, window, verdict
    and actors. The hashes before and after are bound in the host's database:
    run there, with a head from this bundle:  fimscan verify --db --head HEAD
  - Files that match no pattern in 05-critical-files.csv were not monitored.
  - A change that was undone between two comparisons leaves no trace here.
  - No tool on this host can show 11.6.1 (what the payer's browser receives),
    interviews, or whether all hosts in scope are monitored.
"""


def _unknowable() -> str:
    """What an alteration of the database can change without any chain showing it."""
    lines = "".join(_listed(name, why) for name, why in UNKNOWABLE.items())
    return f"""\
WHAT NO CHAIN CAN SHOW
  The database is checked before each export: every table and column is bound
  by the chains, except these. No verdict depends on them.
{lines}"""


def _program() -> str:
    """The program that replays everything: the last part, so that sed can cut it out."""
    return _PROGRAM
