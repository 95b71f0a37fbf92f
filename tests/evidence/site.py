"""A host on which everything happened that writes to the database, by the code that does so."""

from __future__ import annotations

import io
import os
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from fimscan import audit
from fimscan.audit import observer
from fimscan.config import parse_config
from fimscan.evidence.archive import Staged, write_archive
from fimscan.evidence.database import verify_database
from fimscan.grouping.selection import ByPath, Selection
from fimscan.model import Approval, AuditObservation, FileKind
from fimscan.pipeline import AuditSource, Live, ScanResult, run_scan
from fimscan.pipeline.audit import reading
from fimscan.pipeline.history.accept import accept, propose_everything, propose_selected
from fimscan.pipeline.history.reporting import report_once
from fimscan.state_row import pack
from fimscan.store import scans as scan_store
from fimscan.store.database import Database
from fimscan.store.version_writer import NewVersions
from tests.pipeline.test_audit_reading import event
from tests.support import rule, state

HOST = "h"


@dataclass(frozen=True)
class Site:
    """A watched directory, its log and its database."""

    root: Path
    database: Database
    log: Path

    @property
    def watched(self) -> Path:
        return self.root / "watched"

    def scan(self, extra: str = "") -> ScanResult:
        text = f'[[watch]]\npath = "{self.watched}"\n{extra}\n[[watch]]\npath = "{self.root}/no/missing"\n'
        return run_scan(self.database, parse_config(text), source=AuditSource(logs=(str(self.log),)))

    def append(self, records: str) -> None:
        with self.log.open("a") as file:
            file.write(records)
        time.sleep(0.02)

    def look(self) -> ScanResult | None:
        """What 'fimscan schedule' does between two scans."""
        config = parse_config(f'[[watch]]\npath = "{self.watched}"\n[[watch]]\npath = "{self.root}/no/missing"\n')
        now = 0.0
        live = Live(self.database, config, AuditSource(logs=(str(self.log),)), clock=lambda: now)
        try:
            live.step()
            now = 5.0
            return live.step()[0]
        finally:
            live.close()


@contextmanager
def pretended_audit() -> Iterator[None]:
    """Audit that watches everything, so that there are answers of every kind."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(audit, "observe", _observe)
        patch.setattr(observer.Observer, "observe", lambda _self, now_ns: _observe(now_ns))
        patch.setattr(reading, "_is_written_by", lambda _pid, _log: True)
        yield


def container_of(contents: Mapping[str, bytes]) -> bytes:
    """A bundle's container with these members."""
    out = io.BytesIO()
    with ExitStack() as stack:
        members = {name: stack.enter_context(Staged()) for name in contents}
        for name, content in contents.items():
            members[name].write(content)
        write_archive(out, members)
    return out.getvalue()


def _observe(now_ns: int) -> AuditObservation:
    return AuditObservation(time_ns=now_ns, boot_id="b", enabled=1, daemon_pid=1, lost=0, rules=(rule(b"/"),))


def new_site(root: Path) -> Site:
    made = Site(root=root, database=Database(f"sqlite:///{root}/x.db", host=HOST), log=root / "audit.log")
    made.watched.mkdir()
    made.log.touch()
    for name in ("a", "b", "c", "d", "held"):
        (made.watched / name).write_text(f"content of {name}")
    return made


def odd_lines() -> str:
    """What audit says of itself (a while ago, so that the event is over), and what nobody can read."""
    stamp = f"msg=audit({time.time() - 60:.3f}:0)"
    return f'type=CONFIG_CHANGE {stamp}: auid=1 op=add_rule key="k" list=4 res=1\ntype=SYSCALL msg=audit(oops\n'


def make_eventful(site: Site) -> None:
    """Everything that writes to the database, by the code that does so on a real host."""
    with (site.watched / "held").open("a") as held, subprocess.Popen(["sleep", "60"], stdout=held) as holder:
        site.scan()
        holder.kill()
    # A killed scan, whose remains the next one clears away.
    with site.database.begin() as session:
        digest = scan_store.all_scans(session)[0].config_digest
        killed = scan_store.begin(
            session, trigger="manual", started_ns=time.time_ns(), config_digest=digest, config_text="?"
        )
        half = state(os.fsencode(site.watched / "half"), kind=FileKind.FILE)
        versions = NewVersions(killed)
        versions.add((pack(half),), adopted=False)
        versions.write(session)
    # Changed, named, looked at; opened and not changed.
    (site.watched / "a").write_text("changed")
    site.append(odd_lines() + event(site.watched / "a", 1) + event(site.watched / "d", 2))
    assert site.look() is not None
    # Nobody is named at first, then the record comes late and the answer is revised.
    (site.watched / "b").write_text("changed, too")
    late = event(site.watched / "b", 3)
    time.sleep(0.02)
    (finding,) = site.scan().diff.findings
    assert not finding.attribution.actors
    site.append(late)
    (site.watched / "c").unlink()
    with report_once(site.database, site.scan('exclude = ["d"]')):  # c is removed, d is dropped
        pass
    approval = Approval(accepted_ns=time.time_ns(), user="u", ticket="T", reason="because")
    chosen = Selection(names=(ByPath(os.fsencode(site.watched / "b")),))
    accept(site.database, propose_selected(site.database, chosen), approval)
    (site.watched / "e").write_text("new")
    site.scan()  # e is added, d is adopted again
    time.sleep(0.02)
    site.append(event(site.watched / "e", 4, pid=4343))
    assert site.look() is None  # e is as it was
    accept(site.database, propose_everything(site.database, even_outstanding=True), approval)


def problems(database: Database, **options: object) -> list[str]:
    report = verify_database(database, **options)  # type: ignore[arg-type]
    return [line for check in report.checks if not check.ok for line in check.detail.split("\n")]
