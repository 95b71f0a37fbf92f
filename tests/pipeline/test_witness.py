"""The real fanotify: which process writes, what is missed, and what ends an extent."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from fimscan.linux import fanotify, lineage
from fimscan.model import WitnessData, WitnessExtent, WitnessHole, WitnessMask
from fimscan.pipeline.audit import witness as reader
from fimscan.pipeline.audit.witness import Witness
from fimscan.store import integrity
from fimscan.store import witness as store
from fimscan.store.database import Database

_IO_SUBMIT = """
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
class Iocb(ctypes.Structure):
    _fields_ = [("data", ctypes.c_uint64), ("key", ctypes.c_uint32), ("rw", ctypes.c_int32), ("op", ctypes.c_uint16),
                ("prio", ctypes.c_int16), ("fd", ctypes.c_uint32), ("buf", ctypes.c_uint64), ("count", ctypes.c_uint64),
                ("offset", ctypes.c_int64), ("rest", ctypes.c_uint64 * 2)]
context = ctypes.c_ulong(0)
if libc.syscall(206, 1, ctypes.byref(context)): sys.exit(77)
text = ctypes.create_string_buffer(b"asynchronous")
one = Iocb(op=1, fd=os.open(sys.argv[1], os.O_WRONLY), buf=ctypes.addressof(text), count=12)
sys.exit(libc.syscall(209, context, 1, ctypes.byref(ctypes.pointer(one))) != 1)
"""


def why_not() -> str | None:
    """Return what keeps the kernel from reporting events."""
    if not lineage.sees_all():
        return "fanotify: a process namespace of its own"
    try:
        os.close(fanotify.open_group())
    except OSError as error:
        return f"fanotify: {error.strerror}"
    return None


pytestmark = pytest.mark.skipif(why_not() is not None, reason=str(why_not()))


@pytest.fixture(scope="module")
def xfs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path | None]:
    """An xfs in an image; ``None`` if it cannot be made here."""
    root = tmp_path_factory.mktemp("xfs")
    image, place = root / "image", root / "xfs"
    place.mkdir()
    with image.open("wb") as file:
        file.truncate(400 << 20)
    commands = (["mkfs.xfs", "-q", str(image)], ["mount", "-o", "loop", str(image), str(place)])
    if shutil.which("mkfs.xfs") is None or any(
        subprocess.run(command, check=False, capture_output=True).returncode for command in commands
    ):
        yield None
        return
    yield place
    subprocess.run(["umount", "-l", place], check=True)


@pytest.fixture(params=["tmpfs", "xfs", "disk"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """A directory on each file system; the disk's is usually ext4."""
    if request.param == "disk":
        yield tmp_path
        return
    directory = Path("/dev/shm") if request.param == "tmpfs" else request.getfixturevalue("xfs")
    if directory is None:
        pytest.skip("no xfs can be made here")
    made = Path(tempfile.mkdtemp(dir=directory))
    yield made
    shutil.rmtree(made)


class Watched:
    """A watched directory with one file, and the events stored of it."""

    def __init__(self, place: Path, database: Path) -> None:
        self.place = place
        self.file = place / "watched" / "f"
        self.file.parent.mkdir()
        self.file.write_text("old\n")
        self.database = Database(f"sqlite:///{database}", host="h")
        self.witness = Witness([os.fsencode(self.file.parent)])
        self.began = time.time_ns()
        self.witness.start()
        if self.witness.problems:
            pytest.skip(self.witness.problems[0])

    def load(self, path: Path | None = None) -> WitnessData:
        """Load all events of one file."""
        self.witness.store(self.database)
        found = (path or self.file).stat()
        with self.database.read() as session:
            identity = (found.st_dev, found.st_ino)
            return store.load(session, [identity], self.began, time.time_ns())

    def done(self, path: Path | None = None) -> dict[int, WitnessMask]:
        """Return what each process did to the file."""
        did: dict[int, WitnessMask] = {}
        for events in self.load(path).events.values():
            for event in events:
                did[event.actor.pid] = did.get(event.actor.pid, WitnessMask(0)) | event.mask
        return did

    def extents(self) -> tuple[WitnessExtent, ...]:
        return self.load().extents[self.file.stat().st_dev]


