"""The first screen of a diff, the list of change sets, and one set in full."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from rich.cells import cell_len

from fimscan.grouping import ChangeSet, Facts, Grouping, Provenance, Rank, RankReason, group
from fimscan.model import (
    Change,
    ChangeKind,
    Diff,
    ExeOrigin,
    Finding,
    InEffect,
    LoginOrigin,
    LoginSource,
    PackageClass,
    ProcessView,
    Reason,
    Role,
    Runner,
    RunsAs,
    RunsVersion,
    UnmodifiedOpen,
    Unreadable,
    UnreadableReason,
    Verdict,
)
from fimscan.report import screen as screen_module
from fimscan.report.change_sets import REASON_WORDS, accept_command, rank_words, set_title, span_text, user_in_short
from fimscan.report.screen import Screen, fits, write_screen, write_set, write_sets
from tests.grouping.conftest import confirmed, facts, intrusion, machine, package_file
from tests.report.conftest import Make

GOLDEN = """\
2005 changed since scan 1 (2026-11-23 04:05 UTC) on web1
as of scan 2 (2026-11-23 04:36 UTC): 2005 confirmed

== Look at these (3 of 2,005)
attributes  #3002  high      /usr/bin/find
    setuid gained, mode 0755 -> 4755 (-rwxr-xr-x -> -rwsr-xr-x)
    confirmed: chmod (pid 5002) changed its mode, eve as root, 04:35:15
modified    #3001  high      /usr/bin/who
    program changed
    confirmed: cp (pid 5001) wrote it, eve as root, 04:35:14
modified    #3003  high      /etc/passwd
    an account with root's rights was asked for
    confirmed: useradd (pid 5003) wrote it, eve as root, 04:35:16

== 3 change sets, 2,005 changes
 1      4  useradd, cp, chmod, by eve as root, 04:35; 3 above
 2  2,000  apt-get upgrade, by admin (sudo), 02:21-02:22; 12 packages as shipped
 3      1  vim hosts, by alice as root, 04:36
500 of these are files that were replaced by others with the same content.
fimscan diff --set 1  # open a set; --flat: every row
fimscan explain 3002  # why
"""


def grouped(diff: Diff, known: Facts | None = None) -> Grouping:
    return group(diff.findings, known or Facts.of(diff))


def screen_of(diff: Diff, known: Facts | None = None, **size: Any) -> str:
    out = io.StringIO()
    write_screen(diff, grouped(diff, known), out, color=False, screen=Screen(**size))
    return out.getvalue()


def opened(diff: Diff, number: int, known: Facts | None = None) -> str:
    out = io.StringIO()
    item = grouped(diff, known).sets[number - 1]
    write_set(diff, item, out, color=False, screen=Screen(width=100))
    return out.getvalue()


def with_packages(make: Make, diff: Diff) -> Facts:
    """dpkg's ancestors, and what twelve packages shipped."""
    provenance = {
        finding.change.path: Provenance(shipped=PackageClass.AS_SHIPPED, package=f"p{number % 12}")
        for number, finding in enumerate(diff.findings)
        if finding.attribution.actors[0].exe == b"/usr/bin/dpkg"
    }
    return Facts(lineages=facts(make).lineages, provenance=provenance)


def title(make: Make, **actor: Any) -> str:
    """The title of the set of one change by one process."""
    diff = make.diff(confirmed(make, make.change(), make.actor(**actor)))
    return set_title(grouped(diff).sets[0], make.now)


def test_the_first_screen_of_a_machine_that_was_broken_into(make: Make) -> None:
    """Trojan, setuid and the account with uid 0 first, each with who did it; 2,000 files of packages in one line."""
    diff = machine(make)
    written = screen_of(diff, with_packages(make, diff))
    assert written == GOLDEN
    assert len(written.splitlines()) <= 24
    assert max(map(len, written.splitlines())) <= 80


