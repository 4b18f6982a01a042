"""Score and judge the test clips of every machine type: python 01_test.py -d"""

from __future__ import annotations

import argparse
import itertools
import sys
from pathlib import Path

from core import settings
from core.command_line import command_line_chk
from core.errors import ProblemCollector
from core.files import lock_directories
from core.log import logger, setup_log
from core.run_settings import SystemSettings
from core.script import run_script
from engine import ensemble, executors, results, scoring, testing
from evaluation import equal_error_rate
from evaluation.metrics import SectionResult
from evaluation.thresholds import fit_thresholds


def main() -> int:
    """Check everything, then score, decide and, where labels are known, evaluate and compare."""
    args = command_line_chk(__doc__, add=add_arguments)
    given = settings.read_config(args.config, args.set)
    params = given.runs(args.system, args.seed)
    made = [
        (mixed, given.for_system(mixed.name, seed))
        for mixed, seed in itertools.product(args.ensemble, args.seed or [None])
    ]
    own = (p.result_directory for p in [*params, *(param for _, param in made)])
    compared, members, failures = {}, {}, ProblemCollector(tell=True)
    with (
        lock_directories(*own),
        executors.make_executor(
            args.cluster, args.jobs, args.gpus_per_job, *executors.directories(params, args.mode)
        ) as executor,
    ):
        planned = testing.plan(args, params, executor)
        failed = testing.score_elsewhere(planned, args, executor, failures)
        anew, truth = args.force and executor is None, bool(args.ground_truth)
        for param, tests in planned:
            if param.result_directory in failed:
                continue
            judged, of = test_system(param, tests, anew, truth, failures)
            compared[f"{param.system} seed {param.seed}"] = judged
            members[param.system, param.seed] = of
        for mixed, param in made:
            of = {system: members.get((system, param.seed)) for system in mixed.weights}
            if None not in of.values():
                compared[f"{mixed.name} seed {param.seed}"] = ensemble.save(
                    param, mixed, args.norm, args.mode, of, truth
                )
        if len(compared) > 1:
            logger.info("%s\n", results.comparison(compared))
        failures.stop(sum(len(tests) for _, tests in planned))
    return 0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What only this script takes."""
    parser.add_argument(
        "--ground-truth",
        type=Path,
        metavar="DIR",
        help="published truth of the evaluation data: ground_truth_data/, ground_truth_domain/",
    )
    ensemble.add_arguments(parser)


def test_system(
    param: SystemSettings,
    tests: list[testing.Test],
    anew: bool,
    truth: bool,
    failures: ProblemCollector,
) -> tuple[list[SectionResult], dict[str, ensemble.Scored]]:
    """Score, decide and evaluate a system: the metrics of its sections, and its scores.

    A machine type whose scores are no numbers is left out of them, and told to failures.
    """
    setup_log(param.result_directory)
    judged, scored, used, extra = [], {}, {}, []
    for number, (machine_type, own, model, frames, training) in enumerate(tests, start=1):
        progress = f"[{number}/{len(tests)}] {machine_type}"
        logger.info("%s: %d clips", progress, len(frames.clips))
        with failures:
            found = scoring.score(model, own, machine_type, frames, training, anew)
            scores, sections = found.of_clips, found.training_sections
            used[machine_type] = fit_thresholds(
                found.of_training, sections, own, machine_type, found.distribution
            )
            judged += results.save(param, machine_type, frames.clips, scores, used[machine_type])
            scored[machine_type] = ensemble.Scored(
                frames.clips, scores, found.training_names, sections, found.of_training
            )
            extra.append((frames.clips, found.extra))
    if not scored:
        return [], {}
    results.conclude(param, judged, used, truth)
    results.save_all_scores(param, extra)
    if param.reports_equal_error_rate():
        of_clips = [(name, held.clips, held.scores) for name, held in scored.items()]
        equal_error_rate.save(param.result_directory, of_clips)
    return judged, scored


if __name__ == "__main__":
    sys.exit(run_script(main))
