"""The settings of the systems that score by a back end, as in `core.system_settings`."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from core.back_end_settings import BackEndSettings
from core.run_settings import TORCHAUDIO, Feature, Fit, NamedDescription, SystemSettings
from core.schema import Block, Counts, Fractions, Positive, Text


class TWFRGMMNetwork(Block):
    """TWFR-GMM's features and its mixtures.

    Of several decays and numbers of components none is chosen by labels.
    """

    seconds: Positive = 10.0
    decays: Fractions = (0.0, 0.5, 0.9, 0.98, 1.0)
    components: Counts = (1, 2, 4)
    smallest_variance: Positive = 1e-6


def _twfr_gmm(decay: float, components: int) -> dict[str, Any]:
    return {"network": {"decays": [decay], "components": [components]}}


class TWFRGMMSettings(SystemSettings):
    """TWFR-GMM."""

    has_network: ClassVar[bool] = False
    description: ClassVar[NamedDescription] = NamedDescription(
        name="TWFR-GMM",
        abbreviation="TWFR-GMM",
        machine_learning_method="GMM",
        aggregation_method="none",  # its input is the whole clip
    )
    releases: ClassVar[dict[str, dict[str, Any]]] = {
        "dcase2022": {
            "machines": {
                "ToyCar": _twfr_gmm(1.0, 2),
                "ToyTrain": _twfr_gmm(0.9, 4),
                "bearing": _twfr_gmm(1.0, 2),
                "fan": _twfr_gmm(1.0, 2),
                "gearbox": _twfr_gmm(0.98, 4),
                "slider": _twfr_gmm(0.88, 1),
                "valve": _twfr_gmm(0.46, 2),
            }
        }
    }

    system: Text = "twfr_gmm"
    feature: Feature = Feature(n_frames=1, **TORCHAUDIO)
    fit: Fit = Fit(epochs=1, validation_split=0)
    network: TWFRGMMNetwork = TWFRGMMNetwork()
    release: Literal["none", "dcase2022"] = "none"


class RawSpecNetwork(Block):
    """How raw_spec makes one vector of a clip's log-mel frames."""

    pooling: Literal["mean", "max", "mean_and_deviation"] = "mean"


class RawSpecSettings(SystemSettings):
    """Pooled log-mel energies, which nothing is learnt from but a back end."""

    has_network: ClassVar[bool] = False
    takes_back_end: ClassVar[bool] = True
    description: ClassVar[NamedDescription] = NamedDescription(
        name="Pooled log-mel energies",
        abbreviation="RawSpec",
        machine_learning_method="k-NN",
        aggregation_method="none",  # its input is the whole clip
    )

    system: Text = "raw_spec"
    feature: Feature = Feature(n_frames=1)
    fit: Fit = Fit(epochs=1, validation_split=0)
    back_end: BackEndSettings = BackEndSettings(name="nearest_neighbour")
    network: RawSpecNetwork = RawSpecNetwork()


class PrecomputedNetwork(Block):
    """Where the embeddings are that were computed elsewhere."""

    directory: Text = "./embeddings"


class PrecomputedSettings(SystemSettings):
    """Embeddings that were computed elsewhere, scored by a back end."""

    has_network: ClassVar[bool] = False
    takes_back_end: ClassVar[bool] = True
    reads_files: ClassVar[bool] = True
    description: ClassVar[NamedDescription] = NamedDescription(
        name="Precomputed embeddings",
        abbreviation="Embeddings",
        machine_learning_method="k-NN",
        aggregation_method="none",
    )

    system: Text = "embeddings"
    feature: Feature = Feature(n_frames=1)
    fit: Fit = Fit(epochs=1, validation_split=0)
    back_end: BackEndSettings = BackEndSettings(name="nearest_neighbour")
    network: PrecomputedNetwork = PrecomputedNetwork()
