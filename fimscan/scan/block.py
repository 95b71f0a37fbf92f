"""Results for consecutive paths: state digests to see that nothing changed, and the full states on demand."""

from __future__ import annotations

import marshal
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

from fimscan.model import Unreadable
from fimscan.scan.state import Raw, to_unreadable
from fimscan.scan.writers import Identity
from fimscan.state_row import FIELDS, Packed, state_digest

Entry: TypeAlias = Packed | Unreadable
"""The result for one path. For a file that ctime vouched for, it holds only the digest of its known state."""

Rows: TypeAlias = list[Packed | Raw]
"""The result for each path: a :data:`Packed`, a refusal, or empty for a file that was vouched for."""

Answer: TypeAlias = tuple[int, list[bytes], int, int, Rows | bytes, list[Identity]]
"""The answer to a request:

1. when the work began;
2. state digests in order, empty where there is no state (vouched for, or unreadable);
3. how many states were read;
4. how many bytes of content were read;
5. all results; marshalled if they come from a worker, and unmarshalled only where something differs;
6. which files were open for writing when they were read (see :class:`fimscan.scan.writers.WriterCheck`).
"""

_DEV, _SIZE = FIELDS.index("dev"), FIELDS.index("size")
_FAST_DIGEST = FIELDS.index("xxh3_128")  # always taken, if any digest is
_READ_START = FIELDS.index("read_start_ns")


Voucher: TypeAlias = tuple[bytes, bytes, int, Sequence[Any]]
"""(path, digest of the known state, when it was last read, its :data:`fimscan.scan.state.STAT`) of a known file. It is
not read again if ``lstat(2)`` still gives that.
"""


def answer_of(begun_ns: int, results: Rows, writable: list[Identity]) -> Answer:
    """Build the answer to a request."""
    states = [one for one in results if len(one) > 2]
    return (
        begun_ns,
        [one[-1] if len(one) > 2 else b"" for one in results],
        len(states),
        sum([one[_SIZE] for one in states if one[_FAST_DIGEST] is not None]),
        results,
        writable,
    )


def marshalled(answer: Answer) -> Answer:
    """The answer as a worker sends it."""
    begun_ns, digests, states, count, rows, writable = answer
    return begun_ns, digests, states, count, marshal.dumps(rows), writable


def _renumbered(entry: Any, numbers: Mapping[int, int]) -> Any:
    if not isinstance(entry, tuple) or len(entry) <= 2:
        return entry
    values = (*entry[:_DEV], numbers[entry[_DEV]], *entry[_DEV + 1 : -1])
    return (*values, state_digest(values))


class Block:
    """The results for consecutive paths, in increasing order.

    ``digests`` are the state digests, empty where there is no state. ``states`` counts the states, ``vouched`` those
    that were not read because ctime vouched for them; the oldest of their last readings is ``vouched_ns``. ``seen_ns``
    is earlier than all readings of the block. ``writable`` are the files that were open for writing.

    Args:
        paths: all paths.
        answer: of the paths that a worker was asked for.
        own: (position in ``paths``, entry) of the entries that the walk itself made: directories.
        vouchers: (position in ``paths``, vouchers of the paths from there on), where some files could be skipped.
    """

    __slots__ = (
        "_own",
        "_rows",
        "_vouchers",
        "bytes",
        "digests",
        "paths",
        "seen_ns",
        "states",
        "vouched",
        "vouched_ns",
        "writable",
    )

    def __init__(
        self,
        paths: list[bytes],
        answer: Answer,
        own: Sequence[tuple[int, Entry]],
        vouchers: Iterable[tuple[int, Iterable[Voucher | None]]] = (),
    ) -> None:
        self.paths = paths
        self.seen_ns, self.digests, self.states, self.bytes, self._rows, self.writable = answer
        self._own = own
        self._vouchers: list[tuple[int, Voucher]] = []
        self.vouched_ns = self.seen_ns
        for position, entry in own:
            if isinstance(entry, Unreadable):
                self.digests.insert(position, b"")
                continue
            self.digests.insert(position, entry[-1])
            self.seen_ns = min(self.seen_ns, entry[_READ_START])
            self.states += 1
        if vouchers:
            self._accept(vouchers)
        self.vouched = len(self._vouchers)

    def _accept(self, vouchers: Iterable[tuple[int, Iterable[Voucher | None]]]) -> None:
        rows = self._entries()
        self._vouchers = [
            (at, voucher)
            for begin, those in vouchers
            for at, voucher in enumerate(those, begin)
            if voucher is not None and not rows[at]
        ]
        for at, voucher in self._vouchers:
            self.digests[at] = voucher[1]
        self.states += len(self._vouchers)
        self.vouched_ns = min([voucher[2] for _, voucher in self._vouchers], default=self.seen_ns)

    def renumber(self, numbers: Mapping[int, int]) -> None:
        """Replace ``stat(2)``'s device numbers by the recorded ones (:class:`fimscan.linux.filesystems.Numbers`)."""
        self._rows = [_renumbered(row, numbers) for row in self._results()]
        self._own = [(at, _renumbered(entry, numbers)) for at, entry in self._own]
        self.writable = [(numbers[dev], inode) for dev, inode in self.writable]
        for at, entry in enumerate(self._entries()):
            if isinstance(entry, tuple) and len(entry) > 2:
                self.digests[at] = entry[-1]

    @property
    def is_all_read(self) -> bool:
        """Whether every path has a state, and each was read now."""
        return self.states == len(self.paths) and not self.vouched

    def all_states(self) -> list[Packed]:
        """All states; needs :attr:`is_all_read`."""
        assert self.is_all_read
        return self._entries()

    def entries(self) -> Iterator[Entry]:
        """Yield the entry of each path."""
        entries = self._entries()
        for position, voucher in self._vouchers:
            entries[position] = (voucher[1],)
        for path, entry in zip(self.paths, entries, strict=True):
            yield to_unreadable(path, entry) if isinstance(entry, tuple) and len(entry) == 2 else entry

    def _entries(self) -> list[Any]:
        entries = self._results()
        for position, entry in self._own:
            entries.insert(position, entry)
        return entries

    def _results(self) -> list[Any]:
        if isinstance(self._rows, bytes):
            results: list[Any] = marshal.loads(self._rows)  # noqa: S302 - from our own worker
            return results
        return [*self._rows]
