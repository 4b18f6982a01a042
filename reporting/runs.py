"""Every system and seed below some result directories, checked against one another."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np

from core.errors import BadInput, nearest
from evaluation.csv_files import common_definition, list_sections, read_section
from evaluation.kept_rows import table_path
from evaluation.metrics import MAX_FPR, EvaluationError, ScoredSection, SectionKey
from evaluation.result_csv import read_result_csv
from evaluation.thresholds import ALL_SECTIONS
from evaluation.truth import Truth, read_ground_truth
from evaluation.years import YEAR_2022, Definition
from reporting.run_directories import find_runs

SCORE = "official score"
MEAN_OF_BOTH = "mean of AUC and pAUC"

BASELINE = "ae"
EQUAL = 1e-9  # largest difference between result.csv and the scores beside it


class Threshold(NamedTuple):
    """Where a section's decisions change; gamma: shape, loc and scale, or None without a fit."""

    value: float
    method: str
    gamma: tuple[float, float, float] | None


@dataclass(frozen=True)
class Run:
    """The results of one system and seed.

    seed : as its directory is named, "" where the name has none
    sections : what was scored, with labels or without
    thresholds : of the sections whose decisions or `thresholds.csv` give one
    """

    system: str
    seed: str
    directory: Path
    sections: dict[SectionKey, ScoredSection]
    thresholds: dict[SectionKey, Threshold]

    @property
    def name(self) -> str:
        """Return the system and its seed, as in "ae seed 0"."""
        return f"{self.system} seed {self.seed}" if self.seed else self.system

    @property
    def labelled(self) -> dict[SectionKey, ScoredSection]:
        """Return the sections that can be evaluated."""
        return {
            key: section for key, section in self.sections.items() if section.labels is not None
        }


@dataclass
class ReportData:
    """The results that a report is over.

    runs : in the order of systems, the baseline first, and seeds
    baseline : the system that the others are tested against
    max_fpr : the range of the pAUC
    seed : of the redrawn clips of the intervals
    problems : one line per result that was skipped, with the reason
    gaps : one line per machine type, section or seed that only some runs have
    not_shown : one line per clip, curve or picture that could not be copied, computed or drawn
    """

    runs: list[Run]
    baseline: str = BASELINE
    max_fpr: float = MAX_FPR
    seed: int = 0
    problems: list[str] = field(default_factory=list)
    gaps: list[str] = field(default_factory=list)
    not_shown: list[str] = field(default_factory=list)

    @property
    def systems(self) -> dict[str, list[Run]]:
        """System → its runs."""
        systems: dict[str, list[Run]] = {}
        for run in self.runs:
            systems.setdefault(run.system, []).append(run)
        return systems

    @property
    def sections(self) -> list[SectionKey]:
        """Return the sections that any run has."""
        return sorted({key for run in self.runs for key in run.sections})

    @property
    def labelled(self) -> list[SectionKey]:
        """Return the sections that any run has with labels."""
        return sorted({key for run in self.runs for key in run.labelled})

    @property
    def with_domains(self) -> bool:
        """Return whether the labelled sections have domains."""
        return any(s.domains is not None for run in self.runs for s in run.labelled.values())

    @property
    def definition(self) -> Definition:
        """Return the definition of the year that all runs are evaluated by."""
        labelled = (section for run in self.runs for section in run.labelled.values())
        return next((section.definition for section in labelled), YEAR_2022)

    @property
    def score_name(self) -> str:
        """Return the name of the one score that systems are ranked by."""
        return SCORE if self.definition.official else MEAN_OF_BOTH


def read_runs(
    directories: Sequence[Path],
    pattern: str,
    baseline: str | None = None,
    ground_truth: Path | None = None,
    max_fpr: float = MAX_FPR,
    seed: int = 0,
) -> ReportData:
    """Read every run below the directories given, or where `result_directory` puts them.

    What cannot be used is left out and named: a section whose files are damaged or contradict one
    another, and one that was scored on other clips than most runs were.

    Parameters
    ----------
    directories : result directories; empty takes those that fit the pattern
    pattern : `result_directory` of the settings, with {system} and maybe {seed}
    baseline : the system that the others are tested against, and whose clips count where as many
        runs have others; None takes BASELINE
    ground_truth : labels for clips whose names have none, see `read_ground_truth`
    max_fpr, seed : see `ReportData`

    Raises
    ------
    BadInput : where nothing is left, naming everything that was wrong, and where the baseline
        asked for has no results.
    """
    try:
        truth = read_ground_truth(ground_truth) if ground_truth else None
    except EvaluationError as error:
        raise BadInput(str(error)) from None
    data = ReportData([], baseline or BASELINE, max_fpr, seed)
    data.problems += truth.warnings if truth else ()
    for (system, name), directory in find_runs(directories, pattern, data.problems).items():
        data.runs.append(_read_run(Run(system, name, directory, {}, {}), truth, data))
    _drop_other_datasets(data)
    _drop_other_test_sets(data)
    definition = common_definition((run.directory, run.sections.values()) for run in data.runs)
    for run in data.runs:
        for key, section in run.sections.items():
            run.sections[key] = section.by(definition)
    data.runs = [run for run in data.runs if run.sections]
    if not data.runs:
        place = ", ".join(map(str, directories)) or pattern
        raise BadInput(
            "\n".join([*data.problems, f"{place}: no results to report; 01_test.py makes them"])
        )
    data.runs.sort(
        key=lambda run: (run.system != data.baseline, run.system, len(run.seed), run.seed)
    )
    data.gaps = _gaps(data)
    _check_baseline(data, baseline)
    return data


