"""The `.hdf5` of Keras, read as data: the weights of the official baselines' networks.

Keras 2.1 to 2.15, alone or within TensorFlow, and Keras 3 write the same layout, and name the
layers differently. So the layers are named here by their structure: their kinds, in the file's
order.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

NORM = {"gamma", "beta", "moving_mean", "moving_variance"}


def read_hdf5(path: Path) -> dict[str, np.ndarray]:
    """Return the weights of an official `.hdf5`: "dense_3/kernel" → array.

    The layers have the names of the official baselines' Keras 2.8 in a new session, whatever they
    are called in the file: "dense" and "batch_normalization" numbered within their kind, and the
    names of Keras's MobileNetV2 where the layers are of its kinds. Others keep their names.

    Raises
    ------
    OSError, KeyError, ValueError : for a file that is damaged, or not such a model.
    """
    import h5py

    layers: dict[str, dict[str, np.ndarray]] = {}
    left = path.stat().st_size
    with h5py.File(path, "r") as file:
        _check_layers(file)
        for name, dataset in _datasets(file["model_weights"]):
            # Keras writes weights as they are. Compressed, absent or linked ones could be many
            # times as large as the file.
            left -= dataset.nbytes
            other_file = dataset.file.filename != file.filename
            elsewhere = dataset.external or dataset.is_virtual or other_file
            if left < 0 or elsewhere:
                raise ValueError(f"{name} is larger than the file, or lies outside of it")
            place, _, weight = name.split(":")[0].rpartition("/")
            layers.setdefault(place, {})[weight] = np.asarray(dataset)
    tensors = {}
    for layer, weights in zip(_names(layers), layers.values(), strict=True):
        for weight, tensor in weights.items():
            in_keras_3 = weight == "kernel" and _kind(weights) == "depthwise"
            tensors[f"{layer}/{'depthwise_kernel' if in_keras_3 else weight}"] = tensor
    return tensors


def input_shape(path: Path) -> tuple[int, ...]:
    """Return the shape of one input of the network in an `.hdf5`, without the batch.

    Raises
    ------
    OSError, KeyError, ValueError : where the file does not say it.
    """
    import h5py

    with h5py.File(path, "r") as file:
        _check_layers(file)
        for value in _values(_config(file)):
            shape = value.get("batch_input_shape") or value.get("batch_shape")
            if isinstance(shape, list) and all(type(size) is int for size in shape[1:]):
                return tuple(shape[1:])
    raise ValueError("it does not say the shape of its input")


def activations(path: Path) -> set[str]:
    """Return the names of the activation functions of the network in an `.hdf5`, but "linear"."""
    import h5py

    with h5py.File(path, "r") as file:
        names = {value.get("activation") for value in _values(_config(file))}
    return {str(name) for name in names if isinstance(name, str)} - {"linear"}


def mobilenet_v2_layers() -> list[tuple[str, str]]:
    """Return name and kind of the layers of Keras's MobileNetV2 that have weights, in order."""
    blocks = ["expanded_conv", *(f"block_{number}" for number in range(1, 17))]
    layers = [("Conv1", "conv"), ("bn_Conv1", "norm")]
    for block in blocks:
        steps = [("expand", "conv"), ("depthwise", "depthwise"), ("project", "conv")]
        for step, kind in steps[block == "expanded_conv" :]:
            layers += [(f"{block}_{step}", kind), (f"{block}_{step}_BN", "norm")]
    return [*layers, ("Conv_1", "conv"), ("Conv_1_bn", "norm"), ("predictions", "dense")]


def _datasets(weights: Any) -> Iterator[tuple[str, Any]]:
    """Yield name and dataset of each weight, in the order of the layers."""
    for layer in _texts(weights, "layer_names"):
        for name in _texts(weights[layer], "weight_names"):
            yield name, weights[layer][name]


def _texts(group: Any, name: str) -> list[str]:
    """Return a list of texts beside a group, which Keras cuts into several where it is long."""
    parts = [group.attrs[name]] if name in group.attrs else []
    while name not in group.attrs and f"{name}{len(parts)}" in group.attrs:
        parts.append(group.attrs[f"{name}{len(parts)}"])
    if not parts:
        raise KeyError(f"{name} is missing")
    return [_text(text) for part in parts for text in part]


def _names(layers: dict[str, dict[str, np.ndarray]]) -> list[str]:
    """Return the official names of layers, by their structure."""
    kinds = [_kind(weights) for weights in layers.values()]
    in_mobilenet = mobilenet_v2_layers()
    if kinds == [kind for _, kind in in_mobilenet]:
        return [name for name, _ in in_mobilenet]
    if not set(kinds) <= {"dense", "norm"}:
        return list(layers)
    names, counts = [], {"dense": 0, "norm": 0}
    for kind in kinds:
        number = counts[kind]
        counts[kind] += 1
        word = "dense" if kind == "dense" else "batch_normalization"
        names.append(f"{word}_{number}" if number else word)
    return names


def _kind(weights: dict[str, np.ndarray]) -> str:
    """Return the kind of a layer by its weights: dense, norm, conv, depthwise, or other."""
    kernel = weights.get("depthwise_kernel", weights.get("kernel", np.empty(0)))
    if weights.keys() == NORM:
        return "norm"
    if kernel.ndim == 4 and ("depthwise_kernel" in weights or kernel.shape[3] == 1):
        return "depthwise"
    return {2: "dense", 4: "conv"}.get(kernel.ndim, "other")


def _check_layers(file: Any) -> None:
    """Raise ValueError for a model with code in it.

    The code would not run, for only numbers are read. But a file with code has another purpose
    than a checkpoint.
    """
    for value in _values(_config(file)):
        if str(value.get("class_name")).endswith("Lambda"):
            raise ValueError("refused, for it holds a Lambda layer, which is code")


def _config(file: Any) -> Any:
    try:
        return json.loads(_text(file.attrs.get("model_config", "{}")))
    except RecursionError:
        raise ValueError("its model_config is nested too deep") from None


def _values(config: Any) -> Iterator[dict[str, Any]]:
    """Yield every dict within a config, those of earlier layers first."""
    waiting = [config]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            yield value
            waiting += reversed(value.values())
        elif isinstance(value, list):
            waiting += reversed(value)


def _text(name: str | bytes) -> str:
    return name.decode() if isinstance(name, bytes) else name
