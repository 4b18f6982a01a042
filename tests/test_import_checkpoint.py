"""Published checkpoints, made here of a fixture's weights, through the import and both commands.

The PyTorch ones are written with PyTorch; without it their tests are skipped by name.
"""

from __future__ import annotations

import csv
import importlib
import json
import pickle
import shutil
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import joblib
import numpy as np
import pytest
from conftest import run_inside
from parity_fixture import PARITY_DIR, Fixture, folders

import checkpoints
import keras_model
import published
import settings

TOOL = "tools/import_checkpoint.py"
OFFICIAL = ("ae", "mobilenet_v2")
SCORE = 1e-5  # of real clips: float32 sums in another order, at scores of about 10
CSV = 1e-5  # relative: the same network, its windows in other batches

# Networks small enough for a few clips: what no tensor shows, and what says how large to make them.
UNREAD = {
    "vae": (),
    "idnn": (),
    "ae": (),
    "mobilenet_v2": ("feature.n_mels=32", "mobilenet_v2.feature.n_frames=32"),
    "aegan_ad": ("feature.n_fft=1024",),
    "grlnet": ("grlnet.feature.n_hop_frames=16000",),
    "stgram_mfn": ("stgram_mfn.network.bottlenecks=[[1, 4, 1, 2], [1, 4, 1, 2], [1, 4, 1, 2]]",),
    "anomaly_transformer": ("anomaly_transformer.network.temperature=1",),
}
SIZES = {
    "mobilenet_v2": ("mobilenet_v2.network.alpha=0.35",),
    "aegan_ad": (
        *("feature.n_mels=16", "feature.n_frames=16", "aegan_ad.network.ndf=4"),
        *("aegan_ad.network.ngf=6", "aegan_ad.network.nz=5", "aegan_ad.network.generator_norm=bn"),
    ),
    "grlnet": ("grlnet.feature.n_frames=512", "grlnet.network.channels=[2, 3, 4, 5]"),
    "stgram_mfn": ("stgram_mfn.network.seconds=0.512", "feature.n_fft=512"),
    "anomaly_transformer": (
        *("feature.n_mels=24", "anomaly_transformer.network.d_model=16"),
        *("anomaly_transformer.network.heads=2", "anomaly_transformer.network.n_layers=2"),
        "anomaly_transformer.network.d_ff=20",
    ),
}


def write(system: str, tensors: dict[str, np.ndarray], folder: Path) -> list[Path]:
    """A checkpoint in the form of its release: its files."""
    if system in OFFICIAL and any("/" in name for name in tensors):
        return [write_hdf5(tensors, folder / "model_fan.hdf5")]
    torch = pytest.importorskip("torch", reason=f"no PyTorch to write a checkpoint of {system}")
    made = {name: torch.tensor(value) for name, value in tensors.items()}
    for name in [name for name in made if name.endswith("running_mean")]:
        made[name.replace("running_mean", "num_batches_tracked")] = torch.tensor(7)

    def of(prefix: str) -> dict[str, Any]:
        return {
            name.removeprefix(prefix): value
            for name, value in made.items()
            if name.startswith(prefix)
        }

    if system == "aegan_ad":
        held = {"netD": of("netD."), "netG": of("netG."), "best_hmean": np.float64(0.7)}
        parts = {"fan.pth": held}
    elif system == "grlnet":
        # In another order than they are named in the readme.
        names = {"discriminator": "D.pth", "local": "L.pth", "regional": "R.pth"}
        parts = {file: of(f"{net}.") for net, file in names.items()}
    elif system == "anomaly_transformer":
        parts = {"checkpoint.pth": made}
    else:
        parts = {"best_checkpoint.pth.tar": {"epoch": 3, "optimizer": None, "model": made}}
    for file, held in parts.items():
        torch.save(held, folder / file)
    return [folder / file for file in parts]


def write_hdf5(tensors: dict[str, np.ndarray], path: Path) -> Path:
    """In the layout of Keras 2.8, whose layer numbers go on where an earlier model's ended."""
    layers = list(dict.fromkeys(name.rpartition("/")[0] for name in tensors))
    with h5py.File(path, "w") as file:
        group = file.create_group("model_weights")
        group.attrs["layer_names"] = [layer.encode() for layer in layers]
        for layer in layers:
            names = [name for name in tensors if name.rpartition("/")[0] == layer]
            group.create_group(layer).attrs["weight_names"] = [f"{name}:0" for name in names]
            for name in names:
                group[layer][f"{name}:0"] = tensors[name]
    return path


def import_(
    system: str,
    files: list[Path],
    out: Path,
    *more: str,
    data: Path | None = None,
    assigned: tuple[str, ...] = (),
) -> subprocess.CompletedProcess[str]:
    """Run the tool as a user does, but in this process."""
    given = ["--system", system, "--machine", "fan", *map(str, files), *more]
    return run_inside(TOOL, *given, data=data or out / "none", out=out, assigned=assigned)


def param_of(system: str, out: Path, *assigned: tuple[str, Any]) -> dict[str, Any]:
    """The settings that 01_test.py scores an imported model with."""
    places = [("model_directory", str(out / "model" / "{system}"))]
    held = settings.yaml_load(settings.HOME / "baseline.yaml", [*assigned, *places])
    param = settings.for_machine(settings.for_system(held, system), "fan")
    return keras_model.as_imported(param, "fan", "dev")


