"""Anomaly Transformer on log-mel frames.

Sources: Xu et al., "Anomaly Transformer: Time Series Anomaly Detection with Association
Discrepancy", ICLR 2022 (arXiv 2110.02642); thuml/Anomaly-Transformer (MIT), PyTorch.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar

import keras
import numpy as np
import tensorflow as tf
from keras import initializers, layers, ops

from checkpoints.assign import Variables
from checkpoints.inferred_settings import (
    InferredSettings,
    Tensors,
    check_network_size,
    depth_of,
    size_of,
)
from core.run_settings import SystemSettings
from data.frames import Frames
from models.base import System
from models.callbacks import Resume
from models.layers import Adam, torch_dense, torch_start, torch_variables

INSIDE_LOG = 1e-4


class AnomalyTransformer(System):
    """Rebuilds a window; a frame rebuilt badly that attends only to its neighbours is anomalous.

    Every attention layer gives two distributions over the window for each frame and head: the
    series association, its attention, and the prior association, a Gaussian over the distance
    with a learnt width. Their distance is the association discrepancy. It is small for anomalies,
    which find nothing like themselves far away. The training pulls at it from both sides: the
    attention away from the prior, the prior towards the attention.

    Score of a frame: the squared error, mean over the mel bins, times the softmax over the window
    of minus the discrepancy (times `temperature`). Score of a clip: the mean over its frames.

    Quirks of the release that are followed:
    1. The two losses share one Adam step.
    2. The learning rate is halved every epoch, but from the third on.
    3. The discrepancy of the losses is averaged over the layers, the one of the score summed.
    """

    uses_xla = True
    loss_names = ("loss", "series_loss", "prior_loss", "loss1", "loss2")
    # Inside, a window also has n_frames ** 2 values per head and layer, several times over.
    values_per_scoring_batch = 2**17

    def __init__(self, run: SystemSettings, sections: list[str]):
        super().__init__(run, sections)
        settings = dict(run.network)
        self.k = settings.pop("k")
        self.temperature = settings.pop("temperature")
        self.standardise = settings.pop("standardise")
        # Saved and loaded with the weights of the network.
        self.mean = self.add_weight(
            shape=(self.n_mels,), initializer="zeros", trainable=False, name="mean"
        )
        self.deviation = self.add_weight(
            shape=(self.n_mels,), initializer="ones", trainable=False, name="deviation"
        )
        self.network = transformer(self.n_frames, self.n_mels, **settings)
        self.compile(Adam(run.fit, torch=True), jit_compile=False)

    def call(self, x: tf.Tensor, training: bool = False) -> list[tf.Tensor]:
        """Run the network on standardised windows; returns as `transformer`."""
        return self.network(x, training=training)

    def standard(self, windows: tf.Tensor) -> tf.Tensor:
        """Return windows standardised per mel bin, by the training frames."""
        return (windows - self.mean) / self.deviation

    def compute_losses(self, x: tf.Tensor, training: bool) -> dict[str, tf.Tensor]:
        """Return the losses of standardised windows x (batch, n_frames, n_mels), by name."""
        output, series, prior, _ = self(x, training=training)
        prior = prior / tf.reduce_sum(prior, axis=-1, keepdims=True)
        fixed_series, fixed_prior = tf.stop_gradient(series), tf.stop_gradient(prior)
        error = tf.reduce_mean(tf.square(output - x))
        from_series = divergence(series, fixed_prior) + divergence(fixed_prior, series)
        from_prior = divergence(prior, fixed_series) + divergence(fixed_series, prior)
        series_loss, prior_loss = tf.reduce_mean(from_series), tf.reduce_mean(from_prior)
        loss1, loss2 = error - self.k * series_loss, error + self.k * prior_loss
        return {
            "loss": error,
            "series_loss": series_loss,
            "prior_loss": prior_loss,
            "loss1": loss1,
            "loss2": loss2,
        }

    def train_step(self, data: tuple[tf.Tensor, tf.Tensor]) -> dict[str, tf.Tensor]:
        x = self.standard(self.gather_windows(self.frames, data[0]))
        with tf.GradientTape() as tape:
            losses = self.compute_losses(x, training=True)
            both = losses["loss1"] + losses["loss2"]
        variables = self.trainable_variables
        self.optimizer.apply_gradients(zip(tape.gradient(both, variables), variables, strict=True))
        return self.update_losses(losses)

    def test_step(self, data: tuple[tf.Tensor, tf.Tensor]) -> dict[str, tf.Tensor]:
        x = self.standard(self.gather_windows(self.frames, data[0]))
        return self.update_losses(self.compute_losses(x, training=False))

    def callbacks(self) -> list[keras.callbacks.Callback]:
        def halve(epoch: int, logs: dict | None = None) -> None:
            self.optimizer.learning_rate = self.settings.fit.lr * 0.5 ** max(0, epoch - 1)

        return [keras.callbacks.LambdaCallback(on_epoch_begin=halve)]

    def train(
        self, frames: Frames, title: str = "train", resume: Resume | None = None
    ) -> dict[str, list[float]]:
        self.fit_statistics(frames)
        return super().train(frames, title, resume)

    def fit_statistics(self, frames: Frames) -> None:
        if self.standardise:
            mean, deviation = moments(frames)
            self.mean.assign(mean)
            self.deviation.assign(deviation)

    @classmethod
    def missing_without_training_clips(cls, run: SystemSettings) -> str:
        if not run.network.standardise:
            return ""
        return (
            "mean and deviation of the training frames (network.standardise), without which no "
            "score can be given"
        )

    def energy(self, x: tf.Tensor) -> tf.Tensor:
        """Return scores of the frames of standardised windows: (batch, n_frames)."""
        output, series, prior, _ = self(x)
        prior = prior / tf.reduce_sum(prior, axis=-1, keepdims=True)
        discrepancy = divergence(series, prior) + divergence(prior, series)
        discrepancy = tf.reduce_sum(tf.reduce_mean(discrepancy, axis=2), axis=0)
        error = tf.reduce_mean(tf.square(x - output), axis=-1)  # (batch, n_frames)
        return tf.nn.softmax(-self.temperature * discrepancy, axis=-1) * error

    def window_scores(self, windows: tf.Tensor, section: tf.Tensor) -> tf.Tensor:
        return tf.reduce_mean(self.energy(self.standard(windows)), axis=-1)  # (batch,)

    def frame_scores(self, frames: Frames) -> list[np.ndarray]:
        """Return the score of every frame of every clip.

        The windows follow one another without overlap, and the last one ends with the clip; a
        frame that therefore lies in two windows has the mean of its scores in them.
        """
        within = [
            np.unique(np.append(np.arange(0, count - self.n_frames, self.n_frames), last))
            for count, last in zip(frames.count, frames.count - self.n_frames, strict=True)
        ]
        starts = np.concatenate(
            [first + at for first, at in zip(frames.first, within, strict=True)]
        )
        energies = iter(
            self.all_window_scores(
                frames,
                starts,
                np.zeros(len(starts), np.int64),
                lambda windows, _: self.energy(self.standard(windows)),
            )
        )
        scores = []
        for count, places in zip(frames.count, within, strict=True):
            total, times = np.zeros(count), np.zeros(count)
            for at in places:
                total[at : at + self.n_frames] += next(energies)
                times[at : at + self.n_frames] += 1
            scores.append(total / times)
        return scores

    def score(self, frames: Frames) -> np.ndarray:
        """Return anomaly scores of clips (n_clips,) float64, the mean over each clip's frames."""
        return np.array([scores.mean() for scores in self.frame_scores(frames)])

    def checkpoint_variables(self) -> Variables:
        """Return names as in the release: encoder.attn_layers.0.norm1.weight, ..."""
        get = self.network.get_layer
        names = torch_variables(get("token"), "embedding.value_embedding.tokenConv")
        for number in range(self.settings.network.n_layers):
            at = f"encoder.attn_layers.{number}"
            attention = get(f"attention_{number}")
            # The release has a layer norm here that it never applies.
            width = (self.settings.network.d_model,)
            for kind in ("weight", "bias"):
                unused = keras.Variable(np.zeros(width, np.float32), trainable=False)
                names[f"{at}.attention.norm.{kind}"] = (unused, None)
            for kind in ("query", "key", "value", "sigma", "out"):
                projection = getattr(attention, kind)
                names |= torch_variables(projection, f"{at}.attention.{kind}_projection")
            for kind in ("conv1", "conv2", "norm1", "norm2"):
                names |= torch_variables(get(f"{kind}_{number}"), f"{at}.{kind}")
        names |= torch_variables(get("norm"), "encoder.norm")
        return names | torch_variables(get("projection"), "projection")

    marks: ClassVar[tuple[str, ...]] = ("embedding.value_embedding.tokenConv.weight",)

    @classmethod
    def infer_settings(cls, tensors: Tensors, run: SystemSettings) -> InferredSettings:
        layer, token = r"encoder\.attn_layers\.\d+\.", r".*tokenConv\.weight"
        norms = rf"encoder\.norm\.\w+|{layer}norm[12]\.\w+"
        d_model = size_of(tensors, (0, f"{norms}|{token}"))
        inside = ((0, layer + r"conv1\.\w+"), (1, layer + r"conv2\.weight"))
        codes = "embedding.position_embedding.pe"  # the same in every checkpoint: not trained
        if codes in tensors:
            if not _are_position_codes(tensors[codes], d_model or 0):
                raise ValueError(f"{codes} holds others than the sinusoidal position codes")
            tensors = {name: tensor for name, tensor in tensors.items() if name != codes}
        values = {
            "feature.n_mels": size_of(tensors, (1, token), (0, r"projection\.\w+")),
            "network.d_model": d_model,
            "network.heads": size_of(tensors, (0, layer + r"attention\.sigma_projection\.\w+")),
            "network.n_layers": depth_of(tensors, r"encoder\.attn_layers\.(\d+)\.") or None,
            "network.d_ff": size_of(tensors, *inside),
        }
        width, inner = d_model or 1, values["network.d_ff"] or 1
        n_layers = values["network.n_layers"] or 1
        check_network_size(tensors, n_layers * (4 * width**2 + 2 * width * inner))
        return InferredSettings(tensors, values)


