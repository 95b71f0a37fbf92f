"""What stands out, and why: the rules that hold whatever the paths are."""

from __future__ import annotations

import re
from typing import Any

import pytest
from msgspec.structs import replace

from fimscan.grouping import PLACES, Facts, Level, Nature, Provenance, Rank, RankReason, place_of, rank_of
from fimscan.grouping.rank import TECHNIQUES
from fimscan.model import (
    Actor,
    Breach,
    Change,
    ChangeKind,
    ExeOrigin,
    FileKind,
    Finding,
    PackageClass,
    ProcessView,
    Reason,
    Role,
    TextChange,
    TextFact,
    TextFactKind,
    TextSign,
    Verdict,
    Xattr,
)
from fimscan.report.change_sets import rank_words
from tests.report.conftest import Make

DPKG: dict[str, Any] = {"exe": b"/usr/bin/dpkg", "cmdline": (b"dpkg", b"-i")}
PROGRAM = b"/usr/bin/who"
CAPABILITY = Xattr(name=b"security.capability", size=20, data=b"\1" * 20)


def ranked(finding: Finding, **known: Any) -> Rank:
    return rank_of(finding, Facts(**known))


def written(make: Make, path: bytes, actor: Actor | None = None, mode: int = 0o644, **other: Any) -> Finding:
    """New content at a path, by vim unless another process is given."""
    change = make.change(path=path, before=make.state(path, mode=mode), after=make.state(path, b"\x9a", mode=mode))
    return make.finding(change, make.attribution(actors=(actor or make.actor(),)), **{"severity": "high"} | other)


def attributes(make: Make, *changed: str, path: bytes = PROGRAM, actor: Actor | None = None, **after: Any) -> Finding:
    """A difference of attributes."""
    before: dict[str, Any] = {"mode": 0o755} | ({"flags": 0x30} if "flags" in after else {})
    change = make.change(
        ChangeKind.ATTRIBUTES,
        path,
        before=make.state(path, **before),
        after=make.state(path, **{"mode": 0o755} | after),
        changed=changed,
    )
    return make.finding(change, make.attribution(actors=(actor or make.actor(),)), severity="high")


def shipped(path: bytes, how: PackageClass, **other: Any) -> dict[str, Any]:
    return {"provenance": {path: Provenance(shipped=how, package="coreutils", **other)}}


def test_an_ordinary_edit_does_not_stand_out(make: Make) -> None:
    """vim changed a file in /etc that is no place for persistence."""
    found = ranked(written(make, b"/etc/hosts"))
    assert (found.level, found.reasons, found.deciding) == (Level.WAVE, (), 0)


@pytest.mark.parametrize(
    ("changed", "after", "reason"),
    [
        (("mode",), {"mode": 0o4755}, RankReason.SETUID_GAINED),
        (("mode",), {"mode": 0o2755}, RankReason.SETGID_GAINED),
        (("mode",), {"mode": 0o757}, RankReason.WORLD_WRITABLE),
        (("capabilities",), {"xattrs": (CAPABILITY,)}, RankReason.CAPABILITY_GAINED),
        (("flags",), {"flags": 0x20}, RankReason.PROTECTION_REMOVED),
    ],
)
def test_gained_rights_stand_out(
    make: Make, changed: tuple[str, ...], after: dict[str, Any], reason: RankReason
) -> None:
    """Even if a package manager did it: what it shipped is not known."""
    for actor in (make.actor(), make.actor(**DPKG)):
        found = ranked(attributes(make, *changed, actor=actor, **after))
        assert found.stands_out and found.reasons[0] is reason


def test_rights_that_were_there_before_are_not_gained(make: Make) -> None:
    """A program that was setuid and is edited stands out as a changed program, not as a setuid one."""
    found = ranked(written(make, PROGRAM, mode=0o4755))
    assert found.reasons == (RankReason.PROGRAM_CHANGED,)
    change = make.change(
        ChangeKind.MOVED, PROGRAM, before=make.state(b"/usr/bin/w", mode=0o4755), after=make.state(PROGRAM, mode=0o4755)
    )
    assert RankReason.SETUID_GAINED not in ranked(make.finding(change)).reasons


