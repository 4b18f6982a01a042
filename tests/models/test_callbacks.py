"""What is kept of an interrupted training: whose it is, and that it is whole."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import keras_model
from core.errors import BadInput
from models.callbacks import Resume
from tests.models.test_base import frames_of, small


def kept(tmp_path: Path, epochs: int = 2) -> Resume:
    resume = Resume(tmp_path / "state.npz", "these clips")
    keras_model.get_model(small(("fit.epochs", epochs)), ["section_00"]).train(
        frames_of(200), resume=resume
    )
    return resume


@pytest.mark.slow
def test_a_training_that_is_done_is_not_done_again(tmp_path: Path) -> None:
    first = kept(tmp_path)
    system = keras_model.get_model(small(), ["section_00"])
    again = Resume(first.place, first.identity)
    assert system.train(frames_of(200), resume=again) == first.history
    assert len(first.history["loss"]) == 2


@pytest.mark.slow
def test_the_state_of_another_training_is_left_alone(tmp_path: Path) -> None:
    first = kept(tmp_path)
    system = keras_model.get_model(small(), ["section_00"])
    before = system.get_weights()
    assert Resume(first.place, "other clips").restore(system) == 0
    wider = keras_model.get_model(small(("ae.network.units", [20])), ["section_00"])
    assert first.restore(wider) == 0
    for found, value in zip(system.get_weights(), before, strict=True):
        np.testing.assert_array_equal(found, value)


@pytest.mark.parametrize("damage", [b"", b"PK\x03\x04 not an archive", None])
@pytest.mark.slow
def test_damaged_state_is_not_believed(tmp_path: Path, damage: bytes | None) -> None:
    resume = kept(tmp_path)
    whole = resume.place.read_bytes()
    resume.place.write_bytes(whole[: len(whole) // 2] if damage is None else damage)
    assert resume.restore(keras_model.get_model(small(), ["section_00"])) == 0


def test_pickled_state_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "state.npz", about=np.array([{"a": 1}], dtype=object))
    resume = Resume(tmp_path / "state.npz", "these clips")
    assert resume.restore(keras_model.get_model(small(), ["section_00"])) == 0


def test_a_loss_that_is_not_finite_stops_and_names_epoch_and_cause(tmp_path: Path) -> None:
    frames = frames_of(200)
    frames.array[3, 2] = np.inf
    resume = Resume(tmp_path / "state.npz", "these clips")
    system = keras_model.get_model(small(), ["section_00"])
    with pytest.raises(BadInput, match=r"diverged, loss is nan.* in epoch 1; .*lower fit\.lr"):
        system.train(frames, "ae fan", resume)
    assert not resume.place.exists()
