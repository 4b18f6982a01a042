"""AUC, pAUC, precision, recall, F1 score and the official score of saved results, and result.csv.

Runs alone on the CSV files of a result directory, whichever program scored the clips:

    python evaluation.py DIR [--ground-truth DIR] [--max-fpr 0.1]
"""

from __future__ import annotations

import argparse
import csv
import os
import re
import sys
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

DOMAINS = ("source", "target")
DOMAIN_COLUMNS = (
    *("AUC (source)", "AUC (target)", "pAUC", "precision (source)", "precision (target)"),
    *("recall (source)", "recall (target)", "F1 score (source)", "F1 score (target)"),
)
PLAIN_COLUMNS = ("AUC", "pAUC")
OFFICIAL_SCORE_COLUMNS = DOMAIN_COLUMNS[:3]
MAX_FPR = 0.1
EPSILON = sys.float_info.epsilon

_SECTION_CLIP = re.compile(
    r"(?P<section>section_\d+)(_(?P<domain>source|target))?(_(train|test))?"
    r"(_(?P<label>normal|anomaly))?_\d+(_.*)?\.wav"
)
_ID_CLIP = re.compile(r"((?P<label>normal|anomaly)_)?(?P<section>id_\d+)_\d+(_.*)?\.wav")
_RESULT_FILE = re.compile(
    r"(?P<machine_type>.+)_(?P<section>(section|id)_\d+)(_(?P<domain>source|target))?(_test)?\.csv"
)
_MISNAMED = "the name lacks <machine type>_section_<NN>_test"
_TEST_IN_UNLABELLED_NAME = re.compile(r"^(section_\d+(?:_source|_target)?)_test(?=_\d+\.wav$)")


class SectionKey(NamedTuple):
    """A section in the names of files: machine type ("fan") and "section_00", or "id_00"."""

    machine_type: str
    section: str

    def __str__(self) -> str:
        return f"{self.machine_type} {self.section.replace('_', ' ')}"


class EvaluationError(ValueError):
    """What is wrong with the results or the ground truth, a line a problem, for the person."""


class Clip(NamedTuple):
    """What a clip's name says: section ("section_00", "id_00"), domain, label; None: unsaid."""

    section: str | None
    domain: str | None
    label: int | None


def parse_clip(name: str | Path) -> Clip:
    """Read section, domain and label (0 normal, 1 anomaly) from the name of a clip of any year.

    The words count only at their place in the name: an attribute may hold "normal" or "source".
    A name of no DCASE form says nothing, which is a Clip of three None.
    """
    name = Path(name).name
    words = _SECTION_CLIP.fullmatch(name) or _ID_CLIP.fullmatch(name)
    if words is None:
        return Clip(None, None, None)
    said = words.groupdict()
    label = {None: None, "normal": 0, "anomaly": 1}[said["label"]]
    return Clip(said["section"], said.get("domain"), label)


def clip_key(name: str) -> str:
    """Return the name under which results and ground truth find each other.

    The evaluation clips were published both as section_03_0000.wav and section_03_test_0000.wav.
    """
    return _TEST_IN_UNLABELLED_NAME.sub(r"\1", name)


def read_scores(path: str | Path) -> dict[str, float]:
    """Read a headerless CSV of `file,anomaly score`.

    Returns clip name → anomaly score (finite, higher is more abnormal), in the order of the file.
    Raises EvaluationError with file and line of every problem: not two columns, not a finite
    number, a clip twice; and if the file cannot be read or holds no clip.
    """
    return _read_values(path, _parse_score)


def read_decisions(path: str | Path) -> dict[str, int]:
    """Read a headerless CSV of `file,0|1`: decisions, true labels or true domains.

    Returns clip name → 0 or 1, in the order of the file. Raises as `read_scores`.
    """
    return _read_values(path, _parse_decision)


def _parse_score(text: str) -> float:
    try:
        score = float(text)
    except ValueError:
        raise EvaluationError(f"{text!r} is not a number") from None
    if not np.isfinite(score):
        raise EvaluationError(f"{text!r} is not a finite number")
    return score


def _parse_decision(text: str) -> int:
    if text.strip() not in ("0", "1"):
        raise EvaluationError(f"{text!r} is neither 0 nor 1")
    return int(text)


