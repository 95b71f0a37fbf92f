"""The parsers take any bytes: they raise nothing but their own error, and invent no digest."""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import shutil
import tarfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fimscan import decompression
from fimscan.errors import InputError
from fimscan.model import FileKind, PackageProof
from fimscan.packages import parse_hook
from fimscan.packages.accounts import parse_accounts
from fimscan.packages.activity import to_seconds
from fimscan.packages.deb import DebError, read_deb
from fimscan.packages.dpkg_files import (
    DamagedError,
    parse_alternative,
    parse_diversions,
    parse_list,
    parse_log,
    parse_md5sums,
    parse_statoverride,
    parse_triggers,
)
from fimscan.packages.dpkg_status import parse_status
from fimscan.packages.manifest import Manifest, ManifestError, Member, format_manifest, parse_manifest
from fimscan.packages.python_record import RecordDamagedError, parse_record
from fimscan.packages.rpm import parse_rpm
from tests.packages.debian import Debian

PARSERS: dict[str, Callable[[bytes], Any]] = {
    "list": lambda text: parse_list(text, {b"x"}),
    "md5sums": lambda text: parse_md5sums(text, {b"/x"}),
    "diversions": parse_diversions,
    "statoverride": parse_statoverride,
    "alternative": lambda text: parse_alternative(b"x", text),
    "triggers": parse_triggers,
    "log": lambda text: parse_log(text, to_seconds),
    "status": lambda text: parse_status([text]),
    "accounts": parse_accounts,
    "manifest": parse_manifest,
    "hook": parse_hook,
    "record": lambda text: parse_record(text, b"/l", {b"/l/x"}),
    "rpm": lambda text: [*parse_rpm(io.BytesIO(text), frozenset({b"x"}))],
}
# What comes near to real text, so that more than the first check is reached.
PIECES = st.sampled_from(
    [
        *(b"\n", b" ", b"\t", b"/x", b"/.", b"\0", b"\xff", b"0" * 32 + b"  ", b"a" * 64, b":", b"auto\n/l\n", b"@\t"),
        *(b"Package: a\n", b"Status: install ok installed\n", b"Version: 1\nArchitecture: all\n", b"Conffiles:\n /x "),
        *(b"2026-11-30 01:02:03 ", b"9999-99-99 99:99:99 ", b"status installed a:all 1", b"install a:all <none> 1"),
        *(
            b"VERSION 3\n\n",
            b"a - - none < 1 all none /x.deb",
            b"x,sha256=",
            b'"',
            b",",
            b"root root 755 /x\n",
            b"end\t1\t",
        ),
        *(b"fimscan package manifest 1\t", b"a\t1:2-3\tx86_64\t8\t1\t1\n", b"0\t100644\t0\t0\troot\troot\t\t/x\n"),
    ]
)
TEXT = st.one_of(st.binary(max_size=300), st.lists(st.one_of(PIECES, st.binary(max_size=3)), max_size=20).map(b"".join))


@pytest.mark.parametrize("name", PARSERS)
@given(text=TEXT)
def test_any_bytes_are_parsed_or_refused(name: str, text: bytes) -> None:
    """Only with the error that callers expect."""
    with contextlib.suppress(DamagedError, ManifestError, RecordDamagedError, InputError):
        PARSERS[name](text)


@given(text=TEXT)
def test_an_md5_sum_is_one_that_the_text_has(text: bytes) -> None:
    """For that very path, and in no other line."""
    try:
        found = parse_md5sums(text, {b"/x"})
    except DamagedError:
        return
    for path, digest in found.items():
        lines = [line for line in text.split(b"\n") if line.startswith(digest.hex().encode() + b"  ")]
        assert any(line[34:].removeprefix(b"./").lstrip(b"/") == path[1:] for line in lines)


def test_a_few_names_are_found_as_many_are() -> None:
    """A few are looked for in the text, many line by line: the answer is the same, in the order of the lines."""
    lines = [b"/.", b"/x", b"/a/b", b"/a/b/x", b"/ab", b"/a\r", b"/x/", b"/b", b"/b", b"/x y", b"/x/.", b"/xb"]
    others = {b"other %d" % number for number in range(50)}
    for names in ({b"b"}, {b"x", b"b"}, {b"b", b"x"}, {b""}, {b".", b"ab", b"a\r"}, {b"x y"}, {b"y"}, {b"/b"}, set()):
        text = b"\n".join(lines) + b"\n"
        assert (
            parse_list(text, names)
            == parse_list(text, names | others)
            == [line for line in lines if line.rpartition(b"/")[2] in names]
        )


