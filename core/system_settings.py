"""What can be set: the shared settings, and one class per system with its published values.

A class is a system's own: its fields are the keys of the system's block in `baseline.yaml`, its
defaults the shipped values. What else has to be known of a system without loading it, such as
whether it is joint, stands here too.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field, PrivateAttr
from typing_extensions import Self

from core.schema import (
    Block,
    Blocks,
    Boolean,
    Bottlenecks,
    Count,
    CountFromTwo,
    Counts,
    Decibels,
    Directory,
    EvenCount,
    FourCounts,
    Fraction,
    Inside,
    Natural,
    NotNegative,
    OptionalText,
    Part,
    Positive,
    Rate,
    Text,
)

if TYPE_CHECKING:
    from core.settings import Config, Values

AEGAN_AD_SCORES = (
    *("D_maha", "D_knn", "D_lof", "D_cos"),
    *("G_x_2_sum", "G_x_2_min", "G_x_2_max", "G_x_1_sum", "G_x_1_min", "G_x_1_max"),
    *("G_z_2_sum", "G_z_2_min", "G_z_2_max", "G_z_1_sum", "G_z_1_min", "G_z_1_max"),
    *("G_z_cos_sum", "G_z_cos_min", "G_z_cos_max"),
)


class Feature(Block):
    """How clips become frames, and frames windows."""

    input: Literal["log_mel", "waveform"] = "log_mel"
    sample_rate: Count = 16000
    channel: Literal["first", "mix"] = "first"
    n_mels: Count = 128
    n_frames: Count = 5
    n_hop_frames: Count = 1
    n_fft: Count = 1024
    hop_length: Count = 512
    power: Positive = 2.0
    mel_scale: Literal["slaney", "htk"] = "slaney"
    mel_norm: Literal["slaney", "none"] = "slaney"
    pad_mode: Literal["constant", "reflect"] = "constant"
    floor: Positive = 2.220446049250313e-16
    top_db: Decibels = 0.0


class Fit(Block):
    """How a system is trained."""

    lr: Positive = 0.001
    beta_1: Part = 0.9
    beta_2: Part = 0.999
    epsilon: Positive = 1e-7
    epochs: Count = 100
    batch_size: Count = 512
    shuffle: Boolean = True
    validation_split: Part = 0.1
    verbose: Literal[0, 1, 2] = 1
    precision: Literal["float32", "mixed_float16", "mixed_bfloat16"] = "float32"


class Description(Block):
    """What a challenge package says of a system, where it cannot be counted or read."""

    input_sampling_rate: OptionalText = None
    data_augmentation: OptionalText = None
    front_end: OptionalText = None
    acoustic_features: OptionalText = None
    embeddings: OptionalText = None
    machine_learning_method: OptionalText = None
    aggregation_method: OptionalText = None
    domain_adaptation_method: OptionalText = None
    domain_generalization_method: OptionalText = None
    decision_making: OptionalText = None
    external_data_usage: OptionalText = None
    development_data_usage: OptionalText = None


class NamedDescription(Description):
    """The same of one system or ensemble, with its name."""

    name: OptionalText = None
    abbreviation: OptionalText = None


class SharedSettings(Block):
    """What every run has, whichever system it is of."""

    dev_directory: Directory = "../dev_data"
    eval_directory: Directory = "../eval_data"
    model_directory: Directory = "./model/{system}"
    result_directory: Directory = "./result/{system}"
    cache_directory: Directory = "./cache"
    result_file: Text = "result.csv"
    max_fpr: Rate = 0.1
    seed: Natural = 0
    decision_threshold: Inside = 0.9
    threshold_scope: Literal["section", "machine_type"] = "section"
    feature: Feature = Feature()
    fit: Fit = Fit()


class SystemSettings(SharedSettings):
    """What the settings of every system have; a subclass per system adds its own.

    Class attributes
    ----------------
    joint : one network for all machine types, which tells their sections apart
    official : the official baseline's own `.hdf5` is a trained model of this system
    releases : name of a release → the values that it has in place of the defaults, among them
            `machines`, machine type → values; `release` names the one that counts
    description : what a challenge package says of the system
    """

    joint: ClassVar[bool] = False
    official: ClassVar[bool] = False
    releases: ClassVar[dict[str, dict[str, Any]]] = {}
    description: ClassVar[NamedDescription] = NamedDescription()

    system: Text

    # What they were resolved from; see `core.settings.Config.resolve`.
    _config: Config | None = PrivateAttr(None)
    _machine_type: str | None = PrivateAttr(None)
    _over: Values = PrivateAttr(default_factory=dict)
    _given: dict[tuple[str, ...], str] = PrivateAttr(default_factory=dict)

    def resolved(
        self,
        config: Config,
        machine_type: str | None,
        over: Values,
        given: dict[tuple[str, ...], str],
    ) -> Self:
        """Return these settings, which know what they were resolved from."""
        self._config, self._machine_type = config, machine_type
        self._over, self._given = over, given
        return self

    def for_machine(self, machine_type: str) -> Self:
        """Return the settings of one machine type."""
        return self._config.resolve(self.system, machine_type, self._over)

    def with_values(self, values: Mapping[str, Any]) -> Self:
        """Return the settings with other values, by their dotted keys; they win over all else."""
        over = self._over | {tuple(key.split(".")): value for key, value in values.items()}
        return self._config.resolve(self.system, self._machine_type, over)

    def value(self, key: str) -> Any:
        """Return the value of a dotted key; None where there is no such key."""
        value: Any = self
        for name in key.split("."):
            value = getattr(value, name, None)
        return value

    def is_given(self, key: str) -> bool:
        """Say whether a dotted key has its value from the person, in a file or by --set."""
        path = tuple(key.split("."))
        return path in self._given and path not in self._over

    def given(self) -> dict[str, str]:
        """Return where the person's values are from: dotted key → file or option."""
        return {".".join(path): origin for path, origin in self._given.items()}

    def trains_on_both_datasets(self) -> bool:
        """Say whether the training clips of development and evaluation count together."""
        return False

    def reports_equal_error_rate(self) -> bool:
        """Say whether testing writes the metrics at the equal error threshold too."""
        return False


