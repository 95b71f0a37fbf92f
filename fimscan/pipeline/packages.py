"""Packages in terms of the other rooms: where their manifests are, and what the ranking has to know of an answer."""

from __future__ import annotations

import os

from fimscan.grouping.facts import Provenance
from fimscan.model import PackageAnswer, PackageClass, PackageFact

_NAME = "packages"
_DEFAULT = "/var/lib/fimscan"
_SQLITE = "sqlite:///"
_PLAIN = {kind: Provenance(shipped=kind) for kind in PackageClass}


def manifest_directory(url: str | None) -> bytes:
    """The directory of manifests that belongs to a database; ``None`` and a server's database have the default one."""
    file = (url or "").removeprefix(_SQLITE).partition("?")[0] if (url or "").startswith(_SQLITE) else ""
    directory = os.path.dirname(os.path.abspath(file)) if file and file != ":memory:" else _DEFAULT
    return os.fsencode(os.path.join(directory, _NAME))


def provenance_of(answer: PackageAnswer) -> Provenance:
    """What the ranking of changes has to know of an answer."""
    owner = answer.owner
    if owner is None and not answer.facts:  # as of nearly all files that no package owns
        return _PLAIN[answer.kind]
    return Provenance(
        shipped=answer.kind,
        package=owner.name if owner is not None else None,
        is_conffile=owner is not None and owner.conffile,
        is_mode_proved=answer.attributes_proved and PackageFact.MODE_UNPROVED not in answer.facts,
        is_by_script=PackageFact.MAINTAINER_SCRIPT in answer.facts,
        proofs_disagree=PackageFact.PROOFS_DISAGREE in answer.facts,
        manager_wrote_other=PackageFact.MANAGER_WROTE_OTHER in answer.facts,
        not_being_installed=PackageFact.NOT_BEING_INSTALLED in answer.facts,
        is_by_trigger=PackageFact.TRIGGER in answer.facts,
    )
