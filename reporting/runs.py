"""Every system and seed below some result directories, checked against one another."""

from __future__ import annotations

import csv
import glob
import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np

from core.errors import BadInput, nearest
from evaluation.csv_files import list_sections, read_ground_truth, read_section
from evaluation.metrics import MAX_FPR, EvaluationError, ScoredSection, SectionKey
from evaluation.thresholds import ALL_SECTIONS

SCORE = "official score"
MEAN_OF_BOTH = "mean of AUC and pAUC"

BASELINE = "ae"
_SEED = re.compile(r"(?:seed[_-]?)?(\d+)", re.IGNORECASE)
EQUAL = 1e-9  # result.csv and the scores beside it


class Threshold(NamedTuple):
    """Where a section's decisions change; gamma: shape, loc and scale, or None without a fit."""

    value: float
    method: str
    gamma: tuple[float, float, float] | None


@dataclass(frozen=True)
class Run:
    """The results of one system and seed.

    seed : as its directory is named, "" where it does not say
    sections : what was scored, labelled or not
    thresholds : of the sections whose decisions or `thresholds.csv` tell them
    """

    system: str
    seed: str
    directory: Path
    sections: dict[SectionKey, ScoredSection]
    thresholds: dict[SectionKey, Threshold]

    @property
    def name(self) -> str:
        """As in "ae seed 0"."""
        return f"{self.system} seed {self.seed}" if self.seed else self.system

    @property
    def labelled(self) -> dict[SectionKey, ScoredSection]:
        """The sections that can be evaluated."""
        return {key: held for key, held in self.sections.items() if held.labels is not None}


@dataclass
class Gathered:
    """What there is to report.

    runs : in the order of systems, the baseline first, and seeds
    problems : a line each: what was skipped, and why
    gaps : a line each: which machine types, sections or seeds a system lacks that others have
    """

    runs: list[Run]
    problems: list[str] = field(default_factory=list)
    gaps: list[str] = field(default_factory=list)

    @property
    def systems(self) -> dict[str, list[Run]]:
        """System → its runs."""
        return {run.system: [r for r in self.runs if r.system == run.system] for run in self.runs}

    @property
    def labelled(self) -> list[SectionKey]:
        """The sections that any run has with labels."""
        return sorted({key for run in self.runs for key in run.labelled})

    @property
    def with_domains(self) -> bool:
        """Whether the labelled sections have domains."""
        return any(s.domains is not None for run in self.runs for s in run.labelled.values())


def gather(
    given: Sequence[Path],
    pattern: str,
    baseline: str | None = None,
    ground_truth: Path | None = None,
    max_fpr: float = MAX_FPR,
) -> Gathered:
    """Read every run below the directories given, or where `result_directory` puts them.

    What cannot be used is left out and named: a section whose files are damaged or contradict one
    another, and one that was scored on other clips than most runs were.

    Parameters
    ----------
    given : result directories; empty takes those that fit the pattern
    pattern : `result_directory` of the settings, with {system} and maybe {seed}
    baseline : the system whose clips count where as many runs have others
    ground_truth : labels for clips whose names have none, see `evaluation.read_ground_truth`
    max_fpr : for the comparison with result.csv

    Raises
    ------
    BadInput : where nothing is left, naming everything that was wrong.
    """
    try:
        truth = read_ground_truth(ground_truth) if ground_truth else None
    except EvaluationError as error:
        raise BadInput(str(error)) from None
    places, problems = _places(given, pattern)
    runs = [
        _read_run(system, seed, directory, truth, max_fpr, problems)
        for (system, seed), directory in places.items()
    ]
    _same_clips(runs, baseline or BASELINE, problems)
    runs = [run for run in runs if run.sections]
    if not runs:
        what = ", ".join(map(str, given)) or pattern
        raise BadInput(
            "\n".join([*problems, f"{what}: no results to report; 01_test.py makes them"])
        )
    runs.sort(
        key=lambda run: (run.system != (baseline or BASELINE), run.system, len(run.seed), run.seed)
    )
    found = Gathered(runs, problems)
    found.gaps = _gaps(found, max_fpr)
    return found


def check_baseline(found: Gathered, asked: str | None) -> str:
    """The system that the others are tested against.

    Raises BadInput where one is asked for that has no results; where the usual one has none, that
    is a problem of the report.
    """
    baseline = asked or BASELINE
    if asked and asked not in found.systems:
        raise BadInput(f"--baseline {asked}: no results of it{nearest(asked, list(found.systems))}")
    if baseline not in found.systems and len(found.systems) > 1:
        found.problems.append(
            f"no test against a baseline: {baseline} has no results; --baseline names another"
        )
    return baseline


