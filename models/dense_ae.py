"""Dense autoencoder: the official baseline of DCASE2022 Task 2.

Source: Kota-Dohi/dcase2022_task2_baseline_ae (MIT), Keras 2.8. liuyoude/AE-ASD holds the same
network in PyTorch; its settings differ in batch normalisation and Adam's epsilon.
"""

from __future__ import annotations

import keras
import tensorflow as tf
from keras import layers

from core.run_settings import SystemSettings
from models.base import System
from models.layers import BatchNorm, Published, torch_variables


class DenseAE(System):
    """Rebuilds a vector of stacked frames; what it rebuilds badly is anomalous.

    Score of a window: the mean squared error of its n_frames * n_mels values; of a clip: the mean
    over its windows.
    """

    uses_xla = True
    mixes_precision = True

    def __init__(self, param: SystemSettings, sections: list[str]):
        super().__init__(param, sections)
        self.network = autoencoder(self.n_frames * self.n_mels, **dict(param.network))
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

    def checkpoint_variables(self) -> dict[str, Published]:
        """Return names as in the official `.hdf5`: dense_3/kernel, ..."""
        return {
            f"{layer.name}/{variable.name}": (variable, None)
            for layer in self.network.layers
            for variable in layer.weights
        }

    def checkpoint_variables_ae_asd(self) -> dict[str, Published]:
        """Return names as in the PyTorch checkpoints of AE-ASD: encoder.3.liner.weight, ..."""
        names = {}
        depth = len(self.param.network.units) + 1
        for index in range(2 * depth - 1):
            number = f"_{index}" if index else ""
            dense = self.network.get_layer(f"dense{number}")
            norm = self.network.get_layer(f"batch_normalization{number}")
            at = f"encoder.{index}" if index < depth else f"decoder.{index - depth}"
            names |= torch_variables(dense, f"{at}.liner") | torch_variables(norm, f"{at}.bn")
        last = self.network.get_layer(f"dense_{2 * depth - 1}")
        return names | torch_variables(last, f"decoder.{depth - 1}")


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
