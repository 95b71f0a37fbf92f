"""``fimscan import``: import the baseline of another program, so that moving leaves no time unmonitored."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Any

import click

from fimscan.cli.context import Settings, absolute_path
from fimscan.cli.remedies import own_command
from fimscan.importers.formats import FORMATS
from fimscan.pipeline.controls import record as controls
from fimscan.pipeline.import_baseline import Imported, import_baseline
from fimscan.report.documents.imported import import_document
from fimscan.report.imported import import_lines
from fimscan.report.json import write_document

_AUTO = "auto"


class _ImportGroup(click.Group):
    """A group in which a word that is no format is a file, whose format is recognised."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command; without the name of a format, it is ``auto``."""
        if args and args[0] not in self.commands:
            return super().resolve_command(ctx, [_AUTO, *args])
        return super().resolve_command(ctx, args)


@click.group("import", cls=_ImportGroup, context_settings={"ignore_unknown_options": True})
def import_group() -> None:
    """Import the baseline of another program.

    'fimscan import FILE' recognises the format and says what it took FILE for. To name it, put one of the commands
    below in between.

    Example: fimscan import aide /var/lib/aide/aide.db
    """


def _command(name: str, help_text: str) -> Callable[[Callable[..., None]], click.Command]:
    def decorate(function: Callable[..., None]) -> click.Command:
        made: Any = click.pass_obj(function)
        made = click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True)(
            made
        )
        made = click.option(
            "--root", metavar="DIR", help="The directory of relative names in FILE. Default: what FILE says."
        )(made)
        made = click.argument("file", metavar="FILE")(made)
        return import_group.command(name, help=help_text)(made)

    return decorate


def _import(settings: Settings, form: str, *, file: str, root: str | None, name: str | None) -> None:
    config = settings.config()
    directory = None if root is None else absolute_path(root)
    path = os.fsencode(os.path.abspath(file))
    with settings.database(create=True) as database:
        controls.before_scan(database)
        done = import_baseline(database, config, path, form=name, root=directory)
    assert done.scan is not None, "a successful import has a scan"
    if form == "json":
        write_document(_document(done), sys.stdout)
        return
    found = FORMATS[done.format]
    for line in import_lines(_document(done), found.what, found.program, own_command(settings)):
        click.echo(line)


def _document(done: Imported) -> dict[str, Any]:
    assert done.scan is not None
    return import_document(
        done.scan.id,
        done.taken_ns,
        done.format,
        {name: getattr(done, name) for name in Imported.__struct_fields__ if isinstance(getattr(done, name), int)}
        | {"unreadable": len(done.unreadable)},
        compared=(done.digests, done.attributes),
    )


@_command(
    _AUTO,
    """Import FILE, in whatever format it is, as the baseline of an empty fimscan database.

    The output says what FILE was taken for. 'fimscan import FILE' is the same.

    Example: fimscan import auto tripwire.txt
    """,
)
def _auto(settings: Settings, *, file: str, root: str | None, form: str) -> None:
    _import(settings, form, file=file, root=root, name=None)


def _add(name: str) -> None:
    found = FORMATS[name]

    @_command(
        name,
        f"""Import {found.summary} as the baseline of an empty fimscan database.

        All monitored files are read now. What FILE does not have is taken from this reading, and the output says what
        that is. The next 'fimscan scan' reports what differs from FILE. The windows of these changes begin when
        {found.program} read the files.

        Example: fimscan import {name} {found.example}
        """,
    )
    def _one(settings: Settings, *, file: str, root: str | None, form: str) -> None:
        _import(settings, form, file=file, root=root, name=name)


for _name in FORMATS:
    _add(_name)
