"""Training: what a command has to do, checked before any work; and one training."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

import keras_model
from core.command_line import Command
from core.errors import ProblemCollector
from core.files import atomic_write, save_csv
from core.log import logger, setup_log
from core.run_settings import SystemSettings
from core.settings import Config
from data.dataset import read_clips, report_bad_clips, training_machines, warn_of_missing_clips
from data.frames import Frames
from data.training_scores import TrainingScores
from engine import jobs
from engine.checks import (
    check_channel,
    check_classes,
    check_finite,
    check_sections,
    check_trainable,
)
from evaluation.thresholds import fit_thresholds
from models import saved
from models.quiet_keras import pending_import

if TYPE_CHECKING:
    from models.base import System
    from models.callbacks import Resume


def plan(
    command: Command,
    config: Config,
    runs: Sequence[SystemSettings],
    executor: jobs.Executor | None,
) -> list[jobs.Job]:
    """Return the jobs that train what is not trained yet, their clips read.

    Raises BadInput naming every problem, before any work.
    """
    remote = executor.workers if executor else None
    todo, bad, problems = [], [], ProblemCollector()
    for settings in runs:
        setup_log(settings.result_directory)
        if settings is runs[0]:
            config.log_contradictions()
        machine_types = training_machines(settings, command.mode, command.machines)
        groups = saved.network_groups(settings, machine_types)
        networks = [(settings.for_machine(name), members) for name, members in groups]
        warn_of_missing_clips(networks, command.mode)
        for (name, members), (run, _) in zip(groups, networks, strict=True):
            with problems:
                check_channel(run)
                frames, unusable = read_clips(
                    *(run, command.mode, members, ("train",), command.jobs, remote),
                    pending_import(),
                )
                bad += unusable
                check_classes(run, frames)
                classes = [run.class_name(clip) for clip in frames.clips]
                check_sections(run, name, classes, classes)
                model = saved.find_model(run, name, command.mode)
                if command.force or not model:
                    check_trainable(run, name, frames)
                    todo.append(training_job(run, command.mode, name, members, frames))
                    continue
                model.check_trained(run, frames.clips)
                logger.info("%s: there is a model already, %s", name, model)
    problems.stop()
    report_bad_clips(bad, runs[0].model_directory, command.skip_bad)
    return todo


def training_job(
    run: SystemSettings, mode: str, name: str, machine_types: list[str], frames: Frames
) -> jobs.Job:
    """Return the job that trains one network.

    name : a machine type, or the name of all of them
    """
    return jobs.Job(
        f"{name}: {len(frames.clips)} clips",
        f"{run.system} seed {run.seed} {name}",
        f"train_{mode}_{name}",
        run,
        train,
        (mode, name, machine_types),
        (frames,),
    )


def train(
    run: SystemSettings,
    mode: str,
    name: str,
    machine_types: list[str],
    frames: Frames | None = None,
) -> None:
    """Train a system on its machine types, and save it with its thresholds and its history.

    frames : of its clips; None loads them, without those that cannot be used
    """
    if frames is None:
        frames, _ = read_clips(run, mode, machine_types, ("train",), jobs=1)
    keras_model.clear_session()
    classes = [run.class_name(clip) for clip in frames.clips]
    system = keras_model.build_system(run, classes, run.fit.precision)
    stem = saved.model_stem(run, name, mode)
    title = f"{run.system} {name}"
    history = system.train(frames, title, resume_training(stem, run, frames))
    system = in_float32(system, frames)
    scores = system.training_scores(system.score(frames))
    check_finite(scores, frames.clips, title)
    thresholds = {
        machine_type: fit_thresholds(training, run, machine_type)
        for machine_type, training in by_machine_type(scores, frames).items()
    }
    save_history(stem.with_name(stem.name.replace("model_", "history_", 1)), history)
    keras_model.save_system(stem, system, run, frames.clips, scores, thresholds)
    logger.info("%s: model -> %s", name, stem)


def by_machine_type(scores: np.ndarray, frames: Frames) -> dict[str, TrainingScores]:
    """Return the training scores (n_clips,) of each machine type."""
    parts = {}
    for machine_type in sorted({clip.machine_type for clip in frames.clips}):
        chosen = [clip.machine_type == machine_type for clip in frames.clips]
        members = [clip for clip in frames.clips if clip.machine_type == machine_type]
        parts[machine_type] = TrainingScores(
            scores[chosen], [clip.section for clip in members], [clip.name for clip in members]
        )
    return parts


def in_float32(system: System, frames: Frames) -> System:
    """Return the same system, computing in float32, as scores are made, however it was trained.

    frames : of its training clips, for what it learns from them after the training
    """
    if system.compute_dtype == "float32":
        return system
    exact = keras_model.build_system(system.settings, system.section_names)
    exact.set_weights(system.get_weights())
    exact.fit_statistics(frames)
    return exact


def resume_training(stem: Path, run: SystemSettings, frames: Frames) -> Resume:
    """Return what continues an interrupted training of these clips and settings.

    `keras_model.save_system` removes the state that it saves.
    """
    from models.callbacks import Resume

    identity = json.dumps(
        [saved.training_settings(run), saved.fingerprint(frames.clips)], sort_keys=True
    )
    return Resume(saved.file_of(stem, saved.UNFINISHED), identity)


def save_history(stem: Path, history: dict[str, list[float]]) -> None:
    """Write the losses of every epoch as `<stem>.csv` and their curves as `<stem>.png`."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    epochs = range(1, 1 + len(next(iter(history.values()))))
    columns = [[float(value) for value in values] for values in history.values()]
    save_csv(
        stem.with_name(stem.name + ".csv"),
        [["epoch", *history], *zip(epochs, *columns, strict=True)],
    )
    figure = Figure(figsize=(7, 5))
    axes = figure.add_subplot(xlabel="epoch", ylabel="loss", title=stem.name)
    for name, values in zip(history, columns, strict=True):
        axes.plot(epochs, values, label=name)
    axes.legend()
    with atomic_write(stem.with_name(stem.name + ".png")) as temporary:
        FigureCanvasAgg(figure).print_png(temporary)
