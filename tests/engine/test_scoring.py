"""Scores kept from an earlier run: taken only where nothing has changed."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

import keras_model
from core.errors import BadInput
from data.dataset import read_clips
from engine import scoring
from models import saved
from tests.models.test_base import small


@pytest.fixture
def run(demo: Path, tmp_path: Path):
    """Scores the demo's valve clips with a little network; counts how often it really does."""
    param = small(
        ("feature.n_mels", 16),
        ("fit.epochs", 1),
        ("dev_directory", str(demo / "dev_data")),
        ("model_directory", str(tmp_path / "model")),
        ("cache_directory", str(tmp_path / "cache")),
    )
    frames, _ = read_clips(param, "dev", "valve", ("test",), jobs=1)
    system = keras_model.build_system(param, ["section_00", "section_01", "section_02"])
    stem = saved.model_stem(param, "valve", "dev")
    keras_model.save_system(stem, system, param, frames.clips, np.arange(len(frames.clips)), {})
    loaded = []

    def score(force: bool = False, **changes) -> scoring.Scores:
        own = param.with_values(changes)
        return scoring.score(saved.SavedModel(stem), own, "valve", frames, force)

    with pytest.MonkeyPatch.context() as patch:
        load = keras_model.load_system
        patch.setattr(keras_model, "load_system", lambda *given: loaded.append(1) or load(*given))
        yield score, loaded, stem, tmp_path / "cache"


@pytest.mark.slow
def test_the_same_scores_come_from_the_cache_until_something_changes(run) -> None:
    score, loaded, stem, _ = run
    first, second = score(), score(decision_threshold=0.5, result_directory="elsewhere")
    assert len(loaded) == 1
    np.testing.assert_array_equal(first.scores, second.scores)
    np.testing.assert_array_equal(first.training.scores, second.training.scores)
    assert first.training.sections == second.training.sections
    score(force=True)
    assert len(loaded) == 2
    later = stem.with_name(stem.name + ".npz").stat().st_mtime_ns + 10**9
    os.utime(stem.with_name(stem.name + ".npz"), ns=(later, later))
    score()
    assert len(loaded) == 3


@pytest.mark.slow
def test_broken_kept_scores_are_made_anew(run) -> None:
    score, loaded, _, cache = run
    first = score()
    (place,) = cache.glob("scores_*.npz")
    place.write_bytes(place.read_bytes()[:100])
    np.testing.assert_array_equal(score().scores, first.scores)
    np.savez(place, scores=np.zeros(2), training_scores=np.zeros(1), training_sections=["a"])
    np.testing.assert_array_equal(score().scores, first.scores)
    assert len(loaded) == 3


def test_scores_that_are_not_finite_are_told_and_not_kept(run, monkeypatch) -> None:
    score, _, _, cache = run
    from models.dense_ae import DenseAE

    monkeypatch.setattr(DenseAE, "score", lambda self, frames: np.full(len(frames.clips), np.nan))
    with pytest.raises(BadInput, match=r"not finite, first section_00"):
        score()
    assert not list(cache.glob("scores_*"))


@pytest.mark.slow
def test_slices_are_scored_and_kept_one_by_one(run, monkeypatch) -> None:
    from models.dense_ae import DenseAE

    score, loaded, _, cache = run
    whole = score().scores
    monkeypatch.setattr(scoring, "CLIPS_PER_SLICE", 5)
    sizes, made = [], DenseAE.score

    def counted(self, frames):
        if len(sizes) == 2:
            sizes.append(0)
            raise KeyboardInterrupt
        sizes.append(len(frames.clips))
        assert len(frames.array) == frames.count.sum()
        return made(self, frames)

    monkeypatch.setattr(DenseAE, "score", counted)
    with pytest.raises(KeyboardInterrupt):
        score()
    # float32 sums in batches of another size
    np.testing.assert_allclose(score().scores, whole, rtol=1e-6)
    n_clips = len(whole)
    assert sizes == [5, 5, 0, *[5] * (n_clips // 5 - 2), *([n_clips % 5] if n_clips % 5 else [])]
    assert len(list(cache.glob("scores_*"))) == 1 + -(-n_clips // 5)
    score()
    assert len(loaded) == 3
