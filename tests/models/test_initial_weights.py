"""The initial weights of every system against its original's rule.

Names, shapes and axes are those of the original's tensors: `checkpoint_variables` has them.
"""

from __future__ import annotations

import math
import re
from typing import Any, NamedTuple

import numpy as np
import pytest
import scipy.stats

import keras_model
from core import settings
from core.system_settings import system_classes

# The seed is fixed, so a right rule passes or fails once and for all; a wrong one is far below.
SMALLEST_P = 1e-5
STANDARD_ERRORS = 5  # of a standard deviation from its rule's
MOST_VALUES = 20000  # of a tensor, for the Kolmogorov-Smirnov test
FEWEST_VALUES = 100  # with fewer the distribution of a tensor tells little


class Rule(NamedTuple):
    """A distribution: uniform within `scale` of `mean`, or normal; a constant has no scale."""

    kind: str
    scale: float = 0.0
    mean: float = 0.0


def torch_default(name: str, tensors: dict[str, np.ndarray]) -> Rule:
    """Of PyTorch's linear layers and convolutions: uniform within 1 / sqrt(fan-in), bias too."""
    weight = tensors[re.sub("bias$", "weight", name)]
    return Rule("uniform", math.prod(weight.shape[1:]) ** -0.5)


def glorot(name: str, tensors: dict[str, np.ndarray]) -> Rule:
    """Of Keras, its axes (kernel..., in, out); a depthwise kernel has one output by this rule."""
    *kernel, fan_in, fan_out = tensors[name].shape
    return Rule("uniform", math.sqrt(6 / (math.prod(kernel) * (fan_in + fan_out))))


def xavier(name: str, tensors: dict[str, np.ndarray]) -> Rule:
    """Of PyTorch's `xavier_uniform_` for a matrix."""
    return Rule("uniform", math.sqrt(6 / sum(tensors[name].shape)))


def by_outputs(name: str, tensors: dict[str, np.ndarray]) -> Rule:
    """Of MobileFaceNet's convolutions: normal, by the kernel's area and the outputs."""
    outputs, _, *kernel = tensors[name].shape
    return Rule("normal", math.sqrt(2 / (math.prod(kernel) * outputs)))


def kaiming(name: str, tensors: dict[str, np.ndarray]) -> Rule:
    """Of PyTorch's `kaiming_normal_` with its slope left at 0."""
    return Rule("normal", math.sqrt(2 / math.prod(tensors[name].shape[1:])))


def dcgan(name: str, tensors: dict[str, np.ndarray]) -> Rule:
    """Of AEGAN-AD's weights: convolutions and the gains of batch norms are drawn, no others."""
    if tensors[name].ndim == 4:
        return Rule("normal", 0.02)
    with_statistics = re.sub("weight$", "running_mean", name) in tensors
    return Rule("normal", 0.02, mean=1.0) if with_statistics else ONES


def torch_layer(name: str, tensors: dict[str, np.ndarray]) -> Rule:
    """Of PyTorch's layers: a norm's weight has one axis, that of others more."""
    if tensors[re.sub("bias$", "weight", name)].ndim > 1:
        return torch_default(name, tensors)
    return ZEROS if name.endswith("bias") else ONES


ZEROS, ONES = Rule("constant"), Rule("constant", mean=1.0)
KERAS = [
    (r".*/(gamma|moving_variance)", ONES),
    (r".*/(beta|moving_mean|bias)", ZEROS),
    (r".*/(depthwise_)?kernel", glorot),
]
RUNNING = [(r".*\.running_mean", ZEROS), (r".*\.running_var", ONES)]
TORCH = [*RUNNING, (r".*\.(weight|bias)", torch_layer)]
DISCRIMINATIVE = [*RUNNING, (r"head_dict\.main\.W", xavier), (r".*\.weight", torch_default)]
# System → (pattern of a whole name, rule); the first that fits counts.
RULES: dict[str, list[tuple[str, Any]]] = {
    "ae": KERAS,
    "vae": TORCH,
    "idnn": TORCH,
    "mobilenet_v2": KERAS,
    "aegan_ad": [
        *RUNNING,
        (r"netD\.output_layer\.2\..*", torch_default),
        (r"netD\.output_layer\.0\.weight", ONES),
        (r".*\.weight", dcgan),
        (r".*\.bias", ZEROS),
    ],
    "grlnet": [
        *RUNNING,
        (r".*\.layernorm\.weight", ONES),
        (r".*\.layernorm\.bias", ZEROS),
        (r".*\.(weight|bias)", torch_layer),
    ],
    "stgram_mfn": [
        *RUNNING,
        (r"arcface\.weight", xavier),
        (r"mobilefacenet\.fc_out\.(weight|bias)", torch_default),
        (r"tgramnet\..*\.(weight|bias)", torch_layer),
        (r"mobilefacenet\..*(prelu|conv\.[25])\.weight", Rule("constant", mean=0.25)),
        (r"mobilefacenet\..*(bn|conv\.[147])\.weight", ONES),
        (r"mobilefacenet\..*(bn|conv\.[147])\.bias", ZEROS),
        (r"mobilefacenet\..*\.weight", by_outputs),
    ],
    "dis_spec": DISCRIMINATIVE,
    "dis_multispec": DISCRIMINATIVE,
    "anomaly_transformer": [
        (r".*tokenConv\.weight", kaiming),
        (r".*\.(weight|bias)", torch_layer),
        # No checkpoint has these: what is learnt from the training frames, before any.
        (r"mean", ZEROS),
        (r"deviation", ONES),
    ],
}
# Settings whose layers the shipped ones do not have.
VARIANTS: list[tuple[str, tuple[str, Any]]] = [
    ("aegan_ad", ("aegan_ad.network.generator_norm", "bn")),
    ("stgram_mfn", ("stgram_mfn.network.sub_centers", 2)),
]


