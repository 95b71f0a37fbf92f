"""The text report and the summary of a scan."""

from __future__ import annotations

import io
import re
import struct
from typing import Any

import pytest
from msgspec.structs import replace

from fimscan.grouping import group
from fimscan.model import (
    Action,
    Attribution,
    ChangeKind,
    Coverage,
    Diff,
    EventId,
    FileAccess,
    FileKind,
    Finding,
    Gap,
    GapReason,
    Name,
    PackageAnswer,
    PackageClass,
    PackageFact,
    PackageOwner,
    PackageProof,
    Reason,
    Role,
    UnmodifiedOpen,
    Unreadable,
    UnreadableReason,
    Verdict,
    Xattr,
)
from fimscan.report.accesses import write_accesses_text
from fimscan.report.change_sets import next_commands
from fimscan.report.console import write_lines
from fimscan.report.packages import is_alarming
from fimscan.report.text import scan_summary, write_text

GOLDEN = """\
1 changed, 1 added, 1 removed, 1 unreadable since scan 1 (2026-11-23 04:05 UTC) on web1
as of scan 2 (2026-11-23 04:36 UTC): 1 confirmed, 1 contested, 1 unattributed

== No event although audit covered the path: investigate (1 row)
removed     #17    critical  /etc/cron.d/backup
    file, 220 bytes, mode 0644 (-rw-r--r--), owner 0:0, sha256 1f1f1f1f1f1f
    unattributed (no-event): audit covered the path the whole time but recorded no event: investigate
        happened between 2026-11-23T04:05:13.818Z and 2026-11-23T04:36:13.818Z

== One of several processes (1 row)
added       #17    low       /etc/shared.db
    file, 248 bytes, mode 0644 (-rw-r--r--), owner 0:0, sha256 9a9a9a9a9a9a
    contested: one of these processes
        happened between 2026-11-23T04:05:13.818Z and 2026-11-23T04:36:13.818Z
      - /usr/bin/vim (pid 4242, ppid 4200) opened it for writing
        as root, logged in as alice, on pts4, session 3, 2026-11-23T04:35:13.818Z event 1795408513.818:6628017
        /etc$ vim hosts
      - /usr/sbin/cron (pid 7, ppid 1) opened it for writing
        as root, no login user, 2026-11-23T04:35:14.818Z event 1795408514.818:6628018
        $ cron -f

== Confirmed (1 row)
modified    #17    /etc/hosts
    sha256 1f1f1f1f1f1f -> 9a9a9a9a9a9a, size 220 -> 248 (+28)
    confirmed: /usr/bin/vim (pid 4242, ppid 4200) wrote it and renamed it into place
        as root, logged in as alice, on pts4, session 3, 2026-11-23T04:35:13.818Z event 1795408513.818:6628017,
        2026-11-23T04:35:14.818Z event 1795408514.818:6628018
        /etc$ vim hosts

== Not compared (1 file; not counted as removed)
unreadable  /etc/shadow
    permission denied

== Opened for writing, content unchanged (1 file)
opened      /etc/group
    by /usr/bin/vim (pid 4242, ppid 4200), as root, logged in as alice,
        2026-11-23T04:35:13.818Z event 1795408513.818:6628017
"""

NOBODY = 2**32 - 1  # the id of an ACL's entry that names none
_ENTRIES = ((1, 6, NOBODY), (2, 4, 1000), (4, 4, NOBODY), (16, 4, NOBODY), (32, 0, NOBODY))
_ACL_VALUE = struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in _ENTRIES)
ACL = Xattr(name=b"system.posix_acl_access", size=len(_ACL_VALUE), data=_ACL_VALUE)
CAPABILITY = Xattr(name=b"security.capability", size=20, data=struct.pack("<5I", 2 << 24 | 1, 1 << 10, 0, 0, 0))
LABEL = Xattr(name=b"security.selinux", size=13, data=b"u:r:etc_t:s0\0")


