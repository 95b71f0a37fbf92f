"""``01-report.pdf``: the HTML page on paper, made from its text. The same page gives the same bytes.

Nothing is compressed: the output of zlib differs between versions. There is no file identifier: it needs MD5, which
some hosts do not allow.
"""

from __future__ import annotations

import io
import itertools
from collections.abc import Mapping
from typing import Any, NamedTuple

import pydyf

from fimscan.evidence.assessment.html_reader import Heading, Item, Paragraph, ReportPage, Sheet, Table, read_report
from fimscan.evidence.assessment.pdf_layout import (
    ALARM,
    BODY,
    CONTENT,
    HEIGHT,
    LINE,
    MARGIN,
    NAME,
    SOFT,
    STRONG,
    WIDTH,
    Column,
    Layout,
    Link,
    Rule,
    Style,
    Text,
    shown,
    wrapped,
)

_TITLE = Style("Helvetica-Bold", 18.0, 24.0)
_SECTION = Style("Helvetica-Bold", 14.0, 20.0)
_PART = Style("Helvetica-Bold", 11.5, 16.0)
_HEADING = Style("Helvetica-Bold", 10.0, 14.0, SOFT)
_NOTE = Style("Helvetica", 8.5, 12.0, SOFT)
_FOOTER = Style("Helvetica", 8.0, 10.0, SOFT)
_FONTS = ("Helvetica", "Helvetica-Bold", "Courier")
_COLUMNS: Mapping[str, tuple[Column, ...]] = {
    "facts": (Column(0.2, STRONG), Column(0.8)),
    "summary": (Column(0.22), Column(0.48), Column(0.2)),
    "exceptions": (Column(0.1, STRONG), Column(0.52), Column(0.38, NAME)),
    "observed": (Column(0.22, STRONG), Column(0.5), Column(0.28, NAME)),
}
_PAGE = Column(0.1)  # one more where rows lead to a section: on paper, a link is the number of a page


class _Place(NamedTuple):
    """Where a section begins: its title, and its page (from 0)."""

    title: str
    page: int


def pdf_report(html: str) -> bytes:
    """The page ``01-report.html`` as a PDF file.

    Raises:
        ValueError: the page has something that would be missing on paper.
    """
    page = read_report(html)
    _, places = _lay_out(page, {})
    layout, places = _lay_out(page, places)  # now that the pages are known, for the list of requirements
    _number_pages(page.title, layout)
    return _file(page.title, layout, places)


# --------------------------------------------------------------------------------------------------------------------
# What is on the pages


def _lay_out(page: ReportPage, places: Mapping[str, _Place]) -> tuple[Layout, dict[str, _Place]]:
    """The pages, and where each section begins, by its anchor. ``places`` are those of an earlier run, if any."""
    layout, found, is_cover = Layout(), dict[str, _Place](), True
    layout.new_page()
    for block in page.blocks:
        match block:
            case Sheet():
                layout.new_page()
                is_cover = False
            case Heading():
                layout.heading(block.text, *_heading(block, is_cover=is_cover))
                if block.anchor:
                    found[block.anchor] = _Place(block.text, len(layout.pages) - 1)
            case Paragraph():
                layout.text(block.text, _NOTE if block.is_soft else BODY)
            case Item():
                style = BODY._replace(colour=ALARM) if block.is_alarm else BODY
                layout.text(block.text, style, indent=12, bullet="-")
            case Table():
                _table(block, layout, places)
    return layout, found


def _heading(block: Heading, *, is_cover: bool) -> tuple[Style, float]:
    """How a heading looks, and the space above it."""
    if block.level == 1:
        return _TITLE, 0
    if block.level == 2:
        if not is_cover:
            return _SECTION, 0
        return _PART._replace(colour=ALARM) if block.is_alarm else _PART, 12
    return (_PART, 16) if block.anchor else (_HEADING, 8)


def _table(table: Table, layout: Layout, places: Mapping[str, _Place]) -> None:
    columns, header = _COLUMNS[table.kind], table.header
    if table.caption:
        layout.heading(table.caption, STRONG._replace(colour=ALARM), 6)
    for group in table.groups:
        if group.title:
            layout.heading(group.title, _HEADING, 8)
        if any(row.target for row in group.rows):
            pages = [places[row.target].page if places else 0 for row in group.rows]
            rows = [(*row.cells, str(page + 1)) for row, page in zip(group.rows, pages, strict=True)]
            layout.table((*columns, _PAGE), (*header, "Page"), rows, targets=pages)
        else:
            layout.table(columns, header, [row.cells for row in group.rows])
    layout.space(2)


