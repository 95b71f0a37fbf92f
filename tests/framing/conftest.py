"""An audit system of its own for these tests: that of the lab stays open until the last test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.lab.conftest import ground_or_skip
from tests.lab.runner import Ground


@pytest.fixture(scope="module")
def ground() -> Iterator[Ground]:
    """The audit system and the directories of all attempts."""
    with ground_or_skip() as opened:
        yield opened
