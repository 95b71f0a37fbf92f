"""Packages in terms of the other rooms."""

from __future__ import annotations

import pytest

from fimscan.grouping.facts import Provenance
from fimscan.model import PackageAnswer, PackageClass, PackageFact, PackageOwner
from fimscan.pipeline.packages import manifest_directory, provenance_of


@pytest.mark.parametrize("kind", PackageClass)
def test_the_ranking_gets_every_class(kind: PackageClass) -> None:
    """With the package, where there is one."""
    assert provenance_of(PackageAnswer(path=b"/x", kind=kind)) == Provenance(shipped=kind)


def test_the_ranking_gets_the_facts() -> None:
    """A mode is proved only if capabilities and ACLs leave nothing open."""
    owner = PackageOwner(manager="dpkg", name="tool", conffile=True)
    answer = PackageAnswer(path=b"/x", kind=PackageClass.AS_SHIPPED, owners=(owner,), attributes_proved=True)
    assert provenance_of(answer) == Provenance(
        shipped=PackageClass.AS_SHIPPED, package="tool", is_conffile=True, is_mode_proved=True
    )
    loud = (PackageFact.MODE_UNPROVED, PackageFact.PROOFS_DISAGREE, PackageFact.MAINTAINER_SCRIPT)
    found = provenance_of(PackageAnswer(path=b"/x", kind=PackageClass.UNKNOWN, attributes_proved=True, facts=loud))
    assert (found.is_mode_proved, found.proofs_disagree, found.is_by_script) == (False, True, True)
    assert not (found.manager_wrote_other or found.not_being_installed)
    others = (PackageFact.MANAGER_WROTE_OTHER, PackageFact.NOT_BEING_INSTALLED)
    found = provenance_of(PackageAnswer(path=b"/x", kind=PackageClass.NOT_AS_SHIPPED, facts=others))
    assert found.manager_wrote_other and found.not_being_installed


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("sqlite:////srv/f/fim.db", b"/srv/f/packages"),
        ("sqlite:////srv/f/fim.db?timeout=5", b"/srv/f/packages"),
        ("postgresql://host/fim", b"/var/lib/fimscan/packages"),
        (None, b"/var/lib/fimscan/packages"),
    ],
)
def test_manifests_are_beside_the_database(url: str | None, expected: bytes) -> None:
    """Where that is no file, in the default directory."""
    assert manifest_directory(url) == expected
