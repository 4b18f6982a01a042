"""What every system keeps to: build, train, score; higher scores are more anomalous.

A system is a `keras.Model`. Fed with the start rows of windows, it cuts the windows out of the
frames inside the compiled step, so that overlapping windows are never stored.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar

import keras
import numpy as np
import tensorflow as tf

from checkpoints.assign import Variables
from checkpoints.inferred_settings import InferredSettings, Tensors
from core.errors import BadInput
from core.run_settings import SystemSettings
from data.frames import Frames
from models.batches import batches
from models.callbacks import EpochBar, Finite, Resume
from models.layers import Adam

WORTH_COMPILING = 2000  # training steps; XLA takes seconds to compile one and saves milliseconds


class System(keras.Model):
    """One system for one machine type.

    A subclass builds its networks in `__init__`, and says what a training example is
    (`example`, with the loss it passes to `compile`; or a `train_step` of its own) and how
    anomalous a window is (`window_scores`).

    Parameters
    ----------
    param : the settings of this system, resolved
    sections : the names of the sections it is trained on, in order; the classes of a classifier
    """

    # Whether XLA makes a training step faster, and how many steps a call does: one call costs as
    # much as a small step, and a long one makes Ctrl-C wait. benchmarks/steps.py measures both.
    worth_xla = False
    steps_per_execution = 1
    mixes_precision = False  # whether it can be trained in half precision
    drop_last = False  # whether training leaves out a last batch that is not full
    values_per_batch = 2**22  # of the windows scored at a time: 16 MiB of float32

    def __init__(self, param: SystemSettings, sections: list[str]):
        super().__init__()
        self.param = param
        self.section_names = list(sections)
        self.n_frames = param.feature.n_frames
        self.n_mels = param.feature.n_mels
        self.on_device = None
        self.built = True  # the networks are functional models, built as they are made

    @classmethod
    def incompatibilities(
        cls, param: SystemSettings, trained: list[str], scored: list[str]
    ) -> list[str]:
        """Why this system cannot work so, a line a reason; asked before the long work starts.

        Parameters
        ----------
        param : the settings of this system, resolved
        trained : the names of the sections to train on, each once; empty where they are unknown
        scored : the names of the sections whose clips are to be scored, each once
        """
        return []

    def example(self, windows: tf.Tensor, section: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Input and target, from windows (batch, n_frames, n_mels) and section indices (batch,)."""
        raise NotImplementedError

    def window_scores(self, windows: tf.Tensor, section: tf.Tensor) -> tf.Tensor:
        """Anomaly scores (batch,), from the same."""
        raise NotImplementedError

    def reconstruct(self, windows: tf.Tensor) -> tf.Tensor:
        """Windows as the system rebuilds them, in decibels; not every system does."""
        raise NotImplementedError

    @classmethod
    def check(cls, param: SystemSettings, machine_type: str, frames: Frames) -> None:
        """Raise BadInput where the settings or the clips are not such as the system trains on."""

    def make_optimizer(self) -> keras.optimizers.Optimizer:
        """Adam with the settings of the `fit` block."""
        return Adam(self.param.fit)

    def gather_windows(self, frames: tf.Tensor, starts: tf.Tensor) -> tf.Tensor:
        """The windows at some rows of the frames: (batch,) → (batch, n_frames, n_mels)."""
        return tf.gather(frames, starts[:, None] + tf.range(self.n_frames, dtype=starts.dtype))

    def windows(self, frames: Frames, hop: int) -> tuple[np.ndarray, np.ndarray]:
        """Where the windows of clips lie, and whose they are, as `Frames.windows`."""
        return frames.windows(self.n_frames, hop)

    def callbacks(self) -> list[keras.callbacks.Callback]:
        """What goes along with `fit`, such as a schedule of the learning rate."""
        return []

    def train_step(self, data: tuple[tf.Tensor, ...]) -> dict[str, Any]:
        return self.in_turn(super().train_step, *data)

    def test_step(self, data: tuple[tf.Tensor, ...]) -> dict[str, Any]:
        return self.in_turn(super().test_step, *data)

    def in_turn(
        self,
        step: Callable[[tuple[tf.Tensor, tf.Tensor]], dict[str, Any]],
        starts: tf.Tensor,
        section: tf.Tensor,
        count: tf.Tensor | None = None,
    ) -> dict[str, Any]:
        """A step of Keras with a batch (batch,), or `count` of them with a group (steps, batch)."""

        def of_batch(starts: tf.Tensor, section: tf.Tensor) -> dict[str, Any]:
            return step(self.example(self.gather_windows(self.frames, starts), section))

        if count is None:
            return of_batch(starts, section)

        def of_next(index: tf.Tensor) -> tuple[tf.Tensor]:
            of_batch(starts[index], section[index])
            return (index + 1,)

        tf.while_loop(lambda index: index < count, of_next, [0])
        return self.get_metrics_result()

    def train(
        self, frames: Frames, title: str = "train", resume: Resume | None = None
    ) -> dict[str, list[float]]:
        """Fit to normal clips, with the settings of the `fit` block.

        As in the official code the last `validation_split` of the windows are held out.

        Parameters
        ----------
        frames : of the training clips
        title : of the progress bar
        resume : keeps what is done after every epoch, and goes on from there; None: from nothing

        Returns
        -------
        The loss and the metrics of every epoch, by name.

        Raises
        ------
        BadInput : where a loss is not finite.
        """
        fit, feature = self.param.fit, self.param.feature
        starts, owner = self.windows(frames, feature.n_hop_frames)
        section = self.section_index(frames)[owner]
        n_train = int(len(starts) * (1 - fit.validation_split))
        batch = min(fit.batch_size, n_train)
        self.frames = self.to_device(frames)
        # Were its variables made within the step, the step would be traced twice.
        self.optimizer.build(self.trainable_variables)
        done = resume.restore(self) if resume else 0
        if done >= fit.epochs:
            return resume.history
        steps = n_train // batch if self.drop_last else -(-n_train // batch)
        self.jit_compile = self.worth_xla and steps * fit.epochs >= WORTH_COMPILING
        epochs = range(done, fit.epochs)
        data, calls = batches(
            starts[:n_train],
            section[:n_train],
            batch,
            epochs,
            self.steps_per_execution,
            self.param.seed if fit.shuffle else None,
            self.drop_last,
        )
        held_out = {}
        if n_train < len(starts):
            held_out["validation_data"], held_out["validation_steps"] = batches(
                starts[n_train:], section[n_train:], batch, epochs, self.steps_per_execution
            )
        history = self.fit(
            data,
            steps_per_epoch=calls,
            initial_epoch=done,
            epochs=fit.epochs,
            shuffle=False,
            verbose=2 if fit.verbose == 2 else 0,
            callbacks=[
                *self.callbacks(),
                Finite(title),
                *([resume] if resume else []),
                *([EpochBar(title, done)] if fit.verbose == 1 else []),
            ],
            **held_out,
        ).history
        return resume.history if resume else history

    def score(self, frames: Frames) -> np.ndarray:
        """Anomaly scores of clips: (n_clips,) float64, the mean over each clip's windows."""
        starts, owner = self.windows(frames, 1)
        scores = self.all_window_scores(frames, starts, self.section_index(frames)[owner])
        first = np.searchsorted(owner, np.arange(len(frames.clips)))
        return np.add.reduceat(scores, first) / np.bincount(owner)

    def extra_scores(self, frames: Frames) -> dict[str, np.ndarray]:
        """Every score the system has, where it has several: name → (n_clips,)."""
        return {}

    def training_scores(self, saved: np.ndarray) -> np.ndarray:
        """Scores of the training clips, from those saved with the model: (n_clips,) both."""
        return saved

    def frame_scores(self, frames: Frames) -> list[np.ndarray] | None:
        """When in a clip it was strange: (n_frames,) float64 a clip; None where nothing says so.

        The mean score of the windows that cover a frame.
        """
        if type(self).window_scores is System.window_scores:
            return None
        starts, owner = self.windows(frames, 1)
        scores = self.all_window_scores(frames, starts, self.section_index(frames)[owner])
        found, window = [], np.ones(self.n_frames)
        for index, (first, count) in enumerate(zip(frames.first, frames.count, strict=True)):
            at = starts[owner == index] - first
            total, times = (
                np.convolve(np.bincount(at, weights, count), window)[:count]
                for weights in (scores[owner == index], None)
            )
            found.append(total / np.round(times))
        return found

    def all_window_scores(
        self,
        frames: Frames,
        starts: np.ndarray,
        section: np.ndarray,
        of: Callable[[tf.Tensor, tf.Tensor], tf.Tensor] | None = None,
    ) -> np.ndarray:
        """What `of` (`window_scores`) makes of windows: (n_windows, ...) float64, in batches."""
        array, of = self.to_device(frames), of or self.window_scores
        values = self.n_frames * frames.array.shape[1]
        batch = min(len(starts), max(1, self.values_per_batch // values))
        row = tf.TensorSpec((batch,), tf.int64)
        compiled = tf.function(
            lambda starts, section: of(self.gather_windows(array, starts), section), autograph=False
        ).get_concrete_function(row, row)
        found = []
        for at in range(0, len(starts), batch):
            # The last batch is filled up, so that every one runs through the same compiled code.
            chosen = np.resize(np.arange(at, min(at + batch, len(starts))), batch)
            made = compiled(tf.constant(starts[chosen]), tf.constant(section[chosen]))
            found.append(made.numpy()[: len(starts) - at])
        return np.concatenate(found).astype(np.float64)

    def to_device(self, frames: Frames) -> tf.Tensor:
        """The frames on the device; asked again for the same ones, the same tensor."""
        if self.on_device is None or self.on_device[0] is not frames.array:
            self.on_device = (frames.array, _tensor(frames.array))
        return self.on_device[1]

    def fit_statistics(self, frames: Frames) -> None:
        """Learn from training clips what a published checkpoint lacks beside its weights."""

    @classmethod
    def missing_without_training_clips(cls, param: SystemSettings) -> str:
        """What `complete` learns, and no clip can be scored without, in words; empty: nothing."""
        return ""

    def get_extra_state(self) -> dict[str, np.ndarray]:
        """What was learnt beside the weights, to be saved with them; `restore` takes it back."""
        return {}

    def set_extra_state(self, arrays: dict[str, np.ndarray]) -> None:
        """Take back what `arrays` gave."""

    def section_index(self, frames: Frames) -> np.ndarray:
        """The index of each clip's section among those trained on, -1 for others: (n_clips,)."""
        known = {name: index for index, name in enumerate(self.section_names)}
        return np.array([known.get(clip.section, -1) for clip in frames.clips], np.int64)

    def checkpoint_variables(self) -> dict[str, tuple[keras.Variable, tuple[int, ...] | None]]:
        """The tensors of the published checkpoint: name → (variable, axes).

        The variable equals the published tensor transposed to the axes, or as it is for None.
        """
        raise NotImplementedError

    # What is special about the published checkpoints of a system. tools/import_checkpoint.py asks
    # the class that `recognises` the tensors; an ordinary one only has `marks` and
    # `infer_settings`, a classifier also `class_axes` and `chance_score`.

    marks: ClassVar[tuple[str, ...]] = ()  # names of tensors that only its checkpoints have
    class_axes: ClassVar[dict[str, int]] = {}  # tensor name → the axis along which classes lie
    distribution_remark: ClassVar[str] = ""  # what to know of an imported distribution of scores

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
    def infer_settings(cls, tensors: Tensors, param: SystemSettings) -> InferredSettings:
        """Return what the tensors of a checkpoint tell of the settings.

        Parameters
        ----------
        tensors : what `gather_checkpoint` returned
        param : the settings, as they would be without the checkpoint

        Raises ValueError where the tensors cannot be of this system, or where neither they nor
        the settings say what is needed.
        """
        raise NotImplementedError

    def checkpoint_layouts(self) -> list[Variables]:
        """Return `checkpoint_variables` for every release that names its tensors otherwise."""
        return [self.checkpoint_variables()]

    @classmethod
    def chance_score(cls, param: SystemSettings, n_classes: int) -> float | None:
        """Return the score that a classifier gives if it cannot tell its classes apart.

        None where there is none. Normal clips that score higher are taken for another class.
        """
        return None


def _tensor(array: np.ndarray) -> tf.Tensor:
    """An array on the device; on a CPU the tensor is the array's own memory, where it is aligned.

    `tf.constant` holds it three times over for a moment, and twice from then on.
    """
    array = np.asarray(array)
    give = tf.function(lambda: tf.numpy_function(lambda: array, [], array.dtype), autograph=False)
    return tf.ensure_shape(tf.identity(give()), array.shape)