def text(diff: Diff, width: int = 120, *, color: bool = False, commands: tuple[str, ...] = ()) -> str:
    out = io.StringIO()
    write_text(diff, out, color=color, width=width, commands=commands)
    return out.getvalue()


def brief(diff: Diff, limit: int) -> str:
    out = io.StringIO()
    write_lines(scan_summary(diff, limit=limit, width=100), out, color=False)
    return out.getvalue()


def typical(make: Any) -> Diff:
    cron = make.actor(
        after_s=1,
        exe=b"/usr/sbin/cron",
        pid=7,
        ppid=1,
        cmdline=(b"cron", b"-f"),
        cwd=None,
        auid=None,
        session=None,
        tty=None,
    )
    placed = make.actor(Role.PLACER, after_s=1, syscall="renameat2")
    diff: Diff = make.diff(
        make.finding(attribution=make.attribution(actors=(placed, make.actor()))),
        make.finding(
            make.change(ChangeKind.REMOVED, b"/etc/cron.d/backup"),
            make.attribution(Verdict.UNATTRIBUTED, Reason.NO_EVENT),
            severity="critical",
        ),
        make.finding(
            make.change(ChangeKind.ADDED, b"/etc/shared.db"),
            make.attribution(Verdict.CONTESTED, actors=(make.actor(), cron)),
            severity="low",
        ),
        unreadable=(Unreadable(path=b"/etc/shadow", reason=UnreadableReason.PERMISSION),),
        opened_unmodified=(UnmodifiedOpen(path=b"/etc/group", actors=(make.actor(),)),),
    )
    return diff


KEY = "SHA256:" + ":".join(["1dae", "6f72", "28c2", "6599", *["00ff"] * 12])


def test_the_signing_key_is_behind_a_line_that_has_room(make: Any) -> None:
    """It costs a line only where the first ones have none; nothing else is another text."""
    diff = make.diff(make.finding())
    keyed, plain = (text(replace(diff, signing_key=key)).splitlines() for key in (KEY, None))
    assert keyed == [plain[0], f"{plain[1]}; key 1dae:6f72:28c2:6599", *plain[2:]]
    two = typical(make)
    assert sum(map(len, text(two, width=80).splitlines()[:2])) <= 160
    keyed, plain = (text(replace(two, signing_key=key), width=80).splitlines() for key in (KEY, None))
    assert len(keyed) == len(plain) and "key 1dae:6f72:28c2:6599" in "".join(keyed[:4])
    assert max(map(len, keyed[:4])) <= 80
    keyed, plain = (text(replace(two, signing_key=key), width=100).splitlines() for key in (KEY, None))
    assert keyed == [*plain[:2], "    key 1dae:6f72:28c2:6599", *plain[2:]]


def test_a_typical_diff(make: Any) -> None:
    """Summary first, then rows, most alarming first: what changed, which process, login user, time, event."""
    assert text(typical(make)) == GOLDEN


