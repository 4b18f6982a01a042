"""AEGAN-AD: an autoencoder trained against a Wasserstein critic, and nineteen scores from both.

Source: "Unsupervised Anomaly Detection and Localization of Machine Audio: A
GAN-based Approach" (arXiv 2303.17949), and its release jianganbai/AEGAN-AD (Apache-2.0, PyTorch).

Followed from the release where the paper is silent
1. The critic's training mode, twice the generator's forward pass in a step, and the order of the
   two updates, which batch normalisation's running statistics depend on.
2. The neighbours, the mean and the covariance of the D scores are those of all training clips of
   the machine type, whatever their section and domain. The release scores only test clips. A
   training clip, scored here for its threshold by the same function, is thus among its own
   neighbours: one of the distances of its D_knn is nought, and thresholds of D_knn and D_lof are
   low.
3. A sum over windows grows with a clip's length, so clips should be of one length.

Different from the release
1. It takes the epoch and the score that do best on the labelled test clips. Here the last epoch
   counts, and the score is the one named in the settings.
2. The default score is D_maha for every machine type. It has no neighbours, among which a training
   clip would find itself, and measures every direction of the embedding by its spread over the
   training clips, so that it needs the least training: on the sounds of `tools.demo_data` it was
   the steadiest of the nineteen after a short one. No DCASE test label had a part in it. With
   hardly more clips than the embedding is wide its training scores, and so its thresholds, are low.
3. A covariance that cannot be inverted is shrunk (`models.embedding_detectors`).
4. Training windows are n_hop_frames apart, and all windows are scored. In the release a hop
   divides the number of windows in training and in scoring, and they start at a clip's first
   frames, one after another; `feature.released_hop: true` does the same. With the published hop
   of 1 both are one.
"""

from __future__ import annotations

from typing import Any, ClassVar

import keras
import numpy as np
import tensorflow as tf

from checkpoints.assign import Variables
from checkpoints.inferred_settings import InferredSettings, Tensors
from core.errors import BadInput
from core.log import progress_bar
from core.run_settings import SystemSettings
from core.system_settings import AEGAN_AD_SCORES
from data.frames import Frames
from models.aegan_ad_checkpoint import infer_values
from models.aegan_ad_networks import decoder, discriminator, encoder
from models.callbacks import Resume
from models.embedding_detectors import LOF_NEIGHBOURS, EmbeddingDetectors
from models.embedding_system import OptionalBackEnd
from models.layers import Adam, torch_variables

DISTANCES = ("x_2", "x_1", "z_2", "z_1", "z_cos")  # of a window and its reconstruction
OVER_WINDOWS = {"sum": np.add, "min": np.minimum, "max": np.maximum}
TINY = 1e-24  # keeps the slope of a square root finite at nought; no other value is touched


