"""Measure a training step of a system here and in plain Keras, in turns: prints JSON.

Plain Keras means: the same networks and losses with Keras's own Adam and batch normalisation. `fit`
gets NumPy arrays of all windows, stacked beforehand, and does not compile with XLA.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import keras
import numpy as np

import keras_model
from benchmarks.official import timer
from core import settings
from core.command_line import assignment
from core.run_settings import SystemSettings
from data.clips import Clip
from data.frames import Frames
from models import base, layers

SECTIONS = ("section_00", "section_01")
# The published settings where two cores train them in a second or two, else tools/demo.yaml's.
SETTINGS: dict[str, tuple[str, dict[str, Any]]] = {
    "ae": ("baseline.yaml", {"fit.batch_size": 512}),
    "vae": ("baseline.yaml", {"fit.batch_size": 512}),
    "idnn": ("baseline.yaml", {"fit.batch_size": 512}),
    "mobilenet_v2": ("baseline.yaml", {"feature.n_hop_frames": 32}),
    "aegan_ad": ("tools/demo.yaml", {}),
    "grlnet": ("tools/demo.yaml", {}),
    "stgram_mfn": ("tools/demo.yaml", {}),
    "anomaly_transformer": ("tools/demo.yaml", {}),
}
CLIPS = {"ae": 60, "vae": 60, "idnn": 60}
FEW = 20


def made_up(param: SystemSettings, n_clips: int, seconds: float) -> Frames:
    """Return the frames, or samples, of clips of noise."""
    feature, waveform = param.feature, param.feature.input == "waveform"
    rows = round(seconds * feature.sample_rate)
    rows = rows if waveform else 1 + rows // feature.hop_length
    width = 1 if waveform else feature.n_mels
    random = np.random.default_rng(0)
    array = random.standard_normal((n_clips * rows, width)).astype(np.float32)
    clips = tuple(
        Clip(f"{SECTIONS[number % 2]}_{number:04d}.wav", "fan", SECTIONS[number % 2], "train")
        for number in range(n_clips)
    )
    return Frames(array, clips, np.arange(n_clips) * rows, np.full(n_clips, rows))


def stacked(system: Any, frames: Frames) -> tuple[np.ndarray, np.ndarray]:
    """Return all training windows as one array, and the class of each."""
    starts, owner = system.windows(frames, system.param.feature.n_hop_frames)
    windows = frames.array[starts[:, None] + np.arange(system.n_frames)]
    if system.param.feature.input == "waveform":
        windows = windows[..., 0]
    return windows, system.section_index(frames)[owner]


@contextmanager
def plain_kernels() -> Iterator[None]:
    """Replace our Adam and batch normalisation by Keras's own, for what is traced within."""
    with (
        mock.patch.object(layers.Adam, "update_step", keras.optimizers.Adam.update_step),
        mock.patch.object(layers.BatchNorm, "call", keras.layers.BatchNormalization.call),
    ):
        yield


def main() -> None:
    """Measure both, and print the seconds per step of every round."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("system", choices=list(SETTINGS))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=5.0, help="of a clip")
    parser.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE")
    args = parser.parse_args()
    file, changes = SETTINGS[args.system]
    chosen = [assignment(text) for text in args.set]
    assignments = [
        *changes.items(),
        ("fit.epochs", 2),
        ("fit.verbose", 0),
        ("fit.validation_split", 0.0),
        *chosen,
    ]
    param = settings.read_config(settings.HOME / file, assignments).for_system(args.system)
    frames = made_up(param, CLIPS.get(args.system, FEW), args.seconds)
    classes = [param.class_name(clip) for clip in frames.clips]
    base.WORTH_COMPILING = 0  # as a training of the published length
    here, plain = (keras_model.get_model(param, classes) for _ in range(2))
    windows, section = stacked(plain, frames)
    plain.cut = lambda frames, windows: windows
    plain.frames = None
    plain.jit_compile = False
    batch = min(param.fit.batch_size, len(windows))
    whole = len(windows) // batch * batch
    steps = {"here": (whole if here.drop_last else len(windows)) / batch, "plain": whole / batch}
    windows, section = windows[:whole], section[:whole]
    epochs = {"here": timer(), "plain": timer()}
    here.callbacks = lambda: [epochs["here"]]
    seconds: dict[str, list[float]] = {"here": [], "plain": []}
    for _ in range(args.rounds):
        here.train(frames)
        with plain_kernels():
            plain.fit(
                windows, section, batch_size=batch, epochs=2, verbose=0, callbacks=[epochs["plain"]]
            )
        for name, clock in epochs.items():
            # The first epoch of the first round compiles the step.
            seconds[name].append(clock.seconds[1] / steps[name])
    print(json.dumps({"batch": batch, **seconds}))


if __name__ == "__main__":
    main()
