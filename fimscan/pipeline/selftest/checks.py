"""The check of 'fimscan doctor' on the last selftest."""

from __future__ import annotations

import time
from collections.abc import Iterator

from fimscan.config import Config
from fimscan.model import Check
from fimscan.pipeline.health.checks import note, ok, warning
from fimscan.pipeline.health.coverage.gather import longest_wait
from fimscan.pipeline.health.remedies import commented
from fimscan.report.selftest import last_text
from fimscan.store import selftests
from fimscan.store.database import Database

_NAME = "selftest"
_RUN = "fimscan selftest"
_LATE = 2  # intervals


def selftest_checks(config: Config, database: Database) -> Iterator[Check]:
    """Check whether there was a selftest, when, and what came of it."""
    with database.read() as session:
        last = selftests.last(session)
    if last is None:
        detail = "there was none: whether a change would be noticed, and told to all outputs, was never tried"
        yield note(_NAME, detail, commented(_RUN, "after the checks above are fixed"))
        return
    text = last_text(last)
    every_s = longest_wait(config.schedule.selftest) if config.schedule.selftest else None
    age_s = (time.time_ns() - last.started_ns) / 1e9
    if not last.has_passed:
        yield warning(_NAME, text, commented(_RUN, "after that is fixed"))
    elif every_s is not None and age_s > _LATE * every_s:
        yield warning(_NAME, f"{text}; later ones did not run", commented("fimscan schedule", "only this runs them"))
    else:
        yield ok(_NAME, text)
