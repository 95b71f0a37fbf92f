"""Text and JSON about files and their packages."""

from __future__ import annotations

import pytest

from fimscan.model import PackageAnswer, PackageClass, PackageFact, PackageOwner, PackageProof, PackageReason
from fimscan.report.documents.packages import packages_document
from fimscan.report.packages import package_line
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
