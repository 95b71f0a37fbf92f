"""Names of files: renames, hard and symbolic links, odd names, and different paths to one file."""

from __future__ import annotations

import os

from tests.lab.bench import Lab
from tests.lab.scenario import Steps, scenario


@scenario
def renamed_over(lab: Lab) -> Steps:
    lab.file("f")
    yield
    writer = lab.python("open('f.new', 'w').write('new'); os.rename('f.new', 'f')")
    lab.modified("f", writer=writer, placer=writer)


@scenario
def written_by_one_placed_by_another(lab: Lab) -> Steps:
    lab.file("f")
    yield
    writer = lab.shell("echo other > f.tmp")
    lab.modified("f", writer=writer, placer=lab.run("mv", "f.tmp", "f"))


@scenario
def renamed_twice_on_its_way(lab: Lab) -> Steps:
    # The process that made the first of two moves neither wrote the file nor placed it.
    lab.file("f")
    yield
    writer = lab.shell("echo other > first")
    lab.run("mv", "first", "second")
    lab.modified("f", writer=writer, placer=lab.run("mv", "second", "f"))


@scenario
def exchanged(lab: Lab) -> Steps:
    lab.file("f", "one\n")
    lab.file("g", "the other\n")
    yield
    exchanger = lab.python("call(316, -100, b'f', -100, b'g', 2)")  # renameat2, RENAME_EXCHANGE
    lab.modified("f", placer=exchanger)
    lab.modified("g", placer=exchanger)


@scenario
def exchanged_with_a_new_file(lab: Lab) -> Steps:
    lab.file("f", "one\n")
    yield
    code = "open('g', 'w').write('the new one'); call(316, -100, b'f', -100, b'g', 2)"
    exchanger = lab.python(code)
    lab.modified("f", writer=exchanger, placer=exchanger)
    lab.added("g", placer=exchanger)


@scenario
def directory_renamed(lab: Lab) -> Steps:
    lab.file("before/f")
    lab.file("before/sub/g")
    yield
    mover = lab.run("mv", "before", "after")
    lab.moved("before", "after", placer=mover)
    lab.moved("before/f", "after/f", placer=mover)
    lab.moved("before/sub", "after/sub", placer=mover)
    lab.moved("before/sub/g", "after/sub/g", placer=mover)


@scenario
def written_before_its_directory_was_renamed(lab: Lab) -> Steps:
    lab.file("before/f")
    yield
    writer = lab.shell("echo other, and longer > before/f")
    mover = lab.run("mv", "before", "after")
    lab.moved("before", "after", placer=mover)
    lab.removed("before/f", remover=mover)
    lab.added("after/f", writer=writer, placer=mover)


@scenario
def removed_before_its_directory_was_renamed(lab: Lab) -> Steps:
    # A process that moves the directory later did not remove the file that was in it.
    lab.file("before/f")
    lab.file("before/g")
    yield
    lab.removed("before/f", remover=lab.run("rm", "before/f"))
    mover = lab.run("mv", "before", "after")
    lab.moved("before", "after", placer=mover)
    lab.moved("before/g", "after/g", placer=mover)


@scenario
def directory_replaced_by_one_from_outside(lab: Lab) -> Steps:
    lab.file("d/f", "inside\n")
    lab.file(f"{lab.elsewhere}/d/f", "outside\n")
    yield
    lab.run("mv", "d", f"{lab.elsewhere}/away")
    placer = lab.run("mv", f"{lab.elsewhere}/d", "d")
    lab.modified("d/f", placer=placer)
    lab.attributes("d", placer=placer)


@scenario
def moved_in_from_outside(lab: Lab) -> Steps:
    lab.file("f")
    yield
    writer = lab.shell(f"echo outside > {lab.elsewhere}/f")
    lab.modified("f", placer=lab.run("mv", f"{lab.elsewhere}/f", "f"), by=writer)


@scenario
def moved_in_from_outside_by_bare_names(lab: Lab) -> Steps:
    lab.file("f")
    yield
    writer = lab.shell(f"echo outside > {lab.elsewhere}/f")
    lab.modified("f", placer=lab.run("mv", "-t", str(lab.here), "f", cwd=lab.elsewhere), by=writer)


@scenario
def moved_out(lab: Lab) -> Steps:
    lab.file("f")
    yield
    lab.removed("f", remover=lab.run("mv", "f", f"{lab.elsewhere}/f"))


@scenario
def through_the_other_hard_link(lab: Lab) -> Steps:
    lab.file("sub/keep")
    (lab.here / "sub/other").hardlink_to(lab.file("f"))
    yield
    writer = lab.shell("echo by the other name > sub/other")
    lab.modified("f", writer=writer)
    lab.modified("sub/other", writer=writer)


@scenario
def through_a_hard_link_that_nobody_watches(lab: Lab) -> Steps:
    # Audit rules watch directories: a write under a name outside leaves no record. That is the reason to give.
    lab.file("f")
    yield
    (lab.elsewhere / "g").hardlink_to(lab.here / "f")
    writer = lab.shell(f"echo by the other name > {lab.elsewhere}/g")
    lab.modified("f", verdict="unattributed", reason="coverage-gap", gap="other-name", by=writer)


@scenario
def opened_here_written_through_a_link_elsewhere(lab: Lab) -> Steps:
    # The process that opened the file before its second name existed wrote nothing. It is the only recorded one.
    lab.file("f")
    yield
    lab.shell(": >> f")
    lab.wait_apart()
    lab.run("ln", "f", f"{lab.elsewhere}/g")
    writer = lab.shell(f"echo evil >> {lab.elsewhere}/g")
    lab.run("rm", f"{lab.elsewhere}/g")
    lab.modified("f", verdict="unattributed", reason="coverage-gap", gap="other-name", by=writer)


