"""A real audit system for the tests: the one that runs here, or an auditd of our own."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.lab.ground import Unavailable
from tests.lab.runner import Ground, open_ground

REQUIRED = os.environ.get("FIMSCAN_REQUIRE_AUDIT") == "1"


def unavailable(reason: str) -> None:
    """Skip with the reason; where audit is required, fail."""
    if REQUIRED:
        pytest.fail(f"audit is required here (FIMSCAN_REQUIRE_AUDIT=1), but {reason}")
    pytest.skip(reason)


@pytest.fixture(scope="session")
def ground() -> Iterator[Ground]:
    """What all scenarios are played on."""
    try:
        with open_ground(own=os.environ.get("FIMSCAN_LAB_OWN_DAEMON") == "1") as opened:
            yield opened
    except Unavailable as reason:
        unavailable(str(reason))


@pytest.fixture
def audit_log(ground: Ground) -> str:
    """The path of a log that a real auditd writes, without what earlier tests have filled it with."""
    ground.forget_log()
    return ground.daemon.log
