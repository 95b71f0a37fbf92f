"""Several processes write to successive files of one path: the present content may come from each of them.

Audit does not report reads. If several processes wrote to successive files of a path, and nothing shows that the last
one did not read the earlier content, all are listed, the latest first. If only one wrote, or if the present content was
recorded before, the answer is confirmed.
"""

from __future__ import annotations

from tests.lab.bench import Lab, Process
from tests.lab.scenario import EITHER, SEVERAL, Steps, scenario
from tests.lab.scenarios.a_tools import logrotate_configuration, vim_program

# User ids that exist on every system.
_FIRST_USER, _SECOND_USER = 1, 2


def _append(lab: Lab, name: str = "f") -> Process:
    return lab.shell(f"echo 'evil:x:0:0::/:/bin/sh' >> {name}")


@scenario
def one_login_user_appends_and_another_edits(lab: Lab) -> Steps:
    lab.file("f", "a\nb\nc\n")
    yield
    first = lab.logged_in(_FIRST_USER, "bash", "-c", "echo evil >> f")
    second = lab.logged_in(_SECOND_USER, "sed", "-i", "s/b/B/", "f")
    lab.modified("f", **SEVERAL, writer=(second, first), placer=second)


@scenario
def two_processes_of_one_login_user(lab: Lab) -> Steps:
    lab.file("f", "a\nb\nc\n")
    yield
    first = lab.logged_in(_FIRST_USER, "bash", "-c", "echo evil >> f")
    second = lab.logged_in(_FIRST_USER, "sed", "-i", "s/b/B/", "f")
    lab.modified("f", **SEVERAL, writer=(second, first), placer=second)


@scenario
def account_appended_then_useradd(lab: Lab) -> Steps:
    """The account with uid 0 is in passwd, like the one that useradd added: both writers took part."""
    lab.file("etc/passwd", "root:x:0:0:root:/root:/bin/bash\n")
    lab.file("etc/group", "root:x:0:\n")
    lab.file("etc/shadow", "root:*:19000:0:99999:7:::\n")
    lab.file("etc/gshadow", "root:*::\n")
    yield
    first = _append(lab, "etc/passwd")
    adder = lab.run("useradd", "--prefix", str(lab.here), "-M", "-N", "-g", "0", "newcomer")
    lab.modified("etc/passwd", **SEVERAL, writer=(adder, first), placer=adder)
    lab.modified("etc/shadow", writer=adder, placer=adder)
    # The backup, passwd-, also has the line of the first process.
    lab.added("etc/passwd-", verdict="confirmed", or_else=(("contested", "several-writers"),), any=adder, perhaps=first)
    lab.all_else(adder)


@scenario
def appended_then_copied_edited_and_renamed(lab: Lab) -> Steps:
    lab.file("f")
    yield
    first = _append(lab)
    second = lab.python("open('f+', 'w').write(open('f').read() + 'new\\n'); os.rename('f+', 'f')")
    lab.modified("f", **SEVERAL, writer=(second, first), placer=second)


@scenario
def appended_edited_and_appended(lab: Lab) -> Steps:
    lab.file("f")
    yield
    first = _append(lab)
    second = lab.run("sed", "-i", "s/e/E/", "f")
    third = lab.shell("echo more >> f")
    lab.modified("f", **SEVERAL, writer=(third, second, first), placer=second)


@scenario
def edited_by_three_in_turn(lab: Lab) -> Steps:
    lab.file("f")
    yield
    first = lab.run("sed", "-i", "1i one", "f")
    second = lab.run("perl", "-pi", "-e", "s/e/E/", "f")
    third = lab.run("sed", "-i", "1i three", "f")
    lab.modified("f", **SEVERAL, writer=third, any=(second, first))


@scenario
def appended_then_saved_by_an_editor(lab: Lab) -> Steps:
    lab.file("f")
    yield
    first = _append(lab)
    settings = "set backup backupcopy=no backupskip= backupext=~"
    editor = lab.run(vim_program(), "-es", "-c", settings, "-c", "normal oadded", "-c", "wq", "f", codes=(0, 1))
    lab.modified("f", **SEVERAL, writer=(editor, first))
    lab.added("f~", or_else=EITHER, writer=first, placer=editor)


