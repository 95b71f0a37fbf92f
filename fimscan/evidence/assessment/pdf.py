"""``01-report.pdf``: the same report as the HTML page, on paper. The same report gives the same bytes.

Nothing is compressed: the output of zlib differs between versions. There is no file identifier: it needs MD5, which
some hosts do not allow.
"""

from __future__ import annotations

import io
import itertools
from collections.abc import Mapping
from typing import Any

import pydyf

from fimscan.evidence.assessment.document import HOW_TO_READ, Page, Part, Report
from fimscan.evidence.assessment.observation import Observation
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


def pdf_report(report: Report) -> bytes:
    """The report as a PDF file."""
    _, places = _lay_out(report, {})
    layout, places = _lay_out(report, places)  # now that the pages are known, for the list of requirements
    _number_pages(report, layout)
    return _file(report, layout, places)


# --------------------------------------------------------------------------------------------------------------------
# What is on the pages


def _lay_out(report: Report, places: Mapping[str, int]) -> tuple[Layout, dict[str, int]]:
    """The pages, and on which one (from 0) each part begins, by its anchor."""
    layout, found = Layout(), dict[str, int]()
    layout.new_page()
    _cover(report, layout, places)
    for page in report.pages:
        layout.new_page()
        layout.text(page.framework if len(page.parts) == 1 else "Further requirements, same observations", _NOTE)
        layout.heading(page.title, _SECTION, 0)
        _parts(page, layout, found)
    return layout, found


def _parts(page: Page, layout: Layout, found: dict[str, int]) -> None:
    for part in page.parts:
        if len(page.parts) > 1:
            layout.heading(f"{part.requirement.id} {part.requirement.title}", _PART, 16)
        found[part.anchor] = len(layout.pages) - 1
        _part(part, layout)


def _cover(report: Report, layout: Layout, places: Mapping[str, int]) -> None:
    layout.text(report.title, _TITLE)
    layout.text("Report for an assessor: observations, exceptions first", _NOTE)
    if report.alarms:
        layout.heading("These records do not verify as a whole", _PART._replace(colour=ALARM), 12)
        for text in report.alarms:
            layout.text(text, BODY._replace(colour=ALARM), indent=12, bullet="-")
    layout.heading("Scope", _PART, 12)
    layout.table((Column("", 0.2, STRONG), Column("", 0.8)), report.facts)
    layout.heading("How to read it", _PART, 12)
    for text in HOW_TO_READ:
        layout.text(text, indent=12, bullet="-")
    for title, parts in report.frameworks:
        layout.heading(title, _PART, 12)
        layout.table(
            (Column("Requirement", 0.22), Column("About", 0.48), Column("Exceptions", 0.2), Column("Page", 0.1)),
            [
                (
                    part.requirement.id,
                    part.requirement.title,
                    str(part.exceptions or "none observed"),
                    str(places.get(part.anchor, 0) + 1),
                )
                for part in parts
            ],
            targets=[places.get(part.anchor) for part in parts],
        )


def _part(part: Part, layout: Layout) -> None:
    layout.heading("Asked", _HEADING, 6)
    layout.text(part.requirement.asked)
    layout.heading(f"Exceptions: {part.exceptions or 'none observed'}", _HEADING, 8)
    if not part.exceptions:
        layout.text(
            "None in the files of this bundle. That is no proof that there was nothing: see what was observed, and what"
            " is not proved.",
            _NOTE,
        )
    for item in part.shown:
        if item.observation.count and item.listed_at:
            layout.text(f"{item.observation.title}: {item.observation.count}, listed at {item.listed_at}")
        elif item.observation.count:
            _exceptions(item.observation, layout)
    layout.heading("Observed", _HEADING, 8)
    layout.table(
        (Column("What", 0.22, STRONG), Column("Observation", 0.5), Column("Shown by", 0.28, NAME)),
        [(item.observation.title, item.observation.text, item.observation.file) for item in part.shown],
    )
    if part.requirement.not_proved:
        layout.heading("Not proved", _HEADING, 8)
        for text in part.requirement.not_proved:
            layout.text(text, indent=12, bullet="-")


def _exceptions(item: Observation, layout: Layout) -> None:
    plural = "" if item.count == 1 else "s"
    title = f"{item.title}: {item.count} exception{plural} in {item.file}"
    layout.heading(title, STRONG._replace(colour=ALARM), 6)
    layout.table(
        (Column("Row", 0.1, STRONG), Column("Exception", 0.52), Column("Concerns", 0.38, NAME)),
        [(str(one.row) if one.row is not None else "-", one.text, one.subject) for one in item.deviations],
    )
    more = item.count - len(item.deviations)
    listed = f"{more} more are not listed here. " if more else ""
    layout.space(2)
    layout.text(f"{listed}All of them in {item.file}: {item.where}.", _NOTE)


def _number_pages(report: Report, layout: Layout) -> None:
    title = wrapped(report.title, _FOOTER, CONTENT - 80)[0]
    for number, page in enumerate(layout.pages, 1):
        page.append(Text(MARGIN, 32, title, _FOOTER))
        page.append(Text(WIDTH - MARGIN - 70, 32, f"page {number} of {len(layout.pages)}", _FOOTER))


# --------------------------------------------------------------------------------------------------------------------
# The file


def _file(report: Report, layout: Layout, places: Mapping[str, int]) -> bytes:
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
    _add_outline(pdf, report, places, pages)
    title = shown(report.title)
    pdf.info.update({"Title": pydyf.String(title), "Producer": pydyf.String("fimscan")})
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


def _add_outline(pdf: Any, report: Report, places: Mapping[str, int], pages: list[Any]) -> None:
    """Bookmarks: one for each requirement."""
    root = pydyf.Dictionary({"Type": "/Outlines"})
    pdf.add_object(root)
    items = []
    for _, parts in report.frameworks:
        for part in parts:
            item = pydyf.Dictionary(
                {
                    "Title": pydyf.String(f"{part.requirement.id} {part.requirement.title}"),
                    "Parent": root.reference,
                    "Dest": pydyf.Array([pages[places[part.anchor]].reference, "/Fit"]),
                }
            )
            pdf.add_object(item)
            items.append(item)
    for before, after in itertools.pairwise(items):
        before["Next"], after["Prev"] = after.reference, before.reference
    root.update({"First": items[0].reference, "Last": items[-1].reference, "Count": len(items)})
    pdf.catalog["Outlines"] = root.reference
