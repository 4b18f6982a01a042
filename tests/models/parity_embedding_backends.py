"""The back ends against dcase-asd-toolkit's, and their k-means centres and SMOTE's clips."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from backends.base import BackEnd
from backends.k_means import KMeansCentres
from backends.local_density import LocalDensity
from backends.nearest_neighbour import NearestNeighbour
from tests.models.parity_fixture import Fixture

EXACT = 1e-9  # of the largest magnitude, in float64: sums in another order


def back_end(of: dict[str, Any]) -> BackEnd:
    metric = {"cosine": "cosine", "euclid": "euclidean"}[of["metric"]]
    if of["backend"] == "Kmeans":
        return KMeansCentres(of["n_clusters"], metric)
    if of["backend"] == "KnnRescale":
        return LocalDensity(of["n_neighbors"], of["k_ref_normalize"], metric)
    return NearestNeighbour(
        of["n_neighbors_so"],
        of["n_neighbors_ta"],
        metric,
        of.get("smote_ratio", 0.0),
        of.get("smote_neighbors", 0),
    )


def fitted(fixture: Fixture) -> Iterator[tuple[dict[str, Any], BackEnd, str, np.ndarray]]:
    """Yield each configuration and section: its back end, its arrays' ending, its test clips."""
    arrays = fixture.as_double().arrays
    domains = np.where(arrays["train_is_target"] == 1, "target", "source")
    for of in fixture.settings["configurations"]:
        kind, number = of["backend"], of["number"]
        name = {"Knn": "knn", "Kmeans": "kmeans", "KnnRescale": "knn_rescale"}[kind]
        for section in np.unique(arrays["train_section"]) if of.get("sep_section") else [None]:
            train, test = (
                np.full(len(arrays[f"{part}_section"]), True)
                if section is None
                else arrays[f"{part}_section"] == section
                for part in ("train", "test")
            )
            made = back_end(of).fit(arrays["train_embedding"][train], domains[train].tolist())
            ending = f"{name}_{number:02}" + ("" if section is None else f"_section{section}")
            yield of, made, ending, test


def close(actual: np.ndarray, expected: np.ndarray) -> None:
    assert actual.shape == expected.shape
    assert np.abs(actual - expected).max() <= EXACT * np.abs(expected).max()


def check_scores(fixture: Fixture) -> None:
    embeddings = fixture.as_double().arrays["test_embedding"]
    for of, made, ending, test in fitted(fixture):
        if f"centres_{ending}" in fixture.arrays:  # another k-means may end elsewhere
            made.centres = fixture.arrays[f"centres_{ending}"]
        expected = fixture.arrays[of["array"]][test]
        close(made.anomaly_score(embeddings[test]), expected)


def check_synthetic_target_clips(fixture: Fixture) -> None:
    for _, made, ending, _ in fitted(fixture):
        if f"smote_{ending}_base" in fixture.arrays:
            for name, actual in zip(("synthetic", "base", "other"), made.synthetic, strict=True):
                close(actual, fixture.arrays[f"smote_{ending}_{name}"])


def check_centres(fixture: Fixture) -> None:
    for _, made, ending, _ in fitted(fixture):
        if f"centres_{ending}" in fixture.arrays:
            close(made.centres, fixture.arrays[f"centres_{ending}"])


def check_local_density(fixture: Fixture) -> None:
    for _, made, ending, _ in fitted(fixture):
        if f"local_{ending}" in fixture.arrays:
            close(made.density, fixture.arrays[f"local_{ending}"])


def check_training_clips_without_themselves(fixture: Fixture) -> None:
    """The release's are those of a clip that is in its own reference: never more."""
    arrays = fixture.as_double().arrays
    for of, made, _, _ in fitted(fixture):
        scores = made.training_scores()
        assert np.isfinite(scores).all() and (scores > 0).all()
        if not of.get("sep_section") and of["backend"] == "Knn":
            assert (scores >= arrays[f"train_{of['array']}"] - EXACT).all()
