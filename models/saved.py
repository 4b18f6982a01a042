"""The files of trained systems, found and understood without TensorFlow.

A trained system is two files: `model_<machine type>.npz` with its weights, training scores and
other arrays, and the `.json` beside it with everything else it needs to score: a `SavedModel`. An
official `model_<machine type>.hdf5` (Keras 2.8) is an `OfficialModel`. Both answer the same
questions.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from checkpoints.keras_hdf5 import read_hdf5
from checkpoints.official_pickles import distribution_beside, section_names_beside
from core import arrays
from core.arrays import read_json
from core.errors import BadInput
from core.run_settings import SystemSettings
from core.settings import check_value
from data.clips import Clip
from data.frames import Frames

ALL_MACHINES = "all"  # the name of a joint system's network
UNFINISHED = ".unfinished.npz"  # the ending of the state of a training, while it runs

# What a trained network depends on: another value means another model.
TRAINING_KEYS = {"system", "feature", "fit", "network", "seed"}
NOT_TRAINING_KEYS = {"fit": {"verbose"}}
# What the network of a published checkpoint does not depend on.
NOT_IN_CHECKPOINTS = ("fit", "seed")
# What the thresholds of a trained system depend on besides: another value means fitting them again.
THRESHOLD_KEYS = (
    *("decision_threshold", "threshold_scope", "threshold_fit"),
    *("score", "pool_type", "decay"),
)

BACK_END_ARRAY = "back_end_embeddings"  # what a back end is fitted to, beside the weights

# What a setting was before there was such a key; an earlier model's settings have none.
BEFORE = {
    "feature.classes": "section",
    "feature.released_hop": False,
    "fit.train_on": "same",
    "network.framework": "keras",
    "network.use_arcface": True,
}

_DESCRIPTION = {
    **{"settings": dict, "sections": list, "training_clips": dict, "thresholds": dict},
    "imported": dict,
}


class SavedModel:
    """A system that was trained here, or imported from a published checkpoint.

    stem : the place of its files, without their endings
    sections : the names of what it was trained on, as `SystemSettings.class_name` gives them
    imported : of a published checkpoint "from", its files; "keys", the settings that came with it;
        "distribution", that of its thresholds, or None; "lacks", what it cannot score without

    Raises BadInput where its `.json` is no such description.
    """

    def __init__(self, stem: Path) -> None:
        self.stem = stem
        self._about = _read_description(file_of(stem, ".json"))
        self.sections: list[str] = self._about["sections"]
        self.imported: dict[str, Any] = self._about["imported"]

    def __str__(self) -> str:
        return str(self.stem)

    @property
    def files(self) -> list[Path]:
        """Return the files of the model."""
        return [file_of(self.stem, ".json"), file_of(self.stem, ".npz")]

    @property
    def fits_thresholds(self) -> bool:
        """Return whether its thresholds are fitted to scores of training clips."""
        return bool(self._about["training_clips"]["count"]) and not self.distribution

    @property
    def has_thresholds(self) -> bool:
        """Return whether it has thresholds."""
        return bool(self._about["training_clips"]["count"] or self.distribution)

    @property
    def distribution(self) -> list[float] | None:
        """Return the gamma distribution that was imported for its thresholds."""
        return self.imported.get("distribution")

    def thresholds(self, run: SystemSettings, machine_type: str) -> dict[str, Any] | None:
        """Return what training saved of a machine type's thresholds: section → values, by name.

        None where there are none that were fitted with these settings.
        """
        saved = self._about["thresholds"]
        if saved.get("settings") != threshold_settings(run):
            return None
        if saved.get("back_ends", {}).get(machine_type) != back_end_of(run, machine_type):
            return None
        return saved["machine_types"].get(machine_type)

    def with_imported_settings(self, run: SystemSettings) -> SystemSettings:
        """Return the settings, with those of an imported checkpoint where the person gave none."""
        for key in map(str, self.imported.get("keys", ())):
            value = _look_up(self._about["settings"], key)
            check_value(run.system, key, value, f"{self.stem}.json")
            if not run.is_given(key):
                run = run.with_values({key: value})
        return run

    def check_settings(self, run: SystemSettings) -> None:
        """Raise BadInput, saying what differs, where it was made with other settings."""
        differs = self._differences(run)
        if differs:
            again = "import" if self.imported else "train"
            raise BadInput(
                f"{self.stem}: this model was made with other settings ({'; '.join(differs)}); "
                f"use its settings, or {again} it again with --force"
            )

    def check_usable(self, run: SystemSettings) -> None:
        """Raise BadInput where it was made with other settings, or misses what it scores with."""
        self.check_settings(run)
        if back_end_of(run) and (BACK_END_ARRAY not in self.array_shapes() or self.distribution):
            raise BadInput(
                f"{self.stem}: this model has no embeddings of training clips for "
                f"back_end.name: {run.back_end.name}; train it again with --force, or set "
                f"{run.system}.back_end.name: none"
            )
        if self.imported.get("lacks"):
            raise BadInput(
                f"{self.stem}: imported without training clips, so it lacks "
                f"{self.imported['lacks']}; put them into place and import it again with --force"
            )

    def check_trained(self, run: SystemSettings, clips: Sequence[Clip]) -> None:
        """Raise BadInput, saying what differs, where it was not trained so on these clips."""
        differs = self._differences(run)
        before = self._about["training_clips"]
        if not self.imported and before != fingerprint(clips):
            others = " (others)" if before["count"] == len(clips) else ""
            differs.append(f"training clips: {before['count']} then, {len(clips)} now{others}")
        if differs:
            raise BadInput(
                f"{self.stem}: this model was made with other settings ({'; '.join(differs)}); "
                "--force trains it again"
            )

    def check_training_names(self, machine_type: str) -> None:
        """Raise BadInput where it is unknown which training clip has which score."""
        if "train_clips" not in self.array_shapes():
            raise BadInput(
                f"{self.stem}: an ensemble needs the names of the training clips, which this model "
                "does not have; train it again with 00_train.py --force"
            )

    def read_arrays(self) -> dict[str, np.ndarray]:
        """Return its arrays by name; raises OSError or ValueError as `core.arrays`."""
        return arrays.read_arrays(file_of(self.stem, ".npz"))

    def array_shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the shapes of its arrays by name, without loading them."""
        try:
            return arrays.array_shapes(file_of(self.stem, ".npz"))
        except (OSError, ValueError) as error:
            raise self.damaged(error) from None

    def weight_shapes(self) -> list[tuple[int, ...]]:
        """Return the shapes of its weights, in the order of the network."""
        shapes = self.array_shapes()
        return [shapes[name] for name in sorted(shapes) if name.startswith("weight_")]

    def count_parameters(self) -> int:
        """Return the number of parameters of its network, as Keras's summary totals them."""
        return sum(int(np.prod(shape)) for shape in self.weight_shapes())

    def damaged(self, error: Exception) -> BadInput:
        """Return the error for files that cannot be what they claim."""
        return BadInput(
            f"{self.stem}: the model's files are damaged ({str(error).partition(chr(10))[0]}); "
            "train it again with 00_train.py --force"
        )

    def _differences(self, run: SystemSettings) -> list[str]:
        left_out = NOT_IN_CHECKPOINTS if self.imported else ()
        now = training_settings(run)
        then = _as_today(self._about["settings"], now)
        return _differences(
            *({key: tree[key] for key in tree if key not in left_out} for tree in (then, now))
        )


