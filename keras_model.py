"""The systems by name, and trained ones on disk.

A trained system is two files: `model_<machine type>.npz` with its weights, training scores and
other arrays, and the `.json` beside it with everything else it needs to score. An official
`model_<machine type>.hdf5` (Keras 2.8) is a trained system too. One that was imported from a
published checkpoint says so, under "imported" in its `.json`.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

import stored
from checkpoints import read_hdf5
from clips import Clip
from common import Frames
from output import save_json, whole_file
from settings import BadInput, __version__, check, given, look_up, put

if TYPE_CHECKING:
    from models.base import System
    from models.resume import Resume

SYSTEMS = {
    "ae": "models.dense_ae.DenseAE",
    "vae": "models.vae.VAE",
    "idnn": "models.idnn.IDNN",
    "mobilenet_v2": "models.mobilenet_v2.MobileNetV2",
    "aegan_ad": "models.aegan_ad.AEGANAD",
    "grlnet": "models.grlnet.GRLNet",
    "stgram_mfn": "models.stgram_mfn.STgramMFN",
    "anomaly_transformer": "models.anomaly_transformer.AnomalyTransformer",
}

# One network for all machine types together, which tells them and their sections apart.
JOINT = ("stgram_mfn",)
ALL_MACHINES = "all"

UNFINISHED = ".unfinished.npz"  # how the state of a training ends that goes on

# What a trained network depends on: another value means another model.
SHAPING = ("system", "feature", "fit", "network", "seed")
TRAINING = ("fit", "seed")  # what the network of a published checkpoint does not depend on
NOT_SHAPING = {"fit": ("verbose",)}


class Trained(NamedTuple):
    """A trained system and the scores its thresholds are fitted to.

    scores : (n_training_clips,) anomaly scores of its training clips; empty where they are unknown
    sections : (n_training_clips,) the section of each
    names : (n_training_clips,) the file name of each; empty where they are unknown
    distribution : shape, loc and scale of the gamma distribution that was imported for its
        thresholds; None where they are fitted to the scores
    """

    system: System
    scores: np.ndarray
    sections: list[str]
    names: list[str]
    distribution: tuple[float, float, float] | None = None


def get_model(param: dict[str, Any], sections: Sequence[str], precision: str = "float32") -> System:
    """A new, compiled system, its weights drawn from the seed of the settings.

    Parameters
    ----------
    param : the settings of one system, resolved; "system" names it
    sections : the names of the sections it is to be trained on
    precision : of what it computes; its weights are float32 in any case
    """
    kind, keras = _class(param["system"]), _keras()
    keras.utils.set_random_seed(param["seed"])
    if precision == "float32":
        return kind(param, sorted(set(sections)))
    usual = keras.config.dtype_policy()
    keras.config.set_dtype_policy(precision)
    try:
        return kind(param, sorted(set(sections)))
    finally:
        keras.config.set_dtype_policy(usual)


def in_float32(system: System) -> System:
    """The same system, computing in float32, as scores are made, whatever it was trained in."""
    if system.compute_dtype == "float32":
        return system
    exact = get_model(system.param, system.section_names)
    exact.set_weights(system.get_weights())
    exact.restore(system.arrays())
    return exact


def check_sections(
    param: dict[str, Any], machine_type: str, trained: Sequence[str], scored: Sequence[str]
) -> None:
    """Raise BadInput, with every reason, where a system cannot work with its settings or sections.

    Parameters
    ----------
    param : the settings of one system, resolved
    machine_type : for the message
    trained, scored : the sections of training clips and of clips to be scored
    """
    reasons = _class(param["system"]).unfit(param, sorted(set(trained)), sorted(set(scored)))
    if reasons:
        raise BadInput(
            "\n".join(f"{param['system']} {machine_type}: {reason}" for reason in reasons)
        )


def check_trainable(param: dict[str, Any], machine_type: str, frames: Frames) -> None:
    """Raise BadInput where a system cannot be trained with these settings on these clips."""
    kind, precision = _class(param["system"]), param["fit"]["precision"]
    if precision != "float32" and not kind.mixes_precision:
        raise BadInput(f"{param['system']}: fit.precision is {precision}; expected float32")
    kind.check(param, machine_type, frames)


def clear_session() -> None:
    """Free what earlier models left in Keras's global state."""
    _keras().backend.clear_session()


