"""Parse PATH records, and resolve their names as far as they can be trusted.

A name in a PATH record is what the process passed to the kernel. The identity beside it is the kernel's own, and always
right. A path is therefore built only if the working directory is enough to do so. In all other cases, the identity of
the directory (the PARENT record) is passed on.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

from fimscan.audit.records import bare, device_value, fields, int_value, text_value
from fimscan.model import Action


class Item(NamedTuple):
    """One PATH record; ``kind`` is its nametype: ``PARENT``, ``CREATE``, ``DELETE``, ``NORMAL`` or ``UNKNOWN``.

    ``below`` is the identity in the upper layer of an overlay, if the record has that one.
    """

    number: int
    kind: bytes
    text: bytes | None
    identity: tuple[int, int] | None
    mode: int | None
    below: tuple[int, int] | None = None


# The format of the kernel and auditd since 2.6.39 (audit_log_name in kernel/auditsc.c). Any other format is parsed by
# fields().
_USUAL = re.compile(
    rb'item=(\d{1,6}+) name=(?:"([^"]*+)"|([0-9A-F]++)|\(null\)) inode=(\d{1,20}+) (dev=[0-9a-f]{1,4}+:[0-9a-f]{1,6}+'
    rb" mode=[0-7]{1,8}+ ouid=\d++ ogid=\d++ rdev=[0-9a-f:]++ (?:obj=\S++ )?"
    rb"(?:nametype|objtype)=(?:PARENT|CREATE|DELETE|NORMAL|UNKNOWN))"
)

# Where the 0x1D after it was dropped, the first translation follows at once: "nametype=CREATEOUID=".
_KIND = re.compile(rb"PARENT|CREATE|DELETE|NORMAL|UNKNOWN")


def parse_item_once(body: bytes) -> Item | None:
    """Parse a PATH record's body; ``None`` if not even its number is readable. Damaged fields are ``None``."""
    if usual := _USUAL.match(body):
        number, name, coded, inode, attributes = usual.groups()
        dev, mode, kind = _attributes(attributes)
        text = text_value(coded) if name is None else name
        # Through the tuple's constructor: Item's own takes twice as long.
        return tuple.__new__(Item, (int(number), kind, text, _identity(dev, int(inode)), mode, None))
    values = fields(body)
    item = int_value(values.get(b"item"))
    if item is None:
        return None
    identity = _identity(device_value(values.get(b"dev")), int_value(values.get(b"inode")))
    named = _KIND.match(bare(values.get(b"nametype", values.get(b"objtype", b""))))
    return Item(
        item, named[0] if named else b"", text_value(values.get(b"name")), identity, int_value(values.get(b"mode"), 8)
    )


@lru_cache(maxsize=1024)
def _attributes(text: bytes) -> tuple[int | None, int, bytes]:
    """(device, mode, nametype) of :data:`_USUAL`. Cached, because they recur even where names do not."""
    dev, mode, *_, kind = [value.partition(b"=")[2] for value in text.split(b" ")]
    return device_value(dev), int(mode, 8), kind


parse_item = lru_cache(maxsize=4096)(parse_item_once)
"""The same, cached: the same directories recur as PARENT."""

_LOOKUPS = frozenset(
    {Action.OPEN_WRITE, Action.TRUNCATE, Action.CHMOD, Action.CHOWN, Action.SETXATTR, Action.UTIME, Action.SETFLAGS}
)
_CHILDREN = {
    **dict.fromkeys((Action.UNLINK, Action.RMDIR), b"DELETE"),
    **dict.fromkeys((Action.MKDIR, Action.MKNOD, Action.SYMLINK), b"CREATE"),
    Action.OPEN_WRITE: b"NORMAL",  # or CREATE: in either case it was opened
}


def with_kinds(items: Sequence[Item], action: Action) -> Sequence[Item]:
    """Infer the nametypes of a successful call's PATH records on a kernel without them (before 2.6.39: RHEL 6).

    Only certain cases are inferred. A lookup leaves one record. A change in a directory leaves the directory and the
    file, whose nametype follows from the call. A renamed or linked file has two records, whose names cannot be told
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
    """The PATH records of the call itself, without those of the file system's own operations below it.

    overlayfs carries a call out in its upper layer through the functions that system calls use. Each of them leaves
    records without a name and with the device of the upper file system (tests/data/audit/fs_overlay.log). If one of
    them has the same last component, it also overwrites the identity in the call's own DELETE record. The deleted file
    is then known by name only.
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
    """Whether the mode in the record is a directory's."""
    return item.mode is not None and item.mode & 0o170000 == 0o040000


def _identity(dev: int | None, inode: int | None) -> tuple[int, int] | None:
    """Device and inode, if both are valid; a record shows inode 0, which does not exist, where the kernel had none."""
    return (dev, inode) if dev is not None and inode is not None and 0 < inode < 1 << 64 else None


_TO_FOLLOW = re.compile(rb"/(?:[./]|\Z)")  # a path that may have components to follow or to drop
_OF_DESCRIPTORS = (b"/proc/", b"/dev/fd/")  # these name descriptors, not files


def resolve(text: bytes, cwd: bytes | None) -> bytes | None:
    """The absolute path of a name, or ``None`` where it is not certain.

    ``cwd`` is the working directory, ``None`` for a name that is not relative to it. ``..`` is followed only from the
    recorded working directory, which is canonical. After a named component it is not followed, because that component
    may be a symbolic link to anywhere.
    """
    if text[:1] == b"/":
        path, cwd = text, b""
    elif cwd is not None and cwd[:1] == b"/":
        path = cwd + b"/" + text
    else:
        return None
    if _TO_FOLLOW.search(path):
        followed = _followed(text, [part for part in cwd.split(b"/") if part])
        if followed is None:
            return None
        path = followed
    return None if path.startswith(_OF_DESCRIPTORS) else path


def _followed(text: bytes, parts: list[bytes]) -> bytes | None:
    """Resolve a name from the directory with these components; ``None`` if it cannot be resolved for certain."""
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
    """The identity in the PARENT record that belongs to ``item``; ``None`` where that cannot be decided.

    The order of PARENT records differs between kernels, so it is not used. If all ``expected`` records arrived and have
    one identity, that is the answer. Otherwise the names decide: the kernel writes, as a parent's name, the item's own
    text up to its last slash. For a name without a slash it writes the working directory, even where a directory
    descriptor was used (audit_log_name in kernel/auditsc.c). If two parents have the same text, both stay undecided.
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
    # The kernel keeps the slashes between directory and last component: parent_len() in kernel/auditfilter.c.
    return directory + slash if slash else cwd