def _places(given: Sequence[Path], pattern: str) -> tuple[dict[tuple[str, str], Path], list[str]]:
    named = _named(pattern)
    problems: list[str] = []
    found: dict[tuple[str, str], Path] = {}
    if given:
        below = []
        for directory in given:
            if not directory.is_dir():
                problems.append(f"{directory}: no such directory (from {Path.cwd()})")
                continue
            held = [(directory, path) for path in _with_scores(directory)]
            if not held:
                problems.append(f"{directory}: no anomaly_score_*.csv in it or below")
            below += held
    else:
        literal = [glob.escape(part) for part in re.split(r"\{(?:system|seed)\}", pattern)]
        paths = sorted(map(Path, glob.glob("*".join(literal))))
        below = [(path, held) for path in paths for held in _with_scores(path)]
    for start, path in below:
        said = named.fullmatch(os.path.abspath(path))
        if said:
            words = {"system": path.resolve().name, "seed": "", **said.groupdict()}
            identity = words["system"], words["seed"]
            if words["seed"] and not words["seed"].isdecimal():
                identity = "/".join(identity), ""
        else:
            identity = _from_path(start, path)
        if identity in found and found[identity].resolve() != path.resolve():
            identity = (str(path), "")
        found.setdefault(identity, path)
    return found, problems


def _named(pattern: str) -> re.Pattern:
    text, seen = "", set()
    for part in re.split(r"(\{system\}|\{seed\})", os.path.abspath(pattern)):
        name = part[1:-1]
        if part not in ("{system}", "{seed}"):
            text += re.escape(part)
        else:
            text += f"(?P={name})" if name in seen else f"(?P<{name}>[^{re.escape(os.sep)}]+)"
            seen.add(name)
    return re.compile(text)


def _from_path(start: Path, path: Path) -> tuple[str, str]:
    parts = list(path.relative_to(start).parts)
    home = start.resolve()
    if not parts or (len(parts) == 1 and _SEED.fullmatch(parts[0])):
        parts.insert(0, home.name)
        if len(parts) == 1 and _SEED.fullmatch(home.name):
            parts.insert(0, home.parent.name)
    seeds = [part for part in parts if _SEED.fullmatch(part)]
    if not seeds or len(parts) == 1:
        return "/".join(parts), ""
    parts.remove(seeds[-1])
    return "/".join(parts), _SEED.fullmatch(seeds[-1])[1]


def _with_scores(directory: Path) -> list[Path]:
    found = []
    for path, folders, files in os.walk(directory):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        if any(name.startswith("anomaly_score_") and name.endswith(".csv") for name in files):
            found.append(Path(path))
    return found


def _read_run(
    system: str,
    seed: str,
    directory: Path,
    truth: Mapping | None,
    max_fpr: float,
    problems: list[str],
) -> Run:
    keys, misnamed = list_sections(directory)
    run = Run(system, seed, directory, {}, {})
    problems += [f"{run.name}: {line}" for line in misnamed]
    for key in keys:
        try:
            run.sections[key] = read_section(directory, key, truth)
        except EvaluationError as error:
            problems += [f"{run.name}: {key} skipped: {line}" for line in str(error).splitlines()]
    _compare_result_csv(run, max_fpr, problems)
    fitted = _read_thresholds(directory / "thresholds.csv", problems)
    for key, section in run.sections.items():
        threshold = fitted.get(tuple(key)) or fitted.get((key.machine_type, ALL_SECTIONS))
        if threshold and _contradicts(section, threshold):
            problems.append(
                f"{directory / 'thresholds.csv'}: {key}: the threshold {threshold.value:.6g} does "
                "not give the decisions beside it; taken from the decisions instead"
            )
            threshold = None
        threshold = threshold or _between(section)
        if threshold:
            run.thresholds[key] = threshold
    return run


def _compare_result_csv(run: Run, max_fpr: float, problems: list[str]) -> None:
    path = run.directory / "result.csv"
    try:
        with path.open(newline="", encoding="utf-8") as stream:
            rows = list(csv.reader(stream))
    except FileNotFoundError:
        return
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        problems.append(f"{path}: cannot be read ({error}); the scores beside it count")
        return
    said: dict[tuple[str, str], dict[str, str]] = {}
    machine_type, columns = "", []
    for row in rows:
        if len(row) == 1:
            machine_type = row[0]
        elif row[:1] in (["section"], ["id"]):
            columns = row[1:]
        elif row and row[0].isdigit():
            said[machine_type, row[0]] = dict(zip(columns, row[1:], strict=False))
    for section in run.labelled.values():
        result = section.evaluate(max_fpr)
        cells = said.get((result.machine_type, result.section), {})
        differs = [
            f"{column} {cells[column]} against {value:.6g}"
            for column, value in result.metrics.items()
            if column in cells and not _same(cells[column], value)
        ]
        if differs:
            problems.append(
                f"{path}: {section.key}: not what the scores beside it give "
                f"({'; '.join(differs)}, at max_fpr {max_fpr}); the scores count"
            )


def _same(cell: str, value: float) -> bool:
    try:
        return np.isnan(value) if not cell else abs(float(cell) - value) <= EQUAL
    except ValueError:
        return False