def _read_values(path: str | Path, parse: Callable[[str], float]) -> dict:
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file)
            rows = [(f"{path}, line {reader.line_num}", row) for row in reader if row]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise EvaluationError(f"{path}: cannot be read as a CSV file in UTF-8: {error}") from error
    values, seen = {}, set()
    problems = [] if rows else [f"{path}: holds no clip"]
    for where, row in rows:
        if len(row) != 2 or not row[0]:
            problems.append(f"{where}: expected two columns (file,value), got {','.join(row)!r}")
            continue
        name, text = row
        if clip_key(name) in seen:
            problems.append(f"{where}: {name} a second time")
        seen.add(clip_key(name))
        try:
            values[name] = parse(text)
        except EvaluationError as error:
            problems.append(f"{where}: {error}")
    _raise_if_any(problems)
    return values


def _raise_if_any(problems: Sequence[str]) -> None:
    if problems:
        raise EvaluationError("\n".join(problems))


def section_metrics(
    labels: ArrayLike,
    scores: ArrayLike,
    domains: ArrayLike | None = None,
    decisions: ArrayLike | None = None,
    max_fpr: float = MAX_FPR,
) -> dict[str, float]:
    """Compute the metrics of one section, as the official DCASE baselines define them.

    labels: (clips,) 0 normal, 1 anomaly. scores: (clips,) finite, higher is more abnormal.
    domains: (clips,) "source" or "target", or None for a dataset without domains.
    decisions: (clips,) 0 or 1, or None where none were made.
    max_fpr: in (0, 1], the false positive rate up to which pAUC looks.

    Returns column → value in [0, 1], in the order of result.csv: the nine of DOMAIN_COLUMNS, or
    AUC and pAUC without domains. The AUC of a domain sets its normal clips against the anomalies
    of both domains; pAUC takes all clips, standardised after McClish (1989) so that chance is 0.5;
    precision, recall and F1 score take the clips of one domain. A value is NaN where its clips
    lack normals or anomalies, or decisions. Raises ValueError on input outside the above.
    """
    labels, scores = np.asarray(labels), np.asarray(scores, dtype=float)
    _check_arrays(labels, scores, domains, decisions)
    pauc = auc(labels, scores, max_fpr)
    if domains is None:
        return dict(zip(PLAIN_COLUMNS, (auc(labels, scores), pauc), strict=True))
    aucs, by_domain = [], []
    for domain in DOMAINS:
        inside = np.asarray(domains) == domain
        opposed = inside | (labels == 1)
        aucs.append(auc(labels[opposed], scores[opposed]))
        decided = None if decisions is None else np.asarray(decisions)[inside]
        by_domain.append(precision_recall_f1(labels[inside], decided))
    source_then_target = [value for pair in zip(*by_domain, strict=True) for value in pair]
    return dict(zip(DOMAIN_COLUMNS, [*aucs, pauc, *source_then_target], strict=True))


def precision_recall_f1(
    labels: ArrayLike, decisions: ArrayLike | None
) -> tuple[float, float, float]:
    """Compute precision, recall and F1 score, in [0, 1], of decisions (clips,) on labels (clips,).

    As in the official baselines a denominator is at least the float epsilon, so a system that
    calls nothing anomalous gets 0. All three are NaN without normals, anomalies or decisions.
    """
    labels = np.asarray(labels)
    if decisions is None or np.unique(labels).size < 2:
        return np.nan, np.nan, np.nan
    called = np.asarray(decisions) == 1
    hits = float(np.sum(called & (labels == 1)))
    precision = hits / max(float(np.sum(called)), EPSILON)
    recall = hits / float(np.sum(labels == 1))
    return precision, recall, 2.0 * precision * recall / max(precision + recall, EPSILON)


def auc(labels: np.ndarray, scores: np.ndarray, max_fpr: float | None = None) -> float:
    """Compute the AUC of clips, or up to max_fpr the pAUC; NaN without normals or anomalies."""
    if np.unique(labels).size < 2:
        return np.nan
    from sklearn.metrics import roc_auc_score  # here: its import takes longer than all the rest

    return float(roc_auc_score(labels, scores, max_fpr=max_fpr))


