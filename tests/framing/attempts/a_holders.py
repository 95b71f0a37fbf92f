"""The user opens the file before the window, and keeps it open in a way that /proc might not show.

The order is the same in most of these attempts:

1. The user opens the file and keeps it open.
2. fimscan scans. The window begins, and fimscan looks for processes that have the file open for writing.
3. Root's program opens the file for writing and closes it.
4. The user changes the file without opening it again.

Audit recorded only root's open in the window. If fimscan does not find the user's process, it names root's.
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
    """The user keeps an ordinary descriptor, which /proc shows. In the window, audit records only root's open."""
    return _held(bench, "plain")


@attempt
def made_after_the_first_scan_and_held(bench: Bench) -> Steps:
    """The user creates the file after the first scan, and keeps a descriptor of it in a socket's queue.

    The creation lies before the window, in which audit records only root's open. No process shows the descriptor.
    """
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
    """The user keeps a shared mapping of the file and closes the descriptor.

    The mapping is read-only until the user writes. So it does not look as if it could change the file.
    """
    return _held(bench, "mapping")


@attempt
def mapping_written_by_another_process(bench: Bench) -> Steps:
    """One process of the user has the file mapped. Another one writes into its memory.

    It uses process_vm_writev(2). When it writes, it has the file neither open nor mapped itself.
    """
    return _held(bench, "mapping-of-another")


@attempt
def in_flight_in_a_socket(bench: Bench) -> Steps:
    """The user sends the descriptor to a socket and does not receive it yet. No descriptor table has the file."""
    return _held(bench, "in-flight")


@attempt
def in_flight_in_a_socket_that_is_in_flight(bench: Bench) -> Steps:
    """The user's descriptor is queued in a socket, and that socket is queued in another one.

    No descriptor table has the file, nor the socket that it can be received from.
    """
    return _held(bench, "in-flight-twice")


@attempt
def in_flight_then_copied_into(bench: Bench) -> Steps:
    """The user's descriptor is queued in a socket. The user writes by copy_file_range(2) or sendfile(2).

    Audit records no open for these calls. No descriptor table has the file.
    """
    return _held(bench, "in-flight", "copy")


@attempt
def in_flight_then_spliced_into(bench: Bench) -> Steps:
    """The user's descriptor is queued in a socket. The user moves bytes from a pipe into the file by splice(2).

    Audit records no open for this call. No descriptor table has the file.
    """
    return _held(bench, "in-flight", "splice")


@attempt
def in_flight_then_punched(bench: Bench) -> Steps:
    """The user's descriptor is queued in a socket. The user punches a hole into the file by fallocate(2).

    Audit records no open for this call. No descriptor table has the file.
    """
    return _held(bench, "in-flight", "punch")


@attempt
def in_flight_then_truncated(bench: Bench) -> Steps:
    """The user's descriptor is queued in a socket. The user shortens the file by ftruncate(2).

    Audit records no open for this call. No descriptor table has the file.
    """
    return _held(bench, "in-flight", "cut")


@attempt
def in_flight_then_its_mtime_set_back(bench: Bench) -> Steps:
    """The user writes by a descriptor from a socket's queue, and sets the mtime back to what it was.

    By the mtime, nothing was written in the window. That seems to clear whoever had the file open before.
    """
    target = bench.target(own=True)
    bench.shell(f"touch -r {target} {bench.elsewhere}/times")
    yield
    holder = bench.holding("hold", "in-flight", target)
    yield
    bench.innocent(target)
    holder.go()
    bench.shell(f"touch -m -r {bench.elsewhere}/times {target}")


@attempt_alone
def fixed_file_of_an_io_uring(bench: Bench) -> Steps:
    """The user registers the file with an io_uring and closes it. No descriptor table has the file."""
    return _held(bench, "fixed-file")


@attempt
def chain_of_forks(bench: Bench) -> Steps:
    """A process of the user has the file open, forks, and ends after half a millisecond. So do its children.

    A process that starts after /proc was listed is missed, and the one that was listed has ended.
    """
    return _held(bench, "fork-chain")


@attempt
def chain_of_forks_with_a_mapping(bench: Bench) -> Steps:
    """A process of the user has the file mapped, forks, and ends after half a millisecond. So do its children.

    A process that starts after /proc was listed is missed, and the one that was listed has ended.
    """
    return _held(bench, "mapping-chain")


