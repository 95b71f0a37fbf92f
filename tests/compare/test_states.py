"""Comparison of states: changes, moves, and unreadable files, which are not removed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from fimscan.compare import Pair, differences, merge, same_state, with_moves
from fimscan.model import ChangeKind, Digest, FileKind, FileState, Unreadable, UnreadableReason, Xattr
from tests.support import change, changed_state, state

paths = st.binary(min_size=1, max_size=4).map(lambda b: b"/" + b.replace(b"\0", b"/"))


def test_a_rewrite_with_the_same_bytes_is_no_content_change() -> None:
    """Equal digests mean unmodified content, whatever the times are."""
    assert differences(state(), changed_state(content=b"old")) == ("mtime", "ctime")


def test_content_differs_by_digest_even_when_size_and_times_do_not() -> None:
    """A forged mtime and an equal size hide nothing."""
    found = change(state(), state(content=b"new"))
    assert (found.kind, found.changed) == (ChangeKind.MODIFIED, ("content",))


def test_a_directory_does_not_change_because_its_entries_do() -> None:
    """Its times, size and link count follow from its entries, which are reported themselves."""
    before = state(kind=FileKind.DIRECTORY, digests=(), nlink=2, size=4096)
    assert differences(before, replace(before, nlink=3, size=8192, mtime_ns=5, ctime_ns=5)) == ()
    assert differences(before, replace(before, mode=0o777)) == ("mode",)


def test_a_digest_that_only_one_side_has_is_no_difference() -> None:
    """Enabling another algorithm must not report every file as modified."""
    before = state()
    sha256 = Digest(algorithm="sha256", value=b"s" * 32)
    assert differences(before, replace(before, digests=(*before.digests, sha256))) == ()


@pytest.mark.parametrize(
    ("field", "value"),
    [("mode", 0o600), ("uid", 5), ("gid", 5), ("xattr_digest", b"x"), ("nlink", 2), ("inode", 11), ("mtime_ns", 1)],
)
def test_every_recorded_attribute_is_compared(field: str, value: object) -> None:
    """A difference in any recorded attribute is reported."""
    after = replace(state(), **{field: value})
    assert change(state(), after).kind is ChangeKind.ATTRIBUTES


def _xattr(name: bytes, value: bytes = b"1") -> Xattr:
    return Xattr(name=name, size=len(value), data=value)


@pytest.mark.parametrize(
    ("name", "field"),
    [
        (b"system.posix_acl_access", "acl"),
        (b"system.posix_acl_default", "acl"),
        (b"security.capability", "capabilities"),
        (b"security.selinux", "selinux"),
        (b"user.note", "xattr"),
        (b"trusted.x", "xattr"),
    ],
)
def test_the_attribute_that_differs_is_named(name: bytes, field: str) -> None:
    """Added, removed or altered beside an unchanged one: only the one that differs is named."""
    kept = _xattr(b"user.kept")
    without = state(xattr_digest=b"0", xattrs=(kept,))
    one = replace(without, xattr_digest=b"1", xattrs=(_xattr(name), kept))
    other = replace(without, xattr_digest=b"2", xattrs=(_xattr(name, b"2"), kept))
    for before, after in ((without, one), (one, without), (one, other)):
        assert differences(before, after) == (field,)
        assert differences(replace(before, kind=FileKind.DIRECTORY), replace(after, kind=FileKind.DIRECTORY)) == (
            field,
        )


def test_a_newly_recorded_attribute_is_no_difference() -> None:
    """After an upgrade, newly recorded flags are no change; a differing digest of attributes is."""
    old = state(xattr_digest=b"1", xattrs=None)
    now = replace(old, flags=0x10, xattrs=(_xattr(b"user.a"),))
    assert differences(old, now) == differences(now, old) == ()
    assert not same_state(old, now) and same_state(now, now)
    assert differences(old, replace(now, xattr_digest=b"2")) == ("xattr",)
    assert differences(now, replace(now, flags=0)) == ("flags",)


def test_removed_and_added_are_one_move_when_it_is_the_same_file() -> None:
    """A rename is one row, with the old name."""
    there = changed_state(b"old", path=b"/w/b", mtime_ns=state().mtime_ns)
    moved = with_moves([change(state(b"/w/a"), None), change(None, there)])
    assert [(m.kind, m.path, m.moved_from) for m in moved] == [(ChangeKind.MOVED, b"/w/b", b"/w/a")]


def test_a_reused_inode_is_not_a_move() -> None:
    """The kernel gives a freed inode number to the next file: other content means another file."""
    found = with_moves([change(state(b"/w/a"), None), change(None, changed_state(b"new", path=b"/w/b"))])
    assert [c.kind for c in found] == [ChangeKind.REMOVED, ChangeKind.ADDED]


def test_a_reused_inode_with_the_same_content_is_not_a_move() -> None:
    """All empty files are equal: 'rm a; touch b' is a removal and an addition. A rename keeps mtime."""
    found = with_moves([change(state(b"/w/a"), None), change(None, changed_state(b"old", path=b"/w/b"))])
    assert [c.kind for c in found] == [ChangeKind.REMOVED, ChangeKind.ADDED]


def test_a_directory_moves_with_its_entries_and_is_not_confused_with_a_new_one() -> None:
    """Its mtime does not help: it changes with every entry. A new directory may have its inode number."""
    old = state(b"/w/d", kind=FileKind.DIRECTORY, digests=(), inode=20)
    new = replace(old, path=b"/w/e", mtime_ns=5)
    inside = state(b"/w/d/f")
    with_entry = [
        change(old, None),
        change(inside, None),
        change(None, new),
        change(None, replace(inside, path=b"/w/e/f")),
    ]
    assert {(c.kind, c.path) for c in with_moves(with_entry)} == {
        (ChangeKind.MOVED, b"/w/e"),
        (ChangeKind.MOVED, b"/w/e/f"),
    }
    assert {c.kind for c in with_moves([change(old, None), change(None, new)])} == {
        ChangeKind.REMOVED,
        ChangeKind.ADDED,
    }


def test_unreadable_root_directory_hides_everything() -> None:
    """If '/' cannot be listed, nothing below it is removed."""
    blocked = Unreadable(path=b"/", reason=UnreadableReason.PERMISSION)
    pairs = list(merge([state(b"/"), state(b"/bin"), state(b"/bin/x")], [blocked]))
    assert all(pair.unreadable for pair in pairs)


def test_unreadable_is_not_removed() -> None:
    """An unreadable file, and known files below a directory that cannot be listed, are reported as unreadable."""
    known = [state(b"/w/d"), state(b"/w/d-x"), state(b"/w/d/f"), state(b"/w/e")]
    blocked = Unreadable(path=b"/w/d", reason=UnreadableReason.PERMISSION)
    beside = Unreadable(path=b"/w/d-x", reason=UnreadableReason.PERMISSION)
    pairs = list(merge(known, [blocked, beside, state(b"/w/e")]))
    assert [p.path for p in pairs if p.unreadable] == [b"/w/d", b"/w/d-x", b"/w/d/f"]
    assert not [p for p in pairs if p.after is None and p.unreadable is None]


def test_a_missing_directory_is_both_reported_and_removed() -> None:
    """A watched directory that is gone is a removal, and is reported as missing."""
    missing = Unreadable(path=b"/w", reason=UnreadableReason.MISSING)
    pairs = list(merge([state(b"/w"), state(b"/w/f")], [missing]))
    gone = [p.path for p in pairs if p.before is not None and p.unreadable is None]
    assert gone == [b"/w", b"/w/f"]
    assert [p.unreadable for p in pairs if p.unreadable] == [missing]


@given(st.dictionaries(paths, st.booleans()), st.dictionaries(paths, st.booleans()))
def test_merge_pairs_every_path_once(old: dict[bytes, bool], new: dict[bytes, bool]) -> None:
    """No path is lost or paired twice, whatever the names are."""

    def states(names: dict[bytes, bool]) -> list[FileState]:
        return [state(path) for path in sorted(names)]

    pairs = list(merge(states(old), states(new)))
    assert [p.path for p in pairs] == sorted({*old, *new})
    assert all(_fits(p, old, new) for p in pairs)


def _fits(pair: Pair[FileState, FileState], old: dict[bytes, bool], new: dict[bytes, bool]) -> bool:
    return (pair.before is not None) == (pair.path in old) and (pair.after is not None) == (pair.path in new)
