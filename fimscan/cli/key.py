"""``fimscan key``: the key that signs evidence."""

from __future__ import annotations

import sys
import time

import click

from fimscan.cli.context import Settings
from fimscan.errors import InputError
from fimscan.evidence.key_chain import Link, links_document, load_chain, rotate, rotations
from fimscan.report.documents.keys import keys_document
from fimscan.report.json import write_document
from fimscan.signing import SigningKey, load_key

_FORM = click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True)


@click.group()
def key() -> None:
    """Show, rotate and publish the key that signs evidence ([evidence] key).

    \b
    Example: fimscan key show
    """  # noqa: D301  # click: do not wrap


@key.command()
@_FORM
@click.pass_obj
def show(settings: Settings, *, form: str) -> None:
    """Print the fingerprint of the key, and of those before it.

    Example: fimscan key show
    """
    path = settings.config().evidence.key
    found, links = _loaded(path)
    if form == "json":
        _print_document(found, links)
        return
    click.echo(f"{found.fingerprint}  {path}")
    for rotation in reversed(rotations(links)):
        click.echo(f"{rotation.old}  until {rotation.time}")


@key.command("export-public")
@_FORM
@click.pass_obj
def export_public(settings: Settings, *, form: str) -> None:
    """Print the public key as PEM, or with all rotations as JSON, for 'fimscan verify --keys'.

    Example: fimscan key export-public --format json > keys.json
    """
    found, links = _loaded(settings.config().evidence.key)
    if form == "json":
        _print_document(found, links)
    else:
        click.echo(found.public_pem.decode("ascii"), nl=False)


@key.command("rotate")
@_FORM
@click.pass_obj
def rotate_key(settings: Settings, *, form: str) -> None:
    """Replace the key by a new one, and remove the old private key.

    Both keys sign a statement about that, which is in each later bundle. So who knows the old fingerprint can check new
    bundles, and who knows the new one can check old bundles (verify --keys). If the old key may have been stolen, send
    the new fingerprint out of band, and tell others not to rely on the old one: a thief can rotate a key, too.

    Example: fimscan key rotate
    """
    path = settings.config().evidence.key
    rotate(path, time.time_ns())
    found, links = _loaded(path)
    if form == "json":
        _print_document(found, links)
        return
    click.echo(f"The signing key is now {found.fingerprint}; it was {rotations(links)[-1].old}")
    click.echo("Send the new fingerprint to whoever checks your evidence, out of band.")


def _loaded(path: str) -> tuple[SigningKey, tuple[Link, ...]]:
    found = load_key(path)
    if found is None:
        raise InputError(f"there is no signing key {path} yet; the first 'fimscan export pci-dss' makes one")
    return found, load_chain(path, found.fingerprint)


def _print_document(found: SigningKey, links: tuple[Link, ...]) -> None:
    known = [(rotation.old, rotation.time) for rotation in rotations(links)]
    document = keys_document(found.fingerprint, found.public_pem.decode("ascii"), known, links_document(links))
    write_document(document, sys.stdout)
