"""TWFR-GMM's features, mixtures and scores against the release's."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from backends.gaussian_mixture import Mixture
from models.twfr_gmm import time_weighted
from tests.models.parity_fixture import Fixture

CLOSE = 1e-6  # of the largest magnitude, in float64
# Of covariances that only reg_covar keeps from being singular, and of what is divided by them.
ILL_CONDITIONED = 1e-5


def features(fixture: Fixture, part: str, decay: float) -> np.ndarray:
    clips = fixture.arrays[f"{part}_logmel"].transpose(0, 2, 1)  # clips, frames, mel bins
    return np.stack([time_weighted(levels, [decay])[0] for levels in clips])


def close(actual: np.ndarray, expected: np.ndarray, tolerance: float = CLOSE) -> None:
    assert actual.shape == expected.shape
    assert np.abs(actual - expected).max() <= tolerance * np.abs(expected).max()


def ending(decay: float) -> str:
    return f"{decay:.2f}".replace(".", "_")


def check_features(fixture: Fixture) -> None:
    for decay in fixture.settings["decays"]:
        for part in ("train", "test"):
            expected = fixture.arrays[f"{part}_feature_{ending(decay)}"]
            close(features(fixture, part, decay), expected)


def fits(fixture: Fixture) -> Iterator[tuple[dict[str, Any], np.ndarray, Mixture]]:
    """Yield each fit that starts without k-means, or from the release's: clips, mixture."""
    for of in fixture.settings["fits"]:
        x = features(fixture, "train", of["r"])[: of["clips"]]
        mixture = Mixture([of["components"]], fixture.settings["gmm"]["reg_covar"])
        mixture.fit(x, [""] * len(x))
        if f"init_{of['tag']}" in fixture.arrays:
            start = fixture.arrays[f"init_{of['tag']}"]
            same = [len(np.unique(start[mixture.share.argmax(1) == k])) == 1 for k in (0, 1)]
            if not all(same):  # another k-means may start elsewhere
                continue
            order = [start[mixture.share.argmax(1) == k][0] for k in (0, 1)]
            mixture.means = mixture.means[np.argsort(order)]
            mixture.cholesky = mixture.cholesky[np.argsort(order)]
        yield of, x, mixture


def check_fits(fixture: Fixture) -> None:
    count = 0
    for of, _, mixture in fits(fixture):
        tag = of["tag"]
        close(mixture.means, fixture.arrays[f"means_{tag}"])
        test = features(fixture, "test", of["r"])
        tolerance = CLOSE if of["condition_number"] < 1e6 else ILL_CONDITIONED
        close(mixture.anomaly_score(test), fixture.arrays[f"score_{tag}"], tolerance)
        count += 1
    assert count >= sum(of["components"] == 1 for of in fixture.settings["fits"])
