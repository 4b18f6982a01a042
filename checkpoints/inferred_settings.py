"""The settings that the tensors of published checkpoints tell, system by system.

A size is read from every tensor that shows it, and the most frequent value counts, so that one
tensor of a wrong shape is named as such instead of being believed.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from core.run_settings import SystemSettings

Tensors = dict[str, np.ndarray]

DEEPEST = 64  # layers; published networks have up to 10
SLACK = 2**24  # weights that a network may have beyond four times the checkpoint's
MOBILENET_WIDTHS = (16, 24, 32, 64, 96, 160, 320)  # of the blocks' outputs, with alpha 1
ALPHAS = (0.35, 0.5, 0.75, 1.0, 1.3, 1.4)

# How AE-ASD makes its features and its batch normalisation, which no tensor shows.
AE_ASD = {
    "feature.mel_scale": "htk",
    "feature.mel_norm": "none",
    "feature.pad_mode": "reflect",
    "feature.floor": 1e-10,
    "network.momentum": 0.9,
    "network.epsilon": 1e-5,
}


class Published(NamedTuple):
    """What a published checkpoint says.

    tensors : by the names of `System.checkpoint_variables`; where `ae_asd` is set, of
        `checkpoint_variables_ae_asd`
    settings : dotted key → the value that the tensors show
    implied : dotted key → the value that goes with the release, though no tensor shows it
    classes : sections that a classifier tells apart; 0 of other systems
    """

    tensors: Tensors
    settings: dict[str, Any]
    implied: dict[str, Any]
    classes: int = 0
    ae_asd: bool = False


def read(system: str, tensors: Tensors, param: SystemSettings) -> Published:
    """What the tensors of a checkpoint say beside their values.

    Parameters
    ----------
    system : the name of the system
    tensors : what `published.gather` returned
    param : the settings, as they would be without the checkpoint

    Raises
    ------
    ValueError : where the tensors cannot be of this system, or leave open what the settings do not
        say either.
    """
    return {
        "ae": _dense_ae,
        "vae": _vae,
        "idnn": _idnn,
        "mobilenet_v2": _mobilenet_v2,
        "aegan_ad": _aegan_ad,
        "grlnet": _grlnet,
        "stgram_mfn": _stgram_mfn,
        "anomaly_transformer": _anomaly_transformer,
    }[system](tensors, param)


def sizes_of(tensors: Tensors, axis: int, pattern: str) -> list[int]:
    """The sizes along an axis of the tensors whose names match."""
    return [
        tensor.shape[axis]
        for name, tensor in tensors.items()
        if re.fullmatch(pattern, name) and tensor.ndim > axis
    ]


def usual(sizes: Iterable[int]) -> int | None:
    """The most frequent size; None of none."""
    counted = Counter(sizes).most_common(1)
    return counted[0][0] if counted else None


def _depth(tensors: Tensors, pattern: str) -> int:
    """One more than the greatest number that the pattern's group finds."""
    found = [re.match(pattern, name) for name in tensors]
    depth = 1 + max((int(match[1]) for match in found if match), default=-1)
    if depth > DEEPEST:
        raise ValueError(f"{depth} layers are more than any checkpoint has")
    return depth


def _known(settings: dict[str, Any]) -> dict[str, Any]:
    """Without what no tensor shows."""
    return {
        key: value
        for key, value in settings.items()
        if value is not None and not (isinstance(value, list) and (None in value or not value))
    }


def _check_held(tensors: Tensors, weights: int) -> None:
    """Raise where a network of so many weights would be far larger than the checkpoint.

    A few small tensors could else ask for one that fills the memory.
    """
    held = sum(tensor.size for tensor in tensors.values())
    if weights > 4 * held + SLACK:
        raise ValueError(f"its sizes make a network of {weights} weights, and it holds {held}")


def _between(widths: Iterable[int | None]) -> int:
    """The weights between layers of so many values, one after the other."""
    told = [width or 1 for width in widths]
    return sum(a * b for a, b in pairwise(told))


def _block_width(tensors: Tensors, at: str) -> int | None:
    """Outputs of a linear layer with its batch normalisation, as AE-ASD names them."""
    return usual(sizes_of(tensors, 0, rf"{at}\.(liner|bn)\.\w+"))


