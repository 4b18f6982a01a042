from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from models.batches import epoch_batches

STARTS = np.arange(100, 145)
SECTION = np.arange(45) % 2


def epoch(number: int, *more) -> list[tuple[np.ndarray, np.ndarray]]:
    """The batches of one epoch, of 16 windows each."""
    data = epoch_batches(STARTS, SECTION, 16, tf.Variable(number, dtype=tf.int64), *more)
    batches = [(starts.numpy(), section.numpy()) for starts, section in data]
    assert int(data.cardinality()) == len(batches)
    return batches


@pytest.mark.parametrize("seed", [5, None])
def test_training_sees_every_window_once_an_epoch(seed):
    epochs = [epoch(number, seed) for number in range(3)]
    for batches in epochs:
        assert [len(starts) for starts, _ in batches] == [16, 16, 13]
        rows = np.concatenate([starts for starts, _ in batches])
        assert sorted(rows) == STARTS.tolist()
        assert np.array_equal(rows, STARTS) is (seed is None)
        for starts, section in batches:
            assert np.array_equal(section, (starts - 100) % 2)
    if seed is not None:
        assert not np.array_equal(epochs[0][0][0], epochs[1][0][0])


def test_the_order_depends_on_the_seed_and_the_number_of_the_epoch_and_nothing_else():
    """So that an interrupted training goes on as if it had not been."""
    number = tf.Variable(0, dtype=tf.int64)
    data = epoch_batches(STARTS, SECTION, 16, number, 5)
    for n in range(3):
        number.assign(n)
        for _ in range(2):
            rows = np.concatenate([starts.numpy() for starts, _ in data])
            assert np.array_equal(rows, np.concatenate([starts for starts, _ in epoch(n, 5)]))
    assert not np.array_equal(epoch(0, 6)[0][0], epoch(0, 5)[0][0])


def test_a_last_batch_that_is_not_full_can_be_left_out():
    assert [len(starts) for starts, _ in epoch(0, 5, True)] == [16, 16]
