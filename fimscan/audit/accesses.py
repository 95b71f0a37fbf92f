"""An event -> the files that it changed, or could change: one :class:`FileAccess` each.

What each system call leaves in the PATH records was recorded from a running kernel (tests/data/audit). Nothing is
guessed: an access that the records do not say for sure is left out, and a part of it that they do not say is ``None``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from fimscan.audit.actors import UserName, actor, working_directory
from fimscan.audit.flags import OpenFlags, creat_flags, open_flags
from fimscan.audit.paths import Item, make_name, own_parent, parse_item, with_kinds
from fimscan.audit.records import fields, int_value, kernel_part
from fimscan.audit.syscalls import CALLS, URING_OPERATIONS, Call, syscall_name
from fimscan.model import Action, Actor, AuditEvent, AuditRecord, FileAccess, Name

_SYSCALL = re.compile(rb"arch=([0-9a-f]{1,8}) syscall=(\d{1,10}) ")
_CALL_TYPES = frozenset({"SYSCALL", "URINGOP"})
_AT_FDCWD = 0xFFFFFF9C  # as 32 bits; some calls are logged with it extended to 64
_AT_REMOVEDIR = 0x200


class _Operation(NamedTuple):
    """A file-changing call with its records, parsed. ``flags`` are an open's, ``None`` where they are not known."""

    event: AuditEvent
    name: str
    call: Call
    arguments: tuple[int | None, ...]
    success: bool
    flags: OpenFlags | None
    items: tuple[Item, ...]
    cwd: bytes | None
    actor: Actor

    def of_kind(self, kind: bytes) -> list[Item]:
        """The PATH records of one nametype that identify a file (PARENT: all)."""
        return [item for item in self.items if item.kind == kind and (item.identity is not None or kind == b"PARENT")]

    def argument(self, position: int | None) -> int | None:
        """``a0`` to ``a3``; ``None`` where it is not logged."""
        return None if position is None or position >= len(self.arguments) else self.arguments[position]

    def at_cwd(self, position: int | None) -> bool:
        """Whether a name is relative to the working directory, by the position of its directory descriptor."""
        if position is None:
            return True
        descriptor = self.argument(position)
        return descriptor is not None and descriptor & 0xFFFFFFFF == _AT_FDCWD

    def name_of(self, item: Item, *, at_cwd: bool | None = None, parents: int = 1) -> Name:
        """The name in one PATH record, with the directory it is in; ``parents`` is how many PARENTs the call has."""
        if at_cwd is None:
            at_cwd = self.at_cwd(self.call.dirfd)
        parent = own_parent(item, self.of_kind(b"PARENT"), parents, self.cwd) if parents else None
        return make_name(item, parent, self.cwd, relative_to_cwd=at_cwd)

    def access(self, action: Action, item: Item, name: Name, **more: object) -> FileAccess:
        """An access to the file of one PATH record."""
        return FileAccess(
            event=self.event.id,
            action=action,
            name=name,
            dev=None if item.identity is None else item.identity[0],
            inode=None if item.identity is None else item.identity[1],
            mode=item.mode,
            success=self.success,
            actor=self.actor,
            **more,  # type: ignore[arg-type]
        )


def accesses(event: AuditEvent, user_name: UserName | None = None) -> tuple[FileAccess, ...]:
    """Every file that an event changed, tried to change (``success`` false), or opened for writing.

    Empty for every other event, and for what is too damaged to say. Never raises, whatever the records hold.

    Args:
        event: the event, complete or not.
        user_name: names users where the log has no names itself.
    """
    operation = _operation(event, user_name)
    if operation is None:
        return ()
    found = _HANDLERS[operation.call.action](operation)
    if len(found) < 2:
        return tuple(found)

    return tuple(replace(access, item=number) for number, access in enumerate(found))


