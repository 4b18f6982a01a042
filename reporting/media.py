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
from core.run_settings import Feature, SharedSettings
from data.audio import file_load, log_mel
from data.clip_names import clip_key
from data.clips import TEST_FOLDERS, dataset_directory
from evaluation.metrics import ScoredSection, SectionKey
from reporting.folder import slug
from reporting.runs import ReportData, Run, Threshold

CLIPS_PER_SECTION = 8  # with sound and pictures in the report's own folder
LARGEST_COPY = 2_000_000  # bytes; longer clips are linked
WIDEST = 1000  # columns of a picture
DYNAMIC_RANGE = 80.0  # decibels of a spectrogram
TICKS = (500, 1000, 2000, 4000, 8000, 16000, 32000)  # hertz
CHOICE_RULE = (
    f"Up to {CLIPS_PER_SECTION} clips of each section lie in this folder, with their spectrograms: "
    "false alarms and misses in turn, those furthest from the threshold first, then the highest "
    "scores, the systems in turn. The other clips are linked where they lay when this page was "
    "made. Maps and scores over time are those of each system's first seed."
)


ClipKey = tuple[str, str]  # machine type, name of the clip


@dataclass
class ClipMedia:
    """What the page shows and plays of a clip, as paths from the page.

    path, mode : the clip on this machine, and its dataset, "dev" or "eval"
    audio : the clip to play, "" of a CSV signal; copied : whether it lies in the report's folder
    spectrogram : "" where none was drawn
    seconds : its length, 0 where it was not read
    maps : name of a run → its anomaly map
    curves : name of a run → the score over time, evenly from 0 to `seconds`
    """

    path: Path
    mode: str
    audio: str
    copied: bool = False
    spectrogram: str = ""
    seconds: float = 0.0
    maps: dict[str, str] = field(default_factory=dict)
    curves: dict[str, list[float]] = field(default_factory=dict)


