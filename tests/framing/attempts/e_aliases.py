"""The user reaches the file by a name outside the watched directory, or without any name.

A rule with ``dir=`` goes by the directories above the name that is opened. A name that was removed can still be opened
by a descriptor of it (``/proc/self/fd/N``). Memory of a file can be written to when no mapping of it is left. If
fimscan does not know of this, root's open is the only one.
"""

from __future__ import annotations

from tests.framing.attempt import attempt, attempt_alone, attempt_early
from tests.framing.bench import Bench, Steps


def _by_name(bench: Bench, way: str) -> Steps:
    target = bench.target(own=True)
    yield
    holder = bench.holding("odd", way, target, bench.elsewhere / "x")
    yield
    bench.innocent(target)
    holder.go()


@attempt
def opened_by_a_removed_name(bench: Bench) -> Steps:
    """The user links the file elsewhere, keeps an O_PATH descriptor of that name, and removes it.

    All this comes before the window. In the window, the user opens the file by the descriptor, which no rule for the
    directory reports.
    """
    return _by_name(bench, "removed-name")


@attempt
def opened_by_a_removed_name_kept_for_reading(bench: Bench) -> Steps:
    """The user links the file elsewhere, keeps a descriptor of that name for reading, and removes it.

    All this comes before the window. In the window, the user opens the file for writing by the descriptor. No rule for
    the directory reports that.
    """
    return _by_name(bench, "removed-name-read")


@attempt
def opened_by_a_removed_name_in_flight(bench: Bench) -> Steps:
    """The user queues a descriptor of a removed name elsewhere in a socket, before the window.

    No descriptor table has it. In the window, the user receives it and opens the file by it, which no rule for the
    directory reports.
    """
    return _by_name(bench, "removed-name-in-flight")


@attempt
def opened_by_a_removed_name_in_the_window(bench: Bench) -> Steps:
    """In the window, the user links the file elsewhere, removes that name, and opens the file by a descriptor of it.

    When fimscan looked for holders of the file, there was none. No rule for the directory reports the open.
    """
    target = bench.target(own=True)
    yield
    yield
    bench.innocent(target)
    bench.holding("odd", "removed-name", target, bench.elsewhere / "x").go()


@attempt_alone
def opened_by_a_name_removed_before_the_baseline(bench: Bench) -> Steps:
    """The user links the file elsewhere and removes that name before the first scan, keeping a descriptor.

    In the window, the user opens the file by the descriptor. The link came before any scan.
    """
    target = bench.target(own=True)
    holder = bench.holding("odd", "removed-name", target, bench.elsewhere / "x")
    yield
    yield
    bench.innocent(target)
    holder.go()


@attempt
def opened_by_a_descriptor_older_than_its_name(bench: Bench) -> Steps:
    """The user creates the file elsewhere without a name (O_TMPFILE), and links it here before the window.

    In the window, the user opens it by a descriptor from elsewhere, which no rule for the directory reports.
    """
    target = bench.target(own=True)
    yield
    holder = bench.holding("odd", "nameless", target, bench.elsewhere)
    yield
    bench.innocent(target)
    holder.go()


@attempt_early
def opened_by_a_removed_name_that_a_mount_keeps(bench: Bench) -> Steps:
    """The user links the file elsewhere, mounts that name in a namespace, and removes it.

    All this comes before the rules are loaded. In the window, the user opens the file by the mount. No descriptor shows
    the name, and no rule for the directory reports the open.
    """
    target = bench.target(own=True)
    bench.shell(f"touch {bench.elsewhere}/place")
    holder = bench.holding_in_namespaces("odd", "bound-name", target, bench.elsewhere)
    yield
    yield
    bench.innocent(target)
    holder.go()
    bench.shell(f"chmod 600 {target}; chmod 666 {target}")


@attempt
def opened_by_a_removed_name_in_a_detached_tree(bench: Bench) -> Steps:
    """The user keeps a removed name of the file in a tree of mounts that is in no namespace.

    The tree is made by open_tree(2) and move_mount(2), which no rule for mounts reports. No mount table shows it. In
    the window, the user opens the file through it.
    """
    target = bench.target(own=True)
    yield
    holder = bench.holding("odd", "detached-name", target, bench.elsewhere)
    yield
    bench.innocent(target)
    holder.go()
    bench.shell(f"chmod 600 {target}; chmod 666 {target}")


@attempt
def memory_registered_with_io_uring(bench: Bench) -> Steps:
    """The user registers mapped memory of the file as a buffer of an io_uring, then closes and unmaps the file.

    In the window, the io_uring writes to the buffer. No process has the file open or mapped. (On tmpfs only.)
    """
    target = bench.target()
    yield
    holder = bench.holding("odd", "buffer", target)
    yield
    bench.innocent(target)
    holder.go()
    bench.shell(f"ln {target} {target}.x; rm {target}.x")


@attempt
def memory_registered_with_a_hidden_io_uring(bench: Bench) -> Steps:
    """The user registers memory of the file with an io_uring that has neither descriptor nor mapping.

    In the window, the io_uring writes to the memory. /proc shows neither the file nor the io_uring, which is made with
    IORING_SETUP_REGISTERED_FD_ONLY. (On tmpfs only.)
    """
    target = bench.target()
    yield
    holder = bench.holding("odd", "hidden-buffer", target)
    yield
    bench.innocent(target)
    holder.go()
    bench.shell(f"ln {target} {target}.x; rm {target}.x")


@attempt
def open_that_waits_for_a_lease(bench: Bench) -> Steps:
    """The user opens the file for writing. The open waits for a lease, which ends in the window.

    Another process of the user has the lease. Audit has the time at which the open began, before the window.
    """
    target = bench.target(own=True)
    yield
    holder = bench.holding("odd", "lease", target)
    yield
    holder.go()
    bench.innocent(target)
    bench.shell(f"ln {target} {target}.x; rm {target}.x")
