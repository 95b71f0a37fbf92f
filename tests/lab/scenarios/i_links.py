"""Hard links: one file with several names, and a change of one name."""

from __future__ import annotations

from tests.lab.bench import Lab
from tests.lab.scenario import Steps, scenario


@scenario
def hard_link_replaced_under_one_name(lab: Lab) -> Steps:
    # sed replaces one name; the other one keeps the old content.
    lab.links("f", "g")
    yield
    sed = lab.run("sed", "-i", "s/e/E/", "f")
    lab.modified("f", writer=sed, placer=sed)
    lab.links_counted("g", any=sed)


@scenario
def hard_link_replaced_twice(lab: Lab) -> Steps:
    # The second process replaced what the first one had placed; it did not change the other name.
    lab.links("f", "g")
    yield
    first = lab.run("sed", "-i", "s/e/E/", "f")
    lab.wait_apart()
    second = lab.run("sed", "-i", "s/n/N/", "f")
    lab.modified("f", writer=second, placer=second, perhaps=first, or_else=(("contested", "several-writers"),))
    lab.links_counted("g", any=first)


@scenario
def one_of_two_hard_links_removed(lab: Lab) -> Steps:
    lab.links("f", "g")
    yield
    remover = lab.run("rm", "f")
    lab.removed("f", remover=remover)
    lab.links_counted("g", any=remover)


@scenario
def one_of_three_hard_links_removed(lab: Lab) -> Steps:
    lab.links("f", "g", "h")
    yield
    remover = lab.run("rm", "f")
    lab.removed("f", remover=remover)
    lab.links_counted("g", any=remover)
    lab.links_counted("h", any=remover)


@scenario
def two_of_three_hard_links_removed(lab: Lab) -> Steps:
    # Both changed the link count of the remaining name.
    lab.links("f", "g", "h")
    yield
    first, second = lab.run("rm", "f"), lab.run("rm", "g")
    lab.removed("f", remover=first)
    lab.removed("g", remover=second)
    lab.links_counted("h", any=(first, second), verdict="contested")


@scenario
def hard_link_removed_and_made_anew(lab: Lab) -> Steps:
    lab.links("f", "g")
    yield
    remover = lab.run("rm", "f")
    maker = lab.shell("echo other, and longer > f")
    lab.modified("f", writer=maker)
    lab.links_counted("g", any=remover)


@scenario
def file_moved_over_a_hard_link(lab: Lab) -> Steps:
    lab.links("f", "g")
    lab.file("new", "other, and longer\n")
    yield
    mover = lab.run("mv", "new", "f")
    lab.modified("f", placer=mover)
    lab.removed("new", remover=mover)
    lab.links_counted("g", any=mover)


@scenario
def replaced_by_descriptors_beside_a_hard_link(lab: Lab) -> Steps:
    lab.links("f", "g")
    yield
    code = """
d = os.open(".", os.O_RDONLY)
os.chdir("/")
os.write(os.open("f.new", os.O_WRONLY | os.O_CREAT, dir_fd=d), b"by descriptor")
os.rename("f.new", "f", src_dir_fd=d, dst_dir_fd=d)
"""
    worker = lab.python(code)
    lab.modified("f", writer=worker, placer=worker)
    lab.links_counted("g", any=worker)


@scenario
def removed_by_descriptor_beside_a_hard_link(lab: Lab) -> Steps:
    lab.links("f", "g")
    yield
    worker = lab.python('d = os.open(".", os.O_RDONLY); os.chdir("/"); os.unlink("f", dir_fd=d)')
    lab.removed("f", remover=worker)
    lab.links_counted("g", any=worker)


@scenario
def another_hard_link_made(lab: Lab) -> Steps:
    lab.links("f", "g")
    yield
    linker = lab.run("ln", "f", "i")
    lab.added("i", placer=linker)
    if lab.counts_links:
        lab.attributes("f", any=linker)
        lab.attributes("g", any=linker)
    else:  # f was copied up as a file of its own; i is its second name
        lab.attributes("f", any=linker)


@scenario
def first_hard_link_made(lab: Lab) -> Steps:
    lab.file("f")
    yield
    linker = lab.run("ln", "f", "i")
    lab.added("i", placer=linker)
    lab.attributes("f", any=linker)


@scenario
def mode_set_under_one_name(lab: Lab) -> Steps:
    lab.links("f", "g")
    yield
    changer = lab.run("chmod", "600", "f")
    lab.attributes("f", changer=changer)
    if lab.counts_links:
        lab.attributes("g", changer=changer)


@scenario
def mode_set_under_one_name_and_another_removed(lab: Lab) -> Steps:
    lab.links("f", "g", "h")
    yield
    changer, remover = lab.run("chmod", "600", "f"), lab.run("rm", "g")
    lab.removed("g", remover=remover)
    lab.attributes("f", changer=changer, perhaps=remover)
    if lab.counts_links:
        lab.attributes("h", changer=changer, perhaps=remover)


