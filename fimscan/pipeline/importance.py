"""Severity and category of findings, from the innermost watch of their path."""

from __future__ import annotations

import os
from collections.abc import Iterable

from msgspec.structs import replace

from fimscan.config import Config, Watch
from fimscan.model import Finding, Scan
from fimscan.paths import innermost, parent
from fimscan.store import scans as scan_store
from fimscan.store.session import Session


class Importance:
    """Puts severity and category on findings.

    The database does not store them: they come from the configuration whenever findings are loaded. So a new severity
    applies to earlier changes, too.
    """

    def __init__(self, watches: Iterable[Watch]) -> None:
        self._by_path = {os.fsencode(watch.path): watch for watch in watches}
        self._of_directory: dict[bytes, Watch | None] = {}

    @classmethod
    def current(cls, config: Config | None, session: Session, scan: Scan) -> Importance:
        """By the current configuration; without one (``--db``), by that which a scan was made with."""
        if config is None:
            text = scan_store.configuration_text(session, scan.config_digest)
            try:
                config = None if text is None else Config.from_canonical(text)
            except ValueError:  # written by a version that had other settings
                config = None
        return cls(config.watch if config is not None else ())

    def on(self, finding: Finding) -> Finding:
        """The finding and its steps with severity and category; as it is where no watch covers its path."""
        path = finding.change.path
        watch = self._by_path.get(path) or self._above(parent(path))
        if watch is None:
            return finding
        steps = tuple(map(self.on, finding.steps)) if finding.steps else ()
        return replace(finding, severity=watch.severity, category=watch.category, steps=steps)

    def _above(self, directory: bytes) -> Watch | None:
        """The watch of a directory. Most files share theirs with others."""
        if directory not in self._of_directory:
            root = innermost(directory, self._by_path)
            self._of_directory[directory] = None if root is None else self._by_path[root]
        return self._of_directory[directory]

    def on_all(self, findings: Iterable[Finding]) -> tuple[Finding, ...]:
        """All findings, each as :meth:`on`."""
        return tuple(map(self.on, findings))
