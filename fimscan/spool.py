"""Keep very many values on disk, so that memory does not grow with them: a user can make any number of changes."""

from __future__ import annotations

import errno
import io
import os
import pickle
import tempfile
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from enum import Enum
from itertools import chain, count, islice
from typing import Any, Generic, TypeVar, overload
from weakref import WeakValueDictionary, finalize

from fimscan import model
from fimscan.errors import StoreError

T = TypeVar("T")
S = TypeVar("S")

PIECE = 2000  # so many values are worked on at once where there may be any number of them
MANY = 4000  # so many are kept on disk
_TOGETHER = 32  # values that are written as one part: fewer take longer, more make it slow to load a single one
_KEPT = 32  # parts in memory
_IN_MEMORY = 1 << 20  # bytes of which no file is made


class Spool(Sequence[T], Generic[T]):
    """A sequence of immutable values: in memory while they are few, then in a file without a name.

    Less than a byte of each stays in memory then. A value that is loaded again is equal to the one that was appended,
    and another object. The file is removed with the sequence, and by a crash.

    Args:
        values: the first values.
        directory: where the file is; ``None`` for that of temporary files. Where none can be made, its content is kept
            in memory.
        together: how many values are written as one part; few where they are asked for in any order.
        few: so many values stay in memory as they are. When there are more, all of them are written.
        shared: parts of values that are of this type are kept in memory, each once: those of all values are few.

    Raises:
        StoreError: the file could not be written or read, such as on a full disk.
    """

    def __init__(
        self,
        values: Iterable[T] = (),
        directory: str | None = None,
        shared: type | None = None,
        together: int | None = None,
        few: int = 0,
    ) -> None:
        self._together = together or _TOGETHER
        self._few = few
        self._all: list[T] | None = []  # as long as they are few
        self._directory = directory
        self._shared = None if shared is None else _Shared(shared)
        self._file: io.BytesIO | io.FileIO = io.BytesIO()
        self._offsets = array("Q", [0])
        self._last: list[T] = []  # not written yet
        self._kept: dict[int, list[T]] = {}
        self.extend(values)

    def append(self, value: T) -> None:
        """Add a value at the end."""
        if self._all is not None:
            self._all.append(value)
            if len(self._all) <= self._few:
                return
            every, self._all = self._all, None
            self.extend(every)
            return
        self._last.append(value)
        if len(self._last) == self._together:
            self._write(_dumps(self._last, self._shared))
            self._last = []

    def extend(self, values: Iterable[T]) -> None:
        """Add values at the end."""
        for value in values:
            self.append(value)

    def __len__(self) -> int:
        if self._all is not None:
            return len(self._all)
        return (len(self._offsets) - 1) * self._together + len(self._last)

    def __iter__(self) -> Iterator[T]:
        if self._all is not None:
            yield from self._all
            return
        for part in range(len(self._offsets) - 1):
            yield from self._read(part)
        yield from self._last

    def __reversed__(self) -> Iterator[T]:
        if self._all is not None:
            yield from reversed(self._all)
            return
        yield from reversed(self._last)
        for part in reversed(range(len(self._offsets) - 1)):
            yield from reversed(self._read(part))

    @overload
    def __getitem__(self, place: int) -> T: ...
    @overload
    def __getitem__(self, place: slice) -> list[T]: ...
    def __getitem__(self, place: int | slice) -> T | list[T]:
        if isinstance(place, slice):
            return [self[one] for one in range(*place.indices(len(self)))]
        if self._all is not None:
            return self._all[place]
        if place < 0:
            place += len(self)
        if not 0 <= place < len(self):
            raise IndexError(place)
        part, position = divmod(place, self._together)
        if part == len(self._offsets) - 1:
            return self._last[position]
        kept = self._kept.pop(part, None)
        if kept is None:
            kept = self._read(part)
            if len(self._kept) >= _KEPT:
                del self._kept[next(iter(self._kept))]
        self._kept[part] = kept  # as the latest
        return kept[position]

    def _write(self, data: bytes) -> None:
        end = self._offsets[-1] + len(data)
        try:
            if self._offsets[-1] <= _IN_MEMORY < end and isinstance(self._file, io.BytesIO):
                self._move_to_disk(self._file)
            _write_all(self._file, data)
        except OSError as error:
            raise self._failure(error) from error
        self._offsets.append(end)

    def _move_to_disk(self, written: io.BytesIO) -> None:
        try:
            made = tempfile.TemporaryFile(dir=self._directory, buffering=0)  # noqa: SIM115  # closed below
        except OSError:
            return  # no directory that can be written to
        finalize(self, made.close)
        _write_all(made, written.getvalue())
        self._file = made

    def _read(self, part: int) -> list[T]:
        begin, end = self._offsets[part], self._offsets[part + 1]
        if isinstance(self._file, io.BytesIO):
            data: bytes = bytes(self._file.getbuffer()[begin:end])
        else:
            try:
                data = os.pread(self._file.fileno(), end - begin, begin)
            except OSError as error:
                raise self._failure(error) from error
        # What this process wrote itself, to a file that nothing else can open by a name.
        found: list[T] = pickle.loads(data)  # noqa: S301
        return found

    def _failure(self, error: OSError) -> StoreError:
        place = self._directory or tempfile.gettempdir()
        if error.errno == errno.ENOSPC:
            return StoreError(
                f"no space left for a temporary file in {place}; make room and run the command again (the last finished"
                " scan is intact)"
            )
        return StoreError(f"temporary file in {place}: {error.strerror}; changes are kept there while a scan works")


