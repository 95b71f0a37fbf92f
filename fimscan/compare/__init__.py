"""FileState x FileState -> Change. Pure: no input or output, no clock, no database."""

from fimscan.compare.append_only import (
    ROTATION,
    ContentLocation,
    Disruption,
    Judgement,
    assign_files,
    begins_with,
    common_beginning,
    digests_match,
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
from fimscan.compare.merge import Merge, Pair, merge
from fimscan.compare.moves import with_moves
from fimscan.compare.net_changes import only_step, rows_with_steps, steps_by_path
from fimscan.compare.states import change_of, differences, same_content, same_state

__all__ = [
    "ROTATION",
    "ContentLocation",
    "Disruption",
    "Judgement",
    "Merge",
    "Pair",
    "assign_files",
    "begins_with",
    "change_of",
    "common_beginning",
    "differences",
    "digests_match",
    "family",
    "generation_numbers",
    "growth",
    "has_grown",
    "has_only_grown",
    "is_copy",
    "is_generation",
    "is_next_generation",
    "judge",
    "merge",
    "only_step",
    "out_of_order",
    "rows_with_steps",
    "same_content",
    "same_state",
    "steps_by_path",
    "with_moves",
]
