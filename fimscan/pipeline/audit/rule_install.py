"""Install fimscan's audit rules, on disk and in the kernel, and remove exactly them again.

Rules are added to those that are loaded, before superfluous ones are removed: at no time is a watched path without its
rules, and rules of others stay. ``augenrules --load`` would first delete all rules, also those that are in no file.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Collection, Iterable, Iterator, Sequence

from msgspec import Struct

from fimscan import audit
from fimscan.audit import Rule, RulesFile
from fimscan.config import Config
from fimscan.errors import InputError, OutputError
from fimscan.pipeline.audit.rules import rules_text
from fimscan.whole_file import replaced

_NAME = "50-fimscan.rules"  # before 99-finalize.rules, which locks the rules
_OWN_NAME = re.compile(r"\d+-fimscan\.rules")
_MODE = 0o640
_LOCKED = 2
_FILTERS = ("exit", "task", "user", "exclude", "filesystem")  # auditctl before 3.1 misspells those of io_uring
_GENERATED = b"automatically generated"  # augenrules writes that into the file that it makes
_LARGEST = 1 << 22


class Loaded(Struct, frozen=True, kw_only=True):
    """The kernel's rules. ``error`` is why they are unknown; ``is_locked``: only a reboot changes them."""

    rules: tuple[Rule, ...] = ()
    is_locked: bool = False
    error: str | None = None


class Installation(Struct, frozen=True, kw_only=True):
    """What an installation changes.

    Attributes:
        path: the rules file.
        text: what it is to have.
        is_written: it has that already.
        add: rules to load.
        superfluous: loaded rules of fimscan's that are no longer wanted.
        unsaved: loaded rules of others that are in no file, so the next boot drops them.
        objections: why nothing is changed unless that is forced.
        loaded: the kernel's rules.
    """

    path: str
    text: str
    is_written: bool
    add: tuple[str, ...]
    superfluous: tuple[Rule, ...]
    unsaved: tuple[Rule, ...]
    objections: tuple[str, ...]
    loaded: Loaded

    @property
    def count(self) -> int:
        """How many rules the file has."""
        return len(rule_lines(self.text))


class Removal(Struct, frozen=True, kw_only=True):
    """What a removal changes: the file, ``None`` if there is none of ours, and why it is not removed unless forced."""

    path: str | None
    objections: tuple[str, ...]
    kept: tuple[str, ...]  # files with fimscan's header that are another configuration's


def rule_lines(text: str) -> list[str]:
    """The lines of a rules file that are rules."""
    return [line for line in text.splitlines() if line.startswith("-a ")]


def ask_kernel() -> Loaded:
    """Ask for the loaded rules."""
    answer = audit.ask()
    return Loaded(rules=answer.rules, is_locked=answer.status.get("enabled") == _LOCKED, error=answer.error)


def plan_installation(config: Config, directory: str, *, processes: bool) -> Installation:
    """Find out what an installation changes; nothing is changed.

    Raises:
        InputError: the directory or a file in it cannot be read.
    """
    files = _read_rules(directory)
    text = rules_text(config, processes=processes)
    keys = audit.keys_of(config.audit.key)
    path, present, objections = _place(directory, files, text, keys)
    loaded = ask_kernel()
    wanted = [(line, _parsed(line)) for line in rule_lines(text)]
    have = {rule.identity for rule in loaded.rules}
    want = {rule.identity for _, rule in wanted}
    saved = audit.parse_all(b"\n".join(files.values()), os.path.isdir)
    return Installation(
        path=path,
        text=text,
        is_written=present == text.encode(),
        add=() if loaded.error else tuple(line for line, rule in wanted if rule.identity not in have),
        superfluous=tuple(rule for rule in loaded.rules if _is_ours(rule, keys) and rule.identity not in want),
        unsaved=tuple(
            rule
            for rule in loaded.rules
            if rule.filter in _FILTERS and rule.key not in keys and not any(other.includes(rule) for other in saved)
        ),
        objections=(*objections, *_hand_made(directory, files)),
        loaded=loaded,
    )


