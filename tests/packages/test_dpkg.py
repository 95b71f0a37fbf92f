"""Real packages, installed, upgraded, downgraded, removed, diverted by the real dpkg in a scratch directory."""

from __future__ import annotations

import os
import shutil
import threading
import time
from datetime import datetime
from pathlib import Path

import pytest
from msgspec.structs import replace

from fimscan.model import Actor, Digest, FileKind, Lineage, PackageClass, PackageFact, PackageReason, Window
from fimscan.packages import ListIndex, PackageQuestion, dpkg, writers_of
from fimscan.packages.files import read_regular
from fimscan.report.packages import package_line, package_words
from tests.packages.debian import Debian, run, told

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="dpkg --root needs root"),
    pytest.mark.skipif(not shutil.which("dpkg-deb"), reason="there is no dpkg here"),
]
FILES = {
    "/usr/bin/tool": "the program\n",
    "/usr/share/tool/data": "data\n",
    "/etc/tool.conf": "setting = 1\n",
    "/usr/bin/t": "-> tool",
    "/usr/share/tool/same": "=> /usr/share/tool/data",
}


@pytest.fixture
def system(tmp_path: Path) -> Debian:
    tmp_path.chmod(0o755)
    return Debian.make(tmp_path)


def one(system: Debian, path: str, **sources: object) -> str:
    (answer,) = system.check(path, **sources)
    return told(answer)


def test_what_dpkg_unpacked_is_as_shipped_by_md5(system: Debian) -> None:
    """With owner, version and architecture; dpkg has nothing of links and directories."""
    system.install(system.build("tool", "1:1.0-1", FILES))
    program, conf, link, same, directory, other = system.check(
        "/usr/bin/tool", "/etc/tool.conf", "/usr/bin/t", "/usr/share/tool/same", "/usr/share/tool", "/usr/bin/other"
    )
    assert told(program) == "as-shipped md5sums" and program.algorithm == "md5"
    assert program.owner is not None and not program.attributes_proved
    assert (program.owner.name, program.owner.version, program.owner.architecture) == ("tool", "1:1.0-1", "all")
    assert told(conf) == "as-shipped conffile-md5" and conf.owner is not None and conf.owner.conffile
    assert told(link) == "unknown no-link-target" and link.owner is not None
    assert "does not say where a symbolic link leads" in package_line(link)
    assert told(same) == "as-shipped md5sums"
    assert told(directory) == "unknown directory"
    assert told(other) == "unowned missing"


def test_one_byte_is_enough(system: Debian) -> None:
    """Also in a conffile, and when the file is gone or something else."""
    system.install(system.build("tool", "1.0", FILES))
    system.path("/usr/bin/tool").write_text("the Program\n")
    system.path("/etc/tool.conf").write_text("setting = 2\n")
    assert one(system, "/usr/bin/tool") == "not-as-shipped content md5sums"
    assert one(system, "/etc/tool.conf") == "not-as-shipped content conffile-md5"
    system.path("/usr/bin/tool").unlink()
    assert one(system, "/usr/bin/tool") == "not-as-shipped missing md5sums"
    system.path("/usr/bin/t").unlink()
    assert one(system, "/usr/bin/t") == "not-as-shipped missing"  # dpkg lists it, which is enough
    system.path("/usr/bin/tool").symlink_to("/etc/passwd")
    assert one(system, "/usr/bin/tool") == "not-as-shipped kind md5sums"


