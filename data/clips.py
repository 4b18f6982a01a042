"""The clips of a dataset of any DCASE year: listed from its folders, see `data.clip_names`."""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass, replace
from pathlib import Path

from core.errors import BadInput, nearest
from core.run_settings import SystemSettings
from data.clip_names import parse_name, split_name

TEST_FOLDERS = ("test", "source_test", "target_test")
NO_ATTRIBUTE = (("noAttribute", ""),)


@dataclass(frozen=True)
class Clip:
    """One recording, as its name and its folder describe it.

    section : "section_00", or the id of 2020, "id_00"
    folder : "train", "test", "source_test" or "target_test"
    domain : "source", "target", or "" where the name has none
    label : "normal", "anomaly", or "" where the name has none
    attributes : (name, value) pairs, such as ("m-n", "W"), from `attributes_<NN>.csv` where it
        lists some of the clip, else from the name; NO_ATTRIBUTE where the name says that there is
        none, empty where nothing is said
    """

    path: Path
    machine_type: str
    section: str
    folder: str
    domain: str = ""
    label: str = ""
    attributes: tuple[tuple[str, str], ...] = ()

    @property
    def name(self) -> str:
        """Return the file name, as the result files list it."""
        return self.path.name

    @property
    def machine_section(self) -> str:
        """Return the machine type and the section, as in "fan section_00"."""
        return f"{self.machine_type} {self.section}"

    @property
    def named_domain(self) -> str:
        """Return the domain that its name has, "" for none, whatever a published truth says."""
        return parse_name(self.name).domain or ""


def parse_clip(path: Path, machine_type: str, folder: str) -> Clip:
    """Return the clip of a path, with what its name says.

    Raises ValueError for a name of no known form, or one that puts an anomaly among the
    training clips.
    """
    if not _is_text(path.name):
        raise ValueError("its name is not UTF-8")
    name, attributes = split_name(path)
    labelled = name.label is not None
    # Names with a label have a domain or are those of 2020; those without have no attributes.
    known = (name.domain or name.section.startswith("id_")) if labelled else attributes is None
    if not known or not re.fullmatch(r"(section|id)_\d\d", name.section or ""):
        raise ValueError(
            "not a clip name of any DCASE year, such as section_00_source_train_normal_0000_a_1.wav"
        )
    label = ("normal", "anomaly")[name.label] if labelled else ""
    if folder == "train" and label != "normal":
        raise ValueError("not named as a normal clip, but lies in train")
    pairs = _attributes(attributes or "")
    return Clip(path, machine_type, name.section, folder, name.domain or "", label, pairs)


def shown(path: Path) -> str:
    """Return a path on one line, whatever is in it: "a\\nb.wav"."""
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode()
        for character in str(path)
    )


def _is_text(name: str) -> bool:
    # Python decodes bytes that are not UTF-8 to surrogates, which no UTF-8 file can have in it.
    return not re.search("[\ud800-\udfff]", name)


def dataset_directory(run: SystemSettings, mode: str) -> Path:
    """Return the folder of a dataset: dev_directory or eval_directory."""
    return getattr(run, f"{mode}_directory")


def select_machines(run: SystemSettings, mode: str, wanted: list[str]) -> list[str]:
    """Return the machine types of a dataset: its folders, in the order of their names.

    Parameters
    ----------
    run : the settings
    mode : "dev" or "eval"
    wanted : machine types to select; empty selects all

    Raises
    ------
    BadInput : for a missing or empty directory and for wanted machine types that are not in it.
    """
    directory = dataset_directory(run, mode)
    if not directory.is_dir():
        raise BadInput(f"{mode}_directory: there is no directory {directory} (from {Path.cwd()})")
    machines = sorted(
        entry.name
        for entry in directory.iterdir()
        if entry.is_dir() and not entry.name.startswith((".", "_"))
    )
    if not machines:
        raise BadInput(
            f"{mode}_directory: {directory} has no machine type in it; "
            "expected <machine type>/train/*.wav in it"
        )
    for name in machines:
        if not _is_text(name):
            raise BadInput(f"{shown(directory / name)}: this folder's name is not UTF-8; rename it")
    unknown = [name for name in wanted if name not in machines]
    if unknown:
        raise BadInput(
            "\n".join(
                f"--machine {name}: not in {directory}{nearest(name, machines)}" for name in unknown
            )
        )
    return [name for name in machines if not wanted or name in wanted]


