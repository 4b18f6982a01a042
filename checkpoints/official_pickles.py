"""The pickles that the official baselines write beside a model: read as data, never unpickled.

`score_distr_<machine type>.pkl` has shape, loc and scale of the gamma distribution that the
decision threshold is taken from; `section_names_<machine type>.pkl`, of MobileNetV2's baseline, the
sections in the order of its classes.
"""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import numpy as np

from checkpoints.files import read_pickle
from core.errors import BadInput

Distribution = tuple[float, float, float]


def as_list(content: Any) -> list[Any]:
    """Return the values of a pickle as a list; empty where it is neither a list nor an array."""
    return np.asarray(content).tolist() if isinstance(content, (list, np.ndarray)) else []


def section_names(path: Path, values: list[Any]) -> list[str]:
    """Return the names of sections, checked; raise BadInput for other names, or a repeated one."""
    odd = [value for value in values if not re.fullmatch(r"(section|id)_\d\d", str(value))]
    if odd or not values or len(set(values)) < len(values):
        raise BadInput(f"{path}: expected names of sections, each once, such as section_00")
    return values


def gamma_distribution(path: Path, values: list[Any]) -> Distribution:
    """Return shape, loc and scale of a gamma distribution, checked; raise BadInput for others."""
    numbers = [value for value in values if isinstance(value, (int, float))]
    if len(values) == len(numbers) == 3 and all(map(math.isfinite, numbers)):
        shape, loc, scale = map(float, numbers)
        if shape > 0 and scale > 0:
            return shape, loc, scale
    raise BadInput(
        f"{path}: expected shape, loc and scale of a gamma distribution, or section names, not "
        f"{str(values)[:60]}"
    )


def distribution_beside(model: Path) -> tuple[Path, Distribution] | None:
    """Return the score distribution beside an official `.hdf5`, with its file; None without one.

    Raises BadInput where the file is no such distribution.
    """
    path = _beside(model, "score_distr")
    return (path, gamma_distribution(path, as_list(read_pickle(path)))) if path else None


def section_names_beside(model: Path) -> tuple[Path, list[str]] | None:
    """Return the names of the sections beside an official `.hdf5`, with their file, or None.

    Raises BadInput where the file has no such names.
    """
    path = _beside(model, "section_names")
    return (path, section_names(path, as_list(read_pickle(path)))) if path else None


def _beside(model: Path, kind: str) -> Path | None:
    machine_type = model.stem.removeprefix("model_")
    path = model.with_name(f"{kind}_{machine_type}.pkl")
    return path if path.is_file() else None
