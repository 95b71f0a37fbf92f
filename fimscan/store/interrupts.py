"""End what a thread does in the database, when it has to stop, in the middle of a statement, too."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_thread = threading.local()


@contextmanager
def interrupted_by(check: Callable[[], None]) -> Iterator[None]:
    """Call ``check`` now and then while this thread reads and removes rows; the error that it raises ends that."""
    _thread.check = check
    try:
        yield
    finally:
        _thread.check = None


def check_interrupt() -> None:
    """Call the check of this thread, if it has one."""
    check: Callable[[], None] | None = getattr(_thread, "check", None)
    if check is not None:
        check()


def on_progress() -> int:
    """SQLite's progress handler: lets Python run signal handlers, too. sqlite3 makes "interrupted" of an error."""
    check_interrupt()
    return 0
