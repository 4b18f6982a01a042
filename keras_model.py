"""The official networks, for scripts that import this; and the systems of this project by name.

`get_model`, `load_model` and `clear_session` are the functions of the official baselines'
`keras_model.py`, with their arguments: they return plain Keras models.

    model = keras_model.get_model(640, 0.001)             # the autoencoder, compiled
    model = keras_model.get_model(64, 128, 6, 0.00001)    # MobileNetV2 for six sections, compiled
    model = keras_model.load_model("model/model_fan.hdf5")

The scripts of this project build, save and load systems: `build_system`, `save_system` and
`load_system`. `models.saved` describes their files.
"""

from __future__ import annotations

import importlib
import inspect
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from checkpoints.assign import assign_variables
from checkpoints.keras_hdf5 import read_hdf5
from checkpoints.tensors import in_order
from core.errors import BadInput
from core.files import atomic_write, save_json
from core.run_settings import SystemSettings
from core.settings import __version__
from data.clips import Clip
from data.training_scores import TrainingScores
from models import saved
from models.quiet_keras import import_keras
from models.saved import Model, OfficialModel, SavedModel, file_of

if TYPE_CHECKING:
    import keras

    from models.base import System

SYSTEMS = {
    "ae": "models.dense_ae.DenseAE",
    "vae": "models.vae.VAE",
    "idnn": "models.idnn.IDNN",
    "mobilenet_v2": "models.mobilenet_v2.MobileNetV2",
    "aegan_ad": "models.aegan_ad.AEGANAD",
    "grlnet": "models.grlnet.GRLNet",
    "stgram_mfn": "models.stgram_mfn.STgramMFN",
    "anomaly_transformer": "models.anomaly_transformer.AnomalyTransformer",
    "twfr_gmm": "models.twfr_gmm.TWFRGMM",
    "raw_spec": "models.raw_spec.RawSpec",
    "embeddings": "models.precomputed.Precomputed",
    "dis_spec": "models.dis_spec.DisSpec",
    "dis_multispec": "models.dis_spec.DisMultispec",
}


def get_model(*sizes: float, **named: float) -> keras.Model:
    """Return a new, compiled network of an official baseline, as its `get_model`.

    Parameters
    ----------
    input_dim, lr : of the autoencoder: the number of values of a vector, the learning rate
    n_frames, n_mels, n_conditions, lr : of MobileNetV2: the size of an image, the number of
        sections, the learning rate

    Raises
    ------
    TypeError : for other arguments.
    """
    import_keras()
    from models import official_networks

    for build in (official_networks.autoencoder, official_networks.mobilenet_v2):
        try:
            inspect.signature(build).bind(*sizes, **named)
        except TypeError:
            continue
        return build(*sizes, **named)
    raise TypeError(
        "get_model takes input_dim and lr, or n_frames, n_mels, n_conditions and lr; here "
        f"{', '.join(map(str, (*sizes, *(f'{name}={value}' for name, value in named.items()))))}"
    )


def load_model(file_path: str | os.PathLike[str]) -> keras.Model:
    """Return the network of a model file, not compiled, as the official `load_model`.

    file_path : an `.hdf5` or `.h5` of an official baseline, of any Keras; or what `save` of a
        model that `get_model` returned wrote

    Raises
    ------
    BadInput : for a file that is missing, damaged, or of another network.
    """
    keras_here = import_keras()
    from models import official_networks

    path = Path(file_path)
    if path.suffix == ".keras":
        return keras_here.models.load_model(path, compile=False)
    return official_networks.read_network(path)


def clear_session() -> None:
    """Remove what earlier models left in Keras's global state, as the official `clear_session`."""
    import_keras().backend.clear_session()


def system_class(name: str) -> type[System]:
    """Return the class of a system by its name; TensorFlow starts."""
    import_keras()
    module, _, kind = SYSTEMS[name].rpartition(".")
    return getattr(importlib.import_module(module), kind)


def build_system(
    run: SystemSettings, sections: Sequence[str], precision: str = "float32"
) -> System:
    """Return a new, compiled system, its weights drawn from the seed of the settings.

    Parameters
    ----------
    run : the settings of the system
    sections : the names of the sections it is to be trained on
    precision : of its computations; its weights are float32 in any case
    """
    keras, kind = import_keras(), system_class(run.system)
    keras.utils.set_random_seed(run.seed)
    if precision == "float32":
        return kind(run, sorted(set(sections)))
    usual = keras.config.dtype_policy()
    keras.config.set_dtype_policy(precision)
    try:
        return kind(run, sorted(set(sections)))
    finally:
        keras.config.set_dtype_policy(usual)


