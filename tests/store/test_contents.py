"""The file with kept contents: its mode, its quota, and what it does with damage."""

from __future__ import annotations

import hashlib
import os
import sqlite3
import stat
import zlib
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fimscan.contents.secrets import RULES_VERSION
from fimscan.errors import InterruptedScanError, StoreError
from fimscan.model import NotKept
from fimscan.store import contents as contents_store
from fimscan.store.contents import ContentFile, contents_file, load_from, permission_problem, usage_of


def sha(text: bytes) -> bytes:
    return hashlib.sha256(text).digest()


def row(text: bytes, refused: str = "", *, despite: bool = False) -> tuple[bytes, int, str, bool, bytes]:
    return sha(text), len(text), refused, despite, b"" if refused else zlib.compress(text)


def store(path: Path, *rows: tuple[bytes, int, str, bool, bytes]) -> str:
    with closing(ContentFile(str(path), writing=True)) as file:
        file.add(rows)
    return str(path)


def needing(*texts: bytes) -> Iterable[bytes]:
    return frozenset(map(sha, texts))


def test_only_its_owner_may_read_it(tmp_path: Path) -> None:
    """Whatever the umask is; and nothing beside it."""
    before = os.umask(0)
    try:
        path = store(tmp_path / "deep" / "c", row(b"text"))
    finally:
        os.umask(before)
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    assert stat.S_IMODE(os.stat(tmp_path / "deep").st_mode) == 0o700
    assert os.listdir(tmp_path / "deep") == ["c"]


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660])
def test_nothing_is_written_to_a_file_that_others_may_read(tmp_path: Path, mode: int) -> None:
    """It can still be read: what is there is checked against its digest."""
    path = store(tmp_path / "c", row(b"text"))
    os.chmod(path, mode)
    with pytest.raises(StoreError, match="chmod 600"):
        ContentFile(path, writing=True)
    assert load_from(path, [sha(b"text")]) == {sha(b"text"): b"text"}


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    """Somebody may have put it there."""
    (tmp_path / "c").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StoreError, match="no regular file"):
        ContentFile(str(tmp_path / "c"), writing=True)
    assert not (tmp_path / "elsewhere").exists()
    assert permission_problem(str(tmp_path / "c")) is not None


@pytest.mark.parametrize("damage", [b"not a database" * 100, None])
def test_a_file_of_another_program_is_refused(tmp_path: Path, damage: bytes | None) -> None:
    """In one line."""
    path = tmp_path / "c"
    if damage is None:
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("CREATE TABLE x (y)")
    else:
        path.write_bytes(damage)
    path.chmod(0o600)
    for writing in (True, False):
        with pytest.raises(StoreError) as caught:
            ContentFile(str(path), writing=writing)
        assert "\n" not in str(caught.value)


def test_damage_after_an_interruption_is_damage(tmp_path: Path) -> None:
    """A review goes on after a signal; what fails later is not told as that signal."""
    InterruptedScanError(15)
    (tmp_path / "c").write_bytes(b"not a database" * 100)
    (tmp_path / "c").chmod(0o600)
    with pytest.raises(StoreError, match="not a database"):
        ContentFile(str(tmp_path / "c"), writing=False)


@given(st.lists(st.binary(max_size=300), max_size=8, unique=True))
def test_what_was_kept_comes_back(tmp_path_factory: pytest.TempPathFactory, texts: list[bytes]) -> None:
    """Byte for byte, by its digest."""
    path = store(tmp_path_factory.mktemp("c") / "c", *map(row, texts))
    assert load_from(path, [*map(sha, texts), b"?" * 32]) == {sha(text): text for text in texts}
    assert usage_of(path).contents == len(texts)


def test_altered_content_is_not_shown(tmp_path: Path) -> None:
    """The digest decides, also if the content is well compressed."""
    path = store(tmp_path / "c", row(b"one"), row(b"two"))
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE content SET data = ? WHERE sha256 = ?", (zlib.compress(b"oNe"), sha(b"one")))
        connection.execute("UPDATE content SET data = x'00' WHERE sha256 = ?", (sha(b"two"),))
    assert load_from(path, [sha(b"one"), sha(b"two")]) == dict.fromkeys([sha(b"one"), sha(b"two")], NotKept.DAMAGED)
    with closing(ContentFile(path, writing=False)) as file:
        assert len([*file.damaged()]) == 2


