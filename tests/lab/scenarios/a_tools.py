"""Changes by editors and ordinary tools."""

from __future__ import annotations

import shutil
import subprocess

from tests.lab.bench import Lab, located
from tests.lab.ground import Unavailable
from tests.lab.scenario import Steps, scenario

# ---- editors


@scenario
def vim(lab: Lab) -> Steps:
    lab.file("f")
    yield
    lab.modified("f", writer=lab.run(vim_program(), "-es", "-c", "normal oadded", "-c", "wq", "f", codes=(0, 1)))


@scenario
def vim_keeping_a_backup(lab: Lab) -> Steps:
    lab.file("f")
    yield
    settings = "set backup backupcopy=no backupskip= backupext=~"
    editor = lab.run(vim_program(), "-es", "-c", settings, "-c", "normal oadded", "-c", "wq", "f", codes=(0, 1))
    lab.modified("f", writer=editor)
    lab.added("f~", placer=editor)


def vim_program() -> str:
    """The installed vim; skip the scenario if there is none."""
    found = next((name for name in ("vim", "vim.tiny", "vi") if shutil.which(name)), None)
    if found is None:
        raise Unavailable("vim is not installed")
    return found


@scenario
def nano(lab: Lab) -> Steps:
    lab.file("f")
    yield
    # nano needs a terminal; script(1) provides one, and becomes its parent.
    keys = r"printf 'typed by hand\017\r\030'"
    terminal = lab.shell(f"(sleep 0.5; {keys}; sleep 0.5) | TERM=xterm script -qc 'nano f' /dev/null")
    lab.modified("f", writer=terminal.child("nano"))


@scenario
def ed(lab: Lab) -> Steps:
    lab.file("f")
    yield
    lab.modified("f", writer=lab.shell("printf 'a\\nadded\\n.\\nw\\nq\\n' | ed -s f").child("ed"))


@scenario
def sed_in_place(lab: Lab) -> Steps:
    lab.file("f")
    yield
    sed = lab.run("sed", "-i", "s/e/E/", "f")
    lab.modified("f", writer=sed, placer=sed)


@scenario
def perl_in_place(lab: Lab) -> Steps:
    lab.file("f")
    yield
    lab.modified("f", writer=lab.run("perl", "-pi", "-e", "s/e/E/", "f"))


@scenario
def patch(lab: Lab) -> Steps:
    lab.file("f", "one\ntwo\n")
    (lab.elsewhere / "change.diff").write_text("--- f\n+++ f\n@@ -1,2 +1,2 @@\n one\n-two\n+three\n")
    yield
    lab.modified("f", placer=lab.run("patch", "-s", "f", f"{lab.elsewhere}/change.diff"))


# ---- the shell and small tools


@scenario
def redirection(lab: Lab) -> Steps:
    lab.file("truncated")
    lab.file("appended")
    yield
    lab.added("created", writer=lab.shell("echo new > created"))
    lab.modified("truncated", writer=lab.shell("echo other > truncated"))
    lab.modified("appended", writer=lab.shell("echo more >> appended"))


@scenario
def redirection_opened_by_the_child_of_the_shell(lab: Lab) -> Steps:
    # The child opens the file as bash, then executes sort. It is one process; the answer must name it.
    lab.file("f")
    yield
    shell = lab.shell("sort -u /etc/passwd > f; true")
    lab.modified("f", writer=shell.child("bash"))


@scenario
def redirection_then_exec(lab: Lab) -> Steps:
    lab.file("f")
    yield
    shell = lab.shell("exec cat /etc/hostname > f")
    lab.modified("f", writer=lab.process(shell.pid, "bash", "cat"))


@scenario
def tee(lab: Lab) -> Steps:
    lab.file("f")
    yield
    lab.modified("f", writer=lab.shell("echo more | tee -a f").child("tee"))


@scenario
def tee_without_input(lab: Lab) -> Steps:
    lab.file("f")
    yield
    lab.opened_unmodified("f", lab.run("tee", "-a", "f"))