@scenario
def mode_set_before_the_other_name_was_replaced(lab: Lab) -> Steps:
    lab.links("f", "g")
    yield
    changer, sed = lab.run("chmod", "600", "g"), lab.run("sed", "-i", "s/e/E/", "f")
    lab.attributes("g", changer=changer, perhaps=sed)
    # sed also set the mode of its new file.
    lab.modified("f", writer=sed, placer=sed, perhaps=changer, or_else=(("contested", "several-writers"),))


@scenario
def hard_link_renamed(lab: Lab) -> Steps:
    lab.links("f", "g")
    yield
    mover = lab.run("mv", "f", "i")
    if lab.counts_links:
        lab.moved("f", "i", placer=mover)
        lab.attributes("g", any=mover)  # its ctime
    else:
        lab.removed("f", remover=mover)
        lab.added("i", placer=mover)


@scenario
def removed_below_a_renamed_directory(lab: Lab) -> Steps:
    lab.links("before/f", "g")
    yield
    mover, remover = lab.run("mv", "before", "after"), lab.run("rm", "after/f")
    lab.removed("before", remover=mover)
    lab.added("after", placer=mover)
    lab.removed("before/f", remover=remover)
    lab.links_counted("g", any=remover)


@scenario
def removed_below_a_directory_on_its_way(lab: Lab) -> Steps:
    # Neither scan has the path that the file had when it was removed.
    lab.links("before/f", "g")
    yield
    first = lab.run("mv", "before", "between")
    remover = lab.run("rm", "between/f")
    second = lab.run("mv", "between", "after")
    lab.removed("before", remover=first)
    lab.added("after", placer=second)
    lab.removed("before/f", remover=remover)
    lab.links_counted("g", any=remover)


@scenario
def replaced_below_a_renamed_directory(lab: Lab) -> Steps:
    lab.links("before/f", "g")
    yield
    mover, sed = lab.run("mv", "before", "after"), lab.run("sed", "-i", "s/e/E/", "after/f")
    lab.removed("before", remover=mover)
    lab.added("after", placer=mover)
    lab.removed("before/f", any=mover, perhaps=sed)
    lab.added("after/f", writer=sed, placer=sed)
    lab.links_counted("g", any=sed)


@scenario
def removed_where_another_directory_came(lab: Lab) -> Steps:
    # By then, the path names another file: removing it does not change the file with two names.
    lab.links("d/f", "g", "h")
    lab.file("other/f", "of another directory\n")
    yield
    away, there = lab.run("mv", "d", "gone"), lab.run("mv", "other", "d")
    other, remover = lab.run("rm", "d/f"), lab.run("rm", "h")
    lab.added("gone", placer=away)
    lab.moved("d/f", "gone/f", placer=away)
    lab.removed("other", remover=there)
    lab.removed("other/f", remover=other)
    lab.attributes("d", placer=there)
    lab.removed("h", remover=remover)
    lab.links_counted("g", any=remover)


@scenario
def hard_link_renamed_twice(lab: Lab) -> Steps:
    lab.links("f", "g")
    yield
    first = lab.run("mv", "f", "h")
    lab.wait_apart()
    second = lab.run("mv", "h", "i")
    if lab.counts_links:
        lab.moved("f", "i", placer=second, perhaps=first, remover=first)
        lab.attributes("g", any=second)  # its ctime
    else:
        lab.removed("f", remover=first)
        lab.added("i", placer=second, perhaps=first)


@scenario
def hard_link_exchanged_and_removed(lab: Lab) -> Steps:
    # When it is removed, it has the other file's name.
    lab.links("f", "g")
    lab.file("other", "other, and longer\n")
    yield
    exchanger = lab.python("call(316, -100, b'f', -100, b'other', 2)")  # renameat2, RENAME_EXCHANGE
    remover = lab.run("rm", "other")
    lab.modified("f", placer=exchanger)
    lab.removed("other", any=(exchanger,), perhaps=remover)
    lab.links_counted("g", any=remover, perhaps=exchanger, or_else=(("contested", None),))


@scenario
def mode_set_by_descriptor_beside_a_hard_link(lab: Lab) -> Steps:
    # Where the links become separate files, the record names neither: that is a lead, not a proof.
    lab.links("f", "g")
    yield
    changer = lab.python("os.fchmod(os.open('f', os.O_RDONLY), 0o600)")
    if lab.counts_links:
        lab.attributes("f", changer=changer)
        lab.attributes("g", changer=changer)
    else:
        lab.attributes("f", changer=changer, or_else=(("likely", "path-only"),))


@scenario
def written_under_one_name(lab: Lab) -> Steps:
    lab.links("f", "g")
    yield
    writer = lab.shell("echo other, and longer >> f")
    lab.modified("f", writer=writer)
    if lab.counts_links:
        lab.modified("g", writer=writer)


@scenario
def written_after_it_was_renamed_beside_a_hard_link(lab: Lab) -> Steps:
    lab.links("f", "g")
    yield
    mover = lab.run("mv", "f", "i")
    writer = lab.shell("echo other, and longer >> i")
    lab.removed("f", remover=mover)
    lab.added("i", writer=writer, placer=mover)
    if lab.counts_links:
        lab.modified("g", writer=writer)