def test_a_shared_directory_with_the_sticky_bit_is_not_open(make: Make) -> None:
    """Like /tmp. Without the bit, everybody can replace what others have in it."""
    for mode, is_open in ((0o1777, False), (0o777, True)):
        state = make.state(b"/srv/drop", kind=FileKind.DIRECTORY, mode=mode)
        found = ranked(make.finding(make.change(ChangeKind.ADDED, b"/srv/drop", after=state)))
        assert (RankReason.WORLD_WRITABLE in found.reasons) is is_open


@pytest.mark.parametrize("mode", [0o644, 0o755])
def test_a_new_program_stands_out_and_a_new_file_does_not(make: Make, mode: int) -> None:
    """By its mode."""
    path = b"/usr/local/bin/x"
    found = ranked(
        make.finding(make.change(ChangeKind.ADDED, path, after=make.state(path, mode=mode)), severity="high")
    )
    assert found.stands_out is (mode == 0o755)


def test_a_library_is_a_program(make: Make) -> None:
    """It is loaded into processes whatever its mode is."""
    assert ranked(written(make, b"/usr/lib/libpam.so.0")).reasons == (RankReason.PROGRAM_CHANGED,)


def test_programs_below_a_low_watch_do_not_stand_out(make: Make) -> None:
    """A directory for deployments is watched with a low severity."""
    found = ranked(written(make, b"/srv/app/run", mode=0o755, severity="low"))
    assert (found.level, found.reasons) == (Level.WAVE, (RankReason.PROGRAM_CHANGED,))


def test_a_package_managers_work_is_ordinary_only_if_it_is_proven(make: Make) -> None:
    """Another process at the same time, another root directory, or a changed dpkg end that."""
    manager = make.actor(**DPKG)
    routine = written(make, PROGRAM, manager, mode=0o755, severity="critical")
    assert not ranked(routine).stands_out
    assert RankReason.PACKAGE_MANAGER in ranked(routine).reasons
    weaker = [
        make.attribution(Verdict.LIKELY, Reason.COVERAGE_GAP, actors=(manager,)),
        make.attribution(Verdict.CONTESTED, actors=(manager, make.actor())),
        make.attribution(actors=(manager, make.actor())),
        make.attribution(actors=(manager._replace(exe=b"/tmp/dpkg"),)),
        make.attribution(actors=(manager._replace(view=ProcessView(exe_origin=ExeOrigin.OTHER_ROOT)),)),
    ]
    for attribution in weaker:
        assert ranked(make.finding(routine.change, attribution, severity="high")).stands_out
    found = ranked(routine, suspects=frozenset({b"/usr/bin/dpkg"}))
    assert found.reasons[:2] == (RankReason.SUSPECT_PROGRAM, RankReason.PROGRAM_CHANGED)


def test_what_a_process_calls_itself_excuses_nothing(make: Make) -> None:
    """Any process can set its name and its command line."""
    actor = make.actor(exe=b"/tmp/evil", comm=b"dpkg", cmdline=(b"/usr/bin/dpkg", b"-i"))
    assert ranked(written(make, PROGRAM, actor, mode=0o755)).stands_out


