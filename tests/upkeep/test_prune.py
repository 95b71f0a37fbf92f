"""Pruning: what is needed stays, both chains verify, and an unrecorded removal is still found."""

from __future__ import annotations

import os
import time
from typing import Any

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from fimscan.config import Config, parse_config
from fimscan.errors import UsageError
from fimscan.grouping.selection import ByPath, Selection
from fimscan.model import Approval
from fimscan.pipeline.history.accept import accept, propose_everything, propose_selected
from fimscan.pipeline.history.diff import diff_from_baseline
from fimscan.report.documents.diff import diff_document
from fimscan.store import acceptance as acceptance_store
from fimscan.store.database import Database
from fimscan.upkeep.prune import Pruned, prune
from tests.evidence.site import Site, new_site, pretended_audit, problems
from tests.pipeline.test_audit_reading import event

SECOND = 10**9
EVERYTHING = "\n".join(f'{kind} = "1s"' for kind in ("findings", "scans", "accesses", "controls", "outbox", "contents"))


def config_with(retention: str = EVERYTHING) -> Config:
    return parse_config(f'[retention]\n{retention}\n[[watch]]\npath = "/w"\n')


def pruned(database: Database, until_ns: int, retention: str = EVERYTHING, **options: Any) -> Pruned:
    """Prune what is older than a time."""
    return prune(database, config_with(retention), user="al", now_ns=until_ns + SECOND, **options)


def shown(database: Database) -> dict[str, Any]:
    return diff_document(diff_from_baseline(database))


def approval() -> Approval:
    return Approval(accepted_ns=time.time_ns(), user="u", ticket="T", reason="")


def accept_path(site: Site, name: str) -> None:
    try:
        chosen = Selection(names=(ByPath(os.fsencode(site.watched / name)),))
        accept(site.database, propose_selected(site.database, chosen), approval())
    except UsageError:
        pass  # it does not differ


def accept_all(site: Site) -> None:
    accept(site.database, propose_everything(site.database, even_outstanding=True), approval())


def write(site: Site, name: str, content: str, pid: int) -> None:
    path = site.watched / name
    path.write_text(content)
    site.append(event(path, pid, pid=pid))


NAMES = st.sampled_from("abc")
STEPS = st.one_of(
    st.tuples(st.just("write"), NAMES, st.sampled_from(["one", "two"])),
    st.tuples(st.just("remove"), NAMES),
    st.tuples(st.just("accept"), NAMES),
    st.tuples(st.just("everything")),
    st.tuples(st.just("undo")),
    st.tuples(st.just("prune"), st.integers(0, 100)),
)


# Without shrinking: it would take minutes, and the steps are short anyway.
@settings(
    max_examples=int(os.environ.get("FIMSCAN_PRUNINGS", "6")),
    suppress_health_check=list(HealthCheck),
    phases=[Phase.reuse, Phase.generate],
)
@given(steps=st.lists(STEPS, min_size=6, max_size=14))
def test_any_pruning_keeps_chains_and_diff(steps: list[tuple[Any, ...]], tmp_path_factory: Any) -> None:
    """Whatever was found, accepted, taken back and pruned before, and up to whatever time."""
    site = new_site(tmp_path_factory.mktemp("pruned"))
    moments = [time.time_ns()]
    try:
        with pretended_audit():
            site.scan()
            for number, (verb, *details) in enumerate(steps, 1):
                moments.append(time.time_ns())
                if verb == "prune":
                    _check_pruning(site, moments[details[0] * len(moments) // 101])
                    continue
                if verb == "write":
                    write(site, details[0], details[1], 4000 + number)
                elif verb == "remove":
                    (site.watched / details[0]).unlink(missing_ok=True)
                elif verb == "accept":
                    accept_path(site, details[0])
                elif verb == "everything":
                    accept_all(site)
                elif verb == "undo":
                    _undo(site.database)
                if verb in ("write", "remove"):
                    site.scan()
            _check_pruning(site, time.time_ns())
            site.scan()
            assert problems(site.database, every_scan=True) == []
    finally:
        site.database.close()


def _check_pruning(site: Site, until_ns: int) -> None:
    before = shown(site.database)
    tried = pruned(site.database, until_ns, dry_run=True)
    assert shown(site.database) == before
    done = pruned(site.database, until_ns)
    assert done.removed == tried.removed
    assert shown(site.database) == before
    assert problems(site.database, every_scan=True) == []
    assert pruned(site.database, until_ns).checkpoint is None, "nothing is left to prune"


def _undo(database: Database) -> None:
    try:
        with database.begin() as session:
            last = acceptance_store.latest_acceptances(session, 1)[0]
            assert last.act is not None
            acceptance_store.undo(session, last.act, approval())
    except UsageError:
        pass  # the first baseline, or one that took another back
