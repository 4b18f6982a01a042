"""The pictures of a report, for the page as PNG and for a two-column paper as PDF.

Everything differs in line style, hatching or lightness as well as in colour, for grey printers and
colour-blind readers; the colours are those of Okabe and Ito.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from evaluation.metrics import ScoredSection, SectionKey, SectionResult
from reporting.embedding_maps import MappedClips, read_maps
from reporting.folder import slug
from reporting.runs import ReportData, Run, Threshold

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

STYLE = {
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.labelsize": 8,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "hatch.linewidth": 0.6,
    "text.parse_math": False,  # a "$" in a name is a "$"
    "pdf.fonttype": 42,  # letters stay letters, as publishers want them
    "savefig.dpi": 200,
}
PAGE_WIDTH = 7.16  # inches: both columns of an IEEE page
PANELS_PER_ROW = 3
LINES = tuple(
    zip(
        ("#000000", "#E69F00", "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#7F7F7F"),
        ("-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1)), (0, (1, 1)), (0, (7, 3))),
        strict=True,
    )
)
NORMAL, ANOMALY = "#A9D6F5", "#B04A00"
MARKERS = "os^vDPX"  # of the most frequent classes in a map of embeddings; the others have dots


class Picture(NamedTuple):
    """A picture as <stem>.png and <stem>.pdf, under a heading, with what it shows in words."""

    stem: str
    heading: str
    caption: str


def draw(
    folder: Path, data: ReportData, histories: Mapping[str, Sequence[tuple[str, Path]]]
) -> list[Picture]:
    """Draw everything into a folder, and return the pictures.

    Parameters
    ----------
    folder : made where it is missing
    data : of every system its first run is drawn, in the heat map the mean over its runs;
        `not_shown` gets one line per history that cannot be read
    histories : system → (name of the run, `history_<machine type>.csv`) of its runs
    """
    import matplotlib

    folder.mkdir(parents=True, exist_ok=True)
    pictures = []
    with matplotlib.rc_context(STYLE):
        for picture, figure in _figures(data, histories):
            for ending in ("png", "pdf"):
                metadata = {"CreationDate": None} if ending == "pdf" else None
                figure.savefig(folder / f"{picture.stem}.{ending}", metadata=metadata)
            pictures.append(picture)
    return pictures


def _figures(
    data: ReportData, histories: Mapping[str, Sequence[tuple[str, Path]]]
) -> Iterator[tuple[Picture, Figure]]:
    first = {system: runs[0] for system, runs in data.systems.items()}
    if data.labelled:
        yield (
            Picture(
                "auc",
                "AUC per section",
                "AUC of every section, the mean over seeds; 0.5 is guessing. Hatched: no result.",
            ),
            heat_map(data),
        )
    for machine_type in dict.fromkeys(key.machine_type for key in data.labelled):
        keys = [key for key in data.labelled if key.machine_type == machine_type]
        yield (
            Picture(
                f"roc_{slug(machine_type)}",
                f"ROC, {machine_type}",
                f"ROC of every section of {machine_type}, source and target clips together; the "
                f"pAUC is the area in the shaded range, false alarm rates up to {data.max_fpr:g}. "
                f"{_which(first.values())}",
            ),
            roc(keys, first, data.max_fpr),
        )
    for system, run in first.items():
        for machine_type in dict.fromkeys(key.machine_type for key in sorted(run.labelled)):
            sections = {
                key: section
                for key, section in run.labelled.items()
                if key.machine_type == machine_type
            }
            yield (
                Picture(
                    f"scores_{slug(system)}_{slug(machine_type)}",
                    f"Anomaly scores, {machine_type}, {system}",
                    f"Scores of {run.name} on {machine_type}. Dashed: the gamma distribution "
                    "fitted to the training clips, where it was; line: the threshold.",
                ),
                histograms(sections, run.thresholds),
            )
    yield from _embedding_maps(data, first)
    for system, paths in histories.items():
        curves = _read_histories(paths, data.not_shown)
        if curves:
            yield (
                Picture(
                    f"loss_{slug(system)}",
                    f"Losses, {system}",
                    f"Losses of {system} in training; thin: its further seeds.",
                ),
                losses(curves),
            )


def _embedding_maps(data: ReportData, first: Mapping[str, Run]) -> Iterator[tuple[Picture, Figure]]:
    for system, run in first.items():
        for (machine_type, mode), mapped in read_maps(run, data.not_shown).items():
            ending, words = ("", "") if mode == "dev" else ("_eval", ", evaluation data")
            yield (
                Picture(
                    f"embeddings_{slug(system)}_{slug(machine_type)}{ending}",
                    f"Map of embeddings, {machine_type}, {system}{words}",
                    f"Embeddings of {run.name} on {machine_type}{words}, on the two principal "
                    "components of the training clips. Left: training clips (filled) and test "
                    "clips (hollow) by class; right: training clips grey, test clips by label. "
                    "Only a picture: scores are made of all dimensions, and of no label.",
                ),
                embedding_map(mapped),
            )


def _which(runs: Sequence[Run]) -> str:
    seeds = [run.name for run in runs if run.seed]
    return f"Runs: {', '.join(seeds)}." if seeds else ""


def _short(name: str, longest: int = 28) -> str:
    return name if len(name) <= longest else name[: longest - 1] + "…"


def heat_map(data: ReportData) -> Figure:
    """Draw AUC (source) and AUC (target), or AUC, of every system and section."""
    keys, systems = data.labelled, data.systems
    results = {
        (run.directory, key): section.evaluate(data.max_fpr)
        for run in data.runs
        for key, section in run.labelled.items()
    }
    columns = [one.name for one in data.definition.columns if one.measure == "AUC"]
    figure = _figure(PAGE_WIDTH, len(columns) * (0.55 + 0.24 * len(systems)) + 0.35)
    panels = figure.subplots(len(columns), 1, squeeze=False, sharex=True)[:, 0]
    size = 7 if len(keys) <= 12 else 5.5
    for axes, column in zip(panels, columns, strict=True):
        values = np.array(
            [[_mean(results, runs, key, column) for key in keys] for runs in systems.values()]
        )
        axes.set_facecolor("white")
        image = axes.imshow(values, cmap="cividis", vmin=0, vmax=1, aspect="auto")
        for (row, place), value in np.ndenumerate(values):
            if np.isnan(value):
                axes.add_patch(_hatched(place, row))
            else:
                axes.text(
                    place,
                    row,
                    f"{value:.2f}",
                    ha="center",
                    va="center",
                    fontsize=size,
                    color="white" if value < 0.55 else "black",
                )
        axes.set_title(column, loc="left")
        axes.set_yticks(range(len(systems)), labels=[_short(name) for name in systems])
        axes.spines[:].set_visible(False)
        axes.tick_params(length=0)
    labels = [f"{_short(key.machine_type)} {key.section.partition('_')[2]}" for key in keys]
    panels[-1].set_xticks(range(len(keys)), labels=labels, rotation=45, ha="right")
    figure.colorbar(image, ax=list(panels), shrink=0.8, pad=0.01)
    return figure


def _mean(results: Mapping, runs: Sequence[Run], key: SectionKey, column: str) -> float:
    own: list[SectionResult] = [
        results[run.directory, key] for run in runs if (run.directory, key) in results
    ]
    return float(np.mean([result.metrics[column] for result in own])) if own else np.nan


def _hatched(column: int, row: int):
    from matplotlib.patches import Rectangle

    return Rectangle((column - 0.5, row - 0.5), 1, 1, fill=False, hatch="////", edgecolor="#999999")


def roc(keys: Sequence[SectionKey], first: Mapping[str, Run], max_fpr: float) -> Figure:
    """Draw one panel per section, one line per system."""
    from sklearn.metrics import roc_curve

    figure, panels = _panels(len(keys), 2.5, sharex=True, sharey=True)
    for axes, key in zip(panels, keys, strict=False):
        axes.axvspan(0, max_fpr, color="#DDDDDD", zorder=0)
        axes.plot([0, 1], [0, 1], color="#999999", linewidth=0.6)
        for (system, run), (colour, dashes) in zip(first.items(), _cycled(len(first)), strict=True):
            section = run.labelled.get(key)
            if section is None or len(np.unique(section.labels)) < 2:
                continue
            false_alarms, hits, _ = roc_curve(section.labels, section.scores)
            axes.plot(
                false_alarms,
                hits,
                color=colour,
                linestyle=dashes,
                label=_short(system),
                linewidth=1.2,
            )
        axes.set(title=_short(str(key), 40), xlim=(0, 1), ylim=(0, 1.01), aspect="equal")
    _outer_labels(panels, "false alarm rate", "hit rate")
    _legend(figure, panels)
    return figure


def histograms(
    sections: Mapping[SectionKey, ScoredSection], thresholds: Mapping[SectionKey, Threshold]
) -> Figure:
    """Draw the densities of normal and anomalous clips: a column per section, a row per domain."""
    import scipy.stats

    keys = sorted(sections)
    with_domains = sections[keys[0]].domains is not None
    domains = ["source", "target"] if with_domains else [""]
    width = max(PAGE_WIDTH, 2.2 * len(keys)) if len(keys) > PANELS_PER_ROW else PAGE_WIDTH
    figure = _figure(width, 1.7 * len(domains) + 0.4)
    panels = figure.subplots(len(domains), len(keys), squeeze=False, sharex="col")
    for column, key in enumerate(keys):
        section, threshold = sections[key], thresholds.get(key)
        shown = section.scores if threshold is None else np.append(section.scores, threshold.value)
        bins = np.linspace(shown.min(), shown.max() + 1e-12, 25)
        for row, domain in enumerate(domains):
            axes: Axes = panels[row][column]
            inside = section.domains == domain if with_domains else section.labels >= 0
            looks = (
                (0, {"color": NORMAL, "label": "normal"}),
                (1, {"histtype": "step", "color": ANOMALY, "hatch": "////", "label": "anomaly"}),
            )
            for label, look in looks:
                chosen = section.scores[inside & (section.labels == label)]
                if len(chosen):
                    axes.hist(chosen, bins, density=True, **look)
            if threshold is not None:
                axes.axvline(threshold.value, color="black", linewidth=1, label="threshold")
                if threshold.gamma:
                    _, top = axes.get_ylim()
                    at = np.linspace(bins[0], bins[-1], 200)
                    density = scipy.stats.gamma.pdf(at, *threshold.gamma)
                    axes.plot(at, density, "--", color="black", linewidth=0.9, label="gamma fit")
                    axes.set_ylim(0, min(max(top, density.max() * 1.05), 2 * top))
            title = " ".join(filter(None, (_short(str(key), 36), domain)))
            axes.set(title=title, yticks=[])
    _outer_labels(panels.ravel(), "anomaly score", "density")
    _legend(figure, panels.ravel())
    return figure


def embedding_map(mapped: MappedClips) -> Figure:
    """Draw the clips of a machine type twice: by class, and by label."""
    figure = _figure(PAGE_WIDTH, 4.2)
    by_class, by_label = figure.subplots(1, 2, sharex=True, sharey=True)
    names = mapped.frequent_classes(len(MARKERS))
    looks = [
        (name, mapped.classes == name, colour, marker, 9)
        for name, marker, (colour, _) in zip(names, MARKERS, _cycled(len(names)), strict=False)
    ]
    others = ~np.isin(mapped.classes, names)
    kinds = len(set(mapped.classes[others].tolist()))
    rest = "1 other class" if kinds == 1 else f"{kinds} other classes"
    looks.append((rest, others, LINES[7][0], ".", 9))
    points = {"linewidths": 0.7, "rasterized": True}  # thousands of shapes make a large PDF
    for name, inside, colour, marker, size in looks:
        look = {"color": colour, "marker": marker, **points}
        filled, hollow = (mapped.places[inside & (mapped.is_test == test)] for test in (0, 1))
        by_class.scatter(*filled.T, size, label=_short(name, 34), **look)
        by_class.scatter(*hollow.T, 2 * size, facecolors="none", **look)
    by_label.scatter(*mapped.places[~mapped.is_test].T, 4, "#CCCCCC", label="training", **points)
    for name, colour, marker in (
        ("normal", LINES[2][0], "o"),
        ("anomaly", ANOMALY, "x"),
        ("unknown", "#000000", "+"),
    ):
        chosen = mapped.places[mapped.is_test & (mapped.labels == name)]
        edge = {"facecolors": "none", "edgecolors": colour} if marker == "o" else {"color": colour}
        by_label.scatter(*chosen.T, 14, marker=marker, label=name, **edge, **points)
    for axes, title in ((by_class, "by class"), (by_label, "by label")):
        axes.set(title=title, xticks=[], yticks=[])
        entries = zip(*axes.get_legend_handles_labels(), strict=True)
        shown = [(handle, name) for handle, name in entries if len(handle.get_offsets())]
        axes.legend(
            *zip(*shown, strict=True), loc="upper center", bbox_to_anchor=(0.5, -0.06), ncols=2
        )
    _outer_labels([by_class, by_label], "first component", "second component")
    return figure


def losses(curves: Mapping[str, Sequence[dict[str, np.ndarray]]]) -> Figure:
    """Draw one panel per network, one line per loss; the first run thick, the others thin."""
    figure, panels = _panels(len(curves), 2.0)
    names = list(dict.fromkeys(name for runs in curves.values() for one in runs for name in one))
    looks = dict(zip(names, _cycled(len(names)), strict=True))
    for axes, (title, runs) in zip(panels, curves.items(), strict=False):
        for number, one in enumerate(runs):
            for name, values in one.items():
                colour, dashes = looks[name]
                axes.plot(
                    np.arange(1, 1 + len(values)),
                    values,
                    color=colour,
                    linestyle=dashes,
                    linewidth=0.5 if number else 1.2,
                    label=None if number else name,
                )
        axes.set_title(_short(title, 40))
    _outer_labels(panels, "epoch", "loss")
    _legend(figure, panels)
    return figure


def _read_histories(
    paths: Sequence[tuple[str, Path]], problems: list[str]
) -> dict[str, list[dict[str, np.ndarray]]]:
    curves: dict[str, list[dict[str, np.ndarray]]] = {}
    for _, path in paths:
        try:
            with path.open(newline="", encoding="utf-8") as stream:
                rows = list(csv.reader(stream))
            values = np.array(rows[1:], dtype=float)
            curve = {
                name: values[:, column] for column, name in enumerate(rows[0]) if name != "epoch"
            }
        except (OSError, UnicodeDecodeError, csv.Error, ValueError, IndexError) as error:
            problems.append(f"{path}: half-written or foreign, no losses drawn from it ({error})")
            continue
        curves.setdefault(path.stem.removeprefix("history_"), []).append(curve)
    return curves


def _cycled(count: int) -> list[tuple]:
    return [LINES[number % len(LINES)] for number in range(count)]


def _figure(width: float, height: float) -> Figure:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _panels(count: int, height: float, **shared: bool) -> tuple[Figure, np.ndarray]:
    columns = min(count, PANELS_PER_ROW)
    rows = -(-count // columns)
    figure = _figure(PAGE_WIDTH * columns / PANELS_PER_ROW, height * rows + 0.3)
    panels = figure.subplots(rows, columns, squeeze=False, **shared).ravel()
    for spare in panels[count:]:
        spare.set_visible(False)
    return figure, panels[:count]


def _outer_labels(panels: Sequence[Axes], x: str, y: str) -> None:
    for axes in panels:
        place = axes.get_subplotspec()
        axes.set_xlabel(x if place.is_last_row() else "")
        axes.set_ylabel(y if place.is_first_col() else "")


def _legend(figure: Figure, panels: Sequence[Axes]) -> None:
    entries = {}
    for axes in panels:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            entries.setdefault(label, handle)
    if entries:
        figure.legend(
            entries.values(),
            entries,
            loc="outside upper center",
            ncols=min(len(entries), 5),
            frameon=False,
        )