@pytest.fixture
def watched(place: Path, tmp_path: Path) -> Iterator[Watched]:
    made = Watched(place, tmp_path / "x.db")
    yield made
    made.witness.end(made.database)
    made.database.close()


def python(code: str, *arguments: object) -> int:
    process = subprocess.Popen([sys.executable, "-ISc", code, *map(str, arguments)])
    assert process.wait(timeout=30) == 0
    return process.pid


def test_writers_are_distinguished_from_processes_that_only_open(watched: Watched) -> None:
    """Both processes close the file; one modified it."""
    idler = python("import sys; open(sys.argv[1], 'a')", watched.file)
    writer = python("import sys; open(sys.argv[1], 'a').write('new')", watched.file)
    did = watched.done()
    assert did[idler] == WitnessMask.CLOSE_WRITE
    assert did[writer] == WitnessMask.CLOSE_WRITE | WitnessMask.MODIFY


def test_a_running_process_is_identified(watched: Watched) -> None:
    """Its program, start and ancestors are read while its pidfd shows that it still runs."""
    code = "import sys; f = open(sys.argv[1], 'a'); f.write('new'); f.flush(); print(flush=True); input()"
    command = [sys.executable, "-ISc", code, str(watched.file)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        (events,) = watched.load().events.values()
        process.communicate(b"\n")
    event = next(one for one in events if one.actor.pid == process.pid)
    assert event.actor.exe == os.fsencode(os.path.realpath(sys.executable))
    assert event.ancestors[0] == os.getpid()
    assert event.started_ns
    assert watched.began <= event.until_ns <= time.time_ns()


def test_fimscan_does_not_report_itself(watched: Watched) -> None:
    """What this process writes itself is not stored."""
    watched.file.write_text("by fimscan")
    assert os.getpid() not in watched.done()


def test_truncation_and_copies_are_writes(watched: Watched) -> None:
    """Calls other than write(2)."""
    codes = (
        "import os, sys; os.truncate(sys.argv[1], 1)",
        "import os, sys; os.open(sys.argv[1], os.O_RDONLY | os.O_TRUNC)",
        "import os, sys; os.posix_fallocate(os.open(sys.argv[1], os.O_WRONLY), 0, 9)",
        "import os, sys; r, w = os.pipe(); os.write(w, b'x'); os.splice(r, os.open(sys.argv[1], os.O_WRONLY), 1)",
        "import os, sys; r = os.open('/etc/hostname', 0); os.sendfile(os.open(sys.argv[1], os.O_WRONLY), r, 0, 1)",
    )
    pids = [python(code, watched.file) for code in codes]
    did = watched.done()
    assert all(did[pid] & WitnessMask.MODIFY for pid in pids)


@pytest.mark.parametrize("how", ["0", "ASYNC"])
def test_writes_by_io_uring_have_the_pid_of_the_process(watched: Watched, how: str) -> None:
    """By the call itself and by a worker thread of the kernel: the pid is that of the process."""
    code = (
        f"import os, sys, time; sys.path.insert(0, {str(Path(__file__).parents[2])!r})\n"
        "from tests.data.audit.uring import ASYNC, WRITE, Ring\n"
        "try: ring = Ring()\nexcept OSError: sys.exit(77)\n"
        "fd = os.open(sys.argv[1], os.O_WRONLY)\n"
        f"ring.submit(WRITE, b'by a ring', fd=fd, size=9, how={how}); time.sleep(0.2)"
    )
    process = subprocess.Popen([sys.executable, "-Sc", code, str(watched.file)])
    if process.wait(timeout=30) == 77:
        pytest.skip("no io_uring here")
    assert watched.file.read_text() == "by a ring"
    assert watched.done() == {process.pid: WitnessMask.MODIFY | WitnessMask.CLOSE_WRITE}


def test_stores_to_a_mapping_are_not_reported(watched: Watched) -> None:
    """That is why no process that can map a file is ever cleared."""
    code = "import mmap, sys; f = open(sys.argv[1], 'r+'); m = mmap.mmap(f.fileno(), 3); m[0] = 65; m.flush()"
    pid = python(code, watched.file)
    assert watched.file.read_bytes()[:1] == b"A"
    assert watched.done()[pid] == WitnessMask.CLOSE_WRITE


def test_asynchronous_io_is_not_reported_and_is_a_hole(watched: Watched) -> None:
    """io_submit(2) changes the content without an event, so no process is cleared while it is possible."""
    if os.uname().machine != "x86_64":
        pytest.skip("numbers of system calls")
    process = subprocess.Popen([sys.executable, "-ISc", _IO_SUBMIT, str(watched.file)])
    if process.wait(timeout=30) == 77:
        pytest.skip("no asynchronous I/O here")
    assert watched.file.read_text() == "asynchronous"
    assert watched.done()[process.pid] == WitnessMask.CLOSE_WRITE
    assert any(WitnessHole.ASYNC_IO in extent.holes for extent in watched.extents())


_MOVE_EXTENT = """
import fcntl, os, struct, sys
mine, file = os.open(sys.argv[2], os.O_RDWR | os.O_CREAT), os.open(sys.argv[1], os.O_WRONLY)
os.write(mine, b"A" * 4096)
os.fsync(mine)
try: fcntl.ioctl(mine, 0xC028660F, struct.pack("=IIQQQQ", 0, file, 0, 0, 1, 0))
except OSError: sys.exit(77)
"""


def test_moved_extents_are_not_reported_and_are_a_hole(watched: Watched) -> None:
    """On ext4, with a descriptor for writing, blocks can be replaced by zeros; not even ctime shows it."""
    watched.file.write_bytes(b"B" * 4096)
    with watched.file.open("rb") as file:
        os.fsync(file.fileno())
    before = watched.file.stat().st_ctime_ns
    command = [sys.executable, "-ISc", _MOVE_EXTENT, str(watched.file), str(watched.place / "mine")]
    process = subprocess.Popen(command)
    if process.wait(timeout=30) == 77:
        in_memory = str(watched.place).startswith("/dev/shm")  # xfs has its own ioctl for that
        assert all((WitnessHole.MOVE_EXTENT in extent.holes) is not in_memory for extent in watched.extents())
        return  # the disk is not ext4
    with watched.file.open("rb") as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        assert file.read() == bytes(4096)
    assert watched.file.stat().st_ctime_ns == before
    assert watched.done()[process.pid] == WitnessMask.CLOSE_WRITE
    assert all(WitnessHole.MOVE_EXTENT in extent.holes for extent in watched.extents())


def test_events_of_other_directories_are_not_kept(watched: Watched) -> None:
    """The mark is on the whole file system; only one of its directories is monitored."""
    other = watched.place / "elsewhere"
    other.write_text("old")
    python("import sys; open(sys.argv[1], 'a').write('new')", other)
    assert watched.done(other) == {}


def test_directories_that_appear_later_are_monitored(watched: Watched) -> None:
    """Directories made inside, moved in after they were known as outside, and moved out."""
    write = "import sys; open(sys.argv[1], 'a').write('new')"
    outside, inside = watched.place / "outside", watched.file.parent
    (inside / "made").mkdir()
    outside.mkdir()
    (outside / "g").write_text("old")
    python(write, outside / "g")
    assert watched.done(outside / "g") == {}
    outside.rename(inside / "moved")
    pids = [python(write, path) for path in (inside / "made" / "f", inside / "moved" / "g")]
    assert watched.done(inside / "made" / "f")[pids[0]] & WitnessMask.MODIFY
    assert watched.done(inside / "moved" / "g")[pids[1]] & WitnessMask.MODIFY
    (inside / "moved").rename(outside)
    assert python(write, outside / "g") not in watched.done(outside / "g")


def test_a_full_queue_ends_an_extent(watched: Watched) -> None:
    """More events than the kernel keeps, without a reader: there is a gap between two extents."""
    most = int(Path("/proc/sys/fs/fanotify/max_queued_events").read_text())
    if most > 20_000:
        pytest.skip("fs.fanotify.max_queued_events is large here")
    code = (
        "import os, sys\nfor number in range(int(sys.argv[2])):\n"
        " os.close(os.open(f'{sys.argv[1]}/{number}', os.O_WRONLY | os.O_CREAT))"
    )
    many = watched.place / "many"
    many.mkdir()
    with watched.witness._lock:
        before = time.time_ns()
        python(code, many, most + 100)
    # Other tests may do meanwhile what fanotify does not see.
    extents = [extent for extent in watched.extents() if extent.ended != "holes"]
    shutil.rmtree(many)
    assert [extent.ended for extent in extents] == ["overflow", ""]
    assert extents[0].end_ns <= before < extents[1].start_ns


def test_too_many_waiting_events_end_an_extent(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory is bounded: over the time of dropped events, nothing is claimed."""
    monkeypatch.setattr(reader, "_MOST_PENDING", 10)
    for number in range(30):
        python("import sys; open(sys.argv[1], 'w').write('x')", watched.file.parent / f"g{number}")
        if number % 10 == 9:
            time.sleep(0.1)
    assert "too-many" in {extent.ended for extent in watched.extents()}


def test_setting_the_clock_ends_an_extent(watched: Watched) -> None:
    """Times before and after the setting cannot be compared."""
    watched.load()
    real = watched.witness._clock
    watched.witness._clock = lambda: real() + 5 * 10**9
    watched.witness.store(watched.database)
    assert "clock-changed" in {extent.ended for extent in watched.extents()}


def test_replacing_a_directory_ends_an_extent(watched: Watched) -> None:
    """A new directory of that name is watched only from when it was noticed."""
    watched.load()
    place = watched.file.parent
    place.rename(place.with_name("away"))
    place.mkdir()
    watched.file.write_text("old")
    deadline = time.monotonic() + 15
    while "replaced" not in (ended := {extent.ended for extent in watched.extents()}):
        assert time.monotonic() < deadline, ended
        time.sleep(0.1)


def test_a_file_system_can_be_unmounted_and_that_is_noticed(tmp_path: Path) -> None:
    """The unmount is noticed, though the kernel removes the mark silently."""
    there = tmp_path / "there"
    there.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "tmpfs", there], check=False, capture_output=True).returncode:
        pytest.skip("mount(8) is not permitted")
    try:
        watched = Watched(there, tmp_path / "x.db")
        device = watched.file.stat().st_dev
        python("import sys; open(sys.argv[1], 'a').write('new')", watched.file)
        assert len(watched.done()) == 1
    finally:
        subprocess.run(["umount", there], check=True)
    deadline = time.monotonic() + 15
    while (extent := last_of(watched, device)).ended != "unmounted":
        assert time.monotonic() < deadline, extent
        time.sleep(0.1)
    watched.witness.end(watched.database)
    watched.database.close()


def last_of(watched: Watched, device: int) -> WitnessExtent:
    watched.witness.store(watched.database)
    with watched.database.read() as session:
        return next(e for e in store.latest(session) if e.dev == device)


def test_the_records_are_covered_by_the_journal(watched: Watched) -> None:
    """An altered row is noticed."""
    python("import sys; open(sys.argv[1], 'a').write('new')", watched.file)
    watched.load()
    with watched.database.read() as session:
        assert not list(integrity.replayed(session)[1])
    with watched.database.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE witness_event SET mask = 8")
    with watched.database.read() as session:
        replayed = integrity.replayed(session)[0]
        altered = list(integrity.single_rows(session, replayed.rows))
    assert any("fanotify" in line for line in altered)


def test_a_refusal_of_the_kernel_is_reported_and_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without privileges, as in a container, there is one message and no thread."""

    def refuse() -> int:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(fanotify, "open_group", refuse)
    witness = Witness([os.fsencode(tmp_path)])
    witness.start()
    database = Database(f"sqlite:///{tmp_path}/x.db", host="h")
    witness.store(database)
    witness.end(database)
    database.close()
    assert "it needs root" in witness.problems[0]
