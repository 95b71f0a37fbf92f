"""The rules of 'fimscan audit rules' on a real kernel: what they report, and what happens when they change."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from demo.auditd import auditctl, load_rules, remove_rules
from fimscan.audit.auditctl import is_uring_usable
from fimscan.audit.netlink import KernelAudit
from fimscan.audit.segments import LogCursor, segments
from fimscan.audit.uring_rules import parse_rule, rule_data
from fimscan.store import audit as audit_store
from fimscan.store.database import Database
from tests import forked
from tests.lab import calls
from tests.lab.conftest import unavailable

pytestmark = pytest.mark.audit
_ROOT = Path(__file__).parents[2]
_SECONDS = 120


@dataclass
class Site:
    """An installation with its own key, so that removals of rules by other tests do not concern it."""

    root: Path
    log: str
    key: str

    @property
    def directory(self) -> Path:
        return self.root / "watched"

    @property
    def file(self) -> Path:
        return self.directory / "file"

    def watch(self, *paths: Path) -> None:
        sections = "".join(f'[[watch]]\npath = "{path}"\n' for path in paths)
        (self.root / "c.toml").write_text(
            f'[database]\nurl = "sqlite:///{self.root}/f.db"\n[audit]\nlogs = ["{self.log}"]\nkey = "{self.key}"\n'
            f'[evidence]\nkey = "{self.root}/key.pem"\n{sections}'
        )

    def __call__(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        if not forked.can_run():
            return self.in_new_process(*arguments)
        raw = forked.run(["--config", str(self.root / "c.toml"), *arguments], _ROOT, _SECONDS)
        done = subprocess.CompletedProcess(raw.args, raw.returncode, raw.stdout.decode(), raw.stderr.decode())
        assert done.returncode < 14, done.stderr
        return done

    def in_new_process(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a command whose process has the command line that users see."""
        command = [sys.executable, "-m", "fimscan", "--config", str(self.root / "c.toml"), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_SECONDS, cwd=_ROOT)
        assert done.returncode < 14, done.stderr
        return done

    def load(self) -> str:
        text = self("audit", "rules").stdout
        load_rules(text)
        return text

    def row(self, path: Path | None = None) -> dict[str, Any]:
        """Scan and accept; return the only change, or the change of a path."""
        time.sleep(0.05)
        self("scan")
        changes = json.loads(self("diff", "--format", "json").stdout)["changes"]
        (found,) = (row for row in changes if path is None or row["path"] == str(path))
        self("accept", "--all", "--even-outstanding")
        assert isinstance(found, dict)
        return found

    def uring_rules(self) -> list[bytes]:
        """The directories of the io_uring rules with this test's key."""
        with closing(KernelAudit()) as kernel:
            rules = [rule for data in kernel.rules() if (rule := parse_rule(data)) is not None]
        return [rule.scope[0] for rule in rules if rule.filter == 7 and self.key.encode() in rule.keys and rule.scope]


@pytest.fixture
def site(audit_log: str) -> Iterator[Site]:
    root = Path(tempfile.mkdtemp(prefix="fimscan-lab-"))
    made = Site(root=root, log=audit_log, key=f"fimscan-lab-{os.getpid()}-{time.monotonic_ns() % 10**6}")
    made.directory.mkdir()
    made.file.write_text("old\n")
    made.watch(made.directory)
    begin_at_the_end(made)
    yield made
    made("audit", "rules", "--remove")
    assert made.uring_rules() == []
    shutil.rmtree(root)


def begin_at_the_end(site: Site) -> None:
    """Make the first scan read only records from now on: the log of a whole day takes minutes."""
    live = next(segment for segment in segments(os.fsencode(site.log)) if segment.live)
    at = LogCursor(os.fsencode(site.log), live.dev, live.inode, os.stat(site.log).st_size, live.fingerprint)
    database = Database(f"sqlite:///{site.root}/f.db", host=os.uname().nodename)
    with closing(database), database.begin() as session:
        audit_store.set_cursor(session, at)


def sh(command: str) -> int:
    """Run shell code; return the pid of the shell."""
    process = subprocess.Popen(["bash", "-c", command])
    assert process.wait(timeout=20) == 0
    return process.pid


def make_call(name: str, path: Path) -> int:
    """Run a call of :mod:`tests.lab.calls`; return the pid of its process."""
    command = [sys.executable, "-m", "tests.lab.calls", name, str(path)]
    process = subprocess.Popen(command, cwd=_ROOT, stderr=subprocess.PIPE, text=True)
    _, said = process.communicate(timeout=30)
    if process.returncode and any(f"Errno {code}]" in said for code in (errno.ENOSYS, errno.EPERM, errno.ENODEV)):
        unavailable(f"this kernel does not let one {name}")
    assert process.returncode == 0, said
    return process.pid


