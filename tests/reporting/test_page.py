"""The page of a demo run in a real browser, started from disk and without a network."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from reporting import media
from tests.conftest import run_inside
from tests.reporting.report_data import dataset, results
from tests.reporting.test_report import run

BROWSERS = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")


@pytest.fixture(scope="module")
def browser() -> Iterator:
    """Chromium, from BROWSER or on PATH and driven by playwright."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="no playwright: no browser test")
    path = os.environ.get("BROWSER") or next(filter(None, map(shutil.which, BROWSERS)), None)
    if not path:
        pytest.skip(f"no browser to open the page with: none of {', '.join(BROWSERS)} is installed")
    with sync_api.sync_playwright() as driver:
        # Containers run as root, where Chromium has no sandbox.
        opened = driver.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def demo_report(demo, tmp_path_factory) -> Path:
    """The report of a trained autoencoder, and of another system without its models."""
    out = tmp_path_factory.mktemp("report")
    quick = ("fit.epochs=1", "ae.network.units=[16]", "fit.verbose=0")
    for script in ("00_train.py", "01_test.py"):
        done = run_inside(script, "-d", "--machine", "fan", data=demo, out=out, assigned=quick)
        assert done.returncode == 0, done.stderr
    other = out / "result" / "idnn"
    shutil.copytree(out / "result" / "ae", other)
    for path in other.glob("*_section_02_test.csv"):
        path.unlink()
    done = run_inside("02_report.py", "--to", f"{out}/page", data=demo, out=out, assigned=quick)
    assert done.returncode == 0, done.stderr
    assert "idnn: fan: no maps or scores over time" in done.stderr
    return out / "page"


class Opened:
    """A page with everything that went wrong on it."""

    def __init__(self, browser, report: Path, **options) -> None:
        self.wrong: list[str] = []
        self.page = browser.new_context(**options).new_page()
        self.page.on("pageerror", lambda error: self.wrong.append(str(error)))
        self.page.on("console", lambda message: self.wrong.append(message.text))
        self.page.on("dialog", lambda _: self.wrong.append("a dialog opened"))
        self.page.on("requestfailed", self.failed)
        self.page.on(
            "request",
            lambda asked: asked.url.startswith(("file:", "data:")) or self.wrong.append(asked.url),
        )
        start = time.perf_counter()
        self.page.goto((report / "report.html").as_uri())
        if options.get("java_script_enabled", True):
            self.page.wait_for_selector("#clips tbody tr")
        self.seconds = time.perf_counter() - start

    def failed(self, asked) -> None:
        # A clip that is left for the next one before it is read whole is no failure.
        if "ERR_ABORTED" not in asked.failure:
            self.wrong.append(f"{asked.url}: {asked.failure}")

    def until(self, expression: str) -> None:
        """Wait for something to become true; the page's own rules forbid playwright's way."""
        end = time.perf_counter() + 10
        while not self.page.evaluate(expression):
            assert time.perf_counter() < end, f"never came true: {expression}"
            self.page.wait_for_timeout(20)

    def column(self, table: str, number: int) -> list[str]:
        return self.page.locator(f"{table} tbody tr > :nth-child({number})").all_inner_texts()


@pytest.fixture
def opened(browser, demo_report) -> Iterator[Opened]:
    shown = Opened(browser, demo_report)
    yield shown
    assert shown.wrong == []
    shown.page.context.close()


def test_it_opens_quickly_and_is_small(opened, demo_report) -> None:
    assert opened.seconds < 2
    size = sum(path.stat().st_size for path in demo_report.rglob("*") if path.is_file())
    clips = len(list(demo_report.glob("clips/*/*.wav")))
    assert clips == 3 * min(media.CLIPS_PER_SECTION, 8)
    # Of `make demo` with all its machine types: four of three sections.
    assert size / clips * 12 * media.CLIPS_PER_SECTION < 30e6


