"""``01-report.html`` in a real browser: nothing acts or is loaded, it fits narrow screens and paper, axe is content."""

from __future__ import annotations

import io
import re
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, sync_playwright

from fimscan.evidence.bundle import build_bundle
from fimscan.signing import SigningKey
from tests.evidence.test_assessment import hostile_input, troubled

CHROMIUM = shutil.which("chromium")
pytestmark = [pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed (apt-get install chromium)")]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        # Chromium's own sandbox needs privileges that a container does not have; the page comes from this test.
        running = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield running
        running.close()


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The page of a host with exceptions everywhere, and that of one with hostile names."""
    directory, found = tmp_path_factory.mktemp("pages"), {}
    for name, data in (("troubled", troubled()), ("hostile", hostile_input())):
        build_bundle(data, _key(), directory / "x.zip")
        with zipfile.ZipFile(io.BytesIO((directory / "x.zip").read_bytes())) as packed:
            found[name] = directory / f"{name}.html"
            found[name].write_bytes(packed.read("01-report.html"))
    return found


def _key() -> SigningKey:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    return SigningKey(Ed25519PrivateKey.from_private_bytes(b"k" * 32))


@pytest.mark.parametrize(("width", "scheme"), [(340, "dark"), (1100, "light")])
@pytest.mark.parametrize("name", ["troubled", "hostile"])
def test_the_page_is_accessible_and_inert(
    browser: Browser, pages: dict[str, Path], name: str, width: int, scheme: str
) -> None:
    """axe finds no violation; nothing is loaded, run or refused; nothing is wider than the screen."""
    problems: list[str] = []
    requests: list[str] = []
    page = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)  # type: ignore[arg-type]
    page.on("console", lambda message: problems.append(message.text))
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("dialog", lambda dialog: problems.append(f"a dialog: {dialog.message}"))
    page.on("request", lambda request: requests.append(request.url))
    page.goto(pages[name].as_uri())
    found = Axe().run(page).response["violations"]
    assert [(item["id"], [node["html"] for node in item["nodes"]][:3]) for item in found] == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert problems == []
    assert requests == [pages[name].as_uri()]
    page.close()


def test_each_requirement_begins_a_sheet(browser: Browser, pages: dict[str, Path]) -> None:
    """Printed, each page of the report begins on a new sheet of paper."""
    page = browser.new_page()
    page.goto(pages["troubled"].as_uri())
    paper = page.pdf(prefer_css_page_size=True)
    page.emulate_media(media="print")
    breaks = page.evaluate("[...document.querySelectorAll('.page')].map(e => getComputedStyle(e).breakBefore)")
    page.close()
    assert len(breaks) == 12
    assert set(breaks) == {"page"}
    assert len(re.findall(rb"/Type /Page\b", paper)) >= 13
