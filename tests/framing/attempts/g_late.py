"""The call begins before the window and acts within it.

Audit's time of a call is that of its begin, and a user can have a call wait for as long as wanted: for a name in memory
that is slow to come, a lock, a share of processor time. Root's program acts in between.
"""

from __future__ import annotations

import time

from tests.framing.attempt import attempt
from tests.framing.bench import Bench, Steps


def _late(bench: Bench, call: str, *root: str) -> Steps:
    target = bench.target(own=True)
    if root:
        bench.root(*root, str(target))
    yield
    waiting = bench.holding_late(call, target)
    yield
    if root:
        bench.root(*root, str(target))
    else:
        bench.innocent(target)
    waiting.go()


@attempt
def opened_late(bench: Bench) -> Steps:
    """open(2) for writing: it begins before the window, and finds the file within it."""
    return _late(bench, "open")


@attempt
def truncated_late(bench: Bench) -> Steps:
    """As before, truncate(2)."""
    return _late(bench, "truncate")


@attempt
def mode_set_late(bench: Bench) -> Steps:
    """As before, chmod(2); root sets the mode that the file has already."""
    return _late(bench, "chmod", "chmod", "666")


@attempt
def attribute_set_late(bench: Bench) -> Steps:
    """As before, setxattr(2); root sets another attribute to the value that it has already."""
    return _late(bench, "xattr", "setfattr", "-n", "user.kept", "-v", "same")


@attempt
def times_set_late(bench: Bench) -> Steps:
    """As before, utimensat(2); root sets other times before that."""
    return _late(bench, "times", "touch", "-d", "2020-01-01")


@attempt
def times_set_late_all_in_the_window(bench: Bench) -> Steps:
    """utimensat(2) begins before root's touch, and sets the times after it, all in the window."""
    target = bench.target(own=True)
    yield
    yield
    waiting = bench.holding_late("times", target)
    bench.root("touch", "-d", "2020-01-01", str(target))
    waiting.go()


@attempt
def replaced_late(bench: Bench) -> Steps:
    """As before, rename(2) of a file from elsewhere over the target; then root opens the new file."""
    target = bench.target(own=True)
    bench.shell(f"echo EVIL > {bench.elsewhere}/new; chmod 666 {bench.elsewhere}/new")
    yield
    waiting = bench.holding_late("rename", target, bench.elsewhere / "new")
    yield
    waiting.go()
    bench.innocent(target)
    bench.shell(f"chmod 600 {target}; chmod 666 {target}")


@attempt
def removed_late(bench: Bench) -> Steps:
    """As before, unlink(2): root removes the file and makes it anew, and that one is removed."""
    target = bench.target(own=True)
    yield
    waiting = bench.holding_late("unlink", target)
    yield
    bench.root("rm", str(target))
    bench.root("sh", "-c", f"echo one > {target}")
    waiting.go()


@attempt
def linked_elsewhere_late(bench: Bench) -> Steps:
    """link(2) to a name elsewhere begins before the window; the file is written by that name, which is then removed."""
    target = bench.target(own=True)
    yield
    waiting = bench.holding_late("link", target, bench.elsewhere / "alias")
    yield
    bench.innocent(target)
    waiting.go()


@attempt
def opened_late_a_file_made_anew(bench: Bench) -> Steps:
    """open(2) begins in the window; root removes the file and makes it anew, and it is the new one that is opened."""
    target = bench.target(own=True)
    yield
    yield
    waiting = bench.holding_late("open", target)
    time.sleep(1.5)
    bench.root("rm", str(target))
    bench.root("sh", "-c", f"umask 0; echo two > {target}")
    waiting.go()


@attempt
def opened_late_a_file_that_replaced_it(bench: Bench) -> Steps:
    """As before, and root's sed replaces the file by a rename."""
    target = bench.target(own=True)
    yield
    yield
    waiting = bench.holding_late("open", target)
    time.sleep(1.5)
    bench.root("sed", "-i", "s/one/two/", str(target))
    waiting.go()
