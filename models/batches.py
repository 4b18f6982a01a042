"""Which windows make a batch: shuffled anew every epoch, as a seed decides, many at a call."""

from __future__ import annotations

import numpy as np
import tensorflow as tf


def batches(
    starts: np.ndarray,
    section: np.ndarray,
    batch: int,
    epochs: range,
    at_once: int,
    seed: int | None = None,
    drop_last: bool = False,
) -> tuple[tf.data.Dataset, int]:
    """Start rows and section indices in batches, epoch after epoch, and how many times an epoch.

    With a seed every epoch has an order of its own, which depends on the seed and the number of
    the epoch alone. `at_once` 1 gives batches, (batch,) both. More gives groups: (at_once, batch)
    of both, and how many of these batches count, the last group being filled up so that one
    compiled loop does all; a last batch that is not full is a group by itself, (1, rest).
    """
    starts, section = tf.constant(starts), tf.constant(section)
    indices, whole = tf.range(len(starts)), len(starts) // batch
    end = whole * batch if drop_last else len(starts)
    steps = max(1, min(at_once, whole))

    def epoch(number: tf.Tensor) -> tf.data.Dataset:
        order = indices
        if seed is not None:
            order = tf.random.experimental.stateless_shuffle(
                indices, seed=tf.stack([tf.constant(seed, tf.int64), number])
            )

        def single(at: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            chosen = order[at : at + batch]
            return tf.gather(starts, chosen), tf.gather(section, chosen)

        def group(at: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
            chosen = order[at : tf.minimum(at + steps * batch, whole * batch)]
            count = tf.size(chosen) // batch
            chosen = tf.pad(chosen, [[0, steps * batch - tf.size(chosen)]])
            chosen = tf.reshape(chosen, (steps, batch))
            return tf.gather(starts, chosen), tf.gather(section, chosen), count

        def rest(at: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
            return *(x[None] for x in single(at)), tf.constant(1)

        if at_once == 1:
            return tf.data.Dataset.range(0, end, batch).map(single)
        groups = tf.data.Dataset.range(0, whole * batch, steps * batch).map(group)
        return groups.concatenate(tf.data.Dataset.range(whole * batch, end, batch).map(rest))

    numbers = tf.data.Dataset.range(epochs.start, epochs.stop)
    times = -(-whole // steps) + (end > whole * batch)
    options = tf.data.Options()
    options.autotune.enabled = False  # its thread makes an iterator wait 0.1 s before it ends
    return numbers.flat_map(epoch).prefetch(1).with_options(options), times