PATHS = st.binary(min_size=1, max_size=30).map(lambda name: b"/" + name.replace(b"\0", b"?"))
MEMBERS = st.builds(
    Member,
    path=PATHS,
    kind=st.sampled_from(FileKind),
    mode=st.integers(0, 0o7777),
    uid=st.integers(0, 2**32),
    gid=st.integers(0, 2**32),
    user=st.binary(max_size=5),
    group=st.binary(max_size=5),
    size=st.integers(0, 2**60),
    sha256=st.one_of(st.none(), st.binary(min_size=32, max_size=32)),
    md5=st.one_of(st.none(), st.binary(min_size=16, max_size=16)),
    link_target=st.one_of(st.none(), st.binary(max_size=20)),
)


def manifest(members: Iterable[Member]) -> Manifest:
    return Manifest(
        name="a",
        version="1:2~3+b-4",
        architecture="amd64",
        deb_sha256="0" * 64,
        proof=PackageProof.RECORDED,
        taken_ns=17,
        members=tuple(members),
    )


@given(members=st.lists(MEMBERS, max_size=5), position=st.integers(0), value=st.integers(0, 255))
def test_a_manifest_comes_back_whole_or_not_at_all(members: list[Member], position: int, value: int) -> None:
    """Whatever names there are; one altered byte, or a truncated one, is refused."""
    made = manifest(members)
    text = format_manifest(made)
    assert parse_manifest(text) == made
    wanted = {member.path for member in members[:1]}
    assert parse_manifest(text, wanted).members == tuple(member for member in members if member.path in wanted)
    at = position % len(text)
    altered = text[:at] + bytes([value]) + text[at + 1 :]
    for wrong in (text[:at], altered):
        if wrong != text:
            with pytest.raises(ManifestError):
                parse_manifest(wrong)


@pytest.mark.parametrize("name", ["../x", "a/b", "", "a\n", "A_b"])
def test_a_manifest_has_no_name_that_leads_elsewhere(name: str) -> None:
    """It becomes the name of a file."""
    with pytest.raises(ManifestError):
        Manifest(**{**{key: getattr(manifest(()), key) for key in Manifest.__struct_fields__}, "name": name})


def deb(
    *members: tuple[tarfile.TarInfo, bytes], control: bytes = b"Package: a\nVersion: 1\nArchitecture: all\n"
) -> bytes:
    """A .deb with these members."""

    def tar(*inside: tuple[tarfile.TarInfo, bytes]) -> bytes:
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w", format=tarfile.GNU_FORMAT) as archive:
            for info, content in inside:
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
        return out.getvalue()

    parts = {b"debian-binary": b"2.0\n", b"control.tar": tar((tarfile.TarInfo("./control"), control))}
    text = b"!<arch>\n"
    for name, content in {**parts, b"data.tar": tar(*members)}.items():
        text += b"%-16b%-12d%-6d%-6d%-8b%-10d`\n" % (name, 0, 0, 0, b"100644", len(content))
        text += content + b"\n" * (len(content) % 2)
    return text


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info


def read(data: bytes) -> Manifest:
    return read_deb(io.BytesIO(data), path=b"/x.deb", proof=PackageProof.DEB, now_ns=1)


def test_a_deb_is_read_member_by_member() -> None:
    """Long names and names that are not UTF-8; a hard link has the content of its file."""
    name = "./usr/" + "long/" * 60 + "n\udcff"
    found = read(deb((member(name), b"content"), (member("./h", tarfile.LNKTYPE, name), b"")))
    digest = hashlib.sha256(b"content").digest()
    assert [one.sha256 for one in found.members] == [digest, digest]
    assert found.members[0].path == name[1:].encode("utf-8", "surrogateescape")


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"", "not a Debian package"),
        (b"!<arch>\n" + b"x" * 70, "not valid"),
        (deb()[:-9000], "truncated"),
        (deb((member("../x"), b"")), "leads out"),
        (deb((member("x"), b"1"), (member("./x"), b"2")), "twice"),
        (deb((member("x", tarfile.LNKTYPE, "nothing"), b"")), "leads to no file"),
        (deb(control=b"Package: a\n"), "no field Version"),
        (deb(control=b"Package: ../a\nVersion: 1\nArchitecture: all\n"), "no valid package name"),
    ],
)
def test_a_wrong_deb_is_refused(data: bytes, problem: str) -> None:
    """With a reason that says what is wrong."""
    with pytest.raises(DebError, match=problem):
        read(data)


GOOD = deb((member("./usr/bin/x"), b"content"), (member("./l", tarfile.SYMTYPE, "x"), b""))


