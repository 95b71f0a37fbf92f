"""Whatever a database has in its columns, no command prints a control character or a line of the database's making."""

from __future__ import annotations

import json
import os
import re
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from enum import StrEnum
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import String

from fimscan import model
from fimscan.store import schema
from fimscan.store.database import Database
from tests import forked
from tests.evidence.conftest import copied, eventful  # noqa: F401  # fixtures

EVIL = "\x1b[31m\u202e\u009b\x07\r\nINJECTED"
_FORBIDDEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")
COMMANDS = [
    ["status"],
    ["status", "--vouched"],
    ["diff"],
    ["diff", "--flat"],
    ["diff", "--text"],
    ["diff", "--from", "1", "--to", "3"],
    ["diff", "--format", "csv"],
    ["explain", "1"],
    ["explain-path", "/etc"],
    ["audit", "events"],
    ["plan", "list"],
    ["doctor"],
    ["verify", "--db"],
    ["accept", "--all", "--dry-run"],
    ["packages", "check"],
    ["export", "hash-log"],
    ["scan", "--no-audit"],
]
# Columns with one of few words, or digests: an edit may make a row unreadable, which has to be one plain error line.
_WORDS = {"kind", "status", "verdict", "trigger", "category", "action", "breach", "cause"}
_DIGESTS = {"digest", "state_digest", "previous", "entry", "config_digest", "journal", "scan_entry"}
TEXTS = [
    (table.name, column.name)
    for table in schema.metadata.sorted_tables
    for column in table.columns
    if isinstance(column.type, String) and table.name not in ("journal", "journal_open", "host", "configuration")
]
FREE = [
    (table, column)
    for table, column in TEXTS
    if column not in _WORDS | _DIGESTS and (table, column) != ("unreadable", "reason")
]
_VOCABULARY = {
    str(member)
    for kind in vars(model).values()
    if isinstance(kind, type) and issubclass(kind, StrEnum)
    for member in kind
}
FIXED = [*sorted(set(TEXTS) - set(FREE)), ("configuration", "text")]


def poisoned(value: Any) -> Any:
    """A text with EVIL behind; of JSON, each text in it."""
    if isinstance(value, str):
        try:
            found = json.loads(value)
        except ValueError:
            return value + EVIL
        return json.dumps(_poisoned_json(found)) if isinstance(found, (dict, list)) else value + EVIL
    return value


def _poisoned_json(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _poisoned_json(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_poisoned_json(item) for item in value]
    return value + EVIL if isinstance(value, str) and value not in _VOCABULARY else value


def _poison(path: Path, columns: list[tuple[str, str]]) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.create_function("poisoned", 1, poisoned)
        for table, column in columns:
            connection.execute(f'UPDATE OR IGNORE "{table}" SET "{column}" = poisoned("{column}")')
        connection.commit()


def _problems(database: Path, command: list[str]) -> Iterator[str]:
    """What is wrong with the output of a command."""
    config = database.parent / "fimscan.toml"
    watched = database.parent / "watched"
    watched.mkdir(exist_ok=True)
    config.write_text(f'[database]\nurl = "sqlite:///{database}"\n[[watch]]\npath = "{watched}"\n')
    done = forked.run(["--config", str(config), *command], database.parent, 60)
    text = (done.stdout + done.stderr).decode("utf-8", "surrogateescape").replace("\r\n", "\n")
    if found := _FORBIDDEN.search(text):
        yield f"prints {found[0]!r}: {text[max(0, found.start() - 80) : found.end() + 80]!r}"
    if re.search("^INJECTED", text, re.MULTILINE):
        yield f"prints a line of the database's making: {text!r}"
    if "Traceback" in text or done.returncode == 16:
        yield f"fails: {text[-300:]}"


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_texts_of_the_database_are_escaped(copied: Callable[..., Database], command: list[str]) -> None:  # noqa: F811
    """Names, command lines, tickets, problems: every column with free text, at once."""
    database = copied(f"UPDATE host SET name = '{os.uname().nodename}'")
    database.close()
    assert database.file is not None
    _poison(Path(database.file), FREE)
    assert [*_problems(Path(database.file), command)] == []


@pytest.mark.parametrize(("table", "column"), FIXED, ids=".".join)
def test_a_word_that_means_nothing_is_an_error_line(
    copied: Callable[..., Database],  # noqa: F811
    table: str,
    column: str,
) -> None:
    """One plain line, and no internal error."""
    database = copied(f"UPDATE host SET name = '{os.uname().nodename}'")
    database.close()
    assert database.file is not None
    _poison(Path(database.file), [(table, column)])
    for command in (["status"], ["diff"]):
        assert [*_problems(Path(database.file), command)] == [], command
