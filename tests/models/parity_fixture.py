"""Outputs of the published implementations, and how close ours must come.

A fixture is a folder with `meta.json` (system, settings, tensors) and `arrays.npz` (inputs, and
what the original code made of them). The weights follow from a seed. tests/parity/README.md says
how a fixture is made, and what its precision means.
"""

from __future__ import annotations

import copy
import json
import os
from pathlib import Path
from typing import Any

import numpy as np

from core import settings
from core.run_settings import SystemSettings

FORWARD = 1e-4  # of the largest magnitude: float32 sums in another order

# One rounding of every weight, relative: a float32 sum of a few hundred terms, rounded otherwise.
ROUNDING = 2.0**-21

# The arrays whose first axis is the steps of the training.
PER_STEP = ("train_batches", "train_noise", "gp_alpha", "train_loss", "train_log")

PARITY_DIR = Path(os.environ.get("PARITY_DIR", Path(__file__).parents[1] / "parity"))


class Fixture:
    """One folder: `meta`, its `settings`, and `arrays`, of float32 or float64.

    in_double : the training log, and the outputs after it, are of the original in float64
    """

    def __init__(self, folder: Path):
        self.name, self.rounding = folder.name, None
        self.meta: dict[str, Any] = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
        self.settings: dict[str, Any] = self.meta["settings"]
        with np.load(folder / "arrays.npz", allow_pickle=False) as held:
            self.arrays = {
                name: held[name].astype(np.float32)
                if held[name].dtype == np.float16
                else held[name]
                for name in held.files
            }
        self.in_double = self.meta.get("train_log_precision", "float32") == "float64"

    def as_double(self) -> Fixture:
        """The same, its arrays in float64: what a network in double precision takes."""
        other = copy.copy(self)
        other.arrays = {
            name: array.astype(np.float64) if array.dtype == np.float32 else array
            for name, array in self.arrays.items()
        }
        return other

    def first_step(self) -> Fixture:
        """The same, its training one step long."""
        other = copy.copy(self)
        other.arrays = {
            name: array[:1] if name in PER_STEP else array for name, array in self.arrays.items()
        }
        return other

    def rounded(self, seed: int) -> Fixture:
        """The same, every weight rounded otherwise, as a seed decides."""
        other = copy.copy(self)
        other.rounding = np.random.default_rng(seed)
        return other

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
        # Keras 2.8 runs with NumPy 1 only, which divides float32 by a divisor in float32.
        root = (np.float32 if from_keras else np.float64)(max(1, int(np.prod(shape[1:]))) ** 0.5)
        x = {
            "matrix": lambda: x / root,
            "scale": lambda: 1 + 0.1 * x,
            "slope": lambda: 0.25 + 0.05 * x,
            "var": lambda: 0.5 + np.abs(x),
        }.get(entry["kind"], lambda: 0.1 * x)()
        if self.rounding is not None:
            x = x * (1 + ROUNDING * self.rounding.choice([-1, 1], x.shape))
        return (x.T if from_keras else x).astype(np.float32)

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
    """Those whose tensors are a checkpoint that is imported: no further scores, no mixtures."""
    of_scores = {"ae_mahalanobis", "embedding_backends", "twfr_gmm"}
    about = {path: json.loads((path / "meta.json").read_text("utf-8")) for path in folders()}
    return [path for path, meta in about.items() if meta["system"] not in of_scores]


def assert_forward(found: Any, expected: Any, what: str) -> None:
    """Equal to FORWARD, relative to the largest magnitude of what is expected."""
    found, expected = np.asarray(found, np.float64), np.asarray(expected, np.float64)
    assert found.shape == expected.shape, f"{what}: shape {found.shape}, not {expected.shape}"
    worst = np.abs(found - expected).max() / np.abs(expected).max()
    assert worst <= FORWARD, f"{what}: off by {worst:.2e} of the largest magnitude"
