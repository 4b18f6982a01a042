"""What several networks share: starts and names as PyTorch's, Adam and batch norm as one kernel.

Keras composes Adam and batch normalisation of many small operations. On a CPU a kernel each makes
a training step of a convolutional network up to a third faster and its tracing twice as fast.
"""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf
from keras import layers

from checkpoints.assign import Variables
from core.run_settings import Fit

# What PyTorch's checkpoints call the variables of a layer.
TORCH_NAMES = {
    "kernel": "weight",
    "gamma": "weight",
    "slope": "weight",
    "bias": "bias",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}
# The axes of PyTorch's kernels in Keras's order; a subclass stands before its parent.
TORCH_AXES: dict[type[layers.Layer], tuple[int, ...]] = {
    layers.Dense: (1, 0),  # (out, in)
    layers.Conv1D: (2, 1, 0),  # (out, in, width)
    layers.Conv1DTranspose: (2, 1, 0),  # (in, out, width)
    layers.DepthwiseConv2D: (2, 3, 0, 1),  # (channel, 1, height, width)
    layers.Conv2D: (2, 3, 1, 0),  # (out, in, height, width)
    layers.Conv2DTranspose: (2, 3, 1, 0),  # (in, out, height, width)
}


def torch_variables(layer: layers.Layer, place: str) -> Variables:
    """Return the variables of a layer by their names in a PyTorch checkpoint.

    layer : one of our own says in `torch_axes` how its variables lie there, where otherwise
    place : its name there; "fc" gives "fc.weight" and "fc.bias"
    """
    others = getattr(layer, "torch_axes", None)
    kernel = next((axes for kind, axes in TORCH_AXES.items() if isinstance(layer, kind)), None)
    return {
        f"{place}.{TORCH_NAMES[variable.name]}": (
            variable,
            kernel if variable.name == "kernel" else others,
        )
        for variable in layer.weights
    }


def torch_uniform(fan_in: int) -> keras.initializers.Initializer:
    """Return PyTorch's start of a weight or bias: uniform within 1 / sqrt(fan_in).

    fan_in : values that go into one output
    """
    bound = fan_in**-0.5
    return keras.initializers.RandomUniform(-bound, bound)


def torch_start(fan_in: int) -> dict[str, keras.initializers.Initializer]:
    """Return the settings of a Keras layer whose kernel and bias start as PyTorch's."""
    # The kernel comes first: every initializer takes the next of the seeds that decide a network.
    return {
        "kernel_initializer": torch_uniform(fan_in),
        "bias_initializer": torch_uniform(fan_in),
    }


def torch_dense(width: int, fan_in: int, name: str) -> layers.Dense:
    """Return a dense layer that starts as PyTorch's."""
    return layers.Dense(width, **torch_start(fan_in), name=name)


def dense_block(h: tf.Tensor, width: int, name: str, momentum: float, epsilon: float) -> tf.Tensor:
    """Apply a dense layer, batch normalisation and ReLU as in AE-ASD (PyTorch): (batch, width)."""
    h = torch_dense(width, h.shape[-1], f"{name}.liner")(h)
    h = BatchNorm(torch=True, momentum=momentum, epsilon=epsilon, name=f"{name}.bn")(h)
    return layers.ReLU(name=f"{name}.relu")(h)


class Adam(keras.optimizers.Adam):
    """Adam with one kernel per variable.

    Parameters
    ----------
    fit : the `fit` block of the settings: lr, beta_1, beta_2, epsilon
    torch : add epsilon after the correction of the second moment, as PyTorch does. Keras adds it
        before, which in the first steps makes it up to thirty times as large; that is seen where
        many gradients are tiny.
    weight_decay : what every weight loses per step, as a share of itself and of the learning rate,
        apart from the gradients (AdamW); None: nothing
    """

    def __init__(self, fit: Fit, torch: bool = False, weight_decay: float | None = None):
        super().__init__(fit.lr, fit.beta_1, fit.beta_2, fit.epsilon, weight_decay=weight_decay)
        self.torch = torch

    def update_step(
        self, gradient: tf.Tensor, variable: keras.Variable, learning_rate: tf.Tensor
    ) -> None:
        index, kind = self._get_variable_index(variable), variable.dtype
        beta_1, beta_2 = tf.constant(self.beta_1, kind), tf.constant(self.beta_2, kind)
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
    """Batch normalisation over the last axis, with one kernel in training.

    Parameters
    ----------
    torch : keep the unbiased running variance, as PyTorch does. Keras 3 keeps the biased one, and
        so does Keras 2 for vectors; of images Keras 2 keeps the unbiased one, as its fused kernel
        gives it. That is seen where few values make a mean, as in the last layers of a network on
        a small batch.
    settings : those of Keras's layer
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
            width = inputs.shape[-1:]
            outputs, mean, unbiased, *_ = tf.raw_ops.FusedBatchNormV3(
                x=tf.reshape(inputs, (-1, 1, 1, *width)),
                scale=self.gamma.value if self.scale else tf.ones(width),
                offset=self.beta.value if self.center else tf.zeros(width),
                mean=tf.zeros(0),
                variance=tf.zeros(0),
                epsilon=self.epsilon,
                is_training=True,
            )
            outputs = tf.reshape(outputs, tf.shape(inputs))
        variance = unbiased if self.torch else unbiased / bessel
        for running, new in ((self.moving_mean, mean), (self.moving_variance, variance)):
            running.assign(running * self.momentum + new * (1 - self.momentum))
        return outputs


def torch_batch_norm(name: str) -> BatchNorm:
    """Return batch normalisation with PyTorch's momentum and epsilon."""
    return BatchNorm(torch=True, momentum=0.9, epsilon=1e-5, name=name)
