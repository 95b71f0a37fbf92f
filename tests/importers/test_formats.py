"""Files that the real programs wrote are read exactly; damaged, truncated and hostile ones are one line."""

from __future__ import annotations

import hashlib
import os
import shutil
import sqlite3
import string
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fimscan.errors import InputError
from fimscan.importers.entries import Entry, Recorded
from fimscan.importers.formats import FORMATS, read_baseline
from fimscan.importers.hash_log import unescaped
from fimscan.importers.mtree import unvis
from fimscan.model import Digest, FileKind
from fimscan.report.display import show

DATA = Path(__file__).parents[1] / "data/imports"
ROOT = b"/tmp/fimscan-import"
DAY_S = 86400  # OSSEC and Wazuh have the time of the record, not that of the reading
CONTENTS = {
    b"a": b"hello\n",
    b"with space": b"world",
    b"new\nline": b"x",
    b"\xff byte": b"y",
    b"back\\slash": b"z",
    b'comma,quote"x': b"c",
    "ä".encode(): b"u",
    b"sub/deep": b"deep",
}
FILES = {ROOT + b"/" + name: content for name, content in CONTENTS.items()}
CHOSEN = [ROOT + b"/" + name for name in (b"a", b"back\\slash", b'comma,quote"x', b"new\nline", b"sub/deep")]
# A few lines of each, of which every byte can be cut.
OSSEC = b"""\
+++6:33188:0:0:b1946ac92492d2347c6235b4d2611184:f572d396fae9206628714fb2ce00f72e94f2258f !1700000000 /etc/a b
#++5:33188:0:0:xxx:xxx !1600000000 /etc/old
!++4:35304:1:2:xxx:3dde59ff3d79fc2322f4192f74c1d1af30d32cc6:root:adm:1700000001:77 !1700000009 /etc/set
+++1:41471:0:0:b1946ac92492d2347c6235b4d2611184:xxx !1700000001 /etc/link
+++-1 !1700000002 /etc/gone
+++0:33188:0:0:b1946ac92492d2347c6235b4d2611184:xxx !1700000002 /etc/unsized
"""


def read(name: str, form: str | None = None, root: bytes | None = None) -> tuple[str, Recorded]:
    return read_baseline(os.fsencode(DATA / name), form, root)


def digest(algorithm: str, content: bytes) -> Digest:
    return Digest(algorithm=algorithm, value=hashlib.new(algorithm, content, usedforsecurity=False).digest())


def files_of(recorded: Recorded) -> dict[bytes, Entry]:
    """Entries of regular files; a list of contents also has the symbolic link that it followed."""
    kinds = (None, FileKind.FILE)
    return {path: one for path, one in recorded.entries.items() if one.kind in kinds and path != ROOT + b"/link"}


# --------------------------------------------------------------------------------------------------------------------
# Recorded files


@pytest.mark.parametrize(
    ("name", "form", "algorithms", "expected"),
    [
        ("tripwire.txt", "tripwire", ("md5", "sha1"), list(FILES)),
        ("netbsd.mtree", "mtree", ("md5", "sha256"), list(FILES)),
        ("bsdtar.mtree", "mtree", ("sha1",), list(FILES)),
        ("hashdeep.txt", "hashdeep", ("md5", "sha256"), list(FILES)),
        ("SHA256SUMS", "sums", ("sha256",), CHOSEN),
        ("sha1-tagged", "sums", ("sha1",), [path for path in CHOSEN if path[-1:] not in b"xp"]),
        ("sha256-zero", "sums", ("sha256",), [path for path in CHOSEN if path[-1:] not in b"xp"]),
        ("script.log", "hash-log", ("sha256",), [path for path in FILES if b"\xff" not in path]),
    ],
)
def test_what_the_programs_wrote(name: str, form: str, algorithms: tuple[str, ...], expected: list[bytes]) -> None:
    """The format is recognised; names with spaces, newlines, commas, bytes are right, and so is every digest."""
    found, recorded = read(name, root=ROOT)
    assert found == form
    files = files_of(recorded)
    assert sorted(files) == sorted(expected)
    for path, entry in files.items():
        assert set(entry.digests) == {digest(algorithm, FILES[path]) for algorithm in algorithms}
        assert entry.size in (None, len(FILES[path]))


