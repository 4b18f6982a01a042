"""AUC, pAUC, precision, recall, F1 score and the official score of a section."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
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
) -> dict[str, float]:
    """Return the metrics of one section, as the official DCASE baselines define them.

    labels: (clips,) 0 normal, 1 anomaly. scores: (clips,) finite, higher is more abnormal.
    domains: (clips,) "source" or "target", or None for a dataset without domains.
    decisions: (clips,) 0 or 1, or None where none were made.
    max_fpr: in (0, 1], the false positive rate up to which pAUC looks.

    They are column → value in [0, 1], in the order of result.csv: the nine of DOMAIN_COLUMNS, or
    AUC and pAUC without domains. The AUC of a domain sets its normal clips against the anomalies
    of both domains; pAUC takes all clips, standardised after McClish (1989) so that chance is 0.5;
    precision, recall and F1 score take the clips of one domain. A value is NaN where its clips
    have no normals, anomalies or decisions. Raises ValueError on input outside the above.
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
    which intervals are made from.
    """

    machine_type: str
    section: str
    metrics: Mapping[str, float]
    auc_all: float = np.nan
    scored: ScoredSection | None = field(default=None, repr=False, compare=False)


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

    The harmonic mean of AUC (source), AUC (target) and pAUC over all machine types and sections,
    as the published DCASE2022 evaluator defines it. NaN without domains or with nothing defined.
    """
    judged = [result.metrics for result in results if tuple(result.metrics) == DOMAIN_COLUMNS]
    values = [[metrics[column]] for metrics in judged for column in OFFICIAL_SCORE_COLUMNS]
    return float(harmonic_mean(values)[0]) if values else np.nan


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
