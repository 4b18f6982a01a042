"""Discriminative embeddings of spectra and spectrograms, scored by a back end.

Sources: Fujimura et al., "ASDKit" (arXiv 2507.10264); Wilkinghoff, "Sub-Cluster AdaCos", EUSIPCO
2021; TakuyaFujimura/dcase-asd-toolkit, PyTorch: the recipes dis_spec_scac_trainable and
dis_multispec_scac_trainable.
"""

from __future__ import annotations

from collections import Counter
from typing import Any, ClassVar

import numpy as np
import tensorflow as tf

from checkpoints.assign import Variables
from checkpoints.inferred_settings import InferredSettings, Tensors, depth_of, size_of, sizes_of
from core.errors import BadInput
from core.log import logger
from core.run_settings import SystemSettings
from data.frames import Frames
from models.classifier import too_few_classes
from models.dis_networks import (
    SubClusterAdaCos,
    embedding_network,
    kept_bins,
    positions_left,
    problems_of,
    rows_left,
)
from models.embedding_system import EmbeddingSystem
from models.layers import Adam, torch_variables
from models.waveform import WaveformSystem

RELEASED_SECONDS = (10.0, 11.0, 12.0, 18.0)
SPECTROGRAMS = r"extractor\.stft_layer_list\.(\d+)\.layer\."


