"""The frames of many clips as one array, with each clip's place in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from data.clips import Clip


@dataclass(frozen=True)
class Frames:
    """The log-mel frames, or the samples, of many clips as one array.

    array : (total_frames, n_mels) float32, memory-mapped from the cache; (total_samples, 1) where
        feature.input is waveform: a frame is then one sample
    clips : the clips in it that can be used
    first : (n_clips,) int64, the row of each clip's first frame
    count : (n_clips,) int64, how many frames each clip has
    """

    array: np.ndarray
    clips: tuple[Clip, ...]
    first: np.ndarray
    count: np.ndarray

    def windows(
        self, n_frames: int, hop: int = 1, at_least: int = 0
    ) -> tuple[np.ndarray, np.ndarray]:
        """Where the windows of n_frames lie that start every hop frames of each clip.

        Every clip has at_least so many, though it may end before they do.

        Returns
        -------
        starts : (n_windows,) int64, rows of `array`; window i is `array[starts[i]:][:n_frames]`
        owner : (n_windows,) int64, the index into `clips` of each window's clip, ascending
        """
        per_clip = np.maximum(at_least, (self.count - n_frames) // hop + 1)
        owner = np.repeat(np.arange(len(self.clips)), per_clip)
        within = np.arange(len(owner)) - np.repeat(np.cumsum(per_clip) - per_clip, per_clip)
        return self.first[owner] + hop * within, owner

    def select(self, keep: Sequence[bool] | np.ndarray) -> Frames:
        """The same array with only some of its clips; keep : (n_clips,) bool."""
        keep = np.asarray(keep, dtype=bool)
        clips = tuple(clip for clip, kept in zip(self.clips, keep, strict=True) if kept)
        return Frames(self.array, clips, self.first[keep], self.count[keep])

    def split(self, n_clips: int) -> list[Frames]:
        """The same array again and again, each time with at most so many of its clips."""
        cuts = [slice(at, at + n_clips) for at in range(0, len(self.clips), n_clips)]
        return [
            Frames(self.array, self.clips[cut], self.first[cut], self.count[cut]) for cut in cuts
        ]

    def trim(self) -> Frames:
        """The same clips, with only the rows of the array that lie from the first to the last."""
        begin, end = self.first[0], self.first[-1] + self.count[-1]
        return Frames(self.array[begin:end], self.clips, self.first - begin, self.count)


class FramesRef(NamedTuple):
    """Frames as another process gets them: where their array lies, and their clips in it."""

    place: Path
    clips: tuple[Clip, ...]
    first: np.ndarray
    count: np.ndarray

    @classmethod
    def to(cls, frames: Frames) -> FramesRef:
        """Of frames that were loaded from the cache."""
        return cls(Path(frames.array.filename), frames.clips, frames.first, frames.count)

    def load(self) -> Frames:
        """The frames."""
        array = np.lib.format.open_memmap(self.place, "r")
        return Frames(array, self.clips, self.first, self.count)
