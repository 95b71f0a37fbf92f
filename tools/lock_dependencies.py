"""Write the lock files: each library that fimscan runs with, in one version, with the digests of its files.

``python -m tools.lock_dependencies`` (``make lock``) resolves what pyproject.toml allows, with uv, for each Python from
the oldest supported one on and for each platform. tests/test_locks.py fails if a lock and pyproject.toml disagree.
"""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
LOCKS = ROOT / "locks"
BASE = LOCKS / "requirements.lock"
_OPTIONS = ("--universal", "--generate-hashes", "--no-emit-index-url", "--no-config", "--quiet")


def wanted(project: dict[str, Any]) -> dict[Path, list[str]]:
    """The requirements of each lock file, that of the base first: the others keep to its versions."""
    found = {BASE: project["project"]["dependencies"]}
    for extra, requirements in project["project"]["optional-dependencies"].items():
        found[LOCKS / f"{extra}.lock"] = requirements
    found[LOCKS / "build.lock"] = project["build-system"]["requires"]
    return found


def load_project() -> dict[str, Any]:
    """The table of pyproject.toml."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def main() -> int:
    """Write all lock files; versions that are locked already and still fit are newly chosen, too."""
    project = load_project()
    oldest = project["project"]["requires-python"].removeprefix(">=")
    LOCKS.mkdir(exist_ok=True)
    for path, requirements in wanted(project).items():
        command = [sys.executable, "-m", "uv", "pip", "compile", *_OPTIONS, "--python-version", oldest, "--upgrade"]
        command += ["--custom-compile-command", "make lock", "--output-file", str(path), "-"]
        if path != BASE:
            command += ["--constraints", str(BASE)]
        done = subprocess.run(command, input="\n".join(requirements), text=True, cwd=ROOT, check=False)
        if done.returncode:
            return done.returncode
    return 0


if __name__ == "__main__":
    sys.exit(main())
