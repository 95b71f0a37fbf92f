"""The user changes the file by another name, or makes it look like another file.

fimscan follows a file by its inode number through links, renames and removals. A user may try to break that chain. Then
the user's open seems to be that of an earlier file, or root's open seems to be the only one of this file.
"""

from __future__ import annotations

import os

from tests.framing.attempt import attempt, attempt_alone
from tests.framing.bench import Bench, Steps


@attempt
def written_by_a_link_elsewhere(bench: Bench) -> Steps:
    """The user makes a hard link in a directory that is not watched, writes by it, and removes it.

    No rule reports the write. Root's open is the only one that audit records.
    """
    target = bench.target(own=True)
    yield
    bench.innocent(target)
    bench.shell(f"ln {target} {bench.elsewhere}/x; echo EVIL >> {bench.elsewhere}/x; rm {bench.elsewhere}/x")


@attempt_alone
def written_by_a_link_that_io_uring_made(bench: Bench) -> Steps:
    """The user makes a hard link elsewhere through an io_uring, writes by it, and removes it the same way.

    A rule of auditctl 3.0 reports neither the link nor the write. Root's open is the only one that audit records.
    """
    target = bench.target(own=True)
    yield
    bench.innocent(target)
    other = bench.elsewhere / "x"
    bench.shell(f"$P/ringed link {target} {other}; echo EVIL >> {other}; $P/ringed unlink {other}")


@attempt
def renamed_away_and_back(bench: Bench) -> Steps:
    """The user renames the file to a directory that is not watched, writes there, and renames it back.

    No rule reports the write. Root's open is the only one that audit records.
    """
    target = bench.target(own=True)
    yield
    bench.innocent(target)
    other = bench.elsewhere / "x"
    bench.shell(f"mv {target} {other}; echo EVIL >> {other}; mv {other} {target}")


@attempt
def its_directory_renamed_away_and_back(bench: Bench) -> Steps:
    """The user renames the file's directory to one that is not watched, writes there, and renames it back.

    No rule reports the write, and no rename has the name of the file. Root's open is the only one that audit records.
    """
    target = bench.target("sub/target", own=True)
    yield
    bench.innocent(target)
    other = bench.elsewhere / "sub"
    bench.shell(f"mv {target.parent} {other}; echo EVIL >> {other}/target; mv {other} {target.parent}")


@attempt
def exchanged_with_a_file_outside_and_back(bench: Bench) -> Steps:
    """The user exchanges the file with one outside (RENAME_EXCHANGE), writes there, and exchanges them again.

    No rule reports the write. Root's program opens the file last.
    """
    target = bench.target(own=True)
    yield
    other = bench.elsewhere / "x"
    swap = f"$P/calls exchange {target} {other}"
    bench.shell(f"echo decoy > {other}; chmod 666 {other}; {swap}; echo EVIL >> {other}; {swap}")
    bench.innocent(target)
    bench.shell(f"chmod 600 {target}; chmod 666 {target}")


@attempt_alone
def exchanged_by_io_uring(bench: Bench) -> Steps:
    """The user exchanges the target with a file from outside through an io_uring. Root opens the new file.

    A rule of auditctl 3.0 reports neither the exchange nor the write outside.
    """
    target = bench.target(own=True)
    yield
    other = bench.elsewhere / "x"
    bench.shell(f"echo EVIL > {other}; chmod 666 {other}; $P/ringed exchange {target} {other}")
    bench.innocent(target)
    bench.shell(f"$P/ringed link {target} {other}2; $P/ringed unlink {other}2")


@attempt_alone
def replaced_by_io_uring(bench: Bench) -> Steps:
    """The user creates a file and renames it over the target, both through an io_uring. Root opens the new file.

    A rule of auditctl 3.0 reports neither. Root's open is the only one that audit records.
    """
    target = bench.target(own=True)
    yield
    bench.shell(f"umask 0; $P/ringed create {target}.new; $P/ringed rename {target}.new {target}")
    bench.innocent(target)
    bench.shell(f"$P/ringed link {target} {target}2; $P/ringed unlink {target}2")


@attempt
def brought_in_then_opened_by_root(bench: Bench) -> Steps:
    """The user writes a file outside and renames it over the target. Root opens it, and the user sets its ctime.

    The content came with the file. Root's program is the only one that opened the file at this path.
    """
    target = bench.target(own=True)
    yield
    other = bench.elsewhere / "x"
    bench.shell(f"echo EVIL > {other}; chmod 666 {other}; mv {other} {target}")
    bench.innocent(target)
    bench.shell(f"chmod 600 {target}; chmod 666 {target}")


@attempt
def linked_in_then_opened_by_root(bench: Bench) -> Steps:
    """The user writes a file outside, removes the target, and links the file in its place. Root opens it.

    The content came with the file. Root's program is the only one that opened the file at this path.
    """
    target = bench.target(own=True)
    yield
    other = bench.elsewhere / "x"
    bench.shell(f"echo EVIL > {other}; chmod 666 {other}; rm {target}; ln {other} {target}; rm {other}")
    bench.innocent(target)
    bench.shell(f"chmod 600 {target}; chmod 666 {target}")


