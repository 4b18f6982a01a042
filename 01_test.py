"""Score and judge the test clips of every machine type: python 01_test.py -d"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any, NamedTuple

import clips
import common as com
import equal_error
import evaluation
import keras_model
import results
import scoring
import settings


class Test(NamedTuple):
    """One machine type to test: its settings, its model, its test clips, and for an official model
    the clips that its thresholds are fitted to."""

    machine_type: str
    param: dict[str, Any]
    model: Path
    frames: com.Frames
    training: com.Frames | None


def main() -> int:
    """Check everything, then score, decide and, where labels are known, evaluate and compare."""
    args = settings.command_line_chk(__doc__)
    units = settings.units(args, settings.yaml_load(args.config, args.set))
    with com.alone(*(Path(unit["result_directory"]) for unit in units)):
        compared = {
            f"{param['system']} seed {param['seed']}": test_system(param, tests, args.force)
            for param, tests in plan(args, units)
        }
    if len(compared) > 1:
        com.logger.info("%s\n", results.comparison(compared))
    return 0


def test_system(
    param: dict[str, Any], tests: list[Test], anew: bool
) -> list[evaluation.SectionResult]:
    """Score, decide and evaluate the machine types of a system; the metrics of its sections."""
    com.setup_log(Path(param["result_directory"]))
    judged, scored, used, extra = [], [], {}, []
    for number, (machine_type, own, model, frames, training) in enumerate(tests, start=1):
        progress = f"[{number}/{len(tests)}] {machine_type}"
        com.logger.info("%s: %d clips", progress, len(frames.clips))
        scores = scoring.score(model, own, machine_type, frames, training, anew)
        used[machine_type] = com.fit_thresholds(
            scores.of_training, scores.training_sections, own, machine_type
        )
        scored.append((machine_type, frames.clips, scores.of_clips))
        judged += results.save(
            param, machine_type, frames.clips, scores.of_clips, used[machine_type]
        )
        extra.append((frames.clips, scores.extra))
    results.conclude(param, judged, used)
    results.save_all_scores(param, extra)
    if param.get("equal_error"):
        equal_error.save(Path(param["result_directory"]), scored)
    return judged


def plan(
    args: argparse.Namespace, units: list[dict[str, Any]]
) -> list[tuple[dict[str, Any], list[Test]]]:
    """Find the models and read the clips of a run; every problem is told before any scoring."""
    planned, bad, problems = [], [], settings.Together()
    for unit in units:
        com.setup_log(Path(unit["result_directory"]))
        tests: list[Test] = []
        for machine_type in clips.select_machines(unit, args.mode, args.machine):
            param = settings.for_machine(unit, machine_type)
            with problems:
                model = keras_model.usable_model(param, machine_type, args.mode)
                frames, unusable = com.read_clips(
                    param, args.mode, machine_type, clips.TEST_FOLDERS, args.jobs
                )
                bad += unusable
                training = None
                if keras_model.is_official(model):
                    training, unusable = training_clips(param, args.mode, machine_type, args.jobs)
                    bad += unusable
                tests.append(Test(machine_type, param, model, frames, training))
                check_sections(param, tests[-1])
        planned.append((unit, tests))
    problems.stop()
    com.report_bad_clips(bad, Path(units[0]["result_directory"]), args.skip_bad)
    return planned


def training_clips(
    param: dict[str, Any], mode: str, machine_type: str, jobs: int | None
) -> tuple[com.Frames | None, list[tuple[Path, str]]]:
    """What an official model was trained on, where it is present, as `com.read_clips`."""
    if (clips.dataset_directory(param, mode) / machine_type / "train").is_dir():
        return com.read_clips(param, mode, machine_type, ("train",), jobs)
    com.logger.warning(
        "%s: no training clips, so no threshold for the official model: its decisions are left out",
        machine_type,
    )
    return None, []


def check_sections(param: dict[str, Any], test: Test) -> None:
    """Raise BadInput for a section with test clips that its system or threshold cannot take."""
    if not keras_model.is_official(test.model):
        known = keras_model.trained_sections(test.model, param)
    else:
        known = keras_model.class_names(param, test.training.clips) if test.training else []
    scored = sorted(set(keras_model.class_names(param, test.frames.clips)))
    unknown = sorted(set(scored) - set(known))
    problems = settings.Together()
    with problems:
        keras_model.check_sections(param, test.machine_type, known, scored)
    with problems:
        if known and unknown and param["threshold_scope"] == "section":
            raise settings.BadInput(
                f"{test.machine_type}: {', '.join(unknown)} has test clips but no training clips "
                "to fit a threshold to; add them and train again, or set threshold_scope: "
                "machine_type"
            )
    problems.stop()


if __name__ == "__main__":
    sys.exit(settings.guarded(main))
