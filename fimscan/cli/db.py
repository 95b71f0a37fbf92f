"""``fimscan db``: look after the database."""

from __future__ import annotations

import os
import shlex
import sys
from functools import partial

import click

from fimscan.cli.context import Settings, note
from fimscan.cli.evidence import print_verification
from fimscan.cli.remedies import own_command
from fimscan.cli.reviewer import current_reviewer
from fimscan.errors import VerificationError
from fimscan.evidence.database import verify_database
from fimscan.linux.host import this_host
from fimscan.pipeline.controls.record import store_head
from fimscan.report.display import minute_text, show, size_text
from fimscan.report.documents.pruning import pruned_document
from fimscan.report.json import write_document
from fimscan.report.pruning import counted_text
from fimscan.store.contents import contents_file
from fimscan.store.database import file_of, name_of
from fimscan.upkeep.backup import Copy, back_up, back_up_as_it_is, require_file
from fimscan.upkeep.prune import prune
from fimscan.upkeep.prune import vacuum as give_back
from fimscan.upkeep.restore import restore as restore_database
from fimscan.upkeep.upgrade import planned_upgrade


@click.group()
def db() -> None:
    """Back up, restore, check, upgrade and prune the database.

    Example: fimscan db backup /backup/fimscan.db
    """


@db.command()
@click.argument("file", metavar="FILE")
@click.option("--force", is_flag=True, help="Replace a file that is no earlier backup, too.")
@click.pass_obj
def backup(settings: Settings, *, file: str, force: bool) -> None:
    """Copy the database to FILE, and kept contents to FILE.contents, also while scans run.

    The copy is checked before it gets its name, and only its owner may read it. An earlier backup is replaced, any
    other file only with --force. The head that is printed is the newest entry that the copy has.

    A database on a server is not copied: use pg_dump.

    Example: fimscan db backup /backup/fimscan.db
    """
    require_file(file_of(settings.url()))
    config = settings.config_if_any()
    with settings.database() as database:
        contents = contents_file(database.file, "" if config is None else config.contents.file)
        copy = back_up(database, contents, file, force=force)
        _print_copy(copy, database.name)
    if copy.head is not None:
        command = f"{own_command(settings)} verify --db --head {copy.head}"
        click.echo(f"Head: {copy.head} (store this off-host; later run '{command}')")


def _print_copy(copy: Copy, name: str) -> None:
    as_of = ""
    if copy.scan is not None:
        as_of = f", as of scan {copy.scan.id} ({minute_text(copy.scan.finished_ns or copy.scan.started_ns)})"
    click.echo(f"Copied {name} to {_shown(copy.path)}: {size_text(copy.size)}{as_of}. The copy was checked.")
    if copy.contents is not None:
        path, size = copy.contents
        click.echo(f"Copied its kept contents to {_shown(path)}: {size_text(size)}. Protect them like the files.")


@db.command()
@click.argument("file", metavar="FILE")
@click.option("--force", is_flag=True, help="Restore it although rows of it were altered.")
@click.option(
    "--adopt-host",
    "adopt",
    is_flag=False,
    flag_value="",
    default=None,
    metavar="[NAME]",
    help="Continue the records of another host, such as the one that this host replaces.",
)
@click.pass_obj
def restore(settings: Settings, *, file: str, force: bool, adopt: str | None) -> None:
    """Put the backup FILE in place of the database.

    The backup is upgraded if it is older, and verified as 'fimscan verify --db' does, before anything is replaced. The
    present database stays beside the new one, as FILE.replaced-TIME. Kept contents are restored only if there are none.

    Refused while a scan runs, or while another process has the database open: stop 'fimscan schedule' first.

    Who restored it, and which reported scan is lost by that, is stored as a failure of the control "database". The next
    scan reports it.

    Example: fimscan db restore /backup/fimscan.db
    """
    url, config = settings.url(), settings.config_if_any()
    path = require_file(file_of(url))
    contents = contents_file(path, "" if config is None else config.contents.file)
    done = restore_database(
        path,
        file,
        contents=contents,
        host=this_host(),
        user=current_reviewer().name,
        opened=partial(settings.opened_database, writing=True, adopt=adopt),
        adopt=adopt,
        force=force,
    )
    for problem in done.problems:
        note(problem)
    finished = minute_text(done.scan.finished_ns or done.scan.started_ns)
    click.echo(f"Restored {done.path} from {_shown(os.path.abspath(file))}: as of scan {done.scan.id} ({finished}).")
    if done.kept is not None:
        click.echo(f"The database before is {done.kept}.")
    if done.contents is not None:
        click.echo(f"Restored kept contents: {done.contents}.")
    if done.lost is not None:
        click.echo(f"Scan {done.lost} was reported, and is not in it. What was found and decided since is lost.")
    click.echo("The next scan reports the restoration.")


