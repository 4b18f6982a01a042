"""Ensembles of systems: their scores normalised on training scores, weighted, added up.

A section's test scores are normalised by the scores that the same system gave the section's
training clips, never by other test scores: a clip's combined score does not depend on which clips
are tested with it. The threshold comes from the combined scores of the training clips.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from core.arrays import read_json
from core.errors import BadInput
from core.files import save_json
from core.log import logger, setup_log
from core.run_settings import SystemSettings
from core.settings import Config
from core.system_settings import system_classes
from data.training_scores import TrainingScores
from engine import results
from engine.options import Ensemble, TestOptions
from engine.results import TestedRun
from engine.scoring import Scores
from engine.year import find_evaluation
from evaluation.metrics import SectionResult
from evaluation.thresholds import fit_thresholds

RECORD = "ensemble.json"


def normalise(scores: np.ndarray, reference: np.ndarray, norm: str) -> np.ndarray:
    """Return scores on a scale that all systems share.

    rank: the share of reference scores below, interpolated between two of them. Beyond them all it
    rises by 1 per standard deviation, so that clips that are more anomalous than every training
    clip stay in order. z: distance from the mean in standard deviations.
    minmax: 0 at the lowest reference score, 1 at the highest, not clipped. Reference scores that
    are all equal count as a spread of 1.

    Parameters
    ----------
    scores : (n_clips,) of any clips
    reference : (n_training_clips,) of the same system's training clips, at least one

    Returns
    -------
    (n_clips,) float64, in the order of the scores
    """
    scores, reference = np.asarray(scores, np.float64), np.asarray(reference, np.float64)
    low, high, spread = reference.min(), reference.max(), reference.std() or 1.0
    if norm == "z":
        return (scores - reference.mean()) / spread
    if norm == "minmax":
        return (scores - low) / ((high - low) or 1.0)
    values, counts = np.unique(reference, return_counts=True)
    share = (np.cumsum(counts) - 0.5 * counts) / len(reference)
    beyond = np.maximum(scores - high, 0) + np.minimum(scores - low, 0)
    return np.interp(scores, values, share) + beyond / spread


def combine(members: Mapping[str, Scores], weights: Mapping[str, float], norm: str) -> Scores:
    """Return the weighted sum of the members' normalised scores, section by section.

    Clips are matched by section and name; those that not all members have are left out. A section
    without training clips, which `threshold_scope: machine_type` allows, is normalised by those of
    all sections.

    Raises BadInput where the members have no test or no training clip in common.
    """
    test_rows = {
        name: {(clip.section, clip.name): row for row, clip in enumerate(member.clips)}
        for name, member in members.items()
    }
    training_rows = {
        name: {
            key: row
            for row, key in enumerate(
                zip(member.training.sections, member.training.names, strict=True)
            )
        }
        for name, member in members.items()
    }
    test, training = _in_all(test_rows.values()), _in_all(training_rows.values())
    if not test or not training:
        what = "training" if test else "test"
        raise BadInput(f"{', '.join(members)}: no {what} clip in common, so no ensemble of them")
    test_sections = np.array([section for section, _ in test])
    sections = np.array([section for section, _ in training])
    scores, training_scores = np.zeros(len(test)), np.zeros(len(training))
    for name, member in members.items():
        tested = np.asarray(member.scores)[[test_rows[name][key] for key in test]]
        trained = np.asarray(member.training.scores)[[training_rows[name][key] for key in training]]
        for section in {*test_sections.tolist(), *sections.tolist()}:
            inside, tested_inside = sections == section, test_sections == section
            reference = trained[inside] if inside.any() else trained
            scores[tested_inside] += weights[name] * normalise(
                tested[tested_inside], reference, norm
            )
            training_scores[inside] += weights[name] * normalise(trained[inside], reference, norm)
    name, first = next(iter(members.items()))
    return Scores(
        [first.clips[test_rows[name][key]] for key in test],
        scores,
        {},
        TrainingScores(training_scores, sections.tolist(), [name for _, name in training]),
    )


def save(
    run: SystemSettings,
    ensemble: Ensemble,
    options: TestOptions,
    mode: str,
    members: Mapping[str, Mapping[str, Scores]],
) -> list[SectionResult]:
    """Write the results of an ensemble, as those of a system, and its record: `ensemble.json`.

    Parameters
    ----------
    run : settings resolved for the ensemble's name
    mode : "dev" or "eval"; the record has an entry for each
    members : system → machine type → its scores
    """
    directory = run.result_directory
    setup_log(directory)
    sections: list[SectionResult] = []
    thresholds, evaluation = {}, find_evaluation(run, mode, options)
    for machine_type in sorted(set.intersection(*(set(scores) for scores in members.values()))):
        parts = {name: scores[machine_type] for name, scores in members.items()}
        combined = combine(parts, ensemble.weights, options.norm)
        _warn_about_gaps(ensemble.name, machine_type, parts, combined)
        thresholds[machine_type] = fit_thresholds(combined.training, run, machine_type)
        sections += results.save(
            *(run, machine_type, combined.clips, combined.scores, thresholds[machine_type]),
            evaluation.definition,
        )
    if not thresholds:
        return []
    results.save_summary(run, sections, thresholds, evaluation)
    made = {"weights": ensemble.weights, "norm": options.norm, "seed": run.seed}
    save_json(directory / RECORD, {**read_record(directory), mode: made})
    return sections


def runs(
    ensembles: Sequence[Ensemble], config: Config, seeds: Sequence[int]
) -> list[tuple[Ensemble, SystemSettings]]:
    """Return the ensembles of every seed, each with the settings resolved for its name."""
    return [
        (ensemble, config.for_system(ensemble.name, seed))
        for ensemble in ensembles
        for seed in seeds or [None]
    ]


def test(
    ensembles: Sequence[tuple[Ensemble, SystemSettings]],
    tested: Sequence[TestedRun],
    options: TestOptions,
    mode: str,
) -> list[TestedRun]:
    """Return the results of the ensembles whose members have all been tested.

    ensembles : each with the settings that are resolved for its name and one seed
    """
    scores = {(run.settings.system, run.settings.seed): run.scores for run in tested}
    combined = []
    for ensemble, run in ensembles:
        members = {system: scores.get((system, run.seed)) for system in ensemble.weights}
        if None not in members.values():
            sections = save(run, ensemble, options, mode, members)
            combined.append(TestedRun(run, sections, {}))
    return combined


def read_record(directory: Path) -> dict[str, Any]:
    """Return `ensemble.json` of a result directory: mode → weights, norm, seed; {} without one."""
    path = directory / RECORD
    try:
        record = read_json(path)
        if all(set(made["weights"]) <= set(system_classes()) for made in record.values()):
            return record
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        pass
    raise BadInput(f"{path}: not the record of an ensemble; remove it and run 01_test.py again")


def _in_all(groups: Iterable[Mapping[Hashable, int]]) -> list[Any]:
    first, *others = groups
    return [key for key in first if all(key in group for group in others)]


def _warn_about_gaps(
    name: str, machine_type: str, parts: Mapping[str, Scores], combined: Scores
) -> None:
    for what, most, n_combined in (
        ("test", max(len(part.clips) for part in parts.values()), len(combined.clips)),
        (
            "training",
            max(len(part.training.names) for part in parts.values()),
            len(combined.training.names),
        ),
    ):
        if n_combined < most:
            logger.warning(
                "%s %s: %d of %d %s clips are left out: not every system of the ensemble has them",
                *(name, machine_type, most - n_combined, most, what),
            )
