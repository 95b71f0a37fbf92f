"""What a caller may know beside the findings. Every fact may be missing; without any, a change is ranked by itself."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct, field

from fimscan.model import Actor, Diff, Lineage, PackageClass


class Provenance(Struct, frozen=True, kw_only=True):
    """Whether a changed file is what a package shipped.

    ``is_conffile`` is set if administrators are expected to edit the file, ``is_mode_proved`` if the proof covers mode
    and owner, ``is_by_script`` if a maintainer script of a package made the change. ``proofs_disagree`` means that two
    proofs of one package differ: one may have been tampered with. ``manager_wrote_other`` is set if the package manager
    is known to have written content that is not the package's. ``not_being_installed`` is set if none of the owners was
    being installed, configured or removed when the change happened; it is not set if that is unknown. ``is_by_trigger``
    is set if the program of a trigger made the file while, says dpkg's log, dpkg ran it.
    """

    shipped: PackageClass
    package: str | None = None
    is_conffile: bool = False
    is_mode_proved: bool = False
    is_by_script: bool = False
    proofs_disagree: bool = False
    manager_wrote_other: bool = False
    not_being_installed: bool = False
    is_by_trigger: bool = False


class Facts(Struct, frozen=True, kw_only=True):
    """What is known of the rows of one report. Keys are current paths, unless said otherwise.

    ``lineages`` has the ancestors of processes, by :func:`process_key`. ``superusers`` are the accounts with uid 0 that
    a change of the account database added. ``newcomers`` are the paths that were changed by a program which never
    changed anything in their directory before, although others did. ``suspects`` are programs whose own file differs
    from the accepted one.
    """

    lineages: Mapping[object, Lineage] = field(default_factory=dict)
    provenance: Mapping[bytes, Provenance] = field(default_factory=dict)
    superusers: Mapping[bytes, tuple[str, ...]] = field(default_factory=dict)
    newcomers: frozenset[bytes] = frozenset()
    suspects: frozenset[bytes] = frozenset()

    @classmethod
    def of(cls, diff: Diff) -> Facts:
        """What a diff itself has: the suspect programs."""
        return cls(suspects=frozenset(program.path for program in diff.suspect_programs))


def process_key(actor: Actor) -> object:
    """The key of a process in :attr:`Facts.lineages`: when its parent ends, a process gets another one."""
    return actor.process, actor.ppid
