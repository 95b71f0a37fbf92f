"""Attributes set by system tools are detected and shown in the notation of these tools."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from fimscan.model import FileState
from fimscan.report.attributes import flags_text, named_text, xattr_text
from fimscan.scan.scanner import scan
from fimscan.scan.watch import WatchSpec
from tests.conftest import Cli, rows
from tests.support import take_back_the_newest_schemas

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="capabilities and chattr flags are set by root")


def run(*command: str | Path) -> str:
    """Run a system tool; skip the test if it is not installed."""
    name = str(command[0])
    if shutil.which(name) is None:
        pytest.skip(f"{name} is not installed")
    return subprocess.run([*map(str, command)], check=True, capture_output=True, text=True).stdout


@pytest.fixture
def mutable(cli: Cli) -> Iterator[Cli]:
    """A directory that can be removed, whatever flags the test sets in it."""
    yield cli
    subprocess.run(["chattr", "-R", "-ia", str(cli.watched)], check=False, capture_output=True)


ACL = "user::rw-,user:1234:r--,group::r--,mask::r--,other::r--"
# command -> what it changes, where the report has it, what that was and is
DEEDS: dict[str, tuple[str, str, Any, Any]] = {
    "setcap cap_net_bind_service,cap_net_raw+ep": (
        *("capabilities", "capabilities", None),
        "cap_net_bind_service,cap_net_raw=ep",
    ),
    "setfacl -m u:1234:r": ("acl", "acl", None, ACL),
    "setfattr -n user.note -v checked": ("xattr", "xattrs", {}, {"user.note": "checked"}),
    "setfattr -n security.selinux -v u:r:etc_t:s0": ("selinux", "selinux", None, "u:r:etc_t:s0"),
    "chattr +i": ("flags", "flags", "", "i"),
    "chattr +ad": ("flags", "flags", "", "ad"),
}


@pytest.mark.parametrize("policy", ["full", "attributes"])
def test_each_is_found_and_named(mutable: Cli, policy: str) -> None:
    """One row for each, with the old and the new value, in every report format."""
    files = {command: mutable.watched / f"f{number}" for number, command in enumerate(DEEDS)}
    for file in files.values():
        file.touch()
    mutable.write_config(watch=f'policy = "{policy}"')
    mutable.scan()
    for command, file in files.items():
        run(*command.split(), file)
    mutable.scan(4)
    found = {row["path"]: row for row in mutable.diff()["changes"]}
    assert len(found) == len(DEEDS)
    said = {form: mutable("diff", "--flat", "--format", form, code=4).stdout for form in ("text", "html", "csv")}
    for command, (field, key, before, after) in DEEDS.items():
        row = found[str(files[command])]
        assert (row["kind"], row["changed"]) == ("attributes", [field, "ctime"])
        assert (row["before"][key], row["after"][key]) == (before, after)
        (value,) = after.values() if isinstance(after, dict) else (after,)
        assert all(value in " ".join(said[form].split()) for form in ("text", "html"))
        assert value in said["csv"] or field == "xattr"


def test_a_directory_has_all_of_them(mutable: Cli) -> None:
    """The default list of a directory, and its flags, are compared like a file's."""
    below = mutable.watched / "d"
    below.mkdir()
    mutable.scan()
    run("setfacl", "-d", "-m", "u:1234:rx", below)
    run("chattr", "+A", below)
    mutable.scan(4)
    (row,) = mutable.diff()["changes"]
    assert row["changed"] == ["acl", "flags"]
    assert "default:user:1234:r-x" in row["after"]["acl"] and row["after"]["flags"] == "A"


def test_removing_one_of_two_names_that_one(mutable: Cli) -> None:
    """The remaining attribute is not reported as different."""
    run("setcap", "cap_kill=ep", mutable.watched / "a")
    run("setfattr", "-n", "user.long", "-v", "x" * 100, mutable.watched / "a")
    mutable.scan()
    run("setcap", "-r", mutable.watched / "a")
    mutable.scan(4)
    (row,) = mutable.diff()["changes"]
    assert row["changed"] == ["capabilities", "ctime"]
    assert (row["before"]["capabilities"], row["after"]["capabilities"]) == ("cap_kill=ep", None)
    assert row["after"]["xattrs"]["user.long"].endswith("(100 bytes)")


def _state(path: Path) -> FileState:
    (found,) = scan([WatchSpec(path=os.fsencode(path))], workers=1)
    assert isinstance(found, FileState)
    return found


@pytest.mark.parametrize(
    "text",
    [
        "cap_net_raw=ep",
        "cap_net_raw=p",
        "cap_net_raw,cap_bpf=eip",
        "cap_chown=i",
        "=ep",
        "cap_chown=ip cap_kill+p",
        "=",
    ],
)
def test_capabilities_read_as_getcap_says(tmp_path: Path, text: str) -> None:
    """Effective, inheritable, permitted, all of them, none, low numbers and high."""
    file = tmp_path / "f"
    file.touch()
    run("setcap", text, file)
    said = run("getcap", file).removeprefix(f"{file} ").strip()
    ours = named_text(_state(file), "capabilities") or ""
    assert _caps(ours) == _caps(said)


def _caps(text: str) -> dict[str, str]:
    """Each capability with its sets, however they are grouped ("=ep" is all of them)."""
    found: dict[str, str] = {}
    for clause in text.split():
        names, _, sets = clause.replace("+", "=").partition("=")
        for name in names.split(",") if names or sets else ():
            found[name or "all"] = "".join(sorted(set(found.get(name or "all", "")) | set(sets)))
    return found


