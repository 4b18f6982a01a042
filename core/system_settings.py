"""One class of settings per system, with its published values.

Its fields are the keys of the system's block in `baseline.yaml`, its defaults the shipped values.
It also has what must be known of a system before it is loaded, such as whether it is joint.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from core import embedding_settings
from core.run_settings import TORCHAUDIO, Feature, Fit, NamedDescription, SystemSettings
from core.schema import (
    Block,
    Boolean,
    Bottlenecks,
    Count,
    CountFromTwo,
    Counts,
    EvenCount,
    FourCounts,
    Fraction,
    Natural,
    NotNegative,
    Positive,
    Text,
)

AEGAN_AD_SCORES = (
    *("D_maha", "D_knn", "D_lof", "D_cos"),
    *("G_x_2_sum", "G_x_2_min", "G_x_2_max", "G_x_1_sum", "G_x_1_min", "G_x_1_max"),
    *("G_z_2_sum", "G_z_2_min", "G_z_2_max", "G_z_1_sum", "G_z_1_min", "G_z_1_max"),
    *("G_z_cos_sum", "G_z_cos_min", "G_z_cos_max"),
)


class DenseNetwork(Block):
    """A stack of dense layers, its latent, and its mirror image."""

    units: Counts = (128, 128, 128, 128)
    latent: Count = 8
    momentum: Fraction = 0.99
    epsilon: Positive = 0.001


class DenseAENetwork(DenseNetwork):
    """The dense autoencoder's network, and whose conventions it follows.

    framework : where the weights start, whether the running variance is unbiased, and where Adam
        adds its epsilon
    """

    framework: Literal["keras", "pytorch"] = "keras"


Pooling = Literal["mean", "max", "gwrp"]


class DenseAESettings(SystemSettings):
    """The dense autoencoder of the official baseline."""

    official: ClassVar[bool] = True
    description: ClassVar[NamedDescription] = NamedDescription(
        name="Dense autoencoder",
        abbreviation="AE",
        machine_learning_method="AE",
        aggregation_method="average",
    )
    releases: ClassVar[dict[str, dict[str, Any]]] = {
        "dcase2022": {},
        "dcase2023": {
            "fit": {"epsilon": 1e-8, "batch_size": 256},
            "network": {"framework": "pytorch"},
        },
        "ae_asd": {
            "feature": TORCHAUDIO,
            "fit": {
                "epsilon": 1e-8,
                "epochs": 300,
                "batch_size": 39552,
                "validation_split": 0,
                "train_on": "both",
            },
            "network": {"framework": "pytorch", "momentum": 0.9, "epsilon": 1e-5},
        },
    }

    system: Text = "ae"
    score: Literal["mse", "selective_mahalanobis"] = "mse"
    pool_type: Pooling = "mean"
    decay: Fraction = 0.99
    network: DenseAENetwork = DenseAENetwork()
    release: Literal["dcase2022", "dcase2023", "ae_asd"] = "dcase2022"


class VAESettings(SystemSettings):
    """AE-ASD's variational autoencoder."""

    description: ClassVar[NamedDescription] = NamedDescription(
        name="Variational autoencoder",
        abbreviation="VAE",
        machine_learning_method="VAE",
        aggregation_method="average",
    )

    system: Text = "vae"
    pool_type: Pooling = "mean"
    decay: Fraction = 0.99
    feature: Feature = Feature(**TORCHAUDIO)
    fit: Fit = Fit(epsilon=1e-8, epochs=300, batch_size=39552, validation_split=0, train_on="both")
    network: DenseNetwork = DenseNetwork(momentum=0.9, epsilon=1e-5)


class IDNNSettings(SystemSettings):
    """AE-ASD's interpolation DNN."""

    description: ClassVar[NamedDescription] = NamedDescription(
        name="Interpolation DNN",
        abbreviation="IDNN",
        machine_learning_method="IDNN",
        aggregation_method="average",
    )

    system: Text = "idnn"
    pool_type: Pooling = "mean"
    decay: Fraction = 0.99
    feature: Feature = Feature(**TORCHAUDIO)
    fit: Fit = Fit(epsilon=1e-8, epochs=300, batch_size=39552, validation_split=0, train_on="both")
    network: DenseNetwork = DenseNetwork(momentum=0.9, epsilon=1e-5)


class MobileNetV2Network(Block):
    """Keras's MobileNetV2."""

    alpha: Positive = 0.5
    momentum: Fraction = 0.999


