"""``02-evidence-index.csv``: which file is evidence for which requirement and testing procedure of PCI DSS v4.0.1."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from fimscan.evidence.archive import Staged
from fimscan.evidence.contents import Entry
from fimscan.evidence.tables import Table


def write_index(out: Staged, host: str, entries: Sequence[Entry], members: Mapping[str, Staged]) -> None:
    """Write one row for each piece of evidence. A file without rows is listed with the reason."""
    with Table(out, host, ("reference", "requirement", "testing_procedure", "file", "sha256", "shows")) as table:
        shown = [(entry.name, *shows) for entry in entries for shows in entry.shows]
        for number, (name, requirement, procedure, what) in enumerate(shown, 1):
            table.add(f"E-{number:02}", requirement, procedure, name, members[name].sha256, what)
