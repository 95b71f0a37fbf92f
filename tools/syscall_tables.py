"""Generate ``fimscan/audit/syscalls.json`` from kernel sources: ``python tools/syscall_tables.py TREE[=SOURCE]...``.

It covers each architecture with a system call table in the first tree, or else in a later one, and writes:

- its ``AUDIT_ARCH_*`` values (include/uapi/linux/audit.h, elf-em.h)
- the numbers of the calls that fimscan parses (``*.tbl``)
- its open flags (``uapi/asm/fcntl.h`` over ``asm-generic/fcntl.h``)

``SOURCE`` describes the origin of a tree. The file in the repository was made from Debian's sources, unpacked::

    apt-get download linux-source-6.12 linux-source-6.1      # 6.1 is the last one there that has ia64
    python tools/syscall_tables.py linux-source-6.12='Debian linux-source-6.12 ...' linux-source-6.1='...'
"""

from __future__ import annotations

import json
import os
import re
import sys
from dataclasses import dataclass

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from fimscan.audit.syscalls import CALLS

# From 424 on, a call has the same number everywhere, plus the architecture's offset. Calls newer than the trees are
# therefore known, too (include/uapi/asm-generic/unistd.h: 452 since 6.6, 463 and 466 since 6.13, 469 since 6.17).
_LATER = {"fchmodat2": 452, "setxattrat": 463, "removexattrat": 466, "file_setattr": 469}
_COMMON_START = ("openat2", 437)


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """The source of an architecture's numbers: file, the ``<abi>`` columns to use, the offset added to each number."""

    path: str
    abis: tuple[str, ...] = ("common",)
    offset: int = 0


def _generic(bits: str, *more: str) -> Table:
    return Table(path="scripts/syscall.tbl", abis=("common", bits, *more))


# The <abi> columns are those in arch/*/kernel/Makefile.syscalls, or arch/*/kernel/syscalls/Makefile. The offsets are
# those in arch/{mips,ia64}/include/uapi/asm/unistd.h (__NR_Linux; "Add 1024 to <number>").
TABLES = {
    "x86_64": Table(path="arch/x86/entry/syscalls/syscall_64.tbl", abis=("common", "64")),
    "i386": Table(path="arch/x86/entry/syscalls/syscall_32.tbl", abis=("i386",)),
    "aarch64": _generic("64", "renameat", "rlimit", "memfd_secret"),
    "arm": Table(path="arch/arm/tools/syscall.tbl", abis=("common", "oabi")),
    "ppc": Table(path="arch/powerpc/kernel/syscalls/syscall.tbl", abis=("common", "nospu", "32")),
    "ppc64": Table(path="arch/powerpc/kernel/syscalls/syscall.tbl", abis=("common", "nospu", "64")),
    "s390": Table(path="arch/s390/kernel/syscalls/syscall.tbl", abis=("common", "32")),
    "s390x": Table(path="arch/s390/kernel/syscalls/syscall.tbl", abis=("common", "64")),
    "ia64": Table(path="arch/ia64/kernel/syscalls/syscall.tbl", offset=1024),
    "riscv32": _generic("32", "memfd_secret"),
    "riscv64": _generic("64", "rlimit", "memfd_secret"),
    "loongarch32": _generic("32"),
    "loongarch64": _generic("64"),
    "mips": Table(path="arch/mips/kernel/syscalls/syscall_o32.tbl", abis=("o32",), offset=4000),
    "mips64": Table(path="arch/mips/kernel/syscalls/syscall_n64.tbl", abis=("n64", "common"), offset=5000),
    "mips64n32": Table(path="arch/mips/kernel/syscalls/syscall_n32.tbl", abis=("n32",), offset=6000),
    "alpha": Table(path="arch/alpha/kernel/syscalls/syscall.tbl"),
    "sparc": Table(path="arch/sparc/kernel/syscalls/syscall.tbl", abis=("common", "32")),
    "sparc64": Table(path="arch/sparc/kernel/syscalls/syscall.tbl", abis=("common", "64")),
    "parisc": Table(path="arch/parisc/kernel/syscalls/syscall.tbl", abis=("common", "32")),
    "parisc64": Table(path="arch/parisc/kernel/syscalls/syscall.tbl", abis=("common", "64")),
    "sh": Table(path="arch/sh/kernel/syscalls/syscall.tbl"),
    "m68k": Table(path="arch/m68k/kernel/syscalls/syscall.tbl"),
    "microblaze": Table(path="arch/microblaze/kernel/syscalls/syscall.tbl"),
    "xtensa": Table(path="arch/xtensa/kernel/syscalls/syscall.tbl"),
    "arc": _generic("32", "time32", "renameat", "rlimit"),
    "csky": _generic("32", "time32", "rlimit"),
    "hexagon": _generic("32", "time32", "renameat", "rlimit"),
    "nios2": _generic("32", "time32", "renameat", "rlimit"),
    "openrisc": _generic("32", "time32", "renameat", "rlimit"),
}
# Names after AUDIT_ARCH_ whose table has another name, or serves several architectures.
TABLE_OF = {
    "ARMEB": "arm",
    "PPC64LE": "ppc64",
    "MIPSEL": "mips",
    "MIPSEL64": "mips64",
    "MIPSEL64N32": "mips64n32",
    "SHEL": "sh",
    "ARCOMPACT": "arc",
    "ARCOMPACTBE": "arc",
    "ARCV2": "arc",
    "ARCV2BE": "arc",
}
# The directory in arch/ with an architecture's fcntl.h; without one, asm-generic's applies.
FLAGS_OF = {
    "aarch64": "arm64",
    "arm": "arm",
    "ppc": "powerpc",
    "ppc64": "powerpc",
    "mips": "mips",
    "mips64": "mips",
    "mips64n32": "mips",
    "alpha": "alpha",
    "sparc": "sparc",
    "sparc64": "sparc",
    "parisc": "parisc",
    "parisc64": "parisc",
    "m68k": "m68k",
}


