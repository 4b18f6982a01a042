"""AEGAN-AD's networks, built as in jianganbai/AEGAN-AD (Apache-2.0), and their normalisations.

The normalisations have an exact second derivative, which the gradient penalty takes. Those of
`tf.nn` and of Keras stop the gradient at the mean: exact for a first derivative, but half a per
cent off in a gradient penalty. The single kernel of `models.layers.BatchNorm` rounds otherwise.
"""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf
from keras import layers

from core.system_settings import AEGANADNetwork
from models.layers import torch_dense


def encoder(size: int, network: AEGANADNetwork) -> keras.Model:
    """Return the network from image to latent, its layers named as in the release.

    Parameters
    ----------
    size : mel bands, and frames, of an image
    network : widths `ndf` of the first convolution and `nz` of the latent; `generator_norm`,
        `encoder_act`; `encoder_first_norm`, whether the first convolution is normalised
    """
    x = keras.Input((size, size, 1))
    h, index, width, reach = x, 0, network.ndf, size // 2
    while reach >= 4:
        # Of an even side, "same" with a kernel of 4 and a stride of 2 pads 1 at each end.
        h = layers.Conv2D(width, 4, 2, "same", **_kernel(), name=f"main.{index}")(h)
        if index > 0 or network.encoder_first_norm:
            index += 1
            h = _normalised(h, network.generator_norm, network, f"main.{index}")
        h = _activated(h, network.encoder_act)  # (batch, reach, reach, width)
        index, width, reach = index + 2, 2 * width, reach // 2
    h = layers.Conv2D(network.nz, 4, **_kernel(), name=f"main.{index}")(h)  # (batch, 1, 1, nz)
    return keras.Model(x, h, name="encoder")


def decoder(size: int, network: AEGANADNetwork) -> keras.Model:
    """Return the network from latent to image, the encoder's mirror.

    Parameters as of `encoder`, with `ngf` and `decoder_act`.
    """
    z = keras.Input((1, 1, network.nz))
    width = network.ngf // 2 * size // 4
    h = layers.Conv2DTranspose(width, 4, **_kernel(), name="main.0")(z)  # (batch, 4, 4, width)
    h = _normalised(h, network.generator_norm, network, "main.1")
    h = _activated(h, network.decoder_act)
    index, reach = 3, 8
    while reach < size:
        width //= 2
        h = layers.Conv2DTranspose(width, 4, 2, "same", **_kernel(), name=f"main.{index}")(h)
        h = _normalised(h, network.generator_norm, network, f"main.{index + 1}")
        h = _activated(h, network.decoder_act)  # (batch, reach, reach, width)
        index, reach = index + 3, 2 * reach
    h = layers.Conv2DTranspose(1, 4, 2, "same", **_kernel(), name=f"main.{index}")(h)
    return keras.Model(z, layers.Activation("tanh")(h), name="decoder")  # (batch, size, size, 1)


def discriminator(size: int, network: AEGANADNetwork) -> keras.Model:
    """Return the network from image to the critic's value (batch, 1) and embedding.

    The embedding is (batch, ndf * size / 8). Parameters as of `encoder`, with
    `discriminator_norm`.
    """
    x = keras.Input((size, size, 1))
    h, index, width, reach = x, 0, network.ndf, size // 2
    while reach >= 4:
        h = layers.Conv2D(width, 4, 2, "same", **_kernel(), name=f"main.{index}.0")(h)
        h = _normalised(h, network.discriminator_norm, network, f"main.{index}.1")
        h = _activated(h, network.encoder_act)  # (batch, reach, reach, width)
        index, width, reach = index + 1, 2 * width, reach // 2
    normal = keras.initializers.RandomNormal(0.0, 0.02)
    h = layers.DepthwiseConv2D(
        4, use_bias=False, depthwise_initializer=normal, name="feat_extract_layer.0"
    )(h)
    embedding = layers.Flatten()(h)  # (batch, width)
    h = WholeNorm(network.layer_norm_epsilon, name="output_layer.0")(embedding)
    h = _activated(h, network.encoder_act)
    # The release leaves PyTorch's start of a linear layer as it is.
    value = torch_dense(1, embedding.shape[-1], "output_layer.2")(h)
    return keras.Model(x, [value, embedding], name="discriminator")


