"""The clips of a machine type with their frames: the one door to a dataset."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from core.errors import BadInput
from core.files import save_csv
from core.log import logger
from core.run_settings import SystemSettings
from data.clips import Clip, dataset_directory, list_clips, shown
from data.csv_signals import holds_signals, list_signals
from data.frame_cache import RemoteWorkers, load_frames
from data.frames import Frames


def read_clips(
    param: SystemSettings,
    mode: str,
    machine_types: str | Sequence[str],
    folders: tuple[str, ...],
    jobs: int | None = None,
    remote: RemoteWorkers | None = None,
) -> tuple[Frames, list[tuple[Path, str]]]:
    """List the clips of a machine type, or of several, and load their frames, as `load_frames`.

    Training clips of both datasets where fit.deval asks for it.

    Raises BadInput where there are none, or none that can be used.
    """
    names = [machine_types] if isinstance(machine_types, str) else machine_types
    clips: list[Clip] = []
    bad: list[tuple[Path, str]] = []
    for name in names:
        home = dataset_directory(param, mode) / name
        if holds_signals(home, folders):
            found, problems = list_signals(home, folders)
        else:
            found, problems = list_clips(param, mode, name, folders)
            if folders == ("train",) and param.trains_on_both_datasets():
                more, unnamed = _other_clips(param, mode, name, folders)
                found, problems = found + more, problems + unnamed
        clips += found
        bad += problems
    machine_type = ", ".join(names)
    frames, unusable = load_frames(clips, param, jobs, machine_type, remote)
    bad += unusable
    if not frames.clips:
        raise BadInput(
            "\n".join(
                [f"{shown(path)}: {problem}" for path, problem in bad]
                + [f"{machine_type}: no clip of {', '.join(folders)} is usable"]
            )
        )
    return frames, bad


def _other_clips(
    param: SystemSettings, mode: str, machine_type: str, folders: tuple[str, ...]
) -> tuple[list[Clip], list[tuple[Path, str]]]:
    other = "eval" if mode == "dev" else "dev"
    home = dataset_directory(param, other) / machine_type / folders[0]
    if home.is_dir():
        return list_clips(param, other, machine_type, folders)
    logger.warning(
        "%s: fit.deval asks for the training clips of both datasets, but there is no directory %s; "
        "training on those of %s_directory alone",
        machine_type,
        home,
        mode,
    )
    return [], []


def report_bad_clips(bad: list[tuple[Path, str]], directory: Path, skip: bool) -> None:
    """Stop on unusable clips, all named; or, with skip, list them in `bad_clips.csv` and go on.

    Raises BadInput where there are any and skip is off.
    """
    if not bad:
        (directory / "bad_clips.csv").unlink(missing_ok=True)
        return
    bad = list(dict.fromkeys(bad))  # several systems may have met the same ones
    lines = [f"{shown(path)}: {problem}" for path, problem in bad]
    if not skip:
        raise BadInput(
            f"{len(bad)} clips cannot be used:\n"
            + "\n".join(lines)
            + "\nmend or remove them, or go on without them with --skip-bad"
        )
    rows = [(shown(path), problem) for path, problem in bad]
    save_csv(directory / "bad_clips.csv", [("clip", "problem"), *rows])
    for line in lines:
        logger.warning("skipped: %s", line)
    logger.warning("%d clips skipped, listed in %s", len(bad), directory / "bad_clips.csv")