class AEGANAD(OptionalBackEnd):
    """Rebuilds a window of the log-mel; the generator's and the critic's view of it are scored.

    Shapes: a window is (n_frames, n_mels) in decibels. The networks see it as an image of
    (mel, time, 1), scaled to [-1, 1] by the least and the greatest level of all training clips;
    test clips may go beyond. Mel bands and frames are equal in number, a power of 2, at least 8.

    Score of a clip: one of AEGAN_AD_SCORES.
    G_<what>_<distance>_<over windows>: distance between window and reconstruction (x), or between
    their latents (z): squared Euclidean (2), Manhattan (1) or cosine (cos, of z only).
    D_<detector>: of the critic's embedding of the clip, the mean over its windows; see
    `EmbeddingDetectors`. With a back end: its score of that embedding.

    Raises BadInput for windows of another size.
    """

    drop_last = True
    values_per_scoring_batch = 2**18
    loss_names = ("d_loss", "gradient_penalty", "recon_mse", "feature_matching", "g_loss")

    def __init__(self, run: SystemSettings, sections: list[str]):
        super().__init__(run, sections)
        _check_size(run)
        self.encoder = encoder(self.n_frames, run.network)
        self.decoder = decoder(self.n_frames, run.network)
        self.discriminator = discriminator(self.n_frames, run.network)
        of_critic = run.fit.model_copy(update={"lr": run.fit.lr_discriminator})
        self.critic_optimizer = Adam(of_critic, torch=True)
        self.seeds = keras.random.SeedGenerator(run.seed)
        self.batch_of_epoch = tf.Variable(0, trainable=False, dtype=tf.int64)
        # The least and the greatest level, in decibels.
        self.level_range = tf.Variable([-1.0, 1.0], trainable=False, dtype=self.compute_dtype)
        self.detectors: EmbeddingDetectors | None = None
        self.all_training_scores: np.ndarray | None = None  # (n_clips, 19), as AEGAN_AD_SCORES
        self.last_outputs: tuple[Frames, np.ndarray, np.ndarray] | None = None
        self.compile(self.make_optimizer(), jit_compile=False)
        self.optimizer.build(self.generator_variables())
        self.critic_optimizer.build(self.discriminator.trainable_variables)

    def call(self, x: tf.Tensor, training: bool = False) -> tf.Tensor:
        return self.decoder(self.encoder(x, training=training), training=training)

    def make_optimizer(self) -> keras.optimizers.Optimizer:
        return Adam(self.settings.fit, torch=True)

    def generator_variables(self) -> list[keras.Variable]:
        """Return what the generator's optimizer moves."""
        return self.encoder.trainable_variables + self.decoder.trainable_variables

    def image(self, windows: tf.Tensor) -> tf.Tensor:
        """Return scaled images (batch, n_mels, n_frames, 1).

        windows : (batch, n_frames, n_mels) in decibels
        """
        half, middle = self.half_and_middle()
        return (tf.transpose(windows, (0, 2, 1))[..., None] - middle) / half

    def reconstruct(self, windows: tf.Tensor) -> tf.Tensor:
        half, middle = self.half_and_middle()
        rebuilt = self(self.image(windows))  # (batch, n_mels, n_frames, 1)
        return tf.transpose(rebuilt[..., 0], (0, 2, 1)) * half + middle

    def half_and_middle(self) -> tuple[tf.Tensor, tf.Tensor]:
        """Return half the range of the training levels, and its middle, in decibels."""
        low, high = self.level_range[0], self.level_range[1]
        half = (high - low) / 2
        return tf.where(half > 0, half, 1.0), (high + low) / 2

    # Training

    @classmethod
    def check(cls, run: SystemSettings, machine_type: str, frames: Frames) -> None:
        """Raise BadInput for too few clips, or windows of another size."""
        _check_size(run)
        if len(frames.clips) <= LOF_NEIGHBOURS:
            raise BadInput(
                f"{machine_type}: {len(frames.clips)} training clips; the local outlier factor "
                f"(D_lof) needs {LOF_NEIGHBOURS + 1} or more; add clips"
            )
        super().check(run, machine_type, frames)

    def train(
        self, frames: Frames, title: str = "train", resume: Resume | None = None
    ) -> dict[str, list[float]]:
        self.check(self.settings, title, frames)
        self.fit_level_range(frames)
        history = super().train(frames, title, resume)
        self.fit_detectors(frames)
        return history

    def fit_level_range(self, frames: Frames) -> None:
        """Take the range of levels from training clips."""
        self.last_outputs = None
        levels = [
            frames.array[first : first + count]
            for first, count in zip(frames.first, frames.count, strict=True)
        ]
        self.level_range.assign([min(x.min() for x in levels), max(x.max() for x in levels)])

    def fit_detectors(self, frames: Frames) -> None:
        """Fit the D scores to training clips, and keep all scores of these clips."""
        self.detectors = EmbeddingDetectors(self.clip_outputs(frames)[1])
        scores = self.extra_scores(frames)
        self.all_training_scores = np.stack([scores[name] for name in AEGAN_AD_SCORES], axis=1)
        self.fit_back_ends(frames)

    def fit_statistics(self, frames: Frames) -> None:
        self.fit_level_range(frames)
        self.fit_detectors(frames)

    @classmethod
    def missing_without_training_clips(cls, run: SystemSettings) -> str:
        return (
            "the range of the training clips' levels, which all scores need, and their embeddings, "
            f"which the D scores need: none of {', '.join(AEGAN_AD_SCORES)} can be given"
        )

    def callbacks(self) -> list[keras.callbacks.Callback]:
        def restart(epoch: int, logs: dict | None = None) -> None:
            self.batch_of_epoch.assign(0)  # ncritic counts from the start of every epoch

        return [keras.callbacks.LambdaCallback(on_epoch_begin=restart)]

    def train_step(self, data: tuple[tf.Tensor, tf.Tensor]) -> dict[str, Any]:
        """Update the critic and, every ncritic batches of an epoch, the generator."""
        ncritic = self.settings.fit.ncritic
        x = self.image(self.gather_windows(self.frames, data[0]))  # (batch, mel, time, 1)
        self.critic_step(x)
        if ncritic == 1:
            self.generator_step(x)
        else:
            tf.cond(
                self.batch_of_epoch % ncritic == 0, lambda: self.generator_step(x), lambda: None
            )
        self.batch_of_epoch.assign_add(1)
        return {name: mean.result() for name, mean in self.loss_means.items()}

    def critic_step(self, x: tf.Tensor) -> None:
        """Tell windows from reconstructions, with a slope of 1 on the lines between them."""
        fake = self(x, training=True)
        variables = self.discriminator.trainable_variables
        with tf.GradientTape() as tape:
            real_value, _ = self.discriminator(x, training=True)  # (batch, 1)
            fake_value, _ = self.discriminator(fake, training=True)
            penalty = self.gradient_penalty(x, fake)
            loss = tf.reduce_mean(fake_value) - tf.reduce_mean(real_value)
            loss += self.settings.fit.lambda_gp * penalty
        self.critic_optimizer.apply(tape.gradient(loss, variables), variables)
        self.update_losses({"d_loss": loss, "gradient_penalty": penalty})

    def gradient_penalty(self, real: tf.Tensor, fake: tf.Tensor) -> tf.Tensor:
        """Return the mean of (|slope| - 1)² at a point between each window and its rebuilt one."""
        alpha = self.interpolation_factors(tf.shape(real)[0])
        between = alpha * real + (1 - alpha) * fake
        with tf.GradientTape() as tape:
            tape.watch(between)
            value, _ = self.discriminator(between, training=True)
        slope = tape.gradient(value, between)  # (batch, mel, time, 1)
        norm = tf.sqrt(tf.maximum(tf.reduce_sum(tf.square(slope), axis=(1, 2, 3)), TINY))
        return tf.reduce_mean(tf.square(norm - 1))

    def interpolation_factors(self, n: tf.Tensor) -> tf.Tensor:
        """Draw the window's share in each point between from U(0, 1): (n, 1, 1, 1)."""
        return keras.random.uniform((n, 1, 1, 1), seed=self.seeds)

    def generator_step(self, x: tf.Tensor) -> None:
        """Rebuild the windows, and match the critic's embeddings of windows and rebuilt ones."""
        variables = self.generator_variables()
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch([variable.value for variable in variables])
            losses = self.generator_losses(x, training=True)
        self.optimizer.apply(tape.gradient(losses["g_loss"], variables), variables)
        self.update_losses(losses)

    def generator_losses(self, x: tf.Tensor, training: bool) -> dict[str, tf.Tensor]:
        """Return mean squared error, feature matching, and their weighted sum, by name."""
        fit = self.settings.fit
        fake = self(x, training=training)
        _, real_embedding = self.discriminator(x, training=training)  # (batch, embedding)
        _, fake_embedding = self.discriminator(fake, training=training)
        mse = tf.reduce_mean(tf.square(fake - x))
        matching = tf.zeros((), mse.dtype)
        for weight, statistic in ((fit.match_mu, _mean), (fit.match_sigma, _deviation)):
            if weight:
                difference = statistic(fake_embedding) - statistic(real_embedding)
                matching += weight * tf.reduce_mean(tf.square(difference))
        loss = mse + fit.feat_match_eff * matching
        return {"recon_mse": mse, "feature_matching": matching, "g_loss": loss}

    def test_step(self, data: tuple[tf.Tensor, tf.Tensor]) -> dict[str, Any]:
        """Return the generator's losses on windows that are not trained on."""
        x = self.image(self.gather_windows(self.frames, data[0]))
        return self.update_losses(self.generator_losses(x, training=False))

    # Scoring

    def windows(self, frames: Frames, hop: int) -> tuple[np.ndarray, np.ndarray]:
        """Return windows `hop` apart, or by `released_hop` the first ones, one or more per clip."""
        feature = self.settings.feature
        if not feature.released_hop:
            return frames.windows(self.n_frames, hop)
        starts, owner = frames.windows(self.n_frames)
        count = np.maximum(1, (frames.count - self.n_frames + 1) // feature.n_hop_frames)
        chosen = starts - frames.first[owner] < count[owner]
        return starts[chosen], owner[chosen]

    def own_score(self, frames: Frames) -> np.ndarray:
        return self.extra_scores(frames)[self.settings.score]

    def embeddings(self, frames: Frames) -> np.ndarray:
        """Return the critic's embeddings of clips, the means over their windows."""
        return self.clip_outputs(frames)[1]

    def extra_scores(self, frames: Frames) -> dict[str, np.ndarray]:
        """Return all nineteen scores: name → (n_clips,) float64."""
        distances, embeddings = self.clip_outputs(frames)
        return {**self.detectors.scores(embeddings), **generator_scores(distances)}

    def window_outputs(
        self, windows: tf.Tensor, section: tf.Tensor | None = None
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Run each network once on windows.

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
        error, error_z = rebuilt - x, z_again - z
        norms = [tf.maximum(tf.norm(latent, axis=-1), 1e-8) for latent in (z, z_again)]
        cosine = tf.reduce_sum(z * z_again, axis=-1) / (norms[0] * norms[1])
        distances = (tf.square(error), tf.abs(error), tf.square(error_z), tf.abs(error_z))
        sums = [tf.reduce_sum(distance, axis=(1, 2, 3)) for distance in distances]
        return tf.stack([*sums, 1 - cosine[:, 0, 0]], axis=1), embedding

    def clip_outputs(self, frames: Frames) -> tuple[np.ndarray, np.ndarray]:
        """Return the outputs of `window_outputs`, gathered over the windows of each clip.

        Asked again for the frames it was asked for last, it does not run the networks again.

        Returns
        -------
        distances : (n_clips, 5, 3) float64, DISTANCES by OVER_WINDOWS
        embeddings : (n_clips, embedding) float32, the means
        """
        if self.last_outputs is not None and self.last_outputs[0] is frames:
            return self.last_outputs[1:]
        starts, owner = self.windows(frames, 1)
        distances = np.empty((len(starts), len(DISTANCES)))
        sums = np.zeros((len(frames.clips), self.discriminator.output_shape[1][-1]))
        with progress_bar(len(starts), "scores", "window") as bar:
            for taken, (of_batch, embedding) in self.window_batches(
                frames, starts, owner, self.window_outputs
            ):
                distances[taken] = of_batch
                clips, first = np.unique(owner[taken], return_index=True)
                sums[clips] += np.add.reduceat(embedding, first, dtype=np.float64)
                bar.update(len(embedding))
        _, first, count = np.unique(owner, return_index=True, return_counts=True)
        over = [function.reduceat(distances, first) for function in OVER_WINDOWS.values()]
        embeddings = np.asarray(sums / count[:, None], np.float32)
        self.last_outputs = (frames, np.stack(over, axis=-1), embeddings)
        return self.last_outputs[1:]

    # Saving

    def get_extra_state(self) -> dict[str, np.ndarray]:
        if self.detectors is None:  # imported without training clips
            return {}
        return {
            "level_range": self.level_range.numpy(),
            "embeddings": self.detectors.embeddings,
            "scores_of_training": self.all_training_scores,
            **super().get_extra_state(),
        }

    def set_extra_state(self, arrays: dict[str, np.ndarray]) -> None:
        if not arrays:
            return
        self.level_range.assign(arrays["level_range"])
        self.detectors = EmbeddingDetectors(arrays["embeddings"])
        self.all_training_scores = arrays["scores_of_training"]
        super().set_extra_state(arrays)
        self.last_outputs = None

    def own_training_scores(self, saved: np.ndarray) -> np.ndarray:
        """Return those of the score in the settings; the model may have been saved with another."""
        if self.all_training_scores is None:
            return saved
        return self.all_training_scores[:, AEGAN_AD_SCORES.index(self.settings.score)]

    def checkpoint_variables(self) -> Variables:
        """Return names as in the state dicts of the release: netG.Encoder.main.0.weight, ..."""
        variables = {}
        for place, network in (
            ("netG.Encoder", self.encoder),
            ("netG.Decoder", self.decoder),
            ("netD", self.discriminator),
        ):
            for layer in network.layers:
                variables |= torch_variables(layer, f"{place}.{layer.name}")
        return variables

    marks: ClassVar[tuple[str, ...]] = ("netG.Encoder.main.0.weight", "netD.main.0.0.weight")

    @classmethod
    def infer_settings(cls, tensors: Tensors, run: SystemSettings) -> InferredSettings:
        return InferredSettings(tensors, infer_values(tensors))


def generator_scores(distances: np.ndarray) -> dict[str, np.ndarray]:
    """Return the fifteen G scores, from distances (n_clips, 5, 3): name → (n_clips,)."""
    return {
        f"G_{distance}_{over}": distances[:, i, j]
        for i, distance in enumerate(DISTANCES)
        for j, over in enumerate(OVER_WINDOWS)
    }


def _check_size(run: SystemSettings) -> None:
    frames, mels = run.feature.n_frames, run.feature.n_mels
    if frames != mels or frames < 8 or frames & (frames - 1):
        raise BadInput(
            f"feature.n_frames is {frames} and feature.n_mels {mels}; aegan_ad needs both the "
            "same, a power of 2 of 8 or more"
        )


def _mean(embeddings: tf.Tensor) -> tf.Tensor:
    return tf.reduce_mean(embeddings, axis=0)


def _deviation(embeddings: tf.Tensor) -> tf.Tensor:
    return tf.sqrt(tf.maximum(tf.math.reduce_variance(embeddings, axis=0), TINY))