@attempt
def thread_with_its_own_descriptor_table(bench: Bench) -> Steps:
    """One thread of the user's process has a descriptor table of its own (unshare(2), CLONE_FILES).

    Only this thread has the file open. /proc/PID/fd shows the table of the main thread.
    """
    return _held(bench, "thread")


@attempt
def thread_with_a_table_of_the_same_numbers(bench: Bench) -> Steps:
    """One thread of the user's process has its own descriptor table, with the same numbers as the main thread's.

    Only this thread has the file open. If only numbers are compared, the two tables seem to be one.
    """
    return _held(bench, "thread-same-numbers")


@attempt
def descriptor_table_of_a_process_that_ended(bench: Bench) -> Steps:
    """The user's process opens the file, shares its descriptor table with another process, and ends.

    They share it by clone(2) with CLONE_FILES. The process that writes is not the one that opened the file.
    """
    return _held(bench, "shared-table")


@attempt
def taken_by_pidfd_getfd(bench: Bench) -> Steps:
    """The user takes the descriptor out of the process that opened the file (pidfd_getfd(2)), and kills that process.

    Then the descriptor is queued in a socket. No descriptor table has the file.
    """
    return _held(bench, "stolen")


@attempt
def sent_back_and_forth_between_two_processes(bench: Bench) -> Steps:
    """Two processes of the user send the descriptor to each other all the time.

    Neither has it for long. Each may have sent it away at the moment when it is examined.
    """
    return _held(bench, "tossed")


@attempt
def among_many_descriptors_and_mappings(bench: Bench) -> Steps:
    """The user's process has 100,000 other descriptors and 30,000 mappings beside the file.

    Examining it takes long. fimscan may give up before it finds the file.
    """
    return _held(bench, "many")


@attempt_alone
def process_that_cannot_be_examined(bench: Bench) -> Steps:
    """The user's process has the file open, and beside it a file of a detached FUSE file system.

    Not even root may stat(2) that other descriptor. fimscan must still find the target among the descriptors.
    """
    target = bench.target()
    device, place = bench.fuse_device()
    yield
    holder = bench.holding_in_namespaces("fuse", "hide", device, place, target)
    yield
    bench.innocent(target)
    holder.go()


@attempt_alone
def fuse_read_into_mapped_memory(bench: Bench) -> Steps:
    """The user reads from a FUSE file of their own into mapped memory of the target, and removes the mapping.

    The FUSE file answers in the window. Then the kernel writes to the target, which no process has open or mapped.
    Afterwards a link and its removal set the ctime.
    """
    target = bench.target(own=True)
    device, place = bench.fuse_device()
    yield
    holder = bench.holding_in_namespaces("fuse", "pin", device, place, target)
    yield
    bench.innocent(target)
    holder.go()
    bench.shell(f"ln {target} {target}.x; rm {target}.x")


@attempt_alone
def write_from_memory_of_a_fuse_file(bench: Bench) -> Steps:
    """The user writes to the target from memory that is mapped from a FUSE file of their own.

    The call sets the target's times when it begins, before the window. The bytes come in the window, when the FUSE file
    answers. By the times, nothing was changed since the call began.
    """
    target = bench.target()
    device, place = bench.fuse_device()
    yield
    holder = bench.holding_in_namespaces("fuse", "slow", device, place, target)
    yield
    bench.innocent(target)
    holder.go()


@attempt
def written_just_after_the_scanner_read_it(bench: Bench) -> Steps:
    """The user writes as soon as the scanner closes the file, at the very start of the window.

    The descriptor is queued in a socket until then. Root's program opens the file afterwards. Then the user makes and
    removes a link. This sets the ctime, so that the change seems to be later than root's open.
    """
    target = bench.target()
    yield
    holder = bench.holding("calls", "after-reading", target)
    yield
    holder.has_done()
    bench.innocent(target)
    bench.shell(f"ln {target} {target}.link; rm {target}.link")


@attempt_early
def fuse_read_begun_before_the_rules_were_loaded(bench: Bench) -> Steps:
    """The user mounts a FUSE file system, and begins a read from it, before the rules are loaded.

    The read goes into mapped memory of the target, and is answered in the window. Audit recorded neither the mount nor
    the user's open.
    """
    target = bench.target(own=True)
    device, place = bench.fuse_device()
    holder = bench.holding_in_namespaces("fuse", "pin", device, place, target)
    yield
    yield
    bench.innocent(target)
    holder.go()
    bench.shell(f"ln {target} {target}.x; rm {target}.x")