def test_a_bomb_is_not_unpacked(tmp_path: Path) -> None:
    """Content that is larger than its row says."""
    path = store(tmp_path / "c", (sha(b"x"), 1, "", False, zlib.compress(b"x" * 10**8)))
    assert load_from(path, [sha(b"x")]) == {sha(b"x"): NotKept.DAMAGED}


def test_refused_content_gives_its_reason_until_it_is_kept(tmp_path: Path) -> None:
    """An exception that is made later wins; another refusal does not take back what is kept."""
    path = store(tmp_path / "c", row(b"text", "secret-content"))
    assert load_from(path, [sha(b"text")]) == {sha(b"text"): NotKept.SECRET_CONTENT}
    store(tmp_path / "c", row(b"text", despite=True))
    store(tmp_path / "c", row(b"text", "secret-content"))
    assert load_from(path, [sha(b"text")]) == {sha(b"text"): b"text"}


def test_the_oldest_unneeded_content_goes_first(tmp_path: Path) -> None:
    """What the baseline or the last scan has goes last, and is not stored again at each scan."""
    texts = [bytes([letter]) * 10 for letter in b"abcd"]
    path = store(tmp_path / "c", *map(row, texts))
    size = len(zlib.compress(texts[0]))
    with closing(ContentFile(path, writing=True)) as file:
        assert file.keep_within(4 * size, lambda: pytest.fail("there is room")) == (0, 0)
        assert file.keep_within(3 * size, lambda: frozenset(needing(texts[0]))) == (1, 0)
        assert set(file.known()[0]) == {sha(texts[at]) for at in (0, 2, 3)}
        assert file.keep_within(size, lambda: frozenset(needing(texts[0], texts[3]))) == (2, 1)
        kept, refused = file.known()
        assert (set(kept), set(refused)) == ({sha(texts[3])}, {sha(texts[0])})
        assert file.load([sha(texts[0])]) == {sha(texts[0]): NotKept.QUOTA}
        assert file.usage().dropped == 3
    assert texts[0] not in Path(path).read_bytes()


def test_more_room_asks_for_dropped_content_again(tmp_path: Path) -> None:
    """And only more room."""
    path = store(tmp_path / "c", row(b"text"))
    with closing(ContentFile(path, writing=True)) as file:
        file.adopt_settings(1, ())
        file.keep_within(1, lambda: frozenset(needing(b"text")))
        file.adopt_settings(1, ())
        assert file.known()[1]
        file.adopt_settings(100, ())
        assert file.known() == (frozenset(), frozenset())


def test_an_exception_that_is_taken_back_drops_what_it_kept(tmp_path: Path) -> None:
    """Another one that is added drops nothing."""
    path = store(tmp_path / "c", row(b"ordinary"), row(b"secret", despite=True))
    with closing(ContentFile(path, writing=True)) as file:
        file.adopt_settings(100, ["/a"])
        file.adopt_settings(100, ["/a", "/b"])
        assert set(file.known()[0]) == needing(b"ordinary", b"secret")
        file.adopt_settings(100, ["/b"])
        assert set(file.known()[0]) == needing(b"ordinary")


def test_new_rules_are_applied_to_what_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What an earlier version kept by mistake goes; what it refused is looked at again."""
    path = store(tmp_path / "c", row(b"fine"), row(b"password = hunter2\n"), row(b"x", "secret-content"))
    with closing(ContentFile(path, writing=True)) as file:
        file.adopt_settings(100, ())
        assert len(file.known()[0]) == 2
        monkeypatch.setattr(contents_store, "RULES_VERSION", RULES_VERSION + 1)
        file.adopt_settings(100, ())
        assert file.known() == (needing(b"fine"), frozenset())


def test_where_it_is(tmp_path: Path) -> None:
    """Beside an SQLite file, also if that is named by a link."""
    (tmp_path / "link.db").symlink_to(tmp_path / "real.db")
    assert contents_file(str(tmp_path / "link.db")) == f"{tmp_path}/real.db.contents"
    assert contents_file(None) == "/var/lib/fimscan/fimscan.contents"
    assert contents_file("/x.db", "/y") == "/y"
    assert load_from(str(tmp_path / "missing"), [b"x" * 32]) == {}
