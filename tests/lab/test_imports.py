"""After an import, the real audit log never proves who made a change that was made before it."""

from __future__ import annotations

import hashlib
import json
import subprocess
from collections.abc import Iterator

import pytest

from tests.lab.ground import Installation, installed

pytestmark = pytest.mark.audit


@pytest.fixture
def fresh(audit_log: str) -> Iterator[Installation]:
    """An installation for one test, with its rules loaded."""
    with installed(audit_log) as (made, _):
        yield made


def import_md5_of(installation: Installation, content: bytes) -> None:
    """Import a list that says that ``file`` had this content, at a time that nobody knows."""
    listed = hashlib.md5(content, usedforsecurity=False).hexdigest()
    (installation.root / "list").write_text(f"{listed}  {installation.watched}/file\n")
    installation.run("import", str(installation.root / "list"))


@pytest.mark.parametrize(
    "deed", ["true", ": >> file", "printf new > file"], ids=["nothing", "opened", "written-with-the-same"]
)
def test_who_opens_a_file_later_is_not_proved_to_have_changed_it(fresh: Installation, deed: str) -> None:
    """The content was another one when the list was made. Somebody opens the file after the import."""
    (fresh.watched / "file").write_text("new")
    import_md5_of(fresh, b"old")
    subprocess.run(["sh", "-c", deed], cwd=fresh.watched, check=True, timeout=20)
    fresh.run("scan", codes=(4,))
    (row,) = json.loads(fresh.run("diff", "--format", "json", codes=(4,)).stdout)["changes"]
    assert "content" in row["changed"]
    assert row["attribution"]["verdict"] != "confirmed" and not row["attribution"]["coverage"]["complete"]


def test_a_change_after_the_import_is_proved(fresh: Installation) -> None:
    """What agrees with the list is known as of the import, and ordinary work is confirmed from the next scan on."""
    (fresh.watched / "file").write_text("old")
    import_md5_of(fresh, b"old")
    fresh.run("scan")
    process = subprocess.Popen(["sh", "-c", f"echo more >> {fresh.watched}/file"])
    assert process.wait(timeout=20) == 0
    fresh.run("scan", codes=(4,))
    (row,) = json.loads(fresh.run("diff", "--format", "json", codes=(4,)).stdout)["changes"]
    assert row["attribution"]["verdict"] == "confirmed"
    assert [actor["pid"] for actor in row["attribution"]["actors"]] == [process.pid]
