"""The file was opened before the window, and is held where a look at /proc might not find it.

In all of these the user opens the file and keeps it open, fimscan scans (the window begins, and whoever holds the file
open is looked for), root's program opens the file for writing and closes it again, and only then the user changes it:
without another open, so that audit has nothing but root's.
"""

from __future__ import annotations

from tests.framing.attempt import attempt, attempt_alone, attempt_early
from tests.framing.bench import Bench, Steps


def _held(bench: Bench, way: str, deed: str = "write") -> Steps:
    target = bench.target()
    yield
    holder = bench.holding("hold", way, target, deed)
    yield
    bench.innocent(target)
    holder.go()


@attempt
def plain_descriptor(bench: Bench) -> Steps:
    """A descriptor like any other: /proc shows it."""
    return _held(bench, "plain")


@attempt
def made_before_the_window_and_held(bench: Bench) -> Steps:
    """The user makes the file after the baseline, before the window; the descriptor is in flight."""
    target = bench.here / "new"
    bench.judged.append(target)
    yield
    bench.shell(f"umask 0; echo one > {target}")
    holder = bench.holding("hold", "in-flight", target)
    yield
    bench.innocent(target)
    holder.go()


@attempt
def mapping_without_descriptor(bench: Bench) -> Steps:
    """A shared mapping, which is made writable only when it is written to; the descriptor is closed."""
    return _held(bench, "mapping")


@attempt
def mapping_written_by_another_process(bench: Bench) -> Steps:
    """One process has the mapping, and another one stores into its memory with process_vm_writev(2)."""
    return _held(bench, "mapping-of-another")


@attempt
def in_flight_in_a_socket(bench: Bench) -> Steps:
    """The descriptor is in a message that nobody has received yet: it is in no table of descriptors."""
    return _held(bench, "in-flight")


@attempt
def in_flight_in_a_socket_in_flight(bench: Bench) -> Steps:
    """The socket with the message in it is itself in a message of another socket."""
    return _held(bench, "in-flight-twice")


@attempt
def in_flight_then_copied_into(bench: Bench) -> Steps:
    """As in flight, and the change is made by copy_file_range(2) or sendfile(2), not by write(2)."""
    return _held(bench, "in-flight", "copy")


@attempt
def in_flight_then_spliced_into(bench: Bench) -> Steps:
    """As in flight, and the change comes out of a pipe by splice(2)."""
    return _held(bench, "in-flight", "splice")


@attempt
def in_flight_then_punched(bench: Bench) -> Steps:
    """As in flight, and the change is a hole that fallocate(2) punches."""
    return _held(bench, "in-flight", "punch")


@attempt
def in_flight_then_cut(bench: Bench) -> Steps:
    """As in flight, and the change is made by ftruncate(2)."""
    return _held(bench, "in-flight", "cut")


@attempt
def in_flight_then_its_mtime_put_back(bench: Bench) -> Steps:
    """As in flight, and the mtime is set back to what it was: by the mtime, nothing was written in the window."""
    target = bench.target(own=True)
    bench.shell(f"touch -r {target} {bench.elsewhere}/times")
    yield
    holder = bench.holding("hold", "in-flight", target)
    yield
    bench.innocent(target)
    holder.go()
    bench.shell(f"touch -m -r {bench.elsewhere}/times {target}")


@attempt_alone
def fixed_file_of_a_ring(bench: Bench) -> Steps:
    """The file is registered with an io_uring and closed: it is in no table of descriptors."""
    return _held(bench, "fixed-file")


@attempt
def chain_of_forks(bench: Bench) -> Steps:
    """The descriptor is in a process that forks and ends every half a millisecond: a listing of /proc misses it."""
    return _held(bench, "fork-chain")


@attempt
def chain_of_forks_with_a_mapping(bench: Bench) -> Steps:
    """As the chain of forks, with a mapping in place of the descriptor."""
    return _held(bench, "mapping-chain")


@attempt
def thread_with_a_table_of_its_own(bench: Bench) -> Steps:
    """A thread that has left the common table of descriptors (unshare(2), CLONE_FILES) holds it."""
    return _held(bench, "thread")


@attempt
def thread_with_a_table_of_the_same_numbers(bench: Bench) -> Steps:
    """As before, and its table lists the very numbers that the other threads' lists."""
    return _held(bench, "thread-same-numbers")


@attempt
def table_shared_between_processes(bench: Bench) -> Steps:
    """A process that shares the table (clone(2), CLONE_FILES) of the one that opened the file, which has ended."""
    return _held(bench, "shared-table")


@attempt
def taken_by_pidfd_getfd(bench: Bench) -> Steps:
    """Taken out of the process that opened it, which is killed, and put in flight in a socket."""
    return _held(bench, "stolen")


@attempt
def tossed_between_two_processes(bench: Bench) -> Steps:
    """Two processes send the descriptor to each other all the time, so that neither has it for long."""
    return _held(bench, "tossed")


@attempt
def among_many_descriptors_and_mappings(bench: Bench) -> Steps:
    """Beside 100,000 other descriptors and 30,000 mappings, so that looking at the process takes long."""
    return _held(bench, "many")


@attempt_alone
def process_that_cannot_be_examined(bench: Bench) -> Steps:
    """The process holds, beside the target, a file of a detached FUSE file system of a user namespace.

    Not even root may stat(2) that one descriptor, and the target must not be given up with it.
    """
    target = bench.target()
    device, place = bench.fuse_device()
    yield
    holder = bench.holding_in_namespaces("fuse", "hide", device, place, target)
    yield
    bench.innocent(target)
    holder.go()


@attempt_alone
def read_that_takes_as_long_as_wanted(bench: Bench) -> Steps:
    """A read(2) from a FUSE file of the user's into mapped memory of the target, whose mapping is gone when it ends."""
    target = bench.target(own=True)
    device, place = bench.fuse_device()
    yield
    holder = bench.holding_in_namespaces("fuse", "pin", device, place, target)
    yield
    bench.innocent(target)
    holder.go()
    bench.shell(f"ln {target} {target}.x; rm {target}.x")


@attempt_alone
def write_that_takes_as_long_as_wanted(bench: Bench) -> Steps:
    """A write(2) out of memory that a FUSE file of the user's backs.

    The call sets the file's times when it begins, before the window, and the bytes come in the window, when the FUSE
    file answers: the times then say that nothing was changed since.
    """
    target = bench.target()
    device, place = bench.fuse_device()
    yield
    holder = bench.holding_in_namespaces("fuse", "slow", device, place, target)
    yield
    bench.innocent(target)
    holder.go()


@attempt
def written_just_after_it_was_read(bench: Bench) -> Steps:
    """The descriptor is in flight; the write comes as soon as the scanner closes the file, at the window's very start.

    Root's program opens the file afterwards, and then the user sets the ctime by making and removing a link.
    """
    target = bench.target()
    yield
    holder = bench.holding("calls", "after-reading", target)
    yield
    holder.has_done()
    bench.innocent(target)
    bench.shell(f"ln {target} {target}.link; rm {target}.link")


@attempt_early
def read_from_a_file_system_that_was_mounted_before(bench: Bench) -> Steps:
    """A read(2) as above; the user has mounted the FUSE file system before the rules were loaded."""
    target = bench.target(own=True)
    device, place = bench.fuse_device()
    holder = bench.holding_in_namespaces("fuse", "pin", device, place, target)
    yield
    yield
    bench.innocent(target)
    holder.go()
    bench.shell(f"ln {target} {target}.x; rm {target}.x")
