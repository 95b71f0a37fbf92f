"""Text and JSON about files and their packages."""

from __future__ import annotations

import pytest

from fimscan.model import Finding, PackageAnswer, PackageClass, PackageFact, PackageOwner, PackageProof, PackageReason
from fimscan.report.documents.packages import packages_document
from fimscan.report.packages import package_line
from fimscan.report.words import by_rank
from tests.report.conftest import Make
from tests.schemas import validate

OWNER = PackageOwner(manager="dpkg", name="a\x1b", version="1\udcff", unpacked_ns=1, listed_as=b"/bin/\xff")


@pytest.mark.parametrize("kind", PackageClass)
@pytest.mark.parametrize("proof", [None, *PackageProof])
@pytest.mark.parametrize("reason", [None, *PackageReason])
def test_every_word_has_a_text_and_a_place_in_the_schema(
    kind: PackageClass, proof: PackageProof | None, reason: PackageReason | None
) -> None:
    """Whatever names there are: one line without control characters, and valid JSON."""
    answer = PackageAnswer(
        path=b"/x\n\xff",
        kind=kind,
        owners=(OWNER,),
        proof=proof,
        algorithm="sha512" if proof else None,
        reason=reason,
        differs=("missing", "kind", "content", "link_target", "mode", "uid", "gid"),
        facts=tuple(PackageFact),
        directory_owners=("b",),
        scripts=("b.postinst\x1b",),
    )
    assert package_line(answer).isprintable()
    assert validate(packages_document([answer], ["problem\udcff"], ["dpkg"])) == "packages"


def test_a_script_is_called_unproved() -> None:
    """With its name, if it is known."""
    answer = PackageAnswer(path=b"/x", kind=PackageClass.UNOWNED, facts=(PackageFact.MAINTAINER_SCRIPT,))
    assert package_line(answer) == "unowned         /x  written by a maintainer script, so unproved"
    named = PackageAnswer(
        path=b"/x", kind=PackageClass.UNOWNED, facts=(PackageFact.MAINTAINER_SCRIPT,), scripts=("a.postinst",)
    )
    assert package_line(named).endswith("so unproved (a.postinst)")


def test_what_is_not_as_shipped_comes_first_among_rows_of_one_verdict() -> None:
    """In a report of a few rows, too: one byte changed in a library is above what anybody may change."""
    make = Make()

    def row(path: bytes, kind: PackageClass, *, conffile: bool = False) -> Finding:
        owner = PackageOwner(manager="dpkg", name="a", conffile=conffile)
        answer = PackageAnswer(path=path, kind=kind, owners=() if kind is PackageClass.UNOWNED else (owner,))
        return make.finding(make.change(path=path), package=answer)

    rows = (
        row(b"/a", PackageClass.UNOWNED),
        row(b"/b", PackageClass.NOT_AS_SHIPPED, conffile=True),
        row(b"/c", PackageClass.NOT_AS_SHIPPED),
        row(b"/d", PackageClass.AS_SHIPPED),
    )
    assert [found.change.path for found in by_rank(make.diff(*rows))] == [b"/c", b"/a", b"/b", b"/d"]