def test_tables_sort_by_any_column_and_gaps_stay_last(opened) -> None:
    page = opened.page
    scores = [float(text) for text in opened.column("#clips", 3)]
    head = page.locator("#clips th button").nth(2)
    head.focus()
    page.keyboard.press("Enter")
    assert [float(text) for text in opened.column("#clips", 3)] == sorted(scores, reverse=True)
    assert page.locator("#clips th").nth(2).get_attribute("aria-sort") == "descending"
    head.click()
    assert [float(text) for text in opened.column("#clips", 3)] == sorted(scores)
    page.locator("#clips th button").first.click()
    assert opened.column("#clips", 1) == sorted(opened.column("#clips", 1))
    assert page.locator("#clips th").nth(2).get_attribute("aria-sort") is None
    compared = page.locator("#compare table").first
    gap = compared.locator("tbody tr").first.locator("> :nth-child(6)")
    gap.evaluate("(cell) => { cell.textContent = '–'; delete cell.dataset.value; }")
    for direction in ("descending", "ascending"):
        compared.locator("th button").nth(5).click()
        assert compared.locator("thead th").nth(5).get_attribute("aria-sort") == direction
        assert compared.locator("tbody tr > :nth-child(6)").all_inner_texts()[-1] == "–"


def test_false_alarms_and_misses_stand_first(opened) -> None:
    verdicts = opened.column("#clips", 2)
    wrong = [text in ("false alarm", "miss") for text in verdicts]
    assert any(wrong)
    assert wrong == sorted(wrong, reverse=True)
    counted = opened.page.inner_text("#status")
    assert (
        f"8 clips: {verdicts.count('false alarm')} false alarms, {verdicts.count('miss')} miss"
        in counted
    )
    assert "threshold " in counted


def test_a_clip_plays_and_its_pictures_show(opened) -> None:
    page = opened.page
    assert page.locator("#clip").is_hidden()
    page.locator("#clips tbody button").first.click()
    name = page.locator("#clips tbody button").first.inner_text()
    assert page.inner_text("#clip-name") == name
    page.evaluate("document.getElementById('player').play()")
    opened.until("document.getElementById('player').currentTime > 0.1")
    assert page.evaluate("document.getElementById('player').duration") == pytest.approx(5, abs=0.01)
    opened.until("parseFloat(document.querySelector('.playhead').style.left) > 1")
    for picture in ("spectrogram", "map"):
        assert page.locator(f"#{picture}").is_visible()
        opened.until(f"document.getElementById('{picture}').naturalWidth > 100")
        assert name in page.locator(f"#{picture}").get_attribute("alt")
    points = page.locator("#curve path").get_attribute("d").split("L")
    assert len(points) == 157
    assert page.locator("#strip circle:not(.this)").count() == 8
    ring, line = page.locator("#strip .this"), page.locator("#strip .threshold")
    score, threshold = (
        float(word.strip(",.:"))
        for word in page.inner_text("#clip-summary").split()
        if word[0] in "-0123456789"
    )
    assert (float(ring.get_attribute("cx")) > float(line.get_attribute("x1"))) == (
        score > threshold
    )
    opened.page.evaluate("document.getElementById('player').pause()")


def test_the_keyboard_is_enough(opened) -> None:
    page = opened.page
    page.locator("#clips tbody button").first.focus()
    page.keyboard.press("Enter")
    first = page.inner_text("#clip-name")
    page.keyboard.press("ArrowDown")
    second = page.inner_text("#clip-name")
    assert second == page.locator("#clips tbody button").nth(1).inner_text() != first
    assert page.locator("#clips tr[aria-current]").count() == 1
    page.keyboard.press("ArrowUp")
    assert page.inner_text("#clip-name") == first
    for name in ("run", "machine", "section", "player"):
        page.locator(f"#{name}").focus()
        assert page.evaluate("document.activeElement.id") == name


