"""The command line and `baseline.yaml`: what a run was asked to do.

Imports nothing heavy, so that `--help` and every misspelling answer at once.
"""

from __future__ import annotations

import argparse
import copy
import difflib
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import yaml

__version__ = "0.1.0"

HOME = Path(__file__).resolve().parent
SYSTEMS = ("ae", "vae", "idnn", "mobilenet_v2", "grlnet", "stgram_mfn", "anomaly_transformer")


class BadInput(Exception):
    """Something the person can mend; the message says what is wrong, where, and what to do."""


class Together:
    """Collects the BadInput of several steps, so that a person is told everything at once.

    `with problems: step()` goes on after a BadInput; `problems.stop()` raises them as one.
    """

    def __init__(self) -> None:
        self.messages: list[str] = []

    def __enter__(self) -> Together:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: object) -> bool:
        if not isinstance(error, BadInput):
            return False
        self.messages.append(str(error))
        return True

    def stop(self) -> None:
        """Raise BadInput where anything was collected."""
        if self.messages:
            raise BadInput("\n".join(dict.fromkeys(self.messages)))


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


TEXT = Check("a text", _text)
BOOLEAN = Check("true or false", _boolean)
COUNT = Check("a whole number of 1 or more", _number(int, 1, 2**31))
COUNTS = Check("a list of whole numbers of 1 or more", _counts)
NATURAL = Check("a whole number of 0 or more", _number(int, 0, 2**31))
POSITIVE = Check("a number above 0", _number(float, 1e-300, 1e300))
FRACTION = Check("a number between 0 and 1", _number(float, 0, 1))
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
    },
    "decision_threshold": INSIDE,
    "threshold_scope": _one_of("section", "machine_type"),
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
    "ae": {
        **SHARED,
        "network": {"units": COUNTS, "latent": COUNT, "momentum": FRACTION, "epsilon": POSITIVE},
    },
    "vae": {
        **SHARED,
        "network": {"units": COUNTS, "latent": COUNT, "momentum": FRACTION, "epsilon": POSITIVE},
    },
    "idnn": {
        **SHARED,
        "network": {"units": COUNTS, "latent": COUNT, "momentum": FRACTION, "epsilon": POSITIVE},
    },
    "mobilenet_v2": {
        **SHARED,
        "network": {"alpha": POSITIVE, "momentum": FRACTION},
        "unseen_section": _one_of("error", "last_class"),
    },
    "grlnet": {
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
    },
    "stgram_mfn": {
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
    },
    "anomaly_transformer": {
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
    },
}


def command_line_chk(description: str, argv: list[str] | None = None) -> argparse.Namespace:
    """Parse the command line that `00_train.py` and `01_test.py` share.

    Returns
    -------
    Namespace with `mode` ("dev" or "eval"), `config` (Path), `system` (list of names),
    `machine` (list of names, empty: all), `set` (list of (key, value)), `seed` (list of int, empty:
    the config's), `jobs` (int), `force` (bool), `skip_bad` (bool).

    Exits with 2 and the usage on misuse.
    """
    parser = argparse.ArgumentParser(description=description, allow_abbrev=False)
    mode = parser.add_mutually_exclusive_group(required=True)
    mode.add_argument(
        "-d",
        "--dev",
        dest="mode",
        action="store_const",
        const="dev",
        help="work on dev_directory, the development dataset",
    )
    mode.add_argument(
        "-e",
        "--eval",
        dest="mode",
        action="store_const",
        const="eval",
        help="work on eval_directory, the evaluation dataset",
    )
    parser.add_argument("-v", "--version", action="version", version=__version__)
    parser.add_argument(
        "--config",
        type=Path,
        default=HOME / "baseline.yaml",
        metavar="FILE",
        help="settings; what a file leaves out is taken from baseline.yaml",
    )
    parser.add_argument(
        "--system",
        nargs="+",
        default=["ae"],
        metavar="NAME",
        choices=[*SYSTEMS, "all"],
        help=f"what to run: {', '.join(SYSTEMS)}, or all (default: ae)",
    )
    parser.add_argument(
        "--machine",
        nargs="+",
        default=[],
        metavar="NAME",
        help="machine types to work on (default: every folder of the dataset)",
    )
    parser.add_argument(
        "--set",
        nargs="+",
        action="extend",
        type=_assignment,
        default=[],
        metavar="KEY=VALUE",
        help="settings for this run: --set fit.epochs=10",
    )
    parser.add_argument(
        "--seed",
        nargs="+",
        type=int,
        default=[],
        metavar="N",
        help="seeds of this run (default: the config's)",
    )
    parser.add_argument(
        "--jobs",
        type=int,
        default=None,
        metavar="N",
        help="processes that extract features (default: one a core)",
    )
    parser.add_argument(
        "--force", action="store_true", help="train or score again what exists already"
    )
    parser.add_argument(
        "--skip-bad",
        action="store_true",
        help="go on without unusable clips and list them in bad_clips.csv",
    )
    args = parser.parse_args(argv)
    if "all" in args.system:
        args.system = list(SYSTEMS)
    args.system = list(dict.fromkeys(args.system))
    args.seed = list(dict.fromkeys(args.seed))
    if args.jobs is not None and args.jobs < 1:
        parser.error("argument --jobs: expected 1 or more")
    if min(args.seed, default=0) < 0:
        parser.error("argument --seed: expected 0 or more")
    return args


def _assignment(text: str) -> tuple[str, Any]:
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise argparse.ArgumentTypeError(f"'{text}' is not of the form key.path=value")
    try:
        return key, yaml.safe_load(value)
    except yaml.YAMLError:
        raise argparse.ArgumentTypeError(f"'{value}' of {key} cannot be read") from None


