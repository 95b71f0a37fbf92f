"""The check of 'fimscan doctor' on metrics: whether they can be written, and how old they are."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

from fimscan.config import Config
from fimscan.model import Check
from fimscan.pipeline.health.checks import ok, warning
from fimscan.pipeline.health.coverage.gather import longest_wait
from fimscan.pipeline.health.remedies import commented
from fimscan.pipeline.metrics.expose import missing_library

_NAME = "metrics"
_LATE = 2  # intervals


def metrics_checks(config: Config) -> Iterator[Check]:
    """Check the metrics, if any are configured."""
    path, listen = config.metrics.textfile, config.metrics.listen
    if not path and not listen:
        return
    if (problem := missing_library()) is not None:
        what, _, remedy = problem.partition("; run: ")
        yield warning(_NAME, what.removeprefix("metrics: "), remedy)
        return
    if listen:
        yield ok(_NAME, f"'fimscan schedule' serves them at http://{listen}/metrics")
    if not path:
        return
    write = commented("fimscan scan", "it writes them, and says what fails")
    try:
        age_s = time.time() - os.stat(path).st_mtime
    except OSError as error:
        yield warning(_NAME, f"{path}: {error.strerror}", write)
        return
    every_s = longest_wait(config.schedule.scan) or 0
    if age_s > _LATE * max(every_s, 3600):
        yield warning(_NAME, f"{path} was last written {age_s / 3600:.1f} hours ago", write)
    else:
        yield ok(_NAME, f"{path}, written {age_s / 60:.0f} minutes ago")