def _read_thresholds(path: Path, problems: list[str]) -> dict[tuple[str, str], Threshold]:
    found = {}
    try:
        with path.open(newline="", encoding="utf-8") as stream:
            for row in csv.DictReader(stream):
                gamma = [row[name] for name in ("shape", "loc", "scale")]
                found[row["machine_type"], row["section"]] = Threshold(
                    float(row["threshold"]),
                    row["method"],
                    tuple(map(float, gamma)) if all(gamma) else None,
                )
    except FileNotFoundError:
        pass
    except (OSError, UnicodeDecodeError, csv.Error, KeyError, ValueError, TypeError) as error:
        problems.append(f"{path}: half-written or foreign ({error!r}); taken from the decisions")
        return {}
    return found


def _contradicts(section: ScoredSection, threshold: Threshold) -> bool:
    if section.decisions is None:
        return False
    return bool(np.any((section.scores > threshold.value) != (section.decisions == 1)))


def _between(section: ScoredSection) -> Threshold | None:
    """The middle between the scores that were told apart, where the decisions say so much."""
    if section.decisions is None or len(np.unique(section.decisions)) < 2:
        return None
    below = section.scores[section.decisions == 0].max()
    above = section.scores[section.decisions == 1].min()
    if below >= above:
        return None
    return Threshold(float(below + above) / 2, "read off the decisions", None)


def _test_set(section: ScoredSection) -> tuple:
    arrays = (section.names, section.labels, section.domains)
    return tuple(None if array is None else tuple(array.tolist()) for array in arrays)


def _same_clips(runs: Sequence[Run], baseline: str, problems: list[str]) -> None:
    """Drop from each run the sections that it has with other clips than most runs."""
    kinds = Counter(
        section.domains is not None for run in runs for section in run.labelled.values()
    )
    for run in runs:
        of_run = {
            key
            for key, held in run.labelled.items()
            if (held.domains is not None) != (kinds[True] >= kinds[False])
        }
        if of_run:
            names = ", ".join(map(str, sorted(of_run)))
            problems.append(
                f"{run.name}: {names} skipped: a dataset {'without' if kinds[True] else 'with'} "
                "domains, unlike the others; make a report of its own for it"
            )
        for key in of_run:
            del run.sections[key]
    for key in sorted({key for run in runs for key in run.sections}):
        holding = [run for run in runs if key in run.sections]
        sets = [_test_set(run.sections[key]) for run in holding]
        counts = Counter(sets)
        usual = max(
            zip(sets, holding, strict=True),
            key=lambda pair: (counts[pair[0]], pair[1].system == baseline),
        )[0]
        for run, held in zip(holding, sets, strict=True):
            if held == usual:
                continue
            other = sorted(set(held[0]) ^ set(usual[0]))
            names = ", ".join(other[:3]) + (", ..." if len(other) > 3 else "")
            why = f"differing in {len(other)}: {names}" if other else "with other labels"
            problems.append(
                f"{run.name}: {key} skipped: another test set ({len(held[0])} clips, where "
                f"{counts[usual]} of {len(holding)} runs have {len(usual[0])}; {why})"
            )
            del run.sections[key]


def _gaps(found: Gathered, max_fpr: float) -> list[str]:
    gaps, wanted = [], found.labelled
    seeds = sorted({run.seed for run in found.runs}, key=lambda seed: (len(seed), seed))
    for system, runs in found.systems.items():
        lacking = [seed for seed in seeds if seed and seed not in {run.seed for run in runs}]
        if lacking and any(run.seed for run in runs):
            gaps.append(
                f"{system}: {len(lacking)} of {len(seeds)} seeds missing: {', '.join(lacking)}"
            )
        for run in runs:
            missing = [key for key in wanted if key not in run.labelled]
            if missing:
                gaps.append(
                    f"{run.name}: {_of(missing, wanted)} missing: {_named_keys(missing, wanted)}"
                )
            empty: dict[str, list[SectionKey]] = {}
            for key, section in run.labelled.items():
                metrics = section.evaluate(max_fpr).metrics
                columns = ", ".join(name for name, value in metrics.items() if np.isnan(value))
                empty.setdefault(columns, []).append(key)
            gaps += [
                f"{run.name}: {_of(keys, wanted)} without normal clips, anomalies or decisions for "
                f"{columns}: {_named_keys(keys, wanted)}"
                for columns, keys in empty.items()
                if columns
            ]
    return gaps


def _of(keys: Sequence[SectionKey], wanted: Sequence[SectionKey]) -> str:
    return f"{len(keys)} of {len(wanted)} sections"


def _named_keys(keys: Sequence[SectionKey], wanted: Sequence[SectionKey]) -> str:
    """The sections by name, a machine type of which all are meant by its own."""
    names: list[str] = []
    for machine_type in dict.fromkeys(key.machine_type for key in keys):
        of = [key for key in keys if key.machine_type == machine_type]
        whole = len(of) == sum(key.machine_type == machine_type for key in wanted)
        names += [f"{machine_type} (all sections)"] if whole else map(str, of)
    return ", ".join(names)


def counted(number: int, thing: str) -> str:
    """As in "1 section", "2 sections"."""
    return f"{number} {thing}{'' if number == 1 else 's'}"