def install(plan: Installation, config: Config) -> Loaded:
    """Write the file, and bring the kernel's rules up to date; return what is loaded then.

    Raises:
        OutputError: the file cannot be written; nothing was changed.
        InputError: the rules cannot be loaded; the file was written.
    """
    if not plan.is_written:
        _write(plan.path, plan.text)
    if plan.loaded.error or plan.loaded.is_locked:
        return plan.loaded
    try:
        if plan.add:
            audit.run_rules(plan.add)
        present = ask_kernel()
        if dead := _removable(plan, present):
            audit.run_rules(f"-d {rule.text.partition(' ')[2]}" for rule in dead)
    except OSError as error:
        raise InputError(f"{plan.path} has the rules, but they cannot be loaded: {error.strerror}") from error
    if config.audit.io_uring_rule:
        audit.Completion(config.audit.key).complete()
    return ask_kernel()


def _removable(plan: Installation, present: Loaded) -> list[Rule]:
    """The superfluous rules, without those at a place that still lacks a wanted one: better one too many."""
    have = {rule.identity for rule in present.rules}
    lacking = {rule.scope for line in rule_lines(plan.text) if (rule := _parsed(line)).identity not in have}
    return [rule for rule in plan.superfluous if rule.scope not in lacking]


def plan_removal(config: Config, directory: str) -> Removal:
    """Find the file to remove; nothing is changed. A missing directory has none."""
    try:
        files = _read_rules(directory)
    except InputError:
        if os.path.isdir(directory):
            raise
        files = {}
    keys = audit.keys_of(config.audit.key)
    own = _own_files(files)
    mine = [path for path in own if _has_keys(files[path], keys)]
    objections = [_objection(path, audit.judge_file(files[path])) for path in mine]
    if len(mine) > 1:
        objections.append(_several(mine))
    kept = tuple(path for path in own if path not in mine)
    return Removal(path=mine[0] if mine else None, objections=tuple(filter(None, objections)), kept=kept)


def remove_file(path: str) -> None:
    """Remove a rules file.

    Raises:
        OutputError: it cannot be removed.
    """
    try:
        os.unlink(path)
        _sync(os.path.dirname(path))
    except OSError as error:
        raise OutputError(f"cannot remove {path}: {error.strerror}") from error


def own_rules(config: Config) -> tuple[Rule, ...]:
    """The loaded rules that are fimscan's, by their key."""
    keys = audit.keys_of(config.audit.key)
    return tuple(rule for rule in ask_kernel().rules if rule.key in keys)


def remove_loaded(config: Config) -> int:
    """Delete fimscan's loaded rules; return how many there were.

    Raises:
        OSError: the rules are locked, or this is not root.
    """
    return audit.remove_rules(*audit.keys_of(config.audit.key))


# --------------------------------------------------------------------------------------------------------------------
# Files


def _read_rules(directory: str) -> dict[str, bytes]:
    """The rules files as augenrules(8) takes them, by path, in its order."""
    try:
        names = sorted(name for name in os.listdir(directory) if name.endswith(".rules"))
    except FileNotFoundError as error:
        raise InputError(
            f"{directory} does not exist: install the package auditd (audit on Fedora and SUSE)"
        ) from error
    except OSError as error:
        raise InputError(f"cannot read {directory}: {error.strerror}; run as root") from error
    found = {}
    for path in (os.path.join(directory, name) for name in names):
        try:
            if stat.S_ISREG(os.stat(path).st_mode):
                with open(path, "rb") as file:
                    found[path] = file.read(_LARGEST)
        except OSError as error:
            raise InputError(f"cannot read {path}: {error.strerror}; run as root") from error
    return found


