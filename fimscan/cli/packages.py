"""``fimscan packages check | record``: whether files are what their packages shipped, and proofs of it."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import islice

import click

from fimscan.cli.context import Settings, absolute_path, note, output_to
from fimscan.errors import FimscanError, InputError, InterruptedScanError, UsageError
from fimscan.model import PackageAnswer, PackageClass, PackageReport
from fimscan.packages import (
    ManifestStore,
    Observer,
    PackageQuestion,
    PackageSources,
    check_paths,
    parse_hook,
    prune_manifests,
    record_debs,
)
from fimscan.pipeline.packages import manifest_directory

_BATCH = 20_000
_MOST_INPUT = 64 * 1024 * 1024
_MOST_NOTES = 10
_STATUS = {PackageClass.AS_SHIPPED: 0, PackageClass.NOT_AS_SHIPPED: 2}  # others: 1
_ARCHIVES = "/var/cache/apt/archives"
_HOOK = """\
// fimscan takes SHA-256 of the files in packages before dpkg unpacks them. Whatever fails here, apt goes on.
DPkg::Pre-Install-Pkgs {{ "{command} packages record || cat >/dev/null"; }};
"""
# apt finds a command's options by its first word.
_HOOK_VERSION = """\
DPkg::Tools::Options::{program}::Version "3";
"""


@click.group()
def packages() -> None:
    """Compare files with what their packages shipped, and record proofs of it.

    Example: fimscan packages check /usr/bin/sudo
    """


@packages.command()
@click.argument("paths", metavar="PATH...", nargs=-1, required=True)
@click.option("--root", metavar="DIR", default="/", help="Check the system below DIR; each PATH is as seen in it.")
@click.option("--debs", metavar="DIR", multiple=True, help="Take SHA-256 from the .deb files in DIR, not in apt's.")
@click.option("--all", "everything", is_flag=True, help="Also list files below a directory that are as shipped.")
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True)
@click.pass_obj
def check(
    settings: Settings, *, paths: tuple[str, ...], root: str, debs: tuple[str, ...], everything: bool, form: str
) -> int:
    """Say of each PATH which package has it, and whether it is what the package shipped.

    A directory stands for all files below it on the same file system. Files are compared with the strongest proof that
    there is: SHA-256 that 'fimscan packages record' took, SHA-256 of a .deb in apt's archive, digests of rpm or pip, or
    dpkg's MD5.

    Exits with 0 if all files are as shipped, with 2 if one is not, else with 1 if one is unowned or unknown.

    Example: fimscan packages check /usr/bin/sudo
    """
    from fimscan.report.documents.packages import packages_document
    from fimscan.report.json import write_document
    from fimscan.report.packages import package_line, summary_line

    for directory in (root, *debs):
        if not os.path.isdir(directory):
            raise UsageError(f"there is no directory {directory}")
    whole = os.fsencode(os.path.abspath(root))
    sources = PackageSources(
        root=whole,
        manifests=_directory(settings)[0],
        archives=tuple(map(os.fsencode, debs)) or (os.path.join(whole, os.fsencode(_ARCHIVES.lstrip("/"))),),
    )
    given = [absolute_path(path) for path in paths]
    observer = Observer(whole)
    remaining = (path for one in given for path in observer.expand(one))
    answers: list[PackageAnswer] = []
    counts: Counter[PackageClass] = Counter()
    problems: dict[str, None] = {}
    databases: tuple[str, ...] = ()
    # In batches: a file system may have millions of files.
    while batch := [*islice(remaining, _BATCH)]:
        found, report = _checked(observer, batch, sources)
        counts.update(answer.kind for answer in found)
        problems |= dict.fromkeys(report.problems)
        databases = report.databases
        if form == "json":
            answers += found
        for answer in found if form == "text" else ():
            if everything or answer.kind is not PackageClass.AS_SHIPPED or answer.path in given:
                click.echo(package_line(answer))
    problems |= dict.fromkeys(observer.problems)
    if form == "json":
        write_document(packages_document(answers, problems, databases), sys.stdout)
    else:
        click.echo(summary_line(counts))
        _notes(problems)
    return max([_STATUS.get(kind, 1) for kind in counts] + [1] * bool(observer.problems), default=0)


def _checked(
    observer: Observer, paths: Sequence[bytes], sources: PackageSources
) -> tuple[list[PackageAnswer], PackageReport]:
    """Answer for paths as they are now, in their order."""
    asked = [observer.question(path) for path in paths]
    report = check_paths([one for one in asked if isinstance(one, PackageQuestion)], sources)
    answers = iter(report.answers)
    return [one if isinstance(one, PackageAnswer) else next(answers) for one in asked], report


@packages.command()
@click.argument("debs", metavar="[DEB]...", nargs=-1)
@click.option("--strict", is_flag=True, help="Exit with 18 if something could not be recorded; apt then stops.")
@click.option("--hook", is_flag=True, help="Print the configuration that makes apt run this before each installation.")
@click.option("--out", metavar="FILE", help="With --hook: write to FILE instead of standard output.")
@click.pass_obj
def record(settings: Settings, *, debs: tuple[str, ...], strict: bool, hook: bool, out: str | None) -> None:
    """Record SHA-256 of the files in each DEB, for 'packages check' and 'diff'.

    Without DEB, the names come from standard input, as apt's DPkg::Pre-Install-Pkgs gives them (protocol version 1,
    2 or 3). What is recorded is in the directory packages beside the database, in one file for each package,
    version and architecture. Those of packages that have not been installed for a month are removed. Trouble of
    fimscan's own is reported, and the exit code stays 0: apt must not stop for it.

    Example: fimscan packages record --hook --out /etc/apt/apt.conf.d/50fimscan
    """
    if hook:
        text = _hook_text(settings)
        with output_to(out, mode=0o644) as stream:  # every user of apt reads its configuration
            stream.write(text)
        return
    if out is not None:
        raise UsageError("--out is for --hook only; the manifests are written beside the database")
    try:
        problems = _record(settings, debs)
    except InterruptedScanError:
        raise
    except (FimscanError, OSError) as error:
        problems = (str(error),)
    except Exception as error:
        if strict:
            raise
        problems = (f"nothing was recorded: {type(error).__name__}: {error}",)
    _notes(problems)
    if problems and strict:
        raise InputError("not every package was recorded; without --strict, apt goes on nevertheless")


def _record(settings: Settings, debs: tuple[str, ...]) -> tuple[str, ...]:
    paths = [os.fsencode(os.path.abspath(deb)) for deb in debs] or _from_apt()
    if not paths:
        return ()
    directory, problems = _directory(settings)
    store = ManifestStore(directory)
    done = record_debs(paths, store, time.time_ns())
    prune_manifests(store, time.time_ns())
    if debs:
        click.echo(f"Recorded {done.new:,} of {len(paths):,}; {done.known:,} had been recorded before.")
    return (*problems, *done.problems)


def _from_apt() -> list[bytes]:
    """The .deb files that apt names on standard input, or on the descriptor that its InfoFD option chose."""
    number = os.environ.get("APT_HOOK_INFO_FD", "0")
    descriptor = int(number) if number.isdecimal() else 0
    if os.isatty(descriptor):
        raise UsageError("name a .deb file; without one, apt gives the names on standard input")
    data = b""
    # Everything is read before anything can fail: apt would get an error when it writes to a closed pipe.
    with open(descriptor, "rb", closefd=False) as file:
        while piece := file.read(1 << 20):
            data += piece if len(data) <= _MOST_INPUT else b""
    if len(data) > _MOST_INPUT:
        raise InputError("the input of the hook is too long")
    return parse_hook(data)


def _directory(settings: Settings) -> tuple[bytes, tuple[str, ...]]:
    """The directory of manifests, and what is wrong with the configuration that should name it.

    A configuration that cannot be read must not keep packages from being recorded.
    """
    try:
        return manifest_directory(settings.url()), ()
    except FimscanError as error:
        directory = manifest_directory(None)
        return directory, (f"{error}; manifests are in {os.fsdecode(directory)}",)


def _hook_text(settings: Settings) -> str:
    from fimscan.cli.remedies import own_command

    command = own_command(settings)
    first, separator, rest = command.partition(" ")
    program = shutil.which(first) or first
    if not program.startswith("/") or '"' in command or "\\" in command or "'" in first:
        raise UsageError(f"apt cannot run {command}: install fimscan under a path without special characters")
    text = _HOOK.format(command=program + separator + rest)
    # Where that word is Python, other hooks may begin with it. Version 1, the default, has all that is needed.
    return text + (_HOOK_VERSION.format(program=program) if os.path.basename(program) == "fimscan" else "")


def _notes(problems: Iterable[str]) -> None:
    shown = [*problems]
    for problem in shown[:_MOST_NOTES]:
        note(problem)
    if len(shown) > _MOST_NOTES:
        note(f"{len(shown) - _MOST_NOTES:,} more problems")
