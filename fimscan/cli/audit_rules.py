"""``fimscan audit rules --install`` and ``--remove``: say what is done, do it, and check what came of it."""

from __future__ import annotations

import click
from msgspec import Struct

from fimscan.cli.context import Settings, note
from fimscan.config import Config
from fimscan.errors import InputError, OutputError
from fimscan.model import CheckSeverity, worst
from fimscan.pipeline.audit import rule_install
from fimscan.pipeline.audit.rule_install import Installation
from fimscan.report.display import show
from fimscan.report.words import plural
from fimscan.trust import trust_problem

_FAILED = 1


class Wish(Struct, frozen=True, kw_only=True):
    """What the options ask for."""

    directory: str
    processes: bool
    force: bool
    dry_run: bool


def install_rules(settings: Settings, config: Config, wish: Wish) -> int:
    """Write and load the rules; return the exit code, that of the checks of rules."""
    plan = rule_install.plan_installation(config, wish.directory, processes=wish.processes)
    _require_no_objection(plan.objections, wish)
    if (problem := trust_problem(plan.path)) is not None:
        raise OutputError(f"{plan.path} is not written: {problem}")
    if wish.dry_run:
        _print_plan(plan)
        return 0
    rule_install.install(plan, config)
    written = "has them already" if plan.is_written else "written"
    click.echo(f"{plan.path}: {written}, {plural(plan.count, 'rule')}")
    if plan.loaded.error:
        note(f"the rules are not loaded: {plan.loaded.error}")
    elif plan.loaded.is_locked:
        click.echo("The rules are locked (-e 2): what the file has takes effect at the next boot.")
    elif plan.add or plan.superfluous:
        added, removed = plural(len(plan.add), "rule"), len(plan.superfluous)
        click.echo(f"Kernel: {added} added, {removed} removed. Rules of others stay as they are.")
    else:
        click.echo("Kernel: all of them are loaded already.")
    _note_unsaved(plan, wish)
    return _print_checks(settings, config, wish.directory)


def remove_rules(config: Config, wish: Wish) -> int:
    """Remove fimscan's rules from the disk and the kernel, and no others; return the exit code."""
    plan = rule_install.plan_removal(config, wish.directory)
    _require_no_objection(plan.objections, wish)
    if wish.dry_run:
        loaded = rule_install.own_rules(config)
        click.echo(f"Would remove {plan.path or 'no file'}, and {plural(len(loaded), 'loaded rule')}.")
        return 0
    if plan.path is not None:
        rule_install.remove_file(plan.path)
        click.echo(f"Removed {plan.path}.")
    for path in plan.kept:
        note(f"{path} has rules with another key, so another configuration's: it is kept")
    try:
        count = rule_install.remove_loaded(config)
    except OSError as error:
        problem = (
            f"cannot remove loaded rules: {error.strerror}; run as root. If they are locked (-e 2), they stay until the"
            " next boot"
        )
        if plan.path is None:
            raise InputError(problem) from error
        note(problem)
        return _FAILED
    click.echo(f"Removed {plural(count, 'loaded rule')} with key {config.audit.key}. Rules of others stay as they are.")
    return 0


def _require_no_objection(objections: tuple[str, ...], wish: Wish) -> None:
    if objections and not wish.force:
        raise OutputError(f"{'; '.join(objections)}. Nothing was changed; --force does it all the same")


def _print_plan(plan: Installation) -> None:
    click.echo(f"{plan.path}: {'as it is' if plan.is_written else 'would be written'}, {plural(plan.count, 'rule')}")
    if plan.loaded.error:
        click.echo(f"Kernel: unknown: {plan.loaded.error}")
    elif plan.loaded.is_locked:
        click.echo("Kernel: locked (-e 2): nothing can be loaded before the next boot.")
    else:
        click.echo(f"Kernel: {plural(len(plan.add), 'rule')} to add, {len(plan.superfluous)} to remove.")
    for line in plan.add:
        click.echo(f"+ {line}")
    for rule in plan.superfluous:
        click.echo(f"- {show(rule.text.encode())}")


def _note_unsaved(plan: Installation, wish: Wish) -> None:
    if plan.unsaved:
        first = show(plan.unsaved[0].text.encode())
        note(
            f"{plural(len(plan.unsaved), 'loaded rule')} of others in no file of {wish.directory}, so the next boot or"
            f" augenrules --load drops what is there now: {first}"
        )


def _print_checks(settings: Settings, config: Config, directory: str) -> int:
    from fimscan.cli.checks import print_checks
    from fimscan.cli.remedies import runnable
    from fimscan.pipeline.health.doctor import rule_checks

    checks = rule_checks(config, directory)
    if worst(checks) in (CheckSeverity.OK, CheckSeverity.NOTE):
        click.echo("Every monitored path is covered. 'audit status' checks the rest of audit.")
        return 0
    bad = [check for check in checks if check.severity not in (CheckSeverity.OK, CheckSeverity.NOTE)]
    return print_checks(runnable(bad, settings), "text", settings)