def _operation(event: AuditEvent, user_name: UserName | None) -> _Operation | None:
    record = _call_record(event)
    if record is None or (known := _known_call(record, event)) is None:
        return None
    arch, name = known
    call = CALLS[name]
    success, arguments = _outcome(record.body)
    if call.only is not None and arguments[call.only[0]] != call.only[1]:
        return None
    flags = _flags(event, arch, name, arguments) if call.action is Action.OPEN_WRITE else None
    names = () if flags is None else flags.names
    cwd = working_directory(event)
    who = actor(event, record, syscall=name, flags=names, cwd=cwd, user_name=user_name)
    if who is None:
        return None
    items = _items(event)
    if success and items and not items[0].kind:
        items = with_kinds(items, call.action)
    return _Operation(event, name, call, arguments, success, flags, items, cwd, who)


def _call_record(event: AuditEvent) -> AuditRecord | None:
    """The record of what was done. That of io_uring_enter says nothing of the operations that it carried out itself.

    An event has one such record. Several that differ have been mixed up, and say nothing for sure.
    """
    found = None
    for record in event.records:
        if record.type in _CALL_TYPES:
            if found is None or (found.type == "SYSCALL" and record.type == "URINGOP"):
                found = record
            elif found.type == record.type and kernel_part(found.body) != kernel_part(record.body):
                return None
    return found


_OUTCOME = re.compile(
    rb" success=(yes|no) exit=-?\d+ a0=([0-9a-f]{1,16}) a1=([0-9a-f]{1,16}) a2=([0-9a-f]{1,16}) a3=([0-9a-f]{1,16}) "
)


def _outcome(body: bytes) -> tuple[bool, tuple[int | None, ...]]:
    """(whether the call succeeded, its first four arguments)."""
    if usual := _OUTCOME.search(body):
        success, *arguments = usual.groups()
        return success == b"yes", tuple([int(argument, 16) for argument in arguments])
    # What stands before ppid= is about the call, what follows about the process.
    values = fields(body.partition(b" ppid=")[0])
    return values.get(b"success") != b"no", tuple(
        int_value(values.get(key), 16) for key in (b"a0", b"a1", b"a2", b"a3")
    )


def _known_call(record: AuditRecord, event: AuditEvent) -> tuple[bytes, str] | None:
    """(architecture, name) of a call that changes files. Most events of a log stop here, before anything is parsed."""
    if record.type == "SYSCALL":
        match = _SYSCALL.match(record.body)
        name = syscall_name(match[1], int(match[2])) if match else None
        return (match[1], name) if match and name else None
    name = URING_OPERATIONS.get(int_value(fields(record.body).get(b"uring_op")) or 0)
    # An operation that is carried out at once has the record of the system call behind its own.
    arch = next((match[1] for other in event.records if (match := _SYSCALL.match(other.body))), b"")
    return (arch, name) if name else None


def _flags(event: AuditEvent, arch: bytes, name: str, arguments: Sequence[int | None]) -> OpenFlags | None:
    if name == "creat":
        return creat_flags(arch)
    if name == "openat2":  # a2 is a pointer
        how = next((fields(other.body) for other in event.records if other.type == "OPENAT2"), {})
        value = int_value(how.get(b"oflag"), 8)
    else:
        position = CALLS[name].flags
        value = None if position is None else arguments[position]
    return None if value is None else open_flags(arch, value & 0xFFFFFFFF)


def _items(event: AuditEvent) -> tuple[Item, ...]:
    """The PATH records in their order. A repeated line is one; of two that contradict each other, neither counts."""
    items: dict[int, Item] = {}
    wrong: set[int] = set()
    for record in event.records:
        if record.type != "PATH" or (item := parse_item(record.body)) is None:
            continue
        if items.setdefault(item.number, item) != item:
            wrong.add(item.number)
    return tuple([items[number] for number in sorted(items) if number not in wrong])


# --------------------------------------------------------------------------------------------------------------------
# One function for each way in which calls leave PATH records


def _open(operation: _Operation) -> list[FileAccess]:
    flags = operation.flags
    if flags is not None and flags.nothing:
        return []
    if created := operation.of_kind(b"CREATE"):
        return [operation.access(Action.CREATE, created[-1], operation.name_of(created[-1]))]
    found = operation.of_kind(b"NORMAL")
    if not found or flags is None:
        return []
    item = found[-1]
    if flags.nameless:  # the name is the directory's, the identity the new file's
        return [operation.access(Action.CREATE, item, Name())]
    if flags.writes:
        return [operation.access(Action.OPEN_WRITE, item, operation.name_of(item))]
    if flags.truncates:
        return [operation.access(Action.TRUNCATE, item, operation.name_of(item))]
    return []


