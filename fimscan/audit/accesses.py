"""Turn an event into the files that it changed or could change: one :class:`FileAccess` each.

The PATH records that each system call leaves were recorded from a running kernel (tests/data/audit). Nothing is
guessed: an access that the records do not prove is left out, and a part of it that they do not give is ``None``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from operator import attrgetter
from typing import NamedTuple

from fimscan.audit.actors import UserName, actor
from fimscan.audit.flags import OpenFlags, creat_flags, open_flags
from fimscan.audit.parsed_call import ParsedCall, parse_call
from fimscan.audit.paths import Item, is_directory, own_items, own_parent, parse_item, resolve, with_kinds
from fimscan.audit.records import fields, int_value
from fimscan.audit.syscalls import CALLS, Call
from fimscan.model import Action, Actor, AuditEvent, FileAccess, Name

_AT_FDCWD = 0xFFFFFF9C  # as 32 bits; some calls are logged with it extended to 64 bits
_AT_REMOVEDIR = 0x200


class _Operation(NamedTuple):
    """A file-changing call with its parsed records.

    ``flags`` are the flags of an open, ``None`` where they are not known. ``items`` are the PATH records of the call.
    ``kinds`` are the PATH records by nametype, without those that identify no file.
    """

    parsed: ParsedCall
    call: Call
    flags: OpenFlags | None
    items: Sequence[Item]
    kinds: Mapping[bytes, Sequence[Item]]
    actor: Actor

    def of_kind(self, kind: bytes) -> Sequence[Item]:
        """The PATH records of one nametype."""
        return self.kinds.get(kind, ())

    def created(self) -> Sequence[Item]:
        """The created files; for a failed call, the files that it would have created, by name."""
        created = self.of_kind(b"CREATE")
        if not created or (len(created) == 1 and created[0].identity is not None):  # the usual cases
            return created
        if self.parsed.success:
            return [item for item in created if item.identity is not None]
        return [item for item in created if item.identity is not None or item.text is not None]

    def at_cwd(self, position: int | None) -> bool:
        """Whether a name is relative to the working directory.

        ``position`` is the position of the argument with its directory descriptor.
        """
        if position is None:
            return True
        arguments = self.parsed.arguments
        return position < len(arguments) and _is_at_cwd(arguments[position])

    def name_of(self, item: Item, *, at_cwd: bool | None = None, parents: int = 1) -> Name:
        """The name in one PATH record and its directory; ``parents`` is how many PARENT records the call has.

        An empty name stands for the descriptor itself (AT_EMPTY_PATH).
        """
        cwd, text = self.actor.cwd, item.text
        found = self.kinds.get(b"PARENT", ()) if parents else ()
        # Most calls have one PARENT record.
        parent = found[0].identity if len(found) == parents == 1 else own_parent(item, found, parents, cwd)
        if not text:
            return Name(None, None, parent)
        if at_cwd is None:
            at_cwd = text[:1] != b"/" and self.at_cwd(self.call.dirfd)
        return tuple.__new__(Name, (text, resolve(text, cwd if at_cwd else None), parent))

    def access(
        self,
        action: Action,
        item: Item,
        name: Name,
        *,
        old: Name | None = None,
        replaced: tuple[int, int] | None = None,
        argument: int | None = None,
    ) -> FileAccess:
        """An access to the file of one PATH record."""
        dev, inode = item.identity or (None, None)
        parsed = self.parsed
        # All fields in order, through the tuple's constructor: the FileAccess's own takes twice as long.
        return tuple.__new__(
            FileAccess,
            (
                parsed.event,
                action,
                name,
                self.actor,
                dev,
                inode,
                item.mode,
                parsed.success,
                old,
                replaced,
                argument,
                0,
                parsed.serial_at_end,
            ),
        )


def accesses(event: AuditEvent, user_name: UserName | None = None) -> Sequence[FileAccess]:
    """Every file that an event changed, tried to change (``success`` false), or opened for writing.

    Empty for every other event, and for an event that is too damaged. Never raises, whatever the records contain.

    Args:
        event: the event, complete or not.
        user_name: looks up user names where the log does not have them.
    """
    parsed = parse_call(event)
    return () if parsed is None else accesses_of_call(parsed, user_name)


def accesses_of_call(parsed: ParsedCall, user_name: UserName | None) -> Sequence[FileAccess]:
    """The same as :func:`accesses`, from an event that is parsed already."""
    operation = _operation(parsed, user_name)
    if operation is None:
        return ()
    found = _HANDLERS[operation.call.action](operation)
    return found if len(found) < 2 else [access._replace(item=number) for number, access in enumerate(found)]


def _operation(parsed: ParsedCall, user_name: UserName | None) -> _Operation | None:
    call = CALLS[parsed.call]
    if call.only is not None and parsed.argument(call.only[0]) != call.only[1]:
        return None
    flags = _flags(parsed, call) if call.action is Action.OPEN_WRITE else None
    who = actor(parsed, () if flags is None else flags.names, user_name)
    if who is None:
        return None
    if (items := parsed.items) is None:
        items = _items(parsed.paths)
        if parsed.success and parsed.complete and items and not items[0].kind:
            items = with_kinds(items, call.action)
    # Through the tuple's constructor: the class's own takes twice as long.
    if len(items) == 1 and items[0].identity is not None:  # half of all events
        return tuple.__new__(_Operation, (parsed, call, flags, items, {items[0].kind: items}, who))
    kinds, devices = _by_kind(items)
    if devices > 1:  # rare
        items = own_items(items)
        kinds, _ = _by_kind(items)
    return tuple.__new__(_Operation, (parsed, call, flags, items, kinds, who))


def _by_kind(items: Sequence[Item]) -> tuple[dict[bytes, list[Item]], int]:
    """(the PATH records by nametype, the number of devices: 1 if all are on one, more if not)."""
    kinds: dict[bytes, list[Item]] = {}
    devices = device = 0
    for item in items:
        kind, identity = item.kind, item.identity
        if identity is not None:
            if identity[0] != device:
                device = identity[0]
                devices += 1
        elif kind not in _WITHOUT_IDENTITY:
            continue
        if kind in kinds:
            kinds[kind].append(item)
        else:
            kinds[kind] = [item]
    return kinds, devices


# These count without an identity: the directory, the name a failed call would have created, what an overlay removed.
_WITHOUT_IDENTITY = frozenset({b"PARENT", b"CREATE", b"DELETE"})


def _flags(parsed: ParsedCall, call: Call) -> OpenFlags | None:
    if call.flags is not None:
        return _logged_flags(parsed.arch, parsed.arguments[call.flags], 16)
    if parsed.call == "creat":
        return creat_flags(parsed.arch)
    how = next(map(fields, parsed.open_how), {})  # of openat2, whose argument is a pointer to its flags
    return _logged_flags(parsed.arch, how.get(b"oflag"), 8)


@lru_cache(maxsize=4096)
def _logged_flags(arch: bytes, text: bytes | None, base: int) -> OpenFlags | None:
    """The flags of an open, as they are logged; ``None`` where they are not."""
    value = int_value(text, base)
    return None if value is None else open_flags(arch, value & 0xFFFFFFFF)


@lru_cache(maxsize=1024)
def _is_at_cwd(argument: bytes | None) -> bool:
    """Whether a directory descriptor, as it is logged, stands for the working directory."""
    descriptor = int_value(argument, 16)
    return descriptor is not None and descriptor & 0xFFFFFFFF == _AT_FDCWD


def _items(bodies: Sequence[bytes]) -> Sequence[Item]:
    """The PATH records in order. A repeated line counts once; if two contradict each other, neither counts."""
    if len(bodies) == 1:  # half of all events
        only = parse_item(bodies[0])
        return () if only is None else (only,)
    items: list[Item] = []
    before = -1
    in_order = True
    for body in bodies:
        item = parse_item(body)
        if item is not None:
            in_order = in_order and item.number > before
            before = item.number
            items.append(item)
    if not in_order:
        items = sorted(set(items), key=_NUMBER)
        numbers = [item.number for item in items]
        if len(set(numbers)) < len(numbers):
            counts = Counter(numbers)
            items = [item for item in items if counts[item.number] == 1]
    return items


_NUMBER = attrgetter("number")


# --------------------------------------------------------------------------------------------------------------------
# One function for each pattern of PATH records


def _open(operation: _Operation) -> list[FileAccess]:
    if operation.flags is not None and operation.flags.nothing:
        return []
    if created := operation.created():
        return [operation.access(Action.CREATE, created[-1], operation.name_of(created[-1]))]
    found = operation.of_kind(b"NORMAL")
    return _opened(operation, found[-1]) if found else []


def _opened(operation: _Operation, item: Item) -> list[FileAccess]:
    """An open of a file that existed before."""
    flags, name = operation.flags, operation.name_of(item)
    if flags is not None and flags.nameless:  # O_TMPFILE: the name is the directory's, the identity is the new file's
        return [operation.access(Action.CREATE, item, Name())]
    if flags is not None and flags.only_creates and not operation.parsed.success:
        return [operation.access(Action.CREATE, item, name)]
    if is_directory(item):  # a directory cannot be opened for writing: the file's own record was lost
        return []
    # io_uring's records have no flags, nor have openat2's before Linux 5.16: the open may have been for reading only.
    if flags is None or flags.writes:
        return [operation.access(Action.OPEN_WRITE, item, name)]
    return [operation.access(Action.TRUNCATE, item, name)] if flags.truncates else []


def _rename(operation: _Operation) -> list[FileAccess]:
    """Match source and target by identity, or by name where an overlay removed the identity.

    A DELETE record with the new name is the overwritten file; one with another name is the source. Both names come from
    the call. If both names have the same last component, the kernel may merge the two records: the first keeps its name
    and gets the identity of the second (audit_inode_child in kernel/auditsc.c, tests/data/audit/same_names.log).
    """
    created, deleted = operation.created(), operation.of_kind(b"DELETE")
    old_at_cwd, new_at_cwd = operation.at_cwd(operation.call.old_dirfd), operation.at_cwd(operation.call.dirfd)
    if not created:
        return []
    if len(created) > 1:  # an exchange: each name is the source of one move and the target of the other
        both = old_at_cwd and new_at_cwd
        names = [operation.name_of(item, at_cwd=both, parents=2) for item in created[:2]]
        moves = zip(created, names, reversed(names), strict=False)
        return [operation.access(Action.RENAME, item, name, old=old) for item, name, old in moves]
    item = created[0]
    source, victim = _moved_and_replaced(item, deleted)
    name = operation.name_of(item, at_cwd=new_at_cwd, parents=2)
    if source is not None and victim is not None and source.text == item.text != victim.text:
        # An exchange whose CREATE records were merged: the second file left the name that the first one now has.
        other = operation.name_of(victim, at_cwd=old_at_cwd, parents=2)
        return [
            operation.access(Action.RENAME, victim, name, old=other),
            operation.access(Action.RENAME, source, other, old=name),
        ]
    # An identity in an overlay's upper layer shows that a file was replaced; the name says which.
    replaced = None if victim is None else victim.identity or victim.below
    if source is None and victim is not None and _is_merged(operation, victim, item):
        source = victim
    old = None if source is None else operation.name_of(source, at_cwd=old_at_cwd, parents=2)
    return [operation.access(Action.RENAME, item, name, old=old, replaced=replaced)]


def _moved_and_replaced(created: Item, deleted: Sequence[Item]) -> tuple[Item | None, Item | None]:
    """Among a rename's DELETE records, find the moved file and the overwritten one, using the CREATE record."""
    source = victim = None
    for item in deleted:
        if item.identity is None or created.identity is None:
            break
        if item.identity == created.identity:
            source = source or item
        else:
            victim = victim or item
    else:
        return source, victim
    source = next((item for item in deleted if item.text != created.text), deleted[0] if deleted else None)
    return source, next((item for item in deleted if item is not source), None)


