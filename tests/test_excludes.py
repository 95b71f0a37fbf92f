"""Exclude patterns that can never match are errors of the configuration, and the message says what to write."""

from __future__ import annotations

import json
import os

import pytest

from fimscan.config import Config, parse_config
from fimscan.errors import ConfigError
from fimscan.excludes import pattern_problem
from fimscan.scan.watch import WatchSpec
from tests.conftest import Cli

NEVER = {
    "/etc/foo": 'without "/etc" in front',
    "!/etc/foo": 'without "/etc" in front',
    "/etc/*.swp": 'without "/etc" in front',
    "/etc": "remove this [[watch]]",
    "/etc/": "remove this [[watch]]",
    "": "remove it",
    "  ": "remove it",
    "!": "remove it",
    "/": 'write "*"',
    "//": 'write "*"',
    "a//b": 'write "a/b"',
    "//etc/foo": 'write "/etc/foo"',
    "!/a//b//": 'write "!/a/b/"',
    "..": "remove it",
    "../passwd": "remove it",
    "a/../..": "remove it",
    "./a/": 'write "/a/"',
    "!a/./b": 'write "!/a/b"',
    "/a/../b": 'write "/b"',
    "#*#": r"write '\#*#'",
    "a\nb": "write ?",
    "a\0b": "write ?",
    "a[b": r"write \[",
    "[z-a]": "not a gitignore pattern",
    "a\\": "not a gitignore pattern",
}
CAN = [
    "*.swp",
    "mtab",
    "/foo",
    "/etcetera/x",
    "etc/foo",
    "**/etc/foo",
    "!a",
    "cache/",
    r"\#a",
    "..a",
    "a..",
    "[a]",
    "/*",
]


@pytest.mark.parametrize(("pattern", "remedy"), NEVER.items(), ids=map(repr, NEVER))
def test_a_pattern_that_can_never_match_has_a_remedy(pattern: str, remedy: str) -> None:
    """One line, with the number of the watch and of the pattern."""
    with pytest.raises(ConfigError) as error:
        parse_config(f'[[watch]]\npath = "/etc/"\nexclude = ["*.ok", {json.dumps(pattern)}]\n')
    (line,) = error.value.problems
    assert line.startswith("fimscan.toml:3: watch[1].exclude: pattern 2 can never match: ")
    assert remedy in line and "\n" not in line and "\0" not in line


@pytest.mark.parametrize("pattern", CAN)
def test_other_patterns_are_accepted(pattern: str) -> None:
    """Also those that only look like the path of the watch."""
    assert pattern_problem(pattern, "/etc") is None
    parse_config(f'[[watch]]\npath = "/etc"\nexclude = [{json.dumps(pattern)}]\n')


def test_below_the_root_an_absolute_path_is_relative() -> None:
    """A watch of / excludes /etc/foo by that pattern."""
    assert pattern_problem("/etc/foo", "/") is None
    assert pattern_problem("/", "/") is not None


@pytest.mark.parametrize("pattern", ["#*#", "..", "../passwd", "./a/", "a//b", "//etc/foo", "a\nb", "a[b", "a\\"])
def test_what_is_refused_matches_nothing(pattern: str) -> None:
    """As the scan would read it: neither a file nor a directory of any such name."""
    try:
        is_excluded = WatchSpec(path=b"/etc", exclude=(pattern,)).excluder()
    except ConfigError:
        return
    assert is_excluded is not None
    for name in (b"a", b"b", b"a/b", b"#a#", b"passwd", b"etc/foo", b"x/a", b"a[b", b"a\nb"):
        assert not is_excluded(name) and not is_excluded(name + b"/")


def test_a_stored_configuration_stays_readable() -> None:
    """An earlier version accepted such patterns; its scans can still be compared."""
    stored = json.loads(parse_config('[[watch]]\npath = "/etc"\n').canonical())
    stored["watch"][0]["exclude"] = ["/etc/foo", ""]
    assert Config.from_canonical(json.dumps(stored)).watch[0].exclude == ("/etc/foo", "")


def test_every_command_says_it_in_one_line(cli: Cli) -> None:
    """17, before anything is scanned."""
    cli.write_config(watch=f'exclude = ["{cli.watched}/a"]')
    for command in ("scan", "diff", "doctor"):
        (line,) = cli(command, code=17).stderr.splitlines()
        assert f'write it without "{cli.watched}" in front' in line
    assert not os.path.exists(cli.database)