def save_system(
    stem: Path,
    system: System,
    run: SystemSettings,
    clips: Sequence[Clip],
    scores: np.ndarray,
    thresholds: dict[str, dict[str, Any]],
    imported: dict[str, Any] | None = None,
) -> None:
    """Write a trained system; the JSON comes last, and without it there is no model.

    Parameters
    ----------
    stem : the path without its ending, from `models.saved.model_stem`
    clips, scores : its training clips, and their anomaly scores
    thresholds : machine type → section → its `evaluation.thresholds.Threshold`
    imported : of a published checkpoint, as `models.saved.SavedModel` has it
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
    with atomic_write(file_of(stem, ".npz")) as temporary:
        with temporary.open("wb") as stream:
            np.savez(stream, **arrays)
        # Where the disk is full, an earlier model stays; from here on it is gone.
        file_of(stem, ".json").unlink(missing_ok=True)
    back_ends = {name: saved.back_end_of(run, name) for name in thresholds}
    description = {
        "sections": system.section_names,
        "settings": saved.training_settings(run),
        "given": run.given(),
        "training_clips": saved.fingerprint(clips),
        "thresholds": {
            "settings": saved.threshold_settings(run),
            "machine_types": {
                machine_type: {name: fitted._asdict() for name, fitted in sections.items()}
                for machine_type, sections in thresholds.items()
            },
            **({"back_ends": back_ends} if any(back_ends.values()) else {}),
        },
        **({"imported": imported} if imported else {}),
        "versions": {
            "this": __version__,
            "tensorflow": tf.__version__,
            "keras": keras.__version__,
            "numpy": np.__version__,
        },
    }
    save_json(file_of(stem, ".json"), description)
    file_of(stem, saved.UNFINISHED).unlink(missing_ok=True)


def load_system(
    model: Model, run: SystemSettings, machine_type: str | None = None
) -> tuple[System, TrainingScores]:
    """Return a trained system, and the scores or the distribution of its thresholds.

    Parameters
    ----------
    model : what `models.saved.usable_model` returned; an official one with its training clips,
        where these are present: they are scored
    run : the settings of the system
    machine_type : whose training scores are wanted, of a joint model; None: all

    Raises
    ------
    BadInput : where the model was made with other settings, or its files are damaged or of another
        system.
    """
    if isinstance(model, OfficialModel):
        return _load_official(model, run)
    model.check_settings(run)
    system = build_system(run, model.sections)
    try:
        _check_weights(system, model)
        arrays = model.read_arrays()
        weights = sorted(name for name in arrays if name.startswith("weight_"))
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
        if model.distribution and len(model.distribution) != 3:
            raise ValueError("its thresholds' distribution is not of three numbers")
        training = TrainingScores(
            system.training_scores(scores)[wanted],
            sections[wanted].tolist(),
            names[wanted].tolist() if len(names) else [],
            tuple(map(float, model.distribution)) if model.distribution else None,
        )
    except (OSError, ValueError, KeyError, IndexError, TypeError) as error:
        raise model.damaged(error) from None
    return system, training


def _check_weights(system: System, model: SavedModel) -> None:
    """Raise ValueError where the saved weights are not those of the network, before reading."""
    shapes = model.weight_shapes()
    expected = [tuple(weight.shape) for weight in system.weights]
    if shapes != expected:
        raise ValueError(
            f"its weights are not those of the network: {shapes} instead of {expected}"
        )


def _load_official(model: OfficialModel, run: SystemSettings) -> tuple[System, TrainingScores]:
    # Only numbers are taken from the file: the network is built here.
    training = model.training
    system = build_system(run, model.sections)
    try:
        tensors = read_hdf5(model.path)
        if model.classes:
            tensors = in_order(tensors, system.class_axes, model.classes)
        assign_variables(system.checkpoint_variables(), tensors)
    except (OSError, KeyError, ValueError, TypeError, RuntimeError) as error:
        raise BadInput(
            f"{model}: not a model of the official baseline for the system {run.system} with "
            f"these settings ({error})"
        ) from None
    if training is None:
        return system, TrainingScores(np.empty(0), [], [], model.distribution)
    sections = [clip.section for clip in training.clips]
    names = [clip.name for clip in training.clips]
    scores = np.asarray(system.score(training))
    return system, TrainingScores(scores, sections, names, model.distribution)
