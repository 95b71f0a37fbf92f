r"""The vocabulary: the frozen values that flow between the stages.

    directories --scan--> FileState ----compare----> Change --------+
                                                                    +--attribute--> Attribution --> report / evidence
    audit log  --audit--> AuditRecord -> AuditEvent -> FileAccess --+
                                                   \-> Gap ---------+

Modules in reading order: files, changes, audit (records, accesses, processes), holders and witness (who else could
write, who did), answers, scans, acceptance, checks, packages. Conventions that hold everywhere:

* Everything that the kernel treats as bytes is ``bytes``: paths, names, command lines. Linux names need not be UTF-8.
* Times are integers: nanoseconds since the Unix epoch. Their names end in ``_ns``.
* ``None`` means *unknown* or *unset*. An unset audit user id is ``None``, never 0.
* Values that exist in millions (an audit record and all that is read from it) are named tuples. The others are
  dataclasses: frozen, slotted, keyword-only. Creating a frozen dataclass takes up to eight times as long.
* This room imports no other module of fimscan.
"""

from fimscan.model.acceptance import AcceptanceRecord, Approval
from fimscan.model.answers import Attribution, Coverage, Reason, Reasoning, Ruling, Verdict, Why
from fimscan.model.audit import (
    COMPLETE,
    INCOMPLETE,
    Action,
    Actor,
    AuditEvent,
    AuditNotice,
    AuditObservation,
    AuditRecord,
    AuditRule,
    Crash,
    DamagedLine,
    EventId,
    ExeOrigin,
    FileAccess,
    Gap,
    GapReason,
    Login,
    LoginOrigin,
    LoginSource,
    Name,
    NoticeKind,
    ProcessView,
    Role,
)
from fimscan.model.changes import Breach, Change, ChangeKind, Window
from fimscan.model.checks import Check, CheckSeverity, worst
from fimscan.model.files import (
    KIND_OF_TYPE,
    Digest,
    FileKind,
    FileState,
    Prefix,
    Unreadable,
    UnreadableReason,
    Xattr,
    device_text,
)
from fimscan.model.holders import Doubt, Holder, Holders, Rights, Unseen
from fimscan.model.packages import (
    PACKAGE_MANAGERS,
    SCRIPTED_PACKAGE_MANAGERS,
    PackageAnswer,
    PackageClass,
    PackageFact,
    PackageOwner,
    PackageProof,
    PackageReason,
    PackageReport,
)
from fimscan.model.scans import (
    LIVE,
    Continuity,
    Diff,
    Effect,
    Explanation,
    Finding,
    Lineage,
    Program,
    Reconfiguration,
    Scan,
    ScanStatus,
    SettingChange,
    Severity,
    Standing,
    Status,
    StoredPath,
    UnmodifiedOpen,
)
from fimscan.model.witness import WitnessData, WitnessEvent, WitnessExtent, WitnessHole, WitnessMask

__all__ = [
    "COMPLETE",
    "INCOMPLETE",
    "KIND_OF_TYPE",
    "LIVE",
    "PACKAGE_MANAGERS",
    "SCRIPTED_PACKAGE_MANAGERS",
    "AcceptanceRecord",
    "Action",
    "Actor",
    "Approval",
    "Attribution",
    "AuditEvent",
    "AuditNotice",
    "AuditObservation",
    "AuditRecord",
    "AuditRule",
    "Breach",
    "Change",
    "ChangeKind",
    "Check",
    "CheckSeverity",
    "Continuity",
    "Coverage",
    "Crash",
    "DamagedLine",
    "Diff",
    "Digest",
    "Doubt",
    "Effect",
    "EventId",
    "ExeOrigin",
    "Explanation",
    "FileAccess",
    "FileKind",
    "FileState",
    "Finding",
    "Gap",
    "GapReason",
    "Holder",
    "Holders",
    "Lineage",
    "Login",
    "LoginOrigin",
    "LoginSource",
    "Name",
    "NoticeKind",
    "PackageAnswer",
    "PackageClass",
    "PackageFact",
    "PackageOwner",
    "PackageProof",
    "PackageReason",
    "PackageReport",
    "Prefix",
    "ProcessView",
    "Program",
    "Reason",
    "Reasoning",
    "Reconfiguration",
    "Rights",
    "Role",
    "Ruling",
    "Scan",
    "ScanStatus",
    "SettingChange",
    "Severity",
    "Standing",
    "Status",
    "StoredPath",
    "UnmodifiedOpen",
    "Unreadable",
    "UnreadableReason",
    "Unseen",
    "Verdict",
    "Why",
    "Window",
    "WitnessData",
    "WitnessEvent",
    "WitnessExtent",
    "WitnessHole",
    "WitnessMask",
    "Xattr",
    "device_text",
    "worst",
]