def _check_arrays(labels, scores, domains, decisions) -> None:
    shapes = {np.shape(a) for a in (labels, scores, domains, decisions) if a is not None}
    if labels.ndim != 1 or len(shapes) > 1:
        raise EvaluationError(f"expected arrays of one shape (clips,), got {shapes}")
    if not np.isfinite(scores).all():
        raise EvaluationError("anomaly scores must be finite")
    for array, allowed in ((labels, (0, 1)), (decisions, (0, 1)), (domains, DOMAINS)):
        if array is not None and not np.isin(array, allowed).all():
            raise EvaluationError(f"expected values of {allowed}, got {sorted(set(array))}")


@dataclass(frozen=True)
class SectionResult:
    """One row of result.csv: a machine type ("fan"), a section ("00") and its metrics.

    auc_all: AUC of all clips of the section, whatever their domain, which the published evaluators
    give; NaN where undefined. It is no column of result.csv. scored: the clips behind the metrics,
    which intervals are made from.
    """

    machine_type: str
    section: str
    metrics: Mapping[str, float]
    auc_all: float = np.nan
    scored: ScoredSection | None = field(default=None, repr=False, compare=False)


def arithmetic_mean(values: ArrayLike) -> np.ndarray:
    """Average (sections, columns) over the sections, NaN left out; a column of NaN gives NaN."""
    known = np.asarray(values, dtype=float)
    count, total = np.sum(~np.isnan(known), axis=0), np.nansum(known, axis=0)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def harmonic_mean(values: ArrayLike) -> np.ndarray:
    """Harmonic mean as above; as in the official baselines a value is at least float epsilon."""
    floored = np.maximum(np.asarray(values, dtype=float), EPSILON)
    count, total = np.sum(~np.isnan(floored), axis=0), np.nansum(1.0 / floored, axis=0)
    return np.where(count > 0, count / np.where(count > 0, total, 1.0), np.nan)


def official_score(results: Iterable[SectionResult]) -> float:
    """Compute the official score: one number in [0, 1] for a whole system.

    The harmonic mean of AUC (source), AUC (target) and pAUC over all machine types and sections,
    as the published DCASE2022 evaluator defines it. NaN without domains or with nothing defined.
    """
    judged = [result.metrics for result in results if tuple(result.metrics) == DOMAIN_COLUMNS]
    values = [[metrics[column]] for metrics in judged for column in OFFICIAL_SCORE_COLUMNS]
    return float(harmonic_mean(values)[0]) if values else np.nan


def undefined_warnings(results: Iterable[SectionResult]) -> list[str]:
    """Name machine type, section and columns of every undefined metric, a line a section."""
    warnings = []
    for result in results:
        empty = ", ".join(name for name, value in result.metrics.items() if np.isnan(value))
        if empty:
            where = f"{result.machine_type} section {result.section}"
            warnings.append(f"{where}: no normal clips, anomalies or decisions for {empty}")
    return warnings


def write_result_csv(
    path: str | Path, results: Sequence[SectionResult], more: Sequence[Sequence[str]] = ()
) -> None:
    """Write result.csv in the form of the official baseline of the year, an undefined value empty.

    The rows keep the order given, `more` follow. The file is written beside and renamed,
    so a reader never sees half of it. Raises EvaluationError where there is no section, or some
    have domains and some have none; OSError where the file cannot be written.
    """
    rows = [*_result_rows(results), *more]
    path = Path(path)
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with open(beside, "w", newline="", encoding="utf-8") as file:
            csv.writer(file, lineterminator="\n").writerows(rows)
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)


def _result_rows(results: Sequence[SectionResult]) -> list[list[str]]:
    columns, rows = _columns(results), []
    with_domains = columns == DOMAIN_COLUMNS
    for machine_type, group in _by_machine_type(results):
        rows += [[machine_type], ["section" if with_domains else "id", *columns]]
        rows += [[result.section, *_cells(result.metrics.values())] for result in group]
        rows += [[name, *_cells(values)] for name, values in _means(group).items()] + [[]]
    if with_domains:
        over_all = " over all machine types, sections, and domains"
        means = [[name + over_all, *_cells(values)] for name, values in _means(results).items()]
        rows += [["", *columns], *means, []]
    return rows