def test_content_as_shipped_excuses_the_content(make: Make) -> None:
    """Whoever the candidates are; but who else than a package manager puts it there is worth a look."""
    python = make.actor(exe=b"/usr/bin/python3.9", cmdline=(b"/usr/bin/python3.9", b"/usr/bin/dnf", b"upgrade"))
    as_shipped = shipped(PROGRAM, PackageClass.AS_SHIPPED)
    assert not ranked(written(make, PROGRAM, python, mode=0o755, severity="critical"), **as_shipped).stands_out
    by_hand = ranked(written(make, PROGRAM, mode=0o755), **as_shipped)
    assert by_hand.reasons[: by_hand.deciding] == (RankReason.SHIPPED_ELSEWHERE,)
    unknown = make.finding(written(make, PROGRAM, mode=0o755).change, make.attribution(Verdict.UNATTRIBUTED))
    assert not ranked(unknown, **as_shipped).stands_out
    chmod = make.actor(role=Role.CHANGER, exe=b"/usr/bin/chmod", syscall="fchmodat", pid=5002)
    both = make.finding(unknown.change, make.attribution(actors=(make.actor(**DPKG), chmod)))
    assert RankReason.SHIPPED_ELSEWHERE not in ranked(both, **as_shipped).reasons, "chmod put no content there"


def test_setuid_is_excused_only_for_shipped_content_with_a_known_origin_of_the_mode(make: Make) -> None:
    """Digests of dpkg do not tell modes: then the package manager itself must have written it."""
    change = make.change(ChangeKind.ADDED, PROGRAM, after=make.state(PROGRAM, mode=0o4755))
    unknown = make.attribution(Verdict.UNATTRIBUTED)
    by_dpkg, by_vim = make.attribution(actors=(make.actor(**DPKG),)), make.attribution()
    for attribution, how, is_proved, stands_out in (
        (by_dpkg, PackageClass.AS_SHIPPED, False, False),
        (by_dpkg, PackageClass.UNKNOWN, False, True),
        (by_dpkg, PackageClass.UNKNOWN, True, True),
        (unknown, PackageClass.AS_SHIPPED, False, True),
        (unknown, PackageClass.AS_SHIPPED, True, False),
        (by_vim, PackageClass.AS_SHIPPED, True, True),
    ):
        finding = make.finding(change, attribution, severity="critical")
        assert ranked(finding, **shipped(PROGRAM, how, is_mode_proved=is_proved)).stands_out is stands_out


def test_a_maintainer_script_may_put_shipped_content_there(make: Make) -> None:
    """What else it writes is unproved, and not excused."""
    script = written(make, PROGRAM, make.actor(exe=b"/usr/bin/cp"), mode=0o755)
    assert not ranked(script, **shipped(PROGRAM, PackageClass.AS_SHIPPED, is_by_script=True)).stands_out
    found = ranked(script, **shipped(PROGRAM, PackageClass.UNKNOWN, is_by_script=True))
    assert found.stands_out and RankReason.MAINTAINER_SCRIPT in found.reasons


def test_proofs_that_disagree_stand_out(make: Make) -> None:
    """Even if dpkg is proven to have written the file."""
    finding = written(make, PROGRAM, make.actor(**DPKG), mode=0o755)
    found = ranked(finding, **shipped(PROGRAM, PackageClass.UNKNOWN, proofs_disagree=True))
    assert found.reasons[: found.deciding] == (RankReason.PROOFS_DISAGREE,)


def test_not_as_shipped_stands_out_unless_it_is_a_configuration_file(make: Make) -> None:
    """Even if dpkg is proven to have written it."""
    finding = written(make, b"/usr/share/x", make.actor(**DPKG))
    found = ranked(finding, **shipped(b"/usr/share/x", PackageClass.NOT_AS_SHIPPED))
    assert found.reasons[: found.deciding] == (RankReason.NOT_AS_SHIPPED,)
    conffile = ranked(finding, **shipped(b"/usr/share/x", PackageClass.NOT_AS_SHIPPED, is_conffile=True))
    assert not conffile.stands_out and RankReason.CONFFILE in conffile.reasons


def test_a_change_that_audit_should_have_seen_always_stands_out(make: Make) -> None:
    """Whatever differs, also if it was one of several changes of the file."""
    hidden = make.attribution(Verdict.UNATTRIBUTED, Reason.NO_EVENT)
    times = make.change(ChangeKind.ATTRIBUTES, changed=("ctime",))
    assert ranked(make.finding(times, hidden)).reasons[0] is RankReason.NO_EVENT
    row = make.finding(times, steps=(make.finding(times, hidden), make.finding(times)))
    assert ranked(row).reasons[0] is RankReason.NO_EVENT