@pytest.mark.parametrize("entries", ["u:0:rwx,g:12:-wx,u:4294967294:r", "m::---,u:7:rwx", "o::---,g::x"])
def test_access_lists_read_as_getfacl_says(tmp_path: Path, entries: str) -> None:
    """Users, groups, the mask, of a file and as a directory's default, in getfacl's order."""
    run("setfacl", "-m", entries, tmp_path)
    run("setfacl", "-d", "-m", entries, tmp_path)
    said = run("getfacl", "-ncE", "--absolute-names", tmp_path).split()
    ours = (named_text(_state_of_directory(tmp_path), "acl") or "").split(",")
    minimal = not any(line.startswith("mask") for line in said)
    assert ours == [line for line in said if line.startswith("default:") or not minimal]


def _state_of_directory(path: Path) -> FileState:
    found = next(scan([WatchSpec(path=os.fsencode(path))], workers=1))
    assert isinstance(found, FileState)
    return found


@pytest.mark.parametrize("flags", ["i", "a", "dA", "SDT"])
def test_flags_read_as_lsattr_says(tmp_path: Path, flags: str) -> None:
    """In lsattr's letters and order, except flags that the file system sets itself."""
    place = tmp_path / "d"
    place.mkdir()
    try:
        if subprocess.run(["chattr", f"+{flags}", place], check=False, capture_output=True).returncode:
            pytest.skip("this file system has not all of these flags")
        said = run("lsattr", "-d", place).split()[0].replace("-", "")
        assert flags_text(_state_of_directory(place)) == "".join(letter for letter in said if letter not in "eIhNZBm")
    finally:
        subprocess.run(["chattr", "-ia", place], check=False, capture_output=True)


def test_a_malformed_value_is_shown_in_hexadecimal(tmp_path: Path) -> None:
    """The kernel checks the format of known attributes, but a forged image may have anything: no crash."""
    from fimscan.model import Xattr

    for name in (b"system.posix_acl_access", b"security.capability", b"security.selinux", b"user.x"):
        for value in (b"", b"\1", b"\2\0\0\0\7\0\7\0....", b"\xff" * 20, b"\x1b[31m"):
            text = xattr_text(Xattr(name=name, size=len(value), data=value))
            assert text.isprintable(), (name, value, text)


def test_an_upgrade_reports_nothing_and_old_records_still_verify(
    mutable: Cli, downgrade: Callable[[Cli], None]
) -> None:
    """An earlier version recorded no flags: no change is reported for that, and its evidence still verifies."""
    run("setfattr", "-n", "user.note", "-v", "1", mutable.watched / "a")
    run("chattr", "+d", mutable.watched / "b")
    mutable.scan()
    downgrade(mutable)
    bundle = mutable.root / "before.zip"
    period = ("--from", "2020-01-01", "--to", "2100-01-01")
    mutable("export", "pci-dss", *period, "--out", str(bundle), code=0)
    mutable("verify", str(bundle), code=0)
    mutable("verify", "--db", code=0)
    mutable.scan(0)
    run("chattr", "-d", mutable.watched / "b")
    run("setfattr", "-n", "user.note", "-v", "2", mutable.watched / "a")
    mutable.scan(4)
    document = mutable.diff()
    assert rows(document) == [("attributes", "a"), ("attributes", "b")]
    assert [row["steps"][-1]["changed"] if "steps" in row else row["changed"] for row in document["changes"]] == [
        ["xattr", "ctime"],
        ["flags", "ctime"],
    ]
    mutable("export", "pci-dss", *period, "--out", str(bundle), code=0)
    mutable("verify", str(bundle), code=0)
    mutable("verify", "--db", "--all", code=0)


@pytest.fixture
def downgrade() -> Callable[[Cli], None]:
    """Turn a database with one scan into what the version before attributes and flags would have recorded."""

    def undo(cli: Cli) -> None:
        from fimscan.store import files
        from fimscan.store import scans as scan_store
        from fimscan.store.database import Database
        from fimscan.store.ledger import GENESIS, StateDigest, entry, state_digest, summary_line

        with sqlite3.connect(cli.database) as raw:
            raw.execute("UPDATE file_version SET xattrs = NULL, flags = NULL")
            raw.execute("UPDATE scan SET journal = ''")
        database = Database(f"sqlite:///{cli.database}", host=os.uname().nodename)
        with database.begin() as session:
            complete = StateDigest()
            digests: list[dict[str, Any]] = []
            for version in list(files.as_of(session, 10**6)):
                # It went by the order of the configuration, which may have been any.
                own = state_digest(replace(version.state, digests=version.state.digests[::-1]))
                complete.add(own)
                digests.append({"id": version.id, "digest": own})
            (scan_one,) = scan_store.all_scans(session)
        database.close()
        made = entry(GENESIS, summary_line(scan_one), complete.hexdigest())
        with sqlite3.connect(cli.database) as raw:
            raw.executemany("UPDATE file_version SET state_digest = :digest WHERE id = :id", digests)
            raw.execute("UPDATE scan SET state_digest = ?, entry = ?", (complete.hexdigest(), made))
            for column in ("xattrs", "flags", "followed", "retired"):
                raw.execute(f"ALTER TABLE file_version DROP COLUMN {column}")
            raw.execute("ALTER TABLE change DROP COLUMN breach")
            raw.execute("ALTER TABLE scan DROP COLUMN journal")
            raw.execute("DROP TABLE journal")
            raw.execute("DROP TABLE journal_open")
            take_back_the_newest_schemas(raw)
            raw.execute("UPDATE alembic_version SET version_num = '0002'")

    return undo
