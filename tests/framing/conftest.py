"""An audit system of its own for these tests: that of the lab stays open until the last test."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.lab.conftest import unavailable
from tests.lab.ground import Unavailable
from tests.lab.runner import Ground, open_ground


@pytest.fixture(scope="module")
def ground() -> Iterator[Ground]:
    """The audit system and the directories of all attempts."""
    try:
        with open_ground(own=os.environ.get("FIMSCAN_LAB_OWN_DAEMON") == "1") as opened:
            yield opened
    except Unavailable as reason:
        unavailable(str(reason))