@scenario
def dd_in_the_middle(lab: Lab) -> Steps:
    lab.file("f")
    yield
    lab.modified("f", writer=lab.run("dd", "if=/etc/hostname", "of=f", "bs=1", "count=1", "seek=2", "conv=notrunc"))


@scenario
def truncate(lab: Lab) -> Steps:
    lab.file("f")
    yield
    lab.modified("f", writer=lab.run("truncate", "-s", "2", "f"))


@scenario
def sort_into_itself(lab: Lab) -> Steps:
    lab.file("f", "b\na\n")
    yield
    lab.modified("f", writer=lab.run("sort", "-o", "f", "f"))


@scenario
def install(lab: Lab) -> Steps:
    lab.file("f")
    yield
    lab.modified("f", writer=lab.run("install", "-m", "0600", "/etc/hostname", "f"))


@scenario
def cp(lab: Lab) -> Steps:
    lab.file("f")
    yield
    lab.modified("f", writer=lab.run("cp", "/etc/hostname", "f"))
    lab.added("g", writer=lab.run("cp", "/etc/hostname", "g"))


@scenario
def cp_with_times_and_modes(lab: Lab) -> Steps:
    # The times that it sets are older than the baseline, so they do not show when the file was written.
    lab.file("f")
    yield
    lab.modified("f", writer=lab.run("cp", "-p", "/etc/hostname", "f"))


@scenario
def cp_over_a_hard_link(lab: Lab) -> Steps:
    (lab.here / "g").hardlink_to(lab.file("f"))
    yield
    copier = lab.run("cp", "/etc/hostname", "g")
    lab.modified("f", writer=copier)
    lab.modified("g", writer=copier)


@scenario
def mv_over_a_file(lab: Lab) -> Steps:
    lab.file("f")
    lab.file("known", "known content\n")
    yield
    # The present file was known under another name: nobody wrote it, mv placed it.
    mover = lab.run("mv", "known", "f")
    lab.modified("f", placer=mover)
    lab.removed("known", remover=mover)


@scenario
def mv_to_another_name(lab: Lab) -> Steps:
    lab.file("f")
    lab.file("other/keep")
    yield
    lab.moved("f", "other/f", placer=lab.run("mv", "f", "other/f"))


@scenario
def mv_into_a_directory_by_bare_names(lab: Lab) -> Steps:
    # coreutils calls renameat2(AT_FDCWD, "f", 3, "f"): both PARENT records have the name of the working directory.
    lab.file("f")
    lab.file("sub/keep")
    yield
    lab.moved("f", "sub/f", placer=lab.run("mv", "f", "sub/"))


@scenario
def mv_to_another_file_system_and_back(lab: Lab) -> Steps:
    # Across file systems, mv cannot rename: it copies and removes.
    lab.file("gone")
    lab.file("f")
    yield
    with lab.mounted("-t", "tmpfs", "none") as memory:
        lab.removed("gone", remover=lab.run("mv", "gone", f"{memory}/gone"))
        lab.shell(f"echo made in memory > {memory}/f")
        lab.modified("f", writer=lab.run("mv", f"{memory}/f", "f"))


@scenario
def rm(lab: Lab) -> Steps:
    lab.file("f")
    lab.file("tree/below/g")
    yield
    lab.removed("f", remover=lab.run("rm", "f"))
    lab.all_else(lab.run("rm", "-r", "tree"), "removed")


@scenario
def ln(lab: Lab) -> Steps:
    lab.file("source")
    yield
    lab.added("symbolic", writer=lab.run("ln", "-s", "/etc/hostname", "symbolic"))
    linker = lab.run("ln", "source", "hard")
    lab.added("hard", placer=linker)
    lab.attributes("source", changer=linker)  # its link count changed


@scenario
def ln_forced(lab: Lab) -> Steps:
    (lab.here / "link").symlink_to("/etc/hostname")
    yield
    lab.modified("link", writer=lab.run("ln", "-sf", "/etc/passwd", "link"))


