"""STgram-MFN's networks: the Tgram, MobileFaceNet, and ArcFace; see `models.stgram_mfn`."""

from __future__ import annotations

import math
from typing import Any

import keras
import tensorflow as tf
from keras import initializers, layers, ops

from models.layers import torch_batch_norm, torch_uniform


class ArcFace(layers.Layer):
    """Cosines to the centres of the classes, the own class's angle widened by a margin.

    Every class has `sub` centres, of which the nearest counts. Where the widened angle would pass
    a half turn, a plain penalty takes its place.
    """

    def __init__(self, classes: int, sub: int, margin: float, scale: float):
        super().__init__(name="arcface")
        self.classes, self.sub, self.margin, self.scale = classes, sub, margin, scale

    def build(self, shape: tuple[int | None, ...]) -> None:
        # PyTorch's Xavier, whose fans are the two axes either way round.
        self.centres = self.add_weight(
            shape=(self.classes * self.sub, shape[-1]), initializer="glorot_uniform", name="centres"
        )

    def call(self, x: tf.Tensor, label: tf.Tensor) -> tf.Tensor:
        """Logits (batch, classes), of embeddings (batch, 128) and their classes (batch,)."""
        centres = tf.math.l2_normalize(self.centres, axis=-1)
        cosine = tf.matmul(tf.math.l2_normalize(x, axis=-1), centres, transpose_b=True)
        cosine = tf.reduce_max(tf.reshape(cosine, (-1, self.classes, self.sub)), axis=-1)
        # Kept above 0, where the root has no slope: an embedding may lie on its centre.
        sine = tf.sqrt(tf.maximum(1.0 - tf.square(cosine), 1e-12))
        wider = cosine * math.cos(self.margin) - sine * math.sin(self.margin)
        beyond = cosine - math.sin(math.pi - self.margin) * self.margin
        wider = tf.where(cosine > math.cos(math.pi - self.margin), wider, beyond)
        own = tf.one_hot(label, self.classes, dtype=cosine.dtype)
        return self.scale * (own * wider + (1.0 - own) * cosine)


class PReLU(layers.Layer):
    """A slope for what is negative, learnt for every channel (the last axis)."""

    def build(self, shape: tuple[int | None, ...]) -> None:
        self.slope = self.add_weight(
            shape=shape[-1:], initializer=initializers.Constant(0.25), name="slope"
        )

    def call(self, x: tf.Tensor) -> tf.Tensor:
        return _with_slope(x, tf.convert_to_tensor(self.slope))