class OfficialModel:
    """A model file of the official baseline, with the pickles beside it.

    Its threshold is that of `score_distr_<machine type>.pkl`; without this file it is fitted to
    the scores of its training clips. Its sections are those of `section_names_<machine type>.pkl`,
    or of its training clips.

    Parameters
    ----------
    path : the `.hdf5`
    training : the frames of its training clips; None where they are not at hand, or not needed

    Attributes
    ----------
    distribution : shape, loc and scale of the gamma distribution of the scores, or None
    classes : the sections in the order of a classifier's classes; None where no file names them
    files : the files of the model

    Raises
    ------
    BadInput : where a pickle is damaged, or is not what its name says.
    """

    def __init__(
        self, path: Path, run: SystemSettings | None = None, training: Frames | None = None
    ) -> None:
        self.path, self.training = path, training
        distribution, names = distribution_beside(path), section_names_beside(path)
        self.distribution = distribution[1] if distribution else None
        self.classes = names[1] if names else None
        self.files = [path, *(beside[0] for beside in (distribution, names) if beside)]
        clips = training.clips if training and run else ()
        self.sections = sorted(self.classes or {run.class_name(clip) for clip in clips})

    def __str__(self) -> str:
        return str(self.path)

    @property
    def fits_thresholds(self) -> bool:
        """Return whether its thresholds are fitted to scores of training clips."""
        return self.training is not None and not self.distribution

    @property
    def has_thresholds(self) -> bool:
        """Return whether it has thresholds."""
        return self.training is not None or self.distribution is not None

    def thresholds(self, run: SystemSettings, machine_type: str) -> None:
        """Return None: nothing is saved with it."""

    def with_imported_settings(self, run: SystemSettings) -> SystemSettings:
        """Return the settings as they are: an official model says nothing of them."""
        return run

    def check_usable(self, run: SystemSettings) -> None:
        """Raise BadInput for a back end; whether all else fits is seen as its weights are read."""
        if back_end_of(run):
            raise BadInput(
                f"{self.path}: an official model has no embeddings of training clips; train here "
                f"for back_end.name: {run.back_end.name}, or set "
                f"{run.system}.back_end.name: none"
            )

    def check_trained(self, run: SystemSettings, clips: Sequence[Clip]) -> None:
        """Do nothing: an official model does not say what it was trained on."""

    def check_training_names(self, machine_type: str) -> None:
        """Raise BadInput without its training clips."""
        if self.training is None:
            raise BadInput(
                f"{self.path}: an ensemble needs the training clips of {machine_type} to normalise "
                "the official model's scores"
            )

    def count_parameters(self) -> int:
        """Return the number of parameters of its network, as Keras's summary totals them."""
        return sum(tensor.size for tensor in read_hdf5(self.path).values())


