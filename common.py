"""The helpers of the official baseline, with their official names and arguments.

For scripts that were written for it: `import common as com`. This project itself uses the packages.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from core.command_line import parse_command_line
from core.log import logger
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
    """Return True for -d or --dev, False for -e or --eval; exit with 2 and the usage on misuse."""
    command, _ = parse_command_line(f"Script {Path(sys.argv[0]).name}")
    return command.mode == "dev"


def yaml_load() -> dict[str, Any]:
    """Return the settings of the autoencoder as nested dicts, as `baseline.yaml` gives them."""
    return read_config().for_system("ae").model_dump(mode="json")


def select_dirs(param: Mapping[str, Any], mode: bool) -> list[str]:
    """Return the folders of the machine types, sorted.

    Parameters
    ----------
    param : what `yaml_load` returned
    mode : True for dev_directory, False for eval_directory
    """
    directory = Path(param["dev_directory" if mode else "eval_directory"]).absolute()
    return [str(path) for path in sorted(directory.glob("*")) if path.is_dir()]


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
) -> tuple[list[str], np.ndarray | None]:
    """Return the paths of a section's clips, the normal ones first, and their labels.

    Parameters
    ----------
    target_dir : the folder of a machine type
    section_name : "section_00"; "*" for all sections
    dir_name : "train" or "test"
    mode : True where the names have labels

    Returns
    -------
    paths : (n_clips,) sorted by name within each label
    labels : (n_clips,) 0 normal, 1 anomaly; None where mode is False
    """
    folder = Path(target_dir).absolute() / dir_name
    if not mode:
        return [str(path) for path in sorted(folder.glob(f"{section_name}_*.{ext}"))], None
    normal, anomalous = (
        [str(path) for path in sorted(folder.glob(f"{section_name}_*_{prefix}_*.{ext}"))]
        for prefix in (prefix_normal, prefix_anomaly)
    )
    labels = np.concatenate([np.zeros(len(normal)), np.ones(len(anomalous))])
    return [*normal, *anomalous], labels


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