def format_table(results: Sequence[SectionResult]) -> str:
    """Lay the results out for the terminal: three decimals, an undefined value empty.

    A block a machine type with its means; with domains, the means over all and the official score.
    Raises as `write_result_csv`.
    """
    columns, lines = _columns(results), []
    for machine_type, group in _by_machine_type(results):
        rows = {result.section: result.metrics.values() for result in group} | _means(group)
        lines += _format_block(machine_type, columns, rows)
    if columns == DOMAIN_COLUMNS:
        lines += _format_block("all machine types", columns, _means(results))
        score = "".join(_cells([official_score(results)], "{:.3f}"))
        lines.append(f"official score (harmonic mean of AUC and pAUC over all): {score}")
    return "\n".join(lines).rstrip("\n")


def _format_block(title: str, columns: Sequence[str], rows: Mapping[str, Iterable]) -> list[str]:
    first, second = zip(*(column.partition(" (")[::2] for column in columns), strict=True)
    table = [(title, first), ("", [f"({word}" if word else "" for word in second])]
    table += [(f"  {name}", _cells(values, "{:.3f}")) for name, values in rows.items()]
    lines = [f"{name:<17}" + "".join(f"{cell:>10}" for cell in cells) for name, cells in table]
    return [line.rstrip() for line in lines if line.strip()] + [""]


def _columns(results: Sequence[SectionResult]) -> tuple[str, ...]:
    kinds = {tuple(result.metrics) for result in results}
    if not kinds:
        raise EvaluationError("no section to put into a table of results")
    if len(kinds) > 1 or not kinds <= {DOMAIN_COLUMNS, PLAIN_COLUMNS}:
        found = "; ".join(sorted(", ".join(kind) for kind in kinds))
        raise EvaluationError(f"a table of results needs one set of columns, found: {found}")
    return kinds.pop()


def _by_machine_type(results: Iterable[SectionResult]) -> list[tuple[str, list[SectionResult]]]:
    groups = groupby(results, key=attrgetter("machine_type"))
    return [(machine_type, list(group)) for machine_type, group in groups]


def _means(results: Sequence[SectionResult]) -> dict[str, np.ndarray]:
    values = [list(result.metrics.values()) for result in results]
    if tuple(results[0].metrics) == PLAIN_COLUMNS:
        return {"Average": arithmetic_mean(values)}
    return {"arithmetic mean": arithmetic_mean(values), "harmonic mean": harmonic_mean(values)}


def _cells(values: Iterable[float], form: str = "{!r}") -> list[str]:
    return ["" if np.isnan(value) else form.format(float(value)) for value in values]


def _read_folder(
    folder: Path,
    prefix: str,
    read: Callable,
    problems: list[str],
    only: Container | None = None,
    misnamed: list[str] | None = None,
) -> dict[SectionKey, dict]:
    """Return section → clip key → value; the two domain files of a section of 2021 become one."""
    misnamed = problems if misnamed is None else misnamed
    if not folder.is_dir():
        raise EvaluationError(f"{folder}: no such directory")
    sections: dict[SectionKey, dict] = {}
    for path in sorted(folder.glob(f"{prefix}_*.csv")):
        key = _section_of(path, prefix)
        if key is None:
            misnamed.append(f"{path}: {_MISNAMED}")
            continue
        if only is not None and key not in only:
            continue
        clips = sections.setdefault(key, {})
        try:
            values = read(path)
        except EvaluationError as error:
            problems.append(str(error))
            continue
        for name, value in values.items():
            if parse_clip(name).section not in (None, key.section):
                problems.append(f"{path}: {name} is a clip of another section")
            if clip_key(name) in clips:
                problems.append(f"{path}: {name} is in another {prefix} file too")
            clips[clip_key(name)] = value
    return sections


