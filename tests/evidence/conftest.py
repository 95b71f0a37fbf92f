"""A small but complete host: eight days, three finished scans and an interrupted one, changes of every sort."""

from __future__ import annotations

import hashlib
import shutil
import sqlite3
import struct
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from msgspec.structs import replace

from fimscan.evidence.bundle import build_bundle
from fimscan.evidence.inputs import (
    AlertRoute,
    BundleInput,
    ClockAtScan,
    CriticalPattern,
    FoundChange,
    HostFacts,
    MonitoredLog,
    Retained,
)
from fimscan.model import (
    AcceptanceRecord,
    Actor,
    Approval,
    Attribution,
    AuditNotice,
    Change,
    ChangeKind,
    ClockLook,
    ControlFailure,
    ControlKind,
    ControlNote,
    Coverage,
    Digest,
    Disposition,
    DispositionCategory,
    Effect,
    EventId,
    FileKind,
    FileState,
    Finding,
    Gap,
    GapReason,
    MessageKind,
    MessageState,
    MissedCause,
    MissedRuns,
    NoticeKind,
    OutboxMessage,
    Reason,
    Reconfiguration,
    RetentionKind,
    Role,
    Scan,
    ScanStatus,
    Selftest,
    SelftestStep,
    SettingChange,
    StepResult,
    StepState,
    Unreadable,
    UnreadableReason,
    Verdict,
    Window,
)
from fimscan.signing import SigningKey
from fimscan.store.bound_rows import SUBJECTS, BoundRow
from fimscan.store.database import Database
from fimscan.store.journal import Entry
from fimscan.store.ledger import GENESIS, StateDigest, entry, state_digest, summary_line
from fimscan.store.logs import LogHistory
from fimscan.store.registry import Subject
from fimscan.store.row_digests import digest_of
from tests import support
from tests.evidence.site import HOST, Site, make_eventful, new_site, pretended_audit

DAY = 86400 * 10**9
START = 1_700_000_000 * 10**9


def make_state(path: bytes, content: bytes = b"x", **other: object) -> FileState:
    values: dict[str, object] = {
        "inode": 7,
        "gid": 42,
        "mtime_ns": START,
        "ctime_ns": START,
        "digests": (Digest(algorithm="sha256", value=hashlib.sha256(content).digest()),),
        "read_start_ns": START + 1,
        "read_end_ns": START + 2,
    }
    return support.state(path, content, **{**values, **other})


def make_chain(scans: list[Scan], digests: list[str]) -> list[Scan]:
    """Scans with their ledger fields, as the store fills them in."""
    chained, previous = [], GENESIS
    for scan, digest in zip(scans, digests, strict=True):
        if scan.status is not ScanStatus.FINISHED:
            chained.append(scan)
            continue
        made = entry(previous, summary_line(scan), digest)
        chained.append(replace(scan, previous=previous, state_digest=digest, entry=made))
        previous = made
    return chained


def make_scan(number: int, finished_ns: int | None, host: str = "web1.example.com") -> Scan:
    return Scan(
        id=number,
        host=host,
        trigger="schedule",
        status=ScanStatus.FINISHED if finished_ns is not None else ScanStatus.INTERRUPTED,
        started_ns=(finished_ns or START) - 10**9,
        finished_ns=finished_ns,
        counts={"files": 3, "bytes": 9, "added": 0, "modified": number, "unreadable": 0},
        config_digest=hashlib.sha256(b'{"watch": []}').hexdigest(),
    )


def complete_digest(files: list[FileState]) -> str:
    running = StateDigest()
    for state in files:
        running.add(state_digest(state))
    return running.hexdigest()


FILES = [
    make_state(b"/etc/=cmd", b"a"),
    make_state(b'/etc/caf\xe9,"\n', b"b"),
    make_state(b"/etc/hosts", b"c"),
    make_state(b"/etc/link", kind=FileKind.SYMLINK, digests=(), link_target=b"hosts"),
]


def make_finding(number: int, *actors: Actor, verdict: Verdict, reason: Reason | None = None) -> Finding:
    before, after = make_state(b"/etc/hosts", b"old"), make_state(b"/etc/hosts", b"c")
    window = Window(after_ns=START + DAY, before_ns=START + 2 * DAY)
    changed = ("content", "size", "mtime")
    change = Change(kind=ChangeKind.MODIFIED, before=before, after=after, changed=changed, window=window, id=number)
    answer = Attribution(verdict=verdict, reason=reason, actors=actors, coverage=Coverage(complete=True))
    return Finding(change=change, attribution=answer, scan=2)


def make_decided(finding: Finding) -> Finding:
    return replace(finding, disposition=Disposition(record=DECISION))