class MobileNetV2Settings(SystemSettings):
    """The MobileNetV2 section classifier of the official baseline."""

    classifier: ClassVar[bool] = True
    official: ClassVar[bool] = True
    takes_back_end: ClassVar[bool] = True
    description: ClassVar[NamedDescription] = NamedDescription(
        name="MobileNetV2 classifier",
        abbreviation="MNetV2",
        machine_learning_method="CNN",
        aggregation_method="average",
    )

    system: Text = "mobilenet_v2"
    feature: Feature = Feature(n_frames=64, n_hop_frames=8)
    fit: Fit = Fit(lr=1e-5, epochs=20, batch_size=32)
    network: MobileNetV2Network = MobileNetV2Network()
    unseen_section: Literal["error", "last_class"] = "error"
    evaluation: Literal["release", "common"] = "release"

    def own_definition(self) -> str:
        """Return the definition of the release of 2022, where `evaluation` asks for it."""
        return "2022_mobilenet_v2" if self.evaluation == "release" else ""


class AEGANADFeature(Feature):
    """How AEGAN-AD's clips become frames, and frames windows."""

    released_hop: Boolean = False


class AEGANADFit(Fit):
    """How AEGAN-AD's generator and critic are trained."""

    removed: ClassVar[dict[str, str]] = {"deval": "fit.train_on: both is what deval: true was"}

    ncritic: Count = 1
    lambda_gp: NotNegative = 10.0
    feat_match_eff: NotNegative = 0.1
    match_mu: NotNegative = 1.0
    match_sigma: NotNegative = 0.0
    lr_discriminator: Positive = 0.0002


class AEGANADNetwork(Block):
    """AEGAN-AD's encoder, decoder and discriminator."""

    nz: Count = 256
    ndf: Count = 32
    ngf: CountFromTwo = 32
    generator_norm: Literal["ln", "bn", "in"] = "ln"
    discriminator_norm: Literal["ln", "bn", "in"] = "ln"
    encoder_first_norm: Boolean = True
    encoder_act: Literal["leakyrelu", "relu", "tanh"] = "leakyrelu"
    decoder_act: Literal["leakyrelu", "relu", "tanh"] = "relu"
    layer_norm_epsilon: Positive = 1e-5
    batch_norm_epsilon: Positive = 1e-5
    batch_norm_momentum: Fraction = 0.9


class AEGANADSettings(SystemSettings):
    """AEGAN-AD."""

    takes_back_end: ClassVar[bool] = True
    description: ClassVar[NamedDescription] = NamedDescription(
        name="AEGAN-AD",
        abbreviation="AEGAN-AD",
        machine_learning_method="GAN",
        aggregation_method="average",
    )
    publishes_best_score: ClassVar[bool] = True

    releases: ClassVar[dict[str, dict[str, Any]]] = {
        "dcase2022": {
            "machines": {
                "ToyCar": {"fit": {"beta_1": 0.0}, "network": {"encoder_first_norm": False}},
                "bearing": {"fit": {"train_on": "both"}, "network": {"encoder_first_norm": False}},
                "fan": {"fit": {"train_on": "both"}, "network": {"encoder_first_norm": False}},
                "gearbox": {"fit": {"match_sigma": 1.0}, "network": {"generator_norm": "bn"}},
            }
        },
        "dcase2020": {
            "fit": {"epochs": 50, "feat_match_eff": 1.0},
            "machines": {
                "ToyCar": {"fit": {"train_on": "both", "match_sigma": 1.0}},
                "ToyConveyor": {"fit": {"train_on": "both", "feat_match_eff": 0.05}},
                "pump": {"fit": {"train_on": "both", "match_sigma": 1.0}},
                "slider": {"fit": {"train_on": "both"}, "network": {"generator_norm": "bn"}},
                "valve": {
                    "fit": {"train_on": "both", "feat_match_eff": 0.05},
                    "network": {"generator_norm": "bn"},
                },
            },
        },
    }

    system: Text = "aegan_ad"
    score: Literal[AEGAN_AD_SCORES] = "D_maha"
    feature: AEGANADFeature = AEGANADFeature(n_frames=128, n_fft=2048, floor=1e-10, top_db=80)
    fit: AEGANADFit = AEGANADFit(lr=0.0002, beta_1=0.5, epsilon=1e-8, epochs=60, validation_split=0)
    network: AEGANADNetwork = AEGANADNetwork()
    release: Literal["dcase2022", "dcase2020"] = "dcase2022"


