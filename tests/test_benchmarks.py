"""What the benchmarks say beside their figures."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from benchmarks import targets

_BENCHMARKS = Path(targets.__file__).parent


@pytest.mark.parametrize("name", ["growth.py", "scan_vs_aide.py"])
def test_a_missed_target_says_what_was_tried(
    name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The part of docs/explanation/performance.md is found by its first words, which a benchmark needs at its end."""
    monkeypatch.setattr(targets, "_missed", [])
    (beginning,) = re.findall(r'print_what_was_tried\("(.*)"\)', (_BENCHMARKS / name).read_text())
    targets.slower("rescan", "the prototype", 1.9, 2)
    targets.print_what_was_tried(beginning)
    assert "ried" not in capsys.readouterr().out
    targets.slower("rescan", "the prototype", 3, 2)
    targets.print_what_was_tried(beginning)
    printed = " ".join(capsys.readouterr().out.split())
    assert "missed by a factor of 1.50" in printed
    assert "Missed: rescan." in printed and "Tried, and not kept:" in printed
