"""What every key of `baseline.yaml` must be."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

SYSTEMS = (
    *("ae", "vae", "idnn", "mobilenet_v2"),
    *("aegan_ad", "grlnet", "stgram_mfn", "anomaly_transformer"),
)
AEGAN_AD_SCORES = (
    *("D_maha", "D_knn", "D_lof", "D_cos"),
    *("G_x_2_sum", "G_x_2_min", "G_x_2_max", "G_x_1_sum", "G_x_1_min", "G_x_1_max"),
    *("G_z_2_sum", "G_z_2_min", "G_z_2_max", "G_z_1_sum", "G_z_1_min", "G_z_1_max"),
    *("G_z_cos_sum", "G_z_cos_min", "G_z_cos_max"),
)


class Check(NamedTuple):
    """What a value of the config must be: in words, and as a function that raises ValueError."""

    expected: str
    convert: Callable[[Any], Any]


def _number(kind: type, low: float, high: float) -> Callable[[Any], Any]:
    def convert(value: Any) -> Any:
        if isinstance(value, bool):
            raise ValueError
        # YAML 1.1 reads 1e-3 as text; nobody who writes it means text.
        number = float(value) if isinstance(value, (int, float, str)) else None
        if number is None or not low <= number <= high or kind(number) != number:
            raise ValueError
        return kind(number)

    return convert


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError
    return value


def _boolean(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError
    return value


def _one_of(*choices: Any) -> Check:
    def convert(value: Any) -> Any:
        if value not in choices or isinstance(value, bool):
            raise ValueError
        return value

    return Check("one of " + ", ".join(str(choice) for choice in choices), convert)


def _counts(value: Any) -> list[int]:
    if not isinstance(value, list) or not value:
        raise ValueError
    return [COUNT.convert(width) for width in value]


def _four_counts(value: Any) -> list[int]:
    if len(_counts(value)) != 4:
        raise ValueError
    return _counts(value)


def _parts(value: Any) -> list[list[int]]:
    if not isinstance(value, list) or not value:
        raise ValueError
    return [_four_counts(part) for part in value]


def _even(value: Any) -> int:
    if COUNT.convert(value) % 2:
        raise ValueError
    return int(value)


def _or_nothing(check: Check) -> Check:
    return Check(
        f"{check.expected}, or nothing",
        lambda value: None if value is None else check.convert(value),
    )


def _blocks(value: Any) -> list[dict[str, Any]]:
    if not isinstance(value, list) or not all(isinstance(block, dict) for block in value):
        raise ValueError
    return value


TEXT = Check("a text", _text)
BOOLEAN = Check("true or false", _boolean)
COUNT = Check("a whole number of 1 or more", _number(int, 1, 2**31))
COUNTS = Check("a list of whole numbers of 1 or more", _counts)
NATURAL = Check("a whole number of 0 or more", _number(int, 0, 2**31))
POSITIVE = Check("a number above 0", _number(float, 1e-300, 1e300))
FRACTION = Check("a number between 0 and 1", _number(float, 0, 1))
NOT_NEGATIVE = Check("a number of 0 or more", _number(float, 0, 1e300))
PART = Check("a number of 0 or more and below 1", _number(float, 0, 1 - 1e-9))
INSIDE = Check("a number above 0 and below 1", _number(float, 1e-9, 1 - 1e-9))

# What any system's block may hold, beside keys of its own.
SHARED: dict[str, Any] = {
    "feature": {
        "input": _one_of("log_mel", "waveform"),
        "sample_rate": COUNT,
        "channel": _one_of("first", "mix"),
        "n_mels": COUNT,
        "n_frames": COUNT,
        "n_hop_frames": COUNT,
        "n_fft": COUNT,
        "hop_length": COUNT,
        "power": POSITIVE,
        "mel_scale": _one_of("slaney", "htk"),
        "mel_norm": _one_of("slaney", "none"),
        "pad_mode": _one_of("constant", "reflect"),
        "floor": POSITIVE,
        "top_db": Check("a number of 0 or more (0: no limit)", _number(float, 0, 1e9)),
    },
    "fit": {
        "lr": POSITIVE,
        "beta_1": PART,
        "beta_2": PART,
        "epsilon": POSITIVE,
        "epochs": COUNT,
        "batch_size": COUNT,
        "shuffle": BOOLEAN,
        "validation_split": PART,
        "verbose": _one_of(0, 1, 2),
        "precision": _one_of("float32", "mixed_float16", "mixed_bfloat16"),
    },
    "decision_threshold": INSIDE,
    "threshold_scope": _one_of("section", "machine_type"),
}

ANY = "*"  # in a schema: every name that is not listed


def _with_machines(block: dict[str, Any]) -> dict[str, Any]:
    return {**block, "machines": {ANY: block}}


_DENSE = {
    **SHARED,
    "network": {"units": COUNTS, "latent": COUNT, "momentum": FRACTION, "epsilon": POSITIVE},
}
_MOBILENET_V2 = {
    **SHARED,
    "network": {"alpha": POSITIVE, "momentum": FRACTION},
    "unseen_section": _one_of("error", "last_class"),
}
_GRLNET = {
    **SHARED,
    "fit": {**SHARED["fit"], "lr_discriminator": POSITIVE},
    "network": {
        "channels": Check("a list of four whole numbers of 1 or more", _four_counts),
        "kernel_regional": COUNT,
        "kernel_local": COUNT,
        "kernel_discriminator": COUNT,
        "alpha": FRACTION,
        "adversarial_training_factor": FRACTION,
        "comprehensive_output_factor": FRACTION,
    },
    "equal_error": BOOLEAN,
}
_STGRAM_MFN = {
    **SHARED,
    "fit": {**SHARED["fit"], "schedule_start": NATURAL, "lr_floor": FRACTION},
    "network": {
        "seconds": POSITIVE,
        "bottlenecks": Check("a list of lists of four whole numbers of 1 or more", _parts),
        "margin": FRACTION,
        "scale": POSITIVE,
        "sub_centers": COUNT,
        "gmm": NATURAL,
    },
}
_ANOMALY_TRANSFORMER = {
    **SHARED,
    "network": {
        "d_model": Check("an even number of 2 or more", _even),
        "heads": COUNT,
        "n_layers": COUNT,
        "d_ff": COUNT,
        "k": POSITIVE,
        "temperature": POSITIVE,
        "standardise": BOOLEAN,
    },
}
_AEGAN_AD_NORM = _one_of("ln", "bn", "in")
_AEGAN_AD_ACT = _one_of("leakyrelu", "relu", "tanh")
_AEGAN_AD: dict[str, Any] = {
    **SHARED,
    "fit": {
        **SHARED["fit"],
        "deval": BOOLEAN,
        "ncritic": COUNT,
        "lambda_gp": NOT_NEGATIVE,
        "feat_match_eff": NOT_NEGATIVE,
        "match_mu": NOT_NEGATIVE,
        "match_sigma": NOT_NEGATIVE,
    },
    "network": {
        "nz": COUNT,
        "ndf": COUNT,
        "ngf": Check("a whole number of 2 or more", _number(int, 2, 2**31)),
        "generator_norm": _AEGAN_AD_NORM,
        "discriminator_norm": _AEGAN_AD_NORM,
        "encoder_first_norm": BOOLEAN,
        "encoder_act": _AEGAN_AD_ACT,
        "decoder_act": _AEGAN_AD_ACT,
        "layer_norm_epsilon": POSITIVE,
        "batch_norm_epsilon": POSITIVE,
        "batch_norm_momentum": FRACTION,
    },
    "score": _one_of(*AEGAN_AD_SCORES),
}

# What a challenge package says of every system, or of one of them, or of an ensemble by its name.
_DESCRIPTION = {
    key: _or_nothing(TEXT)
    for key in (
        *("input_sampling_rate", "data_augmentation", "front_end", "acoustic_features"),
        *("embeddings", "machine_learning_method", "aggregation_method"),
        *("domain_adaptation_method", "domain_generalization_method", "decision_making"),
        *("external_data_usage", "development_data_usage"),
    )
}
_BLOCKS = Check("a list of blocks of keys", _blocks)
_SUBMISSION = {
    "author": _or_nothing(TEXT),
    "institute": _or_nothing(TEXT),
    "authors": _or_nothing(_BLOCKS),
    "source_code": _or_nothing(TEXT),
    "external_datasets": _or_nothing(_BLOCKS),
    "description": _DESCRIPTION,
    "systems": {
        ANY: {"name": _or_nothing(TEXT), "abbreviation": _or_nothing(TEXT), **_DESCRIPTION}
    },
}

SCHEMA: dict[str, Any] = {
    "dev_directory": TEXT,
    "eval_directory": TEXT,
    "model_directory": TEXT,
    "result_directory": TEXT,
    "cache_directory": TEXT,
    "result_file": TEXT,
    "max_fpr": Check("a number above 0, at most 1", _number(float, 1e-9, 1)),
    "seed": NATURAL,
    **SHARED,
    "ae": _with_machines(_DENSE),
    "vae": _with_machines(_DENSE),
    "idnn": _with_machines(_DENSE),
    "mobilenet_v2": _with_machines(_MOBILENET_V2),
    "aegan_ad": {
        **_with_machines(_AEGAN_AD),
        "release": _one_of("dcase2022", "dcase2020"),
        "releases": {
            "dcase2022": _with_machines(_AEGAN_AD),
            "dcase2020": _with_machines(_AEGAN_AD),
        },
    },
    "grlnet": _with_machines(_GRLNET),
    "stgram_mfn": _STGRAM_MFN,
    "anomaly_transformer": _with_machines(_ANOMALY_TRANSFORMER),
    "submission": _SUBMISSION,
}
