"""The register of scenarios: generators that prepare, yield for the baseline, act, and state the expected answers."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any, TypeAlias

from tests.lab import scenarios as library
from tests.lab.bench import Lab

Steps: TypeAlias = Generator[None, None, None]
"""A running scenario: up to its first ``yield`` it prepares the baseline, then it acts and states what to expect."""
Act: TypeAlias = Callable[[Lab], Steps]

#: Several processes wrote to successive files of the path: all are listed, the latest first.
SEVERAL: dict[str, Any] = {"verdict": "contested", "reason": "several-writers"}
#: Several processes wrote to one file: that is contested, whatever the reason.
EITHER = (("contested", "several-writers"),)


@dataclass(frozen=True)
class Scenario:
    """A scenario: one kind of change of files.

    An ``alone`` scenario disturbs the audit system, so it has its own installation and two scans; ``config`` is
    appended to its configuration ("{elsewhere}" is replaced by the directory beside the watched one). ``on`` lists the
    kinds of file systems on which it runs; empty for all.
    """

    name: str
    group: str
    act: Act
    alone: bool = False
    config: str = ""
    on: tuple[str, ...] = ()


_REGISTER: dict[str, Scenario] = {}


def scenario(act: Act) -> Act:
    """Register a scenario that shares its two scans with other scenarios."""
    return _register(act, alone=False)


def scenario_on(*kinds: str) -> Callable[[Act], Act]:
    """Register a scenario that runs only on some kinds of file systems."""
    return lambda act: _register(act, alone=False, on=kinds)


def alone(config: str = "", on: tuple[str, ...] = ()) -> Callable[[Act], Act]:
    """Register a scenario that runs alone between two scans."""
    return lambda act: _register(act, alone=True, config=config, on=on)


def _register(act: Act, *, alone: bool, config: str = "", on: tuple[str, ...] = ()) -> Act:
    name = act.__name__
    assert name not in _REGISTER, f"two scenarios are called {name}"
    group = act.__module__.rpartition(".")[2]
    _REGISTER[name] = Scenario(name=name, group=group, act=act, alone=alone, config=config, on=on)
    return act


def all_scenarios(kind: str) -> list[Scenario]:
    """Every scenario that runs on a kind of file system, in source order."""
    for module in sorted(info.name for info in pkgutil.iter_modules(library.__path__)):
        importlib.import_module(f"{library.__name__}.{module}")
    return [s for s in _REGISTER.values() if not s.on or kind in s.on]
