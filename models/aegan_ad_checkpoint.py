"""The sizes and norms of AEGAN-AD's networks, inferred from the tensors of its checkpoint."""

from __future__ import annotations

from typing import Any

from checkpoints.inferred_settings import (
    Tensors,
    check_network_size,
    depth_of,
    most_frequent,
    size_of,
    sizes_of,
)


def infer_values(tensors: Tensors) -> dict[str, Any]:
    """Return dotted keys of settings → the values that the tensors show; None where none does.

    Every level of a network halves or doubles its image, so that the number of levels gives the
    side of an image: 4 * 2 ** levels.

    Raises ValueError where the networks have no level or more than 8, or would be far larger than
    the checkpoint.
    """
    levels = depth_of(tensors, r"netD\.main\.(\d+)\.")
    if not 1 <= levels <= 8:
        raise ValueError(f"netD has {levels} levels, not 1 to 8")
    end = depth_of(tensors, r"netG\.Encoder\.main\.(\d+)\.") - 1
    last = depth_of(tensors, r"netG\.Decoder\.main\.(\d+)\.") - 1
    nz = rf"netG\.(Decoder\.main\.0|Encoder\.main\.{end})\.weight"
    ndf = r"netG\.Encoder\.main\.[01]\.\w+|netD\.main\.0\.[01]\.\w+"
    ngf = sizes_of(tensors, 0, rf"netG\.Decoder\.main\.({last}|{last - 2})\.\w+")
    # The decoder's first layer is 2 ** (levels - 1) times as wide as its last one.
    first = sizes_of(tensors, 1, r"netG\.Decoder\.main\.0\.weight")
    ngf += [size >> levels - 1 for size in first]
    values = {
        "feature.n_frames": 4 << levels,
        "feature.n_mels": 4 << levels,
        "network.ndf": size_of(tensors, (0, ndf)),
        "network.ngf": most_frequent(ngf),
        "network.nz": size_of(tensors, (0, nz)),
        "network.generator_norm": _norm_of(tensors, r"netG\.\w+\.main\.\d+\."),
        "network.discriminator_norm": _norm_of(tensors, r"netD\.main\.\d+\.1\."),
    }
    if values["network.generator_norm"] == "in":  # which has no tensors, but takes a place
        first_norm = "netG.Encoder.main.2.weight" not in tensors
    else:
        first_norm = any(name.startswith("netG.Encoder.main.1.") for name in tensors)
    widths = [(values[f"network.{key}"] or 1) << levels - 1 for key in ("ndf", "ngf")]
    # The last convolution of a network, and the first norm of an image.
    check_network_size(tensors, 8 * max(widths) ** 2 + min(widths) * 4**levels)
    return {**values, "network.encoder_first_norm": first_norm}


def _norm_of(tensors: Tensors, place: str) -> str:
    """Return the kind of norm, "bn", "ln" or "in", whose tensors' names begin with the pattern."""
    if size_of(tensors, (0, place + "running_mean")):
        return "bn"
    return "ln" if size_of(tensors, (2, place + "bias")) else "in"
