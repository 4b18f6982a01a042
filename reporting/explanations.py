"""The trained systems behind the results: their losses, their maps and scores over time of clips.

`explain` alone starts TensorFlow, and only where there are models.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import numpy as np

import keras_model
from core.errors import BadInput
from core.system_settings import SystemSettings
from data import clips, frame_cache
from data.clip_names import clip_key
from data.dataset import read_clips
from data.frames import Frames
from models import saved
from reporting import anomaly_map
from reporting.figures import slug
from reporting.media import Heard, save_image
from reporting.runs import Gathered, Run

if TYPE_CHECKING:
    from models.base import System

LONGEST_CURVE = 400  # points
DIGITS = 4


def settings_of(run: Run, param: SystemSettings) -> dict[str, Any] | None:
    """The settings that a run was made with; None where its results lie elsewhere than they say.

    Results from another place may come from other models than those in `model_directory`.
    """
    if run.system not in keras_model.SYSTEMS:
        return None
    own = param.for_system(run.system, int(run.seed) if run.seed else None)
    return own if own.result_directory.resolve() == run.directory.resolve() else None


def histories(found: Gathered, param: SystemSettings) -> dict[str, list[tuple[str, Path]]]:
    """System → (name of the run, `history_<machine type>.csv`) of its runs."""
    held: dict[str, list[tuple[str, Path]]] = {}
    for run in found.runs:
        own = settings_of(run, param)
        if own:
            paths = sorted(own.model_directory.glob("history_*.csv"))
            held.setdefault(run.system, []).extend((run.name, path) for path in paths)
    return held


def explain(
    found: Gathered,
    param: SystemSettings,
    picked: Mapping[str, Mapping[str, Sequence[Path]]],
    heard: Mapping[tuple[str, str], Heard],
    folder: Path,
) -> list[str]:
    """Let the first run of each system look at the chosen clips.

    Parameters
    ----------
    picked : mode → machine type → clips
    heard : gets the maps and the curves
    folder : of the report

    Returns
    -------
    A line a model that could not be asked, with the reason.
    """
    problems, strangers = [], []
    for run in (runs[0] for runs in found.systems.values()):
        own = settings_of(run, param)
        if own is None:
            strangers.append(run.name)
            continue
        for mode, machine_types in picked.items():
            for machine_type, paths in machine_types.items():
                if not any(key.machine_type == machine_type for key in run.sections):
                    continue
                try:
                    _explain(run, own, mode, machine_type, paths, heard, folder)
                except BadInput as reason:
                    problems.append(
                        f"{run.name}: {machine_type}: no maps or scores over time: {reason}"
                    )
    if strangers:
        problems.append(
            f"{', '.join(strangers)}: these results lie elsewhere than the settings say, so no "
            "models are asked for maps and scores over time; give the --config and --set of "
            "01_test.py"
        )
    return problems


def _explain(
    run: Run,
    own: dict[str, Any],
    mode: str,
    machine_type: str,
    paths: Sequence[Path],
    heard: Mapping[tuple[str, str], Heard],
    folder: Path,
) -> None:
    param = saved.as_imported(own.for_machine(machine_type), machine_type, mode)
    place = saved.usable_model(param, machine_type, mode)
    try:
        listed = [clips.parse_clip(path, machine_type, path.parent.name) for path in paths]
    except ValueError as problem:
        raise BadInput(f"a clip is {problem}") from None
    # Not into the cache of the scripts: these are odd clips of a report.
    with tempfile.TemporaryDirectory() as aside:
        frames, _ = frame_cache.load_frames(
            listed, param.with_values({"cache_directory": aside}), 1, machine_type
        )
        if not frames.clips:
            return
        keras_model.clear_session()
        system = keras_model.load_model(place, param, None, machine_type).system
        asked = [heard[machine_type, clip_key(clip.name)] for clip in frames.clips]
        for held, curve in zip(asked, system.frame_scores(frames) or [], strict=False):
            if np.isfinite(curve).all():
                held.curves[run.name] = _shortened(curve)
        for held, shades in zip(asked, _maps(system, mode, machine_type, frames), strict=False):
            stem = Path("maps") / slug(run.name) / slug(machine_type) / slug(held.path.stem)
            save_image(folder / f"{stem}.png", shades)
            held.maps[run.name] = quote(f"{stem.as_posix()}.png")


def _maps(system: System, mode: str, machine_type: str, frames: Frames) -> Iterator[np.ndarray]:
    """The anomaly map of each clip, 0 to 1 of its own largest value; none without reconstruction.

    Raises BadInput where there are no training clips, whose mean a map is taken from.
    """
    from models.base import System

    if type(system).reconstruct is System.reconstruct:
        return
    training, _ = read_clips(system.param, mode, machine_type, ("train",))
    low, high, mean = anomaly_map.training_mean(training, int(frames.count.max()))
    for first, count in zip(frames.first, frames.count, strict=True):
        rebuilt = anomaly_map.rebuild(system, np.asarray(frames.array[first : first + count]))
        shades = np.abs(
            anomaly_map.scaled(rebuilt, low, high) - anomaly_map.scaled(mean[:count], low, high)
        )
        yield shades / max(float(shades.max()), 1e-12)


def _shortened(curve: np.ndarray) -> list[float]:
    """At most LONGEST_CURVE points, each the largest of several."""
    several = -(-len(curve) // LONGEST_CURVE)
    kept = np.maximum.reduceat(curve, np.arange(0, len(curve), several))
    return [float(f"{value:.{DIGITS}g}") for value in kept]
