"""Change x FileAccess x Gap -> Attribution. Pure: no input or output, no clock, no database."""

from fimscan.attribution.ancestry import lineage
from fimscan.attribution.attribute import attribute, content_kept, opened_unmodified
from fimscan.attribution.case import Evidence
from fimscan.attribution.clock import ReadClock
from fimscan.attribution.coverage import SLACK_NS, CoverageMap, Extent, Need, covers
from fimscan.attribution.crashes import CorePattern, attribute_core_dump
from fimscan.attribution.devices import DeviceNumbers, translate_devices, unauditable_paths
from fimscan.attribution.index import BINDS, MOVES, UNBINDS, WRITES, AccessIndex, KnownDirectories, Relevance
from fimscan.attribution.processes import Alive, Lives, can_be_one

__all__ = [
    "BINDS",
    "MOVES",
    "SLACK_NS",
    "UNBINDS",
    "WRITES",
    "AccessIndex",
    "Alive",
    "CorePattern",
    "CoverageMap",
    "DeviceNumbers",
    "Evidence",
    "Extent",
    "KnownDirectories",
    "Lives",
    "Need",
    "ReadClock",
    "Relevance",
    "attribute",
    "attribute_core_dump",
    "can_be_one",
    "content_kept",
    "covers",
    "lineage",
    "opened_unmodified",
    "translate_devices",
    "unauditable_paths",
]
