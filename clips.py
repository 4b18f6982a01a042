"""The clips of a dataset: listed from the folders, told apart by their names, for every DCASE year.

2020        normal_id_00_00000000.wav, anomaly_id_00_00000000.wav, id_01_00000000.wav
2021        section_00_source_train_normal_0000_<attributes>.wav; folders source_test, target_test
2022-2026   section_00_source_test_anomaly_0000_<attributes>.wav, section_03_test_0000.wav,
            section_03_0000.wav
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from settings import BadInput, nearest

TEST_FOLDERS = ("test", "source_test", "target_test")

_NAMES = (
    re.compile(
        r"(?P<section>section_\d\d)_(?P<domain>source|target)_(?:train|test)"
        r"_(?P<label>normal|anomaly)_\d+(?:_(?P<attributes>.*))?\.wav",
        re.IGNORECASE | re.DOTALL,
    ),
    re.compile(
        r"(?P<section>section_\d\d)_(?:(?P<domain>source|target)_)?(?:test_)?\d+\.wav",
        re.IGNORECASE,
    ),
    re.compile(r"(?:(?P<label>normal|anomaly)_)?(?P<section>id_\d\d)_\d+\.wav", re.IGNORECASE),
)


@dataclass(frozen=True)
class Clip:
    """One recording, as its name and place tell it.

    section : "section_00", or the id of 2020, "id_00"
    folder : "train", "test", "source_test" or "target_test"
    domain : "source", "target", or "" where the name does not say
    label : "normal", "anomaly", or "" where the name does not say
    attributes : the rest of the name, such as "m-n_W"; "" without
    """

    path: Path
    machine_type: str
    section: str
    folder: str
    domain: str = ""
    label: str = ""
    attributes: str = ""

    @property
    def name(self) -> str:
        """The file name, as the result files list it."""
        return self.path.name

    @property
    def machine_section(self) -> str:
        """The section and its machine type, as in "fan section_00"."""
        return f"{self.machine_type} {self.section}"


def parse_clip(path: Path, machine_type: str, folder: str) -> Clip:
    """Read what the name of a clip says.

    Raises ValueError for a name of no known form, or one that puts an anomaly among the
    training clips.
    """
    for pattern in _NAMES:
        match = pattern.fullmatch(path.name)
        if match:
            said = {key: value or "" for key, value in match.groupdict().items()}
            if folder == "train" and said.get("label") != "normal":
                raise ValueError("not named as a normal clip, but lies in train")
            return Clip(path, machine_type, folder=folder, **said)
    raise ValueError(
        "not a clip name of any DCASE year, such as section_00_source_train_normal_0000_a_1.wav"
    )


def dataset_directory(param: dict[str, Any], mode: str) -> Path:
    """The dataset of a mode: dev_directory or eval_directory."""
    return Path(param[f"{mode}_directory"])


def select_machines(param: dict[str, Any], mode: str, wanted: list[str]) -> list[str]:
    """The machine types of a dataset: its folders, in the order of their names.

    Parameters
    ----------
    param : the settings
    mode : "dev" or "eval"
    wanted : machine types to keep; empty keeps all

    Raises
    ------
    BadInput : for a missing or empty directory and for wanted machine types that it lacks.
    """
    directory = dataset_directory(param, mode)
    if not directory.is_dir():
        raise BadInput(f"{mode}_directory: there is no directory {directory} (from {Path.cwd()})")
    machines = sorted(
        entry.name
        for entry in directory.iterdir()
        if entry.is_dir() and not entry.name.startswith((".", "_"))
    )
    if not machines:
        raise BadInput(
            f"{mode}_directory: {directory} holds no machine type; "
            "expected <machine type>/train/*.wav in it"
        )
    unknown = [name for name in wanted if name not in machines]
    if unknown:
        raise BadInput(
            "\n".join(
                f"--machine {name}: not in {directory}{nearest(name, machines)}" for name in unknown
            )
        )
    return [name for name in machines if not wanted or name in wanted]


def list_clips(
    param: dict[str, Any], mode: str, machine_type: str, folders: tuple[str, ...]
) -> tuple[list[Clip], list[tuple[Path, str]]]:
    """The clips of one machine type in some of its folders, in the official order.

    The official order is the clips that are not named anomalies, sorted by name, then the named
    anomalies, sorted by name.

    Returns
    -------
    The clips, and (path, problem) of the wavs whose names cannot be understood.

    Raises
    ------
    BadInput : where none of the folders exists, or no wav lies in them.
    """
    home = dataset_directory(param, mode) / machine_type
    held = [folder for folder in folders if (home / folder).is_dir()]
    if not held:
        wanted = " or ".join(f"{folder}/" for folder in folders)
        raise BadInput(f"{home}: this machine type has no folder {wanted} with its clips")
    paths = [
        (folder, path)
        for folder in held
        for path in (home / folder).iterdir()
        if path.suffix.lower() == ".wav"
    ]
    if not paths:
        raise BadInput(f"{home}: no wav in {', '.join(f'{folder}/' for folder in held)}")
    clips: list[Clip] = []
    bad: list[tuple[Path, str]] = []
    for folder, path in sorted(paths, key=lambda entry: entry[1].name):
        try:
            clips.append(parse_clip(path, machine_type, folder))
        except ValueError as problem:
            bad.append((path, str(problem)))
    clips.sort(key=lambda clip: (clip.label == "anomaly", clip.name))
    return clips, bad
