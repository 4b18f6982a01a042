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

from core.embedding_settings import DisSpecNetwork
from models.layers import BatchNorm, torch_uniform

FEWEST_FRAMES = 36  # of a spectrogram, and as many bins, as in the release


def embedding_network(net: DisSpecNetwork, sample_rate: int) -> keras.Model:
    """Return the network up to the embedding: (batch, n_samples) → (batch, width).

    The branch of the spectrum, and each one of a spectrogram, makes `net.width` values of it.
    """
    wave = keras.Input((round(net.seconds * sample_rate),))
    branches = [spectrum_branch(wave, net)]
    for number, (n_fft, hop_length) in enumerate(net.spectrograms):
        kept = kept_bins(net, n_fft, sample_rate)
        levels = Spectrogram(n_fft, hop_length, kept, name=f"spectrogram_{number}")(wave)
        branches.append(spectrogram_branch(levels, net, f"stft_layer_list.{number}.layer"))
    return keras.Model(wave, layers.Concatenate(name="embedding")(branches), name="extractor")


def problems_of(net: DisSpecNetwork, sample_rate: int) -> list[str]:
    """Return why no network can be made with these settings, one line per reason."""
    problems = []
    if net.width % 8 or net.width // 8 < net.squeeze:
        problems.append(
            f"network.width is {net.width}; expected a multiple of 8 that is {8 * net.squeeze} or "
            "more (8 times network.squeeze)"
        )
    n_samples = round(net.seconds * sample_rate)
    bins = 1
    for kernel, stride in reversed(net.convolutions):
        bins = (bins - 1) * stride + kernel
    hops = [hop_length for _, hop_length in net.spectrograms]
    shortest = max(2 * (bins - 1), (FEWEST_FRAMES - 1) * max(hops))
    if n_samples < shortest:
        problems.append(
            f"network.seconds is {net.seconds:g}, too short for network.convolutions and "
            f"network.spectrograms; expected {shortest / sample_rate:.3g} or more"
        )
    for n_fft, _ in net.spectrograms:
        kept = kept_bins(net, n_fft, sample_rate)
        if len(kept) < FEWEST_FRAMES:
            problems.append(
                f"network.spectrograms has an FFT of {n_fft}, which leaves {len(kept)} bins "
                f"between network.lowest and network.highest; expected {FEWEST_FRAMES} or more"
            )
    return problems


def positions_left(net: DisSpecNetwork, n_samples: int) -> int:
    """Return how many positions the convolutions over the spectrum of a clip leave."""
    positions = n_samples // 2 + 1
    for kernel, stride in net.convolutions:
        positions = (positions - kernel) // stride + 1
    return positions


