"""What a training run is to do, found and checked before any work; and one training."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import clips
import common as com
import frame_cache
import keras_model
import model_files
import output
import settings
import units


def plan(args: argparse.Namespace, params: Sequence[dict[str, Any]]) -> list[units.Unit]:
    """Find what is not trained yet and read its clips; every problem is told before any work.

    params : the settings of every system and seed of the run
    """
    todo, bad, problems = [], [], settings.Together()
    for of_system in params:
        output.setup_log(Path(of_system["result_directory"]))
        machine_types = clips.select_machines(of_system, args.mode, args.machine)
        for name, together in model_files.training_units(of_system, machine_types):
            param = settings.for_machine(of_system, name)
            with problems:
                frames, unusable = frame_cache.read_clips(
                    param, args.mode, together, ("train",), args.jobs
                )
                bad += unusable
                classes = keras_model.class_names(param, frames.clips)
                keras_model.check_sections(param, name, classes, classes)
                found = model_files.find_model(param, name, args.mode)
                if args.force or not found:
                    keras_model.check_trainable(param, name, frames)
                    todo.append(unit(param, args.mode, name, together, frames))
                    continue
                if not model_files.is_official(found):
                    model_files.check_trained(found, param, frames.clips)
                output.logger.info("%s: there is a model already, %s", name, found)
    problems.stop()
    frame_cache.report_bad_clips(bad, Path(params[0]["model_directory"]), args.skip_bad)
    return todo


def unit(
    param: dict[str, Any], mode: str, name: str, together: list[str], frames: com.Frames
) -> units.Unit:
    """The training of one network: its name (a machine type, or all) and its machine types."""
    return units.Unit(
        f"{name}: {len(frames.clips)} clips",
        f"{param['system']} seed {param['seed']} {name}",
        f"train_{mode}_{name}",
        param,
        train,
        (mode, name, together),
        (frames,),
    )


def train(
    param: dict[str, Any],
    mode: str,
    name: str,
    together: list[str],
    frames: com.Frames | None = None,
) -> None:
    """Train a system on its machine types, and save it with its thresholds and its history.

    frames : of its clips; None loads them, without those that cannot be used
    """
    if frames is None:
        frames, _ = frame_cache.read_clips(param, mode, together, ("train",), jobs=1)
    keras_model.clear_session()
    classes = keras_model.class_names(param, frames.clips)
    system = keras_model.get_model(param, classes, param["fit"]["precision"])
    stem = model_files.model_stem(param, name, mode)
    resume = keras_model.interrupted(stem, param, frames.clips)
    history = system.train(frames, f"{param['system']} {name}", resume)
    system = keras_model.in_float32(system)
    scores = system.score(frames)
    keras_model.check_finite(scores, frames.clips, f"{param['system']} {name}")
    thresholds = com.fit_thresholds(scores, classes, param, name)
    com.save_history(stem.with_name(stem.name.replace("model_", "history_", 1)), history)
    keras_model.save_model(stem, system, param, frames.clips, scores, thresholds)
    output.logger.info("%s: model -> %s", name, stem)