Model = SavedModel | OfficialModel


def network_groups(
    run: SystemSettings, machine_types: Sequence[str]
) -> list[tuple[str, list[str]]]:
    """Return the networks to train: the name of each, and its machine types.

    A joint system has one network for all of them.
    """
    if run.joint:
        return [(ALL_MACHINES, list(machine_types))]
    return [(machine_type, [machine_type]) for machine_type in machine_types]


def model_stem(run: SystemSettings, machine_type: str, mode: str) -> Path:
    """Return the place of a machine type's model, without its endings.

    Models of the development set have the official name; those of the evaluation set end in
    `_eval`, so that the two never stand in for each other.
    """
    ending = "_eval" if mode == "eval" else ""
    name = ALL_MACHINES if run.joint else machine_type
    return run.model_directory / f"model_{name}{ending}"


def find_model(run: SystemSettings, machine_type: str, mode: str) -> Model | None:
    """Return the model of a machine type, or None.

    Raises BadInput where an official model and one made here have the same name.
    """
    stem = model_stem(run, machine_type, mode)
    official = run.model_directory / f"model_{machine_type}.hdf5"
    made_here = file_of(stem, ".json").is_file()
    if made_here and mode == "dev" and official.is_file():
        raise BadInput(
            f"{official}: there is a model made here beside it ({stem}.json); remove one of them"
        )
    if made_here:
        return SavedModel(stem)
    return OfficialModel(official) if official.is_file() else None


