"""The pictures: what they draw, and that grey and colour-blind readers can read them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from engine.embedding_maps import COLUMNS
from reporting import figures
from reporting.embedding_maps import read_maps
from reporting.folder import slug
from reporting.runs import ReportData, Threshold, read_runs
from tests.reporting.report_data import results, write


@pytest.fixture
def data(tmp_path) -> ReportData:
    results(tmp_path / "result" / "ae", clips=24)
    results(tmp_path / "result" / "idnn", machines=["fan"], seed=1, clips=24)
    return read_runs([tmp_path / "result"], "./result/{system}")


def history(path: Path, *rows: tuple) -> tuple[str, Path]:
    write(path, [("epoch", "loss", "val_loss"), *rows])
    return "ae seed 0", path


@pytest.mark.slow
def test_every_picture_is_drawn_twice_and_described(data, tmp_path) -> None:
    histories = {"ae": [history(tmp_path / "history_fan.csv", (1, 3.0, 4.0), (2, 2.0, 3.5))]}
    for name in ("fan", "valve_eval"):
        path = data.systems["ae"][0].directory / f"embedding_map_{name}.csv"
        write(path, [COLUMNS, *embedding_rows()])
    drawn = figures.draw(tmp_path / "to", data, histories)
    assert data.not_shown == []
    assert [picture.stem for picture in drawn] == [
        *("auc", "roc_fan", "roc_valve"),
        *("scores_ae_fan", "scores_ae_valve", "scores_idnn_fan"),
        *("embeddings_ae_fan", "embeddings_ae_valve_eval", "loss_ae"),
    ]
    for picture in drawn:
        assert len(picture.caption) > 20
        with Image.open(tmp_path / "to" / f"{picture.stem}.png") as image:
            assert image.width <= 200 * figures.PAGE_WIDTH + 1
            assert len(image.convert("L").getcolors()) > 10
        pdf = (tmp_path / "to" / f"{picture.stem}.pdf").read_bytes()
        assert pdf.startswith(b"%PDF")
        assert b"/Type3" not in pdf


def test_the_roc_shades_the_pauc_and_passes_through_the_right_points(data) -> None:
    keys = [key for key in data.labelled if key.machine_type == "fan"]
    first = {system: runs[0] for system, runs in data.systems.items()}
    figure = figures.roc(keys, first, 0.1)
    axes = figure.axes[0]
    assert axes.patches[0].get_width() == pytest.approx(0.1)
    lines = {line.get_label(): line for line in axes.lines}
    section = first["ae"].sections[keys[0]]
    x, y = lines["ae"].get_data()
    for threshold in np.sort(section.scores)[::5]:
        called = section.scores >= threshold
        point = [called[section.labels == label].mean() for label in (0, 1)]
        assert np.interp(point[0], x, y) == pytest.approx(point[1]) or point[0] in x
    assert np.trapezoid(y, x) == pytest.approx(
        np.mean(section.scores[section.labels == 1][:, None] > section.scores[section.labels == 0])
    )
    assert lines["ae"].get_linestyle() != lines["idnn"].get_linestyle()


@pytest.mark.slow
def test_histograms_hold_every_clip_with_threshold_and_gamma_curve(data) -> None:
    run = data.systems["ae"][0]
    fan = {key: section for key, section in run.sections.items() if key.machine_type == "fan"}
    figure = figures.histograms(fan, run.thresholds)
    assert [axes.get_title() for axes in figure.axes] == [
        *("fan section 00 source", "fan section 01 source"),
        *("fan section 00 target", "fan section 01 target"),
    ]
    for axes in figure.axes:
        handles, labels = axes.get_legend_handles_labels()
        legend = dict(zip(labels, handles, strict=True))
        assert set(legend) == {"normal", "anomaly", "threshold", "gamma fit"}
        assert legend["threshold"].get_xdata()[0] == 1.0
    normal = [patch for patch in figure.axes[0].patches if patch.get_hatch() is None]
    hatched = [patch for patch in figure.axes[0].patches if patch.get_hatch()]
    assert hatched
    areas = sum(patch.get_width() * patch.get_height() for patch in normal)
    assert areas == pytest.approx(1.0)


def test_without_a_gamma_fit_there_is_no_curve(data) -> None:
    run = data.systems["ae"][0]
    key = next(iter(run.sections))
    plain = {key: Threshold(0.5, "empirical quantile", None)}
    figure = figures.histograms({key: run.sections[key]}, plain)
    legend = figure.axes[0].get_legend_handles_labels()[1]
    assert set(legend) == {"normal", "anomaly", "threshold"}


def test_the_heat_map_writes_values_and_hatches_gaps(data) -> None:
    figure = figures.heat_map(data)
    source, target = figure.axes[:2]
    assert (source.get_title(loc="left"), target.get_title(loc="left")) == (
        "AUC (source)",
        "AUC (target)",
    )
    run = data.systems["ae"][0]
    expected = [
        f"{run.sections[key].evaluate().metrics['AUC (source)']:.2f}" for key in data.labelled
    ]
    assert [text.get_text() for text in source.texts][:4] == expected
    assert len(source.texts) == 6
    assert [patch.get_xy() for patch in source.patches] == [(1.5, 0.5), (2.5, 0.5)]
    assert all(patch.get_hatch() for patch in source.patches)


def test_colours_differ_in_lightness_and_lines_in_style() -> None:
    from matplotlib.colors import to_rgb

    def lightness(colour: str) -> float:
        return float(np.dot(to_rgb(colour), (0.299, 0.587, 0.114)))

    assert lightness(figures.NORMAL) - lightness(figures.ANOMALY) > 0.35
    assert len({str(style) for _, style in figures.LINES}) == len(figures.LINES) == 8


def test_a_broken_history_is_named_and_the_others_drawn(tmp_path) -> None:
    good = history(tmp_path / "history_fan.csv", (1, 3.0, 4.0))
    cut = history(tmp_path / "history_valve.csv", (1, 3.0, 4.0), (2, 3.0))
    problems: list[str] = []
    assert list(figures._read_histories([good, cut], problems)) == ["fan"]
    assert "history_valve.csv: half-written or foreign" in problems[0]


@pytest.mark.parametrize("name", ["fan", "a b", "a/b", "../x", "x" * 300, "ü", ""])
def test_names_of_files_stay_in_the_folder_and_apart(name) -> None:
    made = slug(name)
    assert "/" not in made
    assert ".." not in made
    assert 0 < len(made) < 80 or name == ""
    assert slug("a b") != slug("a/b") != slug("a-b")


def test_names_with_dollar_signs_are_drawn_as_they_are(tmp_path) -> None:
    results(tmp_path / "result" / "$x^$", machines=["$_{$"], clips=24)
    data = read_runs([tmp_path / "result"], "./result/{system}")
    drawn = figures.draw(tmp_path / "to", data, {})
    assert len(drawn) == 3


def embedding_rows() -> list[tuple]:
    """Return the map of 20 training clips of nine classes, and four test clips."""
    rows = [
        (f"{number}.wav", "train", "section_00", "source", f"class {number % 9}", "normal", number)
        for number in range(20)
    ]
    labels = ("normal", "anomaly", "anomaly", "unknown")
    rows += [(f"{at}.wav", "test", "section_00", "", "<i>$x$", labels[at], at) for at in range(4)]
    return [(*row, 2.5) for row in rows]


def test_a_map_of_embeddings_has_every_clip_by_class_and_by_label(data, tmp_path) -> None:
    run = data.systems["ae"][0]
    write(run.directory / "embedding_map_fan.csv", [COLUMNS, *embedding_rows()])
    mapped = read_maps(run, data.not_shown)
    assert list(mapped) == [("fan", "dev")]
    by_class, by_label = figures.embedding_map(mapped["fan", "dev"]).axes
    legend = [text.get_text() for text in by_class.get_legend().get_texts()]
    assert legend == [*(f"class {number}" for number in range(7)), "3 other classes"]
    assert sum(len(points.get_offsets()) for points in by_class.collections) == 24
    counts = {points.get_label(): len(points.get_offsets()) for points in by_label.collections}
    assert counts == {"training": 20, "normal": 1, "anomaly": 2, "unknown": 1}
    assert by_label.collections[2].get_offsets().tolist() == [[1, 2.5], [2, 2.5]]


@pytest.mark.parametrize(
    "row",
    [
        ("a.wav", "train", "section_00"),
        ("a.wav", "train", "section_00", "", "a", "normal", "nan", "0"),
        ("a.wav", "train", "section_00", "", "a", "normal", "far", "0"),
    ],
)
def test_a_damaged_map_of_embeddings_is_named_and_not_drawn(data, row) -> None:
    run = data.systems["ae"][0]
    write(run.directory / "embedding_map_fan.csv", [COLUMNS, row])
    assert read_maps(run, data.not_shown) == {}
    (line,) = data.not_shown
    assert "embedding_map_fan.csv: half-written or foreign, so not drawn" in line
