"""The scores of test clips: computed with a model, or read from the cache."""

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
from data.clips import Clip
from data.frames import Frames
from data.training_scores import TrainingScores
from engine.checks import check_finite
from evaluation.thresholds import Threshold, fit_thresholds
from models.embedding_map import EmbeddingMap
from models.saved import Model, OfficialModel

CLIPS_PER_SLICE = 1024  # scored and cached in one piece: an interruption costs no more
CACHE_VERSION = 1  # raise when the same model and clips would give other scores
# What scores do not depend on.
NOT_IN_SCORE_KEY = {
    *("dev_directory", "eval_directory", "model_directory", "result_directory"),
    *("cache_directory", "result_file", "max_fpr", "evaluation"),
    *("decision_threshold", "threshold_scope", "threshold_fit"),
}


class Scores(NamedTuple):
    """The anomaly scores of the test clips of a machine type; higher is more anomalous.

    clips : (n_clips,) the test clips
    scores : (n_clips,) float64
    extra : every score of a system that has several, name → (n_clips,)
    training : the scores of the clips that the system was trained on
    map : test and training clips in two dimensions, of a system that scores embeddings
    """

    clips: Sequence[Clip]
    scores: np.ndarray
    extra: dict[str, np.ndarray]
    training: TrainingScores
    map: EmbeddingMap | None = None


def score(
    model: Model, run: SystemSettings, machine_type: str, frames: Frames, force: bool = False
) -> Scores:
    """Score the clips of a machine type, or read the same scores from the cache.

    Parameters
    ----------
    model : what `models.saved.usable_model` returned
    run : the settings; scores are cached in `cache_directory`
    frames : of the clips to score
    force : score even where scores are cached
    """
    parts = frames.split(CLIPS_PER_SLICE)
    paths = [_cache_path(model, run, part) for part in parts]
    scored = [
        None if force else _read(path, part.clips) for path, part in zip(paths, parts, strict=True)
    ]
    if None not in scored:
        logger.info("%s: scored before, and nothing has changed since", machine_type)
        return _join(scored)
    keras_model.clear_session()
    system, training = keras_model.load_system(model, run, machine_type)
    title = f"{run.system} {machine_type}"
    for number, (path, part) in enumerate(zip(paths, parts, strict=True)):
        if scored[number] is None:
            frames = part.trim()
            values, extra = system.score(frames), system.extra_scores(frames)
            check_finite(values, part.clips, title)
            scores = Scores(part.clips, values, extra, training, system.embedding_map(frames))
            _save(path, scores)
            scored[number] = scores
        if len(parts) > 1:
            logger.info("%s: slice %d of %d scored", title, number + 1, len(parts))
    return _join(scored)


def is_cached(model: Model, run: SystemSettings, frames: Frames) -> bool:
    """Return whether `score` would read the scores of all these clips from the cache."""
    parts = frames.split(CLIPS_PER_SLICE)
    return all(_read(_cache_path(model, run, part), part.clips) is not None for part in parts)


def model_thresholds(
    model: Model, run: SystemSettings, machine_type: str, training: TrainingScores
) -> dict[str, Threshold]:
    """Return section → threshold: those saved with a model, or fitted again with other settings."""
    saved = model.thresholds(run, machine_type)
    if saved is None:
        return fit_thresholds(training, run, machine_type)
    return {section: Threshold(**values) for section, values in saved.items()}


def _join(parts: Sequence[Scores]) -> Scores:
    """Return the scores of several slices as one; their training scores are the same."""
    extra = {name: np.concatenate([part.extra[name] for part in parts]) for name in parts[0].extra}
    clips = [clip for part in parts for clip in part.clips]
    scores = np.concatenate([part.scores for part in parts])
    maps = [part.map for part in parts if part.map]
    whole = maps[0]._replace(test=np.concatenate([one.test for one in maps])) if maps else None
    return Scores(clips, scores, extra, parts[0].training, whole)


def _cache_path(model: Model, run: SystemSettings, frames: Frames) -> Path:
    settings = run.model_dump(mode="json", exclude=NOT_IN_SCORE_KEY)
    training = model.training if isinstance(model, OfficialModel) else None
    files = [
        *model.files,
        *(clip.path for clip in frames.clips),
        *(clip.path for clip in (training.clips if training else ())),
    ]
    if run.reads_files:
        files += keras_model.system_class(run.system).clip_files(run, frames.clips)
    key = frame_cache.cache_key([CACHE_VERSION, settings], files)
    return run.cache_directory / f"scores_{key}.npz"


def _save(path: Path, scores: Scores) -> None:
    training, mapped = scores.training, scores.map._asdict() if scores.map else {}
    with atomic_write(path) as temporary, temporary.open("wb") as stream:
        np.savez(
            stream,
            scores=scores.scores,
            training_scores=training.scores,
            training_sections=np.array(training.sections, dtype=str),
            training_names=np.array(training.names, dtype=str),
            distribution=np.array(training.distribution or (), np.float64),
            **{f"extra_{name}": values for name, values in scores.extra.items()},
            **{f"map_{name}": values for name, values in mapped.items()},
        )


def _read(path: Path, clips: Sequence[Clip]) -> Scores | None:
    try:
        arrays = read_arrays(path)
        scores = arrays.pop("scores")
        training = TrainingScores(
            arrays.pop("training_scores"),
            arrays.pop("training_sections").tolist(),
            arrays.pop("training_names").tolist(),
            tuple(arrays.pop("distribution").tolist()) or None,
        )
        mapped = _read_map(arrays, len(clips), len(training.scores))
    except (OSError, ValueError, KeyError, TypeError):
        return None
    extra = {name.removeprefix("extra_"): values for name, values in arrays.items()}
    complete = all(len(values) == len(clips) for values in (scores, *extra.values()))
    return Scores(clips, scores, extra, training, mapped) if complete else None


def _read_map(arrays: dict[str, np.ndarray], n_clips: int, n_training: int) -> EmbeddingMap | None:
    """Take the arrays of a map out of others; raise ValueError where they do not fit the clips."""
    if "map_test" not in arrays:
        return None
    mapped = EmbeddingMap(*(arrays.pop(f"map_{name}") for name in EmbeddingMap._fields))
    shapes = [(n_clips, 2), (n_training, 2), (n_training,), (n_training,)]
    if [values.shape for values in mapped] != shapes:
        raise ValueError("its map is of other clips")
    return mapped