@given(
    changes=st.lists(st.tuples(st.integers(0, len(GOOD) - 1), st.integers(0, 255)), min_size=1, max_size=6),
    cut=st.integers(0, len(GOOD)),
)
def test_a_damaged_deb_is_read_or_refused(changes: list[tuple[int, int]], cut: int) -> None:
    """With no other error."""
    data = bytearray(GOOD)
    for at, value in changes:
        data[at] = value
    for damaged in (bytes(data), GOOD[:cut]):
        with contextlib.suppress(DebError):
            read(damaged)


def test_without_zstandard_dpkg_deb_unpacks_zstd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ubuntu's packages are compressed with it, and Python has it from 3.14 on only."""
    if not shutil.which("dpkg-deb"):
        pytest.skip("there is no dpkg-deb here")
    made = Debian(tmp_path, tmp_path).build("a", "1", {"/usr/bin/x": "content"}, compression="zstd")

    def missing(_: str) -> None:
        raise ImportError

    proof = PackageProof.DEB
    with made.open("rb") as file:
        expected = read_deb(file, path=os.fsencode(made), proof=proof, now_ns=1)
        monkeypatch.setattr("fimscan.decompression.importlib.import_module", missing)
        with pytest.raises(decompression.UnpackError, match="install the Python package zstandard"):
            decompression.unpacked(io.BytesIO(b"x"), b"\x28\xb5\x2f\xfd").read(1)
        assert read_deb(file, path=os.fsencode(made), proof=proof, now_ns=1) == expected


def test_the_hook_understands_every_version_of_the_protocol() -> None:
    """Names with blanks; what is configured or removed has no .deb."""
    assert parse_hook(b"/a/b c.deb\n/d.deb\n") == [b"/a/b c.deb", b"/d.deb"]
    assert parse_hook(b"VERSION 2\nAPT::x=1\n\na - < 1 /a b.deb\na - < 1 **CONFIGURE**\n") == [b"/a b.deb"]
    three = b"VERSION 3\nx=y\n\na 1 all none < 2 all none /a b.deb\nb 1 all none > - - none **REMOVE**\n"
    assert parse_hook(three) == [b"/a b.deb"]
    assert parse_hook(b"") == []


@pytest.mark.parametrize(
    "text", [b"VERSION 4\n\n", b"VERSION 3\nx=y\n", b"VERSION 3\n\nshort line\n", b"relative.deb\n"]
)
def test_other_input_of_the_hook_is_refused(text: bytes) -> None:
    """Not guessed at."""
    with pytest.raises(InputError):
        parse_hook(text)


def test_status_is_read_as_dpkg_writes_it() -> None:
    """Conffiles with blanks and flags; a later text replaces an entry."""
    text = (
        b"Package: a\nStatus: install ok installed\nArchitecture: all\nVersion: 1\nConffiles:\n"
        b" /etc/a b "
        + b"0" * 32
        + b"\n /etc/c "
        + b"1" * 32
        + b" obsolete\n /etc/d newconffile\nDescription: x\n .\n y\n"
    )
    status = parse_status(
        [text + b"\n" + text.replace(b"Package: a", b"Package: b"), text.replace(b"Version: 1", b"Version: 2")]
    )
    assert status.problems == ()
    package = status.packages[b"a", b"all"]
    assert package.version == b"2" and status.packages[b"b", b"all"].version == b"1"
    assert {path: (one.md5 and one.md5.hex()[:1], one.obsolete) for path, one in package.conffiles.items()} == {
        b"/etc/a b": ("0", False),
        b"/etc/c": ("1", True),
        b"/etc/d": (None, False),
    }


def test_a_package_of_others_does_not_spoil_the_database() -> None:
    """Names and versions that Debian would refuse, a line that md5sum(1) escaped."""
    text = b"Package: My_App\nStatus: install ok installed\nArchitecture: amd64\nVersion: 1.0_beta\n"
    assert parse_status([text]).problems == ()
    sums = b"\\" + b"0" * 32 + b"  a\\\\b\n" + b"1" * 32 + b"  ./x\n"
    assert parse_md5sums(sums, {b"/x", b"/a\\b"}) == {b"/x": b"\x11" * 16}


def test_the_log_ends_an_action_with_its_last_state() -> None:
    """A trigger that is set pending a day later does not make the installation last a day."""
    lines = (
        b"2026-01-01 00:00:01 startup archives unpack\n2026-01-01 00:00:02 install a:all <none> 1\n"
        b"2026-01-01 00:00:09 status unpacked a:all 1\n2026-01-02 00:00:00 status triggers-pending a:all 1\n"
    )
    found = parse_log(lines, lambda stamp: int(stamp[8:10]) * 100 + int(stamp[17:19]))
    assert found.start == 101 and found.spans == {b"a:all": ((102, 109),)}