class DenseNetwork(Block):
    """A stack of dense layers, its latent, and its mirror image."""

    units: Counts = (128, 128, 128, 128)
    latent: Count = 8
    momentum: Fraction = 0.99
    epsilon: Positive = 0.001


TORCHAUDIO = {"mel_scale": "htk", "mel_norm": "none", "pad_mode": "reflect", "floor": 1e-10}


class DenseAESettings(SystemSettings):
    """The dense autoencoder of the official baseline."""

    official: ClassVar[bool] = True
    description: ClassVar[NamedDescription] = NamedDescription(
        name="Dense autoencoder",
        abbreviation="AE",
        machine_learning_method="AE",
        aggregation_method="average",
    )

    system: Text = "ae"
    network: DenseNetwork = DenseNetwork()


class VAESettings(SystemSettings):
    """AE-ASD's variational autoencoder."""

    description: ClassVar[NamedDescription] = NamedDescription(
        name="Variational autoencoder",
        abbreviation="VAE",
        machine_learning_method="VAE",
        aggregation_method="average",
    )

    system: Text = "vae"
    feature: Feature = Feature(**TORCHAUDIO)
    fit: Fit = Fit(epsilon=1e-8, epochs=300, batch_size=39552, validation_split=0)
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
    feature: Feature = Feature(**TORCHAUDIO)
    fit: Fit = Fit(epsilon=1e-8, epochs=300, batch_size=39552, validation_split=0)
    network: DenseNetwork = DenseNetwork(momentum=0.9, epsilon=1e-5)


class MobileNetV2Network(Block):
    """Keras's MobileNetV2."""

    alpha: Positive = 0.5
    momentum: Fraction = 0.999


class MobileNetV2Settings(SystemSettings):
    """The MobileNetV2 section classifier of the official baseline."""

    official: ClassVar[bool] = True
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


