"""The HTML report as a file: complete, self-contained, and inert. ``test_page.py`` opens it in a browser."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
import zlib
from html.parser import HTMLParser
from typing import Any

from fimscan.model import Diff, Reason, UnmodifiedOpen, Unreadable, UnreadableReason, Verdict
from fimscan.report.html import write_html

EVIL = "</script><script>alert(1)</script>\"'><img src=x onerror=alert(2)>&lt;{{ 7 * 7 }}<!--"


class Page(HTMLParser):
    """Collects what a browser would see: tags, attributes, the text of the document, and that of each script."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.open: list[str] = []
        self.text = ""
        self.scripts: list[tuple[dict[str, str | None], str]] = []
        self.feed(source)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        if tag == "script":
            self.scripts.append((dict(attrs), ""))
        if tag not in ("meta", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "script":
            attributes, known = self.scripts[-1]
            self.scripts[-1] = (attributes, known + data)
        elif self.open and self.open[-1] != "style":
            self.text += data

    @property
    def data(self) -> Any:
        (found,) = [text for attributes, text in self.scripts if attributes.get("id") == "data"]
        return json.loads(found)


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
    """A file or process name ends no element and begins none; data stays data."""
    source, seen = page(evil_diff(make))
    assert "img" not in seen.tags
    assert seen.open == []
    kinds = [attributes.get("type") for attributes, _ in seen.scripts]
    assert sorted(map(str, kinds)) == ["None", "application/json", "text/plain"]
    assert json.dumps(seen.data).count("alert(1)") > 12
    assert "<script>alert" not in source
    assert "49" not in json.dumps(seen.data["processes"])


def test_the_policy_admits_the_pages_own_script_and_style_and_nothing_else(make: Any) -> None:
    """Their digests are those of the elements; there is no other source."""
    source, _ = page(make.diff(make.finding()))
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]*)"', source)
    policy = policy.replace("&#39;", "'")
    digests = dict(re.findall(r"(script|style)-src '(sha256-[^']+)'", policy))
    for tag in ("script", "style"):
        (text,) = re.findall(rf"<{tag}>(.*?)</{tag}>", source, re.DOTALL)
        assert digests[tag] == f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
    assert policy.startswith("default-src 'none'; ")
    for hole in ("unsafe", "http", "data:", "*", "self"):
        assert hole not in policy


def test_the_page_loads_nothing(make: Any) -> None:
    """The page makes no network requests, so it works offline and nobody learns that it was opened."""
    source, seen = page(make.diff(make.finding()))
    assert source.startswith("<!DOCTYPE html>")
    assert {name for name, _ in seen.attributes} & {"src", "href", "action", "style", "onclick"} == set()
    for loader in ("url(", "@import", "http://", "https://", "fetch(", "XMLHttpRequest", "innerHTML", "eval("):
        assert loader not in source


def test_the_page_has_what_the_text_says(make: Any) -> None:
    """Path, both full digests, verdict, process, user, command and event."""
    _, seen = page(make.diff(make.finding(), make.finding(make.change(path=b"/n\xff\x1b", id=18))))
    assert "2 changed since scan 1" in seen.text
    data = json.dumps(seen.data)
    for words in (
        *("/etc/", "hosts", "confirmed", "/usr/bin/vim (pid 4242", "as root, logged in as alice", "vim hosts"),
        "n\\\\xff\\\\x1b",
    ):
        assert words in data, words
    (chunk,) = [text for attributes, text in seen.scripts if attributes.get("type") == "text/plain"]
    evidence = json.loads(zlib.decompress(base64.b64decode(chunk), -15))
    assert "1f" * 32 in json.dumps(evidence) and "9a" * 32 in json.dumps(evidence)
    rows = seen.data["rows"]
    assert rows["number"] == [17, 18]
    # (milliseconds after the base, serial) of the event 1795408513.818:6628017
    base = seen.data["base"]
    assert [[(base + event[0], event[1]) for event in events] for events in rows["events"]] == [
        [(1795408513818, 6628017)],
        [(1795408513818, 6628017)],
    ]


def test_all_changes_are_in_the_data_those_that_stand_out_first(make: Any) -> None:
    """With severity, set and steps; what is not a change is beside them."""
    steps = tuple(make.finding(make.change(id=number), scan=number) for number in (3, 4))
    missing = Unreadable(path=b"/srv", reason=UnreadableReason.MISSING, detail="No such file or directory")
    denied = Unreadable(path=b"/x", reason=UnreadableReason.PERMISSION, detail="Permission denied")
    diff = make.diff(
        make.finding(make.change(path=b"/b", id=0)),
        make.finding(make.change(path=b"/a", id=21), severity="critical"),
        make.finding(make.change(path=b"/c", id=4), steps=steps),
        unreadable=(missing, denied),
        opened_unmodified=(UnmodifiedOpen(path=b"/o", actors=(make.actor(),)),),
    )
    _, seen = page(diff)
    data = seen.data
    assert data["standing_out"] == 1 and data["rows"]["number"][0] == 21
    assert [data["severities"][place] for place in data["rows"]["severity"]] == ["critical", "", ""]
    assert sorted(data["rows"]["name"]) == ["a", "b", "c"]
    (where,) = data["steps"]
    assert data["rows"]["number"][int(where)] == 4
    assert [step[:3] for step in data["steps"][where]] == [[3, 2, 3], [4, 2, 4]]
    assert data["unreadable"] == [
        [
            "Missing (1 path; known files there are reported as removed)",
            [["/srv", "configured, but there is no such file or directory", False]],
        ],
        ["Not compared (1 file; not counted as removed)", [["/x", "permission denied", False]]],
    ]
    assert data["opened"][0] == "Opened for writing, content unchanged (1 file)"
    assert data["opened"][1][0][0] == "/o"
