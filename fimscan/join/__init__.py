"""Change, FileAccess, Gap -> Attribution. Pure: no input or output, no clock, no database."""

from fimscan.join.ancestry import lineage
from fimscan.join.attribute import attribute, content_kept, opened_unmodified
from fimscan.join.case import Evidence
from fimscan.join.changesets import rows
from fimscan.join.clock import ReadClock
from fimscan.join.compare import change_of, differences, same_content, with_moves
from fimscan.join.coverage import SLACK_NS, CoverageMap, Extent, Need, covers
from fimscan.join.index import WRITES, AccessIndex, Known, Relevance
from fimscan.join.merge import Merge, Pair, merge

__all__ = [
    "SLACK_NS",
    "WRITES",
    "AccessIndex",
    "CoverageMap",
    "Evidence",
    "Extent",
    "Known",
    "Merge",
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
    "with_moves",
]