def test_a_manifest_proves_mode_owner_and_links(system: Debian) -> None:
    """MD5 is blind for a setuid bit, and says so; SHA-256 recorded before the unpacking is not."""
    deb = system.build("tool", "1.0", FILES)
    system.install(deb)
    system.path("/usr/bin/tool").chmod(0o4755)
    (answer,) = system.check("/usr/bin/tool")
    assert told(answer) == "as-shipped md5sums" and answer.loud == (PackageFact.MODE_UNPROVED,)
    system.fimscan_record(deb)
    assert one(system, "/usr/bin/tool") == "not-as-shipped mode recorded-sha256"
    system.path("/usr/bin/tool").chmod(0o644)
    assert one(system, "/usr/bin/tool") == "as-shipped recorded-sha256"
    assert one(system, "/usr/bin/t") == "as-shipped recorded-sha256"
    assert one(system, "/usr/share/tool/same") == "as-shipped recorded-sha256"
    # A directory is judged along with files of its package, and needs no manifest to be read for itself.
    assert one(system, "/usr/share/tool") == "unknown directory"
    assert told(system.check("/usr/share/tool", "/usr/share/tool/data")[0]) == "as-shipped recorded-sha256"
    system.path("/usr/share/tool").chmod(0o700)  # scripts do that, and dpkg keeps it
    assert told(system.check("/usr/share/tool", "/usr/share/tool/data")[0]) == "unknown directory"
    os.chown(system.path("/usr/bin/tool"), 5, 0)
    system.path("/usr/bin/t").unlink()
    system.path("/usr/bin/t").symlink_to("other")
    assert one(system, "/usr/bin/tool") == "not-as-shipped uid recorded-sha256"
    assert one(system, "/usr/bin/t") == "not-as-shipped link_target recorded-sha256"


@pytest.mark.parametrize("compression", ["xz", "zstd", "gzip", "none"])
def test_the_deb_in_the_archive_is_a_proof(system: Debian, compression: str) -> None:
    """Whatever its compression; its manifest is kept beside the database, and the .deb is not needed again."""
    deb = system.build("tool", "1:1.0-1", FILES, compression=compression)
    system.install(deb)
    archives = (os.fsencode(system.built),)
    assert one(system, "/usr/bin/tool", archives=archives, deb_budget=10) == "as-shipped md5sums"
    (problem,) = system.report("/usr/bin/tool", archives=archives, deb_budget=10).problems
    assert "1 .deb file was not read" in problem
    assert one(system, "/usr/bin/tool", archives=archives) == "as-shipped deb-sha256"
    deb.unlink()
    assert one(system, "/usr/bin/t", archives=archives) == "as-shipped deb-sha256"
    (kept,) = system.manifests.iterdir()
    assert kept.stat().st_mode & 0o7777 == 0o600 and system.manifests.stat().st_mode & 0o7777 == 0o700


def test_a_deb_that_others_can_replace_is_no_proof(system: Debian) -> None:
    """Nor one that is of another package than its name says, nor a damaged one."""
    deb = system.build("tool", "1.0", FILES)
    system.install(deb)
    archives = (os.fsencode(system.built),)
    deb.chmod(0o666)
    assert one(system, "/usr/bin/tool", archives=archives) == "as-shipped md5sums"
    deb.chmod(0o644)
    deb.write_bytes(system.build("tool", "2.0", FILES).read_bytes())
    report = system.report("/usr/bin/tool", archives=archives)
    assert told(report.answers[0]) == "as-shipped md5sums" and "another package" in report.problems[0]
    deb.write_bytes(deb.read_bytes()[:500])
    report = system.report("/usr/bin/tool", archives=archives)
    assert told(report.answers[0]) == "as-shipped md5sums" and "truncated" in report.problems[0]


def test_upgrade_and_downgrade(system: Debian) -> None:
    """What is compared is the installed version; a state read before the upgrade is not accused."""
    old = system.build("tool", "1.0", FILES)
    new = system.build("tool", "2.0", {**FILES, "/usr/bin/tool": "version 2\n"})
    system.fimscan_record(old, new)
    system.install(old)
    before = system.questions("/usr/bin/tool")
    assert one(system, "/usr/bin/tool") == "as-shipped recorded-sha256"
    time.sleep(0.05)
    system.install(new)
    assert one(system, "/usr/bin/tool") == "as-shipped recorded-sha256"
    # What the scan read then is not what the file is now: without a digest nothing can be said ...
    assert told(system.report(questions=before).answers[0]) == "unknown changed-since"
    # ... and with one, it differs from what is installed now, but it was read before.
    assert before[0].state is not None
    digest = Digest(algorithm="sha256", value=b"x" * 32)
    recorded = PackageQuestion(path=before[0].path, state=replace(before[0].state, digests=(digest,)))
    assert told(system.report(questions=[recorded]).answers[0]) == "unknown package-changed-since"
    system.dpkg("--force-downgrade", "--install", str(old))
    (answer,) = system.check("/usr/bin/tool")
    assert told(answer) == "as-shipped recorded-sha256" and answer.owner is not None and answer.owner.version == "1.0"


