"""Build the evidence bundle of one host and one period, and put it in place atomically.

Every member is staged first: the report, the index and the README come first in the ZIP, but summarize the others.
"""

from __future__ import annotations

import csv
import json
import os
import secrets
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack

from msgspec.structs import replace

from fimscan.errors import OutputError, UsageError
from fimscan.evidence.archive import Output, Staged, write_archive
from fimscan.evidence.assessment.document import report_of
from fimscan.evidence.assessment.html import html_report
from fimscan.evidence.assessment.mapping import FRAMEWORKS
from fimscan.evidence.assessment.observers import observe
from fimscan.evidence.assessment.oscal import oscal_results
from fimscan.evidence.assessment.pdf import pdf_report
from fimscan.evidence.assessment.scope import Scope, scope_of
from fimscan.evidence.chains import write_journal, write_ledger, write_rows
from fimscan.evidence.changes import write_changes
from fimscan.evidence.contents import CONTENTS, COPIES, SAMPLE
from fimscan.evidence.continuity import NS_PER_HOUR, continuity
from fimscan.evidence.controls import (
    write_audit_coverage,
    write_audit_events,
    write_control_failures,
    write_control_notes,
    write_log_integrity,
    write_selftests,
    write_time_sync,
)
from fimscan.evidence.copies import ecs_lines, ocsf_lines
from fimscan.evidence.index import write_index
from fimscan.evidence.inputs import BundleInput
from fimscan.evidence.key_chain import Link, members_of, rotations
from fimscan.evidence.layout import (
    CHANGES,
    CHANGES_ECS,
    CHANGES_JSON,
    CHANGES_OCSF,
    CONTINUITY,
    FILES,
    INDEX,
    JOURNAL,
    LATER,
    LEDGER,
    MANIFEST,
    PUBLIC_KEY,
    README,
    REPORT,
    REPORT_PDF,
    RESULTS,
    ROWS,
    SCANS,
    SIGNATURE,
    SUMS,
    sums_text,
)
from fimscan.evidence.manifest import Manifest, dump_manifest
from fimscan.evidence.readme import Facts, readme
from fimscan.evidence.records import write_hosts, write_retention
from fimscan.evidence.response import write_alert_routes, write_alerts, write_dispositions
from fimscan.evidence.sample import Sampler
from fimscan.evidence.tables import (
    encode,
    write_continuity,
    write_critical_files,
    write_missed_runs,
    write_monitored_files,
    write_not_compared,
    write_reconfigurations,
    write_scans,
    write_schedule,
)
from fimscan.model import ScanStatus
from fimscan.passwords import without_password
from fimscan.report.display import show, time_text
from fimscan.signing import Signer

_NS_PER_DAY = 86400 * 10**9
_LARGEST_CELL = 1 << 30  # a message can be about many thousand changes, which 10-alerts.csv lists in one cell


