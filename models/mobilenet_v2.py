"""MobileNetV2 section classifier: the second official baseline of DCASE2022 Task 2.

Source: Kota-Dohi/dcase2022_task2_baseline_mobile_net_v2 (MIT), Keras 2.8. The network: Sandler et
al., "MobileNetV2: inverted residuals and linear bottlenecks", arXiv 1801.04381.

Quirks of the official code:
1. Followed: training windows start every `n_hop_frames`, those of scored clips every frame.
2. Corrected: a misplaced parenthesis in the official training script makes its threshold belong to
   another score; here one score serves both.
3. A choice: a section that was not trained on is refused, or takes the last class
   (`unseen_section`). In the official code an empty slice makes its score NaN.
4. Followed: a clip's score is rounded to float32.
"""

from __future__ import annotations

import math
from typing import ClassVar

import keras
import numpy as np
import tensorflow as tf

from checkpoints.assign import Variables
from checkpoints.inferred_settings import InferredSettings, Tensors, size_of
from core.errors import BadInput
from core.run_settings import SystemSettings
from data.frames import Frames
from models.callbacks import Resume
from models.classifier import Classifier, too_few_classes, unknown_sections
from models.embedding_system import OptionalBackEnd
from models.layers import BatchNorm

EPSILON = np.finfo(np.float64).eps  # the official floor of probabilities in the score
SMALLEST_SIDE = 32  # of an image that the network's five halvings leave something of