def test_a_file_of_the_older_version_is_not_as_shipped(system: Debian) -> None:
    """Somebody put the vulnerable program of before the upgrade back."""
    old = system.build("tool", "1.0", FILES)
    new = system.build("tool", "2.0", {**FILES, "/usr/bin/tool": "version 2\n"})
    system.fimscan_record(old, new)
    system.install(old)
    system.install(new)
    system.path("/usr/bin/tool").write_text(FILES["/usr/bin/tool"])
    assert one(system, "/usr/bin/tool") == "not-as-shipped content recorded-sha256"


def test_remove_and_purge(system: Debian) -> None:
    """A conffile that was left is of a package that is not installed; after a purge nobody owns it."""
    system.install(system.build("tool", "1.0", FILES))
    system.dpkg("--remove", "tool")
    assert one(system, "/etc/tool.conf") == "unknown not-installed"
    assert one(system, "/usr/bin/tool") == "unowned missing"
    system.dpkg("--purge", "tool")
    system.path("/etc").mkdir(exist_ok=True)
    system.path("/etc/tool.conf").write_text(FILES["/etc/tool.conf"])
    assert one(system, "/etc/tool.conf") == "unowned"


def test_an_obsolete_conffile_is_not_as_shipped(system: Debian) -> None:
    """The installed version has it no more, although dpkg still lists it with its MD5."""
    system.install(system.build("tool", "1.0", FILES))
    system.install(system.build("tool", "2.0", {"/usr/bin/tool": "2\n"}))
    assert one(system, "/etc/tool.conf") == "unknown obsolete-conffile"


def test_a_failed_installation_proves_nothing(system: Debian) -> None:
    """A package that is half installed has files of two versions; one that is half configured is whole."""
    system.install(system.build("tool", "1.0", FILES, postinst="exit 3"), code=1)
    assert one(system, "/usr/bin/tool") == "as-shipped md5sums"
    status = system.admin / "status"
    status.write_text(status.read_text().replace("half-configured", "half-installed"))
    assert one(system, "/usr/bin/tool") == "unknown not-installed"


def test_diversions(system: Debian) -> None:
    """The diverted file is judged where it is, by the package that ships it; the diverting package has the path."""
    system.install(system.build("tool", "1.0", FILES))
    system.install(
        system.build(
            "better",
            "1.0",
            {"/usr/bin/tool": "better\n"},
            preinst="dpkg-divert --package better --rename --divert /usr/bin/tool.real --add /usr/bin/tool",
        )
    )
    mine, moved = system.check("/usr/bin/tool", "/usr/bin/tool.real")
    assert told(mine) == told(moved) == "as-shipped md5sums"
    assert [answer.owner and answer.owner.name for answer in (mine, moved)] == ["better", "tool"]
    assert moved.owner is not None and moved.owner.listed_as == b"/usr/bin/tool"
    assert PackageFact.DIVERTED in mine.facts and PackageFact.DIVERTED in moved.facts
    # Exchanged, both are wrong.
    system.path("/usr/bin/tool").write_text("the program\n")
    system.path("/usr/bin/tool.real").write_text("better\n")
    assert [answer.kind for answer in system.check("/usr/bin/tool", "/usr/bin/tool.real")] == [
        PackageClass.NOT_AS_SHIPPED
    ] * 2
    # A local diversion concerns every package.
    run("dpkg-divert", "--root", str(system.root), "--local", "--rename", "--add", "/usr/share/tool/data")
    assert one(system, "/usr/share/tool/data.distrib") == "as-shipped md5sums"
    assert one(system, "/usr/share/tool/data") == "unowned missing"


