"""The report in a real browser: every clip plays, a finger lands where it points, nothing is loaded or cut off."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipeline.config.params import load_params
from pipeline.report import gather, page, pictures
from pipeline.report.files import FolderFiles
from tests.browser import BROWSER, Page, browser_page
from tests.report_toys import toy_samples, write_run
from tests.test_report import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.skipif(BROWSER is None, reason="no Chromium on PATH")]
PHONE, DESK = 390, 1280
PLAYING = """(async () => {
  const images = [...document.images], films = [...document.querySelectorAll(".film img")];
  const decoded = await Promise.allSettled(images.map((image) => image.decode()));
  const facts = { images: images.length, films: films.length,
    decoded: decoded.filter((one) => one.status === "fulfilled").length,
    moving: films.filter((image) => image.getAnimations().some((a) => a.playState === "running")).length };
  document.getElementById("play").click();
  facts.still = films.filter((image) => image.getAnimations().length === 0).length;
  facts.label = document.getElementById("play").textContent;
  document.getElementById("theme").click();
  facts.theme = document.documentElement.dataset.theme;
  localStorage.clear();
  facts.unnamed = document.querySelectorAll("img:not([alt]), img[alt=''], svg:not([aria-label])").length;
  facts.wide = document.documentElement.scrollWidth;
  return facts;
})()"""
CUT = """[...document.querySelectorAll("table")].filter((table) => table.offsetParent &&
  table.offsetWidth > table.closest(".scroll").clientWidth + 1 && table.closest(".scroll").nextElementSibling.hidden)"""


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page of as many prompts as the default shows; one caption is a word of 300 letters."""
    root = tmp_path_factory.mktemp("run")
    write_run(root, ROOT / "tests/params.yaml")
    files = FolderFiles(root)
    run = gather.gather_run(files, "this run")
    many = toy_samples("unet", prompts=12)
    many[:3] = [replace(sample, caption="w" * 300) for sample in many[:3]]
    run = replace(run, models=tuple(replace(model, samples=tuple(many)) for model in run.models))
    sheets = list(pictures.contact_sheets(root / "data/shards", run))
    page.write_page(root / "index.html", [run], load_params(root / "params.yaml").report, sheets)
    return root / "index.html"


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    with browser_page(tmp_path_factory.mktemp("browser")) as tab:
        yield tab


def complaints(tab: Page) -> list[dict[str, Any]]:
    """Console messages, exceptions, and requests for anything but the page and its data URIs."""
    bad = ("Log.entryAdded", "Runtime.consoleAPICalled", "Runtime.exceptionThrown")
    urls = [e["params"]["request"]["url"] for e in tab.events if e.get("method") == "Network.requestWillBeSent"]
    loaded = [{"loaded": url} for url in urls if not url.startswith(("data:", "file:"))]
    return [event for event in tab.events if event.get("method") in bad] + loaded


@pytest.mark.parametrize("width", [DESK, PHONE])
def test_every_clip_plays_and_nothing_else_is_loaded(report: Path, browser: Page, width: int) -> None:
    browser.open(report, width=width, touch=width == PHONE)
    facts = browser.run(PLAYING)
    assert facts["decoded"] == facts["images"] > 150
    assert facts["moving"] == facts["films"] == facts["still"] > 150
    assert (facts["label"], facts["theme"], facts["unnamed"]) == ("Play", "light", 0)
    assert facts["wide"] <= width
    assert complaints(browser) == []


def test_the_first_tap_on_a_section_lands_on_it(report: Path, browser: Page) -> None:
    for section in ("#failures", "#distances", "#run"):
        browser.open(report, width=PHONE, touch=True)  # the first tap, before anything was shown
        browser.run(f"document.querySelector('.bar nav a[href=\"{section}\"]').scrollIntoView({{inline: 'center'}}), 1")
        browser.tap(f'.bar nav a[href="{section}"]')
        browser.settle()
        bar, title = browser.run(
            f"[document.querySelector('.bar'), document.querySelector('{section} h2')]"
            ".map((part) => part.getBoundingClientRect()).map((box) => [box.top, box.bottom])"
        )
        left = browser.run("document.documentElement.scrollHeight - scrollY - innerHeight")
        assert bar[0] == 0.0
        assert bar[1] <= title[0] + 1.0, section
        assert title[1] < 260.0 or left < 2.0, section  # the last ones end with the page


def test_nothing_off_the_screen_is_left_empty(report: Path, browser: Page) -> None:
    """`content-visibility` leaves parts of a long screenshot or print blank, and anchors miss."""
    browser.open(report, width=DESK)
    hidden = browser.run("""[...document.querySelectorAll("section *")].filter((part) =>
        getComputedStyle(part).contentVisibility !== "visible").length""")
    assert hidden == 0


def test_text_of_charts_can_be_read_on_a_phone(report: Path, browser: Page) -> None:
    browser.open(report, width=PHONE, touch=True)
    sizes = browser.run("""[...document.querySelectorAll(".chart svg text")].map((text) =>
        parseFloat(getComputedStyle(text).fontSize) * text.getScreenCTM().a)""")
    assert len(sizes) > 50
    assert min(sizes) >= 10.5


@pytest.mark.parametrize("width", [DESK, PHONE])
def test_a_table_that_is_cut_says_so(report: Path, browser: Page, width: int) -> None:
    browser.open(report, width=width, touch=width == PHONE)
    assert browser.run(f"({CUT}).length") == 0
    hints = browser.run("[...document.querySelectorAll('.swipe')].filter((hint) => !hint.hidden).length")
    assert (hints > 0) == (width == PHONE)


def test_a_finger_on_a_curve_reads_its_values(report: Path, browser: Page) -> None:
    browser.open(report, width=PHONE, touch=True)
    browser.run("document.querySelector('#training svg').scrollIntoView({block: 'center'}), 1")
    browser.settle()
    browser.tap("#training svg")
    told = browser.run("document.getElementById('tip').hidden ? '' : document.getElementById('tip').textContent")
    assert told.startswith("Step ")
    assert "U-Net: 0." in told
