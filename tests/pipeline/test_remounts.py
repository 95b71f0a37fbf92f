"""A file system with another device number is recognised; another file system at the same place is not."""

from __future__ import annotations

import os
import sqlite3
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from fimscan.linux.filesystems import Devices, Numbers, Root
from fimscan.pipeline.record.devices import Survey
from tests.conftest import Cli, rows
from tests.filesystems import image, made, mounted, needs, overlay, run


def versions_in(cli: Cli) -> int:
    with closing(sqlite3.connect(cli.database)) as connection:
        return int(connection.execute("SELECT count(*) FROM file_version").fetchone()[0])


def mount_anew(stack: ExitStack, where: tuple[str, ...], at: Path, spare: Path, numbers: set[int]) -> None:
    """Mount a file system so that no file in it has one of these device numbers.

    A number that it got again is taken by another file system, and it is mounted once more. Others on this host, who
    mount and unmount as well, can take any number meanwhile, and give it back.
    """
    spare.mkdir()
    source = image("ext4", spare / "block") if any(map(os.major, numbers)) else None
    for attempt in range(30):
        with ExitStack() as trial:
            trial.enter_context(mounted(*where, at=at))
            if not numbers & {os.stat(path).st_dev for path in at.rglob("*")}:
                stack.push(trial.pop_all())
                return
        stack.enter_context(mounted("-t", "tmpfs", "none", at=spare / f"tmpfs{attempt}"))
        if source is not None:
            stack.enter_context(mounted("-o", "loop", source, at=spare / f"loop{attempt}"))
    pytest.skip("the kernel gave it the same number again and again")


@pytest.mark.parametrize("kind", ["ext4", "xfs", "btrfs", "overlay", "ext4 -I 128", "layered"])
def test_a_remount_changes_nothing(cli: Cli, tmp_path: Path, kind: str) -> None:
    """After a remount with other device numbers nothing is reported or stored; later changes of content are."""
    name, *options = kind.split()
    where: tuple[str, ...]
    fs = cli.watched
    with ExitStack() as stack:
        if name == "overlay":
            for layer in ("lower", "upper", "work"):
                (tmp_path / layer).mkdir()
            (tmp_path / "lower" / "f").write_text("one")
            where = ("-t", "overlay", "-o", overlay(*(tmp_path / n for n in ("lower", "upper", "work"))), "overlay")
        elif name == "layered":
            (tmp_path / "disk").mkdir()
            disk = stack.enter_context(made("ext4", tmp_path / "disk"))
            (tmp_path / "lower").mkdir()
            (tmp_path / "lower" / "f").write_text("one")
            for layer in ("upper", "work"):
                (disk / layer).mkdir()
            layers = overlay(tmp_path / "lower", disk / "upper", disk / "work")
            where = ("-t", "overlay", "-o", layers, "overlay")
        else:
            where = ("-o", "loop", str(image(name, tmp_path / "image", *options)))
        with mounted(*where, at=fs):
            (fs / "d").mkdir()
            (fs / "d" / "g").write_text("two")
            (fs / "f").write_text("one")
            if name == "btrfs":
                needs("btrfs")
                run("btrfs", "subvolume", "create", fs / "home")
                (fs / "home" / "g").write_text("three")
            cli.scan()
            before = {os.stat(path).st_dev for path in fs.rglob("*")}
        stored = versions_in(cli)
        with ExitStack() as again:
            mount_anew(again, where, fs, tmp_path / "spare", before)
            done = cli("scan", "--no-audit", code=0)
            assert done.stdout == "" and done.stderr.count("\n") == 1
            assert "mounted anew, with another device number: " in done.stderr
            assert versions_in(cli) == stored
            assert rows(cli.diff()) == []
            (fs / "d" / "g").write_text("TWO")
            if name == "btrfs":
                (fs / "home" / "g").write_text("THREE")
            cli.scan(4)
            changes = cli.diff()["changes"]
            assert len(changes) == (2 if name == "btrfs" else 1)
            assert {os.path.basename(c["path"]) for c in changes} == {"g"}
            assert not any("dev" in c["changed"] or "inode" in c["changed"] for c in changes)
            cli("verify", "--db", "--all", code=0)


def test_another_file_system_is_reported(cli: Cli, tmp_path: Path) -> None:
    """A new file system in the same image, with the same number, is another one, and its files are new."""
    with mounted("-o", "loop", image("ext4", tmp_path / "image"), at=cli.watched):
        (cli.watched / "f").write_text("same")
        cli.scan()
        old = os.stat(cli.watched).st_dev
    with mounted("-o", "loop", image("ext4", tmp_path / "image"), at=cli.watched):
        (cli.watched / "f").write_text("same")
        if os.stat(cli.watched).st_dev != old:
            pytest.skip("the kernel gave it another number")
        stderr = cli("scan", "--no-audit", code=4).stderr
        assert f"{cli.watched}: another file system is mounted there than at the last scan (ext4)" in stderr
    assert all("dev" in change["changed"] for change in cli.diff()["changes"])


def root(path: str, raw: int, **values: object) -> Root:
    defaults = {"dev": raw, "superblock": raw, "inode": 2, "kind": "ext4", "uuid": f"uuid of {path}"}
    return Root(path=path.encode(), raw=raw, **{**defaults, **values})  # type: ignore[arg-type]


def survey(monkeypatch: pytest.MonkeyPatch, before: list[Root], now: list[Root]) -> Survey:
    found = {one.path: one for one in now}
    monkeypatch.setattr("fimscan.linux.filesystems.probe", lambda path, _mounts: found.get(path))
    return Survey(Devices(roots=tuple(before)), [one.path for one in now])


def test_two_file_systems_that_exchanged_their_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Disks can be found in another order at each boot."""
    seen = survey(monkeypatch, [root("/a", 1), root("/b", 2)], [root("/a", 2), root("/b", 1)])
    assert dict(seen.numbers) == {2: 1, 1: 2} and not seen.numbers.is_trivial


def test_a_new_file_system_does_not_get_the_number_of_another(monkeypatch: pytest.MonkeyPatch) -> None:
    """A recorded number stays reserved for its file system, which may come back."""
    seen = survey(monkeypatch, [root("/a", 1)], [root("/a", 5), root("/c", 1)])
    assert seen.numbers[5] == 1 and seen.numbers[1] not in (1, 5)


def test_a_file_system_that_is_mounted_elsewhere_keeps_its_number(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is recognised by its UUID, at another path."""
    seen = survey(monkeypatch, [root("/a", 1, uuid="u")], [root("/b", 7, uuid="u")])
    assert seen.numbers[7] == 1


def test_without_uuid_the_birth_time_of_the_root_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    """If neither is known, another number means another file system."""
    known = [root("/a", 1, uuid="", birth_ns=17), root("/b", 2, uuid="")]
    seen = survey(monkeypatch, known, [root("/a", 3, uuid="", birth_ns=17), root("/b", 4, uuid="")])
    assert (seen.numbers[3], seen.numbers[4]) == (1, 4)


def test_numbers_of_subvolumes_that_appear_later() -> None:
    """A subvolume that appears during the scan is recorded by its own number, or by an unused one."""
    numbers = Numbers()
    numbers.take(8)
    assert (numbers[7], numbers.is_trivial) == (7, True)
    spare = numbers[8]
    assert spare not in (7, 8)
    assert dict(numbers) == {7: 7, 8: spare}
    assert numbers[8] == spare