@scenario
def appended_then_replaced_by_writer_and_placer(lab: Lab) -> Steps:
    # The third process wrote to the file that was replaced; the writer of the new file may have read that.
    lab.file("f")
    yield
    first = _append(lab)
    writer = lab.shell("cat f > f.tmp; echo other >> f.tmp")
    mover = lab.run("mv", "f.tmp", "f")
    cat = writer.child("cat")
    lab.modified("f", **SEVERAL, writer=(writer, first), placer=mover, perhaps=(cat, writer.child("bash")))


@scenario
def appended_then_copied_over(lab: Lab) -> Steps:
    # cp writes in place: it opens the same file, and nothing shows that it kept none of the content.
    lab.file("f")
    yield
    first = _append(lab)
    copier = lab.run("cp", "/etc/hostname", "f")
    lab.modified("f", verdict="contested", or_else=EITHER, writer=(copier, first))


@scenario
def truncated_then_written_by_another(lab: Lab) -> Steps:
    lab.file("f")
    yield
    first = lab.run("truncate", "-s", "0", "f")
    second = lab.shell("echo other >> f")
    lab.modified("f", verdict="contested", or_else=EITHER, writer=(second, first))


@scenario
def written_removed_and_made_anew_by_three(lab: Lab) -> Steps:
    lab.file("f")
    yield
    first = _append(lab)
    remover = lab.run("rm", "f")
    third = lab.python("open('f', 'w').write('made anew')")
    lab.modified("f", **SEVERAL, writer=(third, first), perhaps=remover)


@scenario
def copied_removed_and_copied_back(lab: Lab) -> Steps:
    # In between, the second process kept a copy outside the watched directory.
    lab.file("f")
    yield
    first = _append(lab)
    second = lab.python(
        f"text = open('f').read(); open('{lab.elsewhere}/kept', 'w').write(text); os.unlink('f');"
        "open('f', 'w').write(text + 'x')"
    )
    lab.modified("f", **SEVERAL, writer=(second, first))


@scenario
def appended_then_exchanged_with_a_new_file(lab: Lab) -> Steps:
    lab.file("f")
    yield
    first = _append(lab)
    second = lab.python(
        "open('g', 'w').write(open('f').read().upper()); call(316, -100, b'f', -100, b'g', 2)"  # RENAME_EXCHANGE
    )
    lab.modified("f", **SEVERAL, writer=(second, first), placer=second)
    # The file that is now called g is the one to which only the first process wrote.
    lab.added("g", verdict="confirmed", or_else=(("contested", "several-writers"),), writer=first, any=second)


@scenario
def appended_by_a_hard_link_then_edited(lab: Lab) -> Steps:
    lab.file("f")
    yield
    linker = lab.run("ln", "f", "h")
    first = _append(lab, "h")
    lab.wait_apart()
    second = lab.run("sed", "-i", "s/e/E/", "f")
    lab.modified("f", **SEVERAL, writer=(second, first), placer=second, perhaps=linker)
    lab.added("h", writer=first, placer=linker)


@scenario
def moved_aside_then_copied_back(lab: Lab) -> Steps:
    lab.file("f")
    yield
    first = _append(lab)
    mover = lab.run("mv", "f", "g")
    lab.wait_apart()
    copier = lab.run("cp", "g", "f")
    lab.modified("f", **SEVERAL, writer=(copier, first), perhaps=mover)
    lab.added("g", writer=first, placer=mover)


@scenario
def written_under_another_name_then_edited(lab: Lab) -> Steps:
    lab.file("f")
    yield
    first = lab.shell("echo evil > draft")
    mover = lab.run("mv", "draft", "f")
    second = lab.run("sed", "-i", "s/^/>/", "f")
    lab.modified("f", **SEVERAL, writer=(second, first), placer=second, perhaps=mover)


@scenario
def moved_in_from_outside_then_edited(lab: Lab) -> Steps:
    # The writer outside is unknown; the process that moved the file in took part.
    lab.file("f")
    yield
    writer = lab.shell(f"echo evil > {lab.elsewhere}/f")
    mover = lab.run("mv", f"{lab.elsewhere}/f", "f")
    second = lab.run("sed", "-i", "s/^/>/", "f")
    lab.modified("f", **SEVERAL, writer=second, any=(second, mover), by=writer)