def list_wavs(home: Path, folders: tuple[str, ...]) -> tuple[list[Clip], list[tuple[Path, str]]]:
    """Return the wavs of a machine type in some of its folders, in the official order.

    The official order is the clips that are not named anomalies, sorted by name, then the named
    anomalies, sorted by name.

    Parameters
    ----------
    home : the folder of the machine type

    Returns
    -------
    The clips, and (path, problem) of the wavs whose names cannot be understood.

    Raises
    ------
    BadInput : where none of the folders exists, or no wav lies in them.
    """
    existing = [folder for folder in folders if (home / folder).is_dir()]
    if not existing:
        wanted = " or ".join(f"{folder}/" for folder in folders)
        raise BadInput(f"{home}: this machine type has no folder {wanted} with its clips")
    paths = [
        (folder, path)
        for folder in existing
        for path in (home / folder).iterdir()
        if path.suffix.lower() == ".wav"
    ]
    if not paths:
        raise BadInput(f"{home}: no wav in {', '.join(f'{folder}/' for folder in existing)}")
    listed = _listed_attributes(home)
    clips: list[Clip] = []
    bad: list[tuple[Path, str]] = []
    for folder, path in sorted(paths, key=lambda entry: entry[1].name):
        try:
            clip = parse_clip(path, home.name, folder)
        except ValueError as problem:
            bad.append((path, str(problem)))
            continue
        attributes = listed.get(f"{folder}/{path.name}") or clip.attributes
        clips.append(replace(clip, attributes=attributes))
    _check_one_year(home, clips)
    clips.sort(key=lambda clip: (clip.label == "anomaly", clip.name))
    return clips, bad


def _attributes(text: str) -> tuple[tuple[str, str], ...]:
    words = text.split("_")
    if not text:
        return ()
    if text.casefold() == "noattribute":
        return NO_ATTRIBUTE
    if len(words) % 2:
        return (("attribute", text),)
    return tuple(zip(words[::2], words[1::2], strict=True))


def _listed_attributes(home: Path) -> dict[str, tuple[tuple[str, str], ...]]:
    """Return the content of `attributes_<NN>.csv`: "train/<clip name>" → (name, value) pairs."""
    listed = {}
    for path in sorted(home.glob("attributes_*.csv")):
        try:
            with path.open(newline="", encoding="utf-8") as stream:
                rows = list(csv.DictReader(stream))
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            raise BadInput(f"{path}: cannot be read as a CSV file ({error})") from None
        if rows and "file_name" not in rows[0]:
            raise BadInput(f"{path}: has no column file_name; expected file_name,d1p,d1v,...")
        for row in rows:
            names = [key for key in row if key and re.fullmatch(r"d\d+p", key) and row[key]]
            pairs = tuple((row[key], row.get(f"{key[:-1]}v") or "") for key in names)
            if {name.casefold() for name, _ in pairs} == {"noattribute"}:
                pairs = NO_ATTRIBUTE
            listed["/".join((row["file_name"] or "").split("/")[-2:])] = pairs
    return listed


def _check_one_year(home: Path, clips: list[Clip]) -> None:
    with_ids = [clip for clip in clips if clip.section.startswith("id")]
    if with_ids and len(with_ids) < len(clips):
        other = next(clip for clip in clips if clip not in with_ids)
        raise BadInput(
            f"{home}: clips of two years are mixed: {len(with_ids)} named as in 2020, such as "
            f"{with_ids[0].name}, and {len(clips) - len(with_ids)} as later, such as {other.name}; "
            "keep each dataset in a folder of its own"
        )
    folders = {clip.folder for clip in clips}
    if "test" in folders and len(folders) > 1:
        raise BadInput(
            f"{home}: clips of two years are mixed: test/ is of 2022 and later (or 2020), "
            "source_test/ and target_test/ are of 2021; keep each dataset in a folder of its own"
        )
