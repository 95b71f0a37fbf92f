"""rpm's database, made here: packages built with rpmbuild and installed in a scratch directory."""

from __future__ import annotations

import io
import os
import shutil
from pathlib import Path

import pytest

from fimscan.model import PackageClass
from fimscan.packages.rpm import parse_rpm
from tests.packages.debian import Debian, run, told

SPEC = """\
Name: tool
Version: {version}
Release: 1
Epoch: 3
Summary: x
License: x
BuildArch: noarch
%global _binary_filedigest_algorithm {algorithm}
%global _source_filedigest_algorithm {algorithm}
%define _build_id_links none
%description
x
%install
mkdir -p %{{buildroot}}/usr/bin %{{buildroot}}/usr/share/tool %{{buildroot}}/etc
printf '{content}' > %{{buildroot}}/usr/bin/tool
chmod 4755 %{{buildroot}}/usr/bin/tool
ln -s tool %{{buildroot}}/usr/bin/t
printf 'a=1' > %{{buildroot}}/etc/tool.conf
touch %{{buildroot}}/usr/share/tool/ghost
%files
%attr(4755, root, root) /usr/bin/tool
/usr/bin/t
%config(noreplace) %attr(644, root, root) /etc/tool.conf
%dir %attr(755, root, root) /usr/share/tool
%ghost /usr/share/tool/ghost
"""
NONE = frozenset({b"tool"})
needs_rpm = [
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="rpm --root needs root"),
    pytest.mark.skipif(
        not (shutil.which("rpm") and shutil.which("rpmbuild")), reason="there is no rpm and rpmbuild here"
    ),
]


def with_rpm(test: object) -> object:
    for mark in needs_rpm:
        test = mark(test)
    return test


def installed(directory: Path, version: str = "1", algorithm: int = 8, content: str = "program") -> Debian:
    """A scratch system with the package."""
    root = directory / "root"
    (root / "var/lib/rpm").mkdir(parents=True, exist_ok=True)
    spec = directory / "tool.spec"
    spec.write_text(SPEC.format(version=version, algorithm=algorithm, content=content))
    run("rpmbuild", "-bb", "--quiet", "--define", f"_topdir {directory}/build", str(spec))
    (rpm,) = (directory / "build/RPMS/noarch").glob(f"tool-{version}-*.rpm")
    database = root / "var/lib/rpm"
    run(
        "rpm",
        "--root",
        str(root),
        "--dbpath",
        "/var/lib/rpm",
        "--nodeps",
        "--nosignature",
        "-U",
        "--oldpackage",
        str(rpm),
    )
    assert any(database.iterdir())
    return Debian(root, directory)


@with_rpm
@pytest.mark.parametrize(("algorithm", "name"), [(8, "sha256"), (10, "sha512"), (1, "md5")])
def test_the_digest_of_the_header_is_the_proof(tmp_path: Path, algorithm: int, name: str) -> None:
    """With its algorithm, mode, owner and target of links."""
    system = installed(tmp_path, algorithm=algorithm)
    program, link, conf, directory, ghost, other = system.check(
        "/usr/bin/tool", "/usr/bin/t", "/etc/tool.conf", "/usr/share/tool", "/usr/share/tool/ghost", "/usr/bin/x"
    )
    assert told(program) == "as-shipped rpm" and program.algorithm == name and program.attributes_proved
    assert program.owner is not None and program.facts == ()
    assert (program.owner.name, program.owner.version, program.owner.architecture) == ("tool", "3:1-1", "noarch")
    assert told(link) == told(conf) == told(directory) == "as-shipped rpm"
    assert conf.owner is not None and conf.owner.conffile
    assert told(ghost) == "unknown no-digest"
    assert not system.path("/usr/share/tool/ghost").exists()  # and it may be missing
    system.path("/etc/tool.conf").unlink()
    assert told(system.check("/etc/tool.conf")[0]) == "not-as-shipped missing rpm"
    assert told(other) == "unowned missing" and other.directory_owners == ()
    system.path("/usr/bin/tool").chmod(0o755)
    assert told(system.check("/usr/bin/tool")[0]) == "not-as-shipped mode rpm"
    system.path("/usr/bin/tool").write_text("Program")
    system.path("/usr/bin/tool").chmod(0o4755)
    assert told(system.check("/usr/bin/tool")[0]) == "not-as-shipped content rpm"


