from __future__ import annotations

import numpy as np
import pytest

from models.batches import batches

STARTS = np.arange(100, 145)
SECTION = np.arange(45) % 2


@pytest.mark.parametrize("shuffle", [True, False])
def test_training_sees_every_window_once_an_epoch(shuffle):
    data, times = batches(STARTS, SECTION, 16, range(3), 1, 5 if shuffle else None)
    seen = [(a.numpy(), b.numpy()) for a, b in data]
    assert times == 3
    assert [len(a) for a, _ in seen] == [16, 16, 13] * 3
    epochs = [np.concatenate([a for a, _ in seen[at : at + 3]]) for at in (0, 3, 6)]
    for epoch in epochs:
        assert sorted(epoch) == STARTS.tolist()
        assert np.array_equal(epoch, STARTS) is not shuffle
    if shuffle:
        assert not np.array_equal(epochs[0], epochs[1])
    for a, b in seen:
        assert np.array_equal(b, (a - 100) % 2)


@pytest.mark.parametrize("drop_last", [True, False])
@pytest.mark.parametrize(
    ("at_once", "sizes"), [(2, [2, 2, 1]), (3, [3, 2]), (5, [5]), (64, [5])], ids=str
)
def test_groups_hold_the_batches_in_their_order(at_once, sizes, drop_last):
    singly, _ = batches(STARTS, SECTION, 8, range(2), 1, 5, drop_last)
    groups, times = batches(STARTS, SECTION, 8, range(2), at_once, 5, drop_last)
    groups = [tuple(part.numpy() for part in group) for group in groups]
    assert [int(count) for *_, count in groups] == [*sizes, *([] if drop_last else [1])] * 2
    assert times == len(groups) / 2
    # One shape for all but the rest, so that XLA compiles one loop.
    assert len({starts.shape for starts, *_ in groups}) == (1 if drop_last else 2)
    unrolled = [
        (starts[row], section[row])
        for starts, section, count in groups
        for row in range(int(count))
    ]
    for (starts, section), (a, b) in zip(unrolled, singly, strict=True):
        assert np.array_equal(starts, a)
        assert np.array_equal(section, b)
