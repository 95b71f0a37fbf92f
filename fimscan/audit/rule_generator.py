"""Generate the audit rules that fimscan needs, as text for ``/etc/audit/rules.d``."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Sequence

# auditctl splits a rule at white space, knows no quoting (tried with 3.0.9), and drops a rule with such a path
# silently.
_USABLE = re.compile(rb"[^\s\x00-\x20\x7f]+")

_HEAD = """\
# "fimscan audit rules --install" saves this as /etc/audit/rules.d/50-fimscan.rules, and loads it.
# The first rule that matches a call wins: an earlier "-a always" rule gives the event its own key, and an earlier
# "-a never" rule suppresses the event.
# audit does not see processes that were started before it was first enabled: add audit=1 to the kernel command line.
# With "-e 2" in force, rules can change only at the next boot.
# io_uring: auditctl before 3.1 cannot load a rule for it. fimscan loads that rule itself, with the same key, when it
# checks these rules ([audit] io_uring_rule). "sysctl kernel.io_uring_disabled=2" makes the rule unnecessary.
# No rule here reports: writes through a mapped file or through a descriptor that was opened earlier (only the open is
# reported), and file systems that are mounted below a watched directory.
# -c: continue after a rule that the kernel rejects (its directory is missing, or not mounted yet). auditctl still
# reports the rule and exits with 1; "fimscan audit status" reports it, too.
-c
"""

# Calls that perm=wa does not report (tried on Linux 6.18): utimensat and the *xattrat calls, a file handle opened for
# writing, and opens that truncate or create without write access. openat2 has its flags in memory, where no rule can
# test them: all of its calls are recorded, and its OPENAT2 record shows which ones matter. Calls that auditctl 3.0.9
# does not know are given by number: openat2 (437) on some hosts, fchmodat2 (452; perm=wa reports it on 6.18, but not on
# every kernel), setxattrat (463), removexattrat (466) and file_setattr (469). A number that the kernel does not know is
# harmless: such a call fails.
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
# Newer architectures never had the calls without "at". Their 32-bit ABIs differ, and perm=wa covers most of those
# calls.
_MORE_ELSEWHERE = (
    ("b64", f"-S utimensat,{_NEW_CALLS}"),
    ("b64", "-S openat -F a2&01100"),
    ("b64", "-S open_by_handle_at -F a2&01003"),
)


def rules_for(
    places: Sequence[tuple[bytes, bool]], key: str, *, machine: str = "x86_64", absent: Collection[bytes] = ()
) -> str:
    """Rules that report every change in ``places``, each (absolute path, whether it is a directory).

    A path inside one of the directories is covered by the rules of that directory. A path that auditctl does not accept
    gets a comment that says what to do. ``machine`` is ``uname -m``, because architectures differ in their calls.
    ``absent`` are the places that do not exist: the kernel watches the name, so a rule reports the creation.

    Directories come first, then files, then absent places: the rules most likely to be rejected come last.
    """
    lines = [_HEAD, *_mount_rules(key, machine), *_extent_rules(key, machine)]
    more = _MORE_X86 if machine in ("x86_64", "i686") else _MORE_ELSEWHERE
    outermost = _outermost(places)
    for path, is_directory in sorted(outermost, key=lambda place: (place[0] in absent, not place[1])):
        shown = printable(path)
        if not can_be_watched(path):
            lines.append(
                f"# NOT COVERED: {shown}\n"
                "# auditctl accepts no path with white space, control characters or bytes that are not UTF-8:"
                " watch a directory above it.\n"
            )
            continue
        where = f"-F {'dir' if is_directory else 'path'}={shown}"
        # For a single path, the kernel evaluates the rules before a removal has succeeded: success=1 would hide it.
        tail = f"-F success=1 -F key={key}" if is_directory else f"-F key={key}"
        lines.append(f"# {shown}{', which does not exist: these rules report its creation' * (path in absent)}\n")
        lines += [f"-a always,exit -F arch={arch} {where} -F perm=wa {tail}\n" for arch in ("b64", "b32")]
        lines += [f"-a always,exit -F arch={arch} {calls} {where} {tail}\n" for arch, calls in more]
    return "".join(lines)


_MOUNTS = """\
# Mounts by users in their own user namespaces: a watched directory can be the upper layer of an overlay, and writes
# through the overlay leave no other record.
"""


def _mount_rules(key: str, machine: str) -> list[str]:
    abis = ("b64", "b32") if machine in ("x86_64", "i686") else ("b64",)
    tail = f"-S mount,432 -F uid!=0 -F success=1 -F key={key}\n"
    return [_MOUNTS, *(f"-a always,exit -F arch={abi} {tail}" for abi in abis)]


_EXTENTS = """\
# Users who move blocks from one file to another (ext4, xfs, f2fs): neither ctime nor mtime changes. No rule with a
# directory matches the call, ioctl; so these rules match its request code, on any file.
"""

EXTENT_MOVES = {"ext4": 0xC000660F, "xfs": 0xC000586D, "f2fs": 0xC000F509}
"""EXT4_IOC_MOVE_EXT, XFS_IOC_SWAPEXT, F2FS_IOC_MOVE_RANGE without the argument's size, which differs by ABI."""


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
    """A path that can be printed in a rules file, whatever its bytes are."""
    shown = os.fsdecode(path).encode("utf-8", "backslashreplace").decode("utf-8")
    return "".join(char if char.isprintable() else f"\\x{ord(char):02x}" for char in shown)


_PROCESSES = """\
# Optional: programs started in login sessions, so that "fimscan explain" can show which process started which. Each
# program that a login user starts, root included, adds one event of about 1 KB. Programs of services are left out.
"""


def keys_of(key: str) -> tuple[str, str]:
    """The keys of fimscan's rules: the configured one, and that of the optional rules for processes."""
    return key, f"{key}-processes"


def process_rules(key: str) -> str:
    """Rules that report programs started in login sessions; the suffix of their key marks them as optional."""
    tail = f"-S execve,execveat -F auid!=unset -F success=1 -F key={keys_of(key)[1]}"
    return _PROCESSES + "".join(f"-a always,exit -F arch={arch} {tail}\n" for arch in ("b64", "b32"))


def can_be_watched(path: bytes) -> bool:
    """Whether auditctl accepts a rule for this path."""
    try:
        path.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return _USABLE.fullmatch(path) is not None


def _outermost(directories: Sequence[tuple[bytes, bool]]) -> list[tuple[bytes, bool]]:
    """The places in their order, without those inside another directory that can be watched."""
    roots = [path.rstrip(b"/") + b"/" for path, is_directory in directories if is_directory and can_be_watched(path)]
    kept: dict[bytes, bool] = {}
    for path, is_directory in directories:
        inside = path.rstrip(b"/") + b"/"
        if not any(inside != root and inside.startswith(root) for root in roots):
            kept.setdefault(path.rstrip(b"/") or b"/", is_directory)
    return list(kept.items())