def _number_pages(of: str, layout: Layout) -> None:
    title = wrapped(of, _FOOTER, CONTENT - 80)[0]
    for number, page in enumerate(layout.pages, 1):
        page.append(Text(MARGIN, 32, title, _FOOTER))
        page.append(Text(WIDTH - MARGIN - 70, 32, f"page {number} of {len(layout.pages)}", _FOOTER))


# --------------------------------------------------------------------------------------------------------------------
# The file


def _file(title: str, layout: Layout, places: Mapping[str, _Place]) -> bytes:
    pdf = pydyf.PDF()
    fonts = pydyf.Dictionary()
    for name in _FONTS:
        font = pydyf.Dictionary(
            {"Type": "/Font", "Subtype": "/Type1", "BaseFont": f"/{name}", "Encoding": "/WinAnsiEncoding"}
        )
        pdf.add_object(font)
        fonts[name] = font.reference
    pages = []
    for drawn in layout.pages:
        stream = pydyf.Stream()
        for item in drawn:
            _draw(stream, item)
        pdf.add_object(stream)
        page = pydyf.Dictionary(
            {
                "Type": "/Page",
                "Parent": pdf.pages.reference,
                "MediaBox": pydyf.Array([0, 0, WIDTH, HEIGHT]),
                "Contents": stream.reference,
                "Resources": pydyf.Dictionary({"Font": fonts}),
            }
        )
        pdf.add_page(page)
        pages.append(page)
    for page, drawn in zip(pages, layout.pages, strict=True):
        _add_links(pdf, page, [item for item in drawn if isinstance(item, Link)], pages)
    _add_outline(pdf, places, pages)
    pdf.info.update({"Title": pydyf.String(shown(title)), "Producer": pydyf.String("fimscan")})
    pdf.catalog["Lang"] = pydyf.String("en")
    pdf.catalog["ViewerPreferences"] = pydyf.Dictionary({"DisplayDocTitle": "true"})
    out = io.BytesIO()
    pdf.write(out, identifier=False, compress=False)
    return out.getvalue()


def _draw(stream: Any, item: Text | Rule | Link) -> None:  # pydyf has no types
    match item:
        case Text():
            stream.begin_text()
            stream.set_color_rgb(*item.style.colour)
            stream.set_font_size(item.style.font, item.style.size)
            stream.set_text_matrix(1, 0, 0, 1, round(item.x, 2), round(item.y, 2))
            stream.show_text_string(item.text.encode("latin-1"))
            stream.end_text()
        case Rule():
            stream.set_color_rgb(*LINE, stroke=True)
            stream.set_line_width(0.5)
            stream.move_to(item.x, round(item.y, 2))
            stream.line_to(item.x + item.width, round(item.y, 2))
            stream.stroke()


def _add_links(pdf: Any, page: Any, links: list[Link], pages: list[Any]) -> None:
    found = []
    for link in links:
        note = pydyf.Dictionary(
            {
                "Type": "/Annot",
                "Subtype": "/Link",
                "Rect": pydyf.Array([link.x, round(link.y, 2), link.x + link.width, round(link.y + link.height, 2)]),
                "Border": pydyf.Array([0, 0, 0]),
                "Dest": pydyf.Array([pages[link.target].reference, "/Fit"]),
            }
        )
        pdf.add_object(note)
        found.append(note.reference)
    if found:
        page["Annots"] = pydyf.Array(found)


def _add_outline(pdf: Any, places: Mapping[str, _Place], pages: list[Any]) -> None:
    """Bookmarks: one for each section that has an anchor."""
    root = pydyf.Dictionary({"Type": "/Outlines"})
    pdf.add_object(root)
    items = []
    for place in places.values():
        item = pydyf.Dictionary(
            {
                "Title": pydyf.String(shown(place.title)),
                "Parent": root.reference,
                "Dest": pydyf.Array([pages[place.page].reference, "/Fit"]),
            }
        )
        pdf.add_object(item)
        items.append(item)
    for before, after in itertools.pairwise(items):
        before["Next"], after["Prev"] = after.reference, before.reference
    root.update({"First": items[0].reference, "Last": items[-1].reference, "Count": len(items)})
    pdf.catalog["Outlines"] = root.reference
