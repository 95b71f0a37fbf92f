"""The order of imports: data flows one way, and leaves know nothing of each other."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import fimscan

PACKAGE = Path(fimscan.__file__).parent
# A room may import rooms of lower floors, and itself; never a neighbour on its own floor.
FLOORS = (
    ("model", "errors", "shipped", "__init__"),
    (
        *("timing", "paths", "passwords", "excludes", "decompression", "xattrs", "gc_pause", "contents"),
        *("trust", "profiles", "signal_flag", "whole_file", "by_pattern", "compact"),
    ),
    ("state_row", "linux", "config", "signing", "spool"),
    ("scan", "audit", "compare", "packages"),
    ("attribution", "importers", "grouping"),
    ("report",),
    ("store", "outputs"),
    ("pipeline",),
    ("evidence",),
    ("upkeep",),
    ("scheduler",),
    ("cli",),
    ("__main__",),
)
# The same within a room that is too large to be looked over at once. What belongs to it directly is its __init__, which
# may name any of them.
INNER_FLOORS = {
    "pipeline": (
        ("settings", "result", "config_changes", "importance", "packages", "signer", "texts"),
        ("record",),
        ("audit",),
        ("scan",),
        ("import_baseline", "history", "live", "health"),
        ("controls",),
        ("outputs",),
        ("selftest", "metrics"),
        ("__init__",),
    ),
}
# The base of every module: the version, and nothing else.
ROOMLESS = {"fimscan"}

Floors = dict[str, int]


def floors(rooms: tuple[tuple[str, ...], ...]) -> Floors:
    return {room: floor for floor, names in enumerate(rooms) for room in names}


def room_of(parts: tuple[str, ...]) -> str:
    return parts[0].removesuffix(".py")


def modules_of(room: str) -> list[Path]:
    """Every module of a room, however deep; a room that is not there is an error, not nothing to check."""
    found = sorted((PACKAGE / room).rglob("*.py")) or [PACKAGE / f"{room}.py"]
    assert all(path.exists() for path in found), f"there is no room {room} any more"
    return found


def imported_modules(tree: ast.Module) -> Iterator[tuple[int, tuple[str, ...]]]:
    """(line, parts of the name below ``fimscan``) of every import of ours, those inside functions included."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: relative imports hide where things come from"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            parts = name.split(".")
            if parts[0] == "fimscan" and name not in ROOMLESS and parts[1] != "__version__":
                yield node.lineno, tuple(parts[1:])


MODULES = sorted(path for path in PACKAGE.rglob("*.py") if "_shipped" not in path.parts)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_go_one_way(path: Path) -> None:
    """Every import goes to a lower floor of the house, or stays in its room."""
    floor_of, own = floors(FLOORS), path.relative_to(PACKAGE).parts
    room = room_of(own)
    assert room in floor_of, f"the room {room} has no floor: put it in FLOORS"
    inner = floors(INNER_FLOORS.get(room, ()))
    for line, target in imported_modules(ast.parse(path.read_text())):
        if target[0] != room:
            fine = floor_of[target[0]] < floor_of[room]
        elif inner:
            fine = is_inner_import_fine(inner, own[1:], target[1:])
        else:
            fine = True
        assert fine, f"{path.relative_to(PACKAGE)}:{line}: {room} must not import {'.'.join(target)}"


def test_values_are_structs() -> None:
    """A dataclass takes longer to define and to create, and its replace() refuses a struct only when it is called."""
    with_dataclasses = [
        str(path.relative_to(PACKAGE))
        for path in MODULES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom) and node.module == "dataclasses"
    ]
    assert with_dataclasses == [], "take msgspec.Struct"


def is_inner_import_fine(inner: Floors, own: tuple[str, ...], target: tuple[str, ...]) -> bool:
    """Whether an import within a room goes to a lower floor of it, or stays in the inner room."""
    here = room_of(own)
    assert here in inner, f"the inner room {here} has no floor: put it in INNER_FLOORS"
    there = next((part for part in target if part in inner), "__init__")
    return there == here or inner[there] < inner[here]


@pytest.mark.parametrize("room", sorted({room for rooms in FLOORS for room in rooms} - {"__init__"}))
def test_every_room_is_there(room: str) -> None:
    """A floor of a room that was renamed would check nothing."""
    assert modules_of(room)
    for inner in floors(INNER_FLOORS.get(room, ())):
        assert modules_of(f"{room}/{inner}")


# In packages, what parses and judges is separate from what reads.
PURE_PACKAGES = ("claims", "dpkg_files", "dpkg_status", "hook", "judge", "manifest", "writers")


@pytest.mark.parametrize(
    "room",
    [
        *(
            "compare",
            "attribution",
            "grouping",
            "contents",
            "pipeline/controls/evaluate",
            "pipeline/controls/facts",
            "pipeline/selftest/judge",
        ),
        *(f"packages/{name}" for name in PURE_PACKAGES),
    ],
)
def test_the_join_is_pure(room: str) -> None:
    """It reads no clock, file, process or network: an answer can be replayed from its inputs."""
    forbidden = {"os", "time", "subprocess", "socket", "pathlib", "io", "random", "sqlalchemy", "datetime"}
    for path in modules_of(room):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                roots = {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                roots = {(node.module or "").split(".")[0]}
            else:
                continue
            assert not roots & forbidden, f"{path.name}:{node.lineno} imports {roots & forbidden}"


LEAVES = ("scan", "audit", "compare", "packages", "attribution", "grouping", "importers", "linux", "report", "outputs")


@pytest.mark.parametrize("room", LEAVES)
def test_leaves_take_plain_arguments(room: str) -> None:
    """They never see Config: they can be used and tested without one."""
    for path in modules_of(room):
        assert "Config" not in {
            alias.name
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.ImportFrom)
            for alias in node.names
        }, path
