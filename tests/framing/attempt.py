"""The register of attempts: generators that prepare, hold, and act, with a scan at each ``yield``."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from tests.framing import attempts as library
from tests.framing.bench import Bench, Steps

Act: TypeAlias = Callable[[Bench], Steps]


@dataclass(frozen=True)
class Attempt:
    """One way to get an innocent process or user named. ``words`` describes it.

    ``is_alone`` attempts weaken every answer of the host (they mount, move blocks, or open a file by a worker thread of
    io_uring). Run with others, they would hide wrong answers to those.

    ``is_early`` attempts make their first step, up to the first scan, before the rules are loaded.
    """

    name: str
    group: str
    act: Act
    words: str
    is_alone: bool = False
    is_early: bool = False


_REGISTER: dict[str, Attempt] = {}


def attempt(act: Act) -> Act:
    """Register an attempt; its docstring describes it."""
    return _registered(act, is_alone=False)


def attempt_alone(act: Act) -> Act:
    """Register an attempt that runs alone."""
    return _registered(act, is_alone=True)


def attempt_early(act: Act) -> Act:
    """Register an attempt that begins before the audit rules are loaded, with no other beside it."""
    return _registered(act, is_alone=True, is_early=True)


def _registered(act: Act, *, is_alone: bool, is_early: bool = False) -> Act:
    name = act.__name__
    assert name not in _REGISTER, f"two attempts are called {name}"
    assert act.__doc__, f"{name} does not say what it does"
    group = act.__module__.rpartition(".")[2]
    words = " ".join(act.__doc__.split())
    _REGISTER[name] = Attempt(name, group, act, words, is_alone=is_alone, is_early=is_early)
    return act


def all_attempts() -> list[Attempt]:
    """Every attempt of the library, in source order."""
    for module in sorted(info.name for info in pkgutil.iter_modules(library.__path__)):
        importlib.import_module(f"{library.__name__}.{module}")
    return list(_REGISTER.values())