def _are_position_codes(codes: np.ndarray, d_model: int) -> bool:
    """Say whether an array is (1, positions, d_model) sines and cosines, in turn."""
    if codes.ndim != 3 or codes.shape[0] != 1 or codes.shape[2] != d_model or d_model % 2:
        return False
    expected = positions(codes.shape[1], d_model)
    return bool(np.abs(codes[0] - expected).max() < 1e-2)  # float32 angles of up to 5000


class AnomalyAttention(layers.Layer):
    """Attention that also returns its series and its prior association.

    Returns, of x (batch, n_frames, d_model):

    output : (batch, n_frames, d_model)
    series : (batch, heads, n_frames, n_frames), rows that sum to 1
    prior : the same shape, densities of the Gaussian at the distances, not normalised
    sigma : (batch, heads, n_frames), its width, in (0, 2)
    """

    def __init__(self, d_model: int, heads: int, **kwargs: Any):
        super().__init__(**kwargs)
        self.heads, self.width = heads, d_model // heads
        self.query, self.key, self.value = (
            torch_dense(heads * self.width, d_model, name) for name in ("query", "key", "value")
        )
        self.sigma = torch_dense(heads, d_model, "sigma")
        self.out = torch_dense(d_model, heads * self.width, "out")

    def call(self, x: tf.Tensor) -> tuple[tf.Tensor, ...]:
        n_frames = x.shape[1]
        query, key, value = (
            tf.reshape(project(x), (-1, n_frames, self.heads, self.width))
            for project in (self.query, self.key, self.value)
        )  # (batch, n_frames, heads, width)
        likeness = tf.einsum("blhe,bshe->bhls", query, key) / math.sqrt(self.width)
        series = tf.nn.softmax(likeness, axis=-1)  # (batch, heads, n_frames, n_frames)
        sigma = tf.transpose(self.sigma(x), (0, 2, 1))  # (batch, heads, n_frames)
        sigma = power_of_3(tf.sigmoid(sigma * 5.0) + 1e-5) - 1.0
        at = tf.range(n_frames, dtype=x.dtype)
        distance = tf.abs(at[:, None] - at[None, :])
        wide = sigma[..., None]
        prior = tf.exp(-tf.square(distance) / 2.0 / tf.square(wide))
        prior = prior / (math.sqrt(2.0 * math.pi) * wide)  # (batch, heads, n_frames, n_frames)
        mixed = tf.einsum("bhls,bshd->blhd", series, value)
        mixed = tf.reshape(mixed, (-1, n_frames, self.heads * self.width))
        return self.out(mixed), series, prior, sigma


