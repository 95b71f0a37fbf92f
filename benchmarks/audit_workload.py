"""One worker of make_audit_log.py: changes files endlessly, as a certain kind of program does.

``audit_workload.py TASK DIRECTORY [LOGIN-UID]``. Except for ``tools``, it starts no processes: one worker makes some
thousand changes per second, in the order of the programs that it imitates.
"""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress

_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
_ANEW = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
_APPEND = os.O_WRONLY | os.O_CREAT | os.O_APPEND
_STEMS = ("access", "broker", "cache", "daemon", "engine", "fonts", "gateway", "hosts", "index", "journal", "kernel")
_ENDINGS = (".conf", ".service", ".py", ".so.1", ".list", ".md5sums", ".json", ".html", "", ".gz")
# Appends are cheapest: without a pause, they would make up nearly the whole log.
_PAUSE_S = {"log": 0.004}


def some_name() -> str:
    """One of a few hundred names of realistic length; a few need audit's hexadecimal form."""
    odd = " (copy)" if random.random() < 0.02 else ""
    return f"{random.choice(_STEMS)}-{random.randrange(20)}{odd}{random.choice(_ENDINGS)}"


def some_directory(depth: int = 4) -> str:
    """A random relative directory below the working directory; created if missing."""
    names = [f"{random.choice(_STEMS)}{random.randrange(3)}" for _ in range(random.randrange(1, depth))]
    path = "/".join(names)
    if not os.path.isdir(path):
        os.makedirs(path)
    return path


def write(path: str, flags: int, text: bytes = b"a line of text\n", mode: int = 0o666, at: int | None = None) -> int:
    """Open a file, write to it, and return the descriptor."""
    descriptor = os.open(path, flags, mode, dir_fd=at)
    os.write(descriptor, text)
    return descriptor


def put(path: str, flags: int = _ANEW) -> None:
    """Write a file."""
    os.close(write(path, flags))


def upgrade() -> None:
    """A package upgrade: unpack each file beside its predecessor, rename it into place.

    Then update the package lists.
    """
    top = os.path.abspath(some_directory())
    for _ in range(random.randrange(2, 12)):
        path = f"{top}/{some_name()}"
        new = f"{path}.dpkg-new"
        with suppress(FileNotFoundError):
            os.unlink(new)
        descriptor = write(new, _NEW, mode=0)
        os.fchown(descriptor, 0, 0)
        os.fchmod(descriptor, 0o644)
        os.close(descriptor)
        os.utime(new, (1_700_000_000, 1_700_000_000))
        with suppress(FileNotFoundError):
            os.link(path, f"{path}.dpkg-tmp")
        os.rename(new, path)
        with suppress(FileNotFoundError):
            os.unlink(f"{path}.dpkg-tmp")
    os.makedirs("info", exist_ok=True)
    put("info/status-new")
    with suppress(FileNotFoundError):
        os.unlink("info/status-old")
    with suppress(FileNotFoundError):
        os.link("info/status", "info/status-old")
    os.rename("info/status-new", "info/status")


def configure() -> None:
    """Configuration management: write a temporary file, set its attributes, rename it.

    Sometimes change attributes only.
    """
    path = f"{some_directory()}/{some_name()}"
    temporary = f"{path}{random.randrange(10**8)}-{os.getpid()}"
    descriptor = write(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode=0o600)
    os.close(descriptor)
    os.chmod(temporary, 0o644)
    os.chown(temporary, 0, 0)
    os.rename(temporary, path)
    if random.random() < 0.2:
        os.chmod(path, random.choice((0o600, 0o640, 0o644)))
        with suppress(OSError):  # not every file system has extended attributes
            os.setxattr(path, "user.managed", b"yes")


def log() -> None:
    """A log file that is opened for each entry; sometimes rotated by renaming, or by copying and truncating."""
    path = f"{random.choice(_STEMS)}.log"
    for _ in range(random.randrange(3, 10)):
        os.close(write(path, _APPEND, mode=0o640))
    if random.random() < 0.01:
        os.rename(path, f"{path}.1")
        put(path)
        os.chmod(path, 0o640)
    elif random.random() < 0.01:
        put(f"{path}.1")
        os.truncate(path, 0)