def _is_merged(operation: _Operation, deleted: Item, created: Item) -> bool:
    """Whether a rename's only DELETE record stands for two merged records (else, the other one was lost)."""
    paths = len(set(operation.parsed.paths))
    bases = Name(text=deleted.text).base, Name(text=created.text).base
    return (
        operation.parsed.complete and paths == len(operation.items) == 4 and None not in bases and bases[0] == bases[1]
    )


def _link(operation: _Operation) -> list[FileAccess]:
    created = operation.created()
    if not created:
        return []
    item = created[-1]
    source = next((other for other in operation.of_kind(b"NORMAL") if other.identity == item.identity), None)
    at_cwd = operation.at_cwd(operation.call.old_dirfd)
    # The only PARENT record belongs to the new name.
    old = None if source is None else operation.name_of(source, at_cwd=at_cwd, parents=0)
    return [operation.access(Action.LINK, item, operation.name_of(item), old=old)]


def _symlink(operation: _Operation) -> list[FileAccess]:
    target = next((Name(text=item.text) for item in operation.items if item.kind == b"UNKNOWN"), None)
    created = operation.created()[-1:]
    return [operation.access(Action.SYMLINK, item, operation.name_of(item), old=target) for item in created]


def _make(operation: _Operation) -> list[FileAccess]:
    created = operation.created()[-1:]
    return [operation.access(operation.call.action, item, operation.name_of(item)) for item in created]


