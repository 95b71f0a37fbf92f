"""The bytes that are kept are those that were hashed, read once, by any way of reading."""

from __future__ import annotations

import hashlib
import os
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fimscan.model import FileState, NotKept
from fimscan.scan import keeping, reader, scanner
from fimscan.scan.keeping import Keeping, KeepRule, Kept, KnownContents
from fimscan.scan.limits import Limits
from fimscan.scan.path_scan import PathScanner
from fimscan.scan.scanner import PriorStates, scan_blocks
from fimscan.scan.watch import WatchSpec
from fimscan.state_row import unpack


def kept(
    root: Path,
    rule: KeepRule,
    known: KnownContents = KnownContents(),  # noqa: B008  # immutable
    **options: Any,
) -> tuple[dict[str, FileState], list[Kept]]:
    """(states by name, everything that was handed on)."""
    found: list[Kept] = []
    watch = WatchSpec(path=os.fsencode(root), keep=rule)
    prior = PriorStates(keeping=Keeping(known, found.extend))
    states = {}
    for block in scan_blocks([watch], known=prior, **options):
        for entry in block.entries():
            assert isinstance(entry, tuple)
            state = unpack(entry)
            states[os.fsdecode(os.path.basename(state.path))] = state
    return states, found


def contents(found: list[Kept]) -> dict[bytes, bytes]:
    """By digest, what is kept."""
    return {sha256: zlib.decompress(data) for sha256, _, refused, _, data in found if not refused}


RULE = KeepRule(100_000)


