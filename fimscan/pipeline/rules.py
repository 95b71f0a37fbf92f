"""The audit rules that a configuration asks for."""

from __future__ import annotations

import os

from fimscan import audit
from fimscan.config import Config


def rules_for(config: Config) -> str:
    """The audit rules that cover the configured directories, as text for /etc/audit/rules.d."""
    there = [watch.path for watch in config.watch if os.path.lexists(watch.path)]
    watched = [(os.fsencode(path), os.path.isdir(path)) for path in there]
    rules = audit.rules_for(watched, config.audit.key, machine=os.uname().machine)
    # auditctl stops at the first rule that it cannot load: one for a missing directory would keep out all after it.
    missing = [watch.path for watch in config.watch if watch.path not in there]
    return rules + "".join(
        f"# NOT COVERED: {path} does not exist; make these rules again when it does\n" for path in missing
    )