def _read(path: str) -> str:
    with open(path, encoding="utf-8") as file:
        return file.read()


def numbers(tree: str, table: Table) -> dict[str, int]:
    """Name -> number of the calls that fimscan parses."""
    found: dict[str, int] = {}
    for line in _read(f"{tree}/{table.path}").splitlines():
        words = line.split()
        if len(words) < 4 or not words[0].isdigit() or words[1] not in table.abis or words[3] == "sys_ni_syscall":
            continue
        if words[2] in CALLS:
            found[words[2]] = int(words[0]) + table.offset
    name, number = _COMMON_START
    offset = found[name] - number
    return dict(sorted(({later: number + offset for later, number in _LATER.items()} | found).items()))


_DEFINE = re.compile(r"^#\s*define\s+(O_\w+|__O_\w+|FASYNC)\s+(0[xX][0-9a-fA-F]+|[0-9]+)\b", re.MULTILINE)
_NOT_FLAGS = {"O_ACCMODE", "O_RDONLY", "O_WRONLY", "O_RDWR", "O_NDELAY", "O_BLKSEEK"}


def flags(path: str) -> dict[str, int]:
    """Name -> bit of the open flags that an fcntl.h defines as numbers (octal, as in C, or hexadecimal)."""
    found = {
        name: int(value, 16) if value[:2].lower() == "0x" else int(value, 8)
        for name, value in _DEFINE.findall(_read(path))
    }
    return {name: value for name, value in sorted(found.items()) if name not in _NOT_FLAGS}


def arches(tree: str) -> dict[str, str]:
    """Name after ``AUDIT_ARCH_`` -> its value as in a SYSCALL record (``arch=%x``)."""
    machines = {
        name: int(value, 0)
        for name, value in re.findall(
            r"#define\s+(EM_\w+)\s+(\w+)", _read(f"{tree}/include/uapi/linux/elf-em.h").replace("0X", "0x")
        )
    }
    text = _read(f"{tree}/include/uapi/linux/audit.h").replace("\\\n", " ")
    constants = machines | {
        name: int(value, 16) for name, value in re.findall(r"#define\s+(__AUDIT_ARCH_\w+)\s+(0x[0-9a-fA-F]+)", text)
    }
    found = {}
    for name, parts in re.findall(r"#define\s+AUDIT_ARCH_(\w+)\s+\(([^)]*)\)", text):
        value = 0
        for part in parts.split("|"):
            value |= constants[part.strip()]
        found[name] = f"{value:x}"
    return found


def document(trees: list[tuple[str, str]]) -> dict[str, object]:
    """The content of syscalls.json."""
    calls: dict[str, dict[str, int]] = {}
    for name, table in TABLES.items():
        tree = next(tree for tree, _ in trees if os.path.exists(f"{tree}/{table.path}"))
        calls[name] = numbers(tree, table)
    first = trees[0][0]
    generic = flags(f"{first}/include/uapi/asm-generic/fcntl.h")
    bits = {"generic": generic}
    for directory in sorted(set(FLAGS_OF.values())):
        bits[directory] = dict(sorted((generic | flags(f"{first}/arch/{directory}/include/uapi/asm/fcntl.h")).items()))
    known = {}
    for name, value in {**arches(trees[-1][0]), **arches(first)}.items():
        table_name = TABLE_OF.get(name, name.lower())
        if table_name in TABLES:
            own = {"name": name.lower(), "calls": table_name, "flags": FLAGS_OF.get(table_name, "generic")}
            known[value] = own
    return {
        "made_by": "tools/syscall_tables.py",
        "sources": [f"{_version(tree)}: {source}" if source else _version(tree) for tree, source in trees],
        "arches": dict(sorted(known.items())),
        "flags": bits,
        "calls": calls,
    }


def _version(tree: str) -> str:
    parts = dict(re.findall(r"^(VERSION|PATCHLEVEL|SUBLEVEL) = (\d+)$", _read(f"{tree}/Makefile"), re.MULTILINE))
    return "Linux " + ".".join(parts[name] for name in ("VERSION", "PATCHLEVEL", "SUBLEVEL"))


def as_text(content: dict[str, object]) -> str:
    """Format as JSON with one line per table, so that diffs are readable."""
    pieces = []
    for key, value in content.items():
        if isinstance(value, dict):
            rows = ",\n  ".join(f"{json.dumps(name)}: {json.dumps(row)}" for name, row in value.items())
            pieces.append(f" {json.dumps(key)}: {{\n  {rows}\n }}")
        else:
            pieces.append(f" {json.dumps(key)}: {json.dumps(value)}")
    return "{\n" + ",\n".join(pieces) + "\n}\n"


def main() -> None:
    """Print the content of syscalls.json."""
    trees = [(tree, source) for tree, _, source in (argument.partition("=") for argument in sys.argv[1:])]
    if not trees:
        sys.exit(__doc__)
    sys.stdout.write(as_text(document(trees)))


if __name__ == "__main__":
    main()