def keep(values: Iterable[T], directory: str | None, shared: type | None = None) -> Sequence[T]:
    """The values in memory if they are few, else on disk (see :class:`Spool`)."""
    values = iter(values)
    first = list(islice(values, MANY))
    return tuple(first) if len(first) < MANY else Spool(chain(first, values), directory, shared)


# --------------------------------------------------------------------------------------------------------------------
# Pickling


class _Shared:
    """The parts of values that stay in memory."""

    _last = count()

    def __init__(self, kind: type) -> None:
        self.kind = kind
        self._number = next(_Shared._last)
        self._parts: list[object] = []
        self._places: dict[int, int] = {}  # by the identity of the parts
        _SHARED[self._number] = self

    def reduced(self, part: object) -> tuple[Any, ...]:
        """What stands for a part in a file."""
        place = self._places.get(id(part))
        if place is None:
            place = self._places[id(part)] = len(self._parts)
            self._parts.append(part)
        return _part, (self._number, place)

    def at(self, place: int) -> object:
        """A part again."""
        return self._parts[place]


_SHARED: WeakValueDictionary[int, _Shared] = WeakValueDictionary()


def _part(number: int, place: int) -> object:
    return _SHARED[number].at(place)


def _name(member: Enum) -> str:
    return f"{type(member).__qualname__}.{member.name}"  # as a global name; the usual way is a call that looks it up


_REDUCERS = {cls: _name for cls in vars(model).values() if isinstance(cls, type) and issubclass(cls, Enum)}


def _dumps(values: object, shared: _Shared | None) -> bytes:
    buffer = io.BytesIO()
    pickler = pickle.Pickler(buffer, pickle.HIGHEST_PROTOCOL)
    pickler.dispatch_table = _REDUCERS if shared is None else _REDUCERS | {shared.kind: shared.reduced}
    pickler.dump(values)
    return buffer.getvalue()


def _write_all(file: io.BytesIO | io.FileIO, data: bytes) -> None:
    """Write all of the data; a disk that is nearly full takes a part, and then none."""
    while data:
        data = data[file.write(data) :]


class Mapped(Sequence[T], Generic[S, T]):
    """The values that a function makes of others, each time that they are taken."""

    def __init__(self, make: Callable[[S], T], values: Sequence[S], *, backwards: bool = False) -> None:
        self._make = make
        self._values = values
        self._backwards = backwards

    def __len__(self) -> int:
        return len(self._values)

    def __iter__(self) -> Iterator[T]:
        return map(self._make, reversed(self._values) if self._backwards else self._values)

    @overload
    def __getitem__(self, place: int) -> T: ...
    @overload
    def __getitem__(self, place: slice) -> list[T]: ...
    def __getitem__(self, place: int | slice) -> T | list[T]:
        if isinstance(place, slice):
            return [self[one] for one in range(*place.indices(len(self)))]
        return self._make(self._values[-1 - place if self._backwards else place])


def in_pieces(values: Iterable[T], size: int | None = None) -> Iterator[list[T]]:
    """Yield lists of so many values, :data:`PIECE` by default; the last one may be shorter."""
    values = iter(values)
    while piece := list(islice(values, size or PIECE)):
        yield piece
