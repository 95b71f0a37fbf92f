"""The audit rules that fimscan needs, as text for ``/etc/audit/rules.d``."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence

# auditctl splits a rule at white space and knows no quoting (tried with 3.0.9); it drops such a rule silently.
_USABLE = re.compile(rb"[^\s\x00-\x20\x7f]+")

_HEAD = """\
# Written by "fimscan audit rules". Install: save as /etc/audit/rules.d/50-fimscan.rules, then "augenrules --load".
# A rule that stands before these and matches the same call wins, and "-a never,..." rules take events away.
# Processes that were started before audit was first enabled are not seen: boot with audit=1 on the kernel command line.
# With "-e 2" in force, rules change at the next boot only.
# Not seen by any of these rules: what io_uring does (needs "-a always,io_uring", auditctl 3.1), stores to a mapped file
# and writes to a descriptor that was open before (only the open is seen), file systems mounted beneath a directory.
"""

# What perm=wa leaves out. Tried on Linux 6.18: utimensat and the *xattrat calls, a file handle opened for writing, and
# opens that truncate or create without asking for write access are not seen by it. Numbers: auditctl 3.0.9 has no names
# for setxattrat (463) and removexattrat (466); fchmodat2 (452) is seen by perm=wa on 6.18, but not on every kernel.
_MORE_X86 = (
    ("b64", "-S utime,utimes,futimesat,utimensat,452,463,466"),
    ("b64", "-S open -F a1&01100"),
    ("b64", "-S openat -F a2&01100"),
    ("b64", "-S open_by_handle_at -F a2&03"),
    ("b32", "-S utime,utimes,futimesat,utimensat,utimensat_time64,452,463,466"),
    ("b32", "-S open -F a1&01100"),
    ("b32", "-S openat -F a2&01100"),
    ("b32", "-S open_by_handle_at -F a2&03"),
)
# Newer architectures never had the calls without "at"; their 32-bit ABIs differ, and perm=wa covers most of those.
_MORE_ELSEWHERE = (
    ("b64", "-S utimensat,452,463,466"),
    ("b64", "-S openat -F a2&01100"),
    ("b64", "-S open_by_handle_at -F a2&03"),
)


def rules_for(directories: Sequence[tuple[bytes, bool]], key: str, *, machine: str = "x86_64") -> str:
    """Rules that report every change in ``directories``: (absolute path, whether it is a directory) each.

    A directory inside of another one is covered by that one's rules. A path that auditctl cannot take is named in a
    comment, with what to do. ``machine`` is ``uname -m``: architectures differ in the calls that they have.
    """
    lines = [_HEAD]
    more = _MORE_X86 if machine in ("x86_64", "i686") else _MORE_ELSEWHERE
    for path, is_directory in _outermost(directories):
        shown = os.fsdecode(path).encode("utf-8", "backslashreplace").decode("utf-8")
        if not can_be_watched(path):
            printable = "".join(char if char.isprintable() else f"\\x{ord(char):02x}" for char in shown)
            lines.append(
                f"# NOT COVERED: {printable}\n"
                "# auditctl takes no path with white space, control characters or bytes that are not UTF-8:"
                " watch a directory above it.\n"
            )
            continue
        where = f"-F {'dir' if is_directory else 'path'}={shown}"
        tail = f"-F success=1 -F key={key}"
        lines.append(f"# {shown}\n")
        lines += [f"-a always,exit -F arch={arch} {where} -F perm=wa {tail}\n" for arch in ("b64", "b32")]
        lines += [f"-a always,exit -F arch={arch} {calls} {where} {tail}\n" for arch, calls in more]
    return "".join(lines)


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
