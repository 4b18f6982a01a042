"""The trained systems behind the results: their losses, their maps and scores over time of clips.

Only `explain` starts TensorFlow, and only where there are models.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

import numpy as np

import keras_model
from core.errors import BadInput
from core.run_settings import SystemSettings
from core.settings import Config
from data.channels import load_channels
from data.clips import parse_clip
from data.dataset import read_clips
from data.frames import Frames
from models import saved
from reporting import anomaly_map
from reporting.folder import slug
from reporting.media import ClipKey, ClipMedia, save_image
from reporting.runs import ReportData, Run

if TYPE_CHECKING:
    from models.base import System

LONGEST_CURVE = 400  # points
DIGITS = 4


def settings_of(run: Run, config: Config) -> SystemSettings | None:
    """Return the settings that a run was made with; None where its results lie elsewhere.

    Results from another place may come from other models than those in `model_directory`.
    """
    if run.system not in keras_model.SYSTEMS:
        return None
    own = config.for_system(run.system, int(run.seed) if run.seed else None)
    return own if own.result_directory.resolve() == run.directory.resolve() else None


def histories(data: ReportData, config: Config) -> dict[str, list[tuple[str, Path]]]:
    """Return system → (name of the run, `history_<machine type>.csv`) of its runs."""
    files: dict[str, list[tuple[str, Path]]] = {}
    for run in data.runs:
        own = settings_of(run, config)
        if own:
            paths = sorted(own.model_directory.glob("history_*.csv"))
            files.setdefault(run.system, []).extend((run.name, path) for path in paths)
    return files


def explain(
    data: ReportData,
    config: Config,
    clips: Mapping[ClipKey, ClipMedia],
    folder: Path,
) -> None:
    """Compute maps and scores over time of the clips with a spectrogram.

    They come from the first run of each system.

    Parameters
    ----------
    data : `not_shown` gets one line per model that cannot be used, with the reason
    config : all settings
    clips : get the maps and the curves
    folder : of the report
    """
    groups: dict[tuple[str, str], list[ClipMedia]] = {}
    for (machine_type, _), clip in clips.items():
        if clip.spectrogram:
            groups.setdefault((clip.mode, machine_type), []).append(clip)
    elsewhere = []
    for run in (runs[0] for runs in data.systems.values()):
        own = settings_of(run, config)
        if own is None:
            elsewhere.append(run.name)
            continue
        for (mode, machine_type), group in groups.items():
            if not any(key.machine_type == machine_type for key in run.sections):
                continue
            try:
                _explain(run, own, mode, machine_type, group, folder)
            except BadInput as reason:
                data.not_shown.append(
                    f"{run.name}: {machine_type}: no maps or scores over time: {reason}"
                )
    if elsewhere:
        data.not_shown.append(
            f"{', '.join(elsewhere)}: these results lie elsewhere than the settings say, so no "
            "models are asked for maps and scores over time; give the --config and --set of "
            "01_test.py"
        )


def _explain(
    run: Run,
    own: SystemSettings,
    mode: str,
    machine_type: str,
    clips: Sequence[ClipMedia],
    folder: Path,
) -> None:
    model, run_settings = saved.usable_model(own.for_machine(machine_type), machine_type, mode)
    try:
        listed = [parse_clip(clip.path, machine_type, clip.path.parent.name) for clip in clips]
    except ValueError as problem:
        raise BadInput(f"a clip is {problem}") from None
    # Not into the cache of the scripts: these are odd clips of a report.
    with tempfile.TemporaryDirectory() as aside:
        frames, _ = load_channels(
            listed, run_settings.with_values({"cache_directory": aside}), 1, machine_type
        )
        if not frames.clips:
            return
        keras_model.clear_session()
        system = keras_model.load_system(model, run_settings, machine_type)[0]
        by_path = {clip.path: clip for clip in clips}
        # Clips that could not be read are not among the frames.
        usable = [by_path[clip.path] for clip in frames.clips]
        for clip, curve in zip(usable, system.frame_scores(frames) or [], strict=False):
            if np.isfinite(curve).all():
                clip.curves[run.name] = _shortened(curve)
        for clip, shades in zip(usable, _maps(system, mode, machine_type, frames), strict=False):
            stem = Path("maps") / slug(run.name) / slug(machine_type) / slug(clip.path.stem)
            save_image(folder / f"{stem}.png", shades)
            clip.maps[run.name] = quote(f"{stem.as_posix()}.png")


def _maps(system: System, mode: str, machine_type: str, frames: Frames) -> Iterator[np.ndarray]:
    """Return each clip's anomaly map, as shares of its largest value; none without reconstruction.

    Raises BadInput where there are no training clips, whose mean a map is taken from.
    """
    from models.base import System

    if type(system).reconstruct is System.reconstruct:
        return
    clips, _ = read_clips(system.settings, mode, machine_type, ("train",))
    training = anomaly_map.training_mean(clips, int(frames.count.max()))
    for first, count in zip(frames.first, frames.count, strict=True):
        levels = np.asarray(frames.array[first : first + count])
        shades = anomaly_map.compute(system, levels, training).difference
        yield shades / max(float(shades.max()), 1e-12)


def _shortened(curve: np.ndarray) -> list[float]:
    """Return at most LONGEST_CURVE points, each the largest of several."""
    several = -(-len(curve) // LONGEST_CURVE)
    kept = np.maximum.reduceat(curve, np.arange(0, len(curve), several))
    return [float(f"{value:.{DIGITS}g}") for value in kept]