def transformer(
    n_frames: int, n_mels: int, d_model: int, heads: int, n_layers: int, d_ff: int
) -> keras.Model:
    """Return the network.

    Parameters
    ----------
    n_frames, n_mels : of a window
    d_model : width of a frame inside, even
    heads : of the attention; each has d_model // heads values
    n_layers : how many encoder layers
    d_ff : width between the two dense layers of an encoder layer

    Returns
    -------
    A model of (batch, n_frames, n_mels), giving the rebuilt window, and of every layer the
    series and prior associations (layers, batch, heads, n_frames, n_frames) and the prior's sigma
    (layers, batch, heads, n_frames).
    """
    x = keras.Input((n_frames, n_mels))
    # The window counts as a ring: its last frame stands before the first.
    ring = ops.concatenate([x[:, -1:], x, x[:, :1]], axis=1)  # (batch, n_frames + 2, n_mels)
    h = layers.Conv1D(
        d_model,
        3,
        use_bias=False,
        # PyTorch's Kaiming normal; the release leaves its slope at 0, whatever it names.
        kernel_initializer=initializers.VarianceScaling(2, "fan_in", "untruncated_normal"),
        name="token",
    )(ring)
    h = h + positions(n_frames, d_model)  # (batch, n_frames, d_model)
    associations = []
    for number in range(n_layers):
        attended, *of_layer = AnomalyAttention(d_model, heads, name=f"attention_{number}")(h)
        associations.append(of_layer)
        h = norm(f"norm1_{number}")(h + attended)
        wide = ops.gelu(pointwise(d_ff, d_model, f"conv1_{number}")(h), approximate=False)
        h = norm(f"norm2_{number}")(h + pointwise(d_model, d_ff, f"conv2_{number}")(wide))
    h = torch_dense(n_mels, d_model, "projection")(norm("norm")(h))  # (batch, n_frames, n_mels)
    return keras.Model(x, [h, *(ops.stack(kind) for kind in zip(*associations, strict=True))])


