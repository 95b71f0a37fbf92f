"""The audit rules that fimscan needs, as text for ``/etc/audit/rules.d``."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Sequence

# auditctl splits a rule at white space and knows no quoting (tried with 3.0.9); it drops such a rule silently.
_USABLE = re.compile(rb"[^\s\x00-\x20\x7f]+")

_HEAD = """\
# Written by "fimscan audit rules". Install: save as /etc/audit/rules.d/50-fimscan.rules, then "augenrules --load".
# A rule that stands before these and matches the same call wins, and "-a never,..." rules take events away.
# Processes that were started before audit was first enabled are not seen: boot with audit=1 on the kernel command line.
# With "-e 2" in force, rules change at the next boot only.
# io_uring: auditctl before 3.1 cannot make the rule for it. fimscan loads that itself, with the same key, when it looks
# at these ([audit] io_uring_rule); "sysctl kernel.io_uring_disabled=2" makes it needless.
# Not seen by any of these rules: stores to a mapped file and writes to a descriptor that was open before (only the open
# is seen), file systems mounted beneath a directory.
# -c: a rule that the kernel refuses (for a directory that is gone, or not mounted yet) does not keep out those after
# it. auditctl still says so, and exits with 1; so does "fimscan audit status".
-c
"""

# What perm=wa leaves out. Tried on Linux 6.18: utimensat and the *xattrat calls, a file handle opened for writing, and
# opens that truncate or create without asking for write access are not seen by it. openat2 has its flags in memory,
# where no rule can look at them: all of its calls are recorded, and their own record says which are of no interest.
# By number are those that auditctl 3.0.9 does not know: openat2 (437) on some hosts, fchmodat2 (452; seen by perm=wa on
# 6.18, but not on every kernel), setxattrat (463), removexattrat (466) and file_setattr (469). A number that the kernel
# does not know does no harm: such a call fails.
_NEW_CALLS = "437,452,463,466,469"
_MORE_X86 = (
    ("b64", f"-S utime,utimes,futimesat,utimensat,{_NEW_CALLS}"),
    ("b64", "-S open -F a1&01100"),
    ("b64", "-S openat -F a2&01100"),
    ("b64", "-S open_by_handle_at -F a2&01003"),
    ("b32", f"-S utime,utimes,futimesat,utimensat,utimensat_time64,{_NEW_CALLS}"),
    ("b32", "-S open -F a1&01100"),
    ("b32", "-S openat -F a2&01100"),
    ("b32", "-S open_by_handle_at -F a2&01003"),
)
# Newer architectures never had the calls without "at"; their 32-bit ABIs differ, and perm=wa covers most of those.
_MORE_ELSEWHERE = (
    ("b64", f"-S utimensat,{_NEW_CALLS}"),
    ("b64", "-S openat -F a2&01100"),
    ("b64", "-S open_by_handle_at -F a2&01003"),
)


def rules_for(
    places: Sequence[tuple[bytes, bool]], key: str, *, machine: str = "x86_64", absent: Collection[bytes] = ()
) -> str:
    """Rules that report every change in ``places``: (absolute path, whether it is a directory) each.

    A path inside a directory among them is covered by that one's rules. A path that auditctl cannot take is named in a
    comment, with what to do. ``machine`` is ``uname -m``: architectures differ in the calls that they have. ``absent``
    are those of the places where nothing is: the kernel follows the name, so that a rule reports the creation.

    Directories come first, then files, then what is absent: what is most likely to be refused comes last.
    """
    lines = [_HEAD, *_mount_rules(key, machine), *_extent_rules(key, machine)]
    more = _MORE_X86 if machine in ("x86_64", "i686") else _MORE_ELSEWHERE
    outermost = _outermost(places)
    for path, is_directory in sorted(outermost, key=lambda place: (place[0] in absent, not place[1])):
        shown = printable(path)
        if not can_be_watched(path):
            lines.append(
                f"# NOT COVERED: {shown}\n"
                "# auditctl takes no path with white space, control characters or bytes that are not UTF-8:"
                " watch a directory above it.\n"
            )
            continue
        where = f"-F {'dir' if is_directory else 'path'}={shown}"
        # Of a single path, the kernel asks the rules before a removal has succeeded: success=1 would hide that.
        tail = f"-F success=1 -F key={key}" if is_directory else f"-F key={key}"
        lines.append(f"# {shown}{', which does not exist: the rules report its creation' * (path in absent)}\n")
        lines += [f"-a always,exit -F arch={arch} {where} -F perm=wa {tail}\n" for arch in ("b64", "b32")]
        lines += [f"-a always,exit -F arch={arch} {calls} {where} {tail}\n" for arch, calls in more]
    return "".join(lines)


_MOUNTS = """\
# What users mount in user namespaces of their own: what is written through an overlay, whose upper layer a watched
# directory can be, leaves no other record.
"""


def _mount_rules(key: str, machine: str) -> list[str]:
    abis = ("b64", "b32") if machine in ("x86_64", "i686") else ("b64",)
    tail = f"-S mount,432 -F uid!=0 -F success=1 -F key={key}\n"
    return [_MOUNTS, *(f"-a always,exit -F arch={abi} {tail}" for abi in abis)]


_EXTENTS = """\
# Users who move blocks from one file into another (ext4, xfs, f2fs): neither ctime nor mtime shows that. No rule for a
# directory sees the call, ioctl; so these are told by its request, on whatever file.
"""

EXTENT_MOVES = {"ext4": 0xC000660F, "xfs": 0xC000586D, "f2fs": 0xC000F509}
"""EXT4_IOC_MOVE_EXT, XFS_IOC_SWAPEXT, F2FS_IOC_MOVE_RANGE without the size of their argument: it differs by ABI."""


def _extent_rules(key: str, machine: str) -> list[str]:
    abis = ("b64", "b32") if machine in ("x86_64", "i686") else ("b64",)
    tail = f"-F uid!=0 -F success=1 -F key={key}\n"
    rules = (
        f"-a always,exit -F arch={abi} -S ioctl -F a1&={move:#x} {tail}"
        for abi in abis
        for move in EXTENT_MOVES.values()
    )
    return [_EXTENTS, *rules]


def printable(path: bytes) -> str:
    """A path for a line of a rules file, whatever its bytes are."""
    shown = os.fsdecode(path).encode("utf-8", "backslashreplace").decode("utf-8")
    return "".join(char if char.isprintable() else f"\\x{ord(char):02x}" for char in shown)


_PROCESSES = """\
# Optional: which program each process of a login ran, so that "fimscan explain" can tell who started whom. One event,
# of about 1 KB, for every program that somebody who logged in starts, root included; what services start is left out.
"""


def process_rules(key: str) -> str:
    """Rules that report the programs started in login sessions; their key says that nothing depends on them."""
    tail = f"-S execve,execveat -F auid!=unset -F success=1 -F key={key}-processes"
    return _PROCESSES + "".join(f"-a always,exit -F arch={arch} {tail}\n" for arch in ("b64", "b32"))


def can_be_watched(path: bytes) -> bool:
    """Whether auditctl can take a rule for this path."""
    try:
        path.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return _USABLE.fullmatch(path) is not None


def _outermost(directories: Sequence[tuple[bytes, bool]]) -> list[tuple[bytes, bool]]:
    """In their order, without those that another usable one contains."""
    roots = [path.rstrip(b"/") + b"/" for path, is_directory in directories if is_directory and can_be_watched(path)]
    kept: dict[bytes, bool] = {}
    for path, is_directory in directories:
        inside = path.rstrip(b"/") + b"/"
        if not any(inside != root and inside.startswith(root) for root in roots):
            kept.setdefault(path.rstrip(b"/") or b"/", is_directory)
    return list(kept.items())
