"""Several systems as one: their scores normalised on training scores, weighted, added up.

A section's test scores are normalised by the scores that the same system gave the section's
training clips, never by other test scores: a clip's combined score does not depend on which clips
are tested with it. The threshold comes from the combined scores of the training clips.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from core.arrays import read_json
from core.errors import BadInput, nearest
from core.files import save_json
from core.log import logger, setup_log
from core.run_settings import SystemSettings
from core.system_settings import system_classes
from data.clips import Clip
from engine import results
from evaluation.metrics import SectionResult
from evaluation.thresholds import fit_thresholds

NORMS = ("rank", "z", "minmax")
RECORD = "ensemble.json"


class Ensemble(NamedTuple):
    """A name like a system's, and system → weight; the weights add up to 1."""

    name: str
    weights: dict[str, float]


class Scored(NamedTuple):
    """What a system says of a machine type.

    clips, scores : (n_clips,) the test clips and their anomaly scores
    training_names, training_sections, training_scores : (n_training_clips,) of the clips that it
        was trained on
    """

    clips: Sequence[Clip]
    scores: np.ndarray
    training_names: Sequence[str]
    training_sections: Sequence[str]
    training_scores: np.ndarray


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """--ensemble and --norm."""
    parser.add_argument(
        "--ensemble",
        nargs="+",
        action="extend",
        type=parse,
        default=[],
        metavar="NAME=SYSTEM:WEIGHT,...",
        help="systems to score and combine, as in mix=ae:0.5,idnn:0.5",
    )
    parser.add_argument(
        "--norm",
        choices=NORMS,
        default=NORMS[0],
        help="how an ensemble normalises scores, always on training scores (default: rank)",
    )


def parse(text: str) -> Ensemble:
    """Read "mix=ae:0.5,idnn:0.5"; raises ArgumentTypeError, saying what is wrong with it."""
    name, _, listed = text.partition("=")
    weights: dict[str, float] = {}
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", name) or not listed:
        raise argparse.ArgumentTypeError(f"'{text}' is not of the form NAME=ae:0.5,idnn:0.5")
    if name.lower() in (*system_classes(), "all"):
        raise argparse.ArgumentTypeError(f"{name} is a system's name; give the ensemble another")
    for part in listed.split(","):
        system, _, weight = part.partition(":")
        if system not in system_classes():
            hint = nearest(system, list(system_classes()))
            raise argparse.ArgumentTypeError(f"{name}: there is no system '{system}'{hint}")
        if system in weights:
            raise argparse.ArgumentTypeError(f"{name}: {system} is in it twice")
        try:
            weights[system] = float(weight)
        except ValueError:
            weights[system] = 0.0
        if not 0 < weights[system] < np.inf:
            raise argparse.ArgumentTypeError(
                f"{name}: the weight of {system} is '{weight}'; expected a number above 0"
            )
    if len(weights) < 2:
        raise argparse.ArgumentTypeError(f"{name}: an ensemble is of two systems or more")
    total = sum(weights.values())
    return Ensemble(name, {system: weight / total for system, weight in weights.items()})


def check_names(ensembles: Sequence[Ensemble]) -> None:
    """Raise BadInput where two ensembles of a run bear one name."""
    names = [ensemble.name.lower() for ensemble in ensembles]
    for name in sorted({name for name in names if names.count(name) > 1}):
        raise BadInput(f"--ensemble {name}: asked for twice; give each a name of its own")


