"""SMOTE: more target clips, made between those that there are.

Source: Chawla et al., "SMOTE: Synthetic Minority Over-sampling Technique", JAIR 2002
(arXiv 1106.1813). The random numbers are drawn in the order of imbalanced-learn 0.14, so that the
same seed makes the same clips.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from backends.base import distances


class Synthetic(NamedTuple):
    """Clips that SMOTE made.

    vectors : (n, width) float64
    base, other : (n,) the rows of the two target clips that each lies between
    """

    vectors: np.ndarray
    base: np.ndarray
    other: np.ndarray


def smote(target: np.ndarray, n: int, n_neighbours: int, seed: int) -> Synthetic:
    """Return new clips, each a random share of the way from a clip to one of its nearest.

    Parameters
    ----------
    target : (n_target, width) the clips to draw from; more than n_neighbours
    n : how many to make; 0 or less makes none
    n_neighbours : from how many nearest clips the other one is drawn
    seed : of the random numbers
    """
    random, n = np.random.RandomState(seed), max(0, n)
    apart = distances(target, target)
    np.fill_diagonal(apart, np.inf)
    nearest = np.argsort(apart, axis=1, kind="stable")[:, :n_neighbours]
    drawn = random.randint(0, nearest.size, size=n) if n else np.zeros(0, int)
    step = random.uniform(size=n)[:, None]
    base = drawn // n_neighbours
    other = nearest[base, drawn % n_neighbours]
    return Synthetic(target[base] + step * (target[other] - target[base]), base, other)
