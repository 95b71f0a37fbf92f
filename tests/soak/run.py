"""One soak from beginning to end: prepare, break things while workers change files, let all settle, judge."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp

from sqlalchemy import select

from fimscan.model import Scan, ScanStatus
from fimscan.store import controls as control_store
from fimscan.store import findings as finding_store
from fimscan.store import scans as scan_store
from fimscan.store import schema
from fimscan.store.database import Database
from tests.lab.ground import Installation, Unavailable, dismantle, load_rules, write_config
from tests.lab.runner import Ground
from tests.lab.volume import volume
from tests.soak.crew import Crew
from tests.soak.faults import Faults, set_clock
from tests.soak.judge import Judge, Judgement, Waited
from tests.soak.receivers import LATE_S, STEADY, Receivers
from tests.soak.service import Service, Size
from tests.soak.truth import Truth

_ANY = tuple(range(16))
_CLOCK = Path(__file__).parent / "clock.c"
_MOST_ATTEMPTS = 30
_CACHES_MB = 4 * 32
_MORE_DESCRIPTORS = 16  # a scan's workers have some while it runs
_CONFIG = """\
[schedule]
scan = "{interval}s"
full = "1h"
audit = "2s"
[live]
debounce = "1s"
max_delay = "3s"
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How much is done.

    Attributes:
        interval_s: between two scans.
        rounds: of the workers at most.
        changes: of a worker in a round.
        rate: changes of a worker per second.
        rest_s: between two rounds.
        database_mb: the size of the file system of the database.
    """

    interval_s: int = 5
    rounds: int = 120
    changes: int = 25
    rate: float = 100.0
    rest_s: float = 3.0
    database_mb: int = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """A judgement, with what the scheduler took at the beginning and at the end of its last process."""

    judgement: Judgement
    starts: int
    sizes: tuple[Size, Size]
    seconds: float
    root: Path


Script = Callable[[Faults], Size]
"""What goes wrong when; returns what the last process of the scheduler took after its start."""


def play(ground: Ground, script: Script, pace: Pace, seed: int, say: Callable[[str], None]) -> Result:
    """Run one soak. What it wrote stays if anything is wrong, in ``root`` of the result."""
    if not ground.daemon.is_ours:
        raise Unavailable("an auditd runs that is not ours to kill (FIMSCAN_LAB_OWN_DAEMON=1 lets ours take its place)")
    root = Path(mkdtemp(prefix="fimscan-soak-"))
    root.chmod(0o755)
    begun = time.monotonic()
    with ExitStack() as stack:
        faults = stack.enter_context(_stage(ground, root, pace, seed))
        say(f"{root}: seed {seed}{'' if faults.clock else '; the clock stays as it is: there is no C compiler'}")
        service = faults.service
        service.start()
        stack.callback(_end, service)
        service.wait_for_scan()
        stack.callback(faults.crew.abandon)
        faults.crew.start()
        begin = script(faults)
        say("quiet")
        faults.crew.stop()
        service.wait_for_scan()
        sizes = begin, service.size()
        code = service.stop()
        judgement = _judge(faults, pace)
        judgement.problems += _judge_process(service, code, sizes)
        if judgement.problems:
            for name in ("fimscan.db", "fimscan.db-wal", "fimscan.toml"):
                if (faults.installation.root / name).exists():
                    shutil.copy2(faults.installation.root / name, root / name)
    if not judgement.problems:
        shutil.rmtree(root)
    return Result(
        judgement=judgement,
        starts=service.starts,
        sizes=sizes,
        seconds=time.monotonic() - begun,
        root=root,
    )


@contextmanager
def _stage(ground: Ground, root: Path, pace: Pace, seed: int) -> Iterator[Faults]:
    """Everything that a soak needs, before the scheduler starts."""
    ground.forget_log()
    with ExitStack() as stack:
        # Of its own size, because it is filled. Nothing else is on it.
        home = root / "home"
        home.mkdir(mode=0o700)
        _run("mount", "-t", "tmpfs", "-o", f"size={pace.database_mb}M,mode=0700", "none", str(home))
        stack.callback(_run, "umount", "-l", str(home))
        place = stack.enter_context(volume("ext4", root)).root
        watched = place / "watched"
        watched.mkdir()
        truth = Truth.at(root / "truth.jsonl")
        stack.callback(truth.file.close)
        crew = Crew(
            watched,
            truth,
            rounds=pace.rounds,
            changes=pace.changes,
            rate=pace.rate,
            rest=pace.rest_s,
            seed=seed,
        )
        (root / "receivers").mkdir()
        receivers = Receivers(root / "receivers")
        receivers.start()
        stack.callback(receivers.stop)
        more = _CONFIG.format(interval=pace.interval_s) + receivers.configuration
        config = write_config(home, [watched], ground.daemon.log, more)
        installation = Installation(root=home, watched=watched, elsewhere=place, config=config)
        rules = load_rules(installation)
        stack.callback(dismantle, rules)
        clock = _clock(root)
        service = Service(config, home / "fimscan.db", root / "said", _shifted(clock))
        yield Faults(
            truth=truth,
            daemon=ground.daemon,
            installation=installation,
            rules=rules,
            service=service,
            receivers=receivers,
            crew=crew,
            clock=clock,
            random=random.Random(seed),
        )


def _clock(root: Path) -> Path | None:
    """The file that sets the scheduler's clock; ``None`` without a C compiler."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        return None
    _run(compiler, "-shared", "-fPIC", "-O1", "-D_GNU_SOURCE", "-o", str(root / "clock.so"), str(_CLOCK), "-ldl")
    clock = root / "clock"
    set_clock(clock, 0)
    return clock


