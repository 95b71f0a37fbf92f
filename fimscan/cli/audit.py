"""``fimscan audit rules | events | status``."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import BinaryIO

import click

from fimscan import audit as reader
from fimscan.cli.context import Settings, note, use_color
from fimscan.errors import InputError
from fimscan.model import FileAccess
from fimscan.pipeline.users import user_name
from fimscan.report.jsonview import access_document
from fimscan.report.machine import write_accesses_ndjson

_FOREVER = 2**63 - 1


@click.group()
def audit() -> None:
    """What the kernel's audit system records, and whether it watches what we watch."""


@audit.command()
@click.option("--processes", is_flag=True, help="Also rules for the programs that are started in login sessions.")
@click.option("--remove", is_flag=True, help="Take the loaded rules of our key away, those for io_uring included.")
@click.pass_obj
def rules(settings: Settings, *, processes: bool, remove: bool) -> None:
    """Print the audit rules that cover the configured directories, ready for /etc/audit/rules.d and augenrules.

    auditctl before 3.1 can neither make nor delete rules for io_uring: fimscan loads those itself, when it reads the
    audit log, and --remove takes them away with the others.
    """
    from fimscan.pipeline.rules import rules_for

    config = settings.config()
    if remove:
        _remove_rules(config.audit.key)
        return
    sys.stdout.write(rules_for(config))
    if processes:
        sys.stdout.write(reader.process_rules(config.audit.key))


def _remove_rules(key: str) -> None:
    try:
        count = reader.remove_rules(key)
    except OSError as error:
        raise InputError(
            f"cannot remove audit rules: {error.strerror}; rules may be locked (-e 2), or run as root"
        ) from error
    click.echo(
        f"{count} rules with the key {key} removed, until they are loaded again (augenrules --load, or a reboot)"
    )


@audit.command()
@click.argument("logs", metavar="[LOG|-]...", nargs=-1)
@click.option("--format", "form", type=click.Choice(["text", "json", "ndjson"]), default="text", show_default=True)
@click.pass_obj
def events(settings: Settings, *, logs: tuple[str, ...], form: str) -> None:
    """Print the file accesses in audit logs (- is standard input); without arguments, those in the database."""
    if logs:
        _write(_of_logs(logs), form)
        return
    from fimscan.store import accesses as access_store

    with settings.database() as database, database.read() as connection:
        everything = access_store.references(connection, database.host_id, 0, _FOREVER)
        _write(access_store.load(connection, everything, user_name=user_name), form)


@audit.command()
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True)
@click.pass_obj
def status(settings: Settings, *, form: str) -> int:
    """Is audit watching what we watch? What the kernel says, not only what files say.

    Each finding has a line with what to do. Exits with 0 when all is well (notes included), 1 when something weakens
    what is seen (warnings), 2 when nothing is seen (critical); 14 and above are errors.
    """
    from fimscan.cli.checks import print_checks
    from fimscan.pipeline import health

    config = settings.config()
    # The database is not needed, but it knows what the kernel said last time.
    _, database = health.database_check(settings.url(), os.uname().nodename)
    try:
        checks = health.audit_checks(config, database)
    finally:
        if database is not None:
            database.close()
    return print_checks(checks, form)


def _of_logs(logs: Iterable[str]) -> Iterator[FileAccess]:
    for log in logs:
        damaged = 0
        with _opened(log) as file:
            for batch in reader.read_stream(file, os.fsencode(log), user_name=user_name):
                yield from batch.accesses
                damaged += len(batch.damaged)
        if damaged:
            note(f"{log}: {damaged:,} lines could not be understood")


@contextmanager
def _opened(log: str) -> Iterator[BinaryIO]:
    if log == "-":
        if sys.stdin is None:
            raise InputError("standard input is closed; name a log")
        yield sys.stdin.buffer
        return
    try:
        file = open(log, "rb")  # noqa: SIM115  # closed below; only opening it may fail here
    except OSError as error:
        raise InputError(f"cannot read {log}: {error.strerror}") from error
    with file:
        yield file


def _write(accesses: Iterable[FileAccess], form: str) -> None:
    match form:
        case "ndjson":
            write_accesses_ndjson(accesses, sys.stdout)
        case "json":
            documents = [access_document(access) for access in accesses]
            json.dump({"schema": "fimscan.accesses/1", "accesses": documents}, sys.stdout, indent=2)
            sys.stdout.write("\n")
        case _:
            from fimscan.report.accesses import write_accesses_text

            write_accesses_text(accesses, sys.stdout, color=use_color(sys.stdout))
