"""Packages: which package owns a path, and whether the file is what that package shipped."""

from __future__ import annotations

from enum import StrEnum

from msgspec import Struct

_DIRECTORIES = (b"/usr/bin", b"/usr/sbin", b"/bin", b"/sbin")


def _in_system(*names: bytes) -> frozenset[bytes]:
    return frozenset(b"%b/%b" % (directory, name) for directory in _DIRECTORIES for name in names)


PACKAGE_MANAGERS = _in_system(
    *(b"dpkg", b"rpm", b"dnf5", b"microdnf", b"rpm-ostree", b"pacman", b"apk", b"zypper", b"transactional-update")
) | {b"/usr/libexec/packagekitd", b"/usr/lib/packagekitd"}
"""Programs that write the files of packages themselves. dpkg-deb and rpm2cpio do, too, but nobody installs by them."""

SCRIPTED_PACKAGE_MANAGERS = _in_system(b"dnf", b"dnf-3", b"yum", b"tdnf")
"""Package managers that are scripts: audit sees their interpreter, which anybody may run."""


class PackageClass(StrEnum):
    """Whether a file is what its package shipped."""

    AS_SHIPPED = "as-shipped"  # owned, and equal to what the installed version shipped
    NOT_AS_SHIPPED = "not-as-shipped"  # owned, and it differs, or is missing
    UNOWNED = "unowned"  # no installed package has the path
    UNKNOWN = "unknown"  # it cannot be decided; the reason says why


class PackageProof(StrEnum):
    """What a file was compared with, strongest first."""

    RECORDED = "recorded-sha256"  # taken from the .deb by 'fimscan packages record', before it was unpacked
    DEB = "deb-sha256"  # taken from the .deb in apt's archive directory, later
    RPM = "rpm"  # the digest in rpm's database; the algorithm is the package's choice
    PYTHON = "python-record"  # the digest in the RECORD that pip wrote
    CONFFILE = "conffile-md5"  # MD5 of a configuration file, in dpkg's status
    MD5SUMS = "md5sums"  # MD5, in dpkg's info/PACKAGE.md5sums


class PackageReason(StrEnum):
    """Why the class is ``unknown``."""

    NO_DATABASE = "no-database"  # no database of dpkg or rpm could be read
    DATABASE_DAMAGED = "database-damaged"
    DATABASE_CHANGING = "database-changing"  # the package manager was at work during all attempts to read
    NOT_INSTALLED = "not-installed"  # the owner is half installed, or removed and its configuration is left
    NO_DIGEST = "no-digest"  # the owner's database has nothing to compare this file with
    NO_LINK_TARGET = "no-link-target"  # a symbolic link; the owner's database does not say where it leads
    DIRECTORY = "directory"  # a directory has no content of its own
    OBSOLETE_CONFFILE = "obsolete-conffile"  # the installed version does not ship this configuration file any more
    PROOFS_DISAGREE = "proofs-disagree"  # two proofs of the same package have different digests
    CHANGED_SINCE = "changed-since"  # the digest was not recorded, and the file is another one now
    UNREADABLE = "unreadable"  # the digest was not recorded, and the file cannot be read
    NOT_READ = "not-read"  # the digest was not recorded, and the file was not read, to save time
    PACKAGE_CHANGED_SINCE = "package-changed-since"  # the package was unpacked after the file was read
    UNTRUSTED_DATABASE = "untrusted-database"  # others than root can write to the list that names the file
    OTHER_MANAGER = "other-manager"  # below a directory of snap or flatpak, which are not asked


class PackageFact(StrEnum):
    """What else is known: facts for a ranking. The first five deserve attention."""

    MANAGER_WROTE_OTHER = "manager-wrote-other"  # the package manager wrote the file, but not as shipped
    NOT_WRITTEN_BY_MANAGER = "not-written-by-manager"  # as shipped, but something else wrote it
    NOT_BEING_INSTALLED = "not-being-installed"  # no owner was being installed or configured in the window
    PROOFS_DISAGREE = "proofs-disagree"  # two proofs of one package differ: one may have been tampered with
    MODE_UNPROVED = "mode-unproved"  # rights that the proof does not cover: setuid, capabilities, writable by others
    MAINTAINER_SCRIPT = "maintainer-script"  # written by a package's script, so the content is unproved
    TRIGGER = "trigger"  # made by the program of a trigger, while dpkg's log says that the trigger ran: unproved
    BEING_INSTALLED = "being-installed"  # an owner was being installed or configured in the window
    ALTERNATIVE = "alternative"  # a link of update-alternatives
    DIVERTED = "diverted"  # dpkg-divert moved a package's file away from, or to, this path
    OVERRIDDEN = "overridden"  # dpkg-statoverride sets its mode and owner

    @property
    def is_loud(self) -> bool:
        """Whether it deserves attention."""
        return self in _LOUD


_LOUD = frozenset(list(PackageFact)[:5])


class PackageOwner(Struct, frozen=True, kw_only=True):
    """A package that has a path in its list of files.

    ``manager`` is ``dpkg``, ``rpm``, ``python``, ``snap`` or ``flatpak``. ``conffile`` says that the file is a
    configuration file, which administrators are expected to edit. ``unpacked_ns`` is when the package was last
    unpacked. ``listed_as`` is the path in the package's list if it differs: through a symbolic link (``/bin``), or
    because the file is diverted. ``None`` is unknown.
    """

    manager: str
    name: str
    version: str | None = None
    architecture: str | None = None
    conffile: bool = False
    unpacked_ns: int | None = None
    listed_as: bytes | None = None


class PackageAnswer(Struct, frozen=True, kw_only=True):
    """Whether one file is what its package shipped, and how that is known.

    ``owners`` has the owner that decided first. ``differs`` names what is not as shipped: ``missing``, ``kind``,
    ``content``, ``link_target``, ``mode``, ``uid``, ``gid``. ``attributes_proved`` says that the proof has mode and
    owner, too; dpkg's database has the content's MD5 only. ``reason`` is set if the class is ``unknown``.
    ``directory_owners`` are names of packages that own the directory of an unowned file. ``scripts`` are the maintainer
    scripts that wrote it (``man-db.postinst``).
    """

    path: bytes
    kind: PackageClass
    owners: tuple[PackageOwner, ...] = ()
    proof: PackageProof | None = None
    algorithm: str | None = None
    reason: PackageReason | None = None
    differs: tuple[str, ...] = ()
    attributes_proved: bool = False
    facts: tuple[PackageFact, ...] = ()
    directory_owners: tuple[str, ...] = ()
    scripts: tuple[str, ...] = ()

    @property
    def owner(self) -> PackageOwner | None:
        """The owner that decided; ``None`` if there is none."""
        return self.owners[0] if self.owners else None

    @property
    def loud(self) -> tuple[PackageFact, ...]:
        """The facts that deserve attention."""
        return tuple(fact for fact in self.facts if fact.is_loud)


class PackageReport(Struct, frozen=True, kw_only=True):
    """The answers, in the order of the questions.

    ``problems`` are sentences about databases that could not be read or trusted, for the user. ``databases`` are the
    databases that were read: ``dpkg``, ``rpm``.
    """

    answers: tuple[PackageAnswer, ...]
    problems: tuple[str, ...] = ()
    databases: tuple[str, ...] = ()
