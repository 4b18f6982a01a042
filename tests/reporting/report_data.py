"""Result directories and datasets for the tests of reports, made within milliseconds."""

from __future__ import annotations

import csv
import wave
from collections.abc import Sequence
from pathlib import Path

import numpy as np

SECONDS = 0.5


def names(section: str = "00", clips: int = 8, domains: bool = True) -> list[str]:
    """Names of test clips: half source, half target, every second an anomaly."""
    listed = []
    for index in range(clips):
        label = ("normal", "anomaly")[index % 2]
        if domains:
            domain = "source" if index < clips // 2 else "target"
            listed.append(f"section_{section}_{domain}_test_{label}_{index:04d}_v_{index}.wav")
        else:
            listed.append(f"{label}_id_{section}_{index:08d}.wav")
    return listed


def write(path: Path, rows: Sequence[Sequence]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream, lineterminator="\n").writerows(rows)


def results(
    folder: Path,
    machines: Sequence[str] = ("fan", "valve"),
    sections: Sequence[str] = ("00", "01"),
    seed: int = 0,
    lift: float = 1.0,
    clips: int = 8,
    domains: bool = True,
    threshold: float = 1.0,
) -> Path:
    """Scores, decisions and thresholds as `01_test.py` leaves them; lift: of anomalies' scores."""
    rng = np.random.default_rng(seed)
    fitted = [["machine_type", "section", "threshold", "method", "shape", "loc", "scale"]]
    for machine in machines:
        for section in sections:
            listed = names(section, clips, domains)
            scores = rng.normal(size=clips) + [lift * ("anomaly" in name) for name in listed]
            kind = f"section_{section}_test" if domains else f"id_{section}"
            rows = [(name, float(score)) for name, score in zip(listed, scores, strict=True)]
            write(folder / f"anomaly_score_{machine}_{kind}.csv", rows)
            write(
                folder / f"decision_result_{machine}_{kind}.csv",
                [(name, int(score > threshold)) for name, score in rows],
            )
            name = f"section_{section}" if domains else f"id_{section}"
            fitted.append([machine, name, threshold, "gamma", 2.0, -1.0, 0.5])
    write(folder / "thresholds.csv", fitted)
    return folder


def dataset(
    folder: Path,
    machines: Sequence[str] = ("fan", "valve"),
    sections: Sequence[str] = ("00", "01"),
    clips: int = 8,
) -> Path:
    """The wavs of such results: noise of half a second."""
    rng = np.random.default_rng(0)
    for machine in machines:
        home = folder / "dev_data" / machine / "test"
        home.mkdir(parents=True)
        for section in sections:
            for name in names(section, clips):
                samples = rng.normal(0, 3000, int(16000 * SECONDS)).astype("<i2")
                with wave.open(str(home / name), "wb") as stream:
                    stream.setparams((1, 2, 16000, 0, "NONE", ""))
                    stream.writeframes(samples.tobytes())
    return folder