def test_what_was_undone_still_happened(make: Make) -> None:
    """A program that was setuid for a while: the row's own difference is the time alone."""
    first = attributes(make, "mode", mode=0o4755)
    row = make.finding(
        make.change(ChangeKind.ATTRIBUTES, PROGRAM, changed=("ctime",)), steps=(first, make.finding()), severity="high"
    )
    assert ranked(row).reasons[0] is RankReason.SETUID_GAINED


@pytest.mark.parametrize("breach", Breach)
def test_an_altered_log_stands_out(make: Make, breach: Breach) -> None:
    """Of a watch with the policy append-only."""
    assert ranked(make.finding(make.change(breach=breach))).reasons[0] is RankReason.LOG_BREACH


def test_a_kept_mtime_stands_out(make: Make) -> None:
    """A program has to set it on purpose; a package manager does."""
    change = make.change(changed=("content", "ctime"))
    assert ranked(make.finding(change)).reasons == (RankReason.MTIME_KEPT,)
    assert not ranked(make.finding(change, make.attribution(actors=(make.actor(**DPKG),)))).stands_out


@pytest.mark.parametrize("severity", ["critical", "high", None])
def test_a_critical_watch_makes_content_and_attributes_stand_out(make: Make, severity: Any) -> None:
    """Not times, nor another inode with the same content."""
    for change, matters in (
        (make.change(), True),
        (make.change(ChangeKind.REMOVED), True),
        (make.change(ChangeKind.ATTRIBUTES, changed=("uid", "ctime")), True),
        (make.change(ChangeKind.ATTRIBUTES, changed=("mtime", "ctime")), False),
        (make.change(ChangeKind.ATTRIBUTES, changed=("inode", "ctime"), after=make.state(inode=5)), False),
    ):
        found = ranked(make.finding(change, severity=severity))
        assert found.stands_out is (matters and severity == "critical"), change.changed


def test_a_program_that_never_wrote_there_stands_out_where_it_matters(make: Make) -> None:
    """By a fact that the caller has."""
    newcomers = frozenset({b"/etc/hosts"})
    assert ranked(written(make, b"/etc/hosts"), newcomers=newcomers).reasons == (RankReason.NEWCOMER,)
    assert not ranked(written(make, b"/etc/hosts", severity="medium"), newcomers=newcomers).stands_out


# --------------------------------------------------------------------------------------------------------------------
# Places


def paths_of_places() -> list[tuple[str, bytes]]:
    """A path in each part of each place."""
    return [
        (place.name, path)
        for place in PLACES
        for path in (
            *place.files,
            *(directory + b"/deep/evil" for directory in place.below),
            *(b"/home/eve" + name for name in place.homes),
            *(b"/srv/x/a" + ending for ending in place.endings),
        )
    ]


@pytest.mark.parametrize(("name", "path"), paths_of_places())
def test_each_place_is_found_and_a_hand_edit_there_stands_out(make: Make, name: str, path: bytes) -> None:
    """By the nearest directory, and whatever the severity of the watch is."""
    place = place_of(path)
    assert place is not None and (place.name == name or path.startswith(b"/var/spool/cron"))
    found = ranked(written(make, path, severity="low"))
    assert found.stands_out and found.place is place and place.technique in found.techniques


def test_techniques_have_the_form_of_attack() -> None:
    """T1548 or T1548.001."""
    for technique in (*TECHNIQUES.values(), *(place.technique for place in PLACES)):
        assert re.fullmatch(r"T\d{4}(\.\d{3})?", technique)


