"""This project, as the other side of `benchmarks.originals`: python -m benchmarks.our_side NAME

A system with its published settings, at the sizes of `benchmarks.side`, and made-up clips.
A step is what `train` runs for every batch: the compiled function, over the loader of an epoch. A
score is `System.score`, or all of its scores where it has several, of a test set of a few clips,
divided by their number: compiling the scoring, once per call, is part of it.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

import keras_model
from benchmarks.side import (
    BATCHES,
    CLASSES,
    CLIP_FRAMES,
    CLIP_SAMPLES,
    SEGMENT,
    Measure,
    Seconds,
    Side,
    repeated,
    serve,
)
from core import settings
from core.run_settings import SystemSettings
from data.clips import Clip
from data.frames import Frames
from models import base
from models.batches import epoch_batches

MACHINE = "valve"  # AEGAN-AD has its general settings for it


class Clips(NamedTuple):
    """How many clips, and how many frames or samples each has."""

    number: int
    rows: int


class Setup(NamedTuple):
    """One comparison: a system, what differs from its published settings, and its clips.

    train : clips of a first training, which compiles the step; a multiple of the batch in windows
    score : clips of a test set
    """

    system: str
    train: Clips
    score: Clips
    changes: tuple[tuple[str, Any], ...] = ()


SHORT = 256 + 4  # frames: 256 windows of 5
SETUPS = {
    "ae": Setup("ae", Clips(32, SHORT), Clips(200, CLIP_FRAMES)),
    "ae_asd": Setup("ae", Clips(32, SHORT), Clips(200, CLIP_FRAMES), (("ae.release", "ae_asd"),)),
    "vae": Setup("vae", Clips(32, SHORT), Clips(200, CLIP_FRAMES)),
    "idnn": Setup("idnn", Clips(32, SHORT), Clips(200, CLIP_FRAMES)),
    "mobilenet_v2": Setup("mobilenet_v2", Clips(8, 64 + 8 * 7), Clips(30, CLIP_FRAMES)),
    "aegan_ad": Setup("aegan_ad", Clips(32, 128), Clips(6, CLIP_FRAMES)),
    "grlnet": Setup(
        "grlnet", Clips(2, SEGMENT), Clips(8, SEGMENT), (("grlnet.release", "length_16000"),)
    ),
    "stgram_mfn": Setup("stgram_mfn", Clips(8, CLIP_SAMPLES), Clips(100, CLIP_SAMPLES)),
    "dis_spec": Setup("dis_spec", Clips(16, CLIP_SAMPLES), Clips(26, CLIP_SAMPLES)),
    "dis_multispec": Setup("dis_multispec", Clips(8, CLIP_SAMPLES), Clips(26, CLIP_SAMPLES)),
    "anomaly_transformer": Setup("anomaly_transformer", Clips(32, 100), Clips(100, CLIP_FRAMES)),
}


def published(name: str) -> SystemSettings:
    """Return the published settings of a comparison's system, with the batch of the comparison."""
    setup = SETUPS[name]
    assignments = [
        *setup.changes,
        ("fit.batch_size", BATCHES[name]),
        ("fit.epochs", 1),
        ("fit.validation_split", 0.0),
        ("fit.verbose", 0),
    ]
    return settings.read_config(None, assignments).for_system(setup.system).for_machine(MACHINE)


def made_up(run: SystemSettings, clips: Clips, n_classes: int) -> Frames:
    """Return the frames, or samples, of clips of noise, the classes in turns."""
    width = 1 if run.feature.input == "waveform" else run.feature.n_mels
    random = np.random.default_rng(0)
    array = random.standard_normal((clips.number * clips.rows, width)).astype(np.float32)
    sections = [f"section_{number % n_classes:02d}" for number in range(clips.number)]
    members = tuple(
        Clip(f"{section}_{number:04d}.wav", MACHINE, section, "train")
        for number, section in enumerate(sections)
    )
    return Frames(
        array, members, np.arange(clips.number) * clips.rows, np.full(clips.number, clips.rows)
    )


def build(name: str) -> base.System:
    """Return the untrained system of a comparison."""
    run, n_classes = published(name), CLASSES.get(name, 1)
    every_class = made_up(run, Clips(n_classes, 1), n_classes)
    return keras_model.build_system(run, [run.class_name(clip) for clip in every_class.clips])


def trained(name: str) -> tuple[base.System, Frames]:
    """Return a system that was trained for an epoch of a few steps, and its training clips."""
    system = build(name)
    frames = made_up(system.settings, SETUPS[name].train, CLASSES.get(name, 1))
    base.FEWEST_STEPS_FOR_XLA = 0  # as a training of the published length
    system.train(frames)
    return system, frames


def step_of(system: base.System, frames: Frames) -> Measure:
    """Return a measure of a training step: the function that `fit` calls, without `fit`."""
    run, batch = system.settings, system.settings.fit.batch_size
    starts, owner = system.windows(frames, run.feature.n_hop_frames)
    section, epoch = system.section_index(frames)[owner], tf.Variable(0, dtype=tf.int64)
    batches = iter(epoch_batches(starts, section, batch, epoch, run.seed, True).repeat())
    per_call = system.steps_per_execution

    def steps() -> None:
        made = system.train_function(batches)
        made = made.get_value() if isinstance(made, tf.experimental.Optional) else made
        tf.nest.map_structure(np.asarray, made)  # waits for it

    def measure(count: int) -> Seconds:
        calls = max(1, round(count / per_call))
        wall, cpu = repeated(steps)(calls)
        return wall / per_call, cpu / per_call

    return measure


def score_of(system: base.System, frames: Frames) -> Measure:
    """Return a measure of the scoring of a clip, with all scores that the system has."""
    n_clips = len(frames.clips)

    def score() -> None:
        again = replace(frames)  # a system may remember the scores of the very same object
        if not system.extra_scores(again):
            system.score(again)

    def measure(count: int) -> Seconds:
        wall, cpu = repeated(score)(max(1, round(count / n_clips)))
        return wall / n_clips, cpu / n_clips

    return measure


def side(name: str) -> Side:
    """Return this project's side of a comparison."""
    system, frames = trained(name)
    tested = made_up(system.settings, SETUPS[name].score, CLASSES.get(name, 1))
    gpus = tf.config.list_physical_devices("GPU")
    device = tf.config.experimental.get_device_details(gpus[0])["device_name"] if gpus else "CPU"
    versions = f"TensorFlow {tf.__version__}"
    return Side(step_of(system, frames), score_of(system, tested), versions, device)


def main() -> None:
    """Build this project's side, and answer."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", choices=list(SETUPS))
    args = parser.parse_args()
    serve(lambda: side(args.name))


if __name__ == "__main__":
    main()
