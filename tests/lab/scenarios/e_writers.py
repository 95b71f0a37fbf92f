"""Several processes and one change: all are named if the evidence does not distinguish them."""

from __future__ import annotations

from tests.lab.bench import Lab
from tests.lab.scenario import EITHER, SEVERAL, Steps, scenario


@scenario
def two_writers(lab: Lab) -> Steps:
    lab.file("f")
    yield
    first = lab.shell("echo one >> f")
    lab.modified("f", verdict="contested", writer=(first, lab.python("open('f', 'a').write('two')")))


@scenario
def three_writers(lab: Lab) -> Steps:
    lab.file("f")
    yield
    three = tuple(lab.shell(f"echo {number} >> f") for number in range(3))
    lab.modified("f", verdict="contested", writer=three)


@scenario
def two_processes_of_one_program(lab: Lab) -> Steps:
    lab.file("f")
    lab.file("g")
    yield
    lab.modified("f", writer=lab.run("truncate", "-s", "1", "f"))
    lab.modified("g", writer=lab.run("truncate", "-s", "1", "g"))


@scenario
def opened_after_the_last_write(lab: Lab) -> Steps:
    # By the file's ctime, nothing was written later: processes that opened it later are cleared.
    lab.file("f")
    yield
    writer = lab.shell("echo other >> f")
    lab.wait_apart()
    idler = lab.shell(": >> f")
    if lab.kind == "tmpfs":  # there, a store to a mapping does not set the ctime, so the ctime clears nobody
        lab.modified("f", verdict="contested", writer=(writer, idler))
    elif lab.kind == "overlay":  # its times are those of the upper file; a less certain answer is also right
        lab.modified("f", or_else=(("contested", None),), writer=writer, perhaps=idler)
    else:
        lab.modified("f", writer=writer)


@scenario
def opened_before_by_one_who_wrote_nothing(lab: Lab) -> Steps:
    # It could write until it ended: audit does not report the closing of a descriptor.
    lab.file("f")
    yield
    idler = lab.shell(": >> f")
    lab.wait_apart()
    lab.modified("f", verdict="contested", writer=(lab.shell("echo other >> f"), idler))


@scenario
def open_in_two_processes_at_once(lab: Lab) -> Steps:
    lab.file("f")
    yield
    idler = lab.steps("f = open('f', 'a'); pause()")
    writer = lab.shell("echo other >> f")
    lab.modified("f", verdict="contested", writer=(writer, idler.end()))


@scenario
def followed_by_a_replacement(lab: Lab) -> Steps:
    # The old file is gone. Its content is in the new one, because sed read it.
    lab.file("f")
    yield
    first = lab.shell("echo one >> f")
    sed = lab.run("sed", "-i", "s/^/>/", "f")
    lab.modified("f", **SEVERAL, writer=(sed, first), placer=sed)


@scenario
def followed_by_a_removal(lab: Lab) -> Steps:
    # The process that re-creates the file may have read the old one: audit does not report reads.
    lab.file("f")
    yield
    first = lab.shell("echo one >> f")
    remover = lab.run("rm", "f")
    second = lab.run("cp", "/etc/hostname", "f")
    lab.modified("f", **SEVERAL, writer=(second, first), perhaps=remover)


@scenario
def replaced_by_two_in_turn(lab: Lab) -> Steps:
    lab.file("f")
    yield
    first = lab.shell("echo one > f.new; mv f.new f")
    second = lab.run("sed", "-i", "s/^/>/", "f")
    lab.modified("f", **SEVERAL, writer=(second, first), placer=second, perhaps=first.child("mv"))


@scenario
def written_again_after_it_was_placed(lab: Lab) -> Steps:
    lab.file("f")
    yield
    first = lab.python("open('f.new', 'w').write('new'); os.rename('f.new', 'f')")
    second = lab.shell("echo more >> f")
    lab.modified("f", verdict="contested", or_else=EITHER, writer=(second, first), placer=first)


@scenario
def two_writers_before_it_was_placed(lab: Lab) -> Steps:
    lab.file("f")
    yield
    two = (lab.shell("echo one > f.new"), lab.shell("echo two >> f.new"))
    lab.modified("f", verdict="contested", or_else=EITHER, writer=two[::-1], placer=lab.run("mv", "f.new", "f"))


@scenario
def one_wrote_another_changed_the_mode(lab: Lab) -> Steps:
    lab.file("f")
    yield
    writer = lab.shell("echo other >> f")
    lab.modified("f", writer=writer, changer=lab.run("chmod", "0600", "f"))


@scenario
def owner_and_group_by_two(lab: Lab) -> Steps:
    lab.file("f")
    yield
    first = lab.run("chown", "1", "f")
    lab.attributes("f", verdict="contested", changer=(first, lab.run("chgrp", "1", "f")))


@scenario
def moved_by_one_written_by_another(lab: Lab) -> Steps:
    lab.file("f")
    lab.file("sub/keep")
    yield
    mover = lab.run("mv", "f", "sub/g")
    writer = lab.shell("echo other, and longer >> sub/g")
    lab.removed("f", remover=mover)
    lab.added("sub/g", writer=writer, placer=mover)


@scenario
def refused_attempts_are_no_deeds(lab: Lab) -> Steps:
    lab.here.chmod(0o755)
    lab.file("f").chmod(0o644)
    yield
    lab.python("os.setuid(65534)\ntry: open('f', 'a')\nexcept PermissionError: pass")
    lab.modified("f", writer=lab.shell("echo other >> f"))
