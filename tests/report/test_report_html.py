"""The HTML report: complete, self-contained, and inert."""

from __future__ import annotations

import io
from html.parser import HTMLParser
from typing import Any

from fimscan.model import Diff, Reason, UnmodifiedOpen, Unreadable, UnreadableReason, Verdict
from fimscan.report.html import write_html

EVIL = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>&lt;{{ 7 * 7 }}"


class Page(HTMLParser):
    """Collects what a browser would see: tags, attributes, and text."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(source)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in ("meta", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def page(diff: Diff) -> tuple[str, Page]:
    out = io.StringIO()
    write_html(diff, out)
    return out.getvalue(), Page(out.getvalue())


def evil_diff(make: Any) -> Diff:
    name = EVIL.encode()
    actor = make.actor(
        exe=name, comm=name, cmdline=(name,), cwd=name, login_user=EVIL, user=EVIL, tty=EVIL, syscall=EVIL
    )
    attribution = make.attribution(Verdict.CONTESTED, Reason.PATH_ONLY, actors=(actor, make.actor()), notes=(EVIL,))
    finding = make.finding(make.change(path=b"/" + name), attribution)
    diff: Diff = make.diff(
        finding,
        make.finding(steps=(finding, finding)),
        host=EVIL,
        unreadable=(Unreadable(path=name, reason=UnreadableReason.IO_ERROR, detail=EVIL),),
        opened_unmodified=(UnmodifiedOpen(path=name, actors=(actor,)),),
    )
    return diff


def test_nothing_in_a_name_becomes_markup(make: Any) -> None:
    """A file or process name cannot run a script, load an image or leave its element in the browser."""
    source, seen = page(evil_diff(make))
    assert "script" not in seen.tags
    assert "img" not in seen.tags
    assert {name for name, _ in seen.attributes} <= {"lang", "charset", "name", "content", "http-equiv", "class"}
    assert seen.open == []
    assert seen.text.count("<script>alert(1)</script>") >= 12
    assert "49" not in source.replace("1795408513", "").partition("</style>")[2]


def test_the_page_loads_nothing(make: Any) -> None:
    """The page makes no network requests, so it works offline and nobody learns that it was opened."""
    source, _ = page(make.diff(make.finding()))
    assert source.startswith("<!DOCTYPE html>")
    assert "default-src 'none'" in source
    for loader in ("src=", "href=", "url(", "@import", "http://", "https://"):
        assert loader not in source


def test_the_page_says_what_the_text_says(make: Any) -> None:
    """Path, both full digests, verdict, process, user, command and event are all on the page."""
    _, seen = page(make.diff(make.finding(), make.finding(make.change(path=b"/n\xff\x1b"))))
    for words in (
        *("2 changed since scan 1", "/etc/hosts", "1f" * 32, "9a" * 32, "confirmed", "/usr/bin/vim (pid 4242"),
        *("as root, logged in as alice", "/etc$ vim hosts", "1795408513.818:6628017", "/n\\xff\\x1b"),
    ):
        assert words in seen.text


def test_numbers_and_counts_are_on_the_page(make: Any) -> None:
    """Each stored change and step has its number for 'accept', and each row its severity; plurals are correct."""
    steps = tuple(make.finding(make.change(id=number), scan=number) for number in (3, 4))
    missing = Unreadable(path=b"/srv", reason=UnreadableReason.MISSING, detail="No such file or directory")
    denied = Unreadable(path=b"/x", reason=UnreadableReason.PERMISSION, detail="Permission denied")
    diff = make.diff(
        make.finding(make.change(path=b"/a", id=21), severity="critical"),
        make.finding(make.change(path=b"/b", id=0)),
        make.finding(make.change(path=b"/c", id=4), steps=steps),
        unreadable=(missing, denied),
        opened_unmodified=(UnmodifiedOpen(path=b"/o", actors=(make.actor(),)),),
    )
    _, seen = page(diff)
    for words in (
        *(
            "modified #21 critical /a\n",
            "modified /b\n",
            "modified #4 /c\n",
            "scan 3: modified #3, ",
            "scan 4: modified #4, ",
        ),
        "Missing (1 path; known files there are reported as removed)\n",
        "/srv: configured, but there is no such file or directory\n",
        "Not compared (1 file; not counted as removed)\n\n/x: permission denied\n",
        "content unchanged (1 file)\n",
    ):
        assert words in seen.text
