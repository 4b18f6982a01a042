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
    far : the same clips as a second microphone has them, with feature.channel: near_minus_far
    """

    array: np.ndarray
    clips: tuple[Clip, ...]
    first: np.ndarray
    count: np.ndarray
    far: Frames | None = None

    @classmethod
    def without_frames(cls, clips: Sequence[Clip]) -> Frames:
        """Return clips of which nothing but their names is needed."""
        none = np.zeros(len(clips), np.int64)
        return cls(np.empty((0, 1), np.float32), tuple(clips), none, none)

    def windows(
        self, n_frames: int, hop: int = 1, at_least: int = 0
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return where the windows of the clips start, and whose they are.

        Parameters
        ----------
        n_frames : of a window
        hop : frames from the start of one window of a clip to the start of the next
        at_least : windows of every clip, even where the clip ends before they do

        Returns
        -------
        starts : (n_windows,) int64, rows of `array`; window i is `array[starts[i]:][:n_frames]`
        owner : (n_windows,) int64, the index into `clips` of each window's clip, ascending
        """
        per_clip = np.maximum(at_least, (self.count - n_frames) // hop + 1)
        owner = np.repeat(np.arange(len(self.clips)), per_clip)
        within = np.arange(len(owner)) - np.repeat(np.cumsum(per_clip) - per_clip, per_clip)
        return self.first[owner] + hop * within, owner

    def select(self, chosen: Sequence[bool] | np.ndarray) -> Frames:
        """Return the same array with only some of its clips.

        chosen : (n_clips,) bool
        """
        chosen = np.asarray(chosen, dtype=bool)
        clips = tuple(clip for clip, inside in zip(self.clips, chosen, strict=True) if inside)
        far = self.far.select(chosen) if self.far else None
        return Frames(self.array, clips, self.first[chosen], self.count[chosen], far)

    def split(self, n_clips: int) -> list[Frames]:
        """Return the array several times, each time with the next n_clips of its clips at most."""
        cuts = [slice(at, at + n_clips) for at in range(0, len(self.clips), n_clips)]
        far = self.far.split(n_clips) if self.far else [None] * len(cuts)
        return [
            Frames(self.array, self.clips[cut], self.first[cut], self.count[cut], of_cut)
            for cut, of_cut in zip(cuts, far, strict=True)
        ]

    def trim(self) -> Frames:
        """Return the same clips with only the rows of the array that they span."""
        begin, end = self.first[0], self.first[-1] + self.count[-1]
        far = self.far.trim() if self.far else None
        return Frames(self.array[begin:end], self.clips, self.first - begin, self.count, far)


class FramesRef(NamedTuple):
    """Frames as another process gets them: the path of their array, and their clips in it.

    path : None for clips without frames
    """

    path: Path | None
    clips: tuple[Clip, ...]
    first: np.ndarray
    count: np.ndarray
    far: FramesRef | None = None

    @classmethod
    def to(cls, frames: Frames) -> FramesRef:
        """Return a reference to frames that were loaded from the cache."""
        path = Path(frames.array.filename) if frames.array.size else None
        far = cls.to(frames.far) if frames.far else None
        return cls(path, frames.clips, frames.first, frames.count, far)

    def load(self) -> Frames:
        """Return the frames, memory-mapped."""
        if self.path is None:
            return Frames.without_frames(self.clips)
        array = np.lib.format.open_memmap(self.path, "r")
        far = self.far.load() if self.far else None
        return Frames(array, self.clips, self.first, self.count, far)
