"""``fimscan init``: the configuration that it writes."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from fimscan.config import load_config
from fimscan.shipped import shipped_path
from tests.conftest import Cli

SHIPPED = Path(shipped_path("conf"), "fimscan.toml").read_text()


def written(cli: Cli, *arguments: str) -> str:
    cli.config.unlink()
    cli("--db", f"sqlite:///{cli.database}", "init", *arguments, code=0)
    return cli.config.read_text()


def comments(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.startswith("#")]


def test_without_options_it_is_the_shipped_configuration(cli: Cli) -> None:
    """Except the database, and the evidence key in the same directory."""
    text = written(cli)
    assert comments(text) == comments(SHIPPED)
    replaced = text.replace(str(cli.database), "/var/lib/fimscan/fimscan.db")
    assert replaced.replace(f"{cli.root}/evidence-key.pem", "/var/lib/fimscan/evidence-key.pem") == SHIPPED


@pytest.mark.parametrize("names", [("/srv",), ("/srv", "/opt/a b", '/x"y\\z'), ("/line\nbreak", "/tab\t")])
def test_other_watches_keep_the_comments(cli: Cli, names: tuple[str, ...]) -> None:
    """Except the comment about the example. Directory names are written correctly, whatever characters they have."""
    text = written(cli, *(argument for name in names for argument in ("--watch", name)))
    assert comments(text) == [line for line in comments(SHIPPED) if "these three are an example" not in line]
    config = load_config(str(cli.config))
    assert tuple(watch.path for watch in config.watch) == names
    assert all(watch.exclude == () and watch.rationale == "" for watch in config.watch)
    table, shipped = tomllib.loads(text), tomllib.loads(SHIPPED)
    assert {name for name in table if table[name] != shipped[name]} == {"database", "evidence", "watch"}


def test_watching_etc_keeps_the_exclude_patterns(cli: Cli) -> None:
    """The shipped exclude patterns are for /etc."""
    written(cli, "--watch", "/etc")
    (watch,) = load_config(str(cli.config)).watch
    assert watch.exclude == ("*.swp", "mtab") and watch.rationale


def test_the_hook_of_apt_is_offered_where_there_is_apt(cli: Cli) -> None:
    """As a command that can be run as printed; not with --quiet."""
    cli.config.unlink()
    shown = cli("--db", f"sqlite:///{cli.database}", "init", code=0).stdout
    assert ("packages record --hook --out /etc/apt/apt.conf.d/50fimscan" in shown) == Path(
        "/etc/apt/apt.conf.d"
    ).is_dir()
    assert "packages record" not in cli("init", "--quiet", code=0).stdout