def test_colour_changes_nothing_but_colour(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without colour, the text has the same characters as with colour, whatever the environment."""
    coloured = text(typical(make), color=True)
    assert "\x1b[1;31munattributed" in coloured
    assert re.sub(r"\x1b\[[0-9;]*m", "", coloured) == GOLDEN
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert text(typical(make)) == GOLDEN
    monkeypatch.setenv("NO_COLOR", "1")
    assert text(typical(make), color=True) == coloured


def test_no_difference_is_a_single_line(make: Any) -> None:
    """A diff without differences is one line."""
    assert text(make.diff()) == "nothing differs since scan 1 (2026-11-23 04:05 UTC) on web1\n"
    assert brief(make.diff(), 5) == "nothing differs since scan 1 (2026-11-23 04:05 UTC) on web1\n"


def test_unreadable_files_are_listed_even_when_nothing_differs(make: Any) -> None:
    """An unreadable file is listed even if nothing differs."""
    diff = make.diff(unreadable=(Unreadable(path=b"/srv", reason=UnreadableReason.IO_ERROR, detail="Bad message"),))
    lines = text(diff).splitlines()
    assert lines[0] == "nothing differs, 1 unreadable, since scan 1 (2026-11-23 04:05 UTC) on web1"
    assert lines[-2:] == ["unreadable  /srv", "    input/output error: Bad message"]
    assert brief(diff, 5).splitlines()[1] == "unreadable  /srv"


def test_a_missing_directory_is_not_said_to_hide_removals(make: Any) -> None:
    """Files below a missing configured directory are removed; the heading says so."""
    gone = [Unreadable(path=path, reason=UnreadableReason.MISSING) for path in (b"/a", b"/b")]
    denied = Unreadable(path=b"/c", reason=UnreadableReason.PERMISSION)
    lines = text(make.diff(unreadable=(*gone, denied))).splitlines()[2:]
    assert [line for line in lines if line.startswith("==")] == [
        "== Missing (2 paths; known files there are reported as removed)",
        "== Not compared (1 file; not counted as removed)",
    ]
    assert lines[1:3] == ["unreadable  /a", "    configured, but there is no such file or directory"]
    assert lines[-2:] == ["unreadable  /c", "    permission denied"]
    assert "Not compared" not in text(make.diff(unreadable=gone))
    assert "== Missing (1 path; " in text(make.diff(unreadable=gone[:1]))


@pytest.mark.parametrize(
    ("reason", "detail", "words"),
    [
        (UnreadableReason.PERMISSION, "Permission denied", "permission denied"),
        (UnreadableReason.PERMISSION, "Operation not permitted", "permission denied: Operation not permitted"),
        (UnreadableReason.IO_ERROR, "Input/output error", "input/output error"),
        (
            UnreadableReason.MISSING,
            "No such file or directory",
            "configured, but there is no such file or directory",
        ),
        (UnreadableReason.UNSTABLE, "", "kept changing while it was being read"),
    ],
)
def test_a_reason_is_not_said_twice(make: Any, reason: UnreadableReason, detail: str, words: str) -> None:
    """The system's error message is shown only if it adds something."""
    diff = make.diff(unreadable=(Unreadable(path=b"/x", reason=reason, detail=detail),))
    assert text(diff).splitlines()[-1] == f"    {words}"


def test_a_change_shows_the_number_that_accept_takes(make: Any) -> None:
    """The number precedes the path, so a file name cannot fake it; a change that is not stored has none."""
    diff = make.diff(
        make.finding(make.change(path=b"/a #9", id=12345)),
        make.finding(make.change(path=b"/b", id=8)),
        make.finding(make.change(path=b"/c", id=0)),
    )
    for written in (text(diff), brief(diff, 9)):
        rows = [line for line in written.splitlines() if line.startswith("modified")]
        assert rows == ["modified    #12345  /a #9", "modified    #8     /b", "modified    /c"]


def test_each_step_shows_its_own_number(make: Any) -> None:
    """Each of several changes of a file can be named when accepting."""
    steps = tuple(make.finding(make.change(id=number), scan=number) for number in (3, 4))
    written = text(make.diff(make.finding(make.change(id=4), steps=steps)))
    assert "1. scan 3: modified #3, " in written
    assert "2. scan 4: modified #4, " in written


def test_names_cannot_drive_the_terminal(make: Any) -> None:
    """Escape sequences, newlines and bidi controls in names and notes are shown as visible text."""
    evil = "\x1b]0;pwned\x07\r\n\u202e\u009b2J[red]"
    actor = make.actor(
        exe=evil.encode() + b"\xff",
        comm=evil.encode(),
        cmdline=(evil.encode(),),
        cwd=evil.encode(),
        login_user=evil,
        user=evil,
        tty=evil,
        event=EventId(make.now, 1, evil),
    )
    attribution = make.attribution(Verdict.CONTESTED, actors=(actor, make.actor()), notes=(evil,))
    finding = make.finding(make.change(path=b"/" + evil.encode()), attribution)
    diff = make.diff(
        finding,
        make.finding(make.change(ChangeKind.MOVED, b"/m", before=make.state(b"/" + evil.encode()))),
        host=evil,
        unreadable=(Unreadable(path=evil.encode(), reason=UnreadableReason.IO_ERROR, detail=evil),),
        opened_unmodified=(UnmodifiedOpen(path=evil.encode(), actors=(actor,)),),
    )
    access = FileAccess(
        event=EventId(make.now, 1, evil), action=Action.LINK, name=Name(text=evil.encode()), actor=actor, old=Name()
    )
    out = io.StringIO()
    write_accesses_text([access], out, color=False)
    for written in (text(diff), brief(diff, 9), out.getvalue()):
        assert written.replace("\n", "").isprintable()
        assert "[red]" in written
    assert len(text(diff, 10**6).splitlines()) == len(text(diff_with(make, b"/plain"), 10**6).splitlines())


def diff_with(make: Any, path: bytes) -> Diff:
    """The same diff as in the test above, with harmless names."""
    other = make.actor(pid=1)
    attribution = make.attribution(Verdict.CONTESTED, actors=(other, make.actor()), notes=("note",))
    diff: Diff = make.diff(
        make.finding(make.change(path=path), attribution),
        make.finding(make.change(ChangeKind.MOVED, b"/m", before=make.state(path))),
        unreadable=(Unreadable(path=path, reason=UnreadableReason.IO_ERROR, detail="x"),),
        opened_unmodified=(UnmodifiedOpen(path=path, actors=(other,)),),
    )
    return diff


@pytest.mark.parametrize("verdict", Verdict)
@pytest.mark.parametrize("reason", [None, *Reason])
@pytest.mark.parametrize("actors", [0, 1, 2])
def test_every_verdict_and_reason_is_said(make: Any, verdict: Verdict, reason: Reason | None, actors: int) -> None:
    """Each row has the code of its verdict, and names every process."""
    named = tuple(make.actor(pid=100 + number) for number in range(actors))
    finding = make.finding(attribution=make.attribution(verdict, reason, actors=named))
    code = f"{verdict} ({reason}): " if reason else f"{verdict}: "
    for written in (text(make.diff(finding)), brief(make.diff(finding), 1)):
        assert re.search(rf"^    {re.escape(code)}\S", written, re.MULTILINE)
        for actor in named:
            assert f"/usr/bin/vim (pid {actor.pid}, ppid 4200)" in written


@pytest.mark.parametrize(
    ("attribution", "words"),
    [
        (Attribution(verdict=Verdict.UNATTRIBUTED, reason=Reason.NO_EVENT), "recorded no event: investigate"),
        (
            Attribution(verdict=Verdict.UNATTRIBUTED, reason=Reason.NOT_COVERED),
            "\nx audit status  # how to load the audit rules that are missing",
        ),
        (
            Attribution(verdict=Verdict.UNATTRIBUTED, reason=Reason.COVERAGE_GAP),
            "did not cover the path the whole time",
        ),
    ],
)
def test_the_reason_says_what_to_do(make: Any, attribution: Attribution, words: str) -> None:
    """The sentence for each reason says what is missing or what to do."""
    diff = make.diff(make.finding(attribution=attribution))
    commands = next_commands("x", diff, group(diff.findings), is_reviewed=False)
    assert words in text(diff, commands=commands)


@pytest.mark.parametrize("reason", GapReason)
def test_every_gap_is_told_with_its_times(make: Any, reason: GapReason) -> None:
    """When and why audit was blind stands on the row, not just that it was."""
    gap = Gap(start_ns=make.now, end_ns=make.now + make.second, reason=reason, lost=12)
    attribution = make.attribution(Verdict.LIKELY, Reason.COVERAGE_GAP, coverage=Coverage(complete=False, gaps=(gap,)))
    written = text(make.diff(make.finding(attribution=attribution)), 200)
    when = re.escape("(12 lost), 2026-11-23T04:35:13.818Z to 2026-11-23T04:35:14.818Z")
    assert re.search(rf"^        audit gap: \w[^,]+.*{when}$", written, re.MULTILINE)


def test_a_gap_over_the_whole_window_says_so(make: Any) -> None:
    """A reader need not compare timestamps to see that audit was blind all along."""
    gap = Gap(start_ns=0, end_ns=make.now * 2, reason=GapReason.NO_RULE)
    attribution = make.attribution(Verdict.UNATTRIBUTED, coverage=Coverage(complete=False, gaps=(gap,)))
    assert "no loaded audit rule covered this path, the whole time" in text(make.diff(make.finding(None, attribution)))


@pytest.mark.parametrize(
    ("role", "syscall", "words"),
    [
        (Role.WRITER, "openat", "wrote it"),
        (Role.WRITER, "truncate", "truncated it"),
        (Role.WRITER, "mkdirat", "created it"),
        (Role.PLACER, "renameat2", "renamed it into place"),
        (Role.PLACER, "linkat", "linked it into place"),
        (Role.REMOVER, "unlinkat", "removed it"),
        (Role.REMOVER, "rename", "renamed it away"),
        (Role.CHANGER, "fchmodat2", "changed its mode"),
        (Role.CHANGER, "lchown", "changed its owner"),
        (Role.CHANGER, "setxattr", "changed its extended attributes"),
        (Role.CHANGER, "utimensat", "set its times"),
        (Role.CHANGER, None, "changed its attributes"),
        (Role.CHANGER, "linkat", "linked it"),
        (Role.CHANGER, "unlinkat", "unlinked a name of it"),
        (Role.CHANGER, "renameat2", "renamed a name of it"),
        (Role.CHANGER, "symlink", "created it"),
        (None, "openat", "opened it for writing"),
    ],
)
def test_what_a_process_did_is_said_in_words(make: Any, role: Role | None, syscall: str | None, words: str) -> None:
    """A reader need not know system calls, and an mkdir is not called a write."""
    attribution = make.attribution(actors=(make.actor(role, syscall=syscall),))
    assert f"(pid 4242, ppid 4200) {words}\n" in text(make.diff(make.finding(attribution=attribution)))


@pytest.mark.parametrize(
    ("kind", "state", "actor", "words"),
    [
        # touch -d, or a write of what was there already: nobody saw the content differ.
        (ChangeKind.ATTRIBUTES, {}, {}, "opened it for writing"),
        (ChangeKind.ATTRIBUTES, {}, {"event": None, "time_ns": None}, "held it open for writing"),
        (ChangeKind.MOVED, {}, {}, "opened it for writing"),
        (ChangeKind.MODIFIED, {"size": 0}, {}, "wrote it"),
        (ChangeKind.ADDED, {}, {}, "wrote it"),
        (ChangeKind.ADDED, {"size": 0}, {}, "created it"),
        (ChangeKind.ADDED, {"size": 0}, {"syscall": "creat", "flags": ()}, "created it"),
        (ChangeKind.ADDED, {"size": 0}, {"flags": ("O_RDWR", "O_TMPFILE")}, "created it"),
        (ChangeKind.ADDED, {"size": 0}, {"flags": ("O_WRONLY",)}, "opened it for writing"),
        (ChangeKind.ADDED, {"kind": FileKind.SOCKET}, {"syscall": "bind", "flags": ()}, "created it"),
        (ChangeKind.ADDED, {"kind": FileKind.FIFO}, {"syscall": "mknod", "flags": ()}, "created it"),
        (ChangeKind.ADDED, {"kind": FileKind.CHAR_DEVICE}, {"syscall": "mknodat", "flags": ()}, "created it"),
        (ChangeKind.ADDED, {"kind": FileKind.DIRECTORY}, {"syscall": "mkdir", "flags": ()}, "created it"),
        (ChangeKind.ADDED, {"kind": FileKind.SYMLINK}, {"syscall": "symlinkat", "flags": ()}, "created it"),
        (ChangeKind.ADDED, {"kind": FileKind.FIFO}, {}, "opened it for writing"),
        (ChangeKind.MODIFIED, {"kind": FileKind.SOCKET}, {"syscall": "bind", "flags": ()}, "created it"),
    ],
)
def test_the_words_follow_from_what_the_file_shows(
    make: Any, kind: ChangeKind, state: dict[str, Any], actor: dict[str, Any], words: str
) -> None:
    """To have written needs content that shows it; what shows none was opened, or created by a call that can."""
    change = make.change(kind, after=make.state(**state))
    diff = make.diff(make.finding(change, make.attribution(actors=(make.actor(**actor),))))
    for written in (text(diff), brief(diff, 1)):
        assert re.search(rf"\(pid 4242, ppid 4200\) {words}(, as root.*)?$", written, re.MULTILINE)


def test_no_process_is_said_to_have_written_what_it_may_only_have_opened(make: Any) -> None:
    """A candidate among several is not accused of a write that nobody saw it make."""
    attribution = make.attribution(Verdict.CONTESTED, actors=(make.actor(pid=1), make.actor(pid=2)))
    written = text(make.diff(make.finding(attribution=attribution)))
    assert "wrote" not in written
    assert written.count("opened it for writing") == 2


def test_different_programs_with_one_pid_are_not_merged(make: Any) -> None:
    """Two commands that had the same pid one after the other stay two processes in the report."""
    other = make.actor(Role.PLACER, cmdline=(b"vim", b"passwd"), syscall="rename")
    written = text(make.diff(make.finding(attribution=make.attribution(actors=(make.actor(), other)))))
    assert written.count("\n      - /usr/bin/vim (pid 4242") == 2


@pytest.mark.parametrize(
    ("other", "words"),
    [
        ({"auid": None, "login_user": None}, "as root, no login user"),
        ({"login_user": None}, "as root, logged in as uid 1000"),
        ({"uid": None, "user": None, "euid": None}, "as an unknown user, logged in as alice"),
        ({"uid": 1000, "user": "alice"}, "as alice (euid 0), logged in as alice"),
        ({"exe": None}, "a process that calls itself vim (pid 4242"),
        ({"exe": None, "comm": None}, "an unknown program (pid 4242"),
        ({"event": None, "time_ns": None}, "held it open for writing"),
        ({"ppid": None}, "/usr/bin/vim (pid 4242) wrote it"),
    ],
)
def test_what_is_unknown_about_a_process_is_said_to_be(make: Any, other: dict[str, Any], words: str) -> None:
    """An unset login is not root, and a missing program name is not made up."""
    attribution = make.attribution(actors=(make.actor(**other),))
    assert words in text(make.diff(make.finding(attribution=attribution)))


@pytest.mark.parametrize(
    ("changed", "after", "words"),
    [
        (("mode", "ctime"), {"mode": 0o4755}, "mode 0644 -> 4755 (-rw-r--r-- -> -rwsr-xr-x)"),
        (("uid", "gid", "ctime"), {"uid": 1000, "gid": 50}, "owner 0:0 -> 1000:50"),
        (("xattr",), {"xattrs": None}, "extended attributes (ACL, label, capabilities) changed"),
        (("xattr",), {"xattrs": (Xattr(name=b"user.a", size=1, data=b"b"),)}, 'user.a none -> "b"'),
        (("acl",), {"xattrs": (ACL,)}, "acl none -> user::rw-,user:1000:r--,group::r--,mask::r--,other::---"),
        (("capabilities",), {"xattrs": (CAPABILITY,)}, "capabilities none -> cap_net_bind_service=ep"),
        (("selinux",), {"xattrs": (LABEL,)}, "selinux none -> u:r:etc_t:s0"),
        (("flags",), {"flags": 0x30}, "flags none -> ia"),
        (("nlink", "ctime"), {"nlink": 2}, "links 1 -> 2"),
        (("inode",), {"inode": 99}, "inode 12 -> 99"),
        (("dev",), {"dev": 0xFD01}, "device fe:00 -> fd:01"),
        (("ctime",), {"ctime_ns": 0}, "ctime 2026-11-23T03:35:13.818Z -> 1970-01-01T00:00:00.000Z"),
        (("mtime",), {"mtime_ns": 0}, "mtime set back 2026-11-23T03:35:13.818Z -> 1970-01-01T00:00:00.000Z"),
        (("kind",), {"kind": FileKind.SYMLINK}, "file -> symlink"),
        (("link_target",), {"link_target": b"/b"}, "target  -> /b"),
        (("content", "ctime"), {"digests": ()}, "content, mtime unchanged"),
    ],
)
def test_what_differs_is_said_old_and_new(
    make: Any, changed: tuple[str, ...], after: dict[str, Any], words: str
) -> None:
    """Old and new value of what matters, without the times that follow from it; forged times are pointed out."""
    change = make.change(ChangeKind.ATTRIBUTES, changed=changed, before=make.state(), after=make.state(**after))
    assert f"\n    {words}\n" in text(make.diff(make.finding(change)))


def test_a_row_with_steps_tells_each_with_its_own_actor(make: Any) -> None:
    """Who made which of several changes of one file is not blurred into one answer."""
    steps = tuple(
        make.finding(attribution=make.attribution(actors=(make.actor(pid=pid),)), scan=scan)
        for pid, scan in ((1, 2), (9, 4))
    )
    actors = tuple(actor for step in steps for actor in step.attribution.actors)
    finding = make.finding(attribution=make.attribution(actors=actors), steps=steps)
    written = text(make.diff(finding))
    order = ["confirmed: changed 2 times", "1. scan 2: modified", "(pid 1, ", "2. scan 4: modified", "(pid 9, "]
    places = [written.index(words) for words in order]
    assert places == sorted(places)
    assert written.count("(pid ") == 2
    assert "changed 2 times" in brief(make.diff(finding), 1)


def test_an_alarming_step_lifts_its_row_to_the_top(make: Any) -> None:
    """A step that nobody was seen to make is not buried under the rows that are explained."""
    hidden = make.finding(attribution=make.attribution(Verdict.UNATTRIBUTED, Reason.NO_EVENT))
    weak = make.attribution(Verdict.UNATTRIBUTED, Reason.COVERAGE_GAP)
    row = make.finding(make.change(path=b"/z"), weak, steps=(hidden, make.finding()))
    plain = make.finding(make.change(path=b"/a"), weak)
    written = text(make.diff(plain, row))
    assert written.index("modified    #17    /z") < written.index("modified    #17    /a")
    assert "== No event although audit covered the path: investigate (1 row)\nmodified    #17    /z" in written


def many(make: Any, count: int) -> list[Finding]:
    return [make.finding(make.change(path=b"/f%03d" % number)) for number in range(count)]


def test_the_full_report_leaves_nothing_out(make: Any) -> None:
    """Each changed path is in 'fimscan diff', however many there are."""
    written = text(make.diff(*many(make, 300)))
    assert len(re.findall(r"^modified    #17    /f\d{3}$", written, re.MULTILINE)) == 300


def test_a_severe_row_comes_before_others_of_its_verdict(make: Any) -> None:
    """So a short summary does not omit it in favour of a path that sorts earlier."""
    rows = [make.finding(make.change(path=b"/" + name.encode()), severity=name) for name in ("high", "low", "medium")]
    written = brief(make.diff(*rows, make.finding(make.change(path=b"/z"), severity="critical")), 2)
    assert re.findall(r"^modified.* (/\w+)$", written, re.MULTILINE) == ["/z", "/high"]


def test_the_scan_summary_shows_the_most_alarming_and_counts_the_rest(make: Any) -> None:
    """A summary has a limited number of rows, urgent ones first, and says how to see the rest."""
    urgent = make.finding(make.change(path=b"/z"), make.attribution(Verdict.UNATTRIBUTED, Reason.NO_EVENT))
    unreadable = (Unreadable(path=b"/srv", reason=UnreadableReason.MISSING),)
    lines = brief(make.diff(*many(make, 30), urgent, unreadable=unreadable), 3).splitlines()
    assert lines[0].startswith("31 changed, 1 unreadable since scan 1 ")
    assert [line for line in lines if not line.startswith(" ")][2:5] == [
        *("modified    #17    /z", "modified    #17    /f000", "modified    #17    /f001"),
    ]
    assert lines[-1] == "... and 29 more: fimscan diff --from 1 --to 2"
    assert brief(make.diff(*many(make, 3)), 3).splitlines()[-1].startswith("    confirmed: /usr/bin/vim")


@pytest.mark.parametrize("width", [1, 40, 80, 200])
def test_no_name_is_broken_by_a_narrow_terminal(make: Any, width: int) -> None:
    """Paths, commands and event ids can be copied and searched for at any width."""
    long = b"/srv/" + b"a b/" * 40 + b"end"
    written = text(make.diff(make.finding(make.change(path=long))), width)
    assert f"modified    #17    {long.decode()}\n" in written
    assert "2026-11-23T04:35:13.818Z event 1795408513.818:6628017" in written


def test_accesses_are_one_line_each_with_the_name_last(make: Any) -> None:
    """The accesses of a log read like a log: failed ones say so, and a name that is not sure has a question mark."""
    sure = Name(text=b"hosts", path=b"/etc/hosts")
    common: dict[str, Any] = {"event": EventId(make.now, 7), "actor": make.actor(role=None)}
    accesses = [
        FileAccess(action=Action.OPEN_WRITE, name=sure, **common),
        FileAccess(action=Action.RENAME, name=sure, old=Name(text=b"x\n"), success=False, **common),
        FileAccess(action=Action.CHMOD, name=Name(), **common),
    ]
    out = io.StringIO()
    write_accesses_text(accesses, out, color=False)
    front = "2026-11-23T04:35:13.818Z 1795408513.818:7"
    who = "/usr/bin/vim (pid 4242, ppid 4200), as root, logged in as alice"
    assert out.getvalue().splitlines() == [
        f"{front} open-write  {who}: /etc/hosts",
        f"{front} FAILED rename      {who}: ?x\\x0a -> /etc/hosts",
        f"{front} chmod       {who}: ?",
    ]


def test_a_row_says_what_its_package_shipped(make: Any) -> None:
    """Owner, proof and facts; a configuration file that somebody edited is no alarm; unowned files have no line."""
    owner = PackageOwner(manager="dpkg", name="net\x1bbase", version="6.4")
    facts = (PackageFact.MANAGER_WROTE_OTHER,)
    answer = PackageAnswer(
        path=b"/etc/hosts",
        kind=PackageClass.NOT_AS_SHIPPED,
        owners=(owner,),
        proof=PackageProof.MD5SUMS,
        algorithm="md5",
        differs=("content",),
        facts=facts,
    )
    edited = replace(answer, owners=(replace(owner, conffile=True),), facts=(PackageFact.NOT_BEING_INSTALLED,))
    assert [is_alarming(one) for one in (None, answer, edited)] == [False, True, False]
    written = text(make.diff(make.finding(package=answer)))
    assert "    package: not as shipped, net\\x1bbase 6.4, content differs, MD5 in dpkg's database,\n" in written
    assert "written by the package manager, but not as shipped" in written
    unowned = PackageAnswer(path=b"/etc/hosts", kind=PackageClass.UNOWNED)
    assert "package" not in text(make.diff(make.finding(package=unowned)))
