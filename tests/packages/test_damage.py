"""A database of dpkg with random damage: nothing is raised, and a trojan is never as shipped."""

from __future__ import annotations

import hashlib
import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from fimscan.model import PackageClass
from tests.packages.debian import ADMIN, Debian

GOOD, TROJAN = "the program\n", "the trojan!\n"
MD5 = hashlib.md5(GOOD.encode()).hexdigest()
DATABASE = {
    "status": (
        "Package: aaa\nStatus: install ok installed\nArchitecture: all\nVersion: 1\n\n"
        "Package: tool\nStatus: install ok installed\nMulti-Arch: same\nArchitecture: amd64\nVersion: 1:2-3\n"
        f"Conffiles:\n /etc/tool.conf {MD5}\n /etc/old.conf {MD5} obsolete\nDescription: x\n y\n"
    ),
    "updates/0001": "Package: aaa\nStatus: install ok installed\nArchitecture: all\nVersion: 2\n",
    "info/aaa.list": "/.\n/usr\n/usr/bin\n/usr/bin/tool\n",
    "info/tool:amd64.list": "/.\n/bin\n/bin/good\n/bin/trojan\n/etc\n/etc/tool.conf\n/etc/old.conf\n/usr/bin/tool\n",
    "info/tool:amd64.md5sums": f"{MD5}  bin/good\n{MD5}  bin/trojan\n{MD5}  usr/bin/tool\n",
    "diversions": "/usr/bin/tool\n/usr/bin/tool.real\naaa\n",
    "statoverride": "root root 755 /bin/good\n",
    "alternatives/ed": "auto\n/usr/bin/ed\ned.1\n/usr/share/man/ed.1\n\n/usr/bin/tool\n5\n\n",
    "triggers/File": "/usr/bin aaa/noawait\n",
}
FILES = {"/usr/bin/good": GOOD, "/usr/bin/trojan": TROJAN, "/usr/bin/tool.real": GOOD, "/etc/tool.conf": TROJAN}
EXPECTED = {
    "/usr/bin/good": PackageClass.AS_SHIPPED,
    "/usr/bin/trojan": PackageClass.NOT_AS_SHIPPED,
    "/usr/bin/tool.real": PackageClass.AS_SHIPPED,
    "/etc/tool.conf": PackageClass.NOT_AS_SHIPPED,
}


def system(directory: Path, database: dict[str, bytes]) -> Debian:
    """A system with this database."""
    made = Debian.make(directory)
    made.path("/etc").mkdir()
    for path, content in FILES.items():
        made.path(path).write_text(content)
    for name, text in database.items():
        (made.root / ADMIN / name).write_bytes(text)
    return made


def checked(database: dict[str, bytes]) -> dict[str, PackageClass]:
    with tempfile.TemporaryDirectory() as directory:
        answers = system(Path(directory), database).check(*FILES)
    return dict(zip(FILES, (answer.kind for answer in answers), strict=True))


WHOLE = {name: text.encode() for name, text in DATABASE.items()}


def test_without_damage() -> None:
    """The test below tries something."""
    assert checked(WHOLE) == EXPECTED


@settings(max_examples=150)
@given(
    name=st.sampled_from(sorted(DATABASE)),
    at=st.floats(0, 1),
    length=st.integers(0, 30),
    junk=st.one_of(
        st.binary(max_size=8), st.sampled_from([b"\n", b"\n\n", b"/", b"\n/", b" obsolete", b"/usr/bin/trojan\n"])
    ),
)
def test_a_trojan_is_never_as_shipped(name: str, at: float, length: int, junk: bytes) -> None:
    """Whatever piece of whatever file is replaced."""
    text = WHOLE[name]
    start = int(at * len(text))
    found = checked({**WHOLE, name: text[:start] + junk + text[start + length :]})
    for path, content in FILES.items():
        if content == TROJAN:
            assert found[path] is not PackageClass.AS_SHIPPED
