"""What is in a bundle, and how it gets to its place."""

from __future__ import annotations

import base64
import csv
import io
import json
import os
import re
import resource
import stat
import subprocess
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from fimscan.errors import OutputError, UsageError
from fimscan.evidence.archive import Staged
from fimscan.evidence.bundle import build_bundle
from fimscan.evidence.inputs import BundleInput, CriticalPattern, FoundChange
from fimscan.evidence.readme import (
    CHECK_DIGESTS,
    CHECK_SIGNATURE,
    CHECK_STATE,
    REPLAY_CHAIN,
    RUN_REPLAY,
    SHOW_FINGERPRINT,
    WRITE_REPLAY,
)
from fimscan.evidence.verify import verify_bundle
from fimscan.model import (
    Actor,
    ControlFailure,
    ControlKind,
    Coverage,
    FileState,
    Gap,
    GapReason,
    MissedCause,
    MissedRuns,
    Scan,
    ScanStatus,
    Selftest,
    SelftestStep,
    StepResult,
    StepState,
    Unreadable,
    UnreadableReason,
)
from fimscan.report.display import time_text
from fimscan.signing import SigningKey, parse_fingerprint
from tests.evidence.conftest import ALICE, DAY, START

Make = Callable[..., BundleInput]


def members(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as packed:
        return {name: packed.read(name) for name in packed.namelist()}


def table(content: bytes) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(content.decode(), newline="")))


@pytest.fixture
def built(tmp_path: Path, bundle_input: Make, key: SigningKey) -> Callable[..., dict[str, bytes]]:
    """Builds a bundle with some fields replaced; gives its members."""

    def build(**other: object) -> dict[str, bytes]:
        build_bundle(bundle_input(**other), key, tmp_path / "x.zip")
        return members(tmp_path / "x.zip")

    return build


@pytest.fixture
def unzipped(bundle: Path, tmp_path: Path) -> Path:
    """A bundle, unpacked by unzip."""
    subprocess.run(["unzip", "-q", bundle, "-d", tmp_path / "out"], check=True)
    return tmp_path / "out"


def shell(command: str, where: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["sh", "-c", command], cwd=where, capture_output=True, text=True, check=False)


# --------------------------------------------------------------------------------------------------------------------
# Checking with the system's tools alone


def test_the_printed_commands_are_the_tested_ones(unzipped: Path) -> None:
    """The README contains, word for word, the commands that these tests run."""
    text = (unzipped / "00-README.txt").read_text()
    for command in (
        *(CHECK_SIGNATURE, CHECK_DIGESTS, SHOW_FINGERPRINT, REPLAY_CHAIN, CHECK_STATE),
        *(WRITE_REPLAY, RUN_REPLAY),
    ):
        assert f"{command}\n" in text


def test_openssl_and_sha256sum_accept_it(unzipped: Path, key: SigningKey) -> None:
    """An assessor verifies signature, digests and fingerprint without fimscan; every other file is listed."""
    assert shell(CHECK_SIGNATURE, unzipped).stdout == "Signature Verified Successfully\n"
    checked = shell(CHECK_DIGESTS, unzipped)
    assert checked.returncode == 0
    files = {str(path.relative_to(unzipped)) for path in unzipped.rglob("*") if path.is_file()}
    assert {line.removesuffix(": OK") for line in checked.stdout.splitlines()} == files - {
        "SHA256SUMS",
        "SHA256SUMS.sig",
    }
    assert parse_fingerprint(shell(SHOW_FINGERPRINT, unzipped).stdout.split()[0]) == key.fingerprint


def test_openssl_and_sha256sum_refuse_changes(unzipped: Path) -> None:
    """A changed file fails sha256sum; with adjusted sums, the signature fails."""
    (unzipped / "09-changes.csv").write_bytes(b"nothing happened\n")
    assert shell(CHECK_DIGESTS, unzipped).returncode != 0
    shell(
        "f=$(sha256sum 09-changes.csv); grep -v 09-changes.csv SHA256SUMS > n; echo $f >> n; mv n SHA256SUMS", unzipped
    )
    assert shell(CHECK_SIGNATURE, unzipped).returncode != 0