def _check_baseline(data: ReportData, asked: str | None) -> None:
    """Raise BadInput where the baseline asked for has no results.

    Where the usual one has none, that is a problem of the report.
    """
    systems = data.systems
    if asked and asked not in systems:
        raise BadInput(f"--baseline {asked}: no results of it{nearest(asked, list(systems))}")
    if data.baseline not in systems and len(systems) > 1:
        data.problems.append(
            f"no test against a baseline: {data.baseline} has no results; --baseline names another"
        )


def _read_run(run: Run, truth: Truth | None, data: ReportData) -> Run:
    """Fill in the sections and thresholds of a run."""
    problems = data.problems
    keys, misnamed = list_sections(run.directory)
    problems += [f"{run.name}: {line}" for line in misnamed]
    for key in keys:
        try:
            run.sections[key] = read_section(run.directory, key, truth)
        except EvaluationError as error:
            problems += [f"{run.name}: {key} skipped: {line}" for line in str(error).splitlines()]
    for mode in ("dev", "eval"):
        _compare_result_csv(run, table_path(run.directory / "result.csv", mode), data)
    _find_thresholds(run, problems)
    return run


def _find_thresholds(run: Run, problems: list[str]) -> None:
    """Fill in the thresholds of a run: of its tables, else as its decisions show them."""
    paths = [table_path(run.directory / "thresholds.csv", mode) for mode in ("dev", "eval")]
    tables = {path: _read_thresholds(path, problems) for path in paths}
    for key, section in run.sections.items():
        listed = {
            path: table.get(tuple(key)) or table.get((key.machine_type, ALL_SECTIONS))
            for path, table in tables.items()
        }
        listed = {path: threshold for path, threshold in listed.items() if threshold}
        fitting = [one for one in listed.values() if not _contradicts(section, one)]
        if listed and not fitting:
            path, threshold = next(iter(listed.items()))
            problems.append(
                f"{path}: {key}: the threshold {threshold.value:.6g} does "
                "not give the decisions beside it; taken from the decisions instead"
            )
        threshold = fitting[0] if fitting else _threshold_between(section)
        if threshold:
            run.thresholds[key] = threshold


def _compare_result_csv(run: Run, path: Path, data: ReportData) -> None:
    """Name the sections of which a result.csv does not say what their scores give."""
    if not path.exists():
        return
    try:
        written = {
            (result.machine_type, result.section): result for result in read_result_csv(path)
        }
    except BadInput as error:
        data.problems.append(f"{error}; the scores beside it count")
        return
    for section in run.labelled.values():
        other = written.get((section.key.machine_type, section.key.section.partition("_")[2]))
        if other is None:
            continue
        result, cells = section.by(other.definition).evaluate(data.max_fpr), other.metrics
        differences = [
            f"{column} {cells[column]:.6g} against {value:.6g}"
            for column, value in result.metrics.items()
            if column in cells and not np.isclose(cells[column], value, 0, EQUAL, equal_nan=True)
        ]
        if differences:
            data.problems.append(
                f"{path}: {section.key}: not what the scores beside it give "
                f"({'; '.join(differences)}, at max_fpr {data.max_fpr}); the scores count"
            )


def _read_thresholds(path: Path, problems: list[str]) -> dict[tuple[str, str], Threshold]:
    thresholds = {}
    try:
        with path.open(newline="", encoding="utf-8") as stream:
            for row in csv.DictReader(stream):
                gamma = [row[name] for name in ("shape", "loc", "scale")]
                thresholds[row["machine_type"], row["section"]] = Threshold(
                    float(row["threshold"]),
                    row["method"],
                    tuple(map(float, gamma)) if all(gamma) else None,
                )
    except FileNotFoundError:
        pass
    except (OSError, UnicodeDecodeError, csv.Error, KeyError, ValueError, TypeError) as error:
        problems.append(f"{path}: half-written or foreign ({error!r}); taken from the decisions")
        return {}
    return thresholds


