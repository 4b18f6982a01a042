"""Draw where in time and frequency a clip is anomalous: python -m tools.localize -d --machine fan

For each test clip, or for those of --clip, three panels: the clip as the system rebuilds it, the
mean training clip of the machine type, and the absolute difference, the anomaly map (AEGAN-AD's,
arXiv 2303.17949). They go to anomaly_map_<machine type>_<clip>.png in the result directory,
with the map in an .npz file beside it. For a trained system that rebuilds its windows.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

import keras_model
from core.command_line import Command, parse_command_line
from core.errors import BadInput, ProblemCollector
from core.files import atomic_write
from core.log import logger, progress_bar, setup_log
from core.run_settings import SystemSettings
from core.script import run_script
from data import clips
from data.dataset import read_clips, report_bad_clips
from data.frames import Frames
from models import saved
from reporting import anomaly_map

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from models.base import System

TICKS = (0, 250, 500, 1000, 2000, 4000, 8000, 16000, 32000)  # hertz


def main(argv: Sequence[str] | None = None) -> int:
    """Check everything, then draw clip after clip."""
    command, args = parse_command_line(__doc__, argv, _add_clip)
    for run in command.read_config().runs(command.systems, command.seeds):
        setup_log(run.result_directory)
        for task in plan(command, run, args.clip):
            keras_model.clear_session()
            system, _ = keras_model.load_system(task.model, task.run)
            draw_clips(system, task.machine_type, task.training, task.frames)
    return 0


class MapTask(NamedTuple):
    """One machine type to draw: its model, its training clips, and the test clips to draw."""

    machine_type: str
    run: SystemSettings
    model: saved.Model
    training: Frames
    frames: Frames


def plan(command: Command, settings: SystemSettings, names: Sequence[str]) -> list[MapTask]:
    """Return what to draw, one task per machine type.

    names : of the clips to draw; empty: all

    Raises BadInput naming every problem.
    """
    planned, bad, problems = [], [], ProblemCollector()
    mode, wanted = command.mode, set(names)
    for machine_type in clips.select_machines(settings, mode, command.machines):
        with problems:
            model, run = saved.usable_model(settings.for_machine(machine_type), machine_type, mode)
            test, unusable = read_clips(run, mode, machine_type, clips.TEST_FOLDERS, command.jobs)
            bad += unusable
            chosen = [not names or clip.name in names for clip in test.clips]
            wanted -= {clip.name for clip in test.clips}
            if not any(chosen):
                continue
            training, unusable = read_clips(run, mode, machine_type, ("train",), command.jobs)
            bad += unusable
            planned.append(MapTask(machine_type, run, model, training, test.select(chosen)))
    with problems:
        if wanted:
            raise BadInput(
                "\n".join(f"--clip {name}: no such test clip" for name in sorted(wanted))
            )
    problems.stop()
    report_bad_clips(bad, settings.result_directory, command.skip_bad)
    return planned


def draw_clips(system: System, machine_type: str, training: Frames, frames: Frames) -> None:
    """Write the picture and the map of each clip.

    Raises BadInput for a system that does not rebuild windows.
    """
    run = system.settings
    normal = anomaly_map.training_mean(training, int(frames.count.max()))
    seconds, hertz = anomaly_map.axes_of(run.feature, len(normal.mean))
    with progress_bar(len(frames.clips), f"{machine_type} maps", "clip") as bar:
        for clip, first, count in zip(frames.clips, frames.first, frames.count, strict=True):
            levels = np.asarray(frames.array[first : first + count])
            try:
                made = anomaly_map.compute(system, levels, normal)
            except NotImplementedError:
                raise BadInput(
                    f"--system {run.system}: it does not rebuild windows, so there is no map"
                ) from None
            panels = {
                "reconstruction": made.reconstruction.T,  # (n_mels, n_frames)
                "mean": made.mean.T,
                "map": made.difference.T,
                "seconds": seconds[:count],
                "hertz": hertz,
            }
            stem = run.result_directory / f"anomaly_map_{machine_type}_{clip.path.stem}"
            with atomic_write(Path(f"{stem}.npz")) as temporary, temporary.open("wb") as stream:
                np.savez(stream, **panels)
            with atomic_write(Path(f"{stem}.png")) as temporary:
                figure(panels, f"{machine_type}: {clip.name}").canvas.print_png(temporary)
            bar.update()
    logger.info("%s: %d maps -> %s", machine_type, len(frames.clips), stem.parent)


def figure(panels: dict[str, np.ndarray], title: str) -> Figure:
    """Return the three panels, one above the other, time in seconds and frequency in hertz."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    drawn = Figure(figsize=(8, 9), layout="constrained")
    FigureCanvasAgg(drawn)
    seconds, hertz = panels["seconds"], panels["hertz"]
    step = seconds[1] - seconds[0] if len(seconds) > 1 else 1.0
    extent = (seconds[0] - step / 2, seconds[-1] + step / 2, -0.5, len(hertz) - 0.5)
    ticks = [tick for tick in TICKS if hertz[0] <= tick <= hertz[-1]]
    for axes, name, top in zip(
        drawn.subplots(3, sharex=True), ("reconstruction", "mean", "map"), (1, 1, None), strict=True
    ):
        image = axes.imshow(
            panels[name], origin="lower", aspect="auto", extent=extent, vmin=0, vmax=top
        )
        axes.set_yticks(np.interp(ticks, hertz, np.arange(len(hertz))), labels=map(str, ticks))
        axes.set_ylabel("frequency (Hz)")
        axes.set_title({"mean": "mean training clip", "map": "absolute difference"}.get(name, name))
        drawn.colorbar(image, ax=axes)
    axes.set_xlabel("time (s)")
    drawn.suptitle(title)
    return drawn


def _add_clip(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--clip",
        nargs="+",
        default=[],
        metavar="FILE",
        help="names of test clips to draw (default: all)",
    )


if __name__ == "__main__":
    sys.exit(run_script(main))
