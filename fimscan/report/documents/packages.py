"""The document of ``fimscan packages check``, and the object ``package`` of one file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from fimscan.model import PackageAnswer, PackageClass, PackageOwner
from fimscan.report.display import json_text
from fimscan.report.documents.parts import optional_text, optional_time, text_fields


def packages_document(
    answers: Sequence[PackageAnswer], problems: Iterable[str], databases: Iterable[str]
) -> dict[str, Any]:
    """The ``fimscan.packages/1`` document."""
    counts = Counter(answer.kind for answer in answers)
    return {
        "schema": "fimscan.packages/1",
        "databases": [*databases],
        "summary": {kind.value.replace("-", "_"): counts[kind] for kind in PackageClass},
        "problems": [json_text(problem) for problem in problems],
        "files": [{**text_fields("path", one.path), "package": package_document(one)} for one in answers],
    }


def package_document(answer: PackageAnswer) -> dict[str, Any]:
    """The object ``package``: whether a file is what its package shipped."""
    owner = answer.owner
    return {
        "name": optional_text(owner.name) if owner else None,
        "version": optional_text(owner.version) if owner else None,
        "class": answer.kind.value,
        "proof": answer.proof.value if answer.proof else None,
        "algorithm": answer.algorithm,
        "reason": answer.reason.value if answer.reason else None,
        "differs": [*answer.differs],
        "attributes_proved": answer.attributes_proved,
        "facts": [fact.value for fact in answer.facts],
        "loud": [fact.value for fact in answer.loud],
        "scripts": [json_text(script) for script in answer.scripts],
        "owners": [_owner(one) for one in answer.owners],
        "directory_owners": [json_text(name) for name in answer.directory_owners],
    }


def _owner(owner: PackageOwner) -> dict[str, Any]:
    return {
        "manager": owner.manager,
        "name": json_text(owner.name),
        "version": optional_text(owner.version),
        "architecture": optional_text(owner.architecture),
        "conffile": owner.conffile,
        "unpacked": optional_time(owner.unpacked_ns),
        **text_fields("listed_as", owner.listed_as),
    }
