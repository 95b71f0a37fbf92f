"""Names and numbers: the change is made under another name, or the file is taken for another one.

fimscan follows a file by its inode number through links, renames and removals; whoever gets it to lose the thread
makes an open of the user's look like that of some earlier file, or root's open look like the one that counts.
"""

from __future__ import annotations

import os

from tests.framing.attempt import attempt, attempt_alone
from tests.framing.bench import Bench, Steps


@attempt
def written_by_a_link_elsewhere(bench: Bench) -> Steps:
    """A hard link is made in a directory that nobody watches, written to, and removed."""
    target = bench.target(own=True)
    yield
    bench.innocent(target)
    bench.shell(f"ln {target} {bench.elsewhere}/x; echo EVIL >> {bench.elsewhere}/x; rm {bench.elsewhere}/x")


@attempt_alone
def written_by_a_link_that_a_ring_made(bench: Bench) -> Steps:
    """As before, and the link is made and removed through an io_uring, so that nothing tells of it."""
    target = bench.target(own=True)
    yield
    bench.innocent(target)
    other = bench.elsewhere / "x"
    bench.shell(f"$P/ringed link {target} {other}; echo EVIL >> {other}; $P/ringed unlink {other}")


@attempt
def renamed_away_and_back(bench: Bench) -> Steps:
    """The file is renamed to a directory that nobody watches, written there, and renamed back."""
    target = bench.target(own=True)
    yield
    bench.innocent(target)
    other = bench.elsewhere / "x"
    bench.shell(f"mv {target} {other}; echo EVIL >> {other}; mv {other} {target}")


@attempt
def its_directory_renamed_away_and_back(bench: Bench) -> Steps:
    """As before, and it is the directory that is renamed."""
    target = bench.target("sub/target", own=True)
    yield
    bench.innocent(target)
    other = bench.elsewhere / "sub"
    bench.shell(f"mv {target.parent} {other}; echo EVIL >> {other}/target; mv {other} {target.parent}")


@attempt
def exchanged_with_a_file_outside_and_back(bench: Bench) -> Steps:
    """Exchanged with a file outside (RENAME_EXCHANGE), written there, and exchanged again; root opens it last."""
    target = bench.target(own=True)
    yield
    other = bench.elsewhere / "x"
    swap = f"$P/calls exchange {target} {other}"
    bench.shell(f"echo decoy > {other}; chmod 666 {other}; {swap}; echo EVIL >> {other}; {swap}")
    bench.innocent(target)
    bench.shell(f"chmod 600 {target}; chmod 666 {target}")


@attempt_alone
def exchanged_by_a_ring(bench: Bench) -> Steps:
    """A file that was written outside is exchanged with it through an io_uring; then root opens the new one."""
    target = bench.target(own=True)
    yield
    other = bench.elsewhere / "x"
    bench.shell(f"echo EVIL > {other}; chmod 666 {other}; $P/ringed exchange {target} {other}")
    bench.innocent(target)
    bench.shell(f"$P/ringed link {target} {other}2; $P/ringed unlink {other}2")


@attempt_alone
def replaced_by_a_ring(bench: Bench) -> Steps:
    """A file is made beside it and renamed over it, both through an io_uring; then root opens the new one."""
    target = bench.target(own=True)
    yield
    bench.shell(f"umask 0; $P/ringed create {target}.new; $P/ringed rename {target}.new {target}")
    bench.innocent(target)
    bench.shell(f"$P/ringed link {target} {target}2; $P/ringed unlink {target}2")


@attempt
def brought_in_then_opened_by_root(bench: Bench) -> Steps:
    """The user writes a file outside and moves it over the target; then root opens that, and the user sets its ctime.

    The content came with the file: whoever opened it here has not written it as far as anybody knows.
    """
    target = bench.target(own=True)
    yield
    other = bench.elsewhere / "x"
    bench.shell(f"echo EVIL > {other}; chmod 666 {other}; mv {other} {target}")
    bench.innocent(target)
    bench.shell(f"chmod 600 {target}; chmod 666 {target}")


