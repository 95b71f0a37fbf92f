"""The audit rules that a configuration asks for."""

from __future__ import annotations

import os

from fimscan import audit
from fimscan.config import Config


def rules_for(config: Config) -> str:
    """The audit rules that cover the configured directories, as text for /etc/audit/rules.d.

    A path at which nothing is gets rules by its name. For those the kernel wants the directory that it is in: where
    that is missing too, a comment says so.
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
        f"# neither it nor its directory exists, and the kernel takes no rule for a file in a directory that is not"
        " there: make these rules again when the directory exists.\n"
        for path in refused
    )