def test_statoverride_and_alternatives(system: Debian) -> None:
    """An override is what mode and owner have to be; links of alternatives are nobody's, and named as such."""
    deb = system.build("tool", "1.0", FILES)
    system.fimscan_record(deb)
    system.install(deb)
    (system.path("/etc/group")).write_text("root:x:0:\nlp:x:7:\n")
    run("dpkg-statoverride", "--root", str(system.root), "--update", "--add", "root", "lp", "2755", "/usr/bin/tool")
    (answer,) = system.check("/usr/bin/tool")
    assert told(answer) == "as-shipped recorded-sha256" and answer.facts == (PackageFact.OVERRIDDEN,)
    os.chown(system.path("/usr/bin/tool"), 0, 0)
    system.path("/usr/bin/tool").chmod(0o4755)
    assert one(system, "/usr/bin/tool") == "not-as-shipped mode gid recorded-sha256"
    (system.path("/etc/alternatives")).mkdir()
    run("update-alternatives", "--root", str(system.root), "--install", "/usr/bin/ed", "ed", "/usr/bin/tool", "5")
    link, choice = system.check("/usr/bin/ed", "/etc/alternatives/ed")
    assert link.kind is choice.kind is PackageClass.UNOWNED
    assert link.facts == choice.facts == (PackageFact.ALTERNATIVE,)


def test_merged_usr(system: Debian) -> None:
    """A package lists /bin/tool, the file is /usr/bin/tool: both names are understood, in both directions."""
    deb = system.build("tool", "1.0", {"/bin/tool": "x\n", "/usr/bin/more": "y\n"})
    system.fimscan_record(deb)
    system.install(deb)
    for path in ("/bin/tool", "/usr/bin/tool"):
        (answer,) = system.check(path)
        assert told(answer) == "as-shipped recorded-sha256", path
        assert answer.owner is not None and answer.owner.listed_as == b"/bin/tool"
    assert one(system, "/bin/more") == "as-shipped recorded-sha256"


def test_a_users_link_makes_no_package_an_owner(system: Debian) -> None:
    """In a directory that a user can write to, a link to /etc must not make /etc/cron.d/x a package's file."""
    system.install(system.build("tool", "1.0", {"/var/spool/tool/in/x": "job\n"}))
    spool = system.path("/var/spool/tool")
    os.chown(spool, 1000, 1000)
    system.path("/etc/cron.d").mkdir(parents=True)
    system.path("/etc/cron.d/x").write_text("job\n")
    shutil.rmtree(spool / "in")
    (spool / "in").symlink_to("/etc/cron.d")
    assert one(system, "/etc/cron.d/x") == "unowned"
    os.chown(spool, 0, 0)
    assert one(system, "/etc/cron.d/x") == "as-shipped md5sums"  # root may link as it likes


def test_architectures_and_shared_files(system: Debian) -> None:
    """Multi-Arch: same: each architecture has lists of its own, and both own what they share."""
    multi = "Multi-Arch: same\n"
    run("dpkg", f"--root={system.root}", "--add-architecture", "i386")
    for architecture in ("amd64", "i386"):
        files = {f"/usr/lib/{architecture}/lib.so": architecture, "/usr/share/doc/lib": "same\n"}
        system.install(system.build("lib", "1.0", files, control=multi, architecture=architecture))
    shared, mine, other = system.check("/usr/share/doc/lib", "/usr/lib/amd64/lib.so", "/usr/lib/i386/lib.so")
    assert sorted(owner.architecture or "" for owner in shared.owners) == ["amd64", "i386"]
    assert [mine.owner and mine.owner.architecture, other.owner and other.owner.architecture] == ["amd64", "i386"]
    assert {told(answer) for answer in (shared, mine, other)} == {"as-shipped md5sums"}


def test_md5sums_that_were_altered_along_are_found(system: Debian) -> None:
    """A trojan with its MD5 in dpkg's database is as shipped for 'dpkg -V', and two proofs that disagree for us."""
    deb = system.build("tool", "1.0", FILES)
    system.fimscan_record(deb)
    system.install(deb)
    trojan = system.path("/usr/bin/tool")
    good = run("md5sum", str(trojan)).split()[0]
    trojan.write_text("trojan\n")
    sums = system.admin / "info/tool.md5sums"
    sums.write_text(sums.read_text().replace(good, run("md5sum", str(trojan)).split()[0]))
    (answer,) = system.check("/usr/bin/tool")
    assert told(answer) == "unknown proofs-disagree" and PackageFact.PROOFS_DISAGREE in answer.loud