def verdict(row: dict[str, Any]) -> tuple[str, str | None]:
    return row["attribution"]["verdict"], row["attribution"]["reason"]


def gaps(row: dict[str, Any]) -> set[str]:
    return {gap["reason"] for gap in row["attribution"]["coverage"]["gaps"]}


def pids(row: dict[str, Any]) -> set[int]:
    return {actor["pid"] for actor in row["attribution"]["actors"]}


# --- what the printed rules report ----------------------------------------------------------------------------------


def test_an_ordinary_change_is_confirmed_with_every_hole_closed(site: Site) -> None:
    """The printed rules, with those that the first scan adds, leave no gap."""
    site.load()
    site("scan")
    if is_uring_usable():
        assert site.uring_rules() == [os.fsencode(site.directory)]
    pid = sh(f"echo new >> {site.file}")
    row = site.row()
    assert (verdict(row), pids(row), gaps(row)) == (("confirmed", None), {pid}, set())


@pytest.mark.parametrize("call", ["empty_by_openat", "empty_by_openat2"])
def test_truncation_without_write_access_names_its_process(site: Site, call: str) -> None:
    """An innocent process that had the file open for writing is at most one of two candidates."""
    site.load()
    site("scan")
    sh(f"exec 3>> {site.file}")
    pid = make_call(call, site.file)
    row = site.row()
    assert pid in pids(row)
    assert verdict(row)[0] in ("contested", "confirmed")
    assert (verdict(row)[0] == "confirmed") == (pids(row) == {pid})


def test_reading_through_openat2_is_no_change(site: Site) -> None:
    """All openat2 calls are recorded, as no rule can match its flags. Those that only read name nobody."""
    site.load()
    site("scan")
    reader = make_call("look_by_openat2", site.file)
    pid = sh(f"echo new >> {site.file}")
    row = site.row()
    assert (verdict(row)[0], pids(row)) == ("confirmed", {pid})
    assert reader not in pids(row)


def test_truncation_by_io_uring_names_no_innocent_process(site: Site) -> None:
    """The record of a worker thread's open has no file: no answer is confirmed, and the gap names the process."""
    if not is_uring_usable():
        unavailable("io_uring is disabled here")
    site.load()
    site("scan")
    sh(f"exec 3>> {site.file}")
    pid = make_call("empty_by_uring", site.file)
    row = site.row()
    assert verdict(row)[0] != "confirmed" or pids(row) == {pid}
    unnamed = {g["by"]["pid"] for g in row["attribution"]["coverage"]["gaps"] if g["reason"] == "unnamed-file"}
    assert pid in pids(row) | unnamed


def test_without_a_rule_for_io_uring_nothing_is_confirmed(site: Site) -> None:
    """If the configuration forbids the rule and io_uring is usable, a change through it cannot be excluded."""
    if not is_uring_usable():
        unavailable("io_uring is disabled here")
    config = site.root / "c.toml"
    config.write_text(config.read_text().replace("[audit]\n", "[audit]\nio_uring_rule = false\n"))
    site.load()
    site("scan")
    assert site.uring_rules() == []
    pid = sh(f"echo new >> {site.file}")
    row = site.row()
    assert (verdict(row), pids(row), gaps(row)) == (("likely", "coverage-gap"), {pid}, {"io-uring"})


def test_a_users_write_through_an_overlay_is_not_attributed_to_root(site: Site) -> None:
    """Only the mount is recorded: answers about files that the user may write are in doubt, about root's files not."""
    user = calls.USER
    site.root.chmod(0o755)
    for path in (site.directory, site.file):
        os.chown(path, user, user)
    base = site.root / "base"
    base.mkdir()
    os.chown(base, user, user)
    (site.directory / "of-root").write_text("root's\n")
    site.load()
    site("scan")
    sh(f"exec 3>> {site.file}")
    done = make_call("write_through_overlay", site.directory)
    row = site.row(site.file)
    assert (verdict(row)[0] != "confirmed", verdict(row)[1]) == (True, "coverage-gap")
    (gap,) = (gap for gap in row["attribution"]["coverage"]["gaps"] if gap["reason"] == "overlay")
    assert (gap["by"]["uid"], gap["by"]["pid"]) == (user, done)
    pid = sh(f"echo more >> {site.directory}/of-root")
    row = site.row()
    assert (verdict(row), pids(row), gaps(row)) == (("confirmed", None), {pid}, set())


