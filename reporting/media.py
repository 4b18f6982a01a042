"""The clips of a report: which come with sound and pictures, and what is drawn of them."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np

from core.log import progress_bar
from core.system_settings import Feature
from data import clips
from data.audio import file_load, log_mel
from data.clip_names import clip_key
from evaluation.metrics import ScoredSection, SectionKey
from reporting.figures import slug
from reporting.runs import Gathered, Run, Threshold

CLIPS_A_SECTION = 8  # with sound and pictures in the report's own folder
LARGEST_COPY = 2_000_000  # bytes; longer clips are linked
WIDEST = 1000  # columns of a picture
DYNAMIC = 80.0  # decibels of a spectrogram
TICKS = (500, 1000, 2000, 4000, 8000, 16000, 32000)  # hertz
RULE = (
    f"Up to {CLIPS_A_SECTION} clips of each section lie in this folder, with their spectrograms: "
    "false alarms and misses in turn, those furthest from the threshold first, then the highest "
    "scores, the systems in turn. The other clips are linked where they lay when this page was "
    "made. Maps and scores over time are those of each system's first seed."
)


@dataclass
class Heard:
    """What the page has of a clip, as paths from the page.

    path : the clip on this machine
    audio : the clip to play, "" of a CSV signal; copied : whether it lies in the report's folder
    spectrogram : "" where none was drawn
    seconds : its length, 0 where it was not read
    maps : name of a run → its anomaly map
    curves : name of a run → the score over time, evenly from 0 to `seconds`
    """

    path: Path
    audio: str
    copied: bool = False
    spectrogram: str = ""
    seconds: float = 0.0
    maps: dict[str, str] = field(default_factory=dict)
    curves: dict[str, list[float]] = field(default_factory=dict)


def ranked(section: ScoredSection, threshold: Threshold | None) -> np.ndarray:
    """The clips in the order of the page: (n_clips,) indices.

    False alarms and misses first, in turn, those furthest from the threshold before the others;
    then the rest, the highest score first.
    """
    order = np.lexsort((section.names, -section.scores))
    if section.labels is None or section.decisions is None:
        return order
    centre = threshold.value if threshold else np.median(section.scores)
    far = np.lexsort((section.names, -np.abs(section.scores - centre)))
    wrong = section.labels != section.decisions
    alarms, misses = (
        [i for i in far.tolist() if wrong[i] and section.labels[i] == label] for label in (0, 1)
    )
    in_turn = [i for pair in zip_longest(alarms, misses) for i in pair if i is not None]
    return np.array([*in_turn, *(i for i in order.tolist() if not wrong[i])])


def chosen(found: Gathered) -> dict[SectionKey, list[str]]:
    """The clips of every section that come with sound and pictures, see RULE."""
    picked: dict[SectionKey, list[str]] = {}
    first = [runs[0] for runs in found.systems.values()]
    for key in sorted({key for run in found.runs for key in run.sections}):
        holding = [run for run in first if key in run.sections]
        holding = holding or [run for run in found.runs if key in run.sections]
        orders = [
            run.sections[key].names[ranked(run.sections[key], run.thresholds.get(key))].tolist()
            for run in holding
        ]
        in_turn = [name for names in zip(*orders, strict=True) for name in names]
        picked[key] = list(dict.fromkeys(in_turn))[:CLIPS_A_SECTION]
    return picked


def find_clips(
    param: Mapping[str, Any], machine_types: Sequence[str]
) -> dict[str, dict[str, tuple[Path, str]]]:
    """The test clips of both datasets: machine type → `clip_key` → (path, "dev" or "eval")."""
    held: dict[str, dict[str, tuple[Path, str]]] = {name: {} for name in machine_types}
    for mode in ("dev", "eval"):
        for name in machine_types:
            for folder in clips.TEST_FOLDERS:
                home = clips.dataset_directory(dict(param), mode) / name / folder
                if home.is_dir():
                    for path in sorted(home.iterdir()):
                        held[name].setdefault(clip_key(path.name), (path, mode))
    return held


def hear(
    found: Gathered, param: Mapping[str, Any], folder: Path, final: Path
) -> tuple[dict[tuple[str, str], Heard], dict[str, dict[str, list[Path]]], list[str]]:
    """Copy and draw the chosen clips, link the others.

    Parameters
    ----------
    found : whose clips
    param : the settings: where the datasets lie, and how spectrograms are made
    folder : of the report, as it is being made
    final : where it will lie, which links start from

    Returns
    -------
    (machine type, clip name) → what there is of the clip; mode → machine type → the chosen clips;
    and a line a clip that is gone or cannot be read.
    """
    keys = sorted({key for run in found.runs for key in run.sections})
    held = find_clips(param, list(dict.fromkeys(key.machine_type for key in keys)))
    names = {
        key: dict.fromkeys(
            n for run in found.runs if key in run.sections for n in run.sections[key].names.tolist()
        )
        for key in keys
    }
    heard = {}
    problems = _gone(
        {key: [n for n in names[key] if n not in held[key.machine_type]] for key in keys},
        {key: len(names[key]) for key in keys},
        param,
    )
    for key in keys:
        for name in names[key]:
            if name in held[key.machine_type]:
                path = held[key.machine_type][name][0]
                audio = "" if path.suffix == ".csv" else _link(path, final)
                heard[key.machine_type, name] = Heard(path, audio)
    picked: dict[str, dict[str, list[Path]]] = {}
    listed = [(key, name) for key, of in chosen(found).items() for name in of]
    with progress_bar(len(listed), "clips", "clip") as bar:
        for key, name in listed:
            bar.update()
            if (key.machine_type, name) not in heard:
                continue
            path, mode = held[key.machine_type][name]
            try:
                _copy_and_draw(heard[key.machine_type, name], key, param.feature, folder)
            except (ValueError, OSError) as problem:
                problems.append(f"{path}: no spectrogram: {problem}")
                continue
            picked.setdefault(mode, {}).setdefault(key.machine_type, []).append(path)
    return heard, picked, problems


def _gone(
    gone: Mapping[SectionKey, Sequence[str]], sizes: Mapping[SectionKey, int], param: Mapping
) -> list[str]:
    places = (
        f"dev_directory ({param.dev_directory}) nor in eval_directory "
        f"({param.eval_directory}), so they cannot be heard"
    )
    whole = [key for key, names in gone.items() if len(names) == sizes[key]]
    problems = []
    if whole:
        problems.append(
            f"the clips of {', '.join(map(str, whole))} are neither in {places}; give the --config "
            "and --set of 01_test.py"
        )
    for key, names in gone.items():
        if names and key not in whole:
            shown = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
            problems.append(
                f"{key}: {len(names)} of {sizes[key]} clips are neither in {places}: {shown}"
            )
    return problems


def _link(path: Path, final: Path) -> str:
    try:
        return quote(Path(os.path.relpath(path.resolve(), final.resolve())).as_posix())
    except ValueError:  # another drive on Windows
        return path.resolve().as_uri()


def _copy_and_draw(held: Heard, key: SectionKey, feature: Feature, folder: Path) -> None:
    stem = Path(slug(key.machine_type)) / slug(held.path.stem)
    y, sample_rate = file_load(held.path, feature.channel)
    if held.audio and held.path.stat().st_size <= LARGEST_COPY:
        place = folder / "clips" / f"{stem}.wav"
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(held.path, place)
        held.audio, held.copied = quote(place.relative_to(folder).as_posix()), True
    sample_rate = sample_rate or feature.sample_rate
    levels = log_mel(y, feature.model_copy(update={"sample_rate": sample_rate, "floor": 1e-10}))
    held.seconds = len(y) / sample_rate
    shades = (levels - levels.max()) / DYNAMIC + 1
    place = folder / "spectrograms" / f"{stem}.png"
    save_image(place, shades)
    held.spectrogram = quote(place.relative_to(folder).as_posix())


def save_image(path: Path, shades: np.ndarray) -> None:
    """Write (n_frames, n_mels) values, 0 to 1, as an image a pixel a value, in matplotlib's magma.

    Of more than WIDEST frames every column is the largest of several.
    """
    from matplotlib import colormaps
    from PIL import Image

    wide = -(-len(shades) // WIDEST)
    if wide > 1:
        shades = np.maximum.reduceat(shades, np.arange(0, len(shades), wide), axis=0)
    levels = np.round(np.clip(shades.T[::-1], 0, 1) * 255).astype(np.uint8)
    image = Image.fromarray(levels).convert("P")
    image.putpalette((colormaps["magma"](np.arange(256))[:, :3] * 255).astype(np.uint8).ravel())
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, optimize=True)


def ticks(feature: Feature) -> list[tuple[str, float]]:
    """Where frequencies lie on a spectrogram: (text, share of the height from below)."""
    from reporting.anomaly_map import axes_of

    _, hertz = axes_of(feature, 1)
    return [
        (
            f"{tick // 1000} kHz" if tick >= 1000 else f"{tick} Hz",
            float(np.interp(tick, hertz, np.arange(len(hertz))) + 0.5) / len(hertz),
        )
        for tick in TICKS
        if hertz[0] <= tick <= hertz[-1]
    ]


def rows(
    run: Run, machine_type: str, heard: Mapping[tuple[str, str], Heard]
) -> Iterator[dict[str, Any]]:
    """The sections of a run and machine type as the page takes them, clips in their order."""
    for key, section in sorted(run.sections.items()):
        if key.machine_type != machine_type:
            continue
        threshold = run.thresholds.get(key)
        listed = []
        for index in ranked(section, threshold).tolist():
            name = str(section.names[index])
            held = heard.get((machine_type, name))
            row: dict[str, Any] = {"name": name, "score": float(section.scores[index])}
            for field_name, array in (
                ("domain", section.domains),
                ("label", section.labels),
                ("decision", section.decisions),
            ):
                row[field_name] = None if array is None else array[index].item()
            if held:
                row |= {"audio": held.audio, "copied": held.copied}
                if held.spectrogram:
                    row |= {"spectrogram": held.spectrogram, "seconds": held.seconds}
                if run.name in held.maps:
                    row["map"] = held.maps[run.name]
                if run.name in held.curves:
                    row["curve"] = held.curves[run.name]
            listed.append(row)
        yield {
            "section": key.section.replace("_", " "),
            "threshold": threshold.value if threshold else None,
            "method": threshold.method if threshold else "",
            "clips": listed,
        }
