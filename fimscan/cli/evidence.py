"""``fimscan export pci-dss``, and ``fimscan verify`` for bundles and the database."""

from __future__ import annotations

import os
import secrets
import shlex
import sys
from datetime import UTC, datetime, timedelta

import click
from msgspec.structs import replace

from fimscan.cli.context import Settings, note
from fimscan.cli.hash_log import hash_log
from fimscan.config import Config
from fimscan.errors import InputError, UsageError, VerificationError
from fimscan.evidence.attach import attach_timestamp
from fimscan.evidence.bundle import build_bundle
from fimscan.evidence.collect import collected
from fimscan.evidence.database import failed_checks, verify_database
from fimscan.evidence.inputs import BundleInput, Sample
from fimscan.evidence.key_chain import MOST_BYTES as MOST_CHAIN_BYTES
from fimscan.evidence.key_chain import load_chain, parse_links
from fimscan.evidence.timestamp import MOST_BYTES
from fimscan.evidence.verify import Known, Opened, VerifyReport, opened_bundle, verify_bundle
from fimscan.gc_pause import gc_paused
from fimscan.model import SignerState
from fimscan.pipeline import config_changes
from fimscan.pipeline.audit.rules import rules_for
from fimscan.report.display import show, size_text, time_text
from fimscan.report.documents.checks import verify_document, verify_result
from fimscan.report.json import write_document
from fimscan.signing import load_or_create_key
from fimscan.store.database import Database
from fimscan.store.session import Session


@click.group()
def export() -> None:
    """Write evidence that an assessor can check without fimscan, or a log of file hashes.

    \b
    Example: fimscan export pci-dss --from 2026-01-01 --to 2026-03-31 --out q1.zip
    """  # noqa: D301  # click: do not wrap


export.add_command(hash_log)


@export.command("pci-dss")
@click.option("--from", "start", metavar="D", help="First day of the period (2026-01-31, UTC).")
@click.option(
    "--since-bundle", metavar="FILE.zip", help="Instead of --from: begin where this bundle ends, and name its digest."
)
@click.option("--to", "end", required=True, metavar="D", help="Last day of the period, inclusive (UTC).")
@click.option("--out", required=True, metavar="FILE.zip", help="File to write; an existing one is replaced.")
@click.option(
    "--despite", is_flag=True, help="Export a database that does not verify: it says what failed (exit code 25)."
)
@click.option("--sample", type=click.IntRange(1, 1000), metavar="N", help="Add a random sample of N changes.")
@click.option("--seed", type=click.IntRange(0), metavar="S", help="Seed of the sample; let the assessor choose it.")
@click.option("--copies", is_flag=True, help="Add the changes as ECS and OCSF, for a SIEM. They make it much larger.")
@click.pass_obj
@gc_paused()
def pci_dss(  # noqa: PLR0913  # one argument for each option
    settings: Settings,
    *,
    start: str | None,
    since_bundle: str | None,
    end: str,
    out: str,
    despite: bool,
    sample: int | None,
    seed: int | None,
    copies: bool,
) -> int:
    """Write a signed bundle for PCI DSS 11.5.2 and related requirements: a report to read, and its evidence.

    The database is checked first, as 'fimscan verify --db' does: what was altered in it is not signed. With --despite,
    it is: the bundle says what failed, and the exit code is 25 all the same.

    With --since-bundle, the period begins where an earlier bundle of this host ends, and what that bundle has the
    changes of is not in this one again. The earlier bundle is verified first, and has to be signed by this key or one
    before it. 'fimscan verify --previous' checks later that nothing is between the two.

    The same seed draws the same sample of the same changes. Without --seed, one is chosen and printed.

    \b
    Example: fimscan export pci-dss --from 2026-01-01 --to 2026-03-31 --out q1.zip
    """  # noqa: D301  # click: do not wrap
    config = settings.config()
    if (start is None) == (since_bundle is None):
        raise UsageError("give either --from or --since-bundle: where the period begins")
    end_ns = _nanoseconds(end, "--to", whole_day=True)
    before = None if since_bundle is None else _earlier_bundle(since_bundle, config)
    previous = None if before is None else before.as_previous
    start_ns = previous.covered_to_ns if previous is not None else _nanoseconds(start or "", "--from")
    if start_ns >= end_ns:
        begin = f"--from {start}" if start is not None else f"{since_bundle} ends {time_text(start_ns)}, which"
        raise UsageError(f"{begin} is not before --to {end}")
    if sample is None and seed is not None:
        raise UsageError("--seed needs --sample")
    drawn = None if sample is None else Sample(sample, secrets.randbelow(10**9) if seed is None else seed)
    rules = rules_for(config)
    head = None if previous is None else previous.head
    with (
        settings.database() as database,
        collected(
            database,
            config,
            start_ns,
            end_ns,
            audit_rules=rules,
            reconfigured=config_changes.reconfigurations,
            failed_checks=lambda session: _failed_checks(session, database, head, is_allowed=despite),
            previous=previous,
        ) as data,
    ):
        if before is not None:
            _check_host(before, data)
            if data.covered_to_ns <= start_ns:
                raise UsageError(
                    f"nothing is newer than {since_bundle}, which ends {time_text(start_ns)}; run 'fimscan scan' first"
                )
        failed = data.failed_checks
        key = load_or_create_key(config.evidence.key)
        links = load_chain(config.evidence.key, key.fingerprint)
        build_bundle(replace(data, sample=drawn, copies=copies), key, out, links=links)
    click.echo(f"Wrote {out} ({size_text(os.path.getsize(out))}), signed by {key.fingerprint}")
    if drawn is not None:
        click.echo(f"The sample of {drawn.size} changes (17-sample.csv) was drawn with the seed {drawn.seed}.")
    check = f"fimscan verify {shlex.quote(out)}"  # needs no configuration: the assessor can run it
    click.echo(f"Send the assessor this fingerprint out of band, not with the bundle. To check it: {check}")
    if failed:
        note(f"the database does not verify: {failed[0]} (see 'fimscan verify --db'); the bundle says so")
        return VerificationError.exit_code
    return 0


