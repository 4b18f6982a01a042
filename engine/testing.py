"""What a test run is to score: its models and clips, found and checked before any work."""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path
from typing import Any, NamedTuple

import keras_model
from core.errors import BadInput, ProblemCollector
from core.log import logger, setup_log
from core.run_settings import SystemSettings
from data import clips
from data.dataset import read_clips, report_bad_clips
from data.frame_cache import RemoteWorkers
from data.frames import Frames, FramesRef
from engine import ensemble, results, scoring
from engine.jobs import Executor, Job, run_jobs
from models import saved


class Test(NamedTuple):
    """One machine type to test: its settings, its model, its test clips, and for an official model
    the clips that its thresholds are fitted to."""

    machine_type: str
    param: SystemSettings
    model: Path
    frames: Frames
    training: Frames | None


def plan(
    args: argparse.Namespace, params: list[dict[str, Any]], executor: Executor | None
) -> list[tuple[dict[str, Any], list[Test]]]:
    """Find the models and read the clips of a run; every problem is told before any scoring."""
    remote = executor.workers if executor else None
    planned, bad, problems, truth = [], [], ProblemCollector(), None
    with problems:
        ensemble.check_names(args.ensemble)
    with problems:
        if args.ground_truth and args.mode == "dev":
            raise BadInput("--ground-truth is for -e: development clips bear their labels")
        truth = results.read_truth(args.ground_truth) if args.ground_truth else None
    for of_system in params:
        setup_log(of_system.result_directory)
        tests: list[Test] = []
        for machine_type in clips.select_machines(of_system, args.mode, args.machine):
            param = of_system.for_machine(machine_type)
            with problems:
                param = saved.as_imported(param, machine_type, args.mode)
                model = saved.usable_model(param, machine_type, args.mode)
                frames, unusable = read_clips(
                    param, args.mode, machine_type, clips.TEST_FOLDERS, args.jobs, remote
                )
                bad += unusable
                if truth is not None:
                    labelled = results.with_truth(frames.clips, machine_type, truth, unusable)
                    frames = dataclasses.replace(frames, clips=tuple(labelled))
                training = None
                if saved.is_official(model):
                    training, unusable = training_clips(
                        param, args.mode, machine_type, args.jobs, remote
                    )
                    bad += unusable
                elif not saved.decides(model):
                    logger.warning(
                        "%s: imported without training clips, so no threshold: its decisions are "
                        "left out",
                        machine_type,
                    )
                tests.append(Test(machine_type, param, model, frames, training))
                check_sections(param, tests[-1])
                if any(param.system in made.weights for made in args.ensemble):
                    saved.check_named(model, machine_type, training)
        planned.append((of_system, tests))
    problems.stop()
    report_bad_clips(bad, params[0].result_directory, args.skip_bad)
    return planned


def score_elsewhere(
    planned: list[tuple[dict[str, Any], list[Test]]],
    args: argparse.Namespace,
    executor: Executor | None,
    problems: ProblemCollector,
) -> set[str]:
    """Score what is planned with an executor; the scores lie in the cache then.

    Returns
    -------
    The result directories of the systems that could not be scored; the problems are collected.
    """
    if executor is None:
        return set()
    todo = [
        job
        for param, tests in planned
        for test in tests
        for job in slice_jobs(test, args, f"{param.system} seed {param.seed}")
    ]
    return {job.param.result_directory for job in run_jobs(todo, executor, problems)}


def slice_jobs(test: Test, args: argparse.Namespace, title: str) -> list[Job]:
    """Return the jobs of a test: one, or where there are many clips, one per slice.

    title : of its run
    """
    parts, todo = test.frames.split(scoring.CLIPS_PER_SLICE), []
    for number, part in enumerate(parts, start=1):
        one, nth = (f" {number}/{len(parts)}", f"_{number}") if len(parts) > 1 else ("", "")
        given = (args.mode, test.machine_type, str(test.model.absolute()))
        job = Job(
            f"{test.machine_type}{one}: {len(part.clips)} clips",
            f"{title} {test.machine_type}{one}",
            f"test_{args.mode}_{test.machine_type}{nth}",
            test.param,
            score,
            (*given, FramesRef.to(part), args.force),
        )
        todo.append(job)
    return todo


def score(
    param: SystemSettings,
    mode: str,
    machine_type: str,
    model: str,
    part: FramesRef,
    anew: bool,
) -> None:
    """Score a slice of test clips in a worker, and keep the scores in the cache."""
    training = None
    if saved.is_official(Path(model)):
        training, _ = training_clips(param, mode, machine_type, 1)
    scoring.score(Path(model), param, machine_type, part.load(), training, anew)


def training_clips(
    param: SystemSettings,
    mode: str,
    machine_type: str,
    jobs: int | None,
    remote: RemoteWorkers | None = None,
) -> tuple[Frames | None, list[tuple[Path, str]]]:
    """What an official model was trained on, where it is present, as `dataset.read_clips`."""
    if (clips.dataset_directory(param, mode) / machine_type / "train").is_dir():
        return read_clips(param, mode, machine_type, ("train",), jobs, remote)
    logger.warning(
        "%s: no training clips, so no threshold for the official model: its decisions are left out",
        machine_type,
    )
    return None, []


def check_sections(param: SystemSettings, test: Test) -> None:
    """Raise BadInput for a section with test clips that its system or threshold cannot take."""
    if not saved.is_official(test.model):
        known = saved.trained_sections(test.model, param)
        fitted = saved.fits_thresholds(test.model)
    else:
        known = keras_model.class_names(param, test.training.clips) if test.training else []
        fitted = bool(known)
    scored = sorted(set(keras_model.class_names(param, test.frames.clips)))
    unknown = sorted(set(scored) - set(known))
    problems = ProblemCollector()
    with problems:
        keras_model.check_sections(param, test.machine_type, known, scored)
    with problems:
        if fitted and unknown and param.threshold_scope == "section":
            raise BadInput(
                f"{test.machine_type}: {', '.join(unknown)} has test clips but no training clips "
                "to fit a threshold to; add them and train again, or set threshold_scope: "
                "machine_type"
            )
    problems.stop()
