"""The file is reached by a way that is not below the watched directory, or by none at all.

Rules with ``dir=`` go by the directories above the name that is opened. A name that was removed can still be opened, by
a descriptor of it (``/proc/self/fd/N``), and memory of a file can be written to when no mapping of it is left.
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
    """A link elsewhere is made and removed before the window; an O_PATH descriptor of it is left, and opened in it."""
    return _by_name(bench, "removed-name")


@attempt
def opened_by_a_removed_name_kept_for_reading(bench: Bench) -> Steps:
    """As before, and the descriptor can be read."""
    return _by_name(bench, "removed-name-read")


@attempt
def opened_by_a_removed_name_in_flight(bench: Bench) -> Steps:
    """As before, and the descriptor is in a message that nobody has received yet."""
    return _by_name(bench, "removed-name-in-flight")


@attempt
def opened_by_a_removed_name_in_the_window(bench: Bench) -> Steps:
    """As before, all within the window."""
    target = bench.target(own=True)
    yield
    yield
    bench.innocent(target)
    bench.holding("odd", "removed-name", target, bench.elsewhere / "x").go()


@attempt_alone
def opened_by_a_name_removed_before_the_baseline(bench: Bench) -> Steps:
    """The link is made and removed before fimscan has seen the file at all."""
    target = bench.target(own=True)
    holder = bench.holding("odd", "removed-name", target, bench.elsewhere / "x")
    yield
    yield
    bench.innocent(target)
    holder.go()


@attempt
def opened_by_the_name_it_never_had(bench: Bench) -> Steps:
    """The file was made elsewhere without a name (O_TMPFILE) and linked here before the window."""
    target = bench.target(own=True)
    yield
    holder = bench.holding("odd", "nameless", target, bench.elsewhere)
    yield
    bench.innocent(target)
    holder.go()


@attempt_early
def opened_by_a_removed_name_that_a_mount_keeps(bench: Bench) -> Steps:
    """A name elsewhere is mounted in a namespace of the user's and removed, all before the rules are loaded."""
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
    """As before, by open_tree(2) and move_mount(2); a tree of mounts that is in no namespace keeps the name."""
    target = bench.target(own=True)
    yield
    holder = bench.holding("odd", "detached-name", target, bench.elsewhere)
    yield
    bench.innocent(target)
    holder.go()
    bench.shell(f"chmod 600 {target}; chmod 666 {target}")


@attempt
def memory_registered_with_a_ring(bench: Bench) -> Steps:
    """Memory of the file is a buffer of an io_uring: neither a descriptor nor a mapping is left (tmpfs only)."""
    target = bench.target()
    yield
    holder = bench.holding("odd", "buffer", target)
    yield
    bench.innocent(target)
    holder.go()
    bench.shell(f"ln {target} {target}.x; rm {target}.x")


@attempt
def memory_registered_with_a_ring_that_does_not_show(bench: Bench) -> Steps:
    """As before, and the ring has neither descriptor nor mapping (IORING_SETUP_REGISTERED_FD_ONLY; tmpfs only)."""
    target = bench.target()
    yield
    holder = bench.holding("odd", "hidden-buffer", target)
    yield
    bench.innocent(target)
    holder.go()
    bench.shell(f"ln {target} {target}.x; rm {target}.x")


@attempt
def open_that_waits_for_a_lease(bench: Bench) -> Steps:
    """An open for writing waits for another process's lease from before the window, and is let through within it."""
    target = bench.target(own=True)
    yield
    holder = bench.holding("odd", "lease", target)
    yield
    holder.go()
    bench.innocent(target)
    bench.shell(f"ln {target} {target}.x; rm {target}.x")
