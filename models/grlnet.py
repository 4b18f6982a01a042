"""GRLNet: a one-class classifier learnt against a regional and a local generator, on raw signals.

Sources: Sha et al., "Regional-Local Adversarially Learned One-Class Classifier Anomalous Sound
Detection in Global Long-Term Space", KDD 2022 (arXiv 2202.13245); CavitationDetection/GRLNet
(MIT), PyTorch.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import keras
import numpy as np
import tensorflow as tf
from keras import layers

from checkpoints.assign import Variables
from checkpoints.inferred_settings import (
    InferredSettings,
    Tensors,
    check_network_size,
    size_of,
    weights_between,
)
from core.errors import BadInput
from core.run_settings import SystemSettings
from data.frames import Frames
from models.base import clip_means
from models.callbacks import Resume
from models.layers import (
    Adam,
    torch_batch_norm,
    torch_dense,
    torch_start,
    torch_variables,
)
from models.waveform import WaveformSystem

SCORES = ("comprehensive", "regional", "local", "real")


class GRLNet(WaveformSystem):
    """Two generators clean a noisy segment, a discriminator tells segments from what they made.

    Score of a segment x, with D near 0 for what the discriminator takes for real and R, L the
    generators: c (D(R(x)) + D(L(x))) + (1 - c) D(x), c the comprehensive output factor. Score of
    a clip: the mean over its segments, n_hop_frames samples apart; what is left at a clip's end is
    not heard, and a clip shorter than a segment is filled up with zeros.
    Its parts D(R(x)), D(L(x)) and D(x) are scores too, in SCORES, after that of a clip.

    Quirks of the release that are followed:
    1. One forward pass serves the losses of all three networks, and the gradient of the
       generators' loss is added to the discriminator's own before its step.
    2. The noise has the deviation 1 whatever the signal's; its signal-to-noise option is unused.
    """

    loss_names = ("loss", "g_sum", "regional_recon", "local_recon", "regional_adv", "local_adv")
    values_per_scoring_batch = 2**15  # a sample becomes hundreds of values inside

    def __init__(self, run: SystemSettings, sections: list[str]):
        super().__init__(run, sections)
        net, fit = run.network, run.fit
        length, channels = self.n_frames, net.channels
        self.alpha = net.alpha
        self.adversarial = net.adversarial_training_factor
        self.comprehensive = net.comprehensive_output_factor
        self.regional = generator(length, channels, net.kernel_regional, "regional")
        self.local = generator(length, channels, net.kernel_local, "local")
        self.discriminator = discriminator(length, channels, net.kernel_discriminator)
        self.seeds = keras.random.SeedGenerator(run.seed)
        self.last_scores: tuple[Frames, np.ndarray] | None = None  # (n_clips, 4)
        self.local_optimizer = Adam(fit, torch=True)
        self.discriminator_optimizer = Adam(
            fit.model_copy(update={"lr": fit.lr_discriminator}), torch=True
        )
        # Keras's own optimizer is the regional generator's.
        self.compile(Adam(fit, torch=True), jit_compile=False)

    @classmethod
    def incompatibilities(
        cls, run: SystemSettings, trained: list[str], scored: list[str]
    ) -> list[str]:
        net, length = run.network, run.feature.n_frames
        left = length
        for _ in net.channels:
            left = (left - net.kernel_discriminator) // 2 + 1
        if min(left, length - 4 * (max(net.kernel_regional, net.kernel_local) - 1)) > 0:
            return []
        return [
            f"feature.n_frames is {length}: too few samples for the network's kernels; raise it"
        ]

    def call(self, x: tf.Tensor, training: bool = False) -> tuple[tf.Tensor, ...]:
        """Run segments (batch, length) through all networks.

        Returns
        -------
        R(x), L(x) : (batch, length)
        D(R(x)), D(L(x)), D(x) : (batch,), before the sigmoid
        """
        return self.passes(x, x, training)

    def passes(self, x: tf.Tensor, noisy: tf.Tensor, training: bool) -> tuple[tf.Tensor, ...]:
        """Return what `call` does, the generators' input being noisy segments."""
        regional = self.regional(noisy, training=training)
        local = self.local(noisy, training=training)
        judged = [self.discriminator(y, training=training) for y in (regional, local, x)]
        return regional, local, *judged

    def noise(self, shape: tf.Tensor) -> tf.Tensor:
        """Draw what is added to the generators' input in training, from N(0, 1)."""
        return keras.random.normal(shape, seed=self.seeds)

    def compute_losses(self, x: tf.Tensor, training: bool) -> dict[str, tf.Tensor]:
        """Return the losses of segments x (batch, length); "loss" is the discriminator's."""
        regional, local, of_regional, of_local, of_real = self.passes(
            x, x + self.noise(tf.shape(x)), training
        )
        fooled = cross_entropy(of_regional, 1.0) + cross_entropy(of_local, 1.0)
        d_sum = self.alpha * cross_entropy(of_real, 0.0) + (1 - self.alpha) * fooled
        recon = [tf.reduce_mean(tf.square(made - x)) for made in (regional, local)]
        adv = [cross_entropy(judged, 0.0) for judged in (of_regional, of_local)]
        g_sum = (1 - self.adversarial) * sum(recon) + self.adversarial * sum(adv)
        losses = (d_sum, g_sum, *recon, *adv)
        return dict(zip(self.loss_names, losses, strict=True))

    def train(
        self, frames: Frames, title: str = "train", resume: Resume | None = None
    ) -> dict[str, list[float]]:
        self.last_scores = None
        self.build_optimizers()
        return super().train(frames, title, resume)

    def build_optimizers(self) -> None:
        """Give each optimizer the variables of its one network."""
        self.discriminator_optimizer.build(self.discriminator.trainable_variables)
        self.local_optimizer.build(self.local.trainable_variables)
        self.optimizer.build(self.regional.trainable_variables)

    def train_step(self, data: tuple[tf.Tensor, tf.Tensor]) -> dict[str, tf.Tensor]:
        x = self.gather_windows(self.frames, data[0])
        with tf.GradientTape(persistent=True) as tape:
            losses = self.compute_losses(x, training=True)
            g_sum = losses["g_sum"]
            both = losses["loss"] + g_sum
        for optimizer, network, loss in (
            (self.discriminator_optimizer, self.discriminator, both),
            (self.optimizer, self.regional, g_sum),
            (self.local_optimizer, self.local, g_sum),
        ):
            variables = network.trainable_variables
            optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))
        return self.update_losses(losses)

    def test_step(self, data: tuple[tf.Tensor, tf.Tensor]) -> dict[str, tf.Tensor]:
        x = self.gather_windows(self.frames, data[0])
        return self.update_losses(self.compute_losses(x, training=False))

    def windows(self, frames: Frames, hop: int) -> tuple[np.ndarray, np.ndarray]:
        """Return segments as far apart as in training, whatever `hop` asks for."""
        return super().windows(frames, self.settings.feature.n_hop_frames)

    def window_scores(self, windows: tf.Tensor, section: tf.Tensor) -> tf.Tensor:
        return self.segment_scores(windows, section)[:, 0]

    def segment_scores(self, windows: tf.Tensor, section: tf.Tensor) -> tf.Tensor:
        """Return the SCORES of segments: (batch, length) → (batch, 4)."""
        of_regional, of_local, of_real = (tf.sigmoid(judged) for judged in self(windows)[2:])
        c = self.comprehensive
        whole = c * (of_regional + of_local) + (1 - c) * of_real
        return tf.stack([whole, of_regional, of_local, of_real], axis=1)

    def score(self, frames: Frames) -> np.ndarray:
        return self.extra_scores(frames)["comprehensive"]

    def extra_scores(self, frames: Frames) -> dict[str, np.ndarray]:
        """Return the SCORES of clips, the mean over the segments of each: name → (n_clips,).

        Asked again for the frames it was asked for last, it does not run the networks again.
        """
        if self.last_scores is None or self.last_scores[0] is not frames:
            starts, owner = self.windows(frames, self.settings.feature.n_hop_frames)
            section = self.section_index(frames)[owner]
            scores = self.all_window_scores(frames, starts, section, self.segment_scores)
            self.last_scores = (frames, clip_means(scores, owner))
        return dict(zip(SCORES, self.last_scores[1].T, strict=True))

    def checkpoint_variables(self) -> Variables:
        """Return names as in the three checkpoints of the release, each after its network.

        regional.encoder.0.weight, local.gfl.layernorm.bias, discriminator.discriminator.12.bias
        """
        variables = {}
        for network in (self.regional, self.local, self.discriminator):
            for layer in network.layers:
                place = f"{network.name}.{layer.name.replace('/', '.').replace('_', '.')}"
                if isinstance(layer, GlobalFilter):
                    place = f"{place}.layernorm"
                variables |= torch_variables(layer, place)
        return variables

    marks: ClassVar[tuple[str, ...]] = ("gfl.layernorm.weight", "regional.gfl.layernorm.weight")

    @classmethod
    def gather_checkpoint(cls, files: Sequence[tuple[Path, Tensors]], system: str) -> Tensors:
        """Return the tensors of the three files, each after its network, or of one such file.

        The regional generator is the one whose kernels are longer than those of the local one;
        where they are equally long, the one with "region" in its file name.
        """
        if "regional.gfl.layernorm.weight" in files[0][1]:
            return super().gather_checkpoint(files, system)
        paths = ", ".join(str(path) for path, _ in files)
        judges = [tensors for _, tensors in files if "discriminator.0.weight" in tensors]
        makers = [file for file in files if "discriminator.0.weight" not in file[1]]
        if len(judges) != 1 or len(makers) != 2:
            raise BadInput(
                f"{paths}: {system} takes three checkpoints, of the regional and the local "
                f"generator and of the discriminator; of generators there are {len(makers)}, of "
                f"discriminators {len(judges)}"
            )
        pattern = r"(en|de)coder\.\d+\.weight"
        lengths = [size_of(tensors, (2, pattern)) or 0 for _, tensors in makers]
        if lengths[0] == lengths[1]:
            lengths = [int("region" in path.name.lower()) for path, _ in makers]
        if lengths[0] == lengths[1]:
            raise BadInput(
                f'{paths}: both generators have kernels of one length; put "regional" into the '
                "file name of the one"
            )
        (_, regional), (_, local) = makers if lengths[0] > lengths[1] else makers[::-1]
        networks = {"regional": regional, "local": local, "discriminator": judges[0]}
        return {
            f"{network}.{name}": tensor
            for network, tensors in networks.items()
            for name, tensor in tensors.items()
        }

    @classmethod
    def infer_settings(cls, tensors: Tensors, run: SystemSettings) -> InferredSettings:
        layer = r"((regional|local)\.encoder|discriminator\.discriminator)\."
        channels = [
            size_of(tensors, (0, rf"{layer}{place}\.(weight|bias)")) for place in (0, 3, 6, 9)
        ]
        kernels = {
            f"network.kernel_{network}": size_of(tensors, (2, rf"{network}\.\w+\.\d+\.weight"))
            for network in ("regional", "local", "discriminator")
        }
        length = size_of(tensors, (0, r"\w+\.gfl\.layernorm\.\w+"))
        judged = (channels[-1] or 1) * (length or 1) // 16
        longest = max(kernel or 1 for kernel in kernels.values())
        check_network_size(tensors, weights_between(channels) * longest + judged)
        values = {"feature.n_frames": length, "network.channels": channels, **kernels}
        return InferredSettings(tensors, values)


