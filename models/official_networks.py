"""The networks of the two official baselines as plain Keras models, for scripts written for them.

They have Keras's own layers only, so that `keras.models.load_model` reads what their `save` wrote.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import keras
from keras import layers

from checkpoints import keras_hdf5
from checkpoints.assign import assign_variables
from core.errors import BadInput

WIDTHS = (128, 128, 128, 128, 8, 128, 128, 128, 128)  # of the autoencoder's layers
ALPHA = 0.5  # the width of MobileNetV2
LAST_BLOCK = 320  # output channels of MobileNetV2's last block with alpha 1


def autoencoder(input_dim: int, lr: float) -> keras.Model:
    """Return the autoencoder of the official baseline, compiled: (batch, input_dim) both ways."""
    network = _dense_network([input_dim, *WIDTHS, input_dim])
    network.compile(optimizer=keras.optimizers.Adam(learning_rate=lr), loss="mean_squared_error")
    return network


def mobilenet_v2(n_frames: int, n_mels: int, n_conditions: int, lr: float) -> keras.Model:
    """Return the section classifier of the official MobileNetV2 baseline, compiled.

    It takes (batch, n_frames, n_mels, 1), and returns probabilities (batch, n_conditions).
    """
    network = _image_network(n_frames, n_mels, n_conditions, ALPHA)
    network.compile(
        optimizer=keras.optimizers.Adam(learning_rate=lr),
        loss="categorical_crossentropy",
        metrics=["accuracy"],
    )
    return network


def read_network(path: Path) -> keras.Model:
    """Return the network of an official `.hdf5`, not compiled, of any layer widths.

    Only numbers are taken from the file: the network is built here.

    Raises
    ------
    BadInput : for a file that is damaged, or of another network.
    """
    try:
        tensors = keras_hdf5.read_hdf5(path)
        odd = keras_hdf5.activations(path) - {"relu", "softmax"}
        if odd:
            raise ValueError(f"its layers have the activation {', '.join(sorted(odd))}")
        if "Conv1/kernel" in tensors:
            channels, classes = (
                tensors["block_16_project/kernel"].shape[-1],
                tensors["predictions/kernel"].shape[-1],
            )
            n_frames, n_mels, _ = keras_hdf5.input_shape(path)
            network = _image_network(n_frames, n_mels, classes, channels / LAST_BLOCK)
        else:
            kernels = [value for name, value in tensors.items() if name.endswith("/kernel")]
            if not kernels:
                raise ValueError("it has no layers")
            network = _dense_network([kernels[0].shape[0], *(value.shape[1] for value in kernels)])
        assign_variables(_variables(network), tensors)
    except (OSError, KeyError, ValueError, TypeError, IndexError, RuntimeError) as error:
        raise BadInput(f"{path}: not a network of an official baseline ({error})") from None
    return network


def _dense_network(widths: Sequence[int]) -> keras.Model:
    """Return dense layers, each but the last one with batch normalisation and ReLU.

    widths : of the input, then of every layer
    """
    h = x = keras.Input((widths[0],))
    for index, width in enumerate(widths[1:-1]):
        number = f"_{index}" if index else ""
        h = layers.Dense(width, name=f"dense{number}")(h)
        h = layers.BatchNormalization(name=f"batch_normalization{number}")(h)
        h = layers.Activation("relu", name=f"activation{number}")(h)
    h = layers.Dense(widths[-1], name=f"dense_{len(widths) - 2}")(h)
    return keras.Model(x, h)


def _image_network(n_frames: int, n_mels: int, n_conditions: int, alpha: float) -> keras.Model:
    x = keras.Input((n_frames, n_mels, 1))
    images = layers.Concatenate()([x, x, x])  # (batch, n_frames, n_mels, 3)
    classifier = keras.applications.MobileNetV2(
        input_shape=(n_frames, n_mels, 3), alpha=alpha, weights=None, classes=n_conditions
    )
    return keras.Model(x, classifier(images))


def _variables(network: keras.Model) -> dict[str, tuple[keras.Variable, None]]:
    """Return the variables of a network by their names in the official `.hdf5`."""
    named = {}
    for layer in network.layers:
        if isinstance(layer, keras.Model):
            named |= _variables(layer)
            continue
        for variable in layer.weights:
            depthwise = isinstance(layer, layers.DepthwiseConv2D) and variable.name == "kernel"
            weight = "depthwise_kernel" if depthwise else variable.name
            named[f"{layer.name}/{weight}"] = (variable, None)
    return named