def _rename(operation: _Operation) -> list[FileAccess]:
    """Source and target belong together by identity.

    With one last component for both names, the kernel may merge the two DELETE records (audit_inode_child in
    kernel/auditsc.c, tests/data/audit/same_names.log): the first keeps its name, and gets the identity of the second.
    """
    created, deleted = operation.of_kind(b"CREATE"), operation.of_kind(b"DELETE")
    old_at_cwd, new_at_cwd = operation.at_cwd(operation.call.old_dirfd), operation.at_cwd(operation.call.dirfd)
    if not created:
        return []
    if len(created) > 1:  # an exchange: either name is the source of one move and the target of the other
        both = old_at_cwd and new_at_cwd
        names = [operation.name_of(item, at_cwd=both, parents=2) for item in created[:2]]
        moves = zip(created, names, reversed(names), strict=False)
        return [operation.access(Action.RENAME, item, name, old=old) for item, name, old in moves]
    item = created[0]
    source = next((other for other in deleted if other.identity == item.identity), None)
    victim = next((other for other in deleted if other.identity != item.identity), None)
    name = operation.name_of(item, at_cwd=new_at_cwd, parents=2)
    if source is not None and victim is not None and source.text == item.text != victim.text:
        # An exchange whose CREATE records were merged: the second file left the name where the first one now is.
        other = operation.name_of(victim, at_cwd=old_at_cwd, parents=2)
        return [
            operation.access(Action.RENAME, victim, name, old=other),
            operation.access(Action.RENAME, source, other, old=name),
        ]
    if source is None and victim is not None and _is_merged(operation, victim, item):
        source = victim
    old = None if source is None else operation.name_of(source, at_cwd=old_at_cwd, parents=2)
    replaced = None if victim is None else victim.identity
    return [operation.access(Action.RENAME, item, name, old=old, replaced=replaced)]


def _is_merged(operation: _Operation, deleted: Item, created: Item) -> bool:
    """Whether a rename's one DELETE record stands for two, and not for itself because the other was lost."""
    paths = len({record.body for record in operation.event.records if record.type == "PATH"})
    bases = Name(text=deleted.text).base, Name(text=created.text).base
    return (
        operation.event.complete and paths == len(operation.items) == 4 and None not in bases and bases[0] == bases[1]
    )


def _link(operation: _Operation) -> list[FileAccess]:
    created = operation.of_kind(b"CREATE")
    if not created:
        return []
    item = created[-1]
    source = next((other for other in operation.of_kind(b"NORMAL") if other.identity == item.identity), None)
    at_cwd = operation.at_cwd(operation.call.old_dirfd)
    # The one PARENT is that of the new name.
    old = None if source is None else operation.name_of(source, at_cwd=at_cwd, parents=0)
    return [operation.access(Action.LINK, item, operation.name_of(item), old=old)]


def _symlink(operation: _Operation) -> list[FileAccess]:
    target = next((Name(text=item.text) for item in operation.items if item.kind == b"UNKNOWN"), None)
    created = operation.of_kind(b"CREATE")[-1:]
    return [operation.access(Action.SYMLINK, item, operation.name_of(item), old=target) for item in created]


def _make(operation: _Operation) -> list[FileAccess]:
    created = operation.of_kind(b"CREATE")[-1:]
    return [operation.access(operation.call.action, item, operation.name_of(item)) for item in created]


def _remove(operation: _Operation) -> list[FileAccess]:
    directory = (operation.argument(operation.call.flags) or 0) & _AT_REMOVEDIR
    action = Action.RMDIR if directory else operation.call.action
    deleted = operation.of_kind(b"DELETE")[-1:]
    return [operation.access(action, item, operation.name_of(item)) for item in deleted]


def _change(operation: _Operation) -> list[FileAccess]:
    mode = operation.argument(operation.call.mode)
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
}
