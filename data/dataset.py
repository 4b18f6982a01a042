"""The clips of a dataset with their frames, as all other packages read them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from core.errors import BadInput
from core.files import save_csv
from core.log import logger
from core.run_settings import SystemSettings
from data.channels import load_channels
from data.clips import Clip, dataset_directory, list_wavs, select_machines, shown
from data.csv_signals import has_signals, list_signals
from data.frame_cache import RemoteWorkers
from data.frames import Frames

TRAIN = ("train",)  # the folder of training clips


def read_clips(
    run: SystemSettings,
    mode: str,
    machine_types: str | Sequence[str],
    folders: tuple[str, ...],
    jobs: int | None = None,
    remote: RemoteWorkers | None = None,
    meanwhile: Callable[[], object] | None = None,
) -> tuple[Frames, list[tuple[Path, str]]]:
    """Return the frames of the clips of a machine type, or of several, and the unusable clips.

    jobs, remote, meanwhile : who extracts frames, as `data.frame_cache.load_frames` describes

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
    frames, unusable = load_channels(clips, run, jobs, machine_type, remote, meanwhile)
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

    They are wavs, or CSV signals. Training clips are those of the datasets that `fit.train_on`
    names; of two, the one that has none of this machine type is left out.

    Returns
    -------
    The clips, and (path, problem) of the files whose names cannot be understood.

    Raises
    ------
    BadInput : where none of the folders exists, or no clip lies in them.
    """
    datasets = (mode,)
    if folders == TRAIN:
        asked = _different_datasets(run, mode)
        # Where no dataset has the folder, the first one's listing says so.
        datasets = [name for name in asked if _has_training(run, name, machine_type)] or asked[:1]
    clips, bad = [], []
    for dataset in datasets:
        home = dataset_directory(run, dataset) / machine_type
        if has_signals(home, folders):
            listed, problems = list_signals(home, folders, labelled=dataset == "dev")
        else:
            listed, problems = list_wavs(home, folders)
        clips += listed
        bad += problems
    return clips, bad


def training_machines(run: SystemSettings, mode: str, wanted: list[str]) -> list[str]:
    """Return the machine types that are trained on: those of the dataset of the command.

    A joint system takes those of every dataset that `fit.train_on` names.

    Parameters
    ----------
    run : the settings
    mode : "dev" or "eval"
    wanted : machine types to select; empty selects all

    Raises
    ------
    BadInput : for machine types that are not there, and where `fit.train_on` names a dataset whose
        directory does not exist; of two datasets one may be missing.
    """
    datasets = _different_datasets(run, mode)
    present = [name for name in datasets if dataset_directory(run, name).is_dir()]
    if not present:
        asked = run.fit.train_on
        why = "" if asked == "same" else f", and {run.system} has fit.train_on: {asked}"
        raise BadInput(
            "\n".join(
                f"{name}_directory: there is no directory {dataset_directory(run, name)} "
                f"(from {Path.cwd()}){why}"
                for name in datasets
            )
        )
    if not run.joint:
        return select_machines(run, mode, wanted)
    known = sorted({machine for name in present for machine in select_machines(run, name, [])})
    if set(wanted) - set(known):
        select_machines(run, present[0], wanted)  # raises, naming them
    return [name for name in known if not wanted or name in wanted]


def warn_of_missing_clips(
    networks: Sequence[tuple[SystemSettings, Sequence[str]]], mode: str
) -> None:
    """Log what `fit.train_on: both` asks for and a dataset does not have: one line per dataset.

    networks : the settings of each network of a run, and its machine types
    """
    missing: dict[Path, list[str]] = {}
    for run, machine_types in networks:
        datasets = _different_datasets(run, mode)
        for dataset in datasets if len(datasets) > 1 else ():
            without = [name for name in machine_types if not _has_training(run, dataset, name)]
            # A joint network has classes of both: it misses a dataset only as a whole.
            if without and (not run.joint or len(without) == len(machine_types)):
                missing.setdefault(dataset_directory(run, dataset), []).extend(without)
    for directory, without in missing.items():
        logger.warning(
            "%s: fit.train_on is both, but %s; training on the clips of the other dataset only",
            networks[0][0].system,
            f"there is no directory {directory}"
            if not directory.is_dir()
            else f"{directory} has no training clips of {', '.join(sorted(without))}",
        )


def _different_datasets(run: SystemSettings, mode: str) -> tuple[str, ...]:
    """Return the datasets to train on, one of two names for the same directory left out."""
    datasets = run.training_datasets(mode)
    directories = {dataset_directory(run, name).resolve() for name in datasets}
    return datasets if len(directories) == len(datasets) else datasets[:1]


def _has_training(run: SystemSettings, dataset: str, machine_type: str) -> bool:
    return (dataset_directory(run, dataset) / machine_type / "train").is_dir()


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
