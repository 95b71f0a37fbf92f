"""Describe what differs about a file: old -> new."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

from fimscan.model import Breach, Change, ChangeKind, FileState, device_text
from fimscan.report.attributes import NAMED, flags_text, named_text, other_texts
from fimscan.report.display import mode_octal, mode_text, owner_text, show, size_text, time_text

# Strongest first: the report shows the strongest digest that both sides have.
_ALGORITHMS = ("sha256", "sha512", "blake3", "xxh3_128")
_SHORT = 6  # bytes of a digest that are shown; the JSON and CSV reports have all of them


def differences(change: Change) -> tuple[str, ...]:
    """One short text for each difference; for an added or removed file, a description of it.

    Times that follow from the rest are omitted: every write sets mtime and ctime. An mtime that is unchanged or earlier
    although the content differs is included: a program has to set it on purpose.
    """
    before, after = change.before, change.after
    if change.breach is not None:
        texts = _differing(change.changed, before, after) if before is not None and after is not None else ()
        return (breach_text(change), *texts)
    if before is None or after is None:
        return _described(change.state)
    if change.kind is ChangeKind.MOVED:
        # A rename sets the ctime, so a changed ctime has no meaning here.
        changed = tuple(name for name in change.changed if name != "ctime")
        return (f"from {show(before.path)}", *_differing(changed, before, after))
    return _differing(change.changed, before, after)


def breach_text(change: Change) -> str:
    """What happened to an append-only log: ``the first 9 bytes verified at ... were altered``."""
    before, after = change.before, change.after
    verified = f"{before.size if before is not None else 0} bytes verified at {time_text(change.window.after_ns)}"
    gone = f"the {verified} no longer exist anywhere"
    match change.breach:
        case Breach.REWRITTEN:
            return f"the first {verified} were altered"
        case Breach.TRUNCATED:
            left = after.size if after is not None else 0
            return f"truncated to {left} bytes: {gone}"
        case Breach.REPLACED:
            return f"replaced by another file: {gone}"
        case Breach.REORDERED:
            return f"the {verified} are in another generation of this log, but not because of a rotation"
    return gone


def _differing(changed: tuple[str, ...], before: FileState, after: FileState) -> tuple[str, ...]:
    names = _described_names(changed, is_later=after.mtime_ns >= before.mtime_ns)
    # Another program can have written any name into a database.
    return tuple([_TEXTS[name](before, after) if name in _TEXTS else show(name) for name in names])


@lru_cache(maxsize=1024)  # most files of an upgrade differ in the same fields
def _described_names(changed: tuple[str, ...], *, is_later: bool) -> tuple[str, ...]:
    """What is said of these differences: names of :data:`_TEXTS`, or texts themselves."""
    names = ["owner" if name in ("uid", "gid") else name for name in changed]
    written = "content" in names
    if written and "mtime" in names and is_later:
        names.remove("mtime")
    if "ctime" in names and len(names) > 1:
        names.remove("ctime")
    return (*dict.fromkeys(names), *(("mtime unchanged",) if written and "mtime" not in changed else ()))


def _described(state: FileState) -> tuple[str, ...]:
    target = f" to {show(state.link_target)}" if state.link_target is not None else ""
    return (
        f"{state.kind}{target}",
        *([size_text(state.size)] if "size" not in state.unknown else []),
        *(
            [f"mode {mode_octal(state.mode)} ({mode_text(state.mode, state.kind)})"]
            if "mode" not in state.unknown
            else []
        ),
        *([f"owner {owner_text(state.uid, state.gid)}"] if "uid" not in state.unknown else []),
        *(f"{name} {text}" for name in NAMED[:2] if (text := named_text(state, name)) is not None),
        *([f"flags {text}"] if (text := flags_text(state)) else []),
        *(f"{name} {_hex(state, name)}" for name in _taken(state)[:1]),
    )


def _taken(state: FileState) -> list[str]:
    return [name for name in _ALGORITHMS if state.digest(name) is not None]


def _hex(state: FileState, algorithm: str) -> str:
    return (state.digest(algorithm) or b"")[:_SHORT].hex()


def _content(before: FileState, after: FileState) -> str:
    for name in _ALGORITHMS:
        old, new = before.digest(name), after.digest(name)
        if old is not None and new is not None and old != new:
            return f"{name} {old[:_SHORT].hex()} -> {new[:_SHORT].hex()}"
    return "content"


def _link_target(before: FileState, after: FileState) -> str:
    return f"target {show(before.link_target or b'')} -> {show(after.link_target or b'')}"


def _size(before: FileState, after: FileState) -> str:
    return f"size {before.size} -> {after.size} ({after.size - before.size:+d})"


def _mode(before: FileState, after: FileState) -> str:
    letters = f"{mode_text(before.mode, before.kind)} -> {mode_text(after.mode, after.kind)}"
    return f"mode {mode_octal(before.mode)} -> {mode_octal(after.mode)} ({letters})"


def _owner(before: FileState, after: FileState) -> str:
    return f"owner {owner_text(before.uid, before.gid)} -> {owner_text(after.uid, after.gid)}"


def _named(field: str) -> Callable[[FileState, FileState], str]:
    def text(before: FileState, after: FileState) -> str:
        return f"{field} {named_text(before, field) or 'none'} -> {named_text(after, field) or 'none'}"

    return text


def _xattr(before: FileState, after: FileState) -> str:
    old, new = other_texts(before), other_texts(after)
    if old is None or new is None:
        return "extended attributes (ACL, label, capabilities) changed"
    names = sorted(name for name in old | new if old.get(name) != new.get(name))
    return ", ".join(f"{show(name)} {_quoted(old.get(name))} -> {_quoted(new.get(name))}" for name in names)


def _quoted(text: str | None) -> str:
    return "none" if text is None else f'"{text}"'


def _flags(before: FileState, after: FileState) -> str:
    return f"flags {flags_text(before) or 'none'} -> {flags_text(after) or 'none'}"


def _mtime(before: FileState, after: FileState) -> str:
    back = " set back" if after.mtime_ns < before.mtime_ns else ""
    return f"mtime{back} {time_text(before.mtime_ns)} -> {time_text(after.mtime_ns)}"


_TEXTS: dict[str, Callable[[FileState, FileState], str]] = {
    "kind": lambda before, after: f"{before.kind} -> {after.kind}",
    "content": _content,
    "link_target": _link_target,
    "size": _size,
    "mode": _mode,
    "owner": _owner,
    **{field: _named(field) for field in NAMED},
    "xattr": _xattr,
    "flags": _flags,
    "nlink": lambda before, after: f"links {before.nlink} -> {after.nlink}",
    "dev": lambda before, after: f"device {device_text(before.dev)} -> {device_text(after.dev)}",
    "inode": lambda before, after: f"inode {before.inode} -> {after.inode}",
    "mtime": _mtime,
    "ctime": lambda before, after: f"ctime {time_text(before.ctime_ns)} -> {time_text(after.ctime_ns)}",
}
