"""Guards: calls that change files but that perm=wa does not report, and which loaded rules report them.

A guard is ``ABI:NAME``. The rules that 'fimscan audit rules' prints include all guards that a machine needs.
"""

from __future__ import annotations

from collections.abc import Set

from msgspec.structs import replace

from fimscan.audit.rule_generator import EXTENT_MOVES
from fimscan.audit.rule_parser import Rule, arches_of, watched_by
from fimscan.model import AuditRule

_TRUNCATES = 0o1000  # O_TRUNC: the same on every architecture that rules are printed for
_ACCESS = 0o3  # O_ACCMODE
# Guard -> the calls that must all be in the rule's list, without the calls that only older machines have.
_CALLS: dict[str, Set[str]] = {
    "open": {"open"},
    "openat": {"openat"},
    "openat2": {"openat2"},
    "open_by_handle_at": {"open_by_handle_at"},
    "times": {"utimensat"},
    "attributes": {"setxattrat", "removexattrat", "file_setattr"},
    "mounts": {"mount", "fsmount"},
    **{f"{kind}-extents": {"ioctl"} for kind in EXTENT_MOVES},
}
_HOST_WIDE = {
    "mounts",
    *(f"{kind}-extents" for kind in EXTENT_MOVES),
}  # their calls name no path that a rule could match
_BY_USERS = ("uid", "!=", b"0")
# The argument with an open's flags.
_FLAGS = {"open": "a1", "openat": "a2", "open_by_handle_at": "a2"}


def guarding(rule: Rule) -> AuditRule | None:
    """Reduce a rule to what coverage depends on, with its guards; ``None`` for a rule that does not affect coverage."""
    watched, guards = watched_by(rule), guards_of(rule)
    if watched is not None:
        return replace(watched, guards=guards)
    if not guards:
        return None
    return AuditRule(
        scope=b"/",
        recursive=True,
        arches=arches_of(rule),
        writes=False,
        attributes=False,
        key=rule.key,
        text=rule.text,
        guards=guards,
    )


def guards_of(rule: Rule) -> frozenset[str]:
    """The guards that a rule provides: what it reports beyond perm=wa, for every process."""
    if rule.filter != "exit" or rule.action != "always":
        return frozenset()
    permissions = next((value for name, _, value in rule.fields if name == "perm"), None)
    return frozenset(
        f"{abi}:{name}"
        for name, calls in _CALLS.items()
        if (rule.calls is None or rule.calls >= calls)
        and (name not in _HOST_WIDE or rule.scope is None)
        and (permissions is None or (b"r" in permissions and name in ("open", "openat", "openat2")))
        and all(_lets_changes_through(name, field) for field in rule.narrowing)
        for abi in arches_of(rule)
    )


def _lets_changes_through(name: str, field: tuple[str, str, bytes]) -> bool:
    """Whether a rule's condition lets through every call that changes a file: it tests all bits that show a change."""
    if name in _HOST_WIDE and field == _BY_USERS:
        return True
    argument, operator, value = field
    if name.endswith("-extents"):
        move = EXTENT_MOVES[name.removesuffix("-extents")]
        return argument == "a1" and operator == "&=" and _integer(value) & ~move == 0
    if argument != _FLAGS.get(name) or operator != "&":
        return False
    wanted = _TRUNCATES | (_ACCESS if name == "open_by_handle_at" else 0)
    return _integer(value) & wanted == wanted


def _integer(text: bytes) -> int:
    """Parse an integer as strtol(3) does."""
    try:
        return int(text, 16) if text[:2].lower() == b"0x" else int(text, 8 if text.startswith(b"0") else 10)
    except ValueError:
        return 0


def wanted_guards(machine: str, *, user_namespaces: bool = True) -> tuple[str, ...]:
    """The guards in the rules that are printed for a machine (``uname -m``).

    Without ``user_namespaces``, users cannot mount anything, so that guard is left out.
    """
    names = [name for name in _CALLS if user_namespaces or name != "mounts"]
    if machine in ("x86_64", "i686"):
        return tuple(f"{abi}:{name}" for abi in ("b32", "b64") for name in names)
    return tuple(f"b64:{name}" for name in names if name != "open")