def test_the_shell_replays_the_chain(unzipped: Path, bundle_input: Make) -> None:
    """The printed loop reports the chain's head and nothing else; for each altered line it reports BROKEN."""
    head = bundle_input().scans[-1].entry
    result = shell(REPLAY_CHAIN, unzipped)
    assert (result.stdout, result.stderr) == (f"chain head: {head}\n", "")
    ledger = unzipped / "07-ledger.txt"
    lines = ledger.read_text().splitlines(keepends=True)
    for damaged in (lines[1:], [lines[0], lines[2]], [lines[0].replace('"files":3', '"files":4'), *lines[1:]]):
        ledger.write_text("".join(damaged))
        assert "BROKEN" in shell(REPLAY_CHAIN, unzipped).stdout


def test_the_shell_ties_the_files_to_the_last_scan(unzipped: Path, bundle_input: Make) -> None:
    """The printed command makes the last scan's state digest of the list of files, hostile names included."""
    assert shell(CHECK_STATE, unzipped).stdout.split()[0] == bundle_input().scans[-1].state_digest


# --------------------------------------------------------------------------------------------------------------------
# Contents


def test_the_index_names_every_piece_of_evidence(bundle: Path) -> None:
    """Each row of the index has a reference of its own and the digest of a file that is there; none is forgotten."""
    files = members(bundle)
    rows = table(files["02-evidence-index.csv"])
    listed = dict(line.split("  ")[::-1] for line in files["SHA256SUMS"].decode().splitlines())
    assert all(row["sha256"] == listed[row["file"]] for row in rows)
    assert len({row["reference"] for row in rows}) == len(rows)
    evidence = {name for name in files if name[:2].isdigit()} - {"00-README.txt", "02-evidence-index.csv"}
    assert {row["file"] for row in rows} == evidence
    assert {"11.5.2.a", "11.5.2.b", "10.2.2", "10.3.4"} <= {row["testing_procedure"] for row in rows}


def test_audit_logs_are_claimed_only_when_watched(built: Callable[..., dict[str, bytes]]) -> None:
    """Without a log of the policy append-only, the README says that there is no evidence for 10.3.4."""
    assert "13-log-integrity.csv" not in empty_files(built())
    assert "this bundle is no evidence for 10.3.4" in empty_files(built(logs=()))


def empty_files(files: dict[str, bytes]) -> str:
    text = files["00-README.txt"].decode()
    part = text.partition("EMPTY FILES\n")[2].partition("HOW TO CHECK IT")[0]
    return " ".join(part.split())


def test_every_table_names_the_host(bundle: Path) -> None:
    """Each row of each CSV file begins with the host, so that files of several hosts can be put together."""
    tables = {name: table(content) for name, content in members(bundle).items() if name.endswith(".csv")}
    assert len(tables) == 22
    for rows in tables.values():
        assert rows
        assert {row["host"] for row in rows} == {"web1.example.com"}
        assert next(iter(rows[0])) == "host"


def test_any_file_name_can_be_read_back(bundle: Path, bundle_input: Make) -> None:
    """Each file has one row; its exact name is the shown one or, if that is escaped, the base64 one."""
    rows = table(members(bundle)["06-monitored-files.csv"])
    names = [base64.b64decode(row["path_b64"]) if row["path_b64"] else row["path"].encode() for row in rows]
    assert names == [state.path for state in bundle_input().files]
    assert rows[1]["path"] == '/etc/caf\\xe9,"\\x0a'
    assert rows[0] | {"read_utc": "", "sha256": "", "state_sha256": ""} == {
        "host": "web1.example.com",
        "path": "/etc/=cmd",
        "path_b64": "",
        "type": "file",
        "size": "1",
        "mode": "0644",
        "owner": "0:42",
        "read_utc": "",
        "sha256": "",
        "state_sha256": "",
    }


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r", "x;=", "x; =", "\uff1d", "  =", ";\uff0b"])
def test_no_cell_is_a_formula(built: Callable[..., dict[str, bytes]], bundle_input: Make, start: str) -> None:
    """Names that users can choose never reach a spreadsheet as a formula."""
    finding = next(iter(bundle_input().changes)).finding
    actor = finding.attribution.actors[0]._replace(login_user=f"{start}cmd", tty=f"{start}t", exe=start.encode() + b"x")
    hostile = replace(finding, attribution=finding.attribution._replace(actors=(actor,), notes=(f"{start}n",)))
    pattern = CriticalPattern(
        path=start.encode(),
        exclude=(f"{start}1+1",),
        policy="full",
        severity="high",
        category=f"{start}c",
        rationale=f"{start}r",
    )
    files = built(
        host=f"{start}host", changes=[FoundChange(hostile)], critical=[pattern], schedule={"scan": f"{start}1"}
    )
    cells = [
        cell
        for name, content in files.items()
        if name.endswith(".csv")
        for row in csv.reader(io.StringIO(content.decode(), newline=""))
        for cell in row
    ]
    assert not [cell for cell in cells if re.search(r"(^|;)\s*[=+\-@\uff1d\t\r]", cell)]
    assert sum("cmd" in cell for cell in cells) == 2  # the login user, and the file /etc/=cmd


