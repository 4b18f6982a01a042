"""The maps of embeddings of a run, as `01_test.py` leaves them in its result directory."""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import numpy as np

from engine.embedding_maps import COLUMNS, map_path
from reporting.runs import Run


class MappedClips(NamedTuple):
    """Clips of a machine type in two dimensions.

    places : (n_clips, 2)
    is_test : (n_clips,) bool; the others are training clips
    classes, labels : (n_clips,) texts; a label is "normal", "anomaly" or "unknown"
    """

    places: np.ndarray
    is_test: np.ndarray
    classes: np.ndarray
    labels: np.ndarray

    def frequent_classes(self, most: int) -> list[str]:
        """Return the classes of the most training clips, sorted by name; at most so many."""
        counts = Counter(self.classes[~self.is_test].tolist())
        ranked = sorted(counts, key=lambda name: (-counts[name], name))
        return sorted(ranked[:most])


def read_maps(run: Run, problems: list[str]) -> dict[tuple[str, str], MappedClips]:
    """Return (machine type, "dev" or "eval") → its map, where there is one.

    problems : gets one line per file that cannot be read
    """
    maps = {}
    for machine_type in dict.fromkeys(key.machine_type for key in sorted(run.sections)):
        for mode in ("dev", "eval"):
            path = map_path(run.directory, machine_type, mode)
            try:
                maps[machine_type, mode] = _read(path)
            except FileNotFoundError:
                continue
            except (OSError, UnicodeDecodeError, csv.Error, ValueError) as error:
                problems.append(f"{path}: half-written or foreign, so not drawn ({error})")
    return maps


def _read(path: Path) -> MappedClips:
    """Return the map in a file; raise ValueError where it is none."""
    with path.open(newline="", encoding="utf-8") as stream:
        header, *rows = [row for row in csv.reader(stream) if row] or [[]]
    if tuple(header) != COLUMNS or not rows or any(len(row) != len(COLUMNS) for row in rows):
        raise ValueError(f"expected rows of {', '.join(COLUMNS)}")
    column = dict(zip(COLUMNS, np.array(rows, str).T, strict=True))
    places = np.stack([column["x"], column["y"]], axis=1).astype(float)
    if not np.isfinite(places).all():
        raise ValueError("a place that is not finite")
    return MappedClips(places, column["split"] == "test", column["class"], column["label"])
