"""Interpolation DNN: the middle frame guessed from its neighbours.

Source: Suefusa et al., "Anomalous sound detection based on interpolation deep neural network",
ICASSP 2020, arXiv 2005.09234; built as released in liuyoude/AE-ASD (MIT), PyTorch.

Quirk followed: of an even number of frames the one after the middle is left out.
"""

from __future__ import annotations

import keras
import tensorflow as tf
from keras import layers

from checkpoints.inferred_settings import (
    InferredSettings,
    Tensors,
    check_network_size,
    weights_between,
)
from core.run_settings import SystemSettings
from models import ae_asd
from models.base import System
from models.layers import BatchNorm

# Weights of a layer in a PyTorch checkpoint: name and, for a linear layer, the axes of its kernel.
PYTORCH = {
    "kernel": ("weight", (1, 0)),
    "bias": ("bias", None),
    "gamma": ("weight", None),
    "beta": ("bias", None),
    "moving_mean": ("running_mean", None),
    "moving_variance": ("running_var", None),
}


class IDNN(System):
    """Guesses a frame from those before and after it; what it guesses badly is anomalous.

    The ends of a short sound cannot be guessed from far away, so unlike an autoencoder it need
    not rebuild what comes without warning.

    Score of a window: the mean squared error of the n_mels values of its middle frame; of a clip:
    the mean over its windows.
    """

    worth_xla = True
    steps_per_execution = 64
    mixes_precision = True

    def __init__(self, param: SystemSettings, sections: list[str]):
        super().__init__(param, sections)
        self.network = interpolator(
            (self.n_frames - 1) * self.n_mels, self.n_mels, **dict(param.network)
        )
        self.compile(self.make_optimizer(), loss="mean_squared_error", jit_compile=False)

    @classmethod
    def incompatibilities(
        cls, param: SystemSettings, trained: list[str], scored: list[str]
    ) -> list[str]:
        if param.feature.n_frames < 2:
            return ["feature.n_frames is 1, so no frame has neighbours; set it to 2 or more"]
        return []

    def call(self, x: tf.Tensor, training: bool = False) -> tf.Tensor:
        return self.network(x, training=training)  # (batch, n_mels)

    def example(self, windows: tf.Tensor, section: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Input: the other frames (batch, (n_frames - 1) * n_mels); target: the middle one."""
        middle = self.n_frames // 2
        around = tf.concat([windows[:, :middle], windows[:, middle + 1 :]], axis=1)
        x = tf.reshape(around, (-1, (self.n_frames - 1) * self.n_mels))
        return x, windows[:, middle]  # (batch, n_mels)

    def window_scores(self, windows: tf.Tensor, section: tf.Tensor) -> tf.Tensor:
        x, y = self.example(windows, section)
        return tf.reduce_mean(tf.square(y - self(x)), axis=-1)  # (batch,)

    def checkpoint_variables(self) -> dict[str, tuple[keras.Variable, tuple[int, ...] | None]]:
        """Names as in the release's checkpoints: encoder.3.liner.weight, decoder.4.bias, ..."""
        return {
            f"{layer.name}.{PYTORCH[variable.name][0]}": (variable, PYTORCH[variable.name][1])
            for layer in self.network.layers
            for variable in layer.weights
        }

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
    def infer_settings(cls, tensors: Tensors, param: SystemSettings) -> InferredSettings:
        widths = ae_asd.encoder_widths(tensors)
        around, n_mels = ae_asd.input_and_output(tensors)
        check_network_size(tensors, 2 * weights_between([around, *widths]))
        if around is not None and around == n_mels and param.feature.n_frames != 2:
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
    """The network, its layers named as in the release's checkpoints.

    Parameters
    ----------
    input_dim : values of the frames around
    output_dim : values of the middle frame
    units : widths of the encoder's layers; the decoder mirrors them
    latent : width of the bottleneck
    momentum, epsilon : of the batch normalisation
    """

    def block(h: tf.Tensor, width: int, name: str) -> tf.Tensor:
        h = linear(h, width, f"{name}.liner")
        h = BatchNorm(momentum=momentum, epsilon=epsilon, name=f"{name}.bn")(h)
        return layers.ReLU(name=f"{name}.relu")(h)  # (batch, width)

    x = keras.Input((input_dim,))
    h = x
    for index, width in enumerate([*units, latent]):
        h = block(h, width, f"encoder.{index}")
    for index, width in enumerate(reversed(units)):
        h = block(h, width, f"decoder.{index}")
    h = linear(h, output_dim, f"decoder.{len(units)}")  # (batch, output_dim)
    return keras.Model(x, h, name="idnn")


def linear(h: tf.Tensor, width: int, name: str) -> tf.Tensor:
    """A dense layer drawn as PyTorch draws it: within 1 / sqrt(inputs), the bias too."""
    bound = h.shape[-1] ** -0.5
    return layers.Dense(
        width,
        kernel_initializer=keras.initializers.RandomUniform(-bound, bound),
        bias_initializer=keras.initializers.RandomUniform(-bound, bound),
        name=name,
    )(h)