class GRLNetFit(Fit):
    """How GRLNet's two generators and its discriminator are trained."""

    lr_discriminator: Positive = 0.0001


class GRLNetNetwork(Block):
    """GRLNet's generators and discriminator, and the weights of its losses and its score."""

    channels: FourCounts = (64, 128, 256, 512)
    kernel_regional: Count = 7
    kernel_local: Count = 3
    kernel_discriminator: Count = 5
    alpha: Fraction = 0.5
    adversarial_training_factor: Fraction = 0.5
    comprehensive_output_factor: Fraction = 0.5


class GRLNetSettings(SystemSettings):
    """GRLNet."""

    description: ClassVar[NamedDescription] = NamedDescription(
        name="GRLNet",
        abbreviation="GRLNet",
        machine_learning_method="GAN",
        aggregation_method="average",
    )

    releases: ClassVar[dict[str, dict[str, Any]]] = {
        f"length_{n}": {"feature": {"n_frames": n, "n_hop_frames": n}}
        for n in (233472, 80000, 16000)
    }

    system: Text = "grlnet"
    feature: Feature = Feature(input="waveform", n_frames=4096, n_hop_frames=32768)
    fit: GRLNetFit = GRLNetFit(epsilon=1e-8, epochs=1, batch_size=2, validation_split=0)
    network: GRLNetNetwork = GRLNetNetwork()
    release: Literal["none", "length_233472", "length_80000", "length_16000"] = "none"
    equal_error: Boolean = True

    def reports_equal_error_rate(self) -> bool:
        """Return whether `equal_error` asks for the metrics at the equal error threshold."""
        return self.equal_error


class STgramMFNFit(Fit):
    """How STgram-MFN is trained."""

    schedule_start: Natural = 20
    lr_floor: Fraction = 0.1


class STgramMFNNetwork(Block):
    """STgram-MFN's network, its margin, and its back end."""

    seconds: Positive = 10.0
    bottlenecks: Bottlenecks = ((2, 128, 2, 2), (4, 128, 2, 2), (4, 128, 2, 2))
    use_arcface: Boolean = True
    margin: Fraction = 0.7
    scale: Positive = 30.0
    sub_centers: Count = 1
    gmm: Natural = 0


class STgramMFNSettings(SystemSettings):
    """STgram-MFN."""

    classifier: ClassVar[bool] = True
    joint: ClassVar[bool] = True
    takes_back_end: ClassVar[bool] = True
    description: ClassVar[NamedDescription] = NamedDescription(
        name="STgram-MFN",
        abbreviation="STgram-MFN",
        acoustic_features="log-mel energies, raw waveform",
        machine_learning_method="CNN",
        aggregation_method="none",  # its input is the whole clip
    )

    system: Text = "stgram_mfn"
    feature: Feature = Feature(input="waveform", n_frames=1, **TORCHAUDIO)
    fit: STgramMFNFit = STgramMFNFit(
        lr=0.0001, epsilon=1e-8, epochs=300, batch_size=128, validation_split=0, train_on="both"
    )
    network: STgramMFNNetwork = STgramMFNNetwork()


class AnomalyTransformerNetwork(Block):
    """The Anomaly Transformer's network, and the weights of its losses and its score."""

    d_model: EvenCount = 512
    heads: Count = 8
    n_layers: Count = 3
    d_ff: Count = 512
    k: Positive = 3.0
    temperature: Positive = 50.0
    standardise: Boolean = True


class AnomalyTransformerSettings(SystemSettings):
    """The Anomaly Transformer."""

    description: ClassVar[NamedDescription] = NamedDescription(
        name="Anomaly Transformer",
        abbreviation="AnomTrans",
        machine_learning_method="Transformer",
        aggregation_method="average",
    )

    system: Text = "anomaly_transformer"
    feature: Feature = Feature(n_frames=100, n_hop_frames=20)
    fit: Fit = Fit(lr=0.0001, epsilon=1e-8, epochs=10, batch_size=256, validation_split=0)
    network: AnomalyTransformerNetwork = AnomalyTransformerNetwork()


def system_classes() -> dict[str, type[SystemSettings]]:
    """Return the settings class of every system, by the system's name.

    Those above come first, in their order, then those of `core.embedding_settings`.
    """
    later = embedding_settings.__name__
    kinds = sorted(SystemSettings.__subclasses__(), key=lambda kind: kind.__module__ == later)
    return {kind.model_fields["system"].default: kind for kind in kinds}