def build_bundle(
    data: BundleInput, key: Signer, path: str | bytes | os.PathLike[str], *, links: Sequence[Link] = ()
) -> None:
    """Write the signed bundle to ``path``, completely or not at all. An existing bundle is replaced.

    The same input and key give the same bytes. ``links`` are the rotations that led to the key.

    Raises:
        OutputError: it cannot be written there. No partial file is left behind.
        UsageError: the period is empty or has not begun.
    """
    covered_to = data.covered_to_ns
    if covered_to <= data.start_ns:
        raise UsageError(
            f"the period from {time_text(data.start_ns)} to {time_text(data.end_ns)} is empty or has not begun: it has"
            f" to begin before it ends, and before the newest record ({time_text(data.as_of_ns)})"
        )
    named = os.fsencode(path)
    target = os.path.realpath(named)
    partial = b"%b.%b.new" % (target, secrets.token_hex(8).encode())
    try:
        _check_replaceable(named, target)
        descriptor = os.open(partial, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            with open(descriptor, "wb") as out, ExitStack() as stack:
                _write(data, covered_to, (key, links), _Members(stack, os.path.dirname(target)), out)
                out.flush()
                os.fsync(descriptor)
            os.replace(partial, target)
        except BaseException:
            os.unlink(partial)
            raise
    except OSError as error:
        raise OutputError(f"cannot write the bundle {show(target)}: {error.strerror or error}") from error


def _check_replaceable(named: bytes, target: bytes) -> None:
    """Refuse to replace anything except a regular file: as root, the rename would turn /dev/null into a bundle.

    Both the resolved target and the name as given are checked. Where ``/dev/stdout`` is a pipe or a deleted file, the
    text of its link (``pipe:[123]``) resolves to nothing, or to a different file.
    """
    if named == b"-":
        raise OutputError("cannot write the bundle to standard output; name a file (./- for one that is called -)")
    meant, there = _status(named), _status(target)
    if any(status is not None and not stat.S_ISREG(status.st_mode) for status in (meant, there)) or (
        meant is not None and (there is None or not os.path.samestat(meant, there))
    ):
        raise OutputError(
            f"cannot write the bundle {show(named)}: it exists and is not a regular file; choose another name"
        )


def _status(path: bytes) -> os.stat_result | None:
    try:
        return os.stat(path)
    except FileNotFoundError:
        return None


class _Members(dict[str, Staged]):
    """The members staged so far. They are staged in the bundle's directory: /tmp may be too small."""

    def __init__(self, stack: ExitStack, directory: bytes) -> None:
        super().__init__()
        self._stack, self._directory = stack, os.fsdecode(directory)

    def stage(self, name: str) -> Staged:
        """Add a new, empty member."""
        self[name] = self._stack.enter_context(Staged(self._directory))
        return self[name]


def _write(
    data: BundleInput, covered_to: int, by: tuple[Signer, Sequence[Link]], members: _Members, out: Output
) -> None:
    key, links = by
    facts = replace(_stage_evidence(data, covered_to, key.fingerprint, members), rotations=rotations(links))
    for name, content in members_of(links).items():
        members.stage(name).write(content)
    _stage_report(scope_of(data, covered_to, facts.files), key.fingerprint, members)
    members.stage(MANIFEST).write(dump_manifest(_manifest(data, covered_to)))
    write_index(members.stage(INDEX), data.host, facts.entries, members)
    members.stage(README).write(encode(readme(data, facts)))
    members.stage(PUBLIC_KEY).write(key.public_pem)
    sums = sums_text({name: staged.sha256 for name, staged in members.items()})
    members.stage(SUMS).write(sums)
    members.stage(SIGNATURE).write(key.sign(sums))
    write_archive(out, members)


def _manifest(data: BundleInput, covered_to: int) -> Manifest:
    finished = [scan for scan in data.scans if scan.status is ScanStatus.FINISHED]
    entries = [scan.entry for scan in (*finished, *data.later)]
    return Manifest(
        host=data.host,
        host_id=data.host_facts.id or "",
        version=data.version,
        start_ns=data.start_ns,
        end_ns=data.end_ns,
        covered_to_ns=covered_to,
        as_of_ns=data.as_of_ns,
        last_scan=finished[-1].id if finished else 0,
        head=entries[-1] if entries else "",
        previous=data.previous,
    )


def _stage_evidence(data: BundleInput, covered_to: int, fingerprint: str, members: _Members) -> Facts:
    """Stage all that :data:`CONTENTS` lists, and count the rows of each table."""
    max_gap_ns = round(data.max_gap_days * _NS_PER_DAY)
    sealed = data.checkpoint
    since = sealed.began_ns if sealed is not None and sealed.scan else None
    stretches = continuity(data.scans, data.start_ns, covered_to, max_gap_ns, pruned_since_ns=since)
    configuration = _without_passwords(data.config_json)
    files = write_monitored_files(members.stage(FILES), data.host, data.files)
    period = data.start_ns, data.end_ns
    sampler = None if data.sample is None else Sampler(data.sample, data.alerts_since_ns)
    if sampler is not None:
        data = replace(data, changes=sampler.changes(data.changes), alerts=sampler.alerts(data.alerts))
    changes = write_changes(members.stage(CHANGES), members.stage(CHANGES_JSON), data.changes, data.host, period)
    rows = {FILES: files.files, CHANGES: changes}
    write_continuity(members.stage(CONTINUITY), data.host, stretches, max_gap_ns / NS_PER_HOUR)
    if data.copies:
        _stage_copies(members)
    texts = {
        "04-policy/configuration.json": configuration,
        "04-policy/audit-rules.txt": data.audit_rules,
    }
    for name, text in texts.items():
        members.stage(name).write(encode(text))
    for name, write in _writers(data).items():
        rows[name] = write(members.stage(name), data.host)
    sampled = None if sampler is None else sampler.write(members.stage(SAMPLE.name), data.host, data.scans)
    if sampled is not None:
        rows[SAMPLE.name] = sampled.size
    return Facts(
        entries=(*CONTENTS, *(COPIES if data.copies else ()), *((SAMPLE,) if sampled is not None else ())),
        sampled=sampled,
        files=files,
        changes=changes,
        stretches=stretches,
        fingerprint=fingerprint,
        masked=configuration != data.config_json,
        empty=frozenset(name for name, count in rows.items() if not count),
    )


def _stage_copies(members: _Members) -> None:
    for name, lines in ((CHANGES_ECS, ecs_lines), (CHANGES_OCSF, ocsf_lines)):
        out = members.stage(name)
        for line in lines(members[CHANGES_JSON].lines()):
            out.write(line)


def _stage_report(scope: Scope, fingerprint: str, members: _Members) -> None:
    """Stage the report. It is made from the tables that are staged: it says what they say."""
    observations = observe(lambda name: _rows(members[name]), scope)
    report = report_of(scope, observations, FRAMEWORKS, fingerprint)
    page = members.stage(REPORT)
    for text in html_report(report):
        page.write(encode(text))
    members.stage(REPORT_PDF).write(pdf_report("".join(page.lines())))
    digests = {name: staged.sha256 for name, staged in members.items()}
    members.stage(RESULTS).write(oscal_results(scope, observations, report, digests))


def _rows(table: Staged) -> Iterator[tuple[int, dict[str, str]]]:
    """The rows of a CSV file, numbered as a spreadsheet does. No cell has a line break, so each is one line."""
    csv.field_size_limit(_LARGEST_CELL)
    rows = csv.reader(table.lines(), strict=True)
    header = next(rows)
    for number, row in enumerate(rows, 2):
        yield number, dict(zip(header, row, strict=True))


def _writers(data: BundleInput) -> Mapping[str, Callable[[Staged, str], int]]:
    """What writes each simple file for a host, and returns the number of its rows."""
    return {
        "03-hosts.csv": lambda out, host: write_hosts(out, host, data.host_facts, data.addresses, data.began_ns),
        "04-policy/schedule.csv": lambda out, host: write_schedule(out, host, data.schedule),
        "04-policy/changes.csv": lambda out, host: write_reconfigurations(out, host, data.reconfigurations),
        "04-policy/alert-routes.csv": lambda out, host: write_alert_routes(out, host, data.routes),
        "05-critical-files.csv": lambda out, host: write_critical_files(out, host, data.critical),
        SCANS: lambda out, host: write_scans(out, host, data.scans),
        LEDGER: lambda out, _: write_ledger(out, data.scans),
        LATER: lambda out, _: write_ledger(out, data.later),
        JOURNAL: lambda out, _: write_journal(out, data.journal),
        ROWS: lambda out, _: write_rows(out, data.rows, data.journal_period),
        "08-missed-runs.csv": lambda out, host: write_missed_runs(out, host, data.missed_runs),
        "08-not-compared.csv": lambda out, host: write_not_compared(out, host, data.unreadable),
        "08-audit-coverage.csv": lambda out, host: write_audit_coverage(out, host, data.audit_gaps),
        "10-alerts.csv": lambda out, host: write_alerts(out, host, data.alerts),
        "11-dispositions.csv": lambda out, host: write_dispositions(out, host, data.decisions),
        "12-control-failures.csv": lambda out, host: write_control_failures(out, host, data.failures),
        "12-control-notes.csv": lambda out, host: write_control_notes(out, host, data.failures),
        "13-log-integrity.csv": lambda out, host: write_log_integrity(out, host, data.logs),
        "13-audit-events.csv": lambda out, host: write_audit_events(out, host, data.notices),
        "14-time-sync.csv": lambda out, host: write_time_sync(out, host, data.clocks),
        "15-retention.csv": lambda out, host: write_retention(out, host, data.retention),
        "16-selftest.csv": lambda out, host: write_selftests(out, host, data.selftests),
    }


def _without_passwords(config_json: str) -> str:
    config = json.loads(config_json)
    url = config.get("database", {}).get("url", "")
    masked = without_password(url)
    if masked == url:
        return config_json
    config["database"]["url"] = masked
    return json.dumps(config, sort_keys=True, indent=2)