def _place(
    directory: str, files: dict[str, bytes], text: str, keys: Collection[str]
) -> tuple[str, bytes | None, tuple[str, ...]]:
    """(path, present content, objections) of the file to write: fimscan's, whatever its number is."""
    own = [path for path in _own_files(files) if audit.judge_file(files[path]) is not RulesFile.FOREIGN]
    path = own[0] if own else os.path.join(directory, _NAME)
    content = files.get(path)
    if os.path.lexists(path) and not stat.S_ISREG(os.lstat(path).st_mode):
        return path, None, (f"{path} is not a regular file: remove it",)
    found = audit.judge_file(content)
    objections = [_several(own)] if len(own) > 1 else []
    if content is not None and not _adds_nothing(content, text):
        if (objection := _objection(path, found)) is not None:
            objections.append(objection)
        elif not _has_keys(content, keys):
            objections.append(
                f"{path} has rules with another key: another configuration's, or [audit] key was changed. Remove it"
                " with 'audit rules --remove' and that key, or give it a name of its own"
            )
    return path, content, tuple(objections)


def _own_files(files: Iterable[str]) -> list[str]:
    return [path for path in files if _OWN_NAME.fullmatch(os.path.basename(path))]


def _several(paths: Sequence[str]) -> str:
    return f"{' and '.join(paths)} both have fimscan's rules: remove one of them"


def _objection(path: str, found: RulesFile) -> str | None:
    match found:
        case RulesFile.EDITED:
            return f"{path} was edited since fimscan wrote it"
        case RulesFile.UNSEALED:
            return f"{path} has no digest (an earlier version wrote none), so it may have been edited"
        case RulesFile.FOREIGN:
            return f"{path} was not written by fimscan"
    return None


def _has_keys(content: bytes, keys: Collection[str]) -> bool:
    """Whether a file has a rule with one of these keys, or none at all: else it is another configuration's."""
    found = {rule.key for rule in audit.parse_all(content, os.path.isdir)}
    return not found or not found.isdisjoint(keys)


def _adds_nothing(content: bytes, text: str) -> bool:
    """Whether a file has no line but comments, and rules that the new text has as well."""
    lines = [line.strip() for line in content.splitlines()]
    real = [line for line in lines if line and not line.startswith(b"#") and line != b"-c"]
    wanted = {_parsed(line).identity for line in rule_lines(text)}
    rules = audit.parse_all(b"\n".join(real), os.path.isdir)
    return len(rules) == len(real) and all(rule.identity in wanted for rule in rules)


def _hand_made(directory: str, files: dict[str, bytes]) -> Iterator[str]:
    """Object if the file that augenrules makes has rules that it did not take from the directory."""
    path = os.path.join(os.path.dirname(directory.rstrip("/")), "audit.rules")
    try:
        with open(path, "rb") as file:
            content = file.read(_LARGEST)
    except OSError:
        return
    if _GENERATED in content.partition(b"\n")[0]:
        return
    saved = audit.parse_all(b"\n".join(files.values()), os.path.isdir)
    lost = [rule for rule in audit.parse_all(content, os.path.isdir) if not any(one.includes(rule) for one in saved)]
    if lost:
        yield (
            f"{path} was written by hand and has rules that no file in {directory} has ({lost[0].text}): augenrules"
            f" replaces it at the next boot. Move them to a file in {directory}"
        )


def _write(path: str, text: str) -> None:
    """Write a file completely, or leave the old one; on disk when this returns."""
    try:
        with replaced(path, mode=_MODE, is_synced=True) as file:
            file.write(text.encode())
        _sync(os.path.dirname(path))
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror}") from error


def _sync(directory: str) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


# --------------------------------------------------------------------------------------------------------------------
# Rules


def _parsed(line: str) -> Rule:
    (rule,) = audit.parse_all(line.encode("utf-8", "surrogateescape"), os.path.isdir)
    return rule


def _is_ours(rule: Rule, keys: Collection[str]) -> bool:
    """Whether fimscan printed a rule. Those for io_uring it loads and removes itself."""
    return rule.key in keys and rule.filter == "exit"
