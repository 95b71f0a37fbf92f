"""``make install`` and the Debian package install everything, keep data on upgrade and removal, and purge all of it.

The short form puts a stand-in for the virtual environment into the package. With FIMSCAN_TEST_PACKAGE=1, the real one
is built, which takes a minute and needs a package index. Both install with the real dpkg and the real maintainer
scripts, in an overlay of the running system that only these tests see.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import fimscan

ROOT = Path(__file__).parents[1]
PACKAGING = ROOT / "packaging"
DEBIAN_PYTHON = "/usr/bin/python3"
REAL = os.environ.get("FIMSCAN_TEST_PACKAGE") == "1"
# What was written in the overlay and is not on the machine itself; dpkg's own records and other programs' caches apart.
# A removed file is a character device there.
ADDED = """
cd /overlay/upper
find . -not -type c -not -path './var/lib/dpkg*' -not -path './var/cache/*' -not -path './var/log/*' \\
  -not -path './tmp/*' | while read -r path; do
    [ -e "/lower/$path" ] || [ -L "/lower/$path" ] || echo "$path"
  done
"""

real_only = pytest.mark.skipif(not REAL, reason="slow, needs a package index: set FIMSCAN_TEST_PACKAGE=1")
both_forms = pytest.mark.parametrize("form", ["stand-in", pytest.param("real", marks=real_only)])


def stand_in(directory: Path) -> None:
    """A virtual environment for /opt/fimscan with this checkout's code; its program prints the version only."""
    python = DEBIAN_PYTHON if os.access(DEBIAN_PYTHON, os.X_OK) else sys.executable
    subprocess.run([python, "-m", "venv", "--without-pip", directory], check=True)
    paths = [str(ROOT), *(path for path in sys.path if path.endswith("site-packages"))]
    next(directory.glob("lib/python3*/site-packages")).joinpath("checkout.pth").write_text("\n".join(paths) + "\n")
    program = directory / "bin/fimscan"
    program.write_text(f'#!/opt/fimscan/bin/python\nprint("fimscan, version {fimscan.__version__}")\n')
    program.chmod(0o755)
    subprocess.run([PACKAGING / "relocate", directory, "/opt/fimscan"], check=True)


def job_lines(cron: str) -> list[str]:
    """The lines of a cron file that run something."""
    return [line for line in cron.splitlines() if re.match(r"[^#\s]+(\s+\S+){5}", line)]


def check_units(unit: str, cron: str, program: str) -> None:
    """Unit and cron file name the installed program; cron's job is disabled until its # is removed."""
    assert f"\nExecStart={program} --config /etc/fimscan/fimscan.toml schedule\n" in unit
    assert job_lines(cron) == []
    enabled = re.sub(r"^# (?=\*)", "", cron, flags=re.MULTILINE)
    assert [line.split()[5:7] for line in job_lines(enabled)] == [["root", program]]


# --------------------------------------------------------------------------------------------------------------------
# make install


def everything_in(directory: Path) -> list[str]:
    return sorted(str(path.relative_to(directory)) for path in directory.rglob("*"))


@both_forms
def test_make_install_below_destdir_and_uninstall(tmp_path: Path, form: str) -> None:
    """Each file is at its place; uninstall leaves configuration and database."""
    root = tmp_path / "root"
    if form == "real":
        subprocess.run(["make", "install", f"DESTDIR={root}", f"PYTHON={DEBIAN_PYTHON}"], cwd=ROOT, check=True)
        assert (root / "opt/fimscan/bin/fimscan").read_text().splitlines()[0] == "#!/opt/fimscan/bin/python"
    else:
        stand_in(root / "opt/fimscan")
        subprocess.run(["make", "install-files", f"DESTDIR={root}"], cwd=ROOT, check=True, capture_output=True)
    assert (root / "usr/local/bin/fimscan").readlink() == Path("/opt/fimscan/bin/fimscan")
    unit = (root / "usr/local/lib/systemd/system/fimscan.service").read_text()
    check_units(unit, (root / "etc/cron.d/fimscan").read_text(), "/usr/local/bin/fimscan")
    timer = (root / "usr/local/lib/systemd/system/fimscan.timer").read_text()
    assert timer.startswith("# systemd timer. Enable it: systemctl enable --now fimscan.timer\n")
    units = {path.name for path in (ROOT / "conf").iterdir() if path.suffix in (".service", ".timer")}
    assert {path.name for path in (root / "usr/local/lib/systemd/system").iterdir()} == units
    for page in (ROOT / "docs/man").iterdir():
        assert (root / f"usr/local/share/man/man{page.suffix[1:]}" / page.name).read_text() == page.read_text()
    for file, word in (
        ("bash-completion/completions/fimscan", "_FIMSCAN_COMPLETE=bash_complete"),
        ("zsh/site-functions/_fimscan", "#compdef fimscan"),
        ("fish/vendor_completions.d/fimscan.fish", "_FIMSCAN_COMPLETE=fish_complete"),
    ):
        assert word in (root / "usr/local/share" / file).read_text()
    for directory in ("etc/fimscan", "var/lib/fimscan", "etc/fimscan/selftest"):
        assert (root / directory).stat().st_mode & 0o7777 == 0o700
    database = root / "var/lib/fimscan/fimscan.db"
    database.write_text("kept")

    subprocess.run(["make", "uninstall", f"DESTDIR={root}"], cwd=ROOT, check=True, capture_output=True)
    files = [path for path in everything_in(root) if not (root / path).is_dir()]
    assert files == ["var/lib/fimscan/fimscan.db"]
    assert (root / "etc/fimscan").is_dir()
    # A second time is no error.
    subprocess.run(["make", "uninstall", f"DESTDIR={root}"], cwd=ROOT, check=True, capture_output=True)


