"""The HTML page in a real browser: what a person sees and does, that nothing in a name acts, and axe's rules."""

from __future__ import annotations

import io
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from msgspec.structs import replace
from playwright.sync_api import Browser, Page, sync_playwright

from fimscan.grouping import Facts, group
from fimscan.model import (
    Continuity,
    Coverage,
    Diff,
    Explanation,
    Gap,
    GapReason,
    Reason,
    Reasoning,
    Ruling,
    UnmodifiedOpen,
    Unreadable,
    UnreadableReason,
    Verdict,
    Why,
    Xattr,
)
from fimscan.report import html
from fimscan.report.html import PageContext, explained_findings, write_html
from tests.grouping.conftest import confirmed, facts, machine
from tests.report.conftest import SECOND, Make

CHROMIUM = shutil.which("chromium")
pytestmark = [pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed (apt-get install chromium)")]

# In a path, an attribute and a command line: the end of a script, an element, ESC, a bidirectional override, a quote.
HOSTILE = "</script><img src=x onerror=alert(1)>\x1b[2J\u202egnp.\"'`\u2028\x00"[:-1]
SEVERAL = 300


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        # Chromium's own sandbox needs privileges that a container does not have; the page comes from this test.
        running = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield running
        running.close()


class Opened:
    """A page that was opened from its file, and what went wrong in it."""

    def __init__(self, page: Page, file: Path) -> None:
        self.page = page
        self.problems: list[str] = []
        self.requests: list[str] = []
        page.on("console", lambda message: self.problems.append(message.text))
        page.on("pageerror", lambda error: self.problems.append(str(error)))
        page.on("dialog", lambda dialog: self.problems.append(f"a dialog: {dialog.message}"))
        page.on("request", lambda request: self.requests.append(request.url))
        page.goto(file.as_uri())
        page.wait_for_selector("html[data-ready]")

    def texts(self, selector: str) -> list[str]:
        return self.page.locator(selector).all_inner_texts()

    def focused(self) -> str:
        """The text of what has the focus."""
        text: str = self.page.evaluate("document.activeElement.innerText || document.activeElement.id")
        return " ".join(text.split())


class Opener:
    """Writes diffs as pages, and opens them."""

    def __init__(self, browser: Browser, directory: Path) -> None:
        self._browser = browser
        self._file = directory / "report.html"
        self._pages: list[Page] = []

    def __call__(
        self, diff: Diff, known: Facts | None = None, context: PageContext | None = None, **options: Any
    ) -> Opened:
        with open(self._file, "w", encoding="utf-8") as out:
            write_html(diff, out, group(diff.findings, known or Facts.of(diff)), context)
        page = self._browser.new_page(**{"viewport": {"width": 1280, "height": 800}} | options)
        self._pages.append(page)
        return Opened(page, self._file)

    def close(self) -> None:
        for page in self._pages:
            page.close()


@pytest.fixture
def show(browser: Browser, tmp_path: Path) -> Iterator[Opener]:
    opener = Opener(browser, tmp_path)
    yield opener
    opener.close()


def explained(make: Make, diff: Diff) -> PageContext:
    """A reasoning and an audit record for each row that has them on the page."""
    ruling = Ruling(make.actor(), None, Why.HELD_OPEN)
    explanations = {}
    for finding in explained_findings(group(diff.findings)):
        reasoned = replace(finding, attribution=finding.attribution._replace(reasoning=Reasoning((ruling,))))
        explanations[finding.change.id] = Explanation(
            host="web1",
            finding=reasoned,
            after_scan=1,
            before_scan=2,
            records=(b"type=SYSCALL of change %d" % finding.change.id,),
        )
    gap = Gap(start_ns=make.now - SECOND, end_ns=make.now, reason=GapReason.DAEMON_STOPPED)
    return PageContext(continuity=Continuity(scans=(diff.start, diff.end), gaps=(gap,)), explanations=explanations)


def everything(make: Make) -> Diff:
    """The machine that was broken into, with all that a page can have beside changes."""
    weak = make.attribution(
        Verdict.CONTESTED,
        Reason.COVERAGE_GAP,
        actors=(make.actor(), make.actor(pid=5, exe=b"/usr/bin/sed")),
        coverage=Coverage(
            complete=False, gaps=(Gap(start_ns=make.now, end_ns=make.now + 9, reason=GapReason.EVENTS_LOST),)
        ),
    )
    steps = tuple(make.finding(make.change(path=b"/etc/issue", id=number), scan=number) for number in (7, 8))
    whole = machine(make, SEVERAL)
    return replace(
        whole,
        findings=(
            *whole.findings,
            make.finding(make.change(path=b"/etc/fstab", id=5), weak, severity="low"),
            make.finding(make.change(path=b"/etc/issue", id=8), steps=steps),
            make.finding(make.change(path=b"/etc/motd", id=9), disposition=make.disposition()),
            make.finding(make.change(path=b"/usr/sbin/nginx", id=10), in_effect=make.in_effect()),
        ),
        plans=(make.progress(b"/usr/sbin/nginx", b"/etc/issue", missing=(b"/etc/nginx.conf",), deed="ansible"),),
        unreadable=(
            Unreadable(path=b"/srv/x", reason=UnreadableReason.PERMISSION, detail="", differs=("size",)),
            Unreadable(path=b"/srv/y", reason=UnreadableReason.PERMISSION, detail=""),
        ),
        opened_unmodified=(UnmodifiedOpen(path=b"/etc/opened", actors=(make.actor(),)),),
    )


def test_the_first_screen_names_what_stands_out_and_who_did_it(make: Make, show: Opener) -> None:
    """Without scrolling, on a small laptop: the trojan, the setuid program, the account, and the set they are in."""
    opened = show(machine(make), facts(make))
    looks = opened.texts("#look-list .item")
    assert [re.search(r"/usr/bin/find|/usr/bin/who|/etc/passwd", look)[0] for look in looks] == [  # type: ignore[index]
        "/usr/bin/find",
        "/usr/bin/who",
        "/etc/passwd",
    ]
    assert all("logged in as eve" in look for look in looks)
    for words in ("setuid gained", "/usr/bin/chmod (pid 5002", "program changed", "an account with root's rights"):
        assert words in " ".join(looks)
    assert opened.page.locator("#look-list .item").last.bounding_box()["y"] < 800  # type: ignore[index]
    assert opened.texts("#changes-title") == ["3 change sets, 2,005 changes"]
    (deed,) = [text for text in opened.texts("#change-list .item") if "apt-get upgrade" in text]
    assert "2,000" in deed
    assert opened.problems == []


def test_only_rows_in_sight_are_drawn_and_all_can_be_reached(make: Make, show: Opener) -> None:
    """The elements do not grow with the changes; the end of the list is the last change."""
    opened = show(machine(make), facts(make))
    opened.page.click("#views >> text=Rows")
    assert len(opened.texts("#change-list .item")) < 80
    opened.page.locator("#change-list .head").first.focus()
    opened.page.keyboard.press("End")
    assert opened.page.locator(":focus").locator("..").get_attribute("aria-posinset") == "2005"
    opened.page.keyboard.press("ArrowUp")
    box = opened.page.locator(":focus").bounding_box()
    assert box is not None and 0 <= box["y"] < 800
    assert len(opened.texts("#change-list .item")) < 80
    # Scrolled away, the list can still be reached by Tab.
    opened.page.evaluate("scrollTo(0, 0)")
    opened.page.wait_for_selector("#change-list [aria-posinset='1']")
    assert opened.page.locator("#change-list .head[tabindex='0']").count() == 1
    assert opened.problems == []


def test_what_comes_into_sight_when_a_row_closes_is_drawn(make: Make, show: Opener) -> None:
    """A list that moves up because something above it gets shorter has no empty place at its end."""
    rows = [make.finding(make.change(path=b"/etc/f%d" % number, id=number + 1)) for number in range(SEVERAL)]
    diff = make.diff(*rows, *machine(make, 0).findings)
    opened = show(diff, context=explained(make, diff))
    page = opened.page
    page.click("#views >> text=Rows")
    page.set_viewport_size({"width": 1280, "height": 700})
    page.locator("#look-list .head").first.click()
    page.wait_for_selector("#look-list pre")
    page.wait_for_function("document.querySelectorAll('#change-list .item').length === 1")  # the tab stop
    page.locator("#look-list .head").first.click()
    page.wait_for_selector("#change-list [aria-posinset='12']")  # 12 rows are higher than what was in sight


def test_filters_and_search_count_what_they_show(make: Make, show: Opener) -> None:
    """By verdict, severity, kind, words in paths, processes and reasons, and by number; all of them at once."""
    opened = show(everything(make))
    page = opened.page
    total = SEVERAL + 9
    assert opened.texts("#changes-title")[0].endswith(f", {total} changes")
    page.click("#filters >> text=contested")
    assert opened.texts("#status") == [f"1 of {total} changes match"]
    page.click("#filters >> text=contested")
    page.click("#filters >> text=low")
    assert opened.texts("#changes-title") == ["1 change set, 1 change"]
    page.click("#filters >> text=Clear all")
    for words, number in (
        ("find chmod", 1),
        ("SETUID gained", 1),
        ("#3003", 1),
        ("#7", 1),  # a step
        ('"logged in as eve"', 4),
        ("0755 -> 4755", 1),
        ("nothing-like-this", 0),
    ):
        page.fill("#search", words)
        assert opened.texts("#status") == [f"{number} of {total} changes match"], words
    page.fill("#search", "")
    assert opened.texts("#status") == [""]
    page.click("#filters >> text=stands out")
    # 3 of the intruder's; the number of changes below is that of the first list.
    assert (
        re.findall(r"\d+", opened.texts("#look-title")[0])[0]
        == re.findall(r"\d+", opened.texts("#changes-title")[0])[1]
    )
    assert opened.problems == []


def test_a_row_opens_to_all_that_is_known(make: Make, show: Opener) -> None:
    """Differences, who, package, recorded states, text, reasoning and raw records; also of each step."""
    diff = everything(make)
    context = replace(explained(make, diff), texts={3003: ["@@ -1 +1 @@", "-root:x:0", "+root:x:0 ", "+toor:x:0"]})
    opened = show(diff, context=context)
    page = opened.page
    page.fill("#search", "#3003")
    page.locator("#look-list .head").click()
    page.wait_for_selector("#look-list >> text=type=SYSCALL of change 3003")
    (shown,) = opened.texts("#look-list .detail")
    for words in (
        *("Differences", "size 220 -> 248 (+28)", "useradd -o -u 0 toor", "1795408516.818:6628020", "9a" * 32),
        *("Text", "+toor:x:0", "Reasoning", "When it happened", "read by scan 1", "Processes considered (1 entry)"),
        *("NAMED /usr/bin/vim (pid 4242", "it could write to the file without opening it again"),
    ):
        assert words in shown, words
    assert opened.texts("#look-list .insert")[-1].strip() == "+toor:x:0"
    page.fill("#search", "/etc/issue")
    page.click("#views >> text=Rows")
    page.locator("#change-list .head").click()
    page.wait_for_selector("#change-list >> text=type=SYSCALL of change 8")
    (shown,) = opened.texts("#change-list .detail")
    for words in ("changed 2 times", "scan 7: modified #7", "scan 8: modified #8", "Reasoning: change #7, scan 7"):
        assert words in shown, words
    assert opened.problems == []


def test_a_row_says_what_was_decided_planned_and_is_not_yet_in_effect(make: Make, show: Opener) -> None:
    """A violation with its ticket and reviewer in the first list; plan and restart where a row opens; all are found."""
    opened = show(everything(make))
    page = opened.page
    (marked,) = [look for look in opened.texts("#look-list .item") if "/etc/motd" in look]
    assert "violation, INC-9, malware, not ours, by ada, 2026-11-23 04:35 UTC, decision 3" in marked
    assert "ansible, CHG-17: 2 as planned, 1 not yet" in opened.texts("header p.seen")
    page.fill("#search", '"as planned: chg-17"')
    page.click("#views >> text=Rows")
    assert sorted(re.findall(r"/\S+", " ".join(opened.texts("#change-list .item .path")))) == [
        "/etc/issue",
        "/usr/sbin/nginx",
    ]
    page.fill("#search", "restart nginx")
    assert opened.texts("#change-list .item .path") == ["/usr/sbin/nginx"]
    page.locator("#change-list .head").click()
    (detail,) = opened.texts("#change-list .detail")
    assert "as planned: CHG-17" in detail
    assert "nginx (pid 812) still runs the old one: restart it" in detail
    page.fill("#search", "inc-9")
    assert opened.texts("#change-list .item .path") == ["/etc/motd"]
    page.emulate_media(media="print")
    page.wait_for_selector("#print article")
    assert "violation, INC-9" in page.inner_text("#print")
    assert opened.problems == []


def test_what_the_page_leaves_out_is_said(make: Make, show: Opener, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the most urgent changes have their evidence on the page; the others name the command that has it."""
    monkeypatch.setattr(html, "EXPLAINED", 3)
    diff = machine(make, SEVERAL)
    opened = show(diff, facts(make), explained(make, diff))
    (said,) = [text for text in opened.texts("#help p") if "most urgent" in text]
    assert "3 most urgent of 305 changes" in said
    opened.page.click("#views >> text=Rows")
    opened.page.fill("#search", "/etc/motd")
    opened.page.locator("#change-list .head").click()
    opened.page.wait_for_selector("#change-list >> text=fimscan explain 3005")
    opened.page.fill("#search", "/usr/bin/who")
    opened.page.locator("#change-list .head").click()
    opened.page.wait_for_selector("#change-list >> text=type=SYSCALL of change 3001")


def test_it_can_be_used_with_the_keyboard_alone(make: Make, show: Opener) -> None:
    """Search, move, open, close, and back."""
    diff = everything(make)
    opened = show(diff, context=explained(make, diff))
    page, press = opened.page, opened.page.keyboard.press
    press("/")
    assert opened.focused() == "search"
    page.keyboard.type("passwd")
    press("ArrowDown")
    assert "/etc/passwd" in opened.focused()
    press("Enter")
    page.wait_for_selector("#look-list >> text=Reasoning")
    assert "/etc/passwd" in opened.focused()
    press("Escape")
    assert opened.texts("#look-list .detail") == []
    assert "/etc/passwd" in opened.focused()
    press("/")
    press("Escape")
    assert page.input_value("#search") == ""
    page.locator("#change-list .head").first.focus()
    press("ArrowRight")
    assert page.locator(":focus").get_attribute("aria-expanded") == "true"
    first = opened.focused()
    press("ArrowDown")
    inside = opened.focused()
    assert inside != first and "/" in inside
    press("ArrowLeft")
    assert opened.focused() == first
    press("ArrowLeft")
    assert page.locator(":focus").get_attribute("aria-expanded") == "false"
    page.locator(".bar:enabled").first.focus()
    press("Enter")
    assert re.match(r"\d+ of \d+ changes match", opened.texts("#status")[0])
    # One Tab reaches a list, the next one leaves it: nobody has to pass thousands of rows.
    stops = page.evaluate(
        "[...document.querySelectorAll('.list')].map(l => l.querySelectorAll('.head[tabindex=\"0\"]').length)"
    )
    assert set(stops) <= {0, 1}
    assert opened.problems == []


def hostile(make: Make) -> Diff:
    name = HOSTILE.encode()
    actor = make.actor(
        exe=name, comm=name, cmdline=(name,), cwd=name, login_user=HOSTILE, user=HOSTILE, tty=HOSTILE, syscall="openat"
    )
    before, after = (
        make.state(b"/" + name, content, xattrs=(Xattr(name=b"user." + name, data=name, size=len(name)),), mode=mode)
        for content, mode in ((b"\x1f", 0o644), (b"\x9a", 0o666))
    )
    change = make.change(path=b"/" + name, before=before, after=after, changed=("content", "mode", "xattr"))
    answer = make.attribution(Verdict.CONTESTED, Reason.PATH_ONLY, actors=(actor, make.actor()), notes=(HOSTILE,))
    return make.diff(
        make.finding(change, answer),
        host=HOSTILE,
        unreadable=(Unreadable(path=name, reason=UnreadableReason.IO_ERROR, detail=HOSTILE),),
        opened_unmodified=(UnmodifiedOpen(path=name, actors=(actor,)),),
    )


def test_nothing_in_a_name_acts(make: Make, show: Opener) -> None:
    """A path, attribute or command line ends no script, makes no element, and moves no text: it is shown escaped."""
    diff = hostile(make)
    context = explained(make, diff)
    context = replace(context, explanations={17: replace(context.explanations[17], records=(HOSTILE.encode(),))})
    opened = show(diff, context=context)
    page = opened.page
    page.locator("#look-list .head").click()
    page.wait_for_selector("#look-list >> text=Audit records of")
    for summary in page.locator("summary").all():
        summary.click()
    page.evaluate("fillPrint()")
    written = page.inner_text("body") + page.evaluate("document.querySelector('#print').textContent")
    assert written.count("</script><img src=x onerror=alert(1)>\\x1b[2J\\u202egnp.") > 12
    assert not set("\x1b\u202e\u2028\x00") & set(page.content())
    assert page.locator("img").count() == 0
    assert opened.problems == []
    assert [url for url in opened.requests if not url.endswith("/report.html")] == []


def test_every_text_of_the_data_is_printable(make: Make) -> None:
    """Whatever the script does with it: no character of the data changes how others show."""
    diff = hostile(make)
    out = io.StringIO()
    write_html(diff, out)
    (data,) = re.findall(r'id="data">(.*?)</script>', out.getvalue())
    texts = list(strings(json.loads(data)))
    assert len(texts) > 50
    assert [text for text in texts if not text.replace("\n", "").isprintable()] == []


def strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from strings(item)
    elif isinstance(value, list):
        for item in value:
            yield from strings(item)


def test_the_page_runs_nothing_but_its_own_script(make: Make, show: Opener) -> None:
    """An injected script, style, image or request is refused by the browser itself."""
    opened = show(make.diff(make.finding()))
    opened.page.evaluate(
        """() => {
          const script = document.createElement("script");
          try { script.textContent = "window.acted = true"; document.body.append(script); } catch { }
          const style = document.createElement("style");
          style.textContent = "body { display: none }";
          document.body.append(style);
          document.body.append(Object.assign(new Image(), { src: "https://127.0.0.1:9/x.png" }));
        }"""
    )
    assert opened.page.evaluate("fetch('https://127.0.0.1:9/').then(() => 'loaded', () => 'refused')") == "refused"
    assert opened.page.evaluate("typeof acted") == "undefined"
    assert opened.page.is_visible("h1")
    assert any("Content Security Policy" in problem for problem in opened.problems)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 420])
def test_axe_finds_no_violation(make: Make, show: Opener, scheme: str, width: int) -> None:
    """In both themes, wide and narrow; with rows, sets and lists open, a filter, and the tree."""
    diff = everything(make)
    opened = show(
        diff,
        context=explained(make, diff),
        color_scheme=scheme,
        viewport={"width": width, "height": 900},
        bypass_csp=True,  # axe checks colours with elements of its own
    )
    page = opened.page
    assert violations(page) == []
    page.locator("#look-list .head").first.click()
    page.wait_for_selector("#look-list >> text=Audit records of")
    page.locator("#change-list .head").first.click()
    for summary in page.locator("summary").all():
        summary.click()
    page.click("#filters >> text=modified")
    assert violations(page) == []
    page.click("#views >> text=Directories")
    page.locator("#tree button.open").first.click()
    assert violations(page) == []
    page.fill("#search", "nothing-like-this")
    assert violations(page) == []


def violations(page: Page) -> list[tuple[str, list[str]]]:
    found = Axe().run(page).response["violations"]
    return [(item["id"], [node["html"] for node in item["nodes"]][:3]) for item in found]


@pytest.mark.parametrize("width", [1280, 420])
def test_both_themes_differ_and_nothing_is_wider_than_the_window(make: Make, show: Opener, width: int) -> None:
    """A long path, a long command and open details scroll or break within the page."""
    deep = b"/".join([b"", *[b"a-directory-with-a-long-name"] * 12, b"file"])
    diff = replace(everything(make), findings=(*everything(make).findings, make.finding(make.change(path=deep, id=90))))
    shots = []
    for scheme in ("light", "dark"):
        opened = show(
            diff, context=explained(make, diff), color_scheme=scheme, viewport={"width": width, "height": 900}
        )
        page = opened.page
        page.fill("#search", "a-directory-with")
        page.click("#views >> text=Rows")
        page.locator("#change-list .head").click()
        page.wait_for_selector("#change-list >> text=Audit records of")
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        shots.append(page.screenshot())
        assert len(shots[-1]) > 10_000
    assert shots[0] != shots[1]


def test_print_has_what_stands_out_and_the_sets_and_says_what_it_leaves_out(make: Make, show: Opener) -> None:
    """Whole, whatever was in sight; nothing of the controls."""
    diff = everything(make)
    opened = show(diff, context=explained(make, diff))
    page = opened.page
    page.emulate_media(media="print")
    page.wait_for_selector("#print tr")
    printed = page.inner_text("body")
    for words in ("/usr/bin/find", "setuid gained", "logged in as eve", "/srv/x", "Not printed: the ", "reasoning"):
        assert words in printed, words
    sets = len(group(diff.findings).sets)
    assert page.locator("#print tr").count() == sets
    assert "1 file opened and not changed; 1 file that could not be compared" in printed
    assert not page.is_visible("#search")
    page.emulate_media(media="screen")
    page.wait_for_selector("#print", state="hidden")  # emptied by the page when it hears of it, a frame later
    assert page.is_visible("#search")
    assert len(page.pdf()) > 5000
    assert opened.problems == []


def test_continuity_shows_scans_and_gaps_and_never_an_all_clear_that_nobody_knows(make: Make, show: Opener) -> None:
    """Gaps are listed with their times; without a configuration, none is known, which is not "none"."""
    diff = make.diff(make.finding())
    opened = show(diff, context=explained(make, diff))
    assert "1 audit gap" in opened.texts("#time summary")[0]
    opened.page.locator("#time summary").first.click()
    opened.page.locator("#time details li").first.wait_for()
    assert any("the audit daemon was not running" in text for text in opened.texts("#time details li"))
    unknown = show(diff)
    assert "not known" in unknown.page.inner_text("#time")
    nothing = show(diff, context=PageContext(continuity=Continuity(scans=(diff.start, diff.end), gaps=())))
    assert "No audit gap is known" in nothing.page.inner_text("#time")


def test_directories_are_counted_and_lead_to_their_changes(make: Make, show: Opener) -> None:
    """The one with most changes first."""
    opened = show(machine(make, SEVERAL), facts(make))
    page = opened.page
    page.click("#views >> text=Directories")
    (first, *_) = opened.texts("#tree .branch")
    assert first.split()[0] == "302" and "/usr/" in first
    page.locator("#tree .branch >> text=show").last.click()
    assert "/etc/" in opened.focused()
    assert opened.texts("#changes-title") == ["3 changes"]


def test_without_a_change_the_page_says_so(make: Make, show: Opener) -> None:
    opened = show(make.diff())
    assert opened.texts("#look-title") == ["Nothing to look at"]
    assert opened.problems == []


def test_the_row_of_one_process_is_the_text_of_the_other_reports(make: Make, show: Opener) -> None:
    """Two changes by one process share their texts on the page, but not their events."""
    rows = [
        confirmed(make, make.change(path=b"/etc/a%d" % number, id=number), make.actor(after_s=number))
        for number in (1, 2)
    ]
    opened = show(make.diff(*rows))
    opened.page.click("#views >> text=Rows")
    for number in (1, 2):
        opened.page.fill("#search", f"/etc/a{number}")
        opened.page.locator("#change-list .head").click()
        (shown,) = opened.texts("#change-list .detail")
        assert f"2026-11-23T04:35:{13 + number}.818Z event {1795408513 + number}.818:{6628017 + number}" in shown
        assert "/usr/bin/vim (pid 4242, ppid 4200) wrote it" in shown
        assert "/etc$ vim hosts" in shown
