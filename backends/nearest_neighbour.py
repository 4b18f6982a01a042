"""Nearest neighbours by domain, as TakuyaFujimura/dcase-asd-toolkit (MIT) has them.

Quirk followed: "cosine" is half the Euclidean distance of vectors of unit length, which is not the
cosine distance; of one neighbour it gives the same order of clips.

Different: each training clip is left out of its own reference, and so are the synthetic clips that
were made from it. There its distance to itself is 0.
"""

from __future__ import annotations

import numpy as np

from backends.base import BackEnd, comparable, distances, mean_of_smallest, row_slices
from backends.smote import smote


class NearestNeighbour(BackEnd):
    """The mean distance to the nearest source clips, or target clips, whichever is smaller.

    Parameters
    ----------
    n_source, n_target : neighbours of each domain; n_target 0 leaves the target clips out
    metric : "cosine" or "euclidean"
    smote_ratio : target clips are made until there are so many times the source clips; 0: none
    smote_neighbours : of a target clip, between which and it new ones lie
    seed : of the target clips that are made
    """

    uses_domains = True

    def __init__(
        self,
        n_source: int = 1,
        n_target: int = 1,
        metric: str = "cosine",
        smote_ratio: float = 0.2,
        smote_neighbours: int = 2,
        seed: int = 0,
    ):
        self.n_source, self.n_target, self.metric = n_source, n_target, metric
        self.smote_ratio, self.smote_neighbours, self.seed = smote_ratio, smote_neighbours, seed

    def too_few(self, n_source: int, n_target: int) -> str:
        if n_source <= self.n_source:
            return (
                f"source_neighbours is {self.n_source}, and there are {n_source} source clips in "
                "training; lower it, or add clips"
            )
        if not n_target or not self.n_target:
            return ""
        if n_target < self.n_target:
            return (
                f"target_neighbours is {self.n_target}, and there are {n_target} target clips in "
                "training; lower it, or set it to 0 to score by the source clips"
            )
        if self._missing(n_source, n_target) > 0 and n_target <= self.smote_neighbours:
            return (
                f"smote_neighbours is {self.smote_neighbours}, and there are {n_target} target "
                "clips in training; lower it, or set smote_ratio: 0"
            )
        return ""

    def _missing(self, n_source: int, n_target: int) -> int:
        return int(self.smote_ratio * n_source - n_target)

    def _fit(self, embeddings: np.ndarray, is_target: np.ndarray) -> None:
        vectors = comparable(embeddings, self.metric)
        self.vectors, self.is_target = vectors, is_target
        self.source = vectors[~is_target]
        self.target = target = vectors[is_target if self.n_target else np.zeros_like(is_target)]
        n_new = self._missing(len(self.source), len(target)) if len(target) else 0
        self.synthetic = smote(target, n_new, self.smote_neighbours, self.seed)
        self.target = np.concatenate([target, comparable(self.synthetic.vectors, self.metric)])

    def _score(self, embeddings: np.ndarray) -> np.ndarray:
        vectors = comparable(embeddings, self.metric)
        return self._smaller(distances(vectors, self.source), distances(vectors, self.target))

    def _training_scores(self) -> np.ndarray:
        own = np.full((len(self.vectors), 2), -1)  # rows of each clip in source and target
        for domain, inside in enumerate((~self.is_target, self.is_target)):
            own[inside, domain] = np.arange(inside.sum())
        scores, n_target = np.empty(len(self.vectors)), self.is_target.sum()
        for rows in row_slices(len(scores)):
            vectors, (source, target) = self.vectors[rows], own[rows].T
            to_source, to_target = distances(vectors, self.source), distances(vectors, self.target)
            to_source[source >= 0, source[source >= 0]] = np.inf
            if len(self.target):
                to_target[target >= 0, target[target >= 0]] = np.inf
                for parent in (self.synthetic.base, self.synthetic.other):
                    to_target[:, n_target:][target[:, None] == parent] = np.inf
            scores[rows] = self._smaller(to_source, to_target)
        return scores

    def _smaller(self, to_source: np.ndarray, to_target: np.ndarray) -> np.ndarray:
        half = 0.5 if self.metric == "cosine" else 1.0
        of_source = mean_of_smallest(to_source, self.n_source)
        return half * np.minimum(of_source, mean_of_smallest(to_target, self.n_target))
