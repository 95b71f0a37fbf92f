"""Import of AIDE's databases as the baseline: made by the real AIDE where it is installed, and damaged in many ways."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fimscan.errors import InputError
from fimscan.importers.entries import Entry, Recorded
from fimscan.importers.formats import read_baseline
from fimscan.model import Digest, FileKind
from fimscan.pipeline.import_baseline import combined
from tests.conftest import Cli, rows
from tests.support import state

needs_aide = pytest.mark.skipif(shutil.which("aide") is None, reason="AIDE is not installed (apt-get install aide)")
ODD = (b"with space", b"new\nline", b"\xff\xfe%41", b"%20", b"plain\\", "ä".encode())
GROUPS = (
    "p+u+g+s+c+m+i+n+b+a+md5+sha1+sha256+sha512+acl+xattrs+ftype+e2fsattrs+caps+l",  # everything
    "R+sha256",  # Debian's and Red Hat's usual ones
    "p+u+g+sha256",  # no times, no inodes
    "s+m",  # no content at all
)


def aide(cli: Cli, group: str, *, packed: bool = False, extra: str = "") -> Path:
    """Let the real AIDE make a database of the watched directory."""
    database = cli.root / "aide.db"
    config = cli.root / "aide.conf"
    config.write_text(
        f"database_out=file:{database}\ngzip_dbout={'yes' if packed else 'no'}\n{extra}{cli.watched} {group}\n"
    )
    done = subprocess.run(["aide", "--config", config, "--init"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return database


def imported(cli: Cli, database: Path, code: int = 0) -> dict[str, object]:
    document: dict[str, object] = json.loads(cli("import", "aide", str(database), "--format", "json", code=code).stdout)
    return document


@pytest.fixture
def odd(cli: Cli) -> Cli:
    """A directory with names and files of every kind."""
    for name in ODD:
        (cli.watched / os.fsdecode(name)).write_bytes(name)
    (cli.watched / "sub").mkdir()
    (cli.watched / "sub" / "deep").write_text("x")
    (cli.watched / "link").symlink_to("a")
    os.mkfifo(cli.watched / "fifo")
    os.utime(cli.watched / "b", ns=(1, -5_500_000_000))
    os.chmod(cli.watched / "c", 0o4750)
    return cli


@needs_aide
@pytest.mark.parametrize("group", GROUPS)
def test_unchanged_files_are_no_difference(odd: Cli, group: str) -> None:
    """What AIDE did not record is unknown, and an unknown property is no difference."""
    document = imported(odd, aide(odd, group, packed=group == GROUPS[0]))
    assert (document["differing"], document["gone"], document["new"], document["outside"]) == (0, 0, 0, 0)
    assert document["same"] == 1 + 3 + len(ODD) + 4
    odd.scan(0)
    assert odd.diff()["changes"] == []
    assert "FAIL" not in odd("verify", "--db", "--all", code=0).stdout
    assert "import" in odd("status", code=0).stdout


@needs_aide
def test_changes_since_aide_are_reported_once(odd: Cli) -> None:
    """The scan after the import reports each once: content, mode, link, removed and added files."""
    database = aide(odd, GROUPS[0])
    before = time.time()
    watched = odd.watched
    (watched / "a").write_text("CONTENT of a\n")  # of the same size
    (watched / "c").chmod(0o755)
    (watched / "b").unlink()
    (watched / "sub" / "new").write_text("new")
    (watched / "link").unlink()
    (watched / "link").symlink_to("c")
    (watched / os.fsdecode(ODD[2])).write_text("another")
    document = imported(odd, database)
    assert (document["differing"], document["gone"], document["new"]) == (4, 1, 1)
    odd.scan(7)
    found = {os.path.basename(row["path"]): row for row in odd.diff()["changes"]}
    kinds = {name: row["kind"] for name, row in found.items()}
    changed = {"a": "modified", "c": "attributes", "link": "modified", "\\xff\\xfe%41": "modified"}
    assert kinds == {**changed, "b": "removed", "new": "added"}
    assert {"content"} <= set(found["a"]["changed"]) and not {"size", "mode", "dev", "xattr"} & set(
        found["a"]["changed"]
    )
    assert set(found["c"]["changed"]) <= {"mode", "ctime"} and "mode" in found["c"]["changed"]
    assert "link_target" in found["link"]["changed"]
    taken = str(document["taken"])
    assert {row["window"]["after"] for row in found.values()} == {taken}
    assert taken <= time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(before)) + "Z"
    odd.scan(0)
    odd("accept", "--all", "--even-outstanding", code=0)
    odd("diff", code=0)


@needs_aide
def test_paths_that_are_not_monitored_are_counted(odd: Cli) -> None:
    """They are left out, and the next scan does not report them as removed; paths that AIDE lacks are added."""
    (odd.root / "more").mkdir()
    (odd.root / "more" / "x").write_text("x")
    database = aide(odd, "R+sha256")
    odd.write_config(watch=f'exclude = ["sub/"]\n[[watch]]\npath = "{odd.root}/more"')
    document = imported(odd, database)
    assert (document["outside"], document["adopted"], document["gone"]) == (2, 2, 0)
    odd.scan(0)


@needs_aide
def test_a_database_that_has_a_baseline_is_left_alone(odd: Cli) -> None:
    """Otherwise the baseline would be replaced silently."""
    odd.scan()
    done = odd("import", "aide", str(aide(odd, "R")), code=15)
    assert "has a baseline already (scan 1)" in done.stderr


@needs_aide
@pytest.mark.parametrize("algorithm", ["sha512", "md5", "sha1", "rmd160"])
def test_a_digest_that_no_scan_takes_is_computed(odd: Cli, algorithm: str) -> None:
    """It is compared with the file as it is, and a difference is reported although no digest is recorded of it."""
    database = aide(odd, f"p+{algorithm}")
    (odd.watched / "a").write_text("CONTENT of a\n")  # of the same size
    document = imported(odd, database)
    name = algorithm.replace("rmd160", "ripemd160")
    assert document["digests"] == {name: 3 + len(ODD) + 1} and document["differing"] == 1
    odd.scan(4)
    found = odd.diff()
    assert rows(found) == [("modified", "a")]
    (change,) = found["changes"]
    assert change["changed"] == ["content"] and change["before"]["sha256"] is None
    assert change["before"].get("sha512") == (
        hashlib.sha512(b"content of a\n").hexdigest() if algorithm == "sha512" else None
    )
    assert "FAIL" not in odd("verify", "--db", "--all", code=0).stdout


# --------------------------------------------------------------------------------------------------------------------
# As other versions write them

OLD = """@@begin_db
# This file was generated by Aide, version 0.16.1
# Time of generation was 2021-03-04 05:06:07
@@db_spec name lname attr perm uid gid size mtime ctime inode lcount sha256
/etc 0 4029 40755 0 0 4096 MTYxNDgzNDM2Nw== MTYxNDgzNDM2Nw== 12 3 0
/etc/a%20b 0 1073745853 100644 0 7 3 MTYxNDgzNDM2Nw== MTYxNDgzNDM2Nw== 13 1 {digest}
/etc/link a%20b 7 120777 0 0 0 0 0 14 1 0
@@end_db
""".replace("{digest}", "ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=")


def parsed(tmp_path: Path, data: bytes) -> Recorded:
    file = tmp_path / "db"
    file.write_bytes(data)
    return read_baseline(os.fsencode(file), "aide")[1]


def taken(tmp_path: Path, text: str) -> int:
    taken_ns = parsed(tmp_path, text.encode()).taken_ns
    assert taken_ns is not None
    return taken_ns


def test_an_older_form(tmp_path: Path) -> None:
    """AIDE 0.16 writes the same lines in another order. Only what attr lists is known."""
    found = parsed(tmp_path, OLD.encode())
    assert list(found.entries) == [b"/etc", b"/etc/a b", b"/etc/link"]
    file = found.entries[b"/etc/a b"]
    assert (file.kind, file.mode, file.gid, file.size, file.mtime_s, file.inode) == (
        FileKind.FILE, 0o644, 7, 3, 1614834367, 13,
    )  # fmt: skip
    assert [digest.algorithm for digest in file.digests] == ["sha256"]
    link = found.entries[b"/etc/link"]
    assert (link.link_target, link.mode, link.uid, link.inode, link.mtime_s) == (b"a b", 0o777, None, None, None)


def test_the_time_is_never_too_late(tmp_path: Path) -> None:
    """The header's time is local, in an unknown zone; without a header, the file's own time is used."""
    now = time.time_ns()
    assert taken(tmp_path, OLD) <= 1614834367 * 10**9
    without = OLD.replace("# Time of generation was 2021-03-04 05:06:07\n", "")
    assert taken(tmp_path, without) < now - 23 * 3600 * 10**9
    later = OLD.replace("2021-03-04", "2999-03-04")
    assert taken(tmp_path, later) <= time.time_ns()
    nonsense = OLD.replace("2021-03-04", "2021-99-04")
    assert taken(tmp_path, nonsense) < now


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "does not begin with @@begin_db"),
        (b"root:x:0:0::/root:/bin/sh\n", "line 1: the database does not begin"),
        (b"\x00\xff\xfe" * 500, "line 1: it has a NUL"),
        (OLD.encode()[:-10], "line 7: the file ends in the middle of a line"),
        (OLD.replace("@@end_db\n", "").encode(), "ends before @@end_db"),
        (OLD.encode()[:300], "line"),
        (OLD.replace("@@db_spec name", "@@db_spec mane").encode(), "no @@db_spec with the columns name and perm"),
        (OLD.replace(" 0 7 3 ", " 0 7 ").encode(), "line 6: 11 fields instead of 12"),
        (OLD.replace("ungW", "un!W").encode(), "line 6"),
        (OLD.replace("ungW", "").encode(), "line 6"),
        (OLD.replace("MTYxNDgzNDM2Nw==", "YWJj").encode(), "line 5: invalid time"),
        (OLD.replace("40755", "rwxr").encode(), "line 5: invalid number"),
        (OLD.replace("40755", "99999").encode(), "line 5"),
        (OLD.replace("/etc/link", "../etc/link").encode(), "line 7: the name is not an absolute path"),
        (OLD.replace("/etc/link", "/etc/a%20b").encode(), "listed before"),
        (OLD.replace("/etc/link", "/" + "x" * (1 << 20)).encode(), "line too long"),
        (gzip.compress(OLD.encode())[:-30], "cannot read"),
        (b"\x1f\x8b" + b"\xff" * 50, "cannot read"),
    ],
)
def test_a_damaged_or_foreign_file_is_one_message(tmp_path: Path, data: bytes, words: str) -> None:
    """A truncated, damaged or foreign file is one message that says what is wrong, and where."""
    with pytest.raises(InputError) as caught:
        parsed(tmp_path, data)
    assert words in str(caught.value) and "\n" not in str(caught.value)


def test_the_command_exits_with_18(cli: Cli) -> None:
    """The database stays as it was: empty."""
    (cli.root / "db").write_text("no")
    assert len(cli("import", "aide", str(cli.root / "db"), code=18).stderr.splitlines()) == 1
    assert len(cli("import", "aide", "/nowhere", code=18).stderr.splitlines()) == 1
    (cli.root / "db").write_text(OLD)
    assert "[[watch]]" in cli("import", "aide", str(cli.root / "db"), code=15).stderr
    cli.scan()


_tokens = st.sampled_from(OLD.encode().split()) | st.binary(max_size=12)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200, deadline=None)
@given(
    st.lists(st.lists(_tokens, max_size=14).map(b" ".join), max_size=8).map(b"\n".join),
    st.integers(0, len(OLD)),
    st.integers(0, 60),
    st.booleans(),
)
def test_nothing_breaks_the_reader(tmp_path: Path, noise: bytes, at: int, gone: int, packed: bool) -> None:
    """Whatever replaces a part of a database, it is either read or one message."""
    data = OLD.encode()[:at] + noise + OLD.encode()[at + gone :]
    try:
        parsed(tmp_path, gzip.compress(data) if packed else data)
    except InputError as error:
        assert "\n" not in str(error)


def test_a_content_of_another_size_is_another_content() -> None:
    """AIDE without digests still records the size."""
    now = state(b"/w/f", b"new content")
    entry = Entry(path=b"/w/f", kind=FileKind.FILE, size=3)
    before = combined(entry, now, 5)
    assert before.size == 3 and before.digests == () and before.read_start_ns == 5
    assert combined(Entry(path=b"/w/f", kind=FileKind.FILE, size=now.size), now, 5) is now
    unknown = Entry(path=b"/w/f", kind=FileKind.FILE, digests=(Digest(algorithm="sha512", value=b"1" * 64),))
    assert combined(unknown, now, 5) is now
