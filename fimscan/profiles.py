"""Write the ``[[watch]]`` sections that ``fimscan init --profile`` proposes, from the table ``conf/profiles.toml``.

The host is a value (:class:`Host`): what is written depends on nothing else.
"""

from __future__ import annotations

import os
import textwrap
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from msgspec import Struct

from fimscan.shipped import shipped_path

_WIDTH = 118
_ALL = "all"
# In the order in which conf/fimscan.toml explains them.
_KEYS = ("policy", "digests", "reread", "severity", "category", "rationale", "keep", "keep_content")


class Host(Struct, frozen=True, kw_only=True):
    """What the sections depend on: ``resolve`` follows links, and gives ``None`` for what does not exist.

    ``homes`` are the home directories of accounts that can log in.
    """

    resolve: Callable[[str], str | None]
    homes: Sequence[str] = ()


class Section(Struct, frozen=True, kw_only=True):
    """One proposed watch: its lines, and whether they are comments, because the host has no such path."""

    path: str
    lines: tuple[str, ...]
    is_comment: bool


def load_profiles() -> Mapping[str, Any]:
    """The table of profiles and watches."""
    with open(os.path.join(shipped_path("conf"), "profiles.toml"), "rb") as file:
        return tomllib.load(file)


def profile_for(words: Sequence[str]) -> str | None:
    """The profile for a system with these names (``ID`` and ``ID_LIKE`` of os-release); ``None`` if none fits."""
    for name, profile in load_profiles()["profile"].items():
        if set(words) & set(profile.get("os", ())):
            return str(name)
    return None


def sections(name: str, host: Host) -> list[Section]:
    """The watches of a profile, in their order."""
    table = load_profiles()
    digests = table["profile"][name].get("digests")
    watches = [
        (watch | ({"digests": digests} if digests else {}), path, host.resolve(path))
        for watch in table["watch"]
        if {name, _ALL} & set(watch["in"])
        for path in _paths(watch["path"], host)
    ]
    real = [path for _, path, target in watches if target == path]
    found: dict[str, Section] = {}
    for watch, path, target in watches:
        section = _section(watch, path, target, name, real)
        found.setdefault(section.path, section)
    return list(found.values())


def profile_text(name: str, host: Host) -> str:
    """The sections as text, with what there is to know about the profile in front."""
    profile = load_profiles()["profile"][name]
    lines = _comment(f"Proposed by 'fimscan init --profile {name}' for {profile['title']}. Edit it as you like.")
    for note in profile.get("notes", ()):
        lines += _comment(note)
    lines += _comment(
        "severity: low, medium, high or critical; [[output]] can filter by it. category and rationale are for people."
        ' reread = "ctime" skips files whose ctime and attributes did not change, until the next full scan;'
        " without it, each scan reads every byte. All keys: fimscan.toml(5)."
    )
    for section in sections(name, host):
        lines += ["", *section.lines]
    return "\n".join(lines) + "\n"


def _paths(path: str, host: Host) -> Iterator[str]:
    if path.startswith("~"):
        yield from (home.rstrip("/") + path[1:] for home in host.homes)
    else:
        yield path


def _section(watch: Mapping[str, Any], path: str, target: str | None, name: str, real: Sequence[str]) -> Section:
    """One section. ``target`` is where the path leads; ``real`` are the watches of the profile that exist."""
    lines = _comment(watch["why"])
    if "stig" in watch and name == "stig":
        lines += _comment(watch["stig"])
    is_comment, shown = False, path
    if target is None:
        is_comment = watch.get("absent", "comment") == "comment"
        later = "Take the # away when it does." if is_comment else "Its appearance will be reported."
        lines += _comment(f"It does not exist here. {later}")
    elif target != path:
        # A link that is monitored is not followed.
        is_comment = any(target == other or target.startswith(f"{other}/") for other in real)
        if is_comment:
            lines += _comment(f"Here it leads to {_printable(target)}, which another section covers.")
        else:
            shown = target
            lines += _comment(f"{_printable(path)} leads there.")
    body = ["[[watch]]", f"path = {_toml(shown)}", *_exclude(watch, name)]
    body += [f"{key} = {_toml(watch[key])}" for key in _KEYS if key in watch]
    lines += [f"# {line}" for line in body] if is_comment else body
    return Section(path=path if is_comment else shown, lines=tuple(lines), is_comment=is_comment)


def _printable(path: str) -> str:
    """A path for a comment: a line end in it would end the comment."""
    return path if path.isprintable() else ascii(path)


def _exclude(watch: Mapping[str, Any], name: str) -> list[str]:
    patterns = [one for one in watch.get("exclude", ()) if name in one.get("in", [name])]
    if not patterns:
        return []
    lines = ["exclude = ["]
    for one in patterns:
        lines += [f"    # {one['why']}", f"    {_toml(one['pattern'])},"]
    return [*lines, "]"]


def _comment(text: str) -> list[str]:
    return textwrap.wrap(
        text, _WIDTH, initial_indent="# ", subsequent_indent="# ", break_long_words=False, break_on_hyphens=False
    )


def _toml(value: object) -> str:
    """A value of the table as TOML: texts, numbers, truth values, and lists of texts."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        escaped = "".join(
            f"\\u{ord(char):04x}" if ord(char) < 0x20 or ord(char) == 0x7F else char
            for char in value.replace("\\", "\\\\").replace('"', '\\"')
        )
        return f'"{escaped}"'
    if isinstance(value, list):
        return f"[{', '.join(map(_toml, value))}]"
    return str(value)
