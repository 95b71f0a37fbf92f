"""Read the configuration again on SIGHUP: for the commands that run until stopped."""

from __future__ import annotations

import sys

from fimscan.cli.context import Settings, note
from fimscan.config import Config
from fimscan.errors import ConfigError


def read_again(settings: Settings, present: Config) -> Config | None:
    """Return the configuration as it is now; ``None`` if it did not change, or is invalid, which is printed."""
    try:
        found = settings.config()
    except ConfigError as error:
        note_invalid(error)
        return None
    if found == present:
        note("SIGHUP: the configuration is as it was")
        return None
    return found


def note_invalid(error: ConfigError) -> None:
    """Print what is wrong with the new configuration, and that it is not used."""
    for line in error.problems or (str(error),):
        note(line)
    note("SIGHUP: the configuration is invalid; the old one stays in use")


def note_valid() -> None:
    """Print that the new configuration is used."""
    note("SIGHUP: the configuration is valid, and in use from now on")


def has_terminal() -> bool:
    """Whether a person started this in a terminal, which ends it when it is closed."""
    return sys.stdin is not None and sys.stdin.isatty()
