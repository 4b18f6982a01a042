"""`fit.train_on`: which dataset's training clips a network learns from."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from core import settings
from core.errors import BadInput
from core.log import logger
from core.run_settings import SystemSettings
from data.dataset import TRAIN, list_clips, read_clips, training_machines, warn_of_missing_clips
from tests.conftest import run_inside

SMALL_JOINT = (
    "stgram_mfn.network.seconds=0.5",
    "stgram_mfn.network.bottlenecks=[[1, 4, 1, 2], [1, 4, 1, 2], [1, 4, 1, 2]]",
    "fit.epochs=1",
    "fit.verbose=0",
)


def put_clips(home: Path, *places: str) -> None:
    """Write one clip per place, such as "dev/fan/00": dataset, machine type, section."""
    for place in places:
        dataset, machine, section = place.split("/")
        train = home / dataset / machine / "train"
        train.mkdir(parents=True, exist_ok=True)
        name = f"section_{section}_source_train_normal_0000_x.wav"
        soundfile.write(train / name, np.zeros(8000), 16000)


@pytest.fixture
def resolve(tmp_path: Path):
    """Return the settings of a system, its datasets in the test's own folder."""

    def resolved(system: str, *assignments: tuple[str, Any]) -> SystemSettings:
        places = [(f"{name}_directory", str(tmp_path / name)) for name in ("dev", "eval", "cache")]
        return settings.read_config(None, [*places, *assignments]).for_system(system)

    return resolved


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.setattr(logger, "propagate", True)
    yield caplog


def sections(run: SystemSettings, mode: str, machine: str = "fan") -> list[str]:
    frames, bad = read_clips(run, mode, machine, TRAIN, 1)
    assert not bad
    return [clip.section.removeprefix("section_") for clip in frames.clips]


@pytest.mark.parametrize(
    ("train_on", "of_dev", "of_eval"),
    [
        ("same", ["00"], ["03"]),
        ("dev", ["00"], ["00"]),
        ("eval", ["03"], ["03"]),
        ("both", ["00", "03"], ["03", "00"]),
    ],
)
def test_the_clips_of_each_choice(resolve, tmp_path, train_on, of_dev, of_eval) -> None:
    put_clips(tmp_path, "dev/fan/00", "eval/fan/03")
    run = resolve("ae", ("fit.train_on", train_on))
    assert sections(run, "dev") == of_dev
    assert sections(run, "eval") == of_eval


def test_test_clips_stay_those_of_the_command(resolve, tmp_path) -> None:
    put_clips(tmp_path, "dev/fan/00", "eval/fan/03")
    for dataset in ("dev", "eval"):
        folder = tmp_path / dataset / "fan"
        (folder / "train").rename(folder / "test")
    run = resolve("ae", ("fit.train_on", "both"))
    assert [clip.section for clip in list_clips(run, "dev", "fan", ("test",))[0]] == ["section_00"]


def test_the_defaults_are_as_published(resolve) -> None:
    both = [name for name in settings.system_classes() if resolve(name).fit.train_on == "both"]
    assert both == ["vae", "idnn", "stgram_mfn", "dis_spec", "dis_multispec"]
    assert resolve("aegan_ad").for_machine("fan").fit.train_on == "both"


def test_a_missing_dataset_is_left_out_with_one_warning(resolve, tmp_path, log) -> None:
    put_clips(tmp_path, "dev/fan/00", "dev/pump/00", "eval/pump/03")
    run = resolve("vae")
    assert sections(run, "dev") == ["00"]
    networks = [(run, [name]) for name in training_machines(run, "dev", [])]
    warn_of_missing_clips(networks, "dev")
    (line,) = log.messages
    assert line.startswith(f"vae: fit.train_on is both, but {tmp_path / 'eval'} has no training")
    assert "clips of fan; training on the clips of the other" in line
    (tmp_path / "eval").rename(tmp_path / "elsewhere")
    log.clear()
    warn_of_missing_clips(networks, "dev")
    (line,) = log.messages
    assert f"there is no directory {tmp_path / 'eval'};" in line
    log.clear()
    warn_of_missing_clips([(resolve("ae"), ["fan"])], "dev")
    assert not log.messages