def test_a_change_has_all_that_10_2_2_asks_for(bundle: Path) -> None:
    """The row of a change has user, type, time, outcome, origin, object, event and verdict."""
    row = table(members(bundle)["09-changes.csv"])[0]
    expected = {
        "change": "17",
        "type": "modified",
        "object": "/etc/hosts",
        "outcome": "success",
        "verdict": "confirmed",
        "reason": "",
        "candidate": "1 of 1",
        "role": "writer",
        "login_user": "'=alice",
        "auid": "1000",
        "uid": "0",
        "time_utc": "2023-11-15T22:13:25.000Z",
        "exe": "/usr/bin/vim",
        "tty": "pts4",
        "session": "3",
        "event": "1700086405.000:6628017",
    }
    assert {name: row[name] for name in expected} == expected


def test_unknown_actors_and_users_are_empty_cells(bundle: Path) -> None:
    """Each candidate of a contested change has a row; an unset login user, or no actor, gives empty cells."""
    rows = table(members(bundle)["09-changes.csv"])
    contested = [row for row in rows if row["change"] == "18"]
    assert [(row["candidate"], row["auid"], row["login_user"]) for row in contested] == [
        ("1 of 2", "1000", "'=alice"),
        ("2 of 2", "", ""),
    ]
    (nobody,) = (row for row in rows if row["change"] == "19")
    assert (nobody["verdict"], nobody["reason"], nobody["candidate"]) == ("unattributed", "no-event", "none")
    assert {nobody[name] for name in ("auid", "uid", "user", "exe", "pid", "event")} == {""}


def test_the_json_says_the_same(bundle: Path) -> None:
    """The JSON has the same changes, with every actor and the unknown as null."""
    document = json.loads(members(bundle)["09-changes.json"])
    assert [change["id"] for change in document["changes"]] == [17, 18, 19]
    assert [len(change["attribution"]["actors"]) for change in document["changes"]] == [1, 2, 0]
    assert document["changes"][1]["attribution"]["actors"][1]["auid"] is None
    assert (document["host"], document["from"]) == ("web1.example.com", "2023-11-14T22:13:20.000Z")
    assert document["changes"][0]["outcome"] == "success"


def test_no_changes_is_valid_json_and_a_header(built: Callable[..., dict[str, bytes]]) -> None:
    """A period without changes has an empty list, and a table of its header alone."""
    files = built(changes=())
    assert json.loads(files["09-changes.json"])["changes"] == []
    assert files["09-changes.csv"].count(b"\n") == 1


def test_steps_are_written_one_by_one(built: Callable[..., dict[str, bytes]], bundle_input: Make) -> None:
    """A finding with several steps is written as its steps, each with its own answer."""
    one, two, three = (found.finding for found in bundle_input().changes)
    summed = replace(three, steps=(one, two))
    files = built(changes=[FoundChange(summed)])
    assert [row["change"] for row in table(files["09-changes.csv"])] == ["17", "18", "18"]
    assert [change["id"] for change in json.loads(files["09-changes.json"])["changes"]] == [17, 18]


