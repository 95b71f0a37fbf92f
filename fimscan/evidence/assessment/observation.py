"""What the tables of a bundle show, as values: observations with their exceptions, each by file and row."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TypeAlias

from msgspec import Struct

MOST = 20
"""So many exceptions of an observation are in the report; it says how many there are, and how to find them all."""

_LONGEST = 400  # characters of an exception

Rows: TypeAlias = Iterable[tuple[int, Mapping[str, str]]]
"""The rows of a CSV file with their numbers, as a spreadsheet numbers them: the header is row 1."""


class Deviation(Struct, frozen=True, kw_only=True):
    """An exception, as assessors call what deserves their attention.

    Attributes:
        row: of the observation's file; ``None`` if it is about the file as a whole.
        subject: the file, process, receiver or setting concerned, as the row has it.
        text: what is exceptional.
    """

    row: int | None
    subject: str
    text: str


class Observation(Struct, frozen=True, kw_only=True):
    """What one file of the bundle shows.

    Attributes:
        id: what ``requirements.toml`` calls it.
        title: a few words.
        file: the member that shows it.
        text: what was observed.
        count: the number of exceptions.
        deviations: the first :data:`MOST` of them, most important first.
        where: how to find all of them in the file.
    """

    id: str
    title: str
    file: str
    text: str
    count: int = 0
    deviations: tuple[Deviation, ...] = ()
    where: str = ""


def _cut(text: str) -> str:
    """A long text, shortened: the row has all of it, and names of 4,096 bytes would fill pages."""
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}... ({len(text):,} characters in the row)"


class Deviations:
    """Collects exceptions; keeps only the most important ones, so that memory use does not depend on their number."""

    def __init__(self) -> None:
        self.count = 0
        self._kept: list[tuple[int, int, int, Deviation]] = []

    def add(self, row: int | None, subject: str, text: str, *, rank: int = 0) -> None:
        """Add one; a lower ``rank`` is more important, and so is an earlier row."""
        self.count += 1
        self._kept.append((rank, row or 0, self.count, Deviation(row=row, subject=_cut(subject), text=_cut(text))))
        if len(self._kept) > 4 * MOST:
            self._shorten()

    def _shorten(self) -> None:
        self._kept.sort(key=lambda item: item[:3])
        del self._kept[MOST:]

    def first(self) -> tuple[Deviation, ...]:
        """The first :data:`MOST`."""
        self._shorten()
        return tuple(item[3] for item in self._kept)
