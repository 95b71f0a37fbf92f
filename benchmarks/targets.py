"""Print measured figures beside their targets."""

from __future__ import annotations

import os
import re
from pathlib import Path

# Every benchmark imports this one. An installed fimscan has its bytecode; with this variable, Python would compile ours
# each time.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

_PAGE = Path(__file__).parents[1] / "docs/explanation/performance.md"
_missed: list[str] = []


def faster(name: str, other: str, times: float, target: float) -> None:
    """Print how many times as fast as another program something is, and by how much it misses the target."""
    _judge(f"{name}: {times:.2f} times as fast as {other}", f"{target:.2f}", target / times)


def slower(name: str, other: str, times: float, target: float) -> None:
    """Print how many times as long as another program something takes, and by how much it misses the target."""
    _judge(f"{name}: {times:.2f} times as long as {other}", f"{target:.2f}", times / target)


def at_most(name: str, value: float, limit: float, unit: str) -> None:
    """Print a figure, and by how much it exceeds its limit."""
    _judge(f"{name}: {value:.2f} {unit}", f"{limit:g} {unit}", value / limit)


def print_what_was_tried(beginning: str) -> None:
    """If a target was missed, print the section of the performance page that begins so and says what was tried."""
    if _missed:
        (part,) = re.findall(rf"^{re.escape(beginning)}.*?(?=^## )", _PAGE.read_text(), re.MULTILINE | re.DOTALL)
        print(f"\nMissed: {'; '.join(dict.fromkeys(_missed))}. {part.rstrip()}", flush=True)


def _judge(figure: str, target: str, excess: float) -> None:
    verdict = "met" if excess <= 1 else f"missed by a factor of {excess:.2f}"
    print(f"{figure} (target {target}; {verdict})", flush=True)
    if excess > 1:
        _missed.append(figure.partition(":")[0])
