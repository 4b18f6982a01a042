"""Our figures beside the published ones: the statistics, the page in Markdown, its CSV file.

`published_results.csv` has one row per published figure, in fractions of 1:

settings : the `--set` values under which a run of this project is that system; empty: the shipped
machine_type : or "all", for a mean over all of them
metric : a column of result.csv; several columns, joined by " + ", are one mean over all of them
mean : over the sections: harmonic, arithmetic, or "arithmetic over machine types" (the mean of the
    machine types' arithmetic means)
differs : what makes the figure another measurement than ours, see DIFFERENCES
"""

from __future__ import annotations

import csv
import platform
import statistics
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from core.command_line import assignment
from core.files import save_csv, save_text
from core.run_settings import SystemSettings
from core.settings import __version__
from evaluation.metrics import SectionResult, arithmetic_mean, harmonic_mean
from evaluation.text_tables import text_table
from evaluation.years import DEFINITIONS

PUBLISHED = Path(__file__).with_name("published_results.csv")
CLIP_COUNTS = Path(__file__).with_name("clip_counts.csv")
HARMONIC, ARITHMETIC, OVER_MACHINE_TYPES = (
    "harmonic",
    "arithmetic",
    "arithmetic over machine types",
)
# The words that a part of the column `differs` begins with, and what each of them means.
DIFFERENCES = {
    "oracle": "picked with the labels of test clips, which a fair run does not see",
    "definition": "evaluated by another definition than the year's",
    "data": "trained on other clips",
    "settings": "made with other settings",
}

Results = Sequence[SectionResult]


class Published(NamedTuple):
    """One row of `published_results.csv`; year is a number, value a text as it was printed."""

    year: int
    system: str
    settings: str
    dataset: str
    machine_type: str
    metric: str
    mean: str
    value: str
    differs: str
    source: str

    def holds(self, run: SystemSettings) -> bool:
        """Return whether a run has the settings of the figure."""
        return all(run.value(key) == value for key, value in self._wanted())

    def can_hold(self, run: SystemSettings) -> bool:
        """Return whether the system has keys of these names at all."""
        return all(run.value(key) is not None for key, _ in self._wanted())

    def _wanted(self) -> Iterator[tuple[str, Any]]:
        for word in self.settings.split():
            key, value = assignment(word)
            yield key.removeprefix(f"{self.system}."), value


class Line(NamedTuple):
    """One line of the comparison: our figure of each seed, and one published figure or none.

    values : (seeds,) those that can be computed; none where the settings are other ones
    comparable : ours covers the same machine types
    other_settings : "" where the published figure is of our settings, else what its are
    """

    dataset: str
    machine_type: str
    metric: str
    mean: str
    values: tuple[float, ...]
    published: Published | None
    remarks: tuple[str, ...]
    comparable: bool
    other_settings: str = ""

    @property
    def average(self) -> float:
        """Return the mean over the seeds."""
        return statistics.fmean(self.values) if self.values else np.nan

    @property
    def deviation(self) -> float:
        """Return the standard deviation of the seeds (n - 1); NaN for fewer than two."""
        return statistics.stdev(self.values) if len(self.values) > 1 else np.nan

    @property
    def difference(self) -> float:
        """Return ours minus the published figure; NaN where they are not to be compared."""
        if self.published is None or not self.comparable:
            return np.nan
        return self.average - float(self.published.value)

    @property
    def in_deviations(self) -> float:
        """Return the difference in deviations of our seeds; NaN where there is no deviation."""
        return self.difference / self.deviation if self.deviation > 0 else np.nan


def read_published(year: int, system: str) -> list[Published]:
    """Return the published figures of a system on the data of a year."""
    with PUBLISHED.open(newline="", encoding="utf-8") as stream:
        rows = [Published(int(first), *rest) for first, *rest in list(csv.reader(stream))[1:]]
    return [row for row in rows if (row.year, row.system) == (year, system)]


class ClipCount(NamedTuple):
    """One row of `clip_counts.csv`; train, test : None where they are not known."""

    dataset: str
    machine_type: str
    train: int | None
    test: int | None


