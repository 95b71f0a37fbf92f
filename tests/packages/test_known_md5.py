"""The MD5 of recorded contents is taken once and kept; old manifests are removed."""

from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from fimscan.model import Digest
from fimscan.packages import ManifestStore, PackageQuestion, prune_manifests
from fimscan.packages import known_md5 as module
from fimscan.packages.known_md5 import KnownMd5
from tests.packages.debian import Debian, told

TOOL = "/usr/bin/tool"


def digests(content: bytes) -> tuple[bytes, bytes]:
    return hashlib.sha256(content).digest(), hashlib.md5(content).digest()


@pytest.fixture
def directory(tmp_path: Path) -> bytes:
    return os.fsencode(tmp_path / "packages")


def kept(directory: bytes, *contents: bytes) -> None:
    known = KnownMd5(directory)
    for content in contents:
        known.learn(*digests(content))
    known.save()


def is_known(directory: bytes, content: bytes) -> bool:
    sha256, md5 = digests(content)
    return KnownMd5(directory).of(sha256) == md5


def test_what_was_kept_is_known_later(directory: bytes) -> None:
    """Also after further ones were added; the file is root's own."""
    kept(directory, b"one", b"two")
    kept(directory, b"three")
    assert all(is_known(directory, content) for content in (b"one", b"two", b"three"))
    assert KnownMd5(directory).of(digests(b"four")[0]) is None
    assert os.stat(os.path.join(directory, b"known-md5")).st_mode & 0o777 == 0o600


def test_damage_costs_one_record(directory: bytes) -> None:
    """A torn record is cut off before the next is added; a damaged one is not used."""
    kept(directory, b"one", b"two", b"three")
    file = Path(os.fsdecode(directory)) / "known-md5"
    data = bytearray(file.read_bytes())
    data[len(module._MAGIC) + module._RECORD + 3] ^= 1
    file.write_bytes(data[:-5])
    assert [is_known(directory, content) for content in (b"one", b"two", b"three")] == [True, False, False]
    kept(directory, b"four")
    assert is_known(directory, b"one") and is_known(directory, b"four")
    file.write_bytes(b"something else")
    assert not is_known(directory, b"one")
    kept(directory, b"five")
    assert is_known(directory, b"five")


def test_nothing_is_taken_from_a_file_that_others_can_write(directory: bytes) -> None:
    """They could make any content look like a package's."""
    kept(directory, b"one")
    file = Path(os.fsdecode(directory)) / "known-md5"
    file.chmod(0o666)
    assert not is_known(directory, b"one")
    kept(directory, b"two")
    file.chmod(0o600)
    assert not is_known(directory, b"two")


def test_the_file_does_not_grow_without_end(directory: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """The newer half is kept."""
    monkeypatch.setattr(module, "_MOST", 10)
    for number in range(11):
        kept(directory, b"%d" % number)
    found = [number for number in range(11) if is_known(directory, b"%d" % number)]
    assert found == [5, 6, 7, 8, 9, 10]


# --------------------------------------------------------------------------------------------------------------------
# With packages


@pytest.fixture
def system(tmp_path: Path) -> Debian:
    made = Debian.make(tmp_path)
    made.install(made.build("tool", "1.0", {TOOL: "program\n"}))
    return made


def recorded(system: Debian) -> PackageQuestion:
    """The question of a scan, which recorded SHA-256."""
    (question,) = system.questions(TOOL)
    assert question.state is not None
    sha256 = hashlib.sha256(system.path(TOOL).read_bytes()).digest()
    return replace(question, state=replace(question.state, digests=(Digest(algorithm="sha256", value=sha256),)))


def test_a_file_is_read_once(system: Debian) -> None:
    """Then its answer needs no file any more, and takes nothing of the budget."""
    question = recorded(system)
    ask: dict[str, Any] = {"questions": [question], "read_budget": 0}
    assert told(system.report(**ask).answers[0]) == "unknown not-read"
    assert told(system.report(questions=[question], keep_digests=True).answers[0]) == "as-shipped md5sums"
    assert told(system.report(**ask).answers[0]) == "as-shipped md5sums"
    system.path(TOOL).unlink()
    assert told(system.report(**ask).answers[0]) == "as-shipped md5sums", "it is about the recorded content"


def test_a_report_that_only_reads_keeps_nothing(system: Debian) -> None:
    """Who may only read the database may not write beside it either."""
    system.report(questions=[recorded(system)])
    assert not system.manifests.exists()


def test_a_content_that_is_not_the_recorded_one_proves_nothing(system: Debian) -> None:
    """Both digests are taken in one read."""
    question = recorded(system)
    assert question.state is not None
    another = replace(question.state, digests=(Digest(algorithm="sha256", value=bytes(32)),))
    report = system.report(questions=[replace(question, state=another)], keep_digests=True)
    assert told(report.answers[0]) == "unknown changed-since"


# --------------------------------------------------------------------------------------------------------------------
# Manifests


def test_manifests_of_packages_that_are_gone_are_removed_after_a_month(system: Debian) -> None:
    """Those of installed ones stay however old they are, and so do new ones: their package comes next."""
    debs = [system.build("tool", version, {TOOL: version}) for version in ("2.0", "3.0")]
    system.fimscan_record(*debs)
    system.install(debs[0])
    store = ManifestStore(os.fsencode(system.manifests))
    month = 31 * 86400
    root = os.fsencode(system.root)
    assert prune_manifests(store, time.time_ns(), root) == 0
    assert prune_manifests(store, time.time_ns() + month * 10**9, root) == 1
    assert [name.name.split("_")[1] for name in system.manifests.iterdir()] == ["2.0"]
    (system.admin / "status").write_bytes(b"\0damaged")
    assert prune_manifests(store, time.time_ns() + month * 10**9, root) == 0
