"""AUC, pAUC, precision, recall, F1 score and the official score of a section."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from evaluation import years
from evaluation.years import DOMAINS, Column, Definition

DOMAIN_COLUMNS = years.YEAR_2022.column_names
PLAIN_COLUMNS = years.YEAR_2020.column_names
MAX_FPR = 0.1
EPSILON = sys.float_info.epsilon


class SectionKey(NamedTuple):
    """A section in the names of files: machine type ("fan") and "section_00", or "id_00"."""

    machine_type: str
    section: str

    def __str__(self) -> str:
        return f"{self.machine_type} {self.section.replace('_', ' ')}"


class EvaluationError(ValueError):
    """The problems of results or ground truth, one line per problem, for the person."""


def raise_if_any(problems: Sequence[str]) -> None:
    """Raise EvaluationError where there are problems."""
    if problems:
        raise EvaluationError("\n".join(problems))


def section_metrics(
    labels: ArrayLike,
    scores: ArrayLike,
    domains: ArrayLike | None = None,
    decisions: ArrayLike | None = None,
    max_fpr: float = MAX_FPR,
    definition: Definition | None = None,
) -> dict[str, float]:
    """Return the metrics of one section, as the official code of a year defines them.

    labels: (clips,) 0 normal, 1 anomaly. scores: (clips,) finite, higher is more abnormal.
    domains: (clips,) "source" or "target", or None for a dataset without domains.
    decisions: (clips,) 0 or 1, or None where none were made.
    max_fpr: in (0, 1], the false positive rate up to which pAUC looks.
    definition: of the year; None takes that of 2022, or without domains that of 2020.

    They are column → value in [0, 1], in the order of `definition.columns`, which says whose
    normal clips and anomalies each column takes; pAUC is standardised after McClish (1989) so that
    chance is 0.5. A value is NaN where its clips have no normals, anomalies or decisions.
    Raises ValueError on input outside the above.
    """
    labels, scores = np.asarray(labels), np.asarray(scores, dtype=float)
    _check_arrays(labels, scores, domains, decisions)
    definition = definition or default_definition(domains)
    metrics = {}
    for column in definition.columns:
        chosen = clips_of(column, labels, domains)
        decided = None if decisions is None else np.asarray(decisions)[chosen]
        metrics[column.name] = _measure(
            column.measure, labels[chosen], scores[chosen], decided, max_fpr
        )
    return metrics


def default_definition(domains: ArrayLike | None) -> Definition:
    """Return the definition of clips of no known year: that of 2022, or without domains of 2020."""
    return years.YEAR_2020 if domains is None else years.YEAR_2022


def clips_of(column: Column, labels: np.ndarray, domains: ArrayLike | None) -> np.ndarray:
    """Return which clips a column takes: (clips,) of bool.

    labels, domains : (clips,), as in `section_metrics`
    """
    chosen = np.ones(len(labels), bool)
    for label, domain in enumerate((column.normals, column.anomalies)):
        if domain:
            chosen &= (labels != label) | (np.asarray(domains) == domain)
    return chosen


def _measure(
    name: str, labels: np.ndarray, scores: np.ndarray, decisions: np.ndarray | None, max_fpr: float
) -> float:
    if name in ("AUC", "pAUC"):
        return auc(labels, scores, max_fpr if name == "pAUC" else None)
    precision, recall, f1 = precision_recall_f1(labels, decisions)
    return {"precision": precision, "recall": recall, "F1 score": f1}[name]


def precision_recall_f1(
    labels: ArrayLike, decisions: ArrayLike | None
) -> tuple[float, float, float]:
    """Return precision, recall and F1 score, in [0, 1], of decisions (clips,) on labels (clips,).

    As in the official baselines a denominator is at least the float epsilon, so a system that
    calls nothing anomalous gets 0. All three are NaN without normals, anomalies or decisions.
    """
    labels = np.asarray(labels)
    if decisions is None or np.unique(labels).size < 2:
        return np.nan, np.nan, np.nan
    called = np.asarray(decisions) == 1
    true_positives = float(np.sum(called & (labels == 1)))
    precision = true_positives / max(float(np.sum(called)), EPSILON)
    recall = true_positives / float(np.sum(labels == 1))
    return precision, recall, 2.0 * precision * recall / max(precision + recall, EPSILON)


def auc(labels: np.ndarray, scores: np.ndarray, max_fpr: float | None = None) -> float:
    """Return the AUC of clips, or up to max_fpr the pAUC; NaN without normals or anomalies."""
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
    which intervals are made from. given: the definition of the metrics, or None for the one that
    their columns tell.
    """

    machine_type: str
    section: str
    metrics: Mapping[str, float]
    auc_all: float = np.nan
    scored: ScoredSection | None = field(default=None, repr=False, compare=False)
    given: Definition | None = field(default=None, repr=False)

    @property
    def definition(self) -> Definition:
        """Return the definition of the metrics; raises EvaluationError for unknown columns."""
        known = self.given or years.of_columns(self.metrics)
        if known is None:
            raise EvaluationError(f"no year has the columns {', '.join(self.metrics)}")
        return known