def test_a_prefix_with_other_files_is_refused(tmp_path: Path) -> None:
    """Neither install nor uninstall deletes what is not fimscan's."""
    (tmp_path / "opt/fimscan").mkdir(parents=True)
    (tmp_path / "opt/fimscan/precious").touch()
    for target in ("install", "uninstall"):
        done = subprocess.run(
            ["make", target, f"DESTDIR={tmp_path}"], cwd=ROOT, capture_output=True, text=True, check=False
        )
        assert done.returncode != 0 and "PREFIX" in done.stderr, target
    assert everything_in(tmp_path) == ["opt", "opt/fimscan", "opt/fimscan/precious"]


# --------------------------------------------------------------------------------------------------------------------
# The Debian package

Shell = Callable[..., str]
_ENTER = """
set -e
mount -t tmpfs tmpfs "$1"
mkdir "$1/upper" "$1/work" "$1/all"
mount -t overlay overlay -o "lowerdir=/,upperdir=$1/upper,workdir=$1/work" "$1/all"
mount --rbind /dev "$1/all/dev"
mount -t proc proc "$1/all/proc"
mkdir "$1/all/overlay" "$1/all/lower"
mount --bind "$1" "$1/all/overlay"
mount --bind / "$1/all/lower"
echo ready
exec sleep infinity
"""


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    """Run a script in a copy of the running system; what it writes is gone after the test."""
    if os.geteuid() != 0:
        pytest.skip("needs root: it mounts an overlay and runs dpkg there")
    if any(shutil.which(program) is None for program in ("dpkg", "dpkg-deb", "unshare", "nsenter")):
        pytest.skip("needs dpkg and util-linux")
    if not os.access(DEBIAN_PYTHON, os.X_OK):
        pytest.skip("needs Debian's python3")
    place = tmp_path / "system"
    place.mkdir()
    with subprocess.Popen(
        ["unshare", "--mount", "sh", "-c", _ENTER, "sh", place],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as holder:
        assert holder.stdout is not None and holder.stderr is not None
        if holder.stdout.readline() != "ready\n":
            pytest.skip(f"no overlay can be mounted here: {holder.stderr.read().strip()}")

        def run(script: str, *, stdin: bytes = b"", fails: bool = False) -> str:
            enter = ["nsenter", f"--mount=/proc/{holder.pid}/ns/mnt", "chroot", str(place / "all")]
            environment = {
                "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
                "LC_ALL": "C.UTF-8",
                "DEBIAN_FRONTEND": "noninteractive",
            }
            done = subprocess.run(
                [*enter, "sh", "-ec", script], input=stdin, env=environment, capture_output=True, check=False
            )
            output = (done.stdout + done.stderr).decode("utf-8", "backslashreplace")
            assert (done.returncode != 0) == fails, output
            return output

        try:
            # What the machine itself has of fimscan is not there.
            run(
                "dpkg --purge fimscan || true; rm -rf /opt/fimscan /etc/fimscan /var/lib/fimscan /etc/cron.d/fimscan"
                " /usr/local/bin/fimscan; mkdir -p /etc/cron.d"
            )
            yield run
        finally:
            holder.kill()


def build(directory: Path, form: str) -> Path:
    """Build the package with either virtual environment."""
    environment = {**os.environ, "DEB_COMPRESSION": "gzip"}
    arguments: list[str | Path] = [PACKAGING / "make_deb", directory / "dist"]
    if form == "stand-in":
        stand_in(directory / "venv")
        arguments.append(directory / "venv")
    subprocess.run(arguments, env=environment, check=True, capture_output=True)
    return next(directory.glob("dist/fimscan_*.deb"))


def next_version(package: Path, directory: Path) -> Path:
    """The same package with a higher version, and one file more."""
    tree = directory / "next"
    subprocess.run(["dpkg-deb", "-R", package, tree], check=True)
    control = tree / "DEBIAN/control"
    control.write_text(control.read_text().replace(f"Version: {fimscan.__version__}", "Version: 99"))
    (tree / "opt/fimscan/only-in-99").touch()
    built = directory / "next.deb"
    subprocess.run(["dpkg-deb", "--root-owner-group", "-Zgzip", "--build", tree, built], check=True)
    return built


@pytest.mark.root
@pytest.mark.timeout(600)
@both_forms
def test_the_package_is_installed_upgraded_removed_and_purged(tmp_path: Path, shell: Shell, form: str) -> None:
    """Upgrade and removal keep configuration and database; a purge leaves nothing."""
    package = build(tmp_path, form)
    for name, file in (("this", package), ("next", next_version(package, tmp_path))):
        shell(f"cat > /tmp/{name}.deb", stdin=file.read_bytes())
    before = shell(ADDED)

    # Install.
    assert "fimscan" not in before
    shell("dpkg -i /tmp/this.deb")
    assert shell("cd /; fimscan --version") == f"fimscan, version {fimscan.__version__}\n"
    assert shell("stat -c '%a %U' /etc/fimscan /var/lib/fimscan /etc/fimscan/fimscan.toml").split("\n")[:3] == [
        "700 root",
        "700 root",
        "600 root",
    ]
    check_units(shell("cat /lib/systemd/system/fimscan.service"), shell("cat /etc/cron.d/fimscan"), "/usr/bin/fimscan")
    for unit in ("fimscan-scan.service", "fimscan-notify.service", "fimscan-failed@.service"):
        assert "/usr/bin/fimscan --config " in (text := shell(f"cat /lib/systemd/system/{unit}"))
        assert "/usr/local/bin" not in text
    assert "./opt/fimscan/bin/fimscan\n" in shell(ADDED)
    # dpkg -V is silent if every file is as it was packed.
    assert shell("dpkg -V fimscan; dpkg-query -W -f '${Status}' fimscan") == "install ok installed"
    if form == "real":
        shell("fimscan init --quiet; rm -rf /tmp/watched; mkdir -p /tmp/watched; echo 1 > /tmp/watched/file")
        shell("printf '[[watch]]\\npath = \"/tmp/watched\"\\n' > /etc/fimscan/fimscan.toml; fimscan scan --no-audit")
    else:
        shell("echo kept > /var/lib/fimscan/fimscan.db")
    shell("echo '# ours' >> /etc/fimscan/fimscan.toml; sed -i s/MAILTO=root/MAILTO=us/ /etc/cron.d/fimscan")
    kept = shell("sha256sum /var/lib/fimscan/fimscan.db /etc/fimscan/fimscan.toml /etc/cron.d/fimscan")

    # Upgrade. The scripts can run again at any time.
    shell("dpkg -i /tmp/next.deb")
    shell("for i in 1 2; do /var/lib/dpkg/info/fimscan.postinst configure 1; done")
    assert shell("sha256sum /var/lib/fimscan/fimscan.db /etc/fimscan/fimscan.toml /etc/cron.d/fimscan") == kept
    shell("test -e /opt/fimscan/only-in-99; fimscan --version")
    if form == "real":
        assert "Nothing changed since scan 1" in shell("fimscan scan --no-audit --verbose")
        kept = shell("sha256sum /var/lib/fimscan/fimscan.db /etc/fimscan/fimscan.toml /etc/cron.d/fimscan")

    # Remove: no program, the same data. A leftover of Python's is no obstacle.
    shell("mkdir /opt/fimscan/lib/__pycache__; touch /opt/fimscan/lib/__pycache__/x.pyc; dpkg --remove fimscan")
    assert shell("sha256sum /var/lib/fimscan/fimscan.db /etc/fimscan/fimscan.toml /etc/cron.d/fimscan") == kept
    shell("test ! -e /opt/fimscan; test ! -e /usr/bin/fimscan; test ! -L /usr/bin/fimscan")

    # Install again, and purge.
    shell("dpkg -i /tmp/this.deb; dpkg --purge fimscan")
    assert shell(ADDED) == before


@pytest.mark.root
def test_the_package_does_not_mix_with_make_install(tmp_path: Path, shell: Shell) -> None:
    """It says what to do, and changes nothing."""
    package = build(tmp_path, "stand-in")
    shell("mkdir -p /opt/fimscan; touch /opt/fimscan/pyvenv.cfg; cat > /tmp/this.deb", stdin=package.read_bytes())
    assert "make uninstall" in shell("dpkg -i /tmp/this.deb", fails=True)
    assert shell("ls /opt/fimscan") == "pyvenv.cfg\n"


@pytest.mark.root
def test_the_package_is_complete_without_a_build_system(tmp_path: Path, shell: Shell) -> None:
    """Its control data have what dpkg needs: the Python that it was built for, and the files an administrator edits."""
    del shell  # skips where dpkg is missing
    package = build(tmp_path, "stand-in")
    control = subprocess.run(["dpkg-deb", "-f", package], check=True, capture_output=True, text=True).stdout
    minor = subprocess.run(
        [DEBIAN_PYTHON, "-c", "import sys; print(sys.version_info.minor)"], check=True, capture_output=True, text=True
    ).stdout
    assert f"Depends: python3 (>= 3.{int(minor)}), python3 (<< 3.{int(minor) + 1})" in control
    assert "Recommends: auditd" in control
    with contextlib.chdir(tmp_path):
        subprocess.run(["dpkg-deb", "-e", package, "control"], check=True)
    assert (tmp_path / "control/conffiles").read_text().split() == ["/etc/cron.d/fimscan", "/etc/fimscan/fimscan.toml"]
