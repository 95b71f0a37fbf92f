"""``fimscan init``: a configuration to start from, and an empty database."""

from __future__ import annotations

import os
import re
import sys

import click

from fimscan.cli.context import Settings
from fimscan.config import SEARCH_PATH, load_config
from fimscan.errors import OutputError
from fimscan.shipped import shipped_path
from fimscan.store.database import Database


@click.command()
@click.option(
    "--watch", "watches", metavar="DIR", multiple=True, help="Monitor DIR instead of the example (repeatable)."
)
@click.option("--quiet", is_flag=True, help="Do not say what to do next.")
@click.pass_obj
def init(settings: Settings, *, watches: tuple[str, ...], quiet: bool) -> None:
    """Write a commented configuration (never over an existing one) and create the database."""
    path = settings.config_path or os.environ.get("FIMSCAN_CONFIG") or SEARCH_PATH[1 if os.geteuid() == 0 else 0]
    if os.path.lexists(path):
        click.echo(f"{path} is there already and was left as it is.")
    else:
        _write(path, _template(settings.db_url, watches))
        click.echo(f"Wrote {path}: every key there is, with its default. Look at [[watch]] first.")
    url = settings.db_url or load_config(path).database.url
    database = Database(url, host=os.uname().nodename)
    click.echo(f"Database: {database.name}")
    database.close()
    if quiet:
        return
    option = "" if path in SEARCH_PATH else f" --config {path}"
    sys.stdout.write(
        "Next:\n"
        f"  fimscan{option} audit rules > /etc/audit/rules.d/50-fimscan.rules && augenrules --load\n"
        f"  fimscan{option} scan     # the first scan is the baseline\n"
    )


def _template(db_url: str | None, watches: tuple[str, ...]) -> str:
    with open(os.path.join(shipped_path("conf"), "fimscan.toml"), encoding="utf-8") as file:
        text = file.read()
    if db_url is not None:
        text = text.replace('url = "sqlite:////var/lib/fimscan/fimscan.db"', f"url = {_quoted(db_url)}")
        if db_url.startswith("sqlite:///"):
            # A private database has its evidence key beside it.
            directory = os.path.dirname(os.path.abspath(db_url.removeprefix("sqlite:///")))
            key = os.path.join(directory, "evidence-key.pem")
            text = text.replace('key = "/var/lib/fimscan/evidence-key.pem"', f"key = {_quoted(key)}")
    if watches:
        first, second, *_ = (match.start() for match in re.finditer(r"(?m)^\[\[watch\]\]", text))
        example = text[first:second].rstrip() + "\n"
        wanted = [os.path.abspath(watch) for watch in watches]
        sections = [example.replace('path = "/etc"', f"path = {_quoted(wanted[0])}")]
        sections += [f"[[watch]]\npath = {_quoted(watch)}\n" for watch in wanted[1:]]
        if wanted[0] != "/etc":
            sections[0] = sections[0].replace('exclude = ["*.swp", "mtab"]', "exclude = []")
            sections[0] = sections[0].replace('rationale = "system and service configuration"', 'rationale = ""')
        text = text[:first].replace("# There is no default: these three are an example to start from.\n", "")
        text += "\n".join(sections)
    return text


def _quoted(value: str) -> str:
    """A TOML basic string."""
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _write(path: str, text: str) -> None:
    try:
        os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
        with open(path, "x", encoding="utf-8", errors="surrogateescape") as file:
            file.write(text)
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror}") from error