def training_units(
    param: dict[str, Any], machine_types: Sequence[str]
) -> list[tuple[str, list[str]]]:
    """The networks to train: (name, its machine types); a joint system has one for all of them."""
    if param["system"] in JOINT:
        return [(ALL_MACHINES, list(machine_types))]
    return [(machine_type, [machine_type]) for machine_type in machine_types]


def class_names(param: dict[str, Any], clips: Sequence[Clip]) -> list[str]:
    """What a system tells apart, of each clip: its section, with the machine type if joint."""
    if param["system"] in JOINT:
        return [clip.machine_section for clip in clips]
    return [clip.section for clip in clips]


def model_stem(param: dict[str, Any], machine_type: str, mode: str) -> Path:
    """Where the model of a machine type lies, without its endings.

    Models of the development set have the official name; those of the evaluation set end in
    `_eval`, so that the two never stand in for each other.
    """
    ending = "_eval" if mode == "eval" else ""
    name = ALL_MACHINES if param["system"] in JOINT else machine_type
    return Path(param["model_directory"]) / f"model_{name}{ending}"


def find_model(param: dict[str, Any], machine_type: str, mode: str) -> Path | None:
    """What there is to score a machine type with: an official `.hdf5`, or the stem of a model.

    Raises BadInput where an official model and one made here bear the same name.
    """
    stem = model_stem(param, machine_type, mode)
    official = Path(param["model_directory"]) / f"model_{machine_type}.hdf5"
    made_here = _beside(stem, ".json").is_file()
    if made_here and mode == "dev" and official.is_file():
        raise BadInput(
            f"{official}: there is a model made here beside it ({stem}.json); remove one of them"
        )
    if made_here:
        return stem
    return official if official.is_file() else None


def files_of(place: Path) -> list[Path]:
    """The files of what `find_model` found."""
    return [place] if is_official(place) else [_beside(place, end) for end in (".json", ".npz")]


def check_finite(scores: np.ndarray, clips: Sequence[Clip], title: str) -> None:
    """Raise BadInput where a score (n_clips,) is no number."""
    wrong = [clip.name for clip, well in zip(clips, np.isfinite(scores), strict=True) if not well]
    if wrong:
        raise BadInput(
            f"{title}: the anomaly scores of {len(wrong)} of {len(clips)} clips are not finite, "
            f"first {wrong[0]}; the network holds values that overflow: lower fit.lr and train "
            "again with 00_train.py --force"
        )


def is_official(place: Path) -> bool:
    """Whether what `find_model` found is an official model file."""
    return place.suffix == ".hdf5"


def shaping(param: dict[str, Any]) -> dict[str, Any]:
    """The settings that a trained network depends on."""
    return {
        key: {
            name: value
            for name, value in param[key].items()
            if name not in NOT_SHAPING.get(key, ())
        }
        if isinstance(param[key], dict)
        else param[key]
        for key in SHAPING
        if key in param
    }


def fingerprint(clips: Sequence[Clip]) -> dict[str, Any]:
    """Which clips: how many, and a digest of their names and sizes."""
    lines = sorted(f"{clip.name} {clip.path.stat().st_size}" for clip in clips)
    return {
        "count": len(clips),
        "digest": hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16],
    }


def check_trained(stem: Path, param: dict[str, Any], clips: Sequence[Clip]) -> None:
    """Raise BadInput, saying what differs, where a model was not made so from these clips."""
    about = _read_about(stem)
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


def interrupted(stem: Path, param: dict[str, Any], clips: Sequence[Clip]) -> Resume:
    """What goes on with a training of these clips and settings that was interrupted.

    `save_model` removes what it keeps.
    """
    _keras()
    from models.resume import Resume

    identity = json.dumps([shaping(param), fingerprint(clips)], sort_keys=True)
    return Resume(_beside(stem, UNFINISHED), identity)


