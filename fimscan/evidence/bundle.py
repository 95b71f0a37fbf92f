"""Build the evidence bundle of one host and one period, and put it in place atomically.

Every member is staged first: the index and the README come first in the ZIP, but summarize the other members.
"""

from __future__ import annotations

import json
import os
import secrets
import stat
from contextlib import ExitStack

from fimscan.errors import OutputError, UsageError
from fimscan.evidence.archive import Output, Staged, write_archive
from fimscan.evidence.changes import write_changes
from fimscan.evidence.continuity import NS_PER_HOUR, continuity
from fimscan.evidence.index import write_index
from fimscan.evidence.inputs import BundleInput
from fimscan.evidence.layout import (
    CHECKPOINT,
    FILES,
    INDEX,
    LEDGER,
    PUBLIC_KEY,
    README,
    SCANS,
    SIGNATURE,
    SUMS,
    sums_text,
)
from fimscan.evidence.readme import Facts, readme
from fimscan.evidence.signing import SigningKey
from fimscan.evidence.tables import (
    encode,
    ledger_text,
    write_continuity,
    write_control_failures,
    write_critical_files,
    write_missed_runs,
    write_monitored_files,
    write_not_compared,
    write_reconfigurations,
    write_scans,
    write_schedule,
    write_selftests,
)
from fimscan.passwords import without_password
from fimscan.report.display import show, time_text
from fimscan.store.ledger import ledger_lines

_NS_PER_DAY = 86400 * 10**9


def build_bundle(data: BundleInput, key: SigningKey, path: str | bytes | os.PathLike[str]) -> None:
    """Write the signed bundle to ``path``, completely or not at all. An existing bundle is replaced.

    The same input and key give the same bytes.

    Raises:
        OutputError: it cannot be written there. No partial file is left behind.
        UsageError: the period is empty or has not begun.
    """
    covered_to = min(data.end_ns, data.generated_ns)
    if covered_to <= data.start_ns:
        raise UsageError(
            f"the period from {time_text(data.start_ns)} to {time_text(data.end_ns)} is empty or has not begun: it has"
            " to begin before it ends, and before now"
        )
    named = os.fsencode(path)
    target = os.path.realpath(named)
    partial = b"%b.%b.new" % (target, secrets.token_hex(8).encode())
    try:
        _check_replaceable(named, target)
        descriptor = os.open(partial, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            with open(descriptor, "wb") as out, ExitStack() as stack:
                _write(data, covered_to, key, _Members(stack, os.path.dirname(target)), out)
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


def _write(data: BundleInput, covered_to: int, key: SigningKey, members: _Members, out: Output) -> None:
    facts = _stage_evidence(data, covered_to, key.fingerprint, members)
    append_only = sum(pattern.policy == "append-only" for pattern in data.critical)
    write_index(members.stage(INDEX), data.host, members, append_only)
    members.stage(README).write(encode(readme(data, facts)))
    members.stage(PUBLIC_KEY).write(key.public_pem)
    sums = sums_text({name: staged.sha256 for name, staged in members.items()})
    members.stage(SUMS).write(sums)
    members.stage(SIGNATURE).write(key.sign(sums))
    write_archive(out, members)


def _stage_evidence(data: BundleInput, covered_to: int, fingerprint: str, members: _Members) -> Facts:
    host, max_gap_ns = data.host, round(data.max_gap_days * _NS_PER_DAY)
    configuration = _without_passwords(data.config_json)
    members.stage("04-policy/configuration.json").write(encode(configuration))
    members.stage("04-policy/audit-rules.txt").write(encode(data.audit_rules))
    write_schedule(members.stage("04-policy/schedule.csv"), host, data.schedule)
    write_reconfigurations(members.stage("04-policy/changes.csv"), host, data.reconfigurations)
    write_critical_files(members.stage("05-critical-files.csv"), host, data.critical)
    files = write_monitored_files(members.stage(FILES), host, data.files)
    write_scans(members.stage(SCANS), host, data.scans)
    members.stage(LEDGER).write(ledger_text(ledger_lines(data.scans)))
    if data.later:
        members.stage(CHECKPOINT).write(ledger_text(ledger_lines(data.later)))
    stretches = continuity(data.scans, data.start_ns, covered_to, max_gap_ns)
    write_continuity(members.stage("08-continuity.csv"), host, stretches, max_gap_ns / NS_PER_HOUR)
    write_not_compared(members.stage("08-not-compared.csv"), host, data.unreadable)
    changes = write_changes(
        members.stage("09-changes.csv"),
        members.stage("09-changes.json"),
        data.findings,
        host,
        (data.start_ns, data.end_ns),
    )
    write_missed_runs(members.stage("08-missed-runs.csv"), host, data.missed_runs)
    write_control_failures(members.stage("12-control-failures.csv"), host, data.failures)
    write_selftests(members.stage("16-selftest.csv"), host, data.selftests)
    return Facts(
        files=files,
        changes=changes,
        stretches=stretches,
        fingerprint=fingerprint,
        masked=configuration != data.config_json,
    )


def _without_passwords(config_json: str) -> str:
    config = json.loads(config_json)
    url = config.get("database", {}).get("url", "")
    masked = without_password(url)
    if masked == url:
        return config_json
    config["database"]["url"] = masked
    return json.dumps(config, sort_keys=True, indent=2)