def read_ground_truth(directory: str | Path) -> dict[SectionKey, dict[str, Clip]]:
    """Read the ground truth of evaluation clips, in the folders of the official evaluators.

    directory holds ground_truth_data/ground_truth_<machine type>_section_<NN>_test.csv (`file,0|1`)
    and the same names under ground_truth_domain/ (0 source, 1 target), which ids of 2020, without
    domains, and clips whose names say the domain can do without. Returns section → `clip_key` →
    Clip. Raises EvaluationError with every problem.
    """
    label_folder = Path(directory) / "ground_truth_data"
    domain_folder = Path(directory) / "ground_truth_domain"
    problems: list[str] = []
    labels = _read_folder(label_folder, "ground_truth", read_decisions, problems)
    domains = {}
    if domain_folder.is_dir():
        domains = _read_folder(domain_folder, "ground_truth", read_decisions, problems, labels)
    _raise_if_any(problems or ([] if labels else [f"{label_folder}: no ground_truth_*.csv in it"]))
    truth = {}
    for key, clips in labels.items():
        said = {name: parse_clip(name).domain for name in clips}
        if key in domains:
            problems += compare_clips(key, "the labels", clips, "the domains", domains[key])
            said = {name: DOMAINS[number] for name, number in domains[key].items()}
        elif None in said.values() and not key.section.startswith("id_"):
            problems.append(f"{key}: no file in {domain_folder}")
        truth[key] = {name: Clip(key.section, said.get(name), clips[name]) for name in clips}
    _raise_if_any(problems)
    return truth


def compare_clips(key: SectionKey, name: str, clips: Iterable, other: str, others: Iterable):
    sides = ((other, set(clips) - set(others), name), (name, set(others) - set(clips), other))
    return [
        f"{key}: {lacking} lack {len(gap)} of {holding}: {', '.join(sorted(gap))}"
        for lacking, gap, holding in sides
        if gap
    ]


@dataclass(frozen=True, eq=False)
class ScoredSection:
    """The test clips of one section, in the order of their names, all arrays (clips,).

    key: whose clips they are. names: `clip_key` of each. scores: float, higher is more abnormal.
    labels: 0 normal, 1 anomaly; None where no clip has one. domains: "source" or "target", or None
    for a dataset without domains. decisions: 0 or 1, or None where none were made.
    """

    key: SectionKey
    names: np.ndarray
    scores: np.ndarray
    labels: np.ndarray | None
    domains: np.ndarray | None
    decisions: np.ndarray | None

    def evaluate(self, max_fpr: float = MAX_FPR) -> SectionResult:
        """Return the metrics of the section; raises EvaluationError where it has no labels."""
        if self.labels is None:
            raise EvaluationError(f"{self.key}: no labels in the clip names and no ground truth")
        metrics = section_metrics(self.labels, self.scores, self.domains, self.decisions, max_fpr)
        number = self.key.section.partition("_")[2]
        return SectionResult(
            self.key.machine_type, number, metrics, auc(self.labels, self.scores), self
        )


def list_sections(directory: str | Path) -> tuple[list[SectionKey], list[str]]:
    """Find the sections with anomaly_score_*.csv in a directory.

    Returns them, and a line for every file that is misnamed or holds decisions without scores.
    """
    problems: list[str] = []
    kinds = {"anomaly_score": set(), "decision_result": set()}
    for prefix, keys in kinds.items():
        for path in sorted(Path(directory).glob(f"{prefix}_*.csv")):
            key = _section_of(path, prefix)
            if key is None:
                problems.append(f"{path}: {_MISNAMED}")
            else:
                keys.add(key)
    scored, decided = kinds.values()
    problems += [f"{key}: decisions without anomaly scores" for key in sorted(decided - scored)]
    return sorted(scored), problems


def _section_of(path: Path, prefix: str) -> SectionKey | None:
    words = _RESULT_FILE.fullmatch(path.name.removeprefix(f"{prefix}_"))
    return SectionKey(words["machine_type"], words["section"]) if words else None


def read_section(
    directory: str | Path, key: SectionKey, truth: Mapping[SectionKey, Mapping] | None = None
) -> ScoredSection:
    """Read the scores and decisions of one section, and its labels as `evaluate_directory` does.

    truth: what `read_ground_truth` returned; a section that it lacks goes by its clip names.
    Raises EvaluationError with every problem found, a line each.
    """
    problems: list[str] = []
    folder, others = Path(directory), []
    scores = _read_folder(folder, "anomaly_score", read_scores, problems, {key}, others)
    decisions = _read_folder(folder, "decision_result", read_decisions, problems, {key}, others)
    _raise_if_any(problems)
    known = (truth or {}).get(key) or {name: parse_clip(name) for name in scores[key]}
    return _scored_section(key, scores[key], decisions.get(key), known)


