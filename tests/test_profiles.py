"""The profiles of ``fimscan init``: each loads, explains each line, and its watches do not get in each other's way."""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import permutations
from typing import Any

import pytest
from pathspec import GitIgnoreSpec

from fimscan.cli.init import PROFILES
from fimscan.config import Config, Watch, load_config, parse_config
from fimscan.paths import is_below
from fimscan.profiles import Host, load_profiles, profile_for, profile_text, sections
from tests.conftest import Cli

EVERYTHING = Host(resolve=lambda path: path, homes=("/root", "/home/alice"))
NOTHING = Host(resolve=lambda _: None, homes=("/root", '/home/a "b"\\c\n'))
TABLE = load_profiles()
# What has to be monitored wherever it exists.
PLACES = {
    "debian": (
        "/usr/bin",
        "/usr/sbin",
        "/usr/lib",
        "/boot",
        "/root/.ssh",
        "/home/alice/.ssh",
        "/etc/cron.d",
        "/etc/apt",
    ),
    "rhel": ("/usr/bin", "/usr/lib64", "/boot/efi", "/etc/systemd/system", "/usr/lib64/security", "/usr/lib/modules"),
    "web": ("/var/www", "/etc/nginx", "/etc/apache2", "/etc/httpd", "/usr/sbin", "/root/.ssh"),
    "container": ("/usr/bin", "/app", "/etc", "/etc/ld.so.preload"),
    "stig": ("/usr/sbin/auditctl", "/usr/sbin/augenrules", "/etc/audit", "/opt/fimscan", "/etc/fimscan", "/etc/pam.d"),
}

every_profile = pytest.mark.parametrize("name", PROFILES)


def config_of(name: str, host: Host) -> Config:
    return parse_config(profile_text(name, host))


def watches_in_table() -> Iterator[dict[str, Any]]:
    yield from TABLE["watch"]


def test_the_command_knows_each_profile() -> None:
    assert set(PROFILES) == set(TABLE["profile"]) == set(PLACES)


@every_profile
def test_a_profile_monitors_what_it_promises(name: str) -> None:
    """Also where nothing exists: what should not appear is still monitored."""
    paths = {watch.path for watch in config_of(name, EVERYTHING).watch}
    assert set(PLACES[name]) <= paths
    assert "/etc/ld.so.preload" in {watch.path for watch in config_of(name, NOTHING).watch}
    assert all(section.is_comment for section in sections(name, NOTHING) if section.path == "/usr/bin")


@every_profile
def test_watches_do_not_get_in_each_others_way(name: str) -> None:
    """One inside of another has a reason: other settings, or a file system of its own. None is excluded by another."""
    mounts = {watch["path"] for watch in watches_in_table() if watch.get("mount")}
    for outer, inner in permutations(config_of(name, EVERYTHING).watch, 2):
        if is_below(inner.path.encode(), outer.path.encode()):
            relative = os.path.relpath(inner.path, outer.path)
            assert not GitIgnoreSpec.from_lines(outer.exclude).match_file(relative), inner.path
            assert settings(inner) != settings(outer) or inner.path in mounts, inner.path


def settings(watch: Watch) -> dict[str, Any]:
    """What makes it worth a section of its own."""
    found = watch.model_dump()
    return {key: found[key] for key in ("severity", "category", "policy", "reread", "keep_content")}


def test_each_line_has_a_reason() -> None:
    """Each watch, and each pattern: an administrator decides whether it holds here."""
    for watch in watches_in_table():
        assert set(watch["in"]) <= {*PROFILES, "all"}, watch["path"]
        assert watch["why"].endswith(".") and watch["rationale"] and watch["severity"] and watch["category"], watch[
            "path"
        ]
        for exclude in watch.get("exclude", ()):
            assert exclude["why"] and set(exclude.get("in", PROFILES)) <= set(PROFILES), watch["path"]
    text = profile_text("stig", EVERYTHING)
    auditctl = text.index('path = "/usr/sbin/auditctl"')
    assert "RHEL-09-651025" in text[auditctl - 200 : auditctl]
    assert '"/adjtime"' in text and "# the drift of the hardware clock" in text
    assert "RHEL-09" not in profile_text("debian", EVERYTHING)
    assert all("sha512" in watch.digests for watch in config_of("stig", EVERYTHING).watch)


def test_links_are_replaced_by_where_they_lead() -> None:
    """A link that is monitored is not followed: the programs would not be. What another section covers is a comment."""
    links = {"/bin": "/usr/bin", "/var/www": "/data/www", "/etc/nginx": "/usr/lib/nginx"}
    host = Host(resolve=lambda path: links.get(path, path))
    found = {one.path: one for one in sections("web", host)}
    assert found["/bin"].is_comment and "leads to /usr/bin, which another section covers" in " ".join(
        found["/bin"].lines
    )
    assert found["/etc/nginx"].is_comment
    assert not found["/data/www"].is_comment and "# /var/www leads there." in found["/data/www"].lines
    paths = {watch.path for watch in config_of("web", host).watch}
    assert {"/usr/bin", "/data/www"} <= paths and not paths & set(links)
    for directory in ("", "/usr/lib"):
        evil = {"/opt": f'{directory}/\x01\n[[watch]]\npath = "/y"', "/usr/lib": "/usr/lib"}
        assert "/y" not in {watch.path for watch in config_of("web", Host(resolve=evil.get)).watch}


@pytest.mark.parametrize(
    ("words", "name"),
    [(["debian"], "debian"), (["ubuntu", "debian"], "debian"), (["rocky", "rhel", "centos", "fedora"], "rhel")],
)
def test_the_profile_of_a_system(words: list[str], name: str) -> None:
    assert profile_for(words) == name
    assert profile_for(["arch"]) is None


@every_profile
def test_init_writes_a_configuration_that_loads(cli: Cli, name: str) -> None:
    """On this host, with all keys of the shipped one, and without its example."""
    cli.config.unlink()
    cli("--db", f"sqlite:///{cli.database}", "init", "--profile", name, "--quiet", code=0)
    text = cli.config.read_text()
    assert f"init --profile {name}" in text and "an example to start from" not in text
    config = load_config(str(cli.config))
    assert config.watch == config_of_text(text).watch and config.database.url == f"sqlite:///{cli.database}"
    assert max(map(len, text.splitlines())) <= 130
    cli("init", "--profile", name, "--watch", "/etc", code=15)


def config_of_text(text: str) -> Config:
    return parse_config(text[text.index("# Proposed by") :])
