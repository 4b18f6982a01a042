"""The figures on the pages are those that `python -m benchmarks.demo` measured, as things are."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from benchmarks import demo
from core.settings import read_config
from tests.conftest import ROOT

# Another processor rounds sums otherwise, and a section has ten normal clips per domain: the pages
# say "some hundredths". A network that learnt nothing, or another feature, moves it by more.
HUNDREDTHS = 0.06


def section_after(page: str, heading: str) -> str:
    """The text of a page from a heading to the next of its level."""
    text = (ROOT / page).read_text(encoding="utf-8")
    level = heading.partition(" ")[0]
    return re.split(rf"^{level} ", text.partition(f"{heading}\n")[2], flags=re.MULTILINE)[0]


@pytest.mark.parametrize("system", demo.measurable())
def test_a_systems_page_has_its_measured_figures(system: str) -> None:
    text = section_after(f"docs/systems/{system}.md", "## Measured here")
    rows = re.findall(r"^\| ([\d.]+) \| ([\d.]+) \| ([\d.]+) \| ([\d.]+) \|$", text, re.MULTILINE)
    assert [list(row) for row in rows] == [demo.read_record()[system][:4]]
    assert "python -m benchmarks.demo" in text


@pytest.mark.parametrize("system", [*demo.measurable(), demo.ENSEMBLE])
def test_the_figures_were_measured_with_the_settings_of_today(system: str) -> None:
    *_, seed, digest = demo.read_record()[system]
    assert (seed, digest) == ("0", demo.settings_digest(system)), "python -m benchmarks.demo"


def test_another_setting_is_another_digest() -> None:
    changed = read_config(demo.CONFIG, [("ae.fit.epochs", 29)])
    assert demo.settings_digest("ae", changed) != demo.settings_digest("ae")
    assert demo.settings_digest("vae", changed) == demo.settings_digest("vae")
    assert demo.settings_digest("mix", changed) != demo.settings_digest("mix")


def test_the_page_of_the_ensemble_has_its_figures() -> None:
    record = demo.read_record()
    text = section_after("docs/evaluation.md", "## Ensembles")
    for system in (*demo.MEMBERS, demo.ENSEMBLE):
        assert f"| `{system}` | {record[system][3]} |" in text
    assert "python -m benchmarks.demo" in text


def test_the_tables_of_make_demo_are_one_and_end_in_the_measured_figures() -> None:
    whole = section_after("docs/systems/ae.md", "## Measured here")
    begun = section_after("readme.md", "## Two commands").split("```")
    shown = next(block for block in begun if "AUC" in block).strip("\n").split("\n...\n")
    assert all(part in whole for part in shown)
    means = re.findall(r"^harmonic mean +([\d.]+) +([\d.]+) +([\d.]+) ", whole, re.MULTILINE)
    assert list(means[-1]) == demo.read_record()["ae"][:3]
    assert f"over all): {demo.read_record()['ae'][3]}" in whole


def test_the_performance_page_quotes_the_measured_tables() -> None:
    text = (ROOT / "docs/performance.md").read_text(encoding="utf-8")
    measured = (ROOT / "benchmarks/results.md").read_text(encoding="utf-8")
    pair = r"\| ([\d.]+) (m?s|MiB) \| ([\d.]+) (m?s|MiB) \|"
    cells = [(float(a), of_a, float(b), of_b) for a, of_a, b, of_b in re.findall(pair, measured)]
    quoted = re.findall(pair, text)
    assert len(quoted) > 3
    for first, one, second, two in quoted:
        assert any(
            (one, two) == (cell[1], cell[3])
            and is_rounded(first, cell[0])
            and is_rounded(second, cell[2])
            for cell in cells
        ), f"{first} {one}, {second} {two}: not in benchmarks/results.md"


def test_the_performance_page_quotes_the_measured_scale() -> None:
    text = section_after("docs/performance.md", "## Several jobs")
    measured = (ROOT / "benchmarks/scale.md").read_text(encoding="utf-8")
    seconds = re.findall(r"^\| ([^|]+) \| (\d+) s \| ([\d.]*) ?\|$", text, re.MULTILINE)
    assert len(seconds) == 3
    for _, time, ratio in seconds:
        assert re.search(rf"^\| [^|]+ \| {time} \| [\d.]+ \| {ratio or '1.00'} \|$", measured, re.M)


def is_rounded(text: str, value: float) -> bool:
    """Say whether a text is a value, rounded to its decimals."""
    return float(text) == round(value, len(text.partition(".")[2]))


@pytest.mark.slow
def test_the_demo_still_reaches_its_figures(tmp_path: Path) -> None:
    demo.measure(tmp_path, ["ae"])
    found = [float(x) for x in demo.figures(tmp_path / "result" / "ae" / "result.csv")]
    expected = [float(x) for x in demo.read_record()["ae"][:4]]
    assert found == pytest.approx(expected, abs=HUNDREDTHS)
