"""Shared by all commands: configuration, database, exit code of a diff, terminal, output file.

Every command imports this module. So it imports slow libraries (pydantic, SQLAlchemy) only in the functions using them.
"""

from __future__ import annotations

import gc
import os
import shutil
import stat
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from typing import TYPE_CHECKING, TextIO, cast

import click
from msgspec import Struct

from fimscan.errors import InterruptedScanError, OutputError, UsageError
from fimscan.passwords import without_password
from fimscan.trust import trust_problem
from fimscan.whole_file import replaced

if TYPE_CHECKING:
    from fimscan.config import Config
    from fimscan.grouping import Facts
    from fimscan.model import Diff, Finding
    from fimscan.store.database import Database

_ADDED, _REMOVED, _CHANGED = 1, 2, 4
_LINES = 24
#: Where id and head of the host are, if the database is on a server. systemd sets the variable (systemd.exec(5)).
STATE_DIRECTORY = os.environ.get("STATE_DIRECTORY", "").partition(":")[0] or "/var/lib/fimscan"


class Settings(Struct, frozen=True, kw_only=True):
    """The global options, which come before the command."""

    config_path: str | None
    db_url: str | None
    no_pager: bool = False
    verbose: bool = False

    def config(self) -> Config:
        """Load the configuration; ``--db`` replaces its database."""
        from fimscan.config import load_config

        path = self.config_file()
        if self.verbose:
            _note_once(f"configuration: {path}")
        config = load_config(path)
        if self.db_url is None:
            return config
        return config.model_copy(update={"database": config.database.model_copy(update={"url": self.db_url})})

    def config_file(self) -> str:
        """The absolute path of the configuration file."""
        from fimscan.config import find_config

        return os.path.abspath(self.config_path or find_config(ignored=_note_once))

    def config_if_any(self) -> Config | None:
        """Load the configuration; ``None`` if it cannot be read and ``--db`` was given."""
        from fimscan.errors import ConfigError

        try:
            return self.config()
        except ConfigError:
            if self.db_url is None:
                raise
            return None

    def url(self) -> str:
        """URL of the database; with ``--db``, no configuration is read."""
        return self.db_url or self.config().database.url

    @contextmanager
    def database(self, *, create: bool = False, writing: bool = False, adopt: str | None = None) -> Iterator[Database]:
        """Open the database for one command. Without ``create`` and ``writing``, read access is enough.

        ``adopt`` takes over the records of another host (:mod:`fimscan.store.hosts`).
        """
        database = self.opened_database(create=create, writing=create or writing, adopt=adopt)
        try:
            yield database
        finally:
            database.close()

    def opened_database(self, *, create: bool = False, writing: bool = False, adopt: str | None = None) -> Database:
        """Open the database for a caller that closes it."""
        from fimscan.linux.host import this_host
        from fimscan.store.database import Database

        url = self.url()
        if self.verbose:
            _note_once(f"database: {without_password(url)}")
        return Database(url, host=this_host(), create=create, writing=writing, adopt=adopt, directory=STATE_DIRECTORY)


def packaged_finding(database: Database, finding: Finding, settings: Settings) -> Finding:
    """One change with its package. Problems go to standard error."""
    from fimscan.pipeline.history.packaged import default_sources, with_package

    try:
        found, problems = with_package(database, finding, default_sources(settings.url()))
    except InterruptedScanError:
        raise
    except Exception as error:  # noqa: BLE001 -- the explanation comes, whatever there is in a database of packages
        note(f"packages were not asked: {type(error).__name__}: {error}")
        return finding
    _note_problems(problems)
    return found


def _note_problems(problems: Sequence[str]) -> None:
    if problems:
        more = f" (and {len(problems) - 1:,} more problems)" if len(problems) > 1 else ""
        note(f"packages: {problems[0]}{more}")


def packaged(
    database: Database, diff: Diff, settings: Settings, *, disabled: bool = False, after_scan: bool = False
) -> tuple[Diff, Facts | None]:
    """The diff with its packages, and the facts for its grouping. Problems go to standard error.

    ``after_scan``: a scan has just found these changes, so their files may be read, and their digests kept.
    """
    if disabled or not diff.findings:
        return diff, None
    from fimscan.pipeline.history.packaged import default_sources, with_packages

    try:
        found = with_packages(database, diff, default_sources(settings.url(), after_scan=after_scan))
    except InterruptedScanError:
        raise
    except Exception as error:  # noqa: BLE001 -- the report comes, whatever there is in a database of packages
        note(f"packages were not asked: {type(error).__name__}: {error}")
        return diff, None
    _note_problems(found.problems)
    return found.diff, found.facts


