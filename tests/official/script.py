"""A script as people write for the official baselines: it trains, lists files, and scores them.

MODEL=NAME python script.py -d; NAME is `ae`, `mobilenet_v2`, or a model file to score with.
"""

import json
import os
import sys

import numpy as np

import common as com
import keras_model

param = com.yaml_load()
EPSILON = sys.float_info.epsilon


def vectors(path):
    feature = param["feature"]
    return com.file_to_vectors(
        path,
        n_mels=feature["n_mels"],
        n_frames=feature["n_frames"],
        n_fft=feature["n_fft"],
        hop_length=feature["hop_length"],
        power=feature["power"],
    )


def images(path):
    data = vectors(path)
    return data.reshape(len(data), param["feature"]["n_frames"], param["feature"]["n_mels"], 1)


def train_autoencoder(files):
    data = np.concatenate([vectors(path) for path in files], axis=0)
    model = keras_model.get_model(
        param["feature"]["n_mels"] * param["feature"]["n_frames"], param["fit"]["lr"]
    )
    history = model.fit(
        x=data,
        y=data,
        epochs=param["fit"]["epochs"],
        batch_size=param["fit"]["batch_size"],
        shuffle=param["fit"]["shuffle"],
        validation_split=param["fit"]["validation_split"],
        verbose=0,
    )
    assert {"loss", "val_loss"} <= set(history.history)
    return model


def train_classifier(files, sections):
    data = np.concatenate([images(path) for path in files], axis=0)
    owner = [i for p in files for i, s in enumerate(sections) if s in p for _ in images(p)]
    model = keras_model.get_model(
        n_frames=param["feature"]["n_frames"],
        n_mels=param["feature"]["n_mels"],
        n_conditions=len(sections),
        lr=param["fit"]["lr"],
    )
    model.fit(x=data, y=np.eye(len(sections))[owner], epochs=1, batch_size=32, verbose=0)
    return model


def main():
    mode = com.command_line_chk()
    if mode is None:
        sys.exit(-1)
    what = os.environ["MODEL"]
    os.makedirs(param["model_directory"], exist_ok=True)
    scores = {}
    for target_dir in com.select_dirs(param=param, mode=mode):
        machine_type = os.path.split(target_dir)[1]
        sections = com.get_section_names(target_dir, dir_name="train")
        files, labels = com.file_list_generator(
            target_dir=target_dir, section_name="*", dir_name="train", mode=mode
        )
        assert (labels == 0).all()
        path = what
        if not what.endswith("hdf5"):
            model = train_autoencoder(files) if what == "ae" else train_classifier(files, sections)
            path = "{}/model_{}.hdf5".format(param["model_directory"], machine_type)
            model.save(path)
            del model
            keras_model.clear_session()
        model = keras_model.load_model(path)
        model.summary()
        for index, section_name in enumerate(sections):
            files, labels = com.file_list_generator(
                target_dir=target_dir, section_name=section_name, dir_name="test", mode=mode
            )
            com.logger.info(f"{int(labels.sum())} of {files.shape[0]}")
            for file in files:
                if len(model.output_shape) == 2 and model.output_shape[1] == len(sections):
                    p = model.predict(images(file), verbose=0)[:, index : index + 1]
                    log_odds = np.log(np.maximum(1 - p, EPSILON)) - np.log(np.maximum(p, EPSILON))
                    scores[os.path.basename(file)] = float(np.mean(log_odds))
                else:
                    data = vectors(file)
                    predicted = model.predict(data, verbose=0)
                    scores[os.path.basename(file)] = float(np.mean(np.square(data - predicted)))
    with open("scores.json", "w") as stream:
        json.dump(scores, stream)


if __name__ == "__main__":
    main()
