"""The register of scenarios: generators that prepare, yield for the baseline, act, and say what is right."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any, TypeAlias

from tests.lab import scenarios as library
from tests.lab.bench import Lab

Steps: TypeAlias = Generator[None, None, None]
"""A scenario under way: to its first ``yield`` the state at the baseline, then what is done and what is right."""
Act: TypeAlias = Callable[[Lab], Steps]

#: Several wrote, one after the other, to files that had the path: all of them are listed, the latest first.
SEVERAL: dict[str, Any] = {"verdict": "contested", "reason": "several-writers"}
#: Several wrote to one and the same file: that is contested, whatever reason is given.
EITHER = (("contested", "several-writers"),)


@dataclass(frozen=True)
class Scenario:
    """One thing that happens to files.

    ``alone`` ones disturb the audit system itself, so that each has an installation and two scans of its own;
    ``config`` is then more of its configuration ("{elsewhere}" stands for the
    directory beside the watched one). ``on`` are the kinds of file systems that it is about, if not any.
    """

    name: str
    group: str
    act: Act
    alone: bool = False
    config: str = ""
    on: tuple[str, ...] = ()


_REGISTER: dict[str, Scenario] = {}


def scenario(act: Act) -> Act:
    """Register a scenario that shares its two scans with others."""
    return _register(act, alone=False)


def scenario_on(*kinds: str) -> Callable[[Act], Act]:
    """Register a scenario that there is on some kinds of file systems only."""
    return lambda act: _register(act, alone=False, on=kinds)


def alone(config: str = "", on: tuple[str, ...] = ()) -> Callable[[Act], Act]:
    """Register a scenario that has two scans for itself."""
    return lambda act: _register(act, alone=True, config=config, on=on)


def _register(act: Act, *, alone: bool, config: str = "", on: tuple[str, ...] = ()) -> Act:
    name = act.__name__
    assert name not in _REGISTER, f"two scenarios are called {name}"
    group = act.__module__.rpartition(".")[2]
    _REGISTER[name] = Scenario(name=name, group=group, act=act, alone=alone, config=config, on=on)
    return act


def all_scenarios(kind: str) -> list[Scenario]:
    """Every scenario that there is on a kind of file system, in the order in which it is written down."""
    for module in sorted(info.name for info in pkgutil.iter_modules(library.__path__)):
        importlib.import_module(f"{library.__name__}.{module}")
    return [s for s in _REGISTER.values() if not s.on or kind in s.on]
