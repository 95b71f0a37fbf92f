"""The trigger of a cron expression, as programs can ask for it."""

from __future__ import annotations

import time
from datetime import UTC, datetime

import pytest

from fimscan.scheduler import trigger_of


@pytest.fixture(autouse=True)
def _utc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()


def test_it_fires_on_either_day() -> None:
    """If day of month and day of week are both restricted, one of them is enough (crontab(5))."""
    trigger, now = trigger_of("0 3 1,15 * 0"), datetime(2026, 11, 2, tzinfo=UTC)
    first = trigger.get_next_fire_time(None, now)
    assert first == datetime(2026, 11, 8, 3, tzinfo=UTC)  # a Sunday
    assert trigger.get_next_fire_time(first, first) == datetime(2026, 11, 15, 3, tzinfo=UTC)


def test_what_never_fires_says_so() -> None:
    assert trigger_of("0 3 31 2 *").get_next_fire_time(None, datetime(2026, 11, 2, tzinfo=UTC)) is None
