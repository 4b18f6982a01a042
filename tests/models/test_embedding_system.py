"""Systems that score by a back end: groups, training scores, what is saved, optional back ends."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import keras_model
from backends.local_density import LocalDensity
from backends.nearest_neighbour import NearestNeighbour
from core import settings
from core.errors import BadInput
from core.run_settings import SystemSettings
from data.clips import Clip
from data.frames import Frames
from engine.training import train
from models.back_ends import BackEnds
from models.embedding_map import Projection
from models.embedding_system import EmbeddingSystem
from models.saved import SavedModel, back_end_of, usable_model

N_MELS = 8


def clip_frames(
    *machine_types: str,
    n: int = 12,
    n_target: int = 4,
    sections: Sequence[str] = ("section_00",),
    seed: int = 0,
) -> Frames:
    """Return n clips of each section of each machine type, the last ones of the target domain."""
    domains = ["source"] * (n - n_target) + ["target"] * n_target
    clips = tuple(
        Clip(Path(f"{number}.wav"), machine_type, section, "train", domain)
        for machine_type in machine_types
        for section in sections
        for number, domain in enumerate(domains)
    )
    draw, count = np.random.default_rng(seed), np.full(len(clips), 5)
    array = draw.normal(-30, 10, (count.sum(), N_MELS)).astype(np.float32)
    return Frames(array, clips, np.cumsum(count) - count, count)


def run_of(system: str, *assignments: tuple[str, Any]) -> SystemSettings:
    small = [("feature.n_mels", N_MELS), ("fit.verbose", 0)]
    return settings.read_config(None, [*small, *assignments]).for_system(system)


def build(run: SystemSettings) -> EmbeddingSystem:
    return keras_model.build_system(run, ["section_00"])


def means(frames: Frames) -> np.ndarray:
    """Return the embeddings of `raw_spec`: every clip has five frames."""
    return frames.array.astype(np.float64).reshape(len(frames.clips), 5, N_MELS).mean(axis=1)


def domains(frames: Frames) -> list[str]:
    return [clip.domain for clip in frames.clips]


def test_scores_are_those_of_the_back_end() -> None:
    training, test = clip_frames("fan"), clip_frames("fan", seed=1)
    system = build(run_of("raw_spec"))
    history = system.train(training)
    back_end = NearestNeighbour().fit(means(training), domains(training))
    np.testing.assert_allclose(system.score(test), back_end.anomaly_score(means(test)))
    np.testing.assert_allclose(system.training_scores(np.zeros(12)), back_end.training_scores())
    assert history == {"loss": [pytest.approx(back_end.training_scores().mean())]}


@pytest.mark.parametrize(
    ("pooling", "values"),
    [("mean", [2, 20]), ("max", [3, 40]), ("mean_and_deviation", [2, 20, 1, 20])],
)
def test_raw_spec_pools_over_the_frames_of_a_clip(pooling: str, values: list[float]) -> None:
    array = np.array([[9, 9], [1, 0], [3, 40]], np.float32)
    clips = tuple(Clip(Path(f"{name}.wav"), "fan", "section_00", "test") for name in "ab")
    frames = Frames(array, clips, np.array([0, 1]), np.array([1, 2]))
    run = run_of("raw_spec", ("feature.n_mels", 2), ("raw_spec.network.pooling", pooling))
    assert build(run).embeddings(frames)[1].tolist() == values


def test_each_machine_type_and_with_by_section_each_section_is_its_own_reference() -> None:
    two = ("section_00", "section_01")
    training, test = (clip_frames("fan", sections=two, seed=seed) for seed in (0, 1))
    for by_section in (False, True):
        system = build(run_of("raw_spec", ("back_end.by_section", by_section)))
        system.train(training)
        scores, expected = system.score(test), np.empty(len(test.clips))
        groups = two if by_section else ("section_0",)
        for group in groups:
            of_training, of_test = (
                np.array([clip.section.startswith(group) for clip in frames.clips])
                for frames in (training, test)
            )
            reference = means(training)[of_training]
            back_end = NearestNeighbour().fit(reference, domains(training.select(of_training)))
            expected[of_test] = back_end.anomaly_score(means(test)[of_test])
        np.testing.assert_allclose(scores, expected)


def test_a_machine_type_may_have_a_back_end_of_its_own() -> None:
    name = "raw_spec.machines.fan.back_end.name"
    run = run_of("raw_spec", (name, "local_density"))
    training, test = clip_frames("fan"), clip_frames("fan", seed=1)
    system = build(run.for_machine("fan"))
    system.train(training)
    expected = LocalDensity().fit(means(training), domains(training)).anomaly_score(means(test))
    np.testing.assert_allclose(system.score(test), expected)
    assert run.for_machine("pump").back_end.name == "nearest_neighbour"


def test_a_joint_system_has_a_back_end_for_each_machine_type() -> None:
    own = ("stgram_mfn.machines.fan.back_end.name", "local_density")
    run = run_of("stgram_mfn", ("back_end.name", "nearest_neighbour"), own)
    training, test = clip_frames("fan", "pump"), clip_frames("pump", "fan", seed=1)
    back_ends = BackEnds(run)
    back_ends.fit(means(training), training.clips)
    expected = []
    for make, machine_type in ((NearestNeighbour, "pump"), (LocalDensity, "fan")):
        of_training, of_test = (
            frames.select([clip.machine_type == machine_type for clip in frames.clips]).clips
            for frames in (training, test)
        )
        at = [clip in of_training for clip in training.clips]
        back_end = make().fit(means(training)[at], [clip.domain for clip in of_training])
        expected += back_end.anomaly_score(
            means(test)[[clip in of_test for clip in test.clips]]
        ).tolist()
    np.testing.assert_allclose(back_ends.score(means(test), test.clips), expected)
    with pytest.raises(BadInput, match="no training clips of valve for its back end"):
        back_ends.score(means(test), clip_frames("valve").clips)


def saved_model(tmp_path: Path, *assignments: tuple[str, Any]) -> tuple[SystemSettings, Frames]:
    """Train and save `raw_spec`; return its settings, and its training clips, which are files."""
    place = ("model_directory", str(tmp_path / "model"))
    run = run_of("raw_spec", place, *assignments).for_machine("fan")
    frames = clip_frames("fan")
    files = [tmp_path / clip.name for clip in frames.clips]
    for file in files:
        file.write_bytes(b"wav")
    clips = tuple(
        Clip(file, clip.machine_type, clip.section, "train", clip.domain)
        for file, clip in zip(files, frames.clips, strict=True)
    )
    frames = with_far(Frames(frames.array, clips, frames.first, frames.count), 2)
    train(run, "dev", "fan", ["fan"], frames)
    return run, frames


def test_thresholds_are_fitted_to_scores_of_clips_that_are_not_in_their_own_reference(
    tmp_path: Path,
) -> None:
    run, frames = saved_model(tmp_path)
    model, run = usable_model(run, "fan", "dev")
    system, training = keras_model.load_system(model, run, "fan")
    loo = NearestNeighbour().fit(means(frames), domains(frames)).training_scores()
    np.testing.assert_allclose(training.scores, loo)
    assert model.read_arrays()["train_scores"].tolist() == training.scores.tolist()
    assert model.thresholds(run, "fan")["section_00"]["threshold"] > np.median(loo) > 0
    assert system.score(frames).max() < 1e-6  # they are, where nobody knows them


@pytest.mark.parametrize(
    "name",
    [
        *("nearest_neighbour", "k_means", "local_density", "mahalanobis", "gaussian_mixture"),
        *("local_outlier_factor", "minimum"),
    ],
)
def test_a_loaded_system_scores_bit_for_bit_as_before(tmp_path: Path, name: str) -> None:
    system = build(run_of("raw_spec", ("back_end.name", name), ("back_end.clusters", 3)))
    frames, test = clip_frames("fan"), clip_frames("fan", seed=1)
    system.train(frames)
    stem = tmp_path / "model_fan"
    for number in range(len(frames.clips)):
        (tmp_path / f"{number}.wav").write_bytes(b"")
    clips = [
        Clip(tmp_path / clip.name, clip.machine_type, clip.section, "train", clip.domain)
        for clip in frames.clips
    ]
    scores = system.training_scores(system.score(frames))
    keras_model.save_system(stem, system, system.settings, clips, scores, {})
    loaded, training = keras_model.load_system(SavedModel(stem), system.settings)
    assert np.array_equal(loaded.score(test), system.score(test))
    assert np.array_equal(training.scores, scores)


def test_another_back_end_scores_a_trained_model_and_fits_its_thresholds_again(
    tmp_path: Path,
) -> None:
    run, frames = saved_model(tmp_path)
    other = run.with_values({"back_end.name": "local_density"})
    model, other = usable_model(other, "fan", "dev")
    assert model.thresholds(run, "fan") is not None
    assert model.thresholds(other, "fan") is None
    _, training = keras_model.load_system(model, other, "fan")
    loo = LocalDensity().fit(means(frames), domains(frames)).training_scores()
    np.testing.assert_allclose(training.scores, loo)


def test_damaged_embeddings_are_called_so(tmp_path: Path) -> None:
    run, _ = saved_model(tmp_path)
    model = SavedModel(tmp_path / "model" / "model_fan")
    arrays = dict(model.read_arrays())
    for name, value in (
        ("back_end_embeddings", arrays["back_end_embeddings"][:-1]),
        ("back_end_embeddings", np.full_like(arrays["back_end_embeddings"], np.nan)),
        ("back_end_domains", arrays["back_end_domains"][:3]),
    ):
        np.savez(model.files[1], **{**arrays, name: value})
        with pytest.raises(BadInput, match="the model's files are damaged"):
            keras_model.load_system(model, run, "fan")


def test_too_few_clips_are_named_before_training() -> None:
    kind = keras_model.system_class("raw_spec")
    few = clip_frames("fan", n=10, n_target=1)
    with pytest.raises(BadInput, match="raw_spec fan: back_end: smote_neighbours is 2, and there"):
        kind.check(run_of("raw_spec"), "fan", clip_frames("fan", n=20, n_target=2))
    kind.check(run_of("raw_spec"), "fan", few)  # enough target clips: none is made
    with pytest.raises(BadInput, match="raw_spec fan: back_end: clusters is 16, and there are 9"):
        kind.check(run_of("raw_spec", ("back_end.name", "k_means")), "fan", few)
    with pytest.raises(BadInput, match=r"back_end\.name is none, and this system"):
        kind.check(run_of("raw_spec", ("back_end.name", "none")), "fan", few)


def test_without_domains_it_is_said_once_that_all_count_as_source(
    caplog: pytest.LogCaptureFixture,
) -> None:
    frames = clip_frames("fan")
    bare = [Clip(clip.path, clip.machine_type, clip.section, "train") for clip in frames.clips]
    frames = Frames(frames.array, tuple(bare), frames.first, frames.count)
    with caplog.at_level(logging.INFO, "baseline"):
        keras_model.system_class("raw_spec").check(run_of("raw_spec"), "fan", frames)
        assert caplog.text.count("all count as source clips") == 1
        caplog.clear()
        density = run_of("raw_spec", ("back_end.name", "local_density"))
        keras_model.system_class("raw_spec").check(density, "fan", frames)
        assert not caplog.text


OPTIONAL = {
    "mobilenet_v2": [
        ("mobilenet_v2.network.alpha", 0.1),
        ("feature.n_mels", 32),
        ("feature.n_frames", 32),
    ],
    "aegan_ad": [
        *(("feature.n_mels", 8), ("feature.n_frames", 8)),
        *((f"aegan_ad.network.{name}", 2) for name in ("ndf", "ngf", "nz")),
    ],
    "stgram_mfn": [
        *(("stgram_mfn.network.seconds", 0.2), ("feature.n_mels", 32)),
        ("stgram_mfn.network.bottlenecks", [[2, 8, 1, 2], [2, 8, 1, 2], [2, 8, 1, 2]]),
    ],
}


def optional(name: str, *assignments: tuple[str, Any], seed: int = 0) -> tuple[Any, Frames]:
    """Return a small system with scores of its own, and clips that it can score."""
    run = run_of(name, *OPTIONAL[name], *assignments)
    n_frames = 4000 if name == "stgram_mfn" else 40
    width = 1 if name == "stgram_mfn" else run.feature.n_mels
    sections = ("section_00", "section_01")
    clips = clip_frames("fan", n=6, n_target=3, sections=sections).clips
    count = np.full(len(clips), n_frames)
    draw = np.random.default_rng(seed)
    array = draw.normal(0, 0.1, (count.sum(), width)).astype(np.float32)
    frames = Frames(array, clips, np.cumsum(count) - count, count)
    names = [run.class_name(clip) for clip in clips]
    return keras_model.build_system(run, names), frames


@pytest.mark.parametrize("name", OPTIONAL)
@pytest.mark.slow
def test_a_system_with_scores_of_its_own_takes_a_back_end_of_its_embeddings(name: str) -> None:
    plain, frames = optional(name)
    system, _ = optional(name, ("back_end.name", "local_density"))
    _, test = optional(name, seed=1)
    for each in (plain, system):
        each.fit_statistics(frames)
    assert "back_end_embeddings" not in plain.get_extra_state()
    back_end = LocalDensity().fit(system.embeddings(frames), domains(frames))
    expected = back_end.anomaly_score(np.array(system.embeddings(test)))
    np.testing.assert_allclose(system.score(test), expected, rtol=1e-6)
    np.testing.assert_allclose(system.training_scores(None), back_end.training_scores(), rtol=1e-6)
    assert np.array_equal(system.own_score(test), plain.score(test))
    again, _ = optional(name, ("back_end.name", "local_density"))
    again.set_extra_state(system.get_extra_state())
    assert np.array_equal(again.score(test), system.score(test))
    expected = Projection(system.embeddings(frames)).coordinates(system.embeddings(test))
    np.testing.assert_allclose(again.embedding_map(test).test, expected, rtol=1e-4, atol=1e-6)
    assert plain.embedding_map(test) is None
    without, _ = optional(name)
    without.set_extra_state(system.get_extra_state())
    assert without.embedding_map(test) is None
    of_training = without.training_scores(system.training_scores(None))
    assert np.array_equal(of_training, plain.training_scores(plain.score(frames)))


def test_a_model_without_embeddings_takes_no_back_end(tmp_path: Path) -> None:
    run = run_of("ae", ("model_directory", str(tmp_path / "model")))
    assert back_end_of(run.with_values({"back_end.name": "k_means"})) is None
    saved_model(tmp_path)
    model = SavedModel(tmp_path / "model" / "model_fan")
    arrays = dict(model.read_arrays())
    del arrays["back_end_embeddings"]
    np.savez(model.files[1], **arrays)
    run, place = run_of("raw_spec"), {"model_directory": str(tmp_path / "model")}
    with pytest.raises(
        BadInput, match=r"has no embeddings of training clips for back_end\.name: ne"
    ):
        usable_model(run.with_values(place), "fan", "dev")


def test_the_saved_description_names_the_back_end(tmp_path: Path) -> None:
    saved_model(tmp_path)
    about = json.loads((tmp_path / "model" / "model_fan.json").read_text())
    assert about["thresholds"]["back_ends"]["fan"]["name"] == "nearest_neighbour"
    assert "back_end" not in about["settings"]  # another one needs no training


TWO = ("feature.channel", "near_minus_far")


def with_far(frames: Frames, seed: int) -> Frames:
    """Return frames with those of a second microphone, which are others."""
    draw = np.random.default_rng(seed)
    far = replace(frames, array=draw.normal(-30, 10, frames.array.shape).astype(np.float32))
    return replace(frames, far=far)


@pytest.mark.parametrize("weight", [0.0, 0.5, 1.0])
def test_the_weighted_embedding_of_the_far_channel_is_subtracted(weight: float) -> None:
    training = with_far(clip_frames("fan"), 2)
    test = with_far(clip_frames("fan", seed=1), 3)
    system = build(run_of("raw_spec", TWO, ("back_end.far_weight", weight)))
    system.train(training)
    subtracted, of_test = (means(each) - weight * means(each.far) for each in (training, test))
    back_end = NearestNeighbour().fit(subtracted, domains(training))
    np.testing.assert_allclose(system.score(test), back_end.anomaly_score(of_test))
    np.testing.assert_allclose(system.training_scores(np.zeros(12)), back_end.training_scores())
    project = Projection(subtracted).coordinates
    mapped = system.embedding_map(test)
    np.testing.assert_allclose(mapped.test, project(of_test))
    np.testing.assert_allclose(mapped.training, project(subtracted))


def test_another_weight_of_the_far_channel_needs_no_training(tmp_path: Path) -> None:
    run, frames = saved_model(tmp_path, TWO)
    other = run.with_values({"back_end.far_weight": 0.25})
    model, other = usable_model(other, "fan", "dev")
    assert model.thresholds(run, "fan") is not None
    assert model.thresholds(other, "fan") is None
    _, training = keras_model.load_system(model, other, "fan")
    subtracted = means(frames) - 0.25 * means(frames.far)
    loo = NearestNeighbour().fit(subtracted, domains(frames)).training_scores()
    np.testing.assert_allclose(training.scores, loo)
    with pytest.raises(BadInput, match=r"feature\.channel: near_minus_far then, first now"):
        usable_model(run.with_values({"feature.channel": "first"}), "fan", "dev")


def test_a_model_of_before_the_map_has_its_sections_for_classes(tmp_path: Path) -> None:
    run, frames = saved_model(tmp_path)
    model = SavedModel(tmp_path / "model" / "model_fan")
    arrays = dict(model.read_arrays())
    del arrays["back_end_classes"]
    np.savez(model.files[1], **arrays)
    system, _ = keras_model.load_system(model, run, "fan")
    assert set(system.embedding_map(frames).classes) == {"section_00"}