def rank_clips(section: ScoredSection, threshold: Threshold | None) -> np.ndarray:
    """Return the clips in the order of the page: (n_clips,) indices.

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


def choose_clips(data: ReportData) -> dict[SectionKey, list[str]]:
    """Return the clips of every section that come with sound and pictures, see CHOICE_RULE."""
    chosen: dict[SectionKey, list[str]] = {}
    first = [runs[0] for runs in data.systems.values()]
    for key in data.sections:
        runs = [run for run in first if key in run.sections]
        runs = runs or [run for run in data.runs if key in run.sections]
        orders = [
            run.sections[key].names[rank_clips(run.sections[key], run.thresholds.get(key))].tolist()
            for run in runs
        ]
        in_turn = [name for names in zip(*orders, strict=True) for name in names]
        chosen[key] = list(dict.fromkeys(in_turn))[:CLIPS_PER_SECTION]
    return chosen


def find_clips(
    settings: SharedSettings, machine_types: Sequence[str]
) -> dict[str, dict[str, tuple[Path, str]]]:
    """Return the test clips of both datasets: machine type → `clip_key` → (path, mode).

    mode : "dev" or "eval"
    """
    files: dict[str, dict[str, tuple[Path, str]]] = {name: {} for name in machine_types}
    for mode in ("dev", "eval"):
        for name in machine_types:
            for folder in TEST_FOLDERS:
                home = dataset_directory(settings, mode) / name / folder
                if home.is_dir():
                    for path in sorted(home.iterdir()):
                        files[name].setdefault(clip_key(path.name), (path, mode))
    return files


def collect(
    data: ReportData, settings: SharedSettings, folder: Path, final: Path
) -> dict[ClipKey, ClipMedia]:
    """Copy and draw the chosen clips, link the others, and return what there is of every clip.

    Parameters
    ----------
    data : whose clips; `not_shown` gets one line per clip that is gone or cannot be read
    settings : the settings: where the datasets lie, and how spectrograms are made
    folder : of the report, as it is being made
    final : where the folder will lie, which links start from
    """
    names = {
        key: list(
            dict.fromkeys(
                name
                for run in data.runs
                if key in run.sections
                for name in run.sections[key].names.tolist()
            )
        )
        for key in data.sections
    }
    files = find_clips(settings, list(dict.fromkeys(key.machine_type for key in names)))
    data.not_shown += _missing_clips(names, files, settings)
    clips = {}
    for key in names:
        for name in names[key]:
            if name in files[key.machine_type]:
                path, mode = files[key.machine_type][name]
                audio = "" if path.suffix == ".csv" else _link(path, final)
                clips[key.machine_type, name] = ClipMedia(path, mode, audio)
    chosen = [(key, name) for key, names in choose_clips(data).items() for name in names]
    with progress_bar(len(chosen), "clips", "clip") as bar:
        for key, name in chosen:
            bar.update()
            clip = clips.get((key.machine_type, name))
            if clip is None:
                continue
            try:
                _copy_and_draw(clip, key.machine_type, settings.feature, folder)
            except (ValueError, OSError) as problem:
                data.not_shown.append(f"{clip.path}: no spectrogram: {problem}")
    return clips


def _missing_clips(
    names: Mapping[SectionKey, Sequence[str]],
    files: Mapping[str, Mapping[str, tuple[Path, str]]],
    settings: SharedSettings,
) -> list[str]:
    """Return one line per section that misses some clips, and one for all that miss every clip."""
    missing = {
        key: [name for name in names[key] if name not in files[key.machine_type]] for key in names
    }
    places = (
        f"dev_directory ({settings.dev_directory}) nor in eval_directory "
        f"({settings.eval_directory}), so they cannot be heard"
    )
    whole = [key for key in names if len(missing[key]) == len(names[key])]
    problems = []
    if whole:
        problems.append(
            f"the clips of {', '.join(map(str, whole))} are neither in {places}; give the --config "
            "and --set of 01_test.py"
        )
    for key, gone in missing.items():
        if gone and key not in whole:
            shown = ", ".join(gone[:3]) + (", ..." if len(gone) > 3 else "")
            problems.append(
                f"{key}: {len(gone)} of {len(names[key])} clips are neither in {places}: {shown}"
            )
    return problems


def _link(path: Path, final: Path) -> str:
    try:
        return quote(Path(os.path.relpath(path.resolve(), final.resolve())).as_posix())
    except ValueError:  # another drive on Windows
        return path.resolve().as_uri()


def _copy_and_draw(clip: ClipMedia, machine_type: str, feature: Feature, folder: Path) -> None:
    stem = Path(slug(machine_type)) / slug(clip.path.stem)
    y, sample_rate = file_load(clip.path, feature.channel)
    if clip.audio and clip.path.stat().st_size <= LARGEST_COPY:
        copy = folder / "clips" / f"{stem}.wav"
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(clip.path, copy)
        clip.audio, clip.copied = quote(copy.relative_to(folder).as_posix()), True
    sample_rate = sample_rate or feature.sample_rate
    levels = log_mel(y, feature.model_copy(update={"sample_rate": sample_rate, "floor": 1e-10}))
    clip.seconds = len(y) / sample_rate
    shades = (levels - levels.max()) / DYNAMIC_RANGE + 1
    image = folder / "spectrograms" / f"{stem}.png"
    save_image(image, shades)
    clip.spectrogram = quote(image.relative_to(folder).as_posix())


def save_image(path: Path, shades: np.ndarray) -> None:
    """Write (n_frames, n_mels) values, 0 to 1, as an image in magma, one pixel per value.

    Where there are more than WIDEST frames, each column is the largest of several.
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
    """Return where frequencies lie on a spectrogram: (text, share of the height from below)."""
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


def section_lists(
    run: Run, machine_type: str, clips: Mapping[ClipKey, ClipMedia]
) -> Iterator[dict[str, Any]]:
    """Yield the sections of a run and machine type as the page takes them, clips in their order."""
    for key, section in sorted(run.sections.items()):
        if key.machine_type != machine_type:
            continue
        threshold = run.thresholds.get(key)
        yield {
            "section": key.section.replace("_", " "),
            "threshold": threshold.value if threshold else None,
            "method": threshold.method if threshold else "",
            "clips": [
                _clip_entry(run, section, index, clips.get((machine_type, section.names[index])))
                for index in rank_clips(section, threshold).tolist()
            ],
        }


def _clip_entry(
    run: Run, section: ScoredSection, index: int, clip: ClipMedia | None
) -> dict[str, Any]:
    """Return a clip as the page takes it; an unknown domain, label or decision is None."""
    entry: dict[str, Any] = {
        "name": str(section.names[index]),
        "score": float(section.scores[index]),
    }
    for name, array in (
        ("domain", section.domains),
        ("label", section.labels),
        ("decision", section.decisions),
    ):
        entry[name] = None if array is None else array[index].item()
    if clip:
        entry |= {"audio": clip.audio, "copied": clip.copied}
        if clip.spectrogram:
            entry |= {"spectrogram": clip.spectrogram, "seconds": clip.seconds}
        if run.name in clip.maps:
            entry["map"] = clip.maps[run.name]
        if run.name in clip.curves:
            entry["curve"] = clip.curves[run.name]
    return entry
