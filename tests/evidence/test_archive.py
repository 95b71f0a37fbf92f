"""The canonical container."""

from __future__ import annotations

import io
import subprocess
import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fimscan.errors import VerificationError
from fimscan.evidence import archive
from fimscan.evidence.archive import open_member, read_archive
from tests.evidence.site import container_of

CONTENTS = {"b/two.txt": b"second\n", "a.txt": b"", "c.bin": bytes(range(256)) * 5}


def read(data: bytes) -> dict[str, bytes]:
    file = io.BytesIO(data)
    return {member.name: open_member(file, member).read() for member in read_archive(file)}


names = st.from_regex(r"[A-Za-z0-9_]{1,3}(/[a-z]{1,2}){0,2}", fullmatch=True)


@given(st.dictionaries(names, st.binary(max_size=80), min_size=1, max_size=5))
def test_members_come_back_in_order(contents: dict[str, bytes]) -> None:
    """Reading returns the packed members, sorted by name."""
    assert list(read(container_of(contents)).items()) == sorted(contents.items())


def test_same_members_same_bytes() -> None:
    """The container does not depend on the order in which members were added."""
    assert container_of(CONTENTS) == container_of(dict(reversed(CONTENTS.items())))


@pytest.mark.parametrize("limit", [None, 600])
def test_ordinary_tools_read_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: int | None) -> None:
    """unzip and Python's zipfile accept it, with and without ZIP64 fields (sizes and offsets)."""
    path = tmp_path / "x.zip"
    if limit is not None:  # "too large for 32 bits" from 600 bytes on; the marker itself stays what it is
        monkeypatch.setattr(archive, "_FITS32", limit)
    path.write_bytes(container_of(CONTENTS))
    assert read(path.read_bytes()) == CONTENTS
    assert (b"PK\x06\x06" in path.read_bytes()) == (limit is not None)
    with zipfile.ZipFile(path) as packed:
        assert packed.testzip() is None
        assert {name: packed.read(name) for name in packed.namelist()} == CONTENTS
    result = subprocess.run(["unzip", "-q", path, "-d", tmp_path / "out"], capture_output=True, text=True, check=False)
    assert (result.returncode, result.stdout + result.stderr) == (0, "")
    assert {name: (tmp_path / "out" / name).read_bytes() for name in CONTENTS} == CONTENTS
    assert (tmp_path / "out" / "c.bin").stat().st_mode & 0o777 == 0o644


def test_sizes_and_offsets_beyond_32_bits() -> None:
    """The headers of a member beyond 4 GiB carry its true size and offset in the ZIP64 field."""
    size, offset = 5 << 32, 7 << 32
    local = archive._local_header("x", size, 1)
    assert local[18:26] == b"\xff" * 8
    assert local[-16:] == size.to_bytes(8, "little") * 2
    assert archive._central_entry("x", size, 1, offset)[-8:] == offset.to_bytes(8, "little")


def test_very_many_members() -> None:
    """More members than 16 bits can count are packed, and read by Python's zipfile too."""
    data = container_of({f"m{number:05}": b"" for number in range(70_000)})
    assert len(read_archive(io.BytesIO(data), most=70_000)) == 70_000
    with pytest.raises(VerificationError, match="more than 1,000 members"):
        read_archive(io.BytesIO(data))
    with zipfile.ZipFile(io.BytesIO(data)) as packed:
        assert len(packed.namelist()) == 70_000


@given(st.data())
def test_every_container_change_is_refused(data: st.DataObject) -> None:
    """A container with a changed, removed or inserted byte is refused."""
    original = container_of(CONTENTS)
    at = data.draw(st.integers(0, len(original) - 1))
    byte = data.draw(st.integers(0, 255))
    kind = data.draw(st.sampled_from(["change", "remove", "insert", "truncate", "append"]))
    changed = {
        "change": original[:at] + bytes([byte]) + original[at + 1 :],
        "remove": original[:at] + original[at + 1 :],
        "insert": original[:at] + bytes([byte]) + original[at:],
        "truncate": original[:at],
        "append": original + bytes([byte]),
    }[kind]
    if changed != original:
        with pytest.raises(VerificationError):
            read_archive(io.BytesIO(changed))


@pytest.mark.parametrize("name", ["../x", "/etc/x", "a//b", "a/../b", "./a", "a\\b", "-rf", "a\n", "é", "", "x" * 201])
def test_dangerous_names_are_refused(name: str) -> None:
    """A member whose name leads elsewhere, or looks like an option, is refused."""
    encoded = name.encode()
    placeholder = "y" * len(encoded)
    header = archive._local_header(placeholder, 0, 0)
    changed = header[: -len(encoded)] + encoded if encoded else header
    with pytest.raises(VerificationError, match=r"not allowed|too long"):
        read_archive(io.BytesIO(changed))


def test_a_member_twice_is_refused() -> None:
    """Two members of the same name are refused: tools differ in which one they show."""
    changed = container_of({"aaa": b"1", "bbb": b"2"}).replace(b"bbb", b"aaa")
    with pytest.raises(VerificationError, match="twice"):
        read_archive(io.BytesIO(changed))


def test_a_compressed_bomb_is_refused_unread(tmp_path: Path) -> None:
    """A deflated member is refused by its header: nothing in a bundle is ever inflated."""
    path = tmp_path / "bomb.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("00-README.txt", b"\0" * 10_000_000)
    data = path.read_bytes()
    with pytest.raises(VerificationError, match=r"header of 00-README\.txt"):
        read_archive(io.BytesIO(data))


def test_a_size_beyond_the_file_is_refused() -> None:
    """A member whose header claims exabytes is refused when the file ends."""
    header = archive._local_header("x", 1 << 60, 0)
    with pytest.raises(VerificationError, match="truncated"):
        read_archive(io.BytesIO(header))
