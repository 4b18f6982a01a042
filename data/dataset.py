"""The clips of a dataset with their frames, as all other packages read them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from core.errors import BadInput
from core.files import save_csv
from core.log import logger
from core.run_settings import SystemSettings
from data.clips import Clip, dataset_directory, list_wavs, shown
from data.csv_signals import has_signals, list_signals
from data.frame_cache import RemoteWorkers, load_frames
from data.frames import Frames


def read_clips(
    run: SystemSettings,
    mode: str,
    machine_types: str | Sequence[str],
    folders: tuple[str, ...],
    jobs: int | None = None,
    remote: RemoteWorkers | None = None,
) -> tuple[Frames, list[tuple[Path, str]]]:
    """Return the frames of the clips of a machine type, or of several, and the unusable clips.

    Raises BadInput where there are no clips, or none that can be used; and as `list_clips`.
    """
    names = [machine_types] if isinstance(machine_types, str) else machine_types
    clips: list[Clip] = []
    bad: list[tuple[Path, str]] = []
    for name in names:
        listed, problems = list_clips(run, mode, name, folders)
        clips += listed
        bad += problems
    machine_type = ", ".join(names)
    frames, unusable = load_frames(clips, run, jobs, machine_type, remote)
    bad += unusable
    if not frames.clips:
        raise BadInput(
            "\n".join(
                [f"{shown(path)}: {problem}" for path, problem in bad]
                + [f"{machine_type}: no clip of {', '.join(folders)} is usable"]
            )
        )
    return frames, bad


def list_clips(
    run: SystemSettings, mode: str, machine_type: str, folders: tuple[str, ...]
) -> tuple[list[Clip], list[tuple[Path, str]]]:
    """Return the clips of a machine type in some of its folders, in the official order.

    They are wavs, or CSV signals; training clips of both datasets, where the system trains on both.

    Returns
    -------
    The clips, and (path, problem) of the files whose names cannot be understood.

    Raises
    ------
    BadInput : where none of the folders exists, or no clip lies in them.
    """
    home = dataset_directory(run, mode) / machine_type
    if has_signals(home, folders):
        return list_signals(home, folders, labelled=mode == "dev")
    clips, bad = list_wavs(home, folders)
    if folders == ("train",) and run.trains_on_both_datasets():
        others, problems = _other_dataset_clips(run, mode, machine_type)
        return clips + others, bad + problems
    return clips, bad


def _other_dataset_clips(
    run: SystemSettings, mode: str, machine_type: str
) -> tuple[list[Clip], list[tuple[Path, str]]]:
    other = "eval" if mode == "dev" else "dev"
    home = dataset_directory(run, other) / machine_type
    if (home / "train").is_dir():
        return list_wavs(home, ("train",))
    logger.warning(
        "%s: fit.deval asks for the training clips of both datasets, but there is no directory %s; "
        "training on those of %s_directory only",
        machine_type,
        home / "train",
        mode,
    )
    return [], []


def report_bad_clips(bad: list[tuple[Path, str]], directory: Path, skip: bool) -> None:
    """Raise BadInput naming all unusable clips; with skip, list them in `bad_clips.csv` instead."""
    if not bad:
        (directory / "bad_clips.csv").unlink(missing_ok=True)
        return
    bad = list(dict.fromkeys(bad))  # several systems may report the same clips
    lines = [f"{shown(path)}: {problem}" for path, problem in bad]
    if not skip:
        raise BadInput(
            f"{len(bad)} clips cannot be used:\n"
            + "\n".join(lines)
            + "\ncorrect or remove them, or go on without them with --skip-bad"
        )
    rows = [(shown(path), problem) for path, problem in bad]
    save_csv(directory / "bad_clips.csv", [("clip", "problem"), *rows])
    for line in lines:
        logger.warning("skipped: %s", line)
    logger.warning("%d clips skipped, listed in %s", len(bad), directory / "bad_clips.csv")