def save_model(
    stem: Path,
    system: System,
    param: dict[str, Any],
    clips: Sequence[Clip],
    scores: np.ndarray,
    thresholds: dict[str, Any],
    imported: dict[str, Any] | None = None,
) -> None:
    """Write a trained system; the JSON comes last, and without it there is no model.

    Parameters
    ----------
    stem : where, as `model_stem` says
    clips, scores : its training clips, and their anomaly scores
    thresholds : as `common.fit_thresholds` returns them
    imported : of a published checkpoint "from", its files; "keys", the settings that came with
        it; "distribution", that of its thresholds, or None; "lacks", what it cannot score without
    """
    import keras
    import tensorflow as tf

    arrays = {
        "train_scores": scores,
        "train_sections": np.array([clip.section for clip in clips], str),
        "train_clips": np.array([clip.name for clip in clips], str),
        "train_machine_types": np.array([clip.machine_type for clip in clips], str),
        **{f"weight_{number:04}": value for number, value in enumerate(system.get_weights())},
        **system.arrays(),
    }
    with whole_file(_beside(stem, ".npz")) as beside:
        with beside.open("wb") as stream:
            np.savez(stream, **arrays)
        # From here on an earlier model is gone; should the disk be full, it is kept.
        _beside(stem, ".json").unlink(missing_ok=True)
    save_json(
        _beside(stem, ".json"),
        {
            "sections": system.section_names,
            "settings": shaping(param),
            "training_clips": fingerprint(clips),
            "thresholds": thresholds,
            **({"imported": imported} if imported else {}),
            "versions": {
                "this": __version__,
                "tensorflow": tf.__version__,
                "keras": keras.__version__,
                "numpy": np.__version__,
            },
        },
    )
    _beside(stem, UNFINISHED).unlink(missing_ok=True)


def usable_model(param: dict[str, Any], machine_type: str, mode: str) -> Path:
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
        lacks = _read_about(found)["imported"].get("lacks")
        if lacks:
            raise BadInput(
                f"{found}: imported without training clips, so it lacks {lacks}; put them into "
                "place and import it again with --force"
            )
    return found


def as_imported(param: dict[str, Any], machine_type: str, mode: str) -> dict[str, Any]:
    """The settings, and where the person gave none, those that came with an imported model."""
    stem = model_stem(param, machine_type, mode)
    if not _beside(stem, ".json").is_file():
        return param
    about = _read_about(stem)
    for key in map(str, about["imported"].get("keys", ())):
        check(param["system"], key, look_up(about["settings"], key), f"{stem}.json")
        if not given(param, key):
            param = put(param, key, look_up(about["settings"], key))
    return param


def fits_thresholds(stem: Path) -> bool:
    """Whether the thresholds of a model made here are fitted to scores of training clips."""
    about = _read_about(stem)
    return bool(about["training_clips"]["count"]) and not about["imported"].get("distribution")


def decides(stem: Path) -> bool:
    """Whether a model made here has thresholds."""
    about = _read_about(stem)
    return bool(about["training_clips"]["count"] or about["imported"].get("distribution"))


def trained_sections(stem: Path, param: dict[str, Any]) -> list[str]:
    """The sections that a model made here was trained on, without loading it.

    Raises BadInput where it was made with other settings.
    """
    about = _read_about(stem)
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


def array_shapes(stem: Path) -> dict[str, tuple[int, ...]]:
    """The shapes of the arrays of a model made here, without loading them: name → shape."""
    try:
        return stored.array_shapes(_beside(stem, ".npz"))
    except (OSError, ValueError) as error:
        raise _damaged(stem, error) from None


def count_parameters(place: Path) -> int:
    """How many numbers the network of a model has, as Keras's summary totals them.

    place : what `find_model` found; TensorFlow is not needed for it
    """
    if is_official(place):
        return sum(tensor.size for tensor in read_hdf5(place).values())
    shapes = array_shapes(place)
    return sum(int(np.prod(shapes[key])) for key in shapes if key.startswith("weight_"))


def load_model(
    place: Path,
    param: dict[str, Any],
    training: Frames | None = None,
    machine_type: str | None = None,
) -> Trained:
    """Read a trained system: one made here, or an official one.

    Parameters
    ----------
    place : what `find_model` found
    param : the settings of the system
    training : the training clips of an official model, whose scores its thresholds are fitted to
    machine_type : only whose training scores are wanted, of a joint model; None: all

    Raises
    ------
    BadInput : as `trained_sections`, and where the files are damaged or of another system.
    """
    if is_official(place):
        return _load_official(place, param, training)
    system = get_model(param, trained_sections(place, param))
    try:
        _check_weights(system, place)
        arrays = stored.read_arrays(_beside(place, ".npz"))
        weights = sorted(key for key in arrays if key.startswith("weight_"))
        system.set_weights([arrays.pop(name) for name in weights])
        scores, sections = arrays.pop("train_scores"), arrays.pop("train_sections")
        machine_types = arrays.pop("train_machine_types")
        names = arrays.pop("train_clips", np.empty(0, str))
        if not np.isfinite(scores).all():
            raise ValueError("its training scores are not finite")
        system.restore(arrays)
        wanted = np.full(len(scores), True)
        if machine_type is not None:
            wanted = machine_types == machine_type
        distribution = _read_about(place)["imported"].get("distribution")
        if distribution and len(distribution) != 3:
            raise ValueError("its thresholds' distribution is not of three numbers")
        return Trained(
            system,
            system.training_scores(scores)[wanted],
            sections[wanted].tolist(),
            names[wanted].tolist() if len(names) else [],
            tuple(map(float, distribution)) if distribution else None,
        )
    except (OSError, ValueError, KeyError, IndexError, TypeError) as error:
        raise _damaged(place, error) from None


