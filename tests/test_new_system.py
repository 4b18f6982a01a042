"""A ninth system, added in the four places that know a system, from training to results."""

from __future__ import annotations

import csv
import os
import shutil
import sys
from pathlib import Path

import pytest

from tests import processes
from tests.conftest import ROOT, places

FILE = '''
"""Toy: how far a window lies from the mean of the training windows."""

import keras
import tensorflow as tf

from models.base import System


class Toy(System):
    """Learns one level per mel bin."""

    def __init__(self, run, sections):
        super().__init__(run, sections)
        x = keras.Input((1,))
        level = keras.layers.Dense(self.n_mels, use_bias=False, kernel_initializer="zeros")
        self.network = keras.Model(x, level(x) * run.network.gain)
        self.compile(self.make_optimizer(), loss="mse")

    def call(self, x, training=False):
        return self.network(x)

    def training_pair(self, windows, section):
        return tf.ones((tf.shape(windows)[0], 1)), tf.reduce_mean(windows, axis=1)

    def window_scores(self, windows, section):
        level = self.network(tf.ones((tf.shape(windows)[0], 1)))  # (batch, n_mels)
        return tf.reduce_mean(tf.square(tf.reduce_mean(windows, axis=1) - level), axis=-1)
'''
SETTINGS = '''

class ToyNetwork(Block):
    """The toy's network."""

    gain: Positive = 10.0


class ToySettings(SystemSettings):
    """The toy."""

    system: Text = "toy"
    network: ToyNetwork = ToyNetwork()


def system_classes('''
BLOCK = """
toy:
  network:
    gain: 10 # how fast it learns

submission:"""


def replace(path: Path, before: str, after: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.count(before) == 1
    path.write_text(text.replace(before, after), encoding="utf-8")


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the repository with one more system."""
    copy = tmp_path_factory.mktemp("house")
    for package in (
        *("core", "data", "backends", "checkpoints", "evaluation", "models", "engine"),
        "reporting",
    ):
        shutil.copytree(
            ROOT / package, copy / package, ignore=shutil.ignore_patterns("__pycache__")
        )
    for name in ("keras_model.py", "baseline.yaml", "00_train.py", "01_test.py", "02_report.py"):
        shutil.copy(ROOT / name, copy)
    (copy / "models" / "toy.py").write_text(FILE.lstrip(), encoding="utf-8")
    replace(copy / "core" / "system_settings.py", "\n\ndef system_classes(", SETTINGS)
    replace(copy / "baseline.yaml", "\nsubmission:", BLOCK)
    replace(copy / "keras_model.py", "\nSYSTEMS = {", '\nSYSTEMS = {\n    "toy": "models.toy.Toy",')
    return copy


@pytest.mark.slow
def test_a_system_is_added_in_four_places(house: Path, demo: Path, tmp_path: Path) -> None:
    def call(script: str, *arguments: str) -> str:
        command = [sys.executable, house / script, *arguments, "--set", "toy.fit.epochs=2"]
        environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
        done = processes.run([*command, *places(demo, tmp_path)], cwd=tmp_path, env=environment)
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert "toy" in call("00_train.py", "--help")
    assert "gain: 10.0" in call("00_train.py", "-d", "--system", "toy", "--print-config")
    call("00_train.py", "-d", "--system", "toy", "--machine", "fan")
    output = call("01_test.py", "-d", "--system", "toy", "--machine", "fan")
    assert "official score" in output
    results = tmp_path / "result" / "toy"
    with (results / "anomaly_score_fan_section_00_test.csv").open(newline="") as stream:
        scores = [float(score) for _, score in csv.reader(stream)]
    assert len(set(scores)) == len(scores) > 1
    report = ["--to", str(tmp_path / "report")]
    assert "toy" in call("02_report.py", *report)