@pytest.mark.parametrize("name", ["tripwire.txt", "netbsd.mtree", "bsdtar.mtree"])
def test_attributes_are_read(name: str) -> None:
    """Mode with set-user-ID, owner, times, kinds, link target."""
    entries = read(name, root=ROOT)[1].entries
    deep, link, file = (entries[ROOT + b"/" + one] for one in (b"sub/deep", b"link", b"a"))
    assert (deep.mode, deep.uid, deep.gid, deep.size) == (0o4750, 0, 0, 4)
    assert file.mtime_s == 1700000000 and file.mtime_nsec in (None, 500_000_000)
    assert link.kind is FileKind.SYMLINK
    assert link.link_target == b"a" if name != "tripwire.txt" else link.digests[0] == digest("md5", b"a")
    assert entries[ROOT].kind is entries[ROOT + b"/sub"].kind is FileKind.DIRECTORY


@pytest.mark.parametrize(("name", "taken"), [("tripwire.txt", True), ("netbsd.mtree", True), ("hashdeep.txt", False)])
def test_the_time_is_what_the_file_says(name: str, taken: bool) -> None:
    """Never that of the file itself, which may be a later copy."""
    assert (read(name, root=ROOT)[1].taken_ns is not None) == taken


def test_relative_names_need_a_root() -> None:
    """The message says which option gives it."""
    with pytest.raises(InputError, match=r"line 1: .*--root"):
        read("SHA256SUMS")


def test_lists_of_dpkg_are_relative_to_the_root_directory(tmp_path: Path) -> None:
    """They are known by their names; a path that two packages have is not compared, nor is the list refused."""
    form, recorded = read("hashdeep.md5sums")
    assert form == "dpkg" and b"/usr/bin/hashdeep" in recorded.entries
    assert not recorded.lists_all and recorded.follows_links
    file = tmp_path / "all.md5sums"
    file.write_text(f"{'0' * 32}  usr/bin/x\n{'1' * 32}  usr/bin/x\n{'2' * 32}  usr/bin/y\n")
    entries = read_baseline(os.fsencode(file))[1].entries
    assert not entries[b"/usr/bin/x"].digests and entries[b"/usr/bin/y"].digests


# --------------------------------------------------------------------------------------------------------------------
# OSSEC and Wazuh, by their published sources


def write(tmp_path: Path, data: bytes) -> bytes:
    file = tmp_path / "file"
    file.write_bytes(data)
    return os.fsencode(file)


def test_syscheck(tmp_path: Path) -> None:
    """Decimal modes; comments and removed files are skipped; 0 and xxx mean that it was not checked."""
    form, recorded = read_baseline(write(tmp_path, OSSEC))
    entries = recorded.entries
    assert form == "ossec" and recorded.skipped == 1 and recorded.taken_ns == (1700000000 - DAY_S) * 10**9
    assert list(entries) == [b"/etc/a b", b"/etc/set", b"/etc/link", b"/etc/unsized"]
    first, second = entries[b"/etc/a b"], entries[b"/etc/set"]
    assert (first.mode, first.size, first.digests) == (
        0o644,
        6,
        (digest("md5", b"hello\n"), digest("sha1", b"hello\n")),
    )
    assert (second.mode, second.uid, second.gid, second.mtime_s, second.inode) == (0o4750, 1, 2, 1700000001, 77)
    assert second.digests == (digest("sha1", b"deep"),) and second.taken_ns == (1700000009 - DAY_S) * 10**9
    # What a link has in it is the digest of another file.
    assert (entries[b"/etc/link"].kind, entries[b"/etc/link"].digests) == (FileKind.SYMLINK, ())
    assert entries[b"/etc/unsized"].size is None


