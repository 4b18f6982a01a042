"""The log-mel of every system in `baseline.yaml` against its original's own."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path

import librosa
import numpy as np
import pytest

import keras_model
from core import settings
from core.run_settings import Feature
from core.system_settings import system_classes
from data.audio import log_mel

# In decibels, of float32 log-mels: a power near the floor takes more of the rounding.
SAME_LIBRARY = 1e-5
OTHER_LIBRARY = 1.5e-4  # another Fourier transform; measured: 1.42e-4

# What torchaudio 2.11 made of a waveform of two seconds, some of it silence.
FIXTURE = Path(__file__).parent / "torchaudio_log_mel" / "arrays.npz"


@cache
def waveform() -> np.ndarray:
    """(32000,) float32 samples at 16 kHz."""
    with np.load(FIXTURE) as arrays:
        return arrays["waveform"].astype(np.float32)


def official(y: np.ndarray) -> np.ndarray:
    """(n_mels, frames) decibels, by the call of the official baselines."""
    mel = librosa.feature.melspectrogram(
        y=y, sr=16000, n_fft=1024, hop_length=512, n_mels=128, power=2.0
    )
    return 20.0 / 2.0 * np.log10(np.maximum(mel, sys.float_info.epsilon))


def torchaudio(y: np.ndarray) -> np.ndarray:
    """(n_mels, frames) decibels, as AE-ASD and STgram-MFN have them."""
    with np.load(FIXTURE) as arrays:
        return arrays["log_mel"]


def aegan_ad(y: np.ndarray) -> np.ndarray:
    """(n_mels, frames) decibels, by the calls of AEGAN-AD."""
    mel = librosa.feature.melspectrogram(y=y, sr=16000, n_fft=2048, hop_length=512, n_mels=128)
    return librosa.power_to_db(mel, ref=1)


Recipe = tuple[Callable[[np.ndarray], np.ndarray], float]
# System → its original's front end, and how close ours comes; None: it takes samples as they are.
# A release with a front end of its own has a row of its own.
RECIPES: dict[str, Recipe | None] = {
    "ae": (official, SAME_LIBRARY),
    "ae ae_asd": (torchaudio, OTHER_LIBRARY),
    "vae": (torchaudio, OTHER_LIBRARY),
    "idnn": (torchaudio, OTHER_LIBRARY),
    "mobilenet_v2": (official, SAME_LIBRARY),
    "aegan_ad": (aegan_ad, SAME_LIBRARY),
    "grlnet": None,
    "stgram_mfn": (torchaudio, OTHER_LIBRARY),
    # Its release has no audio.
    "anomaly_transformer": (official, SAME_LIBRARY),
    "twfr_gmm": (torchaudio, OTHER_LIBRARY),
    # No release: the shared front end.
    "raw_spec": (official, SAME_LIBRARY),
    "embeddings": (official, SAME_LIBRARY),
    "dis_spec": None,
    "dis_multispec": None,
}


def features() -> list[tuple[str, str, Feature]]:
    """(system, release and machine type, `feature` block) of every recipe in `baseline.yaml`."""
    shipped, blocks = settings.read_config(None, []), []
    for name in system_classes():
        run = shipped.for_system(name)
        blocks.append((name, "shipped", run.feature))
        for release, block in (getattr(run, "releases", None) or {}).items():
            chosen = settings.read_config(None, [(f"{name}.release", release)])
            machine_types = [None, *block.get("machines", {})]
            blocks += [
                (name, f"{release} {kind}", chosen.resolve(name, kind, {}).feature)
                for kind in machine_types
            ]
    return blocks


def test_every_system_has_a_recipe() -> None:
    assert {name.partition(" ")[0] for name in RECIPES} == set(system_classes())


@pytest.mark.parametrize(
    ("name", "at", "feature"),
    [pytest.param(*one, id=f"{one[0]}-{one[1]}") for one in features()],
)
def test_the_front_end_is_the_originals(name: str, at: str, feature: Feature) -> None:
    recipe = RECIPES.get(f"{name} {at.partition(' ')[0]}", RECIPES[name])
    if recipe is None:
        assert feature.input == "waveform"
        return
    original, tolerance = recipe
    found, expected = log_mel(waveform(), feature).T, original(waveform())
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() <= tolerance


def test_the_log_mel_in_the_step_is_torchaudios() -> None:
    run = settings.read_config(None, [("stgram_mfn.network.seconds", 2.0)])
    system = keras_model.build_system(run.for_system("stgram_mfn"), ["a b", "a c"])
    found = np.asarray(system.log_mel(waveform()[None]))[0]
    assert np.abs(found - torchaudio(waveform())).max() <= OTHER_LIBRARY


def test_the_recipes_are_apart() -> None:
    y = waveform()
    others = [official(y), torchaudio(y)]
    assert np.abs(others[0] - others[1]).max() > 1
    assert np.abs(others[0] - aegan_ad(y)).max() > 1
