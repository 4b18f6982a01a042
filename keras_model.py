"""The systems by name: made, saved and loaded. `model_files` says what the files are."""

from __future__ import annotations

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

from checkpoints.files import read_hdf5
from core.arrays import array_shapes, read_arrays
from core.errors import BadInput
from core.files import atomic_write, save_json
from core.run_settings import SystemSettings
from core.settings import __version__
from data.clips import Clip
from data.frames import Frames
from models import saved

if TYPE_CHECKING:
    from models.base import System
    from models.callbacks import Resume

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


def get_model(param: SystemSettings, sections: Sequence[str], precision: str = "float32") -> System:
    """A new, compiled system, its weights drawn from the seed of the settings.

    Parameters
    ----------
    param : the settings of one system, resolved; "system" names it
    sections : the names of the sections it is to be trained on
    precision : of what it computes; its weights are float32 in any case
    """
    kind, keras = _class(param.system), _keras()
    keras.utils.set_random_seed(param.seed)
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
    exact.set_extra_state(system.get_extra_state())
    return exact


def check_sections(
    param: SystemSettings, machine_type: str, trained: Sequence[str], scored: Sequence[str]
) -> None:
    """Raise BadInput, with every reason, where a system cannot work with its settings or sections.

    Parameters
    ----------
    param : the settings of one system, resolved
    machine_type : for the message
    trained, scored : the sections of training clips and of clips to be scored
    """
    reasons = _class(param.system).incompatibilities(
        param, sorted(set(trained)), sorted(set(scored))
    )
    if reasons:
        raise BadInput("\n".join(f"{param.system} {machine_type}: {reason}" for reason in reasons))


def check_trainable(param: SystemSettings, machine_type: str, frames: Frames) -> None:
    """Raise BadInput where a system cannot be trained with these settings on these clips."""
    kind, precision = _class(param.system), param.fit.precision
    if precision != "float32" and not kind.mixes_precision:
        raise BadInput(f"{param.system}: fit.precision is {precision}; expected float32")
    kind.check(param, machine_type, frames)


def clear_session() -> None:
    """Free what earlier models left in Keras's global state."""
    _keras().backend.clear_session()


def class_names(param: SystemSettings, clips: Sequence[Clip]) -> list[str]:
    """What a system tells apart, of each clip: its section, with the machine type if joint."""
    if param.joint:
        return [clip.machine_section for clip in clips]
    return [clip.section for clip in clips]


def check_finite(scores: np.ndarray, clips: Sequence[Clip], title: str) -> None:
    """Raise BadInput where a score (n_clips,) is no number."""
    wrong = [clip.name for clip, well in zip(clips, np.isfinite(scores), strict=True) if not well]
    if wrong:
        raise BadInput(
            f"{title}: the anomaly scores of {len(wrong)} of {len(clips)} clips are not finite, "
            f"first {wrong[0]}; the network holds values that overflow: lower fit.lr and train "
            "again with 00_train.py --force"
        )


def interrupted(stem: Path, param: SystemSettings, clips: Sequence[Clip]) -> Resume:
    """What goes on with a training of these clips and settings that was interrupted.

    `save_model` removes what it keeps.
    """
    _keras()
    from models.callbacks import Resume

    identity = json.dumps([saved.shaping(param), saved.fingerprint(clips)], sort_keys=True)
    return Resume(saved.beside(stem, saved.UNFINISHED), identity)


def save_model(
    stem: Path,
    system: System,
    param: SystemSettings,
    clips: Sequence[Clip],
    scores: np.ndarray,
    thresholds: dict[str, Any],
    imported: dict[str, Any] | None = None,
) -> None:
    """Write a trained system; the JSON comes last, and without it there is no model.

    Parameters
    ----------
    stem : where, as `model_files.model_stem` says
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
        **system.get_extra_state(),
    }
    with atomic_write(saved.beside(stem, ".npz")) as beside:
        with beside.open("wb") as stream:
            np.savez(stream, **arrays)
        # From here on an earlier model is gone; should the disk be full, it is kept.
        saved.beside(stem, ".json").unlink(missing_ok=True)
    save_json(
        saved.beside(stem, ".json"),
        {
            "sections": system.section_names,
            "settings": saved.shaping(param),
            "training_clips": saved.fingerprint(clips),
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
    saved.beside(stem, saved.UNFINISHED).unlink(missing_ok=True)


def load_model(
    place: Path,
    param: SystemSettings,
    training: Frames | None = None,
    machine_type: str | None = None,
) -> Trained:
    """Read a trained system: one made here, or an official one.

    Parameters
    ----------
    place : what `model_files.find_model` found
    param : the settings of the system
    training : the training clips of an official model, whose scores its thresholds are fitted to
    machine_type : only whose training scores are wanted, of a joint model; None: all

    Raises
    ------
    BadInput : as `model_files.trained_sections`, and where the files are damaged or of another
        system.
    """
    if saved.is_official(place):
        return _load_official(place, param, training)
    system = get_model(param, saved.trained_sections(place, param))
    try:
        _check_weights(system, place)
        arrays = read_arrays(saved.beside(place, ".npz"))
        weights = sorted(key for key in arrays if key.startswith("weight_"))
        system.set_weights([arrays.pop(name) for name in weights])
        scores, sections = arrays.pop("train_scores"), arrays.pop("train_sections")
        machine_types = arrays.pop("train_machine_types")
        names = arrays.pop("train_clips", np.empty(0, str))
        if not np.isfinite(scores).all():
            raise ValueError("its training scores are not finite")
        system.set_extra_state(arrays)
        wanted = np.full(len(scores), True)
        if machine_type is not None:
            wanted = machine_types == machine_type
        distribution = saved.read_about(place)["imported"].get("distribution")
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
        raise saved.damaged(place, error) from None


def _check_weights(system: System, place: Path) -> None:
    """Raise ValueError where the stored weights are not those of the network, before reading."""
    shapes = array_shapes(saved.beside(place, ".npz"))
    held = [shapes[key] for key in sorted(shapes) if key.startswith("weight_")]
    wanted = [tuple(weight.shape) for weight in system.weights]
    if held != wanted:
        raise ValueError(f"its weights are not those of the network: {held} instead of {wanted}")


def _load_official(path: Path, param: SystemSettings, training: Frames | None) -> Trained:
    # Only numbers are taken from the file: the network is built here.
    sections = [clip.section for clip in training.clips] if training else []
    system = get_model(param, sections)
    try:
        assign_published(system.checkpoint_variables(), read_hdf5(path))
    except (OSError, KeyError, ValueError, TypeError, RuntimeError) as error:
        raise BadInput(
            f"{path}: not a model of the official baseline for the system "
            f"{param.system} with these settings ({error})"
        ) from None
    names = [clip.name for clip in training.clips] if training else []
    return Trained(system, system.score(training) if training else np.empty(0), sections, names)


def assign_published(
    wanted: dict[str, tuple[Any, tuple[int, ...] | None]], tensors: dict[str, np.ndarray]
) -> None:
    """Give a system the weights of a published one, matched by name.

    Parameters
    ----------
    wanted : what `System.checkpoint_variables` says
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
