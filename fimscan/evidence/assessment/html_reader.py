"""Read ``01-report.html`` into blocks, in the order of the page: what the PDF file is laid out from.

It knows the elements and classes that ``report.html.j2`` uses. Any other is an error: nothing of the page is left out
because this module does not know it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html.parser import HTMLParser
from typing import NamedTuple, NoReturn

from msgspec import Struct, field


class Heading(NamedTuple):
    """A heading. ``anchor`` is the id of the section that it is the title of; empty if that has none."""

    level: int
    text: str
    anchor: str
    is_alarm: bool


class Paragraph(NamedTuple):
    """A paragraph; a soft one says something about the page, not about the host."""

    text: str
    is_soft: bool


class Item(NamedTuple):
    """An item of a list."""

    text: str
    is_alarm: bool


class Sheet(NamedTuple):
    """The next block begins a sheet of paper."""


class Row(NamedTuple):
    """A row of a table; it leads to the section ``target``, if that is not empty."""

    cells: tuple[str, ...]
    target: str


class Group(Struct):
    """Rows of a table that have a common title, or none."""

    title: str = ""
    rows: list[Row] = field(default_factory=list)


class Table(Struct):
    """A table. ``kind`` is its class, ``header`` the titles of its columns; empty if it has none."""

    kind: str
    caption: str = ""
    header: tuple[str, ...] = ()
    groups: list[Group] = field(default_factory=list)


Block = Heading | Paragraph | Item | Sheet | Table


class ReportPage(NamedTuple):
    """A page that was read."""

    title: str
    blocks: Sequence[Block]


_NO_CLASS = frozenset[str]()
_CONTAINERS: Mapping[str, frozenset[str]] = {
    **dict.fromkeys(("html", "head", "body", "header", "main", "nav", "ul", "thead", "tbody", "tr"), _NO_CLASS),
    "section": frozenset({"alarm", "page"}),
    "table": frozenset({"facts", "summary", "exceptions", "observed"}),
}
_HEADINGS = ("h1", "h2", "h3", "h4")
_WITH_TEXT: Mapping[str, frozenset[str]] = {
    **dict.fromkeys((*_HEADINGS, "title", "style", "li", "caption", "th"), _NO_CLASS),
    "p": frozenset({"soft", "framework"}),
    "td": frozenset({"row", "name", "number", "some"}),
}
_IN_TEXT: Mapping[str, frozenset[str]] = {
    **dict.fromkeys(("a", "code", "bdi"), _NO_CLASS),
    "span": frozenset({"soft"}),
}
_EMPTY: Mapping[str, frozenset[str]] = {"meta": _NO_CLASS}
_KNOWN = {**_CONTAINERS, **_WITH_TEXT, **_IN_TEXT, **_EMPTY}


def read_report(html: str) -> ReportPage:
    """Read a page that :func:`html.html_report` made.

    Raises:
        ValueError: it has an element, a class, or text at a place that the template does not have.
    """
    reader = _Reader()
    reader.feed(html)
    reader.close()
    return reader.page()


class _Open(NamedTuple):
    tag: str
    classes: frozenset[str]
    attributes: Mapping[str, str | None]


class _Reader(HTMLParser):
    """Makes a block of each element with text, when it ends."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self._open: list[_Open] = []
        self._text: list[str] = []
        self._title = ""
        self._blocks: list[Block] = []
        self._anchor = ""  # of the section that began last, until its heading
        self._cells: list[str] = []
        self._target = ""

    def page(self) -> ReportPage:
        """What was read; all elements must have ended."""
        if self._open:
            self._refuse(f"<{self._open[-1].tag}> does not end")
        return ReportPage(self._title, self._blocks)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Check where an element is; begin its block."""
        attributes = dict(attrs)
        classes = frozenset((attributes.get("class") or "").split())
        if tag not in _KNOWN or not classes <= _KNOWN[tag]:
            self._refuse(f"<{tag}> with the classes {sorted(classes)} is not known")
        if (tag in _IN_TEXT) != self._is_in_text():
            self._refuse(f"<{tag}> is at a place where it is not known")
        if tag in _EMPTY:
            return
        self._open.append(_Open(tag, classes, attributes))
        self._begin(self._open[-1])

    def handle_endtag(self, tag: str) -> None:
        """Add what has ended."""
        if not self._open or self._open[-1].tag != tag:
            self._refuse(f"</{tag}> ends nothing")
        ended = self._open.pop()
        if tag in _WITH_TEXT:
            text = "".join(self._text)
            self._text.clear()
            self._add(ended, text)
        elif tag == "tr" and self._cells:
            self._add_row()

    def handle_data(self, data: str) -> None:
        """Keep text; between blocks there is only space."""
        if self._is_in_text():
            self._text.append(data)
        elif data.strip():
            self._refuse(f"the text {data.strip()[:40]!r} is in no block")

    def _is_in_text(self) -> bool:
        return bool(self._open) and (self._open[-1].tag in _WITH_TEXT or self._open[-1].tag in _IN_TEXT)

    def _is_alarm(self) -> bool:
        return any("alarm" in item.classes for item in self._open)

    def _begin(self, begun: _Open) -> None:
        match begun.tag:
            case "section":
                if "page" in begun.classes:
                    self._blocks.append(Sheet())
                self._anchor = begun.attributes.get("id") or ""
            case "table":
                (kind,) = begun.classes
                self._blocks.append(Table(kind))
            case "tbody":
                self._table().groups.append(Group())
            case "a" if (href := begun.attributes.get("href") or "").startswith("#"):
                self._target = href[1:]

    def _add(self, ended: _Open, text: str) -> None:
        """Add what an element with text says."""
        match ended.tag:
            case "title":
                self._title = text
            case "h1" | "h2" | "h3" | "h4":
                self._blocks.append(Heading(int(ended.tag[1]), text, self._anchor, self._is_alarm()))
                self._anchor = ""
            case "p":
                self._blocks.append(Paragraph(text, "soft" in ended.classes))
            case "li":
                self._blocks.append(Item(text, self._is_alarm()))
            case "caption":
                self._table().caption = text
            case "th" if ended.attributes.get("scope") == "rowgroup":
                self._table().groups[-1].title = text
            case "th" | "td":
                self._cells.append(text)
            case "style":
                pass  # paper has its own
            case _:
                self._refuse(f"<{ended.tag}> is no block")

    def _add_row(self) -> None:
        table, cells = self._table(), tuple(self._cells)
        if self._open[-1].tag == "thead":
            table.header = cells
        else:
            table.groups[-1].rows.append(Row(cells, self._target))
        self._cells.clear()
        self._target = ""

    def _table(self) -> Table:
        """The table that is open."""
        last = self._blocks[-1]
        assert isinstance(last, Table)
        return last

    def _refuse(self, problem: str) -> NoReturn:
        line, _ = self.getpos()
        raise ValueError(f"line {line} of the report: {problem}")
