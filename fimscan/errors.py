"""All errors that fimscan raises deliberately, with their exit codes (listed by ``fimscan --help``)."""

from __future__ import annotations

from typing import ClassVar


class FimscanError(Exception):
    """Base class. The text is one line for the user: what is wrong and what to do."""

    exit_code: int = 18
    meaning: ClassVar[str] = ""


class OutputError(FimscanError):
    """The output could not be written."""

    exit_code = 14
    meaning = "output could not be written"


class UsageError(FimscanError):
    """The arguments contradict each other, or name something that does not exist."""

    exit_code = 15
    meaning = "bad arguments"


class ConfigError(FimscanError):
    """The configuration is invalid; ``problems`` has one line for each thing to fix."""

    exit_code = 17
    meaning = "bad configuration"

    def __init__(self, message: str, problems: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.problems = problems


class InputError(FimscanError):
    """A required input cannot be read."""

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


class UnavailableError(StoreError):
    """The database itself reported an error: its disk is full, it is locked, its server is gone.

    Attributes:
        failed_scan_file: where a scan can be noted that failed because of it, if that is known.
    """

    meaning = ""  # as for every other error of the database
    failed_scan_file: str | None = None


class VerificationError(FimscanError):
    """The bundle or the ledger does not verify."""

    exit_code = 25
    meaning = "evidence does not verify"


class SelftestError(FimscanError):
    """A selftest failed: what it changed itself was not noticed all the way."""

    exit_code = 26
    meaning = "a selftest failed"


class InterruptedScanError(FimscanError):
    """A signal stopped the scan. The exit code is the shell's: 128 + the signal (130: Ctrl-C, 143: TERM, 129: HUP)."""

    exit_code = 130
    meaning = "interrupted by Ctrl-C (143: by SIGTERM, 129: by SIGHUP); the last finished scan stands"
    latest: ClassVar[InterruptedScanError | None] = None  # see "behind"

    def __init__(self, signal_number: int) -> None:
        super().__init__("interrupted; the last finished scan stands")
        self.exit_code = 128 + signal_number
        InterruptedScanError.latest = self

    @classmethod
    def behind(cls, error: Exception) -> InterruptedScanError | None:
        """The signal that made a database fail: sqlite3 swallows what a handler raises, and says "interrupted"."""
        return cls.latest if "interrupted" in str(error) else None


class InterruptedReviewError(FimscanError):
    """A signal or a lost terminal ended a review. What was decided is stored. The exit code is the shell's."""

    exit_code = 129  # as for a hangup

    def __init__(self, error: InterruptedScanError, said: str) -> None:
        super().__init__(f"interrupted; what was decided is stored: {said}")
        self.exit_code = error.exit_code


class PipeClosedError(FimscanError):
    """The reader of standard output stopped reading. The exit code is the shell's for SIGPIPE: 128 + 13."""

    exit_code = 141
    meaning = "the reader closed the pipe, as 'fimscan diff | head' does; nothing is printed"
