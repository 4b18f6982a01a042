"""The back ends by the names that settings give them."""

from __future__ import annotations

from backends.base import BackEnd
from backends.gaussian_mixture import Mixture
from backends.k_means import KMeansCentres
from backends.local_density import LocalDensity
from backends.local_outlier_factor import OutlierFactor
from backends.mahalanobis import Mahalanobis
from backends.minimum import Minimum
from backends.nearest_neighbour import NearestNeighbour
from core.back_end_settings import BackEndSettings
from core.errors import BadInput


def build(settings: BackEndSettings, seed: int = 0) -> BackEnd:
    """Return a new back end, not fitted yet.

    Raises BadInput for the name "none".
    """
    if settings.name == "none":
        raise BadInput("back_end.name is none, and this system has no score without a back end")
    if settings.name == "minimum":
        members = [settings.model_copy(update={"name": name}) for name in settings.members]
        return Minimum([build(member, seed) for member in members])
    metric = settings.metric
    makers = {
        "nearest_neighbour": lambda: NearestNeighbour(
            settings.source_neighbours,
            settings.target_neighbours,
            metric,
            settings.smote_ratio,
            settings.smote_neighbours,
            seed,
        ),
        "k_means": lambda: KMeansCentres(settings.clusters, metric, seed),
        "local_density": lambda: LocalDensity(
            settings.neighbours, settings.density_neighbours, metric
        ),
        "mahalanobis": Mahalanobis,
        "gaussian_mixture": lambda: Mixture(
            settings.components, settings.smallest_variance, seed=seed
        ),
        "local_outlier_factor": lambda: OutlierFactor(settings.outlier_neighbours, metric),
    }
    return makers[settings.name]()
