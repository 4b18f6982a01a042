"""Short clips made of a seed: the same in the environment of an official baseline and in a test."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import soundfile

SAMPLE_RATE = 16000
N_SAMPLES = 20480  # 41 log-mel frames


def write_dataset(folder: Path) -> Path:
    """Write fan/train and fan/test of two sections in the layout of 2022; return the folder."""
    number = 0
    for split, normal, anomaly in (("train", 6, 0), ("test", 2, 2)):
        (folder / "fan" / split).mkdir(parents=True, exist_ok=True)
        for section in range(2):
            for domain in ("source", "target"):
                for label, count in (("normal", normal), ("anomaly", anomaly)):
                    for index in range(count):
                        name = f"section_0{section}_{domain}_{split}_{label}_{index:04}.wav"
                        samples = clip(number, section, domain == "target", label == "anomaly")
                        path = folder / "fan" / split / name
                        soundfile.write(path, samples, SAMPLE_RATE, subtype="PCM_16")
                        number += 1
    return folder


def clip(seed: int, section: int, shifted: bool, anomalous: bool) -> np.ndarray:
    """Return a hum in noise (N_SAMPLES,) int16; an anomalous one has another tone too."""
    random = np.random.RandomState(seed)
    time = np.arange(N_SAMPLES) / SAMPLE_RATE
    pitch = (300, 700)[section] * (1.1 if shifted else 1)
    samples = 0.1 * np.sin(2 * np.pi * pitch * time) + 0.03 * random.standard_normal(N_SAMPLES)
    if anomalous:
        samples += 0.05 * np.sin(2 * np.pi * 2500 * time)
    return np.round(samples * 32767).astype(np.int16)
