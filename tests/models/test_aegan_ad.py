"""AEGAN-AD beyond parity: from clips to scores, what it saves, and what it refuses."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

import keras_model
from core import settings
from core.errors import BadInput
from core.log import logger
from core.system_settings import AEGAN_AD_SCORES
from data import frame_cache
from data.clips import Clip
from data.frames import Frames
from engine.checks import check_trainable
from models import saved as model_files
from models.aegan_ad import AEGANAD
from models.aegan_ad_networks import ImageBatchNorm, WholeNorm
from models.embedding_detectors import EmbeddingDetectors, covariance
from models.saved import SavedModel
from tests import processes

SIZE = 8
TINY = (
    ("feature.n_frames", SIZE),
    ("feature.n_mels", SIZE),
    ("feature.n_hop_frames", 4),
    ("fit.batch_size", 8),
    ("fit.epochs", 1),
    ("fit.verbose", 0),
    ("aegan_ad.network.ndf", 4),
    ("aegan_ad.network.ngf", 4),
    ("aegan_ad.network.nz", 3),
)


def param_of(*assignments: tuple) -> dict:
    held = settings.read_config(None, [*TINY, *assignments])
    return held.for_system("aegan_ad")


def noise(n_clips: int = 8, n_frames: int = 20, seed: int = 0) -> Frames:
    """Clips of noise around -50 dB, the frames of each in one array."""
    levels = np.random.default_rng(seed).normal(-50, 10, (n_clips * n_frames, SIZE))
    clips = tuple(
        Clip(Path(f"section_0{index % 2}_{index:04d}.wav"), "fan", f"section_0{index % 2}", "train")
        for index in range(n_clips)
    )
    first = n_frames * np.arange(n_clips)
    return Frames(levels.astype(np.float32), clips, first, np.full(n_clips, n_frames))


def train(frames: Frames, *assignments: tuple) -> AEGANAD:
    system = keras_model.build_system(param_of(*assignments), [c.section for c in frames.clips])
    system.train(frames)
    return system


@pytest.fixture(scope="module")
def shared() -> AEGANAD:
    """A system trained on noise()."""
    return train(noise())


@pytest.fixture
def system(shared) -> AEGANAD:
    """The same, without the outputs for earlier clips."""
    shared.last_outputs = None
    return shared


@pytest.mark.slow
def test_training_and_scores_are_finite_and_repeat(system) -> None:
    frames = noise()
    again = keras_model.build_system(param_of(), ["section_00", "section_01"])
    history = again.train(frames)
    assert set(history) == set(AEGANAD.loss_names)
    assert all(np.isfinite(values).all() for values in history.values())
    found = system.extra_scores(noise(seed=1))
    assert tuple(sorted(found)) == tuple(sorted(AEGAN_AD_SCORES))
    again = again.extra_scores(noise(seed=1))
    other = train(frames, ("seed", 1)).extra_scores(noise(seed=1))
    for name in AEGAN_AD_SCORES:
        assert found[name].shape == (8,)
        assert np.isfinite(found[name]).all()
        assert np.array_equal(found[name], again[name]), name
        assert not np.array_equal(found[name], other[name]), name


@pytest.mark.slow
def test_saved_and_loaded_gives_the_same_scores_also_of_another_score(
    system, tmp_path, monkeypatch
) -> None:
    # These clips have no files.
    monkeypatch.setattr(
        model_files, "fingerprint", lambda clips: {"count": len(clips), "digest": ""}
    )
    frames, test = noise(), noise(seed=1)
    param = param_of()
    keras_model.save_system(
        tmp_path / "model_fan", system, param, frames.clips, system.score(frames), {}
    )
    loaded, training = keras_model.load_system(SavedModel(tmp_path / "model_fan"), param)
    assert np.array_equal(training.scores, system.score(frames))
    for name, scores in system.extra_scores(test).items():
        assert np.array_equal(loaded.extra_scores(test)[name], scores), name
    own = param_of(("aegan_ad.score", "D_knn"))
    knn, training = keras_model.load_system(SavedModel(tmp_path / "model_fan"), own)
    assert np.array_equal(training.scores, system.extra_scores(frames)["D_knn"])
    assert np.array_equal(knn.score(test), system.extra_scores(test)["D_knn"])
    with np.load(tmp_path / "model_fan.npz", allow_pickle=False) as held:
        assert held["embeddings"].shape == (8, 4)
        assert held["level_range"].tolist() == [frames.array.min(), frames.array.max()]


def test_batches_of_windows_across_clips_equal_clip_by_clip(system, monkeypatch) -> None:
    frames = noise(n_clips=6)
    whole = system.extra_scores(frames)
    monkeypatch.setattr(AEGANAD, "values_per_scoring_batch", 7 * SIZE * SIZE)
    system.last_outputs = None
    batched = system.extra_scores(frames)
    for name in AEGAN_AD_SCORES:
        # The nearest of equal embeddings are at nought but rounding.
        assert np.allclose(batched[name], whole[name], rtol=1e-4, atol=1e-6), name
    of_one = system.window_outputs(
        system.gather_windows(system.to_device(frames), tf.range(20, 33))
    )
    distances = of_one[0].numpy()
    assert whole["G_x_2_sum"][1] == pytest.approx(distances[:, 0].sum(), rel=1e-5)
    assert whole["G_z_1_max"][1] == pytest.approx(distances[:, 3].max(), rel=1e-5)
    assert whole["G_z_cos_min"][1] == pytest.approx(distances[:, 4].min(), rel=1e-4, abs=1e-6)


def test_one_pass_through_each_network_serves_all_scores(system, monkeypatch) -> None:
    frames = noise()
    calls = {"encoder": 0, "decoder": 0, "discriminator": 0}
    for name in calls:
        network = getattr(system, name)

        def counted(*args, name=name, call=network.call, **kwargs):
            calls[name] += 1
            return call(*args, **kwargs)

        monkeypatch.setattr(network, "call", counted)
    system.score(frames)
    system.extra_scores(frames)
    # Traced once; the encoder sees windows and reconstructions.
    assert calls == {"encoder": 2, "decoder": 1, "discriminator": 1}


# What the release's own datasets gave, in training and in testing: frames of a clip and of a
# window, hop → windows. They start at the clip's first frames.
RELEASED_WINDOWS = {
    (128, 128, 1): 1,
    (129, 128, 2): 1,
    (157, 128, 1): 30,
    (157, 128, 4): 7,
    (188, 128, 8): 7,
    (313, 128, 1): 186,
    (313, 128, 2): 93,
    (313, 128, 4): 46,
    (313, 128, 8): 23,
    (313, 128, 50): 3,
    (9, 8, 2): 1,
    (15, 8, 4): 2,
    (23, 8, 4): 4,
    (23, 8, 8): 2,
    (129, 8, 50): 2,
}


def test_a_released_hop_gives_the_windows_of_the_release(system, monkeypatch) -> None:
    for (n_frames, size, hop), expected in RELEASED_WINDOWS.items():
        run = param_of(("feature.n_hop_frames", hop), ("aegan_ad.feature.released_hop", True))
        monkeypatch.setattr(system, "settings", run)
        monkeypatch.setattr(system, "n_frames", size)
        frames = noise(n_clips=2, n_frames=n_frames)
        for asked in (1, hop):  # in scoring, in training
            starts, owner = system.windows(frames, asked)
            first = np.arange(expected)
            assert starts.tolist() == [*first, *(n_frames + first)], (n_frames, size, hop)
            assert owner.tolist() == [0] * expected + [1] * expected


@pytest.mark.parametrize(("released", "expected"), [(False, range(13)), (True, range(3))])
def test_a_released_hop_counts_in_scoring_too(system, monkeypatch, released, expected) -> None:
    frames, taken = noise(n_clips=6), []
    batches = system.window_batches

    def record(frames, starts, *rest):
        taken.extend(starts.tolist())
        return batches(frames, starts, *rest)

    monkeypatch.setattr(system, "window_batches", record)
    monkeypatch.setattr(system, "settings", param_of(("aegan_ad.feature.released_hop", released)))
    system.extra_scores(frames)
    assert taken == [20 * clip + start for clip in range(6) for start in expected]


def test_generator_and_critic_have_learning_rates_of_their_own() -> None:
    run = param_of(("fit.lr", 0.003), ("aegan_ad.fit.lr_discriminator", 0.0007))
    system = keras_model.build_system(run, ["section_00"])
    rates = [float(adam.learning_rate) for adam in (system.optimizer, system.critic_optimizer)]
    assert rates == pytest.approx([0.003, 0.0007])


@pytest.mark.slow
def test_the_last_partial_batch_is_dropped() -> None:
    frames = noise()  # 8 clips of 4 windows each at hop 4
    system = train(frames, ("fit.batch_size", 12))
    assert int(system.optimizer.iterations) == 32 // 12
    assert int(system.critic_optimizer.iterations) == 32 // 12
    fewer = train(frames, ("fit.batch_size", 10**6))  # one batch of all windows
    assert int(fewer.optimizer.iterations) == 1


@pytest.mark.slow
def test_ncritic_counts_anew_every_epoch() -> None:
    system = train(noise(), ("aegan_ad.fit.ncritic", 3), ("fit.epochs", 2))
    assert int(system.critic_optimizer.iterations) == 2 * 4
    assert int(system.optimizer.iterations) == 2 * 2  # batches 0 and 3 of each epoch


@pytest.mark.slow
def test_held_out_windows_and_divergence() -> None:
    system = keras_model.build_system(param_of(("fit.validation_split", 0.25)), ["section_00"])
    assert np.isfinite(system.train(noise())["val_recon_mse"]).all()
    system.decoder.layers[-2].kernel.assign_add(
        np.full(system.decoder.layers[-2].kernel.shape, np.inf)
    )
    with pytest.raises(
        BadInput, match=r"diverged, .*recon_mse is nan.* in epoch 1; .*lower fit\.lr"
    ):
        system.train(noise())


def test_interpolation_factors_are_uniform_and_new_each_time() -> None:
    system = keras_model.build_system(param_of(), ["section_00"])
    drawn = [np.ravel(system.interpolation_factors(2000)) for _ in range(2)]
    assert not np.array_equal(*drawn)
    assert drawn[0].min() >= 0 and drawn[0].max() <= 1
    assert abs(drawn[0].mean() - 0.5) < 0.03


def test_weights_start_as_released() -> None:
    system = keras_model.build_system(param_of(("aegan_ad.network.ndf", 32)), ["section_00"])
    kernel = system.encoder.layers[-1].kernel.numpy()
    assert abs(kernel.mean()) < 1e-3
    assert kernel.std() == pytest.approx(0.02, rel=0.1)
    gains = [layer.gamma for layer in system.encoder.layers if isinstance(layer, WholeNorm)]
    assert all((gain.numpy() == 1).all() for gain in gains)


def test_batch_norm_of_the_critic_has_an_exact_second_derivative() -> None:
    """Keras's own moments stop the gradient at the mean, and a gradient penalty then errs."""
    x = tf.constant(np.random.default_rng(0).normal(size=(3, 2, 2, 2)))
    layer = ImageBatchNorm(0.9, 1e-5, dtype="float64")
    layer(x)
    weight = tf.constant(np.random.default_rng(1).normal(size=x.shape))

    def slope(at: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            tape.watch(at)
            value = tf.reduce_sum(weight * tf.sin(layer(at, training=True)))
        return tf.reduce_sum(tf.square(tape.gradient(value, at)))

    with tf.GradientTape() as tape:
        tape.watch(x)
        value = slope(x)
    step = 1e-5 * np.eye(1, 24, 5).reshape(x.shape)
    numeric = (slope(x + step) - slope(x - step)) / 2e-5
    assert tape.gradient(value, x).numpy().ravel()[5] == pytest.approx(float(numeric), rel=1e-5)


def test_levels_are_scaled_by_the_training_set_and_back(system) -> None:
    frames = noise()
    image = system.image(tf.constant(frames.array[None, :SIZE]))
    low, high = frames.array.min(), frames.array.max()
    expected = 2 * (frames.array[:SIZE].T - low) / (high - low) - 1
    assert np.allclose(image[0, ..., 0], expected, atol=1e-5)
    rebuilt = system.reconstruct(tf.constant(frames.array[None, :SIZE]))
    scaled = system(image)[0, ..., 0].numpy().T
    assert np.allclose(rebuilt[0], (scaled + 1) / 2 * (high - low) + low, atol=1e-3)


@pytest.mark.slow
def test_constant_clips_have_defined_scores(system) -> None:
    frames = noise()
    silent = Frames(np.full_like(frames.array, -100.0), frames.clips, frames.first, frames.count)
    for one in (system, train(silent)):
        for name, scores in one.extra_scores(silent).items():
            assert np.isfinite(scores).all(), name


def test_a_singular_covariance_is_shrunk_and_said(caplog, monkeypatch) -> None:
    monkeypatch.setattr(logger, "propagate", True)
    embeddings = np.random.default_rng(0).normal(size=(6, 20)).astype(np.float32)
    with caplog.at_level(logging.WARNING):
        found = covariance(embeddings)
        detectors = EmbeddingDetectors(embeddings)
    assert "singular (rank 5 of 20)" in caplog.text
    assert np.linalg.eigvalsh(found).min() > 0
    assert np.isfinite(detectors.scores(embeddings + 1)["D_maha"]).all()
    assert np.array_equal(covariance(np.ones((6, 3), np.float32)), np.eye(3))
    plenty = np.random.default_rng(0).normal(size=(60, 20)).astype(np.float32)
    assert np.allclose(covariance(plenty), np.cov(plenty, rowvar=False))


def test_too_few_clips_are_refused() -> None:
    with pytest.raises(BadInput, match=r"fan: 4 training clips; .*D_lof.* needs 5"):
        check_trainable(param_of(), "fan", noise(n_clips=4))
    check_trainable(param_of(), "fan", noise(n_clips=5))


def test_a_clip_shorter_than_a_window_is_named(tmp_path) -> None:
    import soundfile

    path = tmp_path / "section_00_source_train_normal_0000_x.wav"
    soundfile.write(path, np.zeros(16000), 16000)
    held = settings.read_config(None, [("cache_directory", str(tmp_path / "cache"))])
    param = held.for_system("aegan_ad")
    clip = Clip(path, "fan", "section_00", "train")
    _, bad = frame_cache.load_frames([clip], param, jobs=1)
    assert bad[0][0] == path
    assert "too short: 32 frames, and one window takes 128" in bad[0][1]


@pytest.mark.parametrize(
    ("n_frames", "n_mels"), [(16, 8), (4, 4), (12, 12)], ids=["oblong", "small", "no power of 2"]
)
def test_a_window_that_is_no_square_of_a_power_of_two_is_refused(n_frames, n_mels) -> None:
    param = param_of(("feature.n_frames", n_frames), ("feature.n_mels", n_mels))
    with pytest.raises(BadInput, match="a power of 2"):
        keras_model.build_system(param, ["section_00"])


def test_an_unknown_score_is_an_error_that_names_the_scores() -> None:
    with pytest.raises(BadInput, match=r"aegan_ad.score is 'G_y'; expected one of D_maha, .*"):
        param_of(("aegan_ad.score", "G_y"))


RELEASED = {
    ("dcase2022", "fan"): {"train_on": "both", "encoder_first_norm": False, "feat_match_eff": 0.1},
    ("dcase2022", "bearing"): {"train_on": "both", "encoder_first_norm": False},
    ("dcase2022", "ToyCar"): {"beta_1": 0, "encoder_first_norm": False, "train_on": "same"},
    ("dcase2022", "gearbox"): {"generator_norm": "bn", "match_sigma": 1, "epochs": 60},
    ("dcase2022", "slider"): {"generator_norm": "ln", "match_sigma": 0, "beta_1": 0.5},
    ("dcase2020", "fan"): {"train_on": "same", "encoder_first_norm": True, "feat_match_eff": 1},
    ("dcase2020", "ToyCar"): {"match_sigma": 1, "train_on": "both", "beta_1": 0.5, "epochs": 50},
    ("dcase2020", "pump"): {"match_sigma": 1, "generator_norm": "ln"},
    ("dcase2020", "slider"): {"generator_norm": "bn", "match_sigma": 0},
    ("dcase2020", "valve"): {"generator_norm": "bn", "feat_match_eff": 0.05},
    ("dcase2020", "ToyConveyor"): {"feat_match_eff": 0.05, "generator_norm": "ln"},
}


@pytest.mark.parametrize(("release", "machine_type"), RELEASED)
def test_the_settings_of_the_releases(release, machine_type) -> None:
    held = settings.read_config(None, [("aegan_ad.release", release)])
    param = held.for_system("aegan_ad").for_machine(machine_type)
    together = {**dict(param.fit), **dict(param.network)}
    expected = RELEASED[release, machine_type]
    assert {key: together[key] for key in expected} == expected
    common = {"lr": 2e-4, "batch_size": 512, "lambda_gp": 10, "ncritic": 1, "epsilon": 1e-8}
    common["lr_discriminator"] = 2e-4
    assert {key: together[key] for key in common} == common


def test_what_comes_over_what_for_a_machine_type() -> None:
    def resolved(machine_type: str, *assignments: tuple) -> dict:
        held = settings.read_config(None, list(assignments))
        return held.for_system("aegan_ad").for_machine(machine_type)

    assert resolved("gearbox").fit.match_sigma == 1
    by_set = ("aegan_ad.fit.match_sigma", 0.5)
    assert resolved("gearbox", by_set).fit.match_sigma == 0.5
    for_one = ("aegan_ad.machines.gearbox.score", "D_knn")
    of_all = ("aegan_ad.score", "D_lof")
    assert resolved("gearbox", for_one, of_all).score == "D_knn"
    assert resolved("fan", for_one, of_all).score == "D_lof"
    assert resolved("gearbox", ("fit.epochs", 3)).fit.epochs == 3
    assert resolved("gearbox", ("model_directory", "m/{system}")).model_directory == Path(
        "m/aegan_ad"
    )
    with pytest.raises(BadInput, match=r"aegan_ad.machines.fan.scores; did you mean score"):
        resolved("fan", ("aegan_ad.machines.fan.scores", "D_lof"))


def test_importing_settings_does_not_load_keras() -> None:
    code = "import sys, core.settings; sys.exit('keras' in sys.modules or 'sklearn' in sys.modules)"
    assert processes.run([sys.executable, "-c", code], cwd=settings.HOME).returncode == 0


@pytest.mark.slow
def test_the_scripts_from_clips_to_all_scores(tmp_path, monkeypatch) -> None:
    import csv
    import runpy
    import sys

    from tools import demo_data

    demo_data.make_dataset(tmp_path, 2022, ["fan"], clips=2, test_clips=8, seconds=1.0)
    given = {f"{name}_directory": tmp_path / name for name in ("model", "result", "cache")}
    given.update({f"{name}_directory": tmp_path / f"{name}_data" for name in ("dev", "eval")})
    given.update(TINY)
    words = ["-d", "--system", "aegan_ad", "--jobs", "1", "--set"]
    words += [f"{key}={value}" for key, value in given.items()]
    for script in ("00_train.py", "01_test.py"):
        monkeypatch.setattr(sys, "argv", [script, *words])
        with pytest.raises(SystemExit) as exit_:
            runpy.run_path(str(settings.HOME / script), run_name="__main__")
        assert exit_.value.code == 0
    with np.load(tmp_path / "model" / "model_fan.npz") as held:
        assert len(held["embeddings"]) == 12  # of fan, 2 clips of 3 sections of dev and of eval
    with (tmp_path / "result" / "all_scores.csv").open(newline="") as stream:
        header, *rows = csv.reader(stream)
    assert header[3:] == [name for name in header[3:] if name in AEGAN_AD_SCORES]
    assert (len(header), len(rows)) == (3 + 19, 24)
    chosen = header.index("D_maha")
    with (tmp_path / "result" / "anomaly_score_fan_section_01_test.csv").open() as stream:
        official = dict(csv.reader(stream))
    assert official == {row[2]: row[chosen] for row in rows if row[1] == "section_01"}
    with (tmp_path / "result" / "all_scores_hmean.csv").open(newline="") as stream:
        assert len(list(csv.reader(stream))) == 1 + 19


def test_the_generator_moves_without_the_critic(system) -> None:
    """Each optimiser moves its own networks alone."""
    windows = system.gather_windows(system.to_device(noise()), tf.range(4))
    critic, generator = system.discriminator.trainable_variables, system.generator_variables()
    before = [[v.numpy() for v in held] for held in (critic, generator)]
    system.generator_step(system.image(windows))
    for values, held, moves in zip(before, (critic, generator), (False, True), strict=True):
        for value, variable in zip(values, held, strict=True):
            assert np.array_equal(value, variable.numpy()) != moves, variable.path
