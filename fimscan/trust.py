"""Decide whether somebody else could replace or alter a file that fimscan relies on, such as its configuration.

A file is trusted if it, and every directory and symbolic link on the way to it, belongs to root or to the user that
runs fimscan, and nobody else may write to any of them. In a sticky directory, such as ``/tmp``, others cannot replace
what is ours. So such a directory is fine on the way. It is not fine as the directory of a database: SQLite opens files
beside it, and others can create those first.
"""

from __future__ import annotations

import os
import pwd
import stat
from contextlib import suppress
from errno import ENOTDIR

_MOST_LINKS = 40  # as the kernel
_ACL = "system.posix_acl_access"


def trust_problem(path: str, *, alone: bool = False) -> str | None:
    """Say why a file cannot be trusted, and what to do; ``None`` if it can be, or is missing.

    Args:
        path: a file or directory; of one that is missing, the directories that exist are judged.
        alone: nobody else may create names in its directory, not even in a sticky one.
    """
    parts = _names(os.path.join(os.getcwd(), path))
    found, problem = b"/", _problem_of(b"/", os.lstat("/"), left=len(parts), alone=False)
    links = 0
    while problem is None and parts:
        name = parts.pop(0)
        here = os.path.dirname(found) if name == b".." else os.path.join(found, name)
        try:
            status = os.lstat(here)
            if stat.S_ISLNK(status.st_mode):
                links += 1
                if links > _MOST_LINKS:
                    return f"{path} leads through too many symbolic links"
                problem = _owner_problem(here, status, left=len(parts))
                target = os.readlink(here)
                parts = _names(target) + parts
                found = b"/" if target.startswith(b"/") else found
                continue
        except (FileNotFoundError, PermissionError):
            return None  # opening it fails, with a message of its own
        except OSError as error:
            return f"{os.fsdecode(here)} cannot be examined: {error.strerror}"
        found = here
        problem = _problem_of(found, status, left=len(parts), alone=alone and len(parts) == 1)
    return problem


def _names(path: str | bytes) -> list[bytes]:
    return [part for part in os.fsencode(path).split(b"/") if part not in (b"", b".")]


def _problem_of(path: bytes, status: os.stat_result, *, left: int, alone: bool) -> str | None:
    """What is wrong with one directory on the way, or with the file itself.

    ``left`` is how many names follow on the way. ``alone``: nobody else may create names in this directory.
    """
    if (problem := _owner_problem(path, status, left=left)) is not None:
        return problem
    is_sticky = stat.S_ISDIR(status.st_mode) and status.st_mode & stat.S_ISVTX
    if is_sticky and not (alone or not left):
        return None
    is_device = stat.S_ISCHR(status.st_mode) or stat.S_ISBLK(status.st_mode)  # writing to it does not alter the file
    if is_device or not _others_may_write(path, status):
        return None
    shown, mode = os.fsdecode(path), stat.S_IMODE(status.st_mode)
    if is_sticky:
        return f"everybody may create files in {shown} (mode {mode:04o}); use a directory of its own"
    return f"others than its owner may write to {shown} (mode {mode:04o}); run: chmod go-w {shown}"


def _owner_problem(path: bytes, status: os.stat_result, *, left: int) -> str | None:
    us = os.geteuid()
    if status.st_uid in (0, us):
        return None
    shown, owner = os.fsdecode(path), _user_text(status.st_uid)
    if stat.S_ISLNK(status.st_mode):
        return f"{shown} is a symbolic link of {owner}, who can make it point elsewhere; remove it"
    problem = f"{shown} belongs to {owner}, who can replace what is in it"
    if left <= 1 and not _is_at_home(path, status.st_uid):
        return f"{problem}; run: chown {_user_name(us)} {shown}"
    # A chown would take a home directory away from its user.
    where = "a directory of root's, such as /etc/fimscan" if us == 0 else f"a directory of {_user_name(us)}'s or root's"
    return f"{problem}; use {where}, or run as {_user_name(status.st_uid)}"


def _is_at_home(path: bytes, uid: int) -> bool:
    """Whether this is a user's home directory, or in it."""
    try:
        home = os.fsencode(pwd.getpwuid(uid).pw_dir).rstrip(b"/")
    except (KeyError, OSError):
        return False
    return home != b"" and (path + b"/").startswith(home + b"/")


def _others_may_write(path: bytes, status: os.stat_result) -> bool:
    if status.st_mode & stat.S_IWOTH:
        return True
    if not status.st_mode & stat.S_IWGRP:
        return False
    # Root's own group, or a user's private group, has no other members. Where there is an access control list, the
    # group's bits are its mask: somebody whom the list names may write.
    is_private = status.st_gid == 0 or (status.st_gid == status.st_uid == os.geteuid())
    return not is_private or _has_acl(path)


def _has_acl(path: bytes) -> bool:
    try:
        return _ACL in os.listxattr(path, follow_symlinks=False)
    except OSError:
        return False


def _user_text(uid: int) -> str:
    """``user alice (uid 1000)``, or ``uid 1000`` if it has no name."""
    name = _user_name(uid)
    return f"uid {uid}" if name == str(uid) else f"user {name} (uid {uid})"


def _user_name(uid: int) -> str:
    """The name of a user; the number if it has none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except (KeyError, OSError):
        return str(uid)


def make_private_directories(path: str | bytes) -> None:
    """Create a directory with its parents, all with mode 0700. Existing ones stay as they are.

    Raises:
        OSError: one cannot be created.
    """
    parent = os.path.dirname(path)
    if parent and parent != path and not os.path.isdir(parent):
        make_private_directories(parent)
    with suppress(FileExistsError):
        os.mkdir(path, 0o700)
    if not os.path.isdir(path):
        raise NotADirectoryError(ENOTDIR, os.strerror(ENOTDIR), path)