def _check_weights(system: System, place: Path) -> None:
    """Raise ValueError where the stored weights are not those of the network, before reading."""
    shapes = stored.array_shapes(_beside(place, ".npz"))
    held = [shapes[key] for key in sorted(shapes) if key.startswith("weight_")]
    wanted = [tuple(weight.shape) for weight in system.weights]
    if held != wanted:
        raise ValueError(f"its weights are not those of the network: {held} instead of {wanted}")


def _load_official(path: Path, param: dict[str, Any], training: Frames | None) -> Trained:
    # Only numbers are taken from the file: the network is built here.
    sections = [clip.section for clip in training.clips] if training else []
    system = get_model(param, sections)
    try:
        assign_published(system.published(), read_hdf5(path))
    except (OSError, KeyError, ValueError, TypeError, RuntimeError) as error:
        raise BadInput(
            f"{path}: not a model of the official baseline for the system "
            f"{param['system']} with these settings ({error})"
        ) from None
    names = [clip.name for clip in training.clips] if training else []
    return Trained(system, system.score(training) if training else np.empty(0), sections, names)


def assign_published(
    wanted: dict[str, tuple[Any, tuple[int, ...] | None]], tensors: dict[str, np.ndarray]
) -> None:
    """Give a system the weights of a published one, matched by name.

    Parameters
    ----------
    wanted : what `System.published` says
    tensors : the published tensors by name

    Raises
    ------
    ValueError : naming every tensor that is missing, left over or of another shape; nothing is
        assigned then.
    """
    problems = [f"{name} is missing" for name in wanted if name not in tensors]
    problems += [f"{name} is left over" for name in tensors if name not in wanted]
    values = {}
    for name, (variable, axes) in wanted.items():
        if name not in tensors:
            continue
        tensor = tensors[name]
        value = tensor if axes is None or tensor.ndim != len(axes) else tensor.transpose(axes)
        if value.shape != tuple(variable.shape):
            problems.append(f"{name} has the shape {value.shape}, not {tuple(variable.shape)}")
        values[name] = value
    if problems:
        raise ValueError("; ".join(problems))
    for name, (variable, _) in wanted.items():
        variable.assign(values[name])


def _class(name: str) -> type[System]:
    _keras()
    module, _, kind = SYSTEMS[name].rpartition(".")
    return getattr(importlib.import_module(module), kind)


def _keras() -> ModuleType:
    """Keras, imported without TensorFlow's notes on the GPUs that a machine lacks.

    They are printed by its C++ side whatever its log level, so they are caught at the file
    descriptor; should the import fail, they are shown.
    """
    if "keras" in sys.modules:
        return sys.modules["keras"]
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as notes:
        os.dup2(notes.fileno(), 2)
        try:
            import keras
            import tensorflow as tf

            for gpu in tf.config.get_visible_devices("GPU"):
                tf.config.experimental.set_memory_growth(gpu, True)
            tf.zeros(())
            # Every machine type has a network of its own, and TensorFlow warns of each.
            tf.get_logger().setLevel("ERROR")
        except BaseException:
            notes.seek(0)
            os.write(kept, notes.read())
            raise
        finally:
            os.dup2(kept, 2)
            os.close(kept)
    return keras


def _damaged(stem: Path, error: Exception) -> BadInput:
    return BadInput(
        f"{stem}: the model's files are damaged ({str(error).partition(chr(10))[0]}); "
        "train it again with 00_train.py --force"
    )


def _beside(stem: Path, ending: str) -> Path:
    return stem.with_name(stem.name + ending)


def _read_about(stem: Path) -> dict[str, Any]:
    path = _beside(stem, ".json")
    try:
        about = stored.read_json(path)
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


_DESCRIPTION = {
    **{"settings": dict, "sections": list, "training_clips": dict, "thresholds": dict},
    "imported": dict,
}


def _differs(about: dict[str, Any], param: dict[str, Any]) -> list[str]:
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