def evaluate_directory(
    directory: str | Path, ground_truth: str | Path | None = None, max_fpr: float = MAX_FPR
) -> tuple[list[SectionResult], list[str]]:
    """Evaluate the anomaly_score_*.csv and decision_result_*.csv of a directory.

    The labels come from the clip names or, if given, from the ground truth (`read_ground_truth`),
    and then only the sections it covers are evaluated. Returns the results in the ASCII order of
    machine types and sections, and warnings: sections left out, decisions missing, metrics
    undefined. Raises EvaluationError with every problem found, a line each.
    """
    truth = None if ground_truth is None else read_ground_truth(ground_truth)
    problems: list[str] = []
    scores = _read_folder(Path(directory), "anomaly_score", read_scores, problems, truth)
    decisions = _read_folder(Path(directory), "decision_result", read_decisions, problems, truth)
    _raise_if_any(problems)
    decided_only, true_only = (sorted((keys or {}).keys() - scores) for keys in (decisions, truth))
    problems += [f"{key}: decisions without anomaly scores" for key in decided_only]
    warnings = [f"{key}: no anomaly scores, left out" for key in true_only]
    results = []
    for key, clips in sorted(scores.items()):
        known = truth[key] if truth is not None else {name: parse_clip(name) for name in clips}
        if all(clip.label is None for clip in known.values()):
            warnings.append(f"{key}: no labels in the clip names and no ground truth, left out")
            continue
        try:
            section = _scored_section(key, clips, decisions.get(key), known)
            results.append(section.evaluate(max_fpr))
        except EvaluationError as error:
            problems.append(str(error))
    _raise_if_any(problems)
    if not results:
        reason = "\n".join(warnings or ["no anomaly_score_*.csv of a section in it"])
        raise EvaluationError(f"{directory}: nothing to evaluate\n{reason}")
    return results, warnings + undefined_warnings(results)


def _scored_section(
    key: SectionKey, scores: Mapping, decisions: Mapping | None, known: Mapping
) -> ScoredSection:
    problems = compare_clips(key, "the anomaly scores", scores, "the ground truth", known)
    if decisions is not None:
        problems += compare_clips(key, "the anomaly scores", scores, "the decisions", decisions)
    unlabelled = [name for name, clip in known.items() if clip.label is None]
    if unlabelled and len(unlabelled) < len(known):
        problems.append(f"{key}: no label in the names of {', '.join(unlabelled)}")
    if len({clip.domain is None for clip in known.values()}) > 1:
        problems.append(f"{key}: some clips have a domain and some have none")
    _raise_if_any(problems)
    names = sorted(scores)
    domains = [known[name].domain for name in names]
    return ScoredSection(
        key,
        np.array(names),
        np.array([scores[name] for name in names], dtype=float),
        None if unlabelled else np.array([known[name].label for name in names]),
        None if None in domains else np.array(domains),
        None if decisions is None else np.array([decisions[name] for name in names]),
    )


def _parse_max_fpr(text: str) -> float:
    value = float(text)
    if not 0 < value <= 1:
        raise argparse.ArgumentTypeError(f"{text} is not above 0 and at most 1")
    return value


def main(arguments: Sequence[str] | None = None) -> int:
    """Evaluate a directory of saved CSV files: print the table, write DIR/result.csv."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("directory", metavar="DIR", type=Path, help="holds anomaly_score_*.csv")
    truth_help = "holds ground_truth_data/ and ground_truth_domain/, for clips without labels"
    parser.add_argument("--ground-truth", metavar="DIR", type=Path, help=truth_help)
    rate_help = f"pAUC is taken up to this false positive rate (default: {MAX_FPR})"
    parser.add_argument("--max-fpr", type=_parse_max_fpr, default=MAX_FPR, help=rate_help)
    given = parser.parse_args(arguments)
    try:
        results, warnings = evaluate_directory(given.directory, given.ground_truth, given.max_fpr)
        rows, means = [], ""
        if given.ground_truth:
            import evaluator_table

            rows = evaluator_table.rows(results, given.max_fpr)
            means = evaluator_table.text(results, given.max_fpr)
        write_result_csv(given.directory / "result.csv", results, rows)
    except (EvaluationError, OSError) as error:
        for line in str(error).splitlines():
            print(f"error: {line}", file=sys.stderr)
        return 1
    for warning in warnings:
        print(f"warning: {warning}", file=sys.stderr)
    if means:
        print(means, end="\n\n")
    print(format_table(results))
    return 0


if __name__ == "__main__":
    sys.exit(main())