_LEFT: list[object] = []


def leave_to_exit(*values: object) -> None:
    """Keep the values of a report until the process ends, or the next report is made.

    Otherwise they would be searched for cycles and freed one by one just before that: a third of a second for 50,000
    changes.
    """
    _LEFT[:] = values
    gc.freeze()


def exit_code(diff: Diff) -> int:
    """The sum of 1 (added), 2 (removed) and 4 (changed, also if the changed file is unreadable), as AIDE has it."""
    kinds = {finding.change.kind.value for finding in diff.findings}
    return (
        ("added" in kinds) * _ADDED
        + ("removed" in kinds) * _REMOVED
        + (bool(kinds & {"modified", "moved", "attributes"}) or any(item.differs for item in diff.unreadable))
        * _CHANGED
    )


def absolute_path(name: str) -> bytes:
    """An argument as an absolute path without final or doubled slashes; ``os.path`` lets ``//`` stay in front.

    Raises:
        UsageError: it is empty, as an unset variable of a script is. It must not mean the current directory.
    """
    if not name:
        raise UsageError("the path is empty; give a path, or . for the current directory")
    return os.fsencode(os.path.abspath(name).replace("//", "/", 1))


def use_color(stream: TextIO) -> bool:
    """Whether to write colours: on a terminal, unless NO_COLOR is set (https://no-color.org)."""
    return stream.isatty() and "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb"


def terminal_width() -> int:
    """Width of the terminal in columns; 100 if there is none."""
    return shutil.get_terminal_size((100, 24)).columns


def screen_size() -> tuple[int, int]:
    """(columns, lines) of the terminal, of at least 24 lines; 80 by 24 if there is none, as in a mail."""
    columns, lines = shutil.get_terminal_size((80, _LINES))
    return columns, max(lines, _LINES)


@contextmanager
def output_to(path: str | None, *, mode: int = 0o600) -> Iterator[TextIO]:
    """Open standard output, or a file that is written completely or not at all.

    A device or FIFO is written to: replacing it would, as root, turn /dev/null into a file. A new file gets ``mode``;
    a replaced one of ours keeps its own.
    """
    if path is None or path == "-":
        yield sys.stdout
        return
    if _is_special(path):
        _refuse_foreign_link(path)
        try:
            with open(path, "w", encoding="utf-8", errors="backslashreplace") as file:
                yield file
        except OSError as error:
            raise OutputError(f"cannot write {path}: {error.strerror}") from error
        return
    try:
        with replaced(path, mode=_mode_of_ours(path) or mode, encoding="utf-8") as whole:
            yield cast("TextIO", whole)
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror}") from error


def _mode_of_ours(path: str) -> int | None:
    """The permissions of a regular file of the user that runs this; ``None`` for anything else."""
    with suppress(OSError):
        found = os.lstat(path)
        if stat.S_ISREG(found.st_mode) and found.st_uid == os.geteuid():
            return found.st_mode & 0o777
    return None


def _refuse_foreign_link(path: str) -> None:
    """Refuse a link of somebody else to a device: as root, it could lead to a disk."""
    with suppress(FileNotFoundError):
        if stat.S_ISLNK(os.lstat(path).st_mode) and (problem := trust_problem(path)) is not None:
            raise OutputError(f"cannot write {path}: {problem}")


def _is_special(path: str) -> bool:
    """Whether there is something that is neither a regular file nor a directory."""
    try:
        mode = os.stat(path).st_mode
    except OSError:
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def note(line: str) -> None:
    """Print a message to standard error. If nothing reads that any more, the command goes on.

    The commands that it quotes get the options of this run.
    """
    from fimscan.cli.remedies import complete_quoted
    from fimscan.report.display import one_line

    context = click.get_current_context(silent=True)
    if context is not None and isinstance(context.obj, Settings):
        line = complete_quoted(line, context.obj)
    with suppress(OSError):
        print(f"fimscan: {one_line(line)}", file=sys.stderr)  # noqa: T201


@cache
def _note_once(line: str) -> None:
    note(line)
