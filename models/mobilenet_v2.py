"""MobileNetV2 section classifier: the second official baseline of DCASE2022 Task 2.

Source: Kota-Dohi/dcase2022_task2_baseline_mobile_net_v2 (MIT), Keras 2.8. The network: Sandler et
al., "MobileNetV2: inverted residuals and linear bottlenecks", arXiv 1801.04381.

Quirks of the official code:
1. Followed: training windows start every `n_hop_frames`, those of scored clips every frame.
2. Corrected: a misplaced parenthesis in the official training script makes its threshold belong to
   another score; here one score serves both.
3. A choice: a section that was not trained on is refused, or takes the last class as in the
   official code (`unseen_section`).
"""

from __future__ import annotations

import keras
import numpy as np
import tensorflow as tf

from core.errors import BadInput
from core.run_settings import SystemSettings
from data.frames import Frames
from models.base import System
from models.layers import BatchNorm, Published

EPSILON = np.finfo(np.float64).eps  # the official floor of probabilities in the score
SMALLEST_SIDE = 32  # of an image that the network's five halvings leave something of


class MobileNetV2(System):
    """Tells the sections of a machine type apart; a clip it tells from its own is anomalous.

    Score of a window: log(1 - p) - log(p), p the probability of the clip's section; of a clip: the
    mean over its windows.
    """

    mixes_precision = True

    def __init__(self, param: SystemSettings, sections: list[str]):
        super().__init__(param, sections)
        network = keras.applications.MobileNetV2(
            input_shape=(self.n_frames, self.n_mels, 3),
            alpha=param.network.alpha,
            weights=None,
            classes=len(sections),
        )

        def own_norm(layer: keras.Layer) -> keras.Layer:
            if isinstance(layer, keras.layers.BatchNormalization):
                momentum = param.network.momentum
                return BatchNorm(momentum=momentum, epsilon=layer.epsilon, name=layer.name)
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
        cls, param: SystemSettings, trained: list[str], scored: list[str]
    ) -> list[str]:
        reasons = [
            f"feature.{key} is {getattr(param.feature, key)}; "
            f"this network takes {SMALLEST_SIDE} or more"
            for key in ("n_frames", "n_mels")
            if getattr(param.feature, key) < SMALLEST_SIDE
        ]
        if len(trained) < 2:
            reasons.append(
                "a classifier of sections needs training clips of two or more sections; "
                f"here there is {', '.join(trained) or 'none'}: take another system"
            )
        unseen = sorted(set(scored) - set(trained))
        if unseen and param.unseen_section == "error":
            reasons.append(
                f"{', '.join(unseen)} is none of the sections trained on ({', '.join(trained)}), "
                "so there is no probability of it; train on it too, or set "
                "mobilenet_v2.unseen_section: last_class, as the official code"
            )
        return reasons

    def call(self, x: tf.Tensor, training: bool = False) -> tf.Tensor:
        return self.network(x, training=training)  # (batch, classes), adding up to 1

    def training_pair(self, windows: tf.Tensor, section: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return self.images(windows), tf.one_hot(section, len(self.section_names))

    def window_scores(self, windows: tf.Tensor, section: tf.Tensor) -> tf.Tensor:
        p = tf.gather(self(self.images(windows)), section, batch_dims=1)  # (batch,)
        return tf.math.log(tf.maximum(1 - p, EPSILON)) - tf.math.log(tf.maximum(p, EPSILON))

    def images(self, windows: tf.Tensor) -> tf.Tensor:
        """Return the one channel three times: (batch, n_frames, n_mels, 3)."""
        return tf.repeat(windows[..., None], 3, axis=-1)

    def section_index(self, frames: Frames) -> np.ndarray:
        """Return the class of each clip (n_clips,); that of an unseen section is the last one.

        Raises BadInput for an unseen section where the settings do not say so.
        """
        index = super().section_index(frames)
        scored = [clip.section for clip in frames.clips]
        problems = self.incompatibilities(self.param, self.section_names, scored)
        if problems:
            raise BadInput("\n".join(problems))
        return np.where(index < 0, len(self.section_names) - 1, index)

    def checkpoint_variables(self) -> dict[str, Published]:
        """Return names as in the official `.hdf5`: Conv1/kernel, bn_Conv1/gamma, ..."""
        return {
            f"{layer.name}/{_name_in_keras_2(layer, variable)}": (variable, None)
            for layer in self.network.layers
            for variable in layer.weights
        }


def _name_in_keras_2(layer: keras.Layer, variable: keras.Variable) -> str:
    depthwise = isinstance(layer, keras.layers.DepthwiseConv2D)
    return "depthwise_kernel" if depthwise and variable.name == "kernel" else variable.name