class GlobalFilter(layers.Layer):
    """Normalise a whole segment, then return the magnitudes of its spectrum.

    The normalisation has a gain and a bias for every sample; the transform is scaled to keep the
    energy. (batch, length) → (batch, length), 0 or more.
    """

    def build(self, shape: tuple[int | None, ...]) -> None:
        self.gamma = self.add_weight(shape=shape[1:], initializer="ones", name="gamma")
        self.beta = self.add_weight(shape=shape[1:], initializer="zeros", name="beta")

    def call(self, x: tf.Tensor) -> tf.Tensor:
        mean, variance = tf.nn.moments(x, axes=[-1], keepdims=True)
        x = (x - mean) * tf.math.rsqrt(variance + 1e-5) * self.gamma + self.beta
        spectrum = tf.signal.fft(tf.complex(x, tf.zeros_like(x)))
        return tf.abs(spectrum) / x.shape[-1] ** 0.5


def generator(length: int, channels: list[int], kernel: int, name: str) -> keras.Model:
    """Return a generator: (batch, length) → (batch, length) in (-1, 1).

    Parameters
    ----------
    length : samples of a segment
    channels : of the encoder's four layers; the decoder mirrors them
    kernel : samples that a convolution spans

    Layers are named by their places in the release's checkpoints.
    """
    x = keras.Input((length,))
    h = layers.Reshape((length, 1))(GlobalFilter(name="gfl")(x))
    inputs, place = [1, *channels], 0
    for number, (width, fan_in) in enumerate(zip(channels, inputs, strict=False)):
        h = convolution(layers.Conv1D, width, kernel, kernel * fan_in, f"encoder_{place}")(h)
        if number < 2:
            h = layers.ReLU()(torch_batch_norm(f"encoder_{place + 1}")(h))
        else:
            h = torch_batch_norm(f"encoder_{place + 2}")(layers.ReLU()(h))
        place += 3  # (batch, length - (number + 1) (kernel - 1), width)
    place = 0
    for width in reversed(inputs[:-1]):
        # PyTorch starts a transposed convolution by the values that it writes, not reads.
        h = convolution(layers.Conv1DTranspose, width, kernel, kernel * width, f"decoder_{place}")(
            h
        )
        if place < 9:
            h = layers.ReLU()(torch_batch_norm(f"decoder_{place + 1}")(h))
        place += 3
    h = layers.Reshape((length,))(layers.Activation("tanh")(h))
    return keras.Model(x, h, name=name)


