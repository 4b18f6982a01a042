"""The settings that all systems share, and the base class of those of each system."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal, Protocol

from pydantic import Field, PrivateAttr
from typing_extensions import Self

from core.back_end_settings import BackEndSettings
from core.schema import (
    Block,
    Blocks,
    Boolean,
    Count,
    Decibels,
    Directory,
    Inside,
    Natural,
    OptionalText,
    Part,
    Positive,
    Rate,
    Text,
)

Values = dict[tuple[str, ...], Any]  # ("fit", "epochs") → its value


class Resolver(Protocol):
    """What settings are resolved from: `core.settings.Config`."""

    def resolve(self, system: str, machine_type: str | None, over: Values) -> SystemSettings:
        """Return the settings of a system, or of one machine type; `over` wins."""


class Sectioned(Protocol):
    """Anything with a section and what else a class is made from, such as `data.clips.Clip`."""

    section: str
    machine_section: str
    attributes: tuple[tuple[str, str], ...]
    named_domain: str


class Feature(Block):
    """How clips become frames, and frames windows."""

    input: Literal["log_mel", "waveform"] = "log_mel"
    sample_rate: Count = 16000
    channel: Literal["first", "second", "mix", "near_minus_far"] = "first"
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
    classes: Literal["section", "attributes", "domain", "attributes_and_domain"] = "section"


TORCHAUDIO = {"mel_scale": "htk", "mel_norm": "none", "pad_mode": "reflect", "floor": 1e-10}


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
    train_on: Literal["same", "dev", "eval", "both"] = "same"


class Description(Block):
    """What a challenge package says about a system, as far as it cannot be computed."""

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
    """The description of one system or ensemble, with its name."""

    name: OptionalText = None
    abbreviation: OptionalText = None


class SharedSettings(Block):
    """The settings of every run, whatever its system."""

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
    threshold_fit: Literal["checked", "official"] = "checked"
    feature: Feature = Feature()
    fit: Fit = Fit()
    back_end: BackEndSettings = BackEndSettings()


class SystemSettings(SharedSettings):
    """The base class of the settings of a system; each system has a subclass.

    Class attributes
    ----------------
    joint : one network for all machine types, whose classes are all their sections
    classifier : it learns to tell the classes of `feature.classes` apart
    has_network : it learns weights, over epochs; without, only its back end learns
    takes_back_end : it has embeddings that the back end of `back_end` can score
    takes_two_channels : it can subtract the embedding of a far microphone, see `feature.channel`
    reads_files : it reads a file of its own for each clip, see `System.clip_files`, and not the
            clip
    official : the official baseline's own `.hdf5` is a trained model of this system
    releases : name of a release → the values that it has in place of the defaults, among them
            `machines`, machine type → values; `release` names the one that counts
    description : what a challenge package says about the system
    publishes_best_score : its release publishes the best of several scores by the test labels
    """

    joint: ClassVar[bool] = False
    classifier: ClassVar[bool] = False
    has_network: ClassVar[bool] = True
    takes_back_end: ClassVar[bool] = False
    takes_two_channels: ClassVar[bool] = False
    reads_files: ClassVar[bool] = False
    official: ClassVar[bool] = False
    releases: ClassVar[dict[str, dict[str, Any]]] = {}
    description: ClassVar[NamedDescription] = NamedDescription()
    publishes_best_score: ClassVar[bool] = False

    system: Text

    # What they were resolved from; see `core.settings.Config.resolve`.
    _config: Resolver | None = PrivateAttr(None)
    _machine_type: str | None = PrivateAttr(None)
    _over: Values = PrivateAttr(default_factory=dict)
    _given: Values = PrivateAttr(default_factory=dict)

    def resolved(
        self,
        config: Resolver,
        machine_type: str | None,
        over: Values,
        given: Values,
    ) -> Self:
        """Return these settings after recording what they were resolved from."""
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
        """Return whether the person gave the value of a dotted key, in a file or by --set."""
        path = tuple(key.split("."))
        return path in self._given and path not in self._over

    def given(self) -> dict[str, str]:
        """Return where the person's values are from: dotted key → file or option."""
        return {".".join(path): origin for path, origin in self._given.items()}

    def class_name(self, clip: Sectioned) -> str:
        """Return the class of a clip: its section, with its machine type where one is joint.

        A classifier with other `feature.classes` adds the domain or the attribute values, as in
        "section_00: car_A1_spd_28V". A name that has none of them gives a class that no training
        clip is of.
        """
        section = clip.machine_section if self.joint else clip.section
        if not self.classifier or self.feature.classes == "section":
            return section
        if self.feature.classes == "domain":
            return f"{section}: {clip.named_domain or 'hidden'}"
        words = [word for pair in sorted(clip.attributes) for word in pair if word]
        if self.feature.classes == "attributes_and_domain":
            words += [clip.named_domain] if clip.named_domain else []
            return f"{section}: {'_'.join(words)}" if words else section
        return f"{section}: {'_'.join(words) or 'hidden'}"

    def section_of(self, class_name: str) -> str:
        """Return the section, with the machine type where one is joint, of a class."""
        return class_name.partition(": ")[0]

    def training_datasets(self, mode: str) -> tuple[str, ...]:
        """Return the datasets whose training clips a network of a dataset is trained on.

        mode : that of the command, "dev" or "eval"; it comes first where both are trained on
        """
        other = "eval" if mode == "dev" else "dev"
        choices = {"same": (mode,), "both": (mode, other)}
        return choices.get(self.fit.train_on, (self.fit.train_on,))

    def own_definition(self) -> str:
        """Return the name of the definition in `evaluation.years` that a system evaluates by.

        It counts in its year only; "" means that of all systems.
        """
        return ""

    def reports_equal_error_rate(self) -> bool:
        """Return whether testing also writes the metrics at the equal error threshold."""
        return False


class Submission(Block):
    """What a challenge package says about its makers and its systems."""

    author: OptionalText = None
    institute: OptionalText = None
    authors: Blocks = None
    source_code: OptionalText = None
    external_datasets: Blocks = None
    description: Description = Description(development_data_usage="development")
    systems: dict[str, NamedDescription] = Field(default_factory=dict)