def positions(n_frames: int, d_model: int) -> np.ndarray:
    """Return sinusoidal position codes (n_frames, d_model) float32, sine and cosine by turns."""
    rate = np.exp(-math.log(10000.0) / d_model * np.arange(0, d_model, 2))
    angle = np.arange(n_frames)[:, None] * rate
    return np.stack([np.sin(angle), np.cos(angle)], axis=-1).reshape(n_frames, -1).astype("float32")


def norm(name: str) -> layers.Layer:
    """Return layer normalisation over the values of a frame, with PyTorch's epsilon."""
    return layers.LayerNormalization(epsilon=1e-5, name=name)


def pointwise(width: int, fan_in: int, name: str) -> layers.Layer:
    """Return a convolution over single frames that starts as PyTorch's."""
    return layers.Conv1D(width, 1, **torch_start(fan_in), name=name)


def power_of_3(x: tf.Tensor) -> tf.Tensor:
    """Return 3 ** x to the last bit: near x = 0 a narrow prior is what remains after minus 1."""
    return tf.cast(tf.pow(tf.constant(3.0, tf.float64), tf.cast(x, tf.float64)), x.dtype)


def divergence(p: tf.Tensor, q: tf.Tensor) -> tf.Tensor:
    """Return the Kullback-Leibler divergence over the last axis.

    INSIDE_LOG keeps the logarithms finite.
    """
    return tf.reduce_sum(p * (tf.math.log(p + INSIDE_LOG) - tf.math.log(q + INSIDE_LOG)), axis=-1)


def moments(frames: Frames) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and standard deviation of every mel bin over all frames: (n_mels,) float64.

    A bin that never changes has the deviation 1, so that it becomes 0.
    """
    total, squares = 0.0, 0.0
    for first, count in zip(frames.first, frames.count, strict=True):
        clip = np.asarray(frames.array[first : first + count], np.float64)
        total = total + clip.sum(axis=0)
        squares = squares + np.square(clip).sum(axis=0)
    n_frames = frames.count.sum()
    mean = total / n_frames
    deviation = np.sqrt(np.maximum(squares / n_frames - np.square(mean), 0))
    return mean, np.where(deviation > 1e-6 * (1 + np.abs(mean)), deviation, 1.0)
