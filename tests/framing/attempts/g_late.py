"""The user's call begins before the window and acts within it.

Audit stamps a call with the time at which it began. A user can have a call wait as long as wanted: for a name in memory
that is slow to come, for a lock, for processor time. Root's program acts in between. If the user's call counts as one
from before the window, root's process seems to be the only one.
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
    """The user's open(2) for writing begins before the window. It finds the file within it.

    Audit stamps the call with its begin. Root's program opens the file in the window.
    """
    return _late(bench, "open")


@attempt
def truncated_late(bench: Bench) -> Steps:
    """The user's truncate(2) begins before the window. It finds the file within it.

    Audit stamps the call with its begin. Root's program opens the file in the window.
    """
    return _late(bench, "truncate")


@attempt
def mode_set_late(bench: Bench) -> Steps:
    """The user's chmod(2) begins before the window. It finds the file within it.

    Audit stamps the call with its begin. In the window, root sets the mode that the file has already.
    """
    return _late(bench, "chmod", "chmod", "666")


@attempt
def attribute_set_late(bench: Bench) -> Steps:
    """The user's setxattr(2) begins before the window. It finds the file within it.

    Audit stamps the call with its begin. In the window, root sets another attribute to the value that it has already.
    """
    return _late(bench, "xattr", "setfattr", "-n", "user.kept", "-v", "same")


@attempt
def times_set_late(bench: Bench) -> Steps:
    """The user's utimensat(2) begins before the window. It finds the file within it.

    Audit stamps the call with its begin. In the window, root sets other times before the call acts.
    """
    return _late(bench, "times", "touch", "-d", "2020-01-01")


@attempt
def times_set_late_all_in_the_window(bench: Bench) -> Steps:
    """The user's utimensat(2) begins before root's touch and sets the times after it, all in the window.

    Audit stamps the call with its begin. So root's touch seems to be the later one.
    """
    target = bench.target(own=True)
    yield
    yield
    waiting = bench.holding_late("times", target)
    bench.root("touch", "-d", "2020-01-01", str(target))
    waiting.go()


@attempt
def replaced_late(bench: Bench) -> Steps:
    """The user's rename(2) of another file over the target begins before the window, and acts within it.

    Audit stamps the call with its begin. Root's program opens the new file in the window.
    """
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
    """The user's unlink(2) begins before the window. Root removes the file and creates it anew; then the call acts.

    Audit stamps the call with its begin. So root's removal seems to be the later one.
    """
    target = bench.target(own=True)
    yield
    waiting = bench.holding_late("unlink", target)
    yield
    bench.root("rm", str(target))
    bench.root("sh", "-c", f"echo one > {target}")
    waiting.go()


@attempt
def linked_elsewhere_late(bench: Bench) -> Steps:
    """The user's link(2) to a name elsewhere begins before the window, and acts within it.

    The user writes by that name and removes it. No rule reports the write. Audit stamps the link with its begin, so the
    file seems to have no other name in the window.
    """
    target = bench.target(own=True)
    yield
    waiting = bench.holding_late("link", target, bench.elsewhere / "alias")
    yield
    bench.innocent(target)
    waiting.go()


@attempt
def opened_late_after_root_created_it_anew(bench: Bench) -> Steps:
    """The user's open(2) begins in the window. Root removes the file and creates it anew. The call opens the new file.

    Audit stamps the call with its begin. So it seems to concern the file that root removed.
    """
    target = bench.target(own=True)
    yield
    yield
    waiting = bench.holding_late("open", target)
    time.sleep(1.5)
    bench.root("rm", str(target))
    bench.root("sh", "-c", f"umask 0; echo two > {target}")
    waiting.go()


@attempt
def opened_late_after_root_replaced_it(bench: Bench) -> Steps:
    """The user's open(2) begins in the window. Root's sed replaces the file by a rename. The call opens the new file.

    Audit stamps the call with its begin. So it seems to concern the file that root replaced.
    """
    target = bench.target(own=True)
    yield
    yield
    waiting = bench.holding_late("open", target)
    time.sleep(1.5)
    bench.root("sed", "-i", "s/one/two/", str(target))
    waiting.go()
