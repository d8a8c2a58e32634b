"""The page in a real browser: nothing is fetched, nothing fails, a zoom is linked, nothing is cut off."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from report_cases import laddered, validated
from require import missing, need
from test_report_page import SECTIONS

from spikeport.convert.report.folder import write_report
from spikeport.resources import model_path

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
ARGUMENTS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
)  # fmt: skip
READY = "window.Bokeh && Bokeh.documents.length > 0 && Bokeh.documents.every(d => d.is_idle)"
WIDTHS = (1400, 480)
INSIDE = """() => [...document.querySelectorAll('figure')].map(f => {
    const inner = f.querySelector('.plot .bk-Figure').getBoundingClientRect(), outer = f.getBoundingClientRect();
    return [inner.left - outer.left, outer.right - inner.right, inner.width, inner.height, f.textContent.slice(0, 60)];
})"""
RANGES = """() => {
    const plots = Bokeh.documents[0].roots().filter(r => r.name === 'raster');
    return plots.map(p => [p.x_range.start, p.x_range.end]);
}"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    need("bokeh", resource="report")
    playwright = need("playwright.sync_api", resource="chromium")
    path = next((found for name in BROWSERS if (found := shutil.which(name))), None)
    if path is None:
        missing("chromium", "there is no Chromium on the path")
    with playwright.sync_playwright() as p:
        browser = p.chromium.launch(executable_path=path, args=list(ARGUMENTS))
        yield browser
        browser.close()


@dataclass
class Opened:
    """A page that is drawn, and what it did meanwhile."""

    page: Any
    problems: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    seconds: float = 0.0


def opened(browser: Any, path: Path, width: int) -> Opened:
    page = browser.new_page(viewport={"width": width, "height": 900})
    found = Opened(page=page)
    page.on("console", lambda m: found.problems.append(m.text) if m.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: found.problems.append(str(error)))
    page.on("request", lambda request: found.requests.append(request.url))
    begun = time.perf_counter()
    page.goto(path.as_uri())
    page.wait_for_function(READY)
    found.seconds = time.perf_counter() - begun
    return found


def check(browser: Any, path: Path, width: int, shots: Path) -> Opened:
    """What holds of every page at every width."""
    found = opened(browser, path, width)
    assert found.problems == []
    assert found.requests == [path.as_uri()]
    assert found.page.eval_on_selector_all("section", "s => s.map(e => e.id)") == list(SECTIONS)
    assert found.page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    figures = found.page.evaluate(INSIDE)
    assert len(figures) >= 8
    cut = [f for f in figures if f[0] < -1 or f[1] < -1 or f[2] < 200 or f[3] < 80]
    assert cut == [], "a figure reaches beyond its place, or was not drawn"
    found.page.screenshot(path=shots / f"{width}.png", full_page=True)
    assert (shots / f"{width}.png").stat().st_size > 30_000
    return found


def zoomed(found: Opened) -> tuple[list[list[float]], list[list[float]], list[list[float]]]:
    """The rasters' x ranges before and after a drag over the first one, and after a double click."""
    found.page.locator(".raster .plot .bk-Figure").first.scroll_into_view_if_needed()
    box = found.page.locator(".raster .plot .bk-Figure").first.bounding_box()
    before = found.page.evaluate(RANGES)
    x, y = box["x"] + 0.4 * box["width"], box["y"] + 0.3 * box["height"]
    found.page.mouse.move(x, y)
    found.page.mouse.down()
    found.page.mouse.move(x + 0.1 * box["width"], y + 20, steps=4)
    found.page.mouse.move(x + 0.3 * box["width"], y + 60, steps=4)
    found.page.mouse.up()
    after = found.page.evaluate(RANGES)
    found.page.mouse.dblclick(x, y)
    return before, after, found.page.evaluate(RANGES)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("browser")


def test_a_page_with_all_parts_is_whole_at_two_widths_and_zooms_together(browser: Any, folder: Path) -> None:
    path = write_report(laddered(validated("full", folder)), folder / "full")
    found = {width: check(browser, path, width, folder) for width in WIDTHS}
    assert found[480].page.inner_text("#verdict .first") != ""
    before, after, reset = zoomed(found[1400])
    assert len(before) == 4, "two labels at two levels"
    assert all(r == before[0] for r in before)
    assert before[0] == pytest.approx([0, 0.2])
    assert all(r == after[0] for r in after), "linked"
    assert 0 < after[0][0] < after[0][1] < 0.2
    assert reset == before


def test_a_page_of_a_silent_network_without_targets_is_whole(browser: Any, folder: Path) -> None:
    path = write_report(validated("bare", folder), folder / "bare")
    check(browser, path, WIDTHS[1], folder)


@pytest.mark.slow
def test_a_page_of_three_outputs_is_whole_at_two_widths(browser: Any, folder: Path) -> None:
    path = write_report(validated("three outputs", folder), folder / "three")
    for width in WIDTHS:
        check(browser, path, width, folder)


@pytest.mark.slow
@pytest.mark.parametrize("task", ["go-nogo", "xor", "integration"])
def test_a_page_of_200_units_and_100_trials_is_below_6_mb(task: str, browser: Any, folder: Path) -> None:
    from spikeport import load_source, transfer
    from spikeport.validation import validate_network

    source = load_source(model_path(task))
    found = validate_network(transfer(source, 30), source, task, targets=["engine"], trials=100).as_dict()
    path = write_report(found, folder / task)
    assert path.stat().st_size < 6e6
    for width in WIDTHS:
        seconds = check(browser, path, width, folder).seconds
        print(f"{task}: {path.stat().st_size / 1e6:.2f} MB, opens in {seconds:.2f} s at {width} px")