def edit() -> None:
    """An editor saving a file: swap file, probe, backup, new file under the old name; sometimes with a rename."""
    here = os.getcwd()
    os.chdir(some_directory())
    name = some_name()
    swap = f".{name}.swp"
    os.close(write(swap, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode=0o600))
    os.chmod(swap, 0o644)
    put("4913", os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW)
    os.chown("4913", 0, 0)
    os.unlink("4913")
    with suppress(FileNotFoundError):
        os.rename(name, f"{name}~")
    put(name)
    os.chmod(name, 0o644)
    with suppress(FileNotFoundError):
        os.unlink(f"{name}~")
    if random.random() < 0.3:
        temporary = f"sed{random.randrange(10**6):06}"
        descriptor = write(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL, mode=0o600)
        os.fchmod(descriptor, 0o644)
        os.fchown(descriptor, 0, 0)
        os.close(descriptor)
        os.rename(temporary, name)
    os.unlink(swap)
    os.chdir(here)


def unpack() -> None:
    """An archive unpacked through directory descriptors; some trees are removed again, as "rm -r" does."""
    name = f"archive-{random.randrange(40)}"
    if os.path.isdir(name):
        shutil.rmtree(name)
        return
    os.mkdir(name, 0o700)
    top = os.open(name, os.O_RDONLY | os.O_DIRECTORY)
    for _ in range(random.randrange(3, 15)):
        member = some_name()
        with suppress(FileExistsError):
            os.close(write(member, _NEW | os.O_NONBLOCK, mode=0o600, at=top))
            os.utime(member, (1_700_000_000, 1_700_000_000), dir_fd=top)
            os.chmod(member, 0o644, dir_fd=top)
            os.chown(member, 0, 0, dir_fd=top)
    with suppress(FileExistsError):
        os.symlink("../somewhere/else", "link", dir_fd=top)
        os.mkdir("sub", dir_fd=top)
    with suppress(FileNotFoundError):
        os.rename(member, "sub/renamed", src_dir_fd=top, dst_dir_fd=top)
    os.close(top)


def commit() -> None:
    """Version control: objects linked into place, a lock file that becomes the index."""
    os.makedirs(".git/objects", exist_ok=True)
    for _ in range(random.randrange(2, 6)):
        directory = f".git/objects/{random.randrange(64):02x}"
        if not os.path.isdir(directory):
            os.mkdir(directory)
        temporary = f"{directory}/tmp_obj_{random.randrange(10**6):06}"
        descriptor = write(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL, mode=0o444)
        os.close(descriptor)
        final = f"{directory}/{random.randrange(1 << 32):038x}"
        os.link(temporary, final)
        os.unlink(temporary)
        if random.random() < 0.9:
            os.unlink(final)  # a directory that only grows would fill the disk
    put(".git/index.lock", os.O_RDWR | os.O_CREAT | os.O_EXCL)
    os.rename(".git/index.lock", ".git/index")
    put(f"{some_directory(2)}/{some_name()}")
    nameless = os.open(".git", os.O_WRONLY | os.O_TMPFILE, 0o644)
    with suppress(FileExistsError):
        # Python tells the kernel to follow the link only if a directory descriptor is given.
        os.link(f"/proc/self/fd/{nameless}", f".git/{some_name()}", src_dir_fd=nameless, follow_symlinks=True)
    os.close(nameless)


def tools() -> None:
    """Real programs, one at a time."""
    directory = some_directory()
    path = f"{directory}/{some_name()}"
    put(path)
    other = f"{directory}/{some_name()}-2"
    commands = (
        ["sed", "-i", "s/a/b/", path],
        ["cp", "-p", path, other],
        ["mv", "-f", path, other],
        ["install", "-m", "644", path, other],
        ["touch", "-d", "2024-01-01", path],
        ["ln", "-sf", path, f"{other}-link"],
        ["truncate", "-s", "10", path],
        ["sh", "-c", 'echo more >> "$1"', "sh", path],
        ["chmod", "600", path],
        ["rm", "-rf", path],
    )
    subprocess.run(random.choice(commands), check=False, stderr=subprocess.DEVNULL)


TASKS: dict[str, Callable[[], None]] = {
    task.__name__: task for task in (upgrade, configure, log, edit, unpack, commit, tools)
}


def main() -> None:
    task, area, user = TASKS[sys.argv[1]], sys.argv[2], sys.argv[3]
    if user:
        with suppress(OSError), open("/proc/self/loginuid", "w", encoding="ascii") as file:
            file.write(user)
    random.seed(task.__name__)
    os.chdir(area)
    parent = os.getppid()
    while os.getppid() == parent:
        task()
        time.sleep(_PAUSE_S.get(sys.argv[1], 0))


if __name__ == "__main__":
    main()
