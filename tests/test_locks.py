"""The lock files have what pyproject.toml asks for, with digests; an audit never takes silence for good news."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from tools import audit_dependencies
from tools.lock_dependencies import BASE, LOCKS, load_project, wanted

PROJECT = load_project()
WANTED = wanted(PROJECT)
every_lock = pytest.mark.parametrize("lock", WANTED, ids=lambda lock: lock.name)


def entries(lock: Path) -> dict[str, str]:
    """(name, entry) of each locked package."""
    found = re.split(r"^(?=[a-z0-9])", lock.read_text(), flags=re.MULTILINE)[1:]
    return {re.split(r"==", entry)[0]: entry for entry in found}


def pinned(entry: str) -> Version:
    match = re.match(r"[\w.-]+==(\S+)", entry)
    assert match is not None, entry
    return Version(match[1])


def test_there_is_a_lock_for_each_extra_and_no_other() -> None:
    assert set(LOCKS.iterdir()) == set(WANTED)


@every_lock
def test_a_lock_agrees_with_pyproject(lock: Path) -> None:
    """Every requirement is there, in a version that is allowed, and nothing is there for one that was taken away."""
    locked = entries(lock)
    for text in WANTED[lock]:
        requirement = Requirement(text)
        entry = locked[canonicalize_name(requirement.name)]
        assert requirement.specifier.contains(pinned(entry)), f"{text}: run 'make lock'"
    names = {canonicalize_name(Requirement(text).name) for text in WANTED[lock]}
    nobodys = {name for name, entry in locked.items() if not dependents(entry)}
    assert nobodys <= names, "run 'make lock'"


def dependents(entry: str) -> list[str]:
    """Which packages of the lock need this one; uv names none for what was asked for."""
    comment = entry.partition("# via")[2]
    return [word for word in comment.replace("#", " ").split() if word not in ("-c", "locks/requirements.lock")]


@every_lock
def test_each_package_has_digests(lock: Path) -> None:
    """pip refuses a file with another one, and a package without any."""
    for name, entry in entries(lock).items():
        assert re.search(r"--hash=sha256:[0-9a-f]{64}", entry), name


def test_the_locks_can_be_installed_together() -> None:
    """The same package has the same version in each of them."""
    base = entries(BASE)
    for lock in WANTED:
        for name, entry in entries(lock).items():
            assert pinned(entry) == pinned(base.get(name, entry)), (lock.name, name)


@pytest.mark.parametrize(
    ("found", "required", "code", "said"),
    [
        ({"version": "1", "vulns": []}, "", 0, "no advisory known"),
        ({"version": "1", "vulns": [{"id": "PYSEC-1", "fix_versions": ["2"]}]}, "", 1, "x 1: PYSEC-1, fixed in 2"),
        ({"skip_reason": "not found"}, "", 0, "SKIPPED"),
        ({"skip_reason": "not found"}, "1", 2, "SKIPPED"),
        (None, "1", 2, "SKIPPED"),
    ],
)
def test_what_was_not_checked_is_not_called_good(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    found: dict[str, object] | None,
    required: str,
    code: int,
    said: str,
) -> None:
    """pip-audit exits with 0 for a package that its service does not know, and in an error prints no JSON."""
    program = tmp_path / "pip-audit"
    text = "" if found is None else json.dumps({"dependencies": [{"name": "x", **found}]})
    program.write_text(f"#!/bin/sh\necho 'no route to host' >&2\ncat <<'END'\n{text}\nEND\n")
    program.chmod(0o755)
    monkeypatch.setenv("FIMSCAN_REQUIRE_ADVISORIES", required)
    assert audit_dependencies.main([str(program)]) == code
    output = capsys.readouterr().out
    assert said in output
    assert ("no advisory known" in output) == (found is not None and found.get("vulns") == [])
