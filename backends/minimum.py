"""The least of several back ends' scores, made comparable by their training scores."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from backends.base import BackEnd


class Minimum(BackEnd):
    """The smallest of several scores, each less its mean and divided by its deviation.

    Mean and deviation are those of its training scores, each clip left out of its own reference.

    members : the back ends; one or more
    """

    def __init__(self, members: Sequence[BackEnd]):
        self.members = list(members)
        self.uses_domains = any(member.uses_domains for member in self.members)

    def too_few(self, n_source: int, n_target: int) -> str:
        reasons = (member.too_few(n_source, n_target) for member in self.members)
        return next(filter(None, reasons), "")

    def parts(self, embeddings: np.ndarray) -> list[np.ndarray]:
        """Return the embeddings that each member takes; here they all take the same."""
        return [embeddings] * len(self.members)

    def _fit(self, embeddings: np.ndarray, is_target: np.ndarray) -> None:
        domains = ["target" if target else "source" for target in is_target]
        for member, part in zip(self.members, self.parts(embeddings), strict=True):
            member.fit(part, domains)
        own = np.stack([member.training_scores() for member in self.members])  # (members, n_clips)
        self.mean, deviation = own.mean(axis=1), own.std(axis=1)
        self.deviation = np.where(deviation > 0, deviation, 1.0)
        self.own = self._least(own)

    def _score(self, embeddings: np.ndarray) -> np.ndarray:
        pairs = zip(self.members, self.parts(embeddings), strict=True)
        return self._least(np.stack([member.anomaly_score(part) for member, part in pairs]))

    def _training_scores(self) -> np.ndarray:
        return self.own

    def _least(self, scores: np.ndarray) -> np.ndarray:
        """Return the smallest of scores (members, n_clips): (n_clips,)."""
        return ((scores - self.mean[:, None]) / self.deviation[:, None]).min(axis=0)
