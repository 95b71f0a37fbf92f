"""Who a process is: its number, its login user, its program.

The file is changed in sight; what is forged is the name of whoever did it.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from tests.framing.attempt import attempt, attempt_alone
from tests.framing.bench import ATTACKER, VICTIM, Bench, Steps

_TAKEN_FOR_GOOD = "its content is what was accepted"


@attempt
def process_number_used_again(bench: Bench) -> Steps:
    """The user's process appends and ends; root runs the same program under the number that has become free.

    Both have written: an answer that has only root's process leaves out who began.
    """
    target = bench.target()
    yield
    innocent = str(bench.programs / "innocent")
    number = bench.user(innocent, str(target), "EVIL\n")
    bench.root(str(bench.programs / "reuse"), str(number), innocent, str(target), "ok\n")


@attempt
def process_number_used_before(bench: Bench) -> Steps:
    """The other way round: root's process ends, the user gets its number, and runs the same program."""
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
def login_user_of_ones_choice(bench: Bench) -> Steps:
    """A process without a login user writes somebody's number into its own loginuid, which it may once, and acts."""
    target = bench.target()
    bench.persons.add(VICTIM)
    yield
    bench.user("bash", "-ec", f"{_without_login()} echo {VICTIM} > /proc/self/loginuid; echo EVIL >> {target}")


@attempt
def login_user_root_of_ones_choice(bench: Bench) -> Steps:
    """As before, with root's number, and it is a child of that process that acts."""
    target = bench.target()
    bench.persons.add(0)
    yield
    code = f"{_without_login()} echo 0 > /proc/self/loginuid; $P/calls append {target}; true"
    bench.user("bash", "-ec", code, P=str(bench.programs))


def _without_login() -> str:
    # Where whoever runs this has logged in, the user has, too, and the kernel refuses: then there is nothing to try.
    return "[ $(cat /proc/self/loginuid) = 4294967295 ] || { echo there is a login user already >&2; exit 77; };"


@attempt
def program_that_was_removed(bench: Bench) -> Steps:
    """The program removes its own file before it acts."""
    target = bench.target()
    copy = bench.elsewhere / "program"
    shutil.copy(bench.programs / "calls", copy)
    copy.chmod(0o755)
    yield
    bench.innocent(target)
    bench.user(str(copy), "deleted", str(target))


def _accepted_program(bench: Bench) -> Path:
    """A program that is monitored and as it was accepted: of what runs by its path, that says nothing yet."""
    program = bench.here / "bin" / "tool"
    program.parent.mkdir()
    shutil.copy(bench.programs / "calls", program)
    program.chmod(0o755)
    bench.quoted.append(_TAKEN_FOR_GOOD)
    return program


@attempt_alone
def program_of_another_root(bench: Bench) -> Steps:
    """In a chroot of a user namespace, a program of the user's has the path of one that is monitored and accepted."""
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
    """In a mount namespace of the user's, a program of its own lies over the one that is monitored and accepted."""
    target = bench.target()
    program = _accepted_program(bench)
    yield
    own = bench.elsewhere / "own"
    bench.in_namespaces(
        f"cp $P/calls {own}; printf x >> {own}; mount --bind {own} {program}; exec {program} append {target}"
    )


@attempt
def program_replaced_while_it_ran(bench: Bench) -> Steps:
    """The monitored program, which is the user's own, has another content for as long as it acts."""
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
    """The accepted program runs with a library of the user's (LD_PRELOAD), which acts in its name."""
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
    """The user starts the accepted program under ptrace(2) and makes its calls for it."""
    target = bench.target()
    program = _accepted_program(bench)
    yield
    bench.program("calls", "ptrace", target, program)
