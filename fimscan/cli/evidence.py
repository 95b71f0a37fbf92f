"""``fimscan export pci-dss``, and ``fimscan verify`` for bundles and the database."""

from __future__ import annotations

import os
import shlex
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import click

from fimscan.cli.context import Settings
from fimscan.cli.hash_log import hash_log
from fimscan.errors import UsageError, VerificationError
from fimscan.evidence.bundle import build_bundle
from fimscan.evidence.collect import collected
from fimscan.evidence.database import verify_database
from fimscan.evidence.signing import load_or_create_key
from fimscan.evidence.verify import VerifyReport, verify_bundle
from fimscan.pipeline import config_changes
from fimscan.pipeline.audit.rules import rules_for
from fimscan.report.display import show, size_text
from fimscan.report.documents.checks import verify_document, verify_result
from fimscan.report.json import write_document


@click.group()
def export() -> None:
    """Write evidence that an assessor can check without fimscan, or a log of file hashes.

    \b
    Example: fimscan export pci-dss --from 2026-01-01 --to 2026-03-31 --out q1.zip
    """  # noqa: D301  # click: do not wrap


export.add_command(hash_log)


@export.command("pci-dss")
@click.option("--from", "start", required=True, metavar="D", help="First day of the period (2026-01-31, UTC).")
@click.option("--to", "end", required=True, metavar="D", help="Last day of the period, inclusive (UTC).")
@click.option("--out", required=True, metavar="FILE.zip", help="File to write; an existing one is replaced.")
@click.option("--despite", is_flag=True, help="Export a database that does not verify; the bundle says what failed.")
@click.option("--copies", is_flag=True, help="Add the changes as ECS and OCSF, for a SIEM. They make it much larger.")
@click.pass_obj
def pci_dss(  # one argument for each option
    settings: Settings, *, start: str, end: str, out: str, despite: bool, copies: bool
) -> None:
    """Write a signed bundle for PCI DSS 11.5.2 and related requirements: a report to read, and its evidence.

    The database is checked first, as 'fimscan verify --db' does: what was altered in it is not signed.

    \b
    Example: fimscan export pci-dss --from 2026-01-01 --to 2026-03-31 --out q1.zip
    """  # noqa: D301  # click: do not wrap
    config = settings.config()
    start_ns = _nanoseconds(start, "--from")
    end_ns = _nanoseconds(end, "--to", whole_day=True)
    if start_ns >= end_ns:
        raise UsageError(f"--from {start} is later than --to {end}; swap them")
    rules = rules_for(config)
    with (
        settings.database() as database,
        collected(
            database, config, start_ns, end_ns, audit_rules=rules, reconfigured=config_changes.reconfigurations
        ) as data,
    ):
        checks = verify_database(database).checks
        failed = [f"{one.name}: {line}" for one in checks if not one.ok for line in one.detail.split("\n")]
        if failed and not despite:
            raise VerificationError(
                f"nothing is exported, because the database does not verify: {failed[0]} (see 'fimscan verify --db');"
                " restore a backup that does, or add --despite: the bundle then says so"
            )
        key = load_or_create_key(config.evidence.key)
        build_bundle(replace(data, failed_checks=failed, copies=copies), key, out)
    click.echo(f"Wrote {out} ({size_text(os.path.getsize(out))}), signed by {key.fingerprint}")
    check = f"fimscan verify {shlex.quote(out)}"  # needs no configuration: the assessor can run it
    click.echo(f"Send the assessor this fingerprint out of band, not with the bundle. To check it: {check}")


@click.command()
@click.argument("bundle", metavar="[FILE.zip]", required=False)
@click.option("--fingerprint", metavar="F", help="Require this signing key (as 'fimscan export' printed it).")
@click.option("--db", "of_database", is_flag=True, help="Check the database instead of a bundle.")
@click.option("--head", metavar="HEX", help="With --db: require this head, which you stored earlier.")
@click.option("--scan", type=int, metavar="N", help="With --db: recompute the state of this scan, not of the last one.")
@click.option("--all", "every_scan", is_flag=True, help="With --db: recompute the state of every scan.")
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True)
@click.pass_obj
def verify(  # noqa: PLR0913  # one argument for each option
    settings: Settings,
    *,
    bundle: str | None,
    fingerprint: str | None,
    of_database: bool,
    head: str | None,
    scan: int | None,
    every_scan: bool,
    form: str,
) -> int:
    """Check every byte of a bundle, or the database with --db.

    For a bundle, it checks the ZIP file, the signature, the digests and the chain of scans. For the database, it checks
    both chains and every row that they cover. Each problem is one line.

    Whoever can write the database can rewrite all of it. To detect that, store the head that 'fimscan status' prints
    off-host, and give it with --head later.

    Example: fimscan verify q1.zip
    """
    if (bundle is None) != of_database:
        raise UsageError("give either a bundle to check, or --db to check the database")
    if not of_database:
        if head is not None or scan is not None or every_scan:
            raise UsageError("--head, --scan and --all need --db")
        found = verify_bundle(bundle or "", fingerprint=fingerprint)
    elif fingerprint is not None or (scan is not None and every_scan):
        raise UsageError("with --db, give either --scan or --all, and no --fingerprint")
    else:
        with settings.database() as database:
            found = verify_database(database, scan=scan, every_scan=every_scan, head=head)
    print_verification(found, form)
    return 0 if found.ok else VerificationError.exit_code


def print_verification(found: VerifyReport, form: str) -> None:
    """Print the checks of a bundle or of the database, and the result in words."""
    unchecked = found.is_signer_checked is False
    if form == "json":
        document = verify_document(
            found.checks, fingerprint=found.fingerprint, is_signer_checked=found.is_signer_checked
        )
        write_document(document, sys.stdout)
        return
    for check in found.checks:
        mark = "FAIL" if not check.ok else "?   " if unchecked and check.name == "signer" else "ok  "
        for line in check.detail.split("\n"):
            click.echo(f"{mark}  {check.name}: {show(os.fsencode(line))}")
    if found.fingerprint:
        click.echo(f"Signed by {found.fingerprint}")
    if found.is_signer_checked is not None:
        result = verify_result(found.checks, is_signer_checked=found.is_signer_checked)
        more = ": anybody can sign with a key of their own" if found.ok and unchecked else ""
        click.echo(f"{result[0].upper()}{result[1:]}{more}.")


def _nanoseconds(text: str, option: str, *, whole_day: bool = False) -> int:
    """Parse a day or an RFC 3339 time (UTC unless it has an offset) to nanoseconds since the epoch."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(f"{option}: {text!r} is not a date; write 2026-01-31, or 2026-01-31T12:00:00Z") from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    if whole_day and len(text) <= len("2026-01-31"):
        moment += timedelta(days=1)
    return int(moment.timestamp()) * 10**9
