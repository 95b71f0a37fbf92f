"""The user forges who a process is: its pid, its login user, or its program.

Audit records the change of the file. The answer must not identify the process wrongly.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from tests.framing.attempt import attempt, attempt_alone
from tests.framing.bench import ATTACKER, VICTIM, Bench, Steps

_TAKEN_FOR_GOOD = "its content is what was accepted"


@attempt
def pid_of_the_user_used_again_by_root(bench: Bench) -> Steps:
    """The user's process writes and ends. Root runs the same program under the same pid, and it writes, too.

    If both are taken for one process, the answer names root's and leaves out the user's.
    """
    target = bench.target()
    yield
    innocent = str(bench.programs / "innocent")
    number = bench.user(innocent, str(target), "EVIL\n")
    bench.root(str(bench.programs / "reuse"), str(number), innocent, str(target), "ok\n")


@attempt
def pid_of_root_used_again_by_the_user(bench: Bench) -> Steps:
    """Root's process opens the file and ends. The user runs the same program under the same pid, and it writes.

    If both are taken for one process, the answer may name root's.
    """
    target = bench.target()
    yield
    innocent = str(bench.programs / "innocent")
    number = bench.root(innocent, str(target))
    bench.root(
        str(bench.programs / "reuse"),
        str(number),
        shutil.which("setpriv") or "setpriv",
        "--reuid=61616",
        "--regid=61616",
        "--clear-groups",
        innocent,
        str(target),
        "EVIL\n",
    )


@attempt
def login_user_written_by_the_process(bench: Bench) -> Steps:
    """The user's process writes the uid of somebody else into its own loginuid, and changes the file.

    A process without a login user may do so once. The answer must not name the login user as a fact.
    """
    target = bench.target()
    bench.persons.add(VICTIM)
    yield
    bench.user("bash", "-ec", f"{_without_login()} echo {VICTIM} > /proc/self/loginuid; echo EVIL >> {target}")


@attempt
def login_user_root_written_by_the_parent(bench: Bench) -> Steps:
    """The user's process writes root's uid into its own loginuid, and its child changes the file.

    A process without a login user may do so once, and the child inherits it. The answer must not name root as the login
    user.
    """
    target = bench.target()
    bench.persons.add(0)
    yield
    code = f"{_without_login()} echo 0 > /proc/self/loginuid; $P/calls append {target}; true"
    bench.user("bash", "-ec", code, P=str(bench.programs))


def _without_login() -> str:
    # The process inherits the login user of whoever runs this. If there is one, the kernel refuses another.
    return "[ $(cat /proc/self/loginuid) = 4294967295 ] || { echo there is a login user already >&2; exit 77; };"


@attempt
def program_that_was_removed(bench: Bench) -> Steps:
    """The user's program removes its own file before it acts.

    The path of its program then leads nowhere, or to another file.
    """
    target = bench.target()
    copy = bench.elsewhere / "program"
    shutil.copy(bench.programs / "calls", copy)
    copy.chmod(0o755)
    yield
    bench.innocent(target)
    bench.user(str(copy), "deleted", str(target))


def _accepted_program(bench: Bench) -> Path:
    """Create a monitored program. ``explain`` must not say that what runs by its path is the accepted one."""
    program = bench.here / "bin" / "tool"
    program.parent.mkdir()
    shutil.copy(bench.programs / "calls", program)
    program.chmod(0o755)
    bench.quoted.append(_TAKEN_FOR_GOOD)
    return program


@attempt_alone
def program_of_another_root(bench: Bench) -> Steps:
    """In a chroot of a user namespace, the user runs a program by the path of a monitored one.

    By the path alone, the program that acts is the accepted one.
    """
    target = bench.target()
    program = _accepted_program(bench)
    yield
    root = bench.elsewhere / "root"
    inside = f"{root}{program.parent}"
    bench.in_namespaces(
        f"mkdir -p {inside} {root}/lib {root}/lib64 {root}/usr {root}{bench.here}/t;"
        f"cp $P/calls {inside}/tool; printf x >> {inside}/tool;"
        f"mount --rbind /usr {root}/usr; mount --rbind /lib {root}/lib; mount --rbind /lib64 {root}/lib64;"
        f"mount --bind {bench.here} {root}{bench.here}/t;"
        f"exec chroot {root} {program} append {bench.here}/t/{target.name}"
    )


@attempt_alone
def program_mounted_over(bench: Bench) -> Steps:
    """In a mount namespace, the user mounts a program over the monitored one and runs it by that path.

    By the path alone, the program that acts is the accepted one.
    """
    target = bench.target()
    program = _accepted_program(bench)
    yield
    own = bench.elsewhere / "own"
    bench.in_namespaces(
        f"cp $P/calls {own}; printf x >> {own}; mount --bind {own} {program}; exec {program} append {target}"
    )


@attempt
def program_replaced_while_it_ran(bench: Bench) -> Steps:
    """The user owns the monitored program, and gives it other content just while it acts.

    At both scans, its content is the accepted one.
    """
    target = bench.target()
    program = _accepted_program(bench)
    os.chown(program, ATTACKER, ATTACKER)
    yield
    own, kept = bench.elsewhere / "own", bench.elsewhere / "kept"
    bench.shell(
        f"cp {program} {kept}; cp $P/calls {own}; printf x >> {own};"
        f"cat {own} > {program}; {program} append {target}; cat {kept} > {program}"
    )


@attempt
def program_with_a_library_preloaded(bench: Bench) -> Steps:
    """The user runs the accepted program with a library (LD_PRELOAD) that changes the file.

    The process runs the accepted program, which does not do that by itself.
    """
    target = bench.target()
    program = _accepted_program(bench)
    other = bench.elsewhere / "x"
    other.write_text("x")
    other.chmod(0o666)
    yield
    library = str(bench.programs / "preloaded.so")
    bench.user("env", f"LD_PRELOAD={library}", f"TARGET={target}", str(program), "append", str(other))


@attempt
def program_driven_by_ptrace(bench: Bench) -> Steps:
    """The user starts the accepted program under ptrace(2), and makes calls in its process.

    The process runs the accepted program, which does not do that by itself.
    """
    target = bench.target()
    program = _accepted_program(bench)
    yield
    bench.program("calls", "ptrace", target, program)
