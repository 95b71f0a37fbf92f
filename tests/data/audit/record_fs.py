"""Record what audit says about the same operations on several file systems: one fs_KIND.log for each of :data:`KINDS`.

Run as root: ``python3 record_fs.py /var/log/audit/audit.log [KIND]...``. Each file system is made for it, from a loop
image where it needs a block device, mounted on a scratch directory, and watched there with rules of its own; all of
that is removed at the end. The logs are used like those of ``record.py``.
"""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.dirname(HERE))))

from tests.data.audit import record  # noqa: E402
from tests.data.audit.record import AT_FDCWD, LIBC, RENAMEAT2, syscall, write  # noqa: E402

WORK = "/var/tmp/fimscan-record-fs"
MOUNTED = WORK + "/m"
KEY = "fimscan-fs"
IMAGE_MIB = {"ext4": 32, "xfs": 320, "btrfs": 128}

OVERLAYS = {
    "overlay": "redirect_dir=off,metacopy=off,index=off",
    "overlay_redirect": "redirect_dir=on,metacopy=on,index=on",
    "overlay_two": "redirect_dir=off,metacopy=off,index=off,xino=off",  # lower and upper on different file systems
}
KINDS = ("ext4", "xfs", "btrfs", "tmpfs", *OVERLAYS)


def run(*command: str) -> None:
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


@contextmanager
def mounted(kind: str, place: str, options: str = "") -> Iterator[None]:
    """A new file system of this kind at a place."""
    os.makedirs(place, exist_ok=True)
    if kind in IMAGE_MIB:
        image = place + ".img"
        with open(image, "wb") as file:
            file.truncate(IMAGE_MIB[kind] << 20)
        run("mkfs." + kind, "-q", image)
        run("mount", "-o", "loop", image, place)
    elif options:
        run("mount", "-t", "overlay", "-o", options, "overlay", place)
    else:
        run("mount", "-t", kind, "none", place)
    try:
        yield
    finally:
        run("umount", place)


def make_lower(directory: str) -> None:
    """What is there before anything is recorded; under an overlay, in its lower layer."""
    for name in ("append", "truncate", "rewrite", "rm", "mv", "over", "chmod", "ln", "one", "two", "white", "saved"):
        write(f"{directory}/{name}", f"lower {name}")
    os.makedirs(f"{directory}/dir/below")
    write(f"{directory}/dir/file", "lower")
    os.mkdir(f"{directory}/empty")


def operate(made: str) -> None:
    """Every operation, on files that were there before (``made`` is empty) or were made a moment ago."""

    def name(base: str) -> str:
        return made + base

    if made:
        for base in (
            "append",
            "truncate",
            "rewrite",
            "rm",
            "mv",
            "over",
            "chmod",
            "ln",
            "one",
            "two",
            "white",
            "saved",
        ):
            write(name(base))
        os.mkdir(name("dir"))
        write(name("dir/file"))
        os.mkdir(name("empty"))
    with open(name("append"), "a") as file:
        file.write("more")
    os.truncate(name("truncate"), 2)
    write(name("rewrite"), "again")
    os.unlink(name("rm"))
    os.rename(name("mv"), name("mv.to"))
    os.rename(name("mv.to"), name("over"))
    os.chmod(name("chmod"), 0o600)
    os.chown(name("chmod"), 1, 1)
    os.utime(name("chmod"), (1, 1))
    os.setxattr(name("chmod"), "user.x", b"1")
    os.link(name("ln"), name("ln.to"))
    os.symlink(name("ln"), name("sym"))
    os.mkdir(name("mkdir"))
    os.mknod(name("fifo"), 0o600 | stat.S_IFIFO)
    write(name("mkdir/new"))
    os.rename(name("mkdir/new"), name("mkdir/newer"))
    descriptor = os.open(".", os.O_TMPFILE | os.O_RDWR, 0o600)
    LIBC.linkat(AT_FDCWD, b"/proc/self/fd/%d" % descriptor, AT_FDCWD, name("tmpfile").encode(), 0x400)
    for flags, pair in ((2, ("one", "two")), (4, ("white", "white.to"))):  # exchange, whiteout
        result = syscall(RENAMEAT2, AT_FDCWD, name(pair[0]).encode(), AT_FDCWD, name(pair[1]).encode(), flags)
        print(f"renameat2 with {flags}: {result}", file=sys.stderr)
    write(name("saved.tmp"), "new")
    os.rename(name("saved.tmp"), name("saved"))
    os.unlink(name("dir/file"))
    os.rmdir(name("empty"))
    try:
        os.rename(name("dir"), name("dir.to"))
    except OSError as error:
        print(f"mv of a directory: {error}", file=sys.stderr)
    write(name("rm"), "again at a whiteout")
    for failing in (
        lambda: os.open(name("chmod"), os.O_WRONLY | os.O_CREAT | os.O_EXCL),
        lambda: os.mkdir(name("mkdir")),
        lambda: os.open("no-dir/x", os.O_WRONLY | os.O_CREAT),
    ):
        record.failing(failing)


def file_system() -> None:
    operate("")
    operate("u-")


@contextmanager
def file_system_of(kind: str) -> Iterator[None]:
    with ExitStack() as stack:
        if kind not in OVERLAYS:
            stack.enter_context(mounted(kind, MOUNTED))
            make_lower(MOUNTED)
        else:
            upper, lower = WORK + "/upper", WORK + "/lower"
            stack.enter_context(mounted("ext4", upper))
            if kind == "overlay_two":
                stack.enter_context(mounted("xfs", lower))
            else:
                lower = upper + "/lower"
                os.mkdir(lower)
            for name in ("u", "w"):
                os.mkdir(f"{upper}/{name}")
            make_lower(lower)
            options = f"lowerdir={lower},upperdir={upper}/u,workdir={upper}/w,{OVERLAYS[kind]}"
            stack.enter_context(mounted("overlay", MOUNTED, options))
        os.chdir(MOUNTED)
        stack.callback(os.chdir, "/")
        yield


def main(log: str, kinds: list[str]) -> None:
    record.KEY = KEY
    record.SCRATCH = MOUNTED
    os.umask(0o022)
    for kind in kinds or KINDS:
        os.makedirs(WORK)
        try:
            with file_system_of(kind):
                record.auditctl("-a")
                try:
                    text = record.recorded(log, file_system)
                finally:
                    record.auditctl("-d")
        finally:
            shutil.rmtree(WORK)
        with open(f"{HERE}/fs_{kind}.log", "wb") as file:
            file.write(text)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