def _contradicts(section: ScoredSection, threshold: Threshold) -> bool:
    if section.decisions is None:
        return False
    return bool(np.any((section.scores > threshold.value) != (section.decisions == 1)))


def _threshold_between(section: ScoredSection) -> Threshold | None:
    """Return the middle between the scores decided normal and those decided anomalous.

    None where there are no decisions, only one kind, or where they overlap.
    """
    if section.decisions is None or len(np.unique(section.decisions)) < 2:
        return None
    below = section.scores[section.decisions == 0].max()
    above = section.scores[section.decisions == 1].min()
    if below >= above:
        return None
    return Threshold(float(below + above) / 2, "read off the decisions", None)


def _drop_other_datasets(data: ReportData) -> None:
    """Drop from each run the sections without domains where most have them, or the reverse."""
    kinds = Counter(
        section.domains is not None for run in data.runs for section in run.labelled.values()
    )
    with_domains = kinds[True] >= kinds[False]
    for run in data.runs:
        others = sorted(
            key
            for key, section in run.labelled.items()
            if (section.domains is not None) != with_domains
        )
        if others:
            names = ", ".join(map(str, others))
            data.problems.append(
                f"{run.name}: {names} skipped: a dataset {'without' if with_domains else 'with'} "
                "domains, unlike the others; make a report of its own for it"
            )
        for key in others:
            del run.sections[key]


def _drop_other_test_sets(data: ReportData) -> None:
    """Drop from each run the sections that it has with other clips than most runs."""
    for key in data.sections:
        runs = [run for run in data.runs if key in run.sections]
        sets = [_test_set(run.sections[key]) for run in runs]
        counts = Counter(sets)
        usual = max(
            zip(sets, runs, strict=True),
            key=lambda pair: (counts[pair[0]], pair[1].system == data.baseline),
        )[0]
        for run, own in zip(runs, sets, strict=True):
            if own == usual:
                continue
            others = sorted(set(own[0]) ^ set(usual[0]))
            names = ", ".join(others[:3]) + (", ..." if len(others) > 3 else "")
            why = f"differing in {len(others)}: {names}" if others else "with other labels"
            data.problems.append(
                f"{run.name}: {key} skipped: another test set ({len(own[0])} clips, where "
                f"{counts[usual]} of {len(runs)} runs have {len(usual[0])}; {why})"
            )
            del run.sections[key]


def _test_set(section: ScoredSection) -> tuple:
    arrays = (section.names, section.labels, section.domains)
    return tuple(None if array is None else tuple(array.tolist()) for array in arrays)


def _gaps(data: ReportData) -> list[str]:
    gaps, wanted = [], data.labelled
    seeds = sorted({run.seed for run in data.runs}, key=lambda seed: (len(seed), seed))
    for system, runs in data.systems.items():
        absent = [seed for seed in seeds if seed and seed not in {run.seed for run in runs}]
        if absent and any(run.seed for run in runs):
            gaps.append(
                f"{system}: {len(absent)} of {len(seeds)} seeds missing: {', '.join(absent)}"
            )
        for run in runs:
            missing = [key for key in wanted if key not in run.labelled]
            if missing:
                gaps.append(
                    f"{run.name}: {_share(missing, wanted)} missing: {_names(missing, wanted)}"
                )
            undefined: dict[str, list[SectionKey]] = {}
            for key, section in run.labelled.items():
                metrics = section.evaluate(data.max_fpr).metrics
                columns = ", ".join(name for name, value in metrics.items() if np.isnan(value))
                undefined.setdefault(columns, []).append(key)
            gaps += [
                f"{run.name}: {_share(keys, wanted)} without normal clips, anomalies or decisions "
                f"for {columns}: {_names(keys, wanted)}"
                for columns, keys in undefined.items()
                if columns
            ]
    return gaps


def _share(keys: Sequence[SectionKey], wanted: Sequence[SectionKey]) -> str:
    return f"{len(keys)} of {len(wanted)} sections"


def _names(keys: Sequence[SectionKey], wanted: Sequence[SectionKey]) -> str:
    """Return the sections by name; a machine type of which all are meant by its own name."""
    names: list[str] = []
    for machine_type in dict.fromkeys(key.machine_type for key in keys):
        own = [key for key in keys if key.machine_type == machine_type]
        whole = len(own) == sum(key.machine_type == machine_type for key in wanted)
        names += [f"{machine_type} (all sections)"] if whole else map(str, own)
    return ", ".join(names)


def counted(number: int, thing: str) -> str:
    """Return a number with its noun, as in "1 section", "2 sections"."""
    return f"{number} {thing}{'' if number == 1 else 's'}"
