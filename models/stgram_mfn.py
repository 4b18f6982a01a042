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
from models.classifier import Classifier, too_few_classes, unknown_sections
from models.embedding_system import OptionalBackEnd
from models.layers import Adam, torch_dense, torch_variables
from models.stgram_networks import ArcFace, stgram
from models.waveform import WaveformSystem

SMALLEST_VARIANCE = 1e-3  # added to the covariances of the Gaussian mixtures


class STgramMFN(OptionalBackEnd, WaveformSystem, Classifier):
    """Tells the sections of all machine types apart; what it takes for another is anomalous.

    One network for all machine types: a class is a section of a machine type. A clip is one
    window, cut or filled up with zeros to `seconds`; its log-mel image is computed in the step,
    from the same samples.

    Score of a clip: minus the log softmax of the logits at the clip's own class. They are ArcFace's
    margin logits, or without `use_arcface` those of a linear layer with a bias. With `gmm`
    components, a Gaussian mixture is fitted to the training embeddings of every class (to
    normalised ones with ArcFace); the score is minus the log density of its likeliest component.
    With a back end: that of the same embeddings.

    Quirks of the release that are followed:
    1. The margin makes the own class's logit smaller in scoring too.
    2. The weights of the mixture do not count.
    3. The cosine schedule is as long as the training but starts late, so the training ends first.
    4. With ArcFace the plain output layer, which is in its checkpoints, is unused.
    """

    values_per_scoring_batch = 2**18
    constant_weights = True

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
        self.arcface = self.classifier = None
        width = self.embed.output.shape[-1]
        if net.use_arcface:
            self.arcface = ArcFace(len(sections), net.sub_centers, net.margin, net.scale)
            self.arcface.build((None, width))
        else:
            self.classifier = torch_dense(len(sections), width, "mobilefacenet-fc_out")
            self.classifier.build((None, width))
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
        few = too_few_classes(run, trained)
        reasons = [few] if few else []
        unknown = unknown_sections(run, trained, scored)
        if unknown:
            reasons.append(
                f"{', '.join(unknown)} was not trained on; train again with its clips, and without "
                "--machine or with all that are to be scored"
            )
        return reasons

    def call(self, inputs: tuple[tf.Tensor, ...], training: bool = False) -> tf.Tensor:
        """Return logits (batch, classes), of (wave, mel, class); see `stgram`, `ArcFace`."""
        wave, mel, label = inputs
        embedding = self.embed([wave, mel], training=training)
        return self.arcface(embedding, label) if self.arcface else self.classifier(embedding)

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
        """Raise BadInput for a class with fewer clips than Gaussians, or with a single one."""
        if not self.gmm:
            return
        count = np.bincount(self.section_index(frames), minlength=len(self.section_names))
        few = np.flatnonzero(count < max(2, self.gmm))
        if len(few):
            raise BadInput(
                f"stgram_mfn: network.gmm is {self.gmm}, and {self.section_names[few[0]]} has "
                f"fewer training clips, or one ({count[few[0]]}); lower it, or set it to 0"
            )

    def fit_statistics(self, frames: Frames) -> None:
        self.check_mixtures(frames)
        if self.gmm:
            self.fit_mixtures(self.embeddings(frames), self.section_index(frames))
        self.fit_back_ends(frames)

    @classmethod
    def missing_without_training_clips(cls, run: SystemSettings) -> str:
        gmm = run.network.gmm
        return f"the Gaussian mixtures of the scores (network.gmm is {gmm})" if gmm else ""

    def embeddings(self, frames: Frames) -> np.ndarray:
        """Return embeddings of clips, with ArcFace of unit length: (n_clips, 128)."""
        starts, owner = self.windows(frames, self.n_frames)
        return self.all_window_scores(frames, starts, owner, self.window_embeddings)

    def window_embeddings(self, windows: tf.Tensor, section: tf.Tensor) -> tf.Tensor:
        embedding = self.embed([windows, self.log_mel(windows)])
        return tf.math.l2_normalize(embedding, axis=-1) if self.arcface else embedding

    def fit_mixtures(self, embeddings: np.ndarray, classes: np.ndarray) -> None:
        """Fit one Gaussian mixture per class to embeddings (n_clips, 128).

        With one sub-centre of ArcFace per component it starts from these.
        """
        from sklearn.mixture import GaussianMixture

        starts: list[np.ndarray | None] = [None] * len(self.section_names)
        if self.arcface and self.arcface.sub == self.gmm:
            centres = tf.math.l2_normalize(self.arcface.centres, axis=-1).numpy()
            starts = np.split(centres, len(starts))
        fitted = []
        for index, start in enumerate(starts):
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

    def class_window_scores(self, windows: tf.Tensor) -> tf.Tensor:
        embedding = self.embed([windows, self.log_mel(windows)])

        def of_class(index: int) -> tf.Tensor:
            own = tf.fill(tf.shape(embedding)[:1], tf.constant(index, tf.int64))
            logits = self.arcface(embedding, own) if self.arcface else self.classifier(embedding)
            return tf.nn.sparse_softmax_cross_entropy_with_logits(own, logits)

        classes = range(len(self.section_names))
        return tf.stack([of_class(index) for index in classes], axis=1)  # (batch, classes)

    def class_scores(self, frames: Frames) -> np.ndarray:
        if not self.gmm:
            return super().class_scores(frames)
        classes = range(len(self.section_names))
        embeddings = self.embeddings(frames)
        return np.array([[-self.log_density(x, c).max() for c in classes] for x in embeddings])

    def windows(self, frames: Frames, hop: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the one window of every clip."""
        return frames.first, np.arange(len(frames.clips))

    def own_score(self, frames: Frames) -> np.ndarray:
        """Return anomaly scores of clips: (n_clips,) float64."""
        if not self.gmm:
            return super().own_score(frames)
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
        """Return the class that each clip is scored by (n_clips,).

        Raises BadInput for a section that was not trained on.
        """
        index = super().section_index(frames)
        if (index < 0).any():
            scored = [self.settings.class_name(clip) for clip in frames.clips]
            reasons = self.incompatibilities(self.settings, self.section_names, scored)
            raise BadInput("\n".join(reasons))
        return index

    def get_extra_state(self) -> dict[str, np.ndarray]:
        own = {"gmm_means": self.means, "gmm_cholesky": self.cholesky} if self.gmm else {}
        return own | super().get_extra_state()

    def set_extra_state(self, arrays: dict[str, np.ndarray]) -> None:
        super().set_extra_state(arrays)
        if self.gmm and arrays:
            self.means, self.cholesky = arrays["gmm_means"], arrays["gmm_cholesky"]

    def checkpoint_variables(self) -> Variables:
        """Return names as in the release: mobilefacenet.blocks.0.conv.3.weight, ..."""
        if self.arcface:
            names: Variables = {"arcface.weight": (self.arcface.centres, None)}
            for kind, shape in (("weight", (len(self.section_names), 128)), ("bias", None)):
                unused = np.zeros(shape or len(self.section_names), np.float32)
                names[f"mobilefacenet.fc_out.{kind}"] = (
                    keras.Variable(unused, trainable=False),
                    None,
                )
        else:
            names = torch_variables(self.classifier, "mobilefacenet.fc_out")
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
            "network.use_arcface": "arcface.weight" in tensors,
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
