"""How checks are shown: one line each, with what to do below it."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence

from rich.console import Console
from rich.text import Text

from fimscan.cli.context import use_color
from fimscan.pipeline.health import Check


def print_checks(checks: Sequence[Check], form: str) -> None:
    """Text for people, JSON for monitoring."""
    if form == "json":
        rows = [{"check": c.name, "ok": c.ok, "detail": c.detail, "remedy": c.remedy or None} for c in checks]
        json.dump({"schema": "fimscan.checks/1", "ok": not worst(checks), "checks": rows}, sys.stdout, indent=2)
        sys.stdout.write("\n")
        return
    console = Console(file=sys.stdout, no_color=not use_color(sys.stdout), highlight=False, soft_wrap=True)
    width = max(len(check.name) for check in checks)
    for check in checks:
        mark = ("ok  ", "green") if check.ok else ("FAIL", "bold red")
        console.print(Text.assemble(mark, "  ", f"{check.name:<{width}}", "  ", check.detail))
        if not check.ok and check.remedy:
            console.print(Text(f"      {'':<{width}}  -> {check.remedy}"))


def worst(checks: Sequence[Check]) -> int:
    """The exit code: 0 when all is well, 1 otherwise."""
    return 0 if all(check.ok for check in checks) else 1