def usable_model(run: SystemSettings, machine_type: str, mode: str) -> tuple[Model, SystemSettings]:
    """Return the model of a machine type, checked, and the settings with those that came with it.

    Raises BadInput where there is no model, it was made with other settings, or it was imported
    without what it needs.
    """
    model = find_model(run, machine_type, mode)
    if model is None:
        raise BadInput(
            f"{model_stem(run, machine_type, mode)}: there is no model of {machine_type}; "
            f"train it first with 00_train.py --{mode}"
        )
    run = model.with_imported_settings(run)
    model.check_usable(run)
    return model, run


def training_settings(run: SystemSettings) -> dict[str, Any]:
    """Return the settings that a trained network depends on, as plain values."""
    return run.model_dump(mode="json", include=TRAINING_KEYS, exclude=NOT_TRAINING_KEYS)


def threshold_settings(run: SystemSettings) -> dict[str, Any]:
    """Return the settings that thresholds depend on besides, as plain values."""
    return {key: run.value(key) for key in THRESHOLD_KEYS}


def back_end_of(run: SystemSettings, machine_type: str | None = None) -> dict[str, Any] | None:
    """Return the `back_end` block of a machine type as plain values; None where none counts.

    machine_type : of a joint system, which may have a block for each; None: the settings as they
        are
    """
    own = run.for_machine(machine_type) if run.joint and machine_type else run
    if not run.takes_back_end or own.back_end.name == "none":
        return None
    return own.back_end.model_dump(mode="json")


def fingerprint(clips: Sequence[Clip]) -> dict[str, Any]:
    """Return the number of clips, and a digest of their names and sizes."""
    lines = sorted(f"{clip.name} {clip.path.stat().st_size}" for clip in clips)
    digest = hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]
    return {"count": len(clips), "digest": digest}


def file_of(stem: Path, ending: str) -> Path:
    """Return a file of a model: ".json", ".npz", or UNFINISHED while it is trained."""
    return stem.with_name(stem.name + ending)


def _read_description(path: Path) -> dict[str, Any]:
    try:
        about = read_json(path)
        about["imported"] = about.get("imported") or {}
        if all(isinstance(about[key], kind) for key, kind in _DESCRIPTION.items()) and (
            isinstance(about["training_clips"]["count"], int)
            and all(isinstance(name, str) for name in about["sections"])
            and isinstance(about["imported"].get("keys", []), list)
            and isinstance(about["thresholds"].get("machine_types", {}), dict)
        ):
            return about
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        pass
    raise BadInput(
        f"{path}: not the description of a model made here; remove it, or train again "
        "with 00_train.py --force"
    )


def _look_up(tree: dict[str, Any], key: str) -> Any:
    value: Any = tree
    for name in key.split("."):
        value = value.get(name) if isinstance(value, dict) else None
    return value


def _as_today(saved: dict[str, Any], now: dict[str, Any]) -> dict[str, Any]:
    """Return what a model says of its settings, with the keys that came later, or changed.

    now : the settings of today, which show whether its system has such a key
    """
    tree = {key: dict(value) if isinstance(value, dict) else value for key, value in saved.items()}
    for key, value in BEFORE.items():
        block, _, name = key.partition(".")
        if name in now.get(block, {}):
            tree.setdefault(block, {}).setdefault(name, value)
    if "lr_discriminator" in now["fit"]:  # AEGAN-AD had one learning rate for both networks
        tree["fit"].setdefault("lr_discriminator", tree["fit"].get("lr"))
    if tree["fit"].pop("deval", False):  # AEGAN-AD's key
        tree["fit"]["train_on"] = "both"
    return tree


def _differences(then: dict[str, Any], now: dict[str, Any], at: str = "") -> list[str]:
    lines = []
    for key in sorted({*then, *now}):
        before, after = then.get(key), now.get(key)
        if isinstance(before, dict) and isinstance(after, dict):
            lines += _differences(before, after, f"{at}{key}.")
        elif before != after:
            lines.append(f"{at}{key}: {before} then, {after} now")
    return lines