_ENTRY = (
    "path TEXT NOT NULL, mode INTEGER, last_event INTEGER, scanned INTEGER, options INTEGER, checksum TEXT NOT NULL"
)
_DATA = (
    "dev INTEGER, inode INTEGER, size INTEGER, perm TEXT, attributes TEXT, uid INTEGER, gid INTEGER, user_name TEXT, "
    "group_name TEXT, hash_md5 TEXT, hash_sha1 TEXT, hash_sha256 TEXT, mtime INTEGER"
)
_MANAGER = (
    "file TEXT PRIMARY KEY, type TEXT NOT NULL, date INTEGER, changes INTEGER, size INTEGER, perm TEXT, uid TEXT, "
    "gid TEXT, md5 TEXT, sha1 TEXT, uname TEXT, gname TEXT, mtime INTEGER, inode INTEGER, sha256 TEXT, "
    "attributes TEXT, symbolic_path TEXT, checksum TEXT"
)
WAZUH = {
    "4.3": [f"CREATE TABLE file_entry ({_ENTRY}, {_DATA}, PRIMARY KEY(path)) WITHOUT ROWID"],
    "4.0": [
        f"CREATE TABLE file_entry ({_ENTRY}, inode_id INTEGER, PRIMARY KEY(path))",
        f"CREATE TABLE file_data ({_DATA}, PRIMARY KEY(dev, inode))",
    ],
    "3.13": [
        f"CREATE TABLE entry_path ({_ENTRY}, entry_type INTEGER, inode_id INTEGER, PRIMARY KEY(path))",
        f"CREATE TABLE entry_data ({_DATA}, PRIMARY KEY(dev, inode))",
    ],
    "manager": [f"CREATE TABLE fim_entry ({_MANAGER})"],
}


def wazuh(file: Path, version: str, paths: dict[bytes, bytes]) -> bytes:
    """A database of Wazuh with these files and contents."""
    connection = sqlite3.connect(file)
    for statement in WAZUH[version]:
        connection.execute(statement)
    for number, (path, content) in enumerate(paths.items(), 1):
        sums = {name: digest(name, content).value.hex() for name in ("md5", "sha1", "sha256")}
        text = os.fsdecode(path)
        if version == "manager":
            row = (text, "file", 1700000000, len(content), "100644", "0", "0", *sums.values())
            names = "file, type, date, size, perm, uid, gid, md5, sha1, sha256"
            connection.execute(f"INSERT INTO fim_entry ({names}) VALUES ({','.join('?' * len(row))})", row)
            continue
        data = {"dev": 1, "inode": number, "size": len(content), "perm": "rw-r--r--", "uid": 0, "gid": 0}
        data |= {f"hash_{name}": value for name, value in sums.items()}
        entry: dict[str, object] = {"path": text, "last_event": 1700000000, "checksum": "x"}
        tables: list[tuple[str, dict[str, object]]] = [("file_entry", entry | data)]
        if version != "4.3":
            first, second = ("file_entry", "file_data") if version == "4.0" else ("entry_path", "entry_data")
            tables = [(first, entry | {"inode_id": number}), (second, dict(data))]
        for table, row_ in tables:
            marks = ",".join("?" * len(row_))
            connection.execute(f"INSERT INTO {table} ({','.join(row_)}) VALUES ({marks})", [*row_.values()])
    connection.commit()
    connection.close()
    return os.fsencode(file)


@pytest.mark.parametrize("version", list(WAZUH))
def test_databases_of_wazuh(tmp_path: Path, version: str) -> None:
    """Every schema since 3.13, and the manager's."""
    form, recorded = read_baseline(wazuh(tmp_path / "fim.db", version, {b"/etc/a": b"hello\n", b"/etc/b": b""}))
    assert form == "wazuh" and recorded.taken_ns == (1700000000 - DAY_S) * 10**9
    entry = recorded.entries[b"/etc/a"]
    assert (entry.mode, entry.uid, entry.size) == (0o644, 0, 6)
    assert set(entry.digests) == {digest(name, b"hello\n") for name in ("md5", "sha1", "sha256")}
    assert recorded.entries[b"/etc/b"].size == 0


def test_another_database_is_named(tmp_path: Path) -> None:
    """An SQLite database without Wazuh's tables, a damaged one, one with a path that is none: one line each."""
    file = tmp_path / "other.db"
    connection = sqlite3.connect(file)
    connection.execute("CREATE TABLE t (a)")
    connection.close()
    with pytest.raises(InputError, match="none of Wazuh's tables"):
        read_baseline(os.fsencode(file))
    good = Path(os.fsdecode(wazuh(tmp_path / "fim.db", "4.3", {b"/etc/%d" % n: b"x" for n in range(2000)})))
    file.write_bytes(good.read_bytes()[:5000])
    with pytest.raises(InputError):
        read_baseline(os.fsencode(file))
    with pytest.raises(InputError, match="row 2: "):
        read_baseline(wazuh(tmp_path / "bad.db", "4.3", {b"/etc/a": b"x", b"c:\\windows": b"x"}))


