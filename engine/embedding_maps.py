"""The maps of embeddings that testing leaves, for people and for the report to draw."""

from __future__ import annotations

from pathlib import Path

from core.files import save_csv
from core.run_settings import SystemSettings
from engine.scoring import Scores
from evaluation.kept_rows import table_path
from models.embedding_map import map_class

COLUMNS = ("clip", "split", "section", "domain", "class", "label", "x", "y")
UNKNOWN = "unknown"  # the label of a test clip that has none


def map_path(directory: Path, machine_type: str, mode: str) -> Path:
    """Return the path of the map of a machine type in a result directory."""
    return table_path(directory / f"embedding_map_{machine_type}.csv", mode)


def save(run: SystemSettings, machine_type: str, scored: Scores, mode: str) -> None:
    """Write `embedding_map_<machine type>.csv`: training clips, then test clips.

    Without embeddings there is none, and an earlier one is removed.
    """
    path = map_path(run.result_directory, machine_type, mode)
    mapped, training = scored.map, scored.training
    if mapped is None:
        path.unlink(missing_ok=True)
        return
    names = training.names or [""] * len(training.sections)
    columns = names, training.sections, mapped.domains, mapped.classes, mapped.training.tolist()
    rows = [
        (name, "train", section, domain, of_class, "normal", *_shown(place))
        for name, section, domain, of_class, place in zip(*columns, strict=True)
    ]
    for clip, place in zip(scored.clips, mapped.test.tolist(), strict=True):
        about = (clip.section, clip.domain, map_class(run, clip), clip.label or UNKNOWN)
        rows.append((clip.name, "test", *about, *_shown(place)))
    save_csv(path, [COLUMNS, *rows])


def _shown(place: list[float]) -> list[str]:
    return [f"{value:.6g}" for value in place]