def loaded(system: str, out: Path, *assigned: tuple[str, Any]) -> Any:
    param = param_of(system, out, *assigned)
    return keras_model.load_model(keras_model.model_stem(param, "fan", "dev"), param).system


def unreadable(fixture: Fixture) -> list[tuple[str, Any]]:
    """What of a fixture's settings no tensor shows."""
    held, system = fixture.settings, fixture.meta["system"]
    if system == "anomaly_transformer":
        told = {"k": held["k"], "temperature": held["temperature"]}
        return [
            ("feature.n_frames", held["win_size"]),
            *((f"{system}.network.{key}", value) for key, value in told.items()),
        ]
    if system == "mobilenet_v2":
        return [(f"feature.{key}", held[key]) for key in ("n_frames", "n_mels")]
    return []


def written(assigned: list[tuple[str, Any]]) -> tuple[str, ...]:
    return tuple(f"{key}={value}" for key, value in assigned)


def nothing_written(out: Path) -> bool:
    return not any((out / name).exists() for name in ("model", "result", "cache"))


@pytest.mark.parametrize("folder", folders(), ids=lambda folder: folder.name)
def test_a_fixture_scores_as_the_original_when_imported(folder, tmp_path, monkeypatch) -> None:
    fixture = Fixture(folder)
    system, assigned = fixture.meta["system"], unreadable(fixture)
    files = write(system, fixture.tensors(), tmp_path)
    run = import_(system, files, tmp_path, assigned=written(assigned))
    assert run.returncode == 0, run.stderr
    assert f"{len(fixture.tensors())} tensors of" in run.stdout
    checks = importlib.import_module(f"parity_{system}")
    made = loaded(system, tmp_path, *assigned)
    monkeypatch.setattr(checks, "build", lambda fixture: made)
    names = [name for name in dir(checks) if name.startswith(("check_", "check_energy"))]
    scoring = [name for name in names if not any(w in name for w in ("train", "step", "later"))]
    assert any(name.startswith(("check_score", "check_energy")) for name in scoring)
    for name in scoring:
        getattr(checks, name)(fixture)


@pytest.fixture(scope="module")
def few(demo: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset of one machine type with two sections, three test clips and eight for training."""
    home = tmp_path_factory.mktemp("few")
    for folder, wanted in (("train", 4), ("test", 2)):
        place = home / "dev_data" / "fan" / folder
        place.mkdir(parents=True)
        for section in ("section_00", "section_01"):
            for path in sorted((demo / "dev_data" / "fan" / folder).glob(f"{section}*"))[:wanted]:
                (place / path.name).symlink_to(path)
    return home


def published_by(system: Any) -> dict[str, np.ndarray]:
    """A network's weights as its release would publish them."""
    return {
        name: variable.numpy() if axes is None else variable.numpy().transpose(np.argsort(axes))
        for name, (variable, axes) in system.published().items()
    }


def made_here(system: str, out: Path) -> tuple[dict[str, np.ndarray], Any]:
    """The weights of a small network, and the network."""
    pairs = [settings.assignment(text) for text in (*UNREAD[system], *SIZES.get(system, ()))]
    held = settings.yaml_load(settings.HOME / "baseline.yaml", pairs)
    names = ["section_00", "section_01"]
    if system in keras_model.JOINT:
        names = [f"fan {name}" for name in names]
    made = keras_model.get_model(
        settings.for_machine(settings.for_system(held, system), "fan"), names
    )
    return published_by(made), made


@pytest.mark.parametrize("system", list(keras_model.SYSTEMS))
def test_from_wavs_to_csv_with_an_imported_model(system, few, tmp_path) -> None:
    tensors, made = made_here(system, tmp_path)
    files = write(system, tensors, tmp_path)
    put = {"data": few, "assigned": UNREAD[system]}
    run = import_(system, files, tmp_path, "--jobs", "1", **put)
    assert run.returncode == 0, run.stderr
    run = run_inside("01_test.py", "-d", "--system", system, "--jobs", "1", out=tmp_path, **put)
    assert run.returncode == 0, run.stderr
    results = tmp_path / "result" / system
    with (results / "thresholds.csv").open(newline="") as stream:
        assert [(row["section"], row["n_clips"]) for row in csv.DictReader(stream)] == [
            ("section_00", "4"),
            ("section_01", "4"),
        ]
    found = {}
    for section in ("00", "01"):
        with (results / f"anomaly_score_fan_section_{section}_test.csv").open() as stream:
            found |= {name: float(score) for name, score in csv.reader(stream)}
        decided = (results / f"decision_result_fan_section_{section}_test.csv").read_text()
        assert len(decided.splitlines()) == 2
    expected = scores_of(made, system, few, tmp_path)
    assert set(found) == set(expected)
    np.testing.assert_allclose(
        [found[name] for name in expected], list(expected.values()), rtol=CSV, atol=1e-7
    )


def scores_of(made: Any, system: str, data: Path, out: Path) -> dict[str, float]:
    import common as com

    param = {
        **made.param,
        "dev_directory": str(data / "dev_data"),
        "cache_directory": str(out / "cache"),
    }
    clips = {}
    for folder in ("train", "test"):
        clips[folder], bad = com.read_clips(param, "dev", "fan", (folder,), jobs=1)
        assert not bad
    made.complete(clips["train"])
    scores = made.score(clips["test"])
    return {clip.name: score for clip, score in zip(clips["test"].clips, scores, strict=True)}