def test_another_run_and_section_can_be_chosen(opened) -> None:
    page = opened.page
    assert page.locator("#section option").all_inner_texts() == [
        "section 00", "section 01", "section 02"
    ]  # fmt: skip
    page.select_option("#section", "section 01")
    assert all("section_01" in name for name in opened.column("#clips", 1))
    page.locator("#clips tbody button").first.click()
    name = page.inner_text("#clip-name")
    page.select_option("#run", label="idnn")
    opened.until("document.querySelectorAll('#section option').length === 2")
    # The clip stays chosen; of this run there are no models, so neither map nor curve.
    assert page.inner_text("#clip-name") == name
    assert page.locator("#spectrogram").is_visible()
    assert page.locator("#map-figure").is_hidden()
    assert page.locator("#curve-figure").is_hidden()


def test_pictures_are_there_with_words_for_those_who_cannot_see_them(opened, demo_report) -> None:
    pictures = opened.page.locator(".pictures img")
    assert pictures.count() == 5
    for picture in pictures.all():
        picture.scroll_into_view_if_needed()
        assert len(picture.get_attribute("alt")) > 20
    opened.until(
        "[...document.querySelectorAll('.pictures img')].every((one) => one.naturalWidth > 100)"
    )
    for link in opened.page.locator("main a").all():
        assert (demo_report / link.get_attribute("href")).is_file()
    assert "1 of 3 sections missing" in opened.page.inner_text("#missing")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_needs_no_sideways_scrolling(browser, demo_report, scheme) -> None:
    size = {"width": 360, "height": 740}
    shown = Opened(browser, demo_report, viewport=size, color_scheme=scheme, is_mobile=True)
    shown.page.locator("#clips tbody button").first.click()
    assert shown.page.evaluate("document.documentElement.scrollWidth") <= 360
    ground, text = (
        sum(map(int, shown.page.evaluate(f"getComputedStyle(document.body).{of}")[4:-1].split(",")))
        for of in ("backgroundColor", "color")
    )
    assert (ground < 150 < 600 < text) if scheme == "dark" else (text < 150 < 600 < ground)
    assert shown.wrong == []
    shown.page.context.close()


def test_without_javascript_the_tables_and_pictures_remain(browser, demo_report) -> None:
    shown = Opened(browser, demo_report, java_script_enabled=False)
    assert shown.page.locator("#compare table").count() == 3
    assert shown.page.locator(".pictures img").count() == 5
    assert "needs JavaScript" in shown.page.inner_text("#listen")
    shown.page.context.close()


@pytest.mark.slow
def test_strange_names_are_text_and_their_clips_play(browser, tmp_path, monkeypatch) -> None:
    strange = "<img src=x onerror=alert(1)>'\"& #%41 é{{js}}"
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(media, "CLIPS_PER_SECTION", 4)
    dataset(tmp_path, machines=[strange], sections=["00"])
    results(tmp_path / "result" / f"ae {strange}", machines=[strange], sections=["00"])
    wav = next((tmp_path / "dev_data" / strange / "test").iterdir())
    odd = wav.name.replace(".wav", f"_{strange}.wav")
    wav.rename(wav.with_name(odd))
    for path in (tmp_path / "result").rglob("*_test.csv"):
        quoted = '"' + odd.replace('"', '""') + '"'
        path.write_text(path.read_text(encoding="utf-8").replace(wav.name, quoted), "utf-8")
    assert run("result", "--set", "dev_directory=dev_data") == 0
    shown = Opened(browser, tmp_path / "report")
    assert strange in shown.page.inner_text("#compare")
    assert odd in shown.column("#clips", 1)
    linked = []
    for button in shown.page.locator("#clips tbody button").all():
        button.click()
        shown.until("document.getElementById('player').duration > 0.4")
        linked.append("Linked where it lay" in shown.page.inner_text("#clip-note"))
        if not linked[-1]:
            shown.until("document.getElementById('spectrogram').naturalWidth > 10")
        assert shown.page.locator("#spectrogram").is_hidden() == linked[-1]
    assert sorted(linked) == [False] * 4 + [True] * 4
    assert shown.page.locator("img[src=x]").count() == 0
    assert shown.wrong == []
    shown.page.context.close()
