"""AEGAN-AD: an autoencoder trained against a Wasserstein critic, and nineteen scores from both.

Source: "Unsupervised Anomaly Detection and Localization of Machine Audio: A
GAN-based Approach" (arXiv 2303.17949), and its release jianganbai/AEGAN-AD (Apache-2.0, PyTorch).

Followed from the release where the paper is silent
- The critic's training mode, twice the generator's forward pass in a step, and the order of the
  two updates, which batch normalisation's running statistics depend on.
- The neighbours, the mean and the covariance of the D scores are those of all training clips of
  the machine type, whatever their section and domain. The release scores test clips alone. A
  training clip, scored here for its threshold by the same function, is thus among its own
  neighbours: its D_knn holds one distance of nought, and thresholds of D_knn and D_lof lie low.
- A sum over windows grows with a clip's length, so clips should be of one length.

Otherwise than the release
- It takes the epoch and the score that do best on the labelled test clips. Here the last epoch
  counts, and the score is the one named in the settings.
- The default score is D_maha for every machine type. It has no neighbours, among which a training
  clip would find itself, and measures every direction of the embedding by its spread over the
  training clips, so that it needs the least training: on the sounds of `tools.demo_data` it was
  the steadiest of the nineteen after a short one. No DCASE test label had a part in it. With
  hardly more clips than the embedding is wide its training scores, and so its thresholds, lie low.
- A covariance that cannot be inverted is shrunk after Ledoit and Wolf; there the release divides
  by nearly nothing.
"""

from __future__ import annotations

import warnings
from typing import Any, ClassVar

import keras
import numpy as np
import tensorflow as tf
from keras import layers
from sklearn.covariance import ledoit_wolf
from sklearn.metrics import DistanceMetric
from sklearn.metrics.pairwise import cosine_distances
from sklearn.neighbors import LocalOutlierFactor, NearestNeighbors

from checkpoints.inferred_settings import InferredSettings, Tensors
from core.errors import BadInput
from core.log import logger, progress_bar
from core.run_settings import SystemSettings
from core.system_settings import AEGAN_AD_SCORES
from data.frames import Frames
from models.aegan_checkpoint import infer_values
from models.base import System
from models.callbacks import Resume
from models.layers import Adam

LOF_NEIGHBOURS = 4
KNN_NEIGHBOURS = 2
DISTANCES = ("x_2", "x_1", "z_2", "z_1", "z_cos")  # of a window and its reconstruction
OVER_WINDOWS = {"sum": np.add, "min": np.minimum, "max": np.maximum}
LOSSES = ("d_loss", "gradient_penalty", "recon_mse", "feature_matching", "g_loss")
LARGEST = float(np.finfo(np.float32).max)  # stands for a D score without a value, as released
TINY = 1e-24  # keeps the slope of a square root finite at nought; no other value is touched
# The published tensors bear the names of our layers, with these endings.
ENDINGS = {
    "kernel": "weight",
    "gamma": "weight",
    "bias": "bias",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}