def test_a_review_is_the_next_step_and_replaces_explain_where_there_is_no_room(make: Make) -> None:
    """24 lines are kept: explaining is a key of the review."""
    diff = machine(make)
    roomy = screen_of(diff, facts(make), is_reviewed=True).splitlines()
    assert "fimscan review  # decide, set by set" in roomy and "fimscan explain 3002  # why" in roomy
    least = len([line for line in roomy if line])
    narrow = screen_of(diff, facts(make), is_reviewed=True, height=least - 2).splitlines()
    assert len(narrow) == least - 2
    assert "fimscan review  # decide, set by set" in narrow and "fimscan explain 3002  # why" not in narrow


def test_a_line_without_room_still_says_how_many_files_are_as_shipped(make: Make) -> None:
    """Without audit, nobody is named, and the packages are all that tells what can be waved through."""
    nobody = make.attribution(Verdict.UNATTRIBUTED, Reason.COVERAGE_GAP)
    rows = [make.finding(make.change(path=b"/usr/bin/f%03d" % number, id=number + 1), nobody) for number in range(30)]
    provenance = {
        row.change.path: Provenance(
            shipped=PackageClass.AS_SHIPPED if number else PackageClass.UNKNOWN, package=f"p{number % 12}"
        )
        for number, row in enumerate(rows)
    }
    written = screen_of(make.diff(*rows), Facts(provenance=provenance))
    assert "; 29 as shipped\n" in written, written
    assert max(map(len, written.splitlines())) <= 80


def test_without_knowledge_of_packages_the_same_stands_out(make: Make) -> None:
    """Only the end of one line is missing."""
    assert screen_of(machine(make), facts(make)) == GOLDEN.replace("; 12 packages as shipped", "")


def test_the_screen_in_the_documentation_is_this_one(make: Make) -> None:
    """The page on triage shows what a user sees."""
    page = Path(__file__).parents[2] / "docs/how-to/triage-a-report.md"
    assert f"```\n{screen_of(machine(make), facts(make))}```\n" in page.read_text()


def test_a_few_changes_are_shown_in_full(make: Make) -> None:
    """Three changes are not hidden behind sets; many are."""
    assert fits(make.diff(*intrusion(make)), Screen())
    assert not fits(machine(make, 20), Screen())
    assert fits(machine(make, 20), Screen(height=400))


def test_all_that_stands_out_is_listed_however_much_it_is(make: Make) -> None:
    """With --look, however many lines it takes; the screen and the mail say how many more there are."""
    hidden = make.attribution(Verdict.UNATTRIBUTED, Reason.NO_EVENT)
    diff = make.diff(*(make.finding(make.change(path=b"/f%03d" % number), hidden) for number in range(300)))
    written = screen_of(diff, is_whole=True)
    assert len(re.findall(r"^modified    #17    /f\d{3}$", written, re.MULTILINE)) == 300
    first = screen_of(diff)
    assert len(first.splitlines()) == 24
    titles = len(re.findall(r"^modified ", first, re.MULTILINE))
    assert f"... and {300 - titles} more to look at: fimscan diff --look\n" in first
    assert first.count("no event although audit covered it") == 1, "what is said of all is said once"
    mailed = screen_of(diff, limit=12, filters=" --from 1")
    assert len(re.findall(r"^modified ", mailed, re.MULTILINE)) == 12
    assert "... and 288 more to look at: fimscan diff --from 1 --look\n" in mailed


def test_the_most_urgent_are_told_in_full_and_more_have_their_name_on_the_screen(make: Make) -> None:
    """What was cut is counted, and the sets below say what else there is; nothing is called listed that is not."""
    loud = [confirmed(make, make.change(path=b"/etc/sudoers.d/%02d" % n, id=n)) for n in range(1, 20)]
    written = screen_of(make.diff(*loud, *machine(make, 40).findings), facts(make))
    lines = written.splitlines()
    assert len(lines) == 24 and max(map(len, lines)) <= 80
    for path in ("find", "who", "passwd"):  # setuid, trojan, account
        title = next(number for number, line in enumerate(lines) if line.endswith(f"/{path}"))
        assert lines[title + 2].startswith("    confirmed: ")
    more = re.search(r"^\.\.\. and (\d+) more to look at: fimscan diff --look$", written, re.MULTILINE)
    named = re.findall(r"^modified .* /etc/sudoers\.d/(\d\d)$", written, re.MULTILINE)
    assert more is not None and int(more[1]) + len(named) == 19 and named == sorted(named)
    assert " 1      4  useradd, cp, chmod, by eve as root, 04:35; 3 to look at\n" in written and " above" not in written


