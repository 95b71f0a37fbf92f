"""Which files ctime vouches for, which are read all the same, and that windows begin at a real reading."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from fimscan.attribution import ReadClock
from fimscan.cli.scan import print_result
from fimscan.cli.status import _list_vouched
from fimscan.config import parse_config
from fimscan.errors import UsageError
from fimscan.linux.filesystems import Numbers
from fimscan.model import AuditNotice, Change, EventId, NoticeKind, Scan
from fimscan.pipeline import ScanResult, run_scan
from fimscan.pipeline.record import ctime_trust
from fimscan.pipeline.record.last_read import FullReading, WritersAtScan
from fimscan.report.documents.diff import diff_document
from fimscan.report.words import vouched_text
from fimscan.scan import scanner
from fimscan.store import audit as audit_store
from fimscan.store.database import Database
from fimscan.store.scan_results import HoldersAtScan

Scanner = Callable[..., ScanResult]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "w"
    root.mkdir()
    for name in ("a", "b", "c"):
        (root / name).write_text(name * 10)
    (root / "link").symlink_to("a")
    return root


@pytest.fixture
def scan(tmp_path: Path, tree: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scanner]:
    """Returns a function that scans the tree with given settings; files count as old enough at once."""
    monkeypatch.setattr(ctime_trust, "_FRESH_NS", 0)
    database = Database(f"sqlite:///{tmp_path}/x.db", host="h")

    def run(settings: str = 'reread = "ctime"', *, full: bool = False) -> ScanResult:
        config = parse_config(f'[scan]\nworkers = 2\n[[watch]]\npath = "{tree}"\n{settings}\n')
        return run_scan(database, config, source=None, full=full)

    yield run
    database.close()


def vouched(result: ScanResult) -> tuple[int, int]:
    """Return (files vouched for, bytes read)."""
    return result.scan.counts.get("vouched", 0), result.scan.counts["bytes"]


def only_change(result: ScanResult) -> Change:
    (finding,) = result.diff.findings
    return finding.change


def test_unchanged_files_are_not_read_again(scan: Scanner) -> None:
    """All files are vouched for, directories are not; the files are counted, and the state is the same."""
    first, second = scan(), scan()
    assert vouched(first) == (0, 30)
    assert vouched(second) == (4, 0)
    assert second.scan.counts["files"] == first.scan.counts["files"] == 5
    assert second.scan.state_digest == first.scan.state_digest


def test_the_longest_names_are_vouched_for(scan: Scanner, tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A request to a worker fits into one packet, with the longest names and what is known of each file."""
    monkeypatch.setattr(scanner, "_ALONE_SECONDS", 0)
    for number in range(1000):
        (tree / f"{number:0>255}").touch()
    scan()
    assert vouched(scan()) == (1004, 0)


def test_by_default_everything_is_read(scan: Scanner) -> None:
    """ctime vouches for files only if the policy allows it."""
    scan("")
    assert vouched(scan("")) == (0, 30)


def test_a_full_scan_reads_everything(scan: Scanner) -> None:
    """It reads files whatever their ctime says; afterwards ctime vouches for them again."""
    scan()
    scan()
    assert vouched(scan(full=True)) == (0, 30)
    assert vouched(scan()) == (4, 0)


