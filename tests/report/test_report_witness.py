"""Text for the second witness: on or off, since when, and what it misses."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from fimscan.model import Verdict, WitnessExtent, WitnessHole
from fimscan.report.actor_text import actor_texts
from fimscan.report.documents.status import witness_objects
from fimscan.report.witness import HOLE_WORDS, extent_text
from tests.support import DEV, SECOND, actor

ON = WitnessExtent(dev=DEV, start_ns=1000 * SECOND, end_ns=2000 * SECOND)
FRESH = 150 * SECOND


def test_while_it_watches_it_says_since_when_and_what_it_misses() -> None:
    """It always misses mappings; if it misses nothing else, it can clear processes."""
    said = extent_text(ON, 2001 * SECOND, FRESH)
    assert "since 1970-01-01 00:16 UTC; misses stores to a mapping, so it can clear" in said
    assert "io_submit" in extent_text(replace(ON, holes=(WitnessHole.ASYNC_IO,)), 2001 * SECOND, FRESH)


@pytest.mark.parametrize(
    ("extent", "words"),
    [
        (replace(ON, ended="overflow"), "when the kernel's queue overflowed"),
        (replace(ON, ended="stopped"), "when 'fimscan schedule' was stopped"),
        (replace(ON, end_ns=1500 * SECOND), "when fimscan ended unexpectedly"),
    ],
)
def test_when_it_does_not_watch_it_says_why(extent: WitnessExtent, words: str) -> None:
    """If fimscan was killed, no reason is stored."""
    said = extent_text(extent, 2001 * SECOND, FRESH)
    assert "off; it watched" in said and words in said
    assert witness_objects([extent], 2001 * SECOND, FRESH)[0]["watching"] is False


def test_every_hole_has_words() -> None:
    """Every hole of the model has a text."""
    assert set(HOLE_WORDS) == set(WitnessHole)


def test_a_writer_that_fanotify_saw_differs_from_a_holder() -> None:
    """The writer has a time, but no audit event."""
    wrote, held = actor(pid=1, time_ns=1500 * SECOND), actor(pid=2)
    texts = [one.acts for one in actor_texts([wrote, held], Verdict.CONTESTED, None)]
    assert texts == ["wrote to it, as fanotify saw", "held it open for writing"]
