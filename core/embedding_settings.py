"""The settings of the systems that score by a back end, as in `core.system_settings`."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from core.back_end_settings import BackEndSettings
from core.run_settings import TORCHAUDIO, Feature, Fit, NamedDescription, SystemSettings
from core.schema import (
    Block,
    Boolean,
    Count,
    Counts,
    Fraction,
    Fractions,
    NotNegative,
    Pairs,
    Positive,
    Text,
)


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
    takes_two_channels: ClassVar[bool] = True
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


class DisSpecFit(Fit):
    """How the discriminative embeddings are trained."""

    weight_decay: NotNegative = 0.01
    mixup: Fraction = 0.5


class DisSpecNetwork(Block):
    """The network of the discriminative embeddings, and the centres of its classes."""

    seconds: Positive = 10.0
    width: Count = 128
    convolutions: Pairs = ((256, 64), (64, 32), (16, 4))
    spectrograms: Pairs = ((1024, 512),)
    lowest: NotNegative = 200.0
    highest: Positive = 8000.0
    squeeze: Count = 16
    sub_clusters: Count = 16
    train_centres: Boolean = True


_DIS_FEATURE = Feature(input="waveform", n_frames=1, classes="attributes_and_domain")
_DIS_FIT = DisSpecFit(epsilon=1e-8, epochs=16, batch_size=64, validation_split=0, train_on="both")
# By the first year of a length of clips; 2021 has that of 2022, 2025 and 2026 that of 2024.
_DIS_RELEASES: dict[str, dict[str, Any]] = {
    "dcase2020": {"network": {"seconds": 11.0}},
    "dcase2022": {"network": {"seconds": 10.0}},
    "dcase2023": {"network": {"seconds": 18.0}},
    "dcase2024": {"network": {"seconds": 12.0}},
}
_DisRelease = Literal["dcase2020", "dcase2022", "dcase2023", "dcase2024"]


class DisSpecSettings(SystemSettings):
    """Discriminative embeddings of the spectrum and of one spectrogram."""

    classifier: ClassVar[bool] = True
    joint: ClassVar[bool] = True
    takes_back_end: ClassVar[bool] = True
    takes_two_channels: ClassVar[bool] = True
    releases: ClassVar[dict[str, dict[str, Any]]] = _DIS_RELEASES
    description: ClassVar[NamedDescription] = NamedDescription(
        name="Discriminative embeddings",
        abbreviation="DisSpec",
        data_augmentation="mixup",
        acoustic_features="spectrum, spectrogram",
        machine_learning_method="CNN, k-NN",
        aggregation_method="none",  # its input is the whole clip
    )

    system: Text = "dis_spec"
    feature: Feature = _DIS_FEATURE
    fit: DisSpecFit = _DIS_FIT
    back_end: BackEndSettings = BackEndSettings(name="nearest_neighbour")
    network: DisSpecNetwork = DisSpecNetwork()
    release: _DisRelease = "dcase2022"


class DisMultispecSettings(SystemSettings):
    """Discriminative embeddings of the spectrum and of three spectrograms."""

    classifier: ClassVar[bool] = True
    joint: ClassVar[bool] = True
    takes_back_end: ClassVar[bool] = True
    takes_two_channels: ClassVar[bool] = True
    releases: ClassVar[dict[str, dict[str, Any]]] = _DIS_RELEASES
    description: ClassVar[NamedDescription] = NamedDescription(
        name="Discriminative embeddings of three resolutions",
        abbreviation="DisMultispec",
        data_augmentation="mixup",
        acoustic_features="spectrum, spectrograms",
        machine_learning_method="CNN, k-NN",
        aggregation_method="none",  # its input is the whole clip
    )

    system: Text = "dis_multispec"
    feature: Feature = _DIS_FEATURE
    fit: DisSpecFit = _DIS_FIT
    back_end: BackEndSettings = BackEndSettings(name="nearest_neighbour")
    network: DisSpecNetwork = DisSpecNetwork(spectrograms=((256, 128), (1024, 512), (4096, 2048)))
    release: _DisRelease = "dcase2022"
