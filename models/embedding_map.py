"""Embeddings in two dimensions, as a picture: no score depends on it, and no label is needed."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from core.run_settings import SystemSettings
from data.clips import Clip

if TYPE_CHECKING:
    from sklearn.decomposition import PCA


class EmbeddingMap(NamedTuple):
    """Where the clips of a machine type lie in two dimensions.

    test : (n_test, 2) float64
    training : (n_training, 2) float64
    domains : (n_training,) of the training clips: "source", "target" or ""
    classes : (n_training,) of the training clips, as `map_class` names them
    """

    test: np.ndarray
    training: np.ndarray
    domains: np.ndarray
    classes: np.ndarray


class Projection:
    """The first two principal components of the embeddings of training clips.

    Embeddings of one value give one component, and a single clip gives none: what is missing is 0.

    embeddings : (n_clips, width) of the training clips
    """

    def __init__(self, embeddings: np.ndarray):
        from sklearn.decomposition import PCA

        self.pca: PCA | None = None
        if len(embeddings) > 1:
            # The seed is for the randomised solver, which scikit-learn takes for large arrays.
            self.pca = PCA(min(2, *embeddings.shape), random_state=0)
            # Of equal embeddings the share of the variance is 0 / 0, and nobody asks for it.
            with np.errstate(invalid="ignore"):
                self.pca.fit(embeddings.astype(np.float64))

    def coordinates(self, embeddings: np.ndarray) -> np.ndarray:
        """Return embeddings (n_clips, width) in two dimensions: (n_clips, 2) float64."""
        if self.pca is None:
            return np.zeros((len(embeddings), 2))
        made = self.pca.transform(embeddings.astype(np.float64))
        return np.pad(made, ((0, 0), (0, 2 - made.shape[1])))


def map_class(run: SystemSettings, clip: Clip) -> str:
    """Return what a clip is marked by in the map.

    It is the class that a classifier learns, without the machine type, and else the section with
    its domain.
    """
    if run.classifier:
        return run.class_name(clip).removeprefix(f"{clip.machine_type} ")
    return " ".join(filter(None, (clip.section, clip.domain)))
