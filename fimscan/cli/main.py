"""``fimscan``: the group, its options, and the one place where errors become exit codes."""

from __future__ import annotations

import gc
import os
import signal
import sys
import traceback
from collections.abc import Sequence
from importlib import import_module
from types import FrameType, ModuleType
from typing import NoReturn

import click

from fimscan import __version__, errors
from fimscan.cli.context import Settings
from fimscan.gc_pause import gc_paused

# Where each command is, and what 'fimscan --help' says of it.
_COMMANDS = {
    "init": ("init:init", "Write a configuration and create the database."),
    "scan": ("scan:scan", "Compare with the last scan, and name who changed what."),
    "diff": ("diff:diff", "Show what differs from the baseline, and who did it."),
    "explain": ("explain:explain", "Tell why a change got its verdict."),
    "explain-path": ("explain_path:explain_path_command", "Say whether a path is monitored, and why."),
    "accept": ("accept:accept", "Accept changes into the baseline."),
    "audit": ("audit:audit", "Print audit rules, recorded accesses, and audit's health."),
    "import": ("importing:import_group", "Import the baseline of another program."),
    "schedule": ("schedule:schedule", "Run scans and audit reading until stopped."),
    "export": ("evidence:export", "Write evidence that can be checked without fimscan."),
    "verify": ("evidence:verify", "Check a bundle of evidence, or the database."),
    "status": ("status:status", "Show the last scans and what waits for acceptance."),
    "schema": ("schema:schema", "Print the JSON Schema of what --format json prints."),
    "doctor": ("doctor:doctor", "Say what is wrong, and how to fix it."),
}
_INTERNAL_ERROR = 16


class _LazyGroup(click.Group):
    """Imports a command when it is called: 'fimscan --help' needs none of them."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  # click's signature
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in _COMMANDS:
            return None
        module, _, name = _COMMANDS[cmd_name][0].partition(":")
        command = vars(_imported(f"fimscan.cli.{module}"))[name]
        assert isinstance(command, click.Command), "the table above names commands"
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        with formatter.section("Commands"):
            formatter.write_dl([(name, summary) for name, (_, summary) in _COMMANDS.items()])


def _imported(module: str) -> ModuleType:
    """A module, with all that it imports, which stays until the end.

    So Python's search for cycles has no business there: not meanwhile, when it takes a tenth of the time, nor later.
    """
    with gc_paused():
        found = import_module(module)
        gc.freeze()
    return found


def _exit_code_help() -> str:
    defined = (item for item in vars(errors).values() if isinstance(item, type))
    kinds = [error for error in defined if issubclass(error, errors.FimscanError) and error.meaning]
    lines = [
        "Exit codes of scan and diff: 0 nothing differs, else the sum of 1 (added), 2 (removed), 4 (changed).",
        "audit status and doctor: 0 all is well, 1 something weakens what is seen, 2 nothing is seen. Errors:",
        *(f"{error.exit_code:>3}  {error.meaning}" for error in kinds),
        f"{_INTERNAL_ERROR:>3}  internal error (a bug; --debug shows where)",
    ]
    return "\b\n" + "\n".join([*lines[:2], *sorted(lines[2:])])


@click.group(cls=_LazyGroup, epilog=_exit_code_help(), context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--config",
    "config_path",
    metavar="FILE",
    help="Configuration file. Default: $FIMSCAN_CONFIG, ./fimscan.toml, /etc/fimscan/fimscan.toml.",
)
@click.option("--db", "db_url", metavar="URL", help="Database, instead of the configured one: sqlite:////path/to.db")
@click.option("--debug", is_flag=True, expose_value=False, help="Show where an error came from.")
@click.version_option(__version__, prog_name="fimscan")
@click.pass_context
def cli(ctx: click.Context, config_path: str | None, db_url: str | None) -> None:
    """Record what files are, find what changed, and say which process changed it.

    Start with 'fimscan init', load the rules that 'fimscan audit rules' prints, then 'fimscan scan': the first scan is
    the baseline. 'fimscan diff' shows what has changed since, and who did it.
    """
    ctx.obj = Settings(config_path=config_path, db_url=db_url)


def _on_stop(number: int, _frame: FrameType | None) -> NoReturn:
    raise errors.InterruptedScanError(number)


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """The entry point of the console script."""
    for number in (signal.SIGTERM, signal.SIGINT):
        # A shell starts background jobs with SIGINT ignored, and that is to stay so.
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _on_stop)
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115  # for as long as the process lives
    if sys.stdout is None:
        _complain("standard output is closed, so that nothing can be said; redirect it to /dev/null if that is meant")
        os._exit(errors.OutputError.exit_code)
    for stream in (sys.stdout, sys.stderr):
        # A report has to come out on any terminal and in any locale; what it can't show is escaped.
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    code = _run(arguments, debug="--debug" in arguments)
    try:
        sys.stdout.flush()
    except OSError as error:
        code = _output_failed(error)
    sys.stderr.flush()
    # Not sys.exit: at its end the interpreter would flush a broken pipe again, and complain.
    os._exit(code)


def _run(arguments: Sequence[str], *, debug: bool) -> int:
    try:
        outcome = cli.main(args=list(arguments), prog_name="fimscan", standalone_mode=False)
    except click.ClickException as error:
        return _usage(error)
    except SystemExit:
        # click's answer to a reader that has gone away (EPIPE); all else it reports by an exception of its own.
        return errors.OutputError.exit_code
    except errors.FimscanError as error:
        if debug:
            traceback.print_exc()
        return _fail(error)
    except Exception as error:  # noqa: BLE001  # the last resort: one line, never a traceback
        if debug:
            traceback.print_exc()
        return _unexpected(error)
    return outcome if isinstance(outcome, int) else 0


def _fail(error: errors.FimscanError) -> int:
    problems = getattr(error, "problems", ())
    for line in problems or (str(error),):
        _complain(line)
    return error.exit_code


def _usage(error: click.ClickException) -> int:
    where = error.ctx.command_path if isinstance(error, click.UsageError) and error.ctx else "fimscan"
    _complain(f"{error.format_message()} (see '{where} --help')")
    return errors.UsageError.exit_code


def _unexpected(error: Exception) -> int:
    if isinstance(error, OSError) and error.strerror:
        if not isinstance(error.filename, (str, bytes)):
            # Files are opened by name; what fails without one is a stream that is written to.
            return _output_failed(error)
        _complain(f"{os.fsdecode(error.filename)}: {error.strerror}")
        return errors.InputError.exit_code
    _complain(f"internal error: {type(error).__name__}: {error} (--debug shows where; please report it)")
    return _INTERNAL_ERROR


def _output_failed(error: OSError) -> int:
    # A reader that has seen enough ('fimscan diff | head') is no error worth a line.
    if not isinstance(error, BrokenPipeError):
        _complain(f"the output could not be written: {error.strerror}")
    return errors.OutputError.exit_code


def _complain(line: str) -> None:
    shown = line.replace("\n", " ")
    print(f"fimscan: {shown}", file=sys.stderr)  # noqa: T201


if __name__ == "__main__":
    main()
