"""What every back end keeps to, and what several share: domains, lengths, distances."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import ClassVar

import numpy as np
from scipy.spatial.distance import cdist
from typing_extensions import Self

from core.errors import BadInput

SHORTEST = 1e-12  # the least length that a vector is divided by
MOST_ROWS = 1024  # of distances between training clips that are in memory at a time


class BackEnd:
    """Scores embeddings by those of normal training clips; higher is more anomalous.

    A subclass writes `_fit`, `_score`, `_training_scores`, and `too_few` where it needs some clips.

    Class attributes
    ----------------
    uses_domains : source and target clips are not treated alike
    """

    uses_domains: ClassVar[bool] = False

    def too_few(self, n_source: int, n_target: int) -> str:
        """Return why so many training clips do not suffice, and what to do; "" where they do."""
        return "" if n_source + n_target > 1 else "it needs 2 training clips or more; add clips"

    def fit(self, embeddings: np.ndarray, domains: Sequence[str]) -> Self:
        """Fit to training clips, and return itself.

        Parameters
        ----------
        embeddings : (n_clips, width) finite
        domains : (n_clips,) "source", "target", or "" where it is unknown, which counts as source

        Raises
        ------
        BadInput : for values that are not finite, or too few clips.
        """
        embeddings = checked(embeddings, "training")
        is_target = np.array([domain == "target" for domain in domains], bool)
        if len(is_target) != len(embeddings):
            raise BadInput(f"{len(embeddings)} embeddings, but {len(is_target)} domains")
        if is_target.all():  # without any source clips there are no two domains
            is_target = np.zeros_like(is_target)
        if why := self.too_few(int((~is_target).sum()), int(is_target.sum())):
            raise BadInput(f"back_end: {why}")
        self._width = embeddings.shape[1]
        self._fit(embeddings, is_target)
        return self

    def anomaly_score(self, embeddings: np.ndarray) -> np.ndarray:
        """Return the anomaly scores of clips (n_clips,) float64.

        embeddings : (n_clips, width) finite

        Raises BadInput for embeddings of another width than the training clips'.
        """
        embeddings = checked(embeddings, "scored")
        if embeddings.shape[1] != self._width:
            raise BadInput(
                f"embeddings of width {embeddings.shape[1]}; those of the training clips have "
                f"the width {self._width}"
            )
        return self._score(embeddings)

    def training_scores(self) -> np.ndarray:
        """Return those of the training clips (n_clips,) float64, each without itself."""
        return self._training_scores()

    def _fit(self, embeddings: np.ndarray, is_target: np.ndarray) -> None:
        raise NotImplementedError

    def _score(self, embeddings: np.ndarray) -> np.ndarray:
        raise NotImplementedError

    def _training_scores(self) -> np.ndarray:
        raise NotImplementedError


def checked(embeddings: np.ndarray, which: str) -> np.ndarray:
    """Return embeddings in float64; raise BadInput where they are no finite (n_clips, width)."""
    exact = np.asarray(embeddings, np.float64)
    if exact.ndim != 2 or not exact.shape[1]:
        raise BadInput(f"embeddings of the shape {exact.shape}; expected (clips, width)")
    wrong = np.flatnonzero(~np.isfinite(exact).all(axis=1))
    if len(wrong):
        raise BadInput(
            f"the embeddings of {len(wrong)} of {len(exact)} {which} clips are not finite, "
            f"first number {wrong[0]}"
        )
    return exact


def unit_length(vectors: np.ndarray) -> np.ndarray:
    """Return vectors (n, width) divided by their lengths."""
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), SHORTEST)


def comparable(vectors: np.ndarray, metric: str) -> np.ndarray:
    """Return vectors (n, width) such that their Euclidean distance is that of the metric."""
    return unit_length(vectors) if metric == "cosine" else vectors


def distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return the Euclidean distances (len(a), len(b)), each computed for itself.

    So a clip's score does not depend on which others are scored with it.
    """
    return cdist(a, b)


def row_slices(n: int) -> Iterator[slice]:
    """Yield slices of MOST_ROWS rows, the last one shorter, that cover n rows."""
    for first in range(0, n, MOST_ROWS):
        yield slice(first, min(first + MOST_ROWS, n))


def mean_of_smallest(values: np.ndarray, n: int) -> np.ndarray:
    """Return the means of the n smallest values of each row, infinite ones left out: (rows,).

    A row with fewer finite values takes those it has; one with none gives infinity.
    """
    n = min(n, values.shape[1])
    if not n:
        return np.full(len(values), np.inf)
    smallest = np.sort(np.partition(values, n - 1, axis=1)[:, :n], axis=1)
    finite = np.isfinite(smallest)
    count = finite.sum(axis=1)
    total = np.where(finite, smallest, 0.0).sum(axis=1)
    return np.where(count > 0, total / np.maximum(count, 1), np.inf)
