"""What Keras calls during a training: its state after every epoch, its losses, its progress bar."""

from __future__ import annotations

import functools
import json
from pathlib import Path

import keras
import numpy as np
from tqdm.keras import TqdmCallback

from core.arrays import read_arrays
from core.errors import BadInput
from core.files import atomic_write
from core.log import logger, progress_bar


def epoch_bar(title: str, epochs: int, done: int = 0) -> TqdmCallback:
    """Return a progress bar over epochs, with the losses and the time left.

    done : epochs of an interrupted training, which count as done but not for the time left
    """
    # It names total and unit itself; the rest decides where the bar is shown.
    bar = functools.partial(progress_bar, title=title, done=done)
    return TqdmCallback(epochs=epochs, verbose=0, tqdm_class=bar)


class Resume(keras.callbacks.Callback):
    """Saves the state of a training after every epoch, in one file that appears whole.

    The state is every variable of the system and of its optimizers, with those that random
    numbers come from: what follows is what would have followed without the interruption.

    Parameters
    ----------
    place : the file; it may be deleted at any time
    identity : what the training depends on; the state of another one is not used
    """

    def __init__(self, place: Path, identity: str):
        super().__init__()
        self.place, self.identity = place, identity
        self.history: dict[str, list[float]] = {}

    def restore(self, system: keras.Model) -> int:
        """Put a system back to where its training was interrupted; return how many epochs are done.

        No epochs are where there is no state, a damaged one, or that of another training.
        """
        self.history = {}
        try:
            arrays = read_arrays(self.place)
            identity, history = json.loads(str(arrays.pop("about")))
            values = [arrays[f"state_{number:04}"] for number in range(len(arrays))]
        except FileNotFoundError:
            return 0
        except (OSError, ValueError, KeyError, TypeError):
            logger.warning("%s: damaged, so the training begins again", self.place)
            return 0
        variables = step_variables(system)
        if identity != self.identity or [x.shape for x in values] != [
            tuple(variable.shape) for variable in variables
        ]:
            return 0
        for variable, value in zip(variables, values, strict=True):
            variable.assign(value)
        self.history = history
        return len(next(iter(history.values())))

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        for name, value in (logs or {}).items():
            self.history.setdefault(name, []).append(float(value))
        about = json.dumps([self.identity, self.history])
        arrays = {
            f"state_{number:04}": np.asarray(variable)
            for number, variable in enumerate(step_variables(self.model))
        }
        with atomic_write(self.place) as beside, beside.open("wb") as stream:
            np.savez(stream, about=about, **arrays)


class StopAtNonFiniteLoss(keras.callbacks.Callback):
    """Stops a training whose losses are no numbers any more.

    Raises BadInput with the epoch and the likely cause.
    """

    def __init__(self, title: str):
        super().__init__()
        self.title = title

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        wrong = {name: value for name, value in (logs or {}).items() if not np.isfinite(value)}
        if wrong:
            losses = ", ".join(f"{name} is {value:g}" for name, value in wrong.items())
            rate = float(np.asarray(self.model.optimizer.learning_rate))
            raise BadInput(
                f"{self.title}: training diverged, {losses} in epoch {epoch + 1}; most likely the "
                f"learning rate is too high: lower fit.lr (now {rate:g})"
            )


def step_variables(system: keras.Model) -> list[keras.Variable]:
    """Return every variable that a training step reads or writes."""
    optimizers = [
        value for value in vars(system).values() if isinstance(value, keras.optimizers.Optimizer)
    ]
    return [*system.variables, *(variable for each in optimizers for variable in each.variables)]
