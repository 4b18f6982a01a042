"""The `back_end` block: which back end scores the embeddings of a system, and how."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from core.schema import Block, Boolean, Count, Counts, Natural, NotNegative, Positive

Single = Literal[
    "nearest_neighbour",
    "k_means",
    "local_density",
    "mahalanobis",
    "gaussian_mixture",
    "local_outlier_factor",
]
Members = Annotated[
    list[Single],
    Field(min_length=1, description="a list of back ends, such as [nearest_neighbour, k_means]"),
]


class BackEndSettings(Block):
    """A back end and its parameters; each parameter counts for the back ends that have it.

    With "none" a system scores as its release does. The parameters are those of
    dcase-asd-toolkit's published scores, where it has them.
    """

    name: Literal[
        "none",
        "nearest_neighbour",
        "k_means",
        "local_density",
        "mahalanobis",
        "gaussian_mixture",
        "local_outlier_factor",
        "minimum",
    ] = "none"
    by_section: Boolean = False
    far_weight: NotNegative = 1.0
    metric: Literal["cosine", "euclidean"] = "cosine"
    source_neighbours: Count = 1
    target_neighbours: Natural = 1
    smote_ratio: NotNegative = 0.2
    smote_neighbours: Count = 2
    clusters: Count = 16
    neighbours: Count = 1
    density_neighbours: Count = 4
    components: Counts = (1,)
    smallest_variance: Positive = 0.001
    outlier_neighbours: Count = 4
    members: Members = ("nearest_neighbour", "local_density")
