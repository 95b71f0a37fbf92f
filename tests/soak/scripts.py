"""When what goes wrong: the soak of minutes, and its short form."""

from __future__ import annotations

import signal
import time

from tests.soak.faults import Faults
from tests.soak.service import Size

_HOUR = 3600
_SLOWER = ('debounce = "1s"', 'debounce = "2s"')


def short(faults: Faults) -> Size:
    """Each fault once, in less than a minute."""
    faults.rotate()
    with faults.receivers_down():
        for _ in range(3):
            faults.killed()
    faults.service.wait_for_scan()
    begin = faults.service.size()
    with faults.disk_full():
        with faults.auditd_killed():
            time.sleep(1)
        time.sleep(6)
    faults.reloaded(*_SLOWER)
    with faults.asleep():
        with faults.rules_removed():
            time.sleep(1)
        faults.rotate()
        time.sleep(7)
    faults.reloaded_in_vain()
    return begin


def long(faults: Faults) -> Size:
    """All faults, also overlapping, some minutes."""
    _kill_twenty_times(faults)
    # The last process of the scheduler has begun.
    service = faults.service
    service.wait_for_scan()
    begin = service.size()
    with faults.auditd_killed():
        time.sleep(3)
    faults.rotate()
    service.wait_for_scan()
    with faults.receivers_down(), faults.disk_full():
        time.sleep(12)
    service.wait_for_scan()
    with faults.rules_removed():
        time.sleep(3)
        faults.rotate()
    faults.reloaded(*_SLOWER)
    with faults.database_locked():
        time.sleep(6)
        with faults.auditd_killed():
            time.sleep(2)
        faults.rotate()
        time.sleep(8)  # longer than fimscan waits for a locked database
    service.wait_for_scan()
    faults.reloaded_in_vain()
    with faults.asleep():
        time.sleep(5)
        with faults.rules_removed():
            time.sleep(2)
            faults.rotate()
        time.sleep(4)
    service.wait_for_scan()
    if faults.clock is not None:
        with faults.clock_set(_HOUR):
            time.sleep(8)
        # The times at which audit was looked at last have not come yet.
        with faults.rules_removed():
            time.sleep(3)
        service.wait_for_scan()
    faults.reloaded(*reversed(_SLOWER))
    with faults.receivers_down():
        service.send(signal.SIGHUP)
    return begin


def _kill_twenty_times(faults: Faults) -> None:
    """kill -9 at random moments, alone and while other things are broken."""
    faults.rotate()
    for _ in range(6):
        faults.killed()
    with faults.receivers_down():
        for _ in range(6):
            faults.killed()
        faults.rotate()
    faults.service.wait_for_scan()  # what was changed until now was never out of sight of audit
    with faults.rules_removed():
        for _ in range(2):
            faults.killed()
    faults.service.wait_for_scan()
    for _ in range(3):
        faults.killed()
    with faults.auditd_killed():
        faults.killed()
    for _ in range(2):
        faults.killed()