@scenario
def through_a_symlinked_parent(lab: Lab) -> Steps:
    lab.file("f")
    (lab.elsewhere / "alias").symlink_to(lab.here)
    yield
    lab.modified("f", writer=lab.run("cp", "/etc/hostname", f"{lab.elsewhere}/alias/f"))
    lab.added("g", writer=lab.run("cp", "/etc/hostname", f"{lab.elsewhere}/alias/g"))


@scenario
def through_a_symlink(lab: Lab) -> Steps:
    lab.file("f")
    (lab.here / "link").symlink_to("f")
    yield
    lab.modified("f", writer=lab.shell("echo through the link > link"))


@scenario
def through_proc(lab: Lab) -> Steps:
    lab.file("f")
    yield
    lab.modified("f", writer=lab.python("d = os.open('f', os.O_RDONLY); open(f'/proc/self/fd/{d}', 'w').write('x')"))


@scenario
def relative_to_descriptors(lab: Lab) -> Steps:
    lab.file("f")
    lab.file("g")
    lab.file("h")
    yield
    code = """
d = os.open(".", os.O_RDONLY)
os.chdir("/")
os.write(os.open("f.new", os.O_WRONLY | os.O_CREAT, dir_fd=d), b"by descriptor")
os.rename("f.new", "f", src_dir_fd=d, dst_dir_fd=d)
os.unlink("g", dir_fd=d)
os.write(os.open("h", os.O_WRONLY | os.O_TRUNC, dir_fd=d), b"by descriptor")
os.mkdir("made", dir_fd=d)
"""
    worker = lab.python(code)
    lab.modified("f", writer=worker, placer=worker)
    lab.removed("g", remover=worker)
    lab.modified("h", writer=worker)
    lab.added("made", writer=worker)


@scenario
def from_deep_below(lab: Lab) -> Steps:
    lab.file("f")
    lab.file("a/b/c/keep")
    yield
    lab.modified("f", writer=lab.shell("cd a/b/c && echo other > ../../../f"))
    lab.added("a/made", writer=lab.shell("cd a/b/c && echo new > ./../../../a/made"))


@scenario
def same_name_in_two_directories(lab: Lab) -> Steps:
    lab.file("one/f")
    lab.file("two/f")
    yield
    lab.modified("one/f", writer=lab.shell("cd one && echo first > f"))
    lab.modified("two/f", writer=lab.shell("cd two && echo second > f"))


@scenario
def odd_names(lab: Lab) -> Steps:
    names = (
        b"with space",
        b'it\'s "quoted"',
        b"two\nlines",
        b"\xff\xfe not UTF-8",
        b"\x01\x1b[31m",
        b"(null)",
        b"41",
        b"-rf",
    )
    for name in names:
        lab.file(name)
    yield
    for name in names:
        lab.modified(name, writer=lab.run("bash", "-c", 'echo other >> "$1"', "bash", name))


@scenario
def odd_name_given(lab: Lab) -> Steps:
    lab.file("f")
    lab.file("sub/keep")
    yield
    lab.moved("f", "sub/f 'a\"b\n", placer=lab.run("mv", "f", "sub/f 'a\"b\n"))


@scenario
def longest_name(lab: Lab) -> Steps:
    name = "n" * 255
    lab.file(name)
    yield
    lab.modified(name, writer=lab.shell(f"echo other > {name}"))
    lab.added("é" * 127, writer=lab.shell(f"echo new > {'é' * 127}"))


@scenario
def longest_path(lab: Lab) -> Steps:
    # Close to PATH_MAX (4096 bytes with the final zero): in hexadecimal, its audit record has more than 8 kB.
    room = 4090 - len(os.fsencode(lab.here))
    parts = ["d d" * 80] * (room // 241)
    deep = "/".join(parts)
    lab.file(f"{deep}/f")
    yield
    lab.modified(f"{deep}/f", writer=lab.run("cp", "/etc/hostname", f"{lab.here}/{deep}/f"))
    descend = f'for d in {" ".join(repr(p) for p in parts)}; do cd "$d"; done; echo new > g'
    lab.added(f"{deep}/g", writer=lab.shell(descend))


@scenario
def through_a_bind_mount(lab: Lab) -> Steps:
    # Another path to the same directory inode: audit rules and fimscan both follow the inode.
    lab.file("f")
    lab.file("g")
    yield
    with lab.mounted("--bind", str(lab.here)) as other:
        lab.modified("f", writer=lab.shell(f"echo through another mount > {other}/f"))
        lab.added("h", writer=lab.shell(f"echo new > {other}/h"))
        sed = lab.run("sed", "-i", "s/e/E/", f"{other}/g")
        lab.modified("g", writer=sed, placer=sed)


@scenario
def in_another_mount_namespace(lab: Lab) -> Steps:
    lab.file("f")
    lab.file("g")
    yield
    code = f"mount --bind {lab.here} {lab.elsewhere} && cd {lab.elsewhere} && echo elsewhere > f && sed -i s/e/E/ g"
    shell = lab.run("unshare", "--mount", "bash", "-c", code)
    lab.modified("f", writer=lab.process(shell.pid, "bash"))
    lab.modified("g", writer=shell.child("sed"), placer=shell.child("sed"))


@scenario
def in_a_chroot(lab: Lab) -> Steps:
    lab.file("f")
    yield
    changed = lab.python("os.chroot('.'); os.chdir('/'); open('/f', 'w').write('x'); open('/made', 'w').write('x')")
    lab.modified("f", writer=changed)
    lab.added("made", writer=changed)