# --------------------------------------------------------------------------------------------------------------------
# Damaged files

GOOD: dict[str, bytes] = {
    **{
        name: (DATA / name).read_bytes()
        for name in ("tripwire.txt", "netbsd.mtree", "hashdeep.txt", "SHA256SUMS", "script.log")
    },
    "ossec": OSSEC,
}


def damaged(tmp_path: Path, data: bytes, form: str | None = None) -> str:
    """The message for a file."""
    with pytest.raises(InputError) as caught:
        read_baseline(write(tmp_path, data), form, b"/r")
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("name", list(GOOD))
def test_a_file_that_was_cut_is_refused(tmp_path: Path, name: str) -> None:
    """In the middle of its last line, whatever the format."""
    whole = GOOD[name].split(b"*** End")[0]  # Tripwire ends with a notice
    assert "line " in damaged(tmp_path, whole[:-3])


@pytest.mark.parametrize(
    ("form", "data", "words"),
    [
        (None, b"", "in no known format"),
        (None, b"root:x:0:0::/root:/bin/sh\n", "in no known format"),
        ("tripwire", b"hello\n", "line 1: this is not what"),
        ("tripwire", b"Open Source Tripwire(R) 2.4.3.7 Integrity Check Report\n", "line 1: this is not what"),
        ("tripwire", GOOD["tripwire.txt"].split(b"Object name:  /tmp/fimscan-import/a")[0], "ends before '*** End"),
        ("tripwire", GOOD["tripwire.txt"].replace(b"drwxr-xr-x ", b"drwxr-xr-? "), "invalid mode"),
        ("tripwire", GOOD["tripwire.txt"].replace(b"Object name:  /tmp", b"Object name:  tmp", 1), "relative"),
        ("mtree", b"#mtree\n./a type=file size=-1\n", "line 2: invalid number"),
        ("mtree", b"#mtree\n./a type=file sha256digest=00\n", "line 2: digest with a wrong length"),
        ("mtree", b"#mtree\n./a type=door\n", "line 2: unknown type"),
        ("mtree", b"#mtree\n../../etc/a type=file\n", "line 2: the name is not an absolute path"),
        ("mtree", b". type=dir\n    sub type=dir\n        deep type=dir\n", "line 3: the specification ends within"),
        ("mtree", b". type=dir\n..\n..\n", "line 3: '..' leaves the root"),
        ("mtree", b"#mtree\n./a type=file \\\n", "line 2: the file ends in a continued line"),
        ("hashdeep", b"hello\n", "line 1: "),
        ("hashdeep", b"%%%% HASHDEEP-1.0\n1,00,/a\n", "line 2: no '%%%% size"),
        ("hashdeep", b"%%%% HASHDEEP-1.0\n%%%% size,md5,filename\nhello\n", "line 3: this is no record"),
        ("hashdeep", b"%%%% HASHDEEP-1.0\n%%%% size,md6,filename\n", "line 2: unknown algorithm"),
        (
            "hashdeep",
            GOOD["hashdeep.txt"] + b"7" + GOOD["hashdeep.txt"].splitlines(keepends=True)[5][1:],
            "line 16: this file was",
        ),
        ("sums", b"abc  x\n", "line 1: "),
        ("sums", b"%b  x\n" % (b"0" * 33), "line 1: "),
        ("sums", b"%b  x\n%b  x\n" % (b"0" * 32, b"1" * 32), "line 2: this file was listed before"),
        ("sums", b"\\%b  x\\ty\n" % (b"0" * 32), "line 1: unknown escape"),
        ("sums", b"/bin/cat                                     OK\n", "line 1: the output of debsums has no digests"),
        (None, b"/bin/cat                                     OK\n", "cat /var/lib/dpkg/info/*.md5sums"),
        ("sums", b"%b  %b\n" % (b"0" * 32, b"x" * 256), "line 1: a name of more than 255 bytes"),
        ("hash-log", b"hello\n", "line 1: "),
        ("hash-log", b"2026-11-30 08:56:05,1796028965,INFO,/a,12\n", "line 1: no path and SHA-256"),
        ("hash-log", b"2026-11-30 08:56:05,1796028965,DEBUG,path /a is ignored\n", "no hash of a file"),
        ("ossec", b"+++1:2:3 !1 /a\n", "line 1: 3 fields instead of 6"),
        ("ossec", b"+++1:33188:0:0:00:xxx !1 /a\n", "line 1: digest with a wrong length"),
        ("ossec", b"+++1:7:0:0:xxx:xxx !1 /a\n", "line 1: the mode has no valid file type"),
        ("wazuh", b"hello\n", "not a database"),
    ],
)
def test_a_damaged_or_foreign_file_is_one_line(tmp_path: Path, form: str | None, data: bytes, words: str) -> None:
    """It says what is wrong, and in which line."""
    assert words in damaged(tmp_path, data, form)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=300, deadline=None)
