"""Say what changed in the text of files whose content is kept.

If the contents cannot be read, a report comes without texts. :func:`text_problem` says so.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence

from msgspec import Struct
from msgspec.structs import replace

from fimscan.config import Config
from fimscan.contents.facts import MOST_FACTS, facts_of, reader_of
from fimscan.contents.secrets import content_refusal, secret_name
from fimscan.contents.unified import unified
from fimscan.errors import StoreError
from fimscan.model import FileKind, FileState, Finding, NotKept, TextChange
from fimscan.store.contents import ContentFile, contents_file, load_from
from fimscan.store.database import Database

_AT_ONCE = 100  # so few contents are in memory


class _Source(Struct, frozen=True, kw_only=True):
    """The file with kept contents, and the settings that apply to it now."""

    path: str
    despite: frozenset[bytes]
    most_bytes: int | None

    @classmethod
    def of(cls, database: Database, config: Config | None) -> _Source:
        if config is None:
            return cls(path=contents_file(database.file), despite=frozenset(), most_bytes=None)
        despite = (os.fsencode(path) for watch in config.watch for path in watch.keep_content_of_secrets)
        return cls(
            path=contents_file(database.file, config.contents.file),
            despite=frozenset(despite),
            most_bytes=config.contents.max_file_bytes,
        )

    @property
    def exists(self) -> bool:
        return os.path.lexists(self.path)


def with_facts(database: Database, config: Config | None, findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Add the facts of well-known configuration files."""
    found = tuple(findings)
    source = _Source.of(database, config)
    if not source.exists or not any(reader_of(row.change.path) for row in found):
        return found
    try:
        return tuple(_told(source, found, lambda row: reader_of(row.change.path) is not None, lines=False))
    except StoreError:
        return found


def with_texts(
    database: Database, config: Config | None, findings: Sequence[Finding], most: int | None = None
) -> tuple[Finding, ...]:
    """Add what differs in the text of each finding, of the first ``most`` of them."""
    source = _Source.of(database, config)
    if not source.exists:
        return tuple(findings)
    chosen = {id(row) for row in (findings if most is None else findings[:most])}
    try:
        return tuple(_told(source, findings, lambda row: id(row) in chosen, lines=True))
    except StoreError:
        return tuple(findings)


def text_problem(database: Database, config: Config | None) -> str | None:
    """Why no text is known although contents are kept; ``None`` if nothing is wrong."""
    source = _Source.of(database, config)
    if not source.exists:
        return None
    try:
        ContentFile(source.path, writing=False).abandon()
    except StoreError as error:
        return f"what texts say is unknown: {error}"
    return None


def _told(
    source: _Source, findings: Sequence[Finding], is_wanted: Callable[[Finding], bool], *, lines: bool
) -> Iterator[Finding]:
    for begin in range(0, len(findings), _AT_ONCE):
        rows = findings[begin : begin + _AT_ONCE]
        wanted = [row for row in rows if is_wanted(row) and _has_other_content(row)]
        digests = {sha256 for row in wanted for side in _sides(row) if side and (sha256 := side.digest("sha256"))}
        contents = load_from(source.path, sorted(digests))
        chosen = {id(row) for row in wanted}
        for row in rows:
            text = _text_of(row, contents, source, lines=lines) if id(row) in chosen else None
            yield row if text is None else replace(row, text=text)


def _sides(finding: Finding) -> tuple[FileState | None, FileState | None]:
    """Both states as far as they are regular files."""
    change = finding.change
    before, after = (
        side if side is not None and side.kind is FileKind.FILE else None for side in (change.before, change.after)
    )
    return before, after


def _has_other_content(finding: Finding) -> bool:
    before, after = _sides(finding)
    if before is None and after is None:
        return False
    digests = [None if side is None else side.digest("sha256") for side in (before, after)]
    return digests[0] != digests[1]


def _text_of(
    finding: Finding, contents: dict[bytes, bytes | NotKept], source: _Source, *, lines: bool
) -> TextChange | None:
    """What changed; ``None`` if nothing is known of either side."""
    before, after = (_content(side, contents, source) for side in _sides(finding))
    if isinstance(before, bytes) and isinstance(after, bytes):
        facts = facts_of(finding.change.path, before, after)
        told = facts[:MOST_FACTS]
        if not lines:
            return TextChange(facts=told, omitted=len(facts) - len(told)) if facts else None
        found = unified(before, after)
        return TextChange(facts=told, omitted=len(facts) - len(told), lines=found.lines, is_cut=found.is_cut)
    reasons = [side if isinstance(side, NotKept) else None for side in (before, after)]
    present = [reason for reason, side in zip(reasons, _sides(finding), strict=True) if side is not None]
    if not lines or all(reason is NotKept.NEVER for reason in present):
        return None
    return TextChange(before=reasons[0], after=reasons[1])


def _content(side: FileState | None, contents: dict[bytes, bytes | NotKept], source: _Source) -> bytes | NotKept:
    """The content of one side; empty if there was no regular file. What must not be kept now is not shown either."""
    if side is None:
        return b""
    is_excepted = side.path in source.despite
    if secret_name(side.path) and not is_excepted:
        return NotKept.SECRET_NAME
    sha256 = side.digest("sha256")
    found = contents.get(sha256, NotKept.NEVER) if sha256 is not None else NotKept.NEVER
    if isinstance(found, bytes):
        refused = None if is_excepted else content_refusal(found)
        return found if refused is None else refused
    if found is NotKept.NEVER and source.most_bytes is not None and side.size > source.most_bytes:
        return NotKept.TOO_LARGE
    return found
