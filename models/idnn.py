"""Interpolation DNN: the middle frame guessed from its neighbours.

Source: Suefusa et al., "Anomalous sound detection based on interpolation deep neural network",
ICASSP 2020, arXiv 2005.09234; built as released in liuyoude/AE-ASD (MIT), PyTorch.

Quirk followed: of an even number of frames the one after the middle is to be guessed.
"""

from __future__ import annotations

import keras
import tensorflow as tf

from checkpoints.assign import Variables
from checkpoints.inferred_settings import (
    InferredSettings,
    Tensors,
    check_network_size,
    weights_between,
)
from core.run_settings import SystemSettings
from models import ae_asd
from models.layers import Adam, dense_block, torch_dense, torch_variables
from models.pooling import PooledSystem


class IDNN(PooledSystem):
    """Guesses a frame from those before and after it; what it guesses badly is anomalous.

    The ends of a short sound cannot be guessed from far away, so unlike an autoencoder it need
    not rebuild what comes without warning.

    Score of a window: the mean squared error of the n_mels values of its middle frame; of a clip:
    the mean over its windows, or another pooling (`pool_type`).
    """

    uses_xla = True
    mixes_precision = True

    def __init__(self, run: SystemSettings, sections: list[str]):
        super().__init__(run, sections)
        self.network = interpolator(
            (self.n_frames - 1) * self.n_mels, self.n_mels, **dict(run.network)
        )
        self.compile(
            Adam(run.fit, torch=True),
            loss="mean_squared_error",
            steps_per_execution=64,
            jit_compile=False,
        )

    @classmethod
    def incompatibilities(
        cls, run: SystemSettings, trained: list[str], scored: list[str]
    ) -> list[str]:
        if run.feature.n_frames < 2:
            return ["feature.n_frames is 1, so no frame has neighbours; set it to 2 or more"]
        return []

    def call(self, x: tf.Tensor, training: bool = False) -> tf.Tensor:
        return self.network(x, training=training)  # (batch, n_mels)

    def training_pair(self, windows: tf.Tensor, section: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Return the other frames (batch, (n_frames - 1) * n_mels) and the middle one."""
        middle = self.n_frames // 2
        around = tf.concat([windows[:, :middle], windows[:, middle + 1 :]], axis=1)
        x = tf.reshape(around, (-1, (self.n_frames - 1) * self.n_mels))
        return x, windows[:, middle]  # (batch, n_mels)

    def window_scores(self, windows: tf.Tensor, section: tf.Tensor) -> tf.Tensor:
        x, y = self.training_pair(windows, section)
        return tf.reduce_mean(tf.square(y - self(x)), axis=-1)  # (batch,)

    def checkpoint_variables(self) -> Variables:
        """Return names as in the release: encoder.3.liner.weight, decoder.4.bias, ..."""
        variables = {}
        for layer in self.network.layers:
            variables |= torch_variables(layer, layer.name)
        return variables

    @classmethod
    def recognises(cls, tensors: Tensors) -> bool:
        """Say whether tensors are of AE-ASD, the input a whole number of output frames.

        Of one frame, they may as well be of the autoencoder.
        """
        inputs, outputs = ae_asd.input_and_output(tensors)
        if ae_asd.has_latent_heads(tensors) or None in (inputs, outputs):
            return False
        return inputs % outputs == 0

    @classmethod
    def infer_settings(cls, tensors: Tensors, run: SystemSettings) -> InferredSettings:
        widths = ae_asd.encoder_widths(tensors)
        around, n_mels = ae_asd.input_and_output(tensors)
        check_network_size(tensors, 2 * weights_between([around, *widths]))
        if around is not None and around == n_mels and run.feature.n_frames != 2:
            raise ValueError(
                "it rebuilds what it is given, so it looks like one of ae, not of idnn"
            )
        whole = None not in (around, n_mels) and around % n_mels == 0
        values = {
            "feature.n_mels": n_mels,
            "feature.n_frames": around // n_mels + 1 if whole else None,
            "network.units": widths[:-1],
            "network.latent": widths[-1] if widths else None,
        }
        return InferredSettings(tensors, values, ae_asd.IMPLIED)


def interpolator(
    input_dim: int,
    output_dim: int,
    units: list[int],
    latent: int,
    momentum: float,
    epsilon: float,
) -> keras.Model:
    """Return the network, its layers named as in the release's checkpoints.

    Parameters
    ----------
    input_dim : values of the frames around
    output_dim : values of the middle frame
    units : widths of the encoder's layers; the decoder mirrors them
    latent : width of the bottleneck
    momentum, epsilon : of the batch normalisation
    """
    norm = {"momentum": momentum, "epsilon": epsilon}
    h = x = keras.Input((input_dim,))
    for index, width in enumerate([*units, latent]):
        h = dense_block(h, width, f"encoder.{index}", **norm)  # (batch, width)
    for index, width in enumerate(reversed(units)):
        h = dense_block(h, width, f"decoder.{index}", **norm)  # (batch, width)
    h = torch_dense(output_dim, h.shape[-1], f"decoder.{len(units)}")(h)  # (batch, output_dim)
    return keras.Model(x, h, name="idnn")
