"""Make the models in this folder, in an environment of the official baselines (TensorFlow 2.8).

python -m tests.official.write_official, with a checkout of an official baseline, whose
`common.py` makes the vectors, in PYTHONPATH before this project.

The networks have the layers of the official ones and fewer weights. Their files, distributions,
scores and decisions are made as the official scripts make them.
"""

from __future__ import annotations

import gzip
import json
import sys
import tempfile
from pathlib import Path

import joblib
import keras
import numpy as np
import scipy.stats
import tensorflow as tf
from keras import layers

import common as com
from tests.official.sounds import write_dataset

HERE = Path(__file__).parent
N_MELS = {"ae": 16, "mobilenet_v2": 32}
N_FRAMES = {"ae": 5, "mobilenet_v2": 32}
EPOCHS = {"ae": 100, "mobilenet_v2": 12}
EPSILON = sys.float_info.epsilon


def vectors(system: str, path: Path) -> np.ndarray:
    """Return the windows of a clip, as its network takes them."""
    data = com.file_to_vectors(str(path), n_mels=N_MELS[system], n_frames=N_FRAMES[system])
    shape = (-1, N_FRAMES[system], N_MELS[system], 1) if system == "mobilenet_v2" else data.shape
    return data.reshape(shape)


def autoencoder() -> keras.Model:
    """Return a small network with the layers of the official autoencoder."""
    h = x = keras.Input((N_MELS["ae"] * N_FRAMES["ae"],))
    for width in (16, 16, 4, 16, 16):
        h = layers.Activation("relu")(layers.BatchNormalization()(layers.Dense(width)(h)))
    model = keras.Model(x, layers.Dense(x.shape[1])(h))
    model.compile("adam", "mean_squared_error")
    return model


def classifier() -> keras.Model:
    """Return a small network with the layers of the official MobileNetV2."""
    size = (N_FRAMES["mobilenet_v2"], N_MELS["mobilenet_v2"])
    inner = tf.keras.applications.MobileNetV2((*size, 3), alpha=0.02, weights=None, classes=2)
    for layer in inner.layers:
        if isinstance(layer, tf.keras.layers.BatchNormalization):
            layer.momentum = 0.5  # few steps are to leave their mark
    x = keras.Input((*size, 1))
    model = keras.Model(x, inner(layers.Concatenate()([x, x, x])))
    model.compile(tf.keras.optimizers.Adam(0.002), "categorical_crossentropy")
    return model


def score(system: str, model: keras.Model, data: np.ndarray, section: int, train: bool) -> float:
    """Return the anomaly score of a clip, as the official training or test script."""
    predicted = model.predict(data)
    if system == "ae":
        return float(np.mean(np.square(data - predicted)))
    p = predicted[:, section : section + 1]
    other, own = np.maximum(1.0 - p, EPSILON), np.log(np.maximum(p, EPSILON))
    # The official training takes the logarithm of the whole difference.
    return float(np.mean(np.log(other - own)) if train else np.mean(np.log(other) - own))


def write(system: str, data: Path) -> None:
    """Write the model of a system, its pickles, and its scores and decisions of the test clips."""
    tf.keras.utils.set_random_seed(1)
    clips = {part: sorted((data / "fan" / part).glob("*.wav")) for part in ("train", "test")}
    section = {path: int(path.name[9]) for part in clips.values() for path in part}
    windows = {path: vectors(system, path) for part in clips.values() for path in part}
    x = np.concatenate([windows[path] for path in clips["train"]])
    owner = np.concatenate([[section[path]] * len(windows[path]) for path in clips["train"]])
    model = autoencoder() if system == "ae" else classifier()
    model.fit(x, x if system == "ae" else np.eye(2)[owner], 32, epochs=EPOCHS[system], verbose=0)
    scores = [score(system, model, windows[path], section[path], True) for path in clips["train"]]
    folder = HERE / system
    folder.mkdir(exist_ok=True)
    gamma = list(scipy.stats.gamma.fit(scores))
    joblib.dump(gamma, folder / "score_distr_fan.pkl")
    if system == "mobilenet_v2":
        joblib.dump(np.unique(["section_00", "section_01"]), folder / "section_names_fan.pkl")
    path = folder / "model_fan.hdf5"
    model.save(path, include_optimizer=False)
    (folder / "model_fan.hdf5.gz").write_bytes(gzip.compress(path.read_bytes(), mtime=0))
    path.unlink()
    threshold = scipy.stats.gamma.ppf(0.9, a=gamma[0], loc=gamma[1], scale=gamma[2])
    expected = {}
    for path in clips["test"]:
        value = score(system, model, windows[path], section[path], False)
        expected[path.name] = [value, int(value > threshold)]
    (folder / "expected.json").write_text(json.dumps(expected, indent=1) + "\n")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as home:
        for name in N_MELS:
            write(name, write_dataset(Path(home)))
