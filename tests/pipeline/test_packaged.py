"""A report on files that real packages brought: what can be waved through, and what stands out."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from fimscan.config import Config, Watch
from fimscan.config import Database as DatabaseSettings
from fimscan.grouping import Grouping, process_key
from fimscan.model import Actor, Attribution, Diff, Finding, Lineage, PackageFact
from fimscan.packages import PackageSources
from fimscan.pipeline import run_scan
from fimscan.pipeline.history.change_sets import grouping_of
from fimscan.pipeline.history.diff import diff_from_baseline
from fimscan.pipeline.history.packaged import packaged_by, with_packages
from fimscan.report.change_sets import set_tail
from fimscan.store.database import Database
from tests.grouping.conftest import apt_lineage, dpkg
from tests.packages.debian import Debian
from tests.report.conftest import Make

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="dpkg --root needs root"),
    pytest.mark.skipif(not shutil.which("dpkg-deb"), reason="there is no dpkg here"),
]
PACKAGES = 12
SCRIPT = 'echo made > "$DPKG_ROOT/usr/share/p00/made"'
make = Make()


class Machine:
    """A scratch system with twelve packages, which are scanned and then upgraded."""

    def __init__(self, directory: Path) -> None:
        directory.chmod(0o755)
        self.system = Debian.make(directory)
        self.install("1.0")
        self.database = Database(f"sqlite:///{directory}/fim.db", host=os.uname().nodename)
        self.config = Config(
            database=DatabaseSettings(url=f"sqlite:///{directory}/fim.db"),
            watch=(Watch(path=os.fsdecode(self.path("/usr")), severity="high"),),
        )
        self.scan()

    def install(self, version: str) -> None:
        for number in range(PACKAGES):
            name = f"p{number:02}"
            files = {f"/usr/bin/{name}": f"{name} {version}\n", f"/usr/share/{name}/data": f"data {name} {version}\n"}
            scripts: dict[str, Any] = {"postinst": SCRIPT.replace("made >", f"{version} >")} if number == 0 else {}
            self.system.install(self.system.build(name, version, files, **scripts))

    def path(self, path: str) -> bytes:
        return os.fsencode(self.system.path(path))

    def scan(self) -> None:
        run_scan(self.database, self.config, source=None)

    def diff(self, **sources: Any) -> tuple[Diff, Grouping, tuple[str, ...]]:
        """The changes of the scratch system, all written by dpkg; what a script made, by a program that it started."""
        found = diff_from_baseline(self.database, self.config)
        script = (b"/bin/sh", b"/var/lib/dpkg/info/p00.postinst", b"configure")
        copied = dpkg(make, 0, exe=b"/usr/bin/dash", comm=b"p00.postinst", cmdline=script, pid=4400, ppid=4300)
        writers: dict[bytes, Actor] = {row.change.path: dpkg(make, 0) for row in found.findings}
        writers[self.path("/usr/share/p00/made")] = copied
        found = replace(found, findings=tuple(by(row, writers[row.change.path]) for row in found.findings))
        lineages = {
            process_key(dpkg(make, 0)): Lineage(actor=dpkg(make, 0), ancestors=apt_lineage(make)),
            process_key(copied): Lineage(actor=copied, ancestors=(dpkg(make, 0), *apt_lineage(make))),
        }
        values: dict[str, Any] = {"root": self.path("/").rstrip(b"/"), "archives": (), "keep_manifests": False}
        asked = packaged_by(PackageSources(**values | sources), found, lineages)
        return asked.diff, grouping_of(self.database, asked.diff, asked.facts), asked.problems


def by(row: Finding, actor: Actor) -> Finding:
    """The same row, done by a process; so are its steps."""
    steps = tuple(by(step, actor) for step in row.steps)
    return replace(row, attribution=make.attribution(actors=(actor,)), steps=steps)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def row_of(found: Diff, path: bytes) -> Finding:
    return next(row for row in found.findings if row.change.path == path)


def test_an_upgrade_is_waved_through_and_one_byte_is_not(machine: Machine) -> None:
    """Every file that dpkg wrote is as shipped, by MD5; one that was altered afterwards comes first."""
    machine.install("2.0")
    machine.scan()
    found, grouping, problems = machine.diff()
    contents = [row for row in found.findings if not row.change.path.endswith(b"/made")]
    assert len(contents) == 2 * PACKAGES
    assert {(row.package.kind, row.package.proof) for row in contents if row.package} == {("as-shipped", "md5sums")}
    assert (grouping.standing_out, problems) == ((), ())
    (item,) = grouping.sets
    assert any(words.startswith("12 packages as shipped") for words in set_tail(item))

    with open(machine.path("/usr/share/p07/data"), "r+b") as file:
        file.write(b"D")
    machine.scan()
    found, grouping, _ = machine.diff()
    first = grouping.standing_out[0]
    assert [row.finding.change.path for row in grouping.standing_out] == [machine.path("/usr/share/p07/data")]
    assert first.rank.reasons[0] == "not-as-shipped"
    assert first.finding.package is not None
    # On a slow machine, more than the slack of dpkg's log has passed since the installation.
    late = {PackageFact.NOT_BEING_INSTALLED} & {*first.finding.package.loud}
    assert {*first.finding.package.loud} - late == {PackageFact.MANAGER_WROTE_OTHER}


def test_what_a_maintainer_script_made_is_called_so(machine: Machine) -> None:
    """It is in no package, and proves nothing."""
    machine.install("2.0")
    machine.scan()
    found, grouping, _ = machine.diff()
    path = machine.path("/usr/share/p00/made")
    answer = row_of(found, path).package
    assert answer is not None and (answer.kind, answer.scripts) == ("unowned", ("p00.postinst",))
    (row,) = [row for row in grouping.rows if row.finding.change.path == path]
    assert "maintainer-script" in row.rank.reasons


def test_without_a_named_process_nothing_is_said_of_who_wrote_it(machine: Machine) -> None:
    """A scan without audit: the content alone is judged."""
    machine.install("2.0")
    machine.scan()
    found = diff_from_baseline(machine.database, machine.config)
    asked = packaged_by(PackageSources(root=machine.path("/").rstrip(b"/"), archives=()), found, {})
    answer = row_of(asked.diff, machine.path("/usr/bin/p03")).package
    assert answer is not None and answer.kind == "as-shipped"
    assert not {PackageFact.MAINTAINER_SCRIPT, PackageFact.NOT_WRITTEN_BY_MANAGER} & {*answer.facts}


def test_a_candidate_is_not_called_the_writer(machine: Machine) -> None:
    """Of several candidates, dpkg is one: it is not said to have written what was not shipped."""
    machine.install("2.0")
    with open(machine.path("/usr/bin/p03"), "ab") as file:
        file.write(b"more")
    machine.scan()
    found = diff_from_baseline(machine.database, machine.config)
    contested = Attribution(verdict="contested", actors=(dpkg(make, 0), make.actor()))  # type: ignore[arg-type]
    found = replace(found, findings=tuple(replace(row, attribution=contested) for row in found.findings))
    asked = packaged_by(PackageSources(root=machine.path("/").rstrip(b"/"), archives=()), found, {})
    answer = row_of(asked.diff, machine.path("/usr/bin/p03")).package
    assert answer is not None and (answer.kind, answer.loud) == ("not-as-shipped", ())


def test_another_host_is_not_judged_by_the_packages_of_this_one(machine: Machine) -> None:
    """Its rows have no package, and its ranking no facts."""
    machine.install("2.0")
    machine.scan()
    found = replace(diff_from_baseline(machine.database, machine.config), host="another.example")
    asked = with_packages(machine.database, found, PackageSources())
    assert asked.diff == found and not asked.facts.provenance and asked.problems == ()


def test_without_a_package_database_nothing_is_said(machine: Machine) -> None:
    """Neither in a row nor in the ranking."""
    machine.install("2.0")
    machine.scan()
    (machine.system.admin / "status").rename(machine.system.root / "gone")
    found, grouping, _ = machine.diff()
    assert all(row.package is None for row in found.findings)
    assert all(row.provenance is None for row in grouping.rows)


def test_a_damaged_database_is_a_problem_and_vouches_for_nothing(machine: Machine) -> None:
    """The report comes nevertheless."""
    machine.install("2.0")
    machine.scan()
    (machine.system.admin / "info/p03.md5sums").write_bytes(b"\0damaged")
    (machine.system.admin / "info/p04.list").unlink()
    found, _, problems = machine.diff()
    assert problems
    answers = [row_of(found, machine.path(path)).package for path in ("/usr/bin/p03", "/usr/bin/p04")]
    assert all(answer is not None and answer.kind != "as-shipped" for answer in answers)


def test_the_budget_is_spent_on_what_no_package_manager_wrote(machine: Machine) -> None:
    """A file that was altered is read first, however many there are."""
    machine.install("2.0")
    machine.scan()
    found, _, problems = machine.diff(read_budget=20_000)  # one file
    unread = [row for row in found.findings if row.package is not None and row.package.reason == "not-read"]
    assert len(unread) == 2 * PACKAGES - 1 and len(problems) == 1
    assert problems[0].startswith("23 files were not compared")
