"""Flags that signal handlers set."""

from __future__ import annotations

import subprocess
import sys
import threading

from fimscan.signal_flag import SignalFlag

# With threading.Event, this ends in a deadlock after some thousand signals.
_HAMMER = """
import signal
from fimscan.signal_flag import SignalFlag
flag, came = SignalFlag(), 0
def on_signal(*_):
    global came
    came += 1
    flag.set()
signal.signal(signal.SIGALRM, on_signal)
begun = 0
while came < 10_000:
    begun += 1
    signal.setitimer(signal.ITIMER_REAL, 1e-6 * (1 + begun % 60))
    flag.wait(0.00001)
    flag.clear()
signal.setitimer(signal.ITIMER_REAL, 0)
"""


def test_a_handler_may_interrupt_its_own_thread() -> None:
    """Wherever that is: inside of wait, set or clear."""
    subprocess.run([sys.executable, "-c", _HAMMER], check=True, timeout=120)


def test_all_who_wait_are_woken() -> None:
    """At once, and later ones do not wait at all; after clear, they do."""
    flag = SignalFlag()
    answers: list[bool] = []
    threads = [threading.Thread(target=lambda: answers.append(flag.wait(60))) for _ in range(3)]
    for thread in threads:
        thread.start()
    flag.set()
    for thread in threads:
        thread.join(60)
    assert answers == [True] * 3 and flag.wait(60)
    flag.clear()
    assert not flag.is_set() and not flag.wait(0.01)