@scenario
def moved_in_from_outside_then_only_opened(lab: Lab) -> Steps:
    # The file came with its content. A process that opened it later may have written, but others may have as well.
    lab.file("f")
    yield
    writer = lab.shell(f"echo evil > {lab.elsewhere}/f")
    mover = lab.run("mv", f"{lab.elsewhere}/f", "f")
    idler = lab.shell(": >> f")
    lab.run("chmod", "0640", "f")
    changer = lab.run("chmod", "0644", "f")
    lab.modified(
        "f",
        verdict="contested",
        or_else=(("contested", "several-writers"), ("likely", "coverage-gap"), ("likely", "held-descriptor")),
        placer=mover,
        by=writer,
        perhaps=(idler, changer),
    )


@scenario
def opened_by_one_who_wrote_nothing_then_edited(lab: Lab) -> Steps:
    # It could have written, and sed would have copied that.
    lab.file("f")
    yield
    idler = lab.shell(": >> f")
    second = lab.run("sed", "-i", "s/e/E/", "f")
    lab.modified("f", **SEVERAL, writer=(second, idler), placer=second)


@scenario
def held_from_before_written_then_edited(lab: Lab) -> Steps:
    lab.file("f")
    holder = lab.steps("f = open('f', 'a'); pause(); f.write('held'); f.close()")
    yield
    first = holder.end()
    second = lab.run("sed", "-i", "s/e/E/", "f")
    lab.modified("f", **SEVERAL, writer=(second, first), placer=second)


@scenario
def mode_set_by_one_and_carried_over_by_another(lab: Lab) -> Steps:
    # sed gives its new file the mode of the old one: the process that set that mode took part.
    lab.file("f").chmod(0o644)
    yield
    first = lab.run("chmod", "0600", "f")
    second = lab.run("sed", "-i", "s/e/E/", "f")
    either = (("contested", "several-writers"), ("contested", None))
    lab.modified("f", or_else=either, writer=second, placer=second, changer=first)


# ---- one process only, or content that the last process cannot have copied


@scenario
def one_process_appends_and_replaces(lab: Lab) -> Steps:
    lab.file("f")
    yield
    code = "open('f', 'a').write('one'); open('f.new', 'w').write(open('f').read() + 'two'); os.rename('f.new', 'f')"
    one = lab.python(code)
    lab.modified("f", writer=one, placer=one)


@scenario
def written_before_the_window_then_edited(lab: Lab) -> Steps:
    # What was written before the baseline is in the baseline.
    lab.file("f")
    _append(lab)
    yield
    sed = lab.run("sed", "-i", "s/e/E/", "f")
    lab.modified("f", writer=sed, placer=sed)


@scenario
def older_file_moved_over_what_another_wrote(lab: Lab) -> Steps:
    # The file was recorded with this content: it has nothing of what was written to the file that it replaced.
    lab.file("f")
    lab.file("old", "known content\n")
    yield
    first = _append(lab)
    mover = lab.run("mv", "old", "f")
    lab.modified("f", placer=mover, perhaps=first)
    lab.removed("old", remover=mover)


@scenario
def older_file_from_outside_moved_over_what_another_wrote(lab: Lab) -> Steps:
    # It was made before. Only its times show that, and a process can set the mtime.
    lab.file("f")
    lab.file(f"{lab.elsewhere}/old", "from before\n")
    yield
    first = _append(lab)
    mover = lab.run("mv", f"{lab.elsewhere}/old", "f")
    lab.modified("f", or_else=(("contested", "several-writers"),), placer=mover, perhaps=first)


@scenario
def log_appended_to_then_rotated(lab: Lab) -> Steps:
    # The new log is empty. The line is in the old log, under its new name.
    lab.file("log", "a line\n")
    yield
    first = _append(lab, "log")
    configuration = logrotate_configuration(lab, "create 0640 root root")
    rotator = lab.run("logrotate", "-f", "-s", f"{lab.elsewhere}/state", configuration)
    lab.modified("log", or_else=(("contested", "several-writers"),), writer=rotator, perhaps=first)
    lab.added("log.1", or_else=EITHER, writer=first, placer=rotator)


@scenario
def another_file_written_by_another(lab: Lab) -> Steps:
    # Changes of two files in one directory are independent.
    lab.file("f")
    lab.file("g")
    yield
    first = _append(lab, "g")
    second = lab.run("sed", "-i", "s/e/E/", "f")
    lab.modified("f", writer=second, placer=second)
    lab.modified("g", writer=first)