def test_flags_that_file_setattr_set_are_attributed(site: Site) -> None:
    """Likely at most: the ioctl of chattr leaves no record."""
    site.load()
    site("scan")
    pid = make_call("set_flags", site.file)
    row = site.row()
    assert row["changed"] == ["flags", "ctime"]
    assert (verdict(row), pids(row), gaps(row)) == (("likely", "coverage-gap"), {pid}, {"unseen-call"})


# --- rules for single paths -----------------------------------------------------------------------------------------


def test_a_file_that_must_not_exist_is_attributed_when_it_appears(site: Site) -> None:
    """Its rules report its creation, its removal, and its creation by a rename."""
    preload = site.directory / "ld.so.preload"
    site.watch(preload)
    assert f"path={preload}" in site.load()
    site("scan")
    status = json.loads(site("audit", "status", "--format", "json").stdout)["checks"]
    assert any("absent; its creation will be reported" in check["detail"] for check in status)
    pid = sh(f"echo /lib/x.so > {preload}")
    row = site.row()
    assert (row["kind"], verdict(row), pids(row)) == ("added", ("confirmed", None), {pid})
    pid = sh(f"exec rm {preload}")
    row = site.row()
    assert (row["kind"], verdict(row), pids(row)) == ("removed", ("confirmed", None), {pid})
    pid = sh(f"echo x > {site.root}/other; exec mv {site.root}/other {preload}")
    row = site.row()
    assert row["kind"] == "added"
    assert pid in pids(row)


def test_a_single_file_that_is_replaced_stays_watched(site: Site) -> None:
    """The rule follows the name: the status does not change, and the next change is confirmed."""
    site.watch(site.file)
    site.load()
    site("scan")
    before = site("audit", "status")
    sh(f"cd {site.directory}; echo b > file.tmp; mv file.tmp file")
    site("scan")
    site("accept", "--all", "--even-outstanding")
    after = site("audit", "status")
    assert (before.returncode, "another directory" in after.stdout) == (after.returncode, False)
    pid = sh(f"echo c >> {site.file}")
    row = site.row()
    assert (verdict(row), pids(row), gaps(row)) == (("confirmed", None), {pid}, set())


def test_a_rule_for_a_file_goes_with_its_directory(site: Site) -> None:
    """When its directory is moved, the kernel drops the rule: the new one is reported as not covered."""
    site.watch(site.file)
    site.load()
    site("scan")
    sh(f"cd {site.root}; mv watched away; mkdir watched; cp -p away/file watched/file; echo x >> watched/file")
    row = site.row()
    assert verdict(row)[0] in ("likely", "unattributed")
    assert verdict(row)[1] != "no-event"
    assert "no loaded rule watches it" in site("audit", "status").stdout


def test_a_path_in_a_missing_directory_is_reported_as_refused(site: Site) -> None:
    """The kernel refuses a rule for it; the printed file loads all others."""
    site.watch(site.directory, site.root / "no" / "where")
    text = site("audit", "rules").stdout
    assert f"# NOT COVERED: {site.root}/no/where" in text
    assert "the kernel refuses rules" in text
    load_rules(text)
    assert f"{site.root}/no/where: neither it nor its directory exists" in site("audit", "status").stdout


def test_a_directory_that_is_gone_costs_its_own_rules_only(site: Site) -> None:
    """auditctl continues after refused rules (-c) and reports them; the other directory is covered."""
    usb = site.root / "usb"
    usb.mkdir()
    site.watch(usb, site.directory)
    file = site.root / "50.rules"
    file.write_text(site("audit", "rules").stdout)
    usb.rmdir()
    done = auditctl("-R", str(file))
    assert (done.returncode, done.stderr.count("There was an error in line")) == (1, 10)
    assert auditctl("-l").stdout.count(f"dir={site.directory} ") == 10
    assert f"{usb}: no loaded rule watches it" in site("audit", "status").stdout


# --- rules that come and go -----------------------------------------------------------------------------------------


def test_the_process_that_removed_rules_is_named(site: Site) -> None:
    """In the gap, and by 'audit status'."""
    text = site.load()
    site("scan")
    (rule, *_) = (line for line in text.splitlines() if line.startswith("-a "))
    sh(f"echo new >> {site.file}")
    remove_rules([rule])
    load_rules(rule)
    row = site.row()
    assert verdict(row) == ("likely", "coverage-gap")
    (gap,) = row["attribution"]["coverage"]["gaps"]
    assert (gap["reason"], gap["by"]["exe"], gap["by"]["uid"]) == ("rule-removed", shutil.which("auditctl"), 0)
    assert "auditctl (pid" in site("audit", "status").stdout
    assert "had been removed" in (output := site("explain", str(row["id"])).stdout)
    assert "auditctl (pid" in output


