"""Score and judge the test clips of every machine type: python 01_test.py -d"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any, NamedTuple

import clips
import common as com
import equal_error
import keras_model
import results
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
    compared = {}
    for param, tests in plan(args, units):
        com.setup_log(Path(param["result_directory"]))
        judged, scored, used, extra = [], [], {}, []
        for number, test in enumerate(tests, start=1):
            com.logger.info(
                "[%d/%d] %s: %d clips",
                number,
                len(tests),
                test.machine_type,
                len(test.frames.clips),
            )
            keras_model.clear_session()
            trained = keras_model.load_model(
                test.model, test.param, test.training, test.machine_type
            )
            scores = trained.system.score(test.frames)
            thresholds = com.fit_thresholds(
                *trained[1:3], test.param, test.machine_type, trained.distribution
            )
            used[test.machine_type] = thresholds
            scored.append((test.machine_type, test.frames.clips, scores))
            judged += results.save(param, test.machine_type, test.frames.clips, scores, thresholds)
            extra.append((test.frames.clips, trained.system.extra_scores(test.frames)))
        results.conclude(param, judged, used)
        results.save_all_scores(param, extra)
        if param.get("equal_error"):
            equal_error.save(Path(param["result_directory"]), scored)
        compared[f"{param['system']} seed {param['seed']}"] = judged
    if len(compared) > 1:
        com.logger.info("%s\n", results.comparison(compared))
    return 0


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
                param = keras_model.as_imported(param, machine_type, args.mode)
                model = keras_model.usable_model(param, machine_type, args.mode)
                frames, unusable = com.read_clips(
                    param, args.mode, machine_type, clips.TEST_FOLDERS, args.jobs
                )
                bad += unusable
                training = None
                if keras_model.is_official(model):
                    training, unusable = training_clips(param, args.mode, machine_type, args.jobs)
                    bad += unusable
                elif not keras_model.decides(model):
                    com.logger.warning(
                        "%s: imported without training clips, so no threshold: its decisions are "
                        "left out",
                        machine_type,
                    )
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
        fitted = keras_model.fits_thresholds(test.model)
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


if __name__ == "__main__":
    sys.exit(settings.guarded(main))
