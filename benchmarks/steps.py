"""A training step of every system, in three ways and in turns: prints JSON.

here : as it is trained
single : as it is trained, but with one step per call (`steps_per_execution` 1)
plain : the same networks and losses, with Keras's own Adam and batch normalisation, fed by Keras
    `fit` with NumPy arrays of all windows, stacked beforehand, and no jit_compile
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
    "dis_spec": ("tools/demo.yaml", {}),
    "dis_multispec": ("tools/demo.yaml", {}),
}
CLIPS = {"ae": 60, "vae": 60, "idnn": 60}
FEW = 20
VARIANTS = ("here", "single", "plain")


def made_up(run: SystemSettings, n_clips: int, seconds: float) -> Frames:
    """Return frames, or samples, of clips of noise."""
    feature, waveform = run.feature, run.feature.input == "waveform"
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
    starts, owner = system.windows(frames, system.settings.feature.n_hop_frames)
    windows = frames.array[starts[:, None] + np.arange(system.n_frames)]
    if system.settings.feature.input == "waveform":
        windows = windows[..., 0]
    return windows, system.section_index(frames)[owner]


@contextmanager
def plain_kernels() -> Iterator[None]:
    """Trace what is inside with Keras's own Adam and batch normalisation."""
    with (
        mock.patch.object(layers.Adam, "update_step", keras.optimizers.Adam.update_step),
        mock.patch.object(layers.BatchNorm, "call", keras.layers.BatchNormalization.call),
    ):
        yield


def main() -> None:
    """Print the seconds of a step in every round: here, with one step per call, and plainly."""
    args = _parse()
    file, changes = SETTINGS[args.system]
    assignments = [
        *changes.items(),
        ("fit.epochs", 2),
        ("fit.verbose", 0),
        ("fit.validation_split", 0.0),
        *(assignment(text) for text in args.set),
    ]
    run = settings.read_config(settings.HOME / file, assignments).for_system(args.system)
    frames = made_up(run, args.clips or CLIPS.get(args.system, FEW), args.seconds)
    classes = [run.class_name(clip) for clip in frames.clips]
    base.FEWEST_STEPS_FOR_XLA = 0  # as a training of the published length
    systems = {name: keras_model.build_system(run, classes) for name in VARIANTS}
    clocks = {name: timer() for name in VARIANTS}
    for name, system in systems.items():
        system.callbacks = lambda usual=system.callbacks, clock=clocks[name]: [*usual(), clock]
    systems["single"].steps_per_execution = 1
    windows, section = stacked(systems["plain"], frames)
    batch = min(run.fit.batch_size, len(windows))
    whole = len(windows) // batch * batch
    steps = dict.fromkeys(VARIANTS, (whole if systems["here"].drop_last else len(windows)) / batch)
    steps["plain"] = whole / batch
    seconds: dict[str, list[float]] = {name: [] for name in VARIANTS}
    for number in range(args.rounds):
        # There and back, so that what else the machine does falls on all of them alike.
        for name in VARIANTS if number % 2 else VARIANTS[::-1]:
            if name == "plain":
                train_plainly(systems[name], windows[:whole], section[:whole], batch, clocks[name])
            else:
                systems[name].train(frames)
            # The first epoch of the first round compiles the step.
            seconds[name].append(clocks[name].seconds[1] / steps[name])
    print(json.dumps({"batch": batch, **seconds}))


def train_plainly(
    system: Any, windows: np.ndarray, section: np.ndarray, batch: int, clock: Any
) -> None:
    """Train for two epochs as if written plainly in Keras, with all windows in one array."""
    system.frames, system.jit_compile, system.steps_per_execution = None, False, 1
    system.gather_windows = lambda frames, windows: windows
    with plain_kernels():
        system.fit(windows, section, batch_size=batch, epochs=2, verbose=0, callbacks=[clock])


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("system", choices=list(SETTINGS))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--clips", type=int, help="how many (default: by the system)")
    parser.add_argument("--seconds", type=float, default=5.0, help="of a clip")
    parser.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE")
    return parser.parse_args()


if __name__ == "__main__":
    main()
