"""The files of trained systems, found and understood without TensorFlow.

A trained system is two files: `model_<machine type>.npz` with its weights, training scores and
other arrays, and the `.json` beside it with everything else it needs to score. An official
`model_<machine type>.hdf5` (Keras 2.8) is a trained system too. One that was imported from a
published checkpoint says so, under "imported" in its `.json`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from checkpoints.files import read_hdf5
from core import arrays
from core.arrays import read_json
from core.errors import BadInput
from core.run_settings import SystemSettings
from core.settings import check_value
from data.clips import Clip
from data.frames import Frames

# One network for all machine types together, which tells them and their sections apart.
ALL_MACHINES = "all"

UNFINISHED = ".unfinished.npz"  # how the state of a training ends that goes on

# What a trained network depends on: another value means another model.
TRAINING_KEYS = ("system", "feature", "fit", "network", "seed")
TRAINING = ("fit", "seed")  # what the network of a published checkpoint does not depend on
NOT_TRAINING_KEYS = {"fit": {"verbose"}}

_DESCRIPTION = {
    **{"settings": dict, "sections": list, "training_clips": dict, "thresholds": dict},
    "imported": dict,
}


def network_groups(
    param: SystemSettings, machine_types: Sequence[str]
) -> list[tuple[str, list[str]]]:
    """The networks to train: (name, its machine types); a joint system has one for all of them."""
    if param.joint:
        return [(ALL_MACHINES, list(machine_types))]
    return [(machine_type, [machine_type]) for machine_type in machine_types]


def model_stem(param: SystemSettings, machine_type: str, mode: str) -> Path:
    """Where the model of a machine type lies, without its endings.

    Models of the development set have the official name; those of the evaluation set end in
    `_eval`, so that the two never stand in for each other.
    """
    ending = "_eval" if mode == "eval" else ""
    name = ALL_MACHINES if param.joint else machine_type
    return param.model_directory / f"model_{name}{ending}"


def find_model(param: SystemSettings, machine_type: str, mode: str) -> Path | None:
    """What there is to score a machine type with: an official `.hdf5`, or the stem of a model.

    Raises BadInput where an official model and one made here bear the same name.
    """
    stem = model_stem(param, machine_type, mode)
    official = param.model_directory / f"model_{machine_type}.hdf5"
    made_here = beside(stem, ".json").is_file()
    if made_here and mode == "dev" and official.is_file():
        raise BadInput(
            f"{official}: there is a model made here beside it ({stem}.json); remove one of them"
        )
    if made_here:
        return stem
    return official if official.is_file() else None


def files_of(place: Path) -> list[Path]:
    """The files of what `find_model` found."""
    return [place] if is_official(place) else [beside(place, end) for end in (".json", ".npz")]


def is_official(place: Path) -> bool:
    """Whether what `find_model` found is an official model file."""
    return place.suffix == ".hdf5"


def usable_model(param: SystemSettings, machine_type: str, mode: str) -> Path:
    """What `find_model` finds, checked.

    Raises BadInput where there is no model, it was made with other settings, or it was imported
    without what it needs.
    """
    found = find_model(param, machine_type, mode)
    if found is None:
        raise BadInput(
            f"{model_stem(param, machine_type, mode)}: there is no model of "
            f"{machine_type}; train it first with 00_train.py --{mode}"
        )
    if not is_official(found):
        trained_sections(found, param)
        lacks = read_about(found)["imported"].get("lacks")
        if lacks:
            raise BadInput(
                f"{found}: imported without training clips, so it lacks {lacks}; put them into "
                "place and import it again with --force"
            )
    return found


def as_imported(param: SystemSettings, machine_type: str, mode: str) -> SystemSettings:
    """The settings, and where the person gave none, those that came with an imported model."""
    stem = model_stem(param, machine_type, mode)
    if not beside(stem, ".json").is_file():
        return param
    about = read_about(stem)
    for key in map(str, about["imported"].get("keys", ())):
        value = _look_up(about["settings"], key)
        check_value(param.system, key, value, f"{stem}.json")
        if not param.is_given(key):
            param = param.with_values({key: value})
    return param


def check_trained(stem: Path, param: SystemSettings, clips: Sequence[Clip]) -> None:
    """Raise BadInput, saying what differs, where a model was not made so from these clips."""
    about = read_about(stem)
    differs = _differs(about, param)
    if not about["imported"] and about["training_clips"] != fingerprint(clips):
        differs.append(
            f"training clips: {about['training_clips']['count']} then, "
            f"{len(clips)} now"
            + (" (others)" if about["training_clips"]["count"] == len(clips) else "")
        )
    if differs:
        raise BadInput(
            f"{stem}: this model was made with other settings ("
            + "; ".join(differs)
            + "); --force trains it again"
        )


def trained_sections(stem: Path, param: SystemSettings) -> list[str]:
    """The sections that a model made here was trained on, without loading it.

    Raises BadInput where it was made with other settings.
    """
    about = read_about(stem)
    differs = _differs(about, param)
    if differs:
        again = "import" if about["imported"] else "train"
        raise BadInput(
            f"{stem}: this model was made with other settings ("
            + "; ".join(differs)
            + f"); use its settings, or {again} it again with --force"
        )
    return about["sections"]


def check_named(place: Path, machine_type: str, training: Frames | None) -> None:
    """Raise BadInput where it is unknown which training clip a model gave which score.

    Parameters
    ----------
    place : what `find_model` found
    training : the training clips of an official model
    """
    if is_official(place):
        if training is None:
            raise BadInput(
                f"{place}: an ensemble needs the training clips of {machine_type} to normalise "
                "the official model's scores"
            )
        return
    if "train_clips" not in array_shapes(place):
        raise BadInput(
            f"{place}: an ensemble needs the names of the training clips, which this model does "
            "not hold; train it again with 00_train.py --force"
        )


def fits_thresholds(stem: Path) -> bool:
    """Whether the thresholds of a model made here are fitted to scores of training clips."""
    about = read_about(stem)
    return bool(about["training_clips"]["count"]) and not about["imported"].get("distribution")


def decides(stem: Path) -> bool:
    """Whether a model made here has thresholds."""
    about = read_about(stem)
    return bool(about["training_clips"]["count"] or about["imported"].get("distribution"))


def shaping(param: SystemSettings) -> dict[str, Any]:
    """The settings that a trained network depends on."""
    return param.model_dump(mode="json", include=set(TRAINING_KEYS), exclude=NOT_TRAINING_KEYS)


def fingerprint(clips: Sequence[Clip]) -> dict[str, Any]:
    """Which clips: how many, and a digest of their names and sizes."""
    lines = sorted(f"{clip.name} {clip.path.stat().st_size}" for clip in clips)
    return {
        "count": len(clips),
        "digest": hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16],
    }


def array_shapes(stem: Path) -> dict[str, tuple[int, ...]]:
    """The shapes of the arrays of a model made here, without loading them: name → shape."""
    try:
        return arrays.array_shapes(beside(stem, ".npz"))
    except (OSError, ValueError) as error:
        raise damaged(stem, error) from None


def count_parameters(place: Path) -> int:
    """How many numbers the network of a model has, as Keras's summary totals them.

    place : what `find_model` found; TensorFlow is not needed for it
    """
    if is_official(place):
        return sum(tensor.size for tensor in read_hdf5(place).values())
    shapes = array_shapes(place)
    return sum(int(np.prod(shapes[key])) for key in shapes if key.startswith("weight_"))


def read_about(stem: Path) -> dict[str, Any]:
    """What the `.json` of a model made here says.

    Raises BadInput where it is no such description.
    """
    path = beside(stem, ".json")
    try:
        about = read_json(path)
        about["imported"] = about.get("imported") or {}
        if all(isinstance(about[key], kind) for key, kind in _DESCRIPTION.items()) and (
            isinstance(about["training_clips"]["count"], int)
            and all(isinstance(name, str) for name in about["sections"])
            and isinstance(about["imported"].get("keys", []), list)
        ):
            return about
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        pass
    raise BadInput(
        f"{path}: not the description of a model made here; remove it, or train again "
        "with 00_train.py --force"
    )


def beside(stem: Path, ending: str) -> Path:
    """A file of a model: ".json", ".npz", or UNFINISHED while it is trained."""
    return stem.with_name(stem.name + ending)


def damaged(stem: Path, error: Exception) -> BadInput:
    """What to say of a model whose files cannot be what they claim."""
    return BadInput(
        f"{stem}: the model's files are damaged ({str(error).partition(chr(10))[0]}); "
        "train it again with 00_train.py --force"
    )


def _look_up(tree: dict[str, Any], key: str) -> Any:
    for name in key.split("."):
        tree = tree.get(name) if isinstance(tree, dict) else None
    return tree


def _differs(about: dict[str, Any], param: SystemSettings) -> list[str]:
    left_out = TRAINING if about["imported"] else ()
    held = (about["settings"], shaping(param))
    return _differences(*({k: v for k, v in tree.items() if k not in left_out} for tree in held))


def _differences(then: dict[str, Any], now: dict[str, Any], at: str = "") -> list[str]:
    found = []
    for key in sorted({*then, *now}):
        before, after = then.get(key), now.get(key)
        if isinstance(before, dict) and isinstance(after, dict):
            found += _differences(before, after, f"{at}{key}.")
        elif before != after:
            found.append(f"{at}{key}: {before} then, {after} now")
    return found