class DisSpec(EmbeddingSystem, WaveformSystem):
    """Learns to tell classes of clips apart; a clip far from the training clips is anomalous.

    One network for all machine types. A class is a section of a machine type with attributes and a
    domain. A clip is one window of `seconds`: a shorter one is repeated, of a longer one training
    takes a random part, and scoring the beginning. In training, clips are mixed with others of
    their batch, and so are their classes.

    Embedding of a clip: 128 values of its spectrum, then 128 of each of its spectrograms. Score:
    that of the back end, which each machine type has for itself.

    Quirks of the release that are followed:
    1. The path around the convolutions of a block begins after a batch normalisation.
    2. Weight decay acts on the centres of the classes too.
    3. The embedding is not normalised before the back end; its parts may differ in length.
    """

    def __init__(self, run: SystemSettings, sections: list[str]):
        super().__init__(run, sections)
        net, rate = run.network, run.feature.sample_rate
        if problems := problems_of(net, rate):
            raise BadInput("\n".join(f"{run.system}: {problem}" for problem in problems))
        self.n_frames = round(net.seconds * rate)
        self.extractor = embedding_network(net, rate)
        self.head = SubClusterAdaCos(len(sections), net.sub_clusters, net.train_centres)
        self.head.build(self.extractor.output.shape)
        self.compile(self.make_optimizer(), loss=cross_entropy, jit_compile=False)

    @classmethod
    def incompatibilities(
        cls, run: SystemSettings, trained: list[str], scored: list[str]
    ) -> list[str]:
        few = too_few_classes(run, trained)
        reasons = [few] if few else []
        reasons += problems_of(run.network, run.feature.sample_rate)
        if len(trained) * run.network.sub_clusters == 2:
            reasons.append(
                "with two classes and network.sub_clusters: 1 the scale of the loss is 0, and "
                "nothing can be learnt; set network.sub_clusters to 2 or more"
            )
        unknown = sorted(machine_types(run, scored) - machine_types(run, trained))
        if unknown and trained:
            reasons.append(
                f"{', '.join(unknown)} was not trained on; train again with its clips, and without "
                "--machine or with all that are to be scored"
            )
        return reasons

    @classmethod
    def check(cls, run: SystemSettings, machine_type: str, frames: Frames) -> None:
        """Raise BadInput as the back end does; say which classes have one clip."""
        super().check(run, machine_type, frames)
        counts = Counter(run.class_name(clip) for clip in frames.clips)
        single = sorted(name for name, count in counts.items() if count == 1)
        if single:
            logger.warning(
                "%s: %d of %d classes have one training clip, such as %s; the network can hardly "
                "learn what they have in common",
                run.system,
                len(single),
                len(counts),
                single[0],
            )

    def make_optimizer(self) -> Adam:
        fit = self.settings.fit
        return Adam(fit, torch=True, weight_decay=fit.weight_decay)

    def call(self, windows: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Return log probabilities (batch, classes), of samples (batch, n_samples)."""
        return self.head(self.extractor(windows, training=training))

    def train_step(self, data: tuple[tf.Tensor, ...]) -> dict[str, Any]:
        starts, *others = data
        return super().train_step((starts + self.crop_offsets(starts), *others))

    def crop_offsets(self, starts: tf.Tensor) -> tf.Tensor:
        """Return how far into each clip its training window begins: (batch,) as `starts`.

        starts : (batch,) the first sample of each clip
        """
        clip = tf.searchsorted(self.frames.first, starts)
        spare = tf.gather(self.frames.count, clip) - self.n_frames
        share = tf.random.stateless_uniform(tf.shape(starts), self.step_seeds()[0], dtype="float64")
        offset = tf.cast(share * tf.cast(spare + 1, share.dtype), starts.dtype)
        return tf.maximum(tf.zeros_like(starts), offset)

    def training_pair(self, windows: tf.Tensor, section: tf.Tensor) -> tuple[Any, tf.Tensor]:
        classes = tf.one_hot(section, len(self.section_names), dtype=windows.dtype)
        own, partner = self.mixing(tf.shape(windows)[0])
        own = tf.cast(own, windows.dtype)[:, None]

        def mixed(values: tf.Tensor) -> tf.Tensor:
            return own * values + (1 - own) * tf.gather(values, partner)

        return mixed(windows), mixed(classes)

    def mixing(self, batch: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Return the share of each clip in what it is mixed to, and the other clip: (batch,) each.

        It depends on the seed and the number of the step, and on nothing else.
        """
        _, *seeds = tf.unstack(self.step_seeds())
        share, decision = (tf.random.stateless_uniform([batch], seed) for seed in seeds[:2])
        partner = tf.random.experimental.stateless_shuffle(tf.range(batch), seed=seeds[2])
        return tf.where(decision < self.settings.fit.mixup, share, tf.ones_like(share)), partner

    def step_seeds(self) -> tf.Tensor:
        """Return four seeds of the step that is next: (4, 2)."""
        step = tf.cast(self.optimizer.iterations, tf.int32)
        return tf.random.split(tf.stack([self.settings.seed % 2**31, step]), 4)

    def windows(self, frames: Frames, hop: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the one window of every clip."""
        return frames.first, np.arange(len(frames.clips))

    def gather_windows(self, frames: Frames, starts: tf.Tensor) -> tf.Tensor:
        """Return the samples from some starts on; a clip that is shorter is repeated.

        (batch,) → (batch, n_samples)
        """
        first, end = frames.first, frames.first + frames.count

        def read(starts: np.ndarray) -> np.ndarray:
            clips = np.searchsorted(first, starts, side="right") - 1
            rows = [
                np.resize(frames.array[at : min(at + self.n_frames, end[clip]), 0], self.n_frames)
                for at, clip in zip(starts, clips, strict=True)
            ]
            return np.stack(rows)

        samples = tf.numpy_function(read, [starts], frames.array.dtype, stateful=False)
        return tf.cast(tf.ensure_shape(samples, (None, self.n_frames)), self.compute_dtype)

    def embeddings(self, frames: Frames) -> np.ndarray:
        """Return the embeddings of clips: (n_clips, width)."""
        starts, owner = self.windows(frames, self.n_frames)
        return self.all_window_scores(
            frames, starts, owner, lambda windows, _: self.extractor(windows, training=False)
        )

    def checkpoint_variables(self) -> Variables:
        """Return names as in the release: extractor.fft_layer.layer.last_layer.12.weight, ..."""
        names: Variables = {"head_dict.main.W": (self.head.centres, None)}
        for layer in self.extractor.layers:
            names |= torch_variables(layer, f"extractor.{layer.name}")
        return names

    class_axes: ClassVar[dict[str, int]] = {"head_dict.main.W": 1}
    scores_by_class: ClassVar[bool] = False

    @classmethod
    def recognises(cls, tensors: Tensors) -> bool:
        return "extractor.fft_layer.layer.last_layer.12.weight" in tensors and cls.has_branches(
            depth_of(tensors, SPECTROGRAMS)
        )

    @classmethod
    def has_branches(cls, count: int) -> bool:
        """Return whether a checkpoint with so many spectrogram branches is of this system."""
        return count == 1

    @classmethod
    def infer_settings(cls, tensors: Tensors, run: SystemSettings) -> InferredSettings:
        # A constant and the windows of the Fourier transforms, which are computed here.
        used = {
            name: tensor
            for name, tensor in tensors.items()
            if name != "head_dict.main.s" and not name.endswith(".window")
        }
        values = {
            "network.width": size_of(used, (0, r"extractor\.fft_layer\.layer\.last_layer\.0\.\w+")),
            "network.squeeze": _squeeze(used),
            "network.spectrograms": _spectrograms(used, run),
            "network.seconds": _seconds(used, run),
        }
        centres = size_of(used, (1, r"head_dict\.main\.W")) or 0
        if centres % run.network.sub_clusters:
            raise ValueError(
                f"its head has {centres} centres, which network.sub_clusters "
                f"{run.network.sub_clusters} does not divide"
            )
        return InferredSettings(used, values, classes=centres // run.network.sub_clusters)


class DisMultispec(DisSpec):
    """The same with three spectrograms instead of one."""

    @classmethod
    def has_branches(cls, count: int) -> bool:
        return count > 1


def cross_entropy(classes: tf.Tensor, log_probabilities: tf.Tensor) -> tf.Tensor:
    """Return the loss (batch,), of shares of classes and log probabilities (batch, classes)."""
    return -tf.reduce_sum(classes * log_probabilities, axis=-1)


def machine_types(run: SystemSettings, class_names: list[str]) -> set[str]:
    """Return the machine types of classes."""
    return {run.section_of(name).rpartition(" ")[0] for name in class_names}


def _squeeze(tensors: Tensors) -> int | None:
    """Return how many channels squeeze-and-excitation narrows to one value."""
    place = r"extractor\.fft_layer\.layer\.conv1d_layer\.\d+\.layer1\.0\.weight"
    narrow, wide = (size_of(tensors, (axis, place)) for axis in (0, 1))
    return wide // narrow if narrow and wide else None


def _spectrograms(tensors: Tensors, run: SystemSettings) -> list[list[int] | None]:
    """Return FFT and hop of each branch: what most of its tensors suit, first the settings' own.

    Others have a power of 2, and half of it as hop, as in the release.
    """
    rate, net = run.feature.sample_rate, run.network
    released = [[2**power, 2**power // 2] for power in range(6, 17)]
    chosen: list[list[int] | None] = []
    for number in range(depth_of(tensors, SPECTROGRAMS)):
        place = rf"extractor\.stft_layer_list\.{number}\.layer\."
        bins = sizes_of(tensors, 0, place + r"bn_freq\.\w+")
        flat = sizes_of(tensors, 0, place + r"aggregate_layer\.1\.\w+")
        flat += sizes_of(tensors, 1, place + r"aggregate_layer\.2\.weight")
        width = size_of(tensors, (0, place + r"aggregate_layer\.2\.weight")) or net.width

        def suited(
            pair: list[int], bins: list = bins, flat: list = flat, width: int = width
        ) -> int:
            kept = len(kept_bins(net, pair[0], rate))
            return bins.count(kept) + flat.count(width * rows_left(kept))

        best = max([*map(list, net.spectrograms[number : number + 1]), *released], key=suited)
        chosen.append(best if suited(best) else None)
    return chosen


def _seconds(tensors: Tensors, run: SystemSettings) -> float | None:
    """Return a length of clips that a checkpoint's tensors suit: the settings' or a released one.

    None where none of these does.
    """
    place = r"extractor\.fft_layer\.layer\.aggregate_layer\.1\.weight"
    width, values = (size_of(tensors, (axis, place)) for axis in (0, 1))
    if not width or not values:
        return None
    for seconds in (run.network.seconds, *RELEASED_SECONDS):
        n_samples = round(seconds * run.feature.sample_rate)
        if positions_left(run.network, n_samples) * width == values:
            return seconds
    return None
