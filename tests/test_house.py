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
    ("model", "errors", "shipped", "_shipped", "__init__"),
    ("xattrs", "mounts"),
    ("packed", "linux", "filesystems"),
    ("config", "scan", "audit", "join", "report"),
    ("store",),
    ("evidence", "pipeline"),
    ("scheduler",),
    ("cli",),
    ("__main__",),
)
FLOOR_OF = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}
# The base of every module: the version, and nothing else.
ROOMLESS = {"fimscan"}


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported_rooms(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """(line, room) of every import of ours, those inside functions included."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: relative imports hide where things come from"
            module = node.module or ""
            names = [f"{module}.{alias.name}" for alias in node.names] if module == "fimscan" else [module]
        else:
            continue
        for name in names:
            parts = name.split(".")
            if parts[0] == "fimscan" and name not in ROOMLESS and parts[1] != "__version__":
                yield node.lineno, parts[1]


MODULES = sorted(path for path in PACKAGE.rglob("*.py") if "_shipped" not in path.parts)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_go_one_way(path: Path) -> None:
    """Every import goes to a lower floor of the house, or stays in its room."""
    room = room_of(path)
    assert room in FLOOR_OF, f"the room {room} has no floor: put it in FLOORS"
    for line, target in imported_rooms(ast.parse(path.read_text())):
        fine = target == room or FLOOR_OF[target] < FLOOR_OF[room]
        assert fine, f"{path.relative_to(PACKAGE)}:{line}: {room} must not import {target}"


def test_join_is_pure() -> None:
    """The join reads no clock, file, process or network: an answer can be replayed from its inputs."""
    forbidden = {"os", "time", "subprocess", "socket", "pathlib", "io", "random", "sqlalchemy", "datetime"}
    for path in (PACKAGE / "join").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                roots = {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                roots = {(node.module or "").split(".")[0]}
            else:
                continue
            assert not roots & forbidden, f"{path.name}:{node.lineno} imports {roots & forbidden}"


def test_leaves_take_plain_arguments() -> None:
    """scan, audit, join and report never see Config: they can be used and tested without one."""
    for room in ("scan", "audit", "join", "report"):
        for path in (PACKAGE / room).glob("*.py"):
            assert "Config" not in {
                alias.name
                for node in ast.walk(ast.parse(path.read_text()))
                if isinstance(node, ast.ImportFrom)
                for alias in node.names
            }, path
