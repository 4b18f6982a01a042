"""The dense autoencoder's selective Mahalanobis against the official baseline of 2023 (PyTorch).

The fixture is a float64 run of the release, so ours computes in float64 too.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

import keras_model
from checkpoints.assign import Variables, assign_variables
from data.clips import Clip
from data.frames import Frames
from models import residuals
from models.dense_ae import DenseAE
from models.layers import torch_variables
from models.residuals import Covariances
from tests.models.double_precision import double_precision
from tests.models.parity_fixture import Fixture

EXACT = 1e-5  # of the largest magnitude: float64 throughout, but for Adam's float32 settings


def build(fixture: Fixture) -> DenseAE:
    """The network with the fixture's weights, its sizes as the fixture's settings say."""
    given = fixture.settings
    system = keras_model.build_system(
        fixture.run(
            "ae",
            ("ae.release", "dcase2023"),
            ("ae.score", "selective_mahalanobis"),
            ("feature.n_frames", given["frames"]),
            ("feature.n_mels", given["n_mels"]),
            ("ae.network.units", given["hidden"]),
            ("ae.network.latent", given["latent"]),
            ("ae.network.momentum", given["batch_norm"]["momentum_keras"]),
            ("ae.network.epsilon", given["batch_norm"]["epsilon"]),
            *fixture.adam(),
        ),
        ["section_00"],
    )
    assign_variables(names(system), fixture.tensors())
    return system


def names(system: DenseAE) -> Variables:
    """As in the release: encoder.3.weight is a linear layer, encoder.4 its batch norm."""
    variables: Variables = {}
    depth = len(system.settings.network.units) + 1
    for index in range(2 * depth):
        number = f"_{index}" if index else ""
        place, at = ("encoder", index) if index < depth else ("decoder", index - depth)
        dense = system.network.get_layer(f"dense{number}")
        variables |= torch_variables(dense, f"{place}.{3 * at}")
        if index < 2 * depth - 1:
            norm = system.network.get_layer(f"batch_normalization{number}")
            variables |= torch_variables(norm, f"{place}.{3 * at + 1}")
    return variables


def windows_of(fixture: Fixture, name: str) -> np.ndarray:
    """(..., frames * n_mels) → (n_windows, frames, n_mels) float64."""
    given = fixture.settings
    return fixture.arrays[name].astype(np.float64).reshape(-1, given["frames"], given["n_mels"])


def residuals_of(system: DenseAE, windows: np.ndarray) -> np.ndarray:
    return system.reconstruct(tf.constant(windows)).numpy() - windows


def batches(fixture: Fixture) -> list[tuple[np.ndarray, np.ndarray]]:
    """The training batches: windows, and whether each is of a target clip."""
    ends = np.cumsum(fixture.arrays["batch_sizes"])[:-1]
    windows = np.split(windows_of(fixture, "windows"), ends)
    return list(zip(windows, np.split(fixture.arrays["is_target"] == 1, ends), strict=True))


def fit(system: DenseAE, fixture: Fixture) -> Covariances:
    def of_batches() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for windows, is_target in batches(fixture):
            yield residuals_of(system, windows), is_target

    return residuals.fit_covariances(of_batches())


def scores(system: DenseAE, fixture: Fixture) -> dict[str, np.ndarray]:
    """Every score of the test clips, through the system's own scoring."""
    clips, per_clip = fixture.arrays["test_windows"].shape[:2]
    windows, n_frames = windows_of(fixture, "test_windows"), system.n_frames
    count = np.full(clips, per_clip * n_frames)
    frames = Frames(
        windows.reshape(-1, system.n_mels),
        tuple(Clip(f"{n}.wav", "fan", "section_00", "test") for n in range(clips)),
        np.cumsum(count) - count,
        count,
    )
    # The fixture's windows do not overlap.
    system.windows = lambda frames, hop: (
        np.arange(len(windows)) * n_frames,
        np.repeat(np.arange(clips), per_clip),
    )
    made = system.extra_scores(frames)
    np.testing.assert_array_equal(system.score(frames), made["selective_mahalanobis"])
    means = residuals_of(system, windows).mean(axis=1).reshape(clips, per_clip, -1).mean(axis=1)
    both = residuals.distances(means, system.inverse_covariances())
    return {
        "score": made["selective_mahalanobis"],
        "score_mse": made["mse"],
        "score_source": both[:, 0],
        "score_target": both[:, 1],
    }


def assert_close(actual: Any, expected: Any, what: str) -> None:
    actual, expected = np.asarray(actual), np.asarray(expected, np.float64)
    assert actual.shape == expected.shape, f"{what}: shape {actual.shape}, not {expected.shape}"
    worst = np.abs(actual - expected).max() / np.abs(expected).max()
    assert worst <= EXACT, f"{what}: off by {worst:.2e} of the largest magnitude"


def assert_all(system: DenseAE, fixture: Fixture, after: str = "") -> None:
    """Compare output, covariances and scores; after : the ending of the arrays' names."""
    arrays = fixture.arrays
    first = windows_of(fixture, "test_windows")[: len(arrays["output"])]
    assert_close(system(system.stack(first)), arrays[f"output{after}"], f"output{after}")
    system.covariances = fit(system, fixture)
    for domain, matrix in zip(residuals.DOMAINS, system.covariances.matrices, strict=True):
        assert_close(matrix, arrays[f"cov_{domain}{after}"], f"cov_{domain}{after}")
    for name, values in scores(system, fixture).items():
        assert_close(values, arrays[f"{name}{after}"], f"{name}{after}")


def check_forward(fixture: Fixture) -> None:
    with double_precision():
        system = build(fixture)
        depth = len(system.settings.network.units)
        encoder = type(system.network)(
            system.network.input, system.network.get_layer(f"relu_{depth}").output
        )
        x = system.stack(windows_of(fixture, "test_windows")[: len(fixture.arrays["output"])])
        assert_close(encoder(x), fixture.arrays["latent"], "latent")
        every = system.stack(batches(fixture)[0][0][::7])
        rows = fixture.arrays["train_output_rows"]
        assert_close(system(every)[: len(rows)], rows, "train_output_rows")


def check_score(fixture: Fixture) -> None:
    with double_precision():
        assert_all(build(fixture), fixture)


def check_training(fixture: Fixture) -> None:
    """The batch of one window is skipped, as in the release."""
    with double_precision():
        system = build(fixture)
        losses: list[float] = []
        for windows, _ in batches(fixture):
            if len(windows) > 1:
                losses.append(step(system, windows))
        assert_close(losses, fixture.arrays["train_loss"], "train_loss")
        assert_all(system, fixture, "_after")


def step(system: DenseAE, windows: np.ndarray) -> float:
    """Train on one batch of windows (n, n_frames, n_mels) and return its loss."""
    system.frames = tf.constant(windows.reshape(-1, system.n_mels))
    system.train_function = None  # traced once more: a batch has frames of its own
    system.reset_metrics()
    starts: Sequence[int] = np.arange(len(windows)) * system.n_frames
    return float(system.train_on_batch(starts, np.zeros(len(windows), np.int64)))
