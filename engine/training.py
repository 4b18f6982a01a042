"""What a training run is to do, found and checked before any work; and one training."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras_model
from core.errors import ProblemCollector
from core.files import atomic_write, save_csv
from core.log import logger, setup_log
from core.run_settings import SystemSettings
from data import clips
from data.dataset import read_clips, report_bad_clips
from data.frames import Frames
from engine import jobs
from evaluation.thresholds import fit_thresholds
from models import saved


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
    with atomic_write(stem.with_name(stem.name + ".png")) as beside:
        FigureCanvasAgg(figure).print_png(beside)


def plan(
    args: argparse.Namespace, params: Sequence[dict[str, Any]], executor: jobs.Executor | None
) -> list[jobs.Job]:
    """Find what is not trained yet and read its clips; every problem is told before any work.

    params : the settings of every system and seed of the run
    """
    remote = executor.workers if executor else None
    todo, bad, problems = [], [], ProblemCollector()
    for of_system in params:
        setup_log(of_system.result_directory)
        machine_types = clips.select_machines(of_system, args.mode, args.machine)
        for name, together in saved.network_groups(of_system, machine_types):
            param = of_system.for_machine(name)
            with problems:
                frames, unusable = read_clips(
                    param, args.mode, together, ("train",), args.jobs, remote
                )
                bad += unusable
                classes = keras_model.class_names(param, frames.clips)
                keras_model.check_sections(param, name, classes, classes)
                found = saved.find_model(param, name, args.mode)
                if args.force or not found:
                    keras_model.check_trainable(param, name, frames)
                    todo.append(job(param, args.mode, name, together, frames))
                    continue
                if not saved.is_official(found):
                    saved.check_trained(found, param, frames.clips)
                logger.info("%s: there is a model already, %s", name, found)
    problems.stop()
    report_bad_clips(bad, params[0].model_directory, args.skip_bad)
    return todo


def job(
    param: SystemSettings, mode: str, name: str, together: list[str], frames: Frames
) -> jobs.Job:
    """Return the training of one network.

    name : a machine type, or the name of all of them
    together : its machine types
    """
    return jobs.Job(
        f"{name}: {len(frames.clips)} clips",
        f"{param.system} seed {param.seed} {name}",
        f"train_{mode}_{name}",
        param,
        train,
        (mode, name, together),
        (frames,),
    )


def train(
    param: SystemSettings,
    mode: str,
    name: str,
    together: list[str],
    frames: Frames | None = None,
) -> None:
    """Train a system on its machine types, and save it with its thresholds and its history.

    frames : of its clips; None loads them, without those that cannot be used
    """
    if frames is None:
        frames, _ = read_clips(param, mode, together, ("train",), jobs=1)
    keras_model.clear_session()
    classes = keras_model.class_names(param, frames.clips)
    system = keras_model.get_model(param, classes, param.fit.precision)
    stem = saved.model_stem(param, name, mode)
    resume = keras_model.interrupted(stem, param, frames.clips)
    history = system.train(frames, f"{param.system} {name}", resume)
    system = keras_model.in_float32(system)
    scores = system.score(frames)
    keras_model.check_finite(scores, frames.clips, f"{param.system} {name}")
    thresholds = fit_thresholds(scores, classes, param, name)
    save_history(stem.with_name(stem.name.replace("model_", "history_", 1)), history)
    keras_model.save_model(stem, system, param, frames.clips, scores, thresholds)
    logger.info("%s: model -> %s", name, stem)
