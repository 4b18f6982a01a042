"""The assignment of published weights to a network, by name."""

from __future__ import annotations

from typing import Any

import numpy as np

Variables = dict[str, tuple[Any, tuple[int, ...] | None]]


def assign_variables(variables: Variables, tensors: dict[str, np.ndarray]) -> None:
    """Assign the values of published tensors to the variables of a network.

    Parameters
    ----------
    variables : name of a tensor → its variable and axes; the variable equals the tensor transposed
        to the axes, or as it is for None: what `System.checkpoint_variables` returns
    tensors : the published tensors by name

    Raises
    ------
    ValueError : naming every tensor that is missing, left over or of another shape; nothing is
        assigned then.
    """
    problems = [f"{name} is missing" for name in variables if name not in tensors]
    problems += [f"{name} is left over" for name in tensors if name not in variables]
    values = {}
    for name, (variable, axes) in variables.items():
        if name not in tensors:
            continue
        tensor = tensors[name]
        value = tensor if axes is None or tensor.ndim != len(axes) else tensor.transpose(axes)
        if value.shape != tuple(variable.shape):
            problems.append(f"{name} has the shape {value.shape}, not {tuple(variable.shape)}")
        values[name] = value
    if problems:
        raise ValueError("; ".join(problems))
    for name, (variable, _) in variables.items():
        variable.assign(values[name])
