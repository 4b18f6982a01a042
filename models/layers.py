"""Adam and batch normalisation as single kernels, with the numbers of Keras or of PyTorch.

Keras composes both of many small operations. On a CPU a kernel each makes a training step of a
convolutional network up to a third faster and its tracing twice as fast.
"""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf
from keras import layers

from core.run_settings import Fit

# Weights of a layer in a PyTorch checkpoint: name and, for a linear layer, the axes of its kernel.
PYTORCH = {
    "kernel": ("weight", (1, 0)),
    "bias": ("bias", None),
    "gamma": ("weight", None),
    "beta": ("bias", None),
    "moving_mean": ("running_mean", None),
    "moving_variance": ("running_var", None),
}


def linear(h: tf.Tensor, width: int, name: str) -> tf.Tensor:
    """A dense layer drawn as PyTorch draws it: within 1 / sqrt(inputs), the bias too."""
    bound = h.shape[-1] ** -0.5
    return layers.Dense(
        width,
        kernel_initializer=keras.initializers.RandomUniform(-bound, bound),
        bias_initializer=keras.initializers.RandomUniform(-bound, bound),
        name=name,
    )(h)


class Adam(keras.optimizers.Adam):
    """Adam, a kernel a variable.

    Parameters
    ----------
    fit : the `fit` block of the settings: lr, beta_1, beta_2, epsilon
    torch : add epsilon after the correction of the second moment, as PyTorch does. Keras adds it
        before, which in the first steps makes it up to thirty times as large; that is seen where
        many gradients are tiny.
    """

    def __init__(self, fit: Fit, torch: bool = False):
        super().__init__(fit.lr, fit.beta_1, fit.beta_2, fit.epsilon)
        self.torch = torch

    def update_step(
        self, gradient: tf.Tensor, variable: keras.Variable, learning_rate: tf.Tensor
    ) -> None:
        index, kind = self._get_variable_index(variable), variable.dtype
        beta_1, beta_2 = tf.cast(self.beta_1, kind), tf.cast(self.beta_2, kind)
        number = tf.cast(self.iterations + 1, kind)
        power_1, power_2 = tf.pow(beta_1, number), tf.pow(beta_2, number)
        tf.raw_ops.ResourceApplyAdam(
            var=variable.handle,
            m=self._momentums[index].handle,
            v=self._velocities[index].handle,
            beta1_power=power_1,
            beta2_power=power_2,
            lr=tf.cast(learning_rate, kind),
            beta1=beta_1,
            beta2=beta_2,
            epsilon=self.epsilon * (tf.sqrt(1 - power_2) if self.torch else tf.ones((), kind)),
            grad=tf.convert_to_tensor(gradient),
        )


class BatchNorm(keras.layers.BatchNormalization):
    """Batch normalisation over the last axis, one kernel in training.

    Parameters
    ----------
    torch : keep the unbiased running variance, as PyTorch does; Keras keeps the biased one. That is
        seen where few values make a mean, as in the last layers of a network on a small batch.
    settings : of Keras's layer
    """

    def __init__(self, torch: bool = False, **settings: Any):
        super().__init__(**settings)
        self.torch = torch

    def call(
        self, inputs: tf.Tensor, training: bool | None = None, mask: tf.Tensor | None = None
    ) -> tf.Tensor:
        if not training:
            return super().call(inputs, training=training, mask=mask)
        count = tf.cast(tf.size(inputs) // inputs.shape[-1], self.variable_dtype)
        bessel = count / tf.maximum(count - 1, 1)
        if inputs.dtype == tf.float64:  # of which there is no kernel
            mean, biased = tf.nn.moments(inputs, list(range(len(inputs.shape) - 1)))
            outputs = tf.nn.batch_normalization(
                inputs, mean, biased, self.beta, self.gamma, self.epsilon
            )
            unbiased = biased * bessel
        else:
            outputs, mean, unbiased, *_ = tf.raw_ops.FusedBatchNormV3(
                x=tf.reshape(inputs, (-1, 1, 1, inputs.shape[-1])),
                scale=self.gamma.value,
                offset=self.beta.value,
                mean=tf.zeros(0),
                variance=tf.zeros(0),
                epsilon=self.epsilon,
                is_training=True,
            )
            outputs = tf.reshape(outputs, tf.shape(inputs))
        variance = unbiased if self.torch else unbiased / bessel
        for kept, new in ((self.moving_mean, mean), (self.moving_variance, variance)):
            kept.assign(kept * self.momentum + new * (1 - self.momentum))
        return outputs


def torch_batch_norm(name: str) -> BatchNorm:
    """With PyTorch's momentum and epsilon."""
    return BatchNorm(torch=True, momentum=0.9, epsilon=1e-5, name=name)
