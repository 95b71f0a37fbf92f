"""The audit rules for the configured paths."""

from __future__ import annotations

import os

from fimscan import audit
from fimscan.config import Config


def rules_text(config: Config, *, processes: bool = False) -> str:
    """Return the text of the rules file: what :func:`rules_for` returns, the optional rules, and a digest in front."""
    more = audit.process_rules(config.audit.key) if processes else ""
    return audit.sealed(rules_for(config) + more)


def rules_for(config: Config) -> str:
    """Return the audit rules that cover the configured paths, as text for /etc/audit/rules.d.

    A path that does not exist gets rules by its name. The kernel accepts those only if its directory exists; if not,
    the text has a comment instead.
    """
    paths = [watch.path for watch in config.watch]
    absent = [path for path in paths if not os.path.lexists(path)]
    refused = [path for path in absent if not os.path.isdir(os.path.dirname(path))]
    rules = audit.rules_for(
        [(os.fsencode(path), os.path.isdir(path)) for path in paths if path not in refused],
        config.audit.key,
        machine=os.uname().machine,
        absent=frozenset(map(os.fsencode, absent)),
    )
    return rules + "".join(
        f"# NOT COVERED: {audit.printable(os.fsencode(path))}\n"
        "# neither it nor its directory exists, so the kernel refuses rules for it. Make these rules again when the"
        " directory exists.\n"
        for path in refused
    )