def test_rules_that_fimscan_removed_name_its_command(site: Site) -> None:
    """Its program is Python's interpreter; the command line tells which one ran."""
    site.load()
    site("scan")
    sh(f"echo new >> {site.file}")
    site.in_new_process("audit", "rules", "--remove")
    site.load()
    row = site.row()
    (gap,) = (gap for gap in row["attribution"]["coverage"]["gaps"] if gap["reason"] == "rule-removed")
    assert gap["by"]["exe"] == os.path.realpath(sys.executable)
    explained = site("explain", str(row["id"])).stdout
    for output in (site("audit", "status").stdout, " ".join(explained.split())):
        assert re.search(r"; its command line: \S+ -m fimscan .* audit rules --remove", output), output


def test_removing_a_rule_of_another_key_is_no_gap(site: Site) -> None:
    """It watched the same directory with another key. fimscan's rules are all loaded, so nothing was missed."""
    other = f"-a always,exit -F arch=b64 -F dir={site.directory} -F perm=wa -F key=other-{site.key[-8:]}"
    site.load()
    load_rules(other)
    site("scan")
    pid = sh(f"echo new >> {site.file}")
    remove_rules([other])
    row = site.row()
    assert (verdict(row), pids(row), gaps(row)) == (("confirmed", None), {pid}, set())


def test_rules_for_io_uring_come_and_go_with_ours(site: Site) -> None:
    """There is one for each outermost directory. fimscan removes it with its other rules, and never one of others."""
    if not is_uring_usable():
        unavailable("io_uring is disabled here")
    single = site.root / "single"
    single.mkdir()
    site.watch(site.directory, single / "file")
    text = site.load()
    foreign = rule_data(os.fsencode(site.root), "others")
    with closing(KernelAudit()) as kernel:
        site("scan")
        assert sorted(site.uring_rules()) == sorted(map(os.fsencode, (single, site.directory)))
        site("scan")
        assert len(site.uring_rules()) == 2
        kernel.add_rule(foreign)
        try:
            remove_rules([line for line in text.splitlines() if line.startswith("-a ")])
            assert site.uring_rules() == []
            assert foreign in kernel.rules()
        finally:
            kernel.delete_rule(foreign)


def test_a_removed_rule_for_io_uring_is_a_gap_and_comes_back(site: Site) -> None:
    """The process that removes it is named; the next scan loads it again."""
    if not is_uring_usable():
        unavailable("io_uring is disabled here")
    site.load()
    site("scan")
    with closing(KernelAudit()) as kernel:
        kernel.delete_rule(rule_data(os.fsencode(site.directory), site.key))
    pid = sh(f"echo new >> {site.file}")
    row = site.row()
    assert (verdict(row), pids(row), gaps(row)) == (("likely", "coverage-gap"), {pid}, {"io-uring"})
    assert site.uring_rules() == [os.fsencode(site.directory)]


# --- installing and removing ----------------------------------------------------------------------------------------


def test_rules_are_installed_and_removed_beside_those_of_others(site: Site) -> None:
    """In the real kernel: nothing of others is dropped, also what is in no file; a second time changes nothing."""
    directory, other = site.root / "rules.d", site.root / "other"
    elsewhere = site.root / "elsewhere"
    for place in (directory, other, elsewhere):
        place.mkdir()
    theirs = f"-a always,exit -F arch=b64 -S all -F dir={elsewhere} -F perm=x -F key={site.key}-theirs"
    load_rules(theirs)

    def install(*options: str) -> str:
        return site("audit", "rules", "--install", "--rules-dir", str(directory), *options).stdout

    try:
        assert "+ -a always,exit" in install("--dry-run") and not [*directory.iterdir()]
        first = install("--processes")
        assert "Every monitored path is covered" in first, first
        (file,) = directory.iterdir()
        assert (file.name, file.stat().st_mode & 0o777) == ("50-fimscan.rules", 0o640)
        assert "all of them are loaded already" in install("--processes")
        site.watch(other)
        assert re.search(r"Kernel: 10 rules added, 12 removed", second := install()), second
        assert "Every monitored path is covered" in second
        listed = auditctl("-l").stdout
        ours = [line for line in listed.splitlines() if line.endswith(f" -F key={site.key}") and "always,exit" in line]
        assert len(ours) == sum(line.startswith("-a") for line in file.read_text().splitlines())
        assert f"dir={site.directory} " not in listed and f"{site.key}-processes" not in listed
        assert listed.count(theirs) == 1
        assert "Removed" in site("audit", "rules", "--remove", "--rules-dir", str(directory)).stdout
        assert not [*directory.iterdir()]
        listed = auditctl("-l").stdout
        assert f"key={site.key}\n" not in listed and listed.count(theirs) == 1
    finally:
        remove_rules([theirs])