@tf.custom_gradient
def _with_slope(x: tf.Tensor, slope: tf.Tensor) -> tuple[tf.Tensor, Any]:
    """Multiply what is not above 0 by a slope (channels,), with a gradient of few passes over x.

    The gradient that TensorFlow derives takes half as long again; at 0 it is that of PyTorch here.
    """

    def gradient(of_output: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        of_slope = tf.reshape(of_output * tf.minimum(x, 0.0), (-1, x.shape[-1]))
        return tf.where(x > 0, of_output, slope * of_output), tf.reduce_sum(of_slope, axis=0)

    return tf.where(x > 0, x, slope * x), gradient


def stgram(
    n_samples: int, n_mels: int, n_fft: int, hop_length: int, bottlenecks: list[list[int]]
) -> keras.Model:
    """Return the network up to the embedding.

    Parameters
    ----------
    n_samples : of a window
    n_mels, n_fft, hop_length : of the log-mel image; the Tgram has its shape
    bottlenecks : (expansion, channels, repeats, stride of the first) of MobileFaceNet's parts

    Returns
    -------
    A model of [wave (batch, n_samples), mel (batch, n_mels, frames)], giving (batch, 128).
    Layers are named by the release's checkpoints, "-" for ".".
    """
    wave = keras.Input((n_samples,))
    h = layers.Reshape((n_samples, 1))(wave)
    h = layers.ZeroPadding1D(n_fft // 2)(h)
    h = conv1d(n_mels, n_fft, n_fft, "tgramnet-conv_extrctor", strides=hop_length)(h)
    frames = h.shape[1]  # (batch, frames, n_mels)
    for number in range(3):
        at = f"tgramnet-conv_encoder-{number}"
        # Over the frames, with a gain and a bias for each.
        h = layers.LayerNormalization(axis=1, epsilon=1e-5, name=f"{at}-0")(h)
        h = layers.LeakyReLU(negative_slope=0.2)(h)
        h = conv1d(n_mels, 3, 3 * n_mels, f"{at}-2", padding="same")(h)
    tgram = layers.Permute((2, 1), name="tgram")(h)  # (batch, n_mels, frames)
    mel = keras.Input((n_mels, frames))
    h = ops.stack([mel, tgram], axis=-1)  # (batch, n_mels, frames, 2)
    h = block(h, 64, 3, 2, "mobilefacenet-conv1")
    h = block(h, 64, 3, 1, "mobilefacenet-dw_conv1", depthwise=True)
    number = 0
    for expansion, channels, repeats, stride in bottlenecks:
        for repeat in range(repeats):
            at = f"mobilefacenet-blocks-{number}-conv"
            h = bottleneck(h, expansion, channels, 1 if repeat else stride, at)
            number += 1
    h = block(h, 512, 1, 1, "mobilefacenet-conv2")
    # One kernel as large as what is left of the image: (8, 20) for 128 bins and 313 frames.
    h = block(h, 512, h.shape[1:3], 1, "mobilefacenet-linear7", depthwise=True, linear=True)
    h = block(h, 128, 1, 1, "mobilefacenet-linear1", linear=True)
    return keras.Model([wave, mel], layers.Flatten()(h), name="stgram")


def block(
    h: keras.KerasTensor,
    channels: int,
    kernel: int | tuple[int, int],
    stride: int,
    name: str,
    depthwise: bool = False,
    linear: bool = False,
) -> keras.KerasTensor:
    """Apply convolution, batch norm and, unless linear, PReLU."""
    h = conv2d(h, channels, kernel, stride, f"{name}-conv", depthwise)
    h = torch_batch_norm(f"{name}-bn")(h)
    return h if linear else PReLU(name=f"{name}-prelu")(h)


def bottleneck(
    h: keras.KerasTensor, expansion: int, channels: int, stride: int, name: str
) -> keras.KerasTensor:
    """Widen, filter every channel, narrow; add the input where the shapes allow it."""
    inside = h.shape[-1] * expansion
    y = torch_batch_norm(f"{name}-1")(conv2d(h, inside, 1, 1, f"{name}-0"))
    y = PReLU(name=f"{name}-2")(y)
    y = torch_batch_norm(f"{name}-4")(conv2d(y, inside, 3, stride, f"{name}-3", depthwise=True))
    y = PReLU(name=f"{name}-5")(y)
    y = torch_batch_norm(f"{name}-7")(conv2d(y, channels, 1, 1, f"{name}-6"))
    return h + y if stride == 1 and h.shape[-1] == channels else y


def conv2d(
    h: keras.KerasTensor,
    channels: int,
    kernel: int | tuple[int, int],
    stride: int,
    name: str,
    depthwise: bool = False,
) -> keras.KerasTensor:
    """Apply a convolution without bias; one of 3 × 3 pads by 1 on every side, as in PyTorch."""
    if kernel == 3:
        h = layers.ZeroPadding2D(1)(h)
    height, width = (kernel, kernel) if isinstance(kernel, int) else kernel
    start = initializers.RandomNormal(stddev=math.sqrt(2 / (height * width * channels)))
    shared = {"strides": stride, "use_bias": False, "name": name}
    if depthwise:
        return layers.DepthwiseConv2D((height, width), depthwise_initializer=start, **shared)(h)
    return layers.Conv2D(channels, (height, width), kernel_initializer=start, **shared)(h)


def conv1d(channels: int, kernel: int, fan_in: int, name: str, **kwargs: Any) -> layers.Layer:
    """Return a convolution without bias that starts as PyTorch's."""
    start = torch_uniform(fan_in)
    return layers.Conv1D(
        channels, kernel, use_bias=False, kernel_initializer=start, name=name, **kwargs
    )
