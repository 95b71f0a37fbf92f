"""Judging is pure: who wrote a file, and what follows from several claims."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from fimscan.audit import read_stream
from fimscan.model import (
    Actor,
    Digest,
    ExeOrigin,
    FileKind,
    Lineage,
    PackageAnswer,
    PackageClass,
    PackageFact,
    PackageOwner,
    PackageProof,
    PackageReason,
    ProcessView,
    Window,
    Xattr,
)
from fimscan.packages import PackageQuestion
from fimscan.packages.claims import Claim, Expected
from fimscan.packages.judge import Background, Digests, judge, needed_algorithms
from fimscan.packages.writers import Writer, WriterKind, writer_of, writers_of
from tests.packages.debian import told
from tests.support import state

LOGS = Path(__file__).parents[1] / "data" / "logs"
GOOD, BAD = b"g" * 32, b"b" * 32
OWNER = PackageOwner(manager="dpkg", name="tool", version="1", architecture="all")
SHA = Expected(PackageProof.RECORDED, FileKind.FILE, "sha256", GOOD, mode=0o644, uid=0, gid=0)
MD5 = Expected(PackageProof.MD5SUMS, FileKind.FILE, "md5", GOOD[:16])
FILE = replace(state(b"/usr/bin/tool"), digests=(Digest(algorithm="sha256", value=GOOD),))
DPKG = Actor(pid=10, exe=b"/usr/bin/dpkg")
SSHD = Actor(pid=4, exe=b"/usr/sbin/sshd")
SHELL = Actor(pid=5, exe=b"/usr/bin/bash")


def script(name: bytes, pid: int = 11) -> Actor:
    return Actor(pid=pid, exe=b"/usr/bin/dash", cmdline=(b"/bin/sh", b"/var/lib/dpkg/" + name, b"configure"))


WRITERS = {
    "dpkg": (Lineage(actor=DPKG, ancestors=(SHELL,)), WriterKind.MANAGER, ""),
    "replaced": (Lineage(actor=DPKG._replace(exe=b"/usr/bin/dpkg (deleted)")), WriterKind.MANAGER, ""),
    "container": (
        Lineage(actor=DPKG._replace(view=ProcessView(exe_origin=ExeOrigin.OTHER_ROOT)), ancestors=(SHELL,)),
        WriterKind.OTHER,
        "",
    ),
    "copy": (Lineage(actor=DPKG._replace(exe=b"/tmp/usr/bin/dpkg"), ancestors=(SHELL,)), WriterKind.OTHER, ""),
    "script": (Lineage(actor=script(b"info/man-db.postinst"), ancestors=(DPKG,)), WriterKind.SCRIPT, "man-db.postinst"),
    "qualified": (
        Lineage(actor=script(b"info/libc6:amd64.postinst"), ancestors=(DPKG,)),
        WriterKind.SCRIPT,
        "libc6.postinst",
    ),
    "new": (Lineage(actor=script(b"tmp.ci/preinst"), ancestors=(DPKG,)), WriterKind.SCRIPT, "preinst"),
    "helper": (
        Lineage(actor=Actor(pid=12, exe=b"/usr/bin/sed"), ancestors=(script(b"info/a.postinst"), DPKG, SHELL)),
        WriterKind.SCRIPT,
        "a.postinst",
    ),
    "pretender": (Lineage(actor=script(b"info/man-db.postinst"), ancestors=(SHELL,)), WriterKind.OTHER, ""),
    "unknown parent": (Lineage(actor=script(b"info/man-db.postinst"), unknown=3), WriterKind.UNKNOWN, ""),
    "child of init": (Lineage(actor=Actor(pid=3, exe=b"/usr/bin/vim"), unknown=1), WriterKind.OTHER, ""),
    # A maintainer script restarted sshd; whoever logs in since is no maintainer script.
    "login": (
        Lineage(actor=Actor(pid=3, exe=b"/usr/bin/vim"), ancestors=(SHELL, SSHD, script(b"info/ssh.postinst"), DPKG)),
        WriterKind.OTHER,
        "",
    ),
    "old sshd": (Lineage(actor=SHELL, ancestors=(SSHD,), unknown=700), WriterKind.OTHER, ""),
    "upgrade over ssh": (
        Lineage(actor=script(b"info/a.postinst"), ancestors=(DPKG, SHELL, SSHD), unknown=700),
        WriterKind.SCRIPT,
        "a.postinst",
    ),
    "no program": (Lineage(actor=Actor(pid=1)), WriterKind.UNKNOWN, ""),
    "dnf": (
        Lineage(
            actor=Actor(pid=1, exe=b"/usr/bin/python3.12", cmdline=(b"/usr/bin/python3", b"/usr/bin/dnf", b"upgrade"))
        ),
        WriterKind.MANAGER,
        "",
    ),
    "python": (
        Lineage(actor=Actor(pid=1, exe=b"/usr/bin/python3.12", cmdline=(b"python3", b"x.py"))),
        WriterKind.OTHER,
        "",
    ),
}


@pytest.mark.parametrize("name", WRITERS)
def test_who_wrote_it(name: str) -> None:
    """The kernel's record of the program counts, and dpkg among the ancestors; a command line alone does not."""
    lineage, kind, named = WRITERS[name]
    assert writer_of(lineage) == Writer(kind, named)