def test_what_counts_all_rows_is_made_once_however_many_layouts_are_tried(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With 50,000 changes, each of them takes a tenth of a second."""
    made: list[str] = []

    def counted(name: str, original: Any) -> Any:
        def call(*values: Any, **options: Any) -> Any:
            made.append(name)
            return original(*values, **options)

        return call

    for name in ("_footer", "head_lines", "_set_line"):
        monkeypatch.setattr(screen_module, name, counted(name, getattr(screen_module, name)))
    loud = [confirmed(make, make.change(path=b"/etc/sudoers.d/%02d" % n, id=n)) for n in range(1, 20)]
    screen_of(make.diff(*loud, *machine(make, 40).findings), facts(make))
    assert made.count("head_lines") == 1 and made.count("_footer") <= 2 and made.count("_set_line") <= 8


@pytest.mark.parametrize("width", [60, 80])
def test_it_fits_on_a_narrow_terminal_as_well(make: Make, width: int) -> None:
    """Which breaks the lines that are too wide for it: commands and names are not cut."""
    diff = make.diff(*accounts(make), *machine(make, 40).findings)
    written = screen_of(diff, facts(make), width=width, is_reviewed=True).splitlines()
    assert sum(max(1, -(-cell_len(line) // width)) for line in written) <= 24
    assert sum(line.startswith("attributes  #3002") for line in written) == 1


def test_where_all_names_fit_but_not_who_it_was_the_screen_says_how_to_see_that(make: Make) -> None:
    """The first three are told in full at least."""
    loud = [
        confirmed(make, make.change(path=b"/srv/bin/%d" % n, id=n), make.actor(pid=50 + n), severity="critical")
        for n in range(1, 4)
    ]
    written = screen_of(make.diff(*loud, *machine(make, 40).findings), facts(make))
    assert len(written.splitlines()) <= 24
    assert re.search(r"^\.\.\. why, and who it was, of the last \d: fimscan diff --look$", written, re.MULTILINE)
    assert all(re.search(rf"^modified .* /srv/bin/{n}$", written, re.MULTILINE) for n in range(1, 4))


@given(st.lists(st.sampled_from(range(6)), min_size=6, max_size=30), st.integers(24, 60))
def test_what_stands_out_is_never_only_in_a_set(kinds: list[int], height: int) -> None:
    """Every row that stands out has its own title on the screen, or is counted there, the most urgent ones first."""
    make = Make()
    makers: list[Any] = [lambda number: package_file(make, number)]
    makers += [lambda number, row=row: row for row in intrusion(make)]
    makers.append(lambda number: confirmed(make, make.change(path=b"/srv/%d" % number), make.actor(pid=number + 10)))
    diff = make.diff(*(makers[kind](number) for number, kind in enumerate(kinds)))
    grouping = grouped(diff)
    written = screen_of(diff, height=height)
    assert len(written.splitlines()) <= height
    left = re.search(r"and (\d+) more to look at", written)
    listed = grouping.standing_out[: -int(left[1])] if left else grouping.standing_out
    assert listed or not grouping.standing_out
    for row in listed:
        assert re.search(rf"^\w+ +#{row.finding.change.id} .*{row.finding.change.path.decode()}$", written, re.M)
    shown = sum(int(count) for count in re.findall(r"^ *[\d,-]+ +(\d+)  ", written, re.MULTILINE))
    more = re.search(r"more sets? with (\d+) changes", written)
    assert shown + (int(more[1]) if more else 0) == len(kinds), "each change is counted in one line"


def test_nothing_that_stands_out_is_said(make: Make) -> None:
    """An empty list would look like a mistake."""
    diff = make.diff(*(package_file(make, number) for number in range(30)))
    written = screen_of(diff, facts(make))
    assert "None of the 30 changes stands out by itself.\n" in written and "Look at these" not in written


def test_more_sets_than_fit_are_counted(make: Make) -> None:
    """--sets lists them all."""
    rows = (
        confirmed(make, make.change(path=b"/srv/%d" % number), make.actor(pid=number + 10, session=number))
        for number in range(40)
    )
    diff = make.diff(*rows)
    written = screen_of(diff)
    assert len(written.splitlines()) == 24
    assert re.search(r"^\.\.\. and (\d+) more sets with \1 changes: fimscan diff --sets$", written, re.MULTILINE)
    out = io.StringIO()
    write_sets(diff, grouped(diff), out, color=False, screen=Screen())
    assert re.findall(r"^ ?(\d+)      1  vim hosts", out.getvalue(), re.MULTILINE) == [*map(str, range(1, 41))]


def test_what_could_not_be_compared_is_not_left_out(make: Make) -> None:
    """A file that changed and cannot be read stands out; the others are a number, as are harmless opens."""
    denied = Unreadable(path=b"/etc/x", reason=UnreadableReason.PERMISSION)
    altered = Unreadable(path=b"/etc/y", reason=UnreadableReason.LEASED, since_ns=make.now, differs=("size",))
    diff = make.diff(
        *machine(make, 30).findings,
        unreadable=(denied, altered),
        opened_unmodified=(UnmodifiedOpen(path=b"/etc/z", actors=(make.actor(),)),),
    )
    written = screen_of(diff, facts(make))
    assert "== Look at these (4 of 36)\n" in written
    assert "unreadable  /etc/y\n    another process holds a lease" in written
    assert "1 file could not be compared: fimscan diff --flat lists them.\n" in written
    assert "1 file opened for writing, content unchanged.\n" in written


def test_all_candidates_are_named_or_counted(make: Make) -> None:
    """A change that several processes may have made names no single one."""
    actors = tuple(make.actor(pid=pid, exe=b"/usr/bin/p%d" % pid) for pid in range(10, 16))
    contested = make.attribution(Verdict.CONTESTED, actors=actors)
    row = make.finding(make.change(path=b"/etc/sudoers"), contested)
    written = screen_of(make.diff(row, *machine(make, 30).findings), facts(make), is_whole=True)
    who = "opened it for writing, alice as root, 04:35:13\n"
    assert f"    contested: p10 (pid 10) {who}        or p11 (pid 11) {who}        or p12 (pid 12) {who}" in written
    assert "        or 3 more: fimscan explain 17\n" in written
    alone = make.finding(make.change(path=b"/etc/sudoers"), make.attribution(Verdict.CONTESTED, actors=actors[:1]))
    written = screen_of(make.diff(alone, *machine(make, 30).findings), facts(make))
    assert f"    contested: p10 (pid 10) {who}        or one that is not listed\n" in written


def test_of_several_acts_the_first_is_named_where_there_is_no_room(make: Make) -> None:
    """Who it was has one line for each process, as long as it fits."""
    acts = [
        make.actor(role=role, syscall=call, pid=4242)
        for role, call in ((Role.WRITER, "openat"), (Role.PLACER, "rename"))
    ]
    row = confirmed(make, make.change(path=b"/etc/sudoers"), acts[0])
    row = replace(row, attribution=row.attribution._replace(actors=tuple(acts)))
    written = screen_of(make.diff(row, *machine(make, 30).findings), facts(make))
    assert "    confirmed: vim (pid 4242) wrote it, alice as root, 04:35:13\n" in written
    written = screen_of(make.diff(row, *machine(make, 30).findings), facts(make), width=120)
    assert "    confirmed: vim (pid 4242) wrote it and renamed it into place, alice as root, 04:35:13\n" in written


def accounts(make: Make) -> list[Finding]:
    """Four files of the account database, written by one useradd after another; they stand out alike."""
    tools = [make.actor(pid=pid, exe=b"/usr/sbin/useradd", cmdline=(b"useradd", b"-o", b"-u", b"0")) for pid in (8, 9)]
    found = []
    for number, name in enumerate((b"passwd", b"group", b"shadow", b"gshadow")):
        calls = (tools[0], tools[1]._replace(role=Role.PLACER, earlier=True))
        answer = make.attribution(Verdict.CONTESTED, reason=Reason.SEVERAL_WRITERS, actors=calls)
        found.append(make.finding(make.change(path=b"/etc/" + name, id=number + 1), answer, severity="high"))
    return found


def test_what_the_same_processes_did_is_said_once(make: Make) -> None:
    """Titles of which the same is to be said are put together; no line is wider than the screen."""
    written = screen_of(make.diff(*accounts(make), *machine(make, 40).findings), facts(make), is_whole=True)
    listed = written.partition("== Look")[2].partition("== ")[0]
    assert re.findall(r"#(\d) .*/etc/(\w+)", listed) == [
        ("2", "group"),
        ("4", "gshadow"),
        ("1", "passwd"),
        ("3", "shadow"),
    ]
    assert listed.count("useradd (pid 8) wrote the present content") == 1
    assert listed.count("contested (several-writers): the same processes as for #2\n") == 1
    assert listed.index("/etc/shadow") < listed.index("the same processes as for #2")
    assert max(map(cell_len, listed.splitlines())) <= 80


def test_sets_are_not_cut_where_the_list_is_longer_than_the_screen_anyway(make: Make) -> None:
    """So the line of an upgrade is not hidden by a long list."""
    loud = [confirmed(make, make.change(path=b"/etc/sudoers.d/%d" % number, id=number)) for number in range(1, 20)]
    written = screen_of(make.diff(*loud, *machine(make, 40).findings), facts(make), is_whole=True)
    assert written.count("\n") > 24 and "apt-get upgrade, by admin (sudo)" in written


def test_no_command_is_printed_that_would_be_refused(make: Make) -> None:
    """A changed file that cannot be read is not accepted along with everything, also if nothing stands out."""
    file = Unreadable(path=b"/srv/x", reason=UnreadableReason.PERMISSION, differs=("mode",))
    alone, beside = (make.diff(*rows, unreadable=(file,), shown="2.1.0") for rows in ((), (make.finding(),)))
    assert accept_command("fimscan", alone, group(alone.findings)) == ""
    command = accept_command("fimscan", beside, group(beside.findings))
    assert command == "fimscan accept --all --even-outstanding --shown 2.1.0 --dry-run  # everything"


def test_who_runs_a_changed_program_is_beside_it(make: Make) -> None:
    """A name in it cannot drive the terminal."""
    run = Runner(812, make.now, RunsVersion.OLD, RunsAs.PROGRAM, exe=b"/usr/sbin/n\x1b[2Jginx (deleted)")
    found = InEffect(as_of_ns=make.now, old=1, runners=(run,))
    rows = [replace(row, in_effect=found) if row.change.id == 3001 else row for row in machine(make, 30).findings]
    written = screen_of(make.diff(*rows))
    assert (
        "eve as root, 04:35:14\n    n\\x1b[2Jginx (pid 812) still runs the old one: restart it (as of 2026" in written
    )


@pytest.mark.parametrize(
    ("actor", "expected"),
    [
        ({}, "alice as root"),
        ({"uid": 1000, "user": "alice", "euid": 1000}, "alice"),
        ({"uid": 1000, "user": "alice", "euid": 0}, "alice as alice (euid 0)"),
        ({"auid": None}, "root (no login)"),
        ({"login": LoginOrigin(LoginSource.USER)}, "root (login uid 1000 is not proven)"),
        ({"login": LoginOrigin(LoginSource.UNSEEN)}, "alice as root (login not seen)"),
    ],
)
def test_a_user_in_short_is_never_more_certain_than_in_full(make: Make, actor: dict[str, Any], expected: str) -> None:
    """A login that a user's process claimed itself gives no name."""
    assert user_in_short(make.actor(**actor)) == expected


def test_an_opened_set_lists_each_of_its_rows(make: Make) -> None:
    """What stands out first, then the others in full; files with the same content by name."""
    diff = machine(make, 40)
    written = opened(diff, 2, facts(make))
    assert written.startswith("set 2: apt-get upgrade, by admin (sudo), 02:21\n    40 changes, ")
    assert (
        "/usr/bin/apt-get (pid 4290, ppid 4289), as root, logged in as admin\n        /etc$ apt-get upgrade" in written
    )
    for number in range(40):
        path = package_file(make, number).change.path.decode()
        assert len(re.findall(rf"#{100 + number} .*{path}$", written, re.MULTILINE)) == 1
    assert "== Replaced by files with the same content (10 rows)\n" in written
    first = opened(diff, 1, facts(make))
    assert first.index("#3002") < first.index("#3001") < first.index("#3003") < first.index("#3004")
    assert "    rank: an account with root's rights was asked for, account database\n" in first


def test_names_cannot_drive_the_terminal(make: Make) -> None:
    """Nor can they end a line and begin another one."""
    evil = "\x1b]0;x\x07\r\n\u202e\\"
    raw = evil.encode() + b"\xff"
    actor = make.actor(exe=raw, comm=raw, cmdline=(raw, raw), cwd=raw, login_user=evil, user=evil)
    rows = [confirmed(make, make.change(path=b"/etc/cron.d/" + raw + b"%d" % n), actor) for n in range(30)]
    diff = make.diff(*rows, host=evil)
    known = Facts(
        superusers={row.change.path: (evil,) for row in rows},
        provenance={row.change.path: Provenance(shipped=PackageClass.UNKNOWN, package=evil) for row in rows},
    )
    for written in (screen_of(diff, known), screen_of(diff, known, width=400), opened(diff, 1, known)):
        assert written.replace("\n", "").isprintable()
    assert "set 1: \\x1b]0;" in opened(diff, 1, known)


@pytest.mark.parametrize("width", [20, 40, 80, 200])
def test_the_line_of_a_set_is_one_line(make: Make, width: int) -> None:
    """A long command is cut there, and nowhere else."""
    actor = make.actor(cmdline=(b"vim", b"x" * 90))
    diff = make.diff(*(confirmed(make, make.change(path=b"/srv/%d" % number), actor) for number in range(30)))
    (line,) = re.findall(r"^ 1     30  .*$", screen_of(diff, width=width), re.MULTILINE)
    assert cell_len(line) <= width
    assert ("x" * 90 in line) is (width == 200) and "x" * 90 in opened(diff, 1)


# --------------------------------------------------------------------------------------------------------------------
# Titles


def test_a_line_of_a_set_says_that_no_process_is_named_where_there_is_little_room(make: Make) -> None:
    """However much else there is to say of it: "no proces..." says nothing."""
    nobody = make.attribution(Verdict.UNATTRIBUTED, Reason.COVERAGE_GAP)
    rows = [make.finding(make.change(path=b"/etc/%d" % number), nobody) for number in range(30)]
    known = {row.change.path: Provenance(shipped=PackageClass.NOT_AS_SHIPPED, package="x") for row in rows}
    out = io.StringIO()
    diff = make.diff(*rows)
    write_sets(diff, grouped(diff, Facts(provenance=known)), out, color=False, screen=Screen(width=64))
    assert "no process named" in out.getvalue()


@pytest.mark.parametrize(
    ("actor", "expected"),
    [
        ({}, "vim hosts, by alice as root, 04:35"),
        ({"uid": 1000, "user": "alice"}, "vim hosts, by alice, 04:35"),
        ({"auid": None, "session": None}, "vim hosts, by root (no login), 04:35"),
        ({"user": None, "login_user": None}, "vim hosts, by uid 1000 as uid 0, 04:35"),
        ({"login": LoginOrigin(LoginSource.UNSEEN)}, "vim hosts, by alice as root (login not seen), 04:35"),
        ({"login": LoginOrigin(LoginSource.USER)}, "vim hosts, by root (login uid 1000 is not proven), 04:35"),
        ({"exe": b"/usr/bin/dash", "cmdline": (b"sh", b"-c", b"a b")}, "dash -c 'a b', by alice as root, 04:35"),
        ({"exe": b"/tmp/vim"}, "/tmp/vim hosts, by alice as root, 04:35"),
        ({"exe": b"/tmp/x", "cmdline": (b"vim", b"hosts")}, "/tmp/x hosts, by alice as root, 04:35"),
        ({"exe": None}, "a process that calls itself vim hosts, by alice as root, 04:35"),
        (
            {"view": ProcessView(container="docker:0f3c")},
            "/usr/bin/vim (in container docker:0f3c) hosts, by alice as root, 04:35",
        ),
        (
            {"view": ProcessView(exe_origin=ExeOrigin.OTHER_ROOT)},
            "/usr/bin/vim (in another root) hosts, by alice as root, 04:35",
        ),
    ],
)
def test_a_title_names_program_and_user_as_far_as_they_are_known(
    make: Make, actor: dict[str, Any], expected: str
) -> None:
    """A name that a process gives itself is never shown as a program of the system."""
    assert title(make, **actor) == expected


def test_the_time_has_a_date_on_another_day(make: Make) -> None:
    """The day of the report needs none."""
    now, day = make.now, 86400 * make.second
    assert span_text(now, now, now) == "04:35"
    assert span_text(now - 3600 * make.second, now, now) == "03:35-04:35"
    assert span_text(now - day, now - day, now) == "11-22 04:35"
    assert span_text(now - day, now, now) == "11-22 04:35 to 04:35"
    assert span_text(now - 400 * day, now - 400 * day, now) == "2025-10-19 04:35"


def test_changes_without_a_process_have_the_reason_as_title(make: Make) -> None:
    """And the scan that found them."""
    diff = make.diff(make.finding(attribution=make.attribution(Verdict.UNATTRIBUTED, Reason.NOT_COVERED)))
    assert set_title(grouped(diff).sets[0], make.now) == "no process named (not-covered), found by scan 2, 04:05-04:36"


def test_weaker_verdicts_are_counted(make: Make) -> None:
    """A set must not look more certain than its changes."""
    likely = make.attribution(Verdict.LIKELY, Reason.COVERAGE_GAP)
    rows = [make.finding(make.change(path=b"/srv/%d" % number)) for number in range(30)]
    written = screen_of(make.diff(*rows, *(make.finding(row.change, likely) for row in rows[:7])))
    assert re.search(r"^ 1     37  vim hosts, by alice as root, 04:35; 7 likely$", written, re.MULTILINE)


def test_every_reason_has_words() -> None:
    """A place has its own name."""
    assert set(REASON_WORDS) == set(RankReason) - {RankReason.PLACE}


def test_an_account_is_named_in_its_reason(make: Make) -> None:
    """Where the text of the file is known."""
    row = confirmed(make, make.change(path=b"/etc/passwd"), make.actor())
    rank: Rank = group([row], Facts(superusers={b"/etc/passwd": ("toor", "x")})).rows[0].rank
    assert rank_words(rank) == ("new account with uid 0: toor x", "account database")


def test_what_a_reason_does_not_say_is_shown_beside_it(make: Make) -> None:
    """The new owner, for example."""
    path = b"/etc/audit/x"
    change: Change = make.change(ChangeKind.ATTRIBUTES, path, changed=("uid",), after=make.state(path, uid=5))
    written = screen_of(make.diff(make.finding(change), *machine(make, 30).findings), facts(make))
    assert "    audit rules, owner 0:0 -> 5:0\n" in written


def test_a_set_is_a_value(make: Make) -> None:
    """Its counts come from its rows."""
    item: ChangeSet = grouped(machine(make, 8), facts(make)).sets[1]
    assert (item.same_content, item.standing_out, item.verdicts[Verdict.CONFIRMED]) == (2, 0, 8)
