"""Dense autoencoder: the official baseline of DCASE2022 Task 2.

Source: Kota-Dohi/dcase2022_task2_baseline_ae (MIT), Keras 2.8. liuyoude/AE-ASD holds the same
network in PyTorch; its settings differ in batch normalisation and Adam's epsilon.
"""

from __future__ import annotations

from typing import ClassVar

import keras
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
from core.run_settings import SystemSettings
from models import ae_asd
from models.base import System
from models.layers import BatchNorm, torch_variables


class DenseAE(System):
    """Rebuilds a vector of stacked frames; what it rebuilds badly is anomalous.

    Score of a window: the mean squared error of its n_frames * n_mels values; of a clip: the mean
    over its windows.
    """

    uses_xla = True
    mixes_precision = True

    def __init__(self, run: SystemSettings, sections: list[str]):
        super().__init__(run, sections)
        self.network = autoencoder(self.n_frames * self.n_mels, **dict(run.network))
        self.compile(
            self.make_optimizer(),
            loss="mean_squared_error",
            steps_per_execution=64,
            jit_compile=False,
        )

    def call(self, x: tf.Tensor, training: bool = False) -> tf.Tensor:
        return self.network(x, training=training)  # (batch, n_frames * n_mels)

    def training_pair(self, windows: tf.Tensor, section: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        x = self.stack(windows)
        return x, x

    def window_scores(self, windows: tf.Tensor, section: tf.Tensor) -> tf.Tensor:
        x = self.stack(windows)
        return tf.reduce_mean(tf.square(x - self(x)), axis=-1)  # (batch,)

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
        return InferredSettings(tensors, values, ae_asd.IMPLIED if from_ae_asd else {})

    def checkpoint_layouts(self) -> list[Variables]:
        return [self.checkpoint_variables(), self.checkpoint_variables_ae_asd()]


def autoencoder(
    input_dim: int, units: list[int], latent: int, momentum: float, epsilon: float
) -> keras.Model:
    """Return the network, its layers named as in the official model files.

    Parameters
    ----------
    input_dim : values of a vector
    units : widths of the encoder's layers; the decoder mirrors them
    latent : width of the bottleneck
    momentum, epsilon : of the batch normalisation
    """
    h = x = keras.Input((input_dim,))
    for index, width in enumerate([*units, latent, *reversed(units)]):
        number = f"_{index}" if index else ""
        h = layers.Dense(width, name=f"dense{number}")(h)
        h = BatchNorm(momentum=momentum, epsilon=epsilon, name=f"batch_normalization{number}")(h)
        h = layers.ReLU(name=f"relu{number}")(h)  # (batch, width)
    h = layers.Dense(input_dim, name=f"dense_{2 * len(units) + 1}")(h)  # (batch, input_dim)
    return keras.Model(x, h, name="autoencoder")
