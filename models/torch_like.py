"""Adam and batch normalisation as PyTorch has them."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf
from keras import ops


class TorchAdam(keras.optimizers.Adam):
    """Adam whose epsilon is added after the correction of the second moment, as in PyTorch.

    Keras adds it before, which in the first steps makes it up to thirty times as large. That is
    seen where many gradients are tiny.
    """

    def update_step(
        self,
        gradient: keras.KerasTensor,
        variable: keras.Variable,
        learning_rate: keras.KerasTensor,
    ) -> None:
        index = self._get_variable_index(variable)
        first, second = self._momentums[index], self._velocities[index]
        number = ops.cast(self.iterations + 1, variable.dtype)
        self.assign_add(first, (gradient - first) * (1 - self.beta_1))
        self.assign_add(second, (ops.square(gradient) - second) * (1 - self.beta_2))
        size = ops.sqrt(second / (1 - ops.power(self.beta_2, number))) + self.epsilon
        step = learning_rate / (1 - ops.power(self.beta_1, number))
        self.assign_sub(variable, step * first / size)


def torch_adam(fit: dict[str, Any]) -> TorchAdam:
    """With the settings of a `fit` block."""
    return TorchAdam(fit["lr"], fit["beta_1"], fit["beta_2"], fit["epsilon"])


class TorchBatchNorm(keras.layers.BatchNormalization):
    """Batch normalisation whose running variance is the unbiased one, as in PyTorch.

    Keras keeps the biased one. That is seen where few values make a mean, as in the last layers
    of a network on a small batch. Momentum and epsilon are PyTorch's.
    """

    def __init__(self, name: str):
        super().__init__(momentum=0.9, epsilon=1e-5, name=name)

    def call(
        self, inputs: tf.Tensor, training: bool | None = None, mask: tf.Tensor | None = None
    ) -> tf.Tensor:
        if not training:
            return super().call(inputs, training=training, mask=mask)
        kept = self.momentum * self.moving_variance
        outputs = super().call(inputs, training=training, mask=mask)
        count = tf.cast(tf.size(inputs) // inputs.shape[-1], kept.dtype)
        unbiased = (self.moving_variance - kept) * count / tf.maximum(count - 1, 1)
        self.moving_variance.assign(kept + unbiased)
        return outputs
