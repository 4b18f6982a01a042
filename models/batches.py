"""Which windows make a batch: in a new order every epoch, as a seed decides."""

from __future__ import annotations

import numpy as np
import tensorflow as tf


def epoch_batches(
    starts: np.ndarray,
    section: np.ndarray,
    batch: int,
    epoch: tf.Variable,
    seed: int | None = None,
    drop_last: bool = False,
) -> tf.data.Dataset:
    """Return the batches of one epoch: start rows and section indices, (batch,) int64 each.

    Parameters
    ----------
    starts, section : (n_windows,) of all windows
    batch : windows in a batch; the last one has what is left
    epoch : () int64, the number of the epoch, read whenever the batches are gone through
    seed : decides, with the number of the epoch and nothing else, the order; None: as given
    drop_last : leave out a last batch that is not full
    """
    starts, section = tf.constant(starts), tf.constant(section)
    indices = tf.range(len(starts))
    n_batches = len(starts) // batch if drop_last else -(-len(starts) // batch)

    def of_epoch(_: tf.Tensor) -> tf.data.Dataset:
        order = indices
        if seed is not None:
            order = tf.random.experimental.stateless_shuffle(
                indices, seed=tf.stack([tf.constant(seed, tf.int64), epoch])
            )

        def one_batch(number: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            chosen = order[number * batch : (number + 1) * batch]
            return tf.gather(starts, chosen), tf.gather(section, chosen)

        return tf.data.Dataset.range(n_batches).map(one_batch)

    options = tf.data.Options()
    options.autotune.enabled = False  # its thread makes an iterator wait 0.1 s before it ends
    return (
        tf.data.Dataset.range(1)
        .flat_map(of_epoch)
        .apply(tf.data.experimental.assert_cardinality(n_batches))
        .prefetch(1)
        .with_options(options)
    )
