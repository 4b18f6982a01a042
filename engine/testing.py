"""Testing: models and clips checked before any work, then scores, decisions and results."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from core.command_line import Command
from core.errors import BadInput, ProblemCollector
from core.log import logger, setup_log
from core.run_settings import SystemSettings
from core.settings import Config
from data import clips
from data.dataset import read_clips, report_bad_clips
from data.frame_cache import RemoteWorkers
from data.frames import Frames, FramesRef
from engine import embedding_maps, results, scoring
from engine import options as test_options
from engine.checks import check_channel, check_scored, check_sections
from engine.jobs import Executor, Job, run_jobs
from engine.options import TestOptions
from engine.results import Evaluation, TestedRun
from engine.year import dataset_evaluation, own_evaluation
from evaluation import equal_error_rate
from evaluation.truth import Truth
from models.quiet_keras import pending_import
from models.saved import Model, OfficialModel, usable_model


class TestTask(NamedTuple):
    """One machine type to test.

    model : an official one with its training clips, where these are needed and present
    frames : of the test clips
    """

    machine_type: str
    run: SystemSettings
    model: Model
    frames: Frames


Plan = list[tuple[SystemSettings, list[TestTask]]]


def plan(
    command: Command,
    options: TestOptions,
    config: Config,
    runs: Sequence[SystemSettings],
    executor: Executor | None,
) -> Plan:
    """Return the models and clips of every run.

    Raises BadInput naming every problem, before any scoring.
    """
    remote = executor.workers if executor else None
    planned, bad, problems, truth = [], [], ProblemCollector(), None
    with problems:
        test_options.check_names(options.ensembles)
    with problems:
        if options.ground_truth and command.mode == "dev":
            raise BadInput("--ground-truth is for -e: development clips have labels in their names")
        truth = dataset_evaluation(runs[0], command.mode, options).truth
        for warning in truth.warnings if truth else ():
            logger.warning("%s", warning)
    for run in runs:
        setup_log(run.result_directory)
        if run is runs[0]:
            config.log_contradictions()
        tasks: list[TestTask] = []
        for machine_type in clips.select_machines(run, command.mode, command.machines):
            with problems:
                combined = any(run.system in ensemble.weights for ensemble in options.ensembles)
                task, unusable = _task(command, run, machine_type, truth, remote, combined)
                tasks.append(task)
                bad += unusable
                _check_task(task, command.force)
                if combined:
                    task.model.check_training_names(machine_type)
        planned.append((run, tasks))
    problems.stop()
    report_bad_clips(bad, runs[0].result_directory, command.skip_bad)
    return planned


def _task(
    command: Command,
    run: SystemSettings,
    machine_type: str,
    truth: Truth | None,
    remote: RemoteWorkers | None,
    combined: bool,
) -> tuple[TestTask, list[tuple[Path, str]]]:
    """Return the task of a machine type, and its clips that cannot be used.

    combined : an ensemble takes the scores, so those of the training clips are needed too
    """
    mode, jobs = command.mode, command.jobs
    check_channel(run.for_machine(machine_type))
    model, run = usable_model(run.for_machine(machine_type), machine_type, mode)
    frames, bad = read_clips(
        *(run, mode, machine_type, clips.TEST_FOLDERS, jobs, remote), pending_import()
    )
    if truth is not None:
        labelled = results.with_truth(frames.clips, machine_type, truth.sections, bad)
        frames = dataclasses.replace(frames, clips=tuple(labelled))
    if isinstance(model, OfficialModel):
        if combined or _needs_training_clips(model, run):
            model, unusable = _with_training_clips(model, run, mode, machine_type, jobs, remote)
            bad = [*bad, *unusable]
        if model.distribution:
            logger.info(
                "%s: the threshold is that of %s, whether there are training clips or not",
                *(machine_type, model.files[1].name),
            )
    elif not model.has_thresholds:
        logger.warning(
            "%s: imported without training clips, so no threshold: its decisions are left out",
            machine_type,
        )
    return TestTask(machine_type, run, model, frames), bad


def _needs_training_clips(model: OfficialModel, run: SystemSettings) -> bool:
    """Return whether the training clips are wanted of an official model: scores, or sections."""
    return not model.distribution or (run.classifier and not model.classes)


def _with_training_clips(
    model: OfficialModel,
    run: SystemSettings,
    mode: str,
    machine_type: str,
    jobs: int | None,
    remote: RemoteWorkers | None = None,
) -> tuple[OfficialModel, list[tuple[Path, str]]]:
    """Return an official model with its training clips, where these are present."""
    if (clips.dataset_directory(run, mode) / machine_type / "train").is_dir():
        training, bad = read_clips(run, mode, machine_type, ("train",), jobs, remote)
        return OfficialModel(model.path, run, training), bad
    if not model.has_thresholds:
        logger.warning(
            "%s: neither training clips nor score_distr_%s.pkl, so no threshold for the official "
            "model: its decisions are left out",
            *(machine_type, machine_type),
        )
    return model, []


def _check_task(task: TestTask, force: bool) -> None:
    """Raise BadInput for test clips of a section that its system or threshold cannot judge.

    force : the clips are to be scored even where their scores are cached
    """
    run, known = task.run, task.model.sections
    scored = sorted({run.class_name(clip) for clip in task.frames.clips})
    unknown = sorted({run.section_of(name) for name in scored} - set(map(run.section_of, known)))
    problems = ProblemCollector()
    with problems:
        # Cached scores passed these checks when they were made, and they start TensorFlow.
        if force or not scoring.is_cached(task.model, run, task.frames):
            check_sections(run, task.machine_type, known, scored)
            check_scored(run, task.frames)
    with problems:
        if task.model.fits_thresholds and unknown and run.threshold_scope == "section":
            raise BadInput(
                f"{task.machine_type}: {', '.join(unknown)} has test clips but no training clips "
                "to fit a threshold to; add them and train again, or set threshold_scope: "
                "machine_type"
            )
    problems.stop()


def test(
    command: Command,
    options: TestOptions,
    planned: Plan,
    executor: Executor | None,
    problems: ProblemCollector,
) -> list[TestedRun]:
    """Score, decide and evaluate every run; those that could not be scored are left out."""
    failed = score_in_workers(command, planned, executor, problems)
    force = command.force and executor is None
    evaluation = dataset_evaluation(planned[0][0], command.mode, options)
    return [
        test_run(run, tasks, force, own_evaluation(run, evaluation), problems)
        for run, tasks in planned
        if run.result_directory not in failed
    ]


def test_run(
    run: SystemSettings,
    tasks: Sequence[TestTask],
    force: bool,
    evaluation: Evaluation,
    problems: ProblemCollector,
) -> TestedRun:
    """Score, decide and evaluate one run.

    A machine type whose scores are not finite is left out, and its problem collected.
    """
    setup_log(run.result_directory)
    sections, scores, thresholds = [], {}, {}
    for number, (machine_type, own, model, frames) in enumerate(tasks, start=1):
        logger.info("[%d/%d] %s: %d clips", number, len(tasks), machine_type, len(frames.clips))
        with problems:
            scored = scoring.score(model, own, machine_type, frames, force)
            fitted = scoring.model_thresholds(model, own, machine_type, scored.training)
            sections += results.save(
                run, machine_type, scored.clips, scored.scores, fitted, evaluation.definition
            )
            embedding_maps.save(run, machine_type, scored, evaluation.mode)
            scores[machine_type], thresholds[machine_type] = scored, fitted
    if scores:
        results.save_summary(run, sections, thresholds, evaluation)
        results.save_all_scores(run, list(scores.values()), evaluation)
        if run.reports_equal_error_rate():
            equal_error_rate.save(
                run.result_directory,
                [(name, scored.clips, scored.scores) for name, scored in scores.items()],
                evaluation.mode,
            )
    return TestedRun(run, sections, scores)


def score_in_workers(
    command: Command, planned: Plan, executor: Executor | None, problems: ProblemCollector
) -> set[Path]:
    """Score the planned clips with an executor; the scores are in the cache afterwards.

    Returns
    -------
    The result directories of the runs that could not be scored; the problems are collected.
    """
    if executor is None:
        return set()
    todo = [job for _, tasks in planned for task in tasks for job in slice_jobs(task, command)]
    return {job.settings.result_directory for job in run_jobs(todo, executor, problems)}


def slice_jobs(task: TestTask, command: Command) -> list[Job]:
    """Return the jobs of a task: one, or where there are many clips, one per slice."""
    machine_type, run = task.machine_type, task.run
    parts, todo = task.frames.split(scoring.CLIPS_PER_SLICE), []
    with_training = isinstance(task.model, OfficialModel) and task.model.training is not None
    for number, part in enumerate(parts, start=1):
        slice_name, suffix = "", ""
        if len(parts) > 1:
            slice_name, suffix = f" {number}/{len(parts)}", f"_{number}"
        job = Job(
            f"{machine_type}{slice_name}: {len(part.clips)} clips",
            f"{run.system} seed {run.seed} {machine_type}{slice_name}",
            f"test_{command.mode}_{machine_type}{suffix}",
            run,
            score_slice,
            (command.mode, machine_type, FramesRef.to(part), command.force, with_training),
        )
        todo.append(job)
    return todo


def score_slice(
    run: SystemSettings,
    mode: str,
    machine_type: str,
    part: FramesRef,
    force: bool,
    with_training: bool = False,
) -> None:
    """Score a slice of test clips in a worker, and cache the scores.

    with_training : of an official model, those of the training clips too
    """
    model, run = usable_model(run, machine_type, mode)
    if isinstance(model, OfficialModel) and with_training:
        model, _ = _with_training_clips(model, run, mode, machine_type, 1)
    scoring.score(model, run, machine_type, part.load(), force)