def test_a_rebuilt_package_of_the_same_version(system: Debian) -> None:
    """Of two manifests of one version, the one counts that dpkg's MD5 confirms."""
    first = system.build("tool", "1.0", FILES)
    system.fimscan_record(first)
    shutil.rmtree(system.built / "tool-1.0-all-tree")
    second = system.build("tool", "1.0", {**FILES, "/usr/bin/tool": "rebuilt\n"})
    system.fimscan_record(second)
    system.install(second)
    assert one(system, "/usr/bin/tool") == "as-shipped recorded-sha256"
    system.path("/usr/bin/tool").write_text(FILES["/usr/bin/tool"])
    assert one(system, "/usr/bin/tool") == "not-as-shipped content recorded-sha256"


def test_manifests_that_others_can_write_are_not_used(system: Debian) -> None:
    """Neither one such file, nor a directory, nor an altered one; and it is said."""
    deb = system.build("tool", "1.0", FILES)
    system.fimscan_record(deb)
    system.install(deb)
    (manifest,) = system.manifests.iterdir()
    for path in (manifest, system.manifests):
        path.chmod(path.stat().st_mode | 0o022)
        report = system.report("/usr/bin/tool")
        assert told(report.answers[0]) == "as-shipped md5sums" and "writable by root only" in report.problems[0]
        path.chmod(path.stat().st_mode & ~0o022)
    text = manifest.read_bytes()
    manifest.write_bytes(text.replace(b"\t644\t", b"\t4755\t", 1))
    report = system.report("/usr/bin/tool")
    assert told(report.answers[0]) == "as-shipped md5sums" and "digest does not match" in report.problems[0]


def test_what_a_script_makes_is_unowned(system: Debian) -> None:
    """Even in a directory of its package, which is named."""
    script = 'echo cache > "$DPKG_ROOT/usr/share/tool/cache"'
    system.install(system.build("tool", "1.0", FILES, postinst=script))
    (answer,) = system.check("/usr/share/tool/cache")
    assert told(answer) == "unowned" and answer.directory_owners == ("tool",)


def test_what_dpkg_was_doing_then(system: Debian) -> None:
    """The log says whether the owner was being installed in the window; before the log begins, nothing does."""
    before = time.time_ns()
    system.install(system.build("old", "1.0", {"/usr/bin/old": "x"}))
    log = system.path("/var/log/dpkg.log")
    later = before + 3600 * 10**9
    (question,) = system.questions("/usr/bin/old")
    cases = {
        (before, time.time_ns()): PackageFact.BEING_INSTALLED,
        (later, later + 10**9): PackageFact.NOT_BEING_INSTALLED,
        (before - 2 * 10**12, before - 10**12): None,
    }
    for (start, end), expected in cases.items():
        asked = replace(question, window=Window(after_ns=start, before_ns=end))
        (answer,) = system.report(questions=[asked]).answers
        assert answer.facts == (() if expected is None else (expected,))
    log.unlink()
    asked = replace(question, window=Window(after_ns=later, before_ns=later + 1))
    assert system.report(questions=[asked]).answers[0].facts == ()