ALICE = Actor(
    pid=4711,
    ppid=1,
    exe=b"/usr/bin/vim",
    comm=b"vim",
    cmdline=(b"vim", b"--password=S3cret"),
    auid=1000,
    login_user="=alice",
    uid=0,
    user="root",
    euid=0,
    session=3,
    tty="pts4",
    syscall="openat",
    time_ns=START + DAY + 5 * 10**9,
    event=EventId(START + DAY + 5 * 10**9, 6628017),
    role=Role.WRITER,
)
DECISION = AcceptanceRecord(
    path=b"/etc/hosts",
    scan=2,
    approval=Approval(
        accepted_ns=START + 3 * DAY,
        user="=bob",
        ticket="CHG-1",
        reason="patch day",
        category=DispositionCategory.PATCHING,
    ),
    act=2,
    number=5,
)
MESSAGE = OutboxMessage(
    number=3,
    id="m-3",
    output="mail",
    kind=MessageKind.CHANGES,
    scan=2,
    state=MessageState.DELIVERED,
    urgent=True,
    made_ns=START + 2 * DAY,
    attempts=2,
    tried_ns=START + 2 * DAY + 10**9,
    done_ns=START + 2 * DAY + 10**9,
    answer="=250 ok",
    changes=(range(17, 20),),
)
DAEMON = ALICE._replace(pid=99, auid=None, login_user=None, session=None, tty=None, exe=b"/usr/sbin/d\xff")


def make_input(**other: object) -> BundleInput:
    scans = [
        make_scan(1, START - DAY),
        make_scan(2, START + 2 * DAY),
        make_scan(3, None),
        make_scan(4, START + 7 * DAY),
    ]
    digests = [complete_digest(FILES[:2]), complete_digest(FILES[:3]), "", complete_digest(FILES)]
    values: dict[str, object] = {
        "host": "web1.example.com",
        "addresses": ("192.0.2.7", "2001:db8::7"),
        "organization": "Example Ltd",
        "start_ns": START,
        "end_ns": START + 8 * DAY,
        "as_of_ns": START + 30 * DAY,
        "version": "0.1.0",
        "config_json": '{"watch": []}',
        "audit_rules": "-a always,exit -F arch=b64 -F dir=/etc -F perm=wa -F key=fimscan\n",
        "schedule": {"scan": "*/30 * * * *", "full": "0 3 * * 0"},
        "critical": (
            CriticalPattern(
                path=b"/etc", exclude=("*.swp", "mtab"), policy="full", severity="high", category="configuration"
            ),
        ),
        "files": FILES,
        "scans": make_chain(scans, digests),
        "changes": (
            FoundChange(make_decided(make_finding(17, ALICE, verdict=Verdict.CONFIRMED)), 17),
            FoundChange(make_finding(18, ALICE, DAEMON, verdict=Verdict.CONTESTED), 17),
            FoundChange(make_finding(19, verdict=Verdict.UNATTRIBUTED, reason=Reason.NO_EVENT)),
        ),
        "host_facts": HostFacts(first_name="old", id="machine:1"),
        "routes": (
            AlertRoute(name="mail", type="smtp", format="text", destination="=root@example.com", min_severity="low"),
        ),
        "audit_gaps": ((b"/etc", Gap(start_ns=START, end_ns=START + DAY, reason=GapReason.RULE_REMOVED, actor=ALICE)),),
        "alerts": (MESSAGE,),
        "decisions": (DECISION,),
        "logs": (MonitoredLog(history=LogHistory(path=b"/var/log/=x", first_ns=START), pattern=b"/var/log"),),
        "notices": (AuditNotice(event=EventId(START, 5), kind=NoticeKind.RULE_REMOVED, key="=k", actor=ALICE),),
        "clocks": (ClockAtScan(2, START, ClockLook(synchronized=True, service="chrony", source="=s", offset_ns=-5)),),
        "retention": (Retained(kind=RetentionKind.SCANS, what="scans", age="400d", schedule="off", oldest_ns=START),),
        "selftests": (
            Selftest(
                id=1,
                started_ns=START,
                finished_ns=START + 10**9,
                steps=(StepResult(step=SelftestStep.PREPARED, state=StepState.PASSED, detail="made"),),
            ),
        ),
        "missed_runs": (
            MissedRuns(job="scan", cause=MissedCause.DOWN, first_ns=START, last_ns=START, count=1, noted_ns=START),
        ),
        "failures": (
            ControlFailure(
                id=1,
                kind=ControlKind.AUDIT,
                subject="/etc",
                cause="=its rules were removed",
                actor=ALICE,
                start_ns=START,
                detected_ns=START + 10**9,
                notes=(
                    ControlNote(id=6, failure=1, noted_ns=START + DAY, user="=al", remediation="=x", ticket="INC-1"),
                ),
            ),
        ),
        "unreadable": (Unreadable(path=b"/etc/=kept", reason=UnreadableReason.LEASED, since_ns=START),),
        "reconfigurations": (
            Reconfiguration(
                scan=2,
                before="00" * 32,
                after=scans[1].config_digest,
                differences=(
                    SettingChange(
                        key="[[watch]] /etc: policy", before="attributes", after="full", effect=Effect.STRONGER
                    ),
                ),
            ),
        ),
    }
    made = BundleInput(**{**values, **other})  # type: ignore[arg-type]
    return made if "journal" in other else replace(made, journal=[make_journal(made.scans)], rows=ROWS)