def initial_tensors(name: str, assignments: list[tuple[str, Any]]) -> dict[str, np.ndarray]:
    """Every weight of a system of the shipped settings: published name → tensor, published axes.

    A weight that no checkpoint has stands by its own name.
    """
    run = settings.read_config(None, assignments).for_system(name)
    system = keras_model.build_system(run, ["fan section_00", "fan section_01", "fan section_02"])
    published = {
        id(variable): (tensor, axes)
        for tensor, (variable, axes) in system.checkpoint_variables().items()
    }
    tensors = {}
    for variable in system.weights:
        tensor, axes = published.get(id(variable), (variable.name, None))
        values = variable.numpy().astype(np.float64)
        tensors[tensor] = values if axes is None else values.transpose(np.argsort(axes))
    assert len(tensors) == len(system.weights)
    return tensors


def rule_of(system: str, name: str, tensors: dict[str, np.ndarray]) -> Rule:
    """Return the rule of a tensor; every one has one."""
    fitting = (rule for pattern, rule in RULES[system] if re.fullmatch(pattern, name))
    rule = next(fitting, None)
    assert rule is not None, f"{name}: no rule says how it starts"
    return rule(name, tensors) if callable(rule) else rule


def assert_follows(values: np.ndarray, rule: Rule, what: str) -> None:
    """Values lie within the bounds of a rule, with its deviation and its distribution."""
    if rule.kind == "constant":
        assert np.all(values == np.float32(rule.mean)), f"{what}: not all are {rule.mean}"
        return
    values = (values.ravel() - rule.mean) / rule.scale
    if rule.kind == "uniform":
        assert np.abs(values).max() <= 1 + 1e-6, f"{what}: beyond the bound {rule.scale:.3g}"
        deviation, fourth, distribution = 3**-0.5, 1.8, scipy.stats.uniform(-1, 2).cdf
    else:
        deviation, fourth, distribution = 1.0, 3.0, scipy.stats.norm.cdf
    if len(values) < FEWEST_VALUES:
        return
    error = deviation * ((fourth - 1) / 4 / len(values)) ** 0.5
    off = abs(values.std() - deviation) / error
    assert off <= STANDARD_ERRORS, f"{what}: deviation {values.std() * rule.scale:.4g}"
    chosen = np.random.default_rng(0).permutation(values)[:MOST_VALUES]
    p = scipy.stats.kstest(chosen, distribution).pvalue
    assert p >= SMALLEST_P, f"{what}: not {rule.kind}, p = {p:.1e}"


def test_every_system_has_rules() -> None:
    assert set(RULES) == {name for name, kind in system_classes().items() if kind.has_network}


@pytest.mark.parametrize(
    ("system", "assignments"),
    [*((name, []) for name in RULES), *((name, [given]) for name, given in VARIANTS)],
)
def test_the_initial_weights_follow_the_rule(system: str, assignments: list) -> None:
    tensors = initial_tensors(system, assignments)
    random, short = [], {}
    for name, values in tensors.items():
        rule = rule_of(system, name, tensors)
        assert_follows(values, rule, name)
        if rule.kind != "constant":
            random.append(values.ravel()[:4].tobytes())
            scaled = (values.ravel() - rule.mean) / rule.scale
            short.setdefault(rule.kind, []).append(scaled[:FEWEST_VALUES])
    for kind, scaled in short.items():
        assert_follows(np.concatenate(scaled), Rule(kind, 1.0), f"the {kind} ones of {system}")
    assert len(set(random)) == len(random), "two tensors start from the same numbers"