@attempt
def linked_in_then_opened_by_root(bench: Bench) -> Steps:
    """As before, and the file from outside is linked to the name after the target was removed."""
    target = bench.target(own=True)
    yield
    other = bench.elsewhere / "x"
    bench.shell(f"echo EVIL > {other}; chmod 666 {other}; rm {target}; ln {other} {target}; rm {other}")
    bench.innocent(target)
    bench.shell(f"chmod 600 {target}; chmod 666 {target}")


@attempt
def its_directory_brought_in_then_opened_by_root(bench: Bench) -> Steps:
    """As before, and the file comes within a directory, which takes the place of the old one."""
    target = bench.target("sub/target", own=True)
    yield
    other = bench.elsewhere / "sub"
    bench.shell(f"mkdir {other}; echo EVIL > {other}/target; chmod 666 {other}/target; mv {target.parent} {other}-old")
    bench.shell(f"mv {other} {target.parent}")
    bench.innocent(target)
    bench.shell(f"chmod 600 {target}; chmod 666 {target}")


@attempt_alone
def two_names_swapped(bench: Bench) -> Steps:
    """Root opens another file of the user's, which then gets the target's name, content and all.

    The content was written to that one outside of the window's sight: by a link elsewhere.
    """
    target = bench.target(own=True)
    other = bench.target("other", own=True, content="other\n")
    bench.judged.remove(other)
    yield
    bench.shell(f"$P/ringed link {other} {bench.elsewhere}/x; echo EVIL >> {bench.elsewhere}/x")
    bench.innocent(other)
    bench.shell(f"$P/ringed unlink {bench.elsewhere}/x; mv {other} {target}")


@attempt_alone
def removal_counted_twice(bench: Bench) -> Steps:
    """A link is made unseen and removed in sight, so that one name too few is counted; then root opens the file.

    Another link then passes for a new file of that number, and the user's own open for that of an earlier file.
    """
    target = bench.target(own=True)
    here = bench.here
    yield
    bench.shell(f"$P/ringed link {target} {here}/h1; $P/calls append {target}; rm {here}/h1; ln {target} {here}/h2")
    bench.innocent(target)
    bench.root("touch", str(target))


@attempt_alone
def removal_counted_twice_own_link_last(bench: Bench) -> Steps:
    """As before, and it is the user's own link that sets the ctime after root's open."""
    target = bench.target(own=True)
    here = bench.here
    yield
    bench.shell(f"$P/ringed link {target} {here}/h1; $P/calls append {target}; rm {here}/h1")
    bench.innocent(target)
    bench.shell(f"ln {target} {here}/h2")


@attempt
def removal_while_a_scan_runs(bench: Bench) -> Steps:
    """One of two known names is removed while a scan runs, after its start and before the file is read.

    The user sees the scan by inotify(7). The link count that is read has the removal off already.
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
    """The user removes the file, makes another one of the same number unseen, and lets root's rm remove that."""
    target = bench.target(own=True)
    yield
    again = f"$P/ringed create {target}; [ $(stat -c %i {target}) = $n ] && break; $P/ringed unlink {target}"
    bench.shell(f"n=$(stat -c %i {target}); rm {target}; for i in {{1..40}}; do {again}; done")
    bench.shell(f"[ -e {target} ] || $P/ringed create {target}")
    bench.root("rm", "-f", str(target))


@attempt_alone
def renamed_away_unseen_before_root_removes(bench: Bench) -> Steps:
    """The file is taken away through an io_uring, and what root's rm removes is a link back to it."""
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
    """The file has another name outside from the start, and is written by that one."""
    target = bench.target(own=True)
    other = bench.elsewhere / "x"
    os.link(target, other)
    yield
    bench.innocent(target)
    bench.shell(f"echo EVIL >> {other}")


@attempt
def symbolic_link_in_its_place(bench: Bench) -> Steps:
    """The target is replaced by a symbolic link to a file outside for as long as root's open takes.

    What root opened was the file outside; the target, which comes back afterwards, was written out of sight.
    """
    target = bench.target(own=True)
    yield
    other = bench.elsewhere
    bench.shell(f"echo decoy > {other}/d; chmod 666 {other}/d; mv {target} {other}/x; ln -s {other}/d {target}")
    bench.innocent(target)
    bench.shell(f"echo EVIL >> {other}/x; mv {other}/x {target}")
