"""Sets and indexes in little memory do what Python's own do."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fimscan import compact
from fimscan.attribution import AccessIndex, KnownDirectories
from fimscan.compact import CompactMap, CompactSet, HashedSet, Identities, Postings
from fimscan.model import Action
from tests.support import DIRECTORY_ID, access, name

numbers = st.integers(0, 2**64 - 1)


@given(st.lists(numbers), st.lists(numbers))
def test_a_compact_set_is_a_set(some: list[int], others: list[int]) -> None:
    """Also after its numbers were sorted, which looking through them does."""
    made = CompactSet()
    for number in some:
        made.add(number)
    assert [number in made for number in others + some] == [number in some for number in others + some]
    assert list(made) == sorted(set(some))
    for number in others:
        made.add(number)
    assert list(made) == sorted({*some, *others})


def test_a_large_set_is_sorted_in_parts() -> None:
    """More numbers than wait to be sorted."""
    made = CompactSet()
    for number in range(100_000):
        made.add(number * 7919 % 100_003)
    wanted = {number * 7919 % 100_003 for number in range(100_000)}
    assert all((number in made) is (number in wanted) for number in range(100_003)) and list(made) == sorted(wanted)


@given(st.lists(st.tuples(st.binary(max_size=2), st.integers(0, 9))))
def test_postings_and_maps_are_dictionaries(items: list[tuple[bytes, int]]) -> None:
    """Positions in the order in which they were added; the last value of a key."""
    made = Postings()
    for key, position in items:
        made.add(key, position)
    for key in {key for key, _ in items} | {b"another"}:
        assert made.of(key) == [position for one, position in items if one == key]
        assert CompactMap(items).get(key) == dict(items).get(key)
    assert set(CompactMap(items).values()) == {value for _, value in items} and bool(made) is bool(items)


def test_identities_and_hashed_values() -> None:
    """A file is told apart by both numbers."""
    files = Identities()
    for identity in [(1, 2**64 - 1), (2, 5), (1, 3), (2, 5)]:
        files.add(identity)
    assert list(files) == [(1, 3), (1, 2**64 - 1), (2, 5)] and (2, 3) not in files and (3, 3) not in files
    values = HashedSet()
    values.add((b"/w", 1))
    assert (b"/w", 1) in values and (b"/w", 2) not in values


def test_accesses_of_other_keys_with_the_same_hash_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise somebody would be named for a file that he never touched."""
    monkeypatch.setattr(compact, "_MASK", 0)
    known = KnownDirectories.of([(b"/w", DIRECTORY_ID)])
    mine = access(Action.CREATE, 1500, name=name("f"), inode=10)
    other = access(Action.CREATE, 1501, name=name("g"), inode=11)
    gone = access(Action.UNLINK, 1502, name=name("g"), inode=11)
    failed = access(Action.OPEN_WRITE, 1503, name=name("g"), inode=11, success=False)
    index = AccessIndex([failed, gone, other, mine], known)
    assert index.of_file((mine.dev or 0, 10)) == index.turns_of((mine.dev or 0, 10)) == [mine]
    assert index.of_path(b"/w/f") == index.binds(b"/w/f") == [mine]
    assert index.unbinds(b"/w/f") == index.failed(b"/w/f") == index.failed((mine.dev or 0, 10)) == []
    assert index.unbinds(b"/w/g") == [gone] and failed in index.failed(b"/w/g")
    assert index.of_file((mine.dev or 0, 11)) == [other, gone]
