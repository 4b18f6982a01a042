"""The networks and the loss of the discriminative embeddings; see `models.dis_spec`.

No layer has a bias, and no batch normalisation a gain. Layers have the names of the release's
checkpoints, which begin after "extractor.".
"""

from __future__ import annotations

import math

import keras
import numpy as np
import tensorflow as tf
from keras import layers, ops

from models.layers import BatchNorm, torch_uniform

WIDTH = 128  # of each branch's embedding, and of the convolutions over the spectrum
SQUEEZE = 16  # channels per value that squeeze-and-excitation narrows them to
CONVOLUTIONS = ((256, 64), (64, 32), (16, 4))  # of the spectrum branch: kernel, stride
STAGES = (16, 32, 64, 128)  # channels of the residual stages of a spectrogram branch
LOWEST, HIGHEST = 200.0, 8000.0  # Hz, of the bins of a spectrogram
FEWEST_FRAMES = 36  # of a spectrogram, as in the release


def embedding_network(
    n_samples: int, sample_rate: int, resolutions: list[tuple[int, int]]
) -> keras.Model:
    """Return the network up to the embedding: (batch, n_samples) → (batch, width).

    resolutions : (n_fft, hop_length) of each spectrogram branch; each branch, and that of the
        spectrum, makes 128 values of the width
    """
    wave = keras.Input((n_samples,))
    branches = [spectrum_branch(wave)]
    for number, (n_fft, hop_length) in enumerate(resolutions):
        levels = Spectrogram(n_fft, hop_length, sample_rate, name=f"spectrogram_{number}")(wave)
        branches.append(spectrogram_branch(levels, f"stft_layer_list.{number}.layer"))
    return keras.Model(wave, layers.Concatenate(name="embedding")(branches), name="extractor")


def smallest_length(resolutions: list[tuple[int, int]]) -> int:
    """Return the fewest samples of a clip that every branch can take."""
    bins = 1
    for kernel, stride in reversed(CONVOLUTIONS):
        bins = (bins - 1) * stride + kernel
    return max(2 * (bins - 1), *((FEWEST_FRAMES - 1) * hop for _, hop in resolutions))


def positions_left(n_samples: int) -> int:
    """Return how many positions the convolutions over the spectrum leave."""
    positions = n_samples // 2 + 1
    for kernel, stride in CONVOLUTIONS:
        positions = (positions - kernel) // stride + 1
    return positions


def kept_bins(n_fft: int, sample_rate: int) -> int:
    """Return how many bins of a spectrogram lie within 200 and 8000 Hz."""
    first, end = _kept(n_fft, sample_rate)
    return end - first


