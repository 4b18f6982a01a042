"""The scores of test clips: made by a model, or kept from a run that made the very same."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

import keras_model
from core.arrays import read_arrays
from core.files import atomic_write
from core.log import logger
from core.run_settings import SystemSettings
from data import frame_cache
from data.frames import Frames
from models import saved

CLIPS_PER_SLICE = 1024  # scored and kept together, wherever that is: an interruption costs no more
KEPT_VERSION = 1  # raise when the same model and clips would give other scores
# What scores do not depend on.
NOT_IN_SCORE_KEY = (
    *("dev_directory", "eval_directory", "model_directory", "result_directory"),
    *("cache_directory", "result_file", "decision_threshold", "threshold_scope", "max_fpr"),
)


class Scores(NamedTuple):
    """What thresholds and results are made from; higher is more anomalous.

    of_clips : (n_clips,) float64
    extra : every score of a system that has several, name → (n_clips,)
    of_training : (n_training_clips,) float64; empty where they are unknown
    training_sections : (n_training_clips,) the section of each
    training_names : (n_training_clips,) the file name of each; empty where they are unknown
    distribution : the gamma distribution (shape, loc, scale) of an imported model; None: fit one
    """

    of_clips: np.ndarray
    extra: dict[str, np.ndarray]
    of_training: np.ndarray
    training_sections: list[str]
    training_names: list[str]
    distribution: tuple[float, float, float] | None = None


def score(
    model: Path,
    param: SystemSettings,
    machine_type: str,
    frames: Frames,
    training: Frames | None,
    anew: bool = False,
) -> Scores:
    """Score the clips of a machine type, or take what an earlier run kept of just this.

    Parameters
    ----------
    model : what `model_files.find_model` found
    param : the settings; `cache_directory` is where scores are kept
    frames : of the clips to score
    training : the training clips of an official model
    anew : score whatever is kept
    """
    parts = frames.split(CLIPS_PER_SLICE)
    places = [_place(model, param, part, training) for part in parts]
    found = [
        None if anew else _read(place, len(part.clips))
        for place, part in zip(places, parts, strict=True)
    ]
    if None not in found:
        logger.info("%s: scored before, and nothing has changed since", machine_type)
        return _joined(found)
    keras_model.clear_session()
    trained = keras_model.load_model(model, param, training, machine_type)
    title = f"{param.system} {machine_type}"
    for number, (place, part) in enumerate(zip(places, parts, strict=True)):
        if found[number] is None:
            found[number] = _score(trained, part.trim(), title)
            _save(place, found[number])
        if len(parts) > 1:
            logger.info("%s: slice %d of %d scored", title, number + 1, len(parts))
    return _joined(found)


def _score(trained: keras_model.Trained, frames: Frames, title: str) -> Scores:
    scores = Scores(
        trained.system.score(frames),
        trained.system.extra_scores(frames),
        np.asarray(trained.scores),
        trained.sections,
        trained.names,
        trained.distribution,
    )
    keras_model.check_finite(scores.of_clips, frames.clips, title)
    return scores


def _save(place: Path, scores: Scores) -> None:
    with atomic_write(place) as beside, beside.open("wb") as stream:
        np.savez(
            stream,
            of_clips=scores.of_clips,
            of_training=scores.of_training,
            training_sections=np.array(scores.training_sections, dtype=str),
            training_names=np.array(scores.training_names, dtype=str),
            distribution=np.array(scores.distribution or (), np.float64),
            **{f"extra_{name}": values for name, values in scores.extra.items()},
        )


def _joined(parts: Sequence[Scores]) -> Scores:
    """Of several slices; what they say of the training clips is the same."""
    extra = {name: np.concatenate([part.extra[name] for part in parts]) for name in parts[0].extra}
    of_clips = np.concatenate([part.of_clips for part in parts])
    return parts[0]._replace(of_clips=of_clips, extra=extra)


def _place(model: Path, param: SystemSettings, frames: Frames, training: Frames | None) -> Path:
    settings = param.model_dump(mode="json", exclude=set(NOT_IN_SCORE_KEY))
    files = [
        *saved.files_of(model),
        *(clip.path for clip in frames.clips),
        *(clip.path for clip in (training.clips if training else ())),
    ]
    key = frame_cache.cache_key([KEPT_VERSION, settings], files)
    return param.cache_directory / f"scores_{key}.npz"


def _read(place: Path, n_clips: int) -> Scores | None:
    try:
        arrays = read_arrays(place)
        scores = Scores(
            arrays.pop("of_clips"),
            {},
            arrays.pop("of_training"),
            arrays.pop("training_sections").tolist(),
            arrays.pop("training_names").tolist(),
            tuple(arrays.pop("distribution").tolist()) or None,
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None
    scores.extra.update({name.removeprefix("extra_"): array for name, array in arrays.items()})
    whole = all(len(array) == n_clips for array in (scores.of_clips, *scores.extra.values()))
    return scores if whole else None