def ask(*claims: Claim, writer: str | None = None, digests: Digests | None = None, **changes: Any) -> PackageAnswer:
    question = PackageQuestion(
        path=FILE.path,
        state=replace(FILE, **changes),
        writers=writers_of([] if writer is None else [WRITERS[writer][0]]),
    )
    return judge(question, claims, {"sha256": GOOD} if digests is None else digests, Background())


SHIPPED = Claim(owner=OWNER, expected=(SHA, MD5))


@pytest.mark.parametrize(
    ("writer", "good", "facts"),
    [
        ("dpkg", True, ()),
        ("dpkg", False, (PackageFact.MANAGER_WROTE_OTHER,)),
        ("helper", True, (PackageFact.MAINTAINER_SCRIPT,)),
        ("helper", False, (PackageFact.MAINTAINER_SCRIPT,)),
        ("copy", True, (PackageFact.NOT_WRITTEN_BY_MANAGER,)),
        ("copy", False, ()),
        ("unknown parent", True, ()),
        (None, True, ()),
    ],
)
def test_the_writer_and_the_content_together(writer: str | None, good: bool, facts: tuple[PackageFact, ...]) -> None:
    """Loud: dpkg wrote something else than it should, or something else wrote what dpkg would have."""
    answer = ask(SHIPPED, writer=writer, digests={"sha256": GOOD if good else BAD})
    assert answer.facts == facts
    assert answer.kind is (PackageClass.AS_SHIPPED if good else PackageClass.NOT_AS_SHIPPED)


def test_the_strongest_proof_decides_and_its_digest_is_needed() -> None:
    """A recorded digest needs no reading; MD5 does."""
    assert needed_algorithms([SHIPPED], FILE) == {"sha256"}
    assert needed_algorithms([replace(SHIPPED, expected=(MD5,))], FILE) == {"md5"}
    assert needed_algorithms([replace(SHIPPED, reason=PackageReason.NOT_INSTALLED)], FILE) == set()
    # An equal MD5 does not outweigh another SHA-256.
    assert told(ask(SHIPPED, digests={"sha256": BAD, "md5": GOOD[:16]})) == "not-as-shipped content recorded-sha256"


def test_several_owners() -> None:
    """The one decides that shipped the file as it is; else one for which it is unknown."""
    other = Claim(owner=replace(OWNER, name="other"), expected=(SHA._replace(digest=BAD),))
    unknown = Claim(owner=replace(OWNER, name="half"), reason=PackageReason.NOT_INSTALLED)
    for claims in ((other, unknown, SHIPPED), (SHIPPED, other, unknown)):
        answer = ask(*claims)
        assert told(answer) == "as-shipped recorded-sha256"
        assert [owner.name for owner in answer.owners] == ["tool", "half", "other"]
    assert told(ask(other, unknown)) == "unknown not-installed"


def test_capabilities_and_acls_are_in_no_proof() -> None:
    """Not even in one that has the mode."""
    for name in (b"security.capability", b"system.posix_acl_access"):
        answer = ask(SHIPPED, xattrs=(Xattr(name=name, size=1, data=b"x"),))
        assert answer.loud == (PackageFact.MODE_UNPROVED,)


@pytest.mark.parametrize(
    ("changes", "is_special"),
    [
        ({}, False),
        ({"mode": 0o4755}, True),
        ({"mode": 0o2755}, True),
        ({"mode": 0o666}, True),
        ({"mode": 0o664}, False),
        ({"mode": 0o664, "gid": 5}, True),
        ({"uid": 1000}, True),
    ],
)
def test_rights_that_md5_does_not_cover(changes: dict[str, Any], is_special: bool) -> None:
    """Of the mode, those that let somebody else run it as root, or change it."""
    md5_only = replace(SHIPPED, expected=(MD5,))
    question = PackageQuestion(path=FILE.path, state=replace(FILE, **changes))
    answer = judge(question, [md5_only], {"md5": GOOD[:16]}, Background())
    assert answer.kind is PackageClass.AS_SHIPPED
    assert answer.loud == ((PackageFact.MODE_UNPROVED,) if is_special else ())


