"""``fimscan``: the command group, the global options, and the mapping of errors to exit codes."""

from __future__ import annotations

import gc
import os
import select
import signal
import sys
import traceback
from collections.abc import Sequence
from contextlib import suppress
from importlib import import_module
from types import FrameType, ModuleType
from typing import NoReturn

import click

from fimscan import __version__, errors
from fimscan.cli.commands import COMMANDS
from fimscan.cli.context import Settings
from fimscan.gc_pause import gc_paused

_INTERNAL_ERROR = 16
# A group without a command. click 8.1 does not have it: it prints the help and exits with 0.
_NO_ARGUMENTS = getattr(click.exceptions, "NoArgsIsHelpError", ())


class _LazyGroup(click.Group):
    """A group that imports a command only when it runs, so that 'fimscan --help' imports none."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  # click's signature
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in COMMANDS:
            return None
        module, _, name = COMMANDS[cmd_name][0].partition(":")
        command = vars(_imported(f"fimscan.cli.{module}"))[name]
        assert isinstance(command, click.Command), "COMMANDS names click commands"
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        with formatter.section("Commands"):
            formatter.write_dl([(name, summary) for name, (_, summary) in COMMANDS.items()])


def _imported(module: str) -> ModuleType:
    """Import a module without garbage collection, and exclude its objects from later collections.

    Imported modules are never freed. Collecting during the import takes a tenth of its time.
    """
    with gc_paused():
        found = import_module(module)
        gc.freeze()
    return found


def _exit_code_help() -> str:
    defined = (item for item in vars(errors).values() if isinstance(item, type))
    kinds = [error for error in defined if issubclass(error, errors.FimscanError) and error.meaning]
    lines = [
        "Exit codes of scan and diff: 0 nothing differs, else the sum of 1 (added), 2 (removed), 4 (changed);",
        "scan --strict adds 8 if a control failed (a sum of 14 or 15 then is no error: errors print a line).",
        "Exit codes of audit status and doctor: 0 all is well, 1 warning, 2 critical. Errors of all commands:",
        *(f"{error.exit_code:>3}  {error.meaning}" for error in kinds),
        f"{_INTERNAL_ERROR:>3}  internal error (a bug; --debug prints the traceback)",
    ]
    return "\b\n" + "\n".join([*lines[:3], *sorted(lines[3:])])


@click.group(cls=_LazyGroup, epilog=_exit_code_help(), context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--config",
    "config_path",
    metavar="FILE",
    help="Configuration file. Default: $FIMSCAN_CONFIG, ./fimscan.toml, /etc/fimscan/fimscan.toml.",
)
@click.option(
    "--db", "db_url", metavar="URL", help="Use this database instead of the configured one: sqlite:////path/to.db"
)
@click.option("--no-pager", is_flag=True, help="Do not show reports through $FIMSCAN_PAGER, $PAGER or less.")
@click.option("--verbose", is_flag=True, help="Say which configuration and database are used.")
@click.option("--debug", is_flag=True, expose_value=False, help="Print the traceback of an error.")
@click.version_option(__version__, prog_name="fimscan")
@click.pass_context
def cli(ctx: click.Context, config_path: str | None, db_url: str | None, *, no_pager: bool, verbose: bool) -> None:
    """Detect changed files and say which process changed them.

    Run 'fimscan init', then the commands that it prints: they load the audit rules and record the baseline. 'fimscan
    diff' shows what has changed since, and who changed it.

    Example: fimscan --config /etc/fimscan/fimscan.toml scan --verbose
    """
    ctx.obj = Settings(config_path=config_path, db_url=db_url, no_pager=no_pager, verbose=verbose)


def _on_stop(number: int, _frame: FrameType | None) -> NoReturn:
    raise errors.InterruptedScanError(number)


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """The entry point of the console script."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        # A shell starts background jobs with SIGINT ignored, nohup with SIGHUP: keep them ignored.
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _on_stop)
    # A broken lease sends it, and its default ends the process. The scan then need not redirect it for each file.
    signal.signal(signal.SIGIO, signal.SIG_IGN)
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115  # open until the process ends
    if sys.stdout is None:
        _complain(
            "standard output is closed, so nothing can be printed; redirect it to /dev/null if you want no output"
        )
        os._exit(errors.OutputError.exit_code)
    for stream in (sys.stdout, sys.stderr):
        # Printing must not fail in any locale: characters that the encoding lacks are escaped.
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    code = _run(arguments, debug="--debug" in arguments)
    try:
        sys.stdout.flush()
    except OSError as error:
        code = _output_failed(error)
    with suppress(OSError):
        sys.stderr.flush()
    # Not sys.exit: the interpreter would flush a broken pipe again and print an error.
    os._exit(code)