def read_clip_counts(year: int) -> list[ClipCount]:
    """Return the machine types of a year's datasets, with their numbers of clips."""
    with CLIP_COUNTS.open(newline="", encoding="utf-8") as stream:
        return [
            ClipCount(
                row["dataset"],
                row["machine_type"],
                *(int(row[key]) if row[key] else None for key in ("train", "test")),
            )
            for row in csv.DictReader(stream)
            if int(row["year"]) == year
        ]


def figure(results: Results, machine_type: str, metric: str, mean: str) -> float:
    """Return a figure of one run; NaN where its results do not have the columns.

    machine_type, metric, mean : as in `published_results.csv`
    """
    chosen = [r for r in results if machine_type in ("all", r.machine_type)]
    columns = metric.split(" + ")
    if not chosen or any(column not in r.metrics for r in chosen for column in columns):
        return np.nan
    if mean == OVER_MACHINE_TYPES:
        names = dict.fromkeys(r.machine_type for r in chosen)
        values = [[figure(chosen, name, metric, ARITHMETIC)] for name in names]
    else:
        values = [[r.metrics[column]] for r in chosen for column in columns]
    return float((harmonic_mean if mean == HARMONIC else arithmetic_mean)(values)[0])


def compare(
    run: SystemSettings, year: int, dataset: str, by_seed: Mapping[int, Results], seeds: int
) -> list[Line]:
    """Return the lines of one system on one dataset.

    Parameters
    ----------
    run : its settings
    by_seed : seed → its results, of the seeds that have any
    seeds : how many were asked for
    """
    published = [row for row in read_published(year, run.system) if row.dataset == dataset]
    own = dict.fromkeys(_own_figures([r for results in by_seed.values() for r in results]))
    keys = own | dict.fromkeys((row.machine_type, row.metric, row.mean) for row in published)
    ours = {r.machine_type for results in by_seed.values() for r in results}
    missing = {c.machine_type for c in read_clip_counts(year) if c.dataset == dataset} - ours
    lines = []
    for key in sorted(keys, key=lambda key: (key[0] == "all", key[0].lower())):
        values = tuple(figure(results, *key) for results in by_seed.values())
        values = tuple(value for value in values if not np.isnan(value))
        incomplete = missing if values and key[0] == "all" else ()
        remarks = [f"ours without {', '.join(sorted(incomplete))}"] if incomplete else []
        if len(incomplete) > len(ours):
            remarks = [f"ours of {', '.join(sorted(ours))} only"]
        if 0 < len(values) < seeds:
            remarks.append(f"{len(values)} of {seeds} seeds")
        line = Line(dataset, *key, values, None, tuple(remarks), not incomplete)
        rows = [row for row in published if (row.machine_type, row.metric, row.mean) == key]
        if key in own and not any(row.holds(run) for row in rows):
            lines.append(line)
        lines += [_beside(line, row, run) for row in rows]
    return lines


def _own_figures(results: Results) -> Iterator[tuple[str, str, str]]:
    """Yield (machine type, metric, mean) of what is listed whether or not it was published.

    It is what the year's score is made of, and the official score, where there is one.
    """
    for definition in dict.fromkeys(r.definition for r in results):
        metrics = definition.score
        mean, over_all = ARITHMETIC, OVER_MACHINE_TYPES
        if definition.official:
            metrics, mean, over_all = (*metrics, " + ".join(metrics)), HARMONIC, HARMONIC
        for name in dict.fromkeys(r.machine_type for r in results):
            yield from ((name, metric, mean) for metric in metrics)
        yield from (("all", metric, over_all) for metric in metrics)


def _beside(line: Line, row: Published, run: SystemSettings) -> Line:
    """Return a line of ours with a published figure, where they may be compared."""
    differs = [*filter(None, row.differs.split("; "))]
    remarks = [*line.remarks, *differs]
    if not row.holds(run):
        missing = "" if row.can_hold(run) else ", which this version does not have"
        settings = f"`--set {row.settings}`{missing}"
        return line._replace(
            values=(), published=row, remarks=tuple(differs), other_settings=settings
        )
    if not line.values:
        remarks.append("not measured here")
    return line._replace(published=row, remarks=tuple(remarks))


