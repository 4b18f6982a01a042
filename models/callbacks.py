"""What goes along with a training: its state after every epoch, its losses, its progress bar."""

from __future__ import annotations

import json
from pathlib import Path

import keras
import numpy as np

from core.arrays import read_arrays
from core.errors import BadInput
from core.files import atomic_write
from core.log import logger, progress_bar


class EpochBar(keras.callbacks.Callback):
    """A progress bar over epochs, with the losses and the time left."""

    def __init__(self, title: str, done: int = 0):
        super().__init__()
        self.title, self.done = title, done

    def on_train_begin(self, logs: dict | None = None) -> None:
        self.bar = progress_bar(self.params["epochs"], self.title, "epoch", self.done)

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        self.bar.set_postfix(
            {name: f"{value:.4g}" for name, value in (logs or {}).items()}, refresh=False
        )
        self.bar.update()

    def on_train_end(self, logs: dict | None = None) -> None:
        self.bar.close()


class Resume(keras.callbacks.Callback):
    """Keeps the state of a training after every epoch, in one file that appears whole.

    The state is every variable of the system and of its optimizers, with those that random
    numbers come from: what follows is what would have followed without the interruption.

    Parameters
    ----------
    place : the file; it may be deleted at any time
    identity : what the training depends on; the state of another one is not taken up
    """

    def __init__(self, place: Path, identity: str):
        super().__init__()
        self.place, self.identity = place, identity
        self.history: dict[str, list[float]] = {}

    def restore(self, system: keras.Model) -> int:
        """Put a system back to where its training was interrupted: how many epochs are done."""
        self.history = {}
        try:
            arrays = read_arrays(self.place)
            identity, history = json.loads(str(arrays.pop("about")))
            kept = [arrays[f"state_{number:04}"] for number in range(len(arrays))]
        except FileNotFoundError:
            return 0
        except (OSError, ValueError, KeyError, TypeError):
            logger.warning("%s: damaged, so the training begins anew", self.place)
            return 0
        variables = state(system)
        if identity != self.identity or [x.shape for x in kept] != [
            tuple(held.shape) for held in variables
        ]:
            return 0
        for held, value in zip(variables, kept, strict=True):
            held.assign(value)
        self.history = history
        return len(next(iter(history.values())))

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        for name, value in (logs or {}).items():
            self.history.setdefault(name, []).append(float(value))
        about = json.dumps([self.identity, self.history])
        arrays = {f"state_{n:04}": np.asarray(held) for n, held in enumerate(state(self.model))}
        with atomic_write(self.place) as beside, beside.open("wb") as stream:
            np.savez(stream, about=about, **arrays)


class Finite(keras.callbacks.Callback):
    """Stops a training whose losses are no numbers any more.

    Raises BadInput with the epoch and the likely cause.
    """

    def __init__(self, title: str):
        super().__init__()
        self.title = title

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        wrong = {name: value for name, value in (logs or {}).items() if not np.isfinite(value)}
        if wrong:
            found = ", ".join(f"{name} is {value:g}" for name, value in wrong.items())
            rate = float(np.asarray(self.model.optimizer.learning_rate))
            raise BadInput(
                f"{self.title}: training diverged, {found} in epoch {epoch + 1}; most likely the "
                f"learning rate is too high: lower fit.lr (now {rate:g})"
            )


def state(system: keras.Model) -> list[keras.Variable]:
    """Every variable that a training step reads or writes."""
    optimizers = [
        held for held in vars(system).values() if isinstance(held, keras.optimizers.Optimizer)
    ]
    return [*system.variables, *(held for each in optimizers for held in each.variables)]
