"""``fimscan init``: write a commented configuration and create an empty database."""

from __future__ import annotations

import os
import platform
import pwd
import sys
from contextlib import suppress
from typing import Any

import click
import tomlkit

from fimscan.cli.context import STATE_DIRECTORY, Settings
from fimscan.cli.remedies import install_auditd, own_command
from fimscan.config import SEARCH_PATH, load_config
from fimscan.errors import OutputError, UsageError
from fimscan.linux.host import this_host
from fimscan.profiles import Host, profile_for, profile_text
from fimscan.report.words import plural
from fimscan.shipped import shipped_path
from fimscan.store.database import Database
from fimscan.trust import make_private_directories

_APT_CONFIG = "/etc/apt/apt.conf.d"
_CONTAINER_FILES = ("/.dockerenv", "/run/.containerenv")
_NO_SHELLS = frozenset({"nologin", "false", "sync", "shutdown", "halt", ""})
#: The profiles of conf/profiles.toml.
PROFILES = ("debian", "rhel", "web", "container", "stig")
# The comment in front of the example's [[watch]] sections. It is removed with them.
_EXAMPLE = "# There is no default: these three are an example to start from."


@click.command()
@click.option(
    "--watch", "watches", metavar="DIR", multiple=True, help="Monitor DIR instead of the example (repeatable)."
)
@click.option(
    "--profile",
    type=click.Choice(PROFILES),
    help="Propose what to monitor on such a system, instead of the example.",
)
@click.option("--quiet", is_flag=True, help="Do not print the next steps.")
@click.pass_obj
def init(settings: Settings, *, watches: tuple[str, ...], profile: str | None, quiet: bool) -> None:
    """Write a commented configuration (an existing one is kept) and create the database.

    --profile proposes programs, libraries, boot files, configuration, SSH keys, scheduled jobs, audit tools and fimscan
    itself, each with its reason. What does not exist on this host is a comment. debian, rhel: a server with that
    system. web: a web server on either. container: the file system of a container. stig: what DISA's STIGs ask for.

    Example: fimscan init --profile debian
    """
    if profile is not None and watches:
        raise UsageError("--profile and --watch exclude each other; add a [[watch]] to the configuration instead")
    path = settings.config_path or os.environ.get("FIMSCAN_CONFIG") or SEARCH_PATH[1 if os.geteuid() == 0 else 0]
    if os.path.lexists(path):
        click.echo(f"{path} exists and was not changed.")
    else:
        text = _template(settings.db_url, watches, profile)
        _write(path, text)
        count = len(tomlkit.parse(text)["watch"])
        what = "Edit [[watch]] first" if profile is None else f"Read its {plural(count, '[[watch]] section')} first"
        click.echo(f"Wrote {path}: every key with its default. {what}.")
        if profile is None and not watches and not quiet and (found := _detected()) is not None:
            click.echo(
                f"It monitors an example. 'init --profile {found}' (after removing {path}) proposes what this host has."
            )
    url = settings.db_url or load_config(path).database.url
    database = Database(url, host=this_host(), directory=STATE_DIRECTORY)
    click.echo(f"Database: {database.name}")
    database.close()
    if quiet:
        return
    # The configuration has the database now, so --db is not repeated.
    named = None if path in SEARCH_PATH else path
    command = own_command(Settings(config_path=named, db_url=None))
    install = install_auditd()
    sys.stdout.write(
        f"Next{'' if os.geteuid() == 0 else ', as root'}:\n"
        + (f"  {install}\n" if install else "")
        + f"  {command} audit rules --install\n"
        f"  {command} scan     # the first scan is the baseline\n" + _apt_hook(command)
    )


def _apt_hook(command: str) -> str:
    """The optional step with which apt has packages recorded before it unpacks them; empty where there is no apt."""
    if not os.path.isdir(_APT_CONFIG):
        return ""
    return (
        "Optional, so that 'packages check' has SHA-256 of what apt installs, not only MD5:\n"
        f"  {command} packages record --hook --out {_APT_CONFIG}/50fimscan\n"
    )


def _detected() -> str | None:
    """The profile for this host; ``None`` if none fits."""
    if any(map(os.path.exists, _CONTAINER_FILES)):
        return "container"
    with suppress(OSError):
        release = platform.freedesktop_os_release()
        return profile_for([release.get("ID", ""), *release.get("ID_LIKE", "").split()])
    return None


def _this_host() -> Host:
    """The paths and accounts of this host."""
    accounts = [one for one in pwd.getpwall() if os.path.basename(one.pw_shell) not in _NO_SHELLS]
    homes = dict.fromkeys(os.path.realpath(one.pw_dir) for one in accounts if os.path.isdir(one.pw_dir))
    homes.pop("/", None)
    return Host(resolve=lambda path: os.path.realpath(path) if os.path.lexists(path) else None, homes=tuple(homes))


def _template(db_url: str | None, watches: tuple[str, ...], profile: str | None) -> str:
    """The shipped configuration with its comments; ``db_url`` replaces its database, the others its watches."""
    with open(os.path.join(shipped_path("conf"), "fimscan.toml"), encoding="utf-8") as file:
        text = file.read()
    if profile is not None:
        text = text.partition(_EXAMPLE)[0]
    document: Any = tomlkit.parse(text)
    if db_url is not None:
        document["database"]["url"] = db_url
        if db_url.startswith("sqlite:///"):
            # A private database has its evidence key in the same directory.
            directory = os.path.dirname(os.path.abspath(db_url.removeprefix("sqlite:///")))
            document["evidence"]["key"] = os.path.join(directory, "evidence-key.pem")
    if watches:
        _set_watches(document, [os.path.abspath(watch) for watch in watches])
    proposed = "" if profile is None else profile_text(profile, _this_host())
    return tomlkit.dumps(document).rstrip() + "\n" + proposed


def _set_watches(document: Any, paths: list[str]) -> None:
    """Replace the example's watches. The first one keeps its comments; the others have a path only."""
    names = list(document)
    # tomlkit: comments before [[watch]] belong to the previous section.
    before = document[names[names.index("watch") - 1]].value.body
    before[:] = [item for item in before if item[1].as_string().strip() != _EXAMPLE]
    sections = document["watch"]
    first = sections[0]
    if first["path"] != paths[0]:
        first["path"], first["exclude"], first["rationale"] = paths[0], [], ""
    del sections[1:]
    for path in paths[1:]:
        section = tomlkit.table()
        section.add("path", path)
        section.add(tomlkit.nl())
        sections.append(section)


def _write(path: str, text: str) -> None:
    try:
        make_private_directories(os.path.dirname(os.path.abspath(path)))
        # It may get the password of a database.
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with open(descriptor, "w", encoding="utf-8", errors="surrogateescape") as file:
            file.write(text)
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror}") from error