def test_a_package_manager_is_excused_only_where_packages_put_files(make: Make) -> None:
    """A unit of an upgraded package is ordinary, a rule of sudo is not."""
    manager = make.actor(**DPKG)
    assert not ranked(written(make, b"/usr/lib/systemd/system/x.service", manager)).stands_out
    assert ranked(written(make, b"/etc/sudoers.d/x", manager)).stands_out
    sudoers = shipped(b"/etc/sudoers.d/x", PackageClass.AS_SHIPPED)
    assert not ranked(written(make, b"/etc/sudoers.d/x", manager), **sudoers).stands_out


def test_a_readable_shadow_stands_out(make: Make) -> None:
    """The mode of a file with secrets matters; another inode or time does not."""
    assert ranked(attributes(make, "mode", path=b"/etc/shadow", mode=0o644)).reasons == (RankReason.PLACE,)
    assert not ranked(attributes(make, "mtime", path=b"/etc/shadow")).stands_out


def test_removing_audit_rules_stands_out_and_removing_a_cron_job_does_not(make: Make) -> None:
    """A place that protects, and one that lets somebody return."""
    for path, stands_out in ((b"/etc/audit/rules.d/50.rules", True), (b"/etc/cron.d/job", False)):
        assert ranked(make.finding(make.change(ChangeKind.REMOVED, path))).stands_out is stands_out
        moved = make.change(ChangeKind.MOVED, b"/root/x", before=make.state(path))
        assert ranked(make.finding(moved)).stands_out is stands_out


# --------------------------------------------------------------------------------------------------------------------
# Accounts


def tool(make: Make, *cmdline: bytes) -> Actor:
    return make.actor(exe=b"/usr/sbin/" + cmdline[0], cmdline=cmdline)


@pytest.mark.parametrize("path", [b"/etc/passwd", b"/etc/shadow", b"/etc/group", b"/etc/gshadow"])
def test_accounts_edited_by_hand_stand_out_and_those_of_tools_do_not(make: Make, path: bytes) -> None:
    """vim, against useradd for an ordinary user."""
    assert ranked(written(make, path)).reasons == (RankReason.PLACE,)
    assert not ranked(written(make, path, tool(make, b"useradd", b"-m", b"bob"))).stands_out
    uncertain = make.attribution(Verdict.LIKELY, Reason.COVERAGE_GAP, actors=(tool(make, b"useradd", b"bob"),))
    assert ranked(make.finding(written(make, path).change, uncertain)).stands_out


@pytest.mark.parametrize(
    "arguments",
    [
        "useradd -o -u 0 toor",
        "useradd -ou0 toor",
        "useradd --non-unique --uid=0 toor",
        "usermod --uid 0 eve",
        "usermod -aG sudo eve",
        "usermod -G audio,wheel eve",
        "usermod --groups docker eve",
        "gpasswd -a eve sudo",
    ],
)
def test_an_account_with_roots_rights_stands_out(make: Make, arguments: str) -> None:
    """As far as the command line of the tool tells."""
    actor = tool(make, *arguments.encode().split())
    assert ranked(written(make, b"/etc/passwd", actor)).reasons[0] is RankReason.ADMIN_ACCOUNT


@pytest.mark.parametrize(
    "arguments",
    [
        "useradd -u 1000 bob",
        "usermod -aG ssl-cert postgres",
        "useradd --system --gid nogroup --uid 100 x",
        "chage -d 0 x",
    ],
)
def test_an_ordinary_account_does_not(make: Make, arguments: str) -> None:
    """The numbers and groups of others."""
    assert not ranked(written(make, b"/etc/passwd", tool(make, *arguments.encode().split()))).stands_out


def test_a_new_account_with_uid_0_is_named(make: Make) -> None:
    """Where the text of the file is known."""
    superusers = {b"/etc/passwd": ("toor",)}
    found = ranked(written(make, b"/etc/passwd", tool(make, b"useradd", b"x")), superusers=superusers)
    assert found.reasons[0] is RankReason.SUPERUSER and found.accounts == ("toor",)