def test_moved_blocks_leave_the_ctime_so_that_everything_is_read(scan: Scanner, tmp_path: Path) -> None:
    """A process moved blocks from one file into another since the last reading: that sets no ctime."""
    scan()
    database = Database(f"sqlite:///{tmp_path}/x.db", host="h")
    with closing(database), database.begin() as session:
        moved = AuditNotice(event=EventId(time.time_ns() // 10**6 * 10**6, 7), kind=NoticeKind.EXTENTS_MOVED)
        audit_store.add_notices(session, [moved])
    result = scan()
    assert vouched(result) == (0, 30)
    assert "blocks were moved" in " ".join(result.new_problems)


def test_while_a_user_has_mounted_something_files_of_users_are_read(scan: Scanner, tree: Path, tmp_path: Path) -> None:
    """A read from a FUSE file of the user's into memory of a file sets no ctime; only root may write to the others."""
    for name in ("a", "b"):
        (tree / name).chmod(0o644)
    (tree / "b").chmod(0o666)
    is_root = os.geteuid() == 0
    scan()
    before = vouched(scan())
    database = Database(f"sqlite:///{tmp_path}/x.db", host="h")
    with closing(database), database.begin() as session:
        mounted = AuditNotice(event=EventId(time.time_ns() // 10**6 * 10**6, 7), kind=NoticeKind.USER_MOUNT)
        audit_store.add_notices(session, [mounted])
    assert before == (4, 0)
    found, read = vouched(scan())
    assert (found, read) == ((3, 10) if is_root else (0, 30))


def test_a_change_is_found_although_size_and_mtime_are_put_back(scan: Scanner, tree: Path) -> None:
    """ctime cannot be set back."""
    scan()
    times = os.stat(tree / "b")
    (tree / "b").write_text("x" * 10)
    os.utime(tree / "b", ns=(times.st_atime_ns, times.st_mtime_ns))
    result = scan()
    assert vouched(result) == (3, 10)
    assert only_change(result).changed == ("content", "ctime")


def test_a_file_that_was_too_fresh_when_it_was_read_is_read_again(
    scan: Scanner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It can have been changed twice within a tick of the clock, and read between the two changes."""
    monkeypatch.setattr(ctime_trust, "_FRESH_NS", 10**13)
    scan()
    assert vouched(scan()) == (0, 30)


def test_a_new_file_is_read_again(tmp_path: Path, tree: Path) -> None:
    """That holds for a minute: two writes may have set one ctime, or a write through a mapped page none."""
    database = Database(f"sqlite:///{tmp_path}/x.db", host="h")
    config = parse_config(f'[[watch]]\npath = "{tree}"\nreread = "ctime"\n')
    assert [vouched(run_scan(database, config, source=None)) for _ in range(2)] == [(0, 30), (0, 30)]
    database.close()


def test_a_file_that_a_process_can_write_to_is_read_again(scan: Scanner, tree: Path) -> None:
    """A write to a page that is already dirty does not set ctime; held now, or when the last scan began."""
    scan()
    code = "import sys; f = open(sys.argv[1], 'r+'); print('ready', flush=True); sys.stdin.read()"
    command = [sys.executable, "-c", code, str(tree / "b")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        assert vouched(scan()) == (3, 10)
        assert holder.stdin is not None
        holder.stdin.close()
    assert vouched(scan()) == (3, 10)
    assert vouched(scan()) == (4, 0)


def test_a_file_without_the_digests_that_are_wanted_is_read_again(scan: Scanner) -> None:
    """Another algorithm in the configuration needs the content."""
    scan()
    blake3 = 'reread = "ctime"\ndigests = ["xxh3_128", "sha256", "blake3"]'
    assert vouched(scan(blake3)) == (1, 30)  # the symbolic link has no content
    assert vouched(scan(blake3)) == (4, 0)


def test_on_tmpfs_everything_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """There, a write through a mapped page never sets the times."""
    if os.statvfs("/dev/shm").f_fsid == os.statvfs(tmp_path).f_fsid:
        pytest.skip("/dev/shm is no file system of its own")
    monkeypatch.setattr(ctime_trust, "_FRESH_NS", 0)
    database = Database(f"sqlite:///{tmp_path}/x.db", host="h")
    with tempfile.TemporaryDirectory(dir="/dev/shm") as directory:
        Path(directory, "f").write_text("x")
        config = parse_config(f'[[watch]]\npath = "{directory}"\nreread = "ctime"\n')
        results = [run_scan(database, config, source=None) for _ in range(2)]
    assert [vouched(result) for result in results] == [(0, 1), (0, 1)]
    database.close()


def test_what_the_last_scan_could_not_read_is_read_again() -> None:
    """Nor does ctime vouch for files below a directory that could not be listed: their last reading is unknown."""
    clock = ReadClock()
    clock.note(b"/w", 10**18)
    writers = WritersAtScan(as_of_ns=10**18, held=HoldersAtScan(), complete=True)
    vouched = ctime_trust.make_voucher(
        FullReading(clock=clock, blocked=(b"/w/d", b"/w/x"), writers=(writers,)), (), Numbers()
    )
    assert vouched is not None
    paths = (b"/w/a", b"/w/d", b"/w/d-", b"/w/d/a", b"/w/x", b"/w/x-")
    known = [(path, b"digest", 1, 0, 3, "file", 1, 2, 1, 0o644, 0, 0, 0, 1, 0, 1, 0) for path in paths]
    assert [path for path, *_ in vouched(known)] == [b"/w/a", b"/w/d-", b"/w/x-"]


def test_another_file_in_its_place_is_read(scan: Scanner, tree: Path) -> None:
    """A path alone vouches for nothing."""
    scan()
    (tree / "new").write_text("b" * 10)
    os.rename(tree / "new", tree / "b")
    assert vouched(scan()) == (3, 10)


def test_the_window_begins_at_the_last_real_reading(scan: Scanner, tree: Path) -> None:
    """A scan at which ctime vouched for the file does not count as a reading."""
    first, second = scan(), scan()
    (tree / "b").write_text("other")
    window = only_change(scan()).window
    assert first.scan.started_ns < window.after_ns < first.scan.finished_ns < second.scan.started_ns  # type: ignore[operator]


def test_the_window_of_a_new_file_begins_when_its_directory_was_last_listed(scan: Scanner, tree: Path) -> None:
    """Listing a directory shows that a name does not exist, without reading any file."""
    scan()
    second = scan()
    (tree / "new").write_text("new")
    assert only_change(scan()).window.after_ns >= second.scan.started_ns


def test_holders_are_those_of_before_the_window(scan: Scanner, tree: Path) -> None:
    """Later holders would clear processes that opened, wrote and closed the file before that."""
    scan()
    scan()
    (tree / "b").write_text("other")
    change = only_change(scan())
    assert change.holders is not None
    assert change.holders.as_of_ns <= change.window.after_ns


def test_the_report_counts_files_that_ctime_vouches_for(scan: Scanner, capsys: pytest.CaptureFixture[str]) -> None:
    """Text and JSON say how many files were not read, and the time after which all had been read."""
    first, second, third = scan(), scan(), scan()
    assert vouched_text(first.scan) is None
    for result in (second, third):
        assert "4 vouched for by ctime, last read after 20" in (vouched_text(result.scan) or "")
        print_result(result, 0, verbose=True)
        assert f"; {vouched_text(result.scan)}" in capsys.readouterr().out
        document = diff_document(result.diff)["to"]["vouched"]
        assert document["files"] == 4
        assert _read_after(result.scan) >= first.scan.started_ns
        assert _read_after(result.scan) <= (first.scan.finished_ns or 0)


def test_files_that_ctime_vouches_for_are_listed(
    scan: Scanner, tree: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The list has the time of the last real reading of each; directories and files that were read are not in it."""
    with closing(Database(f"sqlite:///{tmp_path}/x.db", host="h")) as database:
        with pytest.raises(UsageError, match="no scan has been finished yet"):
            _list_vouched(database, "json")
        first = scan()
        _list_vouched(database, "text")
        assert "skipped no file" in capsys.readouterr().out
        (tree / "b").write_text("changed")
        scan()
        listed = list(ctime_trust.vouched_files(database))
        assert [os.path.basename(path) for path, _ in listed] == [b"a", b"c", b"link"]
        assert all(first.scan.started_ns <= read_ns <= (first.scan.finished_ns or 0) for _, read_ns in listed)
        _list_vouched(database, "text")
        lines = capsys.readouterr().out.splitlines()
        assert [line.split()[-1] for line in lines] == [f"{tree}/{name}" for name in ("a", "c", "link")]
        assert all(line.startswith("last read 20") for line in lines)
        _list_vouched(database, "json")
        document = json.loads(capsys.readouterr().out)
        assert [one["path"] for one in document["files"]] == [f"{tree}/{name}" for name in ("a", "c", "link")]
        scan(full=True)
        assert list(ctime_trust.vouched_files(database)) == []


def _read_after(scan: Scan) -> int:
    assert scan.vouched is not None
    return scan.vouched[1]
