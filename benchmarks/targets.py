"""Figures beside what they have to be."""

from __future__ import annotations

import re
from pathlib import Path

_PAGE = Path(__file__).parents[1] / "docs/explanation/performance.md"
_missed: list[str] = []


def faster(name: str, other: str, times: float, target: float) -> None:
    """Print how many times as fast as another one something is, and by how much that is too little."""
    _judge(f"{name}: {times:.2f} times as fast as {other}", f"{target:.2f}", target / times)


def slower(name: str, other: str, times: float, target: float) -> None:
    """Print how many times as long as another one something takes, and by how much that is too much."""
    _judge(f"{name}: {times:.2f} times as long as {other}", f"{target:.2f}", times / target)


def at_most(name: str, value: float, limit: float, unit: str) -> None:
    """Print a figure, and by how much it is too large."""
    _judge(f"{name}: {value:.2f} {unit}", f"{limit:g} {unit}", value / limit)


def tell_what_was_tried(beginning: str) -> None:
    """If anything was missed, print the part of the page on performance that begins so: it says what was tried."""
    if _missed:
        (told,) = re.findall(rf"^{re.escape(beginning)}.*?(?=^## )", _PAGE.read_text(), re.MULTILINE | re.DOTALL)
        print(f"\nMissed: {'; '.join(dict.fromkeys(_missed))}. {told.rstrip()}", flush=True)


def _judge(figure: str, target: str, excess: float) -> None:
    verdict = "met" if excess <= 1 else f"missed: {excess:.2f} times as much as it may"
    print(f"{figure} (target {target}; {verdict})", flush=True)
    if excess > 1:
        _missed.append(figure.partition(":")[0])