def _run(arguments: Sequence[str], *, debug: bool) -> int:
    try:
        outcome = cli.main(args=list(arguments), prog_name="fimscan", standalone_mode=False)
    except click.ClickException as error:
        return _usage(error)
    except SystemExit as stopped:
        # click calls sys.exit after printing shell completion (0), and on EPIPE while it handles that error.
        if not stopped.code:
            return 0
        return _output_failed(stopped.__context__ if isinstance(stopped.__context__, OSError) else BrokenPipeError())
    except errors.FimscanError as error:
        if debug:
            traceback.print_exc()
        return _fail(error, arguments)
    except Exception as error:  # noqa: BLE001  # last resort: print one line, not a traceback
        if debug:
            traceback.print_exc()
        return _unexpected(error)
    return outcome if isinstance(outcome, int) else 0


def _fail(error: errors.FimscanError, arguments: Sequence[str]) -> int:
    from fimscan.cli.remedies import complete_quoted

    options = cli.make_context("fimscan", list(arguments), resilient_parsing=True).params
    settings = Settings(config_path=options["config_path"], db_url=options["db_url"])
    problems = getattr(error, "problems", ())
    for line in problems or (str(error),):
        _complain(complete_quoted(line, settings))
    return error.exit_code


def _usage(error: click.ClickException) -> int:
    where = error.ctx.command_path if isinstance(error, click.UsageError) and error.ctx else "fimscan"
    if isinstance(error, _NO_ARGUMENTS):
        # The message is the help text.
        try:
            sys.stdout.write(f"{error.format_message()}\n")
        except OSError as problem:
            return _output_failed(problem)
        return 0
    _complain(f"{error.format_message()} (see '{where} --help')")
    return errors.UsageError.exit_code


def _unexpected(error: Exception) -> int:
    if isinstance(error, OSError) and error.strerror:
        if not isinstance(error.filename, (str, bytes)):
            # Files are opened by name. An error without a file name comes from writing to a stream.
            return _output_failed(error)
        _complain(f"{os.fsdecode(error.filename)}: {error.strerror}")
        return errors.InputError.exit_code
    _complain(f"internal error: {type(error).__name__}: {error} (please report it, with the output of --debug)")
    return _INTERNAL_ERROR


def _output_failed(error: OSError) -> int:
    if not isinstance(error, BrokenPipeError):
        _complain(f"the output could not be written: {error.strerror}")
        return errors.OutputError.exit_code
    # No message if the reader closed the pipe, as in 'fimscan diff | head'.
    if _is_reader_gone():
        return errors.PipeClosedError.exit_code
    _complain("internal error: another process closed a pipe (please report it, with the output of --debug)")
    return _INTERNAL_ERROR


def _is_reader_gone() -> bool:
    """Whether nothing reads standard output any more."""
    poll = select.poll()
    poll.register(1, 0)  # errors and hangups are always reported
    return bool(poll.poll(0))


def _complain(line: str) -> None:
    from fimscan.report.display import one_line

    shown = one_line(line)
    # Standard error may be the same closed pipe ('2>&1 | head'): the exit code still says what happened.
    with suppress(OSError):
        print(f"fimscan: {shown}", file=sys.stderr)  # noqa: T201


if __name__ == "__main__":
    main()
