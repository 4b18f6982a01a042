"""Every back end: what it scores, training clips without themselves, and what it refuses."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from sklearn.mixture import GaussianMixture
from sklearn.neighbors import LocalOutlierFactor

from backends.base import BackEnd
from backends.gaussian_mixture import Mixture
from backends.k_means import KMeansCentres
from backends.local_density import LocalDensity
from backends.mahalanobis import Mahalanobis
from backends.minimum import Minimum
from backends.nearest_neighbour import NearestNeighbour
from backends.registry import build
from backends.smote import smote
from core.back_end_settings import BackEndSettings
from core.errors import BadInput

NAMES = [
    *("nearest_neighbour", "k_means", "local_density", "mahalanobis"),
    *("gaussian_mixture", "local_outlier_factor", "minimum"),
]
every = pytest.mark.parametrize("name", NAMES)
SOURCE, TARGET, WIDTH = 30, 6, 5


def clips(seed: int = 0, shift: float = 2.0) -> tuple[np.ndarray, list[str]]:
    """Return embeddings of source clips, and of target clips beside them, and their domains."""
    draw = np.random.default_rng(seed)
    embeddings = draw.normal(1, 1, (SOURCE + TARGET, WIDTH))
    embeddings[SOURCE:, 0] += shift
    return embeddings, ["source"] * SOURCE + ["target"] * TARGET


def fitted(name: str, **settings: object) -> BackEnd:
    return build(BackEndSettings(name=name, clusters=4, **settings)).fit(*clips())


@every
def test_a_clip_like_no_other_scores_higher(name: str) -> None:
    back_end = fitted(name, metric="euclidean")
    far = np.full((1, WIDTH), 9.0)
    scores = back_end.training_scores()
    assert scores.shape == (SOURCE + TARGET,) and scores.dtype == np.float64
    assert np.isfinite(scores).all()
    assert back_end.anomaly_score(far)[0] > scores.max()


@every
def test_the_scores_of_training_clips_are_like_those_of_new_normal_clips(name: str) -> None:
    """Were each clip in its own reference, they would be lower: a third of the new ones or less."""
    back_end = fitted(name)
    new = back_end.anomaly_score(clips(seed=1)[0])
    threshold = np.quantile(back_end.training_scores(), 0.8)
    assert 0.05 < (new > threshold).mean() < 0.45
    assert (back_end.training_scores() >= back_end.anomaly_score(clips()[0]) - 1e-9).mean() > 0.8


@every
def test_fitting_again_gives_the_same_bits(name: str) -> None:
    one, other = fitted(name), fitted(name)
    test = clips(seed=1)[0]
    assert np.array_equal(one.anomaly_score(test), other.anomaly_score(test))
    assert np.array_equal(one.training_scores(), other.training_scores())


@every
def test_a_clips_score_does_not_depend_on_the_others(name: str) -> None:
    back_end, test = fitted(name), clips(seed=1)[0]
    single = [back_end.anomaly_score(test[i : i + 1])[0] for i in range(len(test))]
    np.testing.assert_allclose(single, back_end.anomaly_score(test), rtol=1e-12)


@every
def test_an_unknown_domain_counts_as_source(name: str) -> None:
    embeddings, _ = clips()
    test, n = clips(seed=1)[0], SOURCE + TARGET
    settings = BackEndSettings(name=name, clusters=4)
    scores = [
        build(settings).fit(embeddings, domains).anomaly_score(test)
        for domains in ([""] * n, ["source"] * n, ["target"] * n)
    ]
    assert np.array_equal(scores[0], scores[1])
    assert np.array_equal(scores[0], scores[2])


@pytest.mark.parametrize(
    "make",
    [
        lambda: NearestNeighbour(3, 2, smote_ratio=0),
        lambda: NearestNeighbour(1, 1, "euclidean", smote_ratio=0),
        lambda: LocalDensity(2, 3),
        lambda: LocalDensity(1, 4, "euclidean"),
        Mixture,
    ],
)
def test_a_training_clip_is_scored_as_by_a_fit_without_it(make: Callable[[], BackEnd]) -> None:
    embeddings, domains = clips()
    expected = [
        make()
        .fit(np.delete(embeddings, i, axis=0), domains[:i] + domains[i + 1 :])
        .anomaly_score(embeddings[i : i + 1])[0]
        for i in range(len(embeddings))
    ]
    np.testing.assert_allclose(make().fit(embeddings, domains).training_scores(), expected)


@pytest.mark.parametrize("name", ["nearest_neighbour", "local_density"])
def test_training_clips_are_scored_alike_however_many_at_a_time(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = fitted(name, smote_ratio=1).training_scores()
    monkeypatch.setattr("backends.base.MOST_ROWS", 7)
    assert np.array_equal(fitted(name, smote_ratio=1).training_scores(), expected)


def test_mahalanobis_leaves_a_clip_out_of_mean_and_covariance() -> None:
    embeddings, domains = clips()
    target = np.array(domains) == "target"
    back_end = Mahalanobis().fit(embeddings, domains)
    apart = embeddings - back_end.means[target.astype(int)]
    floor = back_end.shrinkage * (apart**2).mean() * np.eye(WIDTH)
    expected = []
    for i in range(len(embeddings)):
        rest, of_target = np.delete(embeddings, i, axis=0), np.delete(target, i)
        means = [rest[~of_target].mean(axis=0), rest[of_target].mean(axis=0)]
        around = rest - np.where(of_target[:, None], means[1], means[0])
        covariance = (1 - back_end.shrinkage) * around.T @ around / len(around) + floor
        offsets = [embeddings[i] - mean for mean in means]
        expected.append(min(o @ np.linalg.solve(covariance, o) for o in offsets) ** 0.5)
    np.testing.assert_allclose(back_end.training_scores(), expected)


def test_k_means_moves_the_centre_of_a_training_clip() -> None:
    embeddings = np.array([[0.0, 0], [2, 0], [4, 0], [100, 0]])
    back_end = KMeansCentres(2, "euclidean").fit(embeddings, [""] * 4)
    assert sorted(back_end.centres[:, 0]) == [2, 100]
    # Without itself the last clip has no centre of its own.
    assert back_end.training_scores().tolist() == [3, 0, 3, 98]


def test_k_means_leaves_a_target_clip_out() -> None:
    embeddings = np.array([[0.0, 0], [2, 0], [50, 0], [60, 0]])
    back_end = KMeansCentres(1, "euclidean").fit(embeddings, ["source"] * 2 + ["target"] * 2)
    assert back_end.anomaly_score(embeddings).tolist() == [1, 1, 0, 0]
    assert back_end.training_scores().tolist() == [2, 2, 10, 10]


def test_the_mixture_scores_by_its_likeliest_component_without_weights() -> None:
    embeddings, domains = clips()
    mixture = Mixture([2], smallest_variance=0.01, tolerance=1e-3).fit(embeddings, domains)
    theirs = GaussianMixture(2, reg_covar=0.01, random_state=0).fit(embeddings)
    weighted = theirs._estimate_weighted_log_prob(embeddings)
    expected = -(weighted - np.log(theirs.weights_)).max(axis=1)
    np.testing.assert_allclose(mixture.anomaly_score(embeddings), expected)


def test_the_mixture_takes_the_number_of_components_of_the_least_bic() -> None:
    draw = np.random.default_rng(0)
    three = np.concatenate([draw.normal(at, 0.1, (40, 2)) for at in (0, 5, 10)])
    assert Mixture([1, 2, 3, 4]).fit(three, [""] * 120).n_components == 3
    assert Mixture([1, 2, 3, 4]).fit(draw.normal(size=(120, 2)), [""] * 120).n_components == 1


def test_the_local_outlier_factor_is_scikit_learns() -> None:
    embeddings, domains = clips()
    test = clips(seed=1)[0]
    back_end = build(BackEndSettings(name="local_outlier_factor", metric="euclidean"))
    theirs = LocalOutlierFactor(n_neighbors=4, novelty=True).fit(embeddings)
    np.testing.assert_allclose(
        back_end.fit(embeddings, domains).anomaly_score(test), -theirs.score_samples(test)
    )


def test_the_minimum_is_that_of_scores_normalised_by_training_scores() -> None:
    embeddings, domains = clips()
    test = clips(seed=1)[0]
    members = [NearestNeighbour(smote_ratio=0), LocalDensity()]
    minimum = Minimum(members).fit(embeddings, domains)
    expected = []
    for member in (NearestNeighbour(smote_ratio=0), LocalDensity()):
        own = member.fit(embeddings, domains).training_scores()
        expected.append((member.anomaly_score(test) - own.mean()) / own.std())
    np.testing.assert_allclose(minimum.anomaly_score(test), np.min(expected, axis=0))
    assert minimum.training_scores().min() < 0 < minimum.training_scores().max()


def test_smote_makes_clips_between_a_clip_and_its_nearest() -> None:
    target = np.array([[0.0], [1], [10], [11]])
    made = smote(target, 50, 1, seed=0)
    assert len(made.vectors) == 50
    between = (made.vectors >= 0) & (made.vectors <= 11)
    assert (between & ((made.vectors <= 1) | (made.vectors >= 10))).all()
    assert not np.array_equal(made.vectors, smote(target, 50, 1, seed=1).vectors)
    assert len(smote(target, -3, 1, seed=0).vectors) == 0


def test_a_training_clip_is_not_scored_by_clips_made_from_it() -> None:
    embeddings, domains = clips(shift=30)
    with_smote = NearestNeighbour(metric="euclidean", smote_ratio=2).fit(embeddings, domains)
    assert len(with_smote.target) == 2 * SOURCE
    target = embeddings[SOURCE:]
    for i, score in enumerate(with_smote.training_scores()[SOURCE:]):
        made = with_smote.synthetic
        others = np.concatenate(
            [np.delete(target, i, axis=0), made.vectors[(made.base != i) & (made.other != i)]]
        )
        assert score == pytest.approx(np.linalg.norm(others - target[i], axis=1).min())


def test_without_target_clips_the_source_clips_are_the_reference() -> None:
    embeddings, _ = clips()
    test = clips(seed=1)[0]
    source = NearestNeighbour().fit(embeddings[:SOURCE], [""] * SOURCE)
    both = NearestNeighbour(n_target=0).fit(*clips())
    assert np.array_equal(source.anomaly_score(test), both.anomaly_score(test))


def test_copies_of_a_training_clip_give_no_infinite_score() -> None:
    embeddings, domains = clips()
    embeddings[:9] = embeddings[0]
    for name in NAMES:
        back_end = build(BackEndSettings(name=name, clusters=4)).fit(embeddings, domains)
        assert np.isfinite(back_end.training_scores()).all(), name
        assert np.isfinite(back_end.anomaly_score(embeddings)).all(), name


@every
def test_embeddings_that_are_not_finite_are_refused(name: str) -> None:
    embeddings, domains = clips()
    embeddings[[3, 8], 1] = np.nan, np.inf
    with pytest.raises(BadInput, match="of 2 of 36 training clips are not finite, first number 3"):
        build(BackEndSettings(name=name, clusters=4)).fit(embeddings, domains)
    with pytest.raises(BadInput, match="of 2 of 36 scored clips are not finite"):
        fitted(name).anomaly_score(embeddings)


@every
def test_another_width_is_refused(name: str) -> None:
    with pytest.raises(BadInput, match="of width 4; those of the training clips have the width 5"):
        fitted(name).anomaly_score(np.zeros((2, 4)))


@pytest.mark.parametrize(
    ("name", "settings", "n_source", "n_target", "message"),
    [
        ("nearest_neighbour", {"source_neighbours": 4}, 4, 0, "source_neighbours is 4, and there"),
        ("nearest_neighbour", {"target_neighbours": 3}, 9, 2, "target_neighbours is 3, and there"),
        ("nearest_neighbour", {}, 20, 2, "smote_neighbours is 2, and there are 2 target clips"),
        ("k_means", {}, 16, 3, "clusters is 16, and there are 16 source clips"),
        ("local_density", {}, 4, 1, "density_neighbours is 4, and there are 5 training clips"),
        ("mahalanobis", {}, 1, 0, "2 training clips or more"),
        ("gaussian_mixture", {"components": [1, 8]}, 5, 2, "components is .1, 8., and there are 7"),
        ("local_outlier_factor", {}, 4, 0, "outlier_neighbours is 4, and there are 4"),
        ("minimum", {"members": ["mahalanobis", "k_means"]}, 9, 0, "clusters is 16"),
    ],
)
def test_too_few_clips_are_refused(
    name: str, settings: dict[str, object], n_source: int, n_target: int, message: str
) -> None:
    domains = ["source"] * n_source + ["target"] * n_target
    embeddings = np.random.default_rng(0).normal(size=(len(domains), 3))
    with pytest.raises(BadInput, match=message):
        build(BackEndSettings(name=name, **settings)).fit(embeddings, domains)


def test_no_back_end_is_built_for_none() -> None:
    with pytest.raises(BadInput, match=r"back_end.name is none"):
        build(BackEndSettings())
