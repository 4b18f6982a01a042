"""AEGAN-AD against its release (PyTorch)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import tensorflow as tf

import keras_model
from checkpoints.assign import assign_variables
from core.system_settings import AEGAN_AD_SCORES
from data.clips import Clip
from data.frames import Frames
from models.aegan_ad import AEGANAD
from models.embedding_detectors import EmbeddingDetectors
from tests.models.parity_fixture import Fixture, assert_forward
from tests.models.parity_training import Compared, assert_training, losses, one_step, outputs


def build(fixture: Fixture) -> AEGANAD:
    """The networks with the fixture's weights, their sizes from its settings."""
    held = fixture.settings
    norm = held.get("batch_norm", {})
    matched = held["match_item"]
    assignments = [
        ("feature.n_frames", held["isize"]),
        ("feature.n_mels", held["isize"]),
        ("aegan_ad.network.nz", held["nz"]),
        ("aegan_ad.network.ndf", held["ndf"]),
        ("aegan_ad.network.ngf", held["ngf"]),
        ("aegan_ad.network.generator_norm", held["normalize"]["g"]),
        ("aegan_ad.network.discriminator_norm", held["normalize"]["d"]),
        ("aegan_ad.network.encoder_first_norm", held["encoder_first_norm"]),
        ("aegan_ad.network.encoder_act", held["act"][0]),
        ("aegan_ad.network.decoder_act", held["act"][1]),
        ("aegan_ad.network.layer_norm_epsilon", held["layer_norm_epsilon"]),
        ("aegan_ad.fit.ncritic", held["ncritic"]),
        ("aegan_ad.fit.lambda_gp", held["lambda_gp"]),
        ("aegan_ad.fit.feat_match_eff", held["feat_match_eff"]),
        ("aegan_ad.fit.match_mu", matched.get("mu", 0)),
        ("aegan_ad.fit.match_sigma", matched.get("sigma", 0)),
        *fixture.adam(),
    ]
    if norm:
        momentum = norm.get("momentum_keras", norm.get("momentum"))
        assignments += [
            ("aegan_ad.network.batch_norm_momentum", momentum),
            ("aegan_ad.network.batch_norm_epsilon", norm["epsilon"]),
        ]
    system = keras_model.build_system(fixture.run("aegan_ad", *assignments), ["section_00"])
    assign_variables(system.checkpoint_variables(), fixture.tensors())
    return system


def images(x: np.ndarray) -> np.ndarray:
    """(windows, 1, mel, time) → (windows, mel, time, 1)."""
    return x.transpose(0, 2, 3, 1)


def frames_of(x: np.ndarray) -> np.ndarray:
    """The frames that windows (windows, 1, mel, time) follow each other in: (frames, mel)."""
    return x[:, 0].transpose(0, 2, 1).reshape(-1, x.shape[2])


def latents(z: tf.Tensor) -> np.ndarray:
    """(windows, 1, 1, nz) → (windows, nz, 1, 1)."""
    return z.numpy().transpose(0, 3, 1, 2)


def check_forward(fixture: Fixture) -> None:
    system, arrays = build(fixture), fixture.arrays
    x = images(arrays["x"])
    z = system.encoder(x)
    recon = system.decoder(z)
    value, feature = system.discriminator(x)
    assert_forward(latents(z), arrays["z"], "z")
    assert_forward(recon, images(arrays["recon"]), "recon")
    assert_forward(latents(system.encoder(recon)), arrays["recon_z"], "recon_z")
    assert_forward(value, arrays["d_pred"], "d_pred")
    assert_forward(feature, arrays["d_feature"], "d_feature")


def check_scores(fixture: Fixture) -> None:
    """The windows of x as one clip, through the very pass that scores clips."""
    system, x = build(fixture), fixture.arrays["x"]
    system.detectors = EmbeddingDetectors(fixture.arrays["train_embeddings"])
    size = x.shape[-1]
    # A clip's windows overlap in its frames; these do not, so their starts are given.
    clip = Clip(Path("section_00_0000.wav"), "any", "section_00", "test")
    frames = Apart(frames_of(x), (clip,), np.array([0]), np.array([len(x) * size]))
    found = system.extra_scores(frames)
    assert set(found) == set(AEGAN_AD_SCORES)
    expected = fixture.meta["scores"]
    for name in expected:
        assert_forward(found[name], [expected[name]], name)


class Apart(Frames):
    """Frames of one clip whose windows follow each other without overlap."""

    def windows(self, n_frames: int, hop: int = 1) -> tuple[np.ndarray, np.ndarray]:
        return super().windows(n_frames, n_frames)


def steps(system: AEGANAD, fixture: Fixture) -> list[Compared]:
    arrays = fixture.arrays
    batches, alpha = arrays["train_batches"], arrays["gp_alpha"]
    ncritic, size = fixture.settings["ncritic"], batches.shape[-1]
    system.frames = tf.constant(frames_of(batches.reshape(-1, *batches.shape[2:])))
    starts = size * np.arange(batches.shape[0] * batches.shape[1]).reshape(batches.shape[:2])
    log = []
    for given, chosen in zip(alpha, starts, strict=True):
        factors = images(given)
        system.interpolation_factors = lambda n, factors=factors: factors
        log.append(one_step(system, chosen))
    compared = []
    for column, name in enumerate(fixture.meta["train_log_columns"]):
        # Between its updates a generator has no losses.
        every = 1 if name in ("d_loss", "gradient_penalty") else ncritic
        found = [step[name] for step in log[::every]]
        compared.append(losses(name, found, arrays["train_log"][::every, column]))
    x = images(arrays["x"])
    return [
        *compared,
        outputs("recon_after", system(x), images(arrays["recon_after"])),
        outputs("d_pred_after", system.discriminator(x)[0], arrays["d_pred_after"]),
    ]


def check_training(fixture: Fixture) -> None:
    assert_training(fixture, build, steps)