def make_rows() -> list[BoundRow]:
    """What the journal binds of the changes, the decision, the message, the failure and the note on it."""
    rows = []
    known: dict[Subject, list[tuple[int, dict[str, object]]]] = {
        Subject.ANSWER: [
            (number, {"id": number, "kind": "modified", "verdict": verdict, "path": b"/etc/hosts"})
            for number, verdict in ((17, "confirmed"), (18, "contested"), (19, "unattributed"))
        ],
        Subject.ACCEPTANCE: [(5, {"id": 5, "status": "approved", "ticket": "CHG-1", "user": "=bob", "act": 2})],
        Subject.OUTBOX: [(3, {"id": 3, "output": "mail", "state": "delivered"})],
        Subject.CAUSE: [(1, {"id": 1, "kind": "audit"})],
        Subject.CONTROL_NOTE: [(6, {"id": 6, "remediation": "=x", "ticket": "INC-1", "user": "=al"})],
    }
    for subject, some in known.items():
        columns = SUBJECTS[subject][1]
        rows += [BoundRow(subject, number, [row.get(name) for name in columns]) for number, row in some]
    return rows


ROWS = make_rows()


def make_journal(scans: Sequence[Scan]) -> Entry:
    """One entry for all rows, made after the scans."""
    items = b"".join(struct.pack(">Bq32s", row.subject, row.number, digest_of(row.values)) for row in ROWS)
    last = next((scan.entry for scan in reversed(scans) if scan.entry), GENESIS)
    values = {"id": 1, "host": "h", "made_ns": START, "cause": "scan", "items": items, "scan_entry": last}
    made = Entry(**values, previous=GENESIS, entry="")  # type: ignore[arg-type]
    return replace(made, entry=entry(GENESIS, made.summary, hashlib.sha256(items).hexdigest()))


@pytest.fixture
def bundle_input() -> Callable[..., BundleInput]:
    """Makes a complete input; keyword arguments replace its fields."""
    return make_input


@pytest.fixture
def scan_at() -> Callable[..., Scan]:
    """``scan_at(id, finished_ns)``: a scan, interrupted when it has no end."""
    return make_scan


@pytest.fixture
def state_of() -> Callable[..., FileState]:
    """``state_of(path, content, **fields)``: a regular file."""
    return make_state


@pytest.fixture
def chained() -> Callable[[list[Scan], list[str]], list[Scan]]:
    """``chained(scans, state_digests)``: the scans with their ledger fields."""
    return make_chain


@pytest.fixture(scope="session")
def key() -> SigningKey:
    """The same key in every run."""
    return SigningKey(Ed25519PrivateKey.from_private_bytes(b"k" * 32))


@pytest.fixture
def bundle(tmp_path: Path, key: SigningKey) -> Path:
    """A bundle of the complete input."""
    path = tmp_path / "evidence.zip"
    build_bundle(make_input(), key, path)
    return path


@pytest.fixture(scope="package")
def eventful(tmp_path_factory: pytest.TempPathFactory) -> Site:
    """A host with a database in which every table that is covered has rows."""
    site = new_site(tmp_path_factory.mktemp("eventful"))
    with pretended_audit():
        make_eventful(site)
    site.database.close()
    return site


@pytest.fixture
def copied(eventful: Site, tmp_path: Path) -> Iterator[Callable[..., Database]]:
    """A copy of that database after some SQL was run on it, as anybody can who may write the file."""
    opened: list[Database] = []

    def run(*statements: str) -> Database:
        target = tmp_path / "copy.db"
        shutil.copy(eventful.root / "x.db", target)
        with closing(sqlite3.connect(target)) as connection:
            for statement in statements:
                assert connection.execute(statement).rowcount != 0, f"nothing to alter: {statement}"
            connection.commit()
        opened.append(Database(f"sqlite:///{target}", host=HOST))
        return opened[-1]

    yield run
    for database in opened:
        database.close()