class MobileNetV2(OptionalBackEnd, Classifier):
    """Tells the sections of a machine type apart; a clip it tells from its own is anomalous.

    Score of a window: log(1 - p) - log(p), p the probability of the clip's section; of a clip: the
    mean over its windows. With a back end: that of its embedding, the mean over its windows of
    what the last layer is given.
    """

    mixes_precision = True
    values_per_scoring_batch = 2**18
    constant_weights = True

    def __init__(self, run: SystemSettings, sections: list[str]):
        super().__init__(run, sections)
        network = keras.applications.MobileNetV2(
            input_shape=(self.n_frames, self.n_mels, 3),
            alpha=run.network.alpha,
            weights=None,
            classes=len(sections),
        )

        def own_norm(layer: keras.Layer) -> keras.Layer:
            if isinstance(layer, keras.layers.BatchNormalization):
                return BatchNorm(
                    torch=True,
                    momentum=run.network.momentum,
                    epsilon=layer.epsilon,
                    name=layer.name,
                )
            return layer.__class__.from_config(layer.get_config())

        self.network = keras.models.clone_model(network, clone_function=own_norm)
        self.compile(
            self.make_optimizer(),
            loss="categorical_crossentropy",
            metrics=["accuracy"],
            jit_compile=False,
        )

    @classmethod
    def incompatibilities(
        cls, run: SystemSettings, trained: list[str], scored: list[str]
    ) -> list[str]:
        reasons = [
            f"feature.{key} is {getattr(run.feature, key)}; "
            f"this network takes {SMALLEST_SIDE} or more"
            for key in ("n_frames", "n_mels")
            if getattr(run.feature, key) < SMALLEST_SIDE
        ]
        few = too_few_classes(run, trained)
        reasons += [few] if few else []
        unseen = unknown_sections(run, trained, scored)
        if unseen and run.unseen_section == "error":
            sections = dict.fromkeys(run.section_of(name) for name in trained)
            reasons.append(
                f"{', '.join(unseen)} is none of the sections trained on ({', '.join(sections)}), "
                "so there is no probability of it; train on it too, or set "
                "mobilenet_v2.unseen_section: last_class"
            )
        return reasons

    def call(self, x: tf.Tensor, training: bool = False) -> tf.Tensor:
        return self.network(x, training=training)  # (batch, classes), adding up to 1

    def training_pair(self, windows: tf.Tensor, section: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return self.images(windows), tf.one_hot(section, len(self.section_names))

    def window_scores(self, windows: tf.Tensor, section: tf.Tensor) -> tf.Tensor:
        return _log_odds(tf.gather(self(self.images(windows)), section, batch_dims=1))  # (batch,)

    def class_window_scores(self, windows: tf.Tensor) -> tf.Tensor:
        return _log_odds(self(self.images(windows)))  # (batch, classes)

    def train(
        self, frames: Frames, title: str = "train", resume: Resume | None = None
    ) -> dict[str, list[float]]:
        history = super().train(frames, title, resume)
        self.fit_statistics(frames)
        return history

    def fit_statistics(self, frames: Frames) -> None:
        self.fit_back_ends(frames)

    def embeddings(self, frames: Frames) -> np.ndarray:
        """Return the means over each clip's windows: (n_clips, width) float64."""
        before_last = keras.Model(self.network.input, self.network.layers[-1].input)
        starts, owner = self.windows(frames, 1)
        values = self.all_window_scores(
            frames, starts, owner, lambda windows, _: before_last(self.images(windows))
        )
        first = np.searchsorted(owner, np.arange(len(frames.clips)))
        return np.add.reduceat(values, first, axis=0) / np.bincount(owner)[:, None]

    def own_score(self, frames: Frames) -> np.ndarray:
        """Return anomaly scores of clips (n_clips,) float64, rounded to float32.

        As in the official code: a network that has learnt little gives clips scores that differ by
        rounding only, which must not rank them.
        """
        return super().own_score(frames).astype(np.float32).astype(np.float64)

    def images(self, windows: tf.Tensor) -> tf.Tensor:
        """Return the one channel three times: (batch, n_frames, n_mels, 3)."""
        return tf.repeat(windows[..., None], 3, axis=-1)

    def section_index(self, frames: Frames) -> np.ndarray:
        """Return the class that each clip is scored by (n_clips,); of an unseen section the last.

        Raises BadInput for an unseen section where the settings do not say so.
        """
        index = super().section_index(frames)
        scored = [self.settings.class_name(clip) for clip in frames.clips]
        problems = self.incompatibilities(self.settings, self.section_names, scored)
        if problems:
            raise BadInput("\n".join(problems))
        return np.where(index < 0, len(self.section_names) - 1, index)

    def checkpoint_variables(self) -> Variables:
        """Return names as in the official `.hdf5`: Conv1/kernel, bn_Conv1/gamma, ..."""
        return {
            f"{layer.name}/{_name_in_keras_2(layer, variable)}": (variable, None)
            for layer in self.network.layers
            for variable in layer.weights
        }

    marks: ClassVar[tuple[str, ...]] = ("Conv1/kernel",)
    class_axes: ClassVar[dict[str, int]] = {"predictions/kernel": 1, "predictions/bias": 0}
    distribution_remark: ClassVar[str] = (
        "the official training fits this distribution to another score, see "
        "models/mobilenet_v2.py; without it thresholds are fitted to the training clips"
    )

    @classmethod
    def infer_settings(cls, tensors: Tensors, run: SystemSettings) -> InferredSettings:
        # The blocks 0, 1, 3, 6, 10, 13 and 16 are the first ones of each width in WIDTHS.
        blocks = ("expanded_conv_", *(f"block_{index}_" for index in (1, 3, 6, 10, 13, 16)))
        channels = [size_of(tensors, (0, rf"{block}project_BN/\w+")) for block in blocks]

        def fits(alpha: float) -> bool:
            pairs = zip(channels, _widths(alpha), strict=True)
            return sum(size not in (None, width) for size, width in pairs) <= 1

        alphas = [run.network.alpha, *ALPHAS]
        alpha = next((alpha for alpha in alphas if fits(alpha)), None)
        if alpha is None:
            raise ValueError(
                f"its blocks have {channels} channels, which is none of the widths {ALPHAS}; set "
                "mobilenet_v2.network.alpha"
            )
        classes = size_of(tensors, (1, "predictions/kernel"), (0, "predictions/bias")) or 0
        return InferredSettings(tensors, {"network.alpha": alpha}, classes=classes)

    @classmethod
    def chance_score(cls, run: SystemSettings, n_classes: int) -> float | None:
        return math.log(max(1, n_classes - 1))  # log(1 - p) - log(p), p being 1 / n_classes


ALPHAS = (0.35, 0.5, 0.75, 1.0, 1.3, 1.4)  # the widths that Keras has weights for
WIDTHS = (16, 24, 32, 64, 96, 160, 320)  # channels of the blocks' outputs, with alpha 1


def _log_odds(p: tf.Tensor) -> tf.Tensor:
    """Return log(1 - p) - log(p) of probabilities of any shape, each floored as officially."""
    return tf.math.log(tf.maximum(1 - p, EPSILON)) - tf.math.log(tf.maximum(p, EPSILON))


def _widths(alpha: float) -> list[int]:
    """Return WIDTHS times alpha, as Keras rounds: to a multiple of 8, down by a tenth at most."""
    rounded = [max(8, int(width * alpha + 4) // 8 * 8) for width in WIDTHS]
    wanted = [width * alpha for width in WIDTHS]
    return [r + 8 if r < 0.9 * w else r for r, w in zip(rounded, wanted, strict=True)]


def _name_in_keras_2(layer: keras.Layer, variable: keras.Variable) -> str:
    depthwise = isinstance(layer, keras.layers.DepthwiseConv2D)
    return "depthwise_kernel" if depthwise and variable.name == "kernel" else variable.name
