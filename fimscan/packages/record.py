"""Record manifests of .deb files, before apt has them unpacked."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from typing import NamedTuple

from fimscan.model import PackageProof
from fimscan.packages.deb import DebError, read_deb
from fimscan.packages.manifest import Manifest
from fimscan.packages.manifests import ManifestStore, UnsafeError


class Recorded(NamedTuple):
    """How many manifests are new, how many were there already, and what could not be recorded."""

    new: int
    known: int
    problems: tuple[str, ...]


def record_debs(paths: Iterable[bytes], store: ManifestStore, now_ns: int) -> Recorded:
    """Take the manifest of each .deb and store it. A problem with one does not keep the others from being recorded."""
    counts = {True: 0, False: 0}
    problems = []
    for path in paths:
        try:
            counts[store.add(manifest_of(path, PackageProof.RECORDED, now_ns))] += 1
        except (OSError, DebError, UnsafeError) as error:
            text = error.strerror or str(error) if isinstance(error, OSError) else str(error)
            problems.append(f"{os.fsdecode(path)} was not recorded: {text}")
    return Recorded(counts[True], counts[False], tuple(problems))


def manifest_of(path: bytes, proof: PackageProof, now_ns: int) -> Manifest:
    """Take the manifest of one .deb.

    Raises:
        DebError: it is no .deb, or damaged.
        OSError: it cannot be read.
    """
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    with open(fd, "rb") as file:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise DebError("it is not a regular file")
        return read_deb(file, path=path, proof=proof, now_ns=now_ns)