@scenario
def chmod_and_chown(lab: Lab) -> Steps:
    lab.file("f")
    lab.file("g")
    yield
    lab.attributes("f", changer=lab.run("chmod", "0600", "f"))
    lab.attributes("g", changer=lab.run("chown", "1:1", "g"))


@scenario
def setcap(lab: Lab) -> Steps:
    lab.file("f")
    lab.file("g")
    lab.run("setcap", "cap_net_raw+ep", "g")
    yield
    lab.attributes("f", changer=lab.run("setcap", "cap_net_raw+ep", "f"))
    lab.attributes("g", changer=lab.run("setcap", "-r", "g"))


@scenario
def setfacl(lab: Lab) -> Steps:
    # An ACL entry for a user also changes the mode: its group bits then hold the mask of the ACL.
    lab.file("f").chmod(0o644)
    lab.file("g").chmod(0o644)
    yield
    lab.attributes("f", changer=lab.run("setfacl", "-m", "u:1:r", "f"))
    lab.attributes("g", changer=lab.run("setfacl", "-m", "u:1:rw", "g"))


@scenario
def chattr(lab: Lab) -> Steps:
    # chattr uses ioctl, which has no path, so no rule reports it. Not +i: the file could not be removed afterwards.
    probe = lab.file("../../elsewhere/chattr/probe")
    if subprocess.run([located("chattr"), "+d", probe], capture_output=True, check=False).returncode:
        raise Unavailable("this file system has no flags")
    lab.file("f")
    yield
    lab.attributes("f", verdict="unattributed", reason="not-covered", by=lab.run("chattr", "+d", "f"))


@scenario
def mkdir_and_mkfifo(lab: Lab) -> Steps:
    yield
    lab.added("directory", writer=lab.run("mkdir", "directory"))
    lab.added("fifo", writer=lab.run("mkfifo", "fifo"))


@scenario
def touch(lab: Lab) -> Steps:
    # It also opens the file for writing, and writes nothing. Audit cannot distinguish it from the writer.
    lab.file("f")
    lab.file("g")
    yield
    writer = lab.shell("echo other > f")
    lab.modified("f", verdict="contested", writer=(writer, lab.run("touch", "-d", "2001-01-01", "f")))
    lab.attributes("g", any=lab.run("touch", "-d", "2001-01-01", "g"))


# ---- archives, copies, versions


@scenario
def rsync(lab: Lab) -> Steps:
    lab.file("f")
    (lab.elsewhere / "f").write_text("from afar, and longer\n")
    yield
    receiver = lab.run("rsync", "-a", f"{lab.elsewhere}/f", "f").child("rsync")
    lab.modified("f", writer=receiver, placer=receiver)


@scenario
def rsync_in_place(lab: Lab) -> Steps:
    lab.file("f")
    (lab.elsewhere / "f").write_text("from afar, and longer\n")
    yield
    lab.modified("f", writer=lab.run("rsync", "-a", "--inplace", f"{lab.elsewhere}/f", "f").child("rsync"))


@scenario
def tar(lab: Lab) -> Steps:
    lab.file("f")
    lab.file("../../elsewhere/tar/f", "from the archive\n")
    lab.file("../../elsewhere/tar/sub/g", "from the archive, too\n")
    lab.run("tar", "czf", "archive.tgz", "f", "sub", cwd=lab.elsewhere)
    yield
    extractor = lab.run("tar", "xzf", f"{lab.elsewhere}/archive.tgz")
    lab.modified("f", writer=extractor)
    lab.all_else(extractor, "added")


@scenario
def unzip(lab: Lab) -> Steps:
    lab.file("f")
    shutil.make_archive(
        str(lab.elsewhere / "archive"), "zip", lab.file("../../elsewhere/unzip/in/f", "zipped\n").parent
    )
    yield
    lab.modified("f", writer=lab.run("unzip", "-qo", f"{lab.elsewhere}/archive.zip"))