def test_a_missing_file() -> None:
    """Not as shipped, whether or not there is a digest; unless the package was unpacked after the window."""
    gone = PackageQuestion(path=FILE.path, state=None)
    no_digest = Claim(owner=replace(OWNER, unpacked_ns=50), reason=PackageReason.NO_DIGEST)
    half = Claim(owner=OWNER, reason=PackageReason.NOT_INSTALLED)
    assert told(judge(gone, [no_digest], {}, Background())) == "not-as-shipped missing"
    assert told(judge(gone, [half], {}, Background())) == "unknown not-installed"
    earlier = replace(gone, window=Window(after_ns=10, before_ns=20))
    assert told(judge(earlier, [no_digest], {}, Background())) == "unknown package-changed-since"
    ghost = replace(no_digest, may_be_missing=True)
    assert told(judge(gone, [ghost], {}, Background())) == "unknown no-digest"


def test_snap_and_flatpak_are_not_asked() -> None:
    """So their files are not unowned."""
    for path, name in ((b"/snap/core/17/x", "core"), (b"/var/lib/flatpak/app/x", "")):
        answer = judge(PackageQuestion(path=path, state=FILE), (), {}, Background())
        assert told(answer) == "unknown other-manager" and answer.owners[0].name == name


EXPECTED = st.builds(
    Expected,
    proof=st.sampled_from(PackageProof),
    kind=st.sampled_from(FileKind),
    algorithm=st.sampled_from(["sha256", "md5", None]),
    digest=st.sampled_from([GOOD, BAD, GOOD[:16], None]),
    link_target=st.sampled_from([b"a", b"b", None]),
    mode=st.sampled_from([0o644, 0o4755, None]),
    uid=st.sampled_from([0, 1, None]),
    gid=st.sampled_from([0, None]),
)
CLAIMS = st.lists(
    st.builds(
        Claim,
        owner=st.builds(
            PackageOwner, manager=st.just("dpkg"), name=st.just("a"), unpacked_ns=st.sampled_from([None, 1, 2**62])
        ),
        expected=st.lists(EXPECTED, max_size=2).map(tuple),
        reason=st.sampled_from([None, *PackageReason]),
    ),
    max_size=3,
)


@given(
    claims=CLAIMS,
    kind=st.sampled_from(FileKind),
    mode=st.sampled_from([0o644, 0o4755]),
    target=st.sampled_from([b"a", b"b", None]),
    digests=st.one_of(
        st.sampled_from(PackageReason),
        st.dictionaries(st.sampled_from(["sha256", "md5"]), st.sampled_from([GOOD, BAD, GOOD[:16]])),
    ),
    is_complete=st.booleans(),
)
def test_as_shipped_only_with_an_equal_digest(
    claims: list[Claim], kind: FileKind, mode: int, target: bytes | None, digests: Digests, is_complete: bool
) -> None:
    """Whatever is claimed: the deciding proof has the very content, kind and attributes of the file."""
    file = replace(FILE, kind=kind, mode=mode, link_target=target)
    question = PackageQuestion(path=FILE.path, state=file)
    answer = judge(question, claims, digests, Background(is_complete=is_complete))
    assert (answer.reason is not None) == (answer.kind is PackageClass.UNKNOWN)
    assert (answer.kind is PackageClass.UNOWNED) == (not claims and is_complete)
    if answer.kind is PackageClass.AS_SHIPPED:
        proofs = [
            claim.expected[0] for claim in claims if claim.expected and claim.reason in (None, PackageReason.NO_DIGEST)
        ]
        assert any(
            proof.proof is answer.proof
            and proof.kind is kind
            and proof.mode in (None, mode)
            and (kind is not FileKind.FILE or digests[proof.algorithm] == proof.digest)  # type: ignore[index]
            and (kind is not FileKind.SYMLINK or target == proof.link_target)
            for proof in proofs
        )


def test_who_wrote_it_in_a_real_log() -> None:
    """dpkg installs a package whose postinst makes two files: one itself, one by cp."""
    with (LOGS / "dpkg-and-postinst.log").open("rb") as file:
        accesses = [one for batch in read_stream(file) for one in batch.accesses]
    by_pid = {access.actor.pid: access.actor for access in accesses}
    found = {}
    for access in accesses:
        ancestors: list[Actor] = []
        parent = access.actor.ppid
        while parent in by_pid:
            ancestors.append(by_pid[parent])
            parent = by_pid[parent].ppid
        assert access.name.path is not None
        name = access.name.path.rpartition(b"/")[2]
        found[name] = writer_of(Lineage(actor=access.actor, ancestors=tuple(ancestors), unknown=parent))
    assert found == {
        b"tool.dpkg-new": Writer(WriterKind.MANAGER),
        b"tool": Writer(WriterKind.MANAGER),
        b"cache": Writer(WriterKind.SCRIPT, "tool.postinst"),
        b"copy": Writer(WriterKind.SCRIPT, "tool.postinst"),
    }
