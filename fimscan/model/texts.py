"""What changed in the text of a file whose content is kept."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

from msgspec import Struct


class NotKept(StrEnum):
    """Why the content of a file cannot be shown."""

    SECRET_NAME = "secret-name"  # noqa: S105 - no password; its name is that of a file with secrets
    SECRET_CONTENT = "secret-content"  # noqa: S105 - no password; a private key, a hash or a token is in it
    BINARY = "binary"  # it has NUL bytes
    TOO_LARGE = "too-large"  # larger than [contents] max_file_size
    QUOTA = "quota"  # dropped, because [contents] quota was used up
    NEVER = "not-kept"  # it was not kept when it was read
    DAMAGED = "damaged"  # what is kept does not match its digest


class TextFactKind(StrEnum):
    """What a change of a well-known configuration file means."""

    ACCOUNT_ADDED = "account-added"
    ACCOUNT_REMOVED = "account-removed"
    ACCOUNT_CHANGED = "account-changed"
    NO_PASSWORD = "account-without-password"  # noqa: S105 - no password
    GROUP_ADDED = "group-added"
    GROUP_REMOVED = "group-removed"
    GROUP_CHANGED = "group-changed"
    MEMBER_ADDED = "member-added"
    MEMBER_REMOVED = "member-removed"
    SUDO_ADDED = "sudo-rule-added"
    SUDO_REMOVED = "sudo-rule-removed"
    KEY_ADDED = "key-added"
    KEY_REMOVED = "key-removed"
    KEY_CHANGED = "key-changed"
    JOB_ADDED = "job-added"
    JOB_REMOVED = "job-removed"
    VARIABLE_CHANGED = "job-variable-changed"
    SETTING_CHANGED = "setting-changed"


class TextSign(StrEnum):
    """Why a fact makes a change stand out."""

    SUPERUSER = "superuser"  # an account got uid 0
    NO_PASSWORD = "no-password"  # noqa: S105 - no password; an account needs no password
    ADMIN_GROUP = "admin-group"  # a member of a group that can become root
    SUDO_WITHOUT_PASSWORD = "sudo-without-password"  # noqa: S105 - no password
    ROOT_LOGIN = "root-login"  # sshd lets root in with a password, or anybody without one


class ContentUsage(NamedTuple):
    """How much is kept: contents, their compressed size, how many were dropped for the quota, and when last."""

    contents: int
    packed: int
    dropped: int
    dropped_ns: int


class TextFact(Struct, frozen=True, kw_only=True):
    """One fact about a change of text.

    ``subject`` is the account, group, rule, key or setting. ``attribute`` is what of it, or in which section.
    ``before`` and ``after`` are values, where they are no secrets. ``sign`` is set if the fact is alarming.
    """

    kind: TextFactKind
    subject: bytes
    attribute: bytes = b""
    before: bytes | None = None
    after: bytes | None = None
    sign: TextSign | None = None


class TextChange(Struct, frozen=True, kw_only=True):
    """What changed in a text.

    ``facts`` are told even if no text may be shown; ``omitted`` counts those that are too many. ``lines`` are the hunks
    of a unified diff without line ends, ``None`` if they were not asked for or cannot be shown. ``is_cut`` is set if
    the comparison took too long: the diff is correct, but longer than necessary. ``before`` and ``after`` say why the
    content of that side cannot be shown.
    """

    facts: tuple[TextFact, ...] = ()
    omitted: int = 0
    lines: tuple[bytes, ...] | None = None
    is_cut: bool = False
    before: NotKept | None = None
    after: NotKept | None = None