def discriminator(length: int, channels: list[int], kernel: int) -> keras.Model:
    """Return the discriminator: (batch, length) → (batch,), before the sigmoid.

    Its values are high for what a generator made.
    """
    x = keras.Input((length,))
    h = layers.Reshape((length, 1))(GlobalFilter(name="gfl")(x))
    for number, (width, fan_in) in enumerate(zip(channels, [1, *channels], strict=False)):
        at = 3 * number
        h = convolution(
            layers.Conv1D, width, kernel, kernel * fan_in, f"discriminator_{at}", strides=2
        )(h)
        if number < 3:
            h = torch_batch_norm(f"discriminator_{at + 1}")(h)
        h = layers.ReLU()(h)
    h = layers.Flatten()(layers.Permute((2, 1))(h))  # (batch, channels * samples)
    h = torch_dense(1, h.shape[-1], "discriminator_12")(h)
    return keras.Model(x, layers.Reshape(())(h), name="discriminator")


def convolution(
    kind: type, width: int, kernel: int, fan_in: int, name: str, strides: int = 1
) -> layers.Layer:
    """Return a convolution without padding that starts as PyTorch's."""
    return kind(width, kernel, strides=strides, **torch_start(fan_in), name=name)


def cross_entropy(logits: tf.Tensor, label: float) -> tf.Tensor:
    """Return the mean binary cross-entropy of a batch to one label."""
    return tf.reduce_mean(
        tf.nn.sigmoid_cross_entropy_with_logits(label * tf.ones_like(logits), logits)
    )