def arithmetic_mean(values: ArrayLike) -> np.ndarray:
    """Return the means of (sections, columns) over the sections, NaN left out: (columns,).

    A column of NaN gives NaN.
    """
    known = np.asarray(values, dtype=float)
    count, total = np.sum(~np.isnan(known), axis=0), np.nansum(known, axis=0)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def harmonic_mean(values: ArrayLike) -> np.ndarray:
    """Return the harmonic means, else as `arithmetic_mean`.

    As in the official baselines a value counts as the float epsilon at least.
    """
    floored = np.maximum(np.asarray(values, dtype=float), EPSILON)
    count, total = np.sum(~np.isnan(floored), axis=0), np.nansum(1.0 / floored, axis=0)
    return np.where(count > 0, count / np.where(count > 0, total, 1.0), np.nan)


def official_score(results: Iterable[SectionResult]) -> float:
    """Return the official score: one number in [0, 1] for a whole system.

    The harmonic mean of the columns that the year's definition ranks by, over all machine types
    and sections: in 2022 those are AUC (source), AUC (target) and pAUC. NaN for a year without an
    official score, or with nothing defined.
    """
    judged = [result for result in results if result.definition.official]
    values = score_values(judged)
    return float(harmonic_mean(values)[0]) if values else np.nan


def score_values(results: Iterable[SectionResult]) -> list[list[float]]:
    """Return the values that the score of a system is the mean of, in one column."""
    return [[one.metrics[column]] for one in results for column in one.definition.score]


def undefined_warnings(results: Iterable[SectionResult]) -> list[str]:
    """Return the columns with undefined metrics, one line per section."""
    warnings = []
    for result in results:
        empty = ", ".join(name for name, value in result.metrics.items() if np.isnan(value))
        if empty:
            where = f"{result.machine_type} section {result.section}"
            warnings.append(f"{where}: no normal clips, anomalies or decisions for {empty}")
    return warnings


@dataclass(frozen=True, eq=False)
class ScoredSection:
    """The test clips of one section, in the order of their names, all arrays (clips,).

    key: of the section. names: `clip_key` of each. scores: float, higher is more abnormal.
    labels: 0 normal, 1 anomaly; None where no clip has one. domains: "source" or "target", or None
    for a dataset without domains. decisions: 0 or 1, or None where none were made. given: the
    definition to evaluate by; None takes `default_definition`.
    """

    key: SectionKey
    names: np.ndarray
    scores: np.ndarray
    labels: np.ndarray | None
    domains: np.ndarray | None
    decisions: np.ndarray | None
    given: Definition | None = None

    @property
    def definition(self) -> Definition:
        """Return the definition that the section is evaluated by."""
        if self.given and not (self.given.needs_domains and self.domains is None):
            return self.given
        return default_definition(self.domains)

    def by(self, definition: Definition) -> ScoredSection:
        """Return the section, to be evaluated by a definition."""
        return replace(self, given=definition)

    def evaluate(self, max_fpr: float = MAX_FPR) -> SectionResult:
        """Return the metrics of the section; raises EvaluationError where it has no labels."""
        if self.labels is None:
            raise EvaluationError(f"{self.key}: no labels in the clip names and no ground truth")
        metrics = section_metrics(
            self.labels, self.scores, self.domains, self.decisions, max_fpr, self.definition
        )
        number = self.key.section.partition("_")[2]
        area = auc(self.labels, self.scores)
        return SectionResult(self.key.machine_type, number, metrics, area, self, self.definition)