class AEGANADFit(Fit):
    """How AEGAN-AD's generator and critic are trained."""

    deval: Boolean = False
    ncritic: Count = 1
    lambda_gp: NotNegative = 10.0
    feat_match_eff: NotNegative = 0.1
    match_mu: NotNegative = 1.0
    match_sigma: NotNegative = 0.0


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

    description: ClassVar[NamedDescription] = NamedDescription(
        name="AEGAN-AD",
        abbreviation="AEGAN-AD",
        machine_learning_method="GAN",
        aggregation_method="average",
    )

    releases: ClassVar[dict[str, dict[str, Any]]] = {
        "dcase2022": {
            "machines": {
                "ToyCar": {"fit": {"beta_1": 0.0}, "network": {"encoder_first_norm": False}},
                "bearing": {"fit": {"deval": True}, "network": {"encoder_first_norm": False}},
                "fan": {"fit": {"deval": True}, "network": {"encoder_first_norm": False}},
                "gearbox": {"fit": {"match_sigma": 1.0}, "network": {"generator_norm": "bn"}},
            }
        },
        "dcase2020": {
            "fit": {"epochs": 50, "feat_match_eff": 1.0},
            "machines": {
                "ToyCar": {"fit": {"deval": True, "match_sigma": 1.0}},
                "ToyConveyor": {"fit": {"deval": True, "feat_match_eff": 0.05}},
                "pump": {"fit": {"deval": True, "match_sigma": 1.0}},
                "slider": {"fit": {"deval": True}, "network": {"generator_norm": "bn"}},
                "valve": {
                    "fit": {"deval": True, "feat_match_eff": 0.05},
                    "network": {"generator_norm": "bn"},
                },
            },
        },
    }

    system: Text = "aegan_ad"
    score: Literal[AEGAN_AD_SCORES] = "D_maha"
    feature: Feature = Feature(n_frames=128, n_fft=2048, floor=1e-10, top_db=80)
    fit: AEGANADFit = AEGANADFit(lr=0.0002, beta_1=0.5, epsilon=1e-8, epochs=60, validation_split=0)
    network: AEGANADNetwork = AEGANADNetwork()
    release: Literal["dcase2022", "dcase2020"] = "dcase2022"

    def trains_on_both_datasets(self) -> bool:
        return self.fit.deval


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

    system: Text = "grlnet"
    feature: Feature = Feature(input="waveform", n_frames=4096, n_hop_frames=32768)
    fit: GRLNetFit = GRLNetFit(epsilon=1e-8, epochs=5, batch_size=2, validation_split=0)
    network: GRLNetNetwork = GRLNetNetwork()
    equal_error: Boolean = True

    def reports_equal_error_rate(self) -> bool:
        return self.equal_error


class STgramMFNFit(Fit):
    """How STgram-MFN is trained."""

    schedule_start: Natural = 20
    lr_floor: Fraction = 0.1


class STgramMFNNetwork(Block):
    """STgram-MFN's network, its margin, and its back end."""

    seconds: Positive = 10.0
    bottlenecks: Bottlenecks = ((2, 128, 2, 2), (4, 128, 2, 2), (4, 128, 2, 2))
    margin: Fraction = 0.7
    scale: Positive = 30.0
    sub_centers: Count = 1
    gmm: Natural = 0


class STgramMFNSettings(SystemSettings):
    """STgram-MFN."""

    joint: ClassVar[bool] = True
    description: ClassVar[NamedDescription] = NamedDescription(
        name="STgram-MFN",
        abbreviation="STgram-MFN",
        acoustic_features="log-mel energies, raw waveform",
        machine_learning_method="CNN",
        aggregation_method="none",  # it hears the whole clip at once
    )

    system: Text = "stgram_mfn"
    feature: Feature = Feature(input="waveform", n_frames=1, **TORCHAUDIO)
    fit: STgramMFNFit = STgramMFNFit(
        lr=0.0001, epsilon=1e-8, epochs=300, batch_size=128, validation_split=0
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


class Submission(Block):
    """What a challenge package says of its makers and its systems."""

    author: OptionalText = None
    institute: OptionalText = None
    authors: Blocks = None
    source_code: OptionalText = None
    external_datasets: Blocks = None
    description: Description = Description(development_data_usage="development")
    systems: dict[str, NamedDescription] = Field(default_factory=dict)


def system_classes() -> dict[str, type[SystemSettings]]:
    """Return the settings class of every system, by the system's name, in the order above."""
    return {kind.model_fields["system"].default: kind for kind in SystemSettings.__subclasses__()}
