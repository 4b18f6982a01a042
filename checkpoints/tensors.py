"""Published checkpoints: whose they are, and what they make of the settings."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from checkpoints.inferred_settings import Published, Tensors, sizes_of, usual
from core.errors import BadInput
from core.run_settings import SystemSettings

# A tensor that only this system's checkpoints have. Those of AE-ASD differ in their sizes.
MARKS = {
    "dense/kernel": "ae",
    "Conv1/kernel": "mobilenet_v2",
    "fc_mean.liner.weight": "vae",
    "netG.Encoder.main.0.weight": "aegan_ad",
    "netD.main.0.0.weight": "aegan_ad",
    "regional.gfl.layernorm.weight": "grlnet",
    "gfl.layernorm.weight": "grlnet",
    "arcface.weight": "stgram_mfn",
    "tgramnet.conv_extrctor.weight": "stgram_mfn",
    "embedding.value_embedding.tokenConv.weight": "anomaly_transformer",
}

# The axis along which a classifier's tensors hold its classes.
CLASS_AXES = {
    "mobilenet_v2": {"predictions/kernel": 1, "predictions/bias": 0},
    "stgram_mfn": {
        "arcface.weight": 0,
        "mobilefacenet.fc_out.weight": 0,
        "mobilefacenet.fc_out.bias": 0,
    },
}


def gather(system: str, held: Sequence[tuple[Path, Any]]) -> Tensors:
    """The tensors of the files of one checkpoint, by the names of `System.checkpoint_variables`.

    Parameters
    ----------
    system : the name of the system they are to be of
    held : of each file its path and what `checkpoints.read` made of it

    Raises
    ------
    BadInput : for files that hold no tensors or that make no checkpoint of this system together,
        and for values that are not finite.
    """
    found = [(path, _state_dict(path, tree)) for path, tree in held]
    for path, tensors in found:
        _check_whose(system, path, tensors)
    if system == "grlnet" and "regional.gfl.layernorm.weight" not in found[0][1]:
        tensors = _three_networks(found)
    elif len(found) == 1:
        tensors = found[0][1]
    else:
        raise BadInput(
            f"{', '.join(str(path) for path, _ in found)}: {len(found)} checkpoints, where "
            f"{system} takes one"
        )
    problems = [
        f"{name} holds values that are not finite"
        for name, tensor in tensors.items()
        if not np.isfinite(tensor).all()
    ]
    if problems:
        raise BadInput(f"{found[0][0]}: {'; '.join(problems)}")
    return tensors


def settle(param: SystemSettings, said: Published) -> dict[str, Any]:
    """The settings with what a checkpoint says in them.

    Raises BadInput, with every contradiction, where the config or --set say otherwise; what only
    goes with a release gives way to them.
    """
    problems = []
    for key, value in said.settings.items():
        if param.is_given(key) and param.value(key) != value:
            problems.append(
                f"{key} is {param.value(key)} in the settings, but the checkpoint's tensors say "
                f"{value}; leave it out, or import another checkpoint"
            )
        param = param.with_values({key: value})
    for key, value in said.implied.items():
        if not param.is_given(key):
            param = param.with_values({key: value})
    if problems:
        raise BadInput("\n".join(problems))
    return param


def in_order(system: str, said: Published, names: Sequence[str]) -> Tensors:
    """The tensors with the classes in the order of their names, in which a system has them.

    Parameters
    ----------
    names : (classes,) of the sections, in the checkpoint's order
    """
    order = np.argsort(np.array(names, str), kind="stable")
    tensors = dict(said.tensors)
    for name, axis in CLASS_AXES.get(system, {}).items():
        held = tensors.get(name)
        if held is not None and held.ndim > axis and held.shape[axis] % len(names) == 0:
            each = held.shape[axis] // len(names)  # of ArcFace's centres
            rows = (order[:, None] * each + np.arange(each)).ravel()
            tensors[name] = np.take(held, rows, axis)
    return tensors


def _state_dict(path: Path, tree: Any) -> Tensors:
    if not isinstance(tree, dict) or not tree:
        raise BadInput(f"{path}: holds no tensors by name")
    if {"netD", "netG"} & set(tree):
        nets = {name: tree[name] for name in ("netG", "netD") if isinstance(tree.get(name), dict)}
        return {
            f"{net}.{name}": tensor
            for net, held in nets.items()
            for name, tensor in _tensors(path, held).items()
        }
    for name in ("model", "state_dict"):
        if isinstance(tree.get(name), dict):
            return _tensors(path, tree[name])
    return _tensors(path, tree)


def _tensors(path: Path, held: dict[str, Any]) -> Tensors:
    other = [name for name, value in held.items() if not isinstance(value, np.ndarray)]
    if other or not held:
        raise BadInput(f"{path}: holds no tensors by name, but {', '.join(other) or 'nothing'}")
    if all(name.startswith("module.") for name in held):  # of nn.DataParallel
        held = {name.removeprefix("module."): value for name, value in held.items()}
    # PyTorch's batch normalisation counts its batches, which nothing here asks for.
    counters = [
        name
        for name in held
        if name.endswith(".num_batches_tracked")
        and name.replace("num_batches_tracked", "running_mean") in held
    ]
    return {name: value for name, value in held.items() if name not in counters}


def _three_networks(found: Sequence[tuple[Path, Tensors]]) -> Tensors:
    """GRLNet's: the regional generator is the one whose kernels are longer than the local one's."""
    judges = [(path, held) for path, held in found if "discriminator.0.weight" in held]
    makers = [(path, held) for path, held in found if "discriminator.0.weight" not in held]
    paths = ", ".join(str(path) for path, _ in found)
    if len(judges) != 1 or len(makers) != 2:
        raise BadInput(
            f"{paths}: grlnet takes three checkpoints, of the regional and the local generator and "
            f"of the discriminator; of generators there are {len(makers)}, of discriminators "
            f"{len(judges)}"
        )
    kernels = [usual(sizes_of(held, 2, r"(en|de)coder\.\d+\.weight")) or 0 for _, held in makers]
    if kernels[0] == kernels[1]:
        kernels = [int("region" in path.name.lower()) for path, _ in makers]
    if kernels[0] == kernels[1]:
        raise BadInput(
            f'{paths}: both generators have kernels of one length; put "regional" into the file '
            "name of the one"
        )
    makers = makers if kernels[0] > kernels[1] else makers[::-1]
    networks = zip(("regional", "local", "discriminator"), [*makers, *judges], strict=True)
    return {
        f"{network}.{name}": tensor
        for network, (_, held) in networks
        for name, tensor in held.items()
    }


def _check_whose(system: str, path: Path, tensors: Tensors) -> None:
    whose = {owner for mark, owner in MARKS.items() if mark in tensors}
    if not whose and any(re.fullmatch(r"encoder\.\d+\.liner\.\w+", name) for name in tensors):
        inside = usual(sizes_of(tensors, 1, r"encoder\.0\.liner\.weight"))
        outside = usual(sizes_of(tensors, 0, r"decoder\.\d+\.(weight|bias)"))
        if None not in (inside, outside):
            if inside == outside and system != "idnn":
                whose = {"ae"}
            elif inside > outside and inside % outside == 0:
                whose = {"idnn"}
    if len(whose) == 1 and system not in whose:
        raise BadInput(f"{path}: looks like a checkpoint of {whose.pop()}, not of {system}")
