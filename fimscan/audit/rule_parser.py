"""Parse audit rules as auditctl takes and lists them into :class:`Rule`, and derive what they cover."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from itertools import pairwise

from msgspec import Struct

from fimscan.audit.syscalls import CALLS
from fimscan.model import AuditRule
from fimscan.paths import is_below

_FIELD = re.compile(rb"([a-z0-9_]+)(!=|>=|<=|&=|=|>|<|&)(.*)", re.DOTALL)
_NUMBER = re.compile(rb"-?(?:0[xX][0-9a-fA-F]+|\d+)")
_ACTIONS = frozenset({"always", "never", "possible"})

# A list of system calls counts as perm=w (or a) only if it has all of these: a missing call would go unreported.
_WRITES = frozenset(
    {"open", "openat", "openat2", "creat", "truncate", "rename", "renameat", "renameat2"}
    | {"link", "linkat", "unlink", "unlinkat"}
)
_ATTRIBUTES = frozenset(
    {"chmod", "fchmod", "fchmodat", "fchmodat2", "chown", "lchown", "fchown", "fchownat"}
    | {"setxattr", "lsetxattr", "fsetxattr", "removexattr", "lremovexattr", "fremovexattr"}
)
# Calls by number, for an auditctl older than the kernel; from 424 on, the numbers are the same on all architectures.
_NEW_CALLS = {
    b"432": "fsmount", b"437": "openat2", b"452": "fchmodat2",
    b"463": "setxattrat", b"466": "removexattrat", b"469": "file_setattr"
}  # fmt: skip
_RECORD_NUMBERS = {b"1300": "SYSCALL", b"1302": "PATH", b"1307": "CWD"}
_NEEDED_RECORDS = frozenset(_RECORD_NUMBERS.values())

_UNSET = frozenset({b"unset", b"4294967295"})  # an unset login user in a rules file; auditctl lists -1

Field = tuple[str, str, bytes]


class Rule(Struct, frozen=True, kw_only=True):
    """One audit rule.

    ``filter`` is ``exit``, ``task``, ``exclude``, ``filesystem``, ``user`` or ``io_uring``. ``calls`` are the listed
    system calls, ``None`` for all. ``fields`` are (name, operator, value) without the keys; a comparison of two fields
    (``-C``) has the name ``compare``. A watch (``-w``) becomes the rule that the kernel makes of it.
    """

    filter: str
    action: str
    calls: frozenset[str] | None
    fields: tuple[Field, ...]
    key: str | None
    text: str

    @property
    def identity(self) -> object:
        """Equal for two spellings of one rule: as it was written, and as the kernel lists it."""
        return self.filter, self.action, self.calls, frozenset(map(_normal, self.fields)), self.key

    @property
    def scope(self) -> tuple[bytes, bool] | None:
        """(path, whether the rule is recursive); ``None`` for a rule that is not limited to a path."""
        for name, operator, value in self.fields:
            if name in ("dir", "path") and operator == "=":
                return _without_slash(value), name == "dir"
        return None

    @property
    def narrowing(self) -> tuple[Field, ...]:
        """The fields that exclude some processes, or some files in the rule's scope."""
        return tuple(field for field in self.fields if field[0] not in _WIDE and not self._is_harmless(field))

    def includes(self, other: Rule) -> bool:
        """Whether this rule reports everything that the other one reports, whatever their keys are."""
        if (self.filter, self.action) != (other.filter, other.action):
            return False
        if self.calls is not None and (other.calls is None or not self.calls >= other.calls):
            return False
        if self.scope is not None and not (other.scope is not None and _contains(self.scope, other.scope)):
            return False
        mine, theirs = ({name: value for name, _, value in rule.fields if name == "perm"} for rule in (self, other))
        if mine and not (theirs and set(mine["perm"]) >= set(theirs["perm"])):
            return False
        return self._conditions <= other._conditions

    @property
    def _conditions(self) -> frozenset[Field]:
        named = (field for field in self.fields if field[0] not in _PLACED and not self._is_harmless(field))
        return frozenset(map(_normal, named))

    def _is_harmless(self, field: Field) -> bool:
        """Whether a condition excludes nothing that changes a file.

        A rule with path= is evaluated for a removal before the call has succeeded (audit_update_watch in
        kernel/audit_watch.c). With ``success=1``, it therefore does not report who removes or renames the file.
        """
        return field in _HARMLESS and (self.scope is None or self.scope[1])