def test_command_lines_and_passwords_stay_out(tmp_path: Path, bundle_input: Make, key: SigningKey) -> None:
    """Neither a process's command line nor the database's password gets into evidence; the README says it is masked.

    A process may be an actor, or have caused a gap.
    """
    config = {"database": {"url": 'postgresql://fim:Geh"eim/1@db/fim?sslpassword=Geheim2'}, "watch": []}
    gap = Gap(start_ns=START, end_ns=START + DAY, reason=GapReason.RULE_REMOVED, actor=ALICE)
    first, *others = (found.finding for found in bundle_input().changes)
    answer = first.attribution._replace(coverage=Coverage(complete=False, gaps=(gap,)))
    changes = [FoundChange(replace(first, attribution=answer)), *map(FoundChange, others)]
    build_bundle(bundle_input(config_json=json.dumps(config), changes=changes), key, tmp_path / "x.zip")
    files = members(tmp_path / "x.zip")
    content = b"\n".join(files.values())
    for secret in (b"S3cret", b"eim/1", b"Geheim2"):
        assert secret not in content
    masked = json.loads(files["04-policy/configuration.json"])
    assert masked["database"]["url"] == "postgresql://fim:***@db/fim?sslpassword=***"
    assert "replaced by" in files["00-README.txt"].decode()
    (by,) = [one["by"] for one in json.loads(files["09-changes.json"])["changes"][0]["attribution"]["coverage"]["gaps"]]
    assert (by["pid"], by["cmdline"]) == (ALICE.pid, None)


def test_the_configuration_is_the_one_that_scans_name(bundle: Path) -> None:
    """The SHA-256 of the configuration file is the config_digest of the scans that ran with it."""
    files = members(bundle)
    listed = dict(line.split("  ")[::-1] for line in files["SHA256SUMS"].decode().splitlines())
    assert listed["04-policy/configuration.json"] == table(files["07-scans.csv"])[0]["config_digest"]


def test_the_readme_says_what_was_not_scanned(built: Callable[..., dict[str, bytes]], bundle_input: Make) -> None:
    """A file system that is mounted below a watched directory, and that the last complete scan did not enter."""
    assert "DID NOT SEE" not in built()["00-README.txt"].decode()
    *scans, last = bundle_input().scans
    with_problem = replace(last, problems=("/w/x (tmpfs) is mounted below a watched directory, and is not scanned",))
    text = built(scans=[*scans, with_problem])["00-README.txt"].decode()
    assert f"WHAT SCAN {last.id} DID NOT SEE\n  - /w/x (tmpfs) is mounted below a watched directory" in text


def test_the_readme_reports_the_largest_gap_and_broken_chains(
    built: Callable[..., dict[str, bytes]], bundle_input: Make
) -> None:
    """The README has the largest gap (not an average), a broken chain, and a list of files that does not match."""
    text = built()["00-README.txt"].decode()
    assert "Largest gap:    120.000 hours; 168 hours allowed; 0 gap(s)" in text
    assert f"Chain of scans: intact; its head is {bundle_input().scans[-1].entry}" in text
    assert "1 gap(s)" in built(max_gap_days=3)["00-README.txt"].decode()
    assert "BROKEN" in built(scans=bundle_input().scans[1:])["00-README.txt"].decode()
    assert "BROKEN" in built(files=list(bundle_input().files)[1:])["00-README.txt"].decode()


def test_the_readme_lists_files_and_requirements_that_are_not_covered(bundle: Path) -> None:
    """It names the files that this version does not make, and the requirements that no tool can show."""
    text = members(bundle)["00-README.txt"].decode()
    for name in ("01-report.html", "WHAT NO CHAIN CAN SHOW", "outbox.answer", "11.6.1", "Root"):
        assert name in text


def test_the_readme_says_that_ordinary_scans_read_every_byte(bundle: Path) -> None:
    """Nobody concludes from the job "full" that the job "scan" reads less."""
    text = " ".join(members(bundle)["00-README.txt"].decode().split())
    assert "Both scan and full compare all monitored files and read every byte" in text


def test_a_host_without_scans_gets_a_bundle(built: Callable[..., dict[str, bytes]], tmp_path: Path) -> None:
    """The bundle of a host without a finished scan says so, and verifies."""
    text = built(scans=(), files=(), changes=())["00-README.txt"].decode()
    assert "NO COMPARISON" in text
    assert verify_bundle(tmp_path / "x.zip").ok


