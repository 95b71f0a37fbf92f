"""``kill -9`` at any moment of a scan. ``FIMSCAN_KILLS=200`` runs the full campaign; the default is a few kills."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time

from tests.conftest import Cli
from tests.crash.ground import Ground

KILLS = int(os.environ.get("FIMSCAN_KILLS", "6"))
FILES = 400 + 3 * KILLS

# Kills itself before the given SQL statement, so that a kill can come between any two writes, however short the time.
AT_A_STATEMENT = """
import os, signal, sys
from sqlalchemy import event
from sqlalchemy.engine import Engine
from fimscan.cli.main import main
from fimscan.pipeline.record import blocks

blocks._BATCH = blocks._FLUSH_ROWS = 5
left = int(sys.argv[1])

def count(*_):
    global left
    left -= 1
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)

for moment in ("before_cursor_execute", "commit"):
    event.listen(Engine, moment, count)
if left < 0:
    import os as system
    leave = system._exit
    system._exit = lambda code: (print(-left, file=sys.stderr), leave(code))
main(sys.argv[2:])
"""


def _statements(ground: Ground) -> int:
    """Count the statements of a scan that finds a few changes."""
    start = -1
    done = subprocess.run(
        [sys.executable, "-c", AT_A_STATEMENT, str(start), *ground.cli.command()[3:], "scan", "--no-audit"],
        capture_output=True,
        text=True,
        check=False,
    )
    return int(done.stderr.split()[-1]) - 1


def _killed_at_a_statement(ground: Ground, number: int) -> str:
    command = [sys.executable, "-c", AT_A_STATEMENT, str(number), *ground.cli.command()[3:]]
    done = subprocess.run(
        [*command, "scan", "--no-audit", "--format", "json"], capture_output=True, text=True, check=False
    )
    assert done.returncode in (0, 4, -signal.SIGKILL), done.stderr
    return done.stdout


def _killed_after(ground: Ground, seconds: float) -> str:
    """Kill a scan after some seconds; a file changes while it runs, too."""
    command = ground.cli.command("scan", "--no-audit", "--format", "json")
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        time.sleep(seconds / 2)
        ground.change_one()
        time.sleep(seconds / 2)
        process.kill()
        output, said = process.communicate()
    assert "Traceback" not in said
    return output


def test_killed_scans(cli: Cli) -> None:
    """The last finished scan stays intact, the killed one is shown as interrupted, each change is found once."""
    dice = random.Random(int(os.environ.get("FIMSCAN_SEED", "4")))
    ground = Ground(cli, FILES)
    cli.scan()
    begun = time.monotonic()
    for _ in range(3):
        ground.change_one()
    ground.scan()
    length = time.monotonic() - begun
    statements = _statements(ground)
    assert statements > 20
    interrupted = 0
    for number in range(KILLS):
        ground.change_one()
        before = ground.check_database(every_scan=False)
        if number % 2:
            output = _killed_at_a_statement(ground, dice.randrange(1, statements + 2))
        else:
            output = _killed_after(ground, dice.uniform(0.2, 1.1) * length)
        if output.rstrip().endswith("}"):
            ground.count(output)
        assert ground.check_database(every_scan=number % 10 == 0) >= before
        if number % 3 == 0:
            scans = json.loads(cli("status", "--last", "1000", "--format", "json", code=0).stdout)["scans"]
            interrupted += scans[-1]["status"] == "interrupted"
            assert {scan["status"] for scan in scans} <= {"finished", "interrupted"}
        if number % 4 == 3:
            ground.scan()
    ground.scan()
    ground.check_database()
    ground.check_changes()
    if KILLS >= 10:
        assert interrupted, "no scan was killed while it ran: the moments are badly chosen"
