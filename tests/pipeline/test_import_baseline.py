"""Import of what other programs recorded, by the real programs where installed: what is compared, and what is not."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import sqlite3
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Cli, rows
from tests.importers.test_formats import wazuh

ODD = (b"with space", b"new\nline", b"\xff\xfe%41", b"back\\slash", b"comma,name", "ä".encode(), b"#hash")
NOT_INSTALLED = "is not installed"


def run(cli: Cli, *command: str | Path, **options: Any) -> bytes:
    """Run a real program in the watched directory; skip where it is not installed."""
    if shutil.which(str(command[0])) is None:
        pytest.skip(f"{command[0]} {NOT_INSTALLED}")
    done = subprocess.run(command, cwd=cli.watched, capture_output=True, check=False, **options)
    assert done.returncode == 0, done.stdout + done.stderr
    return bytes(done.stdout)


def tripwire(cli: Cli) -> bytes:
    """The printed database of the real Tripwire."""
    root = cli.root / "tw"
    root.mkdir()
    names = {"POLFILE": "pol", "DBFILE": "twd", "REPORTFILE": "twr", "SITEKEYFILE": "site", "LOCALKEYFILE": "local"}
    text = "".join(f"{key}={root}/{name}\n" for key, name in names.items())
    (root / "cfg.txt").write_text(f"ROOT=/usr/sbin\n{text}EDITOR=/bin/ed\n")
    (root / "pol.txt").write_text(f"{cli.watched} -> $(IgnoreNone)-a ;\n")
    keys = ("-S", root / "site", "-Q", "x")
    run(cli, "twadmin", "--generate-keys", "-L", root / "local", "-P", "x", *keys)
    run(cli, "twadmin", "--create-cfgfile", "-c", root / "cfg", *keys, root / "cfg.txt")
    run(cli, "twadmin", "--create-polfile", "-c", root / "cfg", "-p", root / "pol", *keys, root / "pol.txt")
    run(cli, "tripwire", "--init", "-c", root / "cfg", "-p", root / "pol", "-P", "x")
    return run(cli, "twprint", "--print-dbfile", "-d", root / "twd", "-c", root / "cfg", "-L", root / "local")


def files(cli: Cli) -> list[Path]:
    return sorted(path for path in cli.watched.rglob("*") if path.is_file() and not path.is_symlink())


def sums(cli: Cli, program: str) -> bytes:
    return run(cli, program, *files(cli))


def syscheck(cli: Cli) -> bytes:
    """What OSSEC stores, by its sources: no newline can be in a name."""
    lines: list[bytes] = []
    for path in files(cli):
        found, content = path.stat(), path.read_bytes()
        md5, sha1 = (hashlib.new(name, content).hexdigest() for name in ("md5", "sha1"))
        fields = (found.st_size, found.st_mode, found.st_uid, found.st_gid, md5, sha1)
        lines.append(f"+++{':'.join(map(str, fields))} !{int(time.time())} ".encode() + os.fsencode(path) + b"\n")
    return b"".join(line for line in lines if line.count(b"\n") == 1)


def wazuh_file(cli: Cli) -> bytes:
    """What Wazuh 4.3 stores, by its sources, with the options for size and digests only."""
    contents = {os.fsencode(path): path.read_bytes() for path in files(cli)}
    file = cli.root / "made.db"
    wazuh(file, "4.3", contents)
    connection = sqlite3.connect(file)
    connection.execute("UPDATE file_entry SET inode = NULL, perm = NULL, uid = NULL, gid = NULL, mtime = NULL")
    connection.commit()
    connection.close()
    return file.read_bytes()


MAKERS = {
    "tripwire": tripwire,
    "mtree": lambda cli: run(cli, "mtree", "-c", "-p", cli.watched, "-K", "sha1"),
    "bsdtar": lambda cli: run(cli, "bsdtar", "-cf", "-", "--format=mtree", "--options=mtree:all", "."),
    "hashdeep": lambda cli: run(cli, "hashdeep", "-r", cli.watched, stdin=subprocess.DEVNULL),
    "hashdeep-md5": lambda cli: run(cli, "hashdeep", "-c", "md5", "-r", cli.watched, stdin=subprocess.DEVNULL),
    "sha256sum": lambda cli: sums(cli, "sha256sum"),
    "md5sum": lambda cli: sums(cli, "md5sum"),
    "ossec": syscheck,
    "wazuh": wazuh_file,
}
LISTS_ALL = {"tripwire", "mtree", "bsdtar", "hashdeep", "hashdeep-md5", "ossec", "wazuh"}
WITH_MODE = {"tripwire", "mtree", "bsdtar", "ossec"}


def recorded(cli: Cli, maker: str) -> Path:
    """The file that a program makes of the watched directory."""
    file = cli.root / "recorded"
    file.write_bytes(MAKERS[maker](cli))
    return file


def imported(cli: Cli, file: Path) -> dict[str, Any]:
    arguments = ("--root", str(cli.watched), "--format", "json")
    document: dict[str, Any] = json.loads(cli("import", str(file), *arguments, code=0).stdout)
    return document


@pytest.fixture
def odd(cli: Cli) -> Cli:
    """Names and kinds of all sorts."""
    for name in ODD:
        (cli.watched / os.fsdecode(name)).write_bytes(name)
    (cli.watched / "sub").mkdir()
    (cli.watched / "empty").mkdir()
    (cli.watched / "sub" / "deep").write_text("x")
    (cli.watched / "link").symlink_to("a")
    (cli.watched / "c").chmod(0o4750)
    os.utime(cli.watched / "b", ns=(1, 1_500_000_000_500_000_000))
    return cli


@pytest.mark.parametrize("maker", list(MAKERS))
def test_unchanged_files_are_no_difference(odd: Cli, maker: str) -> None:
    """What was not recorded is unknown, and an unknown property is no difference."""
    if maker in ("ossec", "wazuh"):  # they cannot store these names
        (odd.watched / "new\nline").unlink()
        (odd.watched / os.fsdecode(b"\xff\xfe%41")).unlink()
    document = imported(odd, recorded(odd, maker))
    zero = ("differing", "gone", "new", "outside", "without_digest", "uncomputable", "uncompared", "unreadable")
    assert {name: document[name] for name in zero} == dict.fromkeys(zero, 0)
    assert sum(document["digests"].values()) == len(files(odd))
    odd.scan(0)
    assert odd.diff()["changes"] == []
    assert "FAIL" not in odd("verify", "--db", "--all", code=0).stdout


@pytest.mark.parametrize("maker", list(MAKERS))
def test_changes_since_then_are_reported_once(odd: Cli, maker: str) -> None:
    """A content of the same size, a mode, a removed file, a new one: as much as the file can say."""
    if maker in ("ossec", "wazuh"):
        (odd.watched / "new\nline").unlink()
        (odd.watched / os.fsdecode(b"\xff\xfe%41")).unlink()
    file = recorded(odd, maker)
    found = (odd.watched / "a").stat()
    (odd.watched / "a").write_text("CONTENT of a\n")
    os.utime(odd.watched / "a", ns=(found.st_atime_ns, found.st_mtime_ns))
    (odd.watched / "c").chmod(0o755)
    (odd.watched / "sub" / "deep").unlink()
    (odd.watched / "sub" / "added").write_text("new")
    document = imported(odd, file)
    expected = {("modified", "a"), ("removed", "deep")}
    expected |= {("added", "added")} if maker in LISTS_ALL else set()
    expected |= {("attributes", "c")} if maker in WITH_MODE else set()
    assert (document["gone"], document["new"]) == (1, maker in LISTS_ALL)
    assert odd("scan", "--no-audit").returncode == 6 + (maker in LISTS_ALL)
    diff = odd.diff()
    assert set(rows(diff)) == expected
    changes = {os.path.basename(row["path"]): row for row in diff["changes"]}
    gone = changes["deep"]["before"]
    assert (gone["mode"] is None) == (gone["uid"] is None) == (maker not in WITH_MODE)
    assert odd("diff", "--format", "csv").stdout and odd("diff", "--format", "html").stdout
    text = odd("diff", "--flat").stdout
    assert "owner -1" not in text and "mode 0000" not in text
    assert "content" in changes["a"]["changed"] and "size" not in changes["a"]["changed"]
    odd.scan(0)
    odd("accept", "--all", "--even-outstanding", code=0)
    odd("diff", code=0)
    assert "FAIL" not in odd("verify", "--db", "--all", code=0).stdout


def test_a_weak_digest_is_named_and_the_earlier_one_is_unknown(cli: Cli) -> None:
    """The report does not invent the SHA-256 of a content of which only MD5 is known."""
    file = recorded(cli, "md5sum")
    (cli.watched / "a").write_text("CONTENT of a\n")
    text = cli("import", str(file), code=0).stdout
    assert "Content compared by: MD5 (3)." in text and "Whoever makes both contents" in text
    assert "Not in it, so taken as they are now: size, mode, uid" in text
    assert "the windows of these changes begin in 1970" in text
    cli.scan(4)
    (change,) = cli.diff()["changes"]
    assert change["changed"] == ["content"]
    assert (change["before"]["sha256"], change["before"]["xxh3_128"]) == (None, None)
    assert change["after"]["sha256"] == hashlib.sha256(b"CONTENT of a\n").hexdigest()
    assert change["window"]["after"].startswith("1970-01-01") and change["attribution"]["verdict"] == "unattributed"
    assert cli("diff", "--format", "csv", code=4).stdout and cli("diff", "--format", "html", code=4).stdout


def test_digests_that_nobody_computes_are_counted(cli: Cli) -> None:
    """The files are recorded as they are, and the number says so."""
    lines = [f"%%%% HASHDEEP-1.0\n%%%% size,tiger,filename\n## Invoked from: {cli.watched}\n"]
    lines += [f"{path.stat().st_size},{'0' * 48},{path}\n" for path in files(cli)]
    (cli.root / "list").write_text("".join(lines))
    document = imported(cli, cli.root / "list")
    assert (document["uncomputable"], document["digests"], document["same"]) == (3, {}, 3)
    assert "cannot be computed here" in json.dumps(document) or document["attributes"] == {"size": 3}


def test_a_log_that_grew_is_not_called_altered(cli: Cli) -> None:
    """MD5 of its beginning is not known to any scan, so it is not compared, and the output counts it."""
    cli.write_config(watch='policy = "append-only"')
    file = recorded(cli, "md5sum")
    with open(cli.watched / "a", "a") as log:
        log.write("one more line\n")
    document = imported(cli, file)
    assert (document["uncompared"], document["same"], document["digests"]) == (3, 3, {})
    cli.scan(0)


def test_a_window_never_begins_in_the_future(cli: Cli) -> None:
    """Whatever the clock was of the host that made the list."""
    sha256 = hashlib.sha256(b"another").hexdigest()
    (cli.root / "log").write_text(f"2038-01-19 03:14:07,2147483647,INFO,{cli.watched}/a,{sha256}\n")
    document = imported(cli, cli.root / "log")
    assert document["taken"] < time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 60))
    assert cli("scan", "--no-audit").returncode == 5
    assert {row["window"]["after"] <= document["taken"] for row in cli.diff()["changes"]} == {True}


def test_hashdeep_says_nothing_of_a_link_itself(cli: Cli) -> None:
    """It follows links, so it has the content behind them: where they led is unknown."""
    (cli.watched / "link").symlink_to("a")
    file = recorded(cli, "hashdeep")
    (cli.watched / "link").unlink()
    (cli.watched / "link").symlink_to("b")
    said = cli("import", "hashdeep", str(file), code=0).stdout
    assert "Attributes compared: size.\n" in said and "links are recorded as they are now: 1.\n" in said
    assert "Baseline: scan 1, 3 files as recorded by hashdeep" in said
    cli.scan(0)


def test_a_list_without_directories_says_nothing_of_links(cli: Cli) -> None:
    """A new link or directory cannot be told from an old one; they are counted as recorded now."""
    file = recorded(cli, "hashdeep")
    (cli.watched / "later").symlink_to("a")
    document = imported(cli, file)
    assert (document["new"], document["adopted"]) == (0, 2)
    cli.scan(0)


def test_tripwire_names_may_be_meant_literally(cli: Cli) -> None:
    r"""It does not escape backslashes, so ``x\x0ay`` is either of two files: the one that exists."""
    (cli.watched / "x\\x0ay").write_text("literal")
    (cli.watched / "p\nq").write_text("newline")
    document = imported(cli, recorded(cli, "tripwire"))
    assert (document["gone"], document["new"], document["differing"]) == (0, 0, 0)


def test_dpkgs_lists_are_followed_through_links(cli: Cli) -> None:
    """/bin may be a link to /usr/bin: the file is the same."""
    (cli.watched / "bin").mkdir()
    (cli.watched / "bin" / "x").write_text("x")
    (cli.root / "bin").symlink_to("watched/bin")
    md5 = hashlib.md5(b"x", usedforsecurity=False).hexdigest()
    (cli.root / "all.md5sums").write_text(f"{md5}  bin/x\n")
    done = cli("import", str(cli.root / "all.md5sums"), "--root", str(cli.root), "--format", "json", code=0)
    document = json.loads(done.stdout)
    assert (document["format"], document["same"], document["outside"]) == ("dpkg", 1, 0)
    assert document["digests"] == {"md5": 1}


# --------------------------------------------------------------------------------------------------------------------
# The log of hashes


def test_the_log_of_hashes_can_be_imported_again(odd: Cli) -> None:
    """One line for each file in the columns that scripts write, whatever is in its name."""
    odd.scan()
    text = odd("export", "hash-log", code=0).stdout
    lines = text.splitlines()
    assert len(lines) == len(files(odd))
    for line in lines:
        head, sha256 = line.rsplit(",", 1)
        moment, epoch, level, _path = head.split(",", 3)
        assert moment == time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(int(epoch))) and level == "INFO"
        assert abs(int(epoch) - time.time()) < 600 and re.fullmatch("[0-9a-f]{64}", sha256)
    (odd.root / "log").write_text(text)
    (odd.watched / "a").write_text("CONTENT of a\n")
    odd.database.unlink()
    Path(f"{odd.database}.head").unlink()  # a new beginning, on purpose
    document = imported(odd, odd.root / "log")
    assert document["format"] == "hash-log"
    assert (document["differing"], document["gone"], document["new"]) == (1, 0, 0)
    odd.scan(4)
    assert rows(odd.diff()) == [("modified", "a")]


def test_one_line_for_each_file_and_scan(cli: Cli) -> None:
    """--all has the files of every scan, --scan those of one; the hash is what that scan found."""
    cli.scan()
    (cli.watched / "a").write_text("changed")
    cli.scan(4)
    every = cli("export", "hash-log", "--all", code=0).stdout.splitlines()
    assert len(every) == 6 and len({line for line in every if "/watched/a," in line}) == 2
    assert cli("export", "hash-log", "--scan", "1", code=0).stdout.splitlines() == every[:3]
    assert "no finished scan" in cli("export", "hash-log", "--scan", "9", code=15).stderr
    cli("export", "hash-log", "--scan", "1", "--all", code=15)
    cli("export", "hash-log", "--out", str(cli.root / "log"), code=0)
    assert (cli.root / "log").read_text().splitlines() == every[3:]


def test_files_without_sha256_are_counted(cli: Cli) -> None:
    """A line without a hash would be none of this log."""
    cli.write_config(watch='digests = ["xxh3_128"]')
    cli.scan()
    done = cli("export", "hash-log", code=0)
    assert done.stdout == "" and "left out 3 files without SHA-256" in done.stderr


# --------------------------------------------------------------------------------------------------------------------
# Errors


def test_nothing_is_half_imported(cli: Cli) -> None:
    """A file that is damaged at its end leaves the database empty; the next import works."""
    file = recorded(cli, "sha256sum")
    whole = file.read_bytes()
    file.write_bytes(whole[:-5])
    (line,) = cli("import", str(file), code=18).stderr.splitlines()
    assert "line 3: the file ends in the middle of a line" in line
    file.write_bytes(whole)
    assert imported(cli, file)["scan"] == 1


def test_the_format_is_recognised_or_named(cli: Cli) -> None:
    """Both ways do the same; what is no format is a file; options may come first."""
    file = recorded(cli, "sha256sum")
    assert "Format: list of checksums." in cli("import", "--root", str(cli.root), str(file), code=0).stdout
    assert "has a baseline already" in cli("import", "sums", str(file), code=15).stderr
    assert "line 1" in cli("import", "mtree", str(file), code=18).stderr
    assert "No such file" in cli("import", "trpwire", "x", code=15).stderr + cli("import", "trpwire", code=18).stderr
    (cli.root / "text").write_text("hello\n")
    assert "in no known format; say which one: aide, tripwire" in cli("import", str(cli.root / "text"), code=18).stderr
