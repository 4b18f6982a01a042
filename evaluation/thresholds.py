"""Decision thresholds from the anomaly scores of normal training clips."""

from __future__ import annotations

import warnings
from typing import NamedTuple

import numpy as np

from core.log import logger
from core.run_settings import SystemSettings
from data.training_scores import TrainingScores

FEWEST_TO_FIT = 10  # scores that three gamma parameters are fitted to
# A gamma fit and its scores agree up to these differences, or up to those that chance makes of few
# scores: the 1 % point of the Kolmogorov-Smirnov statistic, and two standard deviations of a share.
LARGEST_DISTANCE = 0.1
LARGEST_EXCESS = 0.05
ALL_SECTIONS = "all sections"


class Threshold(NamedTuple):
    """The threshold of a section: a clip is anomalous above it.

    threshold : the anomaly score
    method : "gamma", "empirical quantile" or "imported gamma"
    shape, loc, scale : of the gamma distribution; None for the empirical quantile
    exceeded : the share of the training scores above the threshold; None without scores
    n_clips : the number of training scores
    """

    threshold: float
    method: str
    shape: float | None
    loc: float | None
    scale: float | None
    exceeded: float | None
    n_clips: int

    def decide(self, scores: np.ndarray) -> list[int]:
        """Return one decision per anomaly score (n_clips,): 1 anomalous, 0 normal."""
        return [int(score > self.threshold) for score in scores]


def fit_thresholds(
    training: TrainingScores, run: SystemSettings, machine_type: str
) -> dict[str, Threshold]:
    """Return one threshold per section of a machine type; warn where the gamma fit is poor.

    Parameters
    ----------
    training : the training scores; with a `distribution`, its quantile is the threshold of all
        sections
    run : the settings: `decision_threshold` is the quantile; `threshold_scope` "section" fits one
        per section, "machine_type" one over all, as the official code
    machine_type : for the warnings

    Returns
    -------
    section name → its threshold; that of a whole machine type has the name ALL_SECTIONS; empty
    without scores
    """
    quantile = run.decision_threshold
    if training.distribution:
        imported = imported_threshold(training.scores, training.distribution, quantile)
        return {ALL_SECTIONS: imported}
    sections = np.asarray(training.sections)
    chosen = {name: sections == name for name in sorted(set(sections.tolist()))}
    if run.threshold_scope == "machine_type" and chosen:
        chosen = {ALL_SECTIONS: np.ones(len(training.scores), bool)}
    thresholds = {}
    for name, members in chosen.items():
        fitted = decision_threshold(training.scores[members], quantile)
        if fitted.method != "gamma":
            logger.warning(
                "%s %s: SciPy's gamma fit does not describe the %d training scores; "
                "threshold %.6g from the %s",
                *(machine_type, name, fitted.n_clips, fitted.threshold, fitted.method),
            )
        thresholds[name] = fitted
    return thresholds


def decision_threshold(scores: np.ndarray, quantile: float) -> Threshold:
    """Return the quantile of a gamma distribution fitted to the training scores of a section.

    SciPy's fit, as in the official code, can end far from its data when a few scores differ much
    from the others, as with a handful of target clips among source clips: then every clip is
    called anomalous, or none. So each fit is checked against the scores it came from, by its
    largest distance to their empirical distribution and by the share of them above the threshold.
    Where it does not describe them, the threshold is their empirical quantile.

    Parameters
    ----------
    scores : (n_clips,) anomaly scores of normal training clips
    quantile : the share of normal clips that are to be called normal, in (0, 1)

    Raises
    ------
    ValueError : without scores, or with scores that are not finite.
    """
    scores = np.asarray(scores, np.float64)
    if not len(scores) or not np.isfinite(scores).all():
        raise ValueError("a threshold needs finite training scores")
    fitted = _checked_gamma(scores, quantile)
    method = "gamma" if fitted else "empirical quantile"
    threshold, *parameters = fitted or (np.quantile(scores, quantile), None, None, None)
    exceeded = float(np.mean(scores > threshold))
    return Threshold(float(threshold), method, *parameters, exceeded, len(scores))


def imported_threshold(
    scores: np.ndarray, distribution: tuple[float, float, float], quantile: float
) -> Threshold:
    """Return the quantile of a gamma distribution that came with an official model."""
    import scipy.stats

    threshold = float(scipy.stats.gamma.ppf(quantile, *distribution))
    exceeded = float(np.mean(scores > threshold)) if len(scores) else None
    return Threshold(threshold, "imported gamma", *distribution, exceeded, len(scores))


def _checked_gamma(scores: np.ndarray, quantile: float) -> tuple[float, float, float, float] | None:
    """Return quantile, shape, loc and scale of a gamma fit; None where the fit is poor."""
    import scipy.stats

    if len(scores) < FEWEST_TO_FIT or not np.ptp(scores):
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        try:
            fitted = tuple(float(value) for value in scipy.stats.gamma.fit(scores))
        except (scipy.stats.FitError, ValueError):
            return None
        threshold = scipy.stats.gamma.ppf(quantile, *fitted)
        distance = scipy.stats.kstest(scores, "gamma", args=fitted).statistic
    noise = np.sqrt(1 / len(scores))
    off = abs(np.mean(scores > threshold) - (1 - quantile))
    # Comparisons with NaN are false, so a fit without a result is not taken.
    describes = distance <= max(LARGEST_DISTANCE, 1.63 * noise) and off <= max(
        LARGEST_EXCESS, 2 * noise * np.sqrt(quantile * (1 - quantile))
    )
    return (threshold, *fitted) if describes else None
