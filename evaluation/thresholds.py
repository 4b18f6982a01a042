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
# How a threshold was computed.
GAMMA, OFFICIAL, IMPORTED = "gamma", "official gamma", "imported gamma"
EMPIRICAL = "empirical quantile"

Gamma = tuple[float, float, float]  # shape, loc and scale


class Threshold(NamedTuple):
    """The threshold of a section: a clip is anomalous above it.

    threshold : the anomaly score
    method : "gamma", "official gamma", "empirical quantile" or "imported gamma"
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
        per section, "machine_type" one over all, as the official code; `threshold_fit` as
        `decision_threshold`
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
        fitted = decision_threshold(training.scores[members], quantile, run.threshold_fit)
        if fitted.method == EMPIRICAL:
            checked = run.threshold_fit == "checked"
            logger.warning(
                "%s %s: SciPy's gamma fit %s the %d training scores; threshold %.6g from the %s",
                *(machine_type, name, "does not describe" if checked else "has no result for"),
                *(fitted.n_clips, fitted.threshold, fitted.method),
            )
        thresholds[name] = fitted
    return thresholds


def decision_threshold(scores: np.ndarray, quantile: float, fit: str = "checked") -> Threshold:
    """Return the quantile of a gamma distribution fitted to the training scores of a section.

    SciPy's fit, as in the official code, can end far from its data when a few scores differ much
    from the others, as with a handful of target clips among source clips: then every clip is
    called anomalous, or none. So each fit is checked against the scores it came from, by its
    largest distance to their empirical distribution and by the share of them above the threshold.
    Where it does not describe them, the threshold is their empirical quantile. That is also so
    where the fit has no result, as of scores that are all equal.

    Parameters
    ----------
    scores : (n_clips,) anomaly scores of normal training clips
    quantile : the share of normal clips that are to be called normal, in (0, 1)
    fit : "checked", or "official": the fit is taken without a check, as in the official code

    Raises
    ------
    ValueError : without scores, or with scores that are not finite.
    """
    scores = np.asarray(scores, np.float64)
    if not len(scores) or not np.isfinite(scores).all():
        raise ValueError("a threshold needs finite training scores")
    fitted, method = _gamma_fit(scores), GAMMA if fit == "checked" else OFFICIAL
    threshold = _gamma_quantile(quantile, fitted) if fitted else np.nan
    if fit == "checked" and not _describes(scores, quantile, fitted, threshold):
        threshold = np.nan
    if not np.isfinite(threshold):
        threshold, fitted, method = np.quantile(scores, quantile), None, EMPIRICAL
    parameters = fitted or (None, None, None)
    exceeded = float(np.mean(scores > threshold))
    return Threshold(float(threshold), method, *parameters, exceeded, len(scores))


def imported_threshold(scores: np.ndarray, distribution: Gamma, quantile: float) -> Threshold:
    """Return the quantile of a gamma distribution that came with an official model."""
    threshold = _gamma_quantile(quantile, distribution)
    exceeded = float(np.mean(scores > threshold)) if len(scores) else None
    return Threshold(threshold, IMPORTED, *distribution, exceeded, len(scores))


def _gamma_fit(scores: np.ndarray) -> Gamma | None:
    """Return the gamma distribution that SciPy fits to scores; None where it has no result."""
    import scipy.stats

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        try:
            shape, loc, scale = map(float, scipy.stats.gamma.fit(scores))
        except (scipy.stats.FitError, ValueError, ArithmeticError):
            return None
    return (shape, loc, scale) if np.isfinite([shape, loc, scale]).all() else None


def _gamma_quantile(quantile: float, distribution: Gamma) -> float:
    """Return the quantile of a gamma distribution; NaN or infinity where it has none."""
    import scipy.stats

    shape, loc, scale = distribution
    return float(scipy.stats.gamma.ppf(quantile, shape, loc=loc, scale=scale))


def _describes(scores: np.ndarray, quantile: float, fitted: Gamma | None, threshold: float) -> bool:
    """Return whether a gamma distribution describes the scores that it was fitted to."""
    import scipy.stats

    if fitted is None or len(scores) < FEWEST_TO_FIT or not np.ptp(scores):
        return False
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        distance = scipy.stats.kstest(scores, "gamma", args=fitted).statistic
    noise = np.sqrt(1 / len(scores))
    off = abs(np.mean(scores > threshold) - (1 - quantile))
    # Comparisons with NaN are false, so a fit without a result is not taken.
    return bool(
        distance <= max(LARGEST_DISTANCE, 1.63 * noise)
        and off <= max(LARGEST_EXCESS, 2 * noise * np.sqrt(quantile * (1 - quantile)))
    )