def write(
    to: Path,
    year: int,
    lines: Mapping[str, Sequence[Line]],
    about: Sequence[str],
    failed: Sequence[str],
) -> None:
    """Write the page and its CSV file: `<to>/<year>.md`, `<to>/<year>.csv`.

    Parameters
    ----------
    lines : system → its lines
    about : sentences on how it was made
    failed : what could not be done
    """
    head = ["system", *("dataset", "machine_type", "metric", "mean", "ours", "deviation", "seeds")]
    head += ["published", "difference", "in_deviations", "remarks", "settings", "source"]
    rows = [head]
    for system, own in lines.items():
        for line in own:
            numbers = (line.average, line.deviation)
            differences = (line.difference, line.in_deviations)
            row = line.published
            rows.append(
                [
                    *(system, line.dataset, line.machine_type, line.metric, line.mean),
                    *("" if np.isnan(x) else repr(float(x)) for x in numbers),
                    str(len(line.values)),
                    row.value if row else "",
                    *("" if np.isnan(x) else repr(float(x)) for x in differences),
                    "; ".join(line.remarks),
                    *((row.settings, row.source) if row else ("", "")),
                ]
            )
    save_csv(to / f"{year}.csv", rows)
    save_text(to / f"{year}.md", page(year, lines, about, failed))


def page(
    year: int, lines: Mapping[str, Sequence[Line]], about: Sequence[str], failed: Sequence[str]
) -> str:
    """Return the page in Markdown; parameters as of `write`."""
    sources = list(
        dict.fromkeys(x.published.source for own in lines.values() for x in own if x.published)
    )
    parts = [f"# DCASE {year} Task 2, reproduced", *about]
    parts += [
        f"Made with version {__version__}, Python {platform.python_version()}, "
        f"{platform.system()} {platform.machine()}.",
        "Figures are fractions of 1. *Ours* is the mean over the seeds ± their standard deviation "
        "(n − 1). The last difference is in these deviations; it is empty where there is one seed "
        "or the deviation is 0. A remark names what makes a published figure another measurement: "
        + "; ".join(f"*{word}*, {meaning}" for word, meaning in DIFFERENCES.items())
        + ".",
    ]
    if failed:
        parts += ["**Not done:**", "\n".join(f"- {_one_line(text)}" for text in failed)]
    for system, own in lines.items():
        parts.append(f"## `{system}`")
        for dataset, group in groupby(own, key=lambda line: line.dataset):
            name = {"dev": "Development data", "eval": "Evaluation data"}[dataset]
            parts += [f"### {name}", *_dataset(list(group), sources)]
        if not any(line.published for line in own):
            parts.append("No published figures of this system on these data are known.")
    if sources:
        listed = "\n".join(f"{number}. {source}" for number, source in enumerate(sources, 1))
        parts += ["## Sources of the published figures", listed]
    return "\n\n".join(parts) + "\n"


def _dataset(lines: Sequence[Line], sources: Sequence[str]) -> Iterator[str]:
    """Yield the table, and below it what was published of other settings."""
    other = Counter(line.other_settings for line in lines if line.other_settings)
    if shown := [line for line in lines if not line.other_settings]:
        yield _table(shown, sources)
    if other:
        yield "Published figures of other settings are only in the CSV file:"
        yield "\n".join(f"- {number} of {text}" for text, number in other.items())


def _table(lines: Sequence[Line], sources: Sequence[str]) -> str:
    head = ["machine type", "figure", "ours", "published", "difference", "in deviations", "remarks"]
    rows = [head]
    for line in lines:
        ours = "" if np.isnan(line.average) else f"{line.average:.4f}"
        if not np.isnan(line.deviation):
            ours += f" ± {line.deviation:.4f}"
        row = line.published
        published = f"{float(row.value):.4f} [{sources.index(row.source) + 1}]" if row else ""
        signed = [
            "" if np.isnan(x) else format(x, form)
            for x, form in ((line.difference, "+.4f"), (line.in_deviations, "+.1f"))
        ]
        cells = [line.machine_type, label(line), ours, published, *signed, "; ".join(line.remarks)]
        rows.append(cells)
    return text_table(rows, "pipe")


def label(line: Line) -> str:
    """Return what a figure is called on the page."""
    columns = tuple(line.metric.split(" + "))
    scores = {definition.score for definition in DEFINITIONS if definition.official}
    if columns in scores and line.mean == HARMONIC:
        whole = line.machine_type == "all"
        return "official score" if whole else f"harmonic mean of the {len(columns)}"
    return f"{' and '.join(columns)}, {line.mean}"


def _one_line(text: str) -> str:
    return " ".join(text.split())
