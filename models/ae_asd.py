"""What the checkpoints of one release, AE-ASD, have in common: dense networks in PyTorch.

Source: liuyoude/AE-ASD (MIT). It has the systems of `dense_ae.py`, `vae.py` and `idnn.py`.
"""

from __future__ import annotations

from typing import Any

from checkpoints.inferred_settings import Tensors, depth_of, size_of

# How the release computes log-mel and batch normalisation, which no tensor shows.
IMPLIED: dict[str, Any] = {
    "feature.mel_scale": "htk",
    "feature.mel_norm": "none",
    "feature.pad_mode": "reflect",
    "feature.floor": 1e-10,
    "network.momentum": 0.9,
    "network.epsilon": 1e-5,
}
# Axis and name of the tensors that show how many values the network takes, and gives.
INPUT = (1, r"encoder\.0\.liner\.weight")
OUTPUT = (0, r"decoder\.\d+\.(weight|bias)")


def input_and_output(tensors: Tensors) -> tuple[int | None, int | None]:
    """Return how many values the network takes and gives; None where no tensor shows it."""
    return size_of(tensors, INPUT), size_of(tensors, OUTPUT)


def has_latent_heads(tensors: Tensors) -> bool:
    """Say whether the tensors are of the variational autoencoder, which has heads of its own."""
    return any(name.startswith("fc_") for name in tensors)


def block_width(tensors: Tensors, place: str) -> int | None:
    """Return the outputs of a linear layer with its batch normalisation; None: not shown.

    place : a pattern, such as "fc_(mean|z)"
    """
    return size_of(tensors, (0, rf"{place}\.(liner|bn)\.\w+"))


def encoder_widths(tensors: Tensors) -> list[int | None]:
    """Return the outputs of every block of the encoder, from the input on."""
    depth = depth_of(tensors, r"encoder\.(\d+)\.")
    return [block_width(tensors, rf"encoder\.{index}") for index in range(depth)]
