"""Change, FileAccess, Gap -> Attribution. Pure: no input or output, no clock, no database."""

from fimscan.join.ancestry import lineage
from fimscan.join.appendonly import (
    ROTATION,
    Disruption,
    Judgement,
    are_of,
    common_beginning,
    family,
    growth,
    has_grown,
    has_only_grown,
    is_copy,
    is_generation,
    is_next_generation,
    judge,
)
from fimscan.join.attribute import attribute, content_kept, opened_unmodified
from fimscan.join.case import Evidence
from fimscan.join.changesets import rows
from fimscan.join.clock import ReadClock
from fimscan.join.compare import change_of, differences, same_content, says_the_same, with_moves
from fimscan.join.coverage import SLACK_NS, CoverageMap, Extent, Need, covers
from fimscan.join.crashes import CorePattern, dumped
from fimscan.join.index import WRITES, AccessIndex, Known, Relevance
from fimscan.join.merge import Merge, Pair, merge
from fimscan.join.processes import Alive, Lives, can_be_one

__all__ = [
    "ROTATION",
    "SLACK_NS",
    "WRITES",
    "AccessIndex",
    "Alive",
    "CorePattern",
    "CoverageMap",
    "Disruption",
    "Evidence",
    "Extent",
    "Judgement",
    "Known",
    "Lives",
    "Merge",
    "Need",
    "Pair",
    "ReadClock",
    "Relevance",
    "are_of",
    "attribute",
    "can_be_one",
    "change_of",
    "common_beginning",
    "content_kept",
    "covers",
    "differences",
    "dumped",
    "family",
    "growth",
    "has_grown",
    "has_only_grown",
    "is_copy",
    "is_generation",
    "is_next_generation",
    "judge",
    "lineage",
    "merge",
    "opened_unmodified",
    "rows",
    "same_content",
    "says_the_same",
    "with_moves",
]
