"""Parse and build io_uring rules in the kernel's binary format, because auditctl before 3.1 knows none.

io_uring carries out file operations without the system calls that rules match; a separate filter list covers them
(AUDIT_FILTER_URING_EXIT). For each directory in the rules that fimscan printed, fimscan loads one rule with the same
key. It deletes that rule when no printed rule for the directory is left.

Tried on Linux 6.18: this list rejects ``perm=``. A rule with ``path=`` does not match operations of a worker thread, so
a single file gets a rule for its directory. A rule with ``dir=`` reports a worker's operation on an existing file
without its name. Numbers and ``struct audit_rule_data``: linux/audit.h.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable, Sequence

from msgspec import Struct

from fimscan.audit.syscalls import URING_OPERATIONS
from fimscan.paths import is_below

_EXIT, _URING_EXIT = 4, 7  # the filter lists, from linux/audit.h
_NEVER, _ALWAYS = 0, 2
_DIR, _PATH, _SUCCESS, _KEY = 107, 105, 104, 210
# The values of these fields are lengths of texts.
_TEXT_FIELDS = frozenset({13, 14, 15, 16, 17, 19, 20, 21, 22, 23, _DIR, _PATH, _KEY, 112})
_EQUAL = 0x40000000
_FIELDS, _WORDS = 64, 64  # AUDIT_MAX_FIELDS, AUDIT_BITMASK_SIZE
_HEADER = struct.Struct(f"={3 + _WORDS + 3 * _FIELDS + 1}I")
_ALL = (1 << 32) - 1


class KernelRule(Struct, frozen=True, kw_only=True):
    """A rule as the kernel lists it: ``fields`` are (number, operator, value), ``data`` is what deletes it."""

    filter: int
    action: int
    mask: tuple[int, ...]
    fields: tuple[tuple[int, int, int | bytes], ...]
    data: bytes

    @property
    def keys(self) -> frozenset[bytes]:
        """Its keys; the kernel joins several with a byte 1."""
        found = [value for number, _, value in self.fields if number == _KEY and isinstance(value, bytes)]
        return frozenset(key for keys in found for key in keys.split(b"\x01"))

    @property
    def scope(self) -> tuple[bytes, bool] | None:
        """(path, whether the rule is recursive); ``None`` for a rule that is not limited to a path."""
        for number, operator, value in self.fields:
            if number in (_DIR, _PATH) and operator == _EQUAL and isinstance(value, bytes):
                return value.rstrip(b"/") or b"/", number == _DIR
        return None

    def reports(self, operations: Iterable[int]) -> bool:
        """Whether it reports all of these operations, of every process, in its scope."""
        narrowing = [f for f in self.fields if f[0] not in (_DIR, _KEY) and f != (_SUCCESS, _EQUAL, 1)]
        return not narrowing and all(self.mask[number // 32] & 1 << number % 32 for number in operations)


def parse_rule(data: bytes) -> KernelRule | None:
    """Parse one rule of the kernel's list; ``None`` if the data is too short for one."""
    if len(data) < _HEADER.size:
        return None
    numbers = _HEADER.unpack_from(data)
    flags, action, count = numbers[:3]
    mask, rest = numbers[3 : 3 + _WORDS], numbers[3 + _WORDS :]
    text, fields = data[_HEADER.size :], []
    for place in range(min(count, _FIELDS)):
        number, value, operator = (rest[place + kind * _FIELDS] for kind in range(3))
        if number in _TEXT_FIELDS:
            fields.append((number, operator, text[:value]))
            text = text[value:]
        else:
            fields.append((number, operator, value))
    return KernelRule(filter=flags & ~0x10, action=action, mask=mask, fields=tuple(fields), data=data)


def rule_data(directory: bytes, key: str) -> bytes:
    """The data that adds (or deletes) fimscan's rule for a directory: every successful operation that changes files."""
    mask = [0] * _WORDS
    for number in URING_OPERATIONS:
        mask[number // 32] |= 1 << number % 32
    texts = (directory, key.encode())
    fields = ((_DIR, len(texts[0])), (_SUCCESS, 1), (_KEY, len(texts[1])))
    unused = [0] * (_FIELDS - len(fields))
    numbers = [number for number, _ in fields] + unused
    values = [value for _, value in fields] + unused
    operators = [_EQUAL] * len(fields) + unused
    buffer = b"".join(texts)
    return _HEADER.pack(_URING_EXIT, _ALWAYS, len(fields), *mask, *numbers, *values, *operators, len(buffer)) + buffer


def watched_directories(rules: Sequence[KernelRule]) -> tuple[bytes, ...]:
    """The directories in which the loaded rules report all io_uring operations on files; ``/`` for everywhere.

    The first rule of the list that matches wins: a ``never`` rule before another suppresses its events.
    """
    found: list[bytes] = []
    for rule in rules:
        if rule.filter != _URING_EXIT:
            continue
        if rule.action != _ALWAYS:
            break
        scope = rule.scope
        if rule.reports(URING_OPERATIONS) and (scope is None or scope[1]):
            found.append(b"/" if scope is None else scope[0])
    return tuple(dict.fromkeys(found))


def changes(rules: Sequence[KernelRule], key: str) -> tuple[list[bytes], list[bytes]]:
    """(rules to add, rules to delete) so that each place with rules of this key has its io_uring rule.

    A rule is deleted only if it is, byte for byte, the one that fimscan makes.
    """
    wanted = key.encode()
    places = {
        scope[0] if scope[1] else os.path.dirname(scope[0])
        for rule in rules
        if rule.filter == _EXIT and wanted in rule.keys and (scope := rule.scope) is not None
    }
    outer = {place for place in places if not any(_contains(other, place) for other in places)}
    loaded = {rule.data for rule in rules if rule.filter == _URING_EXIT}
    ours = {
        rule_data(scope[0], key)
        for rule in rules
        if rule.filter == _URING_EXIT and wanted in rule.keys and (scope := rule.scope) is not None
    } & loaded
    needed = {rule_data(place, key) for place in outer}
    seen = watched_directories(rules)
    missing = {rule_data(place, key) for place in outer if not any(_covers(one, place) for one in seen)}
    return sorted(missing - ours), sorted(ours - needed)


def _contains(outer: bytes, inner: bytes) -> bool:
    return is_below(inner, outer)


def _covers(directory: bytes, path: bytes) -> bool:
    return directory == path or _contains(directory, path)
