"""Change, FileAccess, Gap -> Attribution. Pure: no input or output, no clock, no database."""

from fimscan.join.ancestry import lineage
from fimscan.join.appendonly import (
    ROTATION,
    Disruption,
    Judgement,
    Whereabouts,
    are_of,
    assigned,
    begins_with,
    common_beginning,
    family,
    generation_numbers,
    growth,
    has_grown,
    has_only_grown,
    is_copy,
    is_generation,
    is_next_generation,
    judge,
    out_of_order,
)
from fimscan.join.attribute import attribute, content_kept, opened_unmodified
from fimscan.join.case import Evidence
from fimscan.join.changesets import rows
from fimscan.join.clock import ReadClock
from fimscan.join.compare import change_of, differences, same_content, says_the_same, with_moves
from fimscan.join.coverage import SLACK_NS, CoverageMap, Extent, Need, covers
from fimscan.join.crashes import CorePattern, dumped
from fimscan.join.devices import Numbering, out_of_sight, translated
from fimscan.join.index import BINDS, MOVES, UNBINDS, WRITES, AccessIndex, Known, Relevance
from fimscan.join.merge import Merge, Pair, merge
from fimscan.join.processes import Alive, Lives, can_be_one

__all__ = [
    "BINDS",
    "MOVES",
    "ROTATION",
    "SLACK_NS",
    "UNBINDS",
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
    "Numbering",
    "Pair",
    "ReadClock",
    "Relevance",
    "Whereabouts",
    "are_of",
    "assigned",
    "attribute",
    "begins_with",
    "can_be_one",
    "change_of",
    "common_beginning",
    "content_kept",
    "covers",
    "differences",
    "dumped",
    "family",
    "generation_numbers",
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
    "out_of_order",
    "out_of_sight",
    "rows",
    "same_content",
    "says_the_same",
    "translated",
    "with_moves",
]
