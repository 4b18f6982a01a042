"""Checkpoints as their releases publish them: small networks, and the files they come in."""

from __future__ import annotations

import functools
from collections import OrderedDict
from pathlib import Path
from typing import Any

import h5py
import numpy as np

import keras_model
from core import settings
from core.command_line import assignment
from core.system_settings import system_classes
from tests.checkpoints import torch_format

# Written by PyTorch: python -m tests.checkpoints.write_torch
PYTORCH_FILES = Path(__file__).parent / "torch"
OFFICIAL = tuple(name for name, kind in system_classes().items() if kind.official)
SECTIONS = ("section_00", "section_01", "section_02")

# Networks small enough for a few clips: what no tensor shows, and what says how large to make them.
UNREAD = {
    "vae": (),
    "idnn": (),
    "ae": (),
    "mobilenet_v2": ("feature.n_mels=32", "mobilenet_v2.feature.n_frames=32"),
    "aegan_ad": ("feature.n_fft=1024",),
    "grlnet": ("grlnet.feature.n_hop_frames=16000",),
    "stgram_mfn": ("stgram_mfn.network.bottlenecks=[[1, 4, 1, 2], [1, 4, 1, 2], [1, 4, 1, 2]]",),
    **{
        name: (
            *(f"{name}.feature.classes=section", f"{name}.network.seconds=0.6"),
            f"{name}.network.convolutions=[[64, 16], [16, 4], [4, 2]]",
        )
        for name in ("dis_spec", "dis_multispec")
    },
    "anomaly_transformer": ("feature.n_frames=20", "anomaly_transformer.network.temperature=1"),
}
SIZES = {
    "vae": ("vae.network.units=[16, 12]", "vae.network.latent=3"),
    "idnn": ("idnn.network.units=[16, 12]", "idnn.network.latent=3"),
    "mobilenet_v2": ("mobilenet_v2.network.alpha=0.35",),
    "aegan_ad": (
        *("feature.n_mels=16", "feature.n_frames=16", "aegan_ad.network.ndf=4"),
        *("aegan_ad.network.ngf=6", "aegan_ad.network.nz=5", "aegan_ad.network.generator_norm=bn"),
    ),
    "grlnet": ("grlnet.feature.n_frames=512", "grlnet.network.channels=[2, 3, 4, 5]"),
    "stgram_mfn": ("stgram_mfn.network.seconds=0.512", "feature.n_fft=512"),
    **{
        name: (
            *(f"{name}.network.width=16", f"{name}.network.squeeze=2"),
            f"{name}.network.spectrograms={spectrograms}",
        )
        for name, spectrograms in (
            ("dis_spec", [[256, 128]]),
            ("dis_multispec", [[128, 64], [256, 128]]),
        )
    },
    "anomaly_transformer": (
        *("feature.n_mels=24", "anomaly_transformer.network.d_model=16"),
        *("anomaly_transformer.network.heads=2", "anomaly_transformer.network.n_layers=2"),
        "anomaly_transformer.network.d_ff=20",
    ),
}
TORCH = tuple(system for system in UNREAD if system not in OFFICIAL)


@functools.cache
def small(system: str) -> Any:
    """Return a small network of a system with weights of its own, and three classes."""
    pairs = [assignment(text) for text in (*UNREAD[system], *SIZES.get(system, ()))]
    values = settings.read_config(None, pairs)
    param = values.for_system(system).for_machine("fan")
    joint = param.joint
    return keras_model.build_system(param, [f"fan {s}" if joint else s for s in SECTIONS])


def published_by(network: Any) -> dict[str, np.ndarray]:
    """Return a network's weights under the names and in the shapes of its release."""
    return {
        name: np.ascontiguousarray(
            variable.numpy() if axes is None else variable.numpy().transpose(np.argsort(axes))
        )
        for name, (variable, axes) in network.checkpoint_variables().items()
    }


def assign(network: Any, tensors: dict[str, np.ndarray]) -> None:
    """Give a network the weights of its release."""
    variables = network.checkpoint_variables()
    assert {name: value.shape for name, value in tensors.items()} == {
        name: value.shape for name, value in published_by(network).items()
    }, "the file in torch/ is of another network: python -m tests.checkpoints.write_torch"
    for name, (variable, axes) in variables.items():
        variable.assign(tensors[name] if axes is None else tensors[name].transpose(axes))


def parts(system: str, tensors: dict[str, np.ndarray]) -> dict[str, Any]:
    """Return what a system's release puts into which of its files; counters beside batch norms."""
    tensors = dict(tensors)
    for name in [name for name in tensors if name.endswith("running_mean")]:
        tensors[name.replace("running_mean", "num_batches_tracked")] = np.array(7)

    def below(prefix: str) -> OrderedDict[str, np.ndarray]:
        return OrderedDict(
            (name.removeprefix(prefix), value)
            for name, value in tensors.items()
            if name.startswith(prefix)
        )

    if system == "aegan_ad":
        tree = {"netD": below("netD."), "netG": below("netG."), "best_hmean": np.float64(0.7)}
        return {"fan.pth": tree}
    if system == "grlnet":
        # In another order than they are named in the readme.
        files = {"discriminator": "D.pth", "local": "L.pth", "regional": "R.pth"}
        return {file: below(f"{network}.") for network, file in files.items()}
    if system in ("dis_spec", "dis_multispec"):
        return {"last.ckpt": {"epoch": 15, "state_dict": below("")}}
    if system == "anomaly_transformer":
        return {"checkpoint.pth": below("")}
    return {"best_checkpoint.pth.tar": {"epoch": 3, "optimizer": None, "model": below("")}}


def write(system: str, tensors: dict[str, np.ndarray], folder: Path) -> list[Path]:
    """Write a checkpoint in the form of its release; return its files."""
    if system in OFFICIAL and any("/" in name for name in tensors):
        return [write_hdf5(tensors, folder / "model_fan.hdf5")]
    trees = parts(system, tensors)
    for file, tree in trees.items():
        torch_format.save(tree, folder / file)
    return [folder / file for file in trees]


def write_hdf5(tensors: dict[str, np.ndarray], path: Path) -> Path:
    """In the layout of Keras 2.8, whose layer numbers go on where an earlier model's ended."""
    layers = list(dict.fromkeys(name.rpartition("/")[0] for name in tensors))
    with h5py.File(path, "w") as file:
        group = file.create_group("model_weights")
        group.attrs["layer_names"] = [layer.encode() for layer in layers]
        for layer in layers:
            names = [name for name in tensors if name.rpartition("/")[0] == layer]
            group.create_group(layer).attrs["weight_names"] = [f"{name}:0" for name in names]
            for name in names:
                group[layer][f"{name}:0"] = tensors[name]
    return path