def _kernel() -> dict[str, Any]:
    return {"use_bias": False, "kernel_initializer": keras.initializers.RandomNormal(0.0, 0.02)}


def _normalised(h: tf.Tensor, kind: str, network: AEGANADNetwork, name: str) -> tf.Tensor:
    if kind == "ln":
        return WholeNorm(network.layer_norm_epsilon, name=name)(h)
    if kind == "in":
        return InstanceNorm(network.batch_norm_epsilon, name=name)(h)
    return ImageBatchNorm(network.batch_norm_momentum, network.batch_norm_epsilon, name=name)(h)


def _activated(h: tf.Tensor, kind: str) -> tf.Tensor:
    if kind == "leakyrelu":
        return layers.LeakyReLU(0.2)(h)
    return layers.Activation(kind)(h)


class WholeNorm(layers.Layer):
    """Layer norm over all axes of a sample at once, with a gain and a bias for every element."""

    def __init__(self, epsilon: float, **settings: Any):
        super().__init__(**settings)
        self.epsilon = epsilon

    def build(self, shape: tuple[int | None, ...]) -> None:
        self.gamma = self.add_weight(shape=shape[1:], initializer="ones", name="gamma")
        self.beta = self.add_weight(shape=shape[1:], initializer="zeros", name="beta")
        # PyTorch has (channel, height, width).
        self.torch_axes = (1, 2, 0) if len(shape) == 4 else None

    def call(self, x: tf.Tensor) -> tf.Tensor:
        mean, variance = moments(x, list(range(1, len(x.shape))))
        return (x - mean) * tf.math.rsqrt(variance + self.epsilon) * self.gamma + self.beta


class ImageBatchNorm(layers.Layer):
    """Batch norm of images (batch, height, width, channel), as PyTorch has it.

    The running variance is the unbiased one, and the gains start from N(1, 0.02).
    """

    def __init__(self, momentum: float, epsilon: float, **settings: Any):
        super().__init__(**settings)
        self.momentum, self.epsilon = momentum, epsilon

    def build(self, shape: tuple[int | None, ...]) -> None:
        gain = keras.initializers.RandomNormal(1.0, 0.02)
        running = {"shape": shape[-1:], "trainable": False}
        self.gamma = self.add_weight(shape=shape[-1:], initializer=gain, name="gamma")
        self.beta = self.add_weight(shape=shape[-1:], initializer="zeros", name="beta")
        self.moving_mean = self.add_weight(**running, initializer="zeros", name="moving_mean")
        self.moving_variance = self.add_weight(
            **running, initializer="ones", name="moving_variance"
        )

    def call(self, x: tf.Tensor, training: bool = False) -> tf.Tensor:
        mean, variance = self.moving_mean.value, self.moving_variance.value
        if training:
            mean, variance = moments(x, [0, 1, 2])
            n = tf.cast(tf.reduce_prod(tf.shape(x)[:3]), x.dtype)
            unbiased = variance * n / (n - 1)
            for running, new in ((self.moving_mean, mean), (self.moving_variance, unbiased)):
                step = tf.reshape(new, running.shape) - running
                running.assign_add((1 - self.momentum) * step)
        return (x - mean) * tf.math.rsqrt(variance + self.epsilon) * self.gamma + self.beta


class InstanceNorm(layers.Layer):
    """Each channel of each image to mean 0 and variance 1; nothing is learnt."""

    def __init__(self, epsilon: float, **settings: Any):
        super().__init__(**settings)
        self.epsilon = epsilon

    def call(self, x: tf.Tensor) -> tf.Tensor:
        mean, variance = moments(x, [1, 2])
        return (x - mean) * tf.math.rsqrt(variance + self.epsilon)


def moments(x: tf.Tensor, axes: list[int]) -> tuple[tf.Tensor, tf.Tensor]:
    """Return mean and biased variance over some axes, which stay with the size 1."""
    mean = tf.reduce_mean(x, axes, keepdims=True)
    return mean, tf.reduce_mean(tf.square(x - mean), axes, keepdims=True)