class AEGANAD(System):
    """Rebuilds a window of the log-mel; the generator's and the critic's view of it are scored.

    Shapes: a window is (n_frames, n_mels) in decibels. The networks see it as an image of
    (mel, time, 1), scaled to [-1, 1] by the least and the greatest level of all training clips;
    test clips may go beyond. Mel bands and frames are equal in number, a power of 2, at least 8.

    Score of a clip: one of AEGAN_AD_SCORES.
    G_<what>_<distance>_<over windows>: distance between window and reconstruction (x), or between
    their latents (z): squared Euclidean (2), Manhattan (1) or cosine (cos, of z alone).
    D_<back end>: the critic's embedding of the clip, the mean over its windows, against those of
    the training clips: maha, the Mahalanobis distance to their mean; knn, the sum of the cosine
    distances to the nearest two; lof, the local outlier factor by cosine distance to four
    neighbours; cos, the cosine distance to their mean.

    Raises BadInput for windows of another size.
    """

    drop_last = True

    def __init__(self, param: SystemSettings, sections: list[str]):
        super().__init__(param, sections)
        _check_size(param)
        size, shape = self.n_frames, param.network
        self.encoder = encoder(size, shape)
        self.decoder = decoder(size, shape)
        self.discriminator = discriminator(size, shape)
        self.critic_optimizer = self.make_optimizer()
        self.draws = keras.random.SeedGenerator(param.seed)
        self.batch_of_epoch = tf.Variable(0, trainable=False, dtype=tf.int64)
        self.level_range = tf.Variable([-1.0, 1.0], trainable=False)  # least, greatest, in dB
        self.trackers = {name: keras.metrics.Mean(name) for name in LOSSES}
        self.detectors: EmbeddingDetectors | None = None
        self.scores_of_training: np.ndarray | None = None
        self.kept: tuple[Frames, np.ndarray, np.ndarray] | None = None
        self.compile(self.make_optimizer(), jit_compile=False)
        self.optimizer.build(self.generator_variables())
        self.critic_optimizer.build(self.discriminator.trainable_variables)

    def call(self, x: tf.Tensor, training: bool = False) -> tf.Tensor:
        return self.decoder(self.encoder(x, training=training), training=training)

    def make_optimizer(self) -> keras.optimizers.Optimizer:
        return Adam(self.param.fit, torch=True)

    def generator_variables(self) -> list[keras.Variable]:
        """What the generator's optimiser moves."""
        return self.encoder.trainable_variables + self.decoder.trainable_variables

    def image(self, windows: tf.Tensor) -> tf.Tensor:
        """Scaled images: (batch, n_frames, n_mels) in decibels → (batch, n_mels, n_frames, 1)."""
        half, middle = self.half_and_middle()
        return (tf.transpose(windows, (0, 2, 1))[..., None] - middle) / half

    def reconstruct(self, windows: tf.Tensor) -> tf.Tensor:
        half, middle = self.half_and_middle()
        rebuilt = self(self.image(windows))  # (batch, n_mels, n_frames, 1)
        return tf.transpose(rebuilt[..., 0], (0, 2, 1)) * half + middle

    def half_and_middle(self) -> tuple[tf.Tensor, tf.Tensor]:
        """Half the range of the training levels, and its middle."""
        low, high = self.level_range[0], self.level_range[1]
        half = (high - low) / 2
        return tf.where(half > 0, half, 1.0), (high + low) / 2

    # Training

    @classmethod
    def check(cls, param: SystemSettings, machine_type: str, frames: Frames) -> None:
        """Raise BadInput for too few clips, or windows of another size."""
        _check_size(param)
        if len(frames.clips) <= LOF_NEIGHBOURS:
            raise BadInput(
                f"{machine_type}: {len(frames.clips)} training clips; the local outlier factor "
                f"(D_lof) needs {LOF_NEIGHBOURS + 1} or more; add clips"
            )

    def train(
        self, frames: Frames, title: str = "train", resume: Resume | None = None
    ) -> dict[str, list[float]]:
        self.check(self.param, title, frames)
        self.scale(frames)
        history = super().train(frames, title, resume)
        self.learn_embeddings(frames)
        return history

    def scale(self, frames: Frames) -> None:
        """Take the range of levels from training clips."""
        self.kept = None
        levels = [
            frames.array[first : first + count]
            for first, count in zip(frames.first, frames.count, strict=True)
        ]
        self.level_range.assign([min(x.min() for x in levels), max(x.max() for x in levels)])

    def learn_embeddings(self, frames: Frames) -> None:
        """Fit the D scores to training clips, and keep all scores of these."""
        self.detectors = EmbeddingDetectors(self.clip_outputs(frames)[1])
        found = self.extra_scores(frames)
        self.scores_of_training = np.stack([found[name] for name in AEGAN_AD_SCORES], axis=1)

    def fit_statistics(self, frames: Frames) -> None:
        self.scale(frames)
        self.learn_embeddings(frames)

    @classmethod
    def missing_without_training_clips(cls, param: SystemSettings) -> str:
        return (
            "the range of the training clips' levels, which all scores need, and their embeddings, "
            f"which the D scores need: none of {', '.join(AEGAN_AD_SCORES)} can be given"
        )

    def fit(self, *args: Any, **settings: Any) -> keras.callbacks.History:
        """Keras's, where the counter of ncritic begins with every epoch."""
        restart = keras.callbacks.LambdaCallback(
            on_epoch_begin=lambda epoch, logs: self.batch_of_epoch.assign(0)
        )
        settings["callbacks"] = [restart, *(settings.get("callbacks") or [])]
        return super().fit(*args, **settings)

    def train_step(self, data: tuple[tf.Tensor, tf.Tensor]) -> dict[str, Any]:
        """One update of the critic and, every ncritic batches of an epoch, of the generator."""
        fit = self.param.fit
        x = self.image(self.gather_windows(self.frames, data[0]))  # (batch, mel, time, 1)
        self.step_of_critic(x)
        if fit.ncritic == 1:
            self.step_of_generator(x)
        else:
            tf.cond(
                self.batch_of_epoch % fit.ncritic == 0,
                lambda: self.step_of_generator(x),
                lambda: None,
            )
        self.batch_of_epoch.assign_add(1)
        return {name: tracker.result() for name, tracker in self.trackers.items()}

    def step_of_critic(self, x: tf.Tensor) -> None:
        """Tell windows from reconstructions, with a slope of 1 on the lines between them."""
        fake = self(x, training=True)
        variables = self.discriminator.trainable_variables
        with tf.GradientTape() as tape:
            of_real, _ = self.discriminator(x, training=True)  # (batch, 1)
            of_fake, _ = self.discriminator(fake, training=True)
            penalty = self.gradient_penalty(x, fake)
            loss = tf.reduce_mean(of_fake) - tf.reduce_mean(of_real)
            loss += self.param.fit.lambda_gp * penalty
        self.critic_optimizer.apply(tape.gradient(loss, variables), variables)
        self.trackers["d_loss"].update_state(loss)
        self.trackers["gradient_penalty"].update_state(penalty)

    def gradient_penalty(self, real: tf.Tensor, fake: tf.Tensor) -> tf.Tensor:
        """Mean of (|slope| - 1)² at a point between each window and its reconstruction."""
        alpha = self.interpolation_factors(tf.shape(real)[0])
        between = alpha * real + (1 - alpha) * fake
        with tf.GradientTape() as tape:
            tape.watch(between)
            found, _ = self.discriminator(between, training=True)
        slope = tape.gradient(found, between)  # (batch, mel, time, 1)
        norm = tf.sqrt(tf.maximum(tf.reduce_sum(tf.square(slope), axis=(1, 2, 3)), TINY))
        return tf.reduce_mean(tf.square(norm - 1))

    def interpolation_factors(self, n: tf.Tensor) -> tf.Tensor:
        """How much of the window there is in each point between: (n, 1, 1, 1), U(0, 1)."""
        return keras.random.uniform((n, 1, 1, 1), seed=self.draws)

    def step_of_generator(self, x: tf.Tensor) -> None:
        """Rebuild the windows, and match the critic's embeddings of windows and rebuilt ones."""
        variables = self.generator_variables()
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch([variable.value for variable in variables])
            mse, matching, loss = self.generator_losses(x, training=True)
        self.optimizer.apply(tape.gradient(loss, variables), variables)
        self.update_generator_trackers(mse, matching, loss)

    def generator_losses(
        self, x: tf.Tensor, training: bool
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Mean squared error, feature matching, and the loss they make together."""
        fit = self.param.fit
        fake = self(x, training=training)
        _, of_real = self.discriminator(x, training=training)  # (batch, embedding)
        _, of_fake = self.discriminator(fake, training=training)
        mse = tf.reduce_mean(tf.square(fake - x))
        matching = tf.zeros(())
        for weight, statistic in ((fit.match_mu, _mean), (fit.match_sigma, _deviation)):
            if weight:
                off = statistic(of_fake) - statistic(of_real)
                matching += weight * tf.reduce_mean(tf.square(off))
        return mse, matching, mse + fit.feat_match_eff * matching

    def update_generator_trackers(
        self, mse: tf.Tensor, matching: tf.Tensor, loss: tf.Tensor
    ) -> None:
        self.trackers["recon_mse"].update_state(mse)
        self.trackers["feature_matching"].update_state(matching)
        self.trackers["g_loss"].update_state(loss)

    def test_step(self, data: tuple[tf.Tensor, tf.Tensor]) -> dict[str, Any]:
        """The generator's losses on held-out windows."""
        x = self.image(self.gather_windows(self.frames, data[0]))
        self.update_generator_trackers(*self.generator_losses(x, training=False))
        return {name: self.trackers[name].result() for name in LOSSES[2:]}

    # Scoring

    def score(self, frames: Frames) -> np.ndarray:
        return self.extra_scores(frames)[self.param.score]

    def extra_scores(self, frames: Frames) -> dict[str, np.ndarray]:
        """All nineteen scores: name → (n_clips,) float64."""
        distances, embeddings = self.clip_outputs(frames)
        return {**self.detectors.scores(embeddings), **generator_scores(distances)}

    def window_outputs(self, windows: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """What the networks say of windows, each asked once.

        Parameters
        ----------
        windows : (batch, n_frames, n_mels) in decibels

        Returns
        -------
        (batch, 5) the DISTANCES, and (batch, embedding) the critic's embeddings
        """
        x = self.image(windows)
        z = self.encoder(x, training=False)  # (batch, 1, 1, nz)
        rebuilt = self.decoder(z, training=False)
        z_again = self.encoder(rebuilt, training=False)
        _, embedding = self.discriminator(x, training=False)
        off, off_z = rebuilt - x, z_again - z
        norms = [tf.maximum(tf.norm(of, axis=-1), 1e-8) for of in (z, z_again)]
        cosine = tf.reduce_sum(z * z_again, axis=-1) / (norms[0] * norms[1])
        distances = (tf.square(off), tf.abs(off), tf.square(off_z), tf.abs(off_z))
        sums = [tf.reduce_sum(distance, axis=(1, 2, 3)) for distance in distances]
        return tf.stack([*sums, 1 - cosine[:, 0, 0]], axis=1), embedding

    def clip_outputs(self, frames: Frames) -> tuple[np.ndarray, np.ndarray]:
        """The outputs of `window_outputs`, gathered over the windows of each clip, in batches.

        Returns
        -------
        distances : (n_clips, 5, 3) float64, DISTANCES by OVER_WINDOWS
        embeddings : (n_clips, embedding) float32, the means

        Asked again for the frames it was asked for last, it does not run the networks again.
        """
        if self.kept is not None and self.kept[0] is frames:
            return self.kept[1:]
        array = self.to_device(frames)
        compiled = tf.function(
            lambda starts: self.window_outputs(self.gather_windows(array, starts)), autograph=False
        )
        starts, owner = frames.windows(self.n_frames)
        batch = min(len(starts), max(1, self.values_per_batch // (self.n_frames * self.n_mels)))
        of_window = np.empty((len(starts), len(DISTANCES)))
        width = self.discriminator.output_shape[1][-1]
        embeddings = np.zeros((len(frames.clips), width))
        with progress_bar(len(starts), "scores", "window") as bar:
            for at in range(0, len(starts), batch):
                # The last batch is filled up, so that all run through the same compiled code.
                n = min(batch, len(starts) - at)
                chosen = at + np.arange(batch) % n
                distances, embedding = compiled(tf.constant(starts[chosen]))
                of_window[at : at + n] = distances.numpy()[:n]
                held, first = np.unique(owner[at : at + n], return_index=True)
                embeddings[held] += np.add.reduceat(embedding.numpy()[:n], first, dtype=np.float64)
                bar.update(n)
        _, first, count = np.unique(owner, return_index=True, return_counts=True)
        distances = np.stack([f.reduceat(of_window, first) for f in OVER_WINDOWS.values()], axis=-1)
        embeddings = np.asarray(embeddings / count[:, None], np.float32)
        self.kept = (frames, distances, embeddings)
        return distances, embeddings

    # Saving

    def get_extra_state(self) -> dict[str, np.ndarray]:
        if self.detectors is None:  # imported without training clips
            return {}
        return {
            "level_range": self.level_range.numpy(),
            "embeddings": self.detectors.embeddings,
            "scores_of_training": self.scores_of_training,
        }

    def set_extra_state(self, arrays: dict[str, np.ndarray]) -> None:
        if not arrays:
            return
        self.level_range.assign(arrays["level_range"])
        self.detectors = EmbeddingDetectors(arrays["embeddings"])
        self.scores_of_training = arrays["scores_of_training"]
        self.kept = None

    def training_scores(self, saved: np.ndarray) -> np.ndarray:
        """Those of the score that is asked for now; the model may have been saved with another."""
        if self.scores_of_training is None:
            return saved
        return self.scores_of_training[:, AEGAN_AD_SCORES.index(self.param.score)]

    def checkpoint_variables(self) -> dict[str, tuple[keras.Variable, tuple[int, ...] | None]]:
        """Names as in the state dicts of the release: netG.Encoder.main.0.weight, ..."""
        networks = {
            "netG.Encoder": self.encoder,
            "netG.Decoder": self.decoder,
            "netD": self.discriminator,
        }
        return {
            f"{place}.{layer.name}.{ENDINGS[variable.name]}": (variable, _axes(layer, variable))
            for place, network in networks.items()
            for layer in network.layers
            for variable in layer.weights
        }

    marks: ClassVar[tuple[str, ...]] = ("netG.Encoder.main.0.weight", "netD.main.0.0.weight")

    @classmethod
    def infer_settings(cls, tensors: Tensors, param: SystemSettings) -> InferredSettings:
        return InferredSettings(tensors, infer_values(tensors))


def encoder(size: int, shape: dict[str, Any]) -> keras.Model:
    """Image to latent, its layers named as in the release.

    Parameters
    ----------
    size : mel bands, and frames, of an image
    shape : the `network` block of the settings: widths `ndf` of the first convolution and `nz` of
        the latent, `generator_norm`, `encoder_act`, and `encoder_first_norm`, whether the first
        convolution is normalised
    """
    x = keras.Input((size, size, 1))
    h, index, width, reach = x, 0, shape.ndf, size // 2
    while reach >= 4:
        # Of an even side, "same" with a kernel of 4 and a stride of 2 pads 1 at each end.
        h = layers.Conv2D(width, 4, 2, "same", **_kernel(), name=f"main.{index}")(h)
        if index > 0 or shape.encoder_first_norm:
            index += 1
            h = _normalised(h, shape.generator_norm, shape, f"main.{index}")
        h = _activated(h, shape.encoder_act)  # (batch, reach, reach, width)
        index, width, reach = index + 2, 2 * width, reach // 2
    h = layers.Conv2D(shape.nz, 4, **_kernel(), name=f"main.{index}")(h)  # (batch, 1, 1, nz)
    return keras.Model(x, h, name="encoder")


def decoder(size: int, shape: dict[str, Any]) -> keras.Model:
    """Latent to image, the encoder's mirror; as `encoder`, with `ngf` and `decoder_act`."""
    z = keras.Input((1, 1, shape.nz))
    width = shape.ngf // 2 * size // 4
    h = layers.Conv2DTranspose(width, 4, **_kernel(), name="main.0")(z)  # (batch, 4, 4, width)
    h = _normalised(h, shape.generator_norm, shape, "main.1")
    h = _activated(h, shape.decoder_act)
    index, reach = 3, 8
    while reach < size:
        width //= 2
        h = layers.Conv2DTranspose(width, 4, 2, "same", **_kernel(), name=f"main.{index}")(h)
        h = _normalised(h, shape.generator_norm, shape, f"main.{index + 1}")
        h = _activated(h, shape.decoder_act)  # (batch, reach, reach, width)
        index, reach = index + 3, 2 * reach
    h = layers.Conv2DTranspose(1, 4, 2, "same", **_kernel(), name=f"main.{index}")(h)
    return keras.Model(z, layers.Activation("tanh")(h), name="decoder")  # (batch, size, size, 1)


def discriminator(size: int, shape: dict[str, Any]) -> keras.Model:
    """Image to critic's value (batch, 1) and embedding (batch, ndf * size / 8).

    Parameters as `encoder`, with `discriminator_norm`.
    """
    x = keras.Input((size, size, 1))
    h, index, width, reach = x, 0, shape.ndf, size // 2
    while reach >= 4:
        h = layers.Conv2D(width, 4, 2, "same", **_kernel(), name=f"main.{index}.0")(h)
        h = _normalised(h, shape.discriminator_norm, shape, f"main.{index}.1")
        h = _activated(h, shape.encoder_act)  # (batch, reach, reach, width)
        index, width, reach = index + 1, 2 * width, reach // 2
    normal = keras.initializers.RandomNormal(0.0, 0.02)
    h = layers.DepthwiseConv2D(
        4, use_bias=False, depthwise_initializer=normal, name="feat_extract_layer.0"
    )(h)
    embedding = layers.Flatten()(h)  # (batch, width)
    h = WholeNorm(shape.layer_norm_epsilon, name="output_layer.0")(embedding)
    h = _activated(h, shape.encoder_act)
    # PyTorch's default for a linear layer, which the release leaves as it is.
    bound = embedding.shape[-1] ** -0.5
    value = layers.Dense(
        1,
        kernel_initializer=keras.initializers.RandomUniform(-bound, bound),
        bias_initializer=keras.initializers.RandomUniform(-bound, bound),
        name="output_layer.2",
    )(h)
    return keras.Model(x, [value, embedding], name="discriminator")


class WholeNorm(layers.Layer):
    """Layer norm over all axes of a sample together, with a gain and a bias for every element."""

    def __init__(self, epsilon: float, **settings: Any):
        super().__init__(**settings)
        self.epsilon = epsilon

    def build(self, shape: tuple[int | None, ...]) -> None:
        self.gamma = self.add_weight(shape=shape[1:], initializer="ones", name="gamma")
        self.beta = self.add_weight(shape=shape[1:], initializer="zeros", name="beta")

    def call(self, x: tf.Tensor) -> tf.Tensor:
        mean, variance = _moments(x, list(range(1, len(x.shape))))
        return (x - mean) * tf.math.rsqrt(variance + self.epsilon) * self.gamma + self.beta


class BatchNorm(layers.Layer):
    """Batch norm as PyTorch has it: the running variance is the unbiased one."""

    def __init__(self, momentum: float, epsilon: float, **settings: Any):
        super().__init__(**settings)
        self.momentum, self.epsilon = momentum, epsilon

    def build(self, shape: tuple[int | None, ...]) -> None:
        gain = keras.initializers.RandomNormal(1.0, 0.02)
        held = {"shape": shape[-1:], "trainable": False}
        self.gamma = self.add_weight(shape=shape[-1:], initializer=gain, name="gamma")
        self.beta = self.add_weight(shape=shape[-1:], initializer="zeros", name="beta")
        self.moving_mean = self.add_weight(**held, initializer="zeros", name="moving_mean")
        self.moving_variance = self.add_weight(**held, initializer="ones", name="moving_variance")

    def call(self, x: tf.Tensor, training: bool = False) -> tf.Tensor:
        mean, variance = self.moving_mean.value, self.moving_variance.value
        if training:
            mean, variance = _moments(x, [0, 1, 2])
            n = tf.cast(tf.reduce_prod(tf.shape(x)[:3]), x.dtype)
            unbiased = variance * n / (n - 1)
            for kept, new in ((self.moving_mean, mean), (self.moving_variance, unbiased)):
                kept.assign_add((1 - self.momentum) * (tf.reshape(new, kept.shape) - kept))
        return (x - mean) * tf.math.rsqrt(variance + self.epsilon) * self.gamma + self.beta


class InstanceNorm(layers.Layer):
    """Each channel of each sample to mean 0 and variance 1; nothing is learnt."""

    def __init__(self, epsilon: float, **settings: Any):
        super().__init__(**settings)
        self.epsilon = epsilon

    def call(self, x: tf.Tensor) -> tf.Tensor:
        mean, variance = _moments(x, [1, 2])
        return (x - mean) * tf.math.rsqrt(variance + self.epsilon)


class EmbeddingDetectors:
    """The D scores: how far a clip's embedding lies from those of the training clips.

    Parameters
    ----------
    embeddings : (n_clips, width) float32, of the training clips; more than LOF_NEIGHBOURS
    """

    def __init__(self, embeddings: np.ndarray):
        # A copy, so that a clip's distance to itself is rounded alike after loading: scikit-learn
        # takes it for exactly nought where the very same array is asked about.
        self.embeddings = embeddings = embeddings.copy()
        self.mean = embeddings.mean(axis=0, keepdims=True)  # (1, width)
        self.mahalanobis = DistanceMetric.get_metric("mahalanobis", V=covariance(embeddings))
        self.nearest = NearestNeighbors(n_neighbors=KNN_NEIGHBOURS, metric="cosine").fit(embeddings)
        with warnings.catch_warnings():
            # Of equal embeddings the factor is large, and said to be; it stays finite.
            warnings.simplefilter("ignore", UserWarning)
            self.outlier = LocalOutlierFactor(
                n_neighbors=LOF_NEIGHBOURS, contamination=1e-6, metric="cosine", novelty=True
            ).fit(embeddings)

    def scores(self, embeddings: np.ndarray) -> dict[str, np.ndarray]:
        """The four scores of clips, from their embeddings (n_clips, width): (n_clips,) each."""
        exact = embeddings.astype(np.float64)
        found = {
            "D_maha": self.mahalanobis.pairwise(self.mean.astype(np.float64), exact)[0],
            "D_knn": self.nearest.kneighbors(embeddings)[0].sum(axis=1),
            "D_lof": -self.outlier.score_samples(embeddings),
            "D_cos": cosine_distances(exact, self.mean.astype(np.float64))[:, 0],
        }
        return {
            name: np.nan_to_num(score.astype(np.float64), nan=LARGEST, posinf=LARGEST)
            for name, score in found.items()
        }


def covariance(embeddings: np.ndarray) -> np.ndarray:
    """Covariance of embeddings (n_clips, width), one that can be inverted: (width, width) float64.

    Where there are too few clips for the width, or embeddings that do not vary, it is shrunk
    towards a multiple of the identity (Ledoit and Wolf, 2004), with a warning.
    """
    exact = embeddings.astype(np.float64)
    found = np.atleast_2d(np.cov(exact, rowvar=False))
    rank = np.linalg.matrix_rank(found, hermitian=True)
    if rank == len(found):
        return found
    logger.warning(
        "the covariance of the %d training embeddings is singular (rank %d of %d): "
        "D_maha uses one shrunk after Ledoit and Wolf",
        len(embeddings),
        rank,
        len(found),
    )
    # What does not vary at all has no covariance to shrink.
    return ledoit_wolf(exact)[0] if rank else np.eye(len(found))


def generator_scores(distances: np.ndarray) -> dict[str, np.ndarray]:
    """The fifteen G scores, from distances (n_clips, 5, 3): name → (n_clips,)."""
    return {
        f"G_{distance}_{over}": distances[:, i, j]
        for i, distance in enumerate(DISTANCES)
        for j, over in enumerate(OVER_WINDOWS)
    }


def _check_size(param: SystemSettings) -> None:
    frames, mels = param.feature.n_frames, param.feature.n_mels
    if frames != mels or frames < 8 or frames & (frames - 1):
        raise BadInput(
            f"feature.n_frames is {frames} and feature.n_mels {mels}; aegan_ad needs both the "
            "same, a power of 2 of 8 or more"
        )


def _kernel() -> dict[str, Any]:
    return {"use_bias": False, "kernel_initializer": keras.initializers.RandomNormal(0.0, 0.02)}


def _normalised(h: tf.Tensor, kind: str, shape: dict[str, Any], name: str) -> tf.Tensor:
    if kind == "ln":
        return WholeNorm(shape.layer_norm_epsilon, name=name)(h)
    if kind == "in":
        return InstanceNorm(shape.batch_norm_epsilon, name=name)(h)
    return BatchNorm(shape.batch_norm_momentum, shape.batch_norm_epsilon, name=name)(h)


def _moments(x: tf.Tensor, axes: list[int]) -> tuple[tf.Tensor, tf.Tensor]:
    # Those of tf.nn and of Keras stop the gradient at the mean: exact for a first derivative, but
    # wrong for the second, which the gradient penalty takes.
    mean = tf.reduce_mean(x, axes, keepdims=True)
    return mean, tf.reduce_mean(tf.square(x - mean), axes, keepdims=True)


def _activated(h: tf.Tensor, kind: str) -> tf.Tensor:
    if kind == "leakyrelu":
        return layers.LeakyReLU(0.2)(h)
    return layers.Activation(kind)(h)


def _mean(embeddings: tf.Tensor) -> tf.Tensor:
    return tf.reduce_mean(embeddings, axis=0)


def _deviation(embeddings: tf.Tensor) -> tf.Tensor:
    return tf.sqrt(tf.maximum(tf.math.reduce_variance(embeddings, axis=0), TINY))


def _axes(layer: layers.Layer, variable: keras.Variable) -> tuple[int, ...] | None:
    if isinstance(layer, layers.DepthwiseConv2D):
        return (2, 3, 0, 1)  # (channel, 1, height, width)
    if isinstance(layer, (layers.Conv2D, layers.Conv2DTranspose)):
        return (2, 3, 1, 0)  # (out, in, height, width), or in before out where transposed
    if isinstance(layer, WholeNorm) and len(variable.shape) == 3:
        return (1, 2, 0)  # (channel, height, width)
    return (1, 0) if len(variable.shape) == 2 else None