def test_a_backup_of_an_account_file_does_not_stand_out(make: Make) -> None:
    """The original does; but a backup that everybody may write to does."""
    found = ranked(written(make, b"/etc/passwd-", severity="critical"))
    assert RankReason.BACKUP in found.reasons and not found.stands_out
    assert ranked(attributes(make, "mode", path=b"/etc/shadow-", mode=0o666)).stands_out


# --------------------------------------------------------------------------------------------------------------------
# Nature


@pytest.mark.parametrize(
    ("changed", "nature"),
    [
        (("content", "mode", "inode"), Nature.CONTENT),
        (("link_target",), Nature.CONTENT),
        (("mode", "inode", "ctime"), Nature.ATTRIBUTES),
        (("nlink", "inode", "mtime"), Nature.INODE),
        (("mtime", "ctime"), Nature.TIMES),
    ],
)
def test_the_weightiest_difference_counts(make: Make, changed: tuple[str, ...], nature: Nature) -> None:
    """Content before attributes before inode before times."""
    change = make.change(ChangeKind.ATTRIBUTES, changed=changed)
    assert ranked(make.finding(change)).nature is nature


def test_content_that_was_not_read_counts_as_changed_if_it_can_be(make: Make) -> None:
    """Under the policy "attributes" another inode is no proof of the same content."""

    def change(*changed: str, **other: Any) -> Change:
        before, after = (make.state(digests=(), **other) for _ in range(2))
        return make.change(ChangeKind.ATTRIBUTES, changed=changed, before=before, after=after)

    assert ranked(make.finding(change("inode", "mtime"))).nature is Nature.CONTENT
    assert ranked(make.finding(change("ctime"))).nature is Nature.TIMES
    assert ranked(make.finding(change("inode", kind=FileKind.DIRECTORY))).nature is Nature.INODE


def test_a_program_is_new_where_it_is_not_ordinary(make: Make) -> None:
    """What is as shipped excuses a new writer, too."""
    new = frozenset({PROGRAM})
    found = ranked(written(make, PROGRAM, severity="high"), newcomers=new)
    assert RankReason.NEWCOMER in found.reasons[: found.deciding]
    excused = ranked(
        written(make, PROGRAM, severity="high"), newcomers=new, **shipped(PROGRAM, PackageClass.AS_SHIPPED)
    )
    assert RankReason.NEWCOMER not in excused.reasons[: excused.deciding]


def test_what_the_package_manager_wrote_and_was_not_shipped_stands_out(make: Make) -> None:
    """Also if it is a configuration file: dpkg writes what was shipped, or leaves the file alone."""
    for is_conffile in (False, True):
        known = shipped(b"/etc/x.conf", PackageClass.NOT_AS_SHIPPED, is_conffile=is_conffile, manager_wrote_other=True)
        found = ranked(written(make, b"/etc/x.conf", make.actor(**DPKG)), **known)
        assert RankReason.MANAGER_WROTE_OTHER in found.reasons[: found.deciding]


def test_a_file_whose_package_was_not_being_installed_stands_out(make: Make) -> None:
    """Unless it is a configuration file, by a maintainer script, by the package manager as shipped, or only touched."""
    path = b"/srv/data"
    quiet = {"not_being_installed": True}

    def decides(finding: Finding, how: PackageClass, **more: bool) -> bool:
        found = ranked(finding, **shipped(path, how, **quiet, **more))
        return RankReason.NOT_BEING_INSTALLED in found.reasons[: found.deciding]

    by_hand, by_dpkg = written(make, path), written(make, path, make.actor(**DPKG))
    assert decides(by_hand, PackageClass.AS_SHIPPED) and decides(by_hand, PackageClass.UNKNOWN)
    assert not decides(by_hand, PackageClass.NOT_AS_SHIPPED, is_conffile=True)
    assert not decides(by_hand, PackageClass.UNKNOWN, is_by_script=True)
    assert not decides(by_dpkg, PackageClass.AS_SHIPPED)
    assert not decides(written(make, path, severity="low"), PackageClass.AS_SHIPPED)
    touched = make.finding(make.change(ChangeKind.ATTRIBUTES, path, changed=("mtime",)))
    assert not decides(touched, PackageClass.AS_SHIPPED)


