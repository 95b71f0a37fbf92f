"""Findings -> change sets, ranked. Pure: no input or output, no clock, no database.

A change set is what one login session's process tree did in one stretch of time. Each change has a rank: it stands out,
or it can be judged together with its set.
"""

from fimscan.grouping.facts import Facts, Provenance, Provenances, process_key
from fimscan.grouping.nature import Nature, nature_of
from fimscan.grouping.places import PLACES, Place, place_of
from fimscan.grouping.rank import REASON_OF_SIGN, Level, Rank, RankReason, rank_of
from fimscan.grouping.sets import STRETCH_NS, ChangeSet, Grouping, RankedRow, SetKind, group, row_urgency, set_members
from fimscan.grouping.trees import earliest_calls

__all__ = [
    "PLACES",
    "REASON_OF_SIGN",
    "STRETCH_NS",
    "ChangeSet",
    "Facts",
    "Grouping",
    "Level",
    "Nature",
    "Place",
    "Provenance",
    "Provenances",
    "Rank",
    "RankReason",
    "RankedRow",
    "SetKind",
    "earliest_calls",
    "group",
    "nature_of",
    "place_of",
    "process_key",
    "rank_of",
    "row_urgency",
    "set_members",
]
