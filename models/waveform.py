"""What the systems share whose input is samples instead of log-mel frames.

A frame is then one sample. Samples stay in the memory-mapped cache: every batch reads its own.
"""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from data.frames import Frames
from models.base import System


class WaveformSystem(System):
    """A system whose windows are n_frames samples; a clip shorter than one is filled with zeros."""

    def to_device(self, frames: Frames) -> Frames:
        """Return the frames themselves: windows are cut before they go to the device."""
        return frames

    def windows(self, frames: Frames, hop: int) -> tuple[np.ndarray, np.ndarray]:
        return frames.windows(self.n_frames, hop, at_least=1)

    def frame_scores(self, frames: Frames) -> None:
        """Return None: a frame is a sample here, and the windows are too long to say when."""

    def gather_windows(self, frames: Frames, starts: tf.Tensor) -> tf.Tensor:
        """Return the samples from some starts on, zeros after a clip: (batch, n_frames)."""
        ends = frames.first + frames.count

        def read(starts: np.ndarray) -> np.ndarray:
            samples = np.zeros((len(starts), self.n_frames), np.float32)
            owner = np.searchsorted(frames.first, starts, side="right") - 1
            for row, start, end in zip(samples, starts, ends[owner], strict=True):
                inside = frames.array[start : min(start + self.n_frames, end), 0]
                row[: len(inside)] = inside
            return samples

        samples = tf.numpy_function(read, [starts], tf.float32, stateful=False)
        return tf.cast(tf.ensure_shape(samples, (None, self.n_frames)), self.compute_dtype)