def _kept(n_fft: int, sample_rate: int) -> tuple[int, int]:
    frequencies = np.linspace(0, sample_rate // 2, n_fft // 2 + 1)
    first = np.searchsorted(frequencies, LOWEST, side="left")
    return int(first), int(np.searchsorted(frequencies, HIGHEST, side="right"))


class Spectrum(layers.Layer):
    """Magnitudes of the Fourier transform of whole clips: (batch, n) → (batch, n // 2 + 1, 1)."""

    def call(self, wave: tf.Tensor) -> tf.Tensor:
        return tf.abs(tf.signal.rfft(wave))[..., None]


class Spectrogram(layers.Layer):
    """Magnitudes in the bins of 200 to 8000 Hz: (batch, n_samples) → (batch, frames, bins).

    The window is a periodic Hann window; zeros lie before and after a clip. Magnitudes are divided
    by the root of the sum of the squared window.
    """

    def __init__(self, n_fft: int, hop_length: int, sample_rate: int, name: str):
        super().__init__(name=name)
        self.n_fft, self.hop_length = n_fft, hop_length
        self.first, self.end = _kept(n_fft, sample_rate)
        # The sum of the squares of a periodic Hann window of length n is 3 n / 8.
        self.root = math.sqrt(3 * n_fft / 8)

    def call(self, wave: tf.Tensor) -> tf.Tensor:
        around = self.n_fft // 2
        padded = tf.pad(wave, [(0, 0), (around, around)])
        spectrum = tf.signal.stft(padded, self.n_fft, self.hop_length)
        return tf.abs(spectrum[..., self.first : self.end]) / self.root


class MaxPool(layers.Layer):
    """The largest of 3 × 3 values, of every other row and column, as PyTorch's with padding 1."""

    def call(self, x: tf.Tensor) -> tf.Tensor:
        # Keras pads even sizes at the end only.
        return tf.nn.max_pool2d(x, 3, 2, [(0, 0), (1, 1), (1, 1), (0, 0)])

    def compute_output_shape(self, shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        batch, height, width, channels = shape
        return batch, (height + 1) // 2, (width + 1) // 2, channels


def spectrum_branch(wave: keras.KerasTensor) -> keras.KerasTensor:
    """Apply convolutions over frequency, and dense layers: (batch, n_samples) → (batch, 128)."""
    place = "fft_layer.layer"
    h = Spectrum(name="spectrum")(wave)  # (batch, bins, 1)
    for number, (kernel, stride) in enumerate(CONVOLUTIONS):
        at = f"{place}.conv1d_layer.{{}}"
        h = layers.Conv1D(
            WIDTH,
            kernel,
            stride,
            use_bias=False,
            kernel_initializer=torch_uniform(kernel * h.shape[-1]),
            name=at.format(3 * number),
        )(h)
        h = layers.ReLU(name=f"{place}.relu_{number}")(h)
        h = squeeze_and_excite(h, at.format(3 * number + 2))
    h = layers.Flatten()(layers.Permute((2, 1))(h))  # a channel after the other
    h = dense(h, WIDTH, f"{place}.aggregate_layer.1")
    h = ops.relu(batch_norm(f"{place}.aggregate_layer.2")(h))
    for number in range(0, 12, 3):
        h = dense(h, WIDTH, f"{place}.last_layer.{number}")
        h = ops.relu(batch_norm(f"{place}.last_layer.{number + 1}")(h))
    return dense(h, WIDTH, f"{place}.last_layer.12")


def spectrogram_branch(levels: keras.KerasTensor, place: str) -> keras.KerasTensor:
    """Apply a residual network to a spectrogram: (batch, frames, bins) → (batch, 128)."""
    h = batch_norm(f"{place}.bn_freq")(levels)
    h = layers.Permute((2, 1))(h)
    h = layers.Reshape((*h.shape[1:], 1))(h)  # (batch, bins, frames, 1)
    h = conv2d(h, STAGES[0], 7, 2, f"{place}.layers.0.layer.0")
    h = ops.relu(batch_norm(f"{place}.layers.0.layer.1")(h))
    h = layers.MaxPooling2D(3, 2, name=f"{place}.layers.0")(h)
    for stage, channels in enumerate(STAGES, start=1):
        for number in range(2):
            at = f"{place}.layers.{stage}.{number}"
            h = residual_block(h, channels, 2 if stage > 1 and not number else 1, at)
    h = layers.Permute((2, 1), name=f"{place}.max")(ops.max(h, axis=2))
    h = batch_norm(f"{place}.aggregate_layer.1")(layers.Flatten()(h))  # a channel after the other
    return dense(h, WIDTH, f"{place}.aggregate_layer.2")


def residual_block(
    h: keras.KerasTensor, channels: int, stride: int, place: str
) -> keras.KerasTensor:
    """Add two convolutions to what the first batch normalisation made, not to the input.

    place : of the block; its output has this name
    """
    h = batch_norm(f"{place}.bn")(h)
    y = conv2d(ops.relu(h), channels, 3, stride, f"{place}.layer.1")
    y = ops.relu(batch_norm(f"{place}.layer.2")(y))
    y = conv2d(y, channels, 3, 1, f"{place}.layer.4")
    y = squeeze_and_excite(y, f"{place}.additional_layer")
    if stride > 1:
        h = MaxPool(name=f"{place}.skip_connect.0")(h)
        h = conv2d(h, channels, 1, 1, f"{place}.skip_connect.1")
    return layers.Add(name=place)([h, y])


def squeeze_and_excite(h: keras.KerasTensor, place: str) -> keras.KerasTensor:
    """Multiply every channel by a gate of the means of all channels; `place` names the output."""
    channels = h.shape[-1]
    gate = ops.mean(h, axis=tuple(range(1, len(h.shape) - 1)), keepdims=True)
    gate = ops.relu(dense(gate, channels // SQUEEZE, f"{place}.layer1.0"))
    gate = ops.sigmoid(dense(gate, channels, f"{place}.layer2.0"))
    return layers.Multiply(name=place)([h, gate])


def dense(h: keras.KerasTensor, width: int, name: str) -> keras.KerasTensor:
    """Apply a dense layer without bias that starts as PyTorch's."""
    start = torch_uniform(h.shape[-1])
    return layers.Dense(width, use_bias=False, kernel_initializer=start, name=name)(h)


def conv2d(
    h: keras.KerasTensor, channels: int, kernel: int, stride: int, name: str
) -> keras.KerasTensor:
    """Apply a convolution without bias; one of 3 × 3 pads by 1 on every side, as in PyTorch."""
    if kernel == 3 and stride > 1:
        h = layers.ZeroPadding2D(1)(h)
    return layers.Conv2D(
        channels,
        kernel,
        stride,
        padding="same" if kernel == 3 and stride == 1 else "valid",
        use_bias=False,
        kernel_initializer=torch_uniform(kernel**2 * h.shape[-1]),
        name=name,
    )(h)


def batch_norm(name: str) -> BatchNorm:
    """Return PyTorch's batch normalisation without gain and bias."""
    return BatchNorm(torch=True, momentum=0.9, epsilon=1e-5, center=False, scale=False, name=name)


class SubClusterAdaCos(layers.Layer):
    """Log probabilities of classes, from cosines to several centres of each.

    The probability of a class is the sum of those of its centres. The scale of the cosines is
    fixed, √2 · ln(centres - 1).

    Parameters
    ----------
    classes : how many classes
    sub_clusters : centres per class; with 1 it is AdaCos, and the usual cross-entropy
    trained : centres are trained; otherwise they stay where they start
    """

    def __init__(self, classes: int, sub_clusters: int, trained: bool):
        super().__init__(name="head")
        self.classes, self.sub_clusters, self.trained = classes, sub_clusters, trained
        self.scale = math.sqrt(2) * math.log(max(2, classes * sub_clusters) - 1)

    def build(self, shape: tuple[int | None, ...]) -> None:
        self.centres = self.add_weight(
            shape=(shape[-1], self.classes * self.sub_clusters),
            initializer="glorot_uniform",
            trainable=self.trained,
            name="centres",
        )

    def call(self, embedding: tf.Tensor) -> tf.Tensor:
        """Return log probabilities (batch, classes) of embeddings (batch, width)."""
        cosines = tf.matmul(
            tf.math.l2_normalize(embedding, axis=1, epsilon=1e-24),
            tf.math.l2_normalize(self.centres, axis=0, epsilon=1e-24),
        )
        logits = tf.reshape(self.scale * cosines, (-1, self.classes, self.sub_clusters))
        total = tf.reduce_logsumexp(logits, axis=(1, 2))
        return tf.reduce_logsumexp(logits, axis=2) - total[:, None]
