"""Variational autoencoder, as released: its latent is a learned head, not noise.

Source: liuyoude/AE-ASD (MIT), PyTorch: its `VAE`. The idea: Kingma and Welling, "Auto-encoding
variational Bayes", arXiv 1312.6114.

Quirks of the release that are followed:
1. Where the paper draws z from a standard normal distribution, the release learns it, as a third
   head beside mean and log-variance, so nothing is random after the weights.
2. Each head ends in batch normalisation and ReLU, so mean and log-variance are never negative.
3. The divergence is summed over batch and dimensions, while the squared error is averaged.
"""

from __future__ import annotations

from typing import ClassVar

import keras
import tensorflow as tf

from checkpoints.assign import Variables
from checkpoints.inferred_settings import (
    InferredSettings,
    Tensors,
    check_network_size,
    weights_between,
    window_settings,
)
from core.run_settings import SystemSettings
from models import ae_asd
from models.layers import Adam, dense_block, torch_dense, torch_variables
from models.pooling import PooledSystem


class VAE(PooledSystem):
    """Rebuilds a vector of stacked frames from a latent that is kept near a standard normal.

    Score of a window: the mean squared error of its n_frames * n_mels values; of a clip: the mean
    over its windows, or another pooling (`pool_type`).

    In the history, `loss` is the sum of `mse` and `kl`.
    """

    uses_xla = True
    loss_names = ("mse", "kl")

    def __init__(self, run: SystemSettings, sections: list[str]):
        super().__init__(run, sections)
        self.network = variational(self.n_frames * self.n_mels, **dict(run.network))
        self.compile(Adam(run.fit, torch=True), steps_per_execution=64, jit_compile=False)

    def call(self, x: tf.Tensor, training: bool = False) -> tuple[tf.Tensor, ...]:
        """Return rebuilt vectors (batch, n_frames * n_mels), latent, mean and log-variance.

        The last three are (batch, latent).
        """
        return self.network(x, training=training)

    def training_pair(self, windows: tf.Tensor, section: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        x = self.stack(windows)
        return x, x

    def compute_loss(
        self,
        x: tf.Tensor | None = None,
        y: tf.Tensor | None = None,
        y_pred: tuple[tf.Tensor, ...] | None = None,
        sample_weight: tf.Tensor | None = None,
        training: bool = True,
    ) -> tf.Tensor:
        rebuilt, _, mean, log_variance = y_pred
        mse = tf.reduce_mean(tf.square(y - rebuilt))
        kl = -0.5 * tf.reduce_sum(1 + log_variance - tf.exp(log_variance) - tf.square(mean))
        # Weighted as Keras weights the loss of a batch, so that the parts add up over an epoch.
        self.loss_means["mse"].update_state(mse, tf.shape(y)[0])
        self.loss_means["kl"].update_state(kl, tf.shape(y)[0])
        return mse + kl

    def window_scores(self, windows: tf.Tensor, section: tf.Tensor) -> tf.Tensor:
        x = self.stack(windows)
        return tf.reduce_mean(tf.square(x - self(x)[0]), axis=-1)  # (batch,)

    def stack(self, windows: tf.Tensor) -> tf.Tensor:
        """Return frame-major vectors (batch, n_frames * n_mels) of (batch, n_frames, n_mels)."""
        return tf.reshape(windows, (-1, self.n_frames * self.n_mels))

    def checkpoint_variables(self) -> Variables:
        """Return names as in the release: encoder.3.liner.weight, fc_z.bn.bias, ..."""
        variables = {}
        for layer in self.network.layers:
            variables |= torch_variables(layer, layer.name)
        return variables

    marks: ClassVar[tuple[str, ...]] = ("fc_mean.liner.weight",)

    @classmethod
    def infer_settings(cls, tensors: Tensors, run: SystemSettings) -> InferredSettings:
        inputs, outputs = ae_asd.input_and_output(tensors)
        if None not in (inputs, outputs) and inputs > outputs and inputs % outputs == 0:
            raise ValueError(
                f"it makes {outputs} values of {inputs}, so it guesses frames from their "
                "neighbours; vae rebuilds what it is given"
            )
        widths = ae_asd.encoder_widths(tensors)
        latent = ae_asd.block_width(tensors, "fc_(mean|logvar|z)")
        check_network_size(tensors, 2 * weights_between([inputs or outputs, *widths, latent]))
        values = {
            **window_settings(outputs or inputs, run),
            "network.units": widths,
            "network.latent": latent,
        }
        return InferredSettings(tensors, values, ae_asd.IMPLIED)


def variational(
    input_dim: int, units: list[int], latent: int, momentum: float, epsilon: float
) -> keras.Model:
    """Return the network, its layers named as in the release's checkpoints.

    Parameters
    ----------
    input_dim : values of a vector
    units : widths of the encoder's layers; the decoder mirrors them
    latent : width of each head
    momentum, epsilon : of the batch normalisation

    Returns
    -------
    A model from vectors to rebuilt vectors, latent, mean and log-variance.
    """
    norm = {"momentum": momentum, "epsilon": epsilon}
    h = x = keras.Input((input_dim,))
    for index, width in enumerate(units):
        h = dense_block(h, width, f"encoder.{index}", **norm)  # (batch, width)
    mean = dense_block(h, latent, "fc_mean", **norm)
    log_variance = dense_block(h, latent, "fc_logvar", **norm)
    z = dense_block(h, latent, "fc_z", **norm)
    h = z = z * keras.ops.exp(log_variance / 2) + mean  # (batch, latent)
    for index, width in enumerate(reversed(units)):
        h = dense_block(h, width, f"decoder.{index}", **norm)  # (batch, width)
    h = torch_dense(input_dim, h.shape[-1], f"decoder.{len(units)}")(h)  # (batch, input_dim)
    return keras.Model(x, (h, z, mean, log_variance), name="vae")
