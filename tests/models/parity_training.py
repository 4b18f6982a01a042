"""The training steps of a fixture, and how close ours must come.

Single precision cannot tell two programs apart for long: it flips the sign of gradients near 0 (a
ReLU at its kink, a bias before a batch norm), and Adam makes a full step of each. So ours run in
double precision, and an original that did so too must be met to DOUBLE. Of an original in single
precision the first loss is exact, and the later steps are as far off as its own rounding.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from models.base import System
from tests.models.double_precision import double_precision
from tests.models.parity_fixture import Fixture

DOUBLE = 1e-5  # relative, of an output's largest magnitude: float64, and Adam's settings as float32
FIRST_LOSS = 1e-4  # relative: a float32 forward pass and a mean

# An original in float32, at its later steps. They lie well above what its rounding does to the
# dense networks (1e-4, 2e-2) and to most others.
LATER_LOSS = 5e-3  # relative
AFTER = 5e-2  # of the standard deviation, root mean square

# Where it does more, it lies no further from the mean of ours, in float32 and with weights rounded
# otherwise, than SPREADS largest distances, and LATER_LOSS beside.
ROUNDED_RUNS = 6
SPREADS = 2


class Compared(NamedTuple):
    """One array after the steps, ours and the original's; losses are (steps,)."""

    what: str
    found: Any
    expected: Any
    is_loss: bool

    def worst(self) -> float:
        """The largest difference: relative of losses, else of the largest magnitude."""
        difference = np.abs(self.found - self.expected)
        if self.is_loss:
            return float(np.max(difference / np.maximum(np.abs(self.expected), 1e-12)))
        return float(np.max(difference) / np.max(np.abs(self.expected)))

    def first(self) -> Compared:
        """The first step alone."""
        return self._replace(found=self.found[:1], expected=self.expected[:1])

    def is_near(self) -> bool:
        """Whether the later steps meet the usual tolerance of an original in float32."""
        if self.is_loss:
            return self.worst() <= LATER_LOSS
        off = np.sqrt(np.mean((self.found - self.expected) ** 2))
        return bool(off <= AFTER * np.std(self.expected))


Build = Callable[[Fixture], System]
Steps = Callable[[System, Fixture], list[Compared]]


def losses(what: str, found: Any, expected: Any) -> Compared:
    """The losses of the steps: (steps,)."""
    return _compared(what, found, expected, is_loss=True)


def outputs(what: str, found: Any, expected: Any) -> Compared:
    """What the trained network gives, in inference mode."""
    return _compared(what, found, expected, is_loss=False)


def _compared(what: str, found: Any, expected: Any, is_loss: bool) -> Compared:
    found, expected = np.asarray(found, np.float64), np.asarray(expected, np.float64)
    assert found.shape == expected.shape, f"{what}: shape {found.shape}, not {expected.shape}"
    return Compared(what, found, expected, is_loss)


def assert_training(fixture: Fixture, build: Build, steps: Steps) -> None:
    """The steps in double precision equal the fixture's; in single precision the first one does.

    build : makes the system of a fixture, with its weights
    steps : trains it on the fixture's batches, and compares
    """
    with double_precision():
        exact = _run(fixture.as_double(), build, steps)
    first_in_single = _run(fixture.first_step(), build, steps)
    for compared in (*exact, *first_in_single):
        if compared.is_loss:
            worst = compared.first().worst()
            assert worst <= FIRST_LOSS, f"{compared.what}: the first is off by {worst:.2e}"
    if fixture.in_double:
        for compared in exact:
            assert compared.worst() <= DOUBLE, f"{compared.what}: off by {compared.worst():.2e}"
    elif not all(compared.is_near() for compared in exact):
        rounded = [fixture, *(fixture.rounded(seed) for seed in range(ROUNDED_RUNS))]
        for runs in zip(*(_run(one, build, steps) for one in rounded), strict=True):
            assert_among(runs)


def assert_among(runs: tuple[Compared, ...]) -> None:
    """What is expected lies among runs that differ by rounding only."""
    what, _, expected, _ = runs[0]
    found = np.array([run.found for run in runs])
    middle = found.mean(axis=0)
    spread = np.abs(found - middle).max(axis=0)
    outside = np.abs(expected - middle) / (SPREADS * spread + LATER_LOSS * np.abs(expected))
    at = np.unravel_index(np.argmax(outside), outside.shape)
    assert outside[at] <= 1, (
        f"{what}, {[int(index) for index in at]}: {expected[at]:.6g}, but {len(runs)} runs that "
        f"differ by rounding give {middle[at]:.6g} within {spread[at]:.2g}"
    )


def _run(fixture: Fixture, build: Build, steps: Steps) -> list[Compared]:
    system = build(fixture)
    # Tracing takes longer than the few steps.
    system.run_eagerly = True
    return steps(system, fixture)


def one_step(system: System, starts: np.ndarray, section: np.ndarray | None = None) -> dict:
    """Train on the windows from some rows on; returns the losses of this batch, by name."""
    section = np.zeros(len(starts), np.int64) if section is None else section
    system.reset_metrics()  # a loss is a running mean over the steps since then
    return system.train_on_batch(starts, section, return_dict=True)