def _failed_checks(session: Session, database: Database, head: str | None, *, is_allowed: bool) -> list[str]:
    failed = failed_checks(session, database, head)
    if failed and not is_allowed:
        raise VerificationError(
            f"nothing is exported, because the database does not verify: {failed[0]} (see 'fimscan verify --db');"
            " restore a backup that does, or add --despite: the bundle then says so"
        )
    return failed


def _earlier_bundle(path: str, config: Config) -> Opened:
    """A bundle that verifies and that the key of this host signed, or one before it."""
    key = load_or_create_key(config.evidence.key)
    links = load_chain(config.evidence.key, key.fingerprint)
    return opened_bundle(path, Known(fingerprint=key.fingerprint, links=links))


def _check_host(before: Opened, data: BundleInput) -> None:
    earlier = before.manifest
    assert earlier is not None, "it verifies"
    if (earlier.host_id or earlier.host) != (data.host_facts.id or data.host):
        raise UsageError(f"{show(os.fsencode(before.path))} is of another host: {show(os.fsencode(earlier.host))}")


@export.command("attach-timestamp")
@click.argument("bundle", metavar="FILE.zip")
@click.argument("response", metavar="RESPONSE.tsr")
@click.option("--request", metavar="FILE.tsq", help="Attach the request, too.")
def attach_timestamp_command(*, bundle: str, response: str, request: str | None) -> None:
    """Attach an RFC 3161 timestamp of SHA256SUMS to a bundle.

    A time stamping authority says when something existed. Make a request of SHA256SUMS with 'openssl ts -query', send
    it to the authority, and attach the response. 'fimscan verify' checks it, with --tsa-ca also who signed it. Nothing
    that was signed changes.

    Example: fimscan export attach-timestamp q1.zip q1.tsr
    """
    asked = None if request is None else _content(request, MOST_BYTES + 1)
    time_utc = attach_timestamp(bundle, _content(response, MOST_BYTES + 1), asked)
    click.echo(f"Attached a timestamp of {time_utc} to {bundle}")


def _content(path: str, most: int) -> bytes:
    """The beginning of a file, at most ``most`` bytes."""
    try:
        with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as file:
            return file.read(most)
    except OSError as error:
        raise InputError(f"cannot read {show(os.fsencode(path))}: {error.strerror}") from error


@click.command()
@click.argument("bundle", metavar="[FILE.zip]", required=False)
@click.option("--fingerprint", metavar="F", help="Require this signing key (as 'fimscan export' printed it).")
@click.option(
    "--keys",
    metavar="FILE",
    help="Rotations of keys ('fimscan key export-public --format json'): accept an earlier key, too.",
)
@click.option("--tsa-ca", metavar="FILE", help="Check an attached timestamp with these certificates (PEM).")
@click.option("--previous", metavar="FILE.zip", help="The bundle before it: check that nothing is between the two.")
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
    keys: str | None,
    tsa_ca: str | None,
    previous: str | None,
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
        links = () if keys is None else parse_links(_content(keys, MOST_CHAIN_BYTES), show(os.fsencode(keys)))
        found = verify_bundle(bundle or "", fingerprint=fingerprint, links=links, tsa_ca=tsa_ca, previous=previous)
    elif any(given is not None for given in (fingerprint, keys, tsa_ca, previous)) or (scan is not None and every_scan):
        raise UsageError("with --db, give either --scan or --all, and no --fingerprint, --keys, --tsa-ca or --previous")
    else:
        with settings.database() as database:
            found = verify_database(database, scan=scan, every_scan=every_scan, head=head)
    print_verification(found, form)
    return 0 if found.ok else VerificationError.exit_code


def print_verification(found: VerifyReport, form: str) -> None:
    """Print the checks of a bundle or of the database, and the result in words."""
    if form == "json":
        document = verify_document(
            found.checks, fingerprint=found.fingerprint, signer=found.signer, unmade=found.unmade
        )
        write_document(document, sys.stdout)
        return
    for check in found.checks:
        mark = "FAIL" if not check.ok else "?   " if check.name in found.unmade else "ok  "
        for line in check.detail.split("\n"):
            click.echo(f"{mark}  {check.name}: {show(os.fsencode(line))}")
    if found.fingerprint:
        click.echo(f"Signed by {found.fingerprint}")
    if found.signer is not None:
        result = verify_result(found.checks, found.signer)
        unchecked = found.ok and found.signer is SignerState.UNCHECKED
        click.echo(
            f"{result[0].upper()}{result[1:]}{': anybody can sign with a key of their own' if unchecked else ''}."
        )


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