@scenario
def git_checkout(lab: Lab) -> Steps:
    git = [
        "git",
        f"--git-dir={lab.elsewhere}/git",
        f"--work-tree={lab.here}",
        "-c",
        "user.name=n",
        "-c",
        "user.email=e",
    ]
    lab.run(*git, "init", "-q", "-b", "first")
    lab.file("f", "first\n")
    lab.run(*git, "add", "f")
    lab.run(*git, "commit", "-qm", "first")
    lab.run(*git, "checkout", "-qb", "second")
    lab.file("f", "second, which is longer\n")
    lab.file("sub/g", "new\n")
    lab.run(*git, "add", "f", "sub/g")
    lab.run(*git, "commit", "-qm", "second")
    lab.run(*git, "checkout", "-q", "first")
    yield
    checkout = lab.run(*git, "checkout", "-q", "second")
    lab.modified("f", writer=checkout)
    lab.all_else(checkout, "added")


# ---- logs, users, databases


@scenario
def logrotate_by_renaming(lab: Lab) -> Steps:
    lab.file("log", "a line\n")
    yield
    rotator = lab.run(
        "logrotate", "-f", "-s", f"{lab.elsewhere}/state", logrotate_configuration(lab, "create 0640 root root")
    )
    lab.modified("log", writer=rotator)
    lab.added("log.1", placer=rotator)


@scenario
def logrotate_by_copying(lab: Lab) -> Steps:
    lab.file("log", "a line\n")
    yield
    rotator = lab.run("logrotate", "-f", "-s", f"{lab.elsewhere}/state", logrotate_configuration(lab, "copytruncate"))
    lab.modified("log", writer=rotator)
    lab.added("log.1", writer=rotator)


def logrotate_configuration(lab: Lab, how: str) -> str:
    """Write a logrotate configuration for the scenario's log."""
    configuration = lab.elsewhere / "logrotate.conf"
    configuration.write_text(f"{lab.here}/log {{\n  rotate 3\n  {how}\n  su root root\n}}\n")
    configuration.chmod(0o644)
    return str(configuration)


@scenario
def useradd(lab: Lab) -> Steps:
    # It locks with hard links, writes passwd+, renames it over passwd, and keeps a backup in passwd-.
    lab.file("etc/passwd", "root:x:0:0:root:/root:/bin/bash\n")
    lab.file("etc/group", "root:x:0:\n")
    lab.file("etc/shadow", "root:*:19000:0:99999:7:::\n")
    lab.file("etc/gshadow", "root:*::\n")
    yield
    adder = lab.run("useradd", "--prefix", str(lab.here), "-M", "-N", "-g", "0", "newcomer")
    lab.modified("etc/passwd", writer=adder, placer=adder)
    lab.modified("etc/shadow", writer=adder, placer=adder)
    lab.all_else(adder)


@scenario
def sqlite(lab: Lab) -> Steps:
    lab.run("sqlite3", "data.db", "create table t (a); insert into t values (1)")
    yield
    lab.modified("data.db", writer=lab.run("sqlite3", "data.db", "insert into t values (2)"))


@scenario
def sqlite_with_a_write_ahead_log(lab: Lab) -> Steps:
    lab.run("sqlite3", "data.db", "pragma journal_mode = wal; create table t (a); insert into t values (1)")
    yield
    lab.modified("data.db", writer=lab.run("sqlite3", "data.db", "insert into t values (2)"))


@scenario
def python(lab: Lab) -> Steps:
    lab.file("f")
    yield
    lab.modified("f", writer=lab.python("open('f', 'a').write('more')"))


@scenario
def lock_and_rename_like_vipw(lab: Lab) -> Steps:
    lab.file("passwd", "root:x:0:0::/root:/bin/sh\n")
    yield
    code = """
lock = os.open("passwd.lock", os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
open("passwd.edit", "w").write(open("passwd").read() + "new:x:1:1::/:/bin/sh\\n")
os.link("passwd", "passwd.old")
os.rename("passwd.edit", "passwd")
os.unlink("passwd.lock")
"""
    editor = lab.python(code)
    lab.modified("passwd", writer=editor, placer=editor)
    lab.added("passwd.old", placer=editor)