def normalise(scores: np.ndarray, reference: np.ndarray, norm: str) -> np.ndarray:
    """Bring scores onto a scale that systems share.

    rank: the share of reference scores below, between two of them interpolated. Beyond them all it
    goes on, a unit for each of their standard deviations, so that clips that are stranger than
    every training clip keep their order. z: distance from the mean in standard deviations.
    minmax: 0 at the lowest reference score, 1 at the highest, not clipped. Reference scores that
    are all the same give a scale of 1.

    Parameters
    ----------
    scores : (n_clips,) of any clips
    reference : (n_training_clips,) of the same system's training clips, at least one

    Returns
    -------
    (n_clips,) float64, never falling where the scores rise
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


def combine(members: Mapping[str, Scored], weights: Mapping[str, float], norm: str) -> Scored:
    """The weighted sum of the members' normalised scores, section by section.

    Clips are matched by section and name; those that not every member has are left out. A section
    without training clips, which `threshold_scope: machine_type` allows, is normalised by those of
    all sections.

    Raises BadInput where the members have no test or no training clip in common.
    """
    held = {
        name: (
            {(clip.section, clip.name): at for at, clip in enumerate(member.clips)},
            {
                key: at
                for at, key in enumerate(
                    zip(member.training_sections, member.training_names, strict=True)
                )
            },
        )
        for name, member in members.items()
    }
    test, training = (_in_all([keys[kind] for keys in held.values()]) for kind in (0, 1))
    if not test or not training:
        what = "training" if test else "test"
        raise BadInput(f"{', '.join(members)}: no {what} clip in common, so no ensemble of them")
    test_sections = np.array([section for section, _ in test])
    sections = np.array([section for section, _ in training])
    scores, training_scores = np.zeros(len(test)), np.zeros(len(training))
    for name, member in members.items():
        tested = np.asarray(member.scores)[[held[name][0][key] for key in test]]
        trained = np.asarray(member.training_scores)[[held[name][1][key] for key in training]]
        for section in {*test_sections.tolist(), *sections.tolist()}:
            of, of_test = sections == section, test_sections == section
            reference = trained[of] if of.any() else trained
            scores[of_test] += weights[name] * normalise(tested[of_test], reference, norm)
            training_scores[of] += weights[name] * normalise(trained[of], reference, norm)
    first, (places, _) = next(iter(members.values())), next(iter(held.values()))
    return Scored(
        [first.clips[places[key]] for key in test],
        scores,
        [name for _, name in training],
        sections.tolist(),
        training_scores,
    )


def save(
    param: SystemSettings,
    ensemble: Ensemble,
    norm: str,
    mode: str,
    members: Mapping[str, Mapping[str, Scored]],
    truth: bool = False,
) -> list[SectionResult]:
    """Write an ensemble's results, as those of a system, and what it is made of: `ensemble.json`.

    Parameters
    ----------
    param : settings resolved for the ensemble's name
    mode : "dev" or "eval"; the record tells them apart
    members : system → machine type → its scores
    truth : as of `results.conclude`
    """
    directory = param.result_directory
    setup_log(directory)
    judged: list[SectionResult] = []
    used = {}
    held = [set(scored) for scored in members.values()]
    for machine_type in sorted(set.intersection(*held)):
        of = {name: scored[machine_type] for name, scored in members.items()}
        combined = combine(of, ensemble.weights, norm)
        _warn_of_gaps(ensemble.name, machine_type, of, combined)
        used[machine_type] = fit_thresholds(
            combined.training_scores, combined.training_sections, param, machine_type
        )
        judged += results.save(
            param, machine_type, combined.clips, combined.scores, used[machine_type]
        )
    if not used:
        return []
    results.conclude(param, judged, used, truth)
    made = {"weights": ensemble.weights, "norm": norm, "seed": param.seed}
    save_json(directory / RECORD, {**read_record(directory), mode: made})
    return judged


def read_record(directory: Path) -> dict[str, Any]:
    """What `ensemble.json` of a result directory holds: mode → weights, norm, seed; or nothing."""
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


def _in_all(groups: Sequence[Mapping[Hashable, int]]) -> list[Any]:
    return [key for key in groups[0] if all(key in group for group in groups)]


def _warn_of_gaps(name: str, machine_type: str, of: Mapping[str, Scored], combined: Scored) -> None:
    for what, most, kept in (
        ("test", max(len(scored.clips) for scored in of.values()), len(combined.clips)),
        (
            "training",
            max(len(scored.training_names) for scored in of.values()),
            len(combined.training_names),
        ),
    ):
        if kept < most:
            logger.warning(
                "%s %s: %d of %d %s clips are left out: not every system of the ensemble has them",
                name,
                machine_type,
                most - kept,
                most,
                what,
            )
