"""The official DCASE2022 recipe, as one side of a benchmark: python benchmarks/official.py JOB ...

Frame-stacked float64 vectors of all clips, Keras `fit` on arrays, `predict` once per clip. It
imports nothing of this project, so that with --checkout DIR another interpreter can run the
functions of an original checkout (Keras 2.8) for the same jobs. Prints one line of JSON.
"""

from __future__ import annotations

import argparse
import glob
import importlib.util
import json
import os
import sys
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
EPSILON = sys.float_info.epsilon
FEATURE = {"n_mels": 128, "n_frames": 5, "n_fft": 1024, "hop_length": 512, "power": 2.0}


def file_to_vectors(path, n_mels, n_frames, n_fft, hop_length, power):
    """Return the frame-stacked log-mel of a clip: (n_vectors, n_mels * n_frames) float64."""
    import librosa
    import numpy as np

    y, sample_rate = librosa.load(path, sr=None, mono=True)
    mel = librosa.feature.melspectrogram(
        y=y, sr=sample_rate, n_fft=n_fft, hop_length=hop_length, n_mels=n_mels, power=power
    )
    levels = 20.0 / power * np.log10(np.maximum(mel, EPSILON))
    n_vectors = levels.shape[1] - n_frames + 1
    vectors = np.zeros((n_vectors, n_mels * n_frames))
    for frame in range(n_frames):
        vectors[:, n_mels * frame : n_mels * (frame + 1)] = levels[:, frame : frame + n_vectors].T
    return vectors


def file_list_to_data(paths, **feature):
    """Return the vectors of clips of one length: (clips * n_vectors, n_mels * n_frames)."""
    import numpy as np

    data = None
    for index, path in enumerate(paths):
        vectors = file_to_vectors(path, **feature)
        if data is None:
            data = np.zeros((len(paths) * len(vectors), vectors.shape[1]), float)
        data[index * len(vectors) : (index + 1) * len(vectors)] = vectors
    return data


def get_model(input_dim, lr):
    """Return the dense autoencoder 128-128-128-128-8-128-128-128-128, compiled by default."""
    import keras

    x = h = keras.layers.Input(shape=(input_dim,))
    for width in (128, 128, 128, 128, 8, 128, 128, 128, 128):
        h = keras.layers.Dense(width)(h)
        h = keras.layers.BatchNormalization()(h)
        h = keras.layers.Activation("relu")(h)
    model = keras.models.Model(x, keras.layers.Dense(input_dim)(h))
    model.compile(optimizer=keras.optimizers.Adam(lr), loss="mean_squared_error")
    return model


def recipe(checkout):
    """Return the three functions above, or those of a checkout of the original."""
    if checkout is None:
        return file_to_vectors, file_list_to_data, get_model
    sys.path.insert(0, checkout)
    os.chdir(checkout)  # it reads its settings from the current directory
    spec = importlib.util.spec_from_file_location("train", os.path.join(checkout, "00_train.py"))
    train = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(train)
    return train.com.file_to_vectors, train.file_list_to_data, train.keras_model.build_system


def timer():
    """Return a Keras callback that measures the seconds of every epoch's training steps."""
    import keras

    class Timer(keras.callbacks.Callback):
        """Measures the seconds of the training steps, without the validation."""

        def on_train_begin(self, logs=None):
            self.seconds = []

        def on_epoch_begin(self, epoch, logs=None):
            self.begun, self.steps = time.perf_counter(), None

        def on_test_begin(self, logs=None):  # validation, at the end of an epoch
            self.steps = time.perf_counter() - self.begun

        def on_epoch_end(self, epoch, logs=None):
            self.seconds.append(self.steps or time.perf_counter() - self.begun)

    return Timer()


def main():
    """Run one job, and print its seconds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("job", choices=("features", "step", "score", "train"))
    parser.add_argument("folder", help="has train/*.wav and test/*.wav")
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--checkout", metavar="DIR")
    args = parser.parse_args()
    train = sorted(glob.glob(os.path.join(os.path.abspath(args.folder), "train", "*.wav")))
    test = sorted(glob.glob(os.path.join(os.path.abspath(args.folder), "test", "*.wav")))
    to_vectors, to_data, build = recipe(args.checkout)
    import numpy as np

    if args.job == "features":
        to_data(train[:2], **FEATURE)  # librosa compiles on its first call
        begun = time.perf_counter()
        to_data(train, **FEATURE)
        print(json.dumps({"seconds": time.perf_counter() - begun}))
    elif args.job in ("step", "train"):
        data = to_data(train, **FEATURE)
        model, epochs = build(data.shape[1], 0.001), timer()
        model.fit(
            x=data, y=data, epochs=args.epochs, batch_size=512, shuffle=True, validation_split=0.1,
            verbose=0, callbacks=[epochs],
        )  # fmt: skip
        if args.job == "train":
            each = len(data) // len(train)
            for at in range(0, len(data), each):
                clip = data[at : at + each]
                np.mean(np.square(clip - model.predict(clip, verbose=0)))
        steps = -(-int(len(data) * 0.9) // 512)
        print(json.dumps({"seconds": [epoch / steps for epoch in epochs.seconds]}))
    else:
        model = build(FEATURE["n_mels"] * FEATURE["n_frames"], 0.001)
        for warm_up in (True, False):
            begun = time.perf_counter()
            for path in test[:2] if warm_up else test:
                data = to_vectors(path, **FEATURE)
                np.mean(np.square(data - model.predict(data, verbose=0)))
        print(json.dumps({"seconds": (time.perf_counter() - begun) / len(test)}))


if __name__ == "__main__":
    main()
