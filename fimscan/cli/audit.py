"""``fimscan audit rules | events | status``: audit rules, recorded accesses, the state of audit."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import BinaryIO

import click

from fimscan import audit as reader
from fimscan.cli.context import STATE_DIRECTORY, Settings, note, output_to, use_color
from fimscan.cli.pager import paged
from fimscan.errors import InputError, UsageError
from fimscan.linux.host import this_host
from fimscan.linux.users import user_name
from fimscan.model import DamagedLine, FileAccess
from fimscan.report.documents.accesses import accesses_document
from fimscan.report.json import write_accesses_ndjson, write_document

_FOREVER = 2**63 - 1


@click.group()
def audit() -> None:
    """Print audit rules and recorded accesses, and check whether audit covers the monitored paths.

    Example: fimscan audit status
    """


@audit.command()
@click.option("--processes", is_flag=True, help="Also rules that record the programs started in login sessions.")
@click.option("--install", is_flag=True, help="Write the rules into the rules directory, load them, and check them.")
@click.option(
    "--remove", is_flag=True, help="Remove fimscan's rules, and no others, from the directory and the kernel."
)
@click.option("--dry-run", is_flag=True, help="With --install or --remove: only print what would change.")
@click.option("--force", is_flag=True, help="Also replace or remove a file that was edited by hand.")
@click.option(
    "--rules-dir", metavar="DIR", default=reader.RULES_DIRECTORY, show_default=True, help="The rules directory."
)
@click.option("--out", metavar="FILE", help="Write to FILE, completely or not at all, instead of standard output.")
@click.pass_obj
def rules(  # noqa: PLR0913  # one argument for each option
    settings: Settings,
    *,
    processes: bool,
    install: bool,
    remove: bool,
    dry_run: bool,
    force: bool,
    rules_dir: str,
    out: str | None,
) -> int:
    """Print the audit rules that cover the configured directories, or install them.

    --install writes 50-fimscan.rules (mode 0640), loads the rules that are missing, removes those of fimscan's that are
    no longer wanted, and checks the result as 'fimscan audit status' does. Rules of others stay, also those that are in
    no file: augenrules --load would drop them. At boot, auditd has augenrules load all files of the directory.

    A file that was edited by hand is neither replaced nor removed without --force. If rules are locked (-e 2), the file
    is written and takes effect at the next boot.

    Rules are fimscan's if they have the key of [audit] key. auditctl before 3.1 can neither make nor delete rules for
    io_uring: fimscan loads and removes them itself.

    --install exits with 0 if every monitored path is covered, with 1 for a warning, with 2 if something is critical.

    Example: fimscan audit rules --install
    """
    if sum((install, remove, out is not None)) > 1:
        raise UsageError("--install, --remove and --out exclude each other")
    if (dry_run or force) and not (install or remove):
        raise UsageError("--dry-run and --force go with --install or --remove")
    config = settings.config()
    if install or remove:
        from fimscan.cli.audit_rules import Wish, install_rules, remove_rules

        wish = Wish(directory=os.path.abspath(rules_dir), processes=processes, force=force, dry_run=dry_run)
        return install_rules(settings, config, wish) if install else remove_rules(config, wish)
    from fimscan.pipeline.audit.rules import rules_text

    text = rules_text(config, processes=processes)
    with output_to(out) as stream:
        stream.write(text)
    return 0


@audit.command()
@click.argument("logs", metavar="[LOG|-]...", nargs=-1)
@click.option("--format", "form", type=click.Choice(["text", "json", "ndjson"]), default="text", show_default=True)
@click.pass_obj
def events(settings: Settings, *, logs: tuple[str, ...], form: str) -> int:
    """Print the file accesses in audit logs (- is standard input); without arguments, those in the database.

    Several logs are read as one, oldest first: an event may begin in audit.log.1 and end in audit.log. They can be
    plain or compressed (gzip, bzip2, xz, zstd), and written by auditd, syslog, dmesg, laurel or journalctl (-o export,
    -o json).

    Exits with 0 if every line was understood. Exits with 1 if lines are damaged or truncated, or records of an event
    are missing: standard error has their number and the position of the first one. 14 and above are errors.

    Example: fimscan audit events /var/log/audit/audit.log --format ndjson
    """
    if logs:
        damaged: list[DamagedLine] = []
        # Not paged: the exit code speaks of all lines, so reading must not end with the pager.
        _write(_of_logs(logs, damaged), form)
        return _report_damage(damaged)
    from fimscan.store import accesses as access_store

    with settings.database() as database, database.read() as session:
        everything = access_store.references(session, 0, _FOREVER)
        with paged(settings, form):
            _write(access_store.load(session, everything, user_name=user_name), form)
    return 0


@audit.command()
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True)
@click.pass_obj
def status(settings: Settings, *, form: str) -> int:
    """Check whether audit covers the monitored paths, as the kernel reports it.

    Each problem has a line that says how to fix it. Exits with 0 if all is well (there may be notes), with 1 for a
    warning (coverage is reduced), with 2 if something is critical (nothing is recorded). 14 and above are errors.

    Example: fimscan audit status --format json
    """
    from fimscan.cli.checks import print_checks
    from fimscan.cli.remedies import runnable
    from fimscan.pipeline.health.doctor import audit_checks, database_check

    config = settings.config()
    # The database is optional: it has the previous observation of audit, to compare with.
    _, database = database_check(settings.url(), this_host(), STATE_DIRECTORY)
    try:
        checks = audit_checks(config, database)
    finally:
        if database is not None:
            database.close()
    return print_checks(runnable(checks, settings), form, settings)


def _of_logs(logs: Iterable[str], damaged: list[DamagedLine]) -> Iterator[FileAccess]:
    """Yield the accesses in logs; append damaged lines to ``damaged``."""
    names = reader.in_order_of_time([os.fsencode(log) for log in logs])
    for batch in reader.read_streams(_files(names), user_name=user_name):
        yield from batch.accesses
        damaged += batch.damaged


def _files(names: Iterable[bytes]) -> Iterator[tuple[bytes, BinaryIO]]:
    for name in names:
        with _opened(os.fsdecode(name)) as file:
            yield name, file


def _report_damage(damaged: Iterable[DamagedLine]) -> int:
    """Print one line for each damaged log; return the exit code."""
    of_log: dict[bytes, list[DamagedLine]] = {}
    for line in damaged:
        of_log.setdefault(line.source, []).append(line)
    for source, lines in of_log.items():
        first = min(lines, key=lambda line: line.offset)
        count = "1 line" if len(lines) == 1 else f"{len(lines):,} lines"
        note(f"{os.fsdecode(source)}: {count} could not be parsed; at byte {first.offset}: {first.problem}")
    return 1 if of_log else 0


@contextmanager
def _opened(log: str) -> Iterator[BinaryIO]:
    if log == "-":
        if sys.stdin is None:
            raise InputError("standard input is closed; give the path of a log")
        yield sys.stdin.buffer
        return
    try:
        file = open(log, "rb")  # noqa: SIM115  # closed below; only errors of open() are caught
    except OSError as error:
        raise InputError(f"cannot read {log}: {error.strerror}") from error
    with file:
        yield file


def _write(accesses: Iterable[FileAccess], form: str) -> None:
    match form:
        case "ndjson":
            write_accesses_ndjson(accesses, sys.stdout)
        case "json":
            write_document(accesses_document(accesses), sys.stdout)
        case _:
            from fimscan.report.accesses import write_accesses_text

            write_accesses_text(accesses, sys.stdout, color=use_color(sys.stdout))
