"""Find exclude patterns that can never match, and say what to write instead."""

from __future__ import annotations

import json
import os

from pathspec import GitIgnoreSpec


def pattern_problem(pattern: str, root: str) -> str | None:
    """Say why a pattern can match nothing below ``root``, and what to write instead; ``None`` if it can match.

    A pattern that begins with the path of its watch could match, if that path existed once more below it. It is taken
    for an absolute path. Without its first slash the same pattern is valid.
    """
    front, body = ("!", pattern[1:]) if pattern.startswith("!") else ("", pattern)
    if not body.strip():
        return "it is empty; remove it"
    if "\0" in body or "\n" in body:
        return "it has a newline or NUL byte; write ? for the character"
    if body.startswith("#"):
        return f"{_quoted(pattern)} is a comment in gitignore; write '\\{body}'"
    parts = body.split("/")
    # The first and the last part are empty where the pattern begins and ends with a slash.
    if "" in parts[1:-1] or body == "/":
        return f"{_quoted(pattern)} has an empty name between slashes; write {_quoted(front + _without_empty(parts))}"
    if found := {".", ".."} & set(parts):
        return f"{_quoted(pattern)} has {max(found)}, which is no name of a file; {_instead(front, body)}"
    return _absolute_problem(body, root) or _syntax_problem(pattern)


def _absolute_problem(body: str, root: str) -> str | None:
    if root != "/" and (body == root or body.startswith(f"{root}/")):
        if not body[len(root) :].strip("/"):
            return "it is the watched path, which cannot be excluded; remove this [[watch]] instead"
        return f"it is an absolute path, but patterns are relative to path; write it without {_quoted(root)} in front"
    return None


def _syntax_problem(pattern: str) -> str | None:
    try:
        spec = GitIgnoreSpec.from_lines([pattern])
    except Exception:  # noqa: BLE001  # the library raises several kinds, re.error among them
        return f"{_quoted(pattern)} is not a gitignore pattern"
    if not any(item.include is not None for item in spec.patterns):
        return f"{_quoted(pattern)} is not a gitignore pattern; write \\[ for a bracket that closes nowhere"
    return None


def _without_empty(parts: list[str]) -> str:
    named = [part for part in parts if part]
    if not named:
        return "*"
    return ("/" if not parts[0] else "") + "/".join(named) + ("/" if not parts[-1] else "")


def _instead(front: str, body: str) -> str:
    """The remedy for ``.`` and ``..``: the path that is meant, if it is below the watched one."""
    meant = os.path.normpath(body.lstrip("/"))
    if meant == "." or meant.split("/")[0] == "..":
        return "a pattern reaches only what is below path; remove it"
    end = "/" if body.endswith("/") else ""
    return f"write {_quoted(f'{front}/{meant}{end}')}"


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
