"""Decision thresholds from the anomaly scores of normal training clips."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from core.log import logger
from core.run_settings import SystemSettings

FEWEST_TO_FIT = 10  # scores below which three gamma parameters mean nothing
# Where a gamma fit and its scores still agree, beside what chance does to few scores (the 1 %
# point of the Kolmogorov-Smirnov statistic, two standard deviations of a share).
LARGEST_DISTANCE = 0.1
LARGEST_EXCESS = 0.05
ALL_SECTIONS = "all sections"


def decision_threshold(scores: np.ndarray, quantile: float) -> dict[str, Any]:
    """The threshold of a section: the quantile of a gamma distribution fitted to its scores.

    SciPy's fit, as in the official code, can end far from its data when a few scores lie apart
    from the others, as with a handful of target clips among source clips: then every clip is
    called anomalous, or none. So each fit is checked against the scores it came from, by its
    largest distance to their empirical distribution and by the share of them above the threshold.
    Where it does not describe them, the threshold is their empirical quantile.

    Parameters
    ----------
    scores : (n_clips,) anomaly scores of normal training clips
    quantile : the share of normal clips that are to be called normal, in (0, 1)

    Returns
    -------
    threshold : a clip is called anomalous above it
    method : "gamma" or "empirical quantile"
    shape, loc, scale : of the gamma distribution; None for the empirical quantile
    exceeded : the share of the scores above the threshold
    n_clips : how many scores there were

    Raises
    ------
    ValueError : without scores, or with scores that are not finite.
    """
    import scipy.stats

    scores = np.asarray(scores, np.float64)
    if not len(scores) or not np.isfinite(scores).all():
        raise ValueError("a threshold needs finite training scores")
    method, parameters = "empirical quantile", (None, None, None)
    threshold = np.quantile(scores, quantile)
    if len(scores) >= FEWEST_TO_FIT and np.ptp(scores) > 0:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)
            try:
                fitted = tuple(float(value) for value in scipy.stats.gamma.fit(scores))
            except (scipy.stats.FitError, ValueError):
                fitted = (np.nan,) * 3
            candidate = scipy.stats.gamma.ppf(quantile, *fitted)
            distance = scipy.stats.kstest(scores, "gamma", args=fitted).statistic
        noise = np.sqrt(1 / len(scores))
        off = abs(np.mean(scores > candidate) - (1 - quantile))
        # Comparisons with NaN are false, so a fit without a result is not taken.
        if distance <= max(LARGEST_DISTANCE, 1.63 * noise) and off <= max(
            LARGEST_EXCESS, 2 * noise * np.sqrt(quantile * (1 - quantile))
        ):
            method, parameters, threshold = "gamma", fitted, candidate
    return {
        "threshold": float(threshold),
        "method": method,
        **dict(zip(("shape", "loc", "scale"), parameters, strict=True)),
        "exceeded": float(np.mean(scores > threshold)),
        "n_clips": len(scores),
    }


def imported_threshold(
    scores: np.ndarray, distribution: tuple[float, float, float], quantile: float
) -> dict[str, Any]:
    """As `decision_threshold`, from a gamma distribution that came with an official model."""
    import scipy.stats

    threshold = float(scipy.stats.gamma.ppf(quantile, *distribution))
    return {
        "threshold": threshold,
        "method": "imported gamma",
        **dict(zip(("shape", "loc", "scale"), distribution, strict=True)),
        "exceeded": float(np.mean(scores > threshold)) if len(scores) else None,
        "n_clips": len(scores),
    }


def fit_thresholds(
    scores: np.ndarray,
    sections: Sequence[str],
    param: SystemSettings,
    machine_type: str,
    distribution: tuple[float, float, float] | None = None,
) -> dict[str, dict[str, Any]]:
    """A threshold for every section of a machine type, warning where the gamma fit would not do.

    Parameters
    ----------
    scores : (n_clips,) training scores
    sections : (n_clips,) the section of each
    param : the settings: `decision_threshold` is the quantile; `threshold_scope` "section" fits
        each section its own, "machine_type" one over all, as the official code
    machine_type : for the warnings
    distribution : shape, loc and scale of the gamma distribution of an imported official model,
        whose quantile is then the threshold of all sections

    Returns
    -------
    section name → what `decision_threshold` returned for it; the one of a whole machine type
    stands under ALL_SECTIONS; empty without scores
    """
    if distribution:
        return {ALL_SECTIONS: imported_threshold(scores, distribution, param.decision_threshold)}
    sections = np.asarray(sections)
    chosen = {name: sections == name for name in sorted(set(sections.tolist()))}
    if param.threshold_scope == "machine_type" and chosen:
        chosen = {ALL_SECTIONS: np.ones(len(scores), bool)}
    thresholds = {}
    for name, members in chosen.items():
        fitted = decision_threshold(scores[members], param.decision_threshold)
        if fitted["method"] != "gamma":
            logger.warning(
                "%s %s: SciPy's gamma fit does not describe the %d training scores; "
                "threshold %.6g from the %s",
                machine_type,
                name,
                fitted["n_clips"],
                fitted["threshold"],
                fitted["method"],
            )
        thresholds[name] = fitted
    return thresholds
