"""``fimscan audit rules --install`` and ``--remove`` refuse before they change anything."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import Cli


@pytest.fixture
def directory(cli: Cli) -> Path:
    made = cli.root / "audit/rules.d"
    made.mkdir(parents=True)
    return made


@pytest.mark.parametrize(
    "options", [("--install", "--remove"), ("--install", "--out", "x"), ("--dry-run",), ("--force", "--out", "x")]
)
def test_options_that_contradict_each_other(cli: Cli, options: tuple[str, ...]) -> None:
    assert "--install" in cli("audit", "rules", *options, code=15).stderr


def test_a_file_that_was_edited_is_kept(cli: Cli, directory: Path) -> None:
    """Neither replaced nor removed; the message says how to do it all the same."""
    file = directory / "50-fimscan.rules"
    cli("audit", "rules", "--out", str(file), code=0)
    file.write_text(file.read_text() + f"-w {cli.watched} -p r -k reads\n")
    text = file.read_text()
    for verb in ("--install", "--remove"):
        said = cli("audit", "rules", verb, "--rules-dir", str(directory), code=14).stderr
        assert "was edited since fimscan wrote it" in said and "--force" in said
    assert file.read_text() == text
    assert (
        "would be written"
        in cli("audit", "rules", "--install", "--force", "--dry-run", "--rules-dir", str(directory), code=0).stdout
    )
    assert file.read_text() == text


def test_a_directory_that_others_may_write_is_refused(cli: Cli, directory: Path) -> None:
    """They could replace the rules."""
    directory.chmod(0o777)
    said = cli("audit", "rules", "--install", "--rules-dir", str(directory), code=14).stderr
    assert "others than its owner may write" in said
    assert [*directory.iterdir()] == []