@with_rpm
def test_upgrade_and_downgrade_of_an_rpm(tmp_path: Path) -> None:
    """The installed version counts."""
    for version, content in (("1", "one"), ("2", "two"), ("1", "one")):
        system = installed(tmp_path, version=version, content=content)
        (answer,) = system.check("/usr/bin/tool")
        assert told(answer) == "as-shipped rpm" and answer.owner is not None
        assert answer.owner.version == f"3:{version}-1"


@with_rpm
def test_a_damaged_database_of_rpm_is_unknown(tmp_path: Path) -> None:
    """With what rpm says about it."""
    system = installed(tmp_path)
    for path in system.path("/var/lib/rpm").glob("rpmdb.sqlite*"):
        path.write_bytes(b"garbage" * 1000)
    report = system.report("/usr/bin/tool", "/usr/bin/x")
    assert report.databases == ("rpm",)
    assert {told(answer) for answer in report.answers} == {"unknown database-damaged"}
    assert "rpm cannot read its database" in report.problems[0]


@with_rpm
def test_a_damaged_database_of_rpm_does_not_spoil_dpkg(tmp_path: Path) -> None:
    """What dpkg proves stays proved; but rpm could own what dpkg does not."""
    tmp_path.chmod(0o755)
    system = Debian.make(tmp_path)
    system.install(system.build("other", "1.0", {"/usr/bin/other": "x"}))
    system.path("/var/lib/rpm").mkdir()
    system.path("/var/lib/rpm/rpmdb.sqlite").write_bytes(b"garbage" * 1000)
    report = system.report("/usr/bin/other", "/usr/bin/x")
    assert [told(answer) for answer in report.answers] == ["as-shipped md5sums", "unknown database-damaged"]


HEAD = b"@\ttool\t0:1-1\tnoarch\t8\t1700000000\t%d\n"
LINE = b"a" * 64 + b"\t100755\t0\t0\troot\troot\t\t/usr/bin/tool\n"


def parsed(text: bytes) -> list[object]:
    return [package and package.files and len(package.files) for package in parse_rpm(io.BytesIO(text), NONE)]


def test_lines_that_do_not_add_up_are_damaged() -> None:
    """A name of a file with a newline cannot pass for two files, nor for another package."""
    assert parsed(HEAD % 1 + LINE) == [1]
    assert parsed(HEAD % 2 + LINE) == [None]
    assert parsed(HEAD % 1 + LINE + LINE) == [None]
    assert parsed(HEAD % 1 + LINE.replace(b"/tool", b"/a\ntool")) == [None]
    assert parsed(HEAD % 1 + LINE[:-1]) == [None]
    assert parsed(HEAD % 1 + LINE.replace(b"aa", b"gg", 1)) == [None]
    assert parsed(HEAD % 1 + LINE.replace(b"a" * 64, b"a" * 32)) == [None]
    assert parsed(LINE) == [None]
    assert parsed(HEAD.replace(b"\t8\t", b"\t99\t") % 1 + LINE) == [None]
    assert parsed(HEAD.replace(b"%d", b"(none)") + b"(none)\t(none)\t(none)\t\t\t\t\t(none)\n") == [()]


def test_a_database_of_rpm_without_rpm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Is unknown, and not unowned."""
    from fimscan.packages import rpm

    (tmp_path / "var/lib/rpm").mkdir(parents=True)
    (tmp_path / "var/lib/rpm/rpmdb.sqlite").touch()
    monkeypatch.setattr(rpm, "_PROGRAMS", (b"/nowhere/rpm",))
    report = Debian(tmp_path, tmp_path).report("/usr/bin/tool")
    assert report.answers[0].kind is PackageClass.UNKNOWN and "no program rpm" in report.problems[0]