_PLACED = frozenset({"dir", "path", "perm"})
_WIDE = frozenset({"dir", "path", "perm", "arch"})
_HARMLESS = frozenset({("success", "=", b"1"), ("success", "!=", b"0"), ("success", "=", b"yes")})


def parse_rule(line: bytes, is_directory: Callable[[bytes], bool]) -> Rule | None:
    """Parse a line of ``auditctl -l`` or of a rules file; ``None`` where it is not a rule.

    ``is_directory`` says whether the path of a watch (``-w``) is a directory: then the watch is recursive.
    """
    words = line.split()
    if len(words) < 2:
        return None
    if words[0] == b"-w":
        kind = "dir" if is_directory(words[1]) else "path"
        permissions = b"".join(_options(words, b"-p")) or b"rwxa"
        action, fields = ["always", "exit"], [(kind, "=", words[1]), ("perm", "=", permissions)]
    elif words[0] in (b"-a", b"-A"):
        action = words[1].decode("latin-1").split(",")
        fields = [_field(value) for value in _options(words, b"-F")]
        fields += [("compare", "", value) for value in _options(words, b"-C")]
    else:
        return None
    keys = [value for name, _, value in fields if name == "key"] + _options(words, b"-k")
    return Rule(
        filter=next((word for word in action if word not in _ACTIONS), ""),
        action=next((word for word in action if word in _ACTIONS), ""),
        calls=_calls(words),
        fields=tuple(field for field in fields if field[0] != "key"),
        key=",".join(value.decode("utf-8", "backslashreplace") for value in keys) or None,
        text=line.strip().decode("utf-8", "backslashreplace"),
    )


def parse_all(text: bytes, is_directory: Callable[[bytes], bool]) -> tuple[Rule, ...]:
    """Parse the output of ``auditctl -l``, or a rules file, into rules, in order."""
    return tuple(rule for line in text.splitlines() if (rule := parse_rule(line, is_directory)) is not None)


def parse_settings(text: bytes) -> Mapping[str, str]:
    """What a rules file sets besides rules: ``-b 8192`` -> ``{"-b": "8192"}``; a later line wins."""
    lines = (line.decode("utf-8", "backslashreplace").split() for line in text.splitlines())
    return {words[0]: words[1] for words in lines if len(words) == 2 and words[0].startswith("-")}


def parse_rules(text: bytes, is_directory: Callable[[bytes], bool]) -> tuple[tuple[AuditRule, ...], tuple[str, ...]]:
    """(rules that watch files, rules that suppress their events) in the output of ``auditctl -l``."""
    rules = parse_all(text, is_directory)
    watching = tuple(found for rule in rules if (found := watched_by(rule)) is not None)
    return watching, tuple(rule.text for rule in suppressing(rules))


def watched_by(rule: Rule) -> AuditRule | None:
    """Reduce a rule to what coverage depends on; ``None`` for a rule that does not report file accesses."""
    if rule.filter != "exit" or rule.action != "always":
        return None
    values = {name: value for name, operator, value in rule.fields if operator == "="}
    permissions = values.get("perm")
    reported = (
        _reports(rule.calls, permissions, b"w", _WRITES),
        _reports(rule.calls, permissions, b"a", _ATTRIBUTES),
    )
    writes, attributes = (kind and not rule.narrowing for kind in reported)
    if rule.scope is None and not (writes or attributes):
        return None
    scope, recursive = rule.scope or (b"/", True)
    return AuditRule(
        scope=scope,
        recursive=recursive,
        arches=arches_of(rule),
        writes=writes,
        attributes=attributes,
        key=rule.key,
        text=rule.text,
    )


