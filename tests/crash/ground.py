"""A tree in which each change is made once, and what must hold of the database after any crash of a scan."""

from __future__ import annotations

import json
import os
from collections import Counter
from pathlib import Path

from fimscan.evidence.database import verify_database
from fimscan.model import ScanStatus
from fimscan.store import acceptance as acceptance_store
from fimscan.store import findings as finding_store
from fimscan.store import scans as scan_store
from fimscan.store.database import Database
from tests.conftest import Cli


class Ground:
    """Files of which each is changed at most once, so each change must be found exactly once."""

    def __init__(self, cli: Cli, files: int) -> None:
        self.cli = cli
        self.changed: list[Path] = []
        self.alerts: Counter[str] = Counter()
        for number in range(files):
            path = cli.watched / f"d{number % 10}" / f"f{number}-{'x' * 80}"
            path.parent.mkdir(exist_ok=True)
            path.write_text(f"{number}")
        self._unchanged = sorted(path for path in cli.watched.rglob("*") if path.is_file())

    def change_one(self) -> None:
        """Change one file, between scans or during one."""
        path = self._unchanged.pop(len(self._unchanged) // 2)
        path.write_text("changed once")
        self.changed.append(path)

    def scan(self) -> None:
        """Run a scan without interruption, and count its alerts."""
        done = self.cli("scan", "--no-audit", "--format", "json")
        assert done.returncode in (0, 4), (done.returncode, done.stderr)
        self.count(done.stdout)

    def count(self, output: str) -> None:
        """Count the alerts in a scan's output, if it got that far."""
        if output.strip():
            self.alerts.update({row["path"]: 1 for row in json.loads(output)["changes"]})

    def check_database(self, file: Path | None = None, *, every_scan: bool = True) -> int:
        """Check that the last finished scan, and all before it, are intact; return its number."""
        database = Database(f"sqlite:///{file or self.cli.database}", host=os.uname().nodename, create=False)
        try:
            report = verify_database(database, every_scan=every_scan)
            assert report.ok, [check.detail for check in report.checks if not check.ok]
            with database.read() as session:
                assert session.connection.exec_driver_sql("PRAGMA integrity_check").scalar() == "ok"
                last = scan_store.last_finished(session)
            assert last is not None
            return last.id
        finally:
            database.close()

    def check_changes(self) -> None:
        """Check that each change is in the history once and was reported, and that none became the baseline."""
        database = Database(f"sqlite:///{self.cli.database}", host=os.uname().nodename, create=False)
        with database.read() as session:
            scans = scan_store.all_scans(session)
            found = finding_store.findings_between(session, 0, scans[-1].id)
            baseline = acceptance_store.baseline(session)
        database.close()
        assert Counter(os.fsdecode(f.change.path) for f in found) == Counter(map(str, self.changed))
        assert baseline is not None and baseline.scan == 1 and not baseline.overrides
        assert {scan.status for scan in scans} <= {ScanStatus.FINISHED, ScanStatus.INTERRUPTED}
        assert set(self.alerts) == set(map(str, self.changed))
