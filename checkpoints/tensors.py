"""The tensors of published checkpoints by name: from the files to the order of a network."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from checkpoints.assign import Variables
from checkpoints.inferred_settings import InferredSettings, Tensors
from core.errors import BadInput
from core.run_settings import SystemSettings


class SystemClass(Protocol):
    """What `gather` asks the class of a system; `models.base.System` explains it."""

    @classmethod
    def recognises(cls, tensors: Tensors) -> bool:
        """Return whether tensors are of a checkpoint of this system."""

    @classmethod
    def gather_checkpoint(cls, files: Sequence[tuple[Path, Tensors]], system: str) -> Tensors:
        """Return the tensors of the files of one checkpoint."""


def gather(
    system: str,
    files: Sequence[tuple[Path, Any]],
    systems: Iterable[str],
    system_class: Callable[[str], type[SystemClass]],
) -> Tensors:
    """Return the tensors of the files of one checkpoint, by their published names.

    Parameters
    ----------
    system : the name of the system whose checkpoint it should be
    files : (path, content) of each file, the content as `checkpoints.files.read` returns it
    systems : the names of all systems
    system_class : from a name to the class. Those of the other systems are only asked for where
        the class of this one does not recognise the tensors

    Raises
    ------
    BadInput : for a file without tensors or of another system, for files that do not make one
        checkpoint of this system, and for values that are not finite.
    """
    by_file = [(path, state_dict(path, tree)) for path, tree in files]
    for path, tensors in by_file:
        if system_class(system).recognises(tensors):
            continue
        others = [name for name in systems if system_class(name).recognises(tensors)]
        if others:
            raise BadInput(
                f"{path}: looks like a checkpoint of {' or '.join(others)}, not of {system}"
            )
    tensors = system_class(system).gather_checkpoint(by_file, system)
    problems = [
        f"{name} holds values that are not finite"
        for name, tensor in tensors.items()
        if not np.isfinite(tensor).all()
    ]
    if problems:
        raise BadInput(f"{by_file[0][0]}: {'; '.join(problems)}")
    return tensors


def state_dict(path: Path, tree: Any) -> Tensors:
    """Return the tensors of a file by name.

    Releases save the state dict as it is, or under "model" or "state_dict" beside an epoch and the
    like, or one per network under the network's name. Such a name goes before those of the
    tensors, with a dot between.

    Raises BadInput for a file without tensors by name; path is for the message.
    """
    if not isinstance(tree, dict) or not tree:
        raise BadInput(f"{path}: holds no tensors by name")
    for name in ("model", "state_dict"):
        if isinstance(tree.get(name), dict):
            return _tensors(path, tree[name])
    networks = {name: value for name, value in tree.items() if _has_tensors(value)}
    if not networks or any(isinstance(value, np.ndarray) and value.ndim for value in tree.values()):
        return _tensors(path, tree)
    return {
        f"{network}.{name}": tensor
        for network, content in networks.items()
        for name, tensor in _tensors(path, content).items()
    }


def _has_tensors(value: Any) -> bool:
    return isinstance(value, dict) and any(isinstance(v, np.ndarray) for v in value.values())


def _tensors(path: Path, content: dict[str, Any]) -> Tensors:
    other = [name for name, value in content.items() if not isinstance(value, np.ndarray)]
    if other or not content:
        raise BadInput(f"{path}: holds no tensors by name, but {', '.join(other) or 'nothing'}")
    if all(name.startswith("module.") for name in content):  # of nn.DataParallel
        content = {name.removeprefix("module."): value for name, value in content.items()}
    # PyTorch's batch normalisation counts its batches, which no network here needs.
    counters = [
        name
        for name in content
        if name.endswith(".num_batches_tracked")
        and name.replace("num_batches_tracked", "running_mean") in content
    ]
    return {name: value for name, value in content.items() if name not in counters}


def settle(run: SystemSettings, inferred: InferredSettings) -> SystemSettings:
    """Return the settings with those of a checkpoint in them.

    Values that only belong to the release give way to the person's.

    Raises BadInput, with every contradiction, where the person's settings contradict the tensors.
    """
    problems = []
    for key, value in inferred.values.items():
        if run.is_given(key) and run.value(key) != value:
            problems.append(
                f"{key} is {run.value(key)} in the settings, but the checkpoint's tensors say "
                f"{value}; leave it out, or import another checkpoint"
            )
        run = run.with_values({key: value})
    for key, value in inferred.implied.items():
        if not run.is_given(key):
            run = run.with_values({key: value})
    if problems:
        raise BadInput("\n".join(problems))
    return run


def in_order(tensors: Tensors, class_axes: Mapping[str, int], names: Sequence[str]) -> Tensors:
    """Return the tensors with the classes sorted by name, which is their order in a system.

    Parameters
    ----------
    class_axes : tensor name → the axis along which it has the classes, one after the other, each
        as often as the next
    names : (classes,) names of the sections, in the checkpoint's order
    """
    order = np.argsort(np.array(names, str), kind="stable")
    ordered = dict(tensors)
    for name, axis in class_axes.items():
        tensor = tensors.get(name)
        if tensor is not None and tensor.ndim > axis and tensor.shape[axis] % len(names) == 0:
            per_class = tensor.shape[axis] // len(names)  # more than one: centres of ArcFace
            rows = (order[:, None] * per_class + np.arange(per_class)).ravel()
            ordered[name] = np.take(tensor, rows, axis)
    return ordered


def matching_layout(layouts: Sequence[Variables], tensors: Tensors) -> Variables:
    """Return the layout with most names in common with the tensors, the first one of several."""
    return max(layouts, key=lambda layout: len(layout.keys() & tensors.keys()))
