"""A short soak: the scheduler with live looks and outputs, while everything around it fails once (``make soak``)."""

from __future__ import annotations

import random

import pytest

from tests.lab.conftest import unavailable
from tests.lab.ground import Unavailable
from tests.lab.runner import Ground
from tests.soak import scripts
from tests.soak.__main__ import SHORT, lines
from tests.soak.run import play

# Less than a minute on an idle machine; every wait in it has its own limit.
pytestmark = [pytest.mark.audit, pytest.mark.timeout(900)]


def test_nothing_is_lost_and_nobody_accused_whatever_fails(ground: Ground) -> None:
    """Every change is recorded once, every answer has its process or the fault's gap, every message arrives once.

    Each outage is recorded with its times. The disk of the database is full, auditd and the scheduler are killed, the
    rules are removed, the log is rotated, the receivers are down, the scheduler sleeps, and its configuration changes.
    """
    try:
        result = play(ground, scripts.short, SHORT, random.randrange(10**6), print)
    except Unavailable as reason:
        unavailable(str(reason))
    assert result.judgement.is_right, "\n".join(lines(result))