def yaml_load(path: Path, assignments: list[tuple[str, Any]] = ()) -> dict[str, Any]:
    """Read and check the settings of a run.

    Parameters
    ----------
    path : the config; keys that it leaves out come from the `baseline.yaml` beside this module.
    assignments : (dotted key, value) pairs of `--set`; they win over every block of the file.

    Returns
    -------
    The settings as in the file, with the assignments under "--set". `for_system` resolves them.

    Raises
    ------
    BadInput : naming every unknown key (and its nearest known one), every value of a wrong kind
        with what was expected, and every key that is missing.
    """
    given = _read(path)
    problems = _problems(given, SCHEMA, path.name)
    param = given
    if path.resolve() != HOME / "baseline.yaml":
        param = _merge(_read(HOME / "baseline.yaml"), given)
        problems += _problems(param, SCHEMA, "baseline.yaml") if not problems else []
    for key, value in assignments:
        problems += _problems(_nested(key, value), SCHEMA, "--set")
    problems += [
        f"{path.name}: {key} is missing; expected {check.expected}"
        for key, check in _missing(param)
    ]
    if problems:
        raise BadInput("\n".join(dict.fromkeys(problems)))
    param = _converted(param, SCHEMA)
    param["--set"] = [_converted(_nested(key, value), SCHEMA) for key, value in assignments]
    return param


def for_system(param: dict[str, Any], system: str, seed: int | None = None) -> dict[str, Any]:
    """Resolve the settings of one system: shared keys, then its block, then `--set`.

    `{system}` and `{seed}` in the directories are filled in.
    """
    shared = {key: value for key, value in param.items() if key not in (*SYSTEMS, "--set")}
    resolved = _merge(copy.deepcopy(shared), param.get(system) or {})
    for tree in param["--set"]:
        resolved = _merge(resolved, {k: v for k, v in tree.items() if k not in SYSTEMS})
    for tree in param["--set"]:
        resolved = _merge(resolved, tree.get(system) or {})
    resolved["system"] = system
    if seed is not None:
        resolved["seed"] = seed
    for key in ("model_directory", "result_directory"):
        resolved[key] = resolved[key].replace("{system}", system)
        resolved[key] = resolved[key].replace("{seed}", str(resolved["seed"]))
    return resolved


def units(args: argparse.Namespace, param: dict[str, Any]) -> list[dict[str, Any]]:
    """The resolved settings of every system and seed of a run.

    Raises BadInput where two of them would write into one directory.
    """
    problems = []
    for asked, mark in ((args.system, "{system}"), (args.seed, "{seed}")):
        for key in ("model_directory", "result_directory"):
            directory = next((t[key] for t in reversed(param["--set"]) if key in t), param[key])
            if len(asked) > 1 and mark not in directory:
                problems.append(
                    f"{key}: {directory} would be shared by {len(asked)} runs; "
                    f"put {mark} into it, as in {directory}/{mark}"
                )
    if problems:
        raise BadInput("\n".join(problems))
    return [
        for_system(param, system, seed) for system in args.system for seed in args.seed or [None]
    ]


def guarded(main: Callable[[], int]) -> int:
    """Run a script's main; turn BadInput into one message and exit 1, Ctrl-C into exit 130."""
    try:
        return main()
    except BadInput as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\ninterrupted", file=sys.stderr)
        return 130


def nearest(name: str, known: list[str]) -> str:
    """A hint for a misspelt name: ", did you mean X?", or the known names."""
    close = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {close[0]}?" if close else f"; known: {', '.join(known)}"


def _read(path: Path) -> dict[str, Any]:
    try:
        tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BadInput(f"{path}: cannot read the config ({error.strerror})") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise BadInput(f"{path}: not a YAML file ({re.sub(chr(10), ' ', str(error))})") from None
    if not isinstance(tree, dict):
        raise BadInput(f"{path}: expected keys and values, as in baseline.yaml")
    return tree


def _problems(tree: dict[Any, Any], schema: dict[str, Any], where: str, at: str = "") -> list[str]:
    found = []
    for name, value in tree.items():
        key = f"{at}{name}"
        known = schema.get(name)
        if known is None:
            found.append(f"{where}: unknown key {key}{nearest(str(name), list(schema))}")
        elif isinstance(known, Check):
            try:
                known.convert(value)
            except (ValueError, TypeError, OverflowError):
                found.append(f"{where}: {key} is {value!r}; expected {known.expected}")
        elif isinstance(value, dict):
            found += _problems(value, known, where, f"{key}.")
        elif value is not None:
            found.append(f"{where}: {key} is {value!r}; expected a block of keys")
    return found


def _converted(tree: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    return {
        name: schema[name].convert(value)
        if isinstance(schema[name], Check)
        else _converted(value or {}, schema[name])
        for name, value in tree.items()
    }


def _missing(param: dict[str, Any]) -> list[tuple[str, Check]]:
    missing = [
        (key, check)
        for key, check in SCHEMA.items()
        if isinstance(check, Check) and key not in param
    ]
    for block in ("feature", "fit"):
        held = param.get(block)
        missing += [
            (f"{block}.{key}", check)
            for key, check in SCHEMA[block].items()
            if not isinstance(held, dict) or key not in held
        ]
    return missing


def _nested(key: str, value: Any) -> dict[str, Any]:
    tree = value
    for name in reversed(key.split(".")):
        tree = {name: tree}
    return tree


def _merge(under: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    merged = dict(under)
    for name, value in over.items():
        below = merged.get(name)
        if isinstance(below, dict) and (isinstance(value, dict) or value is None):
            merged[name] = _merge(below, value or {})
        else:
            merged[name] = value
    return merged
