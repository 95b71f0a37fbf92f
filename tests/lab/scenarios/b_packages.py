"""Changes by package managers, which change many files at once."""

from __future__ import annotations

import os
import shutil
import sys
import zipfile
from pathlib import Path

from tests.lab.bench import Lab
from tests.lab.ground import Unavailable
from tests.lab.scenario import Steps, scenario


@scenario
def dpkg(lab: Lab) -> Steps:
    """dpkg updates a package that the test builds: it writes each new file beside the old one, then renames it."""
    dpkg = ["dpkg", f"--instdir={lab.here}", f"--admindir={_administration(lab)}"]
    lab.run(*dpkg, "-i", str(_package(lab, "1")))
    newer = _package(lab, "2")
    yield
    installer = lab.run(*dpkg, "-i", str(newer))
    lab.modified("usr/share/doc/lab/readme", writer=installer, placer=installer)
    lab.added("usr/share/doc/lab/news-2", writer=installer, placer=installer)
    lab.removed("usr/share/doc/lab/news-1", remover=installer)


@scenario
def apt_get(lab: Lab) -> Steps:
    """apt installs a package of the distribution, with everything that it runs besides dpkg."""
    administration = _administration(lab)
    # Copy this machine's list of installed packages, so that the dependencies are met.
    shutil.copy("/var/lib/dpkg/status", administration / "status")
    try:
        lab.run("apt-get", "-q", "download", "hello", cwd=lab.elsewhere)
    except AssertionError as error:
        raise Unavailable(f"apt-get cannot download a package: {error}") from error
    (package,) = lab.elsewhere.glob("hello_*.deb")
    yield
    state = lab.elsewhere / "apt"
    options = {
        "Dir::State::status": administration / "status",
        "Dir::State": state / "state",
        "Dir::Cache": state / "cache",
        "Dir::Log": state / "log",
        "Debug::NoLocking": 1,
        "DPkg::Options::": f"--admindir={administration}",
        "DPkg::Options:: ": f"--instdir={lab.here}",
    }
    for part in ("state/lists/partial", "cache/archives/partial", "log"):
        (state / part).mkdir(parents=True)
    given = [word for name, value in options.items() for word in ("-o", f"{name.strip()}={value}")]
    apt = lab.run(
        "apt-get", "-qy", *given, "install", str(package), env=os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    )
    lab.added("usr/bin/hello", writer=apt.child("dpkg"), placer=apt.child("dpkg"))
    lab.all_else(apt.child("dpkg"), "added")


@scenario
def pip(lab: Lab) -> Steps:
    """pip unpacks outside the watched directory and moves whole directories in: it is the placer of their files."""
    wheel = _wheel(lab.elsewhere)
    yield
    env = os.environ | {"TMPDIR": str(lab.elsewhere)}  # on another file system, pip would copy instead of rename
    command = [sys.executable, "-m", "pip", "install", "-q", "--no-index", "--no-deps", "--no-compile"]
    command += ["--disable-pip-version-check", "--target", str(lab.here / "site"), str(wheel)]
    installer = lab.run(*command, env=env)
    lab.added("site/tiny/__init__.py", placer=installer)
    lab.all_else(installer, "added")


def _administration(lab: Lab) -> Path:
    directory = lab.elsewhere / "dpkg"
    for part in ("info", "updates", "triggers"):
        (directory / part).mkdir(parents=True)
    (directory / "status").touch()
    return directory


def _package(lab: Lab, version: str) -> Path:
    tree = lab.elsewhere / f"package-{version}"
    (tree / "DEBIAN").mkdir(parents=True)
    (tree / "DEBIAN/control").write_text(
        f"Package: fimscan-lab\nVersion: {version}\nArchitecture: all\n"
        "Maintainer: n <n@example.org>\nDescription: none\n"
    )
    files = tree / "usr/share/doc/lab"
    files.mkdir(parents=True)
    (files / "readme").write_text(f"version {version}\n")
    (files / f"news-{version}").write_text(f"news of {version}\n")
    lab.run("dpkg-deb", "--build", "--root-owner-group", str(tree), f"{tree}.deb")
    return Path(f"{tree}.deb")


def _wheel(directory: Path) -> Path:
    wheel = directory / "tiny-1-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as file:
        file.writestr("tiny/__init__.py", "ANSWER = 42\n")
        file.writestr("tiny-1.dist-info/METADATA", "Metadata-Version: 2.1\nName: tiny\nVersion: 1\n")
        file.writestr("tiny-1.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        file.writestr("tiny-1.dist-info/RECORD", "")
    return wheel
