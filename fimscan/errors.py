"""Every way in which fimscan fails on purpose, each with its exit code (listed by ``fimscan --help``)."""

from __future__ import annotations

from typing import ClassVar


class FimscanError(Exception):
    """The base: one clear line for the user, which says what is wrong and what to do."""

    exit_code: int = 18
    meaning: ClassVar[str] = ""


class OutputError(FimscanError):
    """The result could not be written where it was asked for."""

    exit_code = 14
    meaning = "output could not be written"


class UsageError(FimscanError):
    """The arguments make no sense together, or name something that is not there."""

    exit_code = 15
    meaning = "bad arguments"


class ConfigError(FimscanError):
    """The configuration is wrong; ``problems`` has one line for each thing to mend."""

    exit_code = 17
    meaning = "bad configuration"

    def __init__(self, message: str, problems: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.problems = problems


class InputError(FimscanError):
    """Something that has to be read cannot be read."""

    exit_code = 18
    meaning = "input/output error (nothing could be read)"


class LockedError(FimscanError):
    """Another scan is running on this database."""

    exit_code = 21
    meaning = "another scan holds the lock"


class StoreError(FimscanError):
    """The database is missing, damaged, locked, full, or of another version."""

    exit_code = 24
    meaning = "database"


class VerificationError(FimscanError):
    """Evidence, or the ledger, does not check."""

    exit_code = 25
    meaning = "evidence does not verify"


class InterruptedScanError(FimscanError):
    """Stopped by a signal; the exit code is the shell's, 128 + the signal's number (130 for Ctrl-C, 143 for TERM)."""

    exit_code = 130
    meaning = "interrupted by Ctrl-C (143: by SIGTERM); the last finished scan stands"

    def __init__(self, signal_number: int) -> None:
        super().__init__("interrupted; the last finished scan stands")
        self.exit_code = 128 + signal_number
