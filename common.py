"""The helpers of the official baselines, with their official names, arguments and results.

For scripts that were written for them: `import common as com`. This project itself uses the
packages. Differences:

1. Importing it does nothing. `command_line_chk` begins the log: the screen and `baseline.log`.
2. Without -d or -e, `command_line_chk` prints the usage and exits with 2. It takes --help.
3. A wav that cannot be read is an exception with the reason, instead of a line in the log.
4. `baseline.yaml` may leave out keys; an unknown key is an error.
"""

from __future__ import annotations

import glob
import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from core.command_line import parse_command_line
from core.log import logger, setup_log
from core.run_settings import Feature
from core.settings import read_config
from data import audio

__all__ = [
    "command_line_chk",
    "file_list_generator",
    "file_load",
    "file_to_vectors",
    "get_section_names",
    "logger",
    "select_dirs",
    "yaml_load",
]


def command_line_chk() -> bool:
    """Return True for -d or --dev, False for -e or --eval; exit with 2 and the usage on misuse.

    What `logger` gets from then on is shown, and written to `baseline.log` in the current folder.
    """
    command, _ = parse_command_line(f"Script {Path(sys.argv[0]).name}")
    setup_log(Path(), show_errors=True)
    return command.mode == "dev"


def yaml_load() -> dict[str, Any]:
    """Return the settings of the autoencoder as nested dicts, as `baseline.yaml` gives them.

    It is the `baseline.yaml` of the current folder, such as that of an official baseline; what it
    leaves out, or all where there is none, is as in the one of this project.
    """
    here = Path("baseline.yaml")
    config = read_config(here if here.is_file() else None)
    return config.for_system("ae").model_dump(mode="json")


def select_dirs(param: Mapping[str, Any], mode: bool) -> list[str]:
    """Return the folders of the machine types, sorted.

    Parameters
    ----------
    param : what `yaml_load` returned
    mode : True for dev_directory, False for eval_directory
    """
    logger.info("load_directory <- %s", "development" if mode else "evaluation")
    directory = os.path.abspath(param["dev_directory" if mode else "eval_directory"])
    return [path for path in sorted(glob.glob(f"{directory}/*")) if os.path.isdir(path)]


def get_section_names(target_dir: str, dir_name: str, ext: str = "wav") -> list[str]:
    """Return the names of the sections in a folder of a machine type, sorted: "section_00"."""
    names = [path.name for path in (Path(target_dir) / dir_name).glob(f"*.{ext}")]
    return sorted({section for name in names for section in re.findall("section_[0-9]{2}", name)})


def file_list_generator(
    target_dir: str,
    section_name: str,
    dir_name: str,
    mode: bool,
    prefix_normal: str = "normal",
    prefix_anomaly: str = "anomaly",
    ext: str = "wav",
) -> tuple[np.ndarray | list[str], np.ndarray | None]:
    """Return the paths of a section's clips, the normal ones first, and their labels.

    Parameters
    ----------
    target_dir : the folder of a machine type
    section_name : "section_00"; "*" for all sections
    dir_name : "train" or "test"
    mode : True where the names have labels

    Returns
    -------
    paths : (n_clips,) sorted by name within each label: an array of texts, or where mode is False
        a list
    labels : (n_clips,) float64, 0 normal, 1 anomaly; None where mode is False
    """

    def clips(pattern: str) -> list[str]:
        folder = os.path.abspath(f"{target_dir}/{dir_name}")
        return sorted(glob.glob(f"{folder}/{section_name}_*{pattern}.{ext}"))

    if mode:
        normal, anomalous = clips(f"_{prefix_normal}_*"), clips(f"_{prefix_anomaly}_*")
        paths = np.array([*normal, *anomalous], str)
        labels = np.concatenate([np.zeros(len(normal)), np.ones(len(anomalous))])
    else:
        paths, labels = clips(""), None
    logger.info("%s %s: %d files", target_dir, section_name, len(paths))
    if not len(paths):
        logger.error("no_wav_file!!")
    return paths, labels


def file_load(wav_name: str | os.PathLike[str], mono: bool = False) -> tuple[np.ndarray, int]:
    """Return the samples of a wav, (n_samples,) float32, and its own sampling rate in hertz.

    mono : of several channels, True: their mean; False: all, (n_channels, n_samples)
    """
    samples, sample_rate = audio.read_samples(Path(wav_name))
    if mono or samples.shape[1] == 1:
        return samples.mean(axis=1), sample_rate
    return samples.T, sample_rate


def file_to_vectors(
    file_name: str | os.PathLike[str],
    n_mels: int = 64,
    n_frames: int = 5,
    n_fft: int = 1024,
    hop_length: int = 512,
    power: float = 2.0,
) -> np.ndarray:
    """Return the frame-stacked log-mel of a wav: (n_vectors, n_frames * n_mels) float64."""
    y, sample_rate = file_load(file_name, mono=True)
    feature = Feature(
        sample_rate=sample_rate,
        n_mels=n_mels,
        n_frames=n_frames,
        n_fft=n_fft,
        hop_length=hop_length,
        power=power,
    )
    return audio.stack_frames(audio.log_mel(y, feature), n_frames).astype(np.float64)
