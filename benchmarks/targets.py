"""Figures beside what they have to be."""

from __future__ import annotations

_TRIED = "what was tried stands in README.md under Speed"


def faster(name: str, other: str, times: float, target: float) -> None:
    """Print how many times as fast as another one something is, and by how much that is too little."""
    verdict = "met" if times >= target else f"missed: it takes {target / times:.2f} times as long as it may; {_TRIED}"
    print(f"{name}: {times:.2f} times as fast as {other} (target {target:.2f}; {verdict})", flush=True)


def at_most(name: str, value: float, limit: float, unit: str) -> None:
    """Print a figure, and by how much it is too large."""
    verdict = "met" if value <= limit else f"missed: {value / limit:.2f} times as much; {_TRIED}"
    print(f"{name}: {value:.2f} {unit} (target {limit:g} {unit}; {verdict})", flush=True)
