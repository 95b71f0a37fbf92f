"""Change, FileAccess, Gap -> Attribution. Pure: no input or output, no clock, no database."""

from fimscan.join.ancestry import lineage
from fimscan.join.attribute import attribute, content_kept, opened_unmodified
from fimscan.join.case import Evidence
from fimscan.join.changesets import rows
from fimscan.join.clock import ReadClock
from fimscan.join.compare import Pair, change_of, differences, merge, same_content, says_the_same, with_moves
from fimscan.join.coverage import SLACK_NS, CoverageMap, Extent, Need, covers
from fimscan.join.index import WRITES, AccessIndex, Known, Relevance

__all__ = [
    "SLACK_NS",
    "WRITES",
    "AccessIndex",
    "CoverageMap",
    "Evidence",
    "Extent",
    "Known",
    "Need",
    "Pair",
    "ReadClock",
    "Relevance",
    "attribute",
    "change_of",
    "content_kept",
    "covers",
    "differences",
    "lineage",
    "merge",
    "opened_unmodified",
    "rows",
    "same_content",
    "says_the_same",
    "with_moves",
]
