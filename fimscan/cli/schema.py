"""``fimscan schema``: print the JSON Schemas of the documents that commands print."""

from __future__ import annotations

import click

from fimscan.report.schema import schema_names, schema_text


@click.command()
@click.argument("name", metavar="[NAME]", required=False)
def schema(name: str | None) -> None:
    """Print the JSON Schema called NAME; without NAME, list all names.

    The key "schema" of a document has its NAME: "fimscan.diff/1" is described by 'fimscan schema diff'.

    Example: fimscan schema diff
    """
    if name is None:
        click.echo("\n".join(schema_names()))
    else:
        click.echo(schema_text(name), nl=False)