@attempt
def its_directory_brought_in_then_opened_by_root(bench: Bench) -> Steps:
    """The user replaces the file's directory by one from outside, with another file of that name. Root opens it.

    The content came with the directory. No rename has the name of the file.
    """
    target = bench.target("sub/target", own=True)
    yield
    other = bench.elsewhere / "sub"
    bench.shell(f"mkdir {other}; echo EVIL > {other}/target; chmod 666 {other}/target; mv {target.parent} {other}-old")
    bench.shell(f"mv {other} {target.parent}")
    bench.innocent(target)
    bench.shell(f"chmod 600 {target}; chmod 666 {target}")


@attempt_alone
def file_that_root_opened_put_in_its_place(bench: Bench) -> Steps:
    """The user renames a second file over the target. Root's program opened that file before the rename.

    Its content was written by a link elsewhere, which an io_uring made and removed. So root's program is the only one
    that was seen to open it.
    """
    target = bench.target(own=True)
    other = bench.target("other", own=True, content="other\n")
    bench.judged.remove(other)
    yield
    bench.shell(f"$P/ringed link {other} {bench.elsewhere}/x; echo EVIL >> {bench.elsewhere}/x")
    bench.innocent(other)
    bench.shell(f"$P/ringed unlink {bench.elsewhere}/x; mv {other} {target}")


@attempt_alone
def link_made_unseen_and_removed_in_sight(bench: Bench) -> Steps:
    """The user makes a link through an io_uring, writes to the file, and removes the link by unlink(2).

    Audit reports the removal only, so one name too few is counted, and the file seems to be gone. Then the user makes
    another link. The file seems to be a new one of the same inode number, and the user's write that of an earlier file.
    """
    target = bench.target(own=True)
    here = bench.here
    yield
    bench.shell(f"$P/ringed link {target} {here}/h1; $P/calls append {target}; rm {here}/h1; ln {target} {here}/h2")
    bench.innocent(target)
    bench.root("touch", str(target))


@attempt_alone
def link_removed_in_sight_and_another_one_last(bench: Bench) -> Steps:
    """The user makes a link through an io_uring, writes, and removes it by unlink(2). Then root opens the file.

    Audit reports the removal only, so one name too few is counted, and the file seems to be gone. The user's second
    link, after root's open, sets the ctime.
    """
    target = bench.target(own=True)
    here = bench.here
    yield
    bench.shell(f"$P/ringed link {target} {here}/h1; $P/calls append {target}; rm {here}/h1")
    bench.innocent(target)
    bench.shell(f"ln {target} {here}/h2")


@attempt
def known_name_removed_while_a_scan_runs(bench: Bench) -> Steps:
    """The user removes one of two known names while a scan runs, before the scan reads the file.

    The user sees by inotify(7) how far the scan is. The link count that the scan reads is without that name. If the
    removal is counted again, the file seems to be gone, and the user's write that of an earlier file.
    """
    target = bench.target("zz", own=True)
    here = bench.here
    for number in range(1500):
        (here / f"b{number}").write_text(f"{number}\n")
    os.link(target, here / "a-first")
    yield
    watcher = bench.holding("calls", "while-scanned", here, here / "a-first")
    yield
    watcher.has_done()
    bench.shell(f"cd {here}; $P/calls append zz; ln zz h2; rm h2")
    bench.innocent(target)
    bench.shell(f"cd {here}; ln zz h3")


@attempt_alone
def removed_and_made_anew_unseen(bench: Bench) -> Steps:
    """The user removes the file and creates one of the same inode number through an io_uring. Root removes that.

    A rule of auditctl 3.0 does not report the creation. Root's removal seems to be the one that counts.
    """
    target = bench.target(own=True)
    yield
    again = f"$P/ringed create {target}; [ $(stat -c %i {target}) = $n ] && break; $P/ringed unlink {target}"
    bench.shell(f"n=$(stat -c %i {target}); rm {target}; for i in {{1..40}}; do {again}; done")
    bench.shell(f"[ -e {target} ] || $P/ringed create {target}")
    bench.root("rm", "-f", str(target))


@attempt_alone
def name_removed_unseen_and_linked_back_in(bench: Bench) -> Steps:
    """The user removes the file's name through an io_uring, links the file back in, and writes. Then root opens it.

    A rule of auditctl 3.0 reports only the second link. The file seems to be another one, which came from outside.
    """
    target = bench.target(own=True)
    yield
    other = bench.elsewhere / "x"
    bench.shell(
        f"$P/ringed link {target} {other}; $P/ringed unlink {target}; ln {other} {target}; echo EVIL > {target}"
    )
    bench.innocent(target)
    bench.shell(f"$P/ringed link {other} {other}2; $P/ringed unlink {other}2")


@attempt
def known_link_outside(bench: Bench) -> Steps:
    """The file has a name outside from the start. The user writes by that name.

    No rule reports the write. Root's open is the only one that audit records.
    """
    target = bench.target(own=True)
    other = bench.elsewhere / "x"
    os.link(target, other)
    yield
    bench.innocent(target)
    bench.shell(f"echo EVIL >> {other}")


@attempt
def symbolic_link_in_its_place(bench: Bench) -> Steps:
    """The user puts a symbolic link to a file outside in the target's place, just while root opens it.

    Root opened the file outside. The target was written elsewhere, where no rule reports it, and comes back afterwards.
    """
    target = bench.target(own=True)
    yield
    other = bench.elsewhere
    bench.shell(f"echo decoy > {other}/d; chmod 666 {other}/d; mv {target} {other}/x; ln -s {other}/d {target}")
    bench.innocent(target)
    bench.shell(f"echo EVIL >> {other}/x; mv {other}/x {target}")