@pytest.fixture(params=["alone", "workers", "limited", "no cache"])
def options(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    """All ways of reading: in this process, in workers, and without the fast path."""
    if request.param == "workers":
        monkeypatch.setattr(scanner, "_ALONE_SECONDS", -1.0)
        monkeypatch.setattr(scanner, "_ALONE_NAMES", 1)
    limits = {"limited": Limits(max_files_per_s=100_000), "no cache": Limits(drop_cache=True)}
    yield {"workers": 2 if request.param == "workers" else 1, "limits": limits.get(request.param)}


def test_what_is_kept_is_what_was_hashed(tmp_path: Path, options: dict[str, Any]) -> None:
    """Files of all sizes, old and fresh; also empty ones."""
    texts = {f"f{size}": os.urandom(size).hex().encode()[:size] for size in (0, 1, 100, 4096, 65_537, 100_000)}
    for name, text in texts.items():
        (tmp_path / name).write_bytes(text)
    (tmp_path / "link").symlink_to("f1")
    (tmp_path / "large").write_bytes(b"x" * 100_001)
    (tmp_path / "binary").write_bytes(b"a\0b")
    states, found = kept(tmp_path, RULE, **options)
    assert contents(found) == {hashlib.sha256(text).digest(): text for text in texts.values()}
    assert {states[name].digest("sha256") for name in texts} == set(contents(found))
    refused = {sha256: reason for sha256, _, reason, _, _ in found if reason}
    assert refused == {states["binary"].digest("sha256"): NotKept.BINARY}


def test_secrets_do_not_leave_the_reader(tmp_path: Path, options: dict[str, Any]) -> None:
    """By name nothing at all is handed on, by content only the digest."""
    (tmp_path / "shadow").write_text("root:!:1:\n")
    (tmp_path / "x.conf").write_text("password = hunter2\n")
    (tmp_path / "fine.conf").write_text("a = 1\n")
    _, found = kept(tmp_path, RULE, **options)
    assert list(contents(found).values()) == [b"a = 1\n"]
    assert [(reason, data) for _, _, reason, _, data in found if reason] == [("secret-content", b"")]


def test_an_exception_is_for_one_path(tmp_path: Path, options: dict[str, Any]) -> None:
    """Also if its content is known as refused. A binary file is no text all the same."""
    secret = b"password = hunter2\n"
    for name in ("shadow", "x.conf", "other.conf"):
        (tmp_path / name).write_bytes(secret + name.encode())
    (tmp_path / "x.key").write_bytes(b"\0")
    despite = frozenset(os.fsencode(tmp_path / name) for name in ("shadow", "x.conf", "x.key"))
    known = KnownContents(refused=frozenset([hashlib.sha256(secret + b"x.conf").digest()]))
    _, found = kept(tmp_path, KeepRule(100, despite), known, **options)
    assert set(contents(found).values()) == {secret + b"shadow", secret + b"x.conf"}
    assert all(is_despite for _, _, refused, is_despite, _ in found if not refused)
    _, found = kept(tmp_path, KeepRule(100, despite, never=despite), **options)
    assert contents(found) == {}


def test_known_contents_are_not_sent_again(tmp_path: Path, options: dict[str, Any]) -> None:
    """Neither kept nor refused ones: a scan without changes hands on nothing."""
    (tmp_path / "a").write_text("a\n")
    (tmp_path / "b").write_text("secret = hunter2\n")
    _, first = kept(tmp_path, RULE, **options)
    known = KnownContents(
        kept=frozenset(one[0] for one in first if not one[2]), refused=frozenset(one[0] for one in first if one[2])
    )
    assert len(known.kept) == len(known.refused) == 1
    assert KnownContents.load(known.dump()) == known
    assert kept(tmp_path, RULE, known, **options)[1] == []


def test_a_file_is_read_once(tmp_path: Path) -> None:
    """The copy is made from the buffer that is hashed: no byte is read for it."""
    (tmp_path / "a").write_text("a\n" * 1000)
    os.utime(tmp_path / "a", (1, 1))

    def reads(rule: KeepRule | None) -> int:
        count = 0

        def counted(*arguments: object) -> int:
            nonlocal count
            count += 1
            return real(*arguments)  # type: ignore[arg-type]

        real = os.preadv
        with mock.patch.object(os, "preadv", counted), mock.patch.object(reader, "FRESH_NS", 0):
            prior = PriorStates(keeping=Keeping(KnownContents(), list[Kept]().extend))
            list(scan_blocks([WatchSpec(path=os.fsencode(tmp_path), keep=rule)], workers=1, known=prior))
        return count

    assert reads(RULE) == reads(None) == 1


def test_content_of_a_failed_attempt_is_not_kept(tmp_path: Path) -> None:
    """A file that changes during the first reading is kept as the second one has it."""
    path = tmp_path / "a"
    path.write_text("first\n")
    real, attempts = os.fstat, []

    def changing(fd: int) -> os.stat_result:
        found = real(fd)
        if os.readlink(f"/proc/self/fd/{fd}") == str(path):
            attempts.append(fd)
            if len(attempts) == 2:  # after the content was read
                path.write_text("second\n")
                return real(fd)
        return found

    with mock.patch.object(os, "fstat", changing):
        states, found = kept(tmp_path, RULE, workers=1)
    assert len(attempts) > 2
    assert contents(found) == {states["a"].digest("sha256"): b"second\n"}


def test_a_copy_that_does_not_match_is_dropped(tmp_path: Path) -> None:
    """Whatever was captured: the digest of the state decides."""
    (tmp_path / "a").write_text("a\n")
    with mock.patch.object(keeping.CapturingDigester, "take", lambda _self: b"something else"):
        assert kept(tmp_path, RULE, workers=1)[1] == []


def test_a_look_at_one_path_keeps_as_a_scan_does(tmp_path: Path) -> None:
    """For live looks."""
    (tmp_path / "a").write_text("a\n")
    found: list[Kept] = []
    path_scanner = PathScanner([WatchSpec(path=os.fsencode(tmp_path), keep=RULE)])
    path_scanner.keeping = Keeping(KnownContents(), found.extend)
    list(path_scanner.look(os.fsencode(tmp_path / "a")))
    assert list(contents(found).values()) == [b"a\n"]


@settings(max_examples=40)
@given(st.binary(max_size=2000).map(lambda data: data.replace(b"\0", b" ")), st.integers(0, 2000))
def test_any_text_comes_back(tmp_path_factory: pytest.TempPathFactory, text: bytes, most: int) -> None:
    """Byte for byte, if it is small enough."""
    root = tmp_path_factory.mktemp("any")
    (root / "f").write_bytes(text)
    states, found = kept(root, KeepRule(most), workers=1)
    refused = any(one[2] for one in found)
    assert refused or contents(found) == ({states["f"].digest("sha256"): text} if len(text) <= most else {})
