"""PATH records, and what their names are worth.

A name in a PATH record is what the process passed to the kernel. The identities beside it are the kernel's own, and
always right. So a path is only built where nothing but the working directory is needed for it, and the identity of the
directory (the PARENT record) is handed on for all others.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

from fimscan.audit.records import bare, device_value, fields, int_value, text_value
from fimscan.model import Action, Name


class Item(NamedTuple):
    """One PATH record: what it is in the call (``PARENT``, ``CREATE``, ``DELETE``, ``NORMAL``, ``UNKNOWN``).

    ``below`` is the identity in the upper layer of an overlay, if the record has that one.
    """

    number: int
    kind: bytes
    text: bytes | None
    identity: tuple[int, int] | None
    mode: int | None
    below: tuple[int, int] | None = None


# What the kernel and auditd write in this order since 2.6.39 (audit_log_name in kernel/auditsc.c); anything else takes
# the general way through fields().
_USUAL = re.compile(
    rb'item=(\d{1,6}) name=(?:"([^"]*)"|([0-9A-F]+)|\(null\)) inode=(\d{1,20}) dev=([0-9a-f]{1,4}:[0-9a-f]{1,6})'
    rb" mode=([0-7]{1,8})"
    rb" ouid=\d+ ogid=\d+ rdev=[0-9a-f:]+ (?:obj=\S+ )?(?:nametype|objtype)=(PARENT|CREATE|DELETE|NORMAL|UNKNOWN)"
)

# Where the 0x1D behind it was dropped, the first translation follows at once: "nametype=CREATEOUID=".
_KIND = re.compile(rb"PARENT|CREATE|DELETE|NORMAL|UNKNOWN")


@lru_cache(maxsize=4096)
def parse_item(body: bytes) -> Item | None:
    """A PATH record's body; ``None`` when not even its number can be read. Damaged fields are ``None``.

    Remembers bodies: the same directories are the PARENT again and again.
    """
    if usual := _USUAL.match(body):
        number, name, coded, inode, dev, mode, kind = usual.groups()
        text = text_value(coded) if name is None else name
        return Item(int(number), kind, text, _identity(device_value(dev), int(inode)), int(mode, 8))
    values = fields(body)
    item = int_value(values.get(b"item"))
    if item is None:
        return None
    identity = _identity(device_value(values.get(b"dev")), int_value(values.get(b"inode")))
    kind = _KIND.match(bare(values.get(b"nametype", values.get(b"objtype", b""))))
    return Item(
        item, kind[0] if kind else b"", text_value(values.get(b"name")), identity, int_value(values.get(b"mode"), 8)
    )


_LOOKUPS = frozenset(
    {Action.OPEN_WRITE, Action.TRUNCATE, Action.CHMOD, Action.CHOWN, Action.SETXATTR, Action.UTIME, Action.SETFLAGS}
)
_CHILDREN = {
    **dict.fromkeys((Action.UNLINK, Action.RMDIR), b"DELETE"),
    **dict.fromkeys((Action.MKDIR, Action.MKNOD, Action.SYMLINK), b"CREATE"),
    Action.OPEN_WRITE: b"NORMAL",  # or it was created just then: opened it was in either case
}


def with_kinds(items: Sequence[Item], action: Action) -> Sequence[Item]:
    """All PATH records of a successful call on a kernel that does not say what they are (before 2.6.39: RHEL 6).

    Only what is sure: a lookup leaves one record; a change of a directory leaves that and the file, which is of the
    kind that the call is for; and a file that was renamed or linked stands there twice, of which the names are not told
    apart.
    """
    if any(item.kind or item.identity is None or item.mode is None for item in items):
        return items
    if len(items) == 1 and action in _LOOKUPS:
        return (items[0]._replace(kind=b"NORMAL"),)
    if len(items) == 2 and action in _CHILDREN and is_directory(items[0]) and items[0].identity != items[1].identity:
        if is_directory(items[1]) != (action in (Action.RMDIR, Action.MKDIR)):
            return items
        return (items[0]._replace(kind=b"PARENT"), items[1]._replace(kind=_CHILDREN[action]))
    if action in (Action.RENAME, Action.LINK):
        files = [item for item in items if not is_directory(item)]
        twice = [item for item in files if sum(item.identity == other.identity for other in files) == 2]
        if len(twice) == 2:
            return (twice[1]._replace(kind=b"CREATE", text=None),)
    return items


def own_items(items: Sequence[Item]) -> Sequence[Item]:
    """The PATH records of the call itself, without those that a file system left for what it did below.

    overlayfs carries a call out in its upper layer by the same functions that system calls use, and each of them leaves
    records: without a name, and with the device of the upper file system (tests/data/audit/fs_overlay.log). Where one
    of them has the same last component, it also overwrites the identity in the call's own DELETE record: what was
    deleted is known by its name only, then.
    """
    named = [item for item in items if item.text is not None and item.identity is not None and item.kind != b"DELETE"]
    first = next((item.identity for item in items if item.identity is not None), None)
    devices = {item.identity[0] for item in named if item.identity} or ({first[0]} if first else set())
    own = [item for item in items if item.text is not None or (item.identity and item.identity[0] in devices)]
    around = {item.identity[0] for item in own if item.kind in (b"PARENT", b"CREATE") and item.identity}
    return [
        item._replace(identity=None, below=item.identity)
        if item.kind == b"DELETE" and around and item.identity and item.identity[0] not in around
        else item
        for item in own
    ]


def is_directory(item: Item) -> bool:
    """By the mode in its record."""
    return item.mode is not None and item.mode & 0o170000 == 0o040000


def _identity(dev: int | None, inode: int | None) -> tuple[int, int] | None:
    """Inode 0 does not exist: a record shows it where the kernel had none."""
    return (dev, inode) if dev is not None and inode is not None and 0 < inode < 1 << 64 else None


_OF_DESCRIPTORS = (b"/proc/", b"/dev/fd/")  # names of descriptors, not of files


def resolve(text: bytes | None, cwd: bytes | None, *, relative_to_cwd: bool) -> bytes | None:
    """The absolute path of a name, or ``None`` where it is not sure.

    ``..`` is followed only out of the recorded working directory, which is canonical: behind a named component, that
    component may be a symbolic link to anywhere.
    """
    if not text:
        return None
    if text.startswith(b"/"):
        path, cwd = text, b""
    elif relative_to_cwd and cwd is not None and cwd.startswith(b"/"):
        path = cwd + b"/" + text
    else:
        return None
    if b"/." in path or b"//" in path or path[-1:] == b"/":  # there is something to follow, or to leave out
        followed = _followed(text, [part for part in cwd.split(b"/") if part])
        if followed is None:
            return None
        path = followed
    return None if path.startswith(_OF_DESCRIPTORS) else path


def _followed(text: bytes, parts: list[bytes]) -> bytes | None:
    """A name, followed from the directory that has these components."""
    named = False
    for part in text.split(b"/"):
        if part in (b"", b"."):
            continue
        if part != b"..":
            parts.append(part)
            named = True
        elif named:
            return None
        elif parts:
            parts.pop()
    return b"/" + b"/".join(parts)


def own_parent(item: Item, parents: Sequence[Item], expected: int, cwd: bytes | None) -> tuple[int, int] | None:
    """Which of the PARENT records is that of ``item``; ``None`` where that cannot be decided.

    The order of PARENT records differs between kernels, so it decides nothing. One identity for all is trivial, if all
    that were ``expected`` arrived. Otherwise the kernel writes, as a parent's name, the name's own text up to its last
    slash, or, for a name without a slash, the working directory, even where a directory descriptor was used
    (audit_log_name in kernel/auditsc.c). Two names with the same text there leave both undecided.
    """
    if len(parents) < expected:
        return None
    if len(parents) == 1:
        return parents[0].identity
    matching = {parent.identity for parent in parents}
    if len(matching) > 1:
        text = _parent_text(item, cwd)
        matching = {parent.identity for parent in parents if parent.text == text}
    return matching.pop() if len(matching) == 1 else None


def _parent_text(item: Item, cwd: bytes | None) -> bytes | None:
    if item.text is None:
        return None
    stripped = item.text.rstrip(b"/")
    directory, slash, _ = stripped.rpartition(b"/")
    # The kernel keeps the slashes between the two: parent_len() in kernel/auditfilter.c.
    return directory + slash if slash else cwd


def make_name(item: Item, parent: tuple[int, int] | None, cwd: bytes | None, *, relative_to_cwd: bool) -> Name:
    """A :class:`Name` of what one PATH record says. An empty name stands for the descriptor itself (AT_EMPTY_PATH)."""
    if not item.text:
        return Name(parent=parent)
    return Name(item.text, resolve(item.text, cwd, relative_to_cwd=relative_to_cwd), parent)
