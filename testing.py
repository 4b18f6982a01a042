"""What a test run is to score: its models and clips, found and checked before any work."""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path
from typing import Any, NamedTuple

import clips
import common as com
import ensemble
import frame_cache
import keras_model
import model_files
import output
import results
import scoring
import settings
import units


class Test(NamedTuple):
    """One machine type to test: its settings, its model, its test clips, and for an official model
    the clips that its thresholds are fitted to."""

    machine_type: str
    param: dict[str, Any]
    model: Path
    frames: com.Frames
    training: com.Frames | None


def plan(
    args: argparse.Namespace, params: list[dict[str, Any]]
) -> list[tuple[dict[str, Any], list[Test]]]:
    """Find the models and read the clips of a run; every problem is told before any scoring."""
    planned, bad, problems, truth = [], [], settings.Together(), None
    with problems:
        ensemble.check_names(args.ensemble)
    with problems:
        if args.ground_truth and args.mode == "dev":
            raise settings.BadInput("--ground-truth is for -e: development clips bear their labels")
        truth = results.read_truth(args.ground_truth) if args.ground_truth else None
    for of_system in params:
        output.setup_log(Path(of_system["result_directory"]))
        tests: list[Test] = []
        for machine_type in clips.select_machines(of_system, args.mode, args.machine):
            param = settings.for_machine(of_system, machine_type)
            with problems:
                param = model_files.as_imported(param, machine_type, args.mode)
                model = model_files.usable_model(param, machine_type, args.mode)
                frames, unusable = frame_cache.read_clips(
                    param, args.mode, machine_type, clips.TEST_FOLDERS, args.jobs
                )
                bad += unusable
                if truth is not None:
                    labelled = results.with_truth(frames.clips, machine_type, truth, unusable)
                    frames = dataclasses.replace(frames, clips=tuple(labelled))
                training = None
                if model_files.is_official(model):
                    training, unusable = training_clips(param, args.mode, machine_type, args.jobs)
                    bad += unusable
                elif not model_files.decides(model):
                    output.logger.warning(
                        "%s: imported without training clips, so no threshold: its decisions are "
                        "left out",
                        machine_type,
                    )
                tests.append(Test(machine_type, param, model, frames, training))
                check_sections(param, tests[-1])
                if any(param["system"] in made.weights for made in args.ensemble):
                    model_files.check_named(model, machine_type, training)
        planned.append((of_system, tests))
    problems.stop()
    frame_cache.report_bad_clips(bad, Path(params[0]["result_directory"]), args.skip_bad)
    return planned


def score_elsewhere(
    planned: list[tuple[dict[str, Any], list[Test]]],
    args: argparse.Namespace,
    engine: units.Engine | None,
    problems: settings.Together,
) -> set[str]:
    """Score what is planned with an engine; the scores lie in the cache then.

    Returns
    -------
    The result directories of the systems that could not be scored; the problems are collected.
    """
    if engine is None:
        return set()
    todo = [
        unit
        for param, tests in planned
        for test in tests
        for unit in slices_of(test, args, f"{param['system']} seed {param['seed']}")
    ]
    return {unit.param["result_directory"] for unit in units.run(todo, engine, problems)}


def slices_of(test: Test, args: argparse.Namespace, title: str) -> list[units.Unit]:
    """The units of a test: one, or where there are many clips, one a slice; title: of its run."""
    parts, found = test.frames.slices(scoring.CLIPS_A_SLICE), []
    for number, part in enumerate(parts, start=1):
        one, nth = (f" {number}/{len(parts)}", f"_{number}") if len(parts) > 1 else ("", "")
        given = (args.mode, test.machine_type, str(test.model.absolute()))
        unit = units.Unit(
            f"{test.machine_type}{one}: {len(part.clips)} clips",
            f"{title} {test.machine_type}{one}",
            f"test_{args.mode}_{test.machine_type}{nth}",
            test.param,
            score,
            (*given, frame_cache.Cached.of(part), args.force),
        )
        found.append(unit)
    return found


def score(
    param: dict[str, Any],
    mode: str,
    machine_type: str,
    model: str,
    part: frame_cache.Cached,
    anew: bool,
) -> None:
    """Score a slice of test clips in a worker, and keep the scores in the cache."""
    training = None
    if model_files.is_official(Path(model)):
        training, _ = training_clips(param, mode, machine_type, 1)
    scoring.score(Path(model), param, machine_type, part.load(), training, anew)


def training_clips(
    param: dict[str, Any], mode: str, machine_type: str, jobs: int | None
) -> tuple[com.Frames | None, list[tuple[Path, str]]]:
    """What an official model was trained on, where it is present, as `frame_cache.read_clips`."""
    if (clips.dataset_directory(param, mode) / machine_type / "train").is_dir():
        return frame_cache.read_clips(param, mode, machine_type, ("train",), jobs)
    output.logger.warning(
        "%s: no training clips, so no threshold for the official model: its decisions are left out",
        machine_type,
    )
    return None, []


def check_sections(param: dict[str, Any], test: Test) -> None:
    """Raise BadInput for a section with test clips that its system or threshold cannot take."""
    if not model_files.is_official(test.model):
        known = model_files.trained_sections(test.model, param)
        fitted = model_files.fits_thresholds(test.model)
    else:
        known = keras_model.class_names(param, test.training.clips) if test.training else []
        fitted = bool(known)
    scored = sorted(set(keras_model.class_names(param, test.frames.clips)))
    unknown = sorted(set(scored) - set(known))
    problems = settings.Together()
    with problems:
        keras_model.check_sections(param, test.machine_type, known, scored)
    with problems:
        if fitted and unknown and param["threshold_scope"] == "section":
            raise settings.BadInput(
                f"{test.machine_type}: {', '.join(unknown)} has test clips but no training clips "
                "to fit a threshold to; add them and train again, or set threshold_scope: "
                "machine_type"
            )
    problems.stop()