@pytest.mark.parametrize(
    ("fact", "words"),
    [
        (
            TextFact(kind=TextFactKind.ACCOUNT_ADDED, subject=b"eve", after=b"0", sign=TextSign.SUPERUSER),
            "new account with uid 0: eve",
        ),
        (
            TextFact(kind=TextFactKind.ACCOUNT_CHANGED, subject=b"bob", after=b"0", sign=TextSign.SUPERUSER),
            "an account got uid 0",
        ),
        (TextFact(kind=TextFactKind.SUDO_ADDED, subject=b"x", sign=TextSign.SUDO_WITHOUT_PASSWORD), "sudo without"),
        (TextFact(kind=TextFactKind.SETTING_CHANGED, subject=b"x", sign=TextSign.ROOT_LOGIN), "login allowed"),
    ],
)
def test_alarming_facts_of_a_text_stand_out(make: Make, fact: TextFact, words: str) -> None:
    """Even as the work of a package manager, in an ordinary place; other facts do not."""
    plain = written(make, b"/srv/x", make.actor(**DPKG))
    assert not ranked(plain).stands_out
    rank = ranked(replace(plain, text=TextChange(facts=(fact,))))
    assert rank.stands_out and rank_words(rank)[0].startswith(words)
    assert not ranked(replace(plain, text=TextChange(facts=(replace(fact, sign=None),)))).stands_out


@pytest.mark.parametrize(
    ("path", "target", "reason"),
    [
        (b"/usr/local/bin/ls", b"/tmp/.x/ls", RankReason.NEW_PROGRAM),
        (b"/usr/bin/python3", b"../../var/tmp/python3", RankReason.NEW_PROGRAM),
        (b"/etc/alternatives/editor", b"/home/eve/editor", RankReason.NEW_PROGRAM),
        (b"/usr/bin/python3", b"python3.13", None),
        (b"/etc/alternatives/editor", b"/usr/bin/vim.tiny", None),
        (b"/etc/localtime", b"/home/eve/x", None),
    ],
)
def test_a_command_that_leads_out_of_the_system_stands_out(
    make: Make, path: bytes, target: bytes, reason: RankReason | None
) -> None:
    """A new link, and one that leads elsewhere now; links between programs of the system are ordinary."""
    after = make.state(path, kind=FileKind.SYMLINK, link_target=target, mode=0o777, digests=())
    old = replace(after, link_target=b"/usr/bin/true")
    added = make.change(ChangeKind.ADDED, path, after=after)
    turned = make.change(path=path, before=old, after=after, changed=("link_target", "mtime"))
    for change, wanted in ((added, reason), (turned, reason and RankReason.PROGRAM_CHANGED)):
        rank = ranked(make.finding(change, severity="high"))
        assert rank.stands_out == (wanted is not None), (rank, wanted)
        assert wanted is None or wanted in rank.reasons
    package_manager = make.attribution(actors=(make.actor(Role.PLACER, **DPKG),))
    assert not ranked(make.finding(turned, package_manager, severity="high")).stands_out


def test_a_link_that_replaced_a_program_is_a_changed_program(make: Make) -> None:
    """Wherever it leads."""
    after = make.state(PROGRAM, kind=FileKind.SYMLINK, link_target=b"/usr/lib/x/y", mode=0o777, digests=())
    change = make.change(path=PROGRAM, before=make.state(PROGRAM, mode=0o755), after=after, changed=("kind", "content"))
    assert RankReason.PROGRAM_CHANGED in ranked(make.finding(change, severity="high")).reasons
