"""``fimscan export pci-dss`` and ``fimscan verify``."""

from __future__ import annotations

import json
import os
import sys
from datetime import UTC, datetime, timedelta

import click

from fimscan import report
from fimscan.cli.context import Settings
from fimscan.errors import UsageError, VerificationError
from fimscan.evidence.bundle import build_bundle
from fimscan.evidence.collect import collected
from fimscan.evidence.signing import load_or_create_key
from fimscan.evidence.verify import verify_bundle
from fimscan.pipeline import health


@click.group()
def export() -> None:
    """Write evidence that an assessor can check without fimscan."""


@export.command("pci-dss")
@click.option("--from", "start", required=True, metavar="D", help="First day of the period (2026-01-31, UTC).")
@click.option("--to", "end", required=True, metavar="D", help="Last day of the period, included.")
@click.option("--out", required=True, metavar="FILE.zip", help="The bundle; replaced when it is there.")
@click.pass_obj
def pci_dss(settings: Settings, *, start: str, end: str, out: str) -> None:
    """Write a signed bundle for PCI DSS 11.5.2 and 10.2.2: settings, files, scans, continuity, changes."""
    config = settings.config()
    start_ns = _nanoseconds(start, "--from")
    end_ns = _nanoseconds(end, "--to", whole_day=True)
    if start_ns >= end_ns:
        raise UsageError(f"--from {start} is later than --to {end}; exchange them")
    rules = health.rules_for(config)
    with settings.database() as database, collected(database, config, start_ns, end_ns, audit_rules=rules) as data:
        key = load_or_create_key(config.evidence.key)
        build_bundle(data, key, out)
    click.echo(f"Wrote {out} ({report.size_text(os.path.getsize(out))}), signed by {key.fingerprint}")
    click.echo("Give the assessor this fingerprint by another way than the bundle. To check: fimscan verify " + out)


@click.command()
@click.argument("bundle", metavar="FILE.zip")
@click.option("--fingerprint", metavar="F", help="The signer's key must be this one (as 'export' printed it).")
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True)
def verify(*, bundle: str, fingerprint: str | None, form: str) -> int:
    """Check a bundle: every byte of the file, the signature, the digests, the chain of scans."""
    found = verify_bundle(bundle, fingerprint=fingerprint)
    if form == "json":
        checks = [{"check": c.name, "ok": c.ok, "detail": c.detail} for c in found.checks]
        document = {
            "schema": "fimscan.verify/1",
            "ok": found.ok,
            "fingerprint": found.fingerprint or None,
            "checks": checks,
        }
        json.dump(document, sys.stdout, indent=2)
        sys.stdout.write("\n")
    else:
        for check in found.checks:
            click.echo(f"{'ok  ' if check.ok else 'FAIL'}  {check.name}: {check.detail}")
        if found.fingerprint:
            click.echo(f"Signed by {found.fingerprint}")
        if found.ok and fingerprint is None:
            click.echo("Compare this fingerprint with the one you were given: anybody can sign with their own key.")
    return 0 if found.ok else VerificationError.exit_code


def _nanoseconds(text: str, option: str, *, whole_day: bool = False) -> int:
    """A day or an RFC 3339 time, UTC unless it says otherwise."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(f"{option}: {text!r} is no date; write 2026-01-31, or 2026-01-31T12:00:00Z") from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    if whole_day and len(text) <= len("2026-01-31"):
        moment += timedelta(days=1)
    return int(moment.timestamp()) * 10**9
