"""Keep the content of files in the reading that hashes them. Only watches with ``keep_content`` load this code's rules.

:class:`CapturingDigester` copies what it hashes. :class:`Keeper` checks the copies against the digest of the file's
state, refuses secrets and binary files, compresses the rest and hands it on.
"""

from __future__ import annotations

import hashlib
import os
import zlib
from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeAlias

from fimscan.scan.digest import Digester

Kept: TypeAlias = tuple[bytes, int, str, bool, bytes]
"""(SHA-256, size, why it was refused or ``""``, whether it was kept in spite of the rules, compressed content)."""

Sink: TypeAlias = Callable[[list[Kept]], None]

_SHA256 = "sha256"
_LEVEL = 6
_PENDING_BYTES = 1024 * 1024  # handed on in pieces of about this size
_DIGEST_BYTES = 32


class KeepRule(NamedTuple):
    """Which content is kept: of files of up to ``most_bytes``.

    ``despite`` are single paths that are kept although they hold secrets; ``never`` are not kept whatever they hold.
    """

    most_bytes: int
    despite: frozenset[bytes] = frozenset()
    never: frozenset[bytes] = frozenset()


class KnownContents(NamedTuple):
    """Digests of contents that need not be sent again: those that are kept, and those that were refused."""

    kept: frozenset[bytes] = frozenset()
    refused: frozenset[bytes] = frozenset()

    def dump(self) -> bytes:
        """As bytes, for a worker."""
        return b"".join((len(self.kept).to_bytes(8, "little"), *self.kept, *self.refused))

    @classmethod
    def load(cls, data: bytes) -> KnownContents:
        """The inverse of :meth:`dump`."""
        digests = [data[at : at + _DIGEST_BYTES] for at in range(8, len(data), _DIGEST_BYTES)]
        count = int.from_bytes(data[:8], "little")
        return cls(frozenset(digests[:count]), frozenset(digests[count:]))


class CapturingDigester(Digester):
    """Keeps a copy of the bytes that it hashes, unless they are too many. Holes and logs are not copied."""

    def __init__(self, on_piece: Callable[[int], None]) -> None:
        super().__init__(on_piece)
        self._count_piece = on_piece
        self._pieces: list[bytes] | None = None
        self._left = 0
        self.most_bytes = 0
        self.known: frozenset[bytes] = frozenset()
        self._content: bytes | None = None

    def take(self) -> bytes | None:
        """The content that was hashed last; ``None`` if it was too large, or is known.

        It may be that of an attempt that failed, so compare it with the digest.
        """
        content, self._content = self._content, None
        return content

    def digest_piece(self, fd: int, size: int, algorithms: Sequence[str]) -> tuple[bytes, ...] | None:
        """As :meth:`Digester.digest_piece`."""
        self._content = None
        digests = super().digest_piece(fd, size, algorithms)
        if digests is not None and size <= self.most_bytes and not self._is_known(digests, algorithms):
            self._content = bytes(self._buffer[:size])
        return digests

    def digest(self, fd: int, size: int, algorithms: Sequence[str]) -> tuple[bytes, ...] | None:
        """As :meth:`Digester.digest`. A second reading, which only compares, is not copied."""
        if _SHA256 not in algorithms:
            return super().digest(fd, size, algorithms)
        self._content, self._pieces, self._left = None, [], self.most_bytes
        self._on_piece = self._copy_piece
        try:
            digests = super().digest(fd, size, algorithms)
            if digests is not None and self._pieces is not None and not self._is_known(digests, algorithms):
                self._content = b"".join(self._pieces)
            return digests
        finally:
            self._pieces, self._on_piece = None, self._count_piece

    def _is_known(self, digests: tuple[bytes, ...], algorithms: Sequence[str]) -> bool:
        return digests[algorithms.index(_SHA256)] in self.known

    def _copy_piece(self, count: int) -> None:
        # Digester calls this once for each piece, while it is still in the buffer.
        self._left -= count
        if self._left < 0:
            self._pieces = None
        elif self._pieces is not None:
            self._pieces.append(bytes(self._buffer[:count]))
        self._count_piece(count)


class Keeping(NamedTuple):
    """What need not be captured, and where captured contents go."""

    known: KnownContents
    sink: Sink


class Keeper:
    """Judges, compresses and hands on what was captured."""

    def __init__(self, on_piece: Callable[[int], None], keeping: Keeping) -> None:
        self.digester = CapturingDigester(on_piece)
        self._known, self._sink = keeping
        self._seen = self._known.kept | self._known.refused
        self._sent: set[bytes] = set()
        self._pending: list[Kept] = []
        self._pending_bytes = 0

    def begin(self, paths: Sequence[bytes], rule: KeepRule) -> None:
        """Prepare the digester for some files."""
        is_any_despite = bool(rule.despite) and not rule.despite.isdisjoint(paths)
        self.digester.most_bytes = rule.most_bytes
        self.digester.known = self._known.kept if is_any_despite else self._seen

    def offer(self, path: bytes, rule: KeepRule, content: bytes | None, sha256: bytes) -> None:
        """Keep the content of a file that was read without disturbance, unless that is refused.

        A file that is refused by its name is not remembered: its content may be elsewhere, too.
        """
        despite = path in rule.despite
        if content is None or path in rule.never or (sha256 in self._sent and not despite):
            return
        if hashlib.sha256(content).digest() != sha256:
            return  # of an earlier attempt
        from fimscan.contents.secrets import content_refusal, secret_name
        from fimscan.model.texts import NotKept

        if not despite and secret_name(path):
            return
        reason = content_refusal(content)
        if despite and reason is not NotKept.BINARY:
            reason = None
        data = b"" if reason is not None else zlib.compress(content, _LEVEL)
        self._sent.add(sha256)
        self._pending.append((sha256, len(content), reason.value if reason is not None else "", despite, data))
        self._pending_bytes += len(data)
        if self._pending_bytes > _PENDING_BYTES:
            self.flush()

    def flush(self) -> None:
        """Hand on what waits."""
        if self._pending:
            pending, self._pending, self._pending_bytes = self._pending, [], 0
            self._sink(pending)


def known_to_file(known: KnownContents) -> int:
    """A memory file with what is known, for a worker; the descriptor is the caller's."""
    fd = os.memfd_create("fimscan-known-contents", os.MFD_CLOEXEC)
    data = memoryview(known.dump())
    while data:
        data = data[os.write(fd, data) :]
    return fd


def known_from_file(fd: int) -> KnownContents:
    """The inverse of :func:`known_to_file`."""
    return KnownContents.load(os.pread(fd, os.fstat(fd).st_size, 0))