def test_files_without_sha256_are_counted(
    built: Callable[..., dict[str, bytes]], state_of: Callable[..., FileState]
) -> None:
    """The README counts regular files whose policy takes no SHA-256, so that nobody takes an empty cell for a match."""
    text = built(files=[state_of(b"/a"), state_of(b"/b", digests=())])["00-README.txt"].decode()
    assert "1 regular file(s) have no SHA-256" in text


def test_odd_bytes_everywhere(built: Callable[..., dict[str, bytes]], scan_at: Callable[..., Scan]) -> None:
    """Lone surrogates and control characters in a host or user name neither crash nor break lines."""
    scan = replace(scan_at(1, None), trigger="a\udcffb\n", status=ScanStatus.INTERRUPTED)
    files = built(host="h\udcff\x1b\n", organization="o\udc80", scans=[scan], audit_rules="r\udcff")
    assert files["07-scans.csv"].count(b"\n") == 2
    assert table(files["07-scans.csv"])[0]["host"] == "h\\xff\\x1b\\x0a"


# --------------------------------------------------------------------------------------------------------------------
# Getting it to its place


def test_the_same_input_makes_the_same_bytes(tmp_path: Path, bundle_input: Make, key: SigningKey) -> None:
    """Building twice gives identical files, so bundles can be compared."""
    for name in ("one", "two"):
        build_bundle(bundle_input(), key, tmp_path / name)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    assert (tmp_path / "one").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt(), RuntimeError("x")])
def test_a_failure_leaves_nothing_behind(
    tmp_path: Path, bundle_input: Make, key: SigningKey, error: BaseException
) -> None:
    """After any failure, an existing bundle is unchanged and no other file is left."""
    path = tmp_path / "x.zip"
    path.write_bytes(b"before")

    def changes() -> Iterator[FoundChange]:
        yield from bundle_input().changes
        raise error

    expected = OutputError if isinstance(error, OSError) else type(error)
    with pytest.raises(expected) as caught:
        build_bundle(bundle_input(changes=changes()), key, path)
    if isinstance(error, OSError):
        assert str(caught.value) == f"cannot write the bundle {path}: No space left on device"
    assert path.read_bytes() == b"before"
    assert os.listdir(tmp_path) == ["x.zip"]


def test_a_full_disk_is_one_line(tmp_path: Path, bundle_input: Make, key: SigningKey) -> None:
    """When the disk is full, the error is one line and nothing is left behind."""
    mount = tmp_path / "small"
    mount.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16k", "x", mount], capture_output=True, check=False)
    if made.returncode != 0:
        pytest.skip("needs to mount a file system")
    try:
        with pytest.raises(OutputError, match="No space left on device"):
            build_bundle(bundle_input(), key, mount / "x.zip")
        assert os.listdir(mount) == []
    finally:
        subprocess.run(["umount", mount], check=True)


@pytest.mark.parametrize("target", ["missing/x.zip", "file/x.zip"])
def test_a_place_that_is_not_there_is_one_line(
    tmp_path: Path, bundle_input: Make, key: SigningKey, target: str
) -> None:
    """A directory that doesn't exist, or is none, is an output error of one line."""
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OutputError, match="cannot write the bundle") as caught:
        build_bundle(bundle_input(), key, tmp_path / target)
    assert "\n" not in str(caught.value)


def test_devices_are_not_replaced(tmp_path: Path, bundle_input: Make, key: SigningKey) -> None:
    """Writing to a directory, a FIFO or a link to a device is refused: as root, renaming would destroy /dev/null."""
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "link").symlink_to("/dev/null")
    for target in (tmp_path, tmp_path / "fifo", tmp_path / "link"):
        with pytest.raises(OutputError, match="not a regular file"):
            build_bundle(bundle_input(), key, target)
    assert Path("/dev/null").is_char_device()


