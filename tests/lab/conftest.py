"""A real audit system for the tests: the one that runs here, or an auditd of our own."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.lab.ground import Unavailable
from tests.lab.runner import Ground, open_ground

REQUIRED = os.environ.get("FIMSCAN_REQUIRE_AUDIT") == "1"


def unavailable(reason: str) -> None:
    """Skip with the reason; where audit is required, fail."""
    if REQUIRED:
        pytest.fail(f"audit is required here (FIMSCAN_REQUIRE_AUDIT=1), but {reason}")
    pytest.skip(reason)


@contextmanager
def ground_or_skip() -> Iterator[Ground]:
    """An audit system for tests; without one, they are skipped or, where audit is required, fail."""
    try:
        with open_ground(own=os.environ.get("FIMSCAN_LAB_OWN_DAEMON") == "1") as opened:
            yield opened
    except Unavailable as reason:
        unavailable(str(reason))


@pytest.fixture(scope="session")
def ground() -> Iterator[Ground]:
    """The audit system of all scenarios."""
    with ground_or_skip() as opened:
        yield opened


@pytest.fixture
def audit_log(ground: Ground) -> str:
    """The path of the log that a real auditd writes, without the records of earlier tests."""
    ground.forget_log()
    return ground.daemon.log