@db.command()
@click.option("--full", is_flag=True, help="Check each row, too, as 'fimscan verify --db' does.")
@click.option("--head", metavar="HEX", help="Require this head, which you stored earlier.")
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True)
@click.pass_obj
def check(settings: Settings, *, full: bool, head: str | None, form: str) -> int:
    """Check the storage and both chains of the database, and show its size.

    These are the first checks of 'fimscan verify --db', which also checks each row against the chains. So this one says
    quickly whether a disk or a crash damaged the database. It does not say that no row was altered.

    Example: fimscan db check
    """
    with settings.database() as database:
        found = verify_database(database, head=head, quick=not full)
    print_verification(found, form)
    return 0 if found.ok else VerificationError.exit_code


@db.command("prune")
@click.option("--dry-run", is_flag=True, help="Only say what would be removed, and how much space that is.")
@click.option("--vacuum", is_flag=True, help="Give free space back to the file system; that rewrites the file.")
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True)
@click.pass_obj
def prune_database(settings: Settings, *, dry_run: bool, vacuum: bool, form: str) -> None:
    """Remove what is older than [retention] says, if nothing needs it any more.

    Never removed: the accepted state and the present one, changes that wait for acceptance, and decisions. 'fimscan
    diff' says the same before and after.

    The database is verified first, and nothing is removed if that fails. All is removed in one transaction, with a
    checkpoint in the ledger: it has what was removed, when, by whom, and where the chains begin now. 'fimscan verify
    --db' and evidence show it. Anything that is missing without a checkpoint is reported as before.

    Free space is used for new rows. The file gets smaller only with --vacuum.

    Example: fimscan db prune --dry-run
    """
    config = settings.config()
    with settings.database(writing=True) as database:
        done = prune(database, config, user=current_reviewer().name, dry_run=dry_run)
        if done.checkpoint is not None and not dry_run and (problem := store_head(database)) is not None:
            note(problem)
        if vacuum and not dry_run:
            give_back(database)
    if form == "json":
        write_document(pruned_document(done.removed, done.checkpoint, done.space, dry_run=dry_run), sys.stdout)
        return
    if not done.removed:
        click.echo("Nothing is older than [retention] says, except what is needed.")
        return
    click.echo("Would be removed:" if dry_run else "Removed:")
    for name, count in done.removed.items():
        click.echo(f"  {counted_text(name, count)}")
    what = "would be free for new rows" if dry_run else "are free for new rows"
    if vacuum and not dry_run:
        what = "were given back to the file system"
    hint = "" if vacuum or dry_run else " (--vacuum gives free space back to the file system)"
    click.echo(f"{size_text(done.space)} {what}{hint}.")
    if done.checkpoint is not None and done.checkpoint.scan:
        begin = "would begin" if dry_run else "begin"
        click.echo(f"The ledger and the journal {begin} after scan {done.checkpoint.scan}.")


@db.command()
@click.option("--dry-run", is_flag=True, help="Only say which steps there are.")
@click.option("--backup", "copy_to", metavar="FILE", help="Copy the database to FILE before.")
@click.option("--force", is_flag=True, help="Let --backup replace a file that is no earlier backup, too.")
@click.pass_obj
def upgrade(settings: Settings, *, dry_run: bool, copy_to: str | None, force: bool) -> None:
    """Bring the database to the schema of this version.

    Every command does that when it opens an older database for the first time, in one transaction. This one says what
    is done, and makes a backup before. There is no way back except the backup.

    Example: fimscan db upgrade --backup /backup/before-upgrade.db
    """
    url = settings.url()
    path = file_of(url)
    if copy_to is not None:
        require_file(path)
    planned = planned_upgrade(url)
    if not planned.steps:
        click.echo(f"{name_of(url)} has the schema of this version, {planned.after}: nothing to upgrade.")
        return
    before = planned.before or "no schema"
    if dry_run:
        click.echo(f"{name_of(url)} would be upgraded from {before} to {planned.after}:")
    elif copy_to is not None and path is not None:
        _print_copy(back_up_as_it_is(path, copy_to, force=force), path)
    elif path is not None:
        command = f"{own_command(settings)} db restore FILE"
        note(f"no backup is made before the upgrade (--backup FILE; '{command}' would take it back)")
    for revision, description in planned.steps:
        click.echo(f"  {revision}  {description.splitlines()[0]}")
    if not dry_run:
        with settings.database(writing=True):
            click.echo(f"Upgraded {name_of(url)} from {before} to {planned.after}.")


def _shown(path: str) -> str:
    return shlex.quote(show(os.fsencode(path)))