def test_one_directory_for_both_counts_once(resolve, tmp_path, log) -> None:
    put_clips(tmp_path, "dev/fan/00")
    run = resolve("vae", ("eval_directory", str(tmp_path / "dev")))
    assert sections(run, "dev") == ["00"]
    warn_of_missing_clips([(run, ["fan"])], "dev")
    assert not log.messages


def test_a_dataset_that_is_asked_for_must_be_there(resolve, tmp_path) -> None:
    put_clips(tmp_path, "dev/fan/00")
    run = resolve("ae", ("fit.train_on", "eval"))
    with pytest.raises(
        BadInput,
        match=r"eval_directory: there is no directory .*eval.*, and ae has fit.train_on: eval",
    ):
        training_machines(run, "dev", [])
    (tmp_path / "eval").mkdir()
    with pytest.raises(BadInput, match="eval/fan: this machine type has no folder train"):
        sections(run, "dev")


def test_a_joint_network_learns_the_machine_types_of_both_datasets(resolve, tmp_path, log) -> None:
    put_clips(tmp_path, "dev/fan/00", "eval/bandsaw/00")
    run = resolve("stgram_mfn")
    assert training_machines(run, "dev", []) == ["bandsaw", "fan"]
    assert training_machines(run, "dev", ["fan"]) == ["fan"]
    assert training_machines(resolve("vae"), "dev", []) == ["fan"]
    same = resolve("stgram_mfn", ("fit.train_on", "same"))
    assert training_machines(same, "dev", []) == ["fan"]
    frames, _ = read_clips(run, "dev", ["bandsaw", "fan"], TRAIN, 1)
    classes = [run.class_name(clip) for clip in frames.clips]
    assert classes == ["bandsaw section_00", "fan section_00"]
    warn_of_missing_clips([(run, ["bandsaw", "fan"])], "dev")
    assert not log.messages
    with pytest.raises(BadInput, match=r"--machine fann: not in .*dev; did you mean fan"):
        training_machines(run, "dev", ["fann"])


@pytest.mark.slow
def test_both_datasets_go_through_both_commands(demo: Path, tmp_path: Path) -> None:
    given = ["-d", "--system", "stgram_mfn", "--jobs", "1"]
    put = {"out": tmp_path, "assigned": SMALL_JOINT}
    only_dev = tmp_path / "only"
    only_dev.mkdir()
    (only_dev / "dev_data").symlink_to(demo / "dev_data")
    run = run_inside("00_train.py", *given, data=only_dev, **put)
    assert run.returncode == 0
    assert (run.stdout + run.stderr).count("fit.train_on is both, but there is no directory") == 1
    # The same model is not taken for one of both datasets.
    run = run_inside("00_train.py", *given, data=demo, **put)
    assert run.returncode == 1
    assert "training clips: 60 then, 120 now; --force trains it again" in " ".join(
        run.stderr.replace("made with other settings (", "").replace(")", "").split()
    )
    assert run_inside("00_train.py", *given, "--force", data=demo, **put).returncode == 0
    assert run_inside("00_train.py", *given, data=demo, **put).returncode == 0
    # No training clips are needed to test.
    data = tmp_path / "tests_only"
    for machine in ("fan", "valve"):
        (data / "dev_data" / machine).mkdir(parents=True)
        (data / "dev_data" / machine / "test").symlink_to(demo / "dev_data" / machine / "test")
    run = run_inside("01_test.py", *given, data=data, **put)
    assert run.returncode == 0, run.stderr
    results = tmp_path / "result" / "stgram_mfn"
    assert len(list(results.glob("anomaly_score_*"))) == 6