@pytest.mark.parametrize("how", ["itself", "link", "link to a link", "relative"])
def test_a_device_made_here_is_not_replaced(
    tmp_path: Path, bundle_input: Make, key: SigningKey, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """A device (here another /dev/full) is refused however it is reached, and stays; nothing is written beside it."""
    (tmp_path / "dev").mkdir()
    device = tmp_path / "dev" / "full"
    try:
        os.mknod(device, 0o666 | stat.S_IFCHR, os.makedev(1, 7))
    except PermissionError:
        pytest.skip("needs to make a device")
    (tmp_path / "link").symlink_to("dev/full")
    (tmp_path / "second").symlink_to("link")
    monkeypatch.chdir(tmp_path / "dev")
    targets: dict[str, str | Path] = {
        "itself": device,
        "link": tmp_path / "link",
        "link to a link": tmp_path / "second",
        "relative": "full",
    }
    with pytest.raises(OutputError, match="not a regular file"):
        build_bundle(bundle_input(), key, targets[how])
    assert device.is_char_device()
    assert os.listdir(tmp_path / "dev") == ["full"]


@pytest.mark.parametrize("kind", ["pipe", "deleted file", "/dev/full"])
def test_standard_output_is_not_replaced(tmp_path: Path, bundle_input: Make, key: SigningKey, kind: str) -> None:
    """/dev/stdout and similar names are refused, even if the text of the link resolves to no file."""
    reading, writing = os.pipe()
    if kind == "/dev/full":
        os.close(writing)
        writing = os.open("/dev/full", os.O_WRONLY)
    elif kind == "deleted file":
        os.close(writing)
        writing = os.open(tmp_path / "gone", os.O_WRONLY | os.O_CREAT)
        os.unlink(tmp_path / "gone")
    (tmp_path / "stdout").symlink_to(f"/proc/self/fd/{writing}")  # what /dev/stdout is, for descriptor 1
    try:
        for target in (tmp_path / "stdout", f"/proc/self/fd/{writing}"):
            with pytest.raises(OutputError, match="not a regular file"):
                build_bundle(bundle_input(), key, target)
    finally:
        os.close(reading)
        os.close(writing)
    assert os.listdir(tmp_path) == ["stdout"]
    assert Path("/dev/full").is_char_device()


def test_a_dash_is_not_taken_for_a_name(
    tmp_path: Path, bundle_input: Make, key: SigningKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The name "-" is refused with one line; "./-" is a file of that name."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(OutputError, match="standard output; name a file"):
        build_bundle(bundle_input(), key, "-")
    assert os.listdir(tmp_path) == []
    build_bundle(bundle_input(), key, "./-")
    assert verify_bundle(tmp_path / "-").ok


def test_a_link_to_a_file_stays_a_link(tmp_path: Path, bundle_input: Make, key: SigningKey) -> None:
    """If the output is a symbolic link to a file, that file is replaced and the link is kept."""
    (tmp_path / "link").symlink_to("real.zip")
    build_bundle(bundle_input(), key, tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    assert verify_bundle(tmp_path / "real.zip").ok


@pytest.mark.parametrize("change", [{"end_ns": 0}, {"as_of_ns": 0}])
def test_a_period_without_time_is_refused(
    tmp_path: Path, bundle_input: Make, key: SigningKey, change: dict[str, int]
) -> None:
    """A period that ends before it begins, or has not begun, is an error."""
    with pytest.raises(UsageError, match="is empty or has not begun"):
        build_bundle(bundle_input(**change), key, tmp_path / "x.zip")
    assert os.listdir(tmp_path) == []


def test_a_running_period_ends_now(built: Callable[..., dict[str, bytes]], bundle_input: Make) -> None:
    """Time that has not passed yet is neither covered nor a gap."""
    now = bundle_input().scans[-1].finished_ns
    rows = table(built(as_of_ns=now, end_ns=now * 2)["08-continuity.csv"])  # type: ignore[operator]
    assert [row["actual_hours"] for row in rows] == ["72.000", "120.000"]


def test_unreadable_files_are_in_the_bundle(built: Callable[..., dict[str, bytes]]) -> None:
    """06 has an unreadable file in its last known state; 08-not-compared.csv and the README say so."""
    kept = Unreadable(
        path=b"/etc/kept",
        reason=UnreadableReason.LEASED,
        detail="waited 47 s",
        since_ns=10**18,
        differs=("size", "mtime"),
    )
    never = Unreadable(path=b"/etc/never", reason=UnreadableReason.PERMISSION)
    contents = built(unreadable=(kept, never))
    listed = [tuple(row.values()) for row in table(contents["08-not-compared.csv"])]
    assert [row[-5:] for row in listed] == [
        ("", "leased", "waited 47 s", "2001-09-09T01:46:40.000Z", "size mtime"),
        ("", "permission", "", "", ""),
    ]
    assert (
        b"Not compared:   2 unreadable at the last complete scan, 1 of them read earlier; see 08-not-compared.csv"
        in (contents["00-README.txt"])
    )
    assert b"Not compared:   none: the last complete scan read every file" in (built(unreadable=())["00-README.txt"])


def test_memory_does_not_grow_with_the_files(
    tmp_path: Path, bundle_input: Make, key: SigningKey, state_of: Callable[..., FileState]
) -> None:
    """Files are read one at a time, and staged on disk beside the bundle, not in memory."""
    one = state_of(b"/usr/share/" + b"x" * 200)
    count = 100_000

    def files() -> Iterator[FileState]:
        for number in range(count):
            yield replace(one, path=b"%b%07d" % (one.path, number))

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    build_bundle(bundle_input(files=files()), key, tmp_path / "x.zip")
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    size = (tmp_path / "x.zip").stat().st_size
    assert size > 30_000_000
    assert grown < size / 3


def test_the_staging_place_is_the_outputs(
    tmp_path: Path, bundle_input: Make, key: SigningKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Large members are staged beside the bundle: /tmp may be small, and readable paths don't belong there."""
    places: list[str | None] = []

    def recording(directory: str | None = None) -> Staged:
        places.append(directory)
        return Staged(directory)

    monkeypatch.setattr("fimscan.evidence.bundle.Staged", recording)
    build_bundle(bundle_input(), key, tmp_path / "x.zip")
    assert set(places) == {os.path.realpath(tmp_path)}


def test_selftests_are_in_the_bundle(built: Callable[..., dict[str, bytes]]) -> None:
    """A row for each step, with what the receiver answered."""
    steps = (
        StepResult(step=SelftestStep.DETECTED, state=StepState.PASSED, detail="added", seconds=0.25),
        StepResult(step=SelftestStep.DELIVERED, state=StepState.FAILED, detail="=refused", output="mail"),
    )
    one = Selftest(id=3, started_ns=START, finished_ns=START + 10**9, path=b"/etc/c\xff", pid=7, steps=steps)
    detected, delivered = table(built(selftests=[one])["16-selftest.csv"])
    assert (detected["passed"], detected["path"], detected["seconds"]) == ("no", "/etc/c\\xff", "0.250")
    assert (delivered["output"], delivered["state"], delivered["seconds"]) == ("mail", "failed", "")
    assert delivered["detail"] == "'=refused"


def test_failures_of_controls_are_in_the_bundle(built: Callable[..., dict[str, bytes]]) -> None:
    """Since when and until when, why, and which process; one that lasts has no end, and that is no zero."""
    by = Actor(pid=7, exe=b"/usr/sbin/auditctl", cmdline=(b"auditctl", b"-D"), login_user="eve")
    first = ControlFailure(
        id=1,
        kind=ControlKind.AUDIT,
        subject="/etc",
        cause="removed",
        actor=by,
        start_ns=START,
        detected_ns=START + 10**9,
    )
    over = replace(first, id=2, actor=None, end_ns=START + 5 * 10**9, remedy="back")
    found = built(failures=[first, over])["12-control-failures.csv"]
    lasting, ended = table(found)
    assert (lasting["subject"], lasting["exe"], lasting["login_user"]) == ("/etc", "/usr/sbin/auditctl", "eve")
    assert (lasting["end_utc"], lasting["seconds"], ended["seconds"], ended["pid"]) == ("", "", "5.000", "")
    assert b"-D" not in found


def test_missed_runs(built: Callable[..., dict[str, bytes]]) -> None:
    """When they were due, and why they did not happen."""
    missed = MissedRuns(
        job="scan", cause=MissedCause.DOWN, first_ns=START, last_ns=START + 10**9, count=2, noted_ns=START + 2 * 10**9
    )
    (row,) = table(built(missed_runs=[missed])["08-missed-runs.csv"])
    assert (row["job"], row["runs"], row["cause"], row["first_due_utc"]) == ("scan", "2", "down", time_text(START))
