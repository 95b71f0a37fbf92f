"""Golden pairs: recorded logs (tests/data/audit/*.log) and the accesses read from them (*.json)."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from typing import Any

import pytest

from fimscan.audit import read_stream
from fimscan.model import FileAccess

DATA = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "data", "audit")
RECORDED = sorted(name.removesuffix(".log") for name in os.listdir(DATA) if name.endswith(".log"))


@pytest.mark.parametrize("name", RECORDED)
def test_recorded_events_give_the_accesses_that_were_checked_by_hand(
    name: str, as_json: Callable[[FileAccess], dict[str, Any]]
) -> None:
    """Each recorded log yields exactly the accesses in the JSON beside it (FIMSCAN_UPDATE_GOLDEN=1 rewrites that)."""
    with open(f"{DATA}/{name}.log", "rb") as file:
        batches = list(read_stream(file, b"log"))
    assert not any(batch.damaged for batch in batches)
    found = [as_json(access) for batch in batches for access in batch.accesses]
    path = f"{DATA}/{name}.json"
    if os.environ.get("FIMSCAN_UPDATE_GOLDEN"):
        with open(path, "w", encoding="utf-8") as file_out:
            json.dump(found, file_out, indent=1, ensure_ascii=False)
            file_out.write("\n")
    with open(path, encoding="utf-8") as golden:
        assert found == json.load(golden)