def _remove(operation: _Operation) -> list[FileAccess]:
    directory = (operation.parsed.argument(operation.call.flags) or 0) & _AT_REMOVEDIR
    action = Action.RMDIR if directory else operation.call.action
    deleted = operation.of_kind(b"DELETE")[-1:]
    return [operation.access(action, item, operation.name_of(item)) for item in deleted]


def _change(operation: _Operation) -> list[FileAccess]:
    mode = operation.parsed.argument(operation.call.mode)
    argument = None if mode is None else mode & 0o7777
    found = operation.of_kind(b"NORMAL")[-1:]
    return [operation.access(operation.call.action, item, operation.name_of(item), argument=argument) for item in found]


_HANDLERS: Mapping[Action, Callable[[_Operation], list[FileAccess]]] = {
    Action.OPEN_WRITE: _open,
    Action.RENAME: _rename,
    Action.LINK: _link,
    Action.SYMLINK: _symlink,
    Action.MKDIR: _make,
    Action.MKNOD: _make,
    Action.UNLINK: _remove,
    Action.RMDIR: _remove,
    Action.TRUNCATE: _change,
    Action.CHMOD: _change,
    Action.CHOWN: _change,
    Action.SETXATTR: _change,
    Action.UTIME: _change,
    Action.SETFLAGS: _change,
}
