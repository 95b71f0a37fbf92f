"""Which paths a scan yields, and in which order."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fimscan.errors import ConfigError
from fimscan.model import FileKind, FileState, Unreadable
from fimscan.scan.block import Voucher
from fimscan.scan.reader import Reader
from fimscan.scan.scanner import PriorStates, scan, scan_blocks
from fimscan.scan.watch import WatchSpec
from tests.support import vouched_stat

Scanned = Callable[..., dict[bytes, FileState | Unreadable]]
Tree = dict[bytes, "Tree | None"]

# The neighbours of "/" in byte order, and characters that break text handling.
_NAMES = st.binary(min_size=1, max_size=3).map(lambda raw: bytes(b" !-.0a\n\xff*"[byte % 9] for byte in raw))
_TREES = st.recursive(
    st.none(),
    lambda below: st.dictionaries(_NAMES.filter(lambda name: name not in (b".", b"..")), below, max_size=5),
    max_leaves=25,
)


@contextmanager
def _grown(tree: Tree | None) -> Iterator[tuple[bytes, list[bytes], list[bytes]]]:
    """The tree as files: (its root, all paths, all directories)."""
    top = os.fsencode(tempfile.mkdtemp())
    paths, directories = [], []

    def grow(path: bytes, below: Tree | None) -> None:
        paths.append(path)
        if below is None:
            os.close(os.open(path, os.O_CREAT | os.O_WRONLY))
            return
        directories.append(path)
        os.mkdir(path)
        for name, child in below.items():
            grow(path + b"/" + name, child)

    try:
        grow(top + b"/r", tree)
        yield top + b"/r", paths, directories
    finally:
        shutil.rmtree(top)


@settings(max_examples=150, deadline=None)
@given(tree=_TREES, data=st.data())
def test_order_of_odd_names(tree: Tree | None, data: st.DataObject) -> None:
    """With any names and any nested watches, all paths come once and in byte order."""
    with _grown(tree) as (root, paths, directories):
        nested = data.draw(st.sets(st.sampled_from(paths))) | {root}
        watches = [WatchSpec(path=path, algorithms=()) for path in nested]
        results = list(scan(watches, workers=1))
        assert [result.path for result in results] == sorted(paths)
        assert {r.path for r in results if isinstance(r, FileState) and r.kind is FileKind.DIRECTORY} == set(
            directories
        )


@settings(max_examples=100, deadline=None)
@given(tree=_TREES, data=st.data())
def test_each_file_gets_its_own_voucher(tree: Tree | None, data: st.DataObject) -> None:
    """With any chunks, and with removed and new files, each file is compared with its own voucher."""
    with _grown(tree) as (root, paths, directories):
        nested = data.draw(st.sampled_from(directories)) if directories else root
        watches = [WatchSpec(path=nested, algorithms=()), WatchSpec(path=root, algorithms=(), vouched=True)]
        files = sorted(set(paths) - set(directories))
        known = data.draw(st.sets(st.sampled_from(files))) if files else set()
        touched = data.draw(st.sets(st.sampled_from(files))) if files else set()
        gone = {path + b"!" for path in data.draw(st.sets(st.sampled_from(paths)))} - set(paths)
        vouchers = [_voucher(path, touched) for path in sorted(known | gone)]
        cuts = sorted(data.draw(st.sets(st.integers(1, len(vouchers) or 1))))
        chunks = [vouchers[begin:end] for begin, end in zip([0, *cuts], [*cuts, None], strict=True)]
        blocks = scan_blocks(
            watches[nested == root :], workers=1, known=PriorStates(vouchers=[chunk for chunk in chunks if chunk])
        )
        found = [(entry[0], entry) for block in blocks for entry in zip(block.paths, block.entries(), strict=True)]
    assert [path for path, _ in found] == sorted(paths)
    own = {path for path in files if nested != root and (path + b"/").startswith(nested + b"/")}
    assert {path for path, entry in found if entry[1] == (path,)} == known - touched - own


@pytest.mark.parametrize("kind", [FileKind.FILE, FileKind.DIRECTORY])
def test_nothing_vouches_for_a_directory(root: bytes, kind: FileKind) -> None:
    """A directory that replaced a file must be listed, or its content would be missing."""
    (os.mknod if kind is FileKind.FILE else os.mkdir)(root + b"/x")
    found = os.lstat(root + b"/x")
    assert Reader().is_still(found, 0, vouched_stat(found, kind)) == (kind is FileKind.FILE)


def _voucher(path: bytes, touched: Collection[bytes]) -> Voucher:
    """A voucher whose digest is the path, so that the result shows which voucher was used."""
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        return path, path, 1, ()
    stat = vouched_stat(found)
    return path, path, 1, (*stat[:-1], -1 if path in touched else stat[-1])


def test_order_of_sibling_watches(root: bytes, scanned: Scanned) -> None:
    """Roots that are prefixes of each other ("etc", "etc-x") interleave correctly; the consumer relies on it."""
    for name in (b"etc", b"etc-x", b"etc/a", b"etc/a/b", b"etc.d"):
        os.mkdir(root + b"/" + name)
    found = scanned(root + b"/etc-x", root + b"/etc", root + b"/etc/a", root + b"/etc.d")
    assert [path[len(root) + 1 :] for path in found] == [b"etc", b"etc-x", b"etc.d", b"etc/a", b"etc/a/b"]


def test_innermost_watch_wins(root: bytes, scanned: Scanned) -> None:
    """A nested watch has its own policy, and is scanned even if the outer one excludes its directory."""
    os.makedirs(root + b"/out/in/deep")
    for name in (b"f", b"out/f", b"out/in/f", b"out/in/deep/f"):
        with open(root + b"/" + name, "wb") as file:
            file.write(name)
    found = scanned(
        WatchSpec(path=root, exclude=("out/",), algorithms=("sha256",)),
        WatchSpec(path=root + b"/out/in", algorithms=("sha512",)),
        WatchSpec(path=root + b"/out/in/deep", algorithms=()),
    )
    algorithms = {
        path[len(root) :]: [digest.algorithm for digest in state.digests]
        for path, state in found.items()
        if isinstance(state, FileState) and state.kind is FileKind.FILE
    }
    assert algorithms == {b"/f": ["sha256"], b"/out/in/deep/f": [], b"/out/in/f": ["sha512"]}
    assert root + b"/out" not in found
    assert root + b"/out/in" in found


def test_excludes_agree_with_git(root: bytes, scanned: Scanned) -> None:
    """Exclude patterns work as in a .gitignore, including negation and directory patterns."""
    names = (
        "a.swp keep.swp d/x.swp d/keep.swp cache/x cache/keep.swp d/cache/y mtab d/mtab logs/a.log logs/b.txt "
        "logs/s/c.log build d/build/z top/only x/top/only # esc#aped spxt doc/a/b/c.pdf"
    )
    for name in names.split():
        path = os.path.join(root, name.encode())
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb"):
            pass
    patterns = ("*.swp", "!keep.swp", "cache/", "/mtab", "logs/*.log", "build/", "/top", "\\#", "sp?t", "doc/**/*.pdf")
    with open(root + b"/.gitignore", "w") as file:
        file.write("\n".join(patterns))
    git = ["git", "-c", "core.quotePath=false", "-C", os.fsdecode(root)]
    if shutil.which("git") is None:
        pytest.skip("git is not installed")
    subprocess.run([*git, "init", "-q"], check=True)
    listed = subprocess.run([*git, "ls-files", "-zco", "--exclude-standard"], check=True, capture_output=True).stdout
    found = scanned(WatchSpec(path=root, exclude=(*patterns, ".git"), algorithms=()))
    files = {p[len(root) + 1 :] for p, s in found.items() if isinstance(s, FileState) and s.kind is FileKind.FILE}
    assert files == set(listed.split(b"\0")) - {b""}
    assert root + b"/cache" not in found


def test_exclude_and_newlines(root: bytes, scanned: Scanned) -> None:
    """A newline in a name is an ordinary character: it does not end the match of a pattern."""
    for name in (b"a.swp", b"a.swp\n", b"n\nl/a.swp"):
        os.makedirs(os.path.dirname(root + b"/" + name), exist_ok=True)
        os.close(os.open(root + b"/" + name, os.O_CREAT))
    found = scanned(WatchSpec(path=root, exclude=("*.swp",)))
    assert list(found) == [root, root + b"/a.swp\n", root + b"/n\nl"]


@pytest.mark.parametrize("path", [b"etc", b"/etc/", b"/a/../b", b"//a", b"/a//b", b"", b"/a\0b"])
def test_bad_watch_path(path: bytes) -> None:
    """A path that is not normalised is refused with one clear line."""
    with pytest.raises(ConfigError, match="absolute"):
        WatchSpec(path=path)


def test_bad_watches(root: bytes) -> None:
    """An unknown digest, an invalid pattern and a duplicate watch are refused before anything is read."""
    with pytest.raises(ConfigError, match=r"md5.*known are xxh3_128"):
        WatchSpec(path=root, algorithms=("md5",))
    with pytest.raises(ConfigError, match="'!' is not a gitignore pattern"):
        WatchSpec(path=root, exclude=("*.swp", "!"))
    with pytest.raises(ConfigError, match="listed twice"):
        scan([WatchSpec(path=root), WatchSpec(path=root)])


def test_own_files_are_skipped(root: bytes, scanned: Scanned) -> None:
    """fimscan's own database is not reported, even through another name of its directory."""
    os.mkdir(root + b"/real")
    os.mkdir(root + b"/watched")
    for name in (b"fim.db", b"fim.db-wal", b"other"):
        os.close(os.open(root + b"/real/" + name, os.O_CREAT))
    os.symlink(root + b"/real", root + b"/alias")
    skip = [root + b"/alias/fim.db", root + b"/alias/fim.db-wal", root + b"/nowhere/x"]
    assert list(scanned(root + b"/real", skip=skip)) == [root + b"/real", root + b"/real/other"]
    assert not scanned(root + b"/real/fim.db", skip=skip)
    assert root + b"/real/fim.db" in scanned(root)
