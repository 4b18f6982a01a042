"""STgram-MFN: a spectrogram and a learnt "Tgram" of the waveform, classified by MobileFaceNet.

Sources: Liu et al., "Anomalous Sound Detection Using Spectral-Temporal Information Fusion",
ICASSP 2022 (arXiv 2201.05510); liuyoude/STgram-MFN, PyTorch.
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
from core.errors import BadInput
from core.run_settings import Feature, SystemSettings
from data.frames import Frames
from models.callbacks import Resume
from models.layers import Adam, torch_batch_norm, torch_uniform, torch_variables
from models.waveform import WaveformSystem

SMALLEST_VARIANCE = 1e-3  # added to the covariances of the Gaussian mixtures


class STgramMFN(WaveformSystem):
    """Tells the sections of all machine types apart; what it takes for another is anomalous.

    One network for all machine types: a class is a section of a machine type. A clip is one
    window, cut or filled up with zeros to `seconds`; its log-mel image is computed in the step,
    from the same samples.

    Score of a clip: minus the log softmax of ArcFace's margin logits at the clip's own class.
    With `gmm` components, a Gaussian mixture is fitted to the normalised training embeddings of
    every class, and the score is minus the log density of its likeliest component.

    Quirks of the release that are followed:
    1. The margin makes the own class's logit smaller in scoring too.
    2. The weights of the mixture do not count.
    3. The cosine schedule is as long as the training but starts late, so the training ends first.
    4. The classifier's plain output layer, in its checkpoints, is unused.
    """

    def __init__(self, run: SystemSettings, sections: list[str]):
        super().__init__(run, sections)
        net, feature = run.network, run.feature
        self.n_frames = round(net.seconds * feature.sample_rate)
        self.gmm = net.gmm
        self.means = self.cholesky = None
        self.embed = stgram(
            self.n_frames,
            feature.n_mels,
            feature.n_fft,
            feature.hop_length,
            net.bottlenecks,
        )
        self.arcface = ArcFace(len(sections), net.sub_centers, net.margin, net.scale)
        self.arcface.build((None, self.embed.output.shape[-1]))
        self.mel_matrix = mel_matrix(feature)
        self.compile(
            Adam(run.fit, torch=True),
            loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            jit_compile=False,
        )

    @classmethod
    def incompatibilities(
        cls, run: SystemSettings, trained: list[str], scored: list[str]
    ) -> list[str]:
        reasons = []
        if len(trained) < 2:
            reasons.append(
                f"it learns to tell sections apart, and there is only {', '.join(trained)}; "
                "train it on two or more sections or machine types"
            )
        unknown = ", ".join(sorted(set(scored) - set(trained)))
        if unknown:
            reasons.append(
                f"{unknown} was not trained on; train again with its clips, and without --machine "
                "or with all that are to be scored"
            )
        return reasons

    def call(self, inputs: tuple[tf.Tensor, ...], training: bool = False) -> tf.Tensor:
        """Return margin logits (batch, classes), of (wave, mel, class); see `stgram`, `ArcFace`."""
        wave, mel, label = inputs
        return self.arcface(self.embed([wave, mel], training=training), label)

    def training_pair(self, windows: tf.Tensor, section: tf.Tensor) -> tuple[Any, tf.Tensor]:
        return (windows, self.log_mel(windows), section), section

    def log_mel(self, wave: tf.Tensor) -> tf.Tensor:
        """Return what `data.audio.log_mel` does, of a batch.

        (batch, n_samples) → (batch, n_mels, frames)
        """
        feature = self.settings.feature
        around = feature.n_fft // 2
        kind = "REFLECT" if feature.pad_mode == "reflect" else "CONSTANT"
        padded = tf.pad(wave, [(0, 0), (around, around)], kind)
        spectrum = tf.signal.stft(padded, feature.n_fft, feature.hop_length)
        mel = tf.einsum("btf,mf->bmt", tf.abs(spectrum) ** feature.power, self.mel_matrix)
        levels = tf.math.log(tf.maximum(mel, feature.floor)) / math.log(10.0)
        levels = 20.0 / feature.power * levels
        if feature.top_db:
            loudest = tf.reduce_max(levels, axis=(1, 2), keepdims=True)
            levels = tf.maximum(levels, loudest - feature.top_db)
        return levels

    def callbacks(self) -> list[keras.callbacks.Callback]:
        fit = self.settings.fit

        def cosine(epoch: int, logs: dict | None = None) -> None:
            done = max(0, epoch - fit.schedule_start) / fit.epochs
            share = fit.lr_floor + (1 - fit.lr_floor) * (1 + math.cos(math.pi * done)) / 2
            self.optimizer.learning_rate = fit.lr * share

        return [keras.callbacks.LambdaCallback(on_epoch_begin=cosine)]

    def train(
        self, frames: Frames, title: str = "train", resume: Resume | None = None
    ) -> dict[str, list[float]]:
        self.check_mixtures(frames)
        history = super().train(frames, title, resume)
        self.fit_statistics(frames)
        return history

    def check_mixtures(self, frames: Frames) -> None:
        """Raise BadInput for a class with fewer clips than Gaussians."""
        count = np.bincount(self.section_index(frames), minlength=len(self.section_names))
        few = np.flatnonzero(count < self.gmm)
        if len(few):
            raise BadInput(
                f"stgram_mfn: network.gmm is {self.gmm}, and {self.section_names[few[0]]} has "
                "fewer training clips; lower it"
            )

    def fit_statistics(self, frames: Frames) -> None:
        self.check_mixtures(frames)
        if self.gmm:
            self.fit_mixtures(self.embeddings(frames), self.section_index(frames))

    @classmethod
    def missing_without_training_clips(cls, run: SystemSettings) -> str:
        gmm = run.network.gmm
        return f"the Gaussian mixtures of the scores (network.gmm is {gmm})" if gmm else ""

    def embeddings(self, frames: Frames) -> np.ndarray:
        """Return normalised embeddings of clips: (n_clips, 128)."""
        starts, owner = self.windows(frames, self.n_frames)
        return self.all_window_scores(frames, starts, owner, self.normal_embedding)

    def normal_embedding(self, windows: tf.Tensor, section: tf.Tensor) -> tf.Tensor:
        return tf.math.l2_normalize(self.embed([windows, self.log_mel(windows)]), axis=-1)

    def fit_mixtures(self, embeddings: np.ndarray, classes: np.ndarray) -> None:
        """Fit one Gaussian mixture per class to embeddings (n_clips, 128).

        With one sub-centre per component it starts from these.
        """
        from sklearn.mixture import GaussianMixture

        centres = self.arcface.centres.numpy().reshape(len(self.section_names), -1, 128)
        fitted = []
        for index in range(len(self.section_names)):
            start = centres[index] if centres.shape[1] == self.gmm else None
            if start is not None:
                start = start / np.linalg.norm(start, axis=-1, keepdims=True)
            fitted.append(
                GaussianMixture(
                    self.gmm,
                    means_init=start,
                    reg_covar=SMALLEST_VARIANCE,
                    random_state=self.settings.seed,
                ).fit(embeddings[classes == index])
            )
        self.means = np.stack([mixture.means_ for mixture in fitted])
        self.cholesky = np.stack([mixture.precisions_cholesky_ for mixture in fitted])

    def window_scores(self, windows: tf.Tensor, section: tf.Tensor) -> tf.Tensor:
        logits = self((windows, self.log_mel(windows), section))
        return tf.nn.sparse_softmax_cross_entropy_with_logits(section, logits)  # (batch,)

    def windows(self, frames: Frames, hop: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the one window of every clip."""
        return frames.first, np.arange(len(frames.clips))

    def score(self, frames: Frames) -> np.ndarray:
        """Return anomaly scores of clips: (n_clips,) float64."""
        if not self.gmm:
            return super().score(frames)
        classes = self.section_index(frames)
        pairs = zip(self.embeddings(frames), classes, strict=True)
        return np.array([-self.log_density(embedding, index).max() for embedding, index in pairs])

    def log_density(self, embedding: np.ndarray, index: int) -> np.ndarray:
        """Return that of an embedding for each component of a class's mixture: (components,)."""
        cholesky = self.cholesky[index]
        apart = np.einsum("kd,kde->ke", embedding - self.means[index], cholesky)
        log_det = np.log(np.diagonal(cholesky, axis1=1, axis2=2)).sum(axis=1)
        return log_det - (len(embedding) * math.log(2 * math.pi) + (apart**2).sum(axis=1)) / 2

    def section_index(self, frames: Frames) -> np.ndarray:
        """Return the class of each clip: (n_clips,)."""
        known = {name: index for index, name in enumerate(self.section_names)}
        return np.array([known[clip.machine_section] for clip in frames.clips], np.int64)

    def get_extra_state(self) -> dict[str, np.ndarray]:
        return {"gmm_means": self.means, "gmm_cholesky": self.cholesky} if self.gmm else {}

    def set_extra_state(self, arrays: dict[str, np.ndarray]) -> None:
        if self.gmm and arrays:
            self.means, self.cholesky = arrays["gmm_means"], arrays["gmm_cholesky"]

    def checkpoint_variables(self) -> Variables:
        """Return names as in the release: mobilefacenet.blocks.0.conv.3.weight, ..."""
        names: Variables = {"arcface.weight": (self.arcface.centres, None)}
        for kind, shape in (("weight", (len(self.section_names), 128)), ("bias", None)):
            unused = np.zeros(shape or len(self.section_names), np.float32)
            names[f"mobilefacenet.fc_out.{kind}"] = (
                keras.Variable(unused, trainable=False),
                None,
            )
        for layer in self.embed.layers:
            names |= torch_variables(layer, layer.name.replace("-", "."))
        return names

    marks: ClassVar[tuple[str, ...]] = ("arcface.weight", "tgramnet.conv_extrctor.weight")
    class_axes: ClassVar[dict[str, int]] = dict.fromkeys(
        ("arcface.weight", "mobilefacenet.fc_out.weight", "mobilefacenet.fc_out.bias"), 0
    )

    @classmethod
    def infer_settings(cls, tensors: Tensors, run: SystemSettings) -> InferredSettings:
        feature, seconds = run.feature, run.network.seconds
        centres = size_of(tensors, (0, r"arcface\.weight")) or 0
        classes = size_of(tensors, (0, r"mobilefacenet\.fc_out\.\w+"))
        classes = classes or centres // run.network.sub_centers
        frames = size_of(tensors, (0, r"tgramnet\.conv_encoder\.\d+\.0\.\w+"))
        if frames and round(seconds * feature.sample_rate) // feature.hop_length + 1 != frames:
            seconds = (frames - 1) * feature.hop_length / feature.sample_rate
        _check_bottlenecks(tensors, run.network.bottlenecks)
        mels = r"tgramnet\.(conv_extrctor|conv_encoder\.\d+\.2)\.weight"
        values = {
            "feature.n_mels": size_of(tensors, (0, mels)),
            "feature.n_fft": size_of(tensors, (2, r"tgramnet\.conv_extrctor\.weight")),
            "network.sub_centers": (centres // classes or None) if classes else None,
            "network.seconds": seconds,
        }
        check_network_size(tensors, frames or 1)
        return InferredSettings(tensors, values, classes=classes)

    @classmethod
    def chance_score(cls, run: SystemSettings, n_classes: int) -> float | None:
        return None if run.network.gmm else math.log(max(1, n_classes))


def _check_bottlenecks(tensors: Tensors, bottlenecks: list[list[int]]) -> None:
    """Raise ValueError where tensors and settings differ; no tensor shows the whole setting."""
    expected, published, width = [], [], 64
    for expansion, channels, repeats, _ in bottlenecks:
        for _ in range(repeats):
            expected.append([width, width * expansion, channels])
            width = channels
    for index in range(depth_of(tensors, r"mobilefacenet\.blocks\.(\d+)\.")):
        block = rf"mobilefacenet\.blocks\.{index}\.conv\."
        inner, outer = (size_of(tensors, (0, block + at)) for at in (r"[0-5]\.\w+", r"[67]\.\w+"))
        published.append([published[-1][2] if published else 64, inner, outer])
    if published != expected:
        raise ValueError(
            f"its bottlenecks widen and narrow as {published}, but those of the settings "
            f"{bottlenecks} as {expected}; say (expansion, channels, repeats, stride) with --set "
            "stgram_mfn.network.bottlenecks=[[...], ...]"
        )


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
        return tf.nn.relu(x) - self.slope * tf.nn.relu(-x)


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


def mel_matrix(feature: Feature) -> np.ndarray:
    """Return the mel filters of the settings: (n_mels, n_fft // 2 + 1) float32."""
    import librosa

    return librosa.filters.mel(
        sr=feature.sample_rate,
        n_fft=feature.n_fft,
        n_mels=feature.n_mels,
        htk=feature.mel_scale == "htk",
        norm=None if feature.mel_norm == "none" else feature.mel_norm,
    )
