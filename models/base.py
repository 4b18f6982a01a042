"""What every system keeps to: build, train, score; higher scores are more anomalous.

A system is a `keras.Model`. Fed with the start rows of windows, it cuts the windows out of the
frames inside the compiled step, so that overlapping windows are never stored.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import keras
import numpy as np
import tensorflow as tf

from checkpoints.assign import Variables
from checkpoints.inferred_settings import InferredSettings, Tensors
from core.errors import BadInput
from core.run_settings import SystemSettings
from data.clips import Clip
from data.frames import Frames
from models.batches import epoch_batches
from models.callbacks import Resume, StopAtNonFiniteLoss, epoch_bar
from models.embedding_map import EmbeddingMap
from models.layers import Adam

FEWEST_STEPS_FOR_XLA = 2000  # XLA takes seconds to compile a step and saves milliseconds of each

WindowFunction = Callable[[tf.Tensor, tf.Tensor], Any]  # of windows and their section indices


class System(keras.Model):
    """One system for one machine type; a subclass writes the methods below, in this order.

    Build
        `__init__` makes the networks and calls `compile`: with `steps_per_execution` where a step
        is so small that a call costs as much (`benchmarks/steps.py` measures it).
        Optional: `incompatibilities`, `check`, `check_scored`: why settings, sections or clips do
        not suit it; `clip_files`, where it reads more than the clips.
    Train
        `training_pair`, and a loss for `compile` or a `compute_loss`. Where that cannot say it,
        `train_step` and `test_step` instead, with `update_losses` for the losses in `loss_names`.
        Optional: `make_optimizer`; `callbacks`, such as a schedule of the learning rate; `train`,
        around the one here, for what comes before or after the fit.
    Score
        `window_scores`; or `score`, where a clip's score is not the mean over its windows.
        Optional: `windows`, `gather_windows`, `to_device`: which windows, and how they are read;
        `section_index`; `extra_scores`: all of several scores; `frame_scores`: when in a clip;
        `reconstruct`: for maps of what is anomalous.
    Save and restore
        Keras keeps the weights. What else is learnt: `get_extra_state`, `set_extra_state`,
        `training_scores`.
    Published checkpoint
        `checkpoint_variables`, `infer_settings`, and `marks` (or `recognises`), by which
        `tools/import_checkpoint.py` finds the system. Optional: `fit_statistics` and
        `missing_without_training_clips`, for what a checkpoint does not hold;
        `checkpoint_layouts`, where releases differ; `gather_checkpoint`, where one has several
        files. A classifier also has `class_axes` and `chance_score`.

    What has to be known without TensorFlow, such as whether one network serves all machine types,
    stands in the system's settings class.

    Class attributes
    ----------------
    uses_xla : XLA makes a training step faster
    mixes_precision : it can be trained in half precision
    drop_last : training leaves out a last batch that is not full
    loss_names : the losses that `update_losses` averages over an epoch
    values_per_scoring_batch : of windows that are scored at a time: within a tenth or so of the
        fastest that `benchmarks/batches.py` measures. A size measured in the run itself would
        depend on what else the machine does, and with it the last digits of the scores.
    constant_weights : scoring takes the weights as constants, and TensorFlow then folds batch
        norms into the convolutions before them
    marks : names of tensors that only its published checkpoints have
    scores_by_class : a classifier's scores depend on which of its outputs is which class
    class_axes : tensor of a checkpoint → the axis along which its classes lie
    distribution_remark : what to know of an imported distribution of scores

    Parameters
    ----------
    run : the settings of this system, resolved
    sections : the names of the sections it is trained on, in order; the classes of a classifier
    """

    uses_xla = False
    mixes_precision = False
    drop_last = False
    loss_names: tuple[str, ...] = ()
    values_per_scoring_batch = 2**21
    constant_weights = False
    scores_by_class: ClassVar[bool] = True
    marks: ClassVar[tuple[str, ...]] = ()
    class_axes: ClassVar[dict[str, int]] = {}
    distribution_remark: ClassVar[str] = ""

    def __init__(self, run: SystemSettings, sections: list[str]):
        super().__init__()
        self.settings = run
        self.section_names = list(sections)
        self.n_frames = run.feature.n_frames
        self.n_mels = run.feature.n_mels
        self.loss_means = {name: keras.metrics.Mean(name) for name in self.loss_names}
        self.device_frames = None
        self.built = True  # the networks are functional models, built as they are made

    # Build

    @classmethod
    def incompatibilities(
        cls, run: SystemSettings, trained: list[str], scored: list[str]
    ) -> list[str]:
        """Return why this system cannot work so, one line per reason; asked before long work.

        Parameters
        ----------
        run : the settings of this system, resolved
        trained : the names of the sections to train on, each once; empty where they are unknown
        scored : the names of the sections whose clips are to be scored, each once
        """
        return []

    @classmethod
    def check(cls, run: SystemSettings, machine_type: str, frames: Frames) -> None:
        """Raise BadInput where the settings or the clips are not such as the system trains on."""

    @classmethod
    def check_scored(cls, run: SystemSettings, frames: Frames) -> None:
        """Raise BadInput, before long work, for clips that the system cannot score."""

    @classmethod
    def clip_files(cls, run: SystemSettings, clips: Sequence[Clip]) -> list[Path]:
        """Return the files beside the clips' own that their scores depend on, see `reads_files`."""
        return []

    # Train

    def training_pair(self, windows: tf.Tensor, section: tf.Tensor) -> tuple[Any, tf.Tensor]:
        """Return input and target of the network.

        Parameters
        ----------
        windows : (batch, n_frames, n_mels)
        section : (batch,) the index of each window's section in `section_names`
        """
        raise NotImplementedError

    def make_optimizer(self) -> keras.optimizers.Optimizer:
        """Return Adam with the settings of the `fit` block."""
        return Adam(self.settings.fit)

    def callbacks(self) -> list[keras.callbacks.Callback]:
        """Return what goes along with `fit`, such as a schedule of the learning rate."""
        return []

    def train_step(self, data: tuple[tf.Tensor, ...]) -> dict[str, Any]:
        return super().train_step(self._pair_at(data))

    def test_step(self, data: tuple[tf.Tensor, ...]) -> dict[str, Any]:
        return super().test_step(self._pair_at(data))

    def _pair_at(self, data: tuple[tf.Tensor, ...]) -> tuple[Any, tf.Tensor]:
        starts, section = data[:2]  # Keras's train_on_batch adds weights, which are None
        return self.training_pair(self.gather_windows(self.frames, starts), section)

    def update_losses(self, losses: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Count a batch's losses, by name, and return their means over the epoch so far."""
        for name, loss in losses.items():
            self.loss_means[name].update_state(loss)
        return {name: self.loss_means[name].result() for name in losses}

    def train(
        self, frames: Frames, title: str = "train", resume: Resume | None = None
    ) -> dict[str, list[float]]:
        """Fit to normal clips, with the settings of the `fit` block.

        As in the official code the last `validation_split` of the windows are not trained on.

        Parameters
        ----------
        frames : those of the training clips
        title : stands before the progress bar
        resume : saves the state after every epoch, and goes on from there; None: from nothing

        Returns
        -------
        The loss and the metrics of every epoch, by name.

        Raises
        ------
        BadInput : where a loss is not finite.
        """
        fit = self.settings.fit
        self.frames = self.to_device(frames)
        # Were its variables made within the step, the step would be traced twice.
        self.optimizer.build(self.trainable_variables)
        done = resume.restore(self) if resume else 0
        if done >= fit.epochs:
            return resume.history
        epoch = tf.Variable(done, dtype=tf.int64, trainable=False)
        training, validation = self._batches(frames, epoch)
        n_steps = int(training.cardinality()) * fit.epochs
        self.jit_compile = self.uses_xla and n_steps >= FEWEST_STEPS_FOR_XLA
        history = self.fit(
            training,
            validation_data=validation,
            initial_epoch=done,
            epochs=fit.epochs,
            shuffle=False,
            verbose=2 if fit.verbose == 2 else 0,
            callbacks=[
                keras.callbacks.LambdaCallback(on_epoch_begin=lambda n, logs: epoch.assign(n)),
                *self.callbacks(),
                StopAtNonFiniteLoss(title),
                *([resume] if resume else []),
                *([epoch_bar(title, fit.epochs, done)] if fit.verbose == 1 else []),
            ],
        ).history
        return resume.history if resume else history

    def _batches(
        self, frames: Frames, epoch: tf.Variable
    ) -> tuple[tf.data.Dataset, tf.data.Dataset | None]:
        """Return an epoch's batches for training, and for validation where there are any."""
        fit = self.settings.fit
        starts, owner = self.windows(frames, self.settings.feature.n_hop_frames)
        section = self.section_index(frames)[owner]
        n = int(len(starts) * (1 - fit.validation_split))
        batch, seed = min(fit.batch_size, n), self.settings.seed if fit.shuffle else None
        training = epoch_batches(starts[:n], section[:n], batch, epoch, seed, self.drop_last)
        if n == len(starts):
            return training, None
        return training, epoch_batches(starts[n:], section[n:], batch, epoch)

    # Score

    def window_scores(self, windows: tf.Tensor, section: tf.Tensor) -> tf.Tensor:
        """Return anomaly scores (batch,); parameters as of `training_pair`."""
        raise NotImplementedError

    def windows(self, frames: Frames, hop: int) -> tuple[np.ndarray, np.ndarray]:
        """Return where the windows of clips start, and whose they are, as `Frames.windows`."""
        return frames.windows(self.n_frames, hop)

    def gather_windows(self, frames: tf.Tensor, starts: tf.Tensor) -> tf.Tensor:
        """Return the windows at some rows of the frames: (batch,) → (batch, n_frames, n_mels)."""
        return tf.gather(frames, starts[:, None] + tf.range(self.n_frames, dtype=starts.dtype))

    def to_device(self, frames: Frames) -> tf.Tensor:
        """Return the frames on the device; asked again for the same ones, the same tensor."""
        if self.device_frames is None or self.device_frames[0] is not frames.array:
            self.device_frames = (frames.array, _tensor(frames.array))
        return self.device_frames[1]

    def section_index(self, frames: Frames) -> np.ndarray:
        """Return each clip's class in `section_names`, -1 for others: (n_clips,) int64."""
        known = {name: index for index, name in enumerate(self.section_names)}
        names = [self.settings.class_name(clip) for clip in frames.clips]
        return np.array([known.get(name, -1) for name in names], np.int64)

    def score(self, frames: Frames) -> np.ndarray:
        """Return anomaly scores of clips (n_clips,) float64, the mean over each clip's windows."""
        starts, owner = self.windows(frames, 1)
        scores = self.all_window_scores(frames, starts, self.section_index(frames)[owner])
        return clip_means(scores, owner)

    def extra_scores(self, frames: Frames) -> dict[str, np.ndarray]:
        """Return every score the system has, where it has several: name → (n_clips,)."""
        return {}

    def frame_scores(self, frames: Frames) -> list[np.ndarray] | None:
        """Return when in a clip it was anomalous: (n_frames,) float64 per clip.

        The score of a frame is the mean over the windows that cover it. None where a system has
        no scores of windows.
        """
        if type(self).window_scores is System.window_scores:
            return None
        starts, owner = self.windows(frames, 1)
        scores = self.all_window_scores(frames, starts, self.section_index(frames)[owner])
        curves, window = [], np.ones(self.n_frames)
        for index, (first, count) in enumerate(zip(frames.first, frames.count, strict=True)):
            at = starts[owner == index] - first
            total, times = (
                np.convolve(np.bincount(at, weights, count), window)[:count]
                for weights in (scores[owner == index], None)
            )
            curves.append(total / np.round(times))
        return curves

    def embedding_map(self, frames: Frames) -> EmbeddingMap | None:
        """Return clips of one machine type in two dimensions; None: it has no embeddings."""

    def reconstruct(self, windows: tf.Tensor) -> tf.Tensor:
        """Return windows as the system rebuilds them, in decibels; not every system does."""
        raise NotImplementedError

    def all_window_scores(
        self,
        frames: Frames,
        starts: np.ndarray,
        section: np.ndarray,
        function: WindowFunction | None = None,
    ) -> np.ndarray:
        """Return what a function (`window_scores`) makes of windows: (n_windows, ...) float64.

        starts, section : (n_windows,) first rows, and section indices
        """
        batches = self.window_batches(frames, starts, section, function or self.window_scores)
        return np.concatenate([made for _, made in batches]).astype(np.float64)

    def window_batches(
        self, frames: Frames, starts: np.ndarray, section: np.ndarray, function: WindowFunction
    ) -> Iterator[tuple[slice, Any]]:
        """Yield which windows were taken, and what a function makes of them, in batches.

        Parameters
        ----------
        starts, section : (n_windows,) first rows, and section indices
        function : of windows (batch, n_frames, n_mels) and section indices (batch,); its tensors
            (batch, ...) are yielded as arrays
        """
        array = self.to_device(frames)
        batch = min(len(starts), self.windows_at_a_time(frames))
        row = tf.TensorSpec((batch,), tf.int64)
        weights = [(v, v.numpy()) for v in self.variables] if self.constant_weights else []

        def score(starts: tf.Tensor, section: tf.Tensor) -> Any:
            if not weights:
                return function(self.gather_windows(array, starts), section)
            constants = [(variable, tf.constant(value)) for variable, value in weights]
            with keras.StatelessScope(constants):
                return function(self.gather_windows(array, starts), section)

        compiled = tf.function(score, autograph=False).get_concrete_function(row, row)
        for first in range(0, len(starts), batch):
            end = min(first + batch, len(starts))
            # The last batch is filled up, so that every one runs through the same compiled code.
            chosen = np.resize(np.arange(first, end), batch)
            made = compiled(tf.constant(starts[chosen]), tf.constant(section[chosen]))
            yield (
                slice(first, end),
                tf.nest.map_structure(lambda x, n=end - first: x.numpy()[:n], made),
            )

    def windows_at_a_time(self, frames: Frames) -> int:
        """Return how many windows of these frames are scored at a time."""
        return max(1, self.values_per_scoring_batch // (self.n_frames * frames.array.shape[1]))

    # Save and restore

    def get_extra_state(self) -> dict[str, np.ndarray]:
        """Return what was learnt beside the weights, to be saved with them."""
        return {}

    def set_extra_state(self, arrays: dict[str, np.ndarray]) -> None:
        """Take back what `get_extra_state` returned; empty for an imported checkpoint."""

    def training_scores(self, saved: np.ndarray) -> np.ndarray:
        """Return scores of the training clips, from those saved with the model: (n_clips,) both."""
        return saved

    # Published checkpoint

    def fit_statistics(self, frames: Frames) -> None:
        """Learn from training clips what a published checkpoint does not hold."""

    @classmethod
    def missing_without_training_clips(cls, run: SystemSettings) -> str:
        """Return in words what `fit_statistics` learns and every score needs; empty: nothing."""
        return ""

    def checkpoint_variables(self) -> Variables:
        """Return what the tensors of the published checkpoint are here: name → (variable, axes).

        The variable equals the published tensor transposed to the axes, or as it is for None.
        """
        raise NotImplementedError

    @classmethod
    def recognises(cls, tensors: Tensors) -> bool:
        """Say whether tensors are of a checkpoint of this system: one of its marks is there."""
        return any(mark in tensors for mark in cls.marks)

    @classmethod
    def gather_checkpoint(cls, files: Sequence[tuple[Path, Tensors]], system: str) -> Tensors:
        """Return the tensors of the files of one checkpoint, by their published names.

        Parameters
        ----------
        files : (path, tensors) of each file
        system : the name of this system, for the message

        Raises BadInput where the files do not make one checkpoint. Most systems have one file.
        """
        if len(files) != 1:
            raise BadInput(
                f"{', '.join(str(path) for path, _ in files)}: {len(files)} checkpoints, where "
                f"{system} takes one"
            )
        return files[0][1]

    @classmethod
    def infer_settings(cls, tensors: Tensors, run: SystemSettings) -> InferredSettings:
        """Return what the tensors of a checkpoint tell of the settings.

        Parameters
        ----------
        tensors : what `gather_checkpoint` returned
        run : the settings, as they would be without the checkpoint

        Raises ValueError where the tensors cannot be of this system, or where neither they nor
        the settings say what is needed.
        """
        raise NotImplementedError

    def checkpoint_layouts(self) -> list[Variables]:
        """Return `checkpoint_variables` for every release that names its tensors otherwise."""
        return [self.checkpoint_variables()]

    @classmethod
    def chance_score(cls, run: SystemSettings, n_classes: int) -> float | None:
        """Return the score that a classifier gives if it cannot tell its classes apart.

        None where there is none. Normal clips that score higher are taken for another class.
        """
        return None


def clip_means(values: np.ndarray, owner: np.ndarray) -> np.ndarray:
    """Return the mean over the windows of each clip: (n_windows, ...) → (n_clips, ...).

    owner : (n_windows,) the clip of each window, ascending; every clip has one
    """
    count = np.bincount(owner)
    sums = np.add.reduceat(values, np.cumsum(count) - count)
    return sums / count.reshape(-1, *[1] * (values.ndim - 1))


def _tensor(array: np.ndarray) -> tf.Tensor:
    """Return an array on the device; on a CPU the tensor is the array's memory, where aligned.

    `tf.constant` needs three times its memory for a moment, and twice from then on.
    """
    array = np.asarray(array)
    give = tf.function(lambda: tf.numpy_function(lambda: array, [], array.dtype), autograph=False)
    return tf.ensure_shape(tf.identity(give()), array.shape)