@given(st.sampled_from(list(GOOD)), st.integers(0, 14000), st.integers(0, 80), st.binary(max_size=40), st.booleans())
def test_nothing_breaks_a_reader(tmp_path: Path, name: str, at: int, gone: int, noise: bytes, known: bool) -> None:
    """Whatever replaces a part of a file, it is either read or one line; also if another format is claimed."""
    data = GOOD[name]
    at %= len(data)
    path = write(tmp_path, data[:at] + noise + data[at + gone :])
    for form in (None,) if known else FORMATS:
        try:
            recorded = read_baseline(path, form, b"/r")[1]
        except InputError as error:
            assert "\n" not in str(error)
        else:
            assert all(path.startswith(b"/") and b"\0" not in path for path in recorded.entries)


# --------------------------------------------------------------------------------------------------------------------
# Names, there and back

Command = Callable[[bytes], list[bytes | str]]
names = st.binary(min_size=1, max_size=30).filter(lambda name: not set(name) & {0, 0x2F} and name not in (b".", b".."))


@given(names)
def test_the_log_that_we_write_has_one_meaning(name: bytes) -> None:
    """Names that are escaped for the log come back."""
    assert unescaped(show(name).encode()) == name


def test_names_that_are_not_unicode_text_are_left() -> None:
    """A surrogate in an escape is no character."""
    assert unescaped(b"\\ud800") == b"\\ud800"


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
@given(st.lists(names.filter(lambda name: name != b"-"), min_size=1, max_size=5, unique=True))  # "-" is standard input
@pytest.mark.parametrize(
    ("program", "command"),
    [
        ("sha256sum", lambda path: ["sha256sum", "--", *sorted(os.listdir(path))]),
        ("sha256sum", lambda path: ["sha256sum", "--tag", "--", *sorted(os.listdir(path))]),
        ("bsdtar", lambda _: ["bsdtar", "-cf", "-", "--format=mtree", "--options=mtree:sha256", "."]),
        ("mtree", lambda _: ["mtree", "-c", "-p", ".", "-K", "sha256"]),
    ],
)
def test_every_name_comes_back(
    tmp_path_factory: pytest.TempPathFactory, program: str, command: Command, found: list[bytes]
) -> None:
    """The real programs escape each name in their own way."""
    if shutil.which(program) is None:
        pytest.skip(f"{program} is not installed")
    root = os.fsencode(tmp_path_factory.mktemp("names"))
    for name in found:
        with open(root + b"/" + name, "wb") as file:
            file.write(name)
    done = subprocess.run(command(root), cwd=root, capture_output=True, check=True)
    list_ = tmp_path_factory.mktemp("list") / "list"
    list_.write_bytes(done.stdout)
    form = {"sha256sum": "sums"}.get(program, "mtree")
    entries = files_of(read_baseline(os.fsencode(list_), form, root)[1])
    assert {path: entry.digests for path, entry in entries.items()} == {
        root + b"/" + name: (digest("sha256", name),) for name in found
    }


@given(st.binary(max_size=20))
def test_octal_escapes(name: bytes) -> None:
    """Three octal digits stand for any byte."""
    plain = (string.ascii_letters + string.digits).encode()
    assert unvis(b"".join(bytes([one]) if one in plain else b"\\%03o" % one for one in name)) == name
