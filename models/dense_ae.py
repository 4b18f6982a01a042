"""Dense autoencoder: the official baseline of DCASE Task 2, of 2022 and of 2023 and later.

Sources, the releases that the settings name: `dcase2022`, Kota-Dohi/dcase2022_task2_baseline_ae
(MIT), Keras 2.8; `dcase2023`, nttcslab/dcase2023_task2_baseline_ae, and `ae_asd`, liuyoude/AE-ASD
(MIT), the same network in PyTorch. Where the weights start, whether the running variance is
unbiased, and where Adam adds its epsilon, is `network.framework`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

import keras
import numpy as np
import tensorflow as tf
from keras import layers

from checkpoints.assign import Variables
from checkpoints.inferred_settings import (
    InferredSettings,
    Tensors,
    check_network_size,
    depth_of,
    size_of,
    weights_between,
    window_settings,
)
from core.errors import BadInput
from core.run_settings import SystemSettings
from data.frames import Frames
from models import ae_asd, residuals
from models.layers import Adam, BatchNorm, torch_start, torch_variables
from models.pooling import PooledSystem, pool
from models.residuals import Covariances


class DenseAE(PooledSystem):
    """Rebuilds a vector of stacked frames; what it rebuilds badly is anomalous.

    Score of a window: the mean squared error of its n_frames * n_mels values; of a clip: the mean
    over its windows, or another pooling (`pool_type`). With `score: selective_mahalanobis` a
    clip's score is that of `models.residuals`: the smaller of two distances of its mean residual
    frame. What both scores need of the training clips is saved, so that either can be chosen later.
    """

    uses_xla = True
    mixes_precision = True

    def __init__(self, run: SystemSettings, sections: list[str]):
        super().__init__(run, sections)
        self.covariances: Covariances | None = None
        self.training_distances: np.ndarray | None = None  # (n_clips,)
        self.last_scores: tuple[Frames, dict[str, np.ndarray]] | None = None
        self.network = autoencoder(self.n_frames * self.n_mels, **dict(run.network))
        self.compile(
            self.make_optimizer(),
            loss="mean_squared_error",
            steps_per_execution=64,
            jit_compile=False,
        )

    def make_optimizer(self) -> keras.optimizers.Optimizer:
        return Adam(self.settings.fit, torch=self.settings.network.framework == "pytorch")

    @classmethod
    def check(cls, run: SystemSettings, machine_type: str, frames: Frames) -> None:
        """Raise BadInput where `score: selective_mahalanobis` has too few clips to train on."""
        if run.score == "selective_mahalanobis":
            targets = np.array([clip.domain == "target" for clip in frames.clips])
            counts = [frames.count[~targets].sum(), frames.count[targets].sum()]
            residuals.check_frames(counts, run.feature.n_mels, machine_type)

    def call(self, x: tf.Tensor, training: bool = False) -> tf.Tensor:
        return self.network(x, training=training)  # (batch, n_frames * n_mels)

    def training_pair(self, windows: tf.Tensor, section: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        x = self.stack(windows)
        return x, x

    def window_scores(self, windows: tf.Tensor, section: tf.Tensor) -> tf.Tensor:
        x = self.stack(windows)
        return tf.reduce_mean(tf.square(x - self(x)), axis=-1)  # (batch,)

    def score(self, frames: Frames) -> np.ndarray:
        if self.settings.score == "mse":
            return super().score(frames)
        return self.extra_scores(frames)["selective_mahalanobis"]

    def extra_scores(self, frames: Frames) -> dict[str, np.ndarray]:
        """Return both scores where the second is asked for, which costs no second pass."""
        if self.settings.score == "mse":
            return {}
        last, self.last_scores = self.last_scores, None
        if last and last[0] is frames:
            return last[1]
        inverses = self.inverse_covariances()
        errors, owner, means = self.clip_residuals(frames)
        scores = {
            "mse": pool(errors, owner, self.settings.pool_type, self.settings.decay),
            "selective_mahalanobis": residuals.distances(means, inverses).min(axis=1),
        }
        self.last_scores = (frames, scores)  # `score` and this are asked for one after the other
        return scores

    def inverse_covariances(self) -> np.ndarray:
        """Return the inverses of both covariances: (2, n_mels, n_mels); see `residuals.invert`.

        Raises BadInput where there are none: of a model that was made without training clips.
        """
        if self.covariances is None:
            raise BadInput(
                "ae.score: selective_mahalanobis needs the covariances of the training clips' "
                "residuals, which this model does not have; train it again with 00_train.py "
                "--force, import it with its training clips, or take ae.score: mse"
            )
        return residuals.invert(self.covariances, "ae")

    def clip_residuals(self, frames: Frames) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return errors and clips of the windows (n_windows,), and (n_clips, n_mels) means.

        The last are the mean residual frames of the clips: of what was rebuilt less what was given.
        """
        starts, owner = self.windows(frames, 1)
        errors, sums = np.empty(len(starts)), np.zeros((len(frames.clips), self.n_mels))

        def of_windows(windows: tf.Tensor, section: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            x = self.stack(windows)
            residual = self(x) - x
            of_frames = tf.reshape(residual, tf.shape(windows))
            return tf.reduce_mean(tf.square(residual), axis=-1), tf.reduce_mean(of_frames, axis=1)

        for taken, (error, mean) in self.window_batches(frames, starts, owner, of_windows):
            errors[taken] = error
            clips, first = np.unique(owner[taken], return_index=True)
            sums[clips] += np.add.reduceat(mean, first, dtype=np.float64)
        return errors, owner, sums / np.bincount(owner)[:, None]

    def fit_statistics(self, frames: Frames) -> None:
        """Keep what the training clips score, and the covariances of their residuals."""
        errors, owner, means = self.clip_residuals(frames)
        self.keep_errors(frames, errors, owner)
        self.covariances = self.training_distances = self.last_scores = None
        wanted = self.settings.score == "selective_mahalanobis"
        try:
            self.covariances = residuals.fit_covariances(self.training_residuals(frames))
            nearest = residuals.distances(means, self.inverse_covariances()).min(axis=1)
            self.training_distances = nearest
        except BadInput:
            if wanted:  # else nobody asks for them, and a later choice of this score is refused
                raise
        if wanted:
            pooled = pool(errors, owner, self.settings.pool_type, self.settings.decay)
            scores = {"mse": pooled, "selective_mahalanobis": self.training_distances}
            self.last_scores = (frames, scores)

    def training_residuals(self, frames: Frames) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield residuals (batch, n_frames, n_mels) and whether each is of a target clip (batch,).

        The batches are those of one more epoch of the training.
        """
        array = self.to_device(frames)
        targets = np.array([clip.domain == "target" for clip in frames.clips])

        @tf.function(autograph=False, reduce_retracing=True)
        def residual(starts: tf.Tensor) -> tf.Tensor:
            windows = self.gather_windows(array, starts)
            return self.reconstruct(windows) - windows

        epoch = tf.Variable(self.settings.fit.epochs, dtype=tf.int64, trainable=False)
        for starts, _ in self._batches(frames, epoch)[0]:
            owner = np.searchsorted(frames.first, starts.numpy(), side="right") - 1
            yield residual(starts).numpy(), targets[owner]

    def get_extra_state(self) -> dict[str, np.ndarray]:
        state = super().get_extra_state()
        if self.covariances is not None:
            state["covariances"], state["covariance_windows"] = self.covariances
        if self.training_distances is not None:
            state["distances_of_training"] = self.training_distances
        return state

    def set_extra_state(self, arrays: dict[str, np.ndarray]) -> None:
        super().set_extra_state(arrays)
        if "covariances" in arrays:
            self.covariances = Covariances(arrays["covariances"], arrays["covariance_windows"])
        self.training_distances = arrays.get("distances_of_training")

    def training_scores(self, saved: np.ndarray) -> np.ndarray:
        if self.settings.score == "mse":
            return super().training_scores(saved)
        self.inverse_covariances()  # says what is missing
        return self.training_distances

    @classmethod
    def missing_without_training_clips(cls, run: SystemSettings) -> str:
        if run.score == "mse":
            return ""
        return "the covariances of the residuals, which ae.score: selective_mahalanobis needs"

    def reconstruct(self, windows: tf.Tensor) -> tf.Tensor:
        return tf.reshape(self(self.stack(windows)), tf.shape(windows))

    def stack(self, windows: tf.Tensor) -> tf.Tensor:
        """Return frame-major vectors (batch, n_frames * n_mels) of (batch, n_frames, n_mels)."""
        return tf.reshape(windows, (-1, self.n_frames * self.n_mels))

    def checkpoint_variables(self) -> Variables:
        """Return names as in the official `.hdf5`: dense_3/kernel, ..."""
        return {
            f"{layer.name}/{variable.name}": (variable, None)
            for layer in self.network.layers
            for variable in layer.weights
        }

    def checkpoint_variables_ae_asd(self) -> Variables:
        """Return names as in the PyTorch checkpoints of AE-ASD: encoder.3.liner.weight, ..."""
        names = {}
        depth = len(self.settings.network.units) + 1
        for index in range(2 * depth - 1):
            number = f"_{index}" if index else ""
            dense = self.network.get_layer(f"dense{number}")
            norm = self.network.get_layer(f"batch_normalization{number}")
            at = f"encoder.{index}" if index < depth else f"decoder.{index - depth}"
            names |= torch_variables(dense, f"{at}.liner") | torch_variables(norm, f"{at}.bn")
        last = self.network.get_layer(f"dense_{2 * depth - 1}")
        return names | torch_variables(last, f"decoder.{depth - 1}")

    marks: ClassVar[tuple[str, ...]] = ("dense/kernel",)

    @classmethod
    def recognises(cls, tensors: Tensors) -> bool:
        """Say whether tensors are of the official baseline, or of AE-ASD with a whole output."""
        inputs, outputs = ae_asd.input_and_output(tensors)
        whole = inputs is not None and inputs == outputs
        return super().recognises(tensors) or (whole and not ae_asd.has_latent_heads(tensors))

    @classmethod
    def infer_settings(cls, tensors: Tensors, run: SystemSettings) -> InferredSettings:
        from_ae_asd = "dense/kernel" not in tensors and any("liner" in name for name in tensors)
        if from_ae_asd:
            widths = ae_asd.encoder_widths(tensors)
            n_values = size_of(tensors, ae_asd.INPUT, ae_asd.OUTPUT)
        else:
            last = depth_of(tensors, r"dense_(\d+)/") - 1
            widths = []
            for number in ["", *(f"_{index}" for index in range(1, last // 2 + 1))]:
                vectors = rf"dense{number}/bias|batch_normalization{number}/\w+"
                widths.append(size_of(tensors, (1, f"dense{number}/kernel"), (0, vectors)))
            ends = ((0, f"dense/kernel|dense_{last}/bias"), (1, f"dense_{last}/kernel"))
            n_values = size_of(tensors, *ends)
        check_network_size(tensors, 2 * weights_between([n_values, *widths]))
        values = {
            **window_settings(n_values, run),
            "network.units": widths[:-1],
            "network.latent": widths[-1] if widths else None,
        }
        implied = {**ae_asd.IMPLIED, "network.framework": "pytorch"} if from_ae_asd else {}
        return InferredSettings(tensors, values, implied)

    def checkpoint_layouts(self) -> list[Variables]:
        return [self.checkpoint_variables(), self.checkpoint_variables_ae_asd()]


def autoencoder(
    input_dim: int,
    units: list[int],
    latent: int,
    momentum: float,
    epsilon: float,
    framework: str = "keras",
) -> keras.Model:
    """Return the network, its layers named as in the official model files.

    Parameters
    ----------
    input_dim : values of a vector
    units : widths of the encoder's layers; the decoder mirrors them
    latent : width of the bottleneck
    momentum, epsilon : of the batch normalisation
    framework : "keras" or "pytorch", see `core.system_settings.DenseAENetwork`
    """
    torch = framework == "pytorch"

    def dense(h: keras.KerasTensor, width: int, name: str) -> keras.KerasTensor:
        start = torch_start(h.shape[-1]) if torch else {}
        return layers.Dense(width, **start, name=name)(h)  # (batch, width)

    norm = {"torch": torch, "momentum": momentum, "epsilon": epsilon}
    h = x = keras.Input((input_dim,))
    for index, width in enumerate([*units, latent, *reversed(units)]):
        number = f"_{index}" if index else ""
        h = dense(h, width, f"dense{number}")
        h = BatchNorm(**norm, name=f"batch_normalization{number}")(h)
        h = layers.ReLU(name=f"relu{number}")(h)  # (batch, width)
    h = dense(h, input_dim, f"dense_{2 * len(units) + 1}")
    return keras.Model(x, h, name="autoencoder")
