"""By which year's definition the results of a run are evaluated: the names of all clips tell."""

from __future__ import annotations

import contextlib

from core.errors import BadInput
from core.run_settings import SystemSettings
from data.clip_names import clip_key
from data.clips import TEST_FOLDERS, Clip, select_machines
from data.dataset import list_clips
from engine.options import TestOptions
from engine.results import Evaluation
from evaluation import years
from evaluation.metrics import EvaluationError, SectionKey
from evaluation.truth import Truth, read_ground_truth


def find_evaluation(run: SystemSettings, mode: str, options: TestOptions) -> Evaluation:
    """Return how the results of a run are evaluated; raises as `dataset_evaluation`."""
    return own_evaluation(run, dataset_evaluation(run, mode, options))


def own_evaluation(run: SystemSettings, evaluation: Evaluation) -> Evaluation:
    """Return how a run is evaluated, from what `dataset_evaluation` returned."""
    own = [one for one in years.variants(evaluation.definition) if one.name == run.own_definition()]
    return evaluation._replace(definition=own[0]) if own else evaluation


def dataset_evaluation(run: SystemSettings, mode: str, options: TestOptions) -> Evaluation:
    """Return how results of a dataset are evaluated, before a system's own definition counts.

    All runs of a command have the same dataset, so one of them stands for all. The clips of all
    machine types tell the year, whichever of them are tested, so that rows of result.csv that were
    written one after another have one form.

    Raises BadInput where the ground truth cannot be used, or not evaluated as in `options.year`.
    """
    clips = _test_clips(run, mode)
    truth = None
    try:
        if options.ground_truth:
            scored: dict[SectionKey, set[str]] = {}
            for clip in clips:
                key = SectionKey(clip.machine_type, clip.section)
                scored.setdefault(key, set()).add(clip_key(clip.name))
            truth = read_ground_truth(options.ground_truth, scored)
            _check_year(truth, scored, clips)
    except EvaluationError as error:
        raise BadInput(f"--ground-truth: {error}") from None
    domains = {domain or None for clip in clips for domain in _labelled_domain(clip, truth)}
    try:
        definition = years.choose(map(_ending, clips), domains, options.year)
    except ValueError as error:
        raise BadInput(str(error)) from None
    return Evaluation(mode, definition, truth)


def _test_clips(run: SystemSettings, mode: str) -> list[Clip]:
    """Return the test clips of all machine types; what is wrong with them is told elsewhere."""
    clips: list[Clip] = []
    with contextlib.suppress(BadInput):
        for machine_type in select_machines(run, mode, []):
            with contextlib.suppress(BadInput):
                clips += list_clips(run, mode, machine_type, TEST_FOLDERS)[0]
    return clips


def _ending(clip: Clip) -> str:
    return f"{clip.section}_{clip.folder}"


def _labelled_domain(clip: Clip, truth: Truth | None) -> list[str | None]:
    """Return the domain of a clip with a label, else nothing."""
    key = SectionKey(clip.machine_type, clip.section)
    known = truth.sections.get(key, {}).get(clip_key(clip.name)) if truth else None
    if known:
        return [known.domain]
    return [clip.domain] if clip.label else []


def _check_year(truth: Truth, scored: dict[SectionKey, set[str]], clips: list[Clip]) -> None:
    if scored and not any(key in truth for key in scored):
        data = years.by_names(map(_ending, clips))
        raise EvaluationError(
            f"{truth.path}: has no section of the dataset: its names are as of "
            f"{truth.definition.title}, such as {min(truth.sections)}, and those of the dataset as "
            f"of {data.title}, such as {min(scored)}"
        )
