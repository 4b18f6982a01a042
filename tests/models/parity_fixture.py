"""Outputs of the published implementations, and how close ours must come.

A fixture is a folder with `meta.json` (system, settings, tensors) and `arrays.npz` (inputs, and
what the original code made of them). The weights follow from a seed.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from core import settings
from core.run_settings import SystemSettings

FORWARD = 1e-4  # of the largest magnitude: float32 sums in another order
FIRST_LOSS = 1e-4  # relative: a forward pass and a mean
LATER_LOSS = 5e-3  # relative: Adam divides by gradients that are small at first
AFTER = 5e-2  # of the standard deviation, root mean square: a bias before a batch norm has no

# What one rounding of every weight can do to later steps, where it does more than LATER_LOSS:
# single precision flips the sign of gradients near 0 (a ReLU at its kink), and Adam makes a full
# step of each. No two programs then agree; an original is one more such run.
ROUNDING = 2.0**-21  # relative: a float32 sum of a few hundred terms, rounded otherwise
ROUNDED_RUNS = 6
SPREADS = 2  # an original lies no further from the mean of the runs than so many largest distances

PARITY_DIR = Path(os.environ.get("PARITY_DIR", Path(__file__).parents[1] / "parity"))


class Fixture:
    """One folder: `meta`, its `settings`, and `arrays` as float32 where they hold numbers."""

    def __init__(self, folder: Path):
        self.name = folder.name
        self.meta: dict[str, Any] = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
        self.settings: dict[str, Any] = self.meta["settings"]
        with np.load(folder / "arrays.npz", allow_pickle=False) as held:
            self.arrays = {
                name: held[name].astype(np.float32)
                if held[name].dtype == np.float16
                else held[name]
                for name in held.files
            }

    def tensors(self) -> dict[str, np.ndarray]:
        """The weights by their published names; "layer/weight" for a Keras original."""
        return {
            entry.get("name") or f"{entry['layer']}/{entry['weight']}": self._tensor(entry)
            for entry in self.meta["tensors"]
        }

    def _tensor(self, entry: dict[str, Any]) -> np.ndarray:
        seed = self.meta["weights_seed"]
        if isinstance(seed, dict):
            seed = seed[entry["name"].split(".")[0]]
        from_keras = "matrix_rule" in self.meta and entry["kind"] == "matrix"
        shape = entry["shape"][::-1] if from_keras else entry["shape"]
        x = np.random.default_rng([seed, entry["index"]]).standard_normal(shape).astype(np.float32)
        x = {
            "matrix": lambda: x / np.sqrt(max(1, int(np.prod(shape[1:])))),
            "scale": lambda: 1 + 0.1 * x,
            "slope": lambda: 0.25 + 0.05 * x,
            "var": lambda: 0.5 + np.abs(x),
        }.get(entry["kind"], lambda: 0.1 * x)()
        return (x.T if from_keras else x).astype(np.float32)

    def rounded_tensors(self) -> Iterator[dict[str, np.ndarray]]:
        """The weights, then ROUNDED_RUNS times the weights rounded otherwise."""
        yield self.tensors()
        for run in range(ROUNDED_RUNS):
            random = np.random.default_rng(run)
            yield {
                name: (x * (1 + ROUNDING * random.choice([-1, 1], x.shape))).astype(x.dtype)
                for name, x in self.tensors().items()
            }

    def run(self, system: str, *assignments: tuple[str, Any]) -> SystemSettings:
        """The settings of a system from `baseline.yaml`, with (dotted key, value) over them."""
        held = settings.read_config(None, list(assignments))
        return held.for_system(system)

    def adam(self) -> list[tuple[str, Any]]:
        """The fixture's Adam as assignments to the `fit` block."""
        adam = self.settings["adam"]
        return [(f"fit.{key}", adam[key]) for key in ("lr", "beta_1", "beta_2", "epsilon")]


def folders() -> list[Path]:
    """Every fixture folder there is."""
    return sorted(path.parent for path in PARITY_DIR.glob("*/meta.json"))


def checkpoint_folders() -> list[Path]:
    """Those whose tensors are a checkpoint that is imported: not a further score of a system."""
    of_scores = {"ae_mahalanobis"}
    about = {path: json.loads((path / "meta.json").read_text("utf-8")) for path in folders()}
    return [path for path, meta in about.items() if meta["system"] not in of_scores]


def assert_forward(found: Any, expected: Any, what: str) -> None:
    """Equal to FORWARD, relative to the largest magnitude of what is expected."""
    found, expected = np.asarray(found, np.float64), np.asarray(expected, np.float64)
    assert found.shape == expected.shape, f"{what}: shape {found.shape}, not {expected.shape}"
    worst = np.abs(found - expected).max() / np.abs(expected).max()
    assert worst <= FORWARD, f"{what}: off by {worst:.2e} of the largest magnitude"


def assert_losses(found: Any, expected: Any, what: str) -> None:
    """Losses (steps,) equal: the first to FIRST_LOSS, the others to LATER_LOSS, relative."""
    found, expected = np.asarray(found, np.float64), np.asarray(expected, np.float64)
    assert found.shape == expected.shape, f"{what}: shape {found.shape}, not {expected.shape}"
    worst = np.abs(found - expected) / np.maximum(np.abs(expected), 1e-12)
    assert worst[0] <= FIRST_LOSS, f"{what}: first loss off by {worst[0]:.2e}"
    assert worst.max() <= LATER_LOSS, f"{what}: a later loss off by {worst.max():.2e}"


def assert_after(found: Any, expected: Any, what: str) -> None:
    """Outputs after training steps: root mean square of the difference below AFTER."""
    found, expected = np.asarray(found, np.float64), np.asarray(expected, np.float64)
    assert found.shape == expected.shape, f"{what}: shape {found.shape}, not {expected.shape}"
    off = np.sqrt(np.mean((found - expected) ** 2)) / expected.std()
    assert off <= AFTER, f"{what}: off by {off:.2e} of the standard deviation"


def assert_one_of(runs: Sequence[Any], expected: Any, what: str) -> None:
    """What is expected lies among runs that differ by rounding only; all of one shape.

    Single values may lie LATER_LOSS (relative) outside, and SPREADS times as far from the mean of
    the runs as the furthest of them.
    """
    runs, expected = np.asarray(runs, np.float64), np.asarray(expected, np.float64)
    assert runs.shape[1:] == expected.shape, f"{what}: {runs.shape[1:]}, not {expected.shape}"
    middle = runs.mean(axis=0)
    spread = np.abs(runs - middle).max(axis=0)
    outside = np.abs(expected - middle) / (SPREADS * spread + LATER_LOSS * np.abs(expected))
    worst = np.unravel_index(np.argmax(outside), outside.shape)
    assert outside[worst] <= 1, (
        f"{what}, {[int(at) for at in worst]}: {expected[worst]:.6g}, but {len(runs)} runs that "
        f"differ by rounding give {middle[worst]:.6g} within {spread[worst]:.2g}"
    )