def _shifted(clock: Path | None) -> dict[str, str]:
    """The environment of a process with that clock."""
    return {} if clock is None else {"LD_PRELOAD": str(clock.with_suffix(".so")), "SOAK_CLOCK": str(clock)}


def _run(*command: str) -> None:
    subprocess.run(command, check=True)


def _end(service: Service) -> None:
    if service.process.poll() is None:
        service.kill()


def _judge(faults: Faults, pace: Pace) -> Judgement:
    """Scan once more, deliver what waits, and compare everything with the truth."""
    installation, receivers = faults.installation, faults.receivers
    installation.run("scan", codes=_ANY)
    receivers.is_healthy = True
    for _ in range(_MOST_ATTEMPTS):
        if installation.run("notify", codes=(0, 1)).returncode == 0:
            break
    received = receivers.received()
    database = Database(f"sqlite:///{installation.root}/fimscan.db", host=os.uname().nodename, create=False)
    try:
        with database.read() as session:
            last = scan_store.last_finished(session)
            assert last is not None, "there were scans"
            findings = finding_store.findings_between(session, 0, last.id)
            scans = [(one.started_ns, one.finished_ns or 0) for one in scan_store.all_scans(session) if _is_whole(one)]
            failures = control_store.between(session, 0, time.time_ns() + 10 * 3600 * 10**9)
            table = schema.outbox
            rows = session.execute(
                select(table.c.output, table.c.message, table.c.state, table.c.made_ns, table.c.done_ns)
            ).all()
    finally:
        database.close()
    made: dict[str, dict[str, str]] = {name: {} for name in received}
    waited: dict[str, list[Waited]] = {name: [] for name in received}
    for output, message, state, made_ns, done_ns in rows:
        made[output][message] = state
        waited[output].append(Waited(made_ns, done_ns or time.time_ns()))
    judge = Judge(faults.truth.faults, pace.interval_s, scans)
    judge.changes(faults.truth.changes, findings)
    judge.outages(failures)
    # The web server also fails by itself, at any time.
    judge.outages_of_outputs(failures, {name: waited[name] for name in STEADY}, LATE_S)
    judge.messages(made, received, receivers.documents, {row.change.id for row in findings})
    said = installation.run("verify", "--db", codes=_ANY).stdout.decode()
    judge.judgement.problems += [line for line in said.splitlines() if "FAIL" in line]
    return judge.judgement


def _is_whole(scan: Scan) -> bool:
    return scan.status is ScanStatus.FINISHED and not scan.is_partial


def _judge_process(service: Service, code: int, sizes: tuple[Size, Size]) -> Iterator[str]:
    """Yield what is wrong with the scheduler's process, with its size, and with what it printed."""
    if code:
        yield f"the scheduler's exit code was {code}"
    begin, end = sizes
    # SQLite's caches of the connections fill up to 32 MB each, as the database grows.
    if end.memory > 2 * begin.memory + _CACHES_MB:
        yield f"memory has grown from {begin.memory} to {end.memory} MB"
    if end.descriptors > begin.descriptors + _MORE_DESCRIPTORS:
        yield f"descriptors have grown from {begin.descriptors} to {end.descriptors}"
    for line in service.said.splitlines():
        if any(words in line for words in ("Traceback", "internal error", "Error:", "Exception")):
            yield f"it printed: {line}"
    yield from (f"left behind: {text}" for text in service.left_behind())
