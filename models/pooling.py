"""How the errors of a clip's windows make its score: the mean, the largest, or a ranked mean.

Source of the choices: liuyoude/AE-ASD (MIT), `pool_type`.

Quirk of the release: its code for `gwrp` calls a function that is in none of its files. Here it is
global weighted rank pooling as the literature has it (Kolesnikov and Lampert, "Seed, expand and
constrain", ECCV 2016): the errors sorted downwards, weighted 1, decay, decay², ..., the weights
adding up to 1.
"""

from __future__ import annotations

import numpy as np

from core.errors import BadInput
from data.frames import Frames
from models.base import System, clip_means
from models.callbacks import Resume

POOLINGS = ("mean", "max", "gwrp")


class PooledSystem(System):
    """A system whose score of a clip is pooled from `window_scores`, as `pool_type` says.

    The training clips' scores of every pooling are saved, so that another one needs no training.
    """

    training_pools: np.ndarray | None = None  # (n_clips, 3), as POOLINGS
    training_decay = 0.0
    fresh_errors: tuple[Frames, np.ndarray, np.ndarray] | None = None

    def train(
        self, frames: Frames, title: str = "train", resume: Resume | None = None
    ) -> dict[str, list[float]]:
        history = super().train(frames, title, resume)
        if self.compute_dtype == self.variable_dtype:  # else `engine.training` does it in float32
            self.fit_statistics(frames)
        return history

    def fit_statistics(self, frames: Frames) -> None:
        """Keep what the training clips score with every pooling."""
        self.keep_errors(frames, *self.window_errors(frames))

    def keep_errors(self, frames: Frames, errors: np.ndarray, owner: np.ndarray) -> None:
        """Keep what training clips score with every pooling; arrays as of `window_errors`."""
        self.training_decay = self.settings.decay
        self.training_pools = np.stack(
            [pool(errors, owner, kind, self.settings.decay) for kind in POOLINGS], axis=1
        )
        # They are scored next; the networks need not run on them again.
        self.fresh_errors = (frames, errors, owner)

    def score(self, frames: Frames) -> np.ndarray:
        """Return anomaly scores of clips, pooled over their windows: (n_clips,) float64."""
        fresh, self.fresh_errors = self.fresh_errors, None
        errors, owner = fresh[1:] if fresh and fresh[0] is frames else self.window_errors(frames)
        return pool(errors, owner, self.settings.pool_type, self.settings.decay)

    def window_errors(self, frames: Frames) -> tuple[np.ndarray, np.ndarray]:
        """Return the errors of all windows, and the clip of each: (n_windows,) both."""
        starts, owner = self.windows(frames, 1)
        return self.all_window_scores(frames, starts, self.section_index(frames)[owner]), owner

    def get_extra_state(self) -> dict[str, np.ndarray]:
        if self.training_pools is None:
            return {}
        return {
            "pools_of_training": self.training_pools,
            "decay_of_training": np.array(self.training_decay),
        }

    def set_extra_state(self, arrays: dict[str, np.ndarray]) -> None:
        if "pools_of_training" in arrays:
            self.training_pools = arrays["pools_of_training"]
            self.training_decay = float(arrays["decay_of_training"])

    def training_scores(self, saved: np.ndarray) -> np.ndarray:
        """Return those of the pooling in the settings; the model may have been saved with another.

        Raises BadInput where they were not saved.
        """
        kind, decay = self.settings.pool_type, self.settings.decay
        name = self.settings.system
        if self.training_pools is None:
            # A model of an earlier version, which knew the mean only; or no training clips.
            if kind == "mean" or not len(saved):
                return saved
            raise BadInput(
                f"{name}: this model was saved without its training clips' scores for {name}."
                f"pool_type: {kind}; train it again with 00_train.py --force, or take mean"
            )
        if kind == "gwrp" and decay != self.training_decay:
            raise BadInput(
                f"{name}.decay is {decay}, and the training clips' scores were saved with "
                f"{self.training_decay}; take that one, or train again with 00_train.py --force"
            )
        return self.training_pools[:, POOLINGS.index(kind)]


def pool(errors: np.ndarray, owner: np.ndarray, kind: str, decay: float) -> np.ndarray:
    """Return one value per clip, pooled from the errors of its windows: (n_clips,) float64.

    Parameters
    ----------
    errors, owner : (n_windows,) of each window, and the number of its clip, ascending
    kind : one of POOLINGS
    decay : of gwrp: what an error weighs, of the one before it in their order
    """
    if kind == "mean":
        return clip_means(errors, owner)
    count = np.bincount(owner)
    first = np.cumsum(count) - count
    if kind == "max":
        return np.maximum.reduceat(errors, first)
    rank = np.arange(len(errors)) - first[owner]
    weight = np.power(float(decay), rank)
    downwards = errors[np.lexsort((-errors, owner))]
    return np.add.reduceat(weight * downwards, first) / np.add.reduceat(weight, first)