def arches_of(rule: Rule) -> frozenset[str]:
    """The ABIs that a rule applies to."""
    named = [_arch(value) for name, operator, value in rule.fields if name == "arch" and operator == "="]
    return frozenset(named[:1] or ("b32", "b64"))


def suppressing(rules: Iterable[Rule]) -> tuple[Rule, ...]:
    """The rules that can suppress file events, or one of the records that the events need.

    Among the rules for system calls, the first match wins (kernel/auditsc.c; tried on Linux 6.18): a ``never,exit``
    rule after the last rule that watches files suppresses nothing.
    """
    rules = tuple(rules)
    watching = [index for index, rule in enumerate(rules) if _watches_files(rule)]
    last = watching[-1] if watching else len(rules)
    return tuple(
        rule for index, rule in enumerate(rules) if _suppresses(rule) and (rule.filter != "exit" or index < last)
    )


def _watches_files(rule: Rule) -> bool:
    found = watched_by(rule)
    return found is not None and (found.writes or found.attributes)


def _suppresses(rule: Rule) -> bool:
    if rule.filter == "exclude":
        return bool(excluded_records(rule))
    if rule.action != "never" or rule.filter not in ("task", "exit", "filesystem"):
        return False
    return rule.calls is None or any(name in CALLS or name.isdigit() for name in rule.calls)


def excluded_records(rule: Rule) -> frozenset[str]:
    """The records that attribution needs and that a rule of the ``exclude`` filter suppresses, whatever its action."""
    types = [(operator, value) for name, operator, value in rule.fields if name == "msgtype"]
    if types and all(operator == "=" for operator, _ in types):
        named = {_RECORD_NUMBERS.get(value) or value.decode("latin-1") for _, value in types}
        return _NEEDED_RECORDS & named
    return _NEEDED_RECORDS


def _contains(outer: tuple[bytes, bool], inner: tuple[bytes, bool]) -> bool:
    path, recursive = outer
    return outer == inner or (recursive and is_below(inner[0], path))


def _options(words: list[bytes], option: bytes) -> list[bytes]:
    return [value for name, value in pairwise(words) if name == option]


def _field(text: bytes) -> Field:
    match = _FIELD.fullmatch(text)
    return (match[1].decode(), match[2].decode(), match[3]) if match else ("", "", text)


def _normal(field: Field) -> Field:
    name, operator, value = field
    if name == "perm":
        value = bytes(sorted(value))
    elif name == "arch":
        value = _arch(value).encode()
    elif name in ("dir", "path"):
        value = _without_slash(value)
    elif value in _UNSET:
        value = b"-1"
    elif _NUMBER.fullmatch(value):
        value = b"%d" % _integer(value)
    return name, operator, value


def _integer(text: bytes) -> int:
    """Parse an integer as strtol(3) does: 0x is hexadecimal, a leading 0 octal."""
    digits = text.lstrip(b"-")
    base = 16 if digits[:2].lower() == b"0x" else 8 if digits.startswith(b"0") and digits.isdigit() else 10
    try:
        value = int(digits, base)
    except ValueError:
        return 0
    return -value if text.startswith(b"-") else value


def _calls(words: list[bytes]) -> frozenset[str] | None:
    listed = [name for value in _options(words, b"-S") for name in value.split(b",")]
    if not listed or b"all" in listed:
        return None
    return frozenset(_NEW_CALLS.get(name) or name.decode("latin-1") for name in listed)


def _reports(calls: frozenset[str] | None, permissions: bytes | None, wanted: bytes, essential: frozenset[str]) -> bool:
    return (permissions is None or wanted in permissions) and (calls is None or calls >= essential)


def _arch(value: bytes) -> str:
    if value in (b"b32", b"i386", b"arm"):
        return "b32"
    return "b64" if value == b"b64" or value.endswith((b"64", b"64le", b"390x")) else value.decode("latin-1")


def _without_slash(value: bytes) -> bytes:
    return value.rstrip(b"/") or b"/"
