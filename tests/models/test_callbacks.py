"""What is kept of an interrupted training: whose it is, and that it is whole."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest

import keras_model
from core import log
from core.errors import BadInput
from models.callbacks import Resume
from tests.models.test_base import frames_of, small


def kept(tmp_path: Path, epochs: int = 2) -> Resume:
    resume = Resume(tmp_path / "state.npz", "these clips")
    keras_model.build_system(small(("fit.epochs", epochs)), ["section_00"]).train(
        frames_of(200), resume=resume
    )
    return resume


@pytest.mark.slow
def test_a_training_that_is_done_is_not_done_again(tmp_path: Path) -> None:
    first = kept(tmp_path)
    system = keras_model.build_system(small(), ["section_00"])
    again = Resume(first.place, first.identity)
    assert system.train(frames_of(200), resume=again) == first.history
    assert len(first.history["loss"]) == 2


@pytest.mark.slow
def test_the_state_of_another_training_is_left_alone(tmp_path: Path) -> None:
    first = kept(tmp_path)
    system = keras_model.build_system(small(), ["section_00"])
    before = system.get_weights()
    assert Resume(first.place, "other clips").restore(system) == 0
    wider = keras_model.build_system(small(("ae.network.units", [20])), ["section_00"])
    assert first.restore(wider) == 0
    for found, value in zip(system.get_weights(), before, strict=True):
        np.testing.assert_array_equal(found, value)


@pytest.mark.parametrize("damage", [b"", b"PK\x03\x04 not an archive", None])
@pytest.mark.slow
def test_damaged_state_is_not_believed(tmp_path: Path, damage: bytes | None) -> None:
    resume = kept(tmp_path)
    whole = resume.place.read_bytes()
    resume.place.write_bytes(whole[: len(whole) // 2] if damage is None else damage)
    assert resume.restore(keras_model.build_system(small(), ["section_00"])) == 0


def test_pickled_state_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "state.npz", about=np.array([{"a": 1}], dtype=object))
    resume = Resume(tmp_path / "state.npz", "these clips")
    assert resume.restore(keras_model.build_system(small(), ["section_00"])) == 0


def test_a_loss_that_is_not_finite_stops_and_names_epoch_and_cause(tmp_path: Path) -> None:
    frames = frames_of(200)
    frames.array[3, 2] = np.inf
    resume = Resume(tmp_path / "state.npz", "these clips")
    system = keras_model.build_system(small(), ["section_00"])
    with pytest.raises(BadInput, match=r"diverged, loss is nan.* in epoch 1; .*lower fit\.lr"):
        system.train(frames, "ae fan", resume)
    assert not resume.place.exists()


def test_the_bar_shows_title_epochs_and_losses_also_of_a_resumed_training(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    first = kept(tmp_path)
    bar = ("fit.verbose", 1)
    system = keras_model.build_system(small(bar, ("fit.epochs", 3)), ["section_00"])
    capsys.readouterr()
    history = system.train(frames_of(200), "ae fan", Resume(first.place, first.identity))
    shown = capsys.readouterr().err
    assert "ae fan:  67%" in shown  # it starts with the two epochs that were done
    assert shown.count("3/3") == 1
    assert "ae fan: 100%" in shown.rpartition("\r")[2]
    assert f"val_loss={history['val_loss'][-1]:.3g}" in shown


def test_in_a_worker_the_bar_writes_the_progress_file_and_nothing_else(tmp_path: Path) -> None:
    seen: list[str] = []

    class See(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
            seen.append((tmp_path / "now").read_text(encoding="utf-8"))

    system = keras_model.build_system(small(("fit.verbose", 1)), ["section_00"])
    system.callbacks = lambda: [See()]
    with log.output_to_file(tmp_path / "log", tmp_path / "now", []):
        system.train(frames_of(200), "ae fan")
    assert seen[0] == "0/2 epochs"
    assert "epoch" not in (tmp_path / "log").read_text(encoding="utf-8")
