"""``fimscan schema``: the JSON Schemas of the documents that the commands print."""

from __future__ import annotations

import click

from fimscan.report.schema import schema_names, schema_text


@click.command()
@click.argument("name", metavar="[NAME]", required=False)
def schema(name: str | None) -> None:
    """Print the JSON Schema of the documents of one kind; without NAME, list the names.

    NAME is what stands in a document's "schema" between "fimscan." and "/1". Example: fimscan schema diff
    """
    if name is None:
        click.echo("\n".join(schema_names()))
    else:
        click.echo(schema_text(name), nl=False)
