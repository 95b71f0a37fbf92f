"""``fimscan explain-path``: text, JSON, exit codes."""

from __future__ import annotations

import json

from tests.conftest import Cli


def test_a_monitored_path(cli: Cli) -> None:
    """The [[watch]], its policy, and the stored state of the path."""
    cli.write_config(watch='exclude = ["*.swp"]\nseverity = "low"\ncategory = "system"')
    path = str(cli.watched / "a")
    before = json.loads(cli("explain-path", path, "--format", "json", code=0).stdout)
    assert before["monitored"] and before["baseline"] is None and before["last_read"] is None
    cli.scan()
    text = cli("explain-path", path, code=0).stdout
    assert "policy full, digests: xxh3_128, sha256" in text and "severity low, category system" in text
    assert "in the accepted baseline (scan 1)" in text and "last read 2" in text
    (cli.watched / "new").write_text("x")
    cli.scan(1)
    found = json.loads(cli("explain-path", str(cli.watched / "new"), "--format", "json", code=0).stdout)
    assert found["baseline"] == {"scan": 1, "present": False} and found["known"] and found["last_read"]


def test_a_path_that_is_not_monitored(cli: Cli) -> None:
    """Exit code 1, and the reason."""
    cli.write_config(watch='exclude = ["*.swp", "cache/"]')
    cli.scan()
    assert 'excluded by the pattern "*.swp"' in cli("explain-path", f"{cli.watched}/x.swp", code=1).stdout
    below = cli("explain-path", f"{cli.watched}/cache/x/y", code=1).stdout
    assert f"like everything below {cli.watched}/cache" in below
    assert "no [[watch]] covers it" in cli("explain-path", "/nowhere", code=1).stdout
    found = json.loads(cli("explain-path", "--format", "json", f"{cli.watched}/x.swp", code=1).stdout)
    assert (found["reason"], found["pattern"]) == ("excluded", "*.swp")


def test_reasons_other_than_patterns(cli: Cli) -> None:
    """A symbolic link above the path, fimscan's own database, another file system."""
    (cli.watched / "link").symlink_to(cli.root)
    (cli.root / "below").write_text("x")
    output = cli("explain-path", f"{cli.watched}/link/below", code=1).stdout
    assert f"{cli.watched}/link is a symbolic link, which is recorded but not followed" in output
    cli.config.write_text(f'[database]\nurl = "sqlite:///{cli.watched}/own.db"\n[[watch]]\npath = "{cli.watched}"\n')
    cli.scan()
    assert "fimscan's own database" in cli("explain-path", f"{cli.watched}/own.db", code=1).stdout
    cli.config.write_text(f'[database]\nurl = "sqlite:///{cli.database}"\n[[watch]]\npath = "/"\n')
    output = cli("explain-path", "/proc/self/status", code=1).stdout
    assert "/proc is on another file system, and [scan] cross_mounts is false" in output
