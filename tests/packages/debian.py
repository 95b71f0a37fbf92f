"""A scratch system with a dpkg database of its own, for which real packages are built and installed."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fimscan.model import PackageAnswer, PackageReport
from fimscan.packages import Observer, PackageQuestion, PackageSources, check_paths

ADMIN = "var/lib/dpkg"


@dataclass(frozen=True)
class Debian:
    """A root directory with merged /usr, in which ``dpkg --root`` works; packages are built beside it."""

    root: Path
    built: Path

    @classmethod
    def make(cls, directory: Path) -> Debian:
        made = cls(root=directory / "root", built=directory / "built")
        made.built.mkdir()
        for name in ("info", "updates", "triggers", "alternatives", "parts"):
            (made.root / ADMIN / name).mkdir(parents=True)
        for name in ("status", "available"):
            (made.root / ADMIN / name).touch()
        (made.root / "var/log").mkdir()
        (made.root / "usr/bin").mkdir(parents=True)
        (made.root / "bin").symlink_to("usr/bin")
        made.root.chmod(0o755)
        return made

    @property
    def admin(self) -> Path:
        return self.root / ADMIN

    @property
    def manifests(self) -> Path:
        return self.built.parent / "packages"

    def build(
        self,
        name: str,
        version: str = "1.0",
        files: Mapping[str, str] | None = None,
        *,
        control: str = "",
        architecture: str = "all",
        compression: str = "gzip",
        modes: Mapping[str, int] | None = None,
        **scripts: str,
    ) -> Path:
        """Build a .deb. Files below ``/etc`` are conffiles; ``-> X`` is a symbolic link, ``=> X`` a hard one."""
        tree = self.built / f"{name}-{version}-{architecture}-tree"
        (tree / "DEBIAN").mkdir(parents=True)
        text = (
            f"Package: {name}\nVersion: {version}\nArchitecture: {architecture}\nMaintainer: T <t@example.org>\n"
            f"Description: test\n{control}"
        )
        (tree / "DEBIAN/control").write_text(text)
        for path, content in (files or {}).items():
            target = tree / path.lstrip("/")
            target.parent.mkdir(parents=True, exist_ok=True)
            if content.startswith("-> "):
                target.symlink_to(content[3:])
            elif content.startswith("=> "):
                target.hardlink_to(tree / content[3:].lstrip("/"))
            else:
                target.write_text(content)
        for path, mode in (modes or {}).items():
            (tree / path.lstrip("/")).chmod(mode)
        conffiles = "".join(f"{path}\n" for path in files or {} if path.startswith("/etc/"))
        if conffiles:
            (tree / "DEBIAN/conffiles").write_text(conffiles)
        for script, body in scripts.items():
            (tree / "DEBIAN" / script).write_text(f"#!/bin/sh\nset -e\n{body}\n")
            (tree / "DEBIAN" / script).chmod(0o755)
        deb = self.built / f"{name}_{version.replace(':', '%3a')}_{architecture}.deb"
        run("dpkg-deb", "--root-owner-group", f"-Z{compression}", "-b", str(tree), str(deb))
        return deb

    def dpkg(self, *arguments: str, code: int = 0) -> None:
        """Run dpkg on the scratch system; maintainer scripts run outside of it, with $DPKG_ROOT."""
        log = self.root / "var/log/dpkg.log"
        force = "--force-script-chrootless,architecture,bad-path"
        run("dpkg", f"--root={self.root}", f"--log={log}", force, *arguments, code=code)

    def install(self, *debs: Path, code: int = 0) -> None:
        self.dpkg("--install", *map(str, debs), code=code)

    def path(self, path: str) -> Path:
        return self.root / path.lstrip("/")

    def check(self, *paths: str, **sources: Any) -> list[PackageAnswer]:
        """Answers for files as they are now."""
        return [*self.report(*paths, **sources).answers]

    def report(self, *paths: str, questions: list[PackageQuestion] | None = None, **sources: Any) -> PackageReport:
        """Answers for files as they are now, or for these questions, with the problems."""
        asked = questions or self.questions(*paths)
        values: dict[str, Any] = {"root": os.fsencode(self.root), "manifests": os.fsencode(self.manifests)}
        return check_paths(asked, PackageSources(**{**values, "archives": (), **sources}))

    def questions(self, *paths: str) -> list[PackageQuestion]:
        observer = Observer(os.fsencode(self.root))
        found = [observer.question(path.encode()) for path in paths]
        return [one for one in found if isinstance(one, PackageQuestion)]

    def fimscan_record(self, *debs: Path) -> None:
        """Take manifests as the hook does."""
        from fimscan.packages import ManifestStore, record_debs

        done = record_debs([os.fsencode(deb) for deb in debs], ManifestStore(os.fsencode(self.manifests)), now_ns())
        assert (done.new, done.problems) == (len(debs), ())


def now_ns() -> int:
    return time.time_ns()


def run(*command: str, code: int = 0) -> str:
    environment = {**os.environ, "LC_ALL": "C", "DEBIAN_FRONTEND": "noninteractive", "SOURCE_DATE_EPOCH": "1700000000"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, env=environment)
    assert done.returncode == code, (command, done.returncode, done.stdout, done.stderr)
    return done.stdout


def told(answer: PackageAnswer) -> str:
    """The essence of an answer: ``as-shipped md5sums``, ``unknown no-digest``, ``not-as-shipped content md5sums``."""
    words = [answer.kind.value, answer.reason, *answer.differs, answer.proof]
    return " ".join(str(word) for word in words if word)
