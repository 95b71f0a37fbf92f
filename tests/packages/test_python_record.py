"""Files of pip, by RECORD: a digest proves something only where root alone can write."""

from __future__ import annotations

import base64
import hashlib
import os
from pathlib import Path

import pytest

from tests.packages.debian import Debian, told

LIBRARY = "/opt/venv/lib/python3.11/site-packages"


def digest(content: str) -> str:
    return "sha256=" + base64.urlsafe_b64encode(hashlib.sha256(content.encode()).digest()).rstrip(b"=").decode()


@pytest.fixture
def system(tmp_path: Path) -> Debian:
    """A virtual environment with one distribution; there is no database of dpkg or rpm."""
    made = Debian(tmp_path / "root", tmp_path)
    library = made.path(LIBRARY)
    (library / "tool-1.2.dist-info").mkdir(parents=True)
    (library / "tool").mkdir()
    made.path("/opt/venv/bin").mkdir()
    (library / "tool/a,b.py").write_text("code")
    (library / "tool/a.pyc").write_text("compiled")
    made.path("/opt/venv/bin/tool").write_text("script")
    made.path("/etc").mkdir()
    made.path("/etc/shadow").write_text("x")
    write_record(made)
    for path in (made.root, *made.root.rglob("*")):
        path.chmod(path.stat().st_mode & ~0o022)
    return made


def write_record(system: Debian, extra: str = "") -> None:
    system.path(f"{LIBRARY}/tool-1.2.dist-info/RECORD").write_text(
        f'"tool/a,b.py",{digest("code")},4\ntool/a.pyc,,\n../../../bin/tool,{digest("script")},6\n'
        f"../../../../../etc/shadow,{digest('x')},1\n{extra}"
    )


def one(system: Debian, path: str) -> str:
    return told(system.check(path)[0])


def test_files_of_a_distribution(system: Debian) -> None:
    """Its modules and scripts; a compiled module has no digest, and other files belong to nobody."""
    (module,) = system.check(f"{LIBRARY}/tool/a,b.py")
    assert told(module) == "as-shipped python-record" and module.owner is not None
    assert (module.owner.manager, module.owner.name, module.owner.version) == ("python", "tool", "1.2")
    assert one(system, "/opt/venv/bin/tool") == "as-shipped python-record"
    assert one(system, f"{LIBRARY}/tool/a.pyc") == "unknown no-digest"
    system.path("/opt/venv/bin/tool").write_text("Script")
    assert one(system, "/opt/venv/bin/tool") == "not-as-shipped content python-record"
    assert one(system, f"{LIBRARY}/tool/new.py") == "unknown no-database"


def test_files_in_a_directory_that_was_given_to_pip(system: Debian) -> None:
    """pip install --target leaves ../../bin in RECORD, but has the scripts below. Nothing beside it belongs to it."""
    library = "/opt/app/vendored"
    info = system.path(f"{library}/tool-1.2.dist-info")
    info.mkdir(parents=True)
    (info / "RECORD").write_text(
        f"tool.py,{digest('code')},4\n../../bin/tool,{digest('script')},6\n../other.py,{digest('other')},5\n"
    )
    system.path(f"{library}/bin").mkdir()
    for name, content in (("tool.py", "code"), ("bin/tool", "script"), ("../other.py", "other")):
        system.path(f"{library}/{name}").write_text(content)
    for path in (system.path("/opt/app"), *system.path("/opt/app").rglob("*")):
        path.chmod(path.stat().st_mode & ~0o022)
    assert one(system, f"{library}/tool.py") == one(system, f"{library}/bin/tool") == "as-shipped python-record"
    assert one(system, "/opt/app/other.py") == "unknown no-database"
    system.path(f"{library}/tool.py").write_text("Code")
    assert one(system, f"{library}/tool.py") == "not-as-shipped content python-record"
    system.path(library).chmod(0o777)
    assert one(system, f"{library}/tool.py") == "unknown untrusted-database"
    (system.root / "var/lib/dpkg/info").mkdir(parents=True)
    (system.root / "var/lib/dpkg/status").touch()
    assert one(system, f"{LIBRARY}/tool/new.py") == "unowned missing"


def test_a_record_that_others_can_write_is_no_proof(system: Debian) -> None:
    """Neither the file nor a directory above it may be theirs."""
    record = system.path(f"{LIBRARY}/tool-1.2.dist-info/RECORD")
    for path in (record, record.parent, system.path("/opt")):
        path.chmod(path.stat().st_mode | 0o002)
        assert one(system, "/opt/venv/bin/tool") == "unknown untrusted-database"
        path.chmod(path.stat().st_mode & ~0o002)
    if os.geteuid() == 0:
        os.chown(record, 1000, 1000)
        assert one(system, "/opt/venv/bin/tool") == "unknown untrusted-database"


def test_a_record_is_not_asked_about_files_elsewhere(system: Debian) -> None:
    """/etc/shadow is in it with the right digest."""
    assert one(system, "/etc/shadow") == "unknown no-database"


@pytest.mark.parametrize(
    "extra", ["../../../bin/tool,sha256=AAAA,6\n", 'tool/x,"\n', "one field\n", f"../../../bin/tool,{digest('y')},1\n"]
)
def test_a_damaged_record_is_used_for_nothing(system: Debian, extra: str) -> None:
    """And it is told."""
    write_record(system, extra)
    report = system.report("/opt/venv/bin/tool")
    assert told(report.answers[0]) == "unknown no-database" and "RECORD" in report.problems[0]
