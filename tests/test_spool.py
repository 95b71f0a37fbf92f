"""Values on disk: equal to what was put there, whatever their number; and errors of the disk."""

from __future__ import annotations

import os
import tempfile
import tracemalloc
from pathlib import Path

import pytest

from fimscan import spool
from fimscan.errors import StoreError
from fimscan.model import Action, AnswerPattern, Change, Finding, Role, Verdict
from fimscan.spool import Mapped, Spool, in_pieces, keep
from tests.support import access, actor, change, changed_state, state


def some_changes(count: int) -> list[Change]:
    """Changes of all kinds of sides."""
    return [
        change(state(b"/w/%d" % n) if n % 3 else None, changed_state(path=b"/w/%d" % n, inode=n) if n % 3 < 2 else None)
        for n in range(count)
    ]


def test_values_are_equal_in_any_order(tmp_path: Path) -> None:
    """By their places, forwards, backwards and in slices; also those that are still in memory."""
    changes = some_changes(1000)
    kept = Spool(changes, str(tmp_path))
    assert len(kept) == 1000 and list(kept) == changes and list(reversed(kept)) == changes[::-1]
    assert [kept[place] for place in (0, 999, 31, 32, -1, 500)] == [changes[p] for p in (0, 999, 31, 32, -1, 500)]
    assert kept[990:2000] == changes[990:] and kept[1] is not changes[1]
    with pytest.raises(IndexError):
        kept[1000]
    kept.append(changes[0])
    assert kept[1000] == changes[0]


def test_accesses_and_findings_come_back_with_their_types() -> None:
    """Members of enumerations are the same objects."""
    opened = access(Action.OPEN_WRITE, 1500, actor(cmdline=(b"a", b"\xff"), role=Role.WRITER))
    pattern = AnswerPattern(verdict=Verdict.CONFIRMED, actors=(opened.actor,))
    finding = Finding(change=some_changes(2)[1], attribution=pattern)
    (one,) = Spool([opened])
    assert one == opened and type(one) is type(opened) and one.action is Action.OPEN_WRITE
    found = Spool([finding] * 100, shared=AnswerPattern)
    assert {id(row.attribution) for row in found} == {id(pattern)}, "what all have in common is in memory once"
    assert list(found) == [finding] * 100


def test_memory_does_not_grow_with_the_values(tmp_path: Path) -> None:
    """The file has no name."""
    kept = Spool[Change]((), str(tmp_path))
    kept.extend(some_changes(10_000))
    tracemalloc.start()
    try:
        kept.extend(some_changes(10_000))
        before, _ = tracemalloc.get_traced_memory()
        for _ in range(3):
            kept.extend(some_changes(10_000))
        assert sum(1 for _ in kept) == 50_000
        grown = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert grown < 30_000 * 16, "bytes"
    assert os.listdir(tmp_path) == []


def test_a_full_disk_is_an_error_with_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    """No value is lost silently."""
    monkeypatch.setattr(spool, "_IN_MEMORY", 1)

    class Full:
        def close(self) -> None:
            pass

        def write(self, data: bytes) -> int:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(tempfile, "TemporaryFile", lambda **_: Full())
    with pytest.raises(StoreError, match="no space left for a temporary file in /somewhere; make room"):
        Spool(some_changes(100), "/somewhere")


def test_without_a_directory_values_stay_in_memory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A sandbox may allow none."""
    monkeypatch.setattr(spool, "_IN_MEMORY", 1)
    changes = some_changes(100)
    assert list(Spool(changes, str(tmp_path / "gone"))) == changes


def test_few_values_are_not_on_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are the same objects then."""
    monkeypatch.setattr(spool, "MANY", 10)
    values = some_changes(10)
    assert keep(values[:9], None)[0] is values[0]
    assert isinstance(keep(values, None), Spool) and list(keep(values, None)) == values


def test_mapped_and_pieces() -> None:
    """Backwards, by place, in slices; the last piece is shorter."""
    squares = Mapped(lambda n: n * n, [1, 2, 3], backwards=True)
    assert list(squares) == [9, 4, 1] and squares[0] == 9 and squares[-1] == 1 and squares[1:] == [4, 1]
    assert list(in_pieces(range(5), 2)) == [[0, 1], [2, 3], [4]]
