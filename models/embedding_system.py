"""What the systems share that score a clip by its embedding."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from core.run_settings import SystemSettings
from data.frames import Frames
from models.back_ends import BackEnds, build_back_end, check_back_ends
from models.base import System
from models.callbacks import Resume
from models.embedding_map import EmbeddingMap

OWN_SCORES = "back_end_own_scores"


class SystemWithEmbeddings(System):
    """A system that can give embeddings of clips to back ends; a subclass writes `embeddings`.

    Class attributes
    ----------------
    build_back_end : makes a back end from the settings of a machine type
    by_section : each section has its own back end, whatever `back_end.by_section` says
    """

    build_back_end = staticmethod(build_back_end)
    by_section: ClassVar[bool] = False

    def __init__(self, run: SystemSettings, sections: list[str]):
        super().__init__(run, sections)
        self.back_ends = BackEnds(run, self.build_back_end, self.by_section)
        self.last_embeddings: tuple[Frames, np.ndarray] | None = None

    def embeddings(self, frames: Frames) -> np.ndarray:
        """Return the embeddings of clips: (n_clips, width)."""
        raise NotImplementedError

    def embeddings_once(self, frames: Frames) -> np.ndarray:
        """Return embeddings; asked again for the frames it was asked for last, the same ones."""
        if self.last_embeddings is None or self.last_embeddings[0] is not frames:
            self.last_embeddings = (frames, self.channel_embeddings(frames))
        return self.last_embeddings[1]

    def channel_embeddings(self, frames: Frames) -> np.ndarray:
        """Return embeddings as the back ends take them: (n_clips, width).

        With `feature.channel: near_minus_far` they are those of the near channel, and beside them
        those of the far one: (n_clips, 2 * width). The back ends subtract, with their weight.
        """
        near = self.embeddings(frames)
        if self.settings.feature.channel != "near_minus_far":
            return near
        return np.concatenate([near, self.embeddings(frames.far)], axis=1)

    def embedding_map(self, frames: Frames) -> EmbeddingMap | None:
        """Return the clips of one machine type in two dimensions; None without a back end."""
        machine_type = frames.clips[0].machine_type
        return self.back_ends.embedding_map(self.embeddings_once(frames), machine_type)


class EmbeddingSystem(SystemWithEmbeddings):
    """A system whose scores are those of a back end, fitted to embeddings of the training clips.

    A subclass writes `embeddings`, and what `System` asks of every system but the scores. The back
    end is that of the `back_end` block; each machine type has its own.

    The scores of its training clips (`training_scores`) leave each clip out of its own reference;
    `score` does not know which clips are training clips.
    """

    @classmethod
    def check(cls, run: SystemSettings, machine_type: str, frames: Frames) -> None:
        """Raise BadInput where there are too few training clips for the back end."""
        check_back_ends(run, frames.clips, cls.build_back_end, cls.by_section)

    def train(
        self, frames: Frames, title: str = "train", resume: Resume | None = None
    ) -> dict[str, list[float]]:
        history = super().train(frames, title, resume)
        self.fit_statistics(frames)
        return history

    def fit_statistics(self, frames: Frames) -> None:
        """Fit the back ends to the embeddings of training clips."""
        self.last_embeddings = None
        self.back_ends.fit(self.embeddings_once(frames), frames.clips)

    def score(self, frames: Frames) -> np.ndarray:
        """Return anomaly scores of clips (n_clips,) float64."""
        return self.back_ends.score(self.embeddings_once(frames), frames.clips)

    def training_scores(self, saved: np.ndarray) -> np.ndarray:
        """Return scores of the training clips, each without itself, by the settings' back end."""
        return saved if self.back_ends.embeddings is None else self.back_ends.training_scores()

    def get_extra_state(self) -> dict[str, np.ndarray]:
        return self.back_ends.state()

    def set_extra_state(self, arrays: dict[str, np.ndarray]) -> None:
        self.last_embeddings = None
        self.back_ends.restore(arrays)

    @classmethod
    def missing_without_training_clips(cls, run: SystemSettings) -> str:
        return "the embeddings of the training clips, which its back end compares clips with"


class OptionalBackEnd(SystemWithEmbeddings):
    """A system with scores of its own, and embeddings that a back end may score in their place.

    A subclass writes `embeddings`, `own_score` where its own score is not the mean over windows,
    `own_training_scores` where they are not those saved, and calls `fit_back_ends` after training
    and in `fit_statistics`. Without a back end nothing is changed, and nothing more is saved.
    """

    def __init__(self, run: SystemSettings, sections: list[str]):
        super().__init__(run, sections)
        self.own_scores: np.ndarray | None = None  # (n_clips,) of the training clips

    def own_score(self, frames: Frames) -> np.ndarray:
        """Return the scores that the system gives clips without a back end: (n_clips,) float64."""
        return System.score(self, frames)

    def own_training_scores(self, saved: np.ndarray) -> np.ndarray:
        """Return those of the training clips, from what was saved: (n_clips,) both."""
        return saved

    @classmethod
    def check(cls, run: SystemSettings, machine_type: str, frames: Frames) -> None:
        named = BackEnds(run).named([clip.machine_type for clip in frames.clips])
        if named.any():
            check_back_ends(run, frames.select(named).clips)

    def fit_back_ends(self, frames: Frames) -> None:
        """Keep embeddings and scores of training clips, where a machine type has a back end."""
        if self.back_ends.named([clip.machine_type for clip in frames.clips]).any():
            self.own_scores = self.own_score(frames)
            self.back_ends.fit(self.embeddings(frames), frames.clips)

    def score(self, frames: Frames) -> np.ndarray:
        """Return anomaly scores of clips (n_clips,) float64."""
        named = self.back_ends.named([clip.machine_type for clip in frames.clips])
        if not named.any():
            return self.own_score(frames)
        scores = np.empty(len(named)) if named.all() else self.own_score(frames)
        chosen = frames if named.all() else frames.select(named)
        self.last_embeddings = None  # the network may have learnt more since
        scores[named] = self.back_ends.score(self.embeddings_once(chosen), chosen.clips)
        return scores

    def embedding_map(self, frames: Frames) -> EmbeddingMap | None:
        named = self.back_ends.named([frames.clips[0].machine_type])
        return super().embedding_map(frames) if named.all() else None

    def training_scores(self, saved: np.ndarray) -> np.ndarray:
        if self.own_scores is None:
            return self.own_training_scores(saved)
        return self.back_ends.training_scores(self.own_training_scores(self.own_scores))

    def get_extra_state(self) -> dict[str, np.ndarray]:
        if self.own_scores is None:
            return {}
        return {**self.back_ends.state(), OWN_SCORES: self.own_scores}

    def set_extra_state(self, arrays: dict[str, np.ndarray]) -> None:
        self.back_ends.restore(arrays)
        self.own_scores = arrays.get(OWN_SCORES)


class StatisticalSystem(EmbeddingSystem):
    """An embedding system without a network: what it learns, its back ends learn.

    Its training has one epoch, whose loss is the mean score of the training clips.
    """

    def train(
        self, frames: Frames, title: str = "train", resume: Resume | None = None
    ) -> dict[str, list[float]]:
        self.check(self.settings, title, frames)
        self.fit_statistics(frames)
        return {"loss": [float(self.back_ends.training_scores().mean())]}
