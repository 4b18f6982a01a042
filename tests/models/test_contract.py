"""What every system owes the scripts, whichever it is: it learns, scores, and comes back whole."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

import keras_model
from core import settings
from core.system_settings import system_classes
from data.dataset import read_clips
from data.frames import Frames
from engine.training import resume_training
from models.saved import SavedModel
from tests.precomputed import write_embeddings

MACHINE = "valve"  # its sections differ most, which a classifier of few clips needs
# A handful of clips on one core, where the published settings take hours: larger steps, all clips
# in training,
# and running statistics that follow within a few steps.
DENSE = [
    ("fit.lr", 0.003),
    ("fit.epochs", 20),
    ("fit.batch_size", 512),
    ("{}.network.momentum", 0.8),
]
SMALL_EMBEDDINGS = [
    ("{}.network.seconds", 2.0),
    ("{}.network.width", 32),
    ("{}.network.squeeze", 4),
    ("{}.network.convolutions", [[256, 64], [16, 8], [4, 2]]),
    ("{}.network.spectrograms", [[512, 256]]),
    ("fit.epochs", 8),
    ("fit.batch_size", 8),
]
QUICK: dict[str, list[tuple[str, Any]]] = {
    "ae": DENSE,
    "vae": DENSE,
    "idnn": DENSE,
    # The same layers, thinner, over fewer and smaller windows.
    "mobilenet_v2": [
        ("{}.network.alpha", 0.1),
        ("{}.network.momentum", 0.8),
        ("feature.n_mels", 32),
        ("feature.n_frames", 32),
        ("fit.lr", 0.003),
        ("fit.epochs", 15),
    ],
    "aegan_ad": [
        ("feature.n_mels", 32),
        ("feature.n_frames", 32),
        ("feature.n_hop_frames", 8),
        ("{}.network.ndf", 8),
        ("{}.network.ngf", 8),
        ("{}.network.nz", 16),
        ("fit.lr", 0.001),
        ("{}.fit.lr_discriminator", 0.001),
        ("fit.batch_size", 16),
        ("fit.epochs", 10),
    ],
    # Long segments, and enough steps of the discriminator.
    "grlnet": [
        ("{}.network.channels", [4, 8, 16, 32]),
        ("{}.feature.n_frames", 4096),
        ("{}.feature.n_hop_frames", 16000),
        ("{}.fit.lr_discriminator", 0.001),
        ("fit.batch_size", 4),
        ("fit.epochs", 4),
    ],
    "stgram_mfn": [
        ("{}.network.seconds", 2.0),
        ("{}.network.gmm", 1),
        ("{}.network.bottlenecks", [[2, 16, 1, 2], [2, 16, 1, 2], [2, 16, 1, 2]]),
        ("fit.lr", 0.003),
        ("fit.epochs", 10),
        ("fit.batch_size", 8),
    ],
    "dis_spec": SMALL_EMBEDDINGS,
    "dis_multispec": [
        *SMALL_EMBEDDINGS,
        ("{}.network.spectrograms", [[256, 128], [512, 256], [1024, 512]]),
    ],
    # A few epochs do not teach the associations yet, so that the error decides.
    "anomaly_transformer": [
        ("{}.network.d_model", 32),
        ("{}.network.n_layers", 1),
        ("{}.network.d_ff", 32),
        ("{}.network.temperature", 0.01),
        ("feature.n_mels", 32),
        ("fit.lr", 0.003),
        ("fit.epochs", 6),
        ("fit.batch_size", 16),
    ],
}
# The AUC that a system exceeds; half of all random rankings of so few clips exceed 0.5.
CLEARLY_ABOVE_CHANCE = {"grlnet": 0.6}
ONE_STEP = [("fit.epochs", 1), ("fit.batch_size", 10**6)]

KINDS = system_classes()
systems = pytest.mark.parametrize("name", list(keras_model.SYSTEMS))
networks = pytest.mark.parametrize("name", [name for name in KINDS if KINDS[name].has_network])


@pytest.fixture(scope="module")
def setting(demo: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., dict[str, Any]]:
    cache = tmp_path_factory.mktemp("cache")
    embeddings = write_embeddings(demo / "dev_data", tmp_path_factory.mktemp("embeddings"))

    def of(name: str, *more: tuple[str, Any], seed: int = 0) -> dict[str, Any]:
        held = settings.read_config(
            None,
            [
                ("dev_directory", str(demo / "dev_data")),
                ("cache_directory", str(cache)),
                ("embeddings.network.directory", str(embeddings)),
                ("fit.verbose", 0),
                ("fit.validation_split", 0),
                *((key.format(name), value) for key, value in QUICK.get(name, [])),
                *more,
            ],
        )
        return held.for_system(name, seed)

    return of


@pytest.fixture(scope="module")
def clips(setting: Callable[..., dict[str, Any]]) -> Callable[[str, str], Frames]:
    def of(name: str, folder: str) -> Frames:
        frames, bad = read_clips(setting(name), "dev", MACHINE, (folder,), jobs=1)
        assert not bad
        return frames

    return of


def classes(name: str, frames: Frames) -> list[str]:
    return [settings.read_config().for_system(name).class_name(clip) for clip in frames.clips]


def every(step: int, frames: Frames) -> Frames:
    """Return the first clip of each so many; each section has some."""
    return frames.select(np.arange(len(frames.clips)) % step == 0)


def test_the_command_line_knows_every_system() -> None:
    assert list(system_classes()) == list(keras_model.SYSTEMS)


@systems
@pytest.mark.slow
def test_learns_and_ranks_anomalies_above_normal_clips(name, setting, clips) -> None:
    training, test = clips(name, "train"), clips(name, "test")
    system = keras_model.build_system(setting(name), classes(name, training))
    history = system.train(training)
    losses = np.array(list(history.values()))
    assert losses.shape[1] == setting(name).fit.epochs
    assert np.isfinite(losses).all()
    scores = system.score(test)
    assert scores.shape == (len(test.clips),)
    assert np.isfinite(scores).all()
    labels = [clip.label == "anomaly" for clip in test.clips]
    assert roc_auc_score(labels, scores) > CLEARLY_ABOVE_CHANCE.get(name, 0.5)


@networks
@pytest.mark.slow
def test_an_interrupted_training_ends_as_if_it_had_not_been(name, setting, clips, tmp_path) -> None:
    training = every(3, clips(name, "train"))
    param = setting(name, *ONE_STEP[1:], ("fit.epochs", 3))

    def train(interrupt: bool, place: Path) -> tuple[dict[str, list[float]], list[np.ndarray]]:
        system = keras_model.build_system(param, classes(name, training))
        system.run_eagerly = True  # to trace a step takes longer than a few steps
        resume = resume_training(place, param, training)
        if interrupt:
            callbacks = system.callbacks

            def stop(epoch: int, logs: dict | None = None) -> None:
                if epoch == 2:
                    raise KeyboardInterrupt

            system.callbacks = lambda: [
                *callbacks(),
                keras.callbacks.LambdaCallback(on_epoch_begin=stop),
            ]
        return system.train(training, resume=resume), system.get_weights()

    whole, expected = train(False, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        train(True, tmp_path / "model")
    history, weights = train(False, tmp_path / "model")
    assert history == whole
    assert [len(values) for values in history.values()] == [3] * len(history)
    for found, value in zip(weights, expected, strict=True):
        np.testing.assert_array_equal(found, value)


@systems
@pytest.mark.slow
def test_the_seed_decides_and_a_saved_system_scores_as_before(
    name, setting, clips, tmp_path
) -> None:
    training, few = clips(name, "train"), every(6, clips(name, "test"))
    scores, kept = {}, tmp_path / f"model_{MACHINE}"
    for run, seed in (("first", 0), ("again", 0), ("other", 1)):
        param = setting(name, *ONE_STEP, seed=seed)
        system = keras_model.build_system(param, classes(name, training))
        system.run_eagerly = True  # to trace a step takes longer than one step
        system.train(training)
        scores[run] = system.score(few)
        if run == "first":
            of_training = system.training_scores(system.score(training))
            keras_model.save_system(kept, system, param, training.clips, of_training, {})
    np.testing.assert_array_equal(scores["first"], scores["again"])
    if KINDS[name].has_network:
        assert not np.isclose(scores["first"], scores["other"]).any()
    loaded, training_scores = keras_model.load_system(SavedModel(kept), setting(name, *ONE_STEP))
    np.testing.assert_array_equal(loaded.score(few), scores["first"])
    np.testing.assert_array_equal(training_scores.scores, of_training)
    assert training_scores.sections == [clip.section for clip in training.clips]