def rows_left(bins: int) -> int:
    """Return how many rows a spectrogram branch leaves of so many bins."""
    rows = ((bins - 7) // 2 + 1 - 3) // 2 + 1
    for _ in range(3):
        rows = (rows + 1) // 2
    return rows


def kept_bins(net: DisSpecNetwork, n_fft: int, sample_rate: int) -> range:
    """Return the bins of a spectrogram that lie within the lowest and the highest frequency."""
    frequencies = np.linspace(0, sample_rate // 2, n_fft // 2 + 1)
    first = np.searchsorted(frequencies, net.lowest, side="left")
    return range(int(first), int(np.searchsorted(frequencies, net.highest, side="right")))


class Spectrum(layers.Layer):
    """Magnitudes of the Fourier transform of whole clips: (batch, n) → (batch, n // 2 + 1, 1)."""

    def call(self, wave: tf.Tensor) -> tf.Tensor:
        return tf.abs(tf.signal.rfft(wave))[..., None]


class Spectrogram(layers.Layer):
    """Magnitudes in some bins: (batch, n_samples) → (batch, frames, bins).

    The window is a periodic Hann window; zeros lie before and after a clip. Magnitudes are divided
    by the root of the sum of the squared window.
    """

    def __init__(self, n_fft: int, hop_length: int, kept: range, name: str):
        super().__init__(name=name)
        self.n_fft, self.hop_length, self.kept = n_fft, hop_length, kept
        # The sum of the squares of a periodic Hann window of length n is 3 n / 8.
        self.root = math.sqrt(3 * n_fft / 8)

    def call(self, wave: tf.Tensor) -> tf.Tensor:
        around = self.n_fft // 2
        padded = tf.pad(wave, [(0, 0), (around, around)])
        spectrum = tf.signal.stft(padded, self.n_fft, self.hop_length)
        return tf.abs(spectrum[..., self.kept.start : self.kept.stop]) / self.root


class MaxPool(layers.Layer):
    """The largest of 3 × 3 values, of every other row and column, as PyTorch's with padding 1."""

    def call(self, x: tf.Tensor) -> tf.Tensor:
        # Keras pads even sizes at the end only.
        return tf.nn.max_pool2d(x, 3, 2, [(0, 0), (1, 1), (1, 1), (0, 0)])

    def compute_output_shape(self, shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        batch, height, width, channels = shape
        return batch, (height + 1) // 2, (width + 1) // 2, channels


def spectrum_branch(wave: keras.KerasTensor, net: DisSpecNetwork) -> keras.KerasTensor:
    """Apply convolutions over frequency, and dense layers: (batch, n_samples) → (batch, width)."""
    place = "fft_layer.layer"
    h = Spectrum(name="spectrum")(wave)  # (batch, bins, 1)
    for number, (kernel, stride) in enumerate(net.convolutions):
        at = f"{place}.conv1d_layer.{{}}"
        h = layers.Conv1D(
            net.width,
            kernel,
            stride,
            use_bias=False,
            kernel_initializer=torch_uniform(kernel * h.shape[-1]),
            name=at.format(3 * number),
        )(h)
        h = layers.ReLU(name=f"{place}.relu_{number}")(h)
        h = squeeze_and_excite(h, net.squeeze, at.format(3 * number + 2))
    h = layers.Flatten()(layers.Permute((2, 1))(h))  # a channel after the other
    h = dense(h, net.width, f"{place}.aggregate_layer.1")
    h = ops.relu(batch_norm(f"{place}.aggregate_layer.2")(h))
    for number in range(0, 12, 3):
        h = dense(h, net.width, f"{place}.last_layer.{number}")
        h = ops.relu(batch_norm(f"{place}.last_layer.{number + 1}")(h))
    return dense(h, net.width, f"{place}.last_layer.12")


def spectrogram_branch(
    levels: keras.KerasTensor, net: DisSpecNetwork, place: str
) -> keras.KerasTensor:
    """Apply a residual network to a spectrogram: (batch, frames, bins) → (batch, width)."""
    stages = [net.width // 8, net.width // 4, net.width // 2, net.width]
    h = batch_norm(f"{place}.bn_freq")(levels)
    h = layers.Permute((2, 1))(h)
    h = layers.Reshape((*h.shape[1:], 1))(h)  # (batch, bins, frames, 1)
    h = conv2d(h, stages[0], 7, 2, f"{place}.layers.0.layer.0")
    h = ops.relu(batch_norm(f"{place}.layers.0.layer.1")(h))
    h = layers.MaxPooling2D(3, 2, name=f"{place}.layers.0")(h)
    for stage, channels in enumerate(stages, start=1):
        for number in range(2):
            at = f"{place}.layers.{stage}.{number}"
            stride = 2 if stage > 1 and not number else 1
            h = residual_block(h, channels, stride, net.squeeze, at)
    h = layers.Permute((2, 1), name=f"{place}.max")(ops.max(h, axis=2))
    h = batch_norm(f"{place}.aggregate_layer.1")(layers.Flatten()(h))  # a channel after the other
    return dense(h, net.width, f"{place}.aggregate_layer.2")


def residual_block(
    h: keras.KerasTensor, channels: int, stride: int, squeeze: int, place: str
) -> keras.KerasTensor:
    """Add two convolutions to what the first batch normalisation made, not to the input.

    place : of the block; its output has this name
    """
    h = batch_norm(f"{place}.bn")(h)
    y = conv2d(ops.relu(h), channels, 3, stride, f"{place}.layer.1")
    y = ops.relu(batch_norm(f"{place}.layer.2")(y))
    y = conv2d(y, channels, 3, 1, f"{place}.layer.4")
    y = squeeze_and_excite(y, squeeze, f"{place}.additional_layer")
    if stride > 1:
        h = MaxPool(name=f"{place}.skip_connect.0")(h)
        h = conv2d(h, channels, 1, 1, f"{place}.skip_connect.1")
    return layers.Add(name=place)([h, y])


def squeeze_and_excite(h: keras.KerasTensor, squeeze: int, place: str) -> keras.KerasTensor:
    """Multiply every channel by a gate of the means of all channels; `place` names the output."""
    channels = h.shape[-1]
    gate = ops.mean(h, axis=tuple(range(1, len(h.shape) - 1)), keepdims=True)
    gate = ops.relu(dense(gate, channels // squeeze, f"{place}.layer1.0"))
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
