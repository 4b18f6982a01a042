"""Helpers that infer the sizes of a network from the tensors of its published checkpoint.

A size is read from every tensor that shows it, and the most frequent value counts. So one tensor of
a wrong shape does not change the settings: it is named later, when the tensors are assigned.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np

from core.run_settings import SystemSettings

Tensors = dict[str, np.ndarray]

MOST_LAYERS = 64  # published networks have up to 10
SPARE_WEIGHTS = 2**24  # that a network may have beyond four times the checkpoint's


@dataclass
class InferredSettings:
    """The settings that the tensors of a published checkpoint show.

    tensors : those to assign, by the names of one of `System.checkpoint_layouts`
    values : dotted key of a setting → the value that the tensors show. Those that no tensor shows
        are left out: None, the empty list, and a list with None in it
    implied : dotted key of a setting → the value that belongs to the release, though no tensor
        shows it
    classes : number of classes of a classifier, its sections; 0 for other systems
    """

    tensors: Tensors
    values: dict[str, Any]
    implied: dict[str, Any] = field(default_factory=dict)
    classes: int = 0

    def __post_init__(self) -> None:
        self.values = {
            key: value
            for key, value in self.values.items()
            if value is not None and not (isinstance(value, list) and (None in value or not value))
        }


def size_of(tensors: Tensors, *places: tuple[int, str]) -> int | None:
    """Return the most frequent size of tensors along an axis; None where no tensor shows it.

    places : (axis, pattern of whole names) of all tensors that show it
    """
    return most_frequent(size for place in places for size in sizes_of(tensors, *place))


def sizes_of(tensors: Tensors, axis: int, pattern: str) -> list[int]:
    """Return the sizes along an axis of all tensors whose whole names match the pattern."""
    return [
        tensor.shape[axis]
        for name, tensor in tensors.items()
        if re.fullmatch(pattern, name) and tensor.ndim > axis
    ]


def most_frequent(sizes: Iterable[int]) -> int | None:
    """Return the most frequent size, the first one of several; None where there is no size."""
    counted = Counter(sizes).most_common(1)
    return counted[0][0] if counted else None


def depth_of(tensors: Tensors, pattern: str) -> int:
    """Return one more than the greatest layer number in the names; 0 where there is none.

    pattern : of the beginning of a name; its first group is the number

    Raises ValueError for more than MOST_LAYERS.
    """
    matches = [re.match(pattern, name) for name in tensors]
    depth = 1 + max((int(match[1]) for match in matches if match), default=-1)
    if depth > MOST_LAYERS:
        raise ValueError(f"{depth} layers are more than any checkpoint has")
    return depth


def check_network_size(tensors: Tensors, n_weights: int) -> None:
    """Raise ValueError where a network of n_weights would be far larger than the checkpoint.

    Otherwise a few small tensors could ask for a network that fills the memory.
    """
    n_published = sum(tensor.size for tensor in tensors.values())
    if n_weights > 4 * n_published + SPARE_WEIGHTS:
        raise ValueError(
            f"its sizes make a network of {n_weights} weights, and it holds {n_published}"
        )


def weights_between(widths: Iterable[int | None]) -> int:
    """Return the number of weights of dense layers from each width to the next; None counts 1."""
    return sum(a * b for a, b in pairwise(width or 1 for width in widths))


def window_settings(n_values: int | None, run: SystemSettings) -> dict[str, int]:
    """Return the n_frames or the n_mels that makes a window of n_values; {} where it has so many.

    One of both follows from the other where the person set only the other.

    Raises ValueError where neither follows.
    """
    keys = ("feature.n_frames", "feature.n_mels")
    sizes = [run.value(key) for key in keys]
    if n_values is None or math.prod(sizes) == n_values:
        return {}
    given = [run.is_given(key) for key in keys]
    if given == [True, False] and n_values % sizes[0] == 0:
        return {keys[1]: n_values // sizes[0]}
    if given == [False, True] and n_values % sizes[1] == 0:
        return {keys[0]: n_values // sizes[1]}
    raise ValueError(
        f"its vectors have {n_values} values, but feature.n_frames × feature.n_mels is "
        f"{sizes[0]} × {sizes[1]}; say both with --set"
    )