def _window(dim: int | None, param: SystemSettings) -> dict[str, Any]:
    """n_frames and n_mels of vectors of so many values; one of both may follow from the other."""
    keys = ("feature.n_frames", "feature.n_mels")
    sizes = [param.value(key) for key in keys]
    if dim is None or math.prod(sizes) == dim:
        return {}
    told = [param.is_given(key) for key in keys]
    if told == [True, False] and dim % sizes[0] == 0:
        return {keys[1]: dim // sizes[0]}
    if told == [False, True] and dim % sizes[1] == 0:
        return {keys[0]: dim // sizes[1]}
    raise ValueError(
        f"its vectors have {dim} values, but feature.n_frames × feature.n_mels is "
        f"{sizes[0]} × {sizes[1]}; say both with --set"
    )


def _dense_ae(tensors: Tensors, param: SystemSettings) -> Published:
    if "dense/kernel" not in tensors and any("liner" in name for name in tensors):
        depth = _depth(tensors, r"encoder\.(\d+)\.")
        widths = [_block_width(tensors, rf"encoder\.{index}") for index in range(depth)]
        dims = sizes_of(tensors, 1, r"encoder\.0\.liner\.weight")
        dims += sizes_of(tensors, 0, rf"decoder\.{depth - 1}\.(weight|bias)")
    else:
        last = _depth(tensors, r"dense_(\d+)/") - 1
        widths = []
        for number in ["", *(f"_{index}" for index in range(1, last // 2 + 1))]:
            places = rf"(dense{number}/bias|batch_normalization{number}/\w+)"
            sizes = sizes_of(tensors, 1, f"dense{number}/kernel")
            widths.append(usual(sizes + sizes_of(tensors, 0, places)))
        dims = sizes_of(tensors, 0, "dense/kernel|" + rf"dense_{last}/bias")
        dims += sizes_of(tensors, 1, rf"dense_{last}/kernel")
    dim = usual(dims)
    _check_held(tensors, 2 * _between([dim, *widths]))
    sizes = {"network.units": widths[:-1], "network.latent": widths[-1] if widths else None}
    ae_asd = "dense/kernel" not in tensors and "encoder.0.liner.bias" in tensors
    return Published(
        tensors,
        _known({**_window(dim, param), **sizes}),
        AE_ASD if ae_asd else {},
        ae_asd=ae_asd,
    )


def _vae(tensors: Tensors, param: SystemSettings) -> Published:
    depth = _depth(tensors, r"encoder\.(\d+)\.")
    inside = usual(sizes_of(tensors, 1, r"encoder\.0\.liner\.weight"))
    outside = usual(sizes_of(tensors, 0, rf"decoder\.{depth}\.(weight|bias)"))
    if None not in (inside, outside) and inside > outside and inside % outside == 0:
        raise ValueError(
            f"it makes {outside} values of {inside}, so it guesses frames from their neighbours; "
            "vae rebuilds what it is given"
        )
    widths = [_block_width(tensors, rf"encoder\.{index}") for index in range(depth)]
    latent = _block_width(tensors, "fc_(mean|logvar|z)")
    _check_held(tensors, 2 * _between([inside or outside, *widths, latent]))
    sizes = {"network.units": widths, "network.latent": latent}
    return Published(tensors, _known({**_window(outside or inside, param), **sizes}), AE_ASD)


def _idnn(tensors: Tensors, param: SystemSettings) -> Published:
    depth = _depth(tensors, r"encoder\.(\d+)\.")
    widths = [_block_width(tensors, rf"encoder\.{index}") for index in range(depth)]
    around = usual(sizes_of(tensors, 1, r"encoder\.0\.liner\.weight"))
    n_mels = usual(sizes_of(tensors, 0, rf"decoder\.{depth - 1}\.(weight|bias)"))
    _check_held(tensors, 2 * _between([around, *widths]))
    whole = None not in (around, n_mels) and around % n_mels == 0
    if around is not None and around == n_mels and param.value("feature.n_frames") != 2:
        raise ValueError("it rebuilds what it is given, so it looks like one of ae, not of idnn")
    return Published(
        tensors,
        _known(
            {
                "feature.n_mels": n_mels,
                "feature.n_frames": around // n_mels + 1 if whole else None,
                "network.units": widths[:-1],
                "network.latent": widths[-1] if widths else None,
            }
        ),
        AE_ASD,
    )


def _mobilenet_v2(tensors: Tensors, param: SystemSettings) -> Published:
    def widths(alpha: float) -> list[int]:
        # As Keras rounds: to a multiple of 8, and down by no more than a tenth.
        made = [max(8, int(width * alpha + 4) // 8 * 8) for width in MOBILENET_WIDTHS]
        wanted = [width * alpha for width in MOBILENET_WIDTHS]
        return [m + 8 if m < 0.9 * w else m for m, w in zip(made, wanted, strict=True)]

    # Where each width is seen first: the blocks 0, 1, 3, 6, 10, 13 and 16.
    seen = [
        usual(sizes_of(tensors, 0, rf"{block}project_BN/\w+"))
        for block in ("expanded_conv_", *(f"block_{index}_" for index in (1, 3, 6, 10, 13, 16)))
    ]

    def fits(alpha: float) -> bool:
        pairs = zip(seen, widths(alpha), strict=True)
        return sum(size not in (None, width) for size, width in pairs) <= 1

    alphas = [param.value("network.alpha"), *ALPHAS]
    alpha = next((alpha for alpha in alphas if fits(alpha)), None)
    if alpha is None:
        raise ValueError(
            f"its blocks have {seen} channels, which is none of the widths {ALPHAS}; set "
            "mobilenet_v2.network.alpha"
        )
    classes = usual(
        sizes_of(tensors, 1, "predictions/kernel") + sizes_of(tensors, 0, "predictions/bias")
    )
    return Published(tensors, _known({"network.alpha": alpha}), {}, classes or 0)


def _aegan_ad(tensors: Tensors, param: SystemSettings) -> Published:
    levels = _depth(tensors, r"netD\.main\.(\d+)\.")
    if not 1 <= levels <= 8:
        raise ValueError(f"netD has {levels} levels, not 1 to 8")
    last = _depth(tensors, r"netG\.Decoder\.main\.(\d+)\.") - 1
    end = _depth(tensors, r"netG\.Encoder\.main\.(\d+)\.") - 1
    first_norm = any(name.startswith("netG.Encoder.main.1.") for name in tensors)
    norms = {
        "generator_norm": r"netG\.\w+\.main\.\d+\.",
        "discriminator_norm": r"netD\.main\.\d+\.1\.",
    }
    ngf = sizes_of(tensors, 0, rf"netG\.Decoder\.main\.({last}|{last - 2})\.\w+")
    ngf += [size >> levels - 1 for size in sizes_of(tensors, 1, r"netG\.Decoder\.main\.0\.weight")]
    nz = sizes_of(tensors, 0, rf"netG\.(Decoder\.main\.0|Encoder\.main\.{end})\.weight")
    ndf = sizes_of(tensors, 0, r"netG\.Encoder\.main\.[01]\.\w+|netD\.main\.0\.[01]\.\w+")
    made = {key: _norm(tensors, pattern) for key, pattern in norms.items()}
    if made["generator_norm"] == "in":  # which has no tensors, but takes a place
        first_norm = "netG.Encoder.main.2.weight" not in tensors
    settings = {
        "feature.n_frames": 4 << levels,
        "feature.n_mels": 4 << levels,
        "network.ndf": usual(ndf),
        "network.ngf": usual(ngf),
        "network.nz": usual(nz),
    }
    widest = [(settings[f"network.{key}"] or 1) << levels - 1 for key in ("ndf", "ngf")]
    # The last convolution of a pyramid, and the first norm of an image.
    _check_held(tensors, 8 * max(widest) ** 2 + min(widest) * 4**levels)
    settings |= {f"network.{key}": kind for key, kind in made.items()}
    return Published(tensors, {**_known(settings), "network.encoder_first_norm": first_norm}, {})


def _norm(tensors: Tensors, at: str) -> str:
    if sizes_of(tensors, 0, at + "running_mean"):
        return "bn"
    return "ln" if sizes_of(tensors, 2, at + "bias") else "in"


def _grlnet(tensors: Tensors, param: SystemSettings) -> Published:
    channels = [
        usual(
            sizes_of(tensors, 0, rf"(regional|local)\.encoder\.{place}\.(weight|bias)")
            + sizes_of(tensors, 0, rf"discriminator\.discriminator\.{place}\.(weight|bias)")
        )
        for place in (0, 3, 6, 9)
    ]
    kernels = {
        f"network.kernel_{net}": usual(sizes_of(tensors, 2, rf"{net}\.\w+\.\d+\.weight"))
        for net in ("regional", "local", "discriminator")
    }
    length = usual(sizes_of(tensors, 0, r"\w+\.gfl\.layernorm\.\w+"))
    judged = (channels[-1] or 1) * (length or 1) // 16
    widest = max(kernel or 1 for kernel in kernels.values())
    _check_held(tensors, _between(channels) * widest + judged)
    sizes = {"feature.n_frames": length, "network.channels": channels}
    return Published(tensors, _known({**sizes, **kernels}), {})


def _stgram_mfn(tensors: Tensors, param: SystemSettings) -> Published:
    rows = usual(sizes_of(tensors, 0, r"arcface\.weight"))
    classes = usual(sizes_of(tensors, 0, r"mobilefacenet\.fc_out\.\w+"))
    classes = classes or (rows or 0) // param.value("network.sub_centers")
    frames = usual(sizes_of(tensors, 0, r"tgramnet\.conv_encoder\.\d+\.0\.\w+"))
    feature, seconds = param.feature, param.value("network.seconds")
    n_samples = round(seconds * feature.sample_rate)
    if frames and n_samples // feature.hop_length + 1 != frames:
        seconds = (frames - 1) * feature.hop_length / feature.sample_rate
    _check_bottlenecks(tensors, param.value("network.bottlenecks"))
    settings = {
        "feature.n_mels": usual(
            sizes_of(tensors, 0, r"tgramnet\.(conv_extrctor|conv_encoder\.\d+\.2)\.weight")
        ),
        "feature.n_fft": usual(sizes_of(tensors, 2, r"tgramnet\.conv_extrctor\.weight")),
        "network.sub_centers": rows // classes if rows and classes and rows >= classes else None,
    }
    _check_held(tensors, frames or 1)
    return Published(tensors, {**_known(settings), "network.seconds": seconds}, {}, classes)


def _check_bottlenecks(tensors: Tensors, parts: Sequence[Sequence[int]]) -> None:
    # The strides are in no tensor, so neither the whole setting can be read.
    expected, inside = [], 64
    for expansion, channels, repeats, _ in parts:
        for _ in range(repeats):
            expected.append([inside, inside * expansion, channels])
            inside = channels
    found = []
    for index in range(_depth(tensors, r"mobilefacenet\.blocks\.(\d+)\.")):
        at = rf"mobilefacenet\.blocks\.{index}\.conv\."
        inner = usual(sizes_of(tensors, 0, at + r"[0-5]\.\w+"))
        outer = usual(sizes_of(tensors, 0, at + r"[67]\.\w+"))
        found.append([found[-1][2] if found else 64, inner, outer])
    if found != expected:
        raise ValueError(
            f"its bottlenecks widen and narrow as {found}, but those of the settings {parts} as "
            f"{expected}; say (expansion, channels, repeats, stride) with --set "
            "stgram_mfn.network.bottlenecks=[[...], ...]"
        )


def _anomaly_transformer(tensors: Tensors, param: SystemSettings) -> Published:
    layer = r"encoder\.attn_layers\.\d+\."
    d_model = usual(
        sizes_of(tensors, 0, r"encoder\.norm\.\w+|" + layer + r"norm[12]\.\w+|.*tokenConv\.weight")
    )
    bins = sizes_of(tensors, 1, r".*tokenConv\.weight") + sizes_of(tensors, 0, r"projection\.\w+")
    d_ff = sizes_of(tensors, 0, layer + r"conv1\.\w+") + sizes_of(
        tensors, 1, layer + r"conv2\.weight"
    )
    # Sines and cosines of the positions, which nobody trains.
    codes = "embedding.position_embedding.pe"
    if codes in tensors:
        if not _are_positions(tensors[codes], d_model or 0):
            raise ValueError(f"{codes} holds others than the sinusoidal position codes")
        tensors = {name: tensor for name, tensor in tensors.items() if name != codes}
    settings = {
        "feature.n_mels": usual(bins),
        "network.d_model": d_model,
        "network.heads": usual(sizes_of(tensors, 0, layer + r"attention\.sigma_projection\.\w+")),
        "network.n_layers": _depth(tensors, r"encoder\.attn_layers\.(\d+)\.") or None,
        "network.d_ff": usual(d_ff),
    }
    width, wide = d_model or 1, settings["network.d_ff"] or 1
    layers = settings["network.n_layers"] or 1
    _check_held(tensors, layers * (4 * width**2 + 2 * width * wide))
    return Published(tensors, _known(settings), {})


def _are_positions(codes: np.ndarray, d_model: int) -> bool:
    if codes.ndim != 3 or codes.shape[0] != 1 or codes.shape[2] != d_model or d_model % 2:
        return False
    rate = np.exp(-math.log(10000.0) / d_model * np.arange(0, d_model, 2))
    angle = np.arange(codes.shape[1])[:, None] * rate
    expected = np.stack([np.sin(angle), np.cos(angle)], axis=-1).reshape(codes.shape[1:])
    return bool(np.abs(codes[0] - expected).max() < 1e-2)  # float32 angles of up to 5000