@pytest.mark.parametrize(
    ("exe", "path", "after_s", "above", "is_told"),
    [
        (b"/usr/sbin/ldconfig", "/etc/ld.so.cache", 0, None, True),
        (b"/sbin/ldconfig.real", "/etc/ld.so.cache", 0, None, True),
        (b"/usr/sbin/ldconfig", "/etc/ld.so.cache", 3600, None, False),
        (b"/usr/sbin/ldconfig", "/etc/ld.so.preload", 0, None, False),
        (b"/tmp/ldconfig", "/etc/ld.so.cache", 0, None, False),
        # What started it is known, and was no trigger.
        (b"/usr/sbin/ldconfig", "/etc/ld.so.cache", 0, Actor(pid=7, exe=b"/usr/bin/bash", ppid=1), False),
    ],
)
def test_what_a_trigger_made_is_called_so(
    system: Debian, exe: bytes, path: str, after_s: int, above: Actor | None, is_told: bool
) -> None:
    """Its own cache, by its own program, while the log has the trigger of its package: by a second more or less."""
    system.install(system.build("tool", "1.0", FILES))
    began = time.time_ns()
    stamp = datetime.fromtimestamp(began // 10**9).strftime("%Y-%m-%d %H:%M:%S")  # noqa: DTZ006 - as dpkg writes it
    with system.path("/var/log/dpkg.log").open("a") as log:
        log.write(f"{stamp} trigproc libc-bin:amd64 2.36 <none>\n{stamp} status installed libc-bin:amd64 2.36\n")
    system.path("/etc").mkdir(exist_ok=True)
    system.path(path).write_text("cache")
    (question,) = system.questions(path)
    made = Actor(pid=9, ppid=8, exe=exe, time_ns=began + after_s * 10**9)
    ancestors = () if above is None else (above,)
    writer = Lineage(actor=made, ancestors=ancestors, unknown=8 if above is None else 1)
    window = Window(after_ns=began, before_ns=began + 4000 * 10**9)
    told = replace(question, writers=writers_of([writer]), written_ns=(made.time_ns,), window=window)
    (answer,) = system.report(questions=[told]).answers
    assert answer.kind == "unowned"
    assert (PackageFact.TRIGGER in answer.facts) is is_told
    assert ("made by a trigger, says dpkg's log, so unproved" in package_words(answer)) is is_told


DAMAGES = {
    "status": ["status-truncated", "status-garbage", "status-missing-stanza", "status-twice"],
    "lists": ["list-missing", "list-truncated", "list-relative", "list-fifo", "list-link"],
    "sums": ["sums-truncated", "sums-garbage", "sums-twice"],
    "diversions": ["diversions-odd", "diversions-directory", "override-garbage"],
}


@pytest.mark.parametrize("damage", [name for names in DAMAGES.values() for name in names])
def test_a_damaged_database_is_unknown(system: Debian, damage: str) -> None:
    """Never as shipped without an equal digest, never unowned while something may own it, and the problem is told."""
    system.install(system.build("aaa", "1.0", {"/usr/bin/aaa": "a"}), system.build("tool", "1.0", FILES))
    status, info = system.admin / "status", system.admin / "info"
    text, names, sums = status.read_text(), info / "tool.list", info / "tool.md5sums"
    stanza = text[text.index("Package: tool") :]
    match damage:
        case "status-truncated":
            status.write_text(text[: text.index("Package: tool") + 20])
        case "status-garbage":
            status.write_bytes(text.replace(stanza, "").encode() + b"\0\xff\n")
        case "status-missing-stanza":
            status.write_text(text.replace("Status: install ok installed", "Status: sideways"))
        case "status-twice":
            status.write_text(text + "\n" + stanza)
        case "list-missing":
            names.unlink()
        case "list-truncated":
            names.write_text(names.read_text()[:-3])
        case "list-relative":
            names.write_text(names.read_text() + "usr/bin/x\n")
        case "list-fifo":
            names.unlink()
            os.mkfifo(names)
        case "list-link":
            names.rename(info / "elsewhere")
            names.symlink_to("elsewhere")
        case "sums-truncated":
            sums.write_text(sums.read_text()[:-3])
        case "sums-garbage":
            sums.write_bytes(b"\0\xff\n")
        case "sums-twice":
            sums.write_text(sums.read_text() + "0" * 32 + "  usr/bin/tool\n")
        case "diversions-odd":
            (system.admin / "diversions").write_text("/usr/bin/x\n")
        case "diversions-directory":
            (system.admin / "diversions").unlink(missing_ok=True)
            (system.admin / "diversions").mkdir()
        case "override-garbage":
            (system.admin / "statoverride").write_text("root root rwx /usr/bin/tool\n")
    report = system.report("/usr/bin/tool", "/usr/bin/none")
    tool, none = report.answers
    assert told(tool) == "unknown database-damaged"
    if damage not in DAMAGES["sums"]:
        assert told(none) == "unknown database-damaged"
        assert report.problems and all(str(system.admin) in problem for problem in report.problems)


def test_a_file_that_is_another_one_now_is_not_read(system: Debian) -> None:
    """Without a recorded digest: a replaced file, a FIFO, a link to a FIFO; none is opened for long."""
    system.install(system.build("tool", "1.0", FILES))
    asked = system.questions("/usr/bin/tool")
    assert told(system.report(questions=asked).answers[0]) == "as-shipped md5sums"
    program = system.path("/usr/bin/tool")
    program.unlink()
    for replace_it in (
        lambda: program.write_text(FILES["/usr/bin/tool"]),
        lambda: os.mkfifo(program),
        lambda: program.symlink_to("data"),
    ):
        replace_it()
        assert told(system.report(questions=asked).answers[0]) == "unknown changed-since"
        program.unlink()
    (state,) = (question.state for question in asked)
    assert state is not None and state.kind is FileKind.FILE
    assert told(system.report(questions=asked).answers[0]) == "unknown changed-since"


def test_without_a_database(tmp_path: Path) -> None:
    """Not unowned: nobody was asked."""
    (tmp_path / "x").write_text("x")
    (answer,) = Debian(tmp_path, tmp_path).check("/x")
    assert (answer.kind, answer.reason) == (PackageClass.UNKNOWN, PackageReason.NO_DATABASE)


def test_dpkg_at_work_all_the_time(system: Debian, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is said then; changes that dpkg has not merged into status are read."""
    system.install(system.build("tool", "1.0", FILES))
    status = system.admin / "status"
    (system.admin / "updates/0001").write_text(status.read_text().replace("installed", "half-installed"))
    assert one(system, "/usr/bin/tool") == "unknown not-installed"
    (system.admin / "updates/0001").unlink()
    from fimscan.packages import dpkg

    stamps = iter(range(100))
    monkeypatch.setattr(dpkg, "_stamp", lambda _: (next(stamps),))
    report = system.report("/usr/bin/tool", "/usr/bin/none")
    assert [told(answer) for answer in report.answers] == ["unknown database-changing"] * 2
    assert "dpkg was at work" in report.problems[-1]


def test_while_dpkg_works_no_file_is_accused(system: Debian) -> None:
    """Upgraded and downgraded again and again, each file is as shipped or unknown at every moment."""
    contents = ("1", {"/usr/bin/tool": "one\n" * 5000}), ("2", {"/usr/bin/tool": "two\n" * 5000})
    debs = [system.build("tool", version, files) for version, files in contents]
    system.fimscan_record(*debs)
    system.install(debs[0])
    done = threading.Event()

    def upgrade() -> None:
        try:
            for number in range(1, 13):
                system.dpkg("--force-downgrade", "--install", str(debs[number % 2]))
        finally:
            done.set()

    worker = threading.Thread(target=upgrade)
    worker.start()
    found = set()
    while not done.is_set():
        found.add(told(system.check("/usr/bin/tool")[0]))
    worker.join()
    fine = {"changed-since", "database-changing", "not-installed", "package-changed-since"}
    assert found <= {"as-shipped recorded-sha256", *(f"unknown {reason}" for reason in fine)}
    assert "as-shipped recorded-sha256" in found and len(found) > 1


def test_lists_that_were_read_are_asked_again_only_for_other_names(
    system: Debian, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With an index, answers are the same, lists without the names are not read, and a list that changed is."""
    system.install(system.build("tool", "1.0", FILES))
    system.install(system.build("other", "1.0", {"/opt/else/program": "other\n"}))
    index = ListIndex()
    assert one(system, "/usr/bin/tool", index=index) == one(system, "/usr/bin/tool") == "as-shipped md5sums"
    read: list[bytes] = []

    def reading(path: bytes, **options: object) -> bytes:
        read.append(path)
        return read_regular(path, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(dpkg, "read_regular", reading)
    assert one(system, "/opt/else/program", index=index) == "as-shipped md5sums"
    assert [path.rpartition(b"/")[2] for path in read if path.endswith(b".list")] == [b"other.list"]
    assert one(system, "/opt/late/file", index=index) == "unowned missing"
    system.install(system.build("tool", "2.0", {**FILES, "/opt/late/file": "new\n"}))
    assert one(system, "/opt/late/file", index=index) == "as-shipped md5sums"
