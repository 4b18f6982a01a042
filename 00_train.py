"""Train a system on the normal clips of every machine type: python 00_train.py -d"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any, NamedTuple

import clips
import common as com
import frame_cache
import keras_model
import output
import settings


class Training(NamedTuple):
    """One network to train: its name (a machine type, or all), settings, place and clips."""

    name: str
    param: dict[str, Any]
    stem: Path
    frames: com.Frames


def main() -> int:
    """Check everything, then train what is not trained yet."""
    args = settings.command_line_chk(__doc__)
    units = settings.units(args, settings.yaml_load(args.config, args.set))
    with output.alone(*(Path(unit["model_directory"]) for unit in units)):
        todo = plan(args, units)
        failures = settings.Together(tell=True)
        for number, training in enumerate(todo, start=1):
            output.setup_log(Path(training.param["result_directory"]))
            progress = f"[{number}/{len(todo)}] {training.name}"
            output.logger.info("%s: %d clips", progress, len(training.frames.clips))
            with failures:
                train(training)
        failures.stop(len(todo))
    return 0


def plan(args: argparse.Namespace, units: list[dict[str, Any]]) -> list[Training]:
    """Find what is not trained yet and read its clips; every problem is told before any work."""
    todo, bad, problems = [], [], settings.Together()
    for unit in units:
        output.setup_log(Path(unit["result_directory"]))
        machine_types = clips.select_machines(unit, args.mode, args.machine)
        for name, together in keras_model.training_units(unit, machine_types):
            param = settings.for_machine(unit, name)
            with problems:
                frames, unusable = frame_cache.read_clips(
                    param, args.mode, together, ("train",), args.jobs
                )
                bad += unusable
                classes = keras_model.class_names(param, frames.clips)
                keras_model.check_sections(param, name, classes, classes)
                stem = keras_model.model_stem(param, name, args.mode)
                found = keras_model.find_model(param, name, args.mode)
                if args.force or not found:
                    keras_model.check_trainable(param, name, frames)
                    todo.append(Training(name, param, stem, frames))
                    continue
                if not keras_model.is_official(found):
                    keras_model.check_trained(found, param, frames.clips)
                output.logger.info("%s: there is a model already, %s", name, found)
    problems.stop()
    frame_cache.report_bad_clips(bad, Path(units[0]["model_directory"]), args.skip_bad)
    return todo


def train(training: Training) -> None:
    """Train a system on its machine types, and save it with its thresholds and its history."""
    name, param, stem, frames = training
    keras_model.clear_session()
    classes = keras_model.class_names(param, frames.clips)
    system = keras_model.get_model(param, classes, param["fit"]["precision"])
    resume = keras_model.interrupted(stem, param, frames.clips)
    history = system.train(frames, f"{param['system']} {name}", resume)
    system = keras_model.in_float32(system)
    scores = system.score(frames)
    keras_model.check_finite(scores, frames.clips, f"{param['system']} {name}")
    thresholds = com.fit_thresholds(scores, classes, param, name)
    com.save_history(stem.with_name(stem.name.replace("model_", "history_", 1)), history)
    keras_model.save_model(stem, system, param, frames.clips, scores, thresholds)
    output.logger.info("%s: model -> %s", name, stem)


if __name__ == "__main__":
    sys.exit(settings.guarded(main))
