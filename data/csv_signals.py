"""GRLNet's form of a dataset: a machine type's signals as one-column CSV files.

<machine type>/train/<index>.csv, <machine type>/test/<index>.csv: one number per line, no header.
The labels of a folder lie in <folder>/label.csv, <machine type>/<folder>_label.csv or
<machine type>/Label/<folder>_label.csv, with a column `label`: row i, from 0, is the label of the
signal i; 0 is normal, 1, 2, ... are anomalies. The training signals may do without, being normal.
The signals of a machine type are one section, section_00.
"""

from __future__ import annotations

import csv
import math
from pathlib import Path

import numpy as np

from core.errors import BadInput
from data.clips import Clip

SECTION = "section_00"


def has_signals(home: Path, folders: tuple[str, ...]) -> bool:
    """Return whether the folders of a machine type contain CSV signals, and no wav."""
    paths = [path for folder in folders for path in (home / folder).glob("*")]
    kinds = {path.suffix.lower() for path in paths}
    return ".csv" in kinds and ".wav" not in kinds


def list_signals(
    home: Path, folders: tuple[str, ...], labelled: bool = True
) -> tuple[list[Clip], list[tuple[Path, str]]]:
    """Return the signals in some folders of a machine type: normal ones first, by their index.

    labelled : whether test signals must have labels; those of evaluation data need none

    Returns
    -------
    The clips, and (path, problem) of the CSV files that are no signal of the form above, among
    them training signals with the label of an anomaly.

    Raises
    ------
    BadInput : where the labels of test signals are missing or cannot be read.
    """
    clips: list[Clip] = []
    bad: list[tuple[Path, str]] = []
    for folder in folders:
        places = (
            home / folder / "label.csv",
            home / f"{folder}_label.csv",
            home / "Label" / f"{folder}_label.csv",
        )
        paths = {path for path in (home / folder).glob("*.csv") if path != places[0]}
        place = next((place for place in places if place.is_file()), None)
        if place is None and paths and folder != "train" and labelled:
            raise BadInput(
                f"{home / folder}: there are signals but no labels; expected a CSV with a column "
                f"label in {' or '.join(str(place) for place in places)}"
            )
        labels = read_labels(place) if place else None
        unlabelled = []
        for path in sorted(paths):
            if not (path.stem.isascii() and path.stem.isdigit()):
                bad.append((path, "not named <index>.csv, as signals are"))
                continue
            index = int(path.stem)
            if labels is not None and index >= len(labels):
                unlabelled.append(path.name)
                continue
            label = "normal" if folder == "train" else ""
            if labels is not None:
                label = "anomaly" if labels[index] else "normal"
            if folder == "train" and label == "anomaly":
                bad.append((path, f"an anomaly by {place}, but lies in train"))
                continue
            clips.append(Clip(path, home.name, SECTION, folder, label=label))
        if unlabelled:
            raise BadInput(
                f"{place}: has {len(labels)} labels, and none for {', '.join(unlabelled)} of "
                f"{home / folder}"
            )
    clips.sort(key=lambda clip: (clip.label == "anomaly", int(clip.path.stem)))
    return clips, bad


def read_labels(path: Path) -> list[int]:
    """Return the column `label` of a CSV: 0 for normal, 1, 2, ... for kinds of anomalies.

    Raises BadInput where there is no such column, and naming the lines with anything else in it.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.DictReader(stream)
            if "label" not in (reader.fieldnames or []):
                raise BadInput(f"{path}: has no column label in its first line")
            rows = [(reader.line_num, (row["label"] or "").strip()) for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise BadInput(f"{path}: cannot be read as a CSV file ({error})") from None
    wrong = [f"{text!r} in line {line}" for line, text in rows if text not in set("0123456789")]
    if wrong:
        raise BadInput(f"{path}: expected 0, 1, ... as labels, got {', '.join(wrong)}")
    return [int(text) for _, text in rows]


def read_signal(path: Path) -> np.ndarray:
    """Return the samples of a signal: (n_samples,) float32.

    Raises ValueError naming the first line that is blank, has several columns, or is not a
    finite number; and for a file that is empty or no text.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError):
        raise ValueError("cannot be read as text") from None
    if not lines:
        raise ValueError("is empty")
    samples = np.empty(len(lines), np.float32)
    for number, line in enumerate(lines):
        try:
            samples[number] = float(line)
        except ValueError:
            problem = "is blank" if not line.strip() else f"is not one number: {line[:40]!r}"
            raise ValueError(f"line {number + 1} {problem}") from None
        if not math.isfinite(samples[number]):
            raise ValueError(f"line {number + 1} is not a finite number: {line[:40]!r}")
    return samples
